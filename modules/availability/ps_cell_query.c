
/*
 * Lists in a query are those of arg=A,B and arg=A&arg=B; white space around
 * a value and empty values don't count.
 */

#include <string.h>

#include "ps_cell_query.h"
#include "ps_form.h"


static int ps_cell_query_is(const ps_form_arg_t *arg,
    const ps_json_text_t *name);
static int ps_cell_query_axis(const ps_cell_axis_t *axis, unsigned n,
    const ps_form_arg_t *arg);
static int ps_cell_query_list(ps_cell_axis_t *axis, const char *list,
    size_t len, unsigned max);
static size_t ps_cell_query_value(const char **p, const char *end,
    const char **value);
static uint32_t ps_cell_index_hash(const ps_cell_index_t *index,
    const ps_json_text_t *text);


int
ps_cell_query_ids(ps_cell_axis_t *axis, const char *args, size_t len,
    char **buf, unsigned max)
{
    size_t          n;
    unsigned        times, commas;
    const char     *p, *end;
    ps_form_arg_t   arg;

    p = args;
    end = args + len;
    times = 0;
    commas = 0;

    axis->n = 0;
    axis->asked = 0;
    axis->array.len = 0;

    while (ps_form_next(&p, end, &arg)) {

        if (!ps_cell_query_is(&arg, &axis->name)) {
            continue;
        }

        n = ps_form_decode(*buf, arg.value, arg.value_len);

        times++;
        commas |= (memchr(*buf, ',', n) != NULL);

        if (ps_cell_query_list(axis, *buf, n, max) != 0) {
            return -1;
        }

        *buf += n;
    }

    axis->asked = (times != 0);
    axis->repeat = (times > 1 && !commas);

    return 0;
}


/* names are hardly ever encoded */

static int
ps_cell_query_is(const ps_form_arg_t *arg, const ps_json_text_t *name)
{
    char  buf[3 * PS_CELL_ID_MAX];

    if (arg->name_len == name->len
        && memcmp(arg->text, name->data, name->len) == 0)
    {
        return 1;
    }

    if (arg->name_len < name->len || arg->name_len > sizeof(buf)
        || (memchr(arg->text, '%', arg->name_len) == NULL
            && memchr(arg->text, '+', arg->name_len) == NULL))
    {
        return 0;
    }

    return ps_form_decode(buf, arg->text, arg->name_len) == name->len
           && memcmp(buf, name->data, name->len) == 0;
}


/* the axis of an argument, or -1 */

static int
ps_cell_query_axis(const ps_cell_axis_t *axis, unsigned n,
    const ps_form_arg_t *arg)
{
    unsigned  i;

    for (i = 0; i < n; i++) {
        if (axis[i].path == NULL && ps_cell_query_is(arg, &axis[i].name)) {
            return (int) i;
        }
    }

    return -1;
}


static int
ps_cell_query_list(ps_cell_axis_t *axis, const char *list, size_t len,
    unsigned max)
{
    size_t       n;
    const char  *p, *end, *value;

    p = list;
    end = list + len;

    while (p < end) {
        n = ps_cell_query_value(&p, end, &value);

        if (n == 0) {
            continue;
        }

        if (axis->n == max || n > PS_CELL_ID_MAX) {
            return -1;
        }

        axis->id[axis->n].id.data = value;
        axis->id[axis->n].id.len = n;
        axis->id[axis->n].text.len = 0;
        axis->n++;
    }

    return 0;
}


size_t
ps_cell_query_count(const ps_json_text_t *name, const char *args, size_t len,
    char *buf)
{
    size_t          n;
    const char     *p, *end, *list, *last, *value;
    ps_form_arg_t   arg;

    n = 0;
    p = args;
    end = args + len;

    while (ps_form_next(&p, end, &arg)) {

        if (!ps_cell_query_is(&arg, name)) {
            continue;
        }

        list = buf;
        last = buf + ps_form_decode(buf, arg.value, arg.value_len);

        while (list < last) {
            n += (ps_cell_query_value(&list, last, &value) != 0);
        }
    }

    return n;
}


