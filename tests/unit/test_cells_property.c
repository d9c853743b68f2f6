
/*
 * Split and merge, as a property: whatever is asked, in which order and how
 * often, and whatever of it is held, to ask the upstream for the rest and to
 * put both together gives what asking for all of it gives, each element byte
 * for byte.
 *
 * The upstream here reads queries and bodies with code of its own (and
 * jansson), so a wrong rewrite is not read back by what wrote it.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "ps_cell_query.h"
#include "ps_cell_split.h"


#define SKUS       500
#define LOCATIONS  4
#define WORLD      700                  /* SKUs that may be asked for */
#define ROOM       (1 << 21)


static uint64_t  seed = 88172645463325252ULL;


static unsigned
draw(unsigned n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return (unsigned) ((seed >> 11) % n);
}


/* the same for the same cell, in each answer */

static unsigned
fixed(unsigned sku, unsigned location, unsigned n)
{
    uint64_t  x;

    x = (sku * 31ULL + location + 1) * 0x9e3779b97f4a7c15ULL;

    return (unsigned) ((x >> 33) % n);
}


/* what a SKU is called: numbers, words, all that must be escaped */

static void
sku_name(unsigned sku, char *out)
{
    static const char  *form[] = {
        "%u", "SKU-%u", "-%u", "a b/%u", "\xc3\xa9%u", "q\"%u\\", "&=+%%%u",
        "%u\n\t\x01", "\xf0\x9d\x84\x9e%u", "'<%u>'", "#%u?", "%u.50",
    };

    sprintf(out, form[sku % 12], sku);
}


static void
location_name(unsigned location, char *out)
{
    static const char  *name[] = { "7", "North/1", "\xe2\x82\xac", "a+b" };

    strcpy(out, name[location]);
}


/* a JSON string in one of the ways to write it, or a whole number */

static char *
json_id(char *p, const char *name, unsigned how)
{
    const unsigned char  *s;

    if (how % 3 == 0 && name[strspn(name, "0123456789")] == '\0') {
        return stpcpy(p, name);
    }

    *p++ = '"';

    for (s = (const unsigned char *) name; *s; s++) {

        if (*s == '"' || *s == '\\') {
            *p++ = '\\';
            *p++ = (char) *s;

        } else if (*s == '/' && how % 2) {
            p = stpcpy(p, "\\/");

        } else if (*s < 0x20 || (*s < 0x80 && how % 5 == 0)) {
            p += sprintf(p, how % 2 ? "\\u%04x" : "\\u%04X", *s);

        } else if (*s == 0xc3 && how % 2) {
            p += sprintf(p, "\\u%04X", 0xc0 | (*++s & 0x3f));

        } else if (*s == 0xf0 && how % 2) {
            p = stpcpy(p, "\\ud834\\uDD1E");
            s += 3;

        } else {
            *p++ = (char) *s;
        }
    }

    *p++ = '"';

    return p;
}


/* a cell as the upstream writes it; NULL: it does not know it */

static char *
element(char *p, unsigned sku, unsigned location, int with_location)
{
    char      name[64];
    unsigned  f;

    static const char  *number[] = {
        "10.00", "0", "-0", "1E+2", "9223372036854775807",
        "18446744073709551616", "0.1000000000000000055511151231257827",
        "1e-7",
    };

    static const char  *extra[] = {
        "", ",\"note\":\"\\u00e9\\/\"", " , \"a\" : [ ] ",
        ",\"in\":{\"sku\":\"other\",\"]\":\"}\"}", "\n,\n\"t\":null\n",
        ",\"b\":[1, 2 ,[{}]]",
    };

    f = fixed(sku, location, 100000);

    if (f % 7 == 0) {
        return NULL;
    }

    p = stpcpy(p, f % 2 ? "{" : "{ \n");

    if (f % 3 == 0) {
        p += sprintf(p, "\"qty\":%s,", number[f % 8]);
    }

    p = stpcpy(p, f % 5 ? "\"sku\":" : "\"\\u0073ku\" : ");
    sku_name(sku, name);
    p = json_id(p, name, f / 3);

    if (with_location) {
        p = stpcpy(p, ",\"at\":{\"location\": ");
        location_name(location, name);
        p = json_id(p, name, f / 5);
        *p++ = '}';
    }

    if (f % 3) {
        p += sprintf(p, ",\"qty\" : %s", number[f % 8]);
    }

    p = stpcpy(p, extra[f % 6]);

    return stpcpy(p, "}");
}


