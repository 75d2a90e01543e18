/* Sources: lanes of a group's streams, what the group has committed, and the events about both. */
#include "local.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum state {
	JOINING, /* the writer resolves and commits the start of a new group */
	JOINED,  /* ASSIGNED is next */
	ASSIGNED,
	CLOSING,
	CLOSED
};

struct answer {
	struct answer *next;
	struct riffle_event event;
};

struct local_source {
	uint32_t magic;
	enum state state;
	struct local *owner;
	struct local_env *env;
	struct local_source *next; /* listeners, under the environment's lock */
	struct local_signal signal;
	struct local_group *group;   /* NULL = none */
	struct local_topic **topics; /* by stream */
	struct riffle_source_stream *streams;
	uint32_t stream_count;
	struct local_lane *lanes;
	uint32_t lane_count;
	struct local_reader reader;

	pthread_mutex_t lock; /* what the writer and releasing threads touch */
	struct answer *first, **last;
	uint32_t ops_open;
	struct riffle_error join_error;

	struct riffle_lane *shown; /* of the last event */
};

void
local_source_signal(struct local_source *s)
{
	local_signal_raise(&s->signal);
}

struct local_source *
local_source_next(struct local_source *s)
{
	return s->next;
}

void
local_source_warn(const struct local_source *s, const char *fmt, ...)
{
	char text[RIFFLE_ERROR_TEXT];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	s->owner->host->log(s->owner->host, RIFFLE_LOG_WARNING, text);
}

void
local_source_lent(struct local_lane *lane)
{
	pthread_mutex_lock(&lane->source->lock);
	lane->batches_out++;
	pthread_mutex_unlock(&lane->source->lock);
}

/* The signal goes out under the lock: without it the source may be gone by then. */
void
local_source_returned(struct local_lane *lane)
{
	struct local_source *s = lane->source;
	pthread_mutex_lock(&s->lock);
	if (--lane->batches_out == 0)
		local_signal_raise(&s->signal);
	pthread_mutex_unlock(&s->lock);
}

int
local_source_is_member(const struct local_source *s)
{
	return s->group != NULL;
}

uint32_t
local_source_stream_count(const struct local_source *s)
{
	return s->stream_count;
}

/* Where a partition that holds [start, end) is read from when nothing is committed. */
static uint64_t
start_in(const struct riffle_source_stream *spec, uint64_t at_time, uint64_t start, uint64_t end)
{
	uint64_t at = spec->start == RIFFLE_START_EARLIEST ? start : end;
	if (spec->start == RIFFLE_START_TIME)
		at = at_time;
	if (spec->start == RIFFLE_START_OFFSET)
		at = spec->start_value < 0 ? 0 : (uint64_t)spec->start_value;
	if (at < start)
		at = start;
	return at > end ? end : at;
}

/* First offset held and one past the last, on the writer thread. */
static int
range(struct local_env *env, MDB_txn *txn, const struct local_topic *t, uint32_t partition,
	uint64_t *ret_start, uint64_t *ret_end)
{
	struct local_segment first, head;
	MDB_dbi dbi;
	int rc = local_segment_find(env, txn, t->row.number, partition, 0, &first);
	if (rc == 0)
		rc = local_segment_find(env, txn, t->row.number, partition, LOCAL_HEAD, &head);
	if (rc != 0)
		return rc == MDB_NOTFOUND ? LOCAL_GONE : rc;
	*ret_start = first.base;
	*ret_end = head.base;
	const struct local_name name = local_segment_name(t->row.number, partition, head.base);
	rc = local_handle_open(env, txn, &name, 0, &dbi);
	if (rc == MDB_NOTFOUND)
		return 0;
	return rc != 0 ? rc : local_segment_end(txn, dbi, head.base, ret_end);
}

struct source_op {
	struct local_op op;
	struct local_source *source;
	struct riffle_position *positions;
	uint32_t count;
	uint64_t tag;
	uint64_t *at_times; /* of a join: by stream and partition, for those that start at a time */
};

