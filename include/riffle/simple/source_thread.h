/* Of riffle/simple.h: the thread of a source, which joins the group, reads its lanes and writes commits. */
#ifndef RIFFLE_SIMPLE_SOURCE_THREAD_H
#define RIFFLE_SIMPLE_SOURCE_THREAD_H

#include <riffle/simple/lane.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RFS_WAIT_MS 100 /* for a record; a commit waits behind it */
#define RFS_GROUP_RETRY_MS 200

/* Milliseconds until the lane may be read, 0 = now, -1 = when something changes. */
static inline int64_t
rfs_lane_pause(struct rfs_source *s, const struct rfs_lane *l)
{
	if (s->is_failed || !l->is_started || l->is_damaged)
		return l->reader != NULL && !l->is_started ? 0 : -1;
	if (l->queued >= RFS_QUEUE_RECORDS || l->queued_bytes >= RFS_QUEUE_BYTES)
		return -1;
	int64_t left_ns = l->is_failing ? l->retry_ns - rfs_now_ns(&s->base) : 0;
	return left_ns <= 0 ? 0 : left_ns / 1000000 + 1;
}

/* One step of one lane, or a wait until there is one. Under the lock. */
static inline void
rfs_source_step(struct rfs_source *s)
{
	int64_t pause = -1;
	uint32_t ready = 0, chosen = 0;
	for (uint32_t i = 0; i < s->lane_count; i++) {
		uint32_t at = (s->turn + i) % s->lane_count;
		int64_t ms = rfs_lane_pause(s, &s->lanes[at]);
		if (ms == 0 && ready++ == 0)
			chosen = at;
		if (ms > 0 && (pause < 0 || ms < pause))
			pause = ms;
	}
	if (ready == 0 && pause < 0)
		pthread_cond_wait(&s->base.wake, &s->base.lock);
	else if (ready == 0)
		rfs_wait_ms(&s->base, pause);
	if (ready == 0)
		return;
	struct rfs_lane *l = &s->lanes[chosen];
	s->turn = chosen + 1;
	if (l->is_started) {
		int wait_ms = RFS_WAIT_MS / (int)ready;
		rfs_lane_read(s, l, s->quiet < ready ? 0 : wait_ms > 0 ? wait_ms : 1);
		return;
	}
	pthread_mutex_unlock(&s->base.lock);
	rfs_reader_close(s->base.owner, l);
	pthread_mutex_lock(&s->base.lock);
}

/* All that wait are written at once, and then answered in order. Under the lock. */
static inline void
rfs_source_write_commits(struct rfs_source *s)
{
	struct riffle_error err = rfs_no_error();
	struct rfs_commit *all = s->commits;
	s->commits = NULL;
	s->commits_last = &s->commits;
	pthread_mutex_unlock(&s->base.lock);
	for (struct rfs_commit *c = all; c != NULL; c = c->next)
		for (uint32_t i = 0; i < c->count; i++)
			rfs_group_set(s->group, s->lanes[c->positions[i].stream].spec.stream->topic,
				&c->positions[i]);
	int rc = rfs_group_store(s->group, &err);
	pthread_mutex_lock(&s->base.lock);
	while (all != NULL) {
		struct rfs_commit *c = all;
		struct rfs_event *e = rfs_source_event(s, RIFFLE_EV_COMMITTED);
		all = c->next;
		e->abi.tag = c->tag;
		e->abi.status = rc;
		if (rc < 0)
			e->abi.error = err;
		free(c->positions);
		free(c);
	}
}

/* Where a group that knows nothing of the stream begins. */
static inline int
rfs_lane_start(const struct rfs_self *owner, const struct rfs_lane *l, void *reader,
	struct riffle_lane *to, struct riffle_error *reterr)
{
	int64_t *offset = &to->committed.offset;
	int rc = RIFFLE_OK;
	*offset = l->spec.start == RIFFLE_START_EARLIEST ? to->log_start : to->log_end;
	if (l->spec.start == RIFFLE_START_OFFSET)
		*offset = l->spec.start_value;
	if (l->spec.start == RIFFLE_START_TIME)
		rc = owner->source->find_time(reader, l->spec.start_value, offset, reterr);
	if (*offset > to->log_end)
		*offset = to->log_end;
	if (*offset < to->log_start)
		*offset = to->log_start;
	return rc;
}

/* What the stream holds and, for a new group, where it begins. */
static inline int
rfs_lane_look(const struct rfs_self *owner, const struct rfs_lane *l, int is_new,
	struct riffle_lane *to, struct riffle_error *reterr)
{
	int rc;
	void *reader = rfs_reader_new(owner, l->spec.stream, 0, &rc, reterr);
	if (reader == NULL)
		return rc;
	rc = owner->source->range(reader, &to->log_start, &to->log_end, reterr);
	if (rc >= 0 && (to->log_start < 0 || to->log_end < to->log_start))
		rc = riffle_simple_fail(reterr, RIFFLE_E_FATAL,
			"the plugin gave the range %" PRId64 " to %" PRId64 " of %s", to->log_start,
			to->log_end, l->spec.stream->topic);
	to->committed.offset = to->log_start;
	if (rc >= 0 && is_new)
		rc = rfs_lane_start(owner, l, reader, to, reterr);
	owner->source->close(reader);
	free(reader);
	return rc;
}

