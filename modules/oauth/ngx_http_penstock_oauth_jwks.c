
/*
 * Key sets that issuers publish: the text in shared memory, once for each
 * internal location and server, and who fetches it.
 *
 * The mutex protects all but the three atomics.  A worker that dies while it
 * writes leaves a text that its digest doesn't fit; whoever reads it then
 * holds no keys, and the next token has them fetched again.
 *
 * A reload keeps the zone: the keys serve until the first fetch of the new
 * configuration, which is due at once.
 */

#include "ngx_http_penstock_oauth.h"


#define NGX_HTTP_PENSTOCK_OAUTH_JWKS_LAYOUT  1

/* a fetch that is not over after this has no leader any more, ms */

#define NGX_HTTP_PENSTOCK_OAUTH_JWKS_LOST    300000


typedef struct {
    ngx_atomic_t      generation;    /* counts texts; 0: none yet */
    ngx_atomic_t      ended;         /* counts fetches that ended */
    ngx_atomic_t      due;           /* ms: a refresh is wanted from then */

    ngx_pid_t         pid;           /* who fetches; 0: nobody */
    ngx_msec_t        since;         /* the last fetch began */
    ngx_uint_t        begun;         /* there was one */

    ngx_slab_pool_t  *shpool;
    u_char            digest[NGX_HTTP_PENSTOCK_KEY_LEN];
    size_t            len;
    u_char            text[NGX_HTTP_PENSTOCK_OAUTH_JWKS_MAX];
} ngx_http_penstock_oauth_jwks_t;


static ngx_http_penstock_oauth_jwks_t *ngx_http_penstock_oauth_jwks(
    ngx_http_penstock_oauth_source_t *source);
static ngx_int_t ngx_http_penstock_oauth_jwks_name(ngx_conf_t *cf,
    ngx_http_penstock_oauth_source_t *source, ngx_str_t *name);
static ngx_int_t ngx_http_penstock_oauth_jwks_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data);
static ngx_atomic_t *ngx_http_penstock_oauth_jwks_counter(void *data);
static void ngx_http_penstock_oauth_jwks_end(
    ngx_http_penstock_oauth_source_t *source);


ngx_http_penstock_oauth_source_t *
ngx_http_penstock_oauth_source(ngx_conf_t *cf, ngx_str_t *uri)
{
    ngx_str_t                              name;
    ngx_uint_t                             i;
    ngx_http_core_srv_conf_t              *cscf;
    ngx_http_penstock_oauth_source_t     **source, *s;
    ngx_http_penstock_oauth_main_conf_t   *omcf;

    omcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_penstock_oauth_module);
    cscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);

    source = omcf->sources.elts;

    for (i = 0; i < omcf->sources.nelts; i++) {
        if (source[i]->server == cscf && source[i]->uri.len == uri->len
            && ngx_memcmp(source[i]->uri.data, uri->data, uri->len) == 0)
        {
            return source[i];
        }
    }

    s = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_oauth_source_t));
    if (s == NULL) {
        return NULL;
    }

    s->uri = *uri;
    s->server = cscf;
    s->configured = ngx_current_msec;

    if (ngx_http_penstock_oauth_jwks_name(cf, s, &name) != NGX_OK) {
        return NULL;
    }

    s->zone = ngx_http_penstock_zone_add(cf, &name,
                              sizeof(ngx_http_penstock_oauth_jwks_t)
                              + 16 * ngx_pagesize,
                              &ngx_http_penstock_oauth_module,
                              NGX_HTTP_PENSTOCK_OAUTH_JWKS_LAYOUT,
                              ngx_http_penstock_oauth_jwks_init, s);
    if (s->zone == NULL) {
        return NULL;
    }

    ngx_http_penstock_wait_init(&s->wait,
                                ngx_http_penstock_oauth_jwks_counter, s,
                                &cf->cycle->new_log);

    source = ngx_array_push(&omcf->sources);
    if (source == NULL) {
        return NULL;
    }

    *source = s;

    return s;
}


/*
 * The same for the same server after a reload: by its name, and the n-th of
 * that name.
 */

