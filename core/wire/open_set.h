/*
 * The open set of a lane: which offsets between low and hw are of windows that were not done when the
 * position was committed. Sessions cannot be found again by W alone: what is read again would join what
 * was closed before.
 *
 * It stands behind the 64 characters of a tuple with RFL_TUPLE_OPEN_SET, as Base64: runs of offsets, each
 * as two varints (seven bits a byte, low ones first), how far it begins behind the end of the run before
 * it (the first one: behind low) and how many offsets it has; then CRC-32C u32, little-endian, of the
 * tuple's characters and of these bytes.
 */
#ifndef RFL_WIRE_OPEN_SET_H
#define RFL_WIRE_OPEN_SET_H

#include "wire/tuple.h"

/* What a position carries at most. */
#define RFL_POSITION_TEXT_MAX 4096

struct rfl_run {
	int64_t first, end; /* [first, end) */
};

struct rfl_open_set {
	unsigned char bytes[RFL_POSITION_TEXT_MAX];
	size_t len, room;
	int64_t end; /* of the last run; low before the first */
};

/* For a position of at most text_max characters, the tuple's among them. */
void rfl_open_set_begin(struct rfl_open_set *s, int64_t low, size_t text_max);
/* first is not before the end of the last run, end behind first. 0 = there is no room for it. */
int rfl_open_set_add(struct rfl_open_set *s, int64_t first, int64_t end);
/*
 * Behind the tuple that is in text already; returns the length of both, and ends with a NUL. text has room
 * for the text_max of begin + 1.
 */
size_t rfl_open_set_encode(const struct rfl_open_set *s, char *text);
/*
 * The runs of a position whose tuple has a set; the caller frees. E_DATA: it is damaged, or reaches
 * outside [low, hw).
 */
int rfl_open_set_decode(struct riffle_bytes text, int64_t low, int64_t hw,
	struct rfl_run **ret_runs, size_t *ret_count, struct riffle_error *reterr);

#endif