static int
is_new_group(struct local_source *s, MDB_txn *txn, int *ret_new)
{
	*ret_new = 1;
	for (uint32_t i = 0; i < s->stream_count; i++)
		for (uint32_t p = 0; p < s->topics[i]->row.partitions; p++) {
			struct riffle_position at = {.partition = (int32_t)p};
			int rc = local_group_get(
				s->env, txn, local_group_name(s->group), s->topics[i], &at);
			if (rc == 0)
				*ret_new = 0;
			else if (rc != MDB_NOTFOUND)
				return rc;
		}
	return 0;
}

/*
 * The starts of all partitions are committed together before anything is read, so that a crash cannot
 * move them. Partitions that a known group has not seen begin at their beginning.
 */
static int
apply_join(struct local_op *op, struct local_env *env, MDB_txn *txn, int *refused)
{
	struct source_op *o = (struct source_op *)(void *)op;
	struct local_source *s = o->source;
	const char *group = local_group_name(s->group);
	const uint64_t *at_time = o->at_times;
	int is_new;
	(void)refused;
	int rc = is_new_group(s, txn, &is_new);
	for (uint32_t i = 0; i < s->stream_count && rc == 0; i++)
		for (uint32_t p = 0; p < s->topics[i]->row.partitions && rc == 0; p++, at_time++) {
			struct riffle_position at = {.partition = (int32_t)p, .leader_epoch = -1};
			uint64_t start, end;
			rc = local_group_get(env, txn, group, s->topics[i], &at);
			if (rc != MDB_NOTFOUND)
				continue;
			rc = range(env, txn, s->topics[i], p, &start, &end);
			if (rc != 0)
				break;
			at.offset =
				(int64_t)(is_new ? start_in(&s->streams[i], *at_time, start, end)
						 : start);
			rc = local_group_put(env, txn, group, s->topics[i], &at);
		}
	return rc;
}

static void
join_done(struct local_op *op)
{
	struct source_op *o = (struct source_op *)(void *)op;
	struct local_source *s = o->source;
	pthread_mutex_lock(&s->lock);
	s->join_error = op->error;
	if (s->state == JOINING)
		s->state = JOINED;
	s->ops_open--;
	local_signal_raise(&s->signal);
	pthread_mutex_unlock(&s->lock);
	free(o->at_times);
	free(o);
}

void
local_source_op_begin(struct local_source *s)
{
	pthread_mutex_lock(&s->lock);
	s->ops_open++;
	pthread_mutex_unlock(&s->lock);
}

void
local_source_op_end(struct local_source *s)
{
	pthread_mutex_lock(&s->lock);
	s->ops_open--;
	local_signal_raise(&s->signal);
	pthread_mutex_unlock(&s->lock);
}

static void
post(struct local_source *s, struct source_op *o)
{
	local_source_op_begin(s);
	local_writer_post(s->env, &o->op);
}

static int
open_streams(
	struct local_source *s, const struct riffle_source_spec *spec, struct riffle_error *reterr)
{
	s->topics = local_alloc((spec->stream_count + 1) * sizeof(struct local_topic *));
	s->streams = local_alloc((spec->stream_count + 1) * sizeof *s->streams);
	for (uint32_t i = 0; i < spec->stream_count; i++) {
		const struct riffle_source_stream *from =
			(const void *)((const char *)spec->streams + (size_t)i * spec->stream_size);
		int rc = local_topic_open(s->env, from->stream->topic, &s->topics[i], reterr);
		if (rc < 0)
			return rc;
		s->stream_count++;
		s->streams[i] = *from;
		s->lane_count += from->partition_count ? from->partition_count
						       : s->topics[i]->row.partitions;
	}
	return RIFFLE_OK;
}

