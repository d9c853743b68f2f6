
/*
 * rate_limit_admin: lists of zones, their overrides and their hottest keys.
 * Changes are in ngx_http_penstock_ratelimit_admin_change.c.
 */

#include "ngx_http_penstock_ratelimit_admin.h"


/* hottest keys of a zone in a list */

#define NGX_HTTP_PENSTOCK_RATELIMIT_ADMIN_HOT  20


static ngx_int_t ngx_http_penstock_ratelimit_admin_handler(
    ngx_http_request_t *r);
static json_t *ngx_http_penstock_ratelimit_admin_list(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_zone_t *only);
static json_t *ngx_http_penstock_ratelimit_admin_describe(
    ngx_http_request_t *r, ngx_http_penstock_ratelimit_zone_t *zone);
static int ngx_http_penstock_ratelimit_admin_overrides(json_t *json,
    ngx_http_penstock_ratelimit_memory_t *memory);
static int ngx_http_penstock_ratelimit_admin_hottest(json_t *json,
    ngx_http_penstock_ratelimit_memory_t *memory);
static int ngx_http_penstock_ratelimit_admin_text(json_t *json,
    const char *name, const char *text, size_t len);
static int ngx_http_penstock_ratelimit_admin_rate(json_t *json,
    const ps_override_t *o);
static int ngx_libc_cdecl ngx_http_penstock_ratelimit_admin_cmp(
    const void *one, const void *two);


char *
ngx_http_penstock_ratelimit_admin(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    return ngx_http_penstock_content(cf,
                                    ngx_http_penstock_ratelimit_admin_handler);
}


