/*
 * From staged records to messages of the rpc. One is with gRPC at a time. Each but the last of those
 * that can go now carries the hint that more follows: without it every record is a system call, and
 * with it the last one would wait for ever.
 */
#include "rpc.h"

#include <stdlib.h>
#include <string.h>

static void
let_go(struct rpc_call *one)
{
	struct rpc *c = one->owner;
	struct rpc_piece *p = one->first;
	one->first = p->next;
	if (one->first == NULL)
		one->last = &one->first;
	pthread_mutex_lock(&c->lock);
	one->staged_bytes -= p->bytes;
	int tell = one->wants_room && one->staged_bytes <= RPC_STAGED_MAX / 2;
	if (tell)
		one->wants_room = 0;
	pthread_mutex_unlock(&c->lock);
	c->host->batch_unref(c->host, p->batch);
	free(p);
	if (tell && one->error.code == RIFFLE_OK && !one->output_ended)
		one->events->writable(one->data);
}

void
rpc_drop_input(struct rpc_call *one)
{
	pthread_mutex_lock(&one->owner->lock);
	*one->last = one->fresh;
	one->fresh = NULL;
	one->fresh_last = &one->fresh;
	one->wants_room = 0;
	pthread_mutex_unlock(&one->owner->lock);
	while (one->first != NULL)
		let_go(one);
}

/*
 * For functions that reply once to each record: the most that is in flight, because riff's Node invoker
 * takes in without bound. From there on it goes on at the half, so that records leave in bursts.
 */
static int
may_send(struct rpc_call *one, uint64_t sent)
{
	const struct rpc *c = one->owner;
	if (c->replies != RPC_REPLIES_ONE)
		return 1;
	uint64_t open = sent - one->received;
	if (open >= c->in_flight)
		one->is_paused = 1;
	else if (open <= c->in_flight / 2)
		one->is_paused = 0;
	return !one->is_paused;
}

static int
has_record(const struct rpc_call *one)
{
	return one->first != NULL;
}

static grpc_slice
next_frame(struct rpc_call *one)
{
	struct rpc_piece *p = one->first;
	const struct riffle_batch *b = p->batch;
	const struct riffle_record *r = riffle_batch_at(b, p->record++);
	const char *type = r->content_type != 0 ? b->content_types[r->content_type]
						: one->input_types[r->stream];
	const struct rpc_frame f = {.payload = r->value,
		.type = {type, strlen(type)},
		.headers = r->header_count > 0 ? &b->headers[r->header_first] : NULL,
		.header_count = r->header_count,
		.index = (int32_t)r->stream};
	grpc_slice slice = grpc_slice_malloc(rpc_frame_size(&f));
	rpc_frame_write(&f, GRPC_SLICE_START_PTR(slice));
	if (p->record == p->end)
		let_go(one);
	return slice;
}

/* The end may go with the last message, unless the replies are waited for. */
static int
may_close(const struct rpc_call *one)
{
	return one->is_ended && !one->is_closed && !has_record(one) &&
	       (one->owner->replies != RPC_REPLIES_ONE || one->received == one->sent);
}

static grpc_op
message(struct rpc_call *one, grpc_slice slice)
{
	grpc_slice_buffer *buffer = &one->outgoing->data.raw.slice_buffer;
	grpc_slice_buffer_reset_and_unref(buffer);
	grpc_slice_buffer_add(buffer, slice);
	one->is_sending = 1;
	return (grpc_op){
		.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = one->outgoing};
}

static size_t
add_close(struct rpc_call *one, grpc_op *ops, size_t count)
{
	if (!may_close(one))
		return count;
	one->is_closed = 1;
	ops[count] = (grpc_op){.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};
	return count + 1;
}

static void
send_start(struct rpc_call *one)
{
	grpc_op ops[3] = {{.op = GRPC_OP_SEND_INITIAL_METADATA,
		.data.send_initial_metadata = {
			.count = one->metadata_count, .metadata = one->metadata}}};
	one->is_started = 1;
	ops[1] = message(one, grpc_slice_ref(one->start));
	ops[1].flags = has_record(one) ? GRPC_WRITE_BUFFER_HINT : 0;
	rpc_start_batch(one, RPC_OP_START, ops, add_close(one, ops, 2));
}

static void
send_record(struct rpc_call *one)
{
	grpc_op ops[2] = {message(one, next_frame(one))};
	one->sent++;
	one->owner->due += one->owner->replies == RPC_REPLIES_ONE;
	if (has_record(one) && may_send(one, one->sent))
		ops[0].flags = GRPC_WRITE_BUFFER_HINT;
	rpc_start_batch(one, RPC_OP_SEND, ops, add_close(one, ops, 1));
}

void
rpc_send(struct rpc_call *one)
{
	if (one->is_sending || one->is_closed || one->has_status)
		return;
	if (!one->is_started) {
		send_start(one);
		return;
	}
	/* The function has answered all it wants to: what it did not read is not sent. */
	if (one->output_ended) {
		one->left_unsent |= has_record(one) || !one->is_ended;
		rpc_drop_input(one);
		one->is_ended = 1;
	}
	if (has_record(one) && may_send(one, one->sent)) {
		send_record(one);
		return;
	}
	grpc_op close;
	if (add_close(one, &close, 0) > 0)
		rpc_start_batch(one, RPC_OP_CLOSE, &close, 1);
}

void
rpc_send_done(struct rpc_call *one)
{
	one->is_sending = 0;
}