static int
make_lanes(struct local_source *s, struct riffle_error *reterr)
{
	uint32_t n = 0;
	s->lanes = local_alloc((s->lane_count + 1) * sizeof *s->lanes);
	for (uint32_t i = 0; i < s->stream_count; i++) {
		const struct riffle_source_stream *spec = &s->streams[i];
		uint32_t held = s->topics[i]->row.partitions;
		uint32_t count = spec->partition_count ? spec->partition_count : held;
		for (uint32_t p = 0; p < count; p++) {
			int32_t partition =
				spec->partition_count ? spec->partitions[p] : (int32_t)p;
			if (partition < 0 || (uint32_t)partition >= held)
				return local_err(reterr, RIFFLE_E_CONFIG,
					"topic \"%s\" has no partition %d, only %u",
					s->topics[i]->name, partition, held);
			s->lanes[n++] = (struct local_lane){.source = s,
				.topic = s->topics[i],
				.stream = i,
				.partition = partition,
				.goes_on = local_goes_on(spec->stream)};
		}
		s->streams[i].partitions = NULL;
	}
	return RIFFLE_OK;
}

static void
source_free(struct local_source *s)
{
	local_reader_fini(&s->reader);
	for (uint32_t i = 0; i < s->stream_count; i++)
		local_topic_close(s->env, s->topics[i]);
	local_group_close(s->group);
	local_signal_fini(&s->signal);
	pthread_mutex_destroy(&s->lock);
	s->magic = 0;
	free(s->topics);
	free(s->streams);
	free(s->lanes);
	free(s->shown);
	free(s);
}

static void
listen(struct local_source *s)
{
	pthread_mutex_lock(&s->env->lock);
	s->next = s->env->listeners;
	s->env->listeners = s;
	pthread_mutex_unlock(&s->env->lock);
}

static void
unlisten(struct local_source *s)
{
	pthread_mutex_lock(&s->env->lock);
	struct local_source **at = &s->env->listeners;
	while (*at != NULL && *at != s)
		at = &(*at)->next;
	if (*at != NULL)
		*at = s->next;
	pthread_mutex_unlock(&s->env->lock);
}

/* Where the streams that start at a time do: looked up here, for the writer has no time for it. */
static int
find_times(struct local_source *s, uint64_t **ret, struct riffle_error *reterr)
{
	size_t count = 1;
	for (uint32_t i = 0; i < s->stream_count; i++)
		count += s->topics[i]->row.partitions;
	uint64_t *at = *ret = local_alloc(count * sizeof *at);
	for (uint32_t i = 0; i < s->stream_count; i++)
		for (uint32_t p = 0; p < s->topics[i]->row.partitions; p++, at++) {
			if (s->streams[i].start != RIFFLE_START_TIME)
				continue;
			int rc = local_reader_offset_at(
				&s->reader, s->topics[i], p, s->streams[i].start_value, at);
			if (rc != 0)
				return local_mdb_err(
					reterr, rc, "cannot read topic \"%s\"", s->topics[i]->name);
		}
	return RIFFLE_OK;
}

static int
join(struct local_source *s, struct riffle_error *reterr)
{
	struct source_op *o = local_alloc(sizeof *o);
	int rc = find_times(s, &o->at_times, reterr);
	if (rc < 0) {
		free(o->at_times);
		free(o);
		return rc;
	}
	o->op.apply = apply_join;
	o->op.done = join_done;
	o->source = s;
	s->state = JOINING;
	post(s, o);
	return RIFFLE_OK;
}

int
local_source_open(void *self, const struct riffle_source_spec *spec, void **ret_source,
	struct riffle_error *reterr)
{
	struct local *owner = self;
	LOCAL_CHECK(owner, LOCAL_MAGIC);
	struct local_source *s = local_alloc(sizeof *s);
	s->magic = LOCAL_SOURCE_MAGIC;
	s->owner = owner;
	s->env = owner->env;
	s->reader.env = owner->env;
	s->last = &s->first;
	s->state = JOINED;
	s->signal.fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	int rc = local_signal_init(&s->signal) < 0
			 ? local_err(reterr, RIFFLE_E_UNAVAILABLE, "cannot make an eventfd: %s",
				   strerror(errno))
			 : open_streams(s, spec, reterr);
	if (rc == RIFFLE_OK)
		rc = make_lanes(s, reterr);
	if (rc == RIFFLE_OK && spec->group != NULL)
		rc = local_group_open(s->env, spec->group, spec->member, &s->group, reterr);
	if (rc == RIFFLE_OK && s->group != NULL)
		rc = join(s, reterr);
	if (rc < 0) {
		source_free(s);
		return rc;
	}
	listen(s);
	if (spec->txn != NULL)
		local_txn_bind(spec->txn, s);
	local_signal_raise(&s->signal);
	*ret_source = s;
	return RIFFLE_OK;
}