static int
sku_of(const char *name, size_t len)
{
    char      is[64];
    unsigned  i;

    for (i = 0; i < WORLD; i++) {
        sku_name(i, is);

        if (strlen(is) == len && memcmp(is, name, len) == 0) {
            return (int) i;
        }
    }

    fail_msg("the upstream was asked for %.*s", (int) len, name);

    return -1;
}


static int
location_of(const char *name, size_t len)
{
    char      is[64];
    unsigned  i;

    for (i = 0; i < LOCATIONS; i++) {
        location_name(i, is);

        if (strlen(is) == len && memcmp(is, name, len) == 0) {
            return (int) i;
        }
    }

    fail_msg("the upstream was asked for location %.*s", (int) len, name);

    return -1;
}


/* the upstream */

typedef struct {
    unsigned  sku[2 * SKUS];
    unsigned  nsku;
    unsigned  location[16];
    unsigned  nlocation;
    unsigned  pretty;
    unsigned  shuffle;                  /* it answers in an order of its own */
} erp_t;


static void
erp_take(erp_t *erp, int is_sku, const char *name, size_t len)
{
    if (is_sku) {
        assert_true(erp->nsku < 2 * SKUS);
        erp->sku[erp->nsku++] = (unsigned) sku_of(name, len);

    } else {
        assert_true(erp->nlocation < 16);
        erp->location[erp->nlocation++] = (unsigned) location_of(name, len);
    }
}


static void
erp_query(erp_t *erp, const char *args, size_t len)
{
    int          is_sku;
    char        *arg, *copy, *next, *value, *s, *d, *comma;
    unsigned     code;

    copy = strndup(args, len);

    for (arg = copy; arg; arg = next) {
        next = strchr(arg, '&');

        if (next) {
            *next++ = '\0';
        }

        value = strchr(arg, '=');

        if (value == NULL) {
            continue;
        }

        *value++ = '\0';

        if (strcmp(arg, "sku") != 0 && strcmp(arg, "location") != 0) {
            continue;
        }

        is_sku = (arg[0] == 's');

        for (s = d = value; *s; s++) {

            if (*s == '%' && sscanf(s + 1, "%2x", &code) == 1) {
                *d++ = (char) code;
                s += 2;

            } else {
                *d++ = *s == '+' ? ' ' : *s;
            }
        }

        *d = '\0';

        for ( ;; ) {
            comma = strchr(value, ',');

            if (comma) {
                *comma = '\0';
            }

            if (*value) {
                erp_take(erp, is_sku, value, strlen(value));
            }

            if (comma == NULL) {
                break;
            }

            value = comma + 1;
        }
    }

    free(copy);
}


static void
erp_body(erp_t *erp, const char *body, size_t len)
{
    char     number[32];
    size_t   i;
    json_t  *root, *ask, *array, *id;
    unsigned k;

    root = json_loadb(body, len, JSON_REJECT_DUPLICATES, NULL);
    if (root == NULL) {
        fail_msg("the upstream got %.*s", (int) len, body);
    }

    /* what is not asked in the lists came as it was */

    assert_int_equal(json_integer_value(json_object_get(root, "z")), 26);
    ask = json_object_get(root, "ask");
    assert_non_null(ask);

    for (k = 0; k < 2; k++) {
        array = json_object_get(ask, k ? "skus" : "locations");

        for (i = 0; i < json_array_size(array); i++) {
            id = json_array_get(array, i);

            if (json_is_integer(id)) {
                sprintf(number, "%lld", (long long) json_integer_value(id));
                erp_take(erp, (int) k, number, strlen(number));

            } else {
                erp_take(erp, (int) k, json_string_value(id),
                         json_string_length(id));
            }
        }
    }

    json_decref(root);
}


