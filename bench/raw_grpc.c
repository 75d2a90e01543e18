/*
 * The bare C core doing what the grpc invoker does: an echo server of riff's rpc, and a client with the
 * drain rule, protobuf-c and nothing else.
 *
 *   raw_grpc serve                              prints its port, echoes until it is killed
 *   raw_grpc run PORT RECORDS BYTES IN-FLIGHT   prints records, seconds, CPU seconds, peak RSS in KiB
 */
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <riff.pb-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static void
must(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "raw_grpc: %s\n", what);
	exit(1);
}

enum tag { TAG_START = 1, TAG_SEND, TAG_RECEIVE, TAG_CLOSE, TAG_STATUS, TAG_CALL, TAG_CLOSED };

static void *
tag(enum tag t)
{
	return (void *)(uintptr_t)t;
}

static grpc_event
next(grpc_completion_queue *queue, int wait)
{
	return grpc_completion_queue_next(queue,
		wait ? gpr_inf_future(GPR_CLOCK_MONOTONIC) : gpr_inf_past(GPR_CLOCK_MONOTONIC),
		NULL);
}

static void
batch(grpc_call *call, enum tag t, const grpc_op *ops, size_t count)
{
	must(grpc_call_start_batch(call, ops, count, tag(t), NULL) == GRPC_CALL_OK, "start_batch");
}

static grpc_slice
all_of(grpc_byte_buffer *b)
{
	grpc_byte_buffer_reader reader;
	must(grpc_byte_buffer_reader_init(&reader, b), "reader");
	grpc_slice s = grpc_byte_buffer_reader_readall(&reader);
	grpc_byte_buffer_reader_destroy(&reader);
	grpc_byte_buffer_destroy(b);
	return s;
}

static void
send_slice(grpc_call *call, grpc_byte_buffer **held, grpc_slice s, uint32_t flags)
{
	grpc_byte_buffer *b = grpc_raw_byte_buffer_create(&s, 1);
	grpc_op op = {
		.op = GRPC_OP_SEND_MESSAGE, .flags = flags, .data.send_message.send_message = b};
	batch(call, TAG_SEND, &op, 1);
	*held = b;
	grpc_slice_unref(s);
}

/* What the server holds of its one call: replies that wait, in a ring. */
#define RING (1u << 16)
struct echo {
	grpc_call *call;
	grpc_slice ring[RING];
	unsigned head, tail;
	int sending, receiving, ended, finished;
	grpc_byte_buffer *incoming, *outgoing;
};

static void
echo_receive(struct echo *e)
{
	if (e->receiving || e->ended || e->tail - e->head >= RING)
		return;
	grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &e->incoming};
	e->receiving = 1;
	batch(e->call, TAG_RECEIVE, &op, 1);
}

/* The newest is held until another follows or nothing more is there. */
static void
echo_send(struct echo *e, int idle)
{
	unsigned waiting = e->tail - e->head;
	if (e->sending || waiting == 0 || (waiting == 1 && !idle))
		return;
	e->sending = 1;
	send_slice(e->call, &e->outgoing, e->ring[e->head++ % RING],
		waiting > 1 ? GRPC_WRITE_BUFFER_HINT : 0);
}

/* The fields are the same in both directions; the signal's own tag is not. */
static void
echo_take(struct echo *e)
{
	e->receiving = 0;
	if (e->incoming == NULL) {
		e->ended = 1;
		return;
	}
	grpc_slice s = all_of(e->incoming);
	if (GRPC_SLICE_START_PTR(s)[0] == 0x12) {
		grpc_slice out = grpc_slice_malloc(GRPC_SLICE_LENGTH(s));
		memcpy(GRPC_SLICE_START_PTR(out), GRPC_SLICE_START_PTR(s), GRPC_SLICE_LENGTH(s));
		GRPC_SLICE_START_PTR(out)[0] = 0x0a;
		e->ring[e->tail++ % RING] = out;
	}
	grpc_slice_unref(s);
}

