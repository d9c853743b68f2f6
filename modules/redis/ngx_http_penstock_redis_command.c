
/*
 * Commands in RESP; scripts by their SHA-1 with the text as fallback.
 */

#include "ngx_http_penstock_redis_node.h"
#include "ngx_http_penstock_redis_cluster.h"

#include <ngx_sha1.h>


#define NGX_HTTP_PENSTOCK_REDIS_NUMBER  (1 + NGX_SIZE_T_LEN + 2)


static size_t ngx_http_penstock_redis_size(ngx_uint_t n,
    const ngx_str_t *args);
static u_char *ngx_http_penstock_redis_write(u_char *p, ngx_uint_t n,
    const ngx_str_t *args);
static void ngx_http_penstock_redis_sha1(
    ngx_http_penstock_redis_script_t *script);


ngx_http_penstock_redis_cmd_t *
ngx_http_penstock_redis_cmd(ngx_uint_t nhead, const ngx_str_t *head,
    ngx_uint_t argc, const ngx_str_t *argv)
{
    u_char                         *p;
    size_t                          size;
    ngx_uint_t                      i;
    ngx_http_penstock_redis_cmd_t  *cmd;

    size = NGX_HTTP_PENSTOCK_REDIS_NUMBER
           + ngx_http_penstock_redis_size(nhead, head)
           + ngx_http_penstock_redis_size(argc, argv);

    cmd = ngx_alloc(offsetof(ngx_http_penstock_redis_cmd_t, data) + size,
                    ngx_cycle->log);
    if (cmd == NULL) {
        return NULL;
    }

    ngx_memzero(cmd, offsetof(ngx_http_penstock_redis_cmd_t, data));

    p = ngx_sprintf(cmd->data, "*%ui" CRLF, nhead + argc);

    for (i = 0; i < nhead; i++) {
        p = ngx_http_penstock_redis_write(p, 1, &head[i]);

        if (i == 1) {
            cmd->tail = p - cmd->data;
        }
    }

    p = ngx_http_penstock_redis_write(p, argc, argv);

    cmd->argc = nhead + argc;

    cmd->size = p - cmd->data;

    return cmd;
}


ngx_http_penstock_redis_cmd_t *
ngx_http_penstock_redis_cmd_eval(ngx_http_penstock_redis_cmd_t *cmd)
{
    u_char                         *p;
    size_t                          size, tail;
    ngx_str_t                       head[2];
    ngx_http_penstock_redis_cmd_t  *eval;

    ngx_str_set(&head[0], "EVAL");
    head[1].data = (u_char *) cmd->script->text;
    head[1].len = ngx_strlen(cmd->script->text);

    tail = cmd->size - cmd->tail;

    size = NGX_HTTP_PENSTOCK_REDIS_NUMBER
           + ngx_http_penstock_redis_size(2, head) + tail;

    eval = ngx_alloc(offsetof(ngx_http_penstock_redis_cmd_t, data) + size,
                     ngx_cycle->log);
    if (eval == NULL) {
        return NULL;
    }

    ngx_memzero(eval, offsetof(ngx_http_penstock_redis_cmd_t, data));

    p = ngx_sprintf(eval->data, "*%ui" CRLF, cmd->argc);
    p = ngx_http_penstock_redis_write(p, 2, head);
    p = ngx_cpymem(p, cmd->data + cmd->tail, tail);

    eval->size = p - eval->data;

    return eval;
}


ngx_int_t
ngx_http_penstock_redis_send(ngx_http_penstock_redis_t *redis,
    ngx_http_penstock_redis_call_t *call, ngx_uint_t argc,
    const ngx_str_t *argv, ngx_int_t key)
{
    ngx_http_penstock_redis_cmd_t   *cmd;
    ngx_http_penstock_redis_node_t  *node;

    node = ngx_http_penstock_redis_route(redis, key < 0 ? NULL : &argv[key]);
    if (node == NULL) {
        return ngx_http_penstock_redis_declined(redis, call);
    }

    cmd = ngx_http_penstock_redis_cmd(0, NULL, argc, argv);
    if (cmd == NULL) {
        return ngx_http_penstock_redis_declined(redis, call);
    }

    cmd->slot = ngx_http_penstock_redis_slot(redis,
                                             key < 0 ? NULL : &argv[key]);

    return ngx_http_penstock_redis_submit(node, cmd, call);
}


ngx_int_t
ngx_http_penstock_redis_eval(ngx_http_penstock_redis_t *redis,
    ngx_http_penstock_redis_call_t *call,
    ngx_http_penstock_redis_script_t *script, ngx_uint_t nkeys,
    ngx_uint_t argc, const ngx_str_t *argv)
{
    u_char                           number[NGX_INT_T_LEN];
    ngx_str_t                        head[3];
    ngx_http_penstock_redis_cmd_t   *cmd;
    ngx_http_penstock_redis_node_t  *node;

    node = ngx_http_penstock_redis_route(redis, nkeys ? &argv[0] : NULL);
    if (node == NULL) {
        return ngx_http_penstock_redis_declined(redis, call);
    }

    if (script->sha1[0] == '\0') {
        ngx_http_penstock_redis_sha1(script);
    }

    ngx_str_set(&head[0], "EVALSHA");
    head[1].len = 40;
    head[1].data = script->sha1;
    head[2].len = ngx_sprintf(number, "%ui", nkeys) - number;
    head[2].data = number;

    cmd = ngx_http_penstock_redis_cmd(3, head, argc, argv);
    if (cmd == NULL) {
        return ngx_http_penstock_redis_declined(redis, call);
    }

    cmd->script = script;
    cmd->slot = ngx_http_penstock_redis_slot(redis, nkeys ? &argv[0] : NULL);

    return ngx_http_penstock_redis_submit(node, cmd, call);
}


ngx_int_t
ngx_http_penstock_redis_slot(ngx_http_penstock_redis_t *redis,
    const ngx_str_t *key)
{
    if (redis->cluster == NULL || key == NULL) {
        return NGX_ERROR;
    }

    return ps_slot((char *) key->data, key->len);
}


static size_t
ngx_http_penstock_redis_size(ngx_uint_t n, const ngx_str_t *args)
{
    size_t      size;
    ngx_uint_t  i;

    size = 0;

    for (i = 0; i < n; i++) {
        size += NGX_HTTP_PENSTOCK_REDIS_NUMBER + args[i].len + 2;
    }

    return size;
}


static u_char *
ngx_http_penstock_redis_write(u_char *p, ngx_uint_t n, const ngx_str_t *args)
{
    ngx_uint_t  i;

    for (i = 0; i < n; i++) {
        p = ngx_sprintf(p, "$%uz" CRLF, args[i].len);

        if (args[i].len) {
            p = ngx_cpymem(p, args[i].data, args[i].len);
        }

        *p++ = CR;
        *p++ = LF;
    }

    return p;
}


static void
ngx_http_penstock_redis_sha1(ngx_http_penstock_redis_script_t *script)
{
    u_char      digest[20];
    ngx_sha1_t  sha1;

    ngx_sha1_init(&sha1);
    ngx_sha1_update(&sha1, script->text, ngx_strlen(script->text));
    ngx_sha1_final(digest, &sha1);

    ngx_hex_dump(script->sha1, digest, 20);
    script->sha1[40] = '\0';
}
