/*
 * A provider made of memory, for rehearsals: streams of one partition that are there from the first word,
 * at once and without fail, behind the operations that every provider has, transactions among them.
 */
#ifndef RFL_RUNTIME_MEMORY_H
#define RFL_RUNTIME_MEMORY_H

#include "runtime/instance.h"

/* clock lives longer; it says when a lane was last caught up. To be destroyed as any other instance. */
int rfl_memory_create(const struct rfl_clock *clock, struct rfl_instance **ret_instance,
	struct riffle_error *reterr);
/* At the end of the stream; everything is copied. */
void rfl_memory_append(struct rfl_instance *memory, const struct riffle_stream *stream,
	const struct riffle_record *record, const struct riffle_header *headers,
	uint32_t header_count);
/*
 * The next record that a sink wrote to the stream, in a batch of its own, in the order of writing; those of
 * a transaction once it is committed. *at is 0 for the first. NULL = there are no more. Valid until the
 * instance is destroyed.
 */
const struct riffle_batch *rfl_memory_written(
	const struct rfl_instance *memory, const struct riffle_stream *stream, size_t *at);

#endif
