/*
 * mint: signed access tokens for the tests, the demo and the benchmark.
 * Signs with libjwt, so that what the modules verify was not made by them.
 *
 *   mint --key FILE --alg ALG [options]
 *
 *   --key FILE       private key in PEM; for HS* a secret: hex digits in
 *                    pairs, or else the bytes of the file (one final newline
 *                    is not part of it).  "-" is standard input
 *   --alg ALG        RS256 RS384 RS512 ES256 ES384 ES512 HS256 HS384 HS512
 *   --kid KID        "kid" of the header (none by default)
 *   --typ TYP        "typ" of the header ("JWT" by default).  libjwt 1.10
 *                    writes no other, so with one OpenSSL signs instead
 *   --iss ISS  --aud AUD  --sub SUB  --client-id ID  --scope "A B"
 *                    claims of these names; --aud may be given several
 *                    times, "aud" is then an array
 *   --exp SECONDS    "exp" from now, may be negative; "none": without
 *                    (default 3600)
 *   --nbf SECONDS    "nbf" from now (none by default)
 *   --iat SECONDS    "iat" from now; "none": without (default 0)
 *   --jti ID         "jti" (default: random; with --count it gets a number)
 *   --claim NAME=JSON
 *                    any claim, the value in JSON: --claim 'plan="gold"'
 *                    --claim 'roles=["a","b"]' --claim 'tenant=7'
 *   --count N        N tokens, one a line, each with a "jti" of its own
 *   --sub-count M    with --count: subjects SUB-1 ... SUB-M in turn
 *
 * Prints the tokens, one a line.  Exit status: 0; 2 with a message.
 *
 * gcc -O2 -o build/tools/mint tests/tools/mint.c -ljwt -ljansson -lcrypto
 */

#include "tool.h"

#include <jansson.h>
#include <jwt.h>
#include <openssl/ecdsa.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>


static json_t *
seconds(const char *option, const char *value)
{
    char  *end;
    long   n;

    errno = 0;
    n = strtol(value, &end, 10);

    if (errno || end == value || *end) {
        tool_die("%s takes a number of seconds from now, not \"%s\"", option,
                 value);
    }

    return json_integer(time(NULL) + n);
}


static void
claim(json_t *claims, const char *value)
{
    char          *name;
    json_t        *json;
    const char    *eq;
    json_error_t   error;

    eq = strchr(value, '=');
    if (eq == NULL || eq == value) {
        tool_die("--claim takes NAME=JSON, not \"%s\"", value);
    }

    json = json_loads(eq + 1, JSON_DECODE_ANY, &error);
    if (json == NULL) {
        tool_die("the value in --claim '%s' is not JSON: %s; a string needs "
                 "its quotes", value, error.text);
    }

    name = strndup(value, eq - value);
    json_object_set_new(claims, name, json);
    free(name);
}


static void
audience(json_t *claims, const char *value)
{
    json_t  *aud;

    aud = json_object_get(claims, "aud");

    if (aud == NULL) {
        json_object_set_new(claims, "aud", json_string(value));
        return;
    }

    if (json_is_string(aud)) {
        json_object_set_new(claims, "aud",
                            json_pack("[O]", aud));
        aud = json_object_get(claims, "aud");
    }

    json_array_append_new(aud, json_string(value));
}


static char *
sign(json_t *claims, jwt_alg_t alg, const unsigned char *key, size_t key_len,
    const char *kid)
{
    int     rc;
    char   *token, *text;
    jwt_t  *jwt;

    if (jwt_new(&jwt) != 0) {
        tool_die("no memory");
    }

    rc = jwt_set_alg(jwt, alg, key, key_len);
    if (rc != 0) {
        tool_die("libjwt doesn't take this key");
    }

    if (kid && jwt_add_header(jwt, "kid", kid) != 0) {
        tool_die("libjwt can't set the header");
    }

    text = json_dumps(claims, JSON_COMPACT);

    if (jwt_add_grants_json(jwt, text) != 0) {
        tool_die("libjwt can't set the claims");
    }

    free(text);

    token = jwt_encode_str(jwt);
    if (token == NULL) {
        tool_die("libjwt can't sign: does the key fit the algorithm?");
    }

    jwt_free(jwt);

    return token;
}


/* the same by OpenSSL, for a "typ" that libjwt doesn't let through */

