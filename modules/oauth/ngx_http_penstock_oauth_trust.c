
/*
 * What a location trusts: its issuers, with the keys of their files and those
 * that they publish.  Live keys change without a reload; each worker takes
 * them up by itself, and a changed key changes the fingerprint, so what was
 * verified with the old one is not found any more.
 */

#include "ngx_http_penstock_oauth.h"


static ngx_int_t ngx_http_penstock_oauth_trust_live(ngx_conf_t *cf,
    ngx_http_penstock_oauth_issuer_t *issuer, ngx_array_t *list);
static ngx_http_penstock_oauth_live_t *ngx_http_penstock_oauth_live(
    ngx_conf_t *cf, ngx_http_penstock_oauth_source_t *source,
    unsigned algorithms);
static ngx_int_t ngx_http_penstock_oauth_fingerprint(
    ngx_http_penstock_oauth_loc_conf_t *olcf);
static ngx_int_t ngx_http_penstock_oauth_link(
    ngx_http_penstock_oauth_trust_t *trust,
    ngx_http_penstock_oauth_issuer_t *issuer, ps_jwks_t *set);


ngx_int_t
ngx_http_penstock_oauth_trust_init(ngx_conf_t *cf,
    ngx_http_penstock_oauth_loc_conf_t *olcf)
{
    ngx_uint_t                         i;
    ngx_array_t                        list;
    ngx_http_penstock_oauth_trust_t   *trust;
    ngx_http_penstock_oauth_issuer_t  *issuer;

    trust = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_oauth_trust_t));
    if (trust == NULL) {
        return NGX_ERROR;
    }

    trust->first = ngx_palloc(cf->pool,
                              (olcf->issuers->nelts + 1) * sizeof(ngx_uint_t));

    if (trust->first == NULL
        || ngx_array_init(&list, cf->pool, 1,
                          sizeof(ngx_http_penstock_oauth_live_t *))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    issuer = olcf->issuers->elts;

    for (i = 0; i < olcf->issuers->nelts; i++) {
        trust->first[i] = list.nelts;

        if (ngx_http_penstock_oauth_trust_live(cf, &issuer[i], &list)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    trust->first[i] = list.nelts;
    trust->live = list.elts;
    trust->nlive = list.nelts;

    olcf->trust = trust;

    return ngx_http_penstock_oauth_fingerprint(olcf);
}


static ngx_int_t
ngx_http_penstock_oauth_trust_live(ngx_conf_t *cf,
    ngx_http_penstock_oauth_issuer_t *issuer, ngx_array_t *list)
{
    unsigned                            algorithms;
    ngx_str_t                          *uri;
    ngx_uint_t                          i;
    ngx_http_penstock_oauth_live_t    **live;
    ngx_http_penstock_oauth_source_t   *source;

    /* nobody publishes secrets: HS* must be asked for */

    algorithms = issuer->algorithms;

    if (algorithms == 0) {
        algorithms = ~(ps_alg_bit(PS_ALG_HS256) | ps_alg_bit(PS_ALG_HS384)
                       | ps_alg_bit(PS_ALG_HS512));
    }

    uri = issuer->requests.elts;

    for (i = 0; i < issuer->requests.nelts; i++) {
        source = ngx_http_penstock_oauth_source(cf, &uri[i]);
        live = ngx_array_push(list);

        if (source == NULL || live == NULL) {
            return NGX_ERROR;
        }

        *live = ngx_http_penstock_oauth_live(cf, source, algorithms);
        if (*live == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_http_penstock_oauth_live_t *
ngx_http_penstock_oauth_live(ngx_conf_t *cf,
    ngx_http_penstock_oauth_source_t *source, unsigned algorithms)
{
    ngx_uint_t                             i;
    ngx_pool_cleanup_t                    *cln;
    ngx_http_penstock_oauth_live_t       **live;
    ngx_http_penstock_oauth_main_conf_t   *omcf;

    omcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_penstock_oauth_module);
    live = omcf->live.elts;

    for (i = 0; i < omcf->live.nelts; i++) {
        if (live[i]->source == source && live[i]->algorithms == algorithms) {
            return live[i];
        }
    }

    live = ngx_array_push(&omcf->live);
    cln = ngx_pool_cleanup_add(cf->pool,
                               sizeof(ngx_http_penstock_oauth_live_t));

    if (live == NULL || cln == NULL) {
        return NULL;
    }

    *live = cln->data;
    ngx_memzero(*live, sizeof(ngx_http_penstock_oauth_live_t));

    (*live)->source = source;
    (*live)->algorithms = algorithms;

    cln->handler = ngx_http_penstock_oauth_live_free;

    return *live;
}


ngx_int_t
ngx_http_penstock_oauth_trust_update(ngx_http_penstock_oauth_loc_conf_t *olcf)
{
    uint64_t                          version;
    ngx_uint_t                        i;
    ngx_http_penstock_oauth_trust_t  *trust;

    trust = olcf->trust;
    version = 0;

    for (i = 0; i < trust->nlive; i++) {
        if (ngx_http_penstock_oauth_live_update(trust->live[i]) != NGX_OK) {
            return NGX_ERROR;
        }

        /* each only grows, so their sum tells of any change */

        version += trust->live[i]->version;
    }

    if (version == trust->version) {
        return NGX_OK;
    }

    trust->version = version;

    return ngx_http_penstock_oauth_fingerprint(olcf);
}


/* a chain of digests: each over the one before, an issuer and a key set */

static ngx_int_t
ngx_http_penstock_oauth_fingerprint(ngx_http_penstock_oauth_loc_conf_t *olcf)
{
    ps_jwks_t                        **sets;
    ngx_uint_t                         i, k;
    ngx_http_penstock_oauth_trust_t   *trust;
    ngx_http_penstock_oauth_issuer_t  *issuer;

    trust = olcf->trust;
    issuer = olcf->issuers->elts;

    ngx_memzero(trust->fingerprint, NGX_HTTP_PENSTOCK_KEY_LEN);

    for (i = 0; i < olcf->issuers->nelts; i++) {
        sets = issuer[i].sets.elts;

        for (k = 0; k < issuer[i].sets.nelts; k++) {
            if (ngx_http_penstock_oauth_link(trust, &issuer[i], sets[k])
                != NGX_OK)
            {
                return NGX_ERROR;
            }
        }

        for (k = trust->first[i]; k < trust->first[i + 1]; k++) {
            if (ngx_http_penstock_oauth_link(trust, &issuer[i],
                                             trust->live[k]->set)
                != NGX_OK)
            {
                return NGX_ERROR;
            }
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_oauth_link(ngx_http_penstock_oauth_trust_t *trust,
    ngx_http_penstock_oauth_issuer_t *issuer, ps_jwks_t *set)
{
    u_char     n[2 * sizeof(uint32_t)];
    uint32_t   len;
    ngx_str_t  parts[4];

    len = issuer->name.len;
    ngx_memcpy(n, &len, sizeof(uint32_t));
    ngx_memcpy(n + sizeof(uint32_t), &issuer->algorithms, sizeof(uint32_t));

    parts[0].data = trust->fingerprint;
    parts[0].len = NGX_HTTP_PENSTOCK_KEY_LEN;
    parts[1].data = n;
    parts[1].len = sizeof(n);
    parts[2] = issuer->name;

    if (set) {
        parts[3].data = set->digest;
        parts[3].len = sizeof(set->digest);

    } else {
        ngx_str_set(&parts[3], "no keys");
    }

    return ngx_http_penstock_sha256(parts, 4, trust->fingerprint);
}
