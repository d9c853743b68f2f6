
/*
 * Digests, random bytes, the time and numbers, at the least cost per call.
 */

#include "ngx_http_penstock.h"

#include <openssl/evp.h>
#include <openssl/rand.h>


#define NGX_HTTP_PENSTOCK_RANDOM_POOL  4096


static ngx_int_t ngx_http_penstock_digest_init(void);
static void ngx_http_penstock_digest_cleanup(void *data);


static const EVP_MD  *ngx_http_penstock_md;
static EVP_MD_CTX    *ngx_http_penstock_md_ctx;

static u_char         ngx_http_penstock_pool[NGX_HTTP_PENSTOCK_RANDOM_POOL];
static size_t         ngx_http_penstock_pool_used;
static ngx_pid_t      ngx_http_penstock_pool_pid;


ngx_int_t
ngx_http_penstock_sha256(const ngx_str_t *parts, ngx_uint_t n,
    u_char digest[NGX_HTTP_PENSTOCK_KEY_LEN])
{
    ngx_uint_t  i;

    if (ngx_http_penstock_md_ctx == NULL
        && ngx_http_penstock_digest_init() != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (EVP_DigestInit_ex(ngx_http_penstock_md_ctx, ngx_http_penstock_md, NULL)
        != 1)
    {
        return NGX_ERROR;
    }

    for (i = 0; i < n; i++) {
        if (EVP_DigestUpdate(ngx_http_penstock_md_ctx, parts[i].data,
                             parts[i].len)
            != 1)
        {
            return NGX_ERROR;
        }
    }

    if (EVP_DigestFinal_ex(ngx_http_penstock_md_ctx, digest, NULL) != 1) {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/*
 * Fetched on first use and kept.  The cycle frees both: its pool is
 * destroyed before the module is unloaded.  A worker that inherits them from
 * the master inherits the cleanup too.
 */

static ngx_int_t
ngx_http_penstock_digest_init(void)
{
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(ngx_cycle->pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

#if (OPENSSL_VERSION_NUMBER >= 0x30000000L)

    ngx_http_penstock_md = EVP_MD_fetch(NULL, "SHA256", NULL);

#else

    ngx_http_penstock_md = EVP_sha256();

#endif

    cln->handler = ngx_http_penstock_digest_cleanup;

    if (ngx_http_penstock_md == NULL) {
        return NGX_ERROR;
    }

    ngx_http_penstock_md_ctx = EVP_MD_CTX_new();

    if (ngx_http_penstock_md_ctx == NULL) {
        ngx_http_penstock_digest_cleanup(NULL);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_http_penstock_digest_cleanup(void *data)
{
    EVP_MD_CTX_free(ngx_http_penstock_md_ctx);
    ngx_http_penstock_md_ctx = NULL;

#if (OPENSSL_VERSION_NUMBER >= 0x30000000L)
    EVP_MD_free((EVP_MD *) ngx_http_penstock_md);
#endif

    ngx_http_penstock_md = NULL;
}


ngx_int_t
ngx_http_penstock_random(u_char *p, size_t n)
{
    u_char  *from;

    if (n > NGX_HTTP_PENSTOCK_RANDOM_POOL) {
        return RAND_bytes(p, (int) n) == 1 ? NGX_OK : NGX_ERROR;
    }

    /* what was drawn before a fork belongs to the parent */

    if (ngx_http_penstock_pool_pid != ngx_pid
        || n > NGX_HTTP_PENSTOCK_RANDOM_POOL - ngx_http_penstock_pool_used)
    {
        ngx_http_penstock_pool_pid = 0;

        if (RAND_bytes(ngx_http_penstock_pool, NGX_HTTP_PENSTOCK_RANDOM_POOL)
            != 1)
        {
            return NGX_ERROR;
        }

        ngx_http_penstock_pool_pid = ngx_pid;
        ngx_http_penstock_pool_used = 0;
    }

    from = ngx_http_penstock_pool + ngx_http_penstock_pool_used;

    ngx_memcpy(p, from, n);
    ngx_explicit_memzero(from, n);

    ngx_http_penstock_pool_used += n;

    return NGX_OK;
}


uint64_t
ngx_http_penstock_usec(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_REALTIME, &ts);

    return (uint64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}


ngx_msec_t
ngx_http_penstock_age(ngx_msec_t then)
{
    ngx_msec_int_t  age;

    age = (ngx_msec_int_t) (ngx_current_msec - then);

    return ngx_max(age, 0);
}


u_char *
ngx_http_penstock_digits(u_char *p, uint64_t n)
{
    u_char       *last;
    ngx_uint_t    len, i;
    uint64_t      power;

    static const u_char  pairs[] =
        "00010203040506070809101112131415161718192021222324"
        "25262728293031323334353637383940414243444546474849"
        "50515253545556575859606162636465666768697071727374"
        "75767778798081828384858687888990919293949596979899";

    /* 10^19 is the last power of ten that is a number of 64 bits */

    len = 1;

    for (power = 10; n >= power; power *= 10) {
        len++;

        if (len == 20) {
            break;
        }
    }

    last = p + len;
    p = last;

    while (n >= 100) {
        i = (ngx_uint_t) (n % 100) * 2;
        n /= 100;

        *--p = pairs[i + 1];
        *--p = pairs[i];
    }

    if (n >= 10) {
        i = (ngx_uint_t) n * 2;

        *--p = pairs[i + 1];
        *--p = pairs[i];

    } else {
        *--p = (u_char) (n + '0');
    }

    return last;
}


ngx_int_t
ngx_http_penstock_phase_handler(ngx_conf_t *cf, ngx_http_phases phase,
    ngx_http_handler_pt handler)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[phase].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = handler;

    return NGX_OK;
}


ngx_uint_t
ngx_http_penstock_json_type(const ngx_str_t *type)
{
    size_t   len;
    u_char  *p, *end;

    p = type->data;
    len = type->len;

    if (len == 0) {
        return 0;
    }

    end = ngx_strlchr(p, p + len, ';');

    if (end) {
        len = end - p;
    }

    while (len && (p[len - 1] == ' ' || p[len - 1] == '\t')) {
        len--;
    }

    return (len == sizeof("application/json") - 1
            && ngx_strncasecmp(p, (u_char *) "application/json", len) == 0)
           || (len > sizeof("a/+json") - 1
               && ngx_strncasecmp(p + len - 5, (u_char *) "+json", 5) == 0);
}
