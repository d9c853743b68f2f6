/*
 * load: plays a plan of HTTP requests against gateways and writes down what
 * came back, fast enough that one core does not become the measure.
 *
 *   load PORT[,PORT...] PLAN RESULTS BODIES
 *
 * The plan, one item a line:
 *
 *   token N VALUE        the bearer token that steps call N; "-" is none
 *   queue NAME LANES PAUSE
 *                        jobs that follow belong to it; LANES connections
 *                        take them in order, PAUSE us between two jobs; they
 *                        go to the gateways in turn, each to one for good
 *   job GATE             starts when the first queue has done GATE jobs; one
 *                        of the first queue itself, when the second has
 *   get N TARGET         steps of the job, one after the other
 *   post N TARGET BODY
 *
 * RESULTS, a line for each answer:
 *
 *   QUEUE JOB STEP SENT RECEIVED STATUS CACHE BODY GATEWAY
 *
 * with times in us since the epoch; STATUS 0 for none (closed, or 30 s
 * passed); CACHE as Cache-Status says: "hit", "hit-stale", "uri-miss" ... "-";
 * BODY is the number of the body in BODIES, which holds each different
 * 200 answer to a GET once, as "number length\n" and the bytes; -1 else.
 * GATEWAY counts from 0 in the order of the ports.
 *
 * Progress goes to standard output twice a second, as NAME=VALUE pairs.
 *
 * gcc -O2 -o build/tools/load tests/demo/load.c
 */

#define _GNU_SOURCE

#include <inttypes.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>


#define LOAD_QUEUES    16
#define LOAD_GATEWAYS  16
#define LOAD_TIMEOUT   30000000     /* us */
#define LOAD_TICK      500000       /* us */


typedef struct {
    const char      *token;
    const char      *target;
    const char      *body;           /* NULL: a GET */
} load_step_t;


typedef struct {
    size_t           gate;
    load_step_t     *steps;          /* index until the plan is read */
    size_t           first, n;
} load_job_t;


typedef struct {
    const char      *name;
    size_t           lanes, first, n, next, done;    /* jobs */
    uint64_t         pause;
} load_queue_t;


typedef struct {
    load_queue_t    *queue;
    load_job_t      *job;
    size_t           step;

    int              gateway;
    int              fd;
    unsigned         waiting:1;      /* a request is on its way */
    unsigned         blocked:1;      /* EPOLLOUT is armed */
    unsigned         fresh:1;        /* nothing was answered on it yet */

    char            *out;
    size_t           out_len, out_sent, out_size;

    char            *in;
    size_t           in_len, in_size;

    uint64_t         sent, not_before;
} load_lane_t;


typedef struct {
    int              status;
    size_t           length;         /* of header and body */
    char            *body;
    size_t           body_len;
    int              close;
    char             cache[32];
} load_answer_t;


static load_job_t    *jobs;
static load_step_t   *steps;
static load_queue_t   queues[LOAD_QUEUES];
static size_t         njobs, nsteps, nqueues;

static struct { uint64_t hash; long id; }  *table;
static size_t         table_size = 1 << 20, nbodies;

static size_t         reads, hits, posted, accepted, unauthorized, limited,
                      failed;

static FILE          *results, *bodies;
static int            epfd, ports[LOAD_GATEWAYS], nports;