static void
echo_finish(struct echo *e)
{
	if (!e->ended || e->sending || e->head != e->tail || e->finished)
		return;
	e->finished = 1;
	grpc_op op = {.op = GRPC_OP_SEND_STATUS_FROM_SERVER,
		.data.send_status_from_server.status = GRPC_STATUS_OK};
	batch(e->call, TAG_STATUS, &op, 1);
}

static void
echo_call(grpc_completion_queue *queue, grpc_call *call)
{
	static struct echo e;
	int cancelled, over = 0;
	e = (struct echo){.call = call};
	grpc_op open = {.op = GRPC_OP_SEND_INITIAL_METADATA};
	grpc_op close = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER,
		.data.recv_close_on_server.cancelled = &cancelled};
	batch(call, TAG_START, &open, 1);
	batch(call, TAG_CLOSED, &close, 1);
	while (over < 2) {
		echo_receive(&e);
		echo_send(&e, 0);
		echo_finish(&e);
		grpc_event ev = next(queue, 0);
		if (ev.type == GRPC_QUEUE_TIMEOUT) {
			echo_send(&e, 1);
			ev = next(queue, 1);
		}
		if (ev.tag == tag(TAG_RECEIVE))
			echo_take(&e);
		else if (ev.tag == tag(TAG_SEND)) {
			grpc_byte_buffer_destroy(e.outgoing);
			e.sending = 0;
		} else if (ev.tag == tag(TAG_STATUS) || ev.tag == tag(TAG_CLOSED))
			over++;
	}
	grpc_call_unref(call);
}

_Noreturn static void
serve(void)
{
	grpc_arg reuse = {.type = GRPC_ARG_INTEGER,
		.key = (char[]){GRPC_ARG_ALLOW_REUSEPORT},
		.value.integer = 0};
	grpc_channel_args args = {1, &reuse};
	grpc_completion_queue *queue = grpc_completion_queue_create_for_next(NULL);
	grpc_server *server = grpc_server_create(&args, NULL);
	grpc_server_register_completion_queue(server, queue, NULL);
	grpc_server_credentials *credentials = grpc_insecure_server_credentials_create();
	int port = grpc_server_add_http2_port(server, "127.0.0.1:0", credentials);
	must(port > 0, "no port");
	grpc_server_start(server);
	printf("%d\n", port);
	fflush(stdout);
	for (;;) {
		grpc_call *call;
		grpc_call_details details;
		grpc_metadata_array metadata;
		grpc_call_details_init(&details);
		grpc_metadata_array_init(&metadata);
		must(grpc_server_request_call(server, &call, &details, &metadata, queue, queue,
			     tag(TAG_CALL)) == GRPC_CALL_OK,
			"request_call");
		must(next(queue, 1).tag == tag(TAG_CALL), "a call");
		echo_call(queue, call);
		grpc_call_details_destroy(&details);
		grpc_metadata_array_destroy(&metadata);
	}
}

static grpc_slice
packed(const Streaming__InputSignal *s)
{
	grpc_slice out = grpc_slice_malloc(streaming__input_signal__get_packed_size(s));
	streaming__input_signal__pack(s, GRPC_SLICE_START_PTR(out));
	return out;
}

static grpc_slice
start_frame(void)
{
	char type[] = "text/plain", in[] = "in", out[] = "out";
	char *types[] = {type}, *ins[] = {in}, *outs[] = {out};
	Streaming__StartFrame start;
	Streaming__InputSignal signal;
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

struct client {
	grpc_call *call;
	unsigned long records, sent, received, in_flight;
	int sending, receiving, paused, closed;
	grpc_byte_buffer *incoming, *outgoing;
	Streaming__InputSignal signal;
};

static int
may_send(struct client *c, unsigned long sent)
{
	unsigned long open = sent - c->received;
	if (open >= c->in_flight)
		c->paused = 1;
	else if (open <= c->in_flight / 2)
		c->paused = 0;
	return sent < c->records && !c->paused;
}

static void
client_send(struct client *c)
{
	if (c->sending || !may_send(c, c->sent))
		return;
	grpc_slice s = packed(&c->signal);
	c->sent++;
	c->sending = 1;
	send_slice(c->call, &c->outgoing, s, may_send(c, c->sent) ? GRPC_WRITE_BUFFER_HINT : 0);
}

static void
client_receive(struct client *c)
{
	if (c->receiving || c->received == c->records)
		return;
	grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &c->incoming};
	c->receiving = 1;
	batch(c->call, TAG_RECEIVE, &op, 1);
}

