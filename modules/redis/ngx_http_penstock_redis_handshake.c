
/*
 * What a new connection says first.  Calls wait for the answers: a command
 * sent along could run as the wrong user or in the wrong database.
 */

#include "ngx_http_penstock_redis_node.h"
#include "ngx_http_penstock_redis_sentinel.h"


static ngx_int_t ngx_http_penstock_redis_shake(
    ngx_http_penstock_redis_node_t *node, ngx_http_penstock_redis_kind_e kind,
    ngx_uint_t argc, const ngx_str_t *argv);
static ngx_int_t ngx_http_penstock_redis_unshaken(
    ngx_http_penstock_redis_node_t *node, redisReply *reply,
    const char *what);


ngx_int_t
ngx_http_penstock_redis_handshake(ngx_http_penstock_redis_node_t *node)
{
    u_char                      number[NGX_INT_T_LEN];
    ngx_str_t                   argv[3];
    ngx_uint_t                  argc;
    ngx_str_t                  *user, *password;
    ngx_http_penstock_redis_t  *redis;

    redis = node->redis;

    node->shakes = 0;

    user = node->tells ? &redis->sentinel->user : &redis->user;
    password = node->tells ? &redis->sentinel->password : &redis->password;

    if (password->len) {
        argc = 0;
        ngx_str_set(&argv[argc], "AUTH");
        argc++;

        if (user->len) {
            argv[argc++] = *user;
        }

        argv[argc++] = *password;

        if (ngx_http_penstock_redis_shake(node, NGX_HTTP_PENSTOCK_REDIS_AUTH,
                                          argc, argv)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (redis->database && !node->tells) {
        ngx_str_set(&argv[0], "SELECT");
        argv[1].data = number;
        argv[1].len = ngx_sprintf(number, "%i", redis->database) - number;

        if (ngx_http_penstock_redis_shake(node,
                                          NGX_HTTP_PENSTOCK_REDIS_SELECT,
                                          2, argv)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    ngx_str_set(&argv[0], "CLIENT");
    ngx_str_set(&argv[1], "SETNAME");

    if (node->link) {
        ngx_str_set(&argv[2], "penstock-push");

    } else {
        ngx_str_set(&argv[2], "penstock");
    }

    if (ngx_http_penstock_redis_shake(node, NGX_HTTP_PENSTOCK_REDIS_SETNAME,
                                      3, argv)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (redis->sentinel == NULL || node->tells) {
        return NGX_OK;
    }

    /* whatever a sentinel says, a replica is not used */

    ngx_str_set(&argv[0], "ROLE");

    return ngx_http_penstock_redis_shake(node, NGX_HTTP_PENSTOCK_REDIS_ROLE,
                                         1, argv);
}


/* the output buffer is empty at this time and much larger than these */

static ngx_int_t
ngx_http_penstock_redis_shake(ngx_http_penstock_redis_node_t *node,
    ngx_http_penstock_redis_kind_e kind, ngx_uint_t argc,
    const ngx_str_t *argv)
{
    ngx_http_penstock_redis_cmd_t  *cmd;

    cmd = ngx_http_penstock_redis_cmd(0, NULL, argc, argv);
    if (cmd == NULL) {
        return NGX_ERROR;
    }

    cmd->node = node;
    cmd->kind = kind;
    cmd->copied = cmd->size;

    node->out.last = ngx_cpymem(node->out.last, cmd->data, cmd->size);

    /* a password lives in the configuration only */

    ngx_explicit_memzero(cmd->data, cmd->size);

    ngx_queue_insert_tail(&node->sent, &cmd->queue);
    node->ncommands++;
    node->shakes++;

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_redis_shaken(ngx_http_penstock_redis_node_t *node,
    ngx_http_penstock_redis_kind_e kind, redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR) {

        if (ngx_strncmp(reply->str, "NOAUTH", 6) == 0) {
            return ngx_http_penstock_redis_unshaken(node, reply,
                                      node->tells
                                      ? "a password is needed, see "
                                        "\"sentinel_password_file\""
                                      : "a password is needed, see "
                                        "\"password_file\"");
        }

        if (kind == NGX_HTTP_PENSTOCK_REDIS_AUTH) {
            return ngx_http_penstock_redis_unshaken(node, reply,
                                      node->tells
                                      ? "authentication failed, check "
                                        "\"sentinel_user\" and "
                                        "\"sentinel_password_file\""
                                      : "authentication failed, check "
                                        "\"user\" and \"password_file\"");
        }

        if (kind == NGX_HTTP_PENSTOCK_REDIS_ROLE) {
            return ngx_http_penstock_redis_unshaken(node, reply,
                                      "it refused ROLE, may its user +role?");
        }

        if (kind == NGX_HTTP_PENSTOCK_REDIS_SELECT) {
            return ngx_http_penstock_redis_unshaken(node, reply,
                                      "\"database\" was refused");
        }

        /* a user may lack the right to name the connection */
    }

    if (kind == NGX_HTTP_PENSTOCK_REDIS_ROLE
        && (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0
            || reply->element[0]->type != REDIS_REPLY_STRING
            || ngx_strcmp(reply->element[0]->str, "master") != 0))
    {
        ngx_http_penstock_redis_fail(node, 0, "by its ROLE it is no master");
        return NGX_ERROR;
    }

    if (--node->shakes) {
        return NGX_OK;
    }

    ngx_del_timer(&node->connect);

    node->state = NGX_HTTP_PENSTOCK_REDIS_UP;
    node->up_since = ngx_current_msec;

    if (node->fails) {
        ngx_log_error(NGX_LOG_NOTICE, &node->log, 0, "connected again");
    }

    ngx_http_penstock_redis_ttl_start(node);
    ngx_http_penstock_redis_post(node);

    if (node->link) {
        ngx_http_penstock_redis_link_up(node->link);
    }

    if (node->redis->sentinel) {
        ngx_http_penstock_redis_sentinel_up(node);
    }

    return NGX_OK;
}


/*
 * Only the code of the error is logged: Redis repeats arguments, so a
 * password, when it does not know a command.
 */

static ngx_int_t
ngx_http_penstock_redis_unshaken(ngx_http_penstock_redis_node_t *node,
    redisReply *reply, const char *what)
{
    ngx_str_t  code;

    code.data = (u_char *) reply->str;

    for (code.len = 0;
         code.len < 32 && code.data[code.len] >= 'A'
         && code.data[code.len] <= 'Z';
         code.len++)
    {
        /* void */
    }

    ngx_log_error(NGX_LOG_ERR, &node->log, 0, "%s (%V)", what, &code);

    ngx_http_penstock_redis_close(node, 1);

    return NGX_ERROR;
}