static ngx_int_t
ngx_http_penstock_oauth_jwks_name(ngx_conf_t *cf,
    ngx_http_penstock_oauth_source_t *source, ngx_str_t *name)
{
    ngx_str_t                             *server;
    ngx_uint_t                             i, n;
    ngx_http_penstock_oauth_source_t     **other;
    ngx_http_penstock_oauth_main_conf_t   *omcf;

    omcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_penstock_oauth_module);
    server = &source->server->server_name;
    other = omcf->sources.elts;
    n = 0;

    for (i = 0; i < omcf->sources.nelts; i++) {
        if (other[i]->uri.len == source->uri.len
            && ngx_memcmp(other[i]->uri.data, source->uri.data,
                          source->uri.len) == 0
            && other[i]->server->server_name.len == server->len
            && ngx_memcmp(other[i]->server->server_name.data, server->data,
                          server->len) == 0)
        {
            n++;
        }
    }

    name->data = ngx_pnalloc(cf->pool, sizeof("penstock_keys::") - 1
                                       + server->len + source->uri.len
                                       + 1 + NGX_INT_T_LEN);
    if (name->data == NULL) {
        return NGX_ERROR;
    }

    name->len = ngx_sprintf(name->data, "penstock_keys:%V:%V", server,
                            &source->uri) - name->data;

    if (n) {
        name->len = ngx_sprintf(name->data + name->len, "#%ui", n)
                    - name->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_oauth_jwks_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data)
{
    ngx_http_penstock_oauth_jwks_t  *jwks;

    jwks = ngx_slab_calloc(shpool, sizeof(ngx_http_penstock_oauth_jwks_t));
    if (jwks == NULL) {
        return NGX_ERROR;
    }

    jwks->shpool = shpool;
    *data = jwks;

    return NGX_OK;
}


static ngx_http_penstock_oauth_jwks_t *
ngx_http_penstock_oauth_jwks(ngx_http_penstock_oauth_source_t *source)
{
    return ngx_http_penstock_zone_data(source->zone);
}


static ngx_atomic_t *
ngx_http_penstock_oauth_jwks_counter(void *data)
{
    return &ngx_http_penstock_oauth_jwks(data)->ended;
}


ngx_atomic_uint_t
ngx_http_penstock_oauth_jwks_ended(ngx_http_penstock_oauth_source_t *source)
{
    return ngx_http_penstock_oauth_jwks(source)->ended;
}


ngx_uint_t
ngx_http_penstock_oauth_live_changed(ngx_http_penstock_oauth_live_t *live)
{
    return ngx_http_penstock_oauth_jwks(live->source)->generation
           != live->generation;
}


ngx_int_t
ngx_http_penstock_oauth_live_update(ngx_http_penstock_oauth_live_t *live)
{
    char                             error[256];
    size_t                           len;
    u_char                          *copy;
    u_char                           digest[NGX_HTTP_PENSTOCK_KEY_LEN];
    u_char                           got[NGX_HTTP_PENSTOCK_KEY_LEN];
    ngx_str_t                        text;
    ps_jwks_t                       *set;
    ngx_atomic_uint_t                generation;
    ngx_http_penstock_oauth_jwks_t  *jwks;

    if (!ngx_http_penstock_oauth_live_changed(live)) {
        return NGX_OK;
    }

    jwks = ngx_http_penstock_oauth_jwks(live->source);

    copy = ngx_alloc(NGX_HTTP_PENSTOCK_OAUTH_JWKS_MAX, ngx_cycle->log);
    if (copy == NULL) {
        return NGX_ERROR;
    }

    ngx_shmtx_lock(&jwks->shpool->mutex);

    generation = jwks->generation;
    len = ngx_min(jwks->len, NGX_HTTP_PENSTOCK_OAUTH_JWKS_MAX);
    ngx_memcpy(copy, jwks->text, len);
    ngx_memcpy(digest, jwks->digest, NGX_HTTP_PENSTOCK_KEY_LEN);

    ngx_http_penstock_kill_point("jwks-copied");

    ngx_shmtx_unlock(&jwks->shpool->mutex);

    text.data = copy;
    text.len = len;

    if (ngx_http_penstock_sha256(&text, 1, got) != NGX_OK) {
        ngx_free(copy);
        return NGX_ERROR;
    }

    set = NULL;

    if (ngx_memcmp(got, digest, NGX_HTTP_PENSTOCK_KEY_LEN) == 0) {
        set = ps_jwks_parse(copy, len, live->algorithms, 0, error,
                            sizeof(error));
        if (set == NULL) {
            ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                          "key set of \"%V\": %s", &live->source->uri, error);
        }
    }

    ngx_free(copy);

    /* nobody uses the old one: a signature is checked in one go */

    ps_jwks_free(live->set);

    live->set = set;
    live->generation = generation;
    live->version++;

    return NGX_OK;
}


