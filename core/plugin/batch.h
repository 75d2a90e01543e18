/*
 * Batches that the core makes itself: records copied into one block of memory, for panes, for
 * publishing and for outputs on their way to a sink.
 */
#ifndef RFL_PLUGIN_BATCH_H
#define RFL_PLUGIN_BATCH_H

#include <riffle/record.h>

#include <stddef.h>

struct rfl_builder;

struct rfl_builder *rfl_builder_create(void);
void rfl_builder_destroy(struct rfl_builder *b); /* with what is not finished; NULL is a no-op */
/* Copies key, value, headers, content type of record i of from. */
void rfl_builder_copy(struct rfl_builder *b, const struct riffle_batch *from, uint32_t i);
/* Copies a record that is in no batch: content_type NULL = not stated; record's own index unused. */
void rfl_builder_add(struct rfl_builder *b, const struct riffle_record *record,
	const struct riffle_header *headers, uint32_t header_count, const char *content_type);
/*
 * A builder whose batch keeps a reference of from, so that records may be lent: their bytes are those of
 * from, only what is not is kept first.
 */
struct rfl_builder *rfl_builder_over(struct riffle_batch *from);
struct riffle_bytes rfl_builder_keep(struct rfl_builder *b, const void *data, size_t len);
void rfl_builder_lend(struct rfl_builder *b, const struct riffle_record *record,
	const struct riffle_header *headers, uint32_t header_count,
	struct riffle_bytes content_type);
uint32_t rfl_builder_count(const struct rfl_builder *b);
size_t rfl_builder_bytes(const struct rfl_builder *b); /* what the batch would pin */
/* The batch, with one reference that is the caller's, or NULL when empty; the builder is empty again. */
struct riffle_batch *rfl_builder_finish(struct rfl_builder *b);

/*
 * Records [first, first + count) with all their bytes, as of this stream, in one piece of memory that can
 * be moved: rfl_batch_pack says where it lies, rfl_batch_unpack makes a batch of such bytes again.
 */
struct riffle_batch *rfl_batch_copy(
	const struct riffle_batch *from, uint32_t first, uint32_t count, uint32_t stream);
struct riffle_bytes rfl_batch_pack(
	const struct riffle_batch *copy);           /* valid as long as the batch */
struct riffle_batch *rfl_batch_unpack(void *bytes); /* takes the bytes, which malloc gave */

/*
 * A batch of records from here and there: arrays of its own, bytes of the batches they lie in, of which
 * it keeps references. at[i] is record i.
 */
struct rfl_record_at {
	struct riffle_batch *batch;
	uint32_t index;
};
struct riffle_batch *rfl_batch_gather(const struct rfl_record_at *at, uint32_t count);

/*
 * A batch of views: record and header arrays of its own, bytes of the batches it was made from, of
 * which it keeps references. NULL-safe in from.
 */
struct riffle_batch *rfl_batch_view(struct riffle_batch *from, uint32_t first, uint32_t count);
/* When its last reference goes, a batch made here is overwritten and kept for a while: for finding who still reads it. */
void rfl_batch_poison(struct riffle_batch *b);
/* The records of a batch made here, to be changed before anybody else sees it. */
struct riffle_record *rfl_batch_records(struct riffle_batch *b);
/* A copy of the bytes that lives as long as such a batch, for its records to point to. */
struct riffle_bytes rfl_batch_hold(struct riffle_batch *b, struct riffle_bytes bytes);

#endif
