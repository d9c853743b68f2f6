
/*
 * rate_limit_zone: what it says, and the memory of a zone.
 */

#include "ngx_http_penstock_ratelimit.h"


/* of the table in a zone; a change makes a reload start with a new one */

#define NGX_HTTP_PENSTOCK_RATELIMIT_LAYOUT  2


/* of overrides (both sets) and of hot keys in a zone, bytes, at most */

#define NGX_HTTP_PENSTOCK_RATELIMIT_OVERRIDES_SIZE  (1024 * 1024)
#define NGX_HTTP_PENSTOCK_RATELIMIT_HOT_SIZE        (64 * 1024)


/* what stood behind NAME= in a rate_limit_zone */

typedef struct {
    ngx_str_t  zone;
    ngx_str_t  rate;
    ngx_str_t  burst;
    ngx_str_t  plan;
    ngx_str_t  redis;
    ngx_str_t  sync;
    ngx_str_t  fallback;
} ngx_http_penstock_ratelimit_args_t;


static ngx_int_t ngx_http_penstock_ratelimit_conf_key(ngx_conf_t *cf,
    ngx_str_t *value);
static ngx_int_t ngx_http_penstock_ratelimit_conf_rate(ngx_conf_t *cf,
    ngx_http_penstock_ratelimit_zone_t *zone,
    ngx_http_penstock_ratelimit_args_t *args);
static ngx_int_t ngx_http_penstock_ratelimit_conf_sync(ngx_conf_t *cf,
    ngx_http_penstock_ratelimit_zone_t *zone,
    ngx_http_penstock_ratelimit_args_t *args);
static ngx_int_t ngx_http_penstock_ratelimit_evicted(ngx_conf_t *cf,
    ngx_http_penstock_ratelimit_zone_t *zone);
static ngx_int_t ngx_http_penstock_ratelimit_init_zone(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data);


