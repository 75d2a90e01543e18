/*
 * From messages of the rpc to records. What comes in one go is handed out as one batch: its bytes lie in
 * chunks that belong to it, each answer copied once out of gRPC's read blocks.
 */
#include "rpc.h"

#include <grpc/byte_buffer_reader.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_RECORDS 1024u
#define BLOCK_BYTES ((size_t)256 * 1024)
#define BLOCK_TYPES 32u
/* The first chunk of a block, and the largest: answers that come one at a time do not hold much more than themselves. */
#define CHUNK_MIN_BYTES ((size_t)512)
#define CHUNK_MAX_BYTES ((size_t)32 * 1024)
#define TYPE_MAX_BYTES 256u

struct chunk {
	struct chunk *next;
	size_t used, room;
	char data[];
};

struct rpc_block {
	struct riffle_batch batch; /* owner points back here */
	struct riffle_record *records;
	uint32_t room;
	struct rpc_headers headers;
	const char *types[BLOCK_TYPES + 1]; /* entry 0 is NULL */
	struct chunk *chunks;
	size_t bytes;
};

static void
release(struct riffle_batch *batch)
{
	struct rpc_block *b = batch->owner;
	while (b->chunks != NULL) {
		struct chunk *k = b->chunks;
		b->chunks = k->next;
		free(k);
	}
	free(b->records);
	free(b->headers.list);
	free(b);
}

static char *
room_for(struct rpc_block *b, size_t len)
{
	struct chunk *k = b->chunks;
	if (k == NULL || k->room - k->used < len) {
		size_t room = k == NULL ? CHUNK_MIN_BYTES : 2 * k->room;
		room = room > CHUNK_MAX_BYTES ? CHUNK_MAX_BYTES : room;
		room = room < len ? len : room;
		k = rpc_realloc(NULL, sizeof *k + room);
		*k = (struct chunk){.next = b->chunks, .room = room};
		b->chunks = k;
		b->batch.pinned_bytes += sizeof *k + room;
	}
	char *p = k->data + k->used;
	k->used += len;
	return p;
}

static struct riffle_bytes
keep(struct rpc_block *b, struct riffle_bytes from)
{
	char *p = room_for(b, from.len);
	if (from.len > 0)
		memcpy(p, from.ptr, from.len);
	return (struct riffle_bytes){p, from.len};
}

static int
same(const char *type, struct riffle_bytes b)
{
	return strncmp(type, b.ptr, b.len) == 0 && type[b.len] == '\0';
}

/* Index of the type in the batch; 0 = there is no room for another. */
static uint32_t
type_index(struct rpc_block *b, struct riffle_bytes type)
{
	for (uint32_t i = b->batch.content_type_count; i-- > 1;)
		if (same(b->types[i], type))
			return i;
	if (b->batch.content_type_count > BLOCK_TYPES)
		return 0;
	char *text = room_for(b, type.len + 1);
	memcpy(text, type.ptr, type.len);
	text[type.len] = '\0';
	b->types[b->batch.content_type_count] = text;
	return b->batch.content_type_count++;
}

static struct rpc_block *
block_of(struct rpc_call *one)
{
	if (one->block == NULL) {
		struct rpc_block *b = rpc_alloc(sizeof *b);
		b->batch.size = sizeof b->batch;
		b->batch.record_size = sizeof *b->records;
		b->batch.content_type_count = 1;
		b->batch.owner = b;
		b->batch.release = release;
		one->block = b;
	}
	return one->block;
}

void
rpc_hand_out(struct rpc_call *one)
{
	struct rpc_block *b = one->block;
	one->block = NULL;
	if (b != NULL && (one->error.code != RIFFLE_OK || b->batch.record_count == 0)) {
		release(&b->batch);
	} else if (b != NULL) {
		b->batch.records = b->records;
		b->batch.headers = b->headers.list;
		b->batch.header_count = b->headers.count;
		b->batch.content_types = b->types;
		b->batch.pinned_bytes += b->room * sizeof *b->records +
					 b->headers.room * sizeof *b->headers.list + sizeof *b;
		one->events->output(one->data, &b->batch);
	}
	if (one->owner->replies == RPC_REPLIES_ONE && one->replied < one->received &&
		one->error.code == RIFFLE_OK &&
		RIFFLE_HAS(struct riffle_call_events, one->events, replied)) {
		one->replied = one->received;
		one->events->replied(one->data, one->replied);
	}
}

static int refuse(struct rpc_call *one, const char *fmt, ...) RIFFLE_PRINTF(2, 3);

/* The function broke the protocol: the call fails, and the same again would. */
static int
refuse(struct rpc_call *one, const char *fmt, ...)
{
	char text[160];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	return rpc_fail(&one->error, RIFFLE_E_DATA, 0, "the function at %s answered %s",
		one->owner->target, text);
}

/* A type that names one type, in one line. */
static int
is_exact(struct riffle_bytes type)
{
	const char *p = type.ptr;
	int slash = 0;
	for (size_t i = 0; i < type.len; i++) {
		if (p[i] < 0x20 || p[i] == 0x7f || p[i] == '*')
			return 0;
		slash |= p[i] == '/' && i > 0;
	}
	return slash;
}

