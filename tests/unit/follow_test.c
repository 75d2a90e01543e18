/* Inputs on two providers: the second's source follows the partitions of the first's. */
#include "runtime_plugins.h"

#define PARTITIONS 3

/* A provider with one stream, whose records of a partition are numbered from 0. */
struct side {
	char name;
	struct riffle_event events[16];
	int event_count, opened, is_open, is_reading[PARTITIONS];
	int64_t log_end[PARTITIONS], committed[PARTITIONS], next[PARTITIONS];
	struct riffle_lane lanes[PARTITIONS];
};

static struct side sides[2];
static char written[256], asked[16]; /* the partitions that the follower was opened with */
static struct riffle_event sent[16];
static int sent_count;

static void
queue(struct side *s, struct riffle_event ev)
{
	s->events[s->event_count++] = ev;
}

static void
lane_event(struct side *s, uint32_t type, int partition)
{
	struct riffle_lane *l = &s->lanes[partition];
	*l = (struct riffle_lane){.size = sizeof *l,
		.lane = (uint32_t)partition,
		.committed = {.partition = partition, .offset = s->committed[partition]},
		.log_end = s->log_end[partition]};
	queue(s, (struct riffle_event){
			 .type = type, .lanes = l, .lane_count = 1, .lane_size = sizeof *l});
}

static int
create(const struct riffle_host *host, const struct riffle_config *cfg, void **ret_self,
	struct riffle_error *reterr)
{
	(void)host, (void)reterr;
	*ret_self = &sides[cfg->name[0] == 'f'];
	return RIFFLE_OK;
}

static uint64_t
capabilities(void *self)
{
	(void)self;
	return UINT64_MAX & ~RIFFLE_CAN_TRANSACTIONS;
}

static const void *
extension(void *self, const char *id)
{
	(void)self, (void)id;
	return NULL;
}

static int
source_open(void *self, const struct riffle_source_spec *spec, void **ret_source,
	struct riffle_error *reterr)
{
	struct side *s = self;
	const struct riffle_source_stream *in = &spec->streams[0];
	(void)reterr;
	assert_false(s->is_open);
	s->is_open = 1;
	s->opened++;
	*ret_source = s;
	if (in->partitions == NULL)
		return RIFFLE_OK;
	assert_true(s == &sides[1]);
	asked[0] = '\0';
	for (uint32_t i = 0; i < in->partition_count; i++) {
		snprintf(asked + strlen(asked), sizeof asked - strlen(asked), "%d ",
			in->partitions[i]);
		lane_event(s, RIFFLE_EV_ASSIGNED, in->partitions[i]);
	}
	return RIFFLE_OK;
}

static int
take_event(struct riffle_event *events, int *count, struct riffle_event *ev)
{
	if (*count == 0)
		return 0;
	*ev = events[0];
	memmove(events, events + 1, (size_t)-- * count * sizeof *ev);
	return 1;
}

static int
source_poll(void *source, struct riffle_event *ev)
{
	struct side *s = source;
	return take_event(s->events, &s->event_count, ev);
}

static int
source_start(void *source, const uint32_t *which, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr)
{
	struct side *s = source;
	(void)reterr;
	for (uint32_t i = 0; i < count; i++) {
		s->next[which[i]] = from[i].offset;
		s->is_reading[which[i]] = 1;
	}
	return RIFFLE_OK;
}

static int
source_release(void *source, const uint32_t *which, uint32_t count, struct riffle_error *reterr)
{
	struct side *s = source;
	(void)reterr;
	for (uint32_t i = 0; i < count; i++) {
		s->is_reading[which[i]] = 0;
		lane_event(s, RIFFLE_EV_RELEASED, (int)which[i]);
	}
	return RIFFLE_OK;
}

static int
source_commit(void *source, const struct riffle_position *positions, uint32_t count, uint64_t tag,
	struct riffle_error *reterr)
{
	struct side *s = source;
	(void)reterr;
	for (uint32_t i = 0; i < count; i++)
		s->committed[positions[i].partition] = positions[i].offset;
	queue(s, (struct riffle_event){.type = RIFFLE_EV_COMMITTED, .tag = tag});
	return RIFFLE_OK;
}

static int
lane_poll(void *source, uint32_t lane, uint32_t max_records, size_t max_bytes,
	struct riffle_batch **ret_batch, struct riffle_error *reterr)
{
	struct side *s = source;
	struct rfl_builder *b = rfl_builder_create();
	(void)max_bytes, (void)reterr;
	assert_true(s->is_open && s->is_reading[lane]);
	while (rfl_builder_count(b) < max_records && s->next[lane] < s->log_end[lane]) {
		char text[24];
		int len = snprintf(text, sizeof text, "%c%u.%d", s->name, lane, (int)s->next[lane]);
		const struct riffle_record r = {.value = {text, (size_t)len},
			.offset = s->next[lane]++,
			.partition = (int32_t)lane};
		rfl_builder_add(b, &r, NULL, 0, NULL);
	}
	*ret_batch = rfl_builder_finish(b);
	rfl_builder_destroy(b);
	return *ret_batch != NULL;
}