static ngx_int_t
ngx_http_penstock_ratelimit_admin_handler(ngx_http_request_t *r)
{
    json_t                              *json;
    ngx_int_t                            rc;
    ngx_str_t                            name;
    ngx_table_elt_t                     *allow;
    ngx_http_penstock_ratelimit_zone_t  *zone;

    static ngx_str_t  allow_name = ngx_string("Allow");
    static ngx_str_t  allow_value = ngx_string("GET, HEAD, PUT, DELETE");

    if (r->method == NGX_HTTP_PUT || r->method == NGX_HTTP_DELETE) {
        return ngx_http_penstock_ratelimit_admin_change(r);
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        allow = ngx_http_penstock_add_header(r, &allow_name, &allow_value);
        if (allow == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return NGX_HTTP_NOT_ALLOWED;
    }

    zone = NULL;
    rc = ngx_http_penstock_ratelimit_admin_arg(r, "zone", &name);

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc == NGX_OK) {
        zone = ngx_http_penstock_ratelimit_admin_zone(r, &name);
        if (zone == NULL) {
            return ngx_http_penstock_refuse(r, NGX_HTTP_NOT_FOUND,
                                            "There is no such zone.");
        }
    }

    json = ngx_http_penstock_ratelimit_admin_list(r, zone);
    if (json == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_penstock_ratelimit_admin_send(r, NGX_HTTP_OK, json);
}


ngx_http_penstock_ratelimit_zone_t *
ngx_http_penstock_ratelimit_admin_zone(ngx_http_request_t *r, ngx_str_t *name)
{
    ngx_uint_t                                 i;
    ngx_http_penstock_ratelimit_zone_t       **zone;
    ngx_http_penstock_ratelimit_main_conf_t   *rmcf;

    rmcf = ngx_http_get_module_main_conf(r,
                                         ngx_http_penstock_ratelimit_module);
    zone = rmcf->zones.elts;

    for (i = 0; i < rmcf->zones.nelts; i++) {
        if (zone[i]->name.len == name->len
            && ngx_memcmp(zone[i]->name.data, name->data, name->len) == 0)
        {
            return zone[i];
        }
    }

    return NULL;
}


ngx_int_t
ngx_http_penstock_ratelimit_admin_arg(ngx_http_request_t *r, const char *name,
    ngx_str_t *value)
{
    u_char     *dst, *src;
    ngx_str_t   raw;

    if (ngx_http_arg(r, (u_char *) name, ngx_strlen(name), &raw) != NGX_OK) {
        return NGX_DECLINED;
    }

    dst = ngx_pnalloc(r->pool, raw.len + 1);
    if (dst == NULL) {
        return NGX_ERROR;
    }

    value->data = dst;
    src = raw.data;

    ngx_unescape_uri(&dst, &src, raw.len, 0);

    value->len = dst - value->data;

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_ratelimit_admin_send(ngx_http_request_t *r,
    ngx_uint_t status, json_t *json)
{
    char         *text;
    size_t        len;
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    text = json_dumps(json, JSON_COMPACT);
    json_decref(json);

    if (text == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    len = ngx_strlen(text);

    b = ngx_create_temp_buf(r->pool, len + 1);
    if (b == NULL) {
        free(text);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->last = ngx_cpymem(b->last, text, len);
    *b->last++ = '\n';
    free(text);

    b->last_buf = (r == r->main);
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    r->headers_out.status = status;
    r->headers_out.content_length_n = b->last - b->pos;
    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_http_output_filter(r, &out);
}


static json_t *
ngx_http_penstock_ratelimit_admin_list(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_zone_t *only)
{
    json_t                                    *json, *zones;
    ngx_uint_t                                 i;
    ngx_http_penstock_ratelimit_zone_t       **zone;
    ngx_http_penstock_ratelimit_main_conf_t   *rmcf;

    json = json_object();
    zones = json_array();

    if (json_object_set_new(json, "zones", zones) != 0) {
        json_decref(json);
        return NULL;
    }

    rmcf = ngx_http_get_module_main_conf(r,
                                         ngx_http_penstock_ratelimit_module);
    zone = rmcf->zones.elts;

    for (i = 0; i < rmcf->zones.nelts; i++) {

        if (only && zone[i] != only) {
            continue;
        }

        if (json_array_append_new(zones,
                                  ngx_http_penstock_ratelimit_admin_describe(r,
                                                                     zone[i]))
            != 0)
        {
            json_decref(json);
            return NULL;
        }
    }

    return json;
}


static json_t *
ngx_http_penstock_ratelimit_admin_describe(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_zone_t *zone)
{
    int                                    rc;
    json_t                                *json;
    ngx_http_penstock_ratelimit_memory_t  *memory;

    static const char  *fallback[] = { "local", "allow", "deny" };

    memory = ngx_http_penstock_zone_data(zone->shm_zone);
    json = json_object();

    rc = ngx_http_penstock_ratelimit_admin_text(json, "zone",
                             (char *) zone->name.data, zone->name.len);
    rc |= ngx_http_penstock_ratelimit_admin_text(json, "key_is",
                             (char *) zone->key_text.data, zone->key_text.len);
    rc |= ngx_http_penstock_ratelimit_admin_text(json, "rate",
                           (char *) zone->rate_text.data, zone->rate_text.len);
    rc |= json_object_set_new(json, "burst", json_integer(zone->burst));
    rc |= json_object_set_new(json, "sync",
                              json_string(zone->redis == NULL ? "local"
                                          : zone->lease ? "lease" : "exact"));

    if (zone->redis) {
        rc |= json_object_set_new(json, "fallback",
                                  json_string(fallback[zone->fallback]));
        rc |= json_object_set_new(json, "redis_up",
                        json_boolean(ngx_http_penstock_redis_up(zone->redis)));
    }

    rc |= json_object_set_new(json, "room_for_keys",
                       json_integer(ps_gcra_table_capacity(memory->table)));
    rc |= json_object_set_new(json, "room_for_overrides",
                       json_integer(ps_overrides_max(memory->overrides)));

    rc |= ngx_http_penstock_ratelimit_admin_overrides(json, memory);
    rc |= ngx_http_penstock_ratelimit_admin_hottest(json, memory);

    if (rc != 0) {
        json_decref(json);
        return NULL;
    }

    return json;
}


static int
ngx_http_penstock_ratelimit_admin_overrides(json_t *json,
    ngx_http_penstock_ratelimit_memory_t *memory)
{
    int             rc;
    json_t         *list;
    uint32_t        i, n;
    uint64_t        now;
    ps_override_t  *all;

    all = ngx_alloc(ps_overrides_max(memory->overrides)
                    * sizeof(ps_override_t), ngx_cycle->log);
    if (all == NULL) {
        return -1;
    }

    ngx_shmtx_lock(&memory->shpool->mutex);
    n = ps_overrides_copy(memory->overrides, all);
    ngx_shmtx_unlock(&memory->shpool->mutex);

    list = json_array();
    now = ps_gcra_now();
    rc = 0;

    for (i = 0; i < n; i++) {
        if (all[i].until > now) {
            rc |= json_array_append_new(list,
                     ngx_http_penstock_ratelimit_admin_override(&all[i], now));
        }
    }

    ngx_free(all);

    return rc | json_object_set_new(json, "overrides", list);
}


json_t *
ngx_http_penstock_ratelimit_admin_override(const ps_override_t *o,
    uint64_t now)
{
    int      rc;
    json_t  *json;

    static const char  *kinds[] = { "key", "plan" };

    json = json_object();
    rc = 0;

    if (o->kind == PS_OVERRIDE_ZONE) {
        rc |= json_object_set_new(json, "all", json_true());

    } else {
        rc |= ngx_http_penstock_ratelimit_admin_text(json, kinds[o->kind],
                                                     o->text, o->len);
    }

    rc |= ngx_http_penstock_ratelimit_admin_rate(json, o);
    rc |= json_object_set_new(json, "burst", json_integer(o->limit.burst));
    rc |= json_object_set_new(json, "dry_run", json_boolean(o->dry_run));

    if (o->until != PS_OVERRIDE_NEVER) {
        rc |= json_object_set_new(json, "expires",
                                  json_integer(ps_gcra_ceil(o->until - now)));
    }

    rc |= json_object_set_new(json, "passed", json_integer(o->passed));
    rc |= json_object_set_new(json, o->dry_run ? "would_refuse" : "refused",
                              json_integer(o->refused));

    if (rc != 0) {
        json_decref(json);
        return NULL;
    }

    return json;
}


static int
ngx_http_penstock_ratelimit_admin_rate(json_t *json, const ps_override_t *o)
{
    u_char   buf[NGX_INT32_LEN + sizeof("r/s")];
    u_char  *p;

    p = ngx_sprintf(buf, "%uDr/%c", o->rate.count,
                    o->rate.period == 1 ? 's' : o->rate.period == 60 ? 'm'
                    : o->rate.period == 3600 ? 'h' : 'd');

    return json_object_set_new(json, "rate",
                               json_stringn((char *) buf, p - buf));
}


static int
ngx_http_penstock_ratelimit_admin_hottest(json_t *json,
    ngx_http_penstock_ratelimit_memory_t *memory)
{
    int            rc;
    json_t        *list, *one;
    uint32_t       i, n;
    uint64_t       now;
    ps_hot_key_t  *keys;

    list = json_array();
    now = ngx_current_msec / 1000;

    if (json_object_set_new(json, "hottest", list) != 0) {
        return -1;
    }

    keys = ngx_alloc(ps_hot_places(memory->hot) * sizeof(ps_hot_key_t),
                     ngx_cycle->log);
    if (keys == NULL) {
        return -1;
    }

    n = 0;

    for (i = 0; i < ps_hot_places(memory->hot); i++) {
        n += ps_hot_at(memory->hot, i, now, &keys[n]);
    }

    ngx_qsort(keys, n, sizeof(ps_hot_key_t),
              ngx_http_penstock_ratelimit_admin_cmp);

    n = ngx_min(n, NGX_HTTP_PENSTOCK_RATELIMIT_ADMIN_HOT);
    rc = 0;

    for (i = 0; i < n && rc == 0; i++) {
        one = json_object();

        rc = ngx_http_penstock_ratelimit_admin_text(one, "key", keys[i].text,
                                                    keys[i].len);
        rc |= json_object_set_new(one, "requests", json_integer(keys[i].uses));
        rc |= json_object_set_new(one, "refused",
                                  json_integer(keys[i].refused));
        rc |= json_object_set_new(one, "seconds",
                                  json_integer(now - keys[i].since));
        rc |= json_array_append_new(list, one);
    }

    ngx_free(keys);

    return rc;
}


/* a name that is no UTF-8, as of $binary_remote_addr, goes as NAME_hex */

static int
ngx_http_penstock_ratelimit_admin_text(json_t *json, const char *name,
    const char *text, size_t len)
{
    u_char   hex[2 * PS_OVERRIDE_TEXT], member[32];
    json_t  *value;

    value = json_stringn(text, len);

    if (value) {
        return json_object_set_new(json, name, value);
    }

    len = ngx_min(len, PS_OVERRIDE_TEXT);

    (void) ngx_hex_dump(hex, (u_char *) text, len);
    (void) ngx_snprintf(member, sizeof(member), "%s_hex%Z", name);

    return json_object_set_new(json, (char *) member,
                               json_stringn((char *) hex, 2 * len));
}


static int ngx_libc_cdecl
ngx_http_penstock_ratelimit_admin_cmp(const void *one, const void *two)
{
    const ps_hot_key_t  *a = one;
    const ps_hot_key_t  *b = two;

    if (a->score != b->score) {
        return (a->score < b->score) ? 1 : -1;
    }

    return (a->uses < b->uses) - (a->uses > b->uses);
}
