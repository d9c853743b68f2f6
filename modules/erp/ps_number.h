
/*
 * JSON numbers as they are written: compared and divided exactly, whatever
 * their size.
 */

#ifndef _PS_NUMBER_H_INCLUDED_
#define _PS_NUMBER_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


/*
 * 0.DIGITS times 10^exponent.  The digits are slices of the text, on both
 * sides of its point, without zeros at either end.
 */

typedef struct {
    const char  *head;
    size_t       nhead;
    const char  *tail;
    size_t       ntail;
    int64_t      exponent;
    int          negative;
    int          zero;           /* no digits then */
} ps_number_t;


/* a divisor of at most 18 digits */

typedef struct {
    uint64_t     digits;
    int64_t      exponent;       /* of the last digit */
} ps_divisor_t;


/* "text" is a JSON number and is kept */

void ps_number_read(ps_number_t *number, const char *text, size_t len);

/* below, at or above 0: how a is to b */

int ps_number_compare(const ps_number_t *a, const ps_number_t *b);

/* whether it has no fraction: 1.0 and 1e2 have none */

int ps_number_is_integer(const ps_number_t *number);

/*
 * The number of a count, such as minLength: 0 and *value, or -1 where it is
 * no integer from 0 to 2^32 - 1.
 */

int ps_number_count(const ps_number_t *number, uint32_t *value);

/* 0, or -1: not above 0, or too many digits */

int ps_number_divisor(const ps_number_t *number, ps_divisor_t *divisor);

int ps_number_is_multiple(const ps_number_t *number,
    const ps_divisor_t *divisor);

/*
 * Writes the digits without a point; "dst" needs nhead + ntail bytes.  With
 * the exponent and the sign they tell equal numbers from others.
 */

size_t ps_number_digits(const ps_number_t *number, char *dst);


#endif /* _PS_NUMBER_H_INCLUDED_ */