static int
lane_state(void *source, uint32_t lane, struct riffle_lane_state *ret)
{
	const struct side *s = source;
	ret->log_end = s->log_end[lane];
	return RIFFLE_OK;
}

static void
source_close(void *source)
{
	struct side *s = source;
	memset(s->is_reading, 0, sizeof s->is_reading);
	queue(s, (struct riffle_event){.type = RIFFLE_EV_CLOSED});
}

static void
source_destroy(void *source)
{
	struct side *s = source;
	s->is_open = 0;
}

static int
sink_open(void *self, const struct riffle_sink_spec *spec, void **ret_sink,
	struct riffle_error *reterr)
{
	(void)spec, (void)reterr;
	*ret_sink = self;
	return RIFFLE_OK;
}

static int
sink_poll(void *sink, struct riffle_event *ev)
{
	(void)sink;
	return take_event(sent, &sent_count, ev);
}

static int
sink_send(void *sink, struct riffle_batch *b, uint32_t first, uint32_t count, uint64_t tag,
	struct riffle_error *reterr)
{
	(void)sink, (void)reterr;
	for (uint32_t i = first; i < first + count; i++) {
		const struct riffle_record *r = riffle_batch_at(b, i);
		size_t len = strlen(written);
		snprintf(written + len, sizeof written - len, "%.*s ", (int)r->value.len,
			(const char *)r->value.ptr);
	}
	sent[sent_count++] =
		(struct riffle_event){.type = RIFFLE_EV_SENT, .tag = tag, .count = count};
	return (int)count;
}

static void
sink_close(void *sink)
{
	(void)sink;
	sent[sent_count++] = (struct riffle_event){.type = RIFFLE_EV_CLOSED};
}

static void
sink_destroy(void *sink)
{
	(void)sink;
}

static char word_leader[] = "leader", word_follower[] = "follower";

struct bed {
	struct rfl_clock clock;
	struct rfl_conf conf;
	struct rfl_provider_conf providers[2];
	struct rfl_stream_conf streams[2];
	struct rfl_function_conf function;
	struct rfl_input_conf inputs[2];
	struct rfl_output_conf output;
	struct rfl_processor_conf processor;
	struct rfl_instance *brokers[2], *callee;
	struct rfl_worker worker;
	struct rfl_processor *p;
};

static struct rfl_instance *
instance_of(struct bed *b, struct rfl_plugin *plugin, char *name)
{
	const struct riffle_config config = {.size = sizeof config, .name = name};
	struct rfl_instance *made;
	struct riffle_error err;
	assert_int_equal(
		rfl_instance_create(plugin, &config, &b->clock, RFL_GUARD_NORMAL, &made, &err), 0);
	return made;
}

static void
settle(struct bed *b)
{
	turn_until_still(&b->worker);
}

static void
start(struct bed *b)
{
	char *const names[] = {word_leader, word_follower};
	memset(b, 0, sizeof *b);
	memset(sides, 0, sizeof sides);
	sides[0].name = 'a';
	sides[1].name = 'b';
	written[0] = '\0';
	sent_count = 0;
	rfl_clock_init_manual(&b->clock, 1000000);
	b->conf.runtime.namespace = word_default;
	b->conf.runtime.memory_bytes = 1 << 24;
	b->function.name = word_x;
	for (int i = 0; i < 2; i++) {
		b->providers[i].name = names[i];
		b->streams[i] = (struct rfl_stream_conf){.name = names[i],
			.provider = &b->providers[i],
			.stream = {.content_type = "text/plain"}};
		b->inputs[i] = (struct rfl_input_conf){.alias = names[i], .stream = &b->streams[i]};
		b->brokers[i] = instance_of(b, &provider, names[i]);
	}
	b->callee = instance_of(b, &invoker, word_x);
	b->output = (struct rfl_output_conf){.alias = word_x, .stream = &b->streams[0]};
	b->processor = (struct rfl_processor_conf){.name = word_x,
		.group = group_x,
		.function = &b->function,
		.inputs = b->inputs,
		.input_count = 2,
		.outputs = &b->output,
		.output_count = 1,
		.window = {.kind = RFL_WINDOW_NONE, .canonical = canonical},
		.keep = 1,
		.guarantee = RFL_AT_LEAST_ONCE,
		.max_outputs_bytes = 1 << 20,
		.calls = 4,
		.max_records = 10};
	assert_int_equal(rfl_worker_init(&b->worker, 0, "me", &b->clock, -1), 0);
	const struct rfl_processor_setup setup = {.conf = &b->conf,
		.processor = &b->processor,
		.clock = &b->clock,
		.instance = "me",
		.function = b->callee,
		.input_providers = b->brokers,
		.destination_providers = b->brokers};
	b->p = rfl_processor_create(&setup, &b->worker);
	rfl_worker_add(&b->worker, b->p);
	settle(b);
}

