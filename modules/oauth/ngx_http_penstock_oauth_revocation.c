
/*
 * Revocation: a stream in Redis, which each host follows and holds in shared
 * memory.  A request looks there alone; one of a host's requests has the
 * stream read every half second, without waiting.  Only where that was not
 * done for a second does a request wait for it.
 *
 * The mutex protects the table, the position in the stream and the look of
 * one request; the atomics are read without.
 */

#include "ngx_http_penstock_oauth.h"
#include "ngx_http_penstock_redis.h"

#include "ps_revoked.h"


#define NGX_HTTP_PENSTOCK_OAUTH_REVOKED_LAYOUT  1

#define NGX_HTTP_PENSTOCK_OAUTH_REVOKED_SLOTS   131072

/* the stream is read so often, and not trusted without for longer, ms */

#define NGX_HTTP_PENSTOCK_OAUTH_REVOKED_READ    500
#define NGX_HTTP_PENSTOCK_OAUTH_REVOKED_TRUST   1000

/* a reader that is so much later than its timeout is dead, ms */

#define NGX_HTTP_PENSTOCK_OAUTH_REVOKED_LATE    100

/* entries asked for at once */

#define NGX_HTTP_PENSTOCK_OAUTH_REVOKED_COUNT   "1000"

#define NGX_HTTP_PENSTOCK_OAUTH_REVOKED_ID      48


typedef struct {
    ngx_atomic_t        ended;       /* counts readings that ended */
    ngx_atomic_t        synced;      /* ms: all was known then; 0: never */
    ngx_atomic_t        reading;     /* ms: a reading began; 0: none */
    ngx_atomic_t        incomplete;  /* something did not fit */

    ngx_slab_pool_t    *shpool;
    size_t              len;         /* of the position */
    u_char              id[NGX_HTTP_PENSTOCK_OAUTH_REVOKED_ID];
    ps_revoked_t        table;
} ngx_http_penstock_oauth_revoked_t;


struct ngx_http_penstock_oauth_revocation_s {
    ngx_http_penstock_redis_t       *redis;
    ngx_str_t                        name;
    time_t                           lifetime;
    ngx_shm_zone_t                  *zone;

    /* of this worker */

    ngx_http_penstock_wait_t         wait;
    ngx_http_penstock_redis_call_t   call;
    ngx_msec_t                       began;
};


static ngx_int_t ngx_http_penstock_oauth_revoked_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data);
static ngx_http_penstock_oauth_revocation_t *
    ngx_http_penstock_oauth_revocation_get(ngx_conf_t *cf, ngx_str_t *name,
    time_t lifetime);
static ngx_atomic_t *ngx_http_penstock_oauth_revoked_ended(void *data);
static ngx_http_penstock_oauth_revoked_t *ngx_http_penstock_oauth_revoked_of(
    ngx_http_penstock_oauth_revocation_t *revocation);
static void ngx_http_penstock_oauth_revoked_read(
    ngx_http_penstock_oauth_revocation_t *revocation);