int
local_source_fd(void *source)
{
	struct local_source *s = source;
	LOCAL_CHECK(s, LOCAL_SOURCE_MAGIC);
	return s->signal.fd;
}

static int
show_lane(struct local_source *s, uint32_t i)
{
	struct local_lane *lane = &s->lanes[i];
	const struct riffle_source_stream *spec = &s->streams[lane->stream];
	struct riffle_lane *l = &s->shown[i];
	uint64_t start, end, at_time = 0;
	*l = (struct riffle_lane){.size = sizeof *l,
		.lane = i,
		.committed = {
			.stream = lane->stream, .partition = lane->partition, .leader_epoch = -1}};
	uint32_t partition = (uint32_t)lane->partition;
	int rc = local_reader_range(&s->reader, lane->topic, partition, &start, &end);
	if (rc == 0 && s->group == NULL && spec->start == RIFFLE_START_TIME)
		rc = local_reader_offset_at(
			&s->reader, lane->topic, partition, spec->start_value, &at_time);
	if (rc != 0)
		return rc;
	l->committed.offset = (int64_t)start_in(spec, at_time, start, end);
	l->log_start = (int64_t)start;
	l->log_end = (int64_t)end;
	return 0;
}

/* The metadata points into the transaction. */
static int
show_committed(struct local_source *s)
{
	int rc = 0;
	for (uint32_t i = 0; i < s->lane_count && rc == 0; i++) {
		struct riffle_position *at = &s->shown[i].committed;
		if (s->group != NULL)
			rc = local_group_get(s->env, s->reader.txn, local_group_name(s->group),
				s->lanes[i].topic, at);
		s->lanes[i].next = (uint64_t)at->offset;
	}
	return rc;
}

/* The metadata it shows points into the read transaction, which stays open until the next poll. */
static int
assign(struct local_source *s, struct riffle_event *ev)
{
	int rc = s->join_error.code;
	ev->error = s->join_error;
	s->state = ASSIGNED;
	free(s->shown);
	s->shown = local_alloc((s->lane_count + 1) * sizeof *s->shown);
	for (uint32_t i = 0; i < s->lane_count && rc == 0; i++) {
		rc = show_lane(s, i);
		if (rc != 0)
			local_mdb_err(&ev->error, rc, "cannot read the ends of a topic");
	}
	if (rc == 0)
		rc = local_reader_begin(&s->reader, &ev->error);
	if (rc == 0) {
		rc = show_committed(s);
		if (rc != 0)
			local_mdb_err(&ev->error, rc, "cannot read the positions of a group");
	}
	ev->type = RIFFLE_EV_ASSIGNED;
	ev->lanes = s->shown;
	ev->lane_count = s->lane_count;
	ev->lane_size = sizeof *s->shown;
	if (rc != 0) {
		ev->type = RIFFLE_EV_ERROR;
		ev->status = RIFFLE_E_FATAL;
	}
	return 1;
}

static int
take_answer(struct local_source *s, struct riffle_event *ev)
{
	pthread_mutex_lock(&s->lock);
	struct answer *a = s->first;
	if (a != NULL) {
		s->first = a->next;
		if (s->first == NULL)
			s->last = &s->first;
	}
	pthread_mutex_unlock(&s->lock);
	if (a == NULL)
		return 0;
	uint32_t size = ev->size;
	*ev = a->event;
	ev->size = size;
	free(a);
	return 1;
}