static void
finish(struct bed *b)
{
	rfl_processor_drain(b->p);
	settle(b);
	assert_true(rfl_worker_is_closed(&b->worker));
	assert_false(sides[0].is_open || sides[1].is_open);
	rfl_worker_fini(&b->worker);
	rfl_instance_destroy(b->callee);
	rfl_instance_destroy(b->brokers[0]);
	rfl_instance_destroy(b->brokers[1]);
}

static void
one_record_each(struct bed *b, int partition, const char *expected)
{
	written[0] = '\0';
	sides[0].log_end[partition]++;
	settle(b);
	sides[1].log_end[partition]++;
	settle(b);
	assert_string_equal(written, expected);
}

static void
test_partitions_that_went_and_came_back(void **state)
{
	struct bed b;
	(void)state;
	start(&b);
	assert_int_equal(sides[1].opened, 0);
	lane_event(&sides[0], RIFFLE_EV_ASSIGNED, 0);
	settle(&b);
	assert_string_equal(asked, "0 ");
	one_record_each(&b, 0, "a0.0 b0.0 ");

	lane_event(&sides[0], RIFFLE_EV_REVOKED, 0);
	settle(&b);
	assert_false(sides[0].is_reading[0] || sides[1].is_open);
	/* Meanwhile somebody else went on with both. */
	sides[0].log_end[0] = sides[0].committed[0] = 5;
	sides[1].log_end[0] = sides[1].committed[0] = 7;
	lane_event(&sides[0], RIFFLE_EV_ASSIGNED, 0);
	settle(&b);
	assert_int_equal(sides[1].opened, 2);
	one_record_each(&b, 0, "a0.5 b0.7 ");
	assert_int_equal(sides[0].opened, 1);
	finish(&b);
}

static void
test_other_partitions_than_before(void **state)
{
	struct bed b;
	(void)state;
	start(&b);
	lane_event(&sides[0], RIFFLE_EV_ASSIGNED, 0);
	lane_event(&sides[0], RIFFLE_EV_ASSIGNED, 1);
	settle(&b);
	one_record_each(&b, 0, "a0.0 b0.0 ");
	one_record_each(&b, 1, "a1.0 b1.0 ");
	lane_event(&sides[0], RIFFLE_EV_REVOKED, 0);
	lane_event(&sides[0], RIFFLE_EV_REVOKED, 1);
	lane_event(&sides[0], RIFFLE_EV_ASSIGNED, 2);
	settle(&b);
	assert_string_equal(asked, "2 ");
	one_record_each(&b, 2, "a2.0 b2.0 ");
	assert_int_equal(sides[0].opened, 1);
	finish(&b);
}

/* What cannot be followed part by part is opened again as a whole. */
static void
test_a_part_of_the_partitions(void **state)
{
	struct bed b;
	(void)state;
	start(&b);
	lane_event(&sides[0], RIFFLE_EV_ASSIGNED, 0);
	lane_event(&sides[0], RIFFLE_EV_ASSIGNED, 1);
	settle(&b);
	one_record_each(&b, 1, "a1.0 b1.0 ");
	lane_event(&sides[0], RIFFLE_EV_REVOKED, 0);
	settle(&b);
	assert_false(sides[0].is_open || sides[1].is_open);
	rfl_clock_advance(&b.clock, INT64_C(1000000000));
	settle(&b);
	assert_int_equal(sides[0].opened, 2);
	lane_event(&sides[0], RIFFLE_EV_ASSIGNED, 1);
	settle(&b);
	assert_string_equal(asked, "1 ");
	one_record_each(&b, 1, "a1.1 b1.1 ");
	finish(&b);
}

static void
test_a_follower_that_loses_its_own(void **state)
{
	struct bed b;
	(void)state;
	start(&b);
	lane_event(&sides[0], RIFFLE_EV_ASSIGNED, 0);
	settle(&b);
	lane_event(&sides[1], RIFFLE_EV_LOST, 0);
	settle(&b);
	rfl_clock_advance(&b.clock, INT64_C(1000000000));
	settle(&b);
	lane_event(&sides[0], RIFFLE_EV_ASSIGNED, 0);
	settle(&b);
	assert_int_equal(sides[1].opened, 2);
	one_record_each(&b, 0, "a0.0 b0.0 ");
	finish(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_partitions_that_went_and_came_back),
		cmocka_unit_test(test_other_partitions_than_before),
		cmocka_unit_test(test_a_part_of_the_partitions),
		cmocka_unit_test(test_a_follower_that_loses_its_own),
	};
	return RUN("follow", tests);
}
