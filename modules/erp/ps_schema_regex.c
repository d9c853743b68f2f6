
#include "ps_schema_ecma.h"
#include "ps_schema_regex.h"

#define PCRE2_CODE_UNIT_WIDTH  8

#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


/* steps that a match is given first; ten times as many when they don't do */

#define PS_SCHEMA_REGEX_STEPS  16

/* for each of so many bytes of the text a step costs one more */

#define PS_SCHEMA_REGEX_BYTES  32

/* KB of the matcher's own memory */

#define PS_SCHEMA_REGEX_HEAP   1024


struct ps_schema_regex_s {
    pcre2_code           *code;
    pcre2_match_data     *match;
    pcre2_match_context  *context;
};


ps_schema_regex_t *
ps_schema_regex_compile(const char *pattern, size_t len, char *error,
    size_t size)
{
    int                 code;
    char               *text;
    size_t              n, at;
    uint32_t            options;
    const char         *wrong;
    ps_schema_regex_t  *regex;

    if (len > 4096) {
        snprintf(error, size, "it is longer than 4096 bytes");
        return NULL;
    }

    text = malloc(PS_SCHEMA_ECMA_MAX(len));
    regex = calloc(1, sizeof(ps_schema_regex_t));

    if (text == NULL || regex == NULL) {
        snprintf(error, size, "there is no memory");
        goto failed;
    }

    if (ps_schema_ecma(pattern, len, text, &n, &wrong, &at) != 0) {
        snprintf(error, size, "%s, at byte %zu", wrong, at);
        goto failed;
    }

    options = PCRE2_UTF|PCRE2_NO_UTF_CHECK|PCRE2_DOLLAR_ENDONLY
              |PCRE2_ALLOW_EMPTY_CLASS|PCRE2_MATCH_UNSET_BACKREF
              |PCRE2_NEVER_BACKSLASH_C|PCRE2_NO_AUTO_CAPTURE;

    /* groups count in an expression that refers to them only */

    if (memchr(pattern, '\\', len)) {
        options &= ~(uint32_t) PCRE2_NO_AUTO_CAPTURE;
    }

    regex->code = pcre2_compile((PCRE2_SPTR) text, n, options, &code,
                                &at, NULL);

    if (regex->code == NULL) {
        memset(error, 0, size);
        pcre2_get_error_message(code, (PCRE2_UCHAR *) error, size);
        goto failed;
    }

    regex->match = pcre2_match_data_create(1, NULL);
    regex->context = pcre2_match_context_create(NULL);

    if (regex->match == NULL || regex->context == NULL) {
        snprintf(error, size, "there is no memory");
        goto failed;
    }

    pcre2_set_heap_limit(regex->context, PS_SCHEMA_REGEX_HEAP);

    free(text);

    return regex;

failed:

    free(text);
    ps_schema_regex_free(regex);

    return NULL;
}


void
ps_schema_regex_free(ps_schema_regex_t *regex)
{
    if (regex == NULL) {
        return;
    }

    pcre2_match_context_free(regex->context);
    pcre2_match_data_free(regex->match);
    pcre2_code_free(regex->code);

    free(regex);
}


ps_schema_regex_rc_e
ps_schema_regex_match(const ps_schema_regex_t *regex, const char *text,
    size_t len, int64_t *budget)
{
    int      rc;
    int64_t  steps, weight;

    /*
     * Steps are bounded, but one may walk over much of the text: so their
     * number times the length is what is paid.
     */

    weight = 1 + (int64_t) (len / PS_SCHEMA_REGEX_BYTES);

    for (steps = PS_SCHEMA_REGEX_STEPS; /* void */ ; steps *= 10) {

        if (steps > *budget / weight) {
            steps = *budget / weight;
        }

        if (steps <= 0) {
            *budget = 0;
            return PS_SCHEMA_REGEX_COSTLY;
        }

        *budget -= steps * weight;

        pcre2_set_match_limit(regex->context, (uint32_t) steps);

        rc = pcre2_match(regex->code, (PCRE2_SPTR) text, len, 0,
                         PCRE2_NO_UTF_CHECK, regex->match, regex->context);

        if (rc >= 0) {
            return PS_SCHEMA_REGEX_YES;
        }

        if (rc == PCRE2_ERROR_NOMATCH) {
            return PS_SCHEMA_REGEX_NO;
        }

        if (rc != PCRE2_ERROR_MATCHLIMIT) {
            *budget = 0;
            return PS_SCHEMA_REGEX_COSTLY;
        }
    }
}