static size_t
erp_answer(erp_t *erp, char *out)
{
    char      *p, *q, *before;
    unsigned   i, j, k, n, first, at;

    p = stpcpy(out, erp->pretty ? " {\n \"as_of\" : 10.00,\n \"data\" : {"
                                  "\"items\" : [ "
                                : "{\"as_of\":10.00,\"data\":{\"items\":[");
    first = 1;
    n = erp->nlocation ? erp->nlocation : 1;

    at = (erp->shuffle && erp->nsku) ? draw(erp->nsku) : 0;

    for (i = 0; i < erp->nsku; i++) {
        k = (i + at) % erp->nsku;

        for (j = 0; j < n; j++) {
            before = p;

            if (!first) {
                p = stpcpy(p, erp->pretty ? " ,\n\t" : ",");
            }

            q = element(p, erp->sku[k], erp->nlocation ? erp->location[j] : 0,
                        erp->nlocation != 0);

            if (q == NULL) {
                p = before;
                continue;
            }

            p = q;
            first = 0;
        }
    }

    p = stpcpy(p, erp->pretty ? "\n] },\n\"total\":12345678901234567890 } \n"
                              : "]},\"total\":12345678901234567890}");

    assert_true(p - out < ROOM);

    return (size_t) (p - out);
}


/* the gateway */

typedef struct {
    char        *text;                  /* NULL: absent */
    size_t       len;
    unsigned     held:1;
    unsigned     got:1;
} cell_t;

typedef struct {
    ps_cell_axis_t    axis[PS_CELL_AXES];
    ps_cell_id_t      id[PS_CELL_AXES][2 * SKUS];
    ps_cell_index_t   index[PS_CELL_AXES];
    uint16_t          slot[PS_CELL_AXES][8 * SKUS];
    unsigned          naxes;            /* that are asked */
    unsigned          nlocation;
    cell_t           *cell;
} gate_t;


static ps_json_path_t  list, ids[PS_CELL_AXES], paths[PS_CELL_AXES];
static char            names[5][32];
static char           *answer, *buf, *merged, *whole;


static int
take(const ps_json_text_t *element, const ps_json_text_t *id, void *data)
{
    int       i, j;
    cell_t   *cell;
    gate_t   *gate = data;

    i = ps_cell_index_find(&gate->index[0], &id[0]);
    j = gate->naxes == 2 ? ps_cell_index_find(&gate->index[1], &id[1]) : 0;

    if (i < 0 || j < 0) {
        fail_msg("an element that nobody asked for: %.*s",
                 (int) element->len, element->data);
    }

    cell = &gate->cell[(unsigned) i * gate->nlocation + (unsigned) j];

    if (cell->text == NULL) {
        cell->text = malloc(element->len);
        memcpy(cell->text, element->data, element->len);
        cell->len = element->len;
    }

    cell->got = 1;

    return 0;
}


static void
split_all(gate_t *gate, const char *text, size_t len,
    ps_cell_split_pt handler, void *data, ps_cell_split_t *split)
{
    ps_json_text_t  a;

    a.data = text;
    a.len = len;

    split->list = &list;
    split->id = ids;
    split->nid = gate->naxes;

    assert_int_equal(ps_cell_split(split, &a, buf, handler, data), 0);
}


/* each element with a comma between them, no other white space */

typedef struct {
    char      *p;
    unsigned   n;
} join_t;