void
ngx_http_penstock_oauth_live_free(void *data)
{
    ngx_http_penstock_oauth_live_t *live = data;

    ps_jwks_free(live->set);
    live->set = NULL;
}


ngx_uint_t
ngx_http_penstock_oauth_jwks_due(ngx_http_penstock_oauth_source_t *source)
{
    ngx_http_penstock_oauth_jwks_t  *jwks;

    jwks = ngx_http_penstock_oauth_jwks(source);

    return (ngx_msec_int_t) (ngx_current_msec - jwks->due) >= 0
           || (ngx_msec_int_t) (source->configured - jwks->since) > 0;
}


ngx_int_t
ngx_http_penstock_oauth_jwks_lead(ngx_http_penstock_oauth_source_t *source,
    ngx_msec_t interval, ngx_uint_t due)
{
    ngx_int_t                        rc;
    ngx_msec_t                       since;
    ngx_http_penstock_oauth_jwks_t  *jwks;

    jwks = ngx_http_penstock_oauth_jwks(source);

    ngx_shmtx_lock(&jwks->shpool->mutex);

    since = ngx_http_penstock_age(jwks->since);

    if (jwks->pid && since < NGX_HTTP_PENSTOCK_OAUTH_JWKS_LOST
        && (kill(jwks->pid, 0) == 0 || ngx_errno != NGX_ESRCH))
    {
        rc = NGX_AGAIN;

    } else if ((due && !ngx_http_penstock_oauth_jwks_due(source))
               || (jwks->begun && jwks->pid == 0 && since < interval))
    {
        rc = NGX_DECLINED;

    } else {
        jwks->pid = ngx_pid;
        jwks->since = ngx_current_msec;
        jwks->begun = 1;
        rc = NGX_OK;

        ngx_http_penstock_kill_point("jwks-leading");
    }

    ngx_shmtx_unlock(&jwks->shpool->mutex);

    return rc;
}


void
ngx_http_penstock_oauth_jwks_store(ngx_http_penstock_oauth_source_t *source,
    ngx_str_t *text, u_char digest[NGX_HTTP_PENSTOCK_KEY_LEN],
    ngx_msec_t fresh)
{
    ngx_http_penstock_oauth_jwks_t  *jwks;

    jwks = ngx_http_penstock_oauth_jwks(source);

    ngx_shmtx_lock(&jwks->shpool->mutex);

    /* the same text again is no news, and what it verified stays known */

    if (jwks->generation == 0
        || ngx_memcmp(jwks->digest, digest, NGX_HTTP_PENSTOCK_KEY_LEN) != 0)
    {
        /* in this order, so that whoever dies here leaves no digest */

        ngx_memzero(jwks->digest, NGX_HTTP_PENSTOCK_KEY_LEN);
        ngx_memory_barrier();

        jwks->generation++;
        ngx_memcpy(jwks->text, text->data, text->len);

        ngx_http_penstock_kill_point("jwks-storing");

        jwks->len = text->len;

        ngx_memory_barrier();
        ngx_memcpy(jwks->digest, digest, NGX_HTTP_PENSTOCK_KEY_LEN);
    }

    jwks->due = ngx_current_msec + fresh;
    jwks->pid = 0;

    ngx_shmtx_unlock(&jwks->shpool->mutex);

    ngx_http_penstock_oauth_jwks_end(source);
}


void
ngx_http_penstock_oauth_jwks_failed(ngx_http_penstock_oauth_source_t *source)
{
    ngx_http_penstock_oauth_jwks_t  *jwks;

    jwks = ngx_http_penstock_oauth_jwks(source);

    ngx_shmtx_lock(&jwks->shpool->mutex);
    jwks->pid = 0;
    ngx_shmtx_unlock(&jwks->shpool->mutex);

    ngx_http_penstock_oauth_jwks_end(source);
}


static void
ngx_http_penstock_oauth_jwks_end(ngx_http_penstock_oauth_source_t *source)
{
    (void) ngx_atomic_fetch_add(ngx_http_penstock_oauth_jwks_counter(source),
                                1);

    ngx_http_penstock_wait_wake(&source->wait);
}
