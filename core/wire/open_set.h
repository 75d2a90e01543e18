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

#include "base/buf.h"
#include "wire/tuple.h"

/* What a position carries at most. */
#define RFL_POSITION_TEXT_MAX 4096

struct rfl_run {
	int64_t first, end; /* [first, end) */
};

struct rfl_open_set {
	struct rfl_buf bytes; /* the runs as they are written */
	size_t room;
	int64_t end; /* of the last run; low before the first */
};

#define RFL_OPEN_SET_INIT                                                                          \
	{                                                                                          \
		RFL_BUF_INIT, 0, 0                                                                 \
	}

/* How many bytes of runs a position of at most text_max characters, the tuple's among them, takes. */
size_t rfl_open_set_room(size_t text_max);
/* Empty again, for at most so many bytes of runs. */
void rfl_open_set_begin(struct rfl_open_set *s, int64_t low, size_t room);
void rfl_open_set_fini(struct rfl_open_set *s);
/* first is not before the end of the last run, end behind first. 0 = there is no room for it. */
int rfl_open_set_add(struct rfl_open_set *s, int64_t first, int64_t end);
/* As many bytes as this number takes, of which each run has two. */
size_t rfl_open_set_number_bytes(uint64_t v);
/*
 * Behind the tuple that is in text already; returns the length of both, and ends with a NUL. text has room
 * for what the set was begun for, and a NUL.
 */
size_t rfl_open_set_encode(const struct rfl_open_set *s, char *text);
/*
 * The runs of a position whose tuple has a set; the caller frees. E_DATA: it is damaged, or reaches
 * outside [low, hw).
 */
int rfl_open_set_decode(struct riffle_bytes text, int64_t low, int64_t hw,
	struct rfl_run **ret_runs, size_t *ret_count, struct riffle_error *reterr);
/* The same of bytes of runs alone: 0 = they are none, or reach outside. */
int rfl_open_set_parse(struct riffle_bytes bytes, int64_t low, int64_t hw,
	struct rfl_run **ret_runs, size_t *ret_count);

#endif
