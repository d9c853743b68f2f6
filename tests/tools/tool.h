/*
 * What the small tools of the tests share: files, keys, base64url, dying.
 * Static functions in a header, so that each tool is one gcc line.
 */

#ifndef PENSTOCK_TOOL_H
#define PENSTOCK_TOOL_H


#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>
#include <openssl/rand.h>


static const char  *tool_name;


__attribute__((noreturn, format(printf, 1, 2), unused))
static void
tool_die(const char *fmt, ...)
{
    va_list  args;

    fprintf(stderr, "%s: ", tool_name);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    exit(2);
}


__attribute__((unused))
static unsigned char *
tool_read(const char *path, size_t *len)
{
    FILE           *f;
    size_t          n, size;
    unsigned char  *buf, *p;

    f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (f == NULL) {
        tool_die("cannot open %s: %s", path, strerror(errno));
    }

    buf = NULL;
    *len = 0;
    size = 0;

    for ( ;; ) {
        if (size - *len < 2) {
            size = size ? size * 2 : 4096;
            p = realloc(buf, size);
            if (p == NULL) {
                tool_die("no memory");
            }
            buf = p;
        }

        n = fread(buf + *len, 1, size - *len - 1, f);
        if (n == 0) {
            break;
        }
        *len += n;
    }

    buf[*len] = '\0';

    if (f != stdin) {
        fclose(f);
    }

    return buf;
}


static int
tool_hex(int c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    c |= 0x20;

    return (c >= 'a' && c <= 'f') ? c - 'a' + 10 : -1;
}


/*
 * A key file: PEM as it is; otherwise a secret, hex if all of it is hex
 * digits in pairs, else its bytes.  One final newline doesn't belong to it.
 */

__attribute__((unused))
static unsigned char *
tool_read_key(const char *path, size_t *len, int *pem)
{
    size_t          i;
    unsigned char  *buf;

    buf = tool_read(path, len);

    *pem = *len > 10 && memcmp(buf, "-----BEGIN", 10) == 0;
    if (*pem) {
        return buf;
    }

    if (*len && buf[*len - 1] == '\n') {
        buf[--*len] = '\0';
    }

    if (*len == 0 || *len % 2) {
        return buf;
    }

    for (i = 0; i < *len; i++) {
        if (tool_hex(buf[i]) < 0) {
            return buf;
        }
    }

    for (i = 0; i < *len / 2; i++) {
        buf[i] = tool_hex(buf[2 * i]) << 4 | tool_hex(buf[2 * i + 1]);
    }

    *len /= 2;

    return buf;
}


/* malloc'ed, zero-terminated */

__attribute__((unused))
static char *
tool_b64url(const void *data, size_t len)
{
    char   *p, *s;
    size_t  n;

    s = malloc(len * 4 / 3 + 8);
    if (s == NULL) {
        tool_die("no memory");
    }

    n = EVP_EncodeBlock((unsigned char *) s, data, len);

    for (p = s; p < s + n; p++) {
        if (*p == '+') {
            *p = '-';
        } else if (*p == '/') {
            *p = '_';
        } else if (*p == '=') {
            break;
        }
    }

    *p = '\0';

    return s;
}


#endif /* PENSTOCK_TOOL_H */
