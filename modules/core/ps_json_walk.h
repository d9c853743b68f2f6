
/*
 * Private to ps_json_*.c: the steps over a JSON text.
 */

#ifndef _PS_JSON_WALK_H_INCLUDED_
#define _PS_JSON_WALK_H_INCLUDED_


/* behind white space, the value, or the string (its quote) at p; NULL: it is
   none, or deeper than "depth" */

const char *ps_json_skip_blank(const char *p, const char *end);
const char *ps_json_skip_value(const char *p, const char *end,
    unsigned depth);
const char *ps_json_skip_string(const char *p, const char *end);

/* four hexadecimal digits, or -1 */

int ps_json_hex4(const char *p);


#endif /* _PS_JSON_WALK_H_INCLUDED_ */
