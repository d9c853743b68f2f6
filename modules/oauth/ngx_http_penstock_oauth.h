
/*
 * OAuth resource server: what the files of this feature share.
 */

#ifndef _NGX_HTTP_PENSTOCK_OAUTH_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_OAUTH_H_INCLUDED_


#include "ngx_http_penstock.h"
#include "ngx_http_penstock_exchange.h"
#include "ngx_http_penstock_redis.h"

#include "ps_dpop.h"
#include "ps_jwk.h"
#include "ps_token.h"


/* keys tried for one token that has no "kid": each costs a signature check */

#define NGX_HTTP_PENSTOCK_OAUTH_TRIES   4

/* layout of the records in the zone: ps_token_t and its fields */

#define NGX_HTTP_PENSTOCK_OAUTH_LAYOUT  3


/* of auth_dpop and auth_mtls_bound; "on" is 1 */

#define NGX_HTTP_PENSTOCK_OAUTH_REQUIRED  2


typedef struct ngx_http_penstock_oauth_revocation_s
    ngx_http_penstock_oauth_revocation_t;


typedef enum {
    NGX_HTTP_PENSTOCK_OAUTH_ACCEPTED = 0,
    NGX_HTTP_PENSTOCK_OAUTH_NO_TOKEN,
    NGX_HTTP_PENSTOCK_OAUTH_INVALID_REQUEST,
    NGX_HTTP_PENSTOCK_OAUTH_INVALID_TOKEN,
    NGX_HTTP_PENSTOCK_OAUTH_INVALID_PROOF,
    NGX_HTTP_PENSTOCK_OAUTH_USE_NONCE,
    NGX_HTTP_PENSTOCK_OAUTH_INSUFFICIENT_SCOPE,
    NGX_HTTP_PENSTOCK_OAUTH_UNAVAILABLE,
    NGX_HTTP_PENSTOCK_OAUTH_RESULTS
} ngx_http_penstock_oauth_result_e;


/* DPoP proofs that were seen: auth_dpop_zone */

typedef struct {
    ngx_shm_zone_t                      *zone;
    ngx_http_penstock_redis_t           *redis;     /* NULL: this host's */
    ngx_uint_t                           open;      /* without Redis */
    ngx_str_t                            nonce_key; /* empty: the zone's */
    ngx_int_t                            unknown;   /* counter */
} ngx_http_penstock_oauth_proofs_t;


typedef struct {
    ngx_shm_zone_t                      *zone;
    ngx_http_penstock_oauth_proofs_t     proofs;
    ngx_uint_t                           dpop;      /* any "auth_dpop" on */
    ngx_shm_zone_t                      *calls;     /* introspections */
    ngx_shm_zone_t                      *calls_end; /* counts their ends */
    ngx_http_penstock_wait_t             calls_wait;
    ngx_uint_t                           introspects;
    ngx_uint_t                           used;      /* any "auth_jwt" on */
    ngx_array_t                          files;
                                         /* ngx_http_penstock_oauth_file_t */
    ngx_array_t                          sources;
                                     /* ngx_http_penstock_oauth_source_t * */
    ngx_array_t                          live;
                                       /* ngx_http_penstock_oauth_live_t * */
    ngx_array_t                          revocations;
                                 /* ngx_http_penstock_oauth_revocation_t * */
    ngx_array_t                          resources;
                                   /* ngx_http_penstock_oauth_resource_t * */

    ngx_int_t                            results[
                                            NGX_HTTP_PENSTOCK_OAUTH_RESULTS];
    ngx_int_t                            hits;
    ngx_int_t                            misses;
    ngx_int_t                            checks;
    ngx_int_t                            fetched;
    ngx_int_t                            fetch_errors;
    ngx_int_t                            active;
    ngx_int_t                            inactive;
    ngx_int_t                            ask_errors;
    ngx_int_t                            shared;
} ngx_http_penstock_oauth_main_conf_t;


/* a key file, parsed once for all places that name it with these algorithms */

typedef struct {
    ngx_str_t                            path;
    unsigned                             algorithms;
    ps_jwks_t                           *set;
} ngx_http_penstock_oauth_file_t;


