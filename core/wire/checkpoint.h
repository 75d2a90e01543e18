/*
 * The open set as a record of the checkpoint stream, where it does not fit its position.
 *
 * The key is "<group>/<topic>/<partition>" of the lane, the value the 64 characters of the tuple that
 * points to it, low i64, the runs as in wire/open_set.h, and CRC-32C u32 of all that; numbers are
 * little-endian. The tuple has a number that no other commit of the task has: a value of another commit
 * is never taken for this one's. A record without a value says that the set is in the position again.
 */
#ifndef RFL_WIRE_CHECKPOINT_H
#define RFL_WIRE_CHECKPOINT_H

#include "wire/open_set.h"

/* What a value has beside the runs. */
#define RFL_CHECKPOINT_BYTES ((size_t)RFL_TUPLE_TEXT + 12)

/* The caller frees. */
char *rfl_checkpoint_key(const char *group, const char *topic, int32_t partition);
/* Behind what out has already. */
void rfl_checkpoint_encode(
	const char *tuple, int64_t low, const struct rfl_open_set *set, struct rfl_buf *out);
/* 1 = it was written with this position, as far as its first bytes say. */
int rfl_checkpoint_is_of(struct riffle_bytes value, struct riffle_bytes position);
/*
 * The runs of the value that was written with this position; the caller frees. E_DATA: it is of another
 * commit, damaged, or reaches outside [low, hw).
 */
int rfl_checkpoint_decode(struct riffle_bytes value, struct riffle_bytes position, int64_t low,
	int64_t hw, struct rfl_run **ret_runs, size_t *ret_count, struct riffle_error *reterr);

#endif
