/* riff's rpc on the bare C core with protobuf-c and nothing else: what the raw loops share, and their client, which has the drain rule. */
#ifndef BENCH_RAW_RIFF_H
#define BENCH_RAW_RIFF_H

#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <riff.pb-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void
must(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s\n", what);
	exit(1);
}

static inline grpc_event
next(grpc_completion_queue *queue, int wait)
{
	return grpc_completion_queue_next(queue,
		wait ? gpr_inf_future(GPR_CLOCK_MONOTONIC) : gpr_inf_past(GPR_CLOCK_MONOTONIC),
		NULL);
}

static inline void
batch(grpc_call *call, void *tag, const grpc_op *ops, size_t count)
{
	must(grpc_call_start_batch(call, ops, count, tag, NULL) == GRPC_CALL_OK, "start_batch");
}

static inline grpc_slice
all_of(grpc_byte_buffer *b)
{
	grpc_byte_buffer_reader reader;
	must(grpc_byte_buffer_reader_init(&reader, b), "reader");
	grpc_slice s = grpc_byte_buffer_reader_readall(&reader);
	grpc_byte_buffer_reader_destroy(&reader);
	grpc_byte_buffer_destroy(b);
	return s;
}

static inline void
send_slice(grpc_call *call, void *tag, grpc_byte_buffer **held, grpc_slice s, uint32_t flags)
{
	grpc_byte_buffer *b = grpc_raw_byte_buffer_create(&s, 1);
	grpc_op op = {
		.op = GRPC_OP_SEND_MESSAGE, .flags = flags, .data.send_message.send_message = b};
	batch(call, tag, &op, 1);
	*held = b;
	grpc_slice_unref(s);
}

static inline grpc_slice
packed(const Streaming__InputSignal *s)
{
	grpc_slice out = grpc_slice_malloc(streaming__input_signal__get_packed_size(s));
	streaming__input_signal__pack(s, GRPC_SLICE_START_PTR(out));
	return out;
}

static inline grpc_slice
start_frame(const char *content_type)
{
	char type[64], in[] = "in", out[] = "out";
	char *types[] = {type}, *ins[] = {in}, *outs[] = {out};
	Streaming__StartFrame start;
	Streaming__InputSignal signal;
	snprintf(type, sizeof type, "%s", content_type);
	streaming__start_frame__init(&start);
	streaming__input_signal__init(&signal);
	start.n_expectedcontenttypes = start.n_inputnames = start.n_outputnames = 1;
	start.expectedcontenttypes = types;
	start.inputnames = ins;
	start.outputnames = outs;
	signal.frame_case = STREAMING__INPUT_SIGNAL__FRAME_START;
	signal.start = &start;
	return packed(&signal);
}

/* One call, which asks for its records and gives back the replies to them in order. */
struct client {
	/* A record that may be sent now; the one that is there, which is gone with that; a reply. */
	int (*has_next)(struct client *);
	const Streaming__InputSignal *(*next)(struct client *);
	void (*took)(struct client *, const Streaming__OutputFrame *);
	unsigned long in_flight, sent, received;

	grpc_call *call;
	grpc_completion_queue *queue;
	int sending, receiving, paused, closed, is_over;
	grpc_byte_buffer *incoming, *outgoing;
	grpc_metadata_array initial, trailing;
	grpc_status_code status;
	grpc_slice details;
};

enum tag { TAG_START = 1, TAG_SEND, TAG_RECEIVE, TAG_CLOSE, TAG_STATUS };

static inline void *
tag(enum tag t)
{
	return (void *)(uintptr_t)t;
}

static inline void
client_open(struct client *c, const char *target, const char *content_type)
{
	grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
	grpc_channel *channel = grpc_channel_create(target, credentials, NULL);
	c->queue = grpc_completion_queue_create_for_next(NULL);
	c->call = grpc_channel_create_call(channel, NULL, GRPC_PROPAGATE_DEFAULTS, c->queue,
		grpc_slice_from_static_string("/streaming.Riff/Invoke"), NULL,
		gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
	c->details = grpc_empty_slice();
	grpc_metadata_array_init(&c->initial);
	grpc_metadata_array_init(&c->trailing);
	grpc_op last = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
		.data.recv_status_on_client = {.trailing_metadata = &c->trailing,
			.status = &c->status,
			.status_details = &c->details}};
	batch(c->call, tag(TAG_STATUS), &last, 1);
	grpc_slice start = start_frame(content_type);
	c->outgoing = grpc_raw_byte_buffer_create(&start, 1);
	grpc_op ops[] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},
		{.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = c->outgoing},
		{.op = GRPC_OP_RECV_INITIAL_METADATA,
			.data.recv_initial_metadata.recv_initial_metadata = &c->initial}};
	batch(c->call, tag(TAG_SEND), ops, 2);
	c->sending = 1;
	batch(c->call, tag(TAG_START), ops + 2, 1);
}

/* From the full credit it goes on at the half, so that records leave in bursts. */
static inline int
client_may_send(struct client *c)
{
	unsigned long open = c->sent - c->received;
	if (open >= c->in_flight)
		c->paused = 1;
	else if (open <= c->in_flight / 2)
		c->paused = 0;
	return !c->paused && c->has_next(c);
}

static inline void
client_send(struct client *c)
{
	if (c->sending || c->closed || !client_may_send(c))
		return;
	grpc_slice s = packed(c->next(c));
	c->sent++;
	c->sending = 1;
	send_slice(c->call, tag(TAG_SEND), &c->outgoing, s,
		client_may_send(c) ? GRPC_WRITE_BUFFER_HINT : 0);
}

static inline void
client_receive(struct client *c)
{
	if (c->receiving || c->sent == c->received)
		return;
	grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &c->incoming};
	c->receiving = 1;
	batch(c->call, tag(TAG_RECEIVE), &op, 1);
}

static inline void
client_take(struct client *c)
{
	c->receiving = 0;
	must(c->incoming != NULL, "the server ended early");
	grpc_slice s = all_of(c->incoming);
	Streaming__OutputSignal *out = streaming__output_signal__unpack(
		NULL, GRPC_SLICE_LENGTH(s), GRPC_SLICE_START_PTR(s));
	must(out != NULL && out->data != NULL, "not our frame");
	c->received++;
	c->took(c, out->data);
	streaming__output_signal__free_unpacked(out, NULL);
	grpc_slice_unref(s);
}

/* One completion, and what can be done after it. */
static inline void
client_step(struct client *c)
{
	grpc_event ev = next(c->queue, 1);
	if (ev.tag == tag(TAG_STATUS))
		c->is_over = 1;
	else if (ev.tag == tag(TAG_SEND)) {
		grpc_byte_buffer_destroy(c->outgoing);
		c->sending = 0;
	} else if (ev.tag == tag(TAG_RECEIVE))
		client_take(c);
	if (c->is_over)
		return;
	client_send(c);
	client_receive(c);
}

/* Everything was replied to: the end of input, and the status. */
static inline void
client_close(struct client *c)
{
	grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};
	c->closed = 1;
	batch(c->call, tag(TAG_CLOSE), &op, 1);
	while (!c->is_over)
		client_step(c);
	must(c->status == GRPC_STATUS_OK, "the call failed");
}

#endif