/*
 * A key set that an issuer publishes, fetched through an internal location of
 * one server and held in a zone for all workers.
 */

typedef struct {
    ngx_str_t                            uri;
    ngx_http_core_srv_conf_t            *server;
    ngx_shm_zone_t                      *zone;
    ngx_msec_t                           configured;
    ngx_http_penstock_wait_t             wait;      /* of this worker */
} ngx_http_penstock_oauth_source_t;


/* its keys of some algorithms, parsed in this worker when they change */

typedef struct {
    ngx_http_penstock_oauth_source_t    *source;
    unsigned                             algorithms;
    ps_jwks_t                           *set;       /* NULL: none held */
    ngx_atomic_uint_t                    generation;
    uint64_t                             version;   /* counts new sets */
} ngx_http_penstock_oauth_live_t;


/* whose tokens are trusted; without an issuer, any that these keys signed */

typedef struct {
    ngx_str_t                            name;
    ps_token_rules_t                     rules;
    unsigned                             algorithms;
    ngx_array_t                          sets;      /* ps_jwks_t * */
    ngx_array_t                          requests;  /* ngx_str_t, URIs */
} ngx_http_penstock_oauth_issuer_t;


/*
 * What a location trusts at this moment.  The issuers are those of its
 * configuration; live keys, and so the fingerprint, change while it runs, in
 * each worker for itself.
 */

typedef struct {
    ngx_http_penstock_oauth_live_t     **live;      /* of all issuers */
    ngx_uint_t                           nlive;
    ngx_uint_t                          *first;     /* in live, by issuer;
                                                       and the end */
    uint64_t                             version;
    u_char                               fingerprint[
                                                 NGX_HTTP_PENSTOCK_KEY_LEN];
} ngx_http_penstock_oauth_trust_t;


typedef struct {
    ngx_http_complex_value_t             value;
    ngx_uint_t                           status;
} ngx_http_penstock_oauth_require_t;


/* RFC 9728: what this resource tells of itself, and where */

typedef struct {
    ngx_str_t                            id;
    ngx_array_t                          servers;   /* ngx_str_t */
    ngx_array_t                          scopes;    /* ngx_str_t */
    ngx_str_t                            name;
    ngx_str_t                            documentation;
    ngx_str_t                            url;       /* of the document */
    ngx_str_t                            path;      /* of that */

    ngx_http_core_srv_conf_t            *server;
    ngx_str_t                            document;
} ngx_http_penstock_oauth_resource_t;


/* where to ask about tokens that can't be read */

typedef struct {
    ngx_str_t                            uri;
    time_t                               cache;
    time_t                               negative;
    ngx_msec_t                           timeout;
    ps_token_rules_t                     rules;
    u_char                               salt[NGX_HTTP_PENSTOCK_KEY_LEN];
                                                    /* of server and URI */
    ngx_http_penstock_redis_t           *redis;     /* NULL: this host's */
    u_char                               shared[NGX_HTTP_PENSTOCK_KEY_LEN];
                                                    /* salt in Redis */
} ngx_http_penstock_oauth_introspect_t;


typedef struct {
    ngx_flag_t                           enabled;
    ngx_http_complex_value_t            *realm;
    ngx_int_t                            token;     /* a variable's index */
    ngx_uint_t                           query;     /* of the query string */
    u_char                              *file;      /* of auth_jwt */
    ngx_uint_t                           line;

    ngx_array_t                         *issuers;
                                       /* ngx_http_penstock_oauth_issuer_t */
    ngx_uint_t                           bound;     /* by auth_jwt_issuer */
    ngx_http_penstock_oauth_trust_t     *trust;
    ngx_http_penstock_oauth_introspect_t *introspect;
    ngx_http_penstock_oauth_resource_t  *resource;
    ngx_http_penstock_oauth_revocation_t *revocation;
    ngx_uint_t                           revocation_open;

    time_t                               key_cache;
    time_t                               key_refetch;
    ngx_msec_t                           key_timeout;

    ngx_uint_t                           mtls;
    ngx_uint_t                           dpop;
    time_t                               dpop_window;
    time_t                               dpop_nonce; /* 0: not asked for */
    ngx_http_complex_value_t            *dpop_uri;

    time_t                               leeway;
    ngx_array_t                         *scopes;    /* ngx_str_t */
    ngx_str_t                            scope;     /* all, with spaces */
    ngx_array_t                         *require;
                                       /* ngx_http_penstock_oauth_require_t */
} ngx_http_penstock_oauth_loc_conf_t;


