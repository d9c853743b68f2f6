
/*
 * Patterns of JSON Schema: ECMA-262 expressions with the "u" flag, run by
 * PCRE2 with a bound on the work.
 */

#ifndef _PS_SCHEMA_REGEX_H_INCLUDED_
#define _PS_SCHEMA_REGEX_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


typedef struct ps_schema_regex_s  ps_schema_regex_t;


typedef enum {
    PS_SCHEMA_REGEX_NO = 0,
    PS_SCHEMA_REGEX_YES,
    PS_SCHEMA_REGEX_COSTLY       /* the budget is used up */
} ps_schema_regex_rc_e;


/*
 * Compiles "len" bytes of UTF-8.  What PCRE2 would read in another way than
 * ECMA-262 is translated, or refused.  NULL with a sentence in "error", of
 * "size" bytes.
 */

ps_schema_regex_t *ps_schema_regex_compile(const char *pattern, size_t len,
    char *error, size_t size);
void ps_schema_regex_free(ps_schema_regex_t *regex);

/*
 * Looks for it in valid UTF-8.  *budget, in steps of the matcher weighted by
 * the length of the text, is charged with more than was used; when it is
 * used up nothing is known.
 */

ps_schema_regex_rc_e ps_schema_regex_match(const ps_schema_regex_t *regex,
    const char *text, size_t len, int64_t *budget);


#endif /* _PS_SCHEMA_REGEX_H_INCLUDED_ */
