
/*
 * Answers about active tokens that hosts share in Redis, each until it ends.
 * Whatever is wrong with Redis, or with what it holds, the server is asked.
 *
 * The key has no token in it, only a digest; the value is the time of its end
 * in ms since the epoch, a space, and the server's answer.
 */

#include "ngx_http_penstock_oauth_introspect.h"


#define NGX_HTTP_PENSTOCK_OAUTH_STORE_PREFIX  "penstock:token:"

#define NGX_HTTP_PENSTOCK_OAUTH_STORE_KEY                                     \
    (sizeof(NGX_HTTP_PENSTOCK_OAUTH_STORE_PREFIX) - 1                         \
     + 2 * NGX_HTTP_PENSTOCK_KEY_LEN)


static ngx_int_t ngx_http_penstock_oauth_store_key(
    ngx_http_penstock_oauth_ask_t *ask,
    u_char key[NGX_HTTP_PENSTOCK_OAUTH_STORE_KEY]);
static void ngx_http_penstock_oauth_store_handler(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static ngx_int_t ngx_http_penstock_oauth_store_take(
    ngx_http_penstock_oauth_ask_t *ask, ngx_str_t *value);


ngx_int_t
ngx_http_penstock_oauth_store_read(ngx_http_penstock_oauth_ask_t *ask)
{
    u_char                                 key[
                                           NGX_HTTP_PENSTOCK_OAUTH_STORE_KEY];
    ngx_str_t                              argv[2];
    ngx_http_penstock_oauth_introspect_t  *in;

    in = ask->conf->introspect;

    if (in->redis == NULL || in->cache == 0
        || ngx_http_penstock_oauth_store_key(ask, key) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    ngx_str_set(&argv[0], "GET");
    argv[1].data = key;
    argv[1].len = sizeof(key);

    ask->call.handler = ngx_http_penstock_oauth_store_handler;
    ask->call.data = ask;
    ask->call.pool = ask->request->pool;

    return ngx_http_penstock_redis_send(in->redis, &ask->call, 2, argv, 1);
}


static void
ngx_http_penstock_oauth_store_handler(ngx_http_penstock_redis_call_t *call,
    redisReply *reply)
{
    ngx_str_t                             value;
    ngx_http_penstock_oauth_ask_t        *ask;
    ngx_http_penstock_oauth_main_conf_t  *omcf;

    ask = call->data;

    omcf = ngx_http_get_module_main_conf(ask->request,
                                         ngx_http_penstock_oauth_module);

    if (ask->answered) {

        /* too late for this request, and nobody else may start it */

        ask->leads = 0;
        ngx_http_penstock_oauth_call_end(omcf, ask->key,
                                         NGX_HTTP_PENSTOCK_OAUTH_FAILED, 0);
        return;
    }

    ask->read = 1;

    if (call->status == NGX_HTTP_PENSTOCK_REDIS_OK
        && reply->type == REDIS_REPLY_STRING)
    {
        value.data = (u_char *) reply->str;
        value.len = reply->len;

        if (ngx_http_penstock_oauth_store_take(ask, &value) == NGX_OK) {
            ask->leads = 0;
            ask->answered = 1;
            ask->error = PS_JWT_OK;

            ngx_http_penstock_count(omcf->shared, 1);
            ngx_http_penstock_oauth_ask_active(ask);
        }
    }

    ngx_http_penstock_wake(ask->request);
}


/* NGX_OK with ask->token, or NGX_DECLINED: nothing that counts now */

static ngx_int_t
ngx_http_penstock_oauth_store_take(ngx_http_penstock_oauth_ask_t *ask,
    ngx_str_t *value)
{
    u_char      *p;
    off_t        ms;
    double       until;
    ngx_str_t    answer;
    ps_token_t  *token;

    p = ngx_strlchr(value->data, value->data + value->len, ' ');

    if (p == NULL) {
        return NGX_DECLINED;
    }

    ms = ngx_atoof(value->data, p - value->data);

    if (ms == NGX_ERROR) {
        return NGX_DECLINED;
    }

    until = (double) ms / 1000;

    answer.data = p + 1;
    answer.len = value->data + value->len - answer.data;

    if (until <= (double) ngx_time()
        || ngx_http_penstock_oauth_read_answer(ask, &answer) != PS_JWT_OK)
    {
        return NGX_DECLINED;
    }

    /* the other host's time, if it is not longer than ours would be */

    token = (ps_token_t *) ask->token;
    token->until = ngx_min(token->until, until);

    return NGX_OK;
}


void
ngx_http_penstock_oauth_store_write(ngx_http_penstock_oauth_ask_t *ask,
    ngx_str_t *answer)
{
    u_char                                *p;
    u_char                                 px[NGX_INT64_LEN];
    u_char                                 key[
                                           NGX_HTTP_PENSTOCK_OAUTH_STORE_KEY];
    uint64_t                               now, until;
    ngx_str_t                              argv[5];
    ngx_http_penstock_oauth_introspect_t  *in;

    in = ask->conf->introspect;

    now = (uint64_t) ngx_time() * 1000;
    until = ask->token->until > 0 ? (uint64_t) (ask->token->until * 1000) : 0;

    if (in->redis == NULL || until <= now
        || ngx_http_penstock_oauth_store_key(ask, key) != NGX_OK)
    {
        return;
    }

    p = ngx_pnalloc(ask->request->pool, NGX_INT64_LEN + 1 + answer->len);
    if (p == NULL) {
        return;
    }

    ngx_str_set(&argv[0], "SET");
    argv[1].data = key;
    argv[1].len = sizeof(key);

    argv[2].data = p;
    p = ngx_http_penstock_digits(p, until);
    *p++ = ' ';
    p = ngx_cpymem(p, answer->data, answer->len);
    argv[2].len = p - argv[2].data;

    ngx_str_set(&argv[3], "PX");
    argv[4].data = px;
    argv[4].len = ngx_http_penstock_digits(px, until - now) - px;

    (void) ngx_http_penstock_redis_send(in->redis, NULL, 5, argv, 1);
}


static ngx_int_t
ngx_http_penstock_oauth_store_key(ngx_http_penstock_oauth_ask_t *ask,
    u_char key[NGX_HTTP_PENSTOCK_OAUTH_STORE_KEY])
{
    u_char      digest[NGX_HTTP_PENSTOCK_KEY_LEN];
    ngx_str_t   parts[2];

    parts[0] = ask->text;
    parts[1].data = ask->conf->introspect->shared;
    parts[1].len = NGX_HTTP_PENSTOCK_KEY_LEN;

    if (ngx_http_penstock_sha256(parts, 2, digest) != NGX_OK) {
        return NGX_ERROR;
    }

    key = ngx_cpymem(key, NGX_HTTP_PENSTOCK_OAUTH_STORE_PREFIX,
                     sizeof(NGX_HTTP_PENSTOCK_OAUTH_STORE_PREFIX) - 1);

    (void) ngx_hex_dump(key, digest, sizeof(digest));

    return NGX_OK;
}
