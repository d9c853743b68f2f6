/*
 * rsa: CPU time of one RS256 signature check with a parsed key, in us.
 *
 *   rsa KEY.PEM COUNT
 *
 * What a gateway can't go below for a token that it has not seen before.
 *
 * gcc -O2 -o build/tools/rsa tests/bench/rsa.c -lcrypto
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>
#include <openssl/pem.h>


int
main(int argc, char **argv)
{
    int               i, n;
    FILE             *f;
    size_t            len;
    EVP_MD           *md;
    EVP_PKEY         *key;
    EVP_MD_CTX       *ctx;
    unsigned char     text[700], sig[1024];
    struct timespec   a, b;

    f = argc == 3 ? fopen(argv[1], "r") : NULL;
    key = f ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;
    n = argc == 3 ? atoi(argv[2]) : 0;
    md = EVP_MD_fetch(NULL, "SHA256", NULL);
    ctx = EVP_MD_CTX_new();
    len = sizeof(sig);

    memset(text, 'a', sizeof(text));

    if (key == NULL || n < 1 || md == NULL || ctx == NULL
        || EVP_DigestSignInit(ctx, NULL, md, NULL, key) != 1
        || EVP_DigestSign(ctx, sig, &len, text, sizeof(text)) != 1)
    {
        fprintf(stderr, "usage: rsa KEY.PEM COUNT\n");
        return 2;
    }

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);

    for (i = 0; i < n; i++) {
        EVP_MD_CTX_reset(ctx);
        if (EVP_DigestVerifyInit(ctx, NULL, md, NULL, key) != 1
            || EVP_DigestVerify(ctx, sig, len, text, sizeof(text)) != 1)
        {
            fprintf(stderr, "rsa: verification failed\n");
            return 2;
        }
    }

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);

    printf("%.3f\n", ((b.tv_sec - a.tv_sec) * 1e9
                      + (b.tv_nsec - a.tv_nsec)) / 1e3 / n);

    return 0;
}
