/*
 * schema: judges documents by a JSON schema, as "request_schema" does.
 *
 * Reads lines: "S SCHEMA" takes another schema and prints "ok" or "error"
 * with what is wrong; "D DOCUMENT" prints "valid", "invalid" with where
 * the first fault is, "costly", or "no json".
 *
 * gcc -o build/tools/schema tests/tools/schema.c (the files ps_*.c)
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ps_schema.h"


int
main(void)
{
    char               *line, error[1024];
    size_t              room, n;
    ssize_t             len;
    ps_schema_t        *schema;
    ps_json_rc_e        rc;
    ps_json_tape_t      tape;
    ps_schema_fault_t   faults[4];

    static const char  *words[] = { "valid", "invalid", "costly", "memory" };

    memset(&tape, 0, sizeof(tape));
    line = NULL;
    room = 0;
    schema = NULL;

    while ((len = getline(&line, &room, stdin)) > 2) {

        if (line[len - 1] == '\n') {
            line[--len] = '\0';
        }

        if (line[0] == 'S') {
            if (schema) {
                ps_schema_free(schema);
            }

            schema = ps_schema_compile(line + 2, (size_t) len - 2, error,
                                       sizeof(error));
            puts(schema ? "ok" : "error");

            if (schema == NULL) {
                puts(error);
            }

        } else if (schema == NULL) {
            puts("no schema");

        } else {
            rc = ps_json_tape_read(&tape, line + 2, (size_t) len - 2,
                                   PS_JSON_TAPE_MAX_DEPTH,
                                   PS_JSON_TAPE_UNIQUE);

            if (rc != PS_JSON_OK) {
                puts("no json");

            } else {
                fputs(words[ps_schema_check(schema, &tape, faults, 4, &n)],
                      stdout);
                if (n) {
                    printf(" %s", faults[0].pointer);
                }
                putchar('\n');
            }
        }

        fflush(stdout);
    }

    if (schema) {
        ps_schema_free(schema);
    }

    ps_json_tape_free(&tape);
    free(line);

    return 0;
}
