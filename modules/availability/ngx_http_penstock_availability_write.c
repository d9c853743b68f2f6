
/*
 * Writes that touch what is cached, and purges.
 *
 * A write goes through to the upstream once, by an exchange, and what it
 * touched is invalidated before its client has the answer: the client's next
 * read is not older than its own write.  When the outcome is unknown (no
 * answer, a truncated one, 5xx) it may have taken effect, so it invalidates
 * too.  It is never sent again.
 */

#include "ngx_http_penstock_availability.h"
#include "ngx_http_penstock_availability_invalidate.h"
#include "ps_json_pointer.h"

#include <jansson.h>


/* a larger body is not looked into: such a write invalidates the zone */

#define NGX_HTTP_PENSTOCK_WRITE_BODY  (1024 * 1024)


typedef struct ngx_http_penstock_invalidation_s  ngx_http_penstock_av_write_t;

struct ngx_http_penstock_invalidation_s {
    ngx_http_request_t                *request;
    ngx_http_penstock_av_zone_t       *zone;
    ps_tags_t                         *tags;
    ngx_http_penstock_av_waiter_t      waiter;
    ngx_http_penstock_exchange_t       exchange;
    ngx_uint_t                         purged;
    ngx_http_penstock_av_mode_e        mode;
    unsigned                           started:1;
    unsigned                           purge:1;
    unsigned                           all:1;
};


static ngx_http_penstock_av_write_t *ngx_http_penstock_av_write_ctx(
    ngx_http_request_t *r, ngx_http_penstock_av_zone_t *zone);
static void ngx_http_penstock_av_write_tags(ngx_http_penstock_av_write_t *w,
    ngx_http_penstock_av_loc_conf_t *alcf);
static int ngx_http_penstock_av_write_match(const ps_json_match_t *match,
    void *data);
static void ngx_http_penstock_av_write_add(ngx_http_penstock_av_write_t *w,
    json_t *value);
static void ngx_http_penstock_av_write_done(ngx_http_penstock_exchange_t *x);
static void ngx_http_penstock_av_touch(ngx_http_penstock_av_write_t *w);
static ngx_int_t ngx_http_penstock_av_write_answer(
    ngx_http_penstock_av_write_t *w);
static ngx_int_t ngx_http_penstock_av_purge_start(
    ngx_http_penstock_av_write_t *w);
static ngx_int_t ngx_http_penstock_av_purge_body(
    ngx_http_penstock_av_write_t *w);
static ngx_int_t ngx_http_penstock_av_purge_list(
    ngx_http_penstock_av_write_t *w, json_t *list, const char *prefix);
static ngx_int_t ngx_http_penstock_av_purge_answer(
    ngx_http_penstock_av_write_t *w);


