
#include <string.h>

#include <jansson.h>

#include "ps_override_read.h"


static const char *ps_override_members(json_t *json, uint64_t burst,
    ps_override_t *o, uint64_t *expires);


const char *
ps_override_read(const char *text, size_t len, uint64_t burst,
    ps_override_t *o, uint64_t *expires)
{
    json_t      *json;
    const char  *err;

    json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    if (json == NULL) {
        return "The body is no JSON, or names a member twice.";
    }

    err = json_is_object(json)
          ? ps_override_members(json, burst, o, expires)
          : "The body must be an object.";

    json_decref(json);

    return err;
}


static const char *
ps_override_members(json_t *json, uint64_t burst, ps_override_t *o,
    uint64_t *expires)
{
    json_t      *value;
    const char  *name;

    *expires = 0;
    o->dry_run = 0;

    if (json_object_get(json, "rate") == NULL) {
        return "The body must have a \"rate\", as 100r/s, r/m, r/h or r/d.";
    }

    json_object_foreach(json, name, value) {

        if (strcmp(name, "rate") == 0) {

            if (!json_is_string(value)
                || ps_gcra_rate(json_string_value(value),
                                json_string_length(value), &o->rate)
                   != 0)
            {
                return "The \"rate\" must be a text as 100r/s, r/m, r/h or "
                       "r/d, at most 1000000r/s.";
            }

        } else if (strcmp(name, "burst") == 0) {

            if (!json_is_integer(value) || json_integer_value(value) <= 0) {
                return "The \"burst\" must be a number, 1 or more.";
            }

            burst = (uint64_t) json_integer_value(value);

        } else if (strcmp(name, "dry_run") == 0) {

            if (!json_is_boolean(value)) {
                return "\"dry_run\" must be true or false.";
            }

            o->dry_run = json_is_true(value);

        } else if (strcmp(name, "expires") == 0) {

            if (!json_is_integer(value) || json_integer_value(value) <= 0
                || json_integer_value(value) > PS_OVERRIDE_LAST)
            {
                return "\"expires\" must be a number of seconds, at most a "
                       "year.";
            }

            *expires = (uint64_t) json_integer_value(value);

        } else {
            return "The members are \"rate\", \"burst\", \"dry_run\" and "
                   "\"expires\".";
        }
    }

    if (ps_gcra_limit(&o->limit, &o->rate, burst) != 0) {
        return "The \"burst\" would take more than 90 days to come back.";
    }

    return NULL;
}