static int
check(struct rpc_call *one, const struct rpc_frame *f)
{
	char type[64];
	rpc_quote(type, sizeof type, f->type.ptr, f->type.len);
	if (f->index < 0 || (uint32_t)f->index >= one->output_count)
		return refuse(one, "on output %d, the call has %u", f->index, one->output_count);
	if (f->type.len == 0)
		return refuse(one, "on output %d without a content type", f->index);
	if (f->type.len > TYPE_MAX_BYTES || !is_exact(f->type))
		return refuse(one, "on output %d with \"%s\" for a content type (%zu bytes)",
			f->index, type, f->type.len);
	if (one->owner->replies == RPC_REPLIES_ONE && one->received >= one->sent)
		return refuse(one, "more than one reply per record: %llu records, and one more",
			(unsigned long long)one->sent);
	return RIFFLE_OK;
}

static void
add(struct rpc_call *one, const struct rpc_frame *f)
{
	struct rpc_block *b = block_of(one);
	uint32_t type = type_index(b, f->type);
	if (b->batch.record_count == b->room) {
		b->room = b->room > 0 ? 2 * b->room : 16;
		b->records = rpc_realloc(b->records, b->room * sizeof *b->records);
	}
	uint32_t first = b->headers.count - f->header_count;
	size_t bytes = sizeof(struct riffle_record) + f->payload.len;
	for (uint32_t i = first; i < b->headers.count; i++) {
		struct riffle_header *h = &b->headers.list[i];
		*h = (struct riffle_header){keep(b, h->name), keep(b, h->value)};
		bytes += h->name.len + h->value.len;
	}
	b->records[b->batch.record_count++] = (struct riffle_record){.value = keep(b, f->payload),
		.offset = RIFFLE_OFFSET_NONE,
		.time_ms = RIFFLE_TIME_NONE,
		.partition = RIFFLE_PARTITION_NONE,
		.stream = (uint32_t)f->index,
		.header_first = first,
		.header_count = f->header_count,
		.content_type = type};
	b->bytes += bytes;
	one->received++;
	one->owner->due -= one->owner->replies == RPC_REPLIES_ONE;
	one->credit -= bytes < one->credit ? bytes : one->credit;
	one->output_bytes += f->payload.len;
	if (one->output_bytes > one->owner->max_output)
		refuse(one, "more than max-output = %zu bytes for one window",
			one->owner->max_output);
}

static void
read_message(struct rpc_call *one, const void *data, size_t len)
{
	struct rpc_frame f;
	struct rpc_block *b = block_of(one);
	if (b->batch.content_type_count > BLOCK_TYPES || b->batch.record_count >= BLOCK_RECORDS ||
		b->bytes >= BLOCK_BYTES) {
		rpc_hand_out(one);
		b = block_of(one);
	}
	const char *why = rpc_frame_read(data, len, &f, &b->headers);
	if (why != NULL)
		refuse(one, "a message that is no frame (%zu bytes): %s", len, why);
	else if (check(one, &f) == RIFFLE_OK)
		add(one, &f);
}

static void
read_buffer(struct rpc_call *one, grpc_byte_buffer *buffer)
{
	const grpc_slice_buffer *slices = &buffer->data.raw.slice_buffer;
	grpc_byte_buffer_reader reader;
	if (buffer->data.raw.compression != GRPC_COMPRESS_NONE) {
		refuse(one, "a compressed message, which was not offered");
		return;
	}
	if (slices->count == 1) {
		read_message(one, GRPC_SLICE_START_PTR(slices->slices[0]),
			GRPC_SLICE_LENGTH(slices->slices[0]));
		return;
	}
	rpc_assert(grpc_byte_buffer_reader_init(&reader, buffer));
	grpc_slice all = grpc_byte_buffer_reader_readall(&reader);
	read_message(one, GRPC_SLICE_START_PTR(all), GRPC_SLICE_LENGTH(all));
	grpc_slice_unref(all);
	grpc_byte_buffer_reader_destroy(&reader);
}

/* What the host has granted is looked at when it is needed; only then does its next grant wake the poller. */
static int
has_credit(struct rpc_call *one)
{
	if (one->credit > 0)
		return 1;
	pthread_mutex_lock(&one->owner->lock);
	one->credit = one->granted;
	one->granted = 0;
	one->wants_credit = one->credit == 0;
	pthread_mutex_unlock(&one->owner->lock);
	return one->credit > 0;
}

void
rpc_receive(struct rpc_call *one)
{
	grpc_op ops[2];
	size_t count = 0;
	if (one->is_receiving || one->output_ended || !one->is_started ||
		one->error.code != RIFFLE_OK || !has_credit(one))
		return;
	if (!one->has_initial) {
		one->has_initial = 1;
		ops[count++] = (grpc_op){.op = GRPC_OP_RECV_INITIAL_METADATA,
			.data.recv_initial_metadata.recv_initial_metadata = &one->initial};
	}
	ops[count++] = (grpc_op){
		.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &one->incoming};
	one->is_receiving = 1;
	rpc_start_batch(one, RPC_OP_RECEIVE, ops, count);
}

void
rpc_receive_done(struct rpc_call *one)
{
	grpc_byte_buffer *buffer = one->incoming;
	one->is_receiving = 0;
	one->incoming = NULL;
	if (buffer == NULL) {
		one->output_ended = 1;
		return;
	}
	if (one->error.code == RIFFLE_OK) {
		read_buffer(one, buffer);
		rpc_mark_dirty(one);
		if (one->error.code != RIFFLE_OK)
			rpc_stop_call(one);
	}
	grpc_byte_buffer_destroy(buffer);
}
