/* Lanes of a processor: assigned, made into tasks, revoked, given back. */
#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "runtime/processor_private.h"

#include <riffle/host.h>
#include <stdlib.h>

static const struct rfl_input_conf *
input_of(const struct rfl_processor *p, const struct rfl_source *s, uint32_t stream)
{
	return &p->setup.processor->inputs[s->inputs[stream]];
}

static int
is_ours(const struct rfl_source_lane *l)
{
	return l->state == RFL_LANE_ASSIGNED || l->state == RFL_LANE_STARTED;
}

/* What followers are opened with, see follow.c. */
static int32_t *
leader_partitions(const struct rfl_processor *p, uint32_t *ret_count)
{
	const struct rfl_source *leader = &p->sources[0];
	int32_t *list = rfl_alloc((leader->lane_count + 1) * sizeof *list);
	uint32_t n = 0;
	for (size_t i = 0; i < leader->lane_count; i++)
		if (leader->lanes[i].stream == 0 && is_ours(&leader->lanes[i]))
			list[n++] = leader->lanes[i].partition;
	*ret_count = n;
	return list;
}

int
rfl_processor_open_source(
	struct rfl_processor *p, struct rfl_source *s, struct riffle_error *reterr)
{
	int leads = s == &p->sources[0];
	uint32_t partition_count = 0;
	int32_t *partitions = leads ? NULL : leader_partitions(p, &partition_count);
	struct riffle_source_stream *streams = rfl_zalloc(s->input_count * sizeof *streams);
	for (uint32_t i = 0; i < s->input_count; i++) {
		const struct rfl_input_conf *in = input_of(p, s, i);
		streams[i] = (struct riffle_source_stream){
			.size = sizeof streams[i],
			.flags = RIFFLE_SOURCE_HEADERS,
			.stream = &in->stream->stream,
			.start = in->start,
			.start_value = in->start_value,
			.partition_count = partition_count,
			.partitions = partitions,
		};
	}
	char *group = rfl_conf_group(p->setup.processor, input_of(p, s, 0)->stream->provider);
	const struct riffle_source_spec spec = {
		.size = sizeof spec,
		.stream_size = sizeof *streams,
		.stream_count = s->input_count,
		.streams = streams,
		.group = group,
		.member = p->worker->member,
		.txn = p->own_sink ? p->own_sink->txn : NULL,
	};
	int rc = rfl_source_open(s, &spec, reterr);
	free(group);
	free(streams);
	free(partitions);
	return rc;
}

/* It can still be aborted. */
static int
is_txn_open(const struct rfl_processor *p)
{
	return p->txn_phase == RFL_TXN_OPEN || p->txn_phase == RFL_TXN_CLOSING;
}

/*
 * What the open transaction holds of it would be committed without its position: it is aborted. Lanes that are
 * lost may be somebody else's already: then nothing of the task counts any more.
 */
static void
take_away(struct rfl_processor *p, struct rfl_task *t, int is_lost)
{
	if (is_lost || !rfl_task_suspend(t))
		rfl_task_abandon(t);
	if (!is_txn_open(p) || p->own_sink->outlet.txn_error.code != 0)
		return;
	rfl_err_retriable(&p->own_sink->outlet.txn_error, RIFFLE_E_CANCELLED,
		"a partition went to another instance");
}

/* Of one partition there may be two: of a lane that is not given back yet, and of the one that came after it. */
static int
reads_lane(const struct rfl_processor *p, const struct rfl_task *t, const struct rfl_source *s,
	uint32_t id)
{
	for (size_t i = 0; i < rfl_task_lane_count(t); i++) {
		const struct rfl_task_lane *at = rfl_task_lane(t, i);
		if (&p->sources[at->source_index] == s && at->id == id)
			return 1;
	}
	return 0;
}

static void
mark_revoked(struct rfl_processor *p, struct rfl_source *s, const struct riffle_event *ev)
{
	for (uint32_t i = 0; i < ev->lane_count; i++) {
		const struct riffle_lane *gone =
			(const void *)((const char *)ev->lanes + (size_t)i * ev->lane_size);
		struct rfl_source_lane *l = rfl_source_lane(s, gone->lane);
		if (l == NULL)
			continue;
		int has_task = l->state == RFL_LANE_STARTED;
		p->txn_is_spoiled |= has_task && is_txn_open(p);
		l->state = RFL_LANE_RELEASING;
		for (size_t k = 0; has_task && k < p->task_count; k++)
			if (reads_lane(p, p->tasks[k], s, l->id))
				take_away(p, p->tasks[k], ev->type == RIFFLE_EV_LOST);
	}
}

