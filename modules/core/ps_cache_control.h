
/*
 * Cache-Control of a response or a request (RFC 9111, Section 5.2; RFC 5861).
 */

#ifndef _PS_CACHE_CONTROL_H_INCLUDED_
#define _PS_CACHE_CONTROL_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define PS_CC_UNSET    (-1)
#define PS_CC_MAX_AGE  2147483647        /* s; RFC 9111, Section 1.2.2 */


typedef struct {
    int64_t   max_age;                  /* seconds, or PS_CC_UNSET */
    int64_t   s_maxage;
    int64_t   stale_while_revalidate;
    int64_t   stale_if_error;
    int64_t   max_stale;                /* of requests; PS_CC_MAX_AGE: any */
    int64_t   min_fresh;

    unsigned  no_store:1;
    unsigned  no_cache:1;
    unsigned  private_:1;
    unsigned  public_:1;
    unsigned  must_revalidate:1;        /* or proxy-revalidate */
    unsigned  must_understand:1;
    unsigned  only_if_cached:1;         /* of requests */
} ps_cache_control_t;


void ps_cache_control_init(ps_cache_control_t *cc);

/*
 * Adds one field line.  Unknown directives are ignored.  Of a repeated
 * directive the smallest age counts; an age that is no number makes the
 * response stale (RFC 9111, Section 4.2.1).  Ages end at 2^31 - 1.
 */

void ps_cache_control_parse(ps_cache_control_t *cc, const char *value,
    size_t len);


#endif /* _PS_CACHE_CONTROL_H_INCLUDED_ */
