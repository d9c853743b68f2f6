
/*
 * OAuth resource server: what the files of this feature share.
 */

#ifndef _NGX_HTTP_PENSTOCK_OAUTH_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_OAUTH_H_INCLUDED_


#include "ngx_http_penstock.h"

#include "ps_jwk.h"
#include "ps_token.h"


/* keys tried for one token that has no "kid": each costs a signature check */

#define NGX_HTTP_PENSTOCK_OAUTH_TRIES   4

/* layout of the records in the zone: ps_token_t and its fields */

#define NGX_HTTP_PENSTOCK_OAUTH_LAYOUT  1


typedef enum {
    NGX_HTTP_PENSTOCK_OAUTH_ACCEPTED = 0,
    NGX_HTTP_PENSTOCK_OAUTH_NO_TOKEN,
    NGX_HTTP_PENSTOCK_OAUTH_INVALID_REQUEST,
    NGX_HTTP_PENSTOCK_OAUTH_INVALID_TOKEN,
    NGX_HTTP_PENSTOCK_OAUTH_INSUFFICIENT_SCOPE,
    NGX_HTTP_PENSTOCK_OAUTH_RESULTS
} ngx_http_penstock_oauth_result_e;


typedef struct {
    ngx_shm_zone_t                      *zone;
    ngx_uint_t                           used;      /* any "auth_jwt" on */
    ngx_array_t                          files;
                                         /* ngx_http_penstock_oauth_file_t */

    ngx_int_t                            results[
                                            NGX_HTTP_PENSTOCK_OAUTH_RESULTS];
    ngx_int_t                            hits;
    ngx_int_t                            misses;
    ngx_int_t                            checks;
} ngx_http_penstock_oauth_main_conf_t;


/* a key file, parsed once for all places that name it with these algorithms */

typedef struct {
    ngx_str_t                            path;
    unsigned                             algorithms;
    ps_jwks_t                           *set;
} ngx_http_penstock_oauth_file_t;


/* whose tokens are trusted; without an issuer, any that these keys signed */

typedef struct {
    ngx_str_t                            name;
    ps_token_rules_t                     rules;
    unsigned                             algorithms;
    ngx_array_t                          sets;      /* ps_jwks_t * */
} ngx_http_penstock_oauth_issuer_t;


typedef struct {
    ngx_http_complex_value_t             value;
    ngx_uint_t                           status;
} ngx_http_penstock_oauth_require_t;


typedef struct {
    ngx_flag_t                           enabled;
    ngx_http_complex_value_t            *realm;
    ngx_int_t                            token;     /* a variable's index */
    u_char                              *file;      /* of auth_jwt */
    ngx_uint_t                           line;

    ngx_array_t                         *issuers;
                                       /* ngx_http_penstock_oauth_issuer_t */
    ngx_uint_t                           bound;     /* by auth_jwt_issuer */
    u_char                               fingerprint[
                                                 NGX_HTTP_PENSTOCK_KEY_LEN];

    time_t                               leeway;
    ngx_array_t                         *scopes;    /* ngx_str_t */
    ngx_str_t                            scope;     /* all, with spaces */
    ngx_array_t                         *require;
                                       /* ngx_http_penstock_oauth_require_t */
} ngx_http_penstock_oauth_loc_conf_t;


/*
 * What is known of the request's token.  An internal redirect judges again,
 * and until then claims are seen only where the same issuers and keys, and
 * the same place for the token, are configured.
 */

typedef struct {
    ngx_http_penstock_oauth_loc_conf_t  *conf;
    const ps_token_t                    *token;     /* NULL: not accepted */
    const char                          *error;     /* for the log */
    ngx_http_penstock_oauth_result_e     result;
    ngx_table_elt_t                     *challenge;
} ngx_http_penstock_oauth_state_t;


extern ngx_module_t  ngx_http_penstock_oauth_module;


/* the ACCESS handler */

ngx_int_t ngx_http_penstock_oauth_handler(ngx_http_request_t *r);

/* adds $jwt_claim_, $jwt_header_ and $auth_jwt_error */

ngx_int_t ngx_http_penstock_oauth_add_variables(ngx_conf_t *cf);

/* auth_jwt_claim_set and auth_jwt_header_set; cmd->offset is the kind */

char *ngx_http_penstock_oauth_set_variable(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);

/*
 * auth_jwt_key_file and auth_jwt_issuer.
 */

char *ngx_http_penstock_oauth_key_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_penstock_oauth_issuer(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* the digest of all that a signature's verdict depends on */

ngx_int_t ngx_http_penstock_oauth_fingerprint(
    ngx_http_penstock_oauth_loc_conf_t *olcf);

/*
 * The verified token, in r->pool, from the zone or by its signature; it has
 * passed the location's rules.  PS_JWT_OK or the reason.
 */

ps_jwt_error_e ngx_http_penstock_oauth_verify(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf, ngx_str_t *text,
    const ps_token_t **token);


#endif /* _NGX_HTTP_PENSTOCK_OAUTH_H_INCLUDED_ */