static int
join(const ps_json_text_t *element, const ps_json_text_t *id, void *data)
{
    join_t  *j = data;

    (void) id;

    if (j->n++) {
        *j->p++ = ',';
    }

    memcpy(j->p, element->data, element->len);
    j->p += element->len;

    return 0;
}


static int
run(unsigned round)
{
    int               in_body, repeat;
    char             *request, *part, *p, *out, *decoded, *d, name[64];
    char              around[256];
    join_t            j;
    erp_t             erp;
    size_t            len, n, before_len, behind_len;
    unsigned          i, k, l, nsku, nloc, asked[SKUS], where[LOCATIONS * 2];
    unsigned          most, missing, need_sku, need_loc, cells;
    ps_cell_axis_t    some[PS_CELL_AXES];
    ps_cell_id_t     *pick[PS_CELL_AXES];
    ps_cell_split_t   split, direct;
    ps_json_text_t    body;
    ps_siphash_key_t  key;
    static gate_t     gate;
    cell_t           *cell;

    static const char  *blank[] = { "", "", " ", "\n\t", "\r\n " };

    ps_siphash_key(&key, (const uint8_t *) "0123456789abcdef");

    /* what a client asks: duplicates among it */

    most = round % 4 ? 30 : SKUS;
    nsku = 1 + draw(most);
    nloc = draw(LOCATIONS + 1);

    for (i = 0; i < nsku; i++) {
        asked[i] = (i && draw(10) == 0) ? asked[draw(i)] : draw(WORLD);
    }

    for (i = 0; i < nloc; i++) {
        where[i] = draw(LOCATIONS);
    }

    in_body = draw(2);
    repeat = draw(2);

    request = malloc(ROOM);
    p = request;

    if (in_body) {
        p += sprintf(p, "%s{\"ask\":%s{\"x\":10.00,", blank[draw(5)],
                     blank[draw(5)]);

        if (nloc && draw(2)) {
            p = stpcpy(p, "\"locations\":[");

            for (i = 0; i < nloc; i++) {
                location_name(where[i], name);
                p += sprintf(p, "%s%s", i ? "," : "", blank[draw(5)]);
                p = json_id(p, name, draw(100));
            }

            p = stpcpy(p, "],");
            i = 1;

        } else {
            i = 0;
        }

        p += sprintf(p, "%s\"skus\" :%s[", blank[draw(5)], blank[draw(5)]);

        for (k = 0; k < nsku; k++) {
            sku_name(asked[k], name);
            p += sprintf(p, "%s%s", k ? "," : "", blank[draw(5)]);
            p = json_id(p, name, draw(100));
            p = stpcpy(p, blank[draw(5)]);
        }

        *p++ = ']';

        if (nloc && i == 0) {
            p = stpcpy(p, ", \"locations\": [");

            for (i = 0; i < nloc; i++) {
                location_name(where[i], name);
                p += sprintf(p, "%s", i ? "," : "");
                p = json_id(p, name, draw(100));
            }

            *p++ = ']';
        }

        p += sprintf(p, "}%s,\"z\":26}%s", blank[draw(5)], blank[draw(5)]);

    } else {

        p = stpcpy(p, draw(2) ? "z=26&" : "");

        for (l = 0; l < 2; l++) {

            n = (l == 0) ? nsku : nloc;

            for (k = 0; k < n; k++) {

                if (k == 0 || repeat) {

                    if (p != request && p[-1] != '&') {
                        *p++ = '&';
                    }

                    p = stpcpy(p, l ? "location=" : "sku=");

                } else {
                    *p++ = ',';
                }

                if (l == 0) {
                    sku_name(asked[k], name);
                } else {
                    location_name(where[k], name);
                }

                for (d = name; *d; d++) {

                    if (strchr("&=+%,#\"\\", *d) || (unsigned char) *d < 0x20
                        || draw(9) == 0)
                    {
                        p += sprintf(p, draw(2) ? "%%%02x" : "%%%02X",
                                     (unsigned char) *d);

                    } else {
                        *p++ = *d == ' ' ? '+' : *d;
                    }
                }
            }
        }

        p = stpcpy(p, draw(2) ? "&as=%41" : "");
    }

    len = (size_t) (p - request);
    request = realloc(request, len);    /* a read behind it is seen */

    decoded = malloc(len);
    d = decoded;

    body.data = request;
    body.len = len;

    gate.naxes = nloc ? 2 : 1;

    for (k = 0; k < 2; k++) {
        gate.axis[k].path = in_body ? &paths[k] : NULL;
        gate.axis[k].name.data = k ? "location" : "sku";
        gate.axis[k].name.len = strlen(gate.axis[k].name.data);
        gate.axis[k].id = gate.id[k];

        if (in_body) {
            assert_int_equal(ps_json_text_check(request, len), 0);
            assert_int_equal(ps_cell_body_ids(&gate.axis[k], &body, &d,
                                              PS_CELL_AXIS_MAX), 0);
        } else {
            assert_int_equal(ps_cell_query_ids(&gate.axis[k], request, len,
                                               &d, PS_CELL_AXIS_MAX), 0);
        }

        (void) ps_cell_index_init(&gate.index[k], gate.axis[k].id,
                                  gate.axis[k].n, &key, gate.slot[k]);
    }

    assert_int_equal(gate.axis[0].n, nsku);
    assert_int_equal(gate.axis[1].n, nloc);

    /* all of it from the upstream, as it is asked */

    memset(&erp, 0, sizeof(erp));
    erp.pretty = draw(2);

    if (in_body) {
        erp_body(&erp, request, len);
    } else {
        erp_query(&erp, request, len);
    }

    assert_int_equal(erp.nsku, nsku);
    assert_int_equal(erp.nlocation, nloc);

    n = erp_answer(&erp, whole);

    j.p = answer;
    j.n = 0;
    split_all(&gate, whole, n, join, &j, &direct);

    before_len = direct.before.len;
    behind_len = direct.behind.len;
    assert_true(before_len + behind_len <= sizeof(around));
    memcpy(around, direct.before.data, before_len);
    memcpy(around + before_len, direct.behind.data, behind_len);

    /* a part of it is held */

    gate.nlocation = nloc ? nloc : 1;
    cells = nsku * gate.nlocation;
    gate.cell = calloc(cells, sizeof(cell_t));
    most = draw(4);                     /* none, some, most, all */

    for (i = 0; i < nsku; i++) {
        for (l = 0; l < gate.nlocation; l++) {

            /* one that is asked twice is held where it stands first */

            if ((unsigned) ps_cell_index_find(&gate.index[0],
                                              &gate.id[0][i].id) != i
                || (nloc && (unsigned) ps_cell_index_find(&gate.index[1],
                                                          &gate.id[1][l].id)
                            != l))
            {
                continue;
            }

            cell = &gate.cell[i * gate.nlocation + l];

            if (most == 0 || (most < 3 && draw(most == 1 ? 4 : 2))) {
                continue;
            }

            cell->held = 1;
            p = element(merged, asked[i], nloc ? where[l] : 0, nloc != 0);

            if (p) {
                cell->len = (size_t) (p - merged);
                cell->text = malloc(cell->len);
                memcpy(cell->text, merged, cell->len);
            }
        }
    }

    /* the SKUs and the locations of those that are missing */

    for (k = 0; k < 2; k++) {
        some[k] = gate.axis[k];
        pick[k] = malloc((gate.axis[k].n + 1) * sizeof(ps_cell_id_t));
        some[k].id = pick[k];
        some[k].n = 0;
    }

    missing = 0;

    for (k = 0; k < 2; k++) {
        for (i = 0; i < (k ? nloc : nsku); i++) {

            if ((unsigned) ps_cell_index_find(&gate.index[k],
                                              &gate.id[k][i].id) != i)
            {
                continue;
            }

            need_sku = 0;

            for (l = 0; l < (k ? nsku : gate.nlocation); l++) {
                need_loc = k ? l * gate.nlocation + i
                             : i * gate.nlocation + l;

                if ((k ? (unsigned) ps_cell_index_find(&gate.index[0],
                                                       &gate.id[0][l].id)
                       : nloc ? (unsigned)
                                ps_cell_index_find(&gate.index[1],
                                                   &gate.id[1][l].id)
                              : l) != l)
                {
                    continue;
                }

                if (!gate.cell[need_loc].held) {
                    need_sku = 1;
                    missing += !k;
                }
            }

            if (need_sku) {
                pick[k][some[k].n++] = gate.id[k][i];
            }
        }
    }

    if (missing) {
        part = malloc(in_body ? ps_cell_body_size(some, 2, len)
                              : ps_cell_query_size(some, 2, len));

        erp.nsku = 0;
        erp.nlocation = 0;
        erp.shuffle = draw(2);

        if (in_body) {
            n = ps_cell_body_write(some, 2, &body, part);
            assert_true(n <= ps_cell_body_size(some, 2, len));
            erp_body(&erp, part, n);

        } else {
            n = ps_cell_query_write(some, 2, request, len, part);
            assert_true(n <= ps_cell_query_size(some, 2, len));
            erp_query(&erp, part, n);
        }

        /* no more than what is missing, each once */

        assert_int_equal(erp.nsku, some[0].n);
        assert_int_equal(erp.nlocation, some[1].n);

        n = erp_answer(&erp, whole);
        split_all(&gate, whole, n, take, &gate, &split);

        /* what is around the cells */

        assert_int_equal(split.before.len, before_len);
        assert_memory_equal(split.before.data, around, before_len);
        assert_int_equal(split.behind.len, behind_len);
        assert_memory_equal(split.behind.data, around + before_len,
                            behind_len);

        free(part);
    }

    /* put together, in the order that was asked */

    out = merged;
    k = 0;

    for (i = 0; i < nsku; i++) {
        for (l = 0; l < gate.nlocation; l++) {

            cell = &gate.cell[(unsigned)
                              ps_cell_index_find(&gate.index[0],
                                                 &gate.id[0][i].id)
                              * gate.nlocation
                              + (nloc ? (unsigned)
                                 ps_cell_index_find(&gate.index[1],
                                                    &gate.id[1][l].id) : 0)];

            if (cell->text == NULL) {
                continue;
            }

            if (k++) {
                *out++ = ',';
            }

            memcpy(out, cell->text, cell->len);
            out += cell->len;
        }
    }

    assert_int_equal(k, j.n);
    assert_int_equal(out - merged, j.p - answer);
    assert_memory_equal(merged, answer, out - merged);

    for (i = 0; i < cells; i++) {
        free(gate.cell[i].text);
    }

    free(gate.cell);
    free(pick[0]);
    free(pick[1]);
    free(decoded);
    free(request);

    return missing != 0;
}


static void
test_merge(void **state)
{
    unsigned  i, asked;

    assert_null(ps_json_path_parse(&list, "/data/items", 11, names[0]));
    assert_null(ps_json_path_parse(&ids[0], "/sku", 4, names[1]));
    assert_null(ps_json_path_parse(&ids[1], "/at/location", 12, names[2]));
    assert_null(ps_json_path_parse(&paths[0], "/ask/skus", 9, names[3]));
    assert_null(ps_json_path_parse(&paths[1], "/ask/locations", 14,
                                   names[4]));

    answer = malloc(ROOM);
    buf = malloc(ROOM);
    merged = malloc(ROOM);
    whole = malloc(ROOM);

    asked = 0;

    for (i = 0; i < 600; i++) {
        asked += (unsigned) run(i);
    }

    /* with nothing held, with parts, with all */

    assert_true(asked > 300 && asked < 560);

    free(answer);
    free(buf);
    free(merged);
    free(whole);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_merge),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
