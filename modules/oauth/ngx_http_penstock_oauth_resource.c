
/*
 * Protected resource metadata (RFC 9728): where a client that was refused
 * learns who issues tokens for this resource.  The document is made when the
 * configuration is read.
 */

#include "ngx_http_penstock_oauth.h"

#include "ps_dpop.h"
#include "ps_json_escape.h"


#define NGX_HTTP_PENSTOCK_OAUTH_WELL_KNOWN                                    \
    "/.well-known/oauth-protected-resource"


static char *ngx_http_penstock_oauth_resource_parameter(ngx_conf_t *cf,
    ngx_http_penstock_oauth_resource_t *resource, ngx_str_t *value);
static ngx_int_t ngx_http_penstock_oauth_resource_url(ngx_conf_t *cf,
    ngx_http_penstock_oauth_resource_t *resource);
static u_char *ngx_http_penstock_oauth_member(u_char *p, const char *name,
    ngx_str_t *value);
static u_char *ngx_http_penstock_oauth_members(u_char *p, const char *name,
    ngx_array_t *values);
static size_t ngx_http_penstock_oauth_members_len(ngx_array_t *values);


char *
ngx_http_penstock_oauth_resource_directive(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf)
{
    ngx_http_penstock_oauth_loc_conf_t *olcf = conf;

    char                                *rv;
    ngx_str_t                           *value;
    ngx_uint_t                           i;
    ngx_http_penstock_oauth_resource_t  *resource;

    if (olcf->resource != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        olcf->resource = NULL;
        return NGX_CONF_OK;
    }

    resource = ngx_pcalloc(cf->pool,
                           sizeof(ngx_http_penstock_oauth_resource_t));

    if (resource == NULL
        || ngx_array_init(&resource->servers, cf->pool, 2, sizeof(ngx_str_t))
           != NGX_OK
        || ngx_array_init(&resource->scopes, cf->pool, 2, sizeof(ngx_str_t))
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    resource->id = value[1];

    if (ngx_http_penstock_oauth_resource_url(cf, resource) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {
        rv = ngx_http_penstock_oauth_resource_parameter(cf, resource,
                                                        &value[i]);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    olcf->resource = resource;

    return NGX_CONF_OK;
}


static char *
ngx_http_penstock_oauth_resource_parameter(ngx_conf_t *cf,
    ngx_http_penstock_oauth_resource_t *resource, ngx_str_t *value)
{
    u_char     *p;
    ngx_str_t  *to, text;

    p = ngx_strlchr(value->data, value->data + value->len, '=');
    to = NULL;

    if (p && p + 1 < value->data + value->len) {
        text.data = p + 1;
        text.len = value->data + value->len - text.data;

        if (ngx_strncmp(value->data, "authorization_server=", 21) == 0) {
            to = ngx_array_push(&resource->servers);

        } else if (ngx_strncmp(value->data, "scope=", 6) == 0) {
            to = ngx_array_push(&resource->scopes);

        } else if (ngx_strncmp(value->data, "name=", 5) == 0) {
            to = &resource->name;

        } else if (ngx_strncmp(value->data, "documentation=", 14) == 0) {
            to = &resource->documentation;
        }
    }

    if (to == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\", after the resource may "
                           "follow authorization_server=ISSUER and "
                           "scope=SCOPE, several of each, name=TEXT "
                           "documentation=URL", value);
        return NGX_CONF_ERROR;
    }

    *to = text;

    return NGX_CONF_OK;
}


/* RFC 9728, 3: the well-known part goes between host and path */

static ngx_int_t
ngx_http_penstock_oauth_resource_url(ngx_conf_t *cf,
    ngx_http_penstock_oauth_resource_t *resource)
{
    u_char      *p, *host, *path, *last;
    ngx_str_t   *id;
    ngx_uint_t   bad;

    id = &resource->id;
    last = id->data + id->len;
    bad = 0;

    for (p = id->data; p < last; p++) {
        bad |= (*p <= 0x20 || *p >= 0x7f || *p == '"' || *p == '\\'
                || *p == '#' || *p == '?' || *p == '$');
    }

    if (bad || id->len <= 8
        || ngx_strncasecmp(id->data, (u_char *) "https://", 8) != 0
        || id->data[8] == '/')
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid resource \"%V\", name it as its clients "
                           "do: \"https://host\" or \"https://host/path\", "
                           "without query, fragment and variables", id);
        return NGX_ERROR;
    }

    host = id->data + 8;
    path = ngx_strlchr(host, last, '/');

    /* a "/" that ends the identifier is not part of it */

    if (path == NULL || path + 1 == last) {
        path = last;
    }

    resource->path.len = sizeof(NGX_HTTP_PENSTOCK_OAUTH_WELL_KNOWN) - 1
                         + (last - path);
    resource->url.len = resource->path.len + (path - id->data);

    if (path == last && *(last - 1) == '/') {
        resource->url.len--;
        path--;
        last--;
    }

    p = ngx_pnalloc(cf->pool, resource->url.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    resource->url.data = p;

    p = ngx_cpymem(p, id->data, path - id->data);
    resource->path.data = p;

    p = ngx_cpymem(p, NGX_HTTP_PENSTOCK_OAUTH_WELL_KNOWN,
                   sizeof(NGX_HTTP_PENSTOCK_OAUTH_WELL_KNOWN) - 1);
    (void) ngx_cpymem(p, path, last - path);

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_oauth_resource_merge(ngx_conf_t *cf,
    ngx_http_penstock_oauth_loc_conf_t *olcf)
{
    u_char                               *p;
    size_t                                len;
    ngx_uint_t                            i;
    ngx_http_core_srv_conf_t             *cscf;
    ngx_http_penstock_oauth_resource_t   *resource, **known;
    ngx_http_penstock_oauth_main_conf_t  *omcf;

    resource = olcf->resource;

    omcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_penstock_oauth_module);
    cscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);

    /* the first of a server is told of: where it is named, or uppermost */

    known = omcf->resources.elts;

    for (i = 0; i < omcf->resources.nelts; i++) {
        if (known[i]->server == cscf
            && known[i]->path.len == resource->path.len
            && ngx_memcmp(known[i]->path.data, resource->path.data,
                          resource->path.len) == 0)
        {
            return NGX_OK;
        }
    }

    len = sizeof("{\"resource\":\"\",\"authorization_servers\":[],"
                 "\"scopes_supported\":[],"
                 "\"bearer_methods_supported\":[\"header\"],"
                 "\"resource_name\":\"\",\"resource_documentation\":\"\","
                 "\"tls_client_certificate_bound_access_tokens\":true,"
                 "\"dpop_signing_alg_values_supported\":[],"
                 "\"dpop_bound_access_tokens_required\":true}\n")
          + PS_JSON_ESCAPE_MAX(resource->id.len + resource->name.len
                               + resource->documentation.len)
          + ngx_http_penstock_oauth_members_len(&resource->servers)
          + ngx_http_penstock_oauth_members_len(&resource->scopes)
          + 3 * sizeof(PS_DPOP_ALGS);

    p = ngx_pnalloc(cf->pool, len);
    known = ngx_array_push(&omcf->resources);

    if (p == NULL || known == NULL) {
        return NGX_ERROR;
    }

    *known = ngx_palloc(cf->pool, sizeof(ngx_http_penstock_oauth_resource_t));
    if (*known == NULL) {
        return NGX_ERROR;
    }

    **known = *resource;
    (*known)->server = cscf;
    (*known)->document.data = p;

    *p++ = '{';
    p = ngx_http_penstock_oauth_member(p, "resource", &resource->id);
    p = ngx_http_penstock_oauth_members(p, "authorization_servers",
                                        &resource->servers);
    p = ngx_http_penstock_oauth_members(p, "scopes_supported",
                                        &resource->scopes);
    p = ngx_sprintf(p, "\"bearer_methods_supported\":[\"header\"],");

    if (resource->name.len) {
        p = ngx_http_penstock_oauth_member(p, "resource_name",
                                           &resource->name);
    }

    if (resource->documentation.len) {
        p = ngx_http_penstock_oauth_member(p, "resource_documentation",
                                           &resource->documentation);
    }

    if (olcf->mtls) {
        p = ngx_sprintf(p, "\"tls_client_certificate_bound_access_tokens\":"
                           "true,");
    }

    if (olcf->dpop) {
        p = ngx_sprintf(p, "\"dpop_signing_alg_values_supported\":[\"");

        for (i = 0; i < sizeof(PS_DPOP_ALGS) - 1; i++) {
            p = (PS_DPOP_ALGS[i] == ' ')
                ? ngx_cpymem(p, "\",\"", 3)
                : ngx_cpymem(p, &PS_DPOP_ALGS[i], 1);
        }

        p = ngx_sprintf(p, "\"],");

        if (olcf->dpop == NGX_HTTP_PENSTOCK_OAUTH_REQUIRED) {
            p = ngx_sprintf(p, "\"dpop_bound_access_tokens_required\":true,");
        }
    }

    p[-1] = '}';
    *p++ = '\n';

    (*known)->document.len = p - (*known)->document.data;

    return NGX_OK;
}


