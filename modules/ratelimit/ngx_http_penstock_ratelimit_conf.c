
/*
 * Directives of rate limits.
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
static ngx_uint_t ngx_http_penstock_ratelimit_is(ngx_str_t *value,
    const char *text);
static ngx_int_t ngx_http_penstock_ratelimit_evicted(ngx_conf_t *cf,
    ngx_http_penstock_ratelimit_zone_t *zone);
static ngx_int_t ngx_http_penstock_ratelimit_init_zone(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data);


static const char  *ngx_http_penstock_ratelimit_results[] = {
    "passed", "rejected", "dry_run", "fallback"
};


char *
ngx_http_penstock_ratelimit_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ssize_t                              size;
    ngx_str_t                           *value;
    ngx_http_compile_complex_value_t     ccv;
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


ngx_int_t
ngx_http_penstock_ratelimit_params(ngx_conf_t *cf,
    ngx_http_penstock_ratelimit_param_t *params, ngx_uint_t n)
{
    u_char      *p, names[128];
    size_t       len;
    ngx_str_t   *value;
    ngx_uint_t   i, k;

    value = cf->args->elts;
    len = 0;

    for (k = 0; k < n; k++) {
        ngx_str_null(params[k].value);
    }

    for (i = 2; i < cf->args->nelts; i++) {

        for (k = 0; k < n; k++) {
            len = ngx_strlen(params[k].name);

            if (value[i].len >= len
                && ngx_strncmp(value[i].data, params[k].name, len) == 0)
            {
                break;
            }
        }

        if (k == n) {
            p = names;

            for (k = 0; k < n; k++) {
                p = ngx_slprintf(p, names + sizeof(names), "%s%s",
                                 k == 0 ? "" : k == n - 1 ? " or " : ", ",
                                 params[k].name);
            }

            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\", use %*s",
                               &value[i], (size_t) (p - names), names);
            return NGX_ERROR;
        }

        if (params[k].value->data) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate parameter \"%V\", keep one",
                               &value[i]);
            return NGX_ERROR;
        }

        params[k].value->data = value[i].data + len;
        params[k].value->len = value[i].len - len;
    }

    return NGX_OK;
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

    if (ngx_http_penstock_ratelimit_is(&args->sync, "exact")) {
        return NGX_OK;
    }

    if (ngx_http_penstock_ratelimit_is(&args->sync, "lease")) {
        zone->lease = 1;
        return NGX_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid sync \"%V\", use \"exact\" or \"lease\"",
                       &args->sync);

    return NGX_ERROR;
}


ngx_int_t
ngx_http_penstock_ratelimit_conf_redis(ngx_conf_t *cf, ngx_str_t *zone,
    ngx_str_t *name, ngx_str_t *value, ngx_http_penstock_redis_t **redis,
    ngx_uint_t *fallback)
{
    ngx_uint_t          i;
    static const char  *names[] = { "local", "allow", "deny" };

    *fallback = NGX_HTTP_PENSTOCK_RATELIMIT_LOCAL;

    if (name->data == NULL) {

        if (value->data) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"fallback=\" of zone \"%V\" needs "
                               "\"redis=NAME\", add it or drop the parameter",
                               zone);
            return NGX_ERROR;
        }

        return NGX_OK;
    }

    if (value->data) {

        for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
            if (ngx_http_penstock_ratelimit_is(value, names[i])) {
                break;
            }
        }

        if (i == sizeof(names) / sizeof(names[0])) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid fallback \"%V\", use \"local\", "
                               "\"allow\" or \"deny\"", value);
            return NGX_ERROR;
        }

        *fallback = i;
    }

    *redis = ngx_http_penstock_redis_ref(cf, name);

    return *redis ? NGX_OK : NGX_ERROR;
}


static ngx_uint_t
ngx_http_penstock_ratelimit_is(ngx_str_t *value, const char *text)
{
    return value->len == ngx_strlen(text)
           && ngx_strncmp(value->data, text, value->len) == 0;
}


ngx_int_t
ngx_http_penstock_ratelimit_counters(ngx_conf_t *cf, ngx_str_t *zone,
    const char *name, const char *help, ngx_int_t *counters)
{
    u_char      *p;
    ngx_str_t    labels;
    ngx_uint_t   i;

    p = ngx_pnalloc(cf->pool, sizeof("zone=\"\",result=\"rejected\"")
                              + zone->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    labels.data = p;

    for (i = 0; i < NGX_HTTP_PENSTOCK_RATELIMIT_RESULTS; i++) {
        labels.len = ngx_sprintf(p, "zone=\"%V\",result=\"%s\"", zone,
                                 ngx_http_penstock_ratelimit_results[i])
                     - p;

        counters[i] = ngx_http_penstock_counter(cf, name, help, &labels);

        if (counters[i] == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
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


char *
ngx_http_penstock_ratelimit_limit(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_ratelimit_loc_conf_t *rlcf = conf;

    ngx_str_t                                *value, s;
    ngx_uint_t                                i;
    ngx_shm_zone_t                           *shm_zone;
    ngx_http_complex_value_t                 *cost;
    ngx_http_compile_complex_value_t          ccv;
    ngx_http_penstock_ratelimit_limit_t      *limit;
    ngx_http_penstock_ratelimit_main_conf_t  *rmcf;

    value = cf->args->elts;

    if (rlcf->limits == NULL) {
        rlcf->limits = ngx_array_create(cf->pool, 2,
                                 sizeof(ngx_http_penstock_ratelimit_limit_t));
        if (rlcf->limits == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    shm_zone = NULL;
    cost = NULL;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "zone=", 5) == 0 && shm_zone == NULL) {
            s.data = value[i].data + 5;
            s.len = value[i].len - 5;

            if (s.len == 0) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "\"zone=\" of \"%V\" has no name, write "
                                   "zone=NAME", &cmd->name);
                return NGX_CONF_ERROR;
            }

            shm_zone = ngx_http_penstock_zone_ref(cf, &s,
                                         &ngx_http_penstock_ratelimit_module);
            if (shm_zone == NULL) {
                return NGX_CONF_ERROR;
            }

            continue;
        }

        if (ngx_strncmp(value[i].data, "cost=", 5) == 0 && cost == NULL) {
            s.data = value[i].data + 5;
            s.len = value[i].len - 5;

            if (ngx_http_script_variables_count(&s) == 0
                && ngx_atoi(s.data, s.len) == NGX_ERROR)
            {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "invalid cost \"%V\", write a number or a "
                                   "variable", &s);
                return NGX_CONF_ERROR;
            }

            cost = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
            if (cost == NULL) {
                return NGX_CONF_ERROR;
            }

            ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

            ccv.cf = cf;
            ccv.value = &s;
            ccv.complex_value = cost;

            if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
                return NGX_CONF_ERROR;
            }

            continue;
        }

        if (ngx_strcmp(value[i].data, "before_auth") == 0
            || ngx_strcmp(value[i].data, "dry_run") == 0)
        {
            continue;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid or repeated parameter \"%V\", use zone=, "
                           "cost=, before_auth and dry_run", &value[i]);
        return NGX_CONF_ERROR;
    }

    if (shm_zone == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" must have \"zone=NAME\"", &cmd->name);
        return NGX_CONF_ERROR;
    }

    limit = rlcf->limits->elts;

    for (i = 0; i < rlcf->limits->nelts; i++) {
        if (limit[i].shm_zone == shm_zone) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "zone \"%V\" limits here already, a request "
                               "counts once: keep one \"%V\"",
                               ngx_http_penstock_zone_name(shm_zone),
                               &cmd->name);
            return NGX_CONF_ERROR;
        }
    }

    limit = ngx_array_push(rlcf->limits);
    if (limit == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(limit, sizeof(ngx_http_penstock_ratelimit_limit_t));

    limit->shm_zone = shm_zone;
    limit->cost = cost;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "before_auth") == 0) {
            limit->before_auth = 1;

        } else if (ngx_strcmp(value[i].data, "dry_run") == 0) {
            limit->dry_run = 1;
        }
    }

    rlcf->before += limit->before_auth;
    rlcf->after += !limit->before_auth;

    rmcf = ngx_http_conf_get_module_main_conf(cf,
                                          ngx_http_penstock_ratelimit_module);

    rmcf->before |= limit->before_auth;
    rmcf->after |= !limit->before_auth;

    return NGX_CONF_OK;
}


char *
ngx_http_penstock_ratelimit_status(ngx_conf_t *cf, void *post, void *data)
{
    ngx_uint_t  *status = data;

    if (*status < 400 || *status > 599) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid status \"%ui\", use 400 to 599, usually "
                           "429", *status);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}