static void
client_take(struct client *c)
{
	c->receiving = 0;
	must(c->incoming != NULL, "the server ended early");
	grpc_slice s = all_of(c->incoming);
	Streaming__OutputSignal *out = streaming__output_signal__unpack(
		NULL, GRPC_SLICE_LENGTH(s), GRPC_SLICE_START_PTR(s));
	must(out != NULL && out->data != NULL &&
			out->data->payload.len == c->signal.data->payload.len,
		"not our frame");
	streaming__output_signal__free_unpacked(out, NULL);
	grpc_slice_unref(s);
	c->received++;
}

static void
client_close(struct client *c)
{
	if (c->closed || c->received < c->records || c->sending)
		return;
	grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};
	c->closed = 1;
	batch(c->call, TAG_CLOSE, &op, 1);
}

static double
seconds(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int
run(char **argv)
{
	struct client c = {
		.records = strtoul(argv[3], NULL, 10), .in_flight = strtoul(argv[5], NULL, 10)};
	char target[64], type[] = "text/plain";
	Streaming__InputFrame data;
	streaming__input_frame__init(&data);
	streaming__input_signal__init(&c.signal);
	data.payload.len = strtoul(argv[4], NULL, 10);
	data.payload.data = memset(malloc(data.payload.len), 'x', data.payload.len);
	data.contenttype = type;
	c.signal.frame_case = STREAMING__INPUT_SIGNAL__FRAME_DATA;
	c.signal.data = &data;
	snprintf(target, sizeof target, "127.0.0.1:%s", argv[2]);
	double begin = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	grpc_completion_queue *queue = grpc_completion_queue_create_for_next(NULL);
	grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
	grpc_channel *channel = grpc_channel_create(target, credentials, NULL);
	c.call = grpc_channel_create_call(channel, NULL, GRPC_PROPAGATE_DEFAULTS, queue,
		grpc_slice_from_static_string("/streaming.Riff/Invoke"), NULL,
		gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
	grpc_metadata_array initial, trailing;
	grpc_status_code status;
	grpc_slice details = grpc_empty_slice();
	grpc_metadata_array_init(&initial);
	grpc_metadata_array_init(&trailing);
	grpc_op last = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
		.data.recv_status_on_client = {.trailing_metadata = &trailing,
			.status = &status,
			.status_details = &details}};
	batch(c.call, TAG_STATUS, &last, 1);
	grpc_slice start = start_frame();
	c.outgoing = grpc_raw_byte_buffer_create(&start, 1);
	grpc_op ops[] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},
		{.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = c.outgoing},
		{.op = GRPC_OP_RECV_INITIAL_METADATA,
			.data.recv_initial_metadata.recv_initial_metadata = &initial}};
	batch(c.call, TAG_SEND, ops, 2);
	c.sending = 1;
	batch(c.call, TAG_START, ops + 2, 1);
	for (;;) {
		grpc_event ev = next(queue, 1);
		if (ev.tag == tag(TAG_STATUS))
			break;
		if (ev.tag == tag(TAG_SEND)) {
			grpc_byte_buffer_destroy(c.outgoing);
			c.sending = 0;
		} else if (ev.tag == tag(TAG_RECEIVE))
			client_take(&c);
		client_send(&c);
		client_receive(&c);
		client_close(&c);
	}
	must(status == GRPC_STATUS_OK && c.received == c.records, "the call failed");
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	printf("%lu %.6f %.6f %ld\n", c.received, seconds(CLOCK_MONOTONIC) - begin,
		seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu, usage.ru_maxrss);
	return 0;
}

int
main(int argc, char **argv)
{
	must((argc == 2 && strcmp(argv[1], "serve") == 0) ||
			(argc == 6 && strcmp(argv[1], "run") == 0),
		"serve, or run PORT RECORDS BYTES IN-FLIGHT");
	grpc_init();
	if (argc == 2)
		serve();
	return run(argv);
}