/*
 * One fetch of a key set by a request, which leads it or follows another.
 */

typedef struct {
    ngx_http_request_t                  *request;
    ngx_http_penstock_oauth_loc_conf_t  *conf;
    ngx_http_penstock_oauth_source_t    *source;
    ngx_http_penstock_exchange_t         exchange;
    ngx_http_penstock_waiter_t           waiter;
    ngx_atomic_uint_t                    ended;     /* at its start */
    ngx_msec_t                           deadline;
    unsigned                             leads:1;
} ngx_http_penstock_oauth_fetch_t;


/* one introspection by a request, which leads it or follows another */

typedef struct {
    ngx_http_request_t                  *request;
    ngx_http_penstock_oauth_loc_conf_t  *conf;
    ngx_http_penstock_exchange_t         exchange;
    ngx_http_penstock_waiter_t           waiter;
    ngx_msec_t                           deadline;
    u_char                               key[NGX_HTTP_PENSTOCK_KEY_LEN];
    ngx_str_t                            text;      /* the token */
    ngx_http_penstock_redis_call_t       call;
    const ps_token_t                    *token;     /* when answered */
    ps_jwt_error_e                       error;
    unsigned                             leads:1;
    unsigned                             read:1;    /* Redis' answer came */
    unsigned                             answered:1;
    unsigned                             over:1;    /* the other's */
} ngx_http_penstock_oauth_ask_t;


/* a DPoP proof that Redis is asked about */

typedef struct {
    ngx_http_request_t                  *request;
    ngx_http_penstock_oauth_loc_conf_t  *conf;
    ngx_table_elt_t                     *proof;
    ngx_http_penstock_redis_call_t       call;
    u_char                               id[NGX_HTTP_PENSTOCK_KEY_LEN];
    ngx_int_t                            result;    /* NGX_BUSY: none */
    unsigned                             done:1;
} ngx_http_penstock_oauth_mark_t;


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
    ngx_http_penstock_oauth_fetch_t     *fetch;     /* parked for it */
    ngx_uint_t                           fetches;
    ngx_http_penstock_oauth_ask_t       *ask;

    ngx_http_penstock_oauth_revocation_t *revocation_of;   /* waits for it */
    ngx_http_penstock_waiter_t          *revocation;
    ngx_atomic_uint_t                    revocation_ended; /* at the start */
    ngx_msec_t                           revocation_deadline;
    ngx_uint_t                           revocation_waited;

    u_char                               proof[NGX_HTTP_PENSTOCK_KEY_LEN];
                                                    /* of DPoP, accepted */
    ngx_http_penstock_oauth_mark_t      *mark;
    ngx_table_elt_t                     *nonce;     /* DPoP-Nonce */
    ngx_table_elt_t                     *query;     /* Cache-Control */
} ngx_http_penstock_oauth_state_t;


typedef struct {
    ngx_http_penstock_oauth_result_e   result;
    ngx_uint_t                         status;
    const char                        *error;        /* for the log */
    const char                        *description;  /* for the client */
    ngx_uint_t                         dpop;         /* the scheme */
} ngx_http_penstock_oauth_verdict_t;


extern ngx_module_t  ngx_http_penstock_oauth_module;

/* no module: what tells auth_dpop_zone from auth_jwt_zone */

extern ngx_module_t  ngx_http_penstock_oauth_proofs_tag;


/* the ACCESS handler */

ngx_int_t ngx_http_penstock_oauth_handler(ngx_http_request_t *r);

/*
 * _challenge.c: the challenge and the problem of a verdict; returns what the
 * handler returns.
 */

ngx_int_t ngx_http_penstock_oauth_refuse(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_state_t *state,
    ngx_http_penstock_oauth_verdict_t *verdict);

/* _conf.c */

