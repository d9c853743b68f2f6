
/*
 * Private to the credentials module: the gateway's own tokens for the ERP.
 */

#ifndef _NGX_HTTP_PENSTOCK_CREDENTIALS_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_CREDENTIALS_H_INCLUDED_


#include "ngx_http_penstock.h"
#include "ngx_http_penstock_exchange.h"
#include "ps_assertion.h"


#define NGX_HTTP_PENSTOCK_TOKEN_MAX  8192


typedef enum {
    NGX_HTTP_PENSTOCK_SECRET_UNSET = 0,
    NGX_HTTP_PENSTOCK_SECRET_BASIC,
    NGX_HTTP_PENSTOCK_SECRET_POST,
    NGX_HTTP_PENSTOCK_PRIVATE_KEY
} ngx_http_penstock_client_auth_e;


/* an "oauth_client" */

typedef struct {
    ngx_str_t                         name;
    u_char                           *file;      /* of the first reference */
    ngx_uint_t                        line;
    unsigned                          defined:1;

    ngx_str_t                         endpoint;
    ngx_str_t                         id;
    ngx_str_t                         secret;    /* or a key in PEM; wiped */
    ngx_http_penstock_client_auth_e   auth;
    ngx_int_t                         alg;       /* ps_assertion_alg_e */
    ngx_str_t                         key_id;
    ngx_str_t                         assertion_audience;
    ngx_str_t                         scope;
    ngx_str_t                         audience;
    ngx_str_t                         resource;
    ngx_msec_t                        refresh;   /* before the end */
    ngx_msec_t                        timeout;

    u_char                            print[NGX_HTTP_PENSTOCK_KEY_LEN];
    uint64_t                          reading;   /* of the configuration */
    ngx_shm_zone_t                   *zone;
    ngx_http_penstock_wait_t          wait;

    ngx_int_t                         fetched;   /* counters */
    ngx_int_t                         failed;
    ngx_int_t                         rejected;
} ngx_http_penstock_client_t;


/* somebody who needs a token: a main request, or an exchange at the gate */

typedef struct {
    ngx_http_penstock_client_t       *client;
    ngx_http_penstock_waiter_t        waiter;
    ngx_msec_t                        deadline;
    ngx_atomic_uint_t                 generation;    /* of the token used */
    unsigned                          asked:1;
} ngx_http_penstock_bearer_t;


typedef struct {
    ngx_str_t                         name;
    ngx_http_complex_value_t          value;
} ngx_http_penstock_identity_t;


typedef struct {
    ngx_array_t                       clients;
                                      /* ngx_http_penstock_client_t * */
    ngx_uint_t                        used;
} ngx_http_penstock_credentials_main_conf_t;


typedef struct {
    ngx_http_penstock_client_t       *client;
    ngx_array_t                      *identity;
                                      /* ngx_http_penstock_identity_t */
    ngx_uint_t                        own;       /* the client, not
                                                    inherited */
    ngx_uint_t                        names;     /* likewise "identity" */
} ngx_http_penstock_credentials_loc_conf_t;


/* directives */

char *ngx_http_penstock_client_block(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_penstock_erp_authorization(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_penstock_erp_identity(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* the client of that name, be it defined yet or not; NULL: no memory */

ngx_http_penstock_client_t *ngx_http_penstock_client(ngx_conf_t *cf,
    ngx_str_t *name);

/* the memory of a client that is defined */

ngx_int_t ngx_http_penstock_token_zone(ngx_conf_t *cf,
    ngx_http_penstock_client_t *client);


/*
 * "Bearer ..." in "pool".  NGX_OK; NGX_AGAIN: the bearer waits and will be
 * woken; NGX_DECLINED: there is none to be had now; NGX_ERROR.  "host" is the
 * main request that an exchange with the token endpoint may ride on.
 */

ngx_int_t ngx_http_penstock_token(ngx_http_penstock_bearer_t *bearer,
    ngx_http_request_t *host, ngx_pool_t *pool, ngx_str_t *value);

/* at configuration time: whether the gateway may set a request header of
   that name for the upstream; NGX_ERROR: reported already */

ngx_int_t ngx_http_penstock_upstream_name(ngx_conf_t *cf, ngx_str_t *name);

/* whether there seems to be one */

ngx_uint_t ngx_http_penstock_token_ready(ngx_http_penstock_client_t *client);

/* the same without waiting and asking: NGX_OK, NGX_DECLINED or NGX_ERROR */

ngx_int_t ngx_http_penstock_token_here(ngx_http_penstock_bearer_t *bearer,
    ngx_pool_t *pool, ngx_str_t *value);

/*
 * The ERP did not take it: nobody uses it again.  NGX_OK: a new one may do;
 * NGX_DECLINED: it was new.
 */

ngx_int_t ngx_http_penstock_token_rejected(
    ngx_http_penstock_bearer_t *bearer);

/* seconds until it is of use to ask again */

time_t ngx_http_penstock_token_pause(ngx_http_penstock_client_t *client);


/* for who asks the token endpoint */

ngx_int_t ngx_http_penstock_token_ask(ngx_http_penstock_client_t *client,
    ngx_http_request_t *host);
void ngx_http_penstock_token_store(ngx_http_penstock_client_t *client,
    u_char *token, size_t len, int64_t seconds);
void ngx_http_penstock_token_failed(ngx_http_penstock_client_t *client,
    ngx_uint_t pause);


/* _headers.c: what the request loses comes first, then what it gets */

ngx_int_t ngx_http_penstock_credentials_headers(ngx_http_request_t *r,
    ngx_http_penstock_credentials_loc_conf_t *clcf, ngx_str_t *token,
    ngx_array_t *headers);


extern ngx_http_penstock_gate_t  ngx_http_penstock_credentials_gate;
extern ngx_module_t  ngx_http_penstock_credentials_module;


#endif /* _NGX_HTTP_PENSTOCK_CREDENTIALS_H_INCLUDED_ */