ngx_int_t
ngx_http_penstock_av_write(ngx_http_request_t *r,
    ngx_http_penstock_av_loc_conf_t *alcf)
{
    ngx_int_t                      rc;
    ngx_http_penstock_av_write_t  *w;
    ngx_http_penstock_exchange_t  *x;

    static ngx_str_t               allow = ngx_string("Allow");
    static ngx_str_t               post = ngx_string("POST");

    if (alcf->purge_zone && r->method != NGX_HTTP_POST) {
        if (ngx_http_penstock_add_header(r, &allow, &post) == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_penstock_refuse(r, NGX_HTTP_NOT_ALLOWED,
                                        "A purge is a POST.");
    }

    rc = ngx_http_penstock_read_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    w = ngx_http_penstock_av_write_ctx(r, alcf->purge_zone
                                          ? alcf->purge_zone
                                          : alcf->invalidate_zone);
    if (w == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (alcf->purge_zone) {
        return ngx_http_penstock_av_purge_start(w);
    }

    x = &w->exchange;

    if (w->started) {

        if (!x->done || w->waiter.bump) {
            return ngx_http_penstock_park(r, 0, 0);
        }

        return ngx_http_penstock_av_write_answer(w);
    }

    w->started = 1;

    ngx_http_penstock_av_write_tags(w, alcf);

    x->host = r;
    x->handler = ngx_http_penstock_av_write_done;
    x->data = w;
    x->max_size = alcf->max_size;
    x->spool = 1;
    x->write = 1;

    if (ngx_http_penstock_exchange_start(x) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_penstock_park(r, 0, 0);
}


static ngx_http_penstock_av_write_t *
ngx_http_penstock_av_write_ctx(ngx_http_request_t *r,
    ngx_http_penstock_av_zone_t *zone)
{
    ngx_http_penstock_av_write_t  *w;

    w = ngx_http_get_module_ctx(r, ngx_http_penstock_availability_module);
    if (w) {
        return w;
    }

    w = ngx_pcalloc(r->pool, sizeof(ngx_http_penstock_av_write_t));
    if (w == NULL) {
        return NULL;
    }

    w->request = r;
    w->zone = zone;
    w->waiter.request = r;

    w->tags = ngx_palloc(r->pool, sizeof(ps_tags_t));
    if (w->tags == NULL) {
        return NULL;
    }

    w->tags->n = 0;
    w->tags->overflow = 0;

    ngx_http_set_ctx(r, w, ngx_http_penstock_availability_module);

    return w;
}


ngx_int_t
ngx_http_penstock_availability_touched(ngx_http_request_t *r,
    ngx_http_penstock_invalidation_t **inv)
{
    ngx_http_penstock_av_loc_conf_t  *alcf;

    alcf = ngx_http_get_module_loc_conf(r,
                                       ngx_http_penstock_availability_module);

    *inv = NULL;

    if (alcf->invalidate_zone == NULL) {
        return NGX_OK;
    }

    *inv = ngx_http_penstock_av_write_ctx(r, alcf->invalidate_zone);
    if (*inv == NULL) {
        return NGX_ERROR;
    }

    ngx_http_penstock_av_write_tags(*inv, alcf);

    return NGX_OK;
}


void
ngx_http_penstock_availability_invalidate(
    ngx_http_penstock_invalidation_t *inv)
{
    ngx_http_penstock_av_touch(inv);
}


ngx_uint_t
ngx_http_penstock_availability_pending(ngx_http_penstock_invalidation_t *inv)
{
    return inv->waiter.bump != NULL;
}


static void
ngx_http_penstock_av_write_tags(ngx_http_penstock_av_write_t *w,
    ngx_http_penstock_av_loc_conf_t *alcf)
{
    json_t               *root;
    ngx_str_t             body;
    ngx_uint_t            i;
    ngx_http_request_t   *r;
    ps_json_pointer_t   **pointer;

    r = w->request;

    root = NULL;

    if (ngx_http_penstock_body(r, NGX_HTTP_PENSTOCK_WRITE_BODY, &body)
        == NGX_OK)
    {
        /* of two equal names the upstream may take the other one */

        root = json_loadb((char *) body.data, body.len,
                          JSON_REJECT_DUPLICATES, NULL);
    }

    if (root == NULL) {

        /* if the upstream takes it, it may have touched anything */

        w->all = 1;
        return;
    }

    pointer = alcf->pointers->elts;

    for (i = 0; i < alcf->pointers->nelts; i++) {
        if (ps_json_pointer_eval(pointer[i], root, PS_TAGS_MAX,
                                 ngx_http_penstock_av_write_match, w)
            == PS_JSON_POINTER_MORE)
        {
            w->all = 1;
        }
    }

    json_decref(root);

    if (w->tags->overflow) {
        w->all = 1;
    }
}


static int
ngx_http_penstock_av_write_match(const ps_json_match_t *match, void *data)
{
    ngx_http_penstock_av_write_add(data, match->value);

    return 0;
}


/*
 * A string, or a whole number: SKUs come as both.  What the upstream makes of
 * anything else can't be told.
 */

static void
ngx_http_penstock_av_write_add(ngx_http_penstock_av_write_t *w, json_t *value)
{
    size_t       len;
    u_char      *p, buf[NGX_INT64_LEN];
    const char  *text;

    if (json_is_integer(value)) {
        len = ngx_sprintf(buf, "%L", (int64_t) json_integer_value(value))
              - buf;
        text = (char *) buf;

    } else if (json_is_string(value)) {
        len = json_string_length(value);
        text = json_string_value(value);

    } else {
        w->all = 1;
        return;
    }

    p = ngx_pnalloc(w->request->pool, len + 1);
    if (p == NULL) {
        w->tags->overflow = 1;
        return;
    }

    ngx_memcpy(p, text, len);

    ps_tags_add(w->tags, (char *) p, len);
}


static void
ngx_http_penstock_av_write_done(ngx_http_penstock_exchange_t *x)
{
    ngx_http_penstock_av_write_t  *w = x->data;

    ngx_http_penstock_kill_point("av-written");

    /* 3xx too: a form's usual answer is 303 (RFC 9111, Section 4.4) */

    if (!x->refused
        && (!x->complete || x->status < NGX_HTTP_BAD_REQUEST
            || x->status >= NGX_HTTP_INTERNAL_SERVER_ERROR))
    {
        ngx_http_penstock_av_touch(w);
    }

    /* with a bump on its way the answer waits for that */

    if (w->waiter.bump == NULL) {
        ngx_http_penstock_wake(w->request);
    }
}


static void
ngx_http_penstock_av_touch(ngx_http_penstock_av_write_t *w)
{
    ps_tags_t  *tags;

    tags = w->all ? NULL : w->tags;

    if (tags && tags->n == 0) {
        return;
    }

    ngx_http_penstock_count(w->zone->invalidations, 1);

    ngx_http_penstock_av_invalidate(w->zone, w->mode, tags, &w->waiter,
                                    w->request->pool);
}


static ngx_int_t
ngx_http_penstock_av_write_answer(ngx_http_penstock_av_write_t *w)
{
    ngx_http_penstock_exchange_t  *x;

    x = &w->exchange;

    if (x->refused) {
        return ngx_http_penstock_exchange_answer(w->request, x);
    }

    if (!x->header && x->status == NGX_HTTP_GATEWAY_TIME_OUT) {
        return ngx_http_penstock_refuse(w->request, NGX_HTTP_GATEWAY_TIME_OUT,
                   "The server did not answer in time. Whether the request "
                   "took effect is unknown.");
    }

    if ((!x->header && x->status >= NGX_HTTP_INTERNAL_SERVER_ERROR)
        || (x->header && !x->complete))
    {
        return ngx_http_penstock_refuse(w->request, NGX_HTTP_BAD_GATEWAY,
                   "The server did not answer. Whether the request took "
                   "effect is unknown.");
    }

    return ngx_http_penstock_exchange_answer(w->request, x);
}


static ngx_int_t
ngx_http_penstock_av_purge_start(ngx_http_penstock_av_write_t *w)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    r = w->request;

    if (w->started) {

        if (w->waiter.bump) {
            return ngx_http_penstock_park(r, 0, 0);
        }

        return ngx_http_penstock_av_purge_answer(w);
    }

    w->started = 1;

    rc = ngx_http_penstock_av_purge_body(w);
    if (rc != NGX_OK) {
        return rc;
    }

    ngx_http_penstock_av_touch(w);

    return w->waiter.bump ? ngx_http_penstock_park(r, 0, 0)
                          : ngx_http_penstock_av_purge_answer(w);
}


/* {"tags": ["A"], "skus": ["B"], "locations": ["C"], "mode": "soft"}, or
   {"all": true} */

static ngx_int_t
ngx_http_penstock_av_purge_body(ngx_http_penstock_av_write_t *w)
{
    json_t              *root, *all, *mode;
    ngx_str_t            body;
    ngx_uint_t           i, known, lists, bad;
    const char          *text;
    ngx_http_request_t  *r;

    static struct {
        const char  *name;
        const char  *prefix;
    } names[] = {
        { "tags", "" },
        { "skus", "" },
        { "locations", "location," }
    };

    r = w->request;

    if (ngx_http_penstock_body(r, NGX_HTTP_PENSTOCK_WRITE_BODY, &body)
        != NGX_OK)
    {
        return ngx_http_penstock_refuse(r, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
                                        "A purge is limited to 1 MB.");
    }

    root = json_loadb((char *) body.data, body.len, JSON_REJECT_DUPLICATES,
                      NULL);

    all = json_object_get(root, "all");
    mode = json_object_get(root, "mode");

    bad = !json_is_object(root) || (all && !json_is_boolean(all));
    known = (all != NULL) + (mode != NULL);
    lists = 0;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (json_object_get(root, names[i].name) == NULL) {
            continue;
        }

        lists++;

        if (ngx_http_penstock_av_purge_list(w,
                                     json_object_get(root, names[i].name),
                                     names[i].prefix)
            != NGX_OK)
        {
            bad = 1;
        }
    }

    /* a name that is mistyped would purge less than was meant */

    if ((lists == 0 && !json_is_true(all))
        || json_object_size(root) != known + lists)
    {
        bad = 1;
    }

    if (mode) {
        text = json_is_string(mode) ? json_string_value(mode) : "";

        if (ngx_strcmp(text, "soft") == 0) {
            w->mode = NGX_HTTP_PENSTOCK_AV_SOFT;

        } else if (ngx_strcmp(text, "hard") == 0) {
            w->mode = NGX_HTTP_PENSTOCK_AV_HARD;

        } else {
            bad = 1;
        }
    }

    w->all = json_is_true(all);
    w->purged = w->tags->n;

    json_decref(root);

    if (bad || w->tags->overflow) {
        return ngx_http_penstock_refuse(r, NGX_HTTP_BAD_REQUEST,
                   "A purge is a JSON object: {\"skus\": [\"...\"], "
                   "\"locations\": [\"...\"], \"tags\": [\"...\"]} with up "
                   "to 256 names of 1 to 128 bytes, or {\"all\": true}, and "
                   "perhaps \"mode\": \"soft\" or \"hard\".");
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_av_purge_list(ngx_http_penstock_av_write_t *w, json_t *list,
    const char *prefix)
{
    size_t   i, len;
    u_char  *p;
    json_t  *name;

    if (!json_is_array(list)) {
        return NGX_ERROR;
    }

    for (i = 0; i < json_array_size(list); i++) {
        name = json_array_get(list, i);

        if (!json_is_string(name) || json_string_length(name) == 0) {
            return NGX_ERROR;
        }

        len = ngx_strlen(prefix) + json_string_length(name);

        if (len > PS_TAG_MAX_LEN) {
            return NGX_ERROR;
        }

        p = ngx_pnalloc(w->request->pool, len);
        if (p == NULL) {
            return NGX_ERROR;
        }

        (void) ngx_cpymem(ngx_cpymem(p, prefix, ngx_strlen(prefix)),
                          json_string_value(name), json_string_length(name));

        ps_tags_add(w->tags, (char *) p, len);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_av_purge_answer(ngx_http_penstock_av_write_t *w)
{
    u_char              *p;
    ngx_buf_t           *b;
    ngx_chain_t          out;
    ngx_http_request_t  *r;

    r = w->request;

    b = ngx_create_temp_buf(r->pool, 64);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = w->all ? ngx_cpymem(b->last, "{\"all\":true}\n",
                            sizeof("{\"all\":true}\n") - 1)
               : ngx_sprintf(b->last, "{\"tags\":%ui}\n", w->purged);

    b->last = p;
    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = b->last - b->pos;
    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;

    return ngx_http_penstock_send(r, &out);
}