static inline int
rfs_is_new_group(const struct rfs_source *s)
{
	for (uint32_t i = 0; i < s->lane_count; i++)
		if (s->group != NULL &&
			rfs_group_find(s->group, s->lanes[i].spec.stream->topic) != NULL)
			return 0;
	return 1;
}

/* Fills what ASSIGNED shows; the metadata is the group's until the first commit. */
static inline int
rfs_source_resolve(struct rfs_source *s, struct riffle_lane *lanes, struct riffle_error *reterr)
{
	const struct rfs_self *owner = s->base.owner;
	int is_new = rfs_is_new_group(s), is_changed = 0;
	for (uint32_t i = 0; i < s->lane_count; i++) {
		struct rfs_lane *l = &s->lanes[i];
		struct riffle_position *at = &lanes[i].committed;
		const char *topic = l->spec.stream->topic;
		struct rfs_position *known =
			s->group != NULL ? rfs_group_find(s->group, topic) : NULL;
		lanes[i].size = (uint32_t)sizeof lanes[i];
		lanes[i].lane = at->stream = i;
		at->leader_epoch = -1;
		int rc = rfs_lane_look(owner, l, is_new, &lanes[i], reterr);
		if (rc < 0) {
			reterr->code = rc;
			return rc;
		}
		if (known == NULL && s->group != NULL) {
			rfs_group_set(s->group, topic, at);
			is_changed = 1;
		}
		if (known == NULL)
			continue;
		at->offset = known->offset;
		at->leader_epoch = known->leader_epoch;
		at->metadata.ptr = known->has_metadata ? known->metadata : NULL;
		at->metadata.len = known->metadata_len;
	}
	return is_changed ? rfs_group_store(s->group, reterr) : RIFFLE_OK;
}

/* The host reads the metadata after the thread may have changed the group: it gets a copy. */
static inline struct riffle_lane *
rfs_lanes_copy(const struct riffle_lane *from, uint32_t count)
{
	size_t bytes = count * sizeof *from + 1;
	for (uint32_t i = 0; i < count; i++)
		bytes += from[i].committed.metadata.len;
	struct riffle_lane *lanes = (struct riffle_lane *)rfs_alloc(bytes);
	char *to = (char *)(void *)(lanes + count);
	for (uint32_t i = 0; i < count; i++) {
		lanes[i] = from[i];
		lanes[i].committed.metadata = rfs_put_bytes(&to, from[i].committed.metadata);
	}
	return lanes;
}

/* Waits for the group to be free. 1 = it is ours, 0 = the source is being closed. Under the lock. */
static inline int
rfs_source_await_group(struct rfs_source *s, struct riffle_error *reterr)
{
	int is_told = 0;
	while (!s->base.is_closing) {
		pthread_mutex_unlock(&s->base.lock);
		int rc = rfs_group_lock(s->group, reterr);
		pthread_mutex_lock(&s->base.lock);
		if (rc != 0)
			return rc;
		if (!is_told) {
			struct riffle_error err;
			riffle_simple_fail(&err, RIFFLE_E_UNAVAILABLE,
				"the group of %s has a member: waiting until it is gone",
				s->group->path);
			rfs_source_trouble(s, &err);
		}
		is_told = 1;
		if (!s->base.is_closing)
			rfs_wait_ms(&s->base, RFS_GROUP_RETRY_MS);
	}
	return 0;
}

/* Under the lock. Whatever fails before there are lanes is the host's to try again. */
static inline void
rfs_source_join(struct rfs_source *s)
{
	struct riffle_error err = rfs_no_error();
	int rc = s->group != NULL ? rfs_source_await_group(s, &err) : 1;
	if (rc == 0)
		return;
	pthread_mutex_unlock(&s->base.lock);
	struct riffle_lane *lanes =
		(struct riffle_lane *)rfs_alloc((s->lane_count + 1) * sizeof(struct riffle_lane));
	if (rc > 0 && s->group != NULL)
		rc = rfs_group_load(s->group, &err);
	if (rc >= 0)
		rc = rfs_source_resolve(s, lanes, &err);
	pthread_mutex_lock(&s->base.lock);
	if (rc < 0) {
		struct rfs_event *e = rfs_source_event(s, RIFFLE_EV_ERROR);
		s->is_failed = 1;
		e->abi.status = RIFFLE_E_FATAL;
		e->abi.error = err;
	} else {
		for (uint32_t i = 0; i < s->lane_count; i++)
			s->lanes[i].log_end = lanes[i].log_end;
		rfs_source_show(
			s, RIFFLE_EV_ASSIGNED, rfs_lanes_copy(lanes, s->lane_count), s->lane_count);
	}
	free(lanes);
}

/* Commits that were asked for are written before the group is left. */
static inline void *
rfs_source_main(void *object)
{
	struct rfs_source *s = (struct rfs_source *)object;
	pthread_mutex_lock(&s->base.lock);
	rfs_source_join(s);
	while (!s->base.is_closing || s->commits != NULL) {
		if (s->commits != NULL)
			rfs_source_write_commits(s);
		else
			rfs_source_step(s);
	}
	pthread_mutex_unlock(&s->base.lock);
	for (uint32_t i = 0; i < s->lane_count; i++)
		rfs_reader_close(s->base.owner, &s->lanes[i]);
	rfs_group_destroy(s->group);
	s->group = NULL;
	rfs_base_leave(&s->base);
	return NULL;
}

#ifdef __cplusplus
}
#endif
#endif
