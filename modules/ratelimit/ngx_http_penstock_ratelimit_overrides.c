
/*
 * Overrides: what they make of a request's limits, and how those that are in
 * Redis come into the zone.
 *
 * A hash in Redis holds all of a zone, with a version that each change moves.
 * One worker of the host asks for it a few times a second, with the version
 * that is in force here.
 */

#include "ngx_http_penstock_ratelimit.h"


/* ms between two questions of a host */

#define NGX_HTTP_PENSTOCK_RATELIMIT_OVERRIDES_POLL  250

/* the shadow of a key, for the state of an override in dry run */

#define NGX_HTTP_PENSTOCK_RATELIMIT_TRIAL  0x9e3779b97f4a7c15ULL


static ngx_int_t ngx_http_penstock_ratelimit_override_find(
    ngx_http_request_t *r, ngx_http_penstock_ratelimit_item_t *item,
    ngx_uint_t dry_run, ps_override_t **found);
static void ngx_http_penstock_ratelimit_overrides_timer(ngx_event_t *ev);
static void ngx_http_penstock_ratelimit_overrides_handler(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static void ngx_http_penstock_ratelimit_overrides_take(
    ngx_http_penstock_ratelimit_zone_t *zone, redisReply *reply);
static ngx_int_t ngx_http_penstock_ratelimit_override_parse(
    redisReply *field, redisReply *value, redisReply *left, uint64_t now,
    ps_override_t *o);


/*
 * Fields: "k:KEY", "p:PLAN" or "z:", each "RATE BURST DRY_RUN UNTIL", until
 * in ms since the epoch or 0; and "version".
 */

#define NGX_HTTP_PENSTOCK_RATELIMIT_VERSION                                   \
    "local time = redis.call('TIME')\n"                                       \
    "local now = time[1] * 1000 + math.floor(time[2] / 1000)\n"               \
    "local function version()\n"                                              \
    "    local old = tonumber(redis.call('HGET', KEYS[1], 'version') or 0)\n" \
    "    local new = math.max(old + 1, time[1] * 1000000 + time[2])\n"        \
    "    redis.call('HSET', KEYS[1], 'version', string.format('%.0f', new))\n"\
    "end\n"

/*
 * field, rate, burst, dry run, ms it shall last or 0, how many there may be.
 * Returns 1 for a new one, 0 for one replaced, -1: there are too many.
 */

ngx_http_penstock_redis_script_t  ngx_http_penstock_ratelimit_put = {
    NGX_HTTP_PENSTOCK_RATELIMIT_VERSION
    "local new = 1 - redis.call('HEXISTS', KEYS[1], ARGV[1])\n"
    "if redis.call('HLEN', KEYS[1]) + new > tonumber(ARGV[6]) + 1 then\n"
    "    return -1\n"
    "end\n"
    "local till = tonumber(ARGV[5])\n"
    "if till > 0 then\n"
    "    till = till + now\n"
    "end\n"
    "redis.call('HSET', KEYS[1], ARGV[1], string.format('%s %s %s %.0f',\n"
    "           ARGV[2], ARGV[3], ARGV[4], till))\n"
    "version()\n"
    "return new\n",
    { 0 }
};


ngx_http_penstock_redis_script_t  ngx_http_penstock_ratelimit_delete = {
    NGX_HTTP_PENSTOCK_RATELIMIT_VERSION
    "local n = redis.call('HDEL', KEYS[1], ARGV[1])\n"
    "if n > 0 then\n"
    "    version()\n"
    "end\n"
    "return n\n",
    { 0 }
};


/*
 * The version that is known.  Returns the version; if that is another one
 * also, for each override, its field, its value, and the ms that are left or
 * -1.  What is over goes.
 */

static ngx_http_penstock_redis_script_t  ngx_http_penstock_ratelimit_get = {
    "local version = redis.call('HGET', KEYS[1], 'version') or '0'\n"
    "if version == ARGV[1] then\n"
    "    return {version}\n"
    "end\n"
    "local time = redis.call('TIME')\n"
    "local now = time[1] * 1000 + math.floor(time[2] / 1000)\n"
    "local reply = {version}\n"
    "local all = redis.call('HGETALL', KEYS[1])\n"
    "for i = 1, #all, 2 do\n"
    "    local till = string.match(all[i + 1], ' (%d+)$')\n"
    "    if all[i] ~= 'version' and till then\n"
    "        local left = -1\n"
    "        if till ~= '0' then\n"
    "            left = tonumber(till) - now\n"
    "        end\n"
    "        if left < 0 and till ~= '0' then\n"
    "            redis.call('HDEL', KEYS[1], all[i])\n"
    "        else\n"
    "            local n = #reply\n"
    "            reply[n + 1], reply[n + 2] = all[i], all[i + 1]\n"
    "            reply[n + 3] = left\n"
    "        end\n"
    "    end\n"
    "end\n"
    "return reply\n",
    { 0 }
};


static ngx_event_t       ngx_http_penstock_ratelimit_poll;
static ngx_connection_t  ngx_http_penstock_ratelimit_poll_connection;


/*
 * The one in force is the key's, else the plan's, else the zone's; and so of
 * those in dry run.
 */

ngx_int_t
ngx_http_penstock_ratelimit_override(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_item_t item[2])
{
    ps_override_t  *found;

    if (ngx_http_penstock_ratelimit_override_find(r, item, 1, &found)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (found) {
        item[1] = item[0];
        item[1].override = found;
        item[1].limit = &found->limit;
        item[1].hash ^= NGX_HTTP_PENSTOCK_RATELIMIT_TRIAL;
        item[1].hash += (item[1].hash == 0);
        item[1].dry_run = 1;
        item[1].trial = 1;
    }

    if (ngx_http_penstock_ratelimit_override_find(r, item, 0,
                                                  &item->override)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (item->override) {
        item->limit = &item->override->limit;
    }

    return found ? 2 : 1;
}


static ngx_int_t
ngx_http_penstock_ratelimit_override_find(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_item_t *item, ngx_uint_t dry_run,
    ps_override_t **found)
{
    int             kind;
    u_char          buf[NGX_HTTP_PENSTOCK_RATELIMIT_KEY_MAX];
    uint64_t        now;
    ngx_str_t       value, name;
    ps_override_t   o;

    *found = NULL;
    now = ps_gcra_now();

    for (kind = 0; kind < PS_OVERRIDE_KINDS; kind++) {

        ngx_str_set(&value, "");

        if (kind == PS_OVERRIDE_KEY) {
            value = item->key;

        } else if (kind == PS_OVERRIDE_PLAN) {

            if (item->zone->plan == NULL) {
                continue;
            }

            if (ngx_http_complex_value(r, item->zone->plan, &value)
                != NGX_OK)
            {
                return NGX_ERROR;
            }

            if (value.len == 0) {
                continue;
            }
        }

        if (ngx_http_penstock_ratelimit_key_name(&value, buf, &name)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (!ps_overrides_find(item->memory->overrides, kind,
                               (char *) name.data, name.len, now, &o)
            || o.dry_run != dry_run)
        {
            continue;
        }

        *found = ngx_palloc(r->pool, sizeof(ps_override_t));
        if (*found == NULL) {
            return NGX_ERROR;
        }

        **found = o;

        return NGX_OK;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_ratelimit_overrides_name(ngx_pool_t *pool,
    ngx_http_penstock_ratelimit_zone_t *zone, ngx_str_t *name)
{
    name->data = ngx_pnalloc(pool, sizeof("penstock:rl:overrides:{}")
                                   + zone->name.len);
    if (name->data == NULL) {
        return NGX_ERROR;
    }

    name->len = ngx_sprintf(name->data, "penstock:rl:overrides:{%V}",
                            &zone->name)
                - name->data;

    return NGX_OK;
}


/* in each worker that serves, if there is a zone with Redis */

ngx_int_t
ngx_http_penstock_ratelimit_overrides_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                                 i;
    ngx_event_t                               *ev;
    ngx_http_penstock_ratelimit_zone_t       **zone;
    ngx_http_penstock_ratelimit_main_conf_t   *rmcf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    rmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                          ngx_http_penstock_ratelimit_module);
    if (rmcf == NULL) {
        return NGX_OK;
    }

    zone = rmcf->zones.elts;

    for (i = 0; i < rmcf->zones.nelts; i++) {

        if (zone[i]->redis == NULL) {
            continue;
        }

        ev = &ngx_http_penstock_ratelimit_poll;

        ngx_http_penstock_ratelimit_poll_connection.fd = (ngx_socket_t) -1;

        ev->handler = ngx_http_penstock_ratelimit_overrides_timer;
        ev->data = &ngx_http_penstock_ratelimit_poll_connection;
        ev->log = cycle->log;
        ev->cancelable = 1;

        ngx_add_timer(ev, 1);

        return NGX_OK;
    }

    return NGX_OK;
}


static void
ngx_http_penstock_ratelimit_overrides_timer(ngx_event_t *ev)
{
    ngx_uint_t                                 i;
    ngx_http_penstock_ratelimit_zone_t       **zone;
    ngx_http_penstock_ratelimit_main_conf_t   *rmcf;

    if (ngx_exiting || ngx_quit || ngx_terminate) {
        return;
    }

    rmcf = ngx_http_cycle_get_module_main_conf(ngx_cycle,
                                          ngx_http_penstock_ratelimit_module);
    zone = rmcf->zones.elts;

    for (i = 0; i < rmcf->zones.nelts; i++) {
        if (zone[i]->redis) {
            ngx_http_penstock_ratelimit_overrides_load(zone[i], 0);
        }
    }

    ngx_add_timer(ev, NGX_HTTP_PENSTOCK_RATELIMIT_OVERRIDES_POLL);
}


void
ngx_http_penstock_ratelimit_overrides_load(
    ngx_http_penstock_ratelimit_zone_t *zone, ngx_uint_t now)
{
    u_char                                 buf[NGX_INT64_LEN];
    u_char                                 name[256];
    ngx_str_t                              argv[2];
    ngx_atomic_uint_t                      asked;
    ngx_http_penstock_ratelimit_memory_t  *memory;

    memory = ngx_http_penstock_zone_data(zone->shm_zone);
    asked = memory->asked;

    if (zone->call.pending) {
        return;
    }

    if (!now
        && ngx_http_penstock_age(asked)
           < NGX_HTTP_PENSTOCK_RATELIMIT_OVERRIDES_POLL - 20)
    {
        return;
    }

    if (zone->name.len > sizeof(name) - sizeof("penstock:rl:overrides:{}")
        || !ngx_http_penstock_redis_up(zone->redis)
        || (!ngx_atomic_cmp_set(&memory->asked, asked, ngx_current_msec)
            && !now))
    {
        return;
    }

    argv[0].data = name;
    argv[0].len = ngx_sprintf(name, "penstock:rl:overrides:{%V}", &zone->name)
                  - name;

    zone->known = memory->version;

    argv[1].data = buf;
    argv[1].len = ngx_http_penstock_digits(buf, zone->known) - buf;

    ngx_memzero(&zone->call, sizeof(ngx_http_penstock_redis_call_t));

    zone->call.handler = ngx_http_penstock_ratelimit_overrides_handler;
    zone->call.data = zone;

    (void) ngx_http_penstock_redis_eval(zone->redis, &zone->call,
                                        &ngx_http_penstock_ratelimit_get, 1,
                                        2, argv);
}


static void
ngx_http_penstock_ratelimit_overrides_handler(
    ngx_http_penstock_redis_call_t *call, redisReply *reply)
{
    ngx_http_penstock_ratelimit_zone_t  *zone = call->data;

    if (call->status == NGX_HTTP_PENSTOCK_REDIS_OK
        && reply->type == REDIS_REPLY_ARRAY && reply->elements > 0
        && reply->element[0]->type == REDIS_REPLY_STRING)
    {
        ngx_http_penstock_ratelimit_overrides_take(zone, reply);
        return;
    }

    if (call->status == NGX_HTTP_PENSTOCK_REDIS_REFUSED) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "Redis refused to read the overrides of zone \"%V\": "
                      "\"%*s\"", &zone->name,
                      (size_t) ngx_min(reply->len, 256), reply->str);
    }
}


/*
 * A whole set replaces the one in force, unless another worker has put a
 * later one there meanwhile.
 */

static void
ngx_http_penstock_ratelimit_overrides_take(
    ngx_http_penstock_ratelimit_zone_t *zone, redisReply *reply)
{
    size_t                                 i;
    uint32_t                               n, lost;
    uint64_t                               now;
    ngx_int_t                              version;
    ps_override_t                         *all;
    ngx_http_penstock_ratelimit_memory_t  *memory;

    memory = ngx_http_penstock_zone_data(zone->shm_zone);

    version = ngx_atoi((u_char *) reply->element[0]->str,
                       reply->element[0]->len);

    if (version == NGX_ERROR || (uint64_t) version == zone->known) {
        return;
    }

    all = ngx_alloc(ngx_max(reply->elements / 3, 1) * sizeof(ps_override_t),
                    ngx_cycle->log);
    if (all == NULL) {
        return;
    }

    now = ps_gcra_now();
    n = 0;
    lost = 0;

    for (i = 1; i + 2 < reply->elements; i += 3) {

        if (ngx_http_penstock_ratelimit_override_parse(reply->element[i],
                                                       reply->element[i + 1],
                                                       reply->element[i + 2],
                                                       now, &all[n])
            == NGX_OK)
        {
            n++;

        } else {
            lost++;
        }
    }

    ngx_shmtx_lock(&memory->shpool->mutex);

    if (memory->version == zone->known) {
        lost += ps_overrides_replace(memory->overrides, all, n, now);
        memory->version = (ngx_atomic_uint_t) version;

    } else {
        lost = 0;
    }

    ngx_shmtx_unlock(&memory->shpool->mutex);

    ngx_free(all);

    if (lost) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "%uD overrides of zone \"%V\" in Redis make no sense "
                      "or have no room here", lost, &zone->name);
    }
}