static void ngx_http_penstock_oauth_revoked_handler(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static ngx_int_t ngx_http_penstock_oauth_revoked_entries(
    ngx_http_penstock_oauth_revocation_t *revocation, redisReply *reply);
static void ngx_http_penstock_oauth_revoked_entry(
    ngx_http_penstock_oauth_revocation_t *revocation, redisReply *entry);
static ngx_msec_t ngx_http_penstock_oauth_revoked_age(ngx_msec_t time);
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


static ngx_http_penstock_oauth_revoked_t *
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

static ngx_msec_t
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


static void
ngx_http_penstock_oauth_revoked_read(
    ngx_http_penstock_oauth_revocation_t *revocation)
{
    u_char                              id[NGX_HTTP_PENSTOCK_OAUTH_REVOKED_ID];
    u_char                             *p;
    ngx_str_t                           argv[6];
    ngx_atomic_uint_t                   reading;
    ngx_http_penstock_oauth_revoked_t  *revoked;

    revoked = ngx_http_penstock_oauth_revoked_of(revocation);
    reading = revoked->reading;

    if (ngx_http_penstock_oauth_revoked_age(reading)
           < ngx_http_penstock_redis_timeout(revocation->redis)
             + NGX_HTTP_PENSTOCK_OAUTH_REVOKED_LATE)
    {
        return;
    }

    if (revocation->call.pending
        || !ngx_http_penstock_redis_up(revocation->redis)
        || !ngx_atomic_cmp_set(&revoked->reading, reading,
                               ngx_max(ngx_current_msec, 1)))
    {
        return;
    }

    ngx_str_set(&argv[0], "XREAD");
    ngx_str_set(&argv[1], "COUNT");
    ngx_str_set(&argv[2], NGX_HTTP_PENSTOCK_OAUTH_REVOKED_COUNT);
    ngx_str_set(&argv[3], "STREAMS");
    ngx_str_set(&argv[4], "penstock:revoked");

    ngx_shmtx_lock(&revoked->shpool->mutex);
    argv[5].len = ngx_min(revoked->len, sizeof(id));
    ngx_memcpy(id, revoked->id, argv[5].len);
    ngx_shmtx_unlock(&revoked->shpool->mutex);

    argv[5].data = id;

    if (argv[5].len == 0) {

        /* what is older means no token that is alive */

        p = ngx_sprintf(id, "%T-0", (ngx_time() > revocation->lifetime
                                     ? ngx_time() - revocation->lifetime : 0)
                                    * 1000);
        argv[5].len = p - id;
    }

    ngx_memzero(&revocation->call, sizeof(ngx_http_penstock_redis_call_t));
    revocation->call.handler = ngx_http_penstock_oauth_revoked_handler;
    revocation->call.data = revocation;
    revocation->began = ngx_current_msec;

    if (ngx_http_penstock_redis_send(revocation->redis, &revocation->call, 6,
                                     argv, 4)
        != NGX_OK)
    {
        revoked->reading = 0;
    }
}


static void
ngx_http_penstock_oauth_revoked_handler(ngx_http_penstock_redis_call_t *call,
    redisReply *reply)
{
    ngx_int_t                              n;
    ngx_http_penstock_oauth_revoked_t     *revoked;
    ngx_http_penstock_oauth_revocation_t  *revocation;

    revocation = call->data;
    revoked = ngx_http_penstock_oauth_revoked_of(revocation);

    n = NGX_ERROR;

    if (call->status == NGX_HTTP_PENSTOCK_REDIS_OK) {
        n = ngx_http_penstock_oauth_revoked_entries(revocation, reply);

    } else if (call->status == NGX_HTTP_PENSTOCK_REDIS_REFUSED) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "redis \"%V\" refuses to read revocations: \"%s\"",
                      &revocation->name, reply->str);
    }

    revoked->reading = 0;

    if (n > 0) {

        /* there may be more, and until that is read nothing is complete */

        ngx_http_penstock_oauth_revoked_read(revocation);

        if (revoked->reading) {
            return;
        }

    } else if (n == 0) {
        revoked->synced = ngx_max(revocation->began, 1);
    }

    (void) ngx_atomic_fetch_add(&revoked->ended, 1);
    ngx_http_penstock_wait_wake(&revocation->wait);
}


/* how many there were, or NGX_ERROR: no such answer */

