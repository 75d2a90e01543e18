/*
 * The loop that a program written for nothing else would run from Kafka through a function of riff's rpc to Kafka.
 *
 *   raw_kafka_riff SERVERS IN OUT RECORDS PORT IN-FLIGHT CONTENT-TYPE
 *
 * One call, one thread of its own; at least once, committed each second. Values only.
 */
#include "raw_kafka.h"
#include "raw_riff.h"

#include <sys/resource.h>
#include <unistd.h>

static rd_kafka_t *in, *out;
static rd_kafka_topic_t *to;
static rd_kafka_topic_partition_list_t *positions;

/* What came from the broker and is not sent, and where that is from which is sent and not replied to. */
static rd_kafka_message_t *batch_of[BATCH];
static ssize_t batch_size, batch_at;
static rd_kafka_queue_t *queue;
static struct origin {
	int32_t partition;
	int64_t offset;
} * origins;

static int
has_next(struct client *c)
{
	while (batch_at == batch_size) {
		int wait_ms = c->sent == c->received ? 20 : 0;
		batch_at = 0;
		batch_size = rd_kafka_consume_batch_queue(queue, wait_ms, batch_of, BATCH);
		rd_kafka_poll(out, 0);
		if (batch_size <= 0) {
			batch_size = 0;
			return 0;
		}
	}
	rd_kafka_message_t *m = batch_of[batch_at];
	if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR)
		return 1;
	rd_kafka_message_destroy(m);
	batch_at++;
	return has_next(c);
}

static Streaming__InputFrame frame;
static Streaming__InputSignal signal_of_record;

static const Streaming__InputSignal *
next_record(struct client *c)
{
	static rd_kafka_message_t *last;
	if (last != NULL)
		rd_kafka_message_destroy(last);
	last = batch_of[batch_at++];
	frame.payload = (ProtobufCBinaryData){last->len, last->payload};
	origins[c->sent % c->in_flight] = (struct origin){last->partition, last->offset};
	return &signal_of_record;
}

static void
took(struct client *c, const Streaming__OutputFrame *f)
{
	const struct origin *o = &origins[(c->received - 1) % c->in_flight];
	rd_kafka_vu_t vu[] = {{.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = to},
		{.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {f->payload.data, f->payload.len}},
		{.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY}};
	produce(out, vu, 3);
	positions->elems[o->partition].offset = o->offset + 1;
}

int
main(int argc, char **argv)
{
	if (argc != 8)
		fail("usage", "SERVERS IN OUT RECORDS PORT IN-FLIGHT CONTENT-TYPE");
	struct client c = {.has_next = has_next,
		.next = next_record,
		.took = took,
		.in_flight = strtoul(argv[6], NULL, 10)};
	unsigned long count = strtoul(argv[4], NULL, 10);
	char target[64];
	in = consumer(argv[1]);
	out = producer(argv[1]);
	to = rd_kafka_topic_new(out, argv[3], NULL);
	positions = assign(in, argv[2], RD_KAFKA_OFFSET_BEGINNING);
	queue = rd_kafka_queue_get_consumer(in);
	origins = calloc(c.in_flight, sizeof *origins);
	streaming__input_frame__init(&frame);
	streaming__input_signal__init(&signal_of_record);
	frame.contenttype = argv[7];
	signal_of_record.frame_case = STREAMING__INPUT_SIGNAL__FRAME_DATA;
	signal_of_record.data = &frame;
	snprintf(target, sizeof target, "127.0.0.1:%s", argv[5]);
	grpc_init();
	client_open(&c, target, argv[7]);
	int64_t committed = now_us(CLOCK_MONOTONIC);
	while (c.received < count) {
		/* With nothing on its way no completion comes: then it is the broker that is waited for. */
		if (c.sent > c.received || c.sending)
			client_step(&c);
		client_send(&c);
		client_receive(&c);
		if (c.received % BATCH == 0 && now_us(CLOCK_MONOTONIC) - committed >= 1000000) {
			safe(in, out, positions);
			committed = now_us(CLOCK_MONOTONIC);
		}
	}
	client_close(&c);
	safe(in, out, positions);
	_exit(0);
}