char *
ngx_http_penstock_ratelimit_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ssize_t                                   size;
    ngx_str_t                                *value;
    ngx_http_compile_complex_value_t          ccv;
    ngx_http_penstock_ratelimit_zone_t       *zone, **zonep;
    ngx_http_penstock_ratelimit_args_t        args;
    ngx_http_penstock_ratelimit_main_conf_t  *rmcf;

    ngx_http_penstock_ratelimit_param_t  params[] = {
        { "zone=", &args.zone },
        { "rate=", &args.rate },
        { "burst=", &args.burst },
        { "plan=", &args.plan },
        { "redis=", &args.redis },
        { "sync=", &args.sync },
        { "fallback=", &args.fallback }
    };

    value = cf->args->elts;

    if (ngx_http_penstock_ratelimit_params(cf, params, sizeof(params)
                                                       / sizeof(params[0]))
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (args.zone.data == NULL || args.rate.data == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" must have \"%s\", for example "
                           "\"rate_limit_zone $remote_addr "
                           "zone=perclient:10m rate=100r/s\"", &cmd->name,
                           args.zone.data ? "rate=RATE" : "zone=NAME:SIZE");
        return NGX_CONF_ERROR;
    }

    if (value[1].len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the key of zone \"%V\" is empty, so that it "
                           "would limit nothing: use a variable, for example "
                           "$binary_remote_addr", &args.zone);
        return NGX_CONF_ERROR;
    }

    zone = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_ratelimit_zone_t));
    if (zone == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[1];
    ccv.complex_value = &zone->key;

    zone->key_text = value[1];
    zone->key_index = ngx_http_penstock_ratelimit_conf_key(cf, &value[1]);
    zone->rate_text = args.rate;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (args.plan.data) {
        zone->plan = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
        if (zone->plan == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

        ccv.cf = cf;
        ccv.value = &args.plan;
        ccv.complex_value = zone->plan;

        if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_http_penstock_zone_parse(cf, &args.zone, &zone->name, &size)
        != NGX_OK
        || ngx_http_penstock_ratelimit_conf_rate(cf, zone, &args) != NGX_OK
        || ngx_http_penstock_ratelimit_conf_redis(cf, &zone->name,
                                                  &args.redis, &args.fallback,
                                                  &zone->redis,
                                                  &zone->fallback)
           != NGX_OK
        || ngx_http_penstock_ratelimit_conf_sync(cf, zone, &args) != NGX_OK
        || ngx_http_penstock_ratelimit_counters(cf, &zone->name,
                                    "penstock_ratelimit_requests_total",
                                    "Requests that a rate limit has decided.",
                                    zone->counters)
           != NGX_OK
        || ngx_http_penstock_ratelimit_evicted(cf, zone) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    zone->shm_zone = ngx_http_penstock_zone_add(cf, &zone->name, size,
                                        &ngx_http_penstock_ratelimit_module,
                                        NGX_HTTP_PENSTOCK_RATELIMIT_LAYOUT,
                                        ngx_http_penstock_ratelimit_init_zone,
                                        zone);
    if (zone->shm_zone == NULL) {
        return NGX_CONF_ERROR;
    }

    if (zone->rate == NULL
        && ngx_http_penstock_ratelimit_policy(cf->pool, zone) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (zone->redis) {
        zone->lane = ngx_http_penstock_ratelimit_lane(cf, zone->redis);
        if (zone->lane == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    rmcf = ngx_http_conf_get_module_main_conf(cf,
                                          ngx_http_penstock_ratelimit_module);

    zonep = ngx_array_push(&rmcf->zones);
    if (zonep == NULL) {
        return NGX_CONF_ERROR;
    }

    *zonep = zone;

    return NGX_CONF_OK;
}


/* of a key that is one variable its index, else NGX_ERROR */

static ngx_int_t
ngx_http_penstock_ratelimit_conf_key(ngx_conf_t *cf, ngx_str_t *value)
{
    size_t     i;
    u_char     c;
    ngx_str_t  name;

    name.data = value->data + 1;
    name.len = value->len - 1;

    if (value->data[0] != '$' || name.len == 0) {
        return NGX_ERROR;
    }

    for (i = 0; i < name.len; i++) {
        c = (u_char) (name.data[i] | 0x20);

        /* "$1" is a capture */

        if ((c < 'a' || c > 'z') && name.data[i] != '_'
            && (i == 0 || name.data[i] < '0' || name.data[i] > '9'))
        {
            return NGX_ERROR;
        }
    }

    return ngx_http_get_variable_index(cf, &name);
}


static ngx_int_t
ngx_http_penstock_ratelimit_conf_rate(ngx_conf_t *cf,
    ngx_http_penstock_ratelimit_zone_t *zone,
    ngx_http_penstock_ratelimit_args_t *args)
{
    ngx_int_t                          n;
    ps_gcra_rate_t                     rate;
    ngx_http_compile_complex_value_t   ccv;

    zone->burst = 1;

    if (args->burst.data) {
        n = ngx_atoi(args->burst.data, args->burst.len);

        if (n <= 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid burst \"%V\", write how many requests "
                               "may come at once, 1 or more", &args->burst);
            return NGX_ERROR;
        }

        zone->burst = n;
    }

    if (ngx_http_script_variables_count(&args->rate)) {

        zone->rate = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
        if (zone->rate == NULL) {
            return NGX_ERROR;
        }

        ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

        ccv.cf = cf;
        ccv.value = &args->rate;
        ccv.complex_value = zone->rate;

        return ngx_http_compile_complex_value(&ccv);
    }

    if (ps_gcra_rate((char *) args->rate.data, args->rate.len, &rate) != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid rate \"%V\", write it as 100r/s, r/m, "
                           "r/h or r/d, at most %uDr/s, or as a variable",
                           &args->rate, (uint32_t) PS_GCRA_RATE_MAX);
        return NGX_ERROR;
    }

    if (ps_gcra_limit(&zone->limit, &rate, zone->burst) != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "burst \"%V\" at rate \"%V\" takes more than "
                           "90 days to come back, lower the burst",
                           &args->burst, &args->rate);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_ratelimit_conf_sync(ngx_conf_t *cf,
    ngx_http_penstock_ratelimit_zone_t *zone,
    ngx_http_penstock_ratelimit_args_t *args)
{
    if (args->sync.data == NULL) {
        return NGX_OK;
    }

    if (args->redis.data == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"sync=\" of zone \"%V\" needs "
                           "\"redis=NAME\", add it or drop the parameter",
                           &zone->name);
        return NGX_ERROR;
    }

    if (ngx_strcmp(args->sync.data, "exact") == 0) {
        return NGX_OK;
    }

    if (ngx_strcmp(args->sync.data, "lease") == 0) {
        zone->lease = 1;
        return NGX_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid sync \"%V\", use \"exact\" or \"lease\"",
                       &args->sync);

    return NGX_ERROR;
}


static ngx_int_t
ngx_http_penstock_ratelimit_evicted(ngx_conf_t *cf,
    ngx_http_penstock_ratelimit_zone_t *zone)
{
    u_char     *p;
    ngx_str_t   labels;

    p = ngx_pnalloc(cf->pool, sizeof("zone=\"\"") + zone->name.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    labels.data = p;
    labels.len = ngx_sprintf(p, "zone=\"%V\"", &zone->name) - p;

    zone->evicted = ngx_http_penstock_counter(cf,
                             "penstock_ratelimit_evicted_total",
                             "Keys forgotten early because a zone was full.",
                             &labels);

    return (zone->evicted == NGX_ERROR) ? NGX_ERROR : NGX_OK;
}


/*
 * Overrides get a sixteenth of the zone for their two sets, hot keys less;
 * the table takes all other pages but two.  All of it is made once; after a
 * reload that leaves name and size alone it goes on, even under
 * another rate or burst.
 */

static ngx_int_t
ngx_http_penstock_ratelimit_init_zone(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data)
{
    void                                  *mem;
    size_t                                 size;
    u_char                                 seed[PS_SIPHASH_KEY_LEN];
    ngx_http_penstock_ratelimit_memory_t  *memory;

    memory = ngx_slab_calloc(shpool,
                             sizeof(ngx_http_penstock_ratelimit_memory_t));
    if (memory == NULL
        || ngx_http_penstock_random(seed, sizeof(seed)) != NGX_OK)
    {
        return NGX_ERROR;
    }

    memory->shpool = shpool;

    size = zone->shm.size / 16;
    size = ngx_min(ngx_max(size, 4096),
                   NGX_HTTP_PENSTOCK_RATELIMIT_OVERRIDES_SIZE);

    mem = ngx_slab_alloc(shpool, size);
    if (mem == NULL) {
        return NGX_ERROR;
    }

    memory->overrides = ps_overrides_init(mem, size, seed);

    size = zone->shm.size / 128;
    size = ngx_min(ngx_max(size, 4096), NGX_HTTP_PENSTOCK_RATELIMIT_HOT_SIZE);

    mem = ngx_slab_alloc(shpool, size);
    if (mem == NULL || shpool->pfree < 3) {
        return NGX_ERROR;
    }

    memory->hot = ps_hot_init(mem, size);

    size = (shpool->pfree - 2) * ngx_pagesize;

    mem = ngx_slab_alloc(shpool, size);
    if (mem == NULL
        || ngx_http_penstock_random(seed, sizeof(seed)) != NGX_OK)
    {
        return NGX_ERROR;
    }

    memory->table = ps_gcra_table_init(mem, size, seed);

    ngx_explicit_memzero(seed, sizeof(seed));

    *data = memory;

    return (memory->overrides && memory->hot && memory->table)
           ? NGX_OK : NGX_ERROR;
}
