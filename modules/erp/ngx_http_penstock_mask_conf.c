
/*
 * The directive "response_mask".
 */

#include "ngx_http_penstock_mask.h"
#include "ps_json_escape.h"


static char *ngx_http_penstock_mask_pointers(ngx_conf_t *cf,
    ngx_http_penstock_mask_rule_t *rule, ngx_uint_t n);
static char *ngx_http_penstock_mask_text(ngx_conf_t *cf,
    ngx_http_penstock_mask_loc_conf_t *mlcf,
    ngx_http_penstock_mask_rule_t *rule, ngx_str_t *text);
static char *ngx_http_penstock_mask_unless(ngx_conf_t *cf,
    ngx_http_penstock_mask_rule_t *rule, ngx_str_t *text);
static void ngx_http_penstock_mask_cleanup(void *data);


char *
ngx_http_penstock_mask_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    char                                *rv;
    ngx_str_t                           *value, text;
    ngx_uint_t                           i, n, masked;
    ngx_http_penstock_mask_rule_t       *rule;
    ngx_http_penstock_mask_loc_conf_t   *mlcf = conf;
    ngx_http_penstock_mask_main_conf_t  *mmcf;

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {

        if (cf->args->nelts > 2) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"response_mask off\" takes no other "
                               "parameter");
            return NGX_CONF_ERROR;
        }

        if (mlcf->enabled != NGX_CONF_UNSET) {
            return "is duplicate";
        }

        mlcf->enabled = 0;

        return NGX_CONF_OK;
    }

    if (mlcf->enabled == 0) {
        return "is duplicate";
    }

    mlcf->enabled = 1;

    if (mlcf->rules == NULL) {
        mlcf->rules = ngx_array_create(cf->pool, 2,
                                      sizeof(ngx_http_penstock_mask_rule_t));
        mlcf->masks = ngx_array_create(cf->pool, 2, sizeof(ps_mask_text_t));

        if (mlcf->rules == NULL || mlcf->masks == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    rule = ngx_array_push(mlcf->rules);
    if (rule == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(rule, sizeof(ngx_http_penstock_mask_rule_t));

    masked = 0;

    /* pointers first, what begins otherwise is a parameter */

    for (n = 1; n < cf->args->nelts; n++) {
        if (value[n].len && value[n].data[0] != '/') {
            break;
        }
    }

    for (i = n; i < cf->args->nelts; i++) {
        rv = NGX_CONF_ERROR;

        if (ngx_strncmp(value[i].data, "unless=", 7) == 0
            && rule->unless == NULL)
        {
            text.data = value[i].data + 7;
            text.len = value[i].len - 7;

            rv = ngx_http_penstock_mask_unless(cf, rule, &text);

        } else if (ngx_strncmp(value[i].data, "mask=", 5) == 0 && !masked) {
            text.data = value[i].data + 5;
            text.len = value[i].len - 5;

            masked = 1;
            rv = ngx_http_penstock_mask_text(cf, mlcf, rule, &text);

        } else {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid or repeated parameter \"%V\", write "
                               "JSON pointers, for example \"/lines/*/cost\", "
                               "and then \"unless=$variable\" or "
                               "\"mask=STRING\"", &value[i]);
        }

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    rule->rule.remove = !masked;

    if (n == 1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"response_mask\" needs a JSON pointer, for "
                           "example \"/customer/email\" or \"/lines/*/cost\"");
        return NGX_CONF_ERROR;
    }

    mmcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_penstock_mask_module);
    mmcf->used = 1;

    return ngx_http_penstock_mask_pointers(cf, rule, n);
}


static char *
ngx_http_penstock_mask_pointers(ngx_conf_t *cf,
    ngx_http_penstock_mask_rule_t *rule, ngx_uint_t n)
{
    ngx_str_t           *value;
    ngx_uint_t           i;
    const char          *err;
    ps_json_pointer_t  **pointer;
    ngx_pool_cleanup_t  *cln;

    value = cf->args->elts;

    pointer = ngx_palloc(cf->pool, (n - 1) * sizeof(ps_json_pointer_t *));
    if (pointer == NULL) {
        return NGX_CONF_ERROR;
    }

    rule->rule.pointers = pointer;

    for (i = 1; i < n; i++) {

        if (value[i].len == 0 && rule->rule.remove) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "the pointer \"\" is the whole answer, which "
                               "can't be removed: add \"mask=STRING\"");
            return NGX_CONF_ERROR;
        }

        cln = ngx_pool_cleanup_add(cf->pool, 0);
        if (cln == NULL) {
            return NGX_CONF_ERROR;
        }

        pointer[i - 1] = ps_json_pointer_parse((char *) value[i].data,
                                               value[i].len, &err);
        if (pointer[i - 1] == NULL) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%V\" is no JSON pointer: %s; write for "
                               "example \"/lines/*/cost\"", &value[i], err);
            return NGX_CONF_ERROR;
        }

        cln->handler = ngx_http_penstock_mask_cleanup;
        cln->data = pointer[i - 1];

        rule->rule.npointers++;
    }

    return NGX_CONF_OK;
}


/* a JSON string; equal ones of a location are one */

static char *
ngx_http_penstock_mask_text(ngx_conf_t *cf,
    ngx_http_penstock_mask_loc_conf_t *mlcf,
    ngx_http_penstock_mask_rule_t *rule, ngx_str_t *text)
{
    char            *p;
    size_t           len;
    ngx_uint_t       i;
    ps_mask_text_t  *mask;

    p = ngx_pnalloc(cf->pool, PS_JSON_ESCAPE_MAX(text->len) + 2);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    p[0] = '"';
    len = 1 + ps_json_escape(p + 1, (char *) text->data, text->len);
    p[len++] = '"';

    mask = mlcf->masks->elts;

    for (i = 0; i < mlcf->masks->nelts; i++) {
        if (mask[i].len == len && ngx_memcmp(mask[i].text, p, len) == 0) {
            rule->rule.mask = i;
            return NGX_CONF_OK;
        }
    }

    if (i == PS_MASK_MAX_MASKS) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "a location can have %d different masks: use one "
                           "of the others in place of \"%V\"",
                           PS_MASK_MAX_MASKS, text);
        return NGX_CONF_ERROR;
    }

    mask = ngx_array_push(mlcf->masks);
    if (mask == NULL) {
        return NGX_CONF_ERROR;
    }

    mask->text = p;
    mask->len = len;

    rule->rule.mask = i;

    return NGX_CONF_OK;
}


static char *
ngx_http_penstock_mask_unless(ngx_conf_t *cf,
    ngx_http_penstock_mask_rule_t *rule, ngx_str_t *text)
{
    ngx_http_compile_complex_value_t  ccv;

    /* a constant would switch the mask off for all, or for nobody */

    if (text->len < 2 || text->data[0] != '$') {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"unless=%V\", write a "
                           "variable, for example \"unless=$sees_prices\"",
                           text);
        return NGX_CONF_ERROR;
    }

    rule->unless = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (rule->unless == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = text;
    ccv.complex_value = rule->unless;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_penstock_mask_size(ngx_conf_t *cf, void *post, void *data)
{
    size_t  *size = data;

    if (*size == 0 || *size > PS_JSON_TAPE_MAX_SIZE) {
        return "must be above 0 and below 16m";
    }

    return NGX_CONF_OK;
}


static void
ngx_http_penstock_mask_cleanup(void *data)
{
    ps_json_pointer_free(data);
}
