
/*
 * Concurrency limits: how many requests of a key may be under way at a time.
 *
 * A slot is taken in the precontent phase, behind the rate limits, and goes
 * back when the request ends.
 */

#include "ngx_http_penstock_ratelimit.h"


/* ms that the client of Redis may take over its own timeout */

#define NGX_HTTP_PENSTOCK_CONCURRENCY_GRACE  500


typedef struct {
    ngx_shm_zone_t                         *shm_zone;
    ngx_flag_t                              dry_run;
} ngx_http_penstock_concurrency_limit_t;


typedef struct {
    ngx_array_t                            *limits;
                                /* ngx_http_penstock_concurrency_limit_t */
} ngx_http_penstock_concurrency_loc_conf_t;


static ngx_int_t ngx_http_penstock_concurrency_handler(ngx_http_request_t *r);
static ngx_http_penstock_running_t *ngx_http_penstock_concurrency_of(
    ngx_http_penstock_ratelimit_state_t *st,
    ngx_http_penstock_concurrency_zone_t *zone);
static ngx_int_t ngx_http_penstock_concurrency_start(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_state_t *st,
    ngx_http_penstock_concurrency_limit_t *limit,
    ngx_http_penstock_running_t **running);
static ngx_int_t ngx_http_penstock_concurrency_limit_of(ngx_http_request_t *r,
    ngx_http_penstock_concurrency_zone_t *zone, ngx_uint_t *limit);
static void ngx_http_penstock_concurrency_wake(
    ngx_http_penstock_ratelimit_slot_t *slot);
static ngx_int_t ngx_http_penstock_concurrency_decided(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_state_t *st,
    ngx_http_penstock_running_t *running);

static void *ngx_http_penstock_concurrency_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_penstock_concurrency_merge_loc_conf(ngx_conf_t *cf,
    void *parent, void *child);
