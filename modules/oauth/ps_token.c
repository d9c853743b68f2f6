
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ps_token.h"


/* a field: this, the name, the text; not aligned, so copied in and out */

typedef struct {
    uint32_t   name_len;
    uint32_t   text_len;
    uint32_t   kind;
} ps_token_field_t;


static int
ps_token_grow(ps_token_buf_t *buf, size_t n)
{
    size_t          size;
    unsigned char  *data;

    if (buf->size - buf->len >= n) {
        return 0;
    }

    size = buf->size ? buf->size : 4096;

    while (size - buf->len < n) {
        size *= 2;
    }

    data = realloc(buf->data, size);
    if (data == NULL) {
        return -1;
    }

    buf->data = data;
    buf->size = size;

    return 0;
}


static int
ps_token_add(ps_token_buf_t *buf, int kind, const void *name,
    size_t name_len, const void *text, size_t text_len)
{
    unsigned char     *p;
    ps_token_field_t   field;

    if (ps_token_grow(buf, sizeof(field) + name_len + text_len) != 0) {
        return -1;
    }

    field.name_len = (uint32_t) name_len;
    field.text_len = (uint32_t) text_len;
    field.kind = kind;

    p = buf->data + buf->len;
    memcpy(p, &field, sizeof(field));
    p += sizeof(field);
    memcpy(p, name, name_len);

    if (text_len) {
        memcpy(p + name_len, text, text_len);
    }

    buf->len += sizeof(field) + name_len + text_len;

    return 0;
}


/*
 * The text of a value; *allocated is to be freed.  NULL: no memory, or what
 * has no text.  "small" has room for any number.
 */

static const char *
ps_token_scalar(json_t *v, char *small, size_t size, size_t *len,
    char **allocated)
{
    *allocated = NULL;

    switch (json_typeof(v)) {

    case JSON_STRING:
        *len = json_string_length(v);
        return json_string_value(v);

    case JSON_INTEGER:
        *len = snprintf(small, size, "%" JSON_INTEGER_FORMAT,
                        json_integer_value(v));
        return small;

    case JSON_REAL:

        /* the shortest that reads back the same */

        *len = snprintf(small, size, "%.15g", json_real_value(v));

        if (strtod(small, NULL) != json_real_value(v)) {
            *len = snprintf(small, size, "%.17g", json_real_value(v));
        }

        return small;

    case JSON_TRUE:
        *len = 4;
        return "true";

    case JSON_FALSE:
        *len = 5;
        return "false";

    case JSON_NULL:
        *len = 4;
        return "null";

    default:
        *allocated = json_dumps(v, JSON_COMPACT);
        *len = *allocated ? strlen(*allocated) : 0;
        return *allocated;
    }
}


/* elements with commas between, written where the text of a field goes */

static int
ps_token_array(ps_token_buf_t *buf, int kind, const void *name,
    size_t name_len, json_t *array)
{
    char              *allocated, small[64];
    size_t             i, len, start;
    const char        *text;
    ps_token_field_t   field;

    start = buf->len;

    if (ps_token_add(buf, kind, name, name_len, NULL, 0) != 0) {
        return -1;
    }

    for (i = 0; i < json_array_size(array); i++) {
        text = ps_token_scalar(json_array_get(array, i), small,
                               sizeof(small), &len, &allocated);

        if (text == NULL || ps_token_grow(buf, len + 1) != 0) {
            free(allocated);
            return -1;
        }

        if (i) {
            buf->data[buf->len++] = ',';
        }

        memcpy(buf->data + buf->len, text, len);
        buf->len += len;
        free(allocated);
    }

    memcpy(&field, buf->data + start, sizeof(field));
    field.text_len = (uint32_t) (buf->len - start - sizeof(field) - name_len);
    memcpy(buf->data + start, &field, sizeof(field));

    return 0;
}


/*
 * The members of an object; "path" holds "path_len" bytes of the names above,
 * and has room for PS_JWS_MAX more.
 */