static void
die(const char *fmt, ...)
{
    va_list  args;

    fputs("load: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);

    exit(2);
}


static uint64_t
now_us(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_REALTIME, &ts);

    return (uint64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}


static void *
grow(void *p, size_t size)
{
    p = realloc(p, size);
    if (p == NULL) {
        die("no memory");
    }

    return p;
}


static char *
word(char **p)
{
    char  *start;

    start = *p;
    *p = strchr(start, ' ');

    if (*p == NULL) {
        *p = start + strlen(start);

    } else {
        *(*p)++ = '\0';
    }

    return start;
}


static void
read_plan(const char *path)
{
    char         *line, *p, *kind;
    FILE         *f;
    size_t        size, i, n, jobs_size, steps_size, ntokens;
    ssize_t       len;
    const char  **tokens;

    f = fopen(path, "r");
    if (f == NULL) {
        die("%s: %s", path, strerror(errno));
    }

    line = NULL;
    tokens = NULL;
    size = jobs_size = steps_size = ntokens = 0;

    while ((len = getline(&line, &size, f)) != -1) {

        if (len && line[len - 1] == '\n') {
            line[len - 1] = '\0';
        }

        /* the strings live until the end, so each line stays allocated */

        p = strdup(line);
        kind = word(&p);

        if (strcmp(kind, "token") == 0) {
            n = strtoul(word(&p), NULL, 10);
            if (n >= ntokens) {
                tokens = grow(tokens, (n + 1) * sizeof(char *));
                for (i = ntokens; i <= n; i++) {
                    tokens[i] = NULL;
                }
                ntokens = n + 1;
            }
            tokens[n] = strcmp(p, "-") == 0 ? NULL : p;
            continue;
        }

        if (strcmp(kind, "queue") == 0) {
            if (nqueues == LOAD_QUEUES) {
                die("too many queues");
            }
            queues[nqueues].name = word(&p);
            queues[nqueues].lanes = strtoul(word(&p), NULL, 10);
            queues[nqueues].pause = strtoul(word(&p), NULL, 10);
            queues[nqueues].first = njobs;
            nqueues++;
            continue;
        }

        if (strcmp(kind, "job") == 0 && nqueues) {
            if (njobs == jobs_size) {
                jobs_size = jobs_size ? jobs_size * 2 : 4096;
                jobs = grow(jobs, jobs_size * sizeof(load_job_t));
            }
            jobs[njobs].gate = strtoul(p, NULL, 10);
            jobs[njobs].first = nsteps;
            jobs[njobs].n = 0;
            njobs++;
            queues[nqueues - 1].n++;
            continue;
        }

        if (njobs
            && (strcmp(kind, "get") == 0 || strcmp(kind, "post") == 0))
        {
            if (nsteps == steps_size) {
                steps_size = steps_size ? steps_size * 2 : 4096;
                steps = grow(steps, steps_size * sizeof(load_step_t));
            }
            n = strtoul(word(&p), NULL, 10);
            if (n >= ntokens) {
                die("%s: no token %zu", path, n);
            }
            steps[nsteps].token = tokens[n];
            steps[nsteps].target = word(&p);
            steps[nsteps].body = kind[0] == 'p' ? p : NULL;
            nsteps++;
            jobs[njobs - 1].n++;
            continue;
        }

        die("%s: what is \"%s\"?", path, kind);
    }

    for (i = 0; i < njobs; i++) {
        jobs[i].steps = steps + jobs[i].first;
    }

    free(line);
    fclose(f);
}


static void
lane_close(load_lane_t *lane)
{
    if (lane->fd != -1) {
        close(lane->fd);
        lane->fd = -1;
    }

    lane->in_len = 0;
    lane->blocked = 0;
}


static int
lane_connect(load_lane_t *lane)
{
    int                 one = 1;
    struct epoll_event  ev;
    struct sockaddr_in  sin;

    lane->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (lane->fd == -1) {
        die("socket: %s", strerror(errno));
    }

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons(ports[lane->gateway]);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    /* on loopback a connection is there at once or not at all */

    if (connect(lane->fd, (struct sockaddr *) &sin, sizeof(sin)) == -1) {
        lane_close(lane);
        return -1;
    }

    setsockopt(lane->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    fcntl(lane->fd, F_SETFL, O_NONBLOCK);

    ev.events = EPOLLIN;
    ev.data.ptr = lane;
    if (epoll_ctl(epfd, EPOLL_CTL_ADD, lane->fd, &ev) == -1) {
        die("epoll_ctl: %s", strerror(errno));
    }

    lane->fresh = 1;

    return 0;
}


static void
lane_arm(load_lane_t *lane, int blocked)
{
    struct epoll_event  ev;

    if (lane->blocked == (unsigned) blocked) {
        return;
    }

    ev.events = blocked ? EPOLLIN|EPOLLOUT : EPOLLIN;
    ev.data.ptr = lane;
    epoll_ctl(epfd, EPOLL_CTL_MOD, lane->fd, &ev);
    lane->blocked = blocked;
}


static int
lane_write(load_lane_t *lane)
{
    ssize_t  n;

    while (lane->out_sent < lane->out_len) {
        n = send(lane->fd, lane->out + lane->out_sent,
                 lane->out_len - lane->out_sent, MSG_NOSIGNAL);
        if (n == -1) {
            if (errno == EAGAIN) {
                lane_arm(lane, 1);
                return 0;
            }
            return -1;
        }
        lane->out_sent += n;
    }

    lane_arm(lane, 0);

    return 0;
}


/* FNV-1a, never 0 */

static uint64_t
hash_of(const char *p, size_t len)
{
    size_t    i;
    uint64_t  hash;

    hash = 14695981039346656037u;
    for (i = 0; i < len; i++) {
        hash = (hash ^ (unsigned char) p[i]) * 1099511628211u;
    }

    return hash + (hash == 0);
}


static void
lane_build(load_lane_t *lane)
{
    int           n;
    size_t        need;
    load_step_t  *step;

    step = &lane->job->steps[lane->step];
    need = strlen(step->target) + 512
           + (step->token ? strlen(step->token) : 0)
           + (step->body ? strlen(step->body) : 0);

    if (need > lane->out_size) {
        lane->out = grow(lane->out, need);
        lane->out_size = need;
    }

    n = sprintf(lane->out, "%s %s HTTP/1.1\r\nHost: shop.example\r\n",
                step->body ? "POST" : "GET", step->target);

    if (step->token) {
        n += sprintf(lane->out + n, "Authorization: Bearer %s\r\n",
                     step->token);
    }

    if (step->body) {
        n += sprintf(lane->out + n, "Content-Type: application/json\r\n"
                     "Content-Length: %zu\r\n"
                     "Idempotency-Key: \"%016" PRIx64 "\"\r\n",
                     strlen(step->body), hash_of(step->body,
                                                 strlen(step->body)));
    }

    n += sprintf(lane->out + n, "\r\n%s", step->body ? step->body : "");

    lane->out_len = n;
    lane->out_sent = 0;
}


static long
body_id(const char *p, size_t len)
{
    size_t    i;
    uint64_t  hash;

    hash = hash_of(p, len);

    for (i = hash % table_size; table[i].hash; i = (i + 1) % table_size) {
        if (table[i].hash == hash) {
            return table[i].id;
        }
    }

    if (nbodies > table_size / 2) {
        die("too many different bodies");
    }

    table[i].hash = hash;
    table[i].id = nbodies++;

    fprintf(bodies, "%ld %zu\n", table[i].id, len);
    fwrite(p, 1, len, bodies);

    return table[i].id;
}


static void
lane_finish(load_lane_t *lane, load_answer_t *a)
{
    long          id;
    load_step_t  *step;

    step = &lane->job->steps[lane->step];

    id = step->body == NULL && a->status == 200
         ? body_id(a->body, a->body_len) : -1;

    fprintf(results, "%s %zu %zu %llu %llu %d %s %ld %d\n",
            lane->queue->name,
            (size_t) (lane->job - jobs) - lane->queue->first, lane->step,
            (unsigned long long) lane->sent, (unsigned long long) now_us(),
            a->status, a->cache[0] ? a->cache : "-", id, lane->gateway);

    if (step->body) {
        posted++;
        accepted += a->status == 201;

    } else if (a->status == 200) {
        reads++;
        hits += strncmp(a->cache, "hit", 3) == 0;
    }

    unauthorized += a->status == 401;
    limited += a->status == 429;
    failed += a->status == 0 || a->status >= 500;

    lane->waiting = 0;

    if (++lane->step == lane->job->n) {
        lane->queue->done++;
        lane->job = NULL;
        lane->not_before = now_us() + lane->queue->pause;
    }
}


static void
lane_fail(load_lane_t *lane)
{
    load_answer_t  a;

    lane_close(lane);

    if (lane->waiting) {
        memset(&a, 0, sizeof(a));
        lane_finish(lane, &a);
    }
}


static void
lane_send(load_lane_t *lane)
{
    lane_build(lane);
    lane->sent = now_us();
    lane->waiting = 1;

    if ((lane->fd == -1 && lane_connect(lane) == -1)
        || lane_write(lane) == -1)
    {
        lane_fail(lane);
    }
}


/* The value of a header line in the NUL-terminated head, or NULL. */

static char *
header(char *head, const char *name)
{
    char    *p;
    size_t   len;

    len = strlen(name);

    for (p = strstr(head, "\r\n"); p; p = strstr(p, "\r\n")) {
        p += 2;
        if (strncasecmp(p, name, len) == 0 && p[len] == ':') {
            for (p += len + 1; *p == ' '; p++) { /* void */ }
            return p;
        }
    }

    return NULL;
}


static void
cache_status(char *value, load_answer_t *a)
{
    char    *end, *fwd;
    size_t   len;

    end = strstr(value, "\r\n");
    if (end) {
        *end = '\0';
    }

    fwd = strstr(value, "fwd=");

    if (fwd) {
        fwd += 4;
        len = strspn(fwd, "abcdefghijklmnopqrstuvwxyz-");
        snprintf(a->cache, sizeof(a->cache), "%.*s%s", (int) len, fwd,
                 strstr(value, "collapsed") ? "+collapsed" : "");

    } else if (strstr(value, "hit")) {
        strcpy(a->cache, strstr(value, "ttl=-") ? "hit-stale" : "hit");
    }

    if (end) {
        *end = '\r';
    }
}


/* Decodes a chunked body in place; 1: whole, 0: more to come, -1: broken. */

static int
dechunk(char *p, char *end, load_answer_t *a, char **rest)
{
    char    *q, *out;
    size_t   n, left;

    /* first whether it is all there: decoding destroys the framing */

    for (q = p; ; ) {
        char  *eol;

        eol = memmem(q, end - q, "\r\n", 2);
        if (eol == NULL) {
            return 0;
        }
        n = strtoul(q, NULL, 16);
        left = end - eol - 2;
        if (n > (1u << 30)) {
            return -1;
        }
        if (left < n + 2) {
            return 0;
        }
        q = eol + 2 + n + 2;
        if (n == 0) {
            break;
        }
    }

    *rest = q;

    for (q = out = p; ; ) {
        n = strtoul(q, NULL, 16);
        if (n == 0) {
            break;
        }
        q = (char *) memmem(q, end - q, "\r\n", 2) + 2;
        memmove(out, q, n);
        out += n;
        q += n + 2;
    }

    a->body = p;
    a->body_len = out - p;

    return 1;
}


/* 1: an answer, 0: more to come, -1: not HTTP */

static int
parse(load_lane_t *lane, int eof, load_answer_t *a)
{
    int     rc;
    char   *head_end, *p, *rest;
    size_t  head, length;

    if (lane->in_len == 0) {
        return 0;
    }

    lane->in[lane->in_len] = '\0';

    head_end = strstr(lane->in, "\r\n\r\n");
    if (head_end == NULL) {
        return 0;
    }

    memset(a, 0, sizeof(*a));
    head_end[2] = '\0';
    head = head_end + 4 - lane->in;

    a->status = lane->in_len > 12 ? atoi(lane->in + 9) : 0;
    if (a->status < 200) {
        return -1;
    }

    p = header(lane->in, "Cache-Status");
    if (p) {
        cache_status(p, a);
    }

    p = header(lane->in, "Connection");
    a->close = p && strncasecmp(p, "close", 5) == 0;

    p = header(lane->in, "Transfer-Encoding");
    if (p && strncasecmp(p, "chunked", 7) == 0) {
        rc = dechunk(lane->in + head, lane->in + lane->in_len, a, &rest);
        a->length = rc == 1 ? (size_t) (rest - lane->in) : 0;
        head_end[2] = '\r';
        return rc;
    }

    p = header(lane->in, "Content-Length");
    head_end[2] = '\r';

    a->body = lane->in + head;

    if (p == NULL) {
        a->body_len = lane->in_len - head;
        a->length = lane->in_len;
        a->close = 1;
        return eof;
    }

    length = strtoul(p, NULL, 10);
    a->body_len = length;
    a->length = head + length;

    return lane->in_len >= a->length;
}


static void
lane_read(load_lane_t *lane)
{
    int            eof, rc;
    ssize_t        n;
    load_answer_t  a;

    for (eof = 0; ; ) {

        if (lane->in_size - lane->in_len < 16384) {
            lane->in_size = lane->in_size ? lane->in_size * 2 : 65536;
            lane->in = grow(lane->in, lane->in_size);
        }

        n = recv(lane->fd, lane->in + lane->in_len,
                 lane->in_size - lane->in_len - 1, 0);
        if (n > 0) {
            lane->in_len += n;
            if ((size_t) n < lane->in_size - lane->in_len - 1) {
                break;
            }
            continue;
        }
        if (n == -1 && errno == EAGAIN) {
            break;
        }
        eof = 1;
        break;
    }

    if (!lane->waiting) {
        lane_close(lane);
        return;
    }

    rc = parse(lane, eof, &a);

    if (rc == 1) {
        lane_finish(lane, &a);
        lane->fresh = 0;

        if (a.close || eof || lane->in_len > a.length) {
            lane_close(lane);
        }
        lane->in_len = 0;
        return;
    }

    if (rc == 0 && !eof) {
        return;
    }

    /*
     * An idle connection may be closed just as a request is sent on it; a
     * GET that got not a byte of an answer is sent again on a new one.
     */

    if (eof && lane->in_len == 0 && !lane->fresh
        && lane->job->steps[lane->step].body == NULL)
    {
        lane_close(lane);
        if (lane_connect(lane) == 0) {
            lane->out_sent = 0;
            if (lane_write(lane) == 0) {
                return;
            }
        }
    }

    lane_fail(lane);
}


/* The next request of a lane that waits for none; 0: it has nothing to do. */

static int
lane_next(load_lane_t *lane, uint64_t now)
{
    load_job_t    *job;
    load_queue_t  *q, *gate;

    q = lane->queue;

    if (lane->job == NULL) {
        if (q->next == q->n) {
            return 0;
        }

        job = &jobs[q->first + q->next];

        gate = &queues[q == &queues[0]];

        if (now < lane->not_before || gate->done < job->gate) {
            return 1;
        }

        q->next++;
        lane->job = job;
        lane->step = 0;

        if (job->n == 0) {
            q->done++;
            lane->job = NULL;
            return 1;
        }
    }

    lane_send(lane);

    return 1;
}


static void
progress(void)
{
    printf("reads=%zu hits=%zu posted=%zu accepted=%zu unauthorized=%zu "
           "limited=%zu failed=%zu browsed=%zu\n", reads, hits, posted,
           accepted, unauthorized, limited, failed, queues[0].done);
    fflush(stdout);
}


int
main(int argc, char **argv)
{
    int                  n;
    char                *p;
    size_t               i, k, nlanes, busy;
    uint64_t             now, tick;
    load_lane_t         *lanes, *lane;
    struct epoll_event   events[256];

    if (argc != 5) {
        die("usage: load PORT[,PORT...] PLAN RESULTS BODIES");
    }

    for (p = strtok(argv[1], ","); p; p = strtok(NULL, ",")) {
        if (nports == LOAD_GATEWAYS) {
            die("more than %d ports", LOAD_GATEWAYS);
        }
        ports[nports++] = atoi(p);
    }

    read_plan(argv[2]);

    results = fopen(argv[3], "w");
    bodies = fopen(argv[4], "w");
    table = calloc(table_size, sizeof(*table));
    epfd = epoll_create1(0);

    if (results == NULL || bodies == NULL || table == NULL || epfd == -1) {
        die("%s", strerror(errno));
    }

    for (nlanes = 0, i = 0; i < nqueues; i++) {
        nlanes += queues[i].lanes;
    }

    lanes = calloc(nlanes, sizeof(load_lane_t));

    for (k = 0, i = 0; i < nqueues; i++) {
        for (n = 0; (size_t) n < queues[i].lanes; n++) {
            lanes[k].queue = &queues[i];
            lanes[k].gateway = n % nports;
            lanes[k++].fd = -1;
        }
    }

    tick = 0;

    for ( ;; ) {
        now = now_us();
        busy = 0;

        for (i = 0; i < nlanes; i++) {
            lane = &lanes[i];

            if (lane->waiting) {
                busy++;
                if (now > lane->sent + LOAD_TIMEOUT) {
                    lane_fail(lane);
                }

            } else {
                busy += lane_next(lane, now);
            }
        }

        if (now >= tick + LOAD_TICK || busy == 0) {
            progress();
            tick = now;
        }

        if (busy == 0) {
            break;
        }

        n = epoll_wait(epfd, events, 256, 2);

        for (i = 0; n > 0 && i < (size_t) n; i++) {
            lane = events[i].data.ptr;

            if (lane->fd == -1) {
                continue;
            }

            if ((events[i].events & EPOLLOUT) && lane_write(lane) == -1) {
                lane_fail(lane);
                continue;
            }

            if (events[i].events & (EPOLLIN|EPOLLHUP|EPOLLERR)) {
                lane_read(lane);
            }
        }
    }

    if (fclose(results) || fclose(bodies)) {
        die("results: %s", strerror(errno));
    }

    return 0;
}
