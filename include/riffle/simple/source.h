/* Of riffle/simple.h: the operations of a source. */
#ifndef RIFFLE_SIMPLE_SOURCE_H
#define RIFFLE_SIMPLE_SOURCE_H

#include <riffle/simple/batch.h>
#include <riffle/simple/source_thread.h>

#ifdef __cplusplus
extern "C" {
#endif

static inline int
rfs_check_source_stream(const struct rfs_self *owner, const struct riffle_source_stream *in,
	struct riffle_error *reterr)
{
	for (uint32_t i = 0; i < in->partition_count; i++)
		if (in->partitions[i] != 0 || i > 0)
			return riffle_simple_fail(reterr, RIFFLE_E_CONFIG,
				"topic \"%s\" has no partition %d, only 1", in->stream->topic,
				in->partitions[i]);
	if (in->start == RIFFLE_START_TIME && owner->source->find_time == NULL)
		return riffle_simple_fail(reterr, RIFFLE_E_UNSUPPORTED,
			"topic \"%s\" cannot be read from a time on", in->stream->topic);
	return rfs_check_partitions(in->stream, reterr);
}

static inline void
rfs_source_free(struct rfs_source *s)
{
	for (uint32_t i = 0; i < s->lane_count; i++)
		rfs_lane_clear(&s->lanes[i]);
	while (s->events != NULL) {
		struct rfs_event *e = s->events;
		s->events = e->next;
		free(e->lanes);
		free(e);
	}
	if (s->shown != NULL)
		free(s->shown->lanes);
	free(s->shown);
	rfs_group_destroy(s->group);
	free(s->lanes);
	free(s);
}

static inline int
rfs_source_add_lane(struct rfs_source *s, const struct rfs_self *owner,
	const struct riffle_source_stream *in, struct riffle_error *reterr)
{
	struct rfs_lane *l = &s->lanes[s->lane_count++];
	l->spec = *in;
	l->spec.partitions = NULL;
	l->last = &l->first;
	return rfs_check_source_stream(owner, in, reterr);
}

static inline int
rfs_source_open(void *self, const struct riffle_source_spec *spec, void **ret_source,
	struct riffle_error *reterr)
{
	struct rfs_self *owner = (struct rfs_self *)self;
	int rc = RIFFLE_OK;
	if (spec->txn != NULL)
		return riffle_simple_fail(
			reterr, RIFFLE_E_UNSUPPORTED, "this provider has no transactions");
	struct rfs_source *s = (struct rfs_source *)rfs_alloc(sizeof *s);
	s->events_last = &s->events;
	s->commits_last = &s->commits;
	s->lanes = (struct rfs_lane *)rfs_alloc((spec->stream_count + 1) * sizeof *s->lanes);
	for (uint32_t i = 0; i < spec->stream_count && rc == RIFFLE_OK; i++) {
		const char *in = (const char *)spec->streams + (size_t)i * spec->stream_size;
		rc = rfs_source_add_lane(
			s, owner, (const struct riffle_source_stream *)(const void *)in, reterr);
	}
	if (rc == RIFFLE_OK && spec->group != NULL)
		rc = rfs_group_create(owner->author.config, spec->group, &s->group, reterr);
	if (rc == RIFFLE_OK && (rc = rfs_base_init(&s->base, owner, reterr)) == RIFFLE_OK &&
		(rc = rfs_base_run(&s->base, rfs_source_main, s, reterr)) < 0)
		rfs_base_fini(&s->base);
	if (rc < 0) {
		rfs_source_free(s);
		return rc;
	}
	*ret_source = s;
	return RIFFLE_OK;
}

static inline int
rfs_source_fd(void *source)
{
	return ((struct rfs_source *)source)->base.fd;
}

/* Lanes whose last batch is back. Under the lock. */
static inline void
rfs_source_tell_released(struct rfs_source *s)
{
	struct riffle_lane *lanes =
		(struct riffle_lane *)rfs_alloc((s->lane_count + 1) * sizeof *lanes);
	uint32_t n = 0;
	for (uint32_t i = 0; i < s->lane_count; i++) {
		struct rfs_lane *l = &s->lanes[i];
		if (!l->is_releasing || l->is_released || l->batches_out > 0)
			continue;
		l->is_released = 1;
		lanes[n].size = (uint32_t)sizeof lanes[n];
		lanes[n].lane = lanes[n].committed.stream = i;
		lanes[n].committed.offset = RIFFLE_OFFSET_NONE;
		lanes[n++].committed.leader_epoch = -1;
	}
	if (n == 0) {
		free(lanes);
		return;
	}
	rfs_source_show(s, RIFFLE_EV_RELEASED, lanes, n);
}

static inline int
rfs_source_is_quiet(const struct rfs_source *s)
{
	for (uint32_t i = 0; i < s->lane_count; i++)
		if (s->lanes[i].batches_out > 0)
			return 0;
	return s->base.is_gone && s->events == NULL;
}

static inline int
rfs_source_poll(void *source, struct riffle_event *ret_event)
{
	struct rfs_source *s = (struct rfs_source *)source;
	uint32_t size = ret_event->size;
	int found = 1;
	if (s->shown != NULL)
		free(s->shown->lanes);
	free(s->shown);
	pthread_mutex_lock(&s->base.lock);
	rfs_source_tell_released(s);
	rfs_take_signal(&s->base);
	s->shown = s->events;
	if (s->shown != NULL) {
		s->events = s->shown->next;
		if (s->events == NULL)
			s->events_last = &s->events;
		*ret_event = s->shown->abi;
	} else if (rfs_source_is_quiet(s) && !s->base.is_told_closed) {
		s->base.is_told_closed = 1;
		memset(ret_event, 0, sizeof *ret_event);
		ret_event->type = RIFFLE_EV_CLOSED;
	} else {
		found = 0;
	}
	pthread_mutex_unlock(&s->base.lock);
	ret_event->size = size;
	return found;
}

static inline int
rfs_source_move(void *source, const uint32_t *lanes, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr)
{
	struct rfs_source *s = (struct rfs_source *)source;
	for (uint32_t i = 0; i < count; i++)
		if (lanes[i] >= s->lane_count || from[i].offset < 0)
			return riffle_simple_fail(reterr, RIFFLE_E_INVAL,
				"there is no lane %u, or no offset %" PRId64 " in it", lanes[i],
				from[i].offset);
	pthread_mutex_lock(&s->base.lock);
	for (uint32_t i = 0; i < count; i++) {
		struct rfs_lane *l = &s->lanes[lanes[i]];
		rfs_lane_clear(l);
		l->generation++;
		l->from = l->position = from[i].offset;
		l->is_started = 1;
		l->is_damaged = l->is_failing = 0;
		l->idle_ns = 0;
	}
	pthread_cond_signal(&s->base.wake);
	pthread_mutex_unlock(&s->base.lock);
	return RIFFLE_OK;
}

static inline int
rfs_source_release(void *source, const uint32_t *lanes, uint32_t count, struct riffle_error *reterr)
{
	struct rfs_source *s = (struct rfs_source *)source;
	for (uint32_t i = 0; i < count; i++)
		if (lanes[i] >= s->lane_count)
			return riffle_simple_fail(
				reterr, RIFFLE_E_INVAL, "there is no lane %u", lanes[i]);
	pthread_mutex_lock(&s->base.lock);
	for (uint32_t i = 0; i < count; i++) {
		struct rfs_lane *l = &s->lanes[lanes[i]];
		rfs_lane_clear(l);
		l->generation++;
		l->is_started = 0;
		l->is_releasing = 1;
	}
	rfs_raise(&s->base);
	pthread_cond_signal(&s->base.wake);
	pthread_mutex_unlock(&s->base.lock);
	return RIFFLE_OK;
}

static inline struct riffle_position *
rfs_positions_copy(const struct riffle_position *from, uint32_t count)
{
	size_t bytes = count * sizeof *from + 1;
	for (uint32_t i = 0; i < count; i++)
		bytes += from[i].metadata.len;
	struct riffle_position *copy = (struct riffle_position *)rfs_alloc(bytes);
	char *to = (char *)(void *)(copy + count);
	for (uint32_t i = 0; i < count; i++) {
		copy[i] = from[i];
		copy[i].metadata = rfs_put_bytes(&to, from[i].metadata);
	}
	return copy;
}

static inline int
rfs_source_commit(void *source, const struct riffle_position *positions, uint32_t count,
	uint64_t tag, struct riffle_error *reterr)
{
	struct rfs_source *s = (struct rfs_source *)source;
	for (uint32_t i = 0; i < count; i++)
		if (positions[i].stream >= s->lane_count || positions[i].partition != 0 ||
			positions[i].offset < 0 || positions[i].metadata.len > RFS_METADATA_MAX)
			return riffle_simple_fail(
				reterr, RIFFLE_E_INVAL, "position %u is not one of this source", i);
	pthread_mutex_lock(&s->base.lock);
	int is_possible = s->group != NULL && !s->base.is_closing;
	if (is_possible) {
		struct rfs_commit *c = (struct rfs_commit *)rfs_alloc(sizeof *c);
		c->positions = rfs_positions_copy(positions, count);
		c->count = count;
		c->tag = tag;
		*s->commits_last = c;
		s->commits_last = &c->next;
		pthread_cond_signal(&s->base.wake);
	}
	pthread_mutex_unlock(&s->base.lock);
	if (!is_possible)
		return riffle_simple_fail(reterr, RIFFLE_E_INVAL,
			"a source that is closing or has no group commits nothing");
	return RIFFLE_OK;
}

static inline int
rfs_lane_poll(void *source, uint32_t lane, uint32_t max_records, size_t max_bytes,
	struct riffle_batch **ret_batch, struct riffle_error *reterr)
{
	struct rfs_source *s = (struct rfs_source *)source;
	int rc = 0;
	if (lane >= s->lane_count)
		return riffle_simple_fail(reterr, RIFFLE_E_INVAL, "there is no lane %u", lane);
	struct rfs_lane *l = &s->lanes[lane];
	pthread_mutex_lock(&s->base.lock);
	if (!l->is_started || max_records == 0 || s->base.is_closing) {
		rc = 0;
	} else if (l->first != NULL) {
		struct rfs_batch *b = rfs_lane_take(s, l, max_records, max_bytes);
		rc = b != NULL ? 1
			       : riffle_simple_fail(reterr, RIFFLE_E_NOMEM,
					 "no memory for a batch of %s", l->spec.stream->topic);
		if (b != NULL)
			*ret_batch = &b->abi;
		pthread_cond_signal(&s->base.wake);
	} else if (l->is_damaged) {
		l->position = l->damaged_at;
		*reterr = l->damage;
		rc = RIFFLE_E_DATA;
	}
	pthread_mutex_unlock(&s->base.lock);
	return rc;
}

static inline int
rfs_lane_state(void *source, uint32_t lane, struct riffle_lane_state *ret_state)
{
	struct rfs_source *s = (struct rfs_source *)source;
	if (lane >= s->lane_count)
		return RIFFLE_E_INVAL;
	struct rfs_lane *l = &s->lanes[lane];
	pthread_mutex_lock(&s->base.lock);
	int is_idle = l->first == NULL && l->idle_ns != 0;
	ret_state->flags = l->is_failing ? RIFFLE_LANE_FAILING : 0;
	ret_state->position = l->position;
	ret_state->log_end = is_idle || l->log_end < l->position ? l->position : l->log_end;
	ret_state->as_of_ns = is_idle ? l->idle_ns : 0;
	if (l->first != NULL)
		ret_state->as_of_ns = rfs_now_ns(&s->base);
	pthread_mutex_unlock(&s->base.lock);
	return RIFFLE_OK;
}

static inline void
rfs_source_close(void *source)
{
	rfs_base_close(&((struct rfs_source *)source)->base);
}

/* Whoever gave the last batch back may still be about to leave the lock. */
static inline void
rfs_source_destroy(void *source)
{
	struct rfs_source *s = (struct rfs_source *)source;
	if (s == NULL)
		return;
	pthread_join(s->base.thread, NULL);
	pthread_mutex_lock(&s->base.lock);
	pthread_mutex_unlock(&s->base.lock);
	rfs_base_fini(&s->base);
	rfs_source_free(s);
}

#ifdef __cplusplus
}
#endif
#endif
