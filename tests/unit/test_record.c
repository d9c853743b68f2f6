
/*
 * A record comes from shared memory or from Redis, where anybody may have
 * written: what parses must be safe to walk, and nothing else may parse.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ps_record.h"


#define HEAD  44


typedef struct {
    char    *data;
    size_t   len;
} bytes_t;


static void
put(unsigned char *p, uint64_t n, unsigned len)
{
    while (len--) {
        *p++ = (unsigned char) n;
        n >>= 8;
    }
}


static bytes_t
make(void)
{
    char         *p;
    bytes_t       b;
    ps_tags_t     tags;
    ps_record_t   record;

    tags.n = 0;
    tags.overflow = 0;
    ps_tags_add(&tags, "A", 1);
    ps_tags_add(&tags, "BC", 2);

    memset(&record, 0, sizeof(record));

    record.status = 200;
    record.created = 1700000000123ULL;
    record.clock = 1700000000123456ULL;
    record.fresh = 5000;
    record.while_revalidate = 6000;
    record.if_error = 7000;
    record.ntags = 2;
    record.nheaders = 2;
    record.body_len = 5;

    b.len = ps_record_size(2, 3, 2, 4 + 6 + 1, 5);
    b.data = malloc(b.len);
    assert_non_null(b.data);

    p = ps_record_put_head(b.data, &record);
    p = ps_record_put_tag(p, &tags.tag[0]);
    p = ps_record_put_tag(p, &tags.tag[1]);
    p = ps_record_put_header(p, "ETag", 4, "\"x y\"\t", 6);
    p = ps_record_put_header(p, "X", 1, "", 0);
    p = ps_record_put_body(p, "a\0\n\rb", 5);

    assert_ptr_equal(p, b.data + b.len);

    return b;
}


/* a copy of exactly that size, so that a read behind it is seen */

static int
parses(const char *data, size_t len)
{
    int           rc;
    char         *copy;
    size_t        nlen, vlen, i, sum;
    ps_tag_t      tag;
    const char   *p, *name, *value;
    ps_record_t   record;

    copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, data, len);

    rc = ps_record_parse(&record, copy, len);
    sum = 0;

    if (rc == 0) {
        p = record.tags;

        for (i = 0; i < record.ntags; i++) {
            ps_record_tag(&p, &tag);
            sum += ps_tag_hash(tag.name, tag.len) & 1;
        }

        assert_ptr_equal(p, record.headers);

        for (i = 0; i < record.nheaders; i++) {
            ps_record_header(&p, &name, &nlen, &value, &vlen);
            sum += ps_tag_hash(name, nlen) & 1;
            sum += ps_tag_hash(value, vlen) & 1;
        }

        assert_ptr_equal(p, record.body);
        sum += ps_tag_hash(record.body, record.body_len) & 1;
    }

    free(copy);

    return rc == 0 && sum + 1;
}


static void
test_round_trip(void **state)
{
    size_t        nlen, vlen;
    bytes_t       b;
    ps_tag_t      tag;
    const char   *p, *name, *value;
    ps_record_t   record;

    b = make();

    assert_int_equal(ps_record_parse(&record, b.data, b.len), 0);

    assert_int_equal(record.status, 200);
    assert_true(record.created == 1700000000123ULL);
    assert_true(record.clock == 1700000000123456ULL);
    assert_int_equal(record.fresh, 5000);
    assert_int_equal(record.while_revalidate, 6000);
    assert_int_equal(record.if_error, 7000);
    assert_int_equal(record.ntags, 2);
    assert_int_equal(record.nheaders, 2);
    assert_int_equal(record.body_len, 5);
    assert_memory_equal(record.body, "a\0\n\rb", 5);

    p = record.tags;
    ps_record_tag(&p, &tag);
    assert_int_equal(tag.len, 1);
    assert_memory_equal(tag.name, "A", 1);
    assert_true(tag.hash == ps_tag_hash("A", 1));
    ps_record_tag(&p, &tag);
    assert_int_equal(tag.len, 2);
    assert_memory_equal(tag.name, "BC", 2);
    assert_ptr_equal(p, record.headers);

    ps_record_header(&p, &name, &nlen, &value, &vlen);
    assert_int_equal(nlen, 4);
    assert_memory_equal(name, "ETag", 4);
    assert_int_equal(vlen, 6);
    assert_memory_equal(value, "\"x y\"\t", 6);
    ps_record_header(&p, &name, &nlen, &value, &vlen);
    assert_int_equal(nlen, 1);
    assert_int_equal(vlen, 0);
    assert_ptr_equal(p, record.body);

    free(b.data);
}


/* the same as parsed, by what was found then */

static void
test_open(void **state)
{
    bytes_t       b;
    ps_record_t   parsed, opened;

    b = make();

    memset(&parsed, 0, sizeof(parsed));
    memset(&opened, 0, sizeof(opened));

    assert_int_equal(ps_record_parse(&parsed, b.data, b.len), 0);

    ps_record_open(&opened, b.data, (size_t) (parsed.headers - b.data),
                   (size_t) (parsed.body - b.data));

    assert_memory_equal(&parsed, &opened, sizeof(parsed));

    free(b.data);
}


