/*
 * pound: keeps a server busy over a few connections and says how it went.
 *
 *   pound PORT CONNECTIONS LIMIT TARGETS TOKENS
 *
 * LIMIT is a number of requests ("5000"), or of seconds ("2s").  TARGETS and
 * TOKENS are files with a line each; request N has target and token number N,
 * from the start again after the last ("-" instead of TOKENS: no token).  A
 * target "POST URI BODY" is a write, and gets an Idempotency-Key of its own.
 * Prints {"requests":N,"ok":N,"hits":N,"seconds":S,"p50":US,"p99":US}; ok
 * counts 200 answers, hits those whose Cache-Status says so.  It never sleeps:
 * to wake a client costs the server more than to answer it, and only those
 * servers that are slower than their client would pay.
 *
 * gcc -O2 -o build/tools/pound tests/bench/pound.c
 */

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>


#define POUND_SAMPLES  (1 << 20)


typedef struct {
    char    **lines;
    size_t    n;
} pound_list_t;


typedef struct {
    int       fd;
    int       busy;
    size_t    len;
    uint64_t  start;
    char      in[65536];
} pound_conn_t;


static pound_list_t  targets, tokens;
static size_t        sent, done, ok, hits, most;
static uint64_t      until;
static uint32_t     *samples;
static int           epfd, port;


static void
die(const char *what)
{
    fprintf(stderr, "pound: %s: %s\n", what, strerror(errno));
    exit(2);
}


static uint64_t
now_us(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}


static void
read_lines(const char *path, pound_list_t *list)
{
    FILE     *f;
    char     *line;
    size_t    size, room;
    ssize_t   n;

    f = fopen(path, "r");
    if (f == NULL) {
        die(path);
    }

    for (line = NULL, size = room = 0; (n = getline(&line, &size, f)) > 0; ) {
        if (line[n - 1] == '\n') {
            line[n - 1] = '\0';
        }
        if (list->n == room) {
            room = room ? room * 2 : 1024;
            list->lines = realloc(list->lines, room * sizeof(char *));
        }
        list->lines[list->n++] = strdup(line);
    }

    free(line);
    fclose(f);

    if (list->n == 0) {
        errno = 0;
        die(path);
    }
}


static void
conn_open(pound_conn_t *c)
{
    int                 one = 1;
    struct epoll_event  ev;
    struct sockaddr_in  sin;

    c->fd = socket(AF_INET, SOCK_STREAM, 0);

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons(port);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    if (c->fd == -1
        || connect(c->fd, (struct sockaddr *) &sin, sizeof(sin)) == -1)
    {
        die("connect");
    }

    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    fcntl(c->fd, F_SETFL, O_NONBLOCK);

    ev.events = EPOLLIN;
    ev.data.ptr = c;
    if (epoll_ctl(epfd, EPOLL_CTL_ADD, c->fd, &ev) == -1) {
        die("epoll_ctl");
    }
}


static void
conn_send(pound_conn_t *c)
{
    int          n;
    char        *target, *body;
    static char  out[65536];

    if (most ? sent == most : now_us() >= until) {
        c->busy = 0;
        return;
    }

    target = targets.lines[sent % targets.n];
    body = NULL;

    if (strncmp(target, "POST ", 5) == 0) {
        target += 5;
        body = strchr(target, ' ');
    }

    n = snprintf(out, sizeof(out), "%s %.*s HTTP/1.1\r\n"
                 "Host: shop.example\r\n", body ? "POST" : "GET",
                 body ? (int) (body - target) : (int) strlen(target), target);

    if (tokens.n) {
        n += snprintf(out + n, sizeof(out) - n,
                      "Authorization: Bearer %s\r\n",
                      tokens.lines[sent % tokens.n]);
    }

    if (body) {
        n += snprintf(out + n, sizeof(out) - n,
                      "Content-Type: application/json\r\n"
                      "Content-Length: %zu\r\n"
                      "Idempotency-Key: \"%d-%zu\"\r\n\r\n%s",
                      strlen(body + 1), (int) getpid(), sent, body + 1);

    } else {
        n += snprintf(out + n, sizeof(out) - n, "\r\n");
    }

    c->busy = 1;
    c->len = 0;
    c->start = now_us();
    sent++;

    if (send(c->fd, out, n, MSG_NOSIGNAL) != n) {
        die("send");
    }
}


