/*
 * A clock that a test may set: preloaded into a server, adds the seconds that
 * the file PENSTOCK_CLOCK holds (an int64_t, mapped) to what the server takes
 * for the time of day.  Clocks that nobody can set stay as they are.
 *
 * gcc -shared -fPIC -O2 -o build/tools/clock.so tests/tools/clock.c
 */

#define _GNU_SOURCE

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>


static volatile int64_t  *offset;


__attribute__((constructor)) static void
clock_open(void)
{
    int    fd;
    void  *map;

    fd = open(getenv("PENSTOCK_CLOCK"), O_RDONLY);
    if (fd == -1) {
        abort();
    }

    map = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        abort();
    }

    offset = map;
    (void) close(fd);
}


int
clock_gettime(clockid_t id, struct timespec *ts)
{
    int  rc;

    rc = (int) syscall(SYS_clock_gettime, id, ts);

    if (rc == 0 && offset
        && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
    {
        ts->tv_sec += *offset;
    }

    return rc;
}


int
gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_REALTIME, &ts);

    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = ts.tv_nsec / 1000;

    return 0;
}


time_t
time(time_t *t)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_REALTIME, &ts);

    if (t) {
        *t = ts.tv_sec;
    }

    return ts.tv_sec;
}
