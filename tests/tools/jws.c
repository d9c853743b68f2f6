/*
 * jws: signs any header and payload bytes with any algorithm, also what must
 * never be accepted.  For negative tests, and for PS* and EdDSA, which
 * libjwt can't sign.
 *
 *   jws --alg ALG [--key FILE] --header TEXT --payload TEXT [options]
 *
 *   --alg ALG          how to sign: RS256 PS256 ES256 HS256 (and 384, 512),
 *                      EdDSA, none (empty signature).  The header says what
 *                      it says: it is not touched
 *   --key FILE         PEM; for HS* also a secret as "mint" reads it (a PEM
 *                      file is used as it is: the classic confusion)
 *   --header TEXT      the bytes to be base64url-encoded and signed
 *   --payload TEXT     the same; @NOW+N and @NOW-N become seconds since 1970
 *   --raw-header TEXT  the encoded header as it is to appear
 *   --raw-payload TEXT the encoded payload as it is to appear
 *   --raw-sig TEXT     the encoded signature as it is to appear
 *   --salt N           salt length of PS* (default: that of the hash)
 *   --hash NAME        another digest than the algorithm's
 *   --der              ES*: the signature in DER instead of R||S
 *   --zero             ES*: R and S are zero
 *   --order            ES*: S is S + n, where it fits
 *   --sig-cut N        leave out the last N bytes of the signature
 *   --sig-pad N        append N zero bytes
 *
 * Prints the token.  Exit status: 0; 2 with a message.
 *
 * gcc -O2 -o build/tools/jws tests/tools/jws.c -ljwt -ljansson -lcrypto
 */

#include "tool.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>


static struct {
    const char  *alg, *key, *header, *payload;
    const char  *raw_header, *raw_payload, *raw_sig, *hash;
    int          salt, der, zero, order, cut, pad;
} o;


static EVP_PKEY *
private_key(void)
{
    BIO            *bio;
    int             pem;
    size_t          len;
    EVP_PKEY       *pkey;
    unsigned char  *key;

    if (o.key == NULL) {
        tool_die("--key FILE is needed");
    }

    key = tool_read_key(o.key, &len, &pem);
    bio = BIO_new_mem_buf(key, len);
    pkey = pem ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
    if (pkey == NULL) {
        tool_die("%s holds no private key that OpenSSL reads", o.key);
    }

    BIO_free(bio);
    free(key);

    return pkey;
}


/* DER to R||S (RFC 7518, 3.4), with the wrong ones on demand */

static size_t
raw_signature(EVP_PKEY *pkey, unsigned char *sig, size_t len)
{
    int                   size;
    BIGNUM               *n, *r, *s;
    ECDSA_SIG            *ec;
    const BIGNUM         *sig_r, *sig_s;
    const unsigned char  *p;

    p = sig;
    ec = d2i_ECDSA_SIG(NULL, &p, len);
    if (ec == NULL) {
        tool_die("OpenSSL made no ECDSA signature");
    }

    size = (EVP_PKEY_get_bits(pkey) + 7) / 8;
    ECDSA_SIG_get0(ec, &sig_r, &sig_s);
    r = BN_dup(sig_r);
    s = BN_dup(sig_s);

    if (o.zero) {
        BN_zero(r);
        BN_zero(s);
    }

    if (o.order) {
        n = NULL;
        EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_EC_ORDER, &n);
        BN_copy(s, n);
        BN_free(n);
    }

    BN_bn2binpad(r, sig, size);
    BN_bn2binpad(s, sig + size, size);

    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(ec);

    return 2 * size;
}


static size_t
sign(const char *input, unsigned char *sig, size_t size)
{
    int             pem;
    char            name[16];
    size_t          len, key_len;
    EVP_PKEY       *pkey;
    EVP_MD_CTX     *ctx;
    const EVP_MD   *md;
    EVP_PKEY_CTX   *pctx;
    unsigned char  *key;
    unsigned int    n;

    if (strcmp(o.alg, "none") == 0) {
        return 0;
    }

    if (o.hash) {
        snprintf(name, sizeof(name), "%s", o.hash);
    } else {
        snprintf(name, sizeof(name), "SHA%s", o.alg + 2);
    }

    md = strcmp(o.alg, "EdDSA") == 0 ? NULL : EVP_get_digestbyname(name);

    if (md == NULL && strcmp(o.alg, "EdDSA") != 0) {
        tool_die("no algorithm \"%s\"", o.alg);
    }

    if (o.alg[0] == 'H') {
        if (o.key == NULL) {
            tool_die("--key FILE is needed");
        }

        key = tool_read_key(o.key, &key_len, &pem);
        HMAC(md, key, key_len, (const unsigned char *) input, strlen(input),
             sig, &n);
        free(key);
        return n;
    }

    pkey = private_key();
    ctx = EVP_MD_CTX_new();
    len = size;

    if (EVP_DigestSignInit(ctx, &pctx, md, NULL, pkey) != 1) {
        tool_die("OpenSSL doesn't sign %s with this key", o.alg);
    }

    if (o.alg[0] == 'P') {
        EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING);
        EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx,
                                 o.salt >= 0 ? o.salt : RSA_PSS_SALTLEN_DIGEST);
    }

    if (EVP_DigestSign(ctx, sig, &len, (const unsigned char *) input,
                       strlen(input))
        != 1)
    {
        tool_die("OpenSSL doesn't sign %s with this key", o.alg);
    }

    if (EVP_PKEY_get_base_id(pkey) == EVP_PKEY_EC && !o.der) {
        len = raw_signature(pkey, sig, len);
    }

    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);

    return len;
}


