
/*
 * Cache-Control of requests (RFC 9111, Section 5.2.1): what a client asks of
 * a stored answer, where availability_cache_request_control lets it ask.
 *
 * It may ask for a newer one, but no channel may ask the upstream as often
 * as it likes: what was read within "min" is new enough for everybody, and
 * those who ask at the same time wait for one.
 */

#include "ngx_http_penstock_availability.h"


char *
ngx_http_penstock_av_request_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_av_loc_conf_t  *alcf = conf;

    ngx_str_t  *value, s;

    if (alcf->request_control != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "on") == 0) {
        alcf->request_control = 1;

    } else if (ngx_strcmp(value[1].data, "off") == 0) {
        alcf->request_control = 0;

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\", it must be \"on\" or "
                           "\"off\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value[2].data, "min=", 4) != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\", it must be "
                           "\"min=TIME\"", &value[2]);
        return NGX_CONF_ERROR;
    }

    s.data = value[2].data + 4;
    s.len = value[2].len - 4;

    alcf->request_min = ngx_parse_time(&s, 0);

    if (alcf->request_min == (ngx_msec_t) NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time in \"%V\", write for example "
                           "\"min=1s\"", &value[2]);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


ngx_int_t
ngx_http_penstock_av_asks(ngx_http_penstock_av_ctx_t *ctx)
{
    ngx_uint_t           i, pragma, control;
    ngx_list_part_t     *part;
    ngx_table_elt_t     *h;
    ps_cache_control_t  *cc;

    cc = NULL;
    pragma = 0;
    control = 0;

    part = &ctx->request->headers_in.headers.part;

    for ( /* void */ ; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (h[i].key.len == sizeof("Pragma") - 1
                && ngx_strncasecmp(h[i].key.data, (u_char *) "Pragma",
                                   sizeof("Pragma") - 1)
                   == 0)
            {
                if (ngx_strlcasestrn(h[i].value.data,
                                     h[i].value.data + h[i].value.len,
                                     (u_char *) "no-cache", 8 - 1))
                {
                    pragma = 1;
                }

                continue;
            }

            if (h[i].key.len != sizeof("Cache-Control") - 1
                || ngx_strncasecmp(h[i].key.data, (u_char *) "Cache-Control",
                                   sizeof("Cache-Control") - 1)
                   != 0)
            {
                continue;
            }

            if (cc == NULL) {
                cc = ngx_palloc(ctx->request->pool,
                                sizeof(ps_cache_control_t));
                if (cc == NULL) {
                    return NGX_ERROR;
                }

                ps_cache_control_init(cc);
            }

            control = 1;
            ps_cache_control_parse(cc, (char *) h[i].value.data,
                                   h[i].value.len);
        }
    }

    /* Pragma counts only alone (RFC 9111, Section 5.4) */

    if (pragma && !control) {
        cc = ngx_palloc(ctx->request->pool, sizeof(ps_cache_control_t));
        if (cc == NULL) {
            return NGX_ERROR;
        }

        ps_cache_control_init(cc);
        cc->no_cache = 1;
    }

    ctx->asks = cc;

    return NGX_OK;
}


ngx_uint_t
ngx_http_penstock_av_refused(ngx_http_penstock_av_ctx_t *ctx,
    ps_record_t *record, uint64_t now)
{
    int64_t              age, left;
    ps_cache_control_t  *asks;

    asks = ctx->asks;

    if (asks == NULL || ctx->background) {
        return 0;
    }

    age = ((int64_t) now - (int64_t) record->created) / 1000;
    left = (int64_t) (record->created + record->fresh) - (int64_t) now;

    if (!asks->no_cache
        && (asks->max_age == PS_CC_UNSET
            || (age <= asks->max_age
                && (left > 0 || asks->max_stale != PS_CC_UNSET)))
        && (asks->min_fresh == PS_CC_UNSET
            || left >= asks->min_fresh * 1000))
    {
        return 0;
    }

    return now - ctx->read >= ctx->conf->request_min;
}


uint64_t
ngx_http_penstock_av_stale_until(ngx_http_penstock_av_ctx_t *ctx,
    uint64_t until)
{
    uint64_t  asked;

    if (ctx->asks == NULL || ctx->asks->max_stale == PS_CC_UNSET
        || (ctx->record.flags & PS_RECORD_NO_STALE))
    {
        return until;
    }

    asked = ctx->record.created + ctx->record.fresh
            + (uint64_t) ctx->asks->max_stale * 1000;

    return ngx_max(until, asked);
}
