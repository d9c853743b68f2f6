
/*
 * A verified token as one flat piece of memory: what a location needs to
 * judge it and what variables print, so that a copy of it in shared memory
 * answers without any JSON.  Position-independent.
 */

#ifndef PS_TOKEN_H
#define PS_TOKEN_H


#include <stddef.h>
#include <stdint.h>

#include "ps_jws.h"


#define PS_TOKEN_DEPTH      8       /* of objects whose members have names */
#define PS_TOKEN_MAX_DATE   253402300799.0          /* the end of year 9999 */


/* kinds of fields */

#define PS_TOKEN_HEADER     'h'     /* text of a header member */
#define PS_TOKEN_CLAIM      'c'     /* text of a claim */
#define PS_TOKEN_AUDIENCE   'a'     /* one audience, its name */


/* flags */

#define PS_TOKEN_EXP        0x0001
#define PS_TOKEN_NBF        0x0002
#define PS_TOKEN_AT_JWT     0x0004  /* typ at+jwt */
#define PS_TOKEN_OTHER_TYP  0x0008  /* typ neither that nor JWT nor absent */
#define PS_TOKEN_BOUND      0x0010  /* cnf: needs proof of possession */
#define PS_TOKEN_RFC9068    0x0020  /* has all claims of RFC 9068, 2.2 */
#define PS_TOKEN_SCOPE      0x0040  /* scope is there, and a string */
#define PS_TOKEN_X5T        0x0080  /* cnf has x5t#S256 (RFC 8705) */
#define PS_TOKEN_JKT        0x0100  /* cnf has jkt (RFC 9449) */
#define PS_TOKEN_CNF        0x0200  /* cnf has something else */


typedef struct {
    uint32_t     size;              /* of all, fields included */
    uint32_t     flags;
    double       exp;               /* seconds since the epoch */
    double       nbf;
    double       until;             /* of an introspected one: what was said
                                       counts till then */
} ps_token_t;


/* a buffer that grows; zeroed at first, reused for the next token */

typedef struct {
    unsigned char  *data;
    size_t          len;
    size_t          size;
} ps_token_buf_t;


typedef struct {
    const unsigned char  *data;
    size_t                len;
} ps_token_text_t;


/* what a location asks of a token */

typedef struct {
    ps_token_text_t   iss;          /* data NULL: any */
    ps_token_text_t  *audience;     /* any of them */
    size_t            naudience;    /* 0: not checked */
    double            leeway;       /* seconds */
    int               at_jwt;       /* RFC 9068 */
    int               need_exp;
    uint32_t          proofs;       /* PS_TOKEN_X5T, PS_TOKEN_JKT: what the
                                       caller has checked by itself */
} ps_token_rules_t;


/*
 * Parses the payload: a JSON object with unique names (RFC 7519, 4).
 * *claims is the caller's to json_decref().
 */

ps_jwt_error_e ps_token_claims(const ps_jws_t *jws, json_t **claims);

/*
 * Makes the flat form.  Registered claims must be of their type: iss, sub,
 * jti, client_id strings, aud a string or an array of strings, exp, nbf, iat
 * numbers from 0 to the year 9999 (a date beyond is a mistake, such as
 * milliseconds, that would make a token eternal).
 *
 * Texts: a string is itself, a number or boolean its JSON, an array its
 * elements with commas between, an object its JSON; null has none.  Members
 * of objects have names joined by zero bytes: "realm_access\0roles".
 *
 * The result is in buf->data until the next call.
 */

ps_jwt_error_e ps_token_build(ps_token_buf_t *buf, const ps_jws_t *jws,
    json_t *claims, const ps_token_t **token);
void ps_token_buf_free(ps_token_buf_t *buf);

/* 1 and the text, which lies in the token; or 0 */

int ps_token_find(const ps_token_t *token, int kind, const void *name,
    size_t len, ps_token_text_t *text);

/* All that may change with time or location.  "now" in seconds. */

ps_jwt_error_e ps_token_check(const ps_token_t *token,
    const ps_token_rules_t *rules, double now);


#endif /* PS_TOKEN_H */