/* the next of a list, and its length, 0 where it is empty */

static size_t
ps_cell_query_value(const char **p, const char *end, const char **value)
{
    size_t       n;
    const char  *start, *comma;

    start = *p;
    comma = memchr(start, ',', (size_t) (end - start));

    if (comma == NULL) {
        comma = end;
    }

    *p = comma + 1;
    n = (size_t) (comma - start);

    while (n && (*start == ' ' || *start == '\t')) {
        start++;
        n--;
    }

    while (n && (start[n - 1] == ' ' || start[n - 1] == '\t')) {
        n--;
    }

    *value = start;

    return n;
}


int
ps_cell_body_ids(ps_cell_axis_t *axis, const ps_json_text_t *body, char **buf,
    unsigned max)
{
    int              rc;
    const char      *p;
    ps_cell_id_t    *id;
    ps_json_text_t   value;

    axis->n = 0;
    axis->asked = 0;
    axis->repeat = 0;
    axis->array.len = 0;

    if (ps_json_text_find(body, axis->path, &axis->array) != 0) {

        /* not there, or twice: then all of the body decides */

        axis->array.len = 0;
        return 0;
    }

    p = axis->array.data;

    for ( ;; ) {
        rc = ps_json_text_next(&axis->array, &p, &value);

        if (rc != 1) {
            break;
        }

        if (axis->n == max) {
            return -1;
        }

        id = &axis->id[axis->n];

        if (ps_json_text_id(&value, *buf, &id->id) != 0
            || id->id.len == 0 || id->id.len > PS_CELL_ID_MAX)
        {
            return -1;
        }

        if (id->id.data == *buf) {
            *buf += id->id.len;
        }

        id->text = value;
        axis->n++;
    }

    axis->asked = 1;

    return rc;
}


size_t
ps_cell_query_rest(const ps_cell_axis_t *axis, unsigned n, const char *args,
    size_t len, char *out)
{
    char           *o;
    const char     *p, *end;
    ps_form_arg_t   arg;

    o = out;
    p = args;
    end = args + len;

    while (ps_form_next(&p, end, &arg)) {

        if (arg.len == 0 || ps_cell_query_axis(axis, n, &arg) >= 0) {
            continue;
        }

        if (o != out) {
            *o++ = '&';
        }

        memcpy(o, arg.text, arg.len);
        o += arg.len;
    }

    return (size_t) (o - out);
}


size_t
ps_cell_query_size(const ps_cell_axis_t *axis, unsigned n, size_t len)
{
    size_t    size;
    unsigned  i, j;

    size = len + 1;

    for (i = 0; i < n; i++) {

        if (axis[i].path) {
            continue;
        }

        for (j = 0; j < axis[i].n; j++) {

            /* as the client wrote it, the name may be encoded */

            size += 3 * axis[i].id[j].id.len + 3 * axis[i].name.len + 2;
        }
    }

    return size;
}


size_t
ps_cell_query_write(const ps_cell_axis_t *axis, unsigned n, const char *args,
    size_t len, char *out)
{
    int             k;
    char           *o;
    unsigned        j, done;
    const char     *p, *end;
    ps_form_arg_t   arg;

    o = out;
    p = args;
    end = args + len;
    done = 0;

    while (ps_form_next(&p, end, &arg)) {

        k = ps_cell_query_axis(axis, n, &arg);

        if (k >= 0 && (done & 1U << k || axis[k].n == 0)) {
            continue;
        }

        if (o != out) {
            *o++ = '&';
        }

        if (k < 0) {
            memcpy(o, arg.text, arg.len);
            o += arg.len;
            continue;
        }

        done |= 1U << k;

        for (j = 0; j < axis[k].n; j++) {

            if (j == 0 || axis[k].repeat) {

                if (j) {
                    *o++ = '&';
                }

                memcpy(o, arg.text, arg.name_len);
                o += arg.name_len;
                *o++ = '=';

            } else {
                *o++ = ',';
            }

            o += ps_form_encode(o, axis[k].id[j].id.data,
                                axis[k].id[j].id.len);
        }
    }

    return (size_t) (o - out);
}


