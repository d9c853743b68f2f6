
/*
 * Introspection: what its files share.
 */

#ifndef _NGX_HTTP_PENSTOCK_OAUTH_INTROSPECT_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_OAUTH_INTROSPECT_H_INCLUDED_


#include "ngx_http_penstock_oauth.h"


typedef enum {
    NGX_HTTP_PENSTOCK_OAUTH_ASKED = 0,
    NGX_HTTP_PENSTOCK_OAUTH_INACTIVE,
    NGX_HTTP_PENSTOCK_OAUTH_FAILED
} ngx_http_penstock_oauth_call_e;


/*
 * The leader's end, which followers wait for; what is known counts for "time"
 * ms.  0: nothing is kept, the token's record tells or nobody asked.
 */

void ngx_http_penstock_oauth_call_end(
    ngx_http_penstock_oauth_main_conf_t *omcf, u_char *key,
    ngx_http_penstock_oauth_call_e state, ngx_msec_t time);

/*
 * _ask.c: asks the server; NGX_ERROR: it can't be, and the call has ended.
 * Otherwise the answer comes in "ask" and the request is woken.
 */

ngx_int_t ngx_http_penstock_oauth_ask(ngx_http_penstock_oauth_ask_t *ask);

/*
 * What the answer says (RFC 7662, 2.2): PS_JWT_OK with ask->token, in the
 * request's pool, which counts for the configured time.
 */

ps_jwt_error_e ngx_http_penstock_oauth_read_answer(
    ngx_http_penstock_oauth_ask_t *ask, ngx_str_t *answer);

/* the end of a call with a token that is known to be active */

void ngx_http_penstock_oauth_ask_active(ngx_http_penstock_oauth_ask_t *ask);

/*
 * _store.c: answers that hosts share in Redis.  read: NGX_OK: the request is
 * woken, with ask->read set, and ask->answered if there was one; NGX_DECLINED:
 * there is no Redis to ask.  write: doesn't wait.
 */

ngx_int_t ngx_http_penstock_oauth_store_read(
    ngx_http_penstock_oauth_ask_t *ask);
void ngx_http_penstock_oauth_store_write(ngx_http_penstock_oauth_ask_t *ask,
    ngx_str_t *answer);


#endif /* _NGX_HTTP_PENSTOCK_OAUTH_INTROSPECT_H_INCLUDED_ */
