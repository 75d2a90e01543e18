/*
 * The bare C core doing what the grpc invoker does: an echo server of riff's rpc, and a client with the
 * drain rule, protobuf-c and nothing else.
 *
 *   raw_grpc serve                              prints its port, echoes until it is killed
 *   raw_grpc run PORT RECORDS BYTES IN-FLIGHT   prints records, seconds, CPU seconds, peak RSS in KiB
 */
#include "raw_riff.h"

#include <sys/resource.h>
#include <time.h>

struct echo;

/* What a completion of the server stands for. */
enum served { SERVED_START, SERVED_SEND, SERVED_RECEIVE, SERVED_STATUS, SERVED_CLOSED, SERVED };
struct served_tag {
	struct echo *echo; /* NULL = a call began */
	enum served op;
};

/* What the server holds of a call: replies that wait, in a ring. */
#define RING (1u << 13)
struct echo {
	grpc_call *call;
	struct echo *next, **at;
	struct served_tag tags[SERVED];
	grpc_slice ring[RING];
	unsigned head, tail;
	int sending, receiving, ended, finished, over, cancelled;
	grpc_byte_buffer *incoming, *outgoing;
};

static struct echo *echoes;

static void
echo_batch(struct echo *e, enum served op, const grpc_op *ops)
{
	batch(e->call, &e->tags[op], ops, 1);
}

static void
echo_receive(struct echo *e)
{
	if (e->receiving || e->ended || e->tail - e->head >= RING)
		return;
	grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &e->incoming};
	e->receiving = 1;
	echo_batch(e, SERVED_RECEIVE, &op);
}

/* The newest is held until another follows or nothing more is there. */
static void
echo_send(struct echo *e, int idle)
{
	unsigned waiting = e->tail - e->head;
	if (e->sending || waiting == 0 || (waiting == 1 && !idle))
		return;
	e->sending = 1;
	send_slice(e->call, &e->tags[SERVED_SEND], &e->outgoing, e->ring[e->head++ % RING],
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
	echo_batch(e, SERVED_STATUS, &op);
}

static void
echo_go(struct echo *e, int idle)
{
	echo_receive(e);
	echo_send(e, idle);
	echo_finish(e);
}

static void
echo_begin(grpc_call *call)
{
	struct echo *e = calloc(1, sizeof *e);
	must(e != NULL, "no memory");
	e->call = call;
	for (int i = 0; i < SERVED; i++)
		e->tags[i] = (struct served_tag){e, (enum served)i};
	e->next = echoes;
	e->at = &echoes;
	if (e->next != NULL)
		e->next->at = &e->next;
	echoes = e;
	grpc_op open = {.op = GRPC_OP_SEND_INITIAL_METADATA};
	grpc_op close = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER,
		.data.recv_close_on_server.cancelled = &e->cancelled};
	echo_batch(e, SERVED_START, &open);
	echo_batch(e, SERVED_CLOSED, &close);
	echo_go(e, 0);
}

static void
echo_complete(struct echo *e, enum served op)
{
	if (op == SERVED_RECEIVE)
		echo_take(e);
	else if (op == SERVED_SEND) {
		grpc_byte_buffer_destroy(e->outgoing);
		e->sending = 0;
	} else if (op == SERVED_STATUS || op == SERVED_CLOSED)
		e->over++;
	if (e->over < 2) {
		echo_go(e, 0);
		return;
	}
	*e->at = e->next;
	if (e->next != NULL)
		e->next->at = e->at;
	grpc_call_unref(e->call);
	free(e);
}

struct request {
	grpc_call *call;
	grpc_call_details details;
	grpc_metadata_array metadata;
};

static void
request(grpc_server *server, grpc_completion_queue *queue, struct request *r)
{
	static struct served_tag begun;
	grpc_call_details_init(&r->details);
	grpc_metadata_array_init(&r->metadata);
	must(grpc_server_request_call(server, &r->call, &r->details, &r->metadata, queue, queue,
		     &begun) == GRPC_CALL_OK,
		"request_call");
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
	struct request r;
	request(server, queue, &r);
	for (;;) {
		grpc_event ev = next(queue, 0);
		if (ev.type == GRPC_QUEUE_TIMEOUT) {
			for (struct echo *e = echoes; e != NULL; e = e->next)
				echo_go(e, 1);
			ev = next(queue, 1);
		}
		struct served_tag *tag = ev.tag;
		if (tag->echo != NULL) {
			echo_complete(tag->echo, tag->op);
			continue;
		}
		must(ev.success, "a call");
		echo_begin(r.call);
		grpc_call_details_destroy(&r.details);
		grpc_metadata_array_destroy(&r.metadata);
		request(server, queue, &r);
	}
}

static unsigned long records;
static Streaming__InputSignal same;

static int
has_next(struct client *c)
{
	return c->sent < records;
}

static const Streaming__InputSignal *
next_record(struct client *c)
{
	(void)c;
	return &same;
}

static void
took(struct client *c, const Streaming__OutputFrame *f)
{
	(void)c;
	must(f->payload.len == same.data->payload.len, "not our frame");
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
	struct client c = {.has_next = has_next,
		.next = next_record,
		.took = took,
		.in_flight = strtoul(argv[5], NULL, 10)};
	char target[64], type[] = "text/plain";
	Streaming__InputFrame data;
	records = strtoul(argv[3], NULL, 10);
	streaming__input_frame__init(&data);
	streaming__input_signal__init(&same);
	data.payload.len = strtoul(argv[4], NULL, 10);
	data.payload.data = memset(malloc(data.payload.len), 'x', data.payload.len);
	data.contenttype = type;
	same.frame_case = STREAMING__INPUT_SIGNAL__FRAME_DATA;
	same.data = &data;
	snprintf(target, sizeof target, "127.0.0.1:%s", argv[2]);
	double begin = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	client_open(&c, target, type);
	while (c.received < records)
		client_step(&c);
	client_close(&c);
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