/* @NOW+N and @NOW-N */

static char *
expand(const char *text)
{
    char        *out, *end;
    long         n;
    size_t       len;
    const char  *at;

    out = calloc(1, strlen(text) * 2 + 64);
    if (out == NULL) {
        tool_die("no memory");
    }

    while ((at = strstr(text, "@NOW")) != NULL) {
        len = strlen(out);
        memcpy(out + len, text, at - text);
        n = strtol(at + 4, &end, 10);
        sprintf(out + len + (at - text), "%lld",
                (long long) time(NULL) + n);
        text = end;
    }

    strcat(out, text);

    return out;
}


int
main(int argc, char **argv)
{
    int             i;
    char           *input, *sig, *h, *p;
    size_t          len;
    const char     *opt, *val;
    unsigned char   buf[4096];

    tool_name = "jws";
    o.salt = -1;

    for (i = 1; i < argc; i++) {
        opt = argv[i];

        if (strcmp(opt, "--der") == 0) {
            o.der = 1;
            continue;
        }

        if (strcmp(opt, "--zero") == 0) {
            o.zero = 1;
            continue;
        }

        if (strcmp(opt, "--order") == 0) {
            o.order = 1;
            continue;
        }

        if (++i == argc) {
            tool_die("%s takes a value", opt);
        }

        val = argv[i];

        if (strcmp(opt, "--alg") == 0) {
            o.alg = val;
        } else if (strcmp(opt, "--key") == 0) {
            o.key = val;
        } else if (strcmp(opt, "--header") == 0) {
            o.header = val;
        } else if (strcmp(opt, "--payload") == 0) {
            o.payload = val;
        } else if (strcmp(opt, "--raw-header") == 0) {
            o.raw_header = val;
        } else if (strcmp(opt, "--raw-payload") == 0) {
            o.raw_payload = val;
        } else if (strcmp(opt, "--raw-sig") == 0) {
            o.raw_sig = val;
        } else if (strcmp(opt, "--hash") == 0) {
            o.hash = val;
        } else if (strcmp(opt, "--salt") == 0) {
            o.salt = atoi(val);
        } else if (strcmp(opt, "--sig-cut") == 0) {
            o.cut = atoi(val);
        } else if (strcmp(opt, "--sig-pad") == 0) {
            o.pad = atoi(val);
        } else {
            tool_die("no option %s; the top of tests/tools/jws.c lists them",
                     opt);
        }
    }

    if (o.alg == NULL || (o.header == NULL && o.raw_header == NULL)
        || (o.payload == NULL && o.raw_payload == NULL))
    {
        tool_die("--alg, --header and --payload are needed");
    }

    if (o.raw_header) {
        h = strdup(o.raw_header);

    } else {
        p = expand(o.header);
        h = tool_b64url(p, strlen(p));
        free(p);
    }

    if (o.raw_payload) {
        p = strdup(o.raw_payload);

    } else {
        sig = expand(o.payload);
        p = tool_b64url(sig, strlen(sig));
        free(sig);
    }

    input = malloc(strlen(h) + strlen(p) + 2);
    if (input == NULL) {
        tool_die("no memory");
    }

    sprintf(input, "%s.%s", h, p);

    if (o.raw_sig) {
        sig = strdup(o.raw_sig);

    } else {
        memset(buf, 0, sizeof(buf));
        len = sign(input, buf, sizeof(buf) - 1024);
        len = len > (size_t) o.cut ? len - o.cut : 0;
        memset(buf + len, 0, sizeof(buf) - len);
        if (o.pad > 0 && o.pad <= 1024) {
            len += o.pad;
        }
        sig = tool_b64url(buf, len);
    }

    printf("%s.%s\n", input, sig);

    free(input);
    free(sig);
    free(h);
    free(p);

    return 0;
}