static char *
sign_typ(json_t *claims, const char *alg, const unsigned char *key,
    size_t key_len, const char *kid, const char *typ)
{
    BIO                  *bio;
    int                   size;
    char                 *text, *h, *p, *token;
    size_t                len;
    json_t               *header;
    EVP_PKEY             *pkey;
    ECDSA_SIG            *ec;
    EVP_MD_CTX           *ctx;
    unsigned int          n;
    const EVP_MD         *md;
    unsigned char         sig[2048];
    const unsigned char  *der;

    header = json_pack("{s:s,s:s,s:s*}", "alg", alg, "typ", typ, "kid", kid);
    text = json_dumps(header, JSON_COMPACT);
    h = tool_b64url(text, strlen(text));
    free(text);
    json_decref(header);

    text = json_dumps(claims, JSON_COMPACT);
    p = tool_b64url(text, strlen(text));
    free(text);

    token = malloc(strlen(h) + strlen(p) + 2 + sizeof(sig) * 2);
    if (token == NULL) {
        tool_die("no memory");
    }

    sprintf(token, "%s.%s", h, p);
    len = strlen(token);

    md = strcmp(alg + 2, "256") == 0 ? EVP_sha256()
         : strcmp(alg + 2, "384") == 0 ? EVP_sha384() : EVP_sha512();

    if (alg[0] == 'H') {
        HMAC(md, key, key_len, (unsigned char *) token, len, sig, &n);
        size = n;

    } else {
        bio = BIO_new_mem_buf(key, key_len);
        pkey = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
        ctx = EVP_MD_CTX_new();
        len = sizeof(sig);

        if (pkey == NULL
            || EVP_DigestSignInit(ctx, NULL, md, NULL, pkey) != 1
            || EVP_DigestSign(ctx, sig, &len, (unsigned char *) token,
                              strlen(token)) != 1)
        {
            tool_die("OpenSSL can't sign: does the key fit the algorithm?");
        }

        size = len;

        if (alg[0] == 'E') {
            der = sig;
            ec = d2i_ECDSA_SIG(NULL, &der, len);
            size = (EVP_PKEY_get_bits(pkey) + 7) / 8;
            BN_bn2binpad(ECDSA_SIG_get0_r(ec), sig, size);
            BN_bn2binpad(ECDSA_SIG_get0_s(ec), sig + size, size);
            size *= 2;
            ECDSA_SIG_free(ec);
        }

        EVP_MD_CTX_free(ctx);
        EVP_PKEY_free(pkey);
        BIO_free(bio);
    }

    text = tool_b64url(sig, size);
    strcat(token, ".");
    strcat(token, text);

    free(text);
    free(h);
    free(p);

    return token;
}


int
main(int argc, char **argv)
{
    int             i, pem;
    char            buf[512], rnd[33], *token;
    long            n, count, sub_count;
    size_t          key_len;
    json_t         *claims;
    jwt_alg_t       alg;
    const char     *opt, *val, *key_file, *alg_name, *kid, *typ, *jti, *sub;
    unsigned char  *key, bytes[16];

    tool_name = "mint";
    key_file = alg_name = kid = typ = jti = sub = NULL;
    count = 1;
    sub_count = 0;

    claims = json_object();
    json_object_set_new(claims, "iat", seconds("--iat", "0"));
    json_object_set_new(claims, "exp", seconds("--exp", "3600"));

    for (i = 1; i < argc; i += 2) {
        opt = argv[i];

        if (i + 1 == argc) {
            tool_die("usage: mint --key FILE --alg ALG [options]; the top of "
                     "tests/tools/mint.c lists them");
        }

        val = argv[i + 1];

        if (strcmp(opt, "--key") == 0) {
            key_file = val;

        } else if (strcmp(opt, "--alg") == 0) {
            alg_name = val;

        } else if (strcmp(opt, "--kid") == 0) {
            kid = val;

        } else if (strcmp(opt, "--typ") == 0) {
            typ = val;

        } else if (strcmp(opt, "--iss") == 0 || strcmp(opt, "--scope") == 0) {
            json_object_set_new(claims, opt + 2, json_string(val));

        } else if (strcmp(opt, "--sub") == 0) {
            sub = val;
            json_object_set_new(claims, "sub", json_string(val));

        } else if (strcmp(opt, "--client-id") == 0) {
            json_object_set_new(claims, "client_id", json_string(val));

        } else if (strcmp(opt, "--aud") == 0) {
            audience(claims, val);

        } else if (strcmp(opt, "--exp") == 0 || strcmp(opt, "--iat") == 0
                   || strcmp(opt, "--nbf") == 0)
        {
            if (strcmp(val, "none") == 0) {
                json_object_del(claims, opt + 2);

            } else {
                json_object_set_new(claims, opt + 2, seconds(opt, val));
            }

        } else if (strcmp(opt, "--jti") == 0) {
            jti = val;

        } else if (strcmp(opt, "--claim") == 0) {
            claim(claims, val);

        } else if (strcmp(opt, "--count") == 0) {
            count = atol(val);

        } else if (strcmp(opt, "--sub-count") == 0) {
            sub_count = atol(val);

        } else {
            tool_die("no option %s; the top of tests/tools/mint.c lists them",
                     opt);
        }
    }

    if (key_file == NULL || alg_name == NULL) {
        tool_die("--key FILE and --alg ALG are needed");
    }

    alg = jwt_str_alg(alg_name);
    if (alg == JWT_ALG_INVAL || alg == JWT_ALG_NONE) {
        tool_die("libjwt doesn't sign \"%s\"; tests/tools/jws.c does PS* and "
                 "EdDSA", alg_name);
    }

    if (count < 1) {
        tool_die("--count takes a number from 1");
    }

    key = tool_read_key(key_file, &key_len, &pem);

    if (jti == NULL) {
        if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
            tool_die("no random bytes");
        }

        for (i = 0; i < (int) sizeof(bytes); i++) {
            sprintf(rnd + 2 * i, "%02x", bytes[i]);
        }

        jti = rnd;
    }

    for (n = 1; n <= count; n++) {
        if (json_object_get(claims, "jti") == NULL || count > 1) {
            snprintf(buf, sizeof(buf), count > 1 ? "%s-%ld" : "%s", jti, n);
            json_object_set_new(claims, "jti", json_string(buf));
        }

        if (sub_count > 0) {
            snprintf(buf, sizeof(buf), "%s-%ld", sub ? sub : "sub",
                     (n - 1) % sub_count + 1);
            json_object_set_new(claims, "sub", json_string(buf));
        }

        token = typ && strcmp(typ, "JWT") != 0
                ? sign_typ(claims, alg_name, key, key_len, kid, typ)
                : sign(claims, alg, key, key_len, kid);
        puts(token);
        free(token);
    }

    json_decref(claims);
    free(key);

    return 0;
}
