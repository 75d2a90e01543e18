/*
 * The keys of the core's own sections, as one table a kind: name, type, default, and the sentence that the
 * manual and `--help` show. A plugin's keys stand in the same sections and come from its own tables.
 */
#ifndef RFL_CONF_KEYS_H
#define RFL_CONF_KEYS_H

#include <riffle/option.h>

/* A key that is known and not offered by this version: named in the error, so nobody looks for a typo. */
#define RFL_KEY_NOT_YET (1u << 31)

struct rfl_keys {
	const char *kind; /* "processor" */
	const struct riffle_option *keys;
	size_t count;
};

const struct rfl_keys *rfl_keys_of(const char *kind); /* NULL: no such kind of section */
const char *const *rfl_section_kinds(size_t *ret_count);
const struct riffle_option *rfl_key_find(const struct rfl_keys *k, const char *name);

#endif