/* 1: there is a whole answer */

static int
whole(pound_conn_t *c)
{
    char    *end, *length;

    c->in[c->len] = '\0';

    end = strstr(c->in, "\r\n\r\n");
    if (end == NULL) {
        return 0;
    }

    length = strcasestr(c->in, "\r\ncontent-length:");
    if (length == NULL || length > end) {
        fprintf(stderr, "pound: an answer without a length:\n%.500s\n",
                c->in);
        exit(2);
    }

    return c->len >= (size_t) (end + 4 - c->in)
                     + strtoul(length + 17, NULL, 10);
}


static void
conn_read(pound_conn_t *c)
{
    char     *status;
    ssize_t   n;

    n = recv(c->fd, c->in + c->len, sizeof(c->in) - c->len - 1, 0);

    if (n == -1 && errno == EAGAIN) {
        return;
    }

    if (n <= 0) {
        if (c->busy) {
            die("closed in an answer");
        }
        close(c->fd);
        conn_open(c);
        return;
    }

    c->len += n;

    if (!whole(c)) {
        return;
    }

    samples[done++ % POUND_SAMPLES] = now_us() - c->start;
    ok += strncmp(c->in + 9, "200", 3) == 0;

    status = strcasestr(c->in, "\r\ncache-status:");
    hits += status && memmem(status, strcspn(status + 2, "\r") + 2,
                             "; hit", 5) != NULL;

    if (strcasestr(c->in, "\r\nconnection: close")) {
        close(c->fd);
        conn_open(c);
    }

    conn_send(c);
}


static int
compare(const void *a, const void *b)
{
    uint32_t  x = *(const uint32_t *) a, y = *(const uint32_t *) b;

    return (x > y) - (x < y);
}


int
main(int argc, char **argv)
{
    int                  i, n, conns, busy;
    size_t               count;
    uint64_t             start, heard, end;
    pound_conn_t        *c;
    struct epoll_event   events[256];

    if (argc != 6) {
        fprintf(stderr,
                "usage: pound PORT CONNECTIONS LIMIT TARGETS TOKENS\n");
        return 2;
    }

    port = atoi(argv[1]);
    conns = atoi(argv[2]);
    read_lines(argv[4], &targets);
    if (strcmp(argv[5], "-") != 0) {
        read_lines(argv[5], &tokens);
    }

    epfd = epoll_create1(0);
    c = calloc(conns, sizeof(pound_conn_t));
    samples = malloc(POUND_SAMPLES * sizeof(uint32_t));
    if (epfd == -1 || c == NULL || samples == NULL) {
        die("start");
    }

    for (i = 0; i < conns; i++) {
        conn_open(&c[i]);
    }

    start = now_us();
    heard = start;

    if (argv[3][0] && argv[3][strlen(argv[3]) - 1] == 's') {
        until = start + atof(argv[3]) * 1e6;

    } else {
        most = strtoul(argv[3], NULL, 10);
    }

    for (i = 0; i < conns; i++) {
        conn_send(&c[i]);
    }

    for ( ;; ) {
        for (busy = 0, i = 0; i < conns; i++) {
            busy += c[i].busy;
        }
        if (busy == 0) {
            break;
        }

        n = epoll_wait(epfd, events, 256, 0);

        if (n == 0) {
            if (now_us() - heard > 10000000) {
                die("no answer for 10 s");
            }

            sched_yield();
            continue;
        }

        if (n < 0) {
            die("epoll_wait");
        }

        heard = now_us();

        for (i = 0; i < n; i++) {
            conn_read(events[i].data.ptr);
        }
    }

    end = now_us();
    count = done < POUND_SAMPLES ? done : POUND_SAMPLES;
    qsort(samples, count, sizeof(uint32_t), compare);

    printf("{\"requests\":%zu,\"ok\":%zu,\"hits\":%zu,\"seconds\":%.6f,"
           "\"p50\":%u,\"p99\":%u}\n", done, ok, hits, (end - start) / 1e6,
           count ? samples[count / 2] : 0,
           count ? samples[count * 99 / 100] : 0);

    return 0;
}
