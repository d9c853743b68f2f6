
#include "ps_number.h"

#include <string.h>


#define PS_NUMBER_MAX_EXPONENT  1000000000000


static int ps_number_digit(const ps_number_t *number, size_t i);
static uint64_t ps_number_modulo(const ps_number_t *number, uint64_t divisor);


void
ps_number_read(ps_number_t *number, const char *text, size_t len)
{
    int          minus;
    int64_t      exponent;
    const char  *p, *end;

    memset(number, 0, sizeof(ps_number_t));

    p = text;
    end = text + len;

    if (*p == '-') {
        number->negative = 1;
        p++;
    }

    number->head = p;

    while (p < end && *p >= '0' && *p <= '9') {
        p++;
    }

    number->nhead = (size_t) (p - number->head);
    number->tail = p;

    if (p < end && *p == '.') {
        number->tail = ++p;

        while (p < end && *p >= '0' && *p <= '9') {
            p++;
        }

        number->ntail = (size_t) (p - number->tail);
    }

    exponent = 0;

    if (p < end) {
        p++;
        minus = (*p == '-');

        for (p += (*p == '-' || *p == '+'); p < end; p++) {
            if (exponent < PS_NUMBER_MAX_EXPONENT) {
                exponent = exponent * 10 + (*p - '0');
            }
        }

        if (minus) {
            exponent = -exponent;
        }
    }

    /* without zeros at either end */

    number->exponent = exponent + (int64_t) number->nhead;

    while (number->nhead && *number->head == '0') {
        number->head++;
        number->nhead--;
        number->exponent--;
    }

    if (number->nhead == 0) {
        while (number->ntail && *number->tail == '0') {
            number->tail++;
            number->ntail--;
            number->exponent--;
        }
    }

    while (number->ntail && number->tail[number->ntail - 1] == '0') {
        number->ntail--;
    }

    if (number->ntail == 0) {
        while (number->nhead && number->head[number->nhead - 1] == '0') {
            number->nhead--;
        }
    }

    if (number->nhead + number->ntail == 0) {
        number->zero = 1;
        number->negative = 0;
        number->exponent = 0;
    }
}


static int
ps_number_digit(const ps_number_t *number, size_t i)
{
    if (i < number->nhead) {
        return number->head[i];
    }

    i -= number->nhead;

    return i < number->ntail ? number->tail[i] : '0';
}


int
ps_number_compare(const ps_number_t *a, const ps_number_t *b)
{
    int     sign, one, two;
    size_t  i, n;

    if (a->zero || b->zero) {
        return a->zero ? (b->zero ? 0 : (b->negative ? 1 : -1))
                       : (a->negative ? -1 : 1);
    }

    if (a->negative != b->negative) {
        return a->negative ? -1 : 1;
    }

    sign = a->negative ? -1 : 1;

    if (a->exponent != b->exponent) {
        return a->exponent < b->exponent ? -sign : sign;
    }

    n = a->nhead + a->ntail;

    if (n < b->nhead + b->ntail) {
        n = b->nhead + b->ntail;
    }

    for (i = 0; i < n; i++) {
        one = ps_number_digit(a, i);
        two = ps_number_digit(b, i);

        if (one != two) {
            return one < two ? -sign : sign;
        }
    }

    return 0;
}


int
ps_number_is_integer(const ps_number_t *number)
{
    return number->zero
           || number->exponent >= (int64_t) (number->nhead + number->ntail);
}


int
ps_number_count(const ps_number_t *number, uint32_t *value)
{
    int64_t   i;
    uint64_t  n;

    if (!ps_number_is_integer(number) || number->negative
        || number->exponent > 10)
    {
        return -1;
    }

    n = 0;

    for (i = 0; i < number->exponent; i++) {
        n = n * 10 + (uint64_t) (ps_number_digit(number, (size_t) i) - '0');
    }

    if (n > UINT32_MAX) {
        return -1;
    }

    *value = (uint32_t) n;

    return 0;
}


int
ps_number_divisor(const ps_number_t *number, ps_divisor_t *divisor)
{
    size_t  i, n;

    n = number->nhead + number->ntail;

    if (number->zero || number->negative || n > 18) {
        return -1;
    }

    divisor->digits = 0;
    divisor->exponent = number->exponent - (int64_t) n;

    for (i = 0; i < n; i++) {
        divisor->digits = divisor->digits * 10
                          + (uint64_t) (ps_number_digit(number, i) - '0');
    }

    return 0;
}


/*
 * The number is V * 10^v, the divisor D * 10^d, neither V nor D ending with a
 * zero: with v < d there is no quotient without a fraction, else V * 10^(v-d)
 * must be a multiple of D.
 */

int
ps_number_is_multiple(const ps_number_t *number, const ps_divisor_t *divisor)
{
    int64_t            power;
    uint64_t           rest, base;
    unsigned __int128  product;

    if (number->zero) {
        return 1;
    }

    power = number->exponent - (int64_t) (number->nhead + number->ntail)
            - divisor->exponent;

    if (power < 0) {
        return 0;
    }

    rest = ps_number_modulo(number, divisor->digits);
    base = 10 % divisor->digits;

    while (power && rest) {

        if (power & 1) {
            product = (unsigned __int128) rest * base;
            rest = (uint64_t) (product % divisor->digits);
        }

        product = (unsigned __int128) base * base;
        base = (uint64_t) (product % divisor->digits);

        power >>= 1;
    }

    return rest == 0;
}


static uint64_t
ps_number_modulo(const ps_number_t *number, uint64_t divisor)
{
    size_t    i, n;
    uint64_t  rest;

    rest = 0;
    n = number->nhead + number->ntail;

    /* below 10^18: ten times that and a digit are below 2^64 */

    for (i = 0; i < n; i++) {
        rest = (rest * 10 + (uint64_t) (ps_number_digit(number, i) - '0'))
               % divisor;
    }

    return rest;
}


size_t
ps_number_digits(const ps_number_t *number, char *dst)
{
    memcpy(dst, number->head, number->nhead);
    memcpy(dst + number->nhead, number->tail, number->ntail);

    return number->nhead + number->ntail;
}
