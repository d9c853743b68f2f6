
/*
 * Body contract: a request's body is checked against a JSON schema before
 * anything is done with it.
 *
 * Schemas are read at configuration time; a reload reads them again.  The
 * tape of values is one a worker, as a check is never interrupted.
 */

#include "ngx_http_penstock_schema.h"


/* nodes of the tape that a worker keeps from request to request */

#define NGX_HTTP_PENSTOCK_SCHEMA_KEEP    65536


/* what the whole main request knows, across redirects */

typedef struct {
    ps_schema_t                 *schema;
    ngx_uint_t                   valid;
} ngx_http_penstock_schema_state_t;


static ngx_int_t ngx_http_penstock_schema_handler(ngx_http_request_t *r);
static ngx_uint_t ngx_http_penstock_schema_due(ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_schema_type(ngx_http_request_t *r);
static ngx_uint_t ngx_http_penstock_schema_utf8(ngx_str_t *type);
static ngx_int_t ngx_http_penstock_schema_body(ngx_http_request_t *r,
    ngx_http_penstock_schema_loc_conf_t *slcf);
static ngx_int_t ngx_http_penstock_schema_check(ngx_http_request_t *r,
    ngx_http_penstock_schema_loc_conf_t *slcf, ngx_str_t *body);
static ngx_int_t ngx_http_penstock_schema_key(ps_json_tape_t *tape);

static void *ngx_http_penstock_schema_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_penstock_schema_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_penstock_schema_merge_loc_conf(ngx_conf_t *cf,
    void *parent, void *child);
static ngx_int_t ngx_http_penstock_schema_init(ngx_conf_t *cf);


static ngx_command_t  ngx_http_penstock_schema_commands[] = {

    { ngx_string("request_schema"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_penstock_schema_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_penstock_schema_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_penstock_schema_init,         /* postconfiguration */

    ngx_http_penstock_schema_create_main_conf,
                                           /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_penstock_schema_create_loc_conf,
                                           /* create location configuration */
    ngx_http_penstock_schema_merge_loc_conf
                                           /* merge location configuration */
};


ngx_module_t  ngx_http_penstock_schema_module = {
    NGX_MODULE_V1,
    &ngx_http_penstock_schema_module_ctx,  /* module context */
    ngx_http_penstock_schema_commands,     /* module directives */
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


static ps_json_tape_t     ngx_http_penstock_schema_tape;
static ps_schema_fault_t  ngx_http_penstock_schema_faults[
                                                      PS_SCHEMA_MAX_FAULTS];


static ngx_int_t
ngx_http_penstock_schema_handler(ngx_http_request_t *r)
{
    ngx_int_t                             rc;
    ngx_http_penstock_schema_state_t     *st;
    ngx_http_penstock_schema_loc_conf_t  *slcf;

    if (r != r->main) {
        return NGX_DECLINED;
    }

    slcf = ngx_http_get_module_loc_conf(r, ngx_http_penstock_schema_module);

    if (slcf->schema == NULL || !ngx_http_penstock_schema_due(r)) {
        return NGX_DECLINED;
    }

    st = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_SCHEMA);

    if (st && st->valid && st->schema == slcf->schema) {
        return NGX_DECLINED;
    }

    /* the page for a refusal of ours; a named location keeps the method */

    if (st && !st->valid && r->err_status
        && (r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD)))
    {
        return NGX_DECLINED;
    }

    if (st == NULL) {
        st = ngx_pcalloc(r->pool, sizeof(ngx_http_penstock_schema_state_t));

        if (st == NULL
            || ngx_http_penstock_set_state(r, NGX_HTTP_PENSTOCK_SCHEMA, st)
               != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    st->schema = slcf->schema;
    st->valid = 0;

    rc = ngx_http_penstock_schema_body(r, slcf);

    /* with NGX_DONE the request may be over and gone */

    if (rc == NGX_DECLINED) {
        st->valid = 1;
    }

    return rc;
}


/* methods that mean something by their body, and any that has one */

static ngx_uint_t
ngx_http_penstock_schema_due(ngx_http_request_t *r)
{
    return (r->method & (NGX_HTTP_POST|NGX_HTTP_PUT|NGX_HTTP_PATCH))
           || r->headers_in.content_length_n > 0
           || r->headers_in.chunked
           || (r->request_body && r->request_body->bufs);
}


static ngx_int_t
ngx_http_penstock_schema_body(ngx_http_request_t *r,
    ngx_http_penstock_schema_loc_conf_t *slcf)
{
    ngx_int_t                              rc;
    ngx_str_t                              body;
    ngx_http_penstock_schema_main_conf_t  *smcf;

    smcf = ngx_http_get_module_main_conf(r, ngx_http_penstock_schema_module);

    rc = ngx_http_penstock_schema_type(r);

    if (rc == NGX_OK
        && r->headers_in.content_length_n > (off_t) slcf->max_size)
    {
        rc = NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
    }

    if (rc == NGX_OK) {
        rc = ngx_http_penstock_read_body(r);

        if (rc != NGX_OK) {
            return rc;
        }

        rc = ngx_http_penstock_body(r, slcf->max_size, &body);

        if (rc == NGX_ERROR) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        if (rc == NGX_OK) {
            return ngx_http_penstock_schema_check(r, slcf, &body);
        }

        rc = NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
    }

    ngx_http_penstock_count(smcf->refused, 1);

    if (rc == NGX_HTTP_REQUEST_ENTITY_TOO_LARGE) {
        return ngx_http_penstock_refuse(r, rc, "The body is larger than is "
                                               "accepted here.");
    }

    return rc;
}


/* application/json, or a type that ends in +json, in UTF-8, not encoded */

static ngx_int_t
ngx_http_penstock_schema_type(ngx_http_request_t *r)
{
    ngx_uint_t        i, types;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    static ngx_str_t  accept = ngx_string("Accept");
    static ngx_str_t  json = ngx_string("application/json");

    types = 0;
    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;

            if (part->nelts == 0) {
                continue;
            }
        }

        if (h[i].key.len == sizeof("Content-Encoding") - 1
            && ngx_strncasecmp(h[i].key.data, (u_char *) "Content-Encoding",
                               h[i].key.len)
               == 0
            && !(h[i].value.len == sizeof("identity") - 1
                 && ngx_strncasecmp(h[i].value.data, (u_char *) "identity",
                                    h[i].value.len)
                    == 0))
        {
            return ngx_http_penstock_refuse(r,
                                           NGX_HTTP_UNSUPPORTED_MEDIA_TYPE,
                       "The body must not have a Content-Encoding.");
        }

        types += h[i].key.len == sizeof("Content-Type") - 1
                 && ngx_strncasecmp(h[i].key.data, (u_char *) "Content-Type",
                                    h[i].key.len)
                    == 0;
    }

    /* which one the upstream would go by is not known */

    if (types > 1) {
        return ngx_http_penstock_refuse(r, NGX_HTTP_BAD_REQUEST,
                   "The request must have one Content-Type.");
    }

    h = r->headers_in.content_type;

    if (h && ngx_http_penstock_json_type(&h->value)
        && ngx_http_penstock_schema_utf8(&h->value))
    {
        return NGX_OK;
    }

    if (ngx_http_penstock_add_header(r, &accept, &json) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_penstock_refuse(r, NGX_HTTP_UNSUPPORTED_MEDIA_TYPE,
               "The body must be application/json, or a type that ends in "
               "+json, in UTF-8.");
}


/* whether each charset that a Content-Type has is UTF-8, quoted or not */

static ngx_uint_t
ngx_http_penstock_schema_utf8(ngx_str_t *type)
{
    u_char     *p, *last, *name, *value, *end;
    ngx_uint_t  quoted;

    last = type->data + type->len;
    p = ngx_strlchr(type->data, last, ';');

    while (p) {
        name = p + 1;

        while (name < last && (*name == ' ' || *name == '\t')) {
            name++;
        }

        value = NULL;
        quoted = 0;

        for (p = name; p < last && (quoted || *p != ';'); p++) {

            if (*p == '"') {
                quoted = !quoted;

            } else if (*p == '\\' && quoted && p + 1 < last) {
                p++;

            } else if (*p == '=' && value == NULL) {
                value = p + 1;
            }
        }

        end = p;
        p = (p < last) ? p : NULL;

        if (value == NULL || value - name < (ssize_t) sizeof("charset") - 1
            || ngx_strncasecmp(name, (u_char *) "charset",
                               sizeof("charset") - 1)
               != 0)
        {
            continue;
        }

        /* white space about the "=" is not allowed, but some skip it */

        for (name += sizeof("charset") - 1;
             *name == ' ' || *name == '\t';
             name++)
        {
            /* void */
        }

        if (name != value - 1) {
            continue;
        }

        while (value < end && (*value == ' ' || *value == '\t')) {
            value++;
        }

        while (end > value && (end[-1] == ' ' || end[-1] == '\t')) {
            end--;
        }

        if (end - value >= 2 && *value == '"' && end[-1] == '"') {
            value++;
            end--;
        }

        if (end - value != sizeof("utf-8") - 1
            || ngx_strncasecmp(value, (u_char *) "utf-8", end - value) != 0)
        {
            return 0;
        }
    }

    return 1;
}


static ngx_int_t
ngx_http_penstock_schema_check(ngx_http_request_t *r,
    ngx_http_penstock_schema_loc_conf_t *slcf, ngx_str_t *body)
{
    size_t                                 n;
    ngx_int_t                              rc;
    ps_json_rc_e                           error;
    ps_json_tape_t                        *tape;
    ps_schema_rc_e                         verdict;
    ngx_http_penstock_schema_main_conf_t  *smcf;

    smcf = ngx_http_get_module_main_conf(r, ngx_http_penstock_schema_module);

    tape = &ngx_http_penstock_schema_tape;

    if (ngx_http_penstock_schema_key(tape) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    n = 0;
    verdict = PS_SCHEMA_MEMORY;

    error = ps_json_tape_read(tape, (char *) body->data, body->len,
                              slcf->max_depth, PS_JSON_TAPE_UNIQUE);

    if (error == PS_JSON_OK) {
        verdict = ps_schema_check(slcf->schema, tape,
                                  ngx_http_penstock_schema_faults,
                                  slcf->max_errors, &n);
    }

    rc = NGX_DECLINED;

    if (error != PS_JSON_OK) {
        ngx_http_penstock_count(smcf->refused, 1);
        rc = ngx_http_penstock_schema_no_json(r, slcf, error, tape->error);

    } else if (verdict == PS_SCHEMA_VALID) {
        ngx_http_penstock_count(smcf->valid, 1);

    } else if (verdict == PS_SCHEMA_INVALID) {
        ngx_http_penstock_count(smcf->invalid, 1);
        rc = ngx_http_penstock_schema_invalid(r,
                                       ngx_http_penstock_schema_faults, n);

    } else if (verdict == PS_SCHEMA_COSTLY) {
        ngx_http_penstock_count(smcf->invalid, 1);
        ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                      "a body of %uz bytes was refused: to check it by its "
                      "schema takes too much work", body->len);
        rc = ngx_http_penstock_refuse(r, NGX_HTTP_PENSTOCK_UNPROCESSABLE,
                 "The body takes too much work to be checked.");

    } else {
        rc = NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ps_json_tape_trim(tape, NGX_HTTP_PENSTOCK_SCHEMA_KEEP);

    return rc;
}


/* secret, so that nobody can make names or elements of one hash */

static ngx_int_t
ngx_http_penstock_schema_key(ps_json_tape_t *tape)
{
    u_char            bytes[PS_SIPHASH_KEY_LEN];
    static ngx_pid_t  pid;

    if (pid == ngx_pid) {
        return NGX_OK;
    }

    if (ngx_http_penstock_random(bytes, sizeof(bytes)) != NGX_OK) {
        return NGX_ERROR;
    }

    ps_siphash_key(&tape->key, bytes);
    pid = ngx_pid;

    return NGX_OK;
}


static void *
ngx_http_penstock_schema_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_penstock_schema_main_conf_t  *smcf;

    smcf = ngx_pcalloc(cf->pool,
                       sizeof(ngx_http_penstock_schema_main_conf_t));
    if (smcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&smcf->files, cf->pool, 4,
                       sizeof(ngx_http_penstock_schema_file_t))
        != NGX_OK)
    {
        return NULL;
    }

    return smcf;
}


static void *
ngx_http_penstock_schema_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_penstock_schema_loc_conf_t  *slcf;

    slcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_schema_loc_conf_t));
    if (slcf == NULL) {
        return NULL;
    }

    slcf->schema = NGX_CONF_UNSET_PTR;

    return slcf;
}


