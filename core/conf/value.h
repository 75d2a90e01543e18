/*
 * Values of the INI: each parser takes the whole text or refuses it. Where they refuse, *ret_why is a
 * sentence that names the spellings which are meant; it lives as long as the process.
 */
#ifndef RFL_CONF_VALUE_H
#define RFL_CONF_VALUE_H

#include <stddef.h>
#include <stdint.h>

#include "conf/arena.h"

/* 250ms, 1m30s, 7d; a bare 0; at most 100 years, 36525d. In milliseconds, which as nanoseconds are an int64_t still. */
int rfl_value_duration(const char *s, int64_t *ret_ms, const char **ret_why);
/* 512B, 64KiB, 1GB. In bytes. */
int rfl_value_size(const char *s, int64_t *ret_bytes, const char **ret_why);
int rfl_value_int(const char *s, int64_t *ret, const char **ret_why);
int rfl_value_bool(const char *s, int64_t *ret, const char **ret_why);
/* RFC 3339, "2026-01-02T03:04:05Z"; in milliseconds since 1970. */
int rfl_value_time(const char *s, int64_t *ret_ms);
/* Separated by commas, blanks around them left out, empty ones refused; NULL-terminated. */
char **rfl_value_list(struct rfl_conf_memory *a, const char *s, size_t *ret_count);
/* Words as sh splits them: blanks, '...', "..." with \" and \\; no expansion. NULL: an open quote. */
char **rfl_value_words(struct rfl_conf_memory *a, const char *s);
int rfl_value_is_label(const char *s); /* a DNS label of at most 63 */
/* How many letters differ; long words are only told to be far apart. */
size_t rfl_value_distance(const char *a, const char *b);
/* The known word nearest to what was written, or NULL when none is near. */
const char *rfl_value_nearest(const char *s, const char *const *words, size_t count);

#endif