static int
ps_token_object(ps_token_buf_t *buf, int kind, json_t *object, char *path,
    size_t path_len, int depth)
{
    char        *allocated, small[64];
    size_t       len, n;
    json_t      *v;
    const char  *key, *text;

    json_object_foreach(object, key, v) {

        /* a zero byte can't be in a name: jansson refuses \u0000 there */

        n = strlen(key);
        memcpy(path + path_len, key, n);
        n += path_len;

        if (json_is_null(v)) {
            continue;
        }

        if (json_is_array(v)) {
            if (ps_token_array(buf, kind, path, n, v) != 0) {
                return -1;
            }

            continue;
        }

        text = ps_token_scalar(v, small, sizeof(small), &len, &allocated);

        if (text == NULL
            || ps_token_add(buf, kind, path, n, text, len) != 0)
        {
            free(allocated);
            return -1;
        }

        free(allocated);

        if (json_is_object(v) && depth < PS_TOKEN_DEPTH) {
            path[n] = '\0';

            if (ps_token_object(buf, kind, v, path, n + 1, depth + 1) != 0) {
                return -1;
            }
        }
    }

    return 0;
}


ps_jwt_error_e
ps_token_claims(const ps_jws_t *jws, json_t **claims)
{
    *claims = json_loadb((const char *) jws->payload, jws->payload_len,
                         JSON_REJECT_DUPLICATES, NULL);

    if (!json_is_object(*claims)) {
        json_decref(*claims);
        *claims = NULL;
        return PS_JWT_PAYLOAD;
    }

    return PS_JWT_OK;
}


/* 1 with *date set, 0 if there is none, -1 if it is no NumericDate */

static int
ps_token_date(json_t *claims, const char *name, double *date)
{
    json_t  *v;

    *date = 0;

    v = json_object_get(claims, name);
    if (v == NULL) {
        return 0;
    }

    if (!json_is_number(v)) {
        return -1;
    }

    *date = json_number_value(v);

    return (*date >= 0 && *date <= PS_TOKEN_MAX_DATE) ? 1 : -1;
}


/* 1 if there, 0 if not, -1 if it is no string */

static int
ps_token_string(json_t *claims, const char *name)
{
    json_t  *v;

    v = json_object_get(claims, name);

    return v == NULL ? 0 : json_is_string(v) ? 1 : -1;
}


static int
ps_token_audience(ps_token_buf_t *buf, json_t *aud)
{
    size_t  i;

    if (json_is_string(aud)) {
        return ps_token_add(buf, PS_TOKEN_AUDIENCE, json_string_value(aud),
                            json_string_length(aud), NULL, 0);
    }

    for (i = 0; i < json_array_size(aud); i++) {
        if (ps_token_audience(buf, json_array_get(aud, i)) != 0) {
            return -1;
        }
    }

    return 0;
}


static int
ps_token_is_audience(json_t *aud)
{
    size_t  i;

    if (json_is_string(aud)) {
        return 1;
    }

    if (!json_is_array(aud)) {
        return 0;
    }

    for (i = 0; i < json_array_size(aud); i++) {
        if (!json_is_string(json_array_get(aud, i))) {
            return 0;
        }
    }

    return 1;
}


/* the flags of "cnf" (RFC 7800): how the token is bound */

static uint32_t
ps_token_confirmation(json_t *cnf)
{
    json_t      *v;
    uint32_t     flags;
    const char  *name;

    if (cnf == NULL || json_is_null(cnf)) {
        return 0;
    }

    flags = PS_TOKEN_BOUND;

    json_object_foreach(cnf, name, v) {

        if (json_is_string(v) && strcmp(name, "x5t#S256") == 0) {
            flags |= PS_TOKEN_X5T;

        } else if (json_is_string(v) && strcmp(name, "jkt") == 0) {
            flags |= PS_TOKEN_JKT;

        } else {
            flags |= PS_TOKEN_CNF;
        }
    }

    /* no object, or an empty one: bound to we don't know what */

    return flags == PS_TOKEN_BOUND ? flags | PS_TOKEN_CNF : flags;
}


