
/*
 * Configuration of auth_jwt: its zone and counters, and what a location
 * inherits.
 */

#include "ngx_http_penstock_oauth.h"


static ngx_int_t ngx_http_penstock_oauth_metrics(ngx_conf_t *cf,
    ngx_http_penstock_oauth_main_conf_t *omcf);


void *
ngx_http_penstock_oauth_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_penstock_oauth_main_conf_t  *omcf;

    omcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_oauth_main_conf_t));
    if (omcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&omcf->files, cf->pool, 4,
                       sizeof(ngx_http_penstock_oauth_file_t))
        != NGX_OK
        || ngx_array_init(&omcf->sources, cf->pool, 2,
                          sizeof(ngx_http_penstock_oauth_source_t *))
           != NGX_OK
        || ngx_array_init(&omcf->live, cf->pool, 2,
                          sizeof(ngx_http_penstock_oauth_live_t *))
           != NGX_OK
        || ngx_array_init(&omcf->revocations, cf->pool, 1,
                          sizeof(ngx_http_penstock_oauth_revocation_t *))
           != NGX_OK
        || ngx_array_init(&omcf->resources, cf->pool, 2,
                          sizeof(ngx_http_penstock_oauth_resource_t *))
           != NGX_OK)
    {
        return NULL;
    }

    return omcf;
}


