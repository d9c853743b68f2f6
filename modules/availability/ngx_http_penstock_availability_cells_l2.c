
/*
 * Cells in Redis (L2).
 *
 * A look is one pipelined round trip however many cells: a script gives
 * Redis's clock and the times of the invalidations that matter, an MGET for
 * each SKU the cells.  In a cluster the cells of a SKU are on one node, the
 * times on that of the zone.  Tags that only the records name cost another.
 *
 * A cell is a record with the time at which its fill began, as an answer is;
 * or the plain JSON of another program, such as a warehouse's, which counts
 * from the moment that its key was pushed to us.
 */

#include "ngx_http_penstock_availability_cells.h"
#include "ngx_http_penstock_availability_lua.h"

#include <ngx_sha1.h>


/*
 * KEYS: zone, epoch, tags; ARGV: ms to keep a tag.  Gives the clock, the
 * epoch, and the tags' times, as the look for an answer does.  Then,
 * likewise, the times of hard purges, and of soft ones.
 */

static ngx_http_penstock_redis_script_t  ngx_http_penstock_cells_times = {
    NGX_HTTP_PENSTOCK_AV_LUA
    "local r={0}\n"
    "local n=#KEYS-1\n"
    "for i=2,n+1 do\n"
    "local a,h,s=times(KEYS[i],i==2 and '0' or ARGV[1])\n"
    "if i==2 and a==0 then\n"
    "a=now now=now+1\n"
    "set(KEYS[i],text(a),'0')\n"
    "end\n"
    "r[i],r[n+i],r[2*n+i]=text(a),text(h),text(s)\n"
    "end\n"
    "r[1]=text(now)\n"
    "redis.call('HSET',KEYS[1],'clock',r[1])\n"
    "return r\n",
    ""
};


/*
 * KEYS: a cell; ARGV: it, its ms to live, and the SHA-1 of the plain JSON in
 * whose place it may go: what another program has written meanwhile stays.
 */

static ngx_http_penstock_redis_script_t  ngx_http_penstock_cells_set = {
    "local v=redis.call('GET',KEYS[1])\n"
    "if v and string.sub(v,1,3)~='PSR' and redis.sha1hex(v)~=ARGV[3] then\n"
    "return 0\n"
    "end\n"
    "redis.call('SET',KEYS[1],ARGV[1],'PX',ARGV[2])\n"
    "return 1\n",
    ""
};


static ngx_int_t ngx_http_penstock_cells_ask_times(
    ngx_http_penstock_cells_t *c, ngx_uint_t skus);
static ngx_int_t ngx_http_penstock_cells_tag_key(ngx_http_penstock_cells_t *c,
    const char *prefix, const char *name, size_t len, ngx_str_t *key);
static ngx_int_t ngx_http_penstock_cells_ask_cells(
    ngx_http_penstock_cells_t *c);
