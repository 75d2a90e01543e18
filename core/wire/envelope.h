/*
 * Envelopes of records on providers that keep no content type beside them: taken off when a record is read,
 * put on when it is written, as its stream's `encoding` says. Whatever is written there, all forms are
 * recognized when reading, and what is none of them is a record as it stands.
 *
 * Foreign headers are kept. An event that only carries a record (RFL_EVENT_TYPE) is taken off whole; of any
 * other the attributes stay as ce_ headers, and writing it again makes no new event of it.
 */
#ifndef RFL_WIRE_ENVELOPE_H
#define RFL_WIRE_ENVELOPE_H

#include "base/buf.h"
#include "conf/model.h"

#include <riffle/record.h>

/* Who writes: what identifies the events it makes. */
struct rfl_origin {
	const char *source; /* a URI reference */
	/* Adds the id of the n-th event to out, which is empty. */
	void (*id)(void *ctx, const struct riffle_batch *batch, const struct riffle_record *record,
		uint64_t n, struct rfl_buf *out);
	void *ctx;
	uint64_t first; /* n of the batch's first record */
};

/*
 * A batch of the stream without envelopes: one reference that is the caller's, of batch itself where there
 * is none to take off. batch's own is not touched.
 */
struct riffle_batch *rfl_envelope_open(
	const struct rfl_stream_conf *stream, struct riffle_batch *batch);
/* The other way; record.stream is an index into outputs. */
struct riffle_batch *rfl_envelope_seal(const struct rfl_output_conf *outputs,
	struct riffle_batch *batch, const struct rfl_origin *origin);
/* The same for records that all go to one stream, whatever record.stream says. */
struct riffle_batch *rfl_envelope_seal_for(const struct rfl_stream_conf *stream,
	struct riffle_batch *batch, const struct rfl_origin *origin);
/* Does any of the outputs have envelopes? */
int rfl_envelope_is_used(const struct rfl_output_conf *outputs, size_t count);

#endif