static int
show_released(struct local_source *s, struct riffle_event *ev)
{
	uint32_t n = 0;
	free(s->shown);
	s->shown = local_alloc((s->lane_count + 1) * sizeof *s->shown);
	pthread_mutex_lock(&s->lock);
	for (uint32_t i = 0; i < s->lane_count; i++) {
		struct local_lane *lane = &s->lanes[i];
		if (!lane->is_releasing || lane->is_released || lane->batches_out > 0)
			continue;
		lane->is_released = 1;
		s->shown[n++] = (struct riffle_lane){.size = sizeof *s->shown,
			.lane = i,
			.committed = {.stream = lane->stream, .partition = lane->partition}};
	}
	pthread_mutex_unlock(&s->lock);
	ev->type = RIFFLE_EV_RELEASED;
	ev->lanes = s->shown;
	ev->lane_count = n;
	ev->lane_size = sizeof *s->shown;
	return n > 0;
}

/* The group is left once nothing is on its way to the disk, whatever is lent still: 1 = nothing is. */
static int
leave(struct local_source *s)
{
	pthread_mutex_lock(&s->lock);
	uint32_t ops = s->ops_open, batches = 0;
	for (uint32_t i = 0; i < s->lane_count; i++)
		batches += s->lanes[i].batches_out;
	pthread_mutex_unlock(&s->lock);
	if (ops > 0)
		return 0;
	local_group_close(s->group);
	s->group = NULL;
	return batches == 0;
}

int
local_source_poll(void *source, struct riffle_event *ret_event)
{
	struct local_source *s = source;
	LOCAL_CHECK(s, LOCAL_SOURCE_MAGIC);
	local_reader_end(&s->reader);
	local_signal_take(&s->signal);
	if (take_answer(s, ret_event))
		return 1;
	pthread_mutex_lock(&s->lock);
	enum state state = s->state;
	pthread_mutex_unlock(&s->lock);
	if (state == JOINED)
		return assign(s, ret_event);
	if (state == ASSIGNED)
		return show_released(s, ret_event);
	if (state != CLOSING || !leave(s))
		return 0;
	s->state = CLOSED;
	ret_event->type = RIFFLE_EV_CLOSED;
	return 1;
}

static int
move(struct local_source *s, const uint32_t *lanes, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr)
{
	LOCAL_CHECK(s, LOCAL_SOURCE_MAGIC);
	for (uint32_t i = 0; i < count; i++)
		if (lanes[i] >= s->lane_count || from[i].offset < 0)
			return local_err(reterr, RIFFLE_E_INVAL,
				"there is no lane %u, or no offset %lld in it", lanes[i],
				(long long)from[i].offset);
	for (uint32_t i = 0; i < count; i++) {
		s->lanes[lanes[i]].next = (uint64_t)from[i].offset;
		s->lanes[lanes[i]].is_started = 1;
	}
	return RIFFLE_OK;
}

int
local_source_start(void *source, const uint32_t *lanes, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr)
{
	return move(source, lanes, from, count, reterr);
}

int
local_source_rewind(void *source, const uint32_t *lanes, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr)
{
	return move(source, lanes, from, count, reterr);
}

int
local_source_release(
	void *source, const uint32_t *lanes, uint32_t count, struct riffle_error *reterr)
{
	struct local_source *s = source;
	LOCAL_CHECK(s, LOCAL_SOURCE_MAGIC);
	for (uint32_t i = 0; i < count; i++)
		if (lanes[i] >= s->lane_count)
			return local_err(reterr, RIFFLE_E_INVAL, "there is no lane %u", lanes[i]);
	pthread_mutex_lock(&s->lock);
	for (uint32_t i = 0; i < count; i++) {
		s->lanes[lanes[i]].is_releasing = 1;
		s->lanes[lanes[i]].is_started = 0;
	}
	local_signal_raise(&s->signal);
	pthread_mutex_unlock(&s->lock);
	return RIFFLE_OK;
}

int
local_source_put(struct local_source *s, MDB_txn *txn, const struct riffle_position *positions,
	uint32_t count)
{
	int rc = 0;
	for (uint32_t i = 0; i < count && rc == 0; i++)
		rc = local_group_put(s->env, txn, local_group_name(s->group),
			s->topics[positions[i].stream], &positions[i]);
	return rc;
}

