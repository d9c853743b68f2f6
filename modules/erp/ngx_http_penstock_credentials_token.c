
/*
 * The token of a client in shared memory, and who asks for a new one.
 *
 * The mutex protects all but the two atomics; nothing but copies is done
 * under it.  A worker that dies while it writes leaves a length of 0 or a
 * token whose end it has not set yet: none, either way.  One that dies while
 * it asks is found dead by the next that wants to.
 *
 * A reload keeps the memory; the token serves on where the client is the
 * same, which its print says.  A failure holds for the configuration that it
 * was had with: a corrected secret is tried at once.
 */

#include "ngx_http_penstock_credentials.h"


#define NGX_HTTP_PENSTOCK_TOKEN_LAYOUT  2

/* a question that is not over after this has nobody who asks, ms */

#define NGX_HTTP_PENSTOCK_TOKEN_LOST    120000

/* after a failure, doubled with each, ms */

#define NGX_HTTP_PENSTOCK_TOKEN_PAUSE   1000
#define NGX_HTTP_PENSTOCK_TOKEN_PAUSES  5

/* one that is refused so soon would be so again, ms */

#define NGX_HTTP_PENSTOCK_TOKEN_NEW     1000

/* of one without expires_in, s */

#define NGX_HTTP_PENSTOCK_TOKEN_LIFE    300


typedef struct {
    ngx_atomic_t      generation;    /* counts tokens that came and went */
    ngx_atomic_t      ended;         /* counts questions that ended */

    ngx_slab_pool_t  *shpool;
    ngx_pid_t         pid;           /* who asks; 0: nobody */
    ngx_msec_t        since;
    uint64_t          failed;        /* which configuration */
    ngx_msec_t        pause;         /* until then; 0: no failure */
    ngx_uint_t        failures;

    u_char            print[NGX_HTTP_PENSTOCK_KEY_LEN];
    ngx_msec_t        made;
    ngx_msec_t        due;           /* to be renewed */
    ngx_msec_t        end;
    size_t            len;           /* 0: none */
    u_char            token[NGX_HTTP_PENSTOCK_TOKEN_MAX];
} ngx_http_penstock_token_t;


static ngx_int_t ngx_http_penstock_token_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data);
static ngx_atomic_t *ngx_http_penstock_token_ended(void *data);
static ngx_int_t ngx_http_penstock_token_copy(
    ngx_http_penstock_bearer_t *bearer, ngx_pool_t *pool, ngx_str_t *value,
    ngx_uint_t *due);
static ngx_uint_t ngx_http_penstock_token_usable(
    ngx_http_penstock_client_t *client, ngx_http_penstock_token_t *t);
static ngx_int_t ngx_http_penstock_token_lead(
    ngx_http_penstock_client_t *client);


