/*
 * Data frames as bytes: InputSignal with an InputFrame to write, OutputSignal with an OutputFrame to
 * read. Written straight from a record's views, read into views of the message. No gRPC in here.
 */
#ifndef RIFFLE_RPC_FRAME_H
#define RIFFLE_RPC_FRAME_H

#include <riffle/record.h>

/* One record as a frame carries it. An absent value is written like an empty one. */
struct rpc_frame {
	struct riffle_bytes payload, type;
	const struct riffle_header *headers;
	uint32_t header_count;
	int32_t index; /* argIndex or resultIndex */
};

size_t rpc_frame_size(const struct rpc_frame *f); /* of the whole signal; at most payload + headers
						     + some bytes for each */
void rpc_frame_write(const struct rpc_frame *f, unsigned char *out); /* rpc_frame_size bytes */

/* Headers of one or more frames that were read. */
struct rpc_headers {
	struct riffle_header *list;
	uint32_t count, room;
};

/*
 * Reads one OutputSignal. ret_frame's views point into data; its headers are appended to headers, and
 * ret_frame->headers is not set. A field given twice counts as its last; a header name given twice
 * is two headers; unknown fields are passed over. NULL, or what is wrong, in static words.
 */
const char *rpc_frame_read(
	const void *data, size_t len, struct rpc_frame *ret_frame, struct rpc_headers *headers);

/* Bytes of the UTF-8 character at p, 0 where there is none. */
size_t rpc_utf8_at(const void *p, size_t len);
int rpc_is_utf8(struct riffle_bytes b);

#endif