size_t
ps_cell_body_size(const ps_cell_axis_t *axis, unsigned n, size_t len)
{
    size_t    size;
    unsigned  i, j;

    size = len;

    for (i = 0; i < n; i++) {

        if (axis[i].array.len == 0) {
            continue;
        }

        size += 2;

        for (j = 0; j < axis[i].n; j++) {
            size += axis[i].id[j].text.len + 1;
        }
    }

    return size;
}


size_t
ps_cell_body_write(const ps_cell_axis_t *axis, unsigned n,
    const ps_json_text_t *body, char *out)
{
    char        *o;
    unsigned     i, j, k;
    const char  *p, *end;

    o = out;
    p = body->data;
    end = body->data + body->len;

    for ( ;; ) {

        /* the next list */

        k = n;

        for (i = 0; i < n; i++) {
            if (axis[i].array.len && axis[i].array.data >= p
                && (k == n || axis[i].array.data < axis[k].array.data))
            {
                k = i;
            }
        }

        if (k == n) {
            break;
        }

        memcpy(o, p, (size_t) (axis[k].array.data - p));
        o += axis[k].array.data - p;

        *o++ = '[';

        for (j = 0; j < axis[k].n; j++) {

            if (j) {
                *o++ = ',';
            }

            memcpy(o, axis[k].id[j].text.data, axis[k].id[j].text.len);
            o += axis[k].id[j].text.len;
        }

        *o++ = ']';

        p = axis[k].array.data + axis[k].array.len;
    }

    memcpy(o, p, (size_t) (end - p));
    o += end - p;

    return (size_t) (o - out);
}


unsigned
ps_cell_index_size(unsigned n)
{
    unsigned  size;

    for (size = 8; size < 2 * n; size *= 2) {
        /* void */
    }

    return size;
}


unsigned
ps_cell_index_init(ps_cell_index_t *index, const ps_cell_id_t *id, unsigned n,
    const ps_siphash_key_t *key, uint16_t *slot)
{
    uint32_t  h;
    unsigned  i, k, differ;

    index->id = id;
    index->key = key;
    index->mask = ps_cell_index_size(n) - 1;
    index->slot = slot;

    memset(slot, 0, ((size_t) index->mask + 1) * sizeof(uint16_t));

    differ = 0;

    for (i = 0; i < n; i++) {
        h = ps_cell_index_hash(index, &id[i].id);

        for ( ;; h++) {
            k = index->slot[h & index->mask];

            if (k == 0) {
                index->slot[h & index->mask] = (uint16_t) (i + 1);
                differ++;
                break;
            }

            if (id[k - 1].id.len == id[i].id.len
                && memcmp(id[k - 1].id.data, id[i].id.data, id[i].id.len)
                   == 0)
            {
                break;
            }
        }
    }

    return differ;
}


int
ps_cell_index_find(const ps_cell_index_t *index, const ps_json_text_t *text)
{
    uint32_t             h;
    unsigned             k;
    const ps_cell_id_t  *id;

    h = ps_cell_index_hash(index, text);

    for ( ;; h++) {
        k = index->slot[h & index->mask];

        if (k == 0) {
            return -1;
        }

        id = &index->id[k - 1];

        if (id->id.len == text->len
            && memcmp(id->id.data, text->data, text->len) == 0)
        {
            return (int) k - 1;
        }
    }
}


static uint32_t
ps_cell_index_hash(const ps_cell_index_t *index, const ps_json_text_t *text)
{
    return (uint32_t) ps_siphash(index->key, text->data, text->len);
}