static void
test_empty(void **state)
{
    char          data[HEAD];
    ps_record_t   record;

    memset(&record, 0, sizeof(record));
    record.status = 204;

    assert_int_equal(ps_record_size(0, 0, 0, 0, 0), HEAD);
    ps_record_put_head(data, &record);

    assert_true(parses(data, HEAD));
}


static void
test_cut_or_longer(void **state)
{
    size_t   i;
    bytes_t  b;
    char    *longer;

    b = make();

    for (i = 0; i < b.len; i++) {
        assert_false(parses(b.data, i));
    }

    assert_true(parses(b.data, b.len));

    longer = calloc(1, b.len + 64);
    assert_non_null(longer);
    memcpy(longer, b.data, b.len);

    for (i = 1; i <= 64; i++) {
        assert_false(parses(longer, b.len + i));
    }

    free(longer);
    free(b.data);
}


static void
test_head(void **state)
{
    bytes_t         b;
    unsigned char  *p;

    b = make();
    p = (unsigned char *) b.data;

    p[0] ^= 1;                                   /* magic */
    assert_false(parses(b.data, b.len));
    p[0] ^= 1;

    p[3] = '1';                                  /* its version */
    assert_false(parses(b.data, b.len));
    p[3] = '2';

    put(p + 4, 0, 2);                            /* status */
    assert_false(parses(b.data, b.len));
    put(p + 4, 199, 2);
    assert_false(parses(b.data, b.len));
    put(p + 4, 600, 2);
    assert_false(parses(b.data, b.len));
    put(p + 4, 65535, 2);
    assert_false(parses(b.data, b.len));
    put(p + 4, 200, 2);

    put(p + 10, PS_RECORD_VARY, 2);              /* flags */
    assert_true(parses(b.data, b.len));
    put(p + 10, PS_RECORD_FLAGS + 1, 2);         /* of nobody's */
    assert_false(parses(b.data, b.len));
    put(p + 10, 0x8000, 2);
    assert_false(parses(b.data, b.len));
    put(p + 10, 0, 2);

    free(b.data);
}


/* counts and lengths that lie */

static void
test_lengths(void **state)
{
    size_t          i;
    bytes_t         b;
    unsigned char  *p;

    static const struct {
        size_t      at;
        unsigned    size;
        uint64_t    right;
        uint64_t    wrong[6];
    } field[] = {
        { 6, 2, 2, { 0, 1, 3, PS_TAGS_MAX, PS_TAGS_MAX + 1, 65535 } },
        { 8, 2, 2, { 0, 1, 3, 4, 32768, 65535 } },
        { 40, 4, 5, { 0, 4, 6, 0x7fffffff, 0x80000000, 0xffffffff } },
        { HEAD + 8, 2, 1, { 0, 2, 128, 129, 32768, 65535 } },
        { HEAD + 11 + 12, 2, 4, { 0, 3, 5, 32768, 65534, 65535 } },
        { HEAD + 11 + 12 + 2, 4, 6,
          { 5, 7, 0x7fffffff, 0x80000000, 0xfffffffb, 0xffffffff } },
    };

    b = make();
    p = (unsigned char *) b.data;

    for (i = 0; i < sizeof(field) / sizeof(field[0]) * 6; i++) {
        put(p + field[i / 6].at, field[i / 6].wrong[i % 6], field[i / 6].size);
        assert_false(parses(b.data, b.len));
        put(p + field[i / 6].at, field[i / 6].right, field[i / 6].size);
        assert_true(parses(b.data, b.len));
    }

    free(b.data);
}


/* a header that would end its line, and begin one of its own */

static void
test_header_injection(void **state)
{
    size_t   i, at;
    bytes_t  b;
    char     c;

    static const char  bad[] = { '\r', '\n', '\0' };

    b = make();

    for (at = HEAD + 11 + 12 + 6; at < HEAD + 11 + 12 + 16; at++) {
        for (i = 0; i < sizeof(bad); i++) {
            c = b.data[at];
            b.data[at] = bad[i];
            assert_false(parses(b.data, b.len));
            b.data[at] = c;
        }
    }

    assert_true(parses(b.data, b.len));
    free(b.data);
}


/* each byte with each of some values: it parses, safely, or it doesn't */

static void
test_mutations(void **state)
{
    char      c;
    size_t    i, j;
    bytes_t   b;

    static const unsigned char  values[] = {
        0x00, 0x01, 0x0a, 0x2c, 0x7f, 0x80, 0xfe, 0xff
    };

    b = make();

    for (i = 0; i < b.len; i++) {
        for (j = 0; j < sizeof(values); j++) {
            c = b.data[i];
            b.data[i] = (char) values[j];
            (void) parses(b.data, b.len);
            b.data[i] = c;
        }
    }

    free(b.data);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_cut_or_longer),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_header_injection),
        cmocka_unit_test(test_mutations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