static u_char *
ngx_http_penstock_oauth_member(u_char *p, const char *name, ngx_str_t *value)
{
    p = ngx_sprintf(p, "\"%s\":\"", name);
    p += ps_json_escape((char *) p, (char *) value->data, value->len);
    *p++ = '"';
    *p++ = ',';

    return p;
}


/* empty lists are left out (RFC 9728, 3.2) */

static u_char *
ngx_http_penstock_oauth_members(u_char *p, const char *name,
    ngx_array_t *values)
{
    ngx_str_t   *value;
    ngx_uint_t   i;

    if (values->nelts == 0) {
        return p;
    }

    p = ngx_sprintf(p, "\"%s\":[", name);
    value = values->elts;

    for (i = 0; i < values->nelts; i++) {
        *p++ = '"';
        p += ps_json_escape((char *) p, (char *) value[i].data, value[i].len);
        *p++ = '"';
        *p++ = ',';
    }

    p[-1] = ']';
    *p++ = ',';

    return p;
}


static size_t
ngx_http_penstock_oauth_members_len(ngx_array_t *values)
{
    size_t       len;
    ngx_str_t   *value;
    ngx_uint_t   i;

    value = values->elts;
    len = 0;

    for (i = 0; i < values->nelts; i++) {
        len += PS_JSON_ESCAPE_MAX(value[i].len) + 3;
    }

    return len;
}


