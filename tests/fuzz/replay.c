
/*
 * Runs a fuzz target without a fuzzer, so that "build.sh test" needs no
 * clang: the empty input, each file given, and for each of them, and for
 * random bytes, as many mutations as -n says.  The seed is fixed.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define MAX_INPUT  65536


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static uint64_t  state = 88172645463325252ULL;


static uint64_t
draw(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;

    return state;
}


/* the target reads a piece of its own size: reading past it is seen */

static void
run(const uint8_t *data, size_t size)
{
    uint8_t  *copy;

    copy = malloc(size ? size : 1);
    if (copy == NULL) {
        abort();
    }

    if (size) {
        memcpy(copy, data, size);
    }

    (void) LLVMFuzzerTestOneInput(copy, size);

    free(copy);
}


static void
mutate(const uint8_t *data, size_t size)
{
    size_t           n, at, len, count;
    static uint8_t   input[MAX_INPUT];

    memcpy(input, data, size);
    n = size;

    for (count = 1 + draw() % 4; count; count--) {
        at = n ? draw() % n : 0;

        switch (draw() % 5) {

        case 0:                                  /* cut */
            n = at;
            break;

        case 1:                                  /* change a byte */
            if (n) {
                input[at] = draw();
            }
            break;

        case 2:                                  /* change a bit */
            if (n) {
                input[at] ^= 1 << (draw() % 8);
            }
            break;

        case 3:                                  /* repeat a piece */
            len = n ? draw() % (n - at) : 0;
            if (n + len <= sizeof(input)) {
                memmove(input + at + len, input + at, n - at);
                n += len;
            }
            break;

        default:                                 /* grow at the end */
            if (n < sizeof(input)) {
                input[n++] = draw();
            }
        }
    }

    run(input, n);
}


int
main(int argc, char **argv)
{
    int              i, files;
    long             j, rounds;
    FILE            *f;
    size_t           size;
    static uint8_t   input[MAX_INPUT];

    i = 1;
    files = 0;
    rounds = 2000;

    if (argc > 2 && strcmp(argv[1], "-n") == 0) {
        rounds = atol(argv[2]);
        i = 3;
    }

    run(input, 0);

    for (j = 0; j < rounds; j++) {
        for (size = 0; size < (size_t) (j % 512); size++) {
            input[size] = draw();
        }

        run(input, size);
    }

    for (; i < argc; i++) {
        f = fopen(argv[i], "rb");
        if (f == NULL) {
            perror(argv[i]);
            return 1;
        }

        size = fread(input, 1, sizeof(input) / 2, f);
        fclose(f);

        run(input, size);
        files++;

        for (j = 0; j < rounds; j++) {
            mutate(input, size);
        }
    }

    printf("%d files, %ld mutations of each, %ld random inputs\n",
           files, rounds, rounds);

    return 0;
}
