
/*
 * A schema of any bytes is taken or refused with a reason; a body of any
 * bytes is judged by it, alike with faults told and without, and what is
 * told ends where it must.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/erp/ps_schema.h"


#define MAX  4


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
check(const ps_schema_t *schema, const char *text, size_t len)
{
    size_t              i, n;
    ps_json_tape_t      tape;
    ps_schema_rc_e      rc, again;
    ps_schema_fault_t   faults[MAX];

    memset(&tape, 0, sizeof(tape));

    if (ps_json_tape_read(&tape, text, len, 32, PS_JSON_TAPE_UNIQUE)
        == PS_JSON_OK)
    {
        rc = ps_schema_check(schema, &tape, faults, MAX, &n);

        if (n > MAX || (rc == PS_SCHEMA_VALID && n)
            || (rc == PS_SCHEMA_INVALID && n == 0))
        {
            abort();
        }

        for (i = 0; i < n; i++) {
            if (faults[i].pointer[0] != '#'
                || memchr(faults[i].pointer, 0, sizeof(faults[i].pointer))
                   == NULL
                || memchr(faults[i].detail, 0, sizeof(faults[i].detail))
                   == NULL)
            {
                abort();
            }
        }

        again = ps_schema_check(schema, &tape, NULL, 0, &n);

        if (n || ((rc == PS_SCHEMA_VALID) != (again == PS_SCHEMA_VALID)
                  && rc != PS_SCHEMA_COSTLY && again != PS_SCHEMA_COSTLY))
        {
            abort();
        }
    }

    ps_json_tape_free(&tape);
}


/* the schema, a zero byte, the body */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char           *text, error[64];
    size_t          len;
    ps_schema_t    *schema;
    const uint8_t  *end;

    end = memchr(data, '\0', size);
    if (end == NULL) {
        return 0;
    }

    len = (size_t) (end - data);

    memset(error, 'x', sizeof(error));

    schema = ps_schema_compile((const char *) data, len, error,
                               sizeof(error));

    if (schema == NULL) {
        if (memchr(error, 0, sizeof(error)) == NULL || error[0] == '\0') {
            abort();
        }

        return 0;
    }

    /* exactly as large, so that a read behind it is seen */

    size -= len + 1;
    text = malloc(size ? size : 1);

    if (text) {
        memcpy(text, end + 1, size);
        check(schema, text, size);
        free(text);
    }

    ps_schema_free(schema);

    return 0;
}