static void ngx_http_penstock_cells_times_handler(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static uint64_t ngx_http_penstock_cells_number(redisReply *reply);
static void ngx_http_penstock_cells_get_handler(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static void ngx_http_penstock_cells_replied(ngx_http_penstock_cells_t *c);


ngx_int_t
ngx_http_penstock_cells_l2_look(ngx_http_penstock_cells_t *c)
{
    ngx_pool_t  *pool;

    /* until that is made up for, Redis may hold what is void */

    if (ngx_http_penstock_av_l2_lost(c->zone)
        || !ngx_http_penstock_redis_up(c->zone->redis))
    {
        return NGX_DECLINED;
    }

    pool = c->request->pool;

    if (c->raw == NULL) {
        c->raw = ngx_palloc(pool, c->n * sizeof(ngx_str_t));
        c->extra = ngx_palloc(pool, sizeof(ps_tags_t));

        if (c->raw == NULL || c->extra == NULL) {
            return NGX_ERROR;
        }
    }

    ngx_memzero(c->raw, c->n * sizeof(ngx_str_t));

    /* tags that the configuration gives to all cells */

    if (ngx_http_penstock_av_tags(c->ctx) == NULL) {
        return NGX_ERROR;
    }

    *c->extra = *c->ctx->tags;

    if (ngx_http_penstock_cells_places_add(c, c->extra) != NGX_OK) {
        return NGX_ERROR;
    }

    c->asked = ngx_http_penstock_av_now();
    c->clock = 0;
    c->again = 0;

    /* counted once more while some are not yet sent */

    c->pending = 1;

    if (ngx_http_penstock_cells_ask_times(c, 1) != NGX_OK
        || ngx_http_penstock_cells_ask_cells(c) != NGX_OK)
    {
        ngx_http_penstock_cells_l2_cancel(c);
        c->pending = 0;
        c->asked = 0;

        return NGX_ERROR;
    }

    c->pending--;

    return NGX_OK;
}


/*
 * Asks for the clock, and the times of invalidations: of the SKUs, locations
 * and tags of the cells; or, again, of tags that only their records name.
 */

static ngx_int_t
ngx_http_penstock_cells_ask_times(ngx_http_penstock_cells_t *c,
    ngx_uint_t skus)
{
    ngx_str_t       *keys;
    ngx_uint_t       i, k, n;
    ngx_pool_t      *pool;
    ps_json_text_t  *id;

    pool = c->request->pool;
    n = 0;

    keys = ngx_palloc(pool, (3 + c->axis[0].n + c->axis[1].n + c->extra->n)
                            * sizeof(ngx_str_t));

    if (keys == NULL
        || ngx_http_penstock_av_l2_epoch_key(c->zone, pool, &keys[1])
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    keys[n++] = c->zone->redis_key;
    n++;

    for (k = 0; skus && k < PS_CELL_AXES; k++) {

        for (i = 0; c->axis[k].asked && i < c->axis[k].n; i++) {
            id = &c->axis[k].id[i].id;

            if (ngx_http_penstock_cells_tag_key(c, k ? "location," : "",
                                                id->data, id->len, &keys[n++])
                != NGX_OK)
            {
                return NGX_ERROR;
            }
        }
    }

    for (i = skus ? 0 : c->known; i < c->extra->n; i++) {
        if (ngx_http_penstock_cells_tag_key(c, "", c->extra->tag[i].name,
                                            c->extra->tag[i].len, &keys[n++])
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    ngx_memzero(&c->look, sizeof(ngx_http_penstock_redis_call_t));

    c->look.handler = ngx_http_penstock_cells_times_handler;
    c->look.data = c;

    c->ntimes = n - 2;

    ngx_str_set(&keys[n], NGX_HTTP_PENSTOCK_TAG_TTL);

    if (ngx_http_penstock_redis_eval(c->zone->redis, &c->look,
                                     &ngx_http_penstock_cells_times, n, n + 1,
                                     keys)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    c->pending++;

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_cells_tag_key(ngx_http_penstock_cells_t *c,
    const char *prefix, const char *name, size_t len, ngx_str_t *key)
{
    u_char  *p;
    size_t   plen;

    plen = ngx_strlen(prefix);

    p = ngx_pnalloc(c->request->pool, c->zone->redis_key.len + 3 + plen
                                      + len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    key->data = p;

    p = ngx_cpymem(p, c->zone->redis_key.data, c->zone->redis_key.len);
    p = ngx_cpymem(p, ":t:", 3);
    p = ngx_cpymem(p, prefix, plen);
    p = ngx_cpymem(p, name, len);

    key->len = p - key->data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_cells_ask_cells(ngx_http_penstock_cells_t *c)
{
    ngx_str_t                     *argv;
    ngx_uint_t                     i, j, n;
    ngx_pool_t                    *pool;
    ngx_http_penstock_cell_t      *cell;
    ngx_http_penstock_cells_get_t  *get;

    pool = c->request->pool;

    argv = ngx_palloc(pool, (1 + c->nlocations) * sizeof(ngx_str_t));

    get = ngx_pcalloc(pool, c->axis[0].n
                            * sizeof(ngx_http_penstock_cells_get_t));

    if (argv == NULL || get == NULL) {
        return NGX_ERROR;
    }

    c->get = get;
    c->ngets = 0;

    ngx_str_set(&argv[0], "MGET");

    for (i = 0; i < c->axis[0].n; i++) {

        get = &c->get[c->ngets];
        get->cells = c;
        get->first = i * c->nlocations;

        n = 1;

        for (j = 0; j < c->nlocations; j++) {
            cell = &c->cell[get->first + j];

            if (ngx_http_penstock_cells_wanted(c, cell)) {
                argv[n++] = cell->key;
            }
        }

        if (n == 1) {
            continue;
        }

        get->call.handler = ngx_http_penstock_cells_get_handler;
        get->call.data = get;

        if (ngx_http_penstock_redis_send(c->zone->redis, &get->call, n, argv,
                                         1)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        c->ngets++;
        c->pending++;
    }

    return NGX_OK;
}


static void
ngx_http_penstock_cells_times_handler(ngx_http_penstock_redis_call_t *call,
    redisReply *reply)
{
    uint64_t                   *times, clock, epoch;
    ngx_uint_t                  i;
    ngx_http_penstock_cells_t  *c = call->data;

    times = NULL;
    clock = 0;
    epoch = 0;

    if (call->status == NGX_HTTP_PENSTOCK_REDIS_OK
        && reply->type == REDIS_REPLY_ARRAY
        && reply->elements == 1 + 3 * (1 + c->ntimes))
    {
        clock = ngx_http_penstock_cells_number(reply->element[0]);
        epoch = ngx_http_penstock_cells_number(reply->element[1]);

        times = ngx_palloc(c->request->pool,
                           (2 + 3 * c->ntimes) * sizeof(uint64_t));
    }

    if (times && clock && epoch) {

        for (i = 0; i < 2 + 3 * c->ntimes; i++) {
            times[i] = ngx_http_penstock_cells_number(reply->element[2 + i]);
        }

        if (!c->again) {
            c->clock = clock;
            c->times = times;
            c->hard = times + c->ntimes;
            c->soft = c->hard + 1 + c->ntimes;

        } else {
            c->more_times = times;
            c->more_soft = times + 1 + 2 * c->ntimes;
        }

        c->epoch = epoch;

    } else if (c->again) {

        /* nothing is known of their tags */

        c->more_times = NULL;
    }

    ngx_http_penstock_cells_replied(c);
}


/* what is no number counts as the end of time, and voids all */

static uint64_t
ngx_http_penstock_cells_number(redisReply *reply)
{
    size_t    i;
    uint64_t  n;

    if (reply->type != REDIS_REPLY_STRING || reply->len == 0
        || reply->len > 18)
    {
        return UINT64_MAX;
    }

    n = 0;

    for (i = 0; i < (size_t) reply->len; i++) {
        if (reply->str[i] < '0' || reply->str[i] > '9') {
            return UINT64_MAX;
        }

        n = n * 10 + (reply->str[i] - '0');
    }

    return n;
}


static void
ngx_http_penstock_cells_get_handler(ngx_http_penstock_redis_call_t *call,
    redisReply *reply)
{
    u_char                         *p;
    ngx_uint_t                      j, k;
    redisReply                     *bulk;
    ngx_http_penstock_cells_t      *c;
    ngx_http_penstock_cells_get_t  *get = call->data;

    c = get->cells;
    k = 0;

    if (call->status == NGX_HTTP_PENSTOCK_REDIS_OK
        && reply->type == REDIS_REPLY_ARRAY)
    {
        for (j = 0; j < c->nlocations && k < reply->elements; j++) {

            if (!ngx_http_penstock_cells_wanted(c, &c->cell[get->first + j]))
            {
                continue;
            }

            bulk = reply->element[k++];

            if (bulk->type != REDIS_REPLY_STRING || bulk->len == 0
                || (size_t) bulk->len > 2 * c->ctx->conf->max_size)
            {
                continue;
            }

            p = ngx_pnalloc(c->request->pool, bulk->len);
            if (p == NULL) {
                break;
            }

            ngx_memcpy(p, bulk->str, bulk->len);

            c->raw[get->first + j].data = p;
            c->raw[get->first + j].len = bulk->len;
        }
    }

    ngx_http_penstock_cells_replied(c);
}


static void
ngx_http_penstock_cells_replied(ngx_http_penstock_cells_t *c)
{
    ps_tag_t                         tag;
    ngx_uint_t                       i, k;
    const char                      *p;
    ps_record_t                      record;
    ngx_http_penstock_cells_pack_t   pack;

    if (--c->pending) {
        return;
    }

    if (c->clock && !c->again) {

        /* tags that only the records name must be asked for too */

        c->known = c->extra->n;
        c->more_times = NULL;

        for (i = 0; i < c->n; i++) {

            if (c->raw[i].len == 0
                || ngx_http_penstock_cells_unpack(&c->raw[i], &record, &pack)
                   != NGX_OK)
            {
                continue;
            }

            p = record.tags;

            for (k = 0; k < record.ntags; k++) {
                ps_record_tag(&p, &tag);
                ps_tags_add(c->extra, tag.name, tag.len);
            }
        }

        if (c->extra->n > c->known) {
            c->again = 1;

            ngx_http_penstock_cells_places_learn(c, c->extra, c->known);

            if (ngx_http_penstock_cells_ask_times(c, 0) == NGX_OK) {
                return;
            }
        }
    }

    if (c->clock) {
        ngx_http_penstock_cells_found(c);

    } else {

        /* it has not answered: what comes now is as old as it is */

        c->asked = 0;
    }

    ngx_http_penstock_cells_ended(c);
}


void
ngx_http_penstock_cells_l2_store(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_store_t *store, ngx_uint_t n)
{
    u_char                           buf[NGX_INT64_LEN], hex[40], sha1[20];
    uint64_t                         end, now;
    ngx_str_t                        argv[4];
    ngx_uint_t                       i, place;
    ngx_sha1_t                       ctx;
    ps_record_t                      head;
    ngx_http_penstock_cell_t        *cell;
    ngx_http_penstock_cells_pack_t   pack;

    if (ngx_http_penstock_cells_unpack(&c->envelope, &head, &pack) != NGX_OK)
    {
        return;
    }

    now = ngx_http_penstock_av_now();

    for (i = 0; i < n; i++) {
        cell = store[i].cell;

        end = cell->created + cell->fresh
              + ngx_max(cell->while_revalidate, cell->if_error);

        if (!cell->valid || end <= now
            || (store[i].names && store[i].names->overflow))
        {
            continue;
        }

        head.clock = c->clock;
        head.created = cell->created;
        head.fresh = cell->fresh;
        head.while_revalidate = cell->while_revalidate;
        head.if_error = cell->if_error;

        pack.value = cell->value;

        argv[0] = cell->key;

        if (ngx_http_penstock_cells_pack(c->request->pool, &head,
                                         store[i].names, &pack, &argv[1])
            != NGX_OK)
        {
            return;
        }

        argv[2].data = buf;
        argv[2].len = ngx_sprintf(buf, "%uL",
                                  ngx_min(end - now,
                                          NGX_HTTP_PENSTOCK_MAX_TTL))
                      - buf;

        ngx_str_set(&argv[3], "");

        place = cell - c->cell;

        if (cell->plain && c->raw && c->raw[place].len) {
            ngx_sha1_init(&ctx);
            ngx_sha1_update(&ctx, c->raw[place].data, c->raw[place].len);
            ngx_sha1_final(sha1, &ctx);

            argv[3].data = hex;
            argv[3].len = ngx_hex_dump(hex, sha1, 20) - hex;
        }

        (void) ngx_http_penstock_redis_eval(c->zone->redis, NULL,
                                            &ngx_http_penstock_cells_set, 1,
                                            4, argv);
    }
}


void
ngx_http_penstock_cells_l2_cancel(ngx_http_penstock_cells_t *c)
{
    ngx_uint_t  i;

    if (c->get == NULL) {
        return;
    }

    ngx_http_penstock_redis_cancel(&c->look);

    for (i = 0; i < c->ngets; i++) {
        ngx_http_penstock_redis_cancel(&c->get[i].call);
    }
}
