
/*
 * Revocation: a stream in Redis, which each host follows and holds in shared
 * memory.  A request looks there alone; one of a host's requests has the
 * stream read every half second, without waiting.  Only where that was not
 * done for a second does a request wait for it.
 */

#include "ngx_http_penstock_oauth_revocation.h"


#define NGX_HTTP_PENSTOCK_OAUTH_REVOKED_LAYOUT  2

#define NGX_HTTP_PENSTOCK_OAUTH_REVOKED_SLOTS   131072

/* the stream is read so often, and not trusted without for longer, ms */

#define NGX_HTTP_PENSTOCK_OAUTH_REVOKED_READ    500
#define NGX_HTTP_PENSTOCK_OAUTH_REVOKED_TRUST   1000


static ngx_int_t ngx_http_penstock_oauth_revoked_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data);
static ngx_http_penstock_oauth_revocation_t *
    ngx_http_penstock_oauth_revocation_get(ngx_conf_t *cf, ngx_str_t *name,
    time_t lifetime);
static ngx_atomic_t *ngx_http_penstock_oauth_revoked_ended(void *data);
static ngx_uint_t ngx_http_penstock_oauth_revoked_look(
    ngx_http_penstock_oauth_revoked_t *revoked, const ps_token_t *token);
static void ngx_http_penstock_oauth_revoked_leave(void *data);


char *
ngx_http_penstock_oauth_revocation_directive(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf)
{
    ngx_http_penstock_oauth_loc_conf_t *olcf = conf;

    time_t       lifetime;
    ngx_str_t   *value, name, s;
    ngx_uint_t   i;

    if (olcf->revocation != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        olcf->revocation = NULL;
        return NGX_CONF_OK;
    }

    ngx_str_null(&name);
    lifetime = 24 * 60 * 60;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "redis=", 6) == 0
            && value[i].len > 6)
        {
            name.data = value[i].data + 6;
            name.len = value[i].len - 6;
            continue;
        }

        if (ngx_strncmp(value[i].data, "lifetime=", 9) == 0) {
            s.data = value[i].data + 9;
            s.len = value[i].len - 9;

            lifetime = ngx_parse_time(&s, 1);

            if (lifetime > 0) {
                continue;
            }
        }

        if (ngx_strcmp(value[i].data, "fail=closed") == 0) {
            olcf->revocation_open = 0;
            continue;
        }

        if (ngx_strcmp(value[i].data, "fail=open") == 0) {
            olcf->revocation_open = 1;
            continue;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\", use redis=NAME "
                           "[lifetime=TIME] [fail=closed|open]", &value[i]);
        return NGX_CONF_ERROR;
    }

    if (name.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"auth_jwt_revocation\" needs \"redis=NAME\", the "
                           "block whose server has the revocations");
        return NGX_CONF_ERROR;
    }

    olcf->revocation = ngx_http_penstock_oauth_revocation_get(cf, &name,
                                                              lifetime);

    return olcf->revocation ? NGX_CONF_OK : NGX_CONF_ERROR;
}


/* one for each block, whatever locations name it */