static char *ngx_http_penstock_concurrency_zone(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static ngx_int_t ngx_http_penstock_concurrency_zone_limit(ngx_conf_t *cf,
    ngx_http_penstock_concurrency_zone_t *zone, ngx_str_t *value);
static char *ngx_http_penstock_concurrency(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_penstock_concurrency_init(ngx_conf_t *cf);


static ngx_command_t  ngx_http_penstock_concurrency_commands[] = {

    { ngx_string("rate_limit_concurrency_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_2MORE,
      ngx_http_penstock_concurrency_zone,
      0,
      0,
      NULL },

    { ngx_string("rate_limit_concurrency"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_penstock_concurrency,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_penstock_concurrency_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_penstock_concurrency_init,    /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_penstock_concurrency_create_loc_conf,
                                           /* create location configuration */
    ngx_http_penstock_concurrency_merge_loc_conf
                                           /* merge location configuration */
};


ngx_module_t  ngx_http_penstock_concurrency_module = {
    NGX_MODULE_V1,
    &ngx_http_penstock_concurrency_module_ctx, /* module context */
    ngx_http_penstock_concurrency_commands, /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/*
 * Slots are taken one by one in the order of the limits; if one is refused
 * the others go back.  May be called again while it waits for Redis.
 */

static ngx_int_t
ngx_http_penstock_concurrency_handler(ngx_http_request_t *r)
{
    ngx_int_t                                  rc;
    ngx_uint_t                                 i;
    ngx_http_penstock_running_t               *running;
    ngx_http_penstock_ratelimit_state_t       *st;
    ngx_http_penstock_concurrency_limit_t     *limit;
    ngx_http_penstock_concurrency_loc_conf_t  *clcf;

    if (r != r->main) {
        return NGX_DECLINED;
    }

    clcf = ngx_http_get_module_loc_conf(r,
                                        ngx_http_penstock_concurrency_module);

    if (clcf->limits == NULL) {
        return NGX_DECLINED;
    }

    st = ngx_http_penstock_ratelimit_state(r);
    if (st == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (st->refused || st->failed) {
        return NGX_DECLINED;
    }

    limit = clcf->limits->elts;

    for (i = 0; i < clcf->limits->nelts; i++) {
        running = ngx_http_penstock_concurrency_of(st,
                          ngx_http_penstock_zone_conf(limit[i].shm_zone));

        if (running == NULL) {
            rc = ngx_http_penstock_concurrency_start(r, st, &limit[i],
                                                     &running);
            if (rc == NGX_DECLINED) {
                continue;
            }

            if (rc != NGX_OK) {
                return rc;
            }
        }

        if (running->decided) {
            continue;
        }

        if (running->slot.rc == NGX_AGAIN) {

            if (running->parked && ngx_http_penstock_timed_out(r)) {
                ngx_http_penstock_ratelimit_slot_release(&running->slot);
                running->slot.rc = NGX_ERROR;

            } else {
                running->parked = 1;

                return ngx_http_penstock_park(r,
                    ngx_http_penstock_redis_timeout(running->zone->slots.redis)
                    + NGX_HTTP_PENSTOCK_CONCURRENCY_GRACE, 1);
            }
        }

        rc = ngx_http_penstock_concurrency_decided(r, st, running);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    return NGX_DECLINED;
}


static ngx_http_penstock_running_t *
ngx_http_penstock_concurrency_of(ngx_http_penstock_ratelimit_state_t *st,
    ngx_http_penstock_concurrency_zone_t *zone)
{
    ngx_http_penstock_running_t  *running;

    for (running = st->running; running; running = running->next) {
        if (running->zone == zone) {
            return running;
        }
    }

    return NULL;
}


/* NGX_DECLINED: the key is empty; NGX_OK, or an HTTP status */

static ngx_int_t
ngx_http_penstock_concurrency_start(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_state_t *st,
    ngx_http_penstock_concurrency_limit_t *limit,
    ngx_http_penstock_running_t **started)
{
    ngx_str_t                              key;
    ngx_http_penstock_running_t           *running, **last;
    ngx_http_penstock_concurrency_zone_t  *zone;

    zone = ngx_http_penstock_zone_conf(limit->shm_zone);

    if (ngx_http_complex_value(r, &zone->key, &key) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (key.len == 0) {
        return NGX_DECLINED;
    }

    running = ngx_pcalloc(r->pool, sizeof(ngx_http_penstock_running_t));
    if (running == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    running->zone = zone;
    running->dry_run = limit->dry_run;

    running->slot.slots = &zone->slots;
    running->slot.request = r;
    running->slot.key = key;
    running->slot.handler = ngx_http_penstock_concurrency_wake;

    if (ngx_http_penstock_concurrency_limit_of(r, zone, &running->slot.limit)
        != NGX_OK)
    {
        st->failed = 1;

        return ngx_http_penstock_refuse(r, NGX_HTTP_INTERNAL_SERVER_ERROR,
                                        "A concurrency limit is "
                                        "misconfigured.");
    }

    for (last = &st->running; *last; last = &(*last)->next) { /* void */ }

    *last = running;
    *started = running;

    (void) ngx_http_penstock_ratelimit_slot_acquire(&running->slot);

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_concurrency_limit_of(ngx_http_request_t *r,
    ngx_http_penstock_concurrency_zone_t *zone, ngx_uint_t *limit)
{
    ngx_int_t  n;
    ngx_str_t  value;

    if (zone->limit_value == NULL) {
        *limit = zone->limit;
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, zone->limit_value, &value) != NGX_OK) {
        return NGX_ERROR;
    }

    n = ngx_atoi(value.data, value.len);

    if (n == NGX_ERROR) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "rate_limit_concurrency_zone \"%V\": invalid limit "
                      "\"%V\"", &zone->slots.name, &value);
        return NGX_ERROR;
    }

    *limit = n;

    return NGX_OK;
}


static void
ngx_http_penstock_concurrency_wake(ngx_http_penstock_ratelimit_slot_t *slot)
{
    ngx_http_penstock_wake(slot->request);
}


static ngx_int_t
ngx_http_penstock_concurrency_decided(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_state_t *st,
    ngx_http_penstock_running_t *running)
{
    ngx_uint_t                                result;
    ngx_http_penstock_running_t              *other;
    ngx_http_penstock_ratelimit_loc_conf_t   *rlcf;

    running->decided = 1;
    running->refused = (running->slot.rc == NGX_DECLINED);

    if (running->slot.rc == NGX_ERROR) {

        /* the zone is full, or Redis' client has lost its way */

        running->refused = 1;
        running->slot.fallback = 1;
    }

    result = running->slot.fallback ? NGX_HTTP_PENSTOCK_RATELIMIT_FALLBACK
             : !running->refused ? NGX_HTTP_PENSTOCK_RATELIMIT_PASSED
             : running->dry_run ? NGX_HTTP_PENSTOCK_RATELIMIT_DRY_RUN
             : NGX_HTTP_PENSTOCK_RATELIMIT_REJECTED;

    ngx_http_penstock_count(running->zone->counters[result], 1);

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_penstock_ratelimit_module);

    st->headers = rlcf->headers;

    if (!running->refused) {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "concurrency limit%s by zone \"%V\"",
                  running->dry_run ? ", dry run," : "",
                  &running->zone->slots.name);

    if (running->dry_run) {
        return NGX_OK;
    }

    for (other = st->running; other; other = other->next) {
        ngx_http_penstock_ratelimit_slot_release(&other->slot);
    }

    st->refused = 1;
    st->status = rlcf->status;
    st->first = st->items.nelts;
    st->decision.unavailable = running->slot.fallback;

    return ngx_http_penstock_ratelimit_refuse(r, st);
}


static void *
ngx_http_penstock_concurrency_create_loc_conf(ngx_conf_t *cf)
{
    /* set by ngx_pcalloc(): conf->limits = NULL */

    return ngx_pcalloc(cf->pool,
                       sizeof(ngx_http_penstock_concurrency_loc_conf_t));
}


static char *
ngx_http_penstock_concurrency_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_penstock_concurrency_loc_conf_t  *prev = parent;
    ngx_http_penstock_concurrency_loc_conf_t  *conf = child;

    if (conf->limits == NULL) {
        conf->limits = prev->limits;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_penstock_concurrency_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ssize_t                                size;
    ngx_str_t                             *value, name, limit, redis, fallback;
    ngx_str_t                              zone_name;
    ngx_http_compile_complex_value_t       ccv;
    ngx_http_penstock_concurrency_zone_t  *zone;

    ngx_http_penstock_ratelimit_param_t    params[] = {
        { "zone=", &name },
        { "limit=", &limit },
        { "redis=", &redis },
        { "fallback=", &fallback }
    };

    value = cf->args->elts;

    if (ngx_http_penstock_ratelimit_params(cf, params, 4) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (name.data == NULL || limit.data == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" must have \"%s\", for example "
                           "\"rate_limit_concurrency_zone $remote_addr "
                           "zone=running:1m limit=20\"", &cmd->name,
                           name.data ? "limit=N" : "zone=NAME:SIZE");
        return NGX_CONF_ERROR;
    }

    if (value[1].len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the key of zone \"%V\" is empty, so that it "
                           "would limit nothing: use a variable, for example "
                           "$binary_remote_addr", &name);
        return NGX_CONF_ERROR;
    }

    zone = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_concurrency_zone_t));
    if (zone == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[1];
    ccv.complex_value = &zone->key;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK
        || ngx_http_penstock_zone_parse(cf, &name, &zone_name, &size) != NGX_OK
        || ngx_http_penstock_concurrency_zone_limit(cf, zone, &limit)
           != NGX_OK
        || ngx_http_penstock_ratelimit_conf_redis(cf, &zone_name, &redis,
                                                  &fallback,
                                                  &zone->slots.redis,
                                                  &zone->slots.fallback)
           != NGX_OK
        || ngx_http_penstock_ratelimit_counters(cf, &zone_name,
                              "penstock_concurrency_requests_total",
                              "Requests that a concurrency limit has decided.",
                              zone->counters)
           != NGX_OK
        || ngx_http_penstock_ratelimit_slots_add(cf, &zone->slots, &zone_name,
                                       size,
                                       &ngx_http_penstock_concurrency_module,
                                       zone)
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_penstock_concurrency_zone_limit(ngx_conf_t *cf,
    ngx_http_penstock_concurrency_zone_t *zone, ngx_str_t *value)
{
    ngx_int_t                         n;
    ngx_http_compile_complex_value_t  ccv;

    if (ngx_http_script_variables_count(value) == 0) {
        n = ngx_atoi(value->data, value->len);

        if (n <= 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid limit \"%V\", write how many requests "
                               "may be under way, 1 or more, or a variable",
                               value);
            return NGX_ERROR;
        }

        zone->limit = n;

        return NGX_OK;
    }

    zone->limit_value = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (zone->limit_value == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = value;
    ccv.complex_value = zone->limit_value;

    return ngx_http_compile_complex_value(&ccv);
}


static char *
ngx_http_penstock_concurrency(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_penstock_concurrency_loc_conf_t *clcf = conf;

    ngx_str_t                                *value, name;
    ngx_uint_t                                i;
    ngx_flag_t                                dry_run;
    ngx_http_penstock_concurrency_limit_t    *limit;
    ngx_http_penstock_ratelimit_main_conf_t  *rmcf;

    value = cf->args->elts;
    ngx_str_null(&name);
    dry_run = 0;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "zone=", 5) == 0 && value[i].len > 5
            && name.data == NULL)
        {
            name.data = value[i].data + 5;
            name.len = value[i].len - 5;

        } else if (ngx_strcmp(value[i].data, "dry_run") == 0 && !dry_run) {
            dry_run = 1;

        } else {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid or repeated parameter \"%V\", use "
                               "zone=NAME and dry_run", &value[i]);
            return NGX_CONF_ERROR;
        }
    }

    if (name.data == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" must have \"zone=NAME\"", &cmd->name);
        return NGX_CONF_ERROR;
    }

    if (clcf->limits == NULL) {
        clcf->limits = ngx_array_create(cf->pool, 1,
                               sizeof(ngx_http_penstock_concurrency_limit_t));
        if (clcf->limits == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    limit = ngx_array_push(clcf->limits);
    if (limit == NULL) {
        return NGX_CONF_ERROR;
    }

    rmcf = ngx_http_conf_get_module_main_conf(cf,
                                          ngx_http_penstock_ratelimit_module);
    rmcf->running = 1;

    limit->dry_run = dry_run;
    limit->shm_zone = ngx_http_penstock_zone_ref(cf, &name,
                                      &ngx_http_penstock_concurrency_module);

    return limit->shm_zone ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static ngx_int_t
ngx_http_penstock_concurrency_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt                      *h;
    ngx_http_core_main_conf_t                *cmcf;
    ngx_http_penstock_ratelimit_main_conf_t  *rmcf;

    rmcf = ngx_http_conf_get_module_main_conf(cf,
                                          ngx_http_penstock_ratelimit_module);

    if (!rmcf->running) {
        return NGX_OK;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_penstock_concurrency_handler;

    return NGX_OK;
}