static int
apply_commit(struct local_op *op, struct local_env *env, MDB_txn *txn, int *refused)
{
	struct source_op *o = (struct source_op *)(void *)op;
	(void)env, (void)refused;
	return local_source_put(o->source, txn, o->positions, o->count);
}

static void
commit_done(struct local_op *op)
{
	struct source_op *o = (struct source_op *)(void *)op;
	struct local_source *s = o->source;
	struct answer *a = local_alloc(sizeof *a);
	a->event.type = RIFFLE_EV_COMMITTED;
	a->event.tag = o->tag;
	a->event.status = op->error.code;
	a->event.error = op->error;
	pthread_mutex_lock(&s->lock);
	*s->last = a;
	s->last = &a->next;
	s->ops_open--;
	local_signal_raise(&s->signal);
	pthread_mutex_unlock(&s->lock);
	free(o->positions);
	free(o);
}

int
local_source_commit(void *source, const struct riffle_position *positions, uint32_t count,
	uint64_t tag, struct riffle_error *reterr)
{
	struct local_source *s = source;
	LOCAL_CHECK(s, LOCAL_SOURCE_MAGIC);
	if (s->group == NULL)
		return local_err(
			reterr, RIFFLE_E_INVAL, "a source without a group commits nothing");
	for (uint32_t i = 0; i < count; i++)
		if (positions[i].stream >= s->stream_count || positions[i].metadata.len > 4096)
			return local_err(
				reterr, RIFFLE_E_INVAL, "position %u is not one of this source", i);
	struct source_op *o = local_alloc(sizeof *o);
	o->op.apply = apply_commit;
	o->op.done = commit_done;
	o->source = s;
	o->positions = local_positions_copy(positions, count);
	o->count = count;
	o->tag = tag;
	post(s, o);
	return RIFFLE_OK;
}

int
local_lane_poll(void *source, uint32_t lane, uint32_t max_records, size_t max_bytes,
	struct riffle_batch **ret_batch, struct riffle_error *reterr)
{
	struct local_source *s = source;
	LOCAL_CHECK(s, LOCAL_SOURCE_MAGIC);
	if (lane >= s->lane_count)
		return local_err(reterr, RIFFLE_E_INVAL, "there is no lane %u", lane);
	if (!s->lanes[lane].is_started || max_records == 0 || s->state != ASSIGNED)
		return 0;
	return local_batch_read(
		&s->lanes[lane], &s->reader, max_records, max_bytes, ret_batch, reterr);
}

int
local_lane_state(void *source, uint32_t lane, struct riffle_lane_state *ret_state)
{
	struct local_source *s = source;
	uint64_t start, end;
	LOCAL_CHECK(s, LOCAL_SOURCE_MAGIC);
	if (lane >= s->lane_count)
		return RIFFLE_E_INVAL;
	const struct local_lane *l = &s->lanes[lane];
	if (local_reader_range(&s->reader, l->topic, (uint32_t)l->partition, &start, &end) != 0)
		return RIFFLE_E_UNAVAILABLE;
	ret_state->flags = 0;
	ret_state->position = (int64_t)l->next;
	ret_state->log_end = (int64_t)end;
	ret_state->as_of_ns = s->owner->host->mono_ns(s->owner->host);
	return RIFFLE_OK;
}

void
local_source_close(void *source)
{
	struct local_source *s = source;
	LOCAL_CHECK(s, LOCAL_SOURCE_MAGIC);
	unlisten(s);
	pthread_mutex_lock(&s->lock);
	s->state = CLOSING;
	local_signal_raise(&s->signal);
	pthread_mutex_unlock(&s->lock);
}

void
local_source_destroy(void *source)
{
	struct local_source *s = source;
	if (s == NULL)
		return;
	LOCAL_CHECK(s, LOCAL_SOURCE_MAGIC);
	local_assert(s->state == CLOSED && s->first == NULL);
	/* Whoever gave the last batch back may still be about to leave the lock. */
	pthread_mutex_lock(&s->lock);
	pthread_mutex_unlock(&s->lock);
	source_free(s);
}
