/*
 * The records of a task's windows, from when they are read until nothing needs them any more: in chunks,
 * in the order in which they came, each one batch of one lane. The first chunk of a lane that something
 * still needs is where a successor has to read from.
 *
 * A chunk is counted by its needs: `live` ones, which hold the lane's position, and `kept` ones, whose
 * transaction is under way. One thread.
 */
#ifndef RFL_TASK_STORE_H
#define RFL_TASK_STORE_H

#include "base/list.h"
#include "plugin/batch.h"

#include <riffle/abi.h>

struct rfl_chunk {
	struct rfl_list link; /* in its lane's, in order */
	uint32_t lane;
	uint32_t count;
	uint64_t order; /* of arrival, over all lanes */
	int64_t first_offset;
	uint32_t live, kept;
	size_t bytes;
	struct riffle_batch
		*batch;     /* one reference; NULL while it is spilled or no longer needed */
	int64_t spilled_at; /* in the file; -1 = not */
	int is_copy;        /* of ours; else borrowed from the provider */
	int is_pinned;      /* not to be spilled: somebody points into it */
	uint64_t *open;     /* a bit a record, see open.c; NULL = none was ever set */
	int64_t *offsets;   /* with open; NULL = each record's is one more than the last one's */
};

struct rfl_store;

/* spill_dir is where the file is made when it is needed; spill_bytes 0 = never. */
struct rfl_store *rfl_store_create(
	size_t lane_count, const char *spill_dir, size_t memory_bytes, int64_t spill_bytes);
void rfl_store_destroy(struct rfl_store *s); /* with all it holds; NULL is a no-op */

/* A copy of the records, as of input `stream`. Nothing needs it yet: need it, or discard it. */
struct rfl_chunk *rfl_store_copy(struct rfl_store *s, uint32_t lane,
	const struct riffle_batch *from, uint32_t first, uint32_t count, uint32_t stream);
/* The same without copying: takes over the reference. */
struct rfl_chunk *rfl_store_borrow(struct rfl_store *s, uint32_t lane, struct riffle_batch *b);

void rfl_store_need(struct rfl_chunk *c, uint32_t n);
void rfl_store_release(struct rfl_store *s, struct rfl_chunk *c, uint32_t n);
/* From live to kept, and back; kept ones are released at last. */
void rfl_store_stage(struct rfl_chunk *c, uint32_t n);
void rfl_store_unstage(struct rfl_chunk *c, uint32_t n);
void rfl_store_release_kept(struct rfl_store *s, struct rfl_chunk *c, uint32_t n);
void rfl_store_discard(struct rfl_store *s, struct rfl_chunk *c); /* if nothing needs it */

/*
 * Its batch with a reference of the caller's, read from the file if it lies there. E_FATAL when it cannot
 * be read.
 */
int rfl_store_batch(struct rfl_store *s, struct rfl_chunk *c, struct riffle_batch **ret_batch,
	struct riffle_error *reterr);

size_t rfl_store_lane_count(const struct rfl_store *s);
/* The chunks of a lane, in their order. */
const struct rfl_list *rfl_store_chunks(const struct rfl_store *s, uint32_t lane);
/* The first offset of the lane that is still needed; next when there is none. */
int64_t rfl_store_low(const struct rfl_store *s, uint32_t lane, int64_t next);
size_t rfl_store_bytes(const struct rfl_store *s);    /* in memory */
int64_t rfl_store_spilled(const struct rfl_store *s); /* in the file */
/*
 * Writes the newest chunks of copies to the file until at most limit bytes are in memory. 0, or E_FULL
 * when `spill` does not suffice, or another error of the file.
 */
int rfl_store_spill(struct rfl_store *s, size_t limit, struct riffle_error *reterr);

#endif
