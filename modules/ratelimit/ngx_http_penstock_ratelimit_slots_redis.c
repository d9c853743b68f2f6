
/*
 * Slots across hosts.  A host tells Redis how many it has in use, as a whole
 * and numbered, so that what was lost, came twice or out of order is put
 * right by the next message; what it has not renewed for a while counts no
 * more.
 */

#include "ngx_http_penstock_ratelimit_slots_private.h"
#include "ngx_http_penstock_ratelimit.h"


/* a key that this worker holds slots of, or asks about */

typedef struct {
    ngx_rbtree_node_t                      node;     /* key: the hash */
    ngx_queue_t                            queue;    /* if "held" */
    ngx_http_penstock_ratelimit_slots_t   *slots;
    uint64_t                               hash;
    ngx_uint_t                             held;
    ngx_str_t                              name;     /* in Redis */
} ngx_http_penstock_ratelimit_group_t;


#define NGX_HTTP_PENSTOCK_RATELIMIT_SLOTS_ARGS  9


static ngx_int_t ngx_http_penstock_ratelimit_slots_name(
    ngx_http_penstock_ratelimit_slot_t *slot);
static ngx_int_t ngx_http_penstock_ratelimit_slots_send(
    ngx_http_penstock_ratelimit_slots_t *slots, ngx_str_t *name,
    ngx_http_penstock_ratelimit_slot_t *slot,
    ngx_http_penstock_ratelimit_snapshot_t *snapshot);
