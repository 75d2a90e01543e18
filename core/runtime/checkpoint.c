/*
 * The checkpoint stream is read when a position points into it: from its beginning to its end, by a source
 * of its own that belongs to no group. What is kept is the values of the lanes that wait for theirs; their
 * task is made once the end was reached, whether they were found or not, since a newer one may come until
 * then.
 */
#include "wire/checkpoint.h"
#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "runtime/processor_private.h"

#include <riffle/host.h>
#include <stdlib.h>
#include <string.h>

#define POLL_RECORDS 1000u
#define POLL_BYTES ((size_t)4 * 1024 * 1024)
#define POLLS 16
/* A broker may show the end of a transaction that it has confirmed a moment later. */
#define PATIENCE_NS ((int64_t)5 * 1000000000)

static struct riffle_bytes
position_of(const struct rfl_source_lane *l)
{
	return (struct riffle_bytes){l->metadata, l->metadata_len};
}

/* What cannot be read of it is the task's to say. */
static int
points_to_one(const struct rfl_source_lane *l)
{
	struct rfl_tuple tuple;
	struct riffle_error err;
	return l->metadata != NULL && rfl_tuple_decode(position_of(l), &tuple, &err) == RIFFLE_OK &&
	       (tuple.flags & RFL_TUPLE_CHECKPOINT);
}

int
rfl_processor_has_checkpoint(struct rfl_processor *p, struct rfl_source_lane *l)
{
	const struct rfl_processor_conf *c = p->setup.processor;
	if (p->checkpoint.instance == NULL || l->checkpoint_state == RFL_CHECKPOINT_READ)
		return 1;
	if (l->checkpoint_state != RFL_CHECKPOINT_NONE)
		return 0;
	if (!points_to_one(l))
		return 1;
	l->checkpoint_key = rfl_checkpoint_key(
		c->group, c->inputs[l->input].stream->stream.topic, l->partition);
	l->checkpoint_state = RFL_CHECKPOINT_WANTED;
	return 0;
}

int
rfl_processor_is_reading_checkpoint(const struct rfl_processor *p)
{
	return p->checkpoint.source.source != NULL;
}

/* Calls on each lane in that state; the sum of what it said. */
static uint32_t
each(struct rfl_processor *p, enum rfl_checkpoint_state state,
	uint32_t (*what)(struct rfl_source_lane *l, const struct riffle_record *r),
	const struct riffle_record *r)
{
	uint32_t sum = 0;
	for (uint32_t i = 0; i < p->source_count; i++)
		for (size_t k = 0; k < p->sources[i].lane_count; k++)
			if (p->sources[i].lanes[k].checkpoint_state == state)
				sum += what(&p->sources[i].lanes[k], r);
	return sum;
}

static uint32_t
is_one(struct rfl_source_lane *l, const struct riffle_record *r)
{
	(void)l, (void)r;
	return 1;
}

static uint32_t
is_lacking(struct rfl_source_lane *l, const struct riffle_record *r)
{
	(void)r;
	return !l->is_checkpoint_found;
}

static uint32_t
begin(struct rfl_source_lane *l, const struct riffle_record *r)
{
	(void)r;
	l->checkpoint_state = RFL_CHECKPOINT_READING;
	return 1;
}

static uint32_t
end(struct rfl_source_lane *l, const struct riffle_record *r)
{
	(void)r;
	l->checkpoint_state = RFL_CHECKPOINT_READ;
	return 1;
}

/* The newest of this key, but that of its position counts more than one of another commit. */
static uint32_t
take(struct rfl_source_lane *l, const struct riffle_record *r)
{
	if (r->key.len != strlen(l->checkpoint_key) ||
		memcmp(r->key.ptr, l->checkpoint_key, r->key.len) != 0)
		return 0;
	int is_its = r->value.ptr != NULL && rfl_checkpoint_is_of(r->value, position_of(l));
	if (l->is_checkpoint_found && !is_its)
		return 0;
	l->is_checkpoint_found = is_its;
	free(l->checkpoint);
	l->checkpoint = r->value.ptr ? rfl_strndup(r->value.ptr, r->value.len) : NULL;
	l->checkpoint_len = r->value.ptr ? r->value.len : 0;
	return 1;
}

static int
open_source(struct rfl_processor *p)
{
	struct rfl_checkpoint *c = &p->checkpoint;
	struct riffle_error err = {0};
	const struct riffle_source_stream stream = {
		.size = sizeof stream,
		.stream = &p->setup.processor->checkpoint->stream,
		.start = RIFFLE_START_EARLIEST,
	};
	const struct riffle_source_spec spec = {
		.size = sizeof spec,
		.stream_size = sizeof stream,
		.stream_count = 1,
		.streams = &stream,
		.member = p->worker->member,
	};
	each(p, RFL_CHECKPOINT_WANTED, begin, NULL);
	rfl_source_init(&c->source, c->instance, &c->input, 1);
	c->ended_ns = 0;
	if (rfl_source_open(&c->source, &spec, &err) < 0)
		rfl_processor_fail(p, &err);
	return 1;
}

static void
fail(struct rfl_processor *p, const struct riffle_error *why)
{
	struct riffle_error err = *why;
	rfl_err_prefix(
		&err, "cannot read the checkpoint stream %s", p->setup.processor->checkpoint->name);
	rfl_processor_fail(p, &err);
}

