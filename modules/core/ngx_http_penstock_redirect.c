
/*
 * Redirects of an exchange's clone: by try_files or index before anything is
 * sent, by X-Accel-Redirect of its answer.
 *
 * nginx checks access for main requests only, and so does most of the suite:
 * a clone that went on elsewhere would pass by all of that.  So it ends, and
 * its host is led there.
 */

#include "ngx_http_penstock.h"
#include "ngx_http_penstock_exchange.h"
#include "ngx_http_penstock_filter.h"


ngx_int_t
ngx_http_penstock_exchange_led(ngx_http_penstock_exchange_t *x,
    ngx_http_request_t *sr)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(sr, ngx_http_core_module);

    if (clcf->named) {
        x->redirect = clcf->name;

    } else {
        x->redirect = sr->uri;
        x->redirect_args = sr->args;
    }

    return NGX_HTTP_NOT_FOUND;
}


ngx_int_t
ngx_http_penstock_exchange_redirect(ngx_http_request_t *r,
    ngx_http_penstock_exchange_t *x)
{
    ngx_uint_t  named;

    named = (x->redirect.data[0] == '@');

    if (!x->unsent) {

        /* X-Accel-Redirect: what nginx takes over of the answer's header */

        if (ngx_http_penstock_exchange_headers(r, x) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        r->headers_out.content_length_n = -1;

        if (!named && r->method != NGX_HTTP_HEAD) {
            r->method = NGX_HTTP_GET;
            r->method_name = ngx_http_core_get_method;
        }
    }

    if (named) {
        (void) ngx_http_named_location(r, &x->redirect);

    } else {
        (void) ngx_http_internal_redirect(r, &x->redirect, &x->redirect_args);
    }

    ngx_http_finalize_request(r, NGX_DONE);

    return NGX_DONE;
}