ngx_int_t
ngx_http_penstock_oauth_resource(ngx_http_request_t *r)
{
    ngx_buf_t                             *b;
    ngx_uint_t                             i;
    ngx_chain_t                            out;
    ngx_http_core_srv_conf_t              *cscf;
    ngx_http_penstock_oauth_resource_t   **known;
    ngx_http_penstock_oauth_main_conf_t   *omcf;

    omcf = ngx_http_get_module_main_conf(r, ngx_http_penstock_oauth_module);

    if (omcf->resources.nelts == 0
        || r->uri.len < sizeof(NGX_HTTP_PENSTOCK_OAUTH_WELL_KNOWN) - 1
        || r->uri.data[1] != '.'
        || !(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD)))
    {
        return NGX_DECLINED;
    }

    cscf = ngx_http_get_module_srv_conf(r, ngx_http_core_module);
    known = omcf->resources.elts;

    for (i = 0; i < omcf->resources.nelts; i++) {
        if (known[i]->server == cscf && known[i]->path.len == r->uri.len
            && ngx_memcmp(known[i]->path.data, r->uri.data, r->uri.len) == 0)
        {
            break;
        }
    }

    if (i == omcf->resources.nelts) {
        return NGX_DECLINED;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->pos = known[i]->document.data;
    b->last = b->pos + known[i]->document.len;
    b->memory = 1;
    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = known[i]->document.len;
    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    return ngx_http_penstock_send(r, &out);
}