static void
start_lanes(struct rfl_processor *p, const struct riffle_event *ev)
{
	struct rfl_source *s = &p->checkpoint.source;
	struct riffle_error err = {0};
	rfl_source_add_lanes(s, ev);
	for (size_t i = 0; i < s->lane_count; i++) {
		struct rfl_source_lane *l = &s->lanes[i];
		const struct riffle_position from = {.partition = l->partition,
			.offset = l->offset,
			.leader_epoch = l->leader_epoch};
		if (l->state == RFL_LANE_STARTED)
			continue;
		l->state = RFL_LANE_STARTED;
		if (s->ops->source_start(s->source, &l->id, &from, 1, &err) < 0)
			fail(p, &err);
	}
}

static void
take_event(struct rfl_processor *p, const struct riffle_event *ev)
{
	struct rfl_source *s = &p->checkpoint.source;
	struct riffle_error err = {0};
	if (ev->type == RIFFLE_EV_CLOSED) {
		s->is_closed = 1;
	} else if (s->is_closing) {
		return;
	} else if (ev->type == RIFFLE_EV_ASSIGNED) {
		start_lanes(p, ev);
	} else if (ev->type == RIFFLE_EV_REVOKED || ev->type == RIFFLE_EV_LOST) {
		rfl_err(&err, RIFFLE_E_UNAVAILABLE, "its partitions were taken away");
		fail(p, &err);
	} else if (ev->type == RIFFLE_EV_ERROR &&
		   (ev->status == RIFFLE_E_FATAL || ev->status == RIFFLE_E_FENCED)) {
		fail(p, &ev->error);
	} else if (ev->type == RIFFLE_EV_ERROR) {
		rfl_log(RIFFLE_LOG_WARNING, "S002", p->what, "%s", ev->error.text);
	}
}

static int
poll_events(struct rfl_processor *p)
{
	struct rfl_source *s = &p->checkpoint.source;
	struct riffle_event ev;
	int moved = 0;
	while (!s->is_closed) {
		ev = (struct riffle_event){.size = sizeof ev};
		if (s->ops->source_poll(s->source, &ev) <= 0)
			break;
		moved = 1;
		take_event(p, &ev);
	}
	return moved;
}

static int
poll_lane(struct rfl_processor *p, const struct rfl_source_lane *l)
{
	struct rfl_source *s = &p->checkpoint.source;
	struct riffle_batch *b;
	struct riffle_error err = {0};
	int moved = 0;
	for (int polls = 0; polls < POLLS; polls++) {
		int rc = s->ops->lane_poll(s->source, l->id, POLL_RECORDS, POLL_BYTES, &b, &err);
		if (rc < 0 && rc != RIFFLE_E_UNAVAILABLE)
			fail(p, &err);
		if (rc <= 0)
			break;
		rfl_batch_take(b);
		for (uint32_t i = 0; i < b->record_count; i++)
			each(p, RFL_CHECKPOINT_READING, take, riffle_batch_at(b, i));
		rfl_batch_unref(b);
		moved = 1;
	}
	return moved;
}

/* All was read of what was there at the beginning, or is there as of now. */
static int
is_at_end(const struct rfl_source *s, int is_of_now, int64_t now_ns)
{
	for (size_t i = 0; i < s->lane_count; i++) {
		struct riffle_lane_state state = {.size = sizeof state};
		if (s->ops->lane_state(s->source, s->lanes[i].id, &state) != RIFFLE_OK ||
			state.position < s->lanes[i].log_end)
			return 0;
		if (is_of_now && (state.flags != 0 || state.as_of_ns == 0 ||
					 now_ns - state.as_of_ns > PATIENCE_NS ||
					 state.position < state.log_end))
			return 0;
	}
	return s->lane_count > 0;
}

/* That there is none is believed later than that there is one. */
static int
is_over(struct rfl_processor *p, int64_t now_ns, int64_t *next_ns)
{
	struct rfl_checkpoint *c = &p->checkpoint;
	int lacks = each(p, RFL_CHECKPOINT_READING, is_lacking, NULL) > 0;
	if (!is_at_end(&c->source, lacks, now_ns)) {
		c->ended_ns = 0;
		return 0;
	}
	if (c->ended_ns == 0)
		c->ended_ns = now_ns;
	if (!lacks || now_ns - c->ended_ns >= PATIENCE_NS)
		return 1;
	if (c->ended_ns + PATIENCE_NS < *next_ns)
		*next_ns = c->ended_ns + PATIENCE_NS;
	return 0;
}

int
rfl_processor_run_checkpoint(struct rfl_processor *p, int64_t now_ns, int64_t *next_ns)
{
	struct rfl_source *s = &p->checkpoint.source;
	if (p->checkpoint.instance == NULL)
		return 0;
	if (s->source == NULL)
		return each(p, RFL_CHECKPOINT_WANTED, is_one, NULL) > 0 &&
		       p->phase == RFL_PHASE_RUNNING && !p->draining && open_source(p);
	/* Nothing is begun any more, but it is polled to its end, or its descriptor would wake for good. */
	if (p->draining)
		rfl_source_close(s);
	int moved = poll_events(p);
	for (size_t i = 0; i < s->lane_count && !s->is_closing; i++)
		moved |= poll_lane(p, &s->lanes[i]);
	if (!s->is_closing && p->phase == RFL_PHASE_RUNNING && is_over(p, now_ns, next_ns)) {
		each(p, RFL_CHECKPOINT_READING, end, NULL);
		rfl_source_close(s);
		moved = 1;
	}
	if (!s->is_closed)
		return moved;
	rfl_source_fini(s);
	return 1;
}

void
rfl_processor_close_checkpoint(struct rfl_processor *p)
{
	rfl_source_close(&p->checkpoint.source);
}
