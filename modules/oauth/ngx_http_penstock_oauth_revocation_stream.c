
/*
 * The stream of revocations in Redis: read by one request of the host at a
 * time, from where the last one stopped.
 */

#include "ngx_http_penstock_oauth_revocation.h"


/* entries asked for at once */

#define NGX_HTTP_PENSTOCK_OAUTH_REVOKED_COUNT   "1000"


static ngx_uint_t ngx_http_penstock_oauth_revoked_under_way(
    ngx_http_penstock_oauth_revocation_t *revocation,
    ngx_atomic_uint_t reading);
static void ngx_http_penstock_oauth_revoked_handler(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static ngx_int_t ngx_http_penstock_oauth_revoked_entries(
    ngx_http_penstock_oauth_revocation_t *revocation, redisReply *reply);
static void ngx_http_penstock_oauth_revoked_entry(
    ngx_http_penstock_oauth_revocation_t *revocation, redisReply *entry);


void
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

    if (revocation->call.pending
        || ngx_http_penstock_oauth_revoked_under_way(revocation, reading)
        || !ngx_http_penstock_redis_up(revocation->redis)
        || !ngx_atomic_cmp_set(&revoked->reading, reading,
                               ngx_max(ngx_current_msec, 1)))
    {
        return;
    }

    revoked->reader = ngx_pid;

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


static ngx_uint_t
ngx_http_penstock_oauth_revoked_under_way(
    ngx_http_penstock_oauth_revocation_t *revocation,
    ngx_atomic_uint_t reading)
{
    ngx_pid_t                           pid;
    ngx_msec_t                          age;
    ngx_http_penstock_oauth_revoked_t  *revoked;

    revoked = ngx_http_penstock_oauth_revoked_of(revocation);
    age = ngx_http_penstock_oauth_revoked_age(reading);

    if (age >= ngx_http_penstock_redis_timeout(revocation->redis)
               + NGX_HTTP_PENSTOCK_OAUTH_REVOKED_LATE)
    {
        return 0;
    }

    if (age < NGX_HTTP_PENSTOCK_OAUTH_REVOKED_LATE) {

        /* so late only those ask that wait: the call is worth it */

        return 1;
    }

    pid = revoked->reader;

    return kill(pid, 0) == 0 || ngx_errno != NGX_ESRCH;
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

        /* a worker that dies here leaves no half of a number */

        revoked->len = 0;
        ngx_memory_barrier();

        ngx_memcpy(revoked->id, id->str, id->len);

        ngx_http_penstock_kill_point("revoked-read");

        ngx_memory_barrier();
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

    ngx_http_penstock_kill_point("revoked-added");

    ngx_shmtx_unlock(&revoked->shpool->mutex);

    if (rc != 0 && !revoked->incomplete) {
        revoked->incomplete = 1;
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "revocations of redis \"%V\" don't fit: trim the stream "
                      "or make \"lifetime=\" shorter, then restart",
                      &revocation->name);
    }
}