static ngx_http_penstock_oauth_revocation_t *
ngx_http_penstock_oauth_revocation_get(ngx_conf_t *cf, ngx_str_t *name,
    time_t lifetime)
{
    u_char                                 *p;
    ngx_str_t                               zone;
    ngx_uint_t                              i;
    ngx_http_penstock_oauth_main_conf_t    *omcf;
    ngx_http_penstock_oauth_revocation_t  **known, *revocation;

    omcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_penstock_oauth_module);
    known = omcf->revocations.elts;

    for (i = 0; i < omcf->revocations.nelts; i++) {
        if (known[i]->name.len == name->len
            && ngx_memcmp(known[i]->name.data, name->data, name->len) == 0)
        {
            known[i]->lifetime = ngx_max(known[i]->lifetime, lifetime);
            return known[i];
        }
    }

    revocation = ngx_pcalloc(cf->pool,
                             sizeof(ngx_http_penstock_oauth_revocation_t));
    known = ngx_array_push(&omcf->revocations);
    p = ngx_pnalloc(cf->pool, sizeof("penstock_revoked:") + name->len);

    if (revocation == NULL || known == NULL || p == NULL) {
        return NULL;
    }

    *known = revocation;

    revocation->name = *name;
    revocation->lifetime = lifetime;

    revocation->redis = ngx_http_penstock_redis_ref(cf, name);
    if (revocation->redis == NULL) {
        return NULL;
    }

    zone.data = p;
    zone.len = ngx_sprintf(p, "penstock_revoked:%V", name) - p;

    revocation->zone = ngx_http_penstock_zone_add(cf, &zone,
                         sizeof(ngx_http_penstock_oauth_revoked_t)
                         + ps_revoked_size(
                                   NGX_HTTP_PENSTOCK_OAUTH_REVOKED_SLOTS)
                         + 32 * ngx_pagesize,
                         &ngx_http_penstock_oauth_module,
                         NGX_HTTP_PENSTOCK_OAUTH_REVOKED_LAYOUT,
                         ngx_http_penstock_oauth_revoked_init, revocation);
    if (revocation->zone == NULL) {
        return NULL;
    }

    ngx_http_penstock_wait_init(&revocation->wait,
                                ngx_http_penstock_oauth_revoked_ended,
                                revocation, &cf->cycle->new_log);

    return revocation;
}


static ngx_int_t
ngx_http_penstock_oauth_revoked_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data)
{
    u_char                              random[PS_SIPHASH_KEY_LEN];
    ngx_http_penstock_oauth_revoked_t  *revoked;

    revoked = ngx_slab_calloc(shpool,
                              sizeof(ngx_http_penstock_oauth_revoked_t)
                              + ps_revoked_size(
                                     NGX_HTTP_PENSTOCK_OAUTH_REVOKED_SLOTS));

    if (revoked == NULL
        || ngx_http_penstock_random(random, sizeof(random)) != NGX_OK)
    {
        return NGX_ERROR;
    }

    revoked->shpool = shpool;
    ps_revoked_init(&revoked->table, NGX_HTTP_PENSTOCK_OAUTH_REVOKED_SLOTS,
                    random);

    *data = revoked;

    return NGX_OK;
}


ngx_http_penstock_oauth_revoked_t *
ngx_http_penstock_oauth_revoked_of(
    ngx_http_penstock_oauth_revocation_t *revocation)
{
    return ngx_http_penstock_zone_data(revocation->zone);
}


static ngx_atomic_t *
ngx_http_penstock_oauth_revoked_ended(void *data)
{
    return &ngx_http_penstock_oauth_revoked_of(data)->ended;
}