ngx_int_t
ngx_http_penstock_token_zone(ngx_conf_t *cf,
    ngx_http_penstock_client_t *client)
{
    ngx_str_t  name;

    name.data = ngx_pnalloc(cf->pool, sizeof("penstock_client:") - 1
                                      + client->name.len);
    if (name.data == NULL) {
        return NGX_ERROR;
    }

    name.len = ngx_sprintf(name.data, "penstock_client:%V", &client->name)
               - name.data;

    if (ngx_http_penstock_random((u_char *) &client->reading,
                                 sizeof(client->reading))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    client->zone = ngx_http_penstock_zone_add(cf, &name,
                              sizeof(ngx_http_penstock_token_t)
                              + 16 * ngx_pagesize,
                              &ngx_http_penstock_credentials_module,
                              NGX_HTTP_PENSTOCK_TOKEN_LAYOUT,
                              ngx_http_penstock_token_init, client);
    if (client->zone == NULL) {
        return NGX_ERROR;
    }

    ngx_http_penstock_wait_init(&client->wait, ngx_http_penstock_token_ended,
                                client, &cf->cycle->new_log);

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_token_init(ngx_shm_zone_t *zone, ngx_slab_pool_t *shpool,
    void *conf, void **data)
{
    ngx_http_penstock_token_t  *t;

    t = ngx_slab_calloc(shpool, sizeof(ngx_http_penstock_token_t));
    if (t == NULL) {
        return NGX_ERROR;
    }

    t->shpool = shpool;
    *data = t;

    return NGX_OK;
}


static ngx_atomic_t *
ngx_http_penstock_token_ended(void *data)
{
    ngx_http_penstock_token_t   *t;
    ngx_http_penstock_client_t  *client = data;

    t = ngx_http_penstock_zone_data(client->zone);

    return &t->ended;
}


ngx_int_t
ngx_http_penstock_token(ngx_http_penstock_bearer_t *bearer,
    ngx_http_request_t *host, ngx_pool_t *pool, ngx_str_t *value)
{
    ngx_int_t                    rc;
    ngx_uint_t                   due;
    ngx_http_penstock_client_t  *client;

    client = bearer->client;

    rc = ngx_http_penstock_token_copy(bearer, pool, value, &due);

    if (rc == NGX_OK) {
        ngx_http_penstock_wait_leave(&bearer->waiter);

        if (due && ngx_http_penstock_token_lead(client) == NGX_OK) {

            /* nginx would hold the next request until the answer is here */

            host->keepalive = 0;

            (void) ngx_http_penstock_token_ask(client, host);
        }

        return NGX_OK;
    }

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (bearer->deadline == 0) {
        bearer->deadline = ngx_current_msec + client->timeout;

    } else if ((ngx_msec_int_t) (bearer->deadline - ngx_current_msec) <= 0) {
        ngx_http_penstock_wait_leave(&bearer->waiter);
        return NGX_DECLINED;
    }

    rc = ngx_http_penstock_token_lead(client);

    if (rc == NGX_DONE) {

        /* another worker's question was answered since we looked */

        return ngx_http_penstock_token(bearer, host, pool, value);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_penstock_token_ask(client, host);

        if (rc != NGX_OK) {
            ngx_http_penstock_wait_leave(&bearer->waiter);
            return NGX_ERROR;
        }

    } else if (rc == NGX_DECLINED) {
        ngx_http_penstock_wait_leave(&bearer->waiter);
        return NGX_DECLINED;
    }

    /* who asks waits like all others */

    ngx_http_penstock_wait_join(&client->wait, &bearer->waiter, host);

    return NGX_AGAIN;
}


ngx_uint_t
ngx_http_penstock_token_ready(ngx_http_penstock_client_t *client)
{
    ngx_http_penstock_token_t  *t;

    t = ngx_http_penstock_zone_data(client->zone);

    return t->len && (ngx_msec_int_t) (t->end - ngx_current_msec) > 0;
}


ngx_int_t
ngx_http_penstock_token_here(ngx_http_penstock_bearer_t *bearer,
    ngx_pool_t *pool, ngx_str_t *value)
{
    ngx_uint_t  due;

    return ngx_http_penstock_token_copy(bearer, pool, value, &due);
}


static ngx_int_t
ngx_http_penstock_token_copy(ngx_http_penstock_bearer_t *bearer,
    ngx_pool_t *pool, ngx_str_t *value, ngx_uint_t *due)
{
    u_char                      *p;
    size_t                       len, room;
    ngx_http_penstock_token_t   *t;
    ngx_http_penstock_client_t  *client;

    client = bearer->client;
    t = ngx_http_penstock_zone_data(client->zone);

    /* the length may change until the lock is held: then once more */

    for ( ;; ) {
        room = t->len;

        if (room == 0 || room > NGX_HTTP_PENSTOCK_TOKEN_MAX) {
            return NGX_DECLINED;
        }

        p = ngx_pnalloc(pool, sizeof("Bearer ") - 1 + room);
        if (p == NULL) {
            return NGX_ERROR;
        }

        value->data = p;
        p = ngx_cpymem(p, "Bearer ", sizeof("Bearer ") - 1);

        ngx_shmtx_lock(&t->shpool->mutex);

        len = t->len;

        if (len != room) {
            ngx_shmtx_unlock(&t->shpool->mutex);
            continue;
        }

        if (!ngx_http_penstock_token_usable(client, t)) {
            ngx_shmtx_unlock(&t->shpool->mutex);
            return NGX_DECLINED;
        }

        ngx_memcpy(p, t->token, len);

        bearer->generation = t->generation;
        *due = ((ngx_msec_int_t) (t->due - ngx_current_msec) <= 0);

        ngx_shmtx_unlock(&t->shpool->mutex);

        value->len = sizeof("Bearer ") - 1 + len;

        return NGX_OK;
    }
}


/* under the lock */

static ngx_uint_t
ngx_http_penstock_token_usable(ngx_http_penstock_client_t *client,
    ngx_http_penstock_token_t *t)
{
    return t->len
           && ngx_memcmp(t->print, client->print, NGX_HTTP_PENSTOCK_KEY_LEN)
              == 0
           && (ngx_msec_int_t) (t->end - ngx_current_msec) > 0;
}


/*
 * NGX_OK: ask; NGX_AGAIN: somebody does; NGX_DECLINED: not so soon again;
 * NGX_DONE: there is one by now that need not be renewed.
 */

static ngx_int_t
ngx_http_penstock_token_lead(ngx_http_penstock_client_t *client)
{
    ngx_int_t                   rc;
    ngx_pid_t                   pid;
    ngx_http_penstock_token_t  *t;

    t = ngx_http_penstock_zone_data(client->zone);

    pid = t->pid;

    if (pid && pid != ngx_pid && kill(pid, 0) == -1 && ngx_errno == ESRCH) {
        ngx_shmtx_lock(&t->shpool->mutex);

        if (t->pid == pid) {
            t->pid = 0;
        }

        ngx_shmtx_unlock(&t->shpool->mutex);
    }

    ngx_shmtx_lock(&t->shpool->mutex);

    if (t->pid
        && ngx_http_penstock_age(t->since) < NGX_HTTP_PENSTOCK_TOKEN_LOST)
    {
        rc = NGX_AGAIN;

    } else if (t->pause && t->failed == client->reading
               && (ngx_msec_int_t) (t->pause - ngx_current_msec) > 0)
    {
        rc = NGX_DECLINED;

    } else if (ngx_http_penstock_token_usable(client, t)
               && (ngx_msec_int_t) (t->due - ngx_current_msec) > 0)
    {
        rc = NGX_DONE;

    } else {
        t->pid = ngx_pid;
        t->since = ngx_current_msec;
        rc = NGX_OK;
    }

    ngx_shmtx_unlock(&t->shpool->mutex);

    return rc;
}


void
ngx_http_penstock_token_store(ngx_http_penstock_client_t *client,
    u_char *token, size_t len, int64_t seconds)
{
    ngx_msec_t                  life, early;
    ngx_http_penstock_token_t  *t;

    t = ngx_http_penstock_zone_data(client->zone);

    if (seconds < 0) {
        seconds = NGX_HTTP_PENSTOCK_TOKEN_LIFE;
    }

    life = (ngx_msec_t) seconds * 1000;

    /* a short life still is to be used for the most part */

    early = ngx_min(client->refresh, life / 4);

    ngx_shmtx_lock(&t->shpool->mutex);

    t->len = 0;

    ngx_memcpy(t->token, token, len);
    ngx_memcpy(t->print, client->print, NGX_HTTP_PENSTOCK_KEY_LEN);

    /* what is on its way when it ends must not be late */

    t->made = ngx_current_msec;
    t->due = ngx_current_msec + life - early;
    t->end = ngx_current_msec + life - ngx_min(early / 4, 5000);
    t->len = len;
    t->generation++;

    t->pid = 0;
    t->pause = 0;
    t->failures = 0;
    t->ended++;

    ngx_shmtx_unlock(&t->shpool->mutex);

    ngx_http_penstock_count(client->fetched, 1);
    ngx_http_penstock_wait_wake(&client->wait);
}


void
ngx_http_penstock_token_failed(ngx_http_penstock_client_t *client,
    ngx_uint_t pause)
{
    ngx_http_penstock_token_t  *t;

    t = ngx_http_penstock_zone_data(client->zone);

    ngx_shmtx_lock(&t->shpool->mutex);

    t->pid = 0;
    t->ended++;

    if (pause) {

        if (t->failed != client->reading) {
            t->failed = client->reading;
            t->failures = 0;
        }

        t->pause = ngx_current_msec
                   + (NGX_HTTP_PENSTOCK_TOKEN_PAUSE << t->failures);
        t->pause += !t->pause;

        if (t->failures < NGX_HTTP_PENSTOCK_TOKEN_PAUSES) {
            t->failures++;
        }
    }

    ngx_shmtx_unlock(&t->shpool->mutex);

    ngx_http_penstock_wait_wake(&client->wait);
}


ngx_int_t
ngx_http_penstock_token_rejected(ngx_http_penstock_bearer_t *bearer)
{
    ngx_int_t                   rc;
    ngx_http_penstock_token_t  *t;

    t = ngx_http_penstock_zone_data(bearer->client->zone);

    ngx_http_penstock_count(bearer->client->rejected, 1);

    rc = NGX_OK;

    ngx_shmtx_lock(&t->shpool->mutex);

    if (t->len && t->generation == bearer->generation) {

        if (ngx_http_penstock_age(t->made) < NGX_HTTP_PENSTOCK_TOKEN_NEW) {
            rc = NGX_DECLINED;

        } else {
            t->len = 0;
            t->generation++;
        }
    }

    ngx_shmtx_unlock(&t->shpool->mutex);

    return rc;
}


time_t
ngx_http_penstock_token_pause(ngx_http_penstock_client_t *client)
{
    ngx_msec_int_t              left;
    ngx_http_penstock_token_t  *t;

    t = ngx_http_penstock_zone_data(client->zone);

    left = (t->pause && t->failed == client->reading)
           ? (ngx_msec_int_t) (t->pause - ngx_current_msec) : 0;

    return left > 1000 ? (left + 999) / 1000 : 1;
}