char *
ngx_http_penstock_oauth_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_penstock_oauth_main_conf_t *omcf = conf;

    static ngx_str_t  name = ngx_string("penstock_tokens");
    static ngx_str_t  proofs = ngx_string("penstock_proofs");

    if (!omcf->used) {
        return NGX_CONF_OK;
    }

    if (omcf->zone == NULL) {
        omcf->zone = ngx_http_penstock_dict_add(cf, &name, 8 * 1024 * 1024,
                                             &ngx_http_penstock_oauth_module,
                                             NGX_HTTP_PENSTOCK_OAUTH_LAYOUT,
                                             omcf);
        if (omcf->zone == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    if (omcf->dpop && omcf->proofs.zone == NULL) {
        omcf->proofs.zone = ngx_http_penstock_dict_add(cf, &proofs,
                                             8 * 1024 * 1024,
                                             &ngx_http_penstock_oauth_module,
                                             NGX_HTTP_PENSTOCK_OAUTH_LAYOUT,
                                             omcf);
        if (omcf->proofs.zone == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_http_penstock_oauth_introspect_init(cf, omcf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return ngx_http_penstock_oauth_metrics(cf, omcf) == NGX_OK
           ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static ngx_int_t
ngx_http_penstock_oauth_metrics(ngx_conf_t *cf,
    ngx_http_penstock_oauth_main_conf_t *omcf)
{
    ngx_int_t          rc;
    ngx_str_t          label;
    ngx_uint_t         i;

    static ngx_str_t   results[] = {
        ngx_string("result=\"accepted\""),
        ngx_string("result=\"no_token\""),
        ngx_string("result=\"invalid_request\""),
        ngx_string("result=\"invalid_token\""),
        ngx_string("result=\"invalid_proof\""),
        ngx_string("result=\"use_dpop_nonce\""),
        ngx_string("result=\"insufficient_scope\""),
        ngx_string("result=\"unavailable\"")
    };

    for (i = 0; i < NGX_HTTP_PENSTOCK_OAUTH_RESULTS; i++) {
        omcf->results[i] = ngx_http_penstock_counter(cf,
                               "penstock_oauth_requests_total",
                               "Requests by what became of their token.",
                               &results[i]);

        if (omcf->results[i] == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    ngx_str_set(&label, "result=\"hit\"");
    omcf->hits = ngx_http_penstock_counter(cf, "penstock_oauth_cache_total",
                               "Lookups of verified tokens.", &label);

    ngx_str_set(&label, "result=\"miss\"");
    omcf->misses = ngx_http_penstock_counter(cf, "penstock_oauth_cache_total",
                               "Lookups of verified tokens.", &label);

    omcf->checks = ngx_http_penstock_counter(cf,
                               "penstock_oauth_signature_checks_total",
                               "Signatures of tokens checked.", NULL);

    ngx_str_set(&label, "result=\"ok\"");
    omcf->fetched = ngx_http_penstock_counter(cf,
                               "penstock_oauth_key_fetches_total",
                               "Key sets fetched from issuers.", &label);

    ngx_str_set(&label, "result=\"error\"");
    omcf->fetch_errors = ngx_http_penstock_counter(cf,
                               "penstock_oauth_key_fetches_total",
                               "Key sets fetched from issuers.", &label);

    if (omcf->hits == NGX_ERROR || omcf->misses == NGX_ERROR
        || omcf->checks == NGX_ERROR || omcf->fetched == NGX_ERROR
        || omcf->fetch_errors == NGX_ERROR)
    {
        return NGX_ERROR;
    }

    rc = ngx_http_penstock_gauge(cf, "penstock_oauth_cache_entries",
                               "Verified tokens held.", NULL,
                               ngx_http_penstock_dict_entries, omcf->zone);
    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    if (omcf->proofs.zone
        && ngx_http_penstock_gauge(cf, "penstock_oauth_proof_evictions_total",
                               "DPoP proofs forgotten for want of room since "
                               "start.", NULL,
                               ngx_http_penstock_dict_evictions,
                               omcf->proofs.zone)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (omcf->proofs.redis) {
        omcf->proofs.unknown = ngx_http_penstock_counter(cf,
                               "penstock_oauth_proof_store_errors_total",
                               "DPoP proofs that Redis did not tell about.",
                               NULL);

        if (omcf->proofs.unknown == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    rc = ngx_http_penstock_gauge(cf, "penstock_oauth_cache_evictions_total",
                               "Verified tokens evicted for want of room "
                               "since start.", NULL,
                               ngx_http_penstock_dict_evictions, omcf->zone);

    return rc;
}


void *
ngx_http_penstock_oauth_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_penstock_oauth_loc_conf_t  *olcf;

    olcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_oauth_loc_conf_t));
    if (olcf == NULL) {
        return NULL;
    }

    olcf->enabled = NGX_CONF_UNSET;
    olcf->token = NGX_CONF_UNSET;
    olcf->issuers = NGX_CONF_UNSET_PTR;
    olcf->introspect = NGX_CONF_UNSET_PTR;
    olcf->resource = NGX_CONF_UNSET_PTR;
    olcf->revocation = NGX_CONF_UNSET_PTR;
    olcf->key_cache = NGX_CONF_UNSET;
    olcf->mtls = NGX_CONF_UNSET_UINT;
    olcf->dpop = NGX_CONF_UNSET_UINT;
    olcf->leeway = NGX_CONF_UNSET;
    olcf->scopes = NGX_CONF_UNSET_PTR;
    olcf->require = NGX_CONF_UNSET_PTR;

    return olcf;
}


char *
ngx_http_penstock_oauth_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_penstock_oauth_loc_conf_t *prev = parent;
    ngx_http_penstock_oauth_loc_conf_t *conf = child;

    ngx_http_core_loc_conf_t  *clcf;

    if (conf->enabled == NGX_CONF_UNSET) {
        conf->enabled = prev->enabled;
        conf->realm = prev->realm;
        conf->token = prev->token;
        conf->query = prev->query;
        conf->file = prev->file;
        conf->line = prev->line;
    }

    if (conf->enabled == NGX_CONF_UNSET) {
        conf->enabled = 0;
    }

    if (conf->issuers == NGX_CONF_UNSET_PTR) {
        conf->issuers = prev->issuers;
        conf->bound = prev->bound;
    }

    ngx_conf_merge_ptr_value(conf->issuers, NULL, NULL);
    ngx_conf_merge_ptr_value(conf->introspect, prev->introspect, NULL);
    ngx_conf_merge_ptr_value(conf->resource, prev->resource, NULL);

    if (conf->revocation == NGX_CONF_UNSET_PTR) {
        conf->revocation = prev->revocation;
        conf->revocation_open = prev->revocation_open;
    }

    ngx_conf_merge_ptr_value(conf->revocation, NULL, NULL);

    if (conf->key_cache == NGX_CONF_UNSET) {
        conf->key_cache = prev->key_cache;
        conf->key_refetch = prev->key_refetch;
        conf->key_timeout = prev->key_timeout;
    }

    ngx_conf_merge_sec_value(conf->key_cache, NGX_CONF_UNSET, 3600);

    if (conf->key_refetch == 0) {
        conf->key_refetch = 10;
    }

    if (conf->key_timeout == 0) {
        conf->key_timeout = 5000;
    }

    ngx_conf_merge_sec_value(conf->leeway, prev->leeway, 0);
    ngx_conf_merge_uint_value(conf->mtls, prev->mtls, 0);

    if (conf->dpop == NGX_CONF_UNSET_UINT) {
        conf->dpop = prev->dpop;
        conf->dpop_window = prev->dpop_window;
        conf->dpop_nonce = prev->dpop_nonce;
        conf->dpop_uri = prev->dpop_uri;
    }

    ngx_conf_merge_uint_value(conf->dpop, NGX_CONF_UNSET_UINT, 0);

    if (conf->resource
        && ngx_http_penstock_oauth_resource_merge(cf, conf) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }
    ngx_conf_merge_ptr_value(conf->require, prev->require, NULL);

    if (conf->scopes == NGX_CONF_UNSET_PTR) {
        conf->scopes = prev->scopes;
        conf->scope = prev->scope;
    }

    ngx_conf_merge_ptr_value(conf->scopes, NULL, NULL);

    if (!conf->enabled) {
        return NGX_CONF_OK;
    }

    if (conf->introspect
        && ngx_http_penstock_oauth_introspect_merge(cf, &conf->introspect)
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (conf->issuers == NULL && conf->introspect) {
        return NGX_CONF_OK;
    }

    if (conf->issuers == NULL) {
        clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

        /*
         * A server may leave the keys to its locations, which name them; a
         * request that is in none of them is refused by the handler.  And
         * subrequests, such as one for keys, authenticate nobody.
         */

        if (clcf->name.len == 0 || clcf->internal) {
            return NGX_CONF_OK;
        }

        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"auth_jwt\" has no keys to verify tokens with in "
                      "location \"%V\", name \"auth_jwt_issuer\" or "
                      "\"auth_jwt_key_file\" there or above in %s:%ui",
                      &clcf->name, conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    if (ngx_http_penstock_oauth_trust_init(cf, conf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}
