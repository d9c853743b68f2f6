/*
 * jwks: makes key pairs and prints key sets (RFC 7517), with OpenSSL alone.
 *
 *   jwks gen ALG FILE [BITS]
 *       a new private key in PEM (for HS*: a random secret in hex) in FILE.
 *       ALG: RS256 PS256 (and 384, 512; RSA of BITS, default 2048), ES256
 *       ES384 ES512, EdDSA or Ed25519, Ed448, HS256 HS384 HS512
 *
 *   jwks set [--key FILE [--kid KID] [--alg ALG] [--use USE]]...
 *       a key set of these files on standard output, public parts only.
 *       FILE is PEM (private or public), or a secret as "mint" reads it.
 *       --kid, --alg and --use belong to the --key before them; what is not
 *       given is left out, but "use" is "sig" ("none" leaves it out)
 *
 * Example:
 *   jwks gen RS256 rs.pem
 *   jwks set --key rs.pem --kid k1 --alg RS256 > keys.json
 *   mint --key rs.pem --alg RS256 --kid k1 --iss https://as.example
 *
 * Exit status: 0; 2 with a message.
 *
 * gcc -O2 -o build/tools/jwks tests/tools/jwks.c -ljwt -ljansson -lcrypto
 */

#include "tool.h"

#include <fcntl.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/pem.h>


static void
generate(const char *alg, const char *path, const char *bits)
{
    int             fd, n;
    FILE           *f;
    EVP_PKEY       *pkey;
    unsigned char   secret[64];

    fd = open(path, O_WRONLY|O_CREAT|O_TRUNC, 0600);
    f = fd == -1 ? NULL : fdopen(fd, "w");
    if (f == NULL) {
        tool_die("cannot write %s: %s", path, strerror(errno));
    }

    if (strncmp(alg, "HS", 2) == 0 && strlen(alg) == 5) {
        n = atoi(alg + 2) / 8;
        if (n < 32 || n > 64 || RAND_bytes(secret, n) != 1) {
            tool_die("no algorithm \"%s\"", alg);
        }

        for (fd = 0; fd < n; fd++) {
            fprintf(f, "%02x", secret[fd]);
        }

        fputc('\n', f);
        fclose(f);
        return;
    }

    if (strncmp(alg, "RS", 2) == 0 || strncmp(alg, "PS", 2) == 0) {
        pkey = EVP_RSA_gen(bits ? atoi(bits) : 2048);

    } else if (strcmp(alg, "ES256") == 0) {
        pkey = EVP_EC_gen("P-256");

    } else if (strcmp(alg, "ES384") == 0) {
        pkey = EVP_EC_gen("P-384");

    } else if (strcmp(alg, "ES512") == 0) {
        pkey = EVP_EC_gen("P-521");

    } else if (strcmp(alg, "EdDSA") == 0 || strcmp(alg, "Ed25519") == 0) {
        pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

    } else if (strcmp(alg, "Ed448") == 0) {
        pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED448");

    } else {
        tool_die("no algorithm \"%s\"", alg);
    }

    if (pkey == NULL
        || PEM_write_PrivateKey(f, pkey, NULL, NULL, 0, NULL, NULL) != 1)
    {
        tool_die("OpenSSL can't make the key");
    }

    fclose(f);
    EVP_PKEY_free(pkey);
}


static void
set_bytes(json_t *jwk, const char *name, const void *data, size_t len)
{
    char  *s;

    s = tool_b64url(data, len);
    json_object_set_new(jwk, name, json_string(s));
    free(s);
}


static void
set_number(json_t *jwk, const char *name, EVP_PKEY *pkey, const char *param,
    int size)
{
    BIGNUM         *bn;
    unsigned char   buf[2048];

    bn = NULL;

    if (EVP_PKEY_get_bn_param(pkey, param, &bn) != 1
        || BN_num_bytes(bn) > (int) sizeof(buf))
    {
        tool_die("OpenSSL can't read \"%s\" of the key", name);
    }

    if (size == 0) {
        size = BN_num_bytes(bn);
    }

    BN_bn2binpad(bn, buf, size);
    set_bytes(jwk, name, buf, size);
    BN_free(bn);
}