ps_jwt_error_e
ps_token_build(ps_token_buf_t *buf, const ps_jws_t *jws, json_t *claims,
    const ps_token_t **token)
{
    int          exp, nbf, iat, iss, sub, jti, client;
    char         path[PS_JWS_MAX + PS_TOKEN_DEPTH + 1];
    double       date;
    json_t      *aud;
    ps_token_t   head;

    memset(&head, 0, sizeof(head));

    exp = ps_token_date(claims, "exp", &head.exp);
    nbf = ps_token_date(claims, "nbf", &head.nbf);
    iat = ps_token_date(claims, "iat", &date);

    iss = ps_token_string(claims, "iss");
    sub = ps_token_string(claims, "sub");
    jti = ps_token_string(claims, "jti");
    client = ps_token_string(claims, "client_id");

    aud = json_object_get(claims, "aud");

    if ((exp | nbf | iat | iss | sub | jti | client) < 0
        || (aud && !ps_token_is_audience(aud)))
    {
        return PS_JWT_CLAIM;
    }

    head.flags |= exp ? PS_TOKEN_EXP : 0;
    head.flags |= nbf ? PS_TOKEN_NBF : 0;

    if (exp && iat && iss && sub && jti && client && aud) {
        head.flags |= PS_TOKEN_RFC9068;
    }

    head.flags |= json_is_string(json_object_get(claims, "scope"))
                  ? PS_TOKEN_SCOPE : 0;

    head.flags |= ps_token_confirmation(json_object_get(claims, "cnf"));

    if (jws->typ) {
        if (ps_jws_typ_is(jws->typ, jws->typ_len, "at+jwt")) {
            head.flags |= PS_TOKEN_AT_JWT;

        } else if (!ps_jws_typ_is(jws->typ, jws->typ_len, "jwt")) {
            head.flags |= PS_TOKEN_OTHER_TYP;
        }
    }

    buf->len = 0;

    if (ps_token_grow(buf, sizeof(head)) != 0) {
        return PS_JWT_MEMORY;
    }

    buf->len = sizeof(head);

    if (ps_token_audience(buf, aud) != 0
        || ps_token_object(buf, PS_TOKEN_CLAIM, claims, path, 0, 1) != 0
        || ps_token_object(buf, PS_TOKEN_HEADER, jws->header, path, 0, 1)
           != 0)
    {
        return PS_JWT_MEMORY;
    }

    head.size = (uint32_t) buf->len;
    memcpy(buf->data, &head, sizeof(head));

    *token = (const ps_token_t *) buf->data;

    return PS_JWT_OK;
}


void
ps_token_buf_free(ps_token_buf_t *buf)
{
    free(buf->data);
    memset(buf, 0, sizeof(ps_token_buf_t));
}


int
ps_token_find(const ps_token_t *token, int kind, const void *name,
    size_t len, ps_token_text_t *text)
{
    ps_token_field_t      field;
    const unsigned char  *p, *end;

    p = (const unsigned char *) (token + 1);
    end = (const unsigned char *) token + token->size;

    while (p < end) {
        memcpy(&field, p, sizeof(field));
        p += sizeof(field);

        if (field.name_len == len && field.kind == (uint32_t) kind
            && memcmp(p, name, len) == 0)
        {
            text->data = p + len;
            text->len = field.text_len;
            return 1;
        }

        p += field.name_len + field.text_len;
    }

    return 0;
}


ps_jwt_error_e
ps_token_check(const ps_token_t *token, const ps_token_rules_t *rules,
    double now)
{
    size_t           i;
    ps_token_text_t  iss, aud;

    if (rules->iss.data
        && (!ps_token_find(token, PS_TOKEN_CLAIM, "iss", 3, &iss)
            || iss.len != rules->iss.len
            || memcmp(iss.data, rules->iss.data, iss.len) != 0))
    {
        return PS_JWT_ISS;
    }

    if (token->flags & PS_TOKEN_OTHER_TYP
        || (rules->at_jwt && !(token->flags & PS_TOKEN_AT_JWT)))
    {
        return PS_JWT_TYP;
    }

    if (!(token->flags & PS_TOKEN_EXP) && (rules->need_exp || rules->at_jwt)) {
        return PS_JWT_NO_EXP;
    }

    if (token->flags & PS_TOKEN_EXP && now >= token->exp + rules->leeway) {
        return PS_JWT_EXP;
    }

    if (token->flags & PS_TOKEN_NBF && now < token->nbf - rules->leeway) {
        return PS_JWT_NBF;
    }

    if (rules->at_jwt && !(token->flags & PS_TOKEN_RFC9068)) {
        return PS_JWT_MISSING;
    }

    /* a bound token whose binding nobody checks is no bearer token */

    if (token->flags & PS_TOKEN_BOUND
        && (token->flags & (PS_TOKEN_X5T|PS_TOKEN_JKT|PS_TOKEN_CNF)
            & ~rules->proofs))
    {
        return PS_JWT_BOUND;
    }

    if (rules->naudience == 0) {
        return PS_JWT_OK;
    }

    for (i = 0; i < rules->naudience; i++) {
        if (ps_token_find(token, PS_TOKEN_AUDIENCE, rules->audience[i].data,
                          rules->audience[i].len, &aud))
        {
            return PS_JWT_OK;
        }
    }

    return PS_JWT_AUD;
}
