/*
 * A path to one value of a JSON document, and the value found in a record's bytes.
 *
 *     path  = "$" step* | name step*          $ alone is the whole document
 *     step  = "." name | "[" index "]" | "[" quoted "]"
 *     name  = letter, "_" or non-ASCII, then also digits and "-"
 *     index = decimal from 0, without leading zeros
 *     quoted = '...' or "...", with the escapes of JSON and \'
 *
 * So `$.user.id`, `user.id`, `items[0].sku` and `$['a b']` are paths: the part of RFC 9535 that names
 * at most one value. A name that a document has twice in one object means the last one.
 *
 * The document is read once, whole, and nothing is allocated for it: what is not JSON (RFC 8259,
 * UTF-8, no byte order mark, no half of a surrogate pair, at most RFL_JSON_DEPTH deep) is E_DATA,
 * wherever the fault is, so that no key is taken from half a record.
 */
#ifndef RFL_BASE_JSON_PATH_H
#define RFL_BASE_JSON_PATH_H

#include "base/buf.h"

#include <riffle/abi.h>

#define RFL_JSON_DEPTH 128 /* objects and arrays within each other */
#define RFL_JSON_PATH_STEPS 32
#define RFL_JSON_PATH_TEXT 1024

enum rfl_json_kind {
	RFL_JSON_NULL,
	RFL_JSON_FALSE,
	RFL_JSON_TRUE,
	RFL_JSON_NUMBER,
	RFL_JSON_STRING,
	RFL_JSON_ARRAY,
	RFL_JSON_OBJECT
};

struct rfl_json_value {
	enum rfl_json_kind kind;
	int has_escapes;
	struct riffle_bytes raw; /* in the document; of a string what is between the quotes */
};

struct rfl_json_path;

/* E_CONFIG, the text saying at which character of the path and what would do. */
int rfl_json_path_create(
	const char *text, struct rfl_json_path **ret_path, struct riffle_error *reterr);
void rfl_json_path_destroy(struct rfl_json_path *path); /* NULL is a no-op */

/*
 * 1 and *ret_value, 0 when the document has no such value, or E_DATA when it is not JSON. Any number
 * of threads may use one path at a time.
 */
int rfl_json_path_find(const struct rfl_json_path *path, struct riffle_bytes document,
	struct rfl_json_value *ret_value, struct riffle_error *reterr);
/*
 * The value's text: of a string its characters, of anything else as it is written. Lies in the
 * document, or, where a string has escapes, in buf, which is cleared before.
 */
struct riffle_bytes rfl_json_text(const struct rfl_json_value *value, struct rfl_buf *buf);
const char *rfl_json_kind_name(enum rfl_json_kind kind); /* "a string", for messages */

#endif