static void ngx_http_penstock_ratelimit_slots_handler(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static void ngx_http_penstock_ratelimit_slots_renew(ngx_event_t *ev);
static ngx_http_penstock_ratelimit_group_t *
    ngx_http_penstock_ratelimit_slots_group(
    ngx_http_penstock_ratelimit_slot_t *slot);


/*
 * A key is a hash: of each host "SEQ USE0 USE1 UNTIL", until then in ms on
 * Redis' clock.  Arguments: host, SEQ, USE0, USE1 (with the slot asked for
 * in it), its kind or -1 to ask for none, limit, reserved, TTL.  Returns 1
 * or 0, and how many are in use on all hosts.
 *
 * What the host said later (a greater SEQ) stays.  A lease that would last
 * longer than any can (the clock was set back) is drawn in.
 */

static ngx_http_penstock_redis_script_t  ngx_http_penstock_ratelimit_slots_lua =
{
    "local time = redis.call('TIME')\n"
    "local now = time[1] * 1000 + math.floor(time[2] / 1000)\n"
    "local host, seq = ARGV[1], tonumber(ARGV[2])\n"
    "local own = {tonumber(ARGV[3]), tonumber(ARGV[4])}\n"
    "local kind = tonumber(ARGV[5]) + 1\n"
    "local ttl = tonumber(ARGV[8])\n"
    "local use = {0, 0}\n"
    "local newer = false\n"
    "local all = redis.call('HGETALL', KEYS[1])\n"
    "for i = 1, #all, 2 do\n"
    "    local s, a, b, t = string.match(all[i + 1],\n"
    "                                    '^(%d+) (%d+) (%d+) (%d+)$')\n"
    "    if all[i] == host then\n"
    "        if s and tonumber(s) > seq then\n"
    "            newer = true\n"
    "            own = {tonumber(a), tonumber(b)}\n"
    "        end\n"
    "    elseif s and tonumber(t) > now then\n"
    "        if tonumber(t) > now + ttl then\n"
    "            redis.call('HSET', KEYS[1], all[i],\n"
    "                       string.format('%s %s %s %.0f', s, a, b,\n"
    "                                     now + ttl))\n"
    "        end\n"
    "        use[1] = use[1] + tonumber(a)\n"
    "        use[2] = use[2] + tonumber(b)\n"
    "    else\n"
    "        redis.call('HDEL', KEYS[1], all[i])\n"
    "    end\n"
    "end\n"
    "local fits = 1\n"
    "if kind > 0 then\n"
    "    local other = 3 - kind\n"
    "    local kept = math.max(0, tonumber(ARGV[7])\n"
    "                             - use[other] - own[other])\n"
    "    if use[1] + use[2] + own[1] + own[2] + kept > tonumber(ARGV[6])\n"
    "    then\n"
    "        fits = 0\n"
    "        if not newer then\n"
    "            own[kind] = own[kind] - 1\n"
    "        end\n"
    "    end\n"
    "end\n"
    "if not newer then\n"
    "    if own[1] + own[2] > 0 then\n"
    "        redis.call('HSET', KEYS[1], host,\n"
    "                   string.format('%.0f %.0f %.0f %.0f', seq, own[1],\n"
    "                                 own[2], now + ttl))\n"
    "    else\n"
    "        redis.call('HDEL', KEYS[1], host)\n"
    "    end\n"
    "end\n"
    "redis.call('PEXPIRE', KEYS[1], ttl)\n"
    "return {fits, use[1] + use[2] + own[1] + own[2]}\n",
    { 0 }
};


/* this worker's groups; the tree is made on first use */

static ngx_rbtree_t       ngx_http_penstock_ratelimit_groups;
static ngx_rbtree_node_t  ngx_http_penstock_ratelimit_sentinel;
static ngx_queue_t        ngx_http_penstock_ratelimit_held;
static ngx_event_t        ngx_http_penstock_ratelimit_renewal;
static ngx_connection_t   ngx_http_penstock_ratelimit_dumb;


ngx_int_t
ngx_http_penstock_ratelimit_slots_ask(ngx_http_penstock_ratelimit_slot_t *slot,
    ngx_http_penstock_ratelimit_snapshot_t *snapshot)
{
    ngx_http_penstock_ratelimit_slots_t  *slots;

    slots = slot->slots;

    if (!ngx_http_penstock_redis_up(slots->redis)) {
        return NGX_DECLINED;
    }

    if (ngx_http_penstock_ratelimit_slots_name(slot) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_penstock_ratelimit_slots_send(slots, &slot->name, slot,
                                                  snapshot);
}


/*
 * Made while the request lives: it is needed when the request's pool goes,
 * and nothing can be had of that any more.
 */

static ngx_int_t
ngx_http_penstock_ratelimit_slots_name(
    ngx_http_penstock_ratelimit_slot_t *slot)
{
    if (slot->name.len) {
        return NGX_OK;
    }

    return ngx_http_penstock_ratelimit_redis_name(slot->request->pool,
                                                  "penstock:slots:{",
                                                  &slot->slots->name,
                                                  &slot->key, &slot->name);
}


/* with slot == NULL it asks for none, and nobody waits for the answer */

static ngx_int_t
ngx_http_penstock_ratelimit_slots_send(
    ngx_http_penstock_ratelimit_slots_t *slots, ngx_str_t *name,
    ngx_http_penstock_ratelimit_slot_t *slot,
    ngx_http_penstock_ratelimit_snapshot_t *snapshot)
{
    u_char                                *p;
    u_char                                 buf[7 * (NGX_INT64_LEN + 1)];
    ngx_str_t                              argv[
                                     NGX_HTTP_PENSTOCK_RATELIMIT_SLOTS_ARGS];
    ngx_uint_t                             i;
    ngx_http_penstock_redis_call_t        *call;
    ngx_http_penstock_ratelimit_shared_t  *shared;

    shared = ngx_http_penstock_zone_data(slots->shm_zone);

    argv[0] = *name;
    argv[1].data = shared->host;
    argv[1].len = NGX_HTTP_PENSTOCK_RATELIMIT_HOST_LEN;

    p = buf;

    for (i = 2; i < NGX_HTTP_PENSTOCK_RATELIMIT_SLOTS_ARGS; i++) {
        argv[i].data = p;

        switch (i) {

        case 2:
            p = ngx_sprintf(p, "%uL", snapshot->seq);
            break;

        case 3:
            p = ngx_sprintf(p, "%uL", snapshot->use[0]);
            break;

        case 4:
            p = ngx_sprintf(p, "%uL", snapshot->use[1]);
            break;

        case 5:
            p = ngx_sprintf(p, "%i", slot ? (ngx_int_t) slot->kind : -1);
            break;

        case 6:
            p = ngx_sprintf(p, "%ui", slot ? slot->limit : 0);
            break;

        case 7:
            p = ngx_sprintf(p, "%ui", slot ? slot->reserved : 0);
            break;

        default:
            p = ngx_sprintf(p, "%d", NGX_HTTP_PENSTOCK_RATELIMIT_SLOTS_TTL);
        }

        argv[i].len = p - argv[i].data;
    }

    call = NULL;

    if (slot) {
        call = &slot->call;
        ngx_memzero(call, sizeof(ngx_http_penstock_redis_call_t));

        call->handler = ngx_http_penstock_ratelimit_slots_handler;
        call->data = slot;
        call->pool = slot->request->pool;
    }

    return ngx_http_penstock_redis_eval(slots->redis, call,
                                       &ngx_http_penstock_ratelimit_slots_lua,
                                       1,
                                       NGX_HTTP_PENSTOCK_RATELIMIT_SLOTS_ARGS,
                                       argv);
}


static void
ngx_http_penstock_ratelimit_slots_handler(ngx_http_penstock_redis_call_t *call,
    redisReply *reply)
{
    ngx_int_t                            rc;
    ngx_http_penstock_ratelimit_slot_t  *slot = call->data;

    rc = NGX_ERROR;

    if (call->status == NGX_HTTP_PENSTOCK_REDIS_OK
        && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2
        && reply->element[0]->type == REDIS_REPLY_INTEGER
        && reply->element[1]->type == REDIS_REPLY_INTEGER
        && reply->element[1]->integer >= 0)
    {
        rc = (reply->element[0]->integer == 1) ? NGX_OK : NGX_DECLINED;
        slot->in_use = reply->element[1]->integer;

    } else if (call->status == NGX_HTTP_PENSTOCK_REDIS_REFUSED) {
        ngx_log_error(NGX_LOG_ERR, slot->request->connection->log, 0,
                      "Redis refused the script of slots: \"%*s\"",
                      (size_t) ngx_min(reply->len, 256), reply->str);
    }

    ngx_http_penstock_ratelimit_slot_answered(slot, rc);
}


ngx_int_t
ngx_http_penstock_ratelimit_slots_keep(
    ngx_http_penstock_ratelimit_slot_t *slot)
{
    ngx_event_t                          *ev;
    ngx_http_penstock_ratelimit_group_t  *group;

    group = ngx_http_penstock_ratelimit_slots_group(slot);
    slot->group = group;

    if (group == NULL) {
        return NGX_ERROR;
    }

    group->held++;

    ev = &ngx_http_penstock_ratelimit_renewal;

    if (!ev->timer_set) {
        ev->handler = ngx_http_penstock_ratelimit_slots_renew;
        ev->data = &ngx_http_penstock_ratelimit_dumb;
        ev->log = ngx_cycle->log;
        ev->cancelable = 1;

        ngx_http_penstock_ratelimit_dumb.fd = (ngx_socket_t) -1;

        ngx_add_timer(ev, NGX_HTTP_PENSTOCK_RATELIMIT_SLOTS_RENEW);
    }

    return NGX_OK;
}


void
ngx_http_penstock_ratelimit_slots_gone(
    ngx_http_penstock_ratelimit_slot_t *slot)
{
    ngx_http_penstock_ratelimit_group_t     *group;
    ngx_http_penstock_ratelimit_snapshot_t   snapshot;

    if (slot->name.len == 0) {

        /* Redis was not told of it */

        return;
    }

    group = slot->group;
    slot->group = NULL;

    ngx_http_penstock_ratelimit_slots_snapshot(slot->slots, slot->hash,
                                               &snapshot);

    (void) ngx_http_penstock_ratelimit_slots_send(slot->slots, &slot->name,
                                                  NULL, &snapshot);

    if (group && --group->held == 0) {
        ngx_rbtree_delete(&ngx_http_penstock_ratelimit_groups, &group->node);
        ngx_queue_remove(&group->queue);
        ngx_free(group);
    }
}


static void
ngx_http_penstock_ratelimit_slots_renew(ngx_event_t *ev)
{
    ngx_queue_t                             *q;
    ngx_http_penstock_ratelimit_group_t     *group;
    ngx_http_penstock_ratelimit_snapshot_t   snapshot;

    if (ngx_queue_empty(&ngx_http_penstock_ratelimit_held)) {
        return;
    }

    for (q = ngx_queue_head(&ngx_http_penstock_ratelimit_held);
         q != ngx_queue_sentinel(&ngx_http_penstock_ratelimit_held);
         q = ngx_queue_next(q))
    {
        group = ngx_queue_data(q, ngx_http_penstock_ratelimit_group_t, queue);

        if (!ngx_http_penstock_redis_up(group->slots->redis)) {
            continue;
        }

        ngx_http_penstock_ratelimit_slots_snapshot(group->slots, group->hash,
                                                   &snapshot);

        (void) ngx_http_penstock_ratelimit_slots_send(group->slots,
                                                      &group->name, NULL,
                                                      &snapshot);
    }

    ngx_add_timer(ev, NGX_HTTP_PENSTOCK_RATELIMIT_SLOTS_RENEW);
}


static ngx_http_penstock_ratelimit_group_t *
ngx_http_penstock_ratelimit_slots_group(
    ngx_http_penstock_ratelimit_slot_t *slot)
{
    ngx_str_t                            *name;
    ngx_rbtree_t                         *tree;
    ngx_rbtree_node_t                    *node;
    ngx_http_penstock_ratelimit_group_t  *group;

    if (ngx_http_penstock_ratelimit_slots_name(slot) != NGX_OK) {
        return NULL;
    }

    name = &slot->name;
    tree = &ngx_http_penstock_ratelimit_groups;

    if (tree->root == NULL) {
        ngx_rbtree_init(tree, &ngx_http_penstock_ratelimit_sentinel,
                        ngx_rbtree_insert_value);
        ngx_queue_init(&ngx_http_penstock_ratelimit_held);
    }

    node = tree->root;

    while (node != tree->sentinel) {

        if (slot->hash < node->key) {
            node = node->left;
            continue;
        }

        group = (ngx_http_penstock_ratelimit_group_t *) node;

        if (slot->hash == node->key && group->slots == slot->slots
            && group->name.len == name->len
            && ngx_memcmp(group->name.data, name->data, name->len) == 0)
        {
            return group;
        }

        node = node->right;
    }

    group = ngx_alloc(sizeof(ngx_http_penstock_ratelimit_group_t) + name->len,
                      ngx_cycle->log);
    if (group == NULL) {
        return NULL;
    }

    group->node.key = slot->hash;
    group->slots = slot->slots;
    group->hash = slot->hash;
    group->held = 0;
    group->name.len = name->len;
    group->name.data = (u_char *) group
                       + sizeof(ngx_http_penstock_ratelimit_group_t);
    ngx_memcpy(group->name.data, name->data, name->len);

    ngx_rbtree_insert(tree, &group->node);
    ngx_queue_insert_tail(&ngx_http_penstock_ratelimit_held, &group->queue);

    return group;
}
