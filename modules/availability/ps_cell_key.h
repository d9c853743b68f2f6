
/*
 * Parts of the key of a cell, penstock:cell:{ZONE:SKU}:LOCATION:SCOPE, written
 * so that no two cells have the same.
 */

#ifndef _PS_CELL_KEY_H_INCLUDED_
#define _PS_CELL_KEY_H_INCLUDED_


#include <stddef.h>

#include "ps_json_text.h"


/*
 * A SKU or a location: ":", "{", "}", "%" and what is no visible character
 * percent-encoded.  "p" has room for three times its bytes; returns the end.
 */

char *ps_cell_key_id(char *p, const ps_json_text_t *id);

/*
 * What a scope begins with: "%", "?" and ";" of the key percent-encoded, as
 * ";body=" and "?" stand behind it, and the colon of a "sha256:" at its start,
 * as a scope's digest has that.  Likewise.
 */

char *ps_cell_key_scope(char *p, const char *key, size_t len);


#endif /* _PS_CELL_KEY_H_INCLUDED_ */