ngx_int_t
ngx_http_penstock_oauth_revocation(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_state_t *state, ps_jwt_error_e *error)
{
    ngx_msec_t                             age;
    ngx_pool_cleanup_t                    *cln;
    ngx_http_penstock_oauth_revoked_t     *revoked;
    ngx_http_penstock_oauth_revocation_t  *revocation;

    revocation = olcf->revocation;
    revoked = ngx_http_penstock_oauth_revoked_of(revocation);
    *error = PS_JWT_OK;

    /* what is known to be revoked is, whatever else is not known */

    if (ngx_http_penstock_oauth_revoked_look(revoked, state->token)) {
        *error = PS_JWT_REVOKED;
        return NGX_OK;
    }

    age = ngx_http_penstock_oauth_revoked_age(revoked->synced);

    if (age >= NGX_HTTP_PENSTOCK_OAUTH_REVOKED_READ) {
        ngx_http_penstock_oauth_revoked_read(revocation);
    }

    if (age < NGX_HTTP_PENSTOCK_OAUTH_REVOKED_TRUST) {

        if (revoked->incomplete && !olcf->revocation_open) {
            *error = PS_JWT_NO_REVOCATION;
        }

        return NGX_OK;
    }

    if (state->revocation_waited == 0 && revoked->reading) {

        if (state->revocation == NULL) {
            cln = ngx_pool_cleanup_add(r->pool,
                                       sizeof(ngx_http_penstock_waiter_t));
            if (cln == NULL) {
                return NGX_ERROR;
            }

            ngx_memzero(cln->data, sizeof(ngx_http_penstock_waiter_t));
            cln->handler = ngx_http_penstock_oauth_revoked_leave;
            state->revocation = cln->data;
        }

        state->revocation_of = revocation;
        state->revocation_ended = revoked->ended;
        state->revocation_deadline = ngx_current_msec
                        + ngx_http_penstock_redis_timeout(revocation->redis)
                        + NGX_HTTP_PENSTOCK_OAUTH_REVOKED_LATE;

        return NGX_AGAIN;
    }

    if (!olcf->revocation_open) {
        *error = PS_JWT_NO_REVOCATION;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_oauth_revocation_wait(ngx_http_request_t *r,
    ngx_http_penstock_oauth_state_t *state)
{
    ngx_msec_t                             left;
    ngx_http_penstock_oauth_revoked_t     *revoked;
    ngx_http_penstock_oauth_revocation_t  *revocation;

    revocation = state->revocation_of;

    if (revocation == NULL) {
        return NGX_OK;
    }

    revoked = ngx_http_penstock_oauth_revoked_of(revocation);
    left = state->revocation_deadline - ngx_current_msec;

    if (revoked->ended == state->revocation_ended
        && (ngx_msec_int_t) left > 0)
    {
        ngx_http_penstock_oauth_revoked_read(revocation);

        ngx_http_penstock_wait_join(&revocation->wait, state->revocation, r);
        return ngx_http_penstock_park(r, left, 1);
    }

    ngx_http_penstock_wait_leave(state->revocation);

    state->revocation_of = NULL;
    state->revocation_waited = 1;

    return NGX_OK;
}


static void
ngx_http_penstock_oauth_revoked_leave(void *data)
{
    ngx_http_penstock_wait_leave(data);
}


/* ms; another worker's clock may be a little ahead.  0: never, so long ago */

ngx_msec_t
ngx_http_penstock_oauth_revoked_age(ngx_msec_t time)
{
    ngx_msec_int_t  age;

    if (time == 0) {
        return NGX_MAX_UINT32_VALUE;
    }

    age = (ngx_msec_int_t) (ngx_current_msec - time);

    return ngx_max(age, 0);
}


static ngx_uint_t
ngx_http_penstock_oauth_revoked_look(
    ngx_http_penstock_oauth_revoked_t *revoked, const ps_token_t *token)
{
    char               number[32];
    double             iat;
    ngx_uint_t         i, k, found;
    ps_token_text_t    text;
    ps_revoked_text_t  iss[2], value[3];

    static const struct {
        ps_revoked_kind_e   kind;
        const char         *claim;
    } names[] = {
        { PS_REVOKED_JTI, "jti" },
        { PS_REVOKED_SUB, "sub" },
        { PS_REVOKED_CLIENT, "client_id" }
    };

    ngx_memzero(iss, sizeof(iss));
    ngx_memzero(value, sizeof(value));

    iss[0].data = "";
    iss[1].data = "";

    if (ps_token_find(token, PS_TOKEN_CLAIM, "iss", 3, &text)) {
        iss[1].data = text.data;
        iss[1].len = text.len;
    }

    for (i = 0; i < 3; i++) {
        if (ps_token_find(token, PS_TOKEN_CLAIM, names[i].claim,
                          ngx_strlen(names[i].claim), &text))
        {
            value[i].data = text.data;
            value[i].len = text.len;
        }
    }

    /* a token that doesn't say when it was issued may be of any time */

    iat = 0;

    if (ps_token_find(token, PS_TOKEN_CLAIM, "iat", 3, &text)
        && text.len < sizeof(number))
    {
        ngx_memcpy(number, text.data, text.len);
        number[text.len] = '\0';
        iat = strtod(number, NULL);
    }

    found = 0;

    ngx_shmtx_lock(&revoked->shpool->mutex);

    for (i = 0; i < 3 && !found; i++) {
        for (k = 0; value[i].data && k < 2 && !found; k++) {
            found = ps_revoked_has(&revoked->table, names[i].kind, &iss[k],
                                   &value[i], iat);
        }
    }

    ngx_shmtx_unlock(&revoked->shpool->mutex);

    return found;
}