static void
forget_released(struct rfl_source *s, const struct riffle_event *ev)
{
	for (uint32_t i = 0; i < ev->lane_count; i++) {
		const struct riffle_lane *gone =
			(const void *)((const char *)ev->lanes + (size_t)i * ev->lane_size);
		rfl_source_remove_lane(s, gone->lane);
	}
}

/* Who has no partitions waits for what its source cannot do. */
static void
note_passing(struct rfl_processor *p, const struct riffle_error *err)
{
	rfl_log(RIFFLE_LOG_WARNING, "S002", p->what, "%s", err->text);
	if (p->task_count > 0)
		return;
	p->source_error = *err;
	p->source_error.code = RIFFLE_E_UNAVAILABLE;
}

static void
take_event(struct rfl_processor *p, struct rfl_source *s, const struct riffle_event *ev)
{
	struct riffle_error err = {0};
	switch (ev->type) {
	case RIFFLE_EV_ASSIGNED:
		p->source_error.code = 0;
		rfl_source_add_lanes(s, ev);
		rfl_processor_lanes_changed(p, s);
		break;
	case RIFFLE_EV_REVOKED:
	case RIFFLE_EV_LOST:
		mark_revoked(p, s, ev);
		rfl_processor_lanes_changed(p, s);
		break;
	case RIFFLE_EV_RELEASED:
		forget_released(s, ev);
		break;
	case RIFFLE_EV_COMMITTED:
		rfl_processor_committed(p, ev);
		break;
	case RIFFLE_EV_ERROR:
		/* Who has our place keeps it: to open again would take it back, and so on in turns. */
		if (ev->status == RIFFLE_E_FENCED)
			rfl_processor_stop(p, &ev->error);
		else if (ev->status == RIFFLE_E_FATAL)
			rfl_processor_fail(p, &ev->error);
		else
			note_passing(p, &ev->error);
		break;
	case RIFFLE_EV_CLOSED:
		s->is_closed = 1;
		break;
	default:
		rfl_err(&err, RIFFLE_E_FATAL, "source_poll gave an event of type %u", ev->type);
		rfl_processor_fail(p, &err);
	}
}

int
rfl_processor_poll_sources(struct rfl_processor *p)
{
	int moved = 0;
	for (uint32_t i = 0; i < p->source_count; i++) {
		struct rfl_source *s = &p->sources[i];
		struct riffle_event ev;
		while (s->source != NULL && !s->is_closed) {
			ev = (struct riffle_event){.size = sizeof ev};
			if (s->ops->source_poll(s->source, &ev) <= 0)
				break;
			take_event(p, s, &ev);
			moved = 1;
		}
	}
	return moved;
}

static struct rfl_source_lane *
waiting_lane(struct rfl_processor *p, uint32_t input, int32_t partition, uint32_t *ret_source)
{
	for (uint32_t i = 0; i < p->source_count; i++)
		for (size_t k = 0; k < p->sources[i].lane_count; k++) {
			struct rfl_source_lane *l = &p->sources[i].lanes[k];
			if (l->state != RFL_LANE_ASSIGNED || l->input != input ||
				l->partition != partition)
				continue;
			*ret_source = i;
			return l;
		}
	return NULL;
}

static int
start_lane(struct rfl_source *s, const struct rfl_source_lane *l, int64_t offset,
	struct riffle_error *reterr)
{
	const struct riffle_position from = {
		.stream = l->stream,
		.partition = l->partition,
		.offset = offset,
		.leader_epoch = l->leader_epoch,
	};
	return s->ops->source_start(s->source, &l->id, &from, 1, reterr);
}

/* 1 = the lanes have what their positions point to. */
static int
take_checkpoints(struct rfl_processor *p, struct rfl_task_lane *lanes, size_t count)
{
	int has_all = 1;
	for (size_t i = 0; i < count; i++) {
		struct rfl_source_lane *l =
			rfl_source_lane(&p->sources[lanes[i].source_index], lanes[i].id);
		has_all &= rfl_processor_has_checkpoint(p, l);
		lanes[i].checkpoint = (struct riffle_bytes){l->checkpoint, l->checkpoint_len};
	}
	return has_all;
}