void *ngx_http_penstock_oauth_create_main_conf(ngx_conf_t *cf);
char *ngx_http_penstock_oauth_init_main_conf(ngx_conf_t *cf, void *conf);
void *ngx_http_penstock_oauth_create_loc_conf(ngx_conf_t *cf);
char *ngx_http_penstock_oauth_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);

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

char *ngx_http_penstock_oauth_key_request(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_penstock_oauth_key_cache(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/* _trust.c: what a location trusts */

/* at the end of the configuration, for the issuers of a location */

ngx_int_t ngx_http_penstock_oauth_trust_init(ngx_conf_t *cf,
    ngx_http_penstock_oauth_loc_conf_t *olcf);

/*
 * Takes up key sets that changed, and then makes the fingerprint anew: the
 * digest of all that a signature's verdict depends on.
 */

ngx_int_t ngx_http_penstock_oauth_trust_update(
    ngx_http_penstock_oauth_loc_conf_t *olcf);


/* _jwks.c: published key sets, in their zones */

/* the source's zone for this server, made once; NULL: reported */

ngx_http_penstock_oauth_source_t *ngx_http_penstock_oauth_source(
    ngx_conf_t *cf, ngx_str_t *uri);

/*
 * Whether the zone holds another set than this worker; update takes it up.
 * NGX_ERROR: no memory.
 */

ngx_uint_t ngx_http_penstock_oauth_live_changed(
    ngx_http_penstock_oauth_live_t *live);

ngx_int_t ngx_http_penstock_oauth_live_update(
    ngx_http_penstock_oauth_live_t *live);
void ngx_http_penstock_oauth_live_free(void *live);

/*
 * Who fetches: NGX_OK: the caller does, and must call _store or _failed;
 * NGX_AGAIN: another does; NGX_DECLINED: it was done less than "interval" ms
 * ago.  "due": only when a refresh is due.  No longer than a look under lock.
 */

ngx_int_t ngx_http_penstock_oauth_jwks_lead(
    ngx_http_penstock_oauth_source_t *source, ngx_msec_t interval,
    ngx_uint_t due);

/* whether a refresh is due; no lock */

ngx_uint_t ngx_http_penstock_oauth_jwks_due(
    ngx_http_penstock_oauth_source_t *source);

/* fetches that ended, in any worker */

ngx_atomic_uint_t ngx_http_penstock_oauth_jwks_ended(
    ngx_http_penstock_oauth_source_t *source);

/* the leader's end: with a set that is good for "fresh" ms, or without */

void ngx_http_penstock_oauth_jwks_store(
    ngx_http_penstock_oauth_source_t *source, ngx_str_t *text,
    u_char digest[NGX_HTTP_PENSTOCK_KEY_LEN], ngx_msec_t fresh);
void ngx_http_penstock_oauth_jwks_failed(
    ngx_http_penstock_oauth_source_t *source);

#define NGX_HTTP_PENSTOCK_OAUTH_JWKS_MAX  131072    /* bytes of a set */


/* _fetch.c: fetching them */

/*
 * A token needs a key of that issuer which is not held.  NGX_AGAIN: to be
 * judged again after a wait for "state->fetch", if that is set; NGX_DECLINED:
 * no fetch now; NGX_ERROR.
 */

ngx_int_t ngx_http_penstock_oauth_fetch(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_state_t *state, ngx_uint_t issuer);

/* parks for state->fetch: NGX_AGAIN, or NGX_OK when it is over */

ngx_int_t ngx_http_penstock_oauth_fetch_wait(ngx_http_request_t *r,
    ngx_http_penstock_oauth_state_t *state);

/* starts in the background what is due; the request goes on */

ngx_int_t ngx_http_penstock_oauth_refresh(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf);


/* _introspect.c: opaque tokens */

/*
 * NGX_OK: the token, or the reason in "error"; NGX_AGAIN: the server is
 * asked; NGX_ERROR.  _wait parks for it: NGX_AGAIN, or NGX_OK when over.
 */

ngx_int_t ngx_http_penstock_oauth_introspect(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_state_t *state, ngx_str_t *text,
    const ps_token_t **token, ps_jwt_error_e *error);
ngx_int_t ngx_http_penstock_oauth_introspect_wait(ngx_http_request_t *r,
    ngx_http_penstock_oauth_state_t *state);

/* _introspect_conf.c */

char *ngx_http_penstock_oauth_introspect_directive(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);

/* for a location's server: *introspect becomes its own */

ngx_int_t ngx_http_penstock_oauth_introspect_merge(ngx_conf_t *cf,
    ngx_http_penstock_oauth_introspect_t **introspect);

/* zones and counters, when it is used anywhere */

ngx_int_t ngx_http_penstock_oauth_introspect_init(ngx_conf_t *cf,
    ngx_http_penstock_oauth_main_conf_t *omcf);
ngx_atomic_t *ngx_http_penstock_oauth_calls_ended(void *omcf);

/* _lists.c: lists with commas between */

char *ngx_http_penstock_oauth_algorithms(ngx_conf_t *cf, ngx_str_t *list,
    unsigned *algorithms);
char *ngx_http_penstock_oauth_audience(ngx_conf_t *cf, ngx_str_t *list,
    ps_token_rules_t *rules);


/* _revocation.c */

char *ngx_http_penstock_oauth_revocation_directive(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);

/*
 * NGX_OK: whether state->token is revoked is in "error"; NGX_AGAIN: the
 * stream is being read; NGX_ERROR.  _wait parks for it, NGX_OK when over.
 */

ngx_int_t ngx_http_penstock_oauth_revocation(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_state_t *state, ps_jwt_error_e *error);
ngx_int_t ngx_http_penstock_oauth_revocation_wait(ngx_http_request_t *r,
    ngx_http_penstock_oauth_state_t *state);


/* _resource.c: protected resource metadata */

char *ngx_http_penstock_oauth_resource_directive(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);

/* makes the document of a level, if its server has none for that resource */

ngx_int_t ngx_http_penstock_oauth_resource_merge(ngx_conf_t *cf,
    ngx_http_penstock_oauth_loc_conf_t *olcf);

/* answers a request for a document, or NGX_DECLINED */

ngx_int_t ngx_http_penstock_oauth_resource(ngx_http_request_t *r);


/* _bound.c: sender-constrained tokens */

/*
 * Whether the sender of "text", which is state->token, proved what it is bound
 * to; verdict->dpop: it was sent by that scheme.  NGX_OK; NGX_DECLINED with a
 * verdict; NGX_AGAIN: Redis is asked; NGX_ERROR.
 */

ngx_int_t ngx_http_penstock_oauth_possession(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_state_t *state, ngx_str_t *text,
    ngx_http_penstock_oauth_verdict_t *verdict);

/* _dpop.c: the same for a token that is bound to that key's thumbprint */

ngx_int_t ngx_http_penstock_oauth_dpop(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_state_t *state, ngx_str_t *token,
    ps_token_text_t *jkt, ngx_http_penstock_oauth_verdict_t *verdict);

/* parks for Redis: NGX_AGAIN, or NGX_OK when it is over */

ngx_int_t ngx_http_penstock_oauth_dpop_wait(ngx_http_request_t *r,
    ngx_http_penstock_oauth_state_t *state);

/* _dpop_conf.c */

char *ngx_http_penstock_oauth_dpop_directive(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
char *ngx_http_penstock_oauth_dpop_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/*
 * The zone of verified tokens.  cached: a copy in r->pool and NGX_OK, or NULL
 * with NGX_DECLINED or NGX_ERROR.
 */

ps_token_t *ngx_http_penstock_oauth_cached(ngx_http_request_t *r,
    u_char *key, ngx_int_t *rc);
void ngx_http_penstock_oauth_keep(ngx_http_penstock_oauth_main_conf_t *omcf,
    u_char *key, const ps_token_t *token);

/*
 * The verified token, in r->pool, from the zone or by its signature; it has
 * passed the location's rules.  PS_JWT_OK or the reason; with PS_JWT_KEY and
 * PS_JWT_NO_KEYS also whose key is missing.
 */

ps_jwt_error_e ngx_http_penstock_oauth_verify(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf, ngx_str_t *text,
    const ps_token_t **token, ngx_uint_t *issuer);


#endif /* _NGX_HTTP_PENSTOCK_OAUTH_H_INCLUDED_ */
