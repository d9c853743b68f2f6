
/*
 * One fill of a cell in a cluster ("scope=cluster"): what Redis does not have
 * is read under a lease there.  Who is denied one waits for the host that has
 * it, and looks again when Redis pushes the cell's or the lease's key.
 *
 * The holder prolongs its leases while its fill goes on.  If its host dies,
 * they run out, and who looks then gets them.
 */

#include "ngx_http_penstock_availability_cells.h"

#include <ngx_sha1.h>


#define NGX_HTTP_PENSTOCK_CELLS_LEASE_MIN  500    /* ms */


static ngx_int_t ngx_http_penstock_cells_lease_sku(
    ngx_http_penstock_cells_t *c, ngx_uint_t sku, ngx_str_t *argv,
    ngx_str_t *ms);
static ngx_int_t ngx_http_penstock_cells_lease_key(
    ngx_http_penstock_cells_t *c, ngx_http_penstock_cell_t *cell,
    ngx_str_t *key);
static void ngx_http_penstock_cells_lease_text(ngx_http_penstock_cell_t *cell,
    u_char *p, ngx_str_t *key);
static ngx_int_t ngx_http_penstock_cells_seen(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cell_t *cell, ngx_str_t *sha1);
static void ngx_http_penstock_cells_lease_handler(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static void ngx_http_penstock_cells_lease_hold(ngx_http_penstock_cells_t *c);
static void ngx_http_penstock_cells_lease_renew(ngx_event_t *ev);
static void ngx_http_penstock_cells_lease_eval(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_redis_script_t *script);
static ngx_msec_t ngx_http_penstock_cells_lease_time(
    ngx_http_penstock_cells_t *c);
static void ngx_http_penstock_cells_lease_pushed(void *data,
    const ngx_str_t *keys, ngx_uint_t n);


/*
 * KEYS: cells and their leases; ARGV: the token, ms, and for each cell the
 * SHA-1 of what was seen of it.  For each: 0: granted; -1: it has changed,
 * look again; or the ms for which another holder has it.
 */

static ngx_http_penstock_redis_script_t  ngx_http_penstock_cells_lease = {
    "local r={}\n"
    "for i=1,#KEYS,2 do\n"
    "local v=redis.call('GET',KEYS[i])\n"
    "if (v and redis.sha1hex(v) or '')~=ARGV[2+(i+1)/2] then\n"
    "r[#r+1]=-1\n"
    "elseif redis.call('SET',KEYS[i+1],ARGV[1],'NX','PX',ARGV[2]) then\n"
    "r[#r+1]=0\n"
    "else\n"
    "r[#r+1]=math.max(redis.call('PTTL',KEYS[i+1]),1)\n"
    "end\n"
    "end\n"
    "return r\n",
    ""
};


/* KEYS: leases; ARGV: the token, ms: another holder's stays */

static ngx_http_penstock_redis_script_t  ngx_http_penstock_cells_keep = {
    "for i=1,#KEYS do\n"
    "if redis.call('GET',KEYS[i])==ARGV[1] then\n"
    "redis.call('PEXPIRE',KEYS[i],ARGV[2])\n"
    "end\n"
    "end\n",
    ""
};

static ngx_http_penstock_redis_script_t  ngx_http_penstock_cells_free = {
    "for i=1,#KEYS do\n"
    "if redis.call('GET',KEYS[i])==ARGV[1] then\n"
    "redis.call('DEL',KEYS[i])\n"
    "end\n"
    "end\n",
    ""
};


ngx_int_t
ngx_http_penstock_cells_lease_setup(ngx_conf_t *cf,
    ngx_http_penstock_av_zone_t *zone)
{
    u_char  *p;

    p = ngx_pnalloc(cf->pool, zone->cell_prefix.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, zone->cell_prefix.data, zone->cell_prefix.len);

    zone->lease_prefix.data = p;
    zone->lease_prefix.len = zone->cell_prefix.len;

    ngx_memcpy(p + sizeof("penstock:") - 1, "lead", 4);

    return ngx_http_penstock_redis_push_add(cf, zone->redis,
                                      &zone->lease_prefix,
                                      ngx_http_penstock_cells_lease_pushed,
                                      zone);
}


ngx_int_t
ngx_http_penstock_cells_lease_ask(ngx_http_penstock_cells_t *c)
{
    u_char                         *p;
    ngx_str_t                      *argv, ms;
    ngx_uint_t                      i;
    ngx_http_penstock_tag_table_t  *table;

    if (!c->ctx->conf->lock || !c->ctx->conf->lock_cluster || c->clock == 0) {
        return NGX_DECLINED;
    }

    if (c->token[0] == 0
        && ngx_http_penstock_random(c->token, sizeof(c->token)) != NGX_OK)
    {
        return NGX_ERROR;
    }

    c->token[0] |= 1;

    argv = ngx_palloc(c->request->pool,
                      (2 + 3 * c->nlocations) * sizeof(ngx_str_t));
    p = ngx_pnalloc(c->request->pool, NGX_INT64_LEN);

    if (argv == NULL || p == NULL) {
        return NGX_ERROR;
    }

    ms.data = p;
    ms.len = ngx_sprintf(p, "%M", ngx_http_penstock_cells_lease_time(c)) - p;

    table = ngx_http_penstock_av_tag_table(c->zone);

    /* news that come from now on count */

    if (!c->lease_waits) {
        c->lease_waits = 1;
        (void) ngx_atomic_fetch_add(&table->lease_waits, 1);
    }

    c->lease_seq = table->seq;
    c->waited = 0;
    c->changed = 0;
    c->ngets = 0;
    c->pending = 1;

    for (i = 0; i < c->axis[0].n; i++) {
        if (ngx_http_penstock_cells_lease_sku(c, i, argv, &ms) != NGX_OK) {
            ngx_http_penstock_cells_l2_cancel(c);
            c->pending = 0;
            return NGX_ERROR;
        }
    }

    if (--c->pending == 0) {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_cells_lease_sku(ngx_http_penstock_cells_t *c,
    ngx_uint_t sku, ngx_str_t *argv, ngx_str_t *ms)
{
    ngx_uint_t                      j, n, nkeys;
    ngx_http_penstock_cell_t       *cell;
    ngx_http_penstock_cells_get_t  *get;

    get = &c->get[c->ngets];

    ngx_memzero(get, sizeof(ngx_http_penstock_cells_get_t));

    get->cells = c;
    get->first = sku * c->nlocations;

    n = 0;

    for (j = 0; j < c->nlocations; j++) {
        cell = &c->cell[get->first + j];

        if (!ngx_http_penstock_cells_wanted(c, cell) || cell->leased) {
            continue;
        }

        argv[n++] = cell->key;

        if (ngx_http_penstock_cells_lease_key(c, cell, &argv[n++])
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (n == 0) {
        return NGX_OK;
    }

    nkeys = n;

    argv[n].data = c->token;
    argv[n++].len = sizeof(c->token);
    argv[n++] = *ms;

    for (j = 0; j < c->nlocations; j++) {
        cell = &c->cell[get->first + j];

        if (!ngx_http_penstock_cells_wanted(c, cell) || cell->leased) {
            continue;
        }

        if (ngx_http_penstock_cells_seen(c, cell, &argv[n++]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    get->call.handler = ngx_http_penstock_cells_lease_handler;
    get->call.data = get;

    if (ngx_http_penstock_redis_eval(c->zone->redis, &get->call,
                                     &ngx_http_penstock_cells_lease, nkeys, n,
                                     argv)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    c->ngets++;
    c->pending++;

    return NGX_OK;
}


/* the cell's key with another word */

static ngx_int_t
ngx_http_penstock_cells_lease_key(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cell_t *cell, ngx_str_t *key)
{
    key->data = ngx_pnalloc(c->request->pool, cell->key.len);
    if (key->data == NULL) {
        return NGX_ERROR;
    }

    ngx_http_penstock_cells_lease_text(cell, key->data, key);

    return NGX_OK;
}


static void
ngx_http_penstock_cells_lease_text(ngx_http_penstock_cell_t *cell, u_char *p,
    ngx_str_t *key)
{
    key->data = p;
    key->len = cell->key.len;

    ngx_memcpy(p, cell->key.data, key->len);
    ngx_memcpy(p + sizeof("penstock:") - 1, "lead", 4);
}


static ngx_int_t
ngx_http_penstock_cells_seen(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cell_t *cell, ngx_str_t *sha1)
{
    u_char       digest[20];
    ngx_str_t   *raw;
    ngx_sha1_t   ctx;

    raw = &c->raw[cell - c->cell];

    if (raw->len == 0) {
        ngx_str_set(sha1, "");
        return NGX_OK;
    }

    sha1->len = 40;

    sha1->data = ngx_pnalloc(c->request->pool, sha1->len);
    if (sha1->data == NULL) {
        return NGX_ERROR;
    }

    ngx_sha1_init(&ctx);
    ngx_sha1_update(&ctx, raw->data, raw->len);
    ngx_sha1_final(digest, &ctx);

    (void) ngx_hex_dump(sha1->data, digest, sizeof(digest));

    return NGX_OK;
}


static void
ngx_http_penstock_cells_lease_handler(ngx_http_penstock_redis_call_t *call,
    redisReply *reply)
{
    int64_t                         ms;
    ngx_uint_t                      j, k;
    ngx_http_penstock_cell_t       *cell;
    ngx_http_penstock_cells_t      *c;
    ngx_http_penstock_cells_get_t  *get = call->data;

    c = get->cells;

    for (j = 0, k = 0; j < c->nlocations; j++) {
        cell = &c->cell[get->first + j];

        if (!ngx_http_penstock_cells_wanted(c, cell) || cell->leased) {
            continue;
        }

        ms = 0;

        if (call->status == NGX_HTTP_PENSTOCK_REDIS_OK
            && reply->type == REDIS_REPLY_ARRAY && k < reply->elements
            && reply->element[k]->type == REDIS_REPLY_INTEGER)
        {
            ms = reply->element[k]->integer;

            /* without Redis each host reads by itself */

            cell->leased = (ms == 0);
        }

        k++;

        cell->remote = (ms > 0);
        c->changed |= (ms < 0);

        if (ms > 0) {
            c->lease_until = ngx_current_msec + ms + 1;
        }
    }

    if (--c->pending) {
        return;
    }

    for (j = 0; j < c->n && !c->leases; j++) {

        if (c->cell[j].leased) {
            ngx_http_penstock_cells_lease_hold(c);
        }
    }

    ngx_http_penstock_cells_ended(c);
}


static ngx_msec_t
ngx_http_penstock_cells_lease_time(ngx_http_penstock_cells_t *c)
{
    return ngx_max(c->ctx->conf->lock_timeout / 2,
                   NGX_HTTP_PENSTOCK_CELLS_LEASE_MIN);
}


/* without memory for a timer they just run out */

static void
ngx_http_penstock_cells_lease_hold(ngx_http_penstock_cells_t *c)
{
    c->leases = 1;

    if (c->renew == NULL) {
        c->renew = ngx_pcalloc(c->request->pool, sizeof(ngx_event_t));
        if (c->renew == NULL) {
            return;
        }
    }

    c->renew->handler = ngx_http_penstock_cells_lease_renew;
    c->renew->data = c;
    c->renew->log = ngx_cycle->log;
    c->renew->cancelable = 1;

    ngx_add_timer(c->renew, ngx_http_penstock_cells_lease_time(c) / 2);
}


static void
ngx_http_penstock_cells_lease_renew(ngx_event_t *ev)
{
    ngx_http_penstock_cells_t  *c = ev->data;

    ngx_http_penstock_cells_lease_eval(c, &ngx_http_penstock_cells_keep);

    ngx_add_timer(ev, ngx_http_penstock_cells_lease_time(c) / 2);
}


/* for all our leases, those of a SKU at a time: they are on one node */

static void
ngx_http_penstock_cells_lease_eval(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_redis_script_t *script)
{
    size_t       size;
    u_char      *p, ms[NGX_INT64_LEN];
    ngx_str_t   *argv;
    ngx_uint_t   i, j, n;

    /* the request may be at its end: its pool gives nothing any more */

    size = (2 + c->nlocations) * sizeof(ngx_str_t);

    for (i = 0; i < c->n; i++) {
        if (c->cell[i].leased) {
            size += c->cell[i].key.len;
        }
    }

    argv = ngx_alloc(size, ngx_cycle->log);
    if (argv == NULL) {
        return;
    }

    p = (u_char *) (argv + 2 + c->nlocations);

    for (i = 0; i < c->n; i += c->nlocations) {

        n = 0;

        for (j = i; j < i + c->nlocations; j++) {
            if (c->cell[j].leased) {
                ngx_http_penstock_cells_lease_text(&c->cell[j], p, &argv[n]);
                p += argv[n++].len;
            }
        }

        if (n == 0) {
            continue;
        }

        argv[n].data = c->token;
        argv[n].len = sizeof(c->token);
        argv[n + 1].data = ms;
        argv[n + 1].len = ngx_sprintf(ms, "%M",
                                      ngx_http_penstock_cells_lease_time(c))
                          - ms;

        (void) ngx_http_penstock_redis_eval(c->zone->redis, NULL, script, n,
                                            n + 2, argv);
    }

    ngx_free(argv);
}


void
ngx_http_penstock_cells_lease_end(ngx_http_penstock_cells_t *c)
{
    ngx_uint_t  i;

    if (!c->leases) {
        return;
    }

    c->leases = 0;

    if (c->renew && c->renew->timer_set) {
        ngx_del_timer(c->renew);
    }

    ngx_http_penstock_cells_lease_eval(c, &ngx_http_penstock_cells_free);

    for (i = 0; i < c->n; i++) {
        c->cell[i].leased = 0;
    }
}


ngx_int_t
ngx_http_penstock_cells_lease_wait(ngx_http_penstock_cells_t *c)
{
    ngx_uint_t                      i;
    ngx_http_penstock_cell_t       *cell;
    ngx_http_penstock_tag_table_t  *table;

    table = ngx_http_penstock_av_tag_table(c->zone);

    if (c->ctx->deadline == 0) {
        c->ctx->deadline = ngx_current_msec + c->ctx->conf->lock_timeout;
    }

    if ((ngx_msec_int_t) (c->ctx->deadline - ngx_current_msec) <= 0) {
        ngx_http_penstock_cells_lease_leave(c);
        return NGX_BUSY;
    }

    /* the wait looks each 100 ms: without a live link that has to do */

    if ((ngx_msec_int_t) (c->lease_until - ngx_current_msec) <= 0
        || (c->waited
            && !ngx_http_penstock_redis_push_live(c->zone->redis)))
    {
        ngx_http_penstock_cells_lease_leave(c);
        return NGX_OK;
    }

    for (i = 0; i < c->n; i++) {
        cell = &c->cell[i];

        if (cell->remote
            && table->leases[cell->hash[0] % NGX_HTTP_PENSTOCK_PURGES]
               > c->lease_seq)
        {
            ngx_http_penstock_cells_lease_leave(c);
            return NGX_OK;
        }
    }

    c->waited = 1;

    ngx_http_penstock_wait_join(&c->zone->wait, &c->ctx->waiter, c->request);

    return NGX_AGAIN;
}


void
ngx_http_penstock_cells_lease_leave(ngx_http_penstock_cells_t *c)
{
    ngx_http_penstock_wait_leave(&c->ctx->waiter);

    if (c->lease_waits) {
        c->lease_waits = 0;
        (void) ngx_atomic_fetch_add(
                   &ngx_http_penstock_av_tag_table(c->zone)->lease_waits,
                   -1);
    }
}


/* a lease was given, or given back; runs in the worker that has the link */

static void
ngx_http_penstock_cells_lease_pushed(void *data, const ngx_str_t *keys,
    ngx_uint_t n)
{
    ngx_http_penstock_av_zone_t  *zone = data;

    u_char      buf[1024];
    ngx_str_t   key;
    ngx_uint_t  i;

    for (i = 0; i < n; i++) {

        if (keys[i].len > sizeof(buf)) {
            continue;
        }

        /* by the hash of its cell */

        key.data = buf;
        key.len = keys[i].len;

        ngx_memcpy(buf, keys[i].data, key.len);
        ngx_memcpy(buf + sizeof("penstock:") - 1, "cell", 4);

        ngx_http_penstock_cells_lease_news(zone, &key);
    }
}


void
ngx_http_penstock_cells_lease_news(ngx_http_penstock_av_zone_t *zone,
    ngx_str_t *key)
{
    uint64_t                        hash[2];
    ngx_http_penstock_tag_table_t  *table;

    table = ngx_http_penstock_av_tag_table(zone);

    if (table->lease_waits == 0) {
        return;
    }

    ngx_http_penstock_cells_hash(zone, key, hash);

    ngx_http_penstock_av_raise(
        &table->leases[hash[0] % NGX_HTTP_PENSTOCK_PURGES],
        ngx_atomic_fetch_add(&table->seq, 1) + 1);

    (void) ngx_atomic_fetch_add(&table->wake, 1);
}