static ngx_int_t
ngx_http_penstock_ratelimit_override_parse(redisReply *field,
    redisReply *value, redisReply *left, uint64_t now, ps_override_t *o)
{
    u_char     *p, *last, *word;
    ngx_int_t   burst;

    if (field->type != REDIS_REPLY_STRING || field->len < 2
        || field->len > PS_OVERRIDE_TEXT + 2 || field->str[1] != ':'
        || value->type != REDIS_REPLY_STRING
        || left->type != REDIS_REPLY_INTEGER)
    {
        return NGX_ERROR;
    }

    ngx_memzero(o, sizeof(ps_override_t));

    switch (field->str[0]) {

    case 'k':
        o->kind = PS_OVERRIDE_KEY;
        break;

    case 'p':
        o->kind = PS_OVERRIDE_PLAN;
        break;

    case 'z':
        o->kind = PS_OVERRIDE_ZONE;
        break;

    default:
        return NGX_ERROR;
    }

    o->len = field->len - 2;
    ngx_memcpy(o->text, field->str + 2, o->len);

    o->until = PS_OVERRIDE_NEVER;

    if (left->integer >= 0) {
        o->until = now + (uint64_t) ngx_min(left->integer, 1LL << 40)
                         * 1000000;
    }

    /* RATE BURST DRY_RUN UNTIL */

    word = (u_char *) value->str;
    last = word + value->len;

    p = ngx_strlchr(word, last, ' ');

    if (p == NULL
        || ps_gcra_rate((char *) word, p - word, &o->rate) != 0)
    {
        return NGX_ERROR;
    }

    word = p + 1;
    p = ngx_strlchr(word, last, ' ');

    if (p == NULL || last - p < 3 || (p[1] != '0' && p[1] != '1')
        || p[2] != ' ')
    {
        return NGX_ERROR;
    }

    burst = ngx_atoi(word, p - word);
    o->dry_run = (p[1] == '1');

    if (burst <= 0 || ps_gcra_limit(&o->limit, &o->rate, burst) != 0) {
        return NGX_ERROR;
    }

    return NGX_OK;
}
