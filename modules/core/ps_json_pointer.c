
#include "ps_json_pointer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>


/* one piece of memory, with the names behind it */

struct ps_json_pointer_s {
    size_t                n;
    ps_json_token_t       tokens[PS_JSON_POINTER_MAX_TOKENS];
    char                  names[];
};


typedef struct {
    const ps_json_pointer_t  *pointer;
    size_t                    left;
    ps_json_pointer_pt        handler;
    void                     *data;
} ps_json_eval_t;


static size_t ps_json_pointer_index(const char *name);
static ps_json_pointer_rc_e ps_json_pointer_step(ps_json_eval_t *eval,
    size_t depth, const ps_json_match_t *match);
static ps_json_pointer_rc_e ps_json_pointer_array(ps_json_eval_t *eval,
    size_t depth, json_t *array);
static ps_json_pointer_rc_e ps_json_pointer_object(ps_json_eval_t *eval,
    size_t depth, json_t *object);


ps_json_pointer_t *
ps_json_pointer_parse(const char *text, size_t len, const char **err)
{
    char               *name;
    size_t              i;
    ps_json_token_t    *token;
    ps_json_pointer_t  *pointer;

    if (len && text[0] != '/') {
        *err = "a JSON pointer begins with \"/\"";
        return NULL;
    }

    if (len && memchr(text, '\0', len) != NULL) {
        *err = "a JSON pointer can't hold a zero byte";
        return NULL;
    }

    pointer = malloc(sizeof(ps_json_pointer_t) + len + 1);
    if (pointer == NULL) {
        *err = "no memory";
        return NULL;
    }

    pointer->n = 0;
    token = NULL;
    name = pointer->names;

    for (i = 0; i < len; i++) {

        switch (text[i]) {

        case '/':
            if (pointer->n == PS_JSON_POINTER_MAX_TOKENS) {
                *err = "a JSON pointer of more than 32 parts is not supported";
                goto failed;
            }

            if (token) {
                *name++ = '\0';
            }

            token = &pointer->tokens[pointer->n++];
            token->name = name;
            break;

        case '~':
            i++;

            if (i == len || (text[i] != '0' && text[i] != '1')) {
                *err = "in a JSON pointer \"~\" is written \"~0\", and \"/\" "
                       "inside of a name \"~1\"";
                goto failed;
            }

            *name++ = text[i] == '0' ? '~' : '/';
            break;

        default:
            *name++ = text[i];
            break;
        }
    }

    *name = '\0';

    for (i = 0; i < pointer->n; i++) {
        token = &pointer->tokens[i];
        token->len = strlen(token->name);
        token->index = ps_json_pointer_index(token->name);
        token->any = strcmp(token->name, "*") == 0;
    }

    return pointer;

failed:

    free(pointer);

    return NULL;
}


void
ps_json_pointer_free(ps_json_pointer_t *pointer)
{
    free(pointer);
}


size_t
ps_json_pointer_count(const ps_json_pointer_t *pointer)
{
    return pointer->n;
}


const ps_json_token_t *
ps_json_pointer_token(const ps_json_pointer_t *pointer, size_t i)
{
    return &pointer->tokens[i];
}


ps_json_pointer_rc_e
ps_json_pointer_eval(const ps_json_pointer_t *pointer, json_t *document,
    size_t max, ps_json_pointer_pt handler, void *data)
{
    ps_json_eval_t   eval;
    ps_json_match_t  match;

    eval.pointer = pointer;
    eval.left = max;
    eval.handler = handler;
    eval.data = data;

    match.value = document;
    match.parent = NULL;
    match.key = NULL;
    match.index = 0;

    return ps_json_pointer_step(&eval, 0, &match);
}


/* digits without a leading zero (RFC 6901, section 4) */

static size_t
ps_json_pointer_index(const char *name)
{
    size_t       index;
    const char  *p;

    if (*name == '\0' || (name[0] == '0' && name[1] != '\0')) {
        return PS_JSON_POINTER_NO_INDEX;
    }

    index = 0;

    for (p = name; *p; p++) {
        if (*p < '0' || *p > '9' || index > SIZE_MAX / 10 - 1) {
            return PS_JSON_POINTER_NO_INDEX;
        }

        index = index * 10 + (size_t) (*p - '0');
    }

    return index;
}


/* the depth of this recursion is the number of tokens */

static ps_json_pointer_rc_e
ps_json_pointer_step(ps_json_eval_t *eval, size_t depth,
    const ps_json_match_t *match)
{
    if (depth == eval->pointer->n) {

        if (eval->left == 0) {
            return PS_JSON_POINTER_MORE;
        }

        eval->left--;

        return eval->handler(match, eval->data) ? PS_JSON_POINTER_STOPPED
                                                : PS_JSON_POINTER_ALL;
    }

    if (json_is_array(match->value)) {
        return ps_json_pointer_array(eval, depth, match->value);
    }

    if (json_is_object(match->value)) {
        return ps_json_pointer_object(eval, depth, match->value);
    }

    return PS_JSON_POINTER_ALL;
}


static ps_json_pointer_rc_e
ps_json_pointer_array(ps_json_eval_t *eval, size_t depth, json_t *array)
{
    size_t                  i, last;
    ps_json_match_t         match;
    ps_json_pointer_rc_e    rc;
    const ps_json_token_t  *token;

    token = &eval->pointer->tokens[depth];
    last = json_array_size(array);

    match.parent = array;
    match.key = NULL;

    if (token->any) {
        i = 0;

    } else {
        if (token->index >= last) {
            return PS_JSON_POINTER_ALL;
        }

        i = token->index;
        last = i + 1;
    }

    for ( /* void */ ; i < last; i++) {
        match.value = json_array_get(array, i);
        match.index = i;

        rc = ps_json_pointer_step(eval, depth + 1, &match);

        if (rc != PS_JSON_POINTER_ALL) {
            return rc;
        }
    }

    return PS_JSON_POINTER_ALL;
}


static ps_json_pointer_rc_e
ps_json_pointer_object(ps_json_eval_t *eval, size_t depth, json_t *object)
{
    void                   *iter;
    ps_json_match_t         match;
    ps_json_pointer_rc_e    rc;
    const ps_json_token_t  *token;

    token = &eval->pointer->tokens[depth];

    match.parent = object;
    match.index = 0;

    if (!token->any) {
        match.key = token->name;
        match.value = json_object_get(object, token->name);

        if (match.value == NULL) {
            return PS_JSON_POINTER_ALL;
        }

        return ps_json_pointer_step(eval, depth + 1, &match);
    }

    for (iter = json_object_iter(object);
         iter;
         iter = json_object_iter_next(object, iter))
    {
        match.key = json_object_iter_key(iter);
        match.value = json_object_iter_value(iter);

        rc = ps_json_pointer_step(eval, depth + 1, &match);

        if (rc != PS_JSON_POINTER_ALL) {
            return rc;
        }
    }

    return PS_JSON_POINTER_ALL;
}