/* One task, once the lanes of all inputs are there. */
static int
make_task(struct rfl_processor *p, int32_t partition, struct riffle_error *reterr)
{
	size_t count = p->setup.processor->input_count;
	struct rfl_task_lane *lanes = rfl_zalloc(count * sizeof *lanes);
	struct riffle_bytes *metadata = rfl_zalloc(count * sizeof *metadata);
	int rc = 0;
	size_t found = 0;
	for (uint32_t input = 0; input < count; input++) {
		uint32_t source;
		struct rfl_source_lane *l = waiting_lane(p, input, partition, &source);
		if (l == NULL)
			break;
		found++;
		metadata[input] = (struct riffle_bytes){l->metadata, l->metadata_len};
		lanes[input] = (struct rfl_task_lane){
			.ops = p->sources[source].ops,
			.source = p->sources[source].source,
			.id = l->id,
			.input = input,
			.stream = l->stream,
			.source_index = source,
			.partition = partition,
			.leader_epoch = l->leader_epoch,
			.low = l->offset,
			.topic = p->setup.processor->inputs[input].stream->stream.topic,
		};
	}
	struct rfl_task *t = NULL;
	if (found == count) {
		t = rfl_processor_take_warm(p, partition, lanes, metadata, count);
		/* Until it is known what its positions point to it is not made. */
		if (t == NULL && !take_checkpoints(p, lanes, count))
			found = 0;
	}
	if (found == count) {
		if (t == NULL)
			t = rfl_task_create(&p->task_spec, partition, lanes, metadata, count);
		rfl_grow(&p->tasks, &p->task_room, p->task_count + 1, sizeof *p->tasks);
		p->tasks[p->task_count++] = t;
		for (size_t i = 0; i < count && rc >= 0; i++) {
			struct rfl_source *s = &p->sources[lanes[i].source_index];
			struct rfl_source_lane *l = rfl_source_lane(s, lanes[i].id);
			l->state = RFL_LANE_STARTED;
			free(l->checkpoint);
			l->checkpoint = NULL;
			rc = start_lane(s, l, rfl_task_reads_from(t, i), reterr);
		}
	}
	free(lanes);
	free(metadata);
	return rc < 0 ? rc : found == count;
}

void
rfl_processor_make_tasks(struct rfl_processor *p)
{
	struct riffle_error err = {0};
	struct rfl_source *leader = &p->sources[0];
	if (p->follows_old)
		return;
	for (size_t i = 0; i < leader->lane_count; i++) {
		if (leader->lanes[i].state != RFL_LANE_ASSIGNED || leader->lanes[i].stream != 0)
			continue;
		if (make_task(p, leader->lanes[i].partition, &err) < 0) {
			rfl_processor_fail(p, &err);
			return;
		}
	}
}

/* Tasks whose lanes were revoked are set aside once their calls are done; then the lanes are given back. */
void
rfl_processor_release_lanes(struct rfl_processor *p)
{
	for (uint32_t i = 0; i < p->source_count; i++) {
		struct rfl_source *s = &p->sources[i];
		for (size_t k = 0; k < s->lane_count; k++) {
			struct rfl_source_lane *l = &s->lanes[k];
			int busy = 0;
			struct riffle_error err = {0};
			if (l->state != RFL_LANE_RELEASING)
				continue;
			for (size_t n = 0; n < p->task_count; n++) {
				struct rfl_task *t = p->tasks[n];
				if (!reads_lane(p, t, s, l->id))
					continue;
				busy = !rfl_task_is_idle(t);
				if (busy)
					break;
				p->tasks[n] = p->tasks[--p->task_count];
				if (rfl_task_is_suspended(t))
					rfl_processor_keep_warm(p, t);
				else
					rfl_task_destroy(t);
				break;
			}
			if (busy)
				continue;
			l->state = RFL_LANE_RELEASED;
			if (s->ops->source_release(s->source, &l->id, 1, &err) < 0)
				rfl_processor_fail(p, &err);
		}
	}
}