static char *
ngx_http_penstock_schema_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_penstock_schema_loc_conf_t  *prev = parent;
    ngx_http_penstock_schema_loc_conf_t  *conf = child;

    if (conf->schema != NGX_CONF_UNSET_PTR) {
        return NGX_CONF_OK;
    }

    *conf = *prev;

    if (conf->schema == NGX_CONF_UNSET_PTR) {
        conf->schema = NULL;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_penstock_schema_init(ngx_conf_t *cf)
{
    ngx_uint_t                             i;
    ngx_http_penstock_schema_main_conf_t  *smcf;

    struct {
        ngx_int_t  *counter;
        ngx_str_t   labels;
    } counters[] = {
        { NULL, ngx_string("result=\"valid\"") },
        { NULL, ngx_string("result=\"invalid\"") },
        { NULL, ngx_string("result=\"refused\"") }
    };

    smcf = ngx_http_conf_get_module_main_conf(cf,
                                             ngx_http_penstock_schema_module);

    if (smcf->files.nelts == 0) {
        return NGX_OK;
    }

    counters[0].counter = &smcf->valid;
    counters[1].counter = &smcf->invalid;
    counters[2].counter = &smcf->refused;

    for (i = 0; i < 3; i++) {
        *counters[i].counter = ngx_http_penstock_counter(cf,
                                   "penstock_request_bodies_total",
                                   "Bodies judged by a schema.",
                                   &counters[i].labels);

        if (*counters[i].counter == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    if (ngx_http_penstock_phase_handler(cf, NGX_HTTP_PRECONTENT_PHASE,
                                        ngx_http_penstock_schema_handler)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}