static ngx_int_t
ngx_http_penstock_oauth_revoked_entries(
    ngx_http_penstock_oauth_revocation_t *revocation, redisReply *reply)
{
    size_t                              i;
    redisReply                         *entries, *id;
    ngx_http_penstock_oauth_revoked_t  *revoked;

    if (reply->type == REDIS_REPLY_NIL
        || (reply->type == REDIS_REPLY_ARRAY && reply->elements == 0))
    {
        return 0;
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 1
        || reply->element[0]->type != REDIS_REPLY_ARRAY
        || reply->element[0]->elements != 2
        || reply->element[0]->element[1]->type != REDIS_REPLY_ARRAY)
    {
        return NGX_ERROR;
    }

    entries = reply->element[0]->element[1];
    revoked = ngx_http_penstock_oauth_revoked_of(revocation);

    for (i = 0; i < entries->elements; i++) {

        if (entries->element[i]->type != REDIS_REPLY_ARRAY
            || entries->element[i]->elements != 2)
        {
            return NGX_ERROR;
        }

        id = entries->element[i]->element[0];

        if (id->type != REDIS_REPLY_STRING
            || (size_t) id->len > NGX_HTTP_PENSTOCK_OAUTH_REVOKED_ID)
        {
            return NGX_ERROR;
        }

        ngx_http_penstock_oauth_revoked_entry(revocation,
                                              entries->element[i]);

        /* the entry first: whoever dies between reads it again */

        ngx_shmtx_lock(&revoked->shpool->mutex);
        ngx_memcpy(revoked->id, id->str, id->len);
        revoked->len = id->len;
        ngx_shmtx_unlock(&revoked->shpool->mutex);
    }

    return entries->elements;
}


static void
ngx_http_penstock_oauth_revoked_entry(
    ngx_http_penstock_oauth_revocation_t *revocation, redisReply *entry)
{
    int                                 rc;
    size_t                              i;
    uint32_t                            when, before;
    ngx_int_t                           n;
    ngx_uint_t                          k;
    redisReply                         *fields, *name, *value;
    ps_revoked_text_t                   iss, text[3];
    ngx_http_penstock_oauth_revoked_t  *revoked;

    static const struct {
        ps_revoked_kind_e   kind;
        const char         *name;
    } kinds[] = {
        { PS_REVOKED_JTI, "jti" },
        { PS_REVOKED_SUB, "sub" },
        { PS_REVOKED_CLIENT, "client_id" }
    };

    revoked = ngx_http_penstock_oauth_revoked_of(revocation);
    fields = entry->element[1];

    ngx_memzero(text, sizeof(text));
    iss.data = "";
    iss.len = 0;

    /* an entry's number begins with its time in ms */

    when = (uint32_t) (strtoull(entry->element[0]->str, NULL, 10) / 1000);
    before = when;

    if (fields->type != REDIS_REPLY_ARRAY) {
        return;
    }

    for (i = 0; i + 1 < fields->elements; i += 2) {
        name = fields->element[i];
        value = fields->element[i + 1];

        if (name->type != REDIS_REPLY_STRING
            || value->type != REDIS_REPLY_STRING)
        {
            continue;
        }

        if (ngx_strcmp(name->str, "iss") == 0) {
            iss.data = value->str;
            iss.len = value->len;

        } else if (ngx_strcmp(name->str, "before") == 0) {
            n = ngx_atoi((u_char *) value->str, value->len);

            /* one that can't be read revokes more, not less */

            if (n >= 0 && n < PS_REVOKED_ALWAYS) {
                before = n;
            }

        } else {
            for (k = 0; k < 3; k++) {
                if (ngx_strcmp(name->str, kinds[k].name) == 0) {
                    text[k].data = value->str;
                    text[k].len = value->len;
                }
            }
        }
    }

    rc = 0;

    ngx_shmtx_lock(&revoked->shpool->mutex);

    for (k = 0; k < 3; k++) {
        if (text[k].data) {
            rc |= ps_revoked_add(&revoked->table, kinds[k].kind, &iss,
                                 &text[k],
                                 k == 0 ? PS_REVOKED_ALWAYS : before,
                                 when + (uint32_t) revocation->lifetime,
                                 (uint32_t) ngx_time());
        }
    }

    ngx_shmtx_unlock(&revoked->shpool->mutex);

    if (rc != 0 && !revoked->incomplete) {
        revoked->incomplete = 1;
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "revocations of redis \"%V\" don't fit: trim the stream "
                      "or make \"lifetime=\" shorter, then restart",
                      &revocation->name);
    }
}