static json_t *
public_jwk(const char *path)
{
    BIO            *bio;
    int             pem, size;
    size_t          len;
    json_t         *jwk;
    EVP_PKEY       *pkey;
    const char     *crv;
    unsigned char  *key, raw[64];

    jwk = json_object();
    key = tool_read_key(path, &len, &pem);

    if (!pem) {
        json_object_set_new(jwk, "kty", json_string("oct"));
        set_bytes(jwk, "k", key, len);
        free(key);
        return jwk;
    }

    bio = BIO_new_mem_buf(key, len);
    pkey = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    if (pkey == NULL) {
        (void) BIO_reset(bio);
        pkey = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    }

    if (pkey == NULL) {
        tool_die("%s holds no key that OpenSSL reads", path);
    }

    switch (EVP_PKEY_get_base_id(pkey)) {

    case EVP_PKEY_RSA:
        json_object_set_new(jwk, "kty", json_string("RSA"));
        set_number(jwk, "n", pkey, OSSL_PKEY_PARAM_RSA_N, 0);
        set_number(jwk, "e", pkey, OSSL_PKEY_PARAM_RSA_E, 0);
        break;

    case EVP_PKEY_EC:
        size = (EVP_PKEY_get_bits(pkey) + 7) / 8;
        crv = size == 32 ? "P-256" : size == 48 ? "P-384" : "P-521";
        json_object_set_new(jwk, "kty", json_string("EC"));
        json_object_set_new(jwk, "crv", json_string(crv));
        set_number(jwk, "x", pkey, OSSL_PKEY_PARAM_EC_PUB_X, size);
        set_number(jwk, "y", pkey, OSSL_PKEY_PARAM_EC_PUB_Y, size);
        break;

    case EVP_PKEY_ED25519:
    case EVP_PKEY_ED448:
        len = sizeof(raw);
        if (EVP_PKEY_get_raw_public_key(pkey, raw, &len) != 1) {
            tool_die("OpenSSL can't read the key in %s", path);
        }
        json_object_set_new(jwk, "kty", json_string("OKP"));
        json_object_set_new(jwk, "crv", json_string(len == 32 ? "Ed25519"
                                                              : "Ed448"));
        set_bytes(jwk, "x", raw, len);
        break;

    default:
        tool_die("the key in %s is of no kind that JWKs have here", path);
    }

    EVP_PKEY_free(pkey);
    BIO_free(bio);
    free(key);

    return jwk;
}


static void
print_set(int argc, char **argv)
{
    int      i;
    json_t  *keys, *jwk, *set;

    keys = json_array();
    jwk = NULL;

    for (i = 0; i + 1 < argc; i += 2) {

        if (strcmp(argv[i], "--key") == 0) {
            jwk = public_jwk(argv[i + 1]);
            json_object_set_new(jwk, "use", json_string("sig"));
            json_array_append_new(keys, jwk);

        } else if (jwk == NULL) {
            tool_die("%s comes after the --key it belongs to", argv[i]);

        } else if (strcmp(argv[i], "--kid") == 0
                   || strcmp(argv[i], "--alg") == 0)
        {
            json_object_set_new(jwk, argv[i] + 2, json_string(argv[i + 1]));

        } else if (strcmp(argv[i], "--use") == 0) {
            json_object_del(jwk, "use");
            if (strcmp(argv[i + 1], "none") != 0) {
                json_object_set_new(jwk, "use", json_string(argv[i + 1]));
            }

        } else {
            tool_die("no option %s", argv[i]);
        }
    }

    if (i != argc) {
        tool_die("%s takes a value", argv[i]);
    }

    set = json_pack("{s:o}", "keys", keys);
    json_dumpf(set, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(set);
}


int
main(int argc, char **argv)
{
    tool_name = "jwks";

    if ((argc == 4 || argc == 5) && strcmp(argv[1], "gen") == 0) {
        generate(argv[2], argv[3], argc == 5 ? argv[4] : NULL);

    } else if (argc >= 2 && strcmp(argv[1], "set") == 0) {
        print_set(argc - 2, argv + 2);

    } else {
        tool_die("usage: jwks gen ALG FILE [BITS] | jwks set [--key FILE "
                 "[--kid KID] [--alg ALG] [--use USE]]...");
    }

    return 0;
}
