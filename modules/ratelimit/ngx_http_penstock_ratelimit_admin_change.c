
/*
 * Changes of overrides: what is asked for is checked whole, done in Redis if
 * the zone has one and else in the zone, and written to the log with who
 * asked for it.
 */

#include "ngx_http_penstock_ratelimit_admin.h"
#include "ps_json_escape.h"
#include "ps_override_read.h"


#define NGX_HTTP_PENSTOCK_RATELIMIT_ADMIN_ARGS  7


static void ngx_http_penstock_ratelimit_change_body(ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_ratelimit_change_start(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_ratelimit_change_target(
    ngx_http_penstock_ratelimit_change_t *ch);
static ngx_uint_t ngx_http_penstock_ratelimit_change_json(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_ratelimit_change_local(
    ngx_http_penstock_ratelimit_change_t *ch);
static ngx_int_t ngx_http_penstock_ratelimit_change_redis(
    ngx_http_penstock_ratelimit_change_t *ch);
static void ngx_http_penstock_ratelimit_change_handler(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static void ngx_http_penstock_ratelimit_change_event(ngx_event_t *ev);
static void ngx_http_penstock_ratelimit_change_cleanup(void *data);
static ngx_int_t ngx_http_penstock_ratelimit_change_answer(
    ngx_http_penstock_ratelimit_change_t *ch);
static void ngx_http_penstock_ratelimit_change_audit(
    ngx_http_penstock_ratelimit_change_t *ch);
static void ngx_http_penstock_ratelimit_change_caller(ngx_http_request_t *r,
    ngx_str_t *what, ngx_str_t *who);


ngx_int_t
ngx_http_penstock_ratelimit_admin_change(ngx_http_request_t *r)
{
    ngx_int_t  rc;

    if (r->headers_in.content_length_n
        > NGX_HTTP_PENSTOCK_RATELIMIT_ADMIN_BODY)
    {
        return NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
    }

    r->request_body_in_single_buf = 1;

    rc = ngx_http_read_client_request_body(r,
                                     ngx_http_penstock_ratelimit_change_body);

    return (rc >= NGX_HTTP_SPECIAL_RESPONSE) ? rc : NGX_DONE;
}


static void
ngx_http_penstock_ratelimit_change_body(ngx_http_request_t *r)
{
    ngx_int_t  rc;

    rc = ngx_http_penstock_ratelimit_change_start(r);

    /* NGX_AGAIN: the event that Redis' answer posts goes on */

    if (rc != NGX_AGAIN) {
        ngx_http_finalize_request(r, rc);
    }
}


static ngx_int_t
ngx_http_penstock_ratelimit_change_start(ngx_http_request_t *r)
{
    ngx_int_t                              rc;
    ngx_str_t                              body;
    const char                            *err;
    ngx_pool_cleanup_t                    *cln;
    ngx_http_penstock_ratelimit_change_t  *ch;

    cln = ngx_pool_cleanup_add(r->pool,
                               sizeof(ngx_http_penstock_ratelimit_change_t));
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ch = cln->data;
    ngx_memzero(ch, sizeof(ngx_http_penstock_ratelimit_change_t));
    cln->handler = ngx_http_penstock_ratelimit_change_cleanup;

    ch->request = r;
    ch->remove = (r->method == NGX_HTTP_DELETE);
    ch->now = ps_gcra_now();

    ch->event.handler = ngx_http_penstock_ratelimit_change_event;
    ch->event.data = ch;
    ch->event.log = r->connection->log;

    rc = ngx_http_penstock_ratelimit_change_target(ch);

    if (rc != NGX_OK) {
        return rc;
    }

    if (!ch->remove) {

        if (!ngx_http_penstock_ratelimit_change_json(r)) {
            return ngx_http_penstock_refuse(r, NGX_HTTP_UNSUPPORTED_MEDIA_TYPE,
                                "The Content-Type must be application/json.");
        }

        rc = ngx_http_penstock_body(r, NGX_HTTP_PENSTOCK_RATELIMIT_ADMIN_BODY,
                                    &body);
        if (rc == NGX_ERROR) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        if (rc == NGX_DECLINED) {
            return NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
        }

        err = ps_override_read((char *) body.data, body.len, ch->zone->burst,
                               &ch->override, &ch->expires);
        if (err) {
            return ngx_http_penstock_refuse(r, NGX_HTTP_BAD_REQUEST, err);
        }

        ch->override.until = ch->expires
                             ? ch->now + ch->expires * PS_GCRA_SECOND
                             : PS_OVERRIDE_NEVER;
    }

    return ch->zone->redis ? ngx_http_penstock_ratelimit_change_redis(ch)
                           : ngx_http_penstock_ratelimit_change_local(ch);
}


/* ?zone=NAME and one of key=, plan= and all=1 */

static ngx_int_t
ngx_http_penstock_ratelimit_change_target(
    ngx_http_penstock_ratelimit_change_t *ch)
{
    u_char               buf[NGX_HTTP_PENSTOCK_RATELIMIT_KEY_MAX];
    ngx_str_t            name, value, text;
    ngx_int_t            rc;
    ngx_uint_t           i, n;
    ngx_http_request_t  *r;

    static const char   *kinds[] = { "key", "plan", "all" };

    r = ch->request;
    ngx_str_null(&value);

    rc = ngx_http_penstock_ratelimit_admin_arg(r, "zone", &name);

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc == NGX_OK) {
        ch->zone = ngx_http_penstock_ratelimit_admin_zone(r, &name);
    }

    if (ch->zone == NULL) {
        return ngx_http_penstock_refuse(r, rc == NGX_OK ? NGX_HTTP_NOT_FOUND
                                                        : NGX_HTTP_BAD_REQUEST,
                                        rc == NGX_OK ? "There is no such zone."
                                        : "The query must name a zone=.");
    }

    ch->memory = ngx_http_penstock_zone_data(ch->zone->shm_zone);
    n = 0;

    for (i = 0; i < 3; i++) {
        rc = ngx_http_penstock_ratelimit_admin_arg(r, kinds[i], &text);

        if (rc == NGX_ERROR) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        if (rc == NGX_OK && text.len) {
            value = text;
            ch->override.kind = i;
            n++;
        }
    }

    if (n != 1
        || (ch->override.kind == PS_OVERRIDE_ZONE
            && (value.len != 1 || value.data[0] != '1')))
    {
        return ngx_http_penstock_refuse(r, NGX_HTTP_BAD_REQUEST,
                                        "The query must name one of key=, "
                                        "plan= and all=1.");
    }

    if (ch->override.kind == PS_OVERRIDE_PLAN && ch->zone->plan == NULL) {
        return ngx_http_penstock_refuse(r, NGX_HTTP_BAD_REQUEST,
                                        "The zone has no plan=.");
    }

    ch->target = value;

    if (ch->override.kind == PS_OVERRIDE_ZONE) {
        return NGX_OK;
    }

    if (ngx_http_penstock_ratelimit_key_name(&value, buf, &text) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ch->override.len = text.len;
    ngx_memcpy(ch->override.text, text.data, text.len);

    return NGX_OK;
}


static ngx_uint_t
ngx_http_penstock_ratelimit_change_json(ngx_http_request_t *r)
{
    ngx_table_elt_t  *type;

    static ngx_str_t  json = ngx_string("application/json");

    type = r->headers_in.content_type;

    return type && type->value.len >= json.len
           && ngx_strncasecmp(type->value.data, json.data, json.len) == 0
           && (type->value.len == json.len
               || type->value.data[json.len] == ';'
               || type->value.data[json.len] == ' ');
}


static ngx_int_t
ngx_http_penstock_ratelimit_change_local(
    ngx_http_penstock_ratelimit_change_t *ch)
{
    int             rc;
    ngx_uint_t      was;
    ps_override_t   old;

    ngx_shmtx_lock(&ch->memory->shpool->mutex);

    was = ps_overrides_find(ch->memory->overrides, ch->override.kind,
                            ch->override.text, ch->override.len, ch->now,
                            &old);

    if (ch->remove) {
        rc = 0;
        (void) ps_overrides_remove(ch->memory->overrides, ch->override.kind,
                                   ch->override.text, ch->override.len,
                                   ch->now);

    } else {
        rc = ps_overrides_put(ch->memory->overrides, &ch->override, ch->now);
    }

    ngx_shmtx_unlock(&ch->memory->shpool->mutex);

    if (rc != 0) {
        ch->status = NGX_HTTP_INSUFFICIENT_STORAGE;
        ch->detail = "The zone has no room for another override.";

    } else if (ch->remove) {
        ch->status = was ? NGX_HTTP_NO_CONTENT : NGX_HTTP_NOT_FOUND;
        ch->detail = "There is no such override.";

    } else {
        ch->status = was ? NGX_HTTP_OK : NGX_HTTP_CREATED;
    }

    return ngx_http_penstock_ratelimit_change_answer(ch);
}


static ngx_int_t
ngx_http_penstock_ratelimit_change_redis(
    ngx_http_penstock_ratelimit_change_t *ch)
{
    u_char              *p;
    ngx_str_t            argv[NGX_HTTP_PENSTOCK_RATELIMIT_ADMIN_ARGS];
    ngx_uint_t           argc;
    ngx_http_request_t  *r;

    r = ch->request;

    p = ngx_pnalloc(r->pool, PS_OVERRIDE_TEXT + 2 + 5 * (NGX_INT64_LEN + 4));
    if (p == NULL
        || ngx_http_penstock_ratelimit_overrides_name(r->pool, ch->zone,
                                                      &argv[0])
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    argv[1].data = p;
    *p++ = "kpz"[ch->override.kind];
    *p++ = ':';
    p = ngx_cpymem(p, ch->override.text, ch->override.len);
    argv[1].len = p - argv[1].data;
    argc = 2;

    if (!ch->remove) {
        argv[2].data = p;
        p = ngx_sprintf(p, "%uDr/%c", ch->override.rate.count,
                        ch->override.rate.period == 1 ? 's'
                        : ch->override.rate.period == 60 ? 'm'
                        : ch->override.rate.period == 3600 ? 'h' : 'd');
        argv[2].len = p - argv[2].data;

        argv[3].data = p;
        p = ngx_sprintf(p, "%uL", ch->override.limit.burst);
        argv[3].len = p - argv[3].data;

        argv[4].data = p;
        *p++ = ch->override.dry_run ? '1' : '0';
        argv[4].len = 1;

        argv[5].data = p;
        p = ngx_sprintf(p, "%uL", ch->expires * 1000);
        argv[5].len = p - argv[5].data;

        argv[6].data = p;
        p = ngx_sprintf(p, "%uD", ps_overrides_max(ch->memory->overrides));
        argv[6].len = p - argv[6].data;

        argc = 7;
    }

    ch->call.handler = ngx_http_penstock_ratelimit_change_handler;
    ch->call.data = ch;
    ch->call.pool = r->pool;

    if (ngx_http_penstock_redis_eval(ch->zone->redis, &ch->call,
                                     ch->remove
                                     ? &ngx_http_penstock_ratelimit_delete
                                     : &ngx_http_penstock_ratelimit_put,
                                     1, argc, argv)
        == NGX_OK)
    {
        return NGX_AGAIN;
    }

    ch->status = NGX_HTTP_SERVICE_UNAVAILABLE;
    ch->detail = "Redis can't be reached: nothing was changed.";

    return ngx_http_penstock_ratelimit_change_answer(ch);
}


static void
ngx_http_penstock_ratelimit_change_handler(
    ngx_http_penstock_redis_call_t *call, redisReply *reply)
{
    ngx_http_penstock_ratelimit_change_t  *ch = call->data;

    ch->status = NGX_HTTP_SERVICE_UNAVAILABLE;
    ch->detail = "Redis did not answer: whether it was changed is not known.";

    switch (call->status) {

    case NGX_HTTP_PENSTOCK_REDIS_OK:

        if (reply->type != REDIS_REPLY_INTEGER) {
            break;
        }

        if (ch->remove) {
            ch->status = reply->integer ? NGX_HTTP_NO_CONTENT
                                        : NGX_HTTP_NOT_FOUND;
            ch->detail = "There is no such override.";

        } else if (reply->integer < 0) {
            ch->status = NGX_HTTP_INSUFFICIENT_STORAGE;
            ch->detail = "The zone has no room for another override.";

        } else {
            ch->status = reply->integer ? NGX_HTTP_CREATED : NGX_HTTP_OK;
        }

        /* this host needs not wait for its turn to ask */

        ngx_http_penstock_ratelimit_overrides_load(ch->zone, 1);
        break;

    case NGX_HTTP_PENSTOCK_REDIS_REFUSED:
        ngx_log_error(NGX_LOG_ERR, ch->request->connection->log, 0,
                      "Redis refused to change an override of zone \"%V\": "
                      "\"%*s\"", &ch->zone->name,
                      (size_t) ngx_min(reply->len, 256), reply->str);

        ch->detail = "Redis refused the change: nothing was changed.";
        break;

    case NGX_HTTP_PENSTOCK_REDIS_DOWN:
        ch->detail = "Redis can't be reached: nothing was changed.";
        break;

    default: /* NGX_HTTP_PENSTOCK_REDIS_LOST */
        break;
    }

    ngx_post_event(&ch->event, &ngx_posted_events);
}


static void
ngx_http_penstock_ratelimit_change_event(ngx_event_t *ev)
{
    ngx_http_penstock_ratelimit_change_t  *ch = ev->data;

    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = ch->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_http_finalize_request(r,
                              ngx_http_penstock_ratelimit_change_answer(ch));
    ngx_http_run_posted_requests(c);
}


static void
ngx_http_penstock_ratelimit_change_cleanup(void *data)
{
    ngx_http_penstock_ratelimit_change_t  *ch = data;

    if (ch->event.posted) {
        ngx_delete_posted_event(&ch->event);
    }
}


static ngx_int_t
ngx_http_penstock_ratelimit_change_answer(
    ngx_http_penstock_ratelimit_change_t *ch)
{
    json_t              *json;
    ngx_http_request_t  *r;

    r = ch->request;

    ngx_http_penstock_ratelimit_change_audit(ch);

    if (ch->status >= NGX_HTTP_BAD_REQUEST) {
        return ngx_http_penstock_refuse(r, ch->status, ch->detail);
    }

    if (ch->status == NGX_HTTP_NO_CONTENT) {
        r->headers_out.status = NGX_HTTP_NO_CONTENT;
        r->header_only = 1;

        return ngx_http_send_header(r);
    }

    json = ngx_http_penstock_ratelimit_admin_override(&ch->override, ch->now);
    if (json == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_penstock_ratelimit_admin_send(r, ch->status, json);
}


/*
 * One line for each change that was asked for and understood, whatever came
 * of it.  It is no error, but must not depend on the level of the log.  The
 * texts come from outside and are escaped by their quotes' rules.
 */

static void
ngx_http_penstock_ratelimit_change_audit(
    ngx_http_penstock_ratelimit_change_t *ch)
{
    u_char                         *p;
    u_char                          limit[128], text[6 * 128], by[6 * 128];
    size_t                          ntext, nby;
    ngx_str_t                       what, who, id;
    ngx_http_request_t             *r;
    ngx_http_penstock_main_conf_t  *pmcf;

    static const char  *kinds[] = { "key", "plan", "all" };

    r = ch->request;
    p = limit;

    if (!ch->remove) {
        p = ngx_sprintf(p, ", %uDr/%c burst %uL%s",
                        ch->override.rate.count,
                        ch->override.rate.period == 1 ? 's'
                        : ch->override.rate.period == 60 ? 'm'
                        : ch->override.rate.period == 3600 ? 'h' : 'd',
                        ch->override.limit.burst,
                        ch->override.dry_run ? " in dry run" : "");

        if (ch->expires) {
            p = ngx_sprintf(p, " for %uL s", ch->expires);
        }
    }

    ngx_http_penstock_ratelimit_change_caller(r, &what, &who);

    ntext = ps_json_escape((char *) text, ch->override.text,
                           ch->override.len);
    nby = ps_json_escape((char *) by, (char *) who.data,
                         ngx_min(who.len, 128));

    ngx_str_set(&id, "-");
    pmcf = ngx_http_get_module_main_conf(r, ngx_http_penstock_module);

    if (pmcf->correlation_id) {
        (void) pmcf->correlation_id(r, &id);
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "audit: rate limit override %s, zone \"%V\" %s \"%*s\"%*s, "
                  "by %V \"%*s\", correlation ID \"%V\": %ui",
                  ch->remove ? "ended" : "set", &ch->zone->name,
                  kinds[ch->override.kind], ntext, text, (size_t) (p - limit),
                  limit, &what, nby, by, &id, ch->status);
}


/* the token's subject, else its client, else the address */

static void
ngx_http_penstock_ratelimit_change_caller(ngx_http_request_t *r,
    ngx_str_t *what, ngx_str_t *who)
{
    ngx_uint_t                  i, key;
    ngx_http_variable_value_t  *vv;

    static ngx_str_t  names[] = {
        ngx_string("jwt_claim_sub"),
        ngx_string("jwt_claim_client_id")
    };

    static ngx_str_t  whats[] = {
        ngx_string("subject"),
        ngx_string("client")
    };

    for (i = 0; i < 2; i++) {
        key = ngx_hash_key(names[i].data, names[i].len);
        vv = ngx_http_get_variable(r, &names[i], key);

        if (vv && !vv->not_found && vv->len) {
            *what = whats[i];
            who->data = vv->data;
            who->len = vv->len;
            return;
        }
    }

    ngx_str_set(what, "address");
    *who = r->connection->addr_text;
}
