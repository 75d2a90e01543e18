/* Sources: a consumer, its callbacks, commits, and how it ends. */
#include "kafka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Brokers refuse more (offset.metadata.max.bytes); a few take more, which we do not need. */
#define METADATA_MAX 4096u

/* One source_commit that is on its way, or answered before one that was asked before it. */
struct kafka_commit {
	struct kafka_commit *next;
	struct kafka_source *source;
	uint64_t tag;
	int is_answered;
	struct riffle_error error; /* code 0 = committed */
};

static struct kafka_commit *
add_commit(struct kafka_source *s, uint64_t tag)
{
	struct kafka_commit *c = kafka_alloc(sizeof *c), **last = &s->commits;
	*c = (struct kafka_commit){.source = s, .tag = tag};
	while (*last != NULL)
		last = &(*last)->next;
	*last = c;
	return c;
}

/* In the order in which they were asked. */
static void
answer_commits(struct kafka_source *s)
{
	struct kafka_commit *c;
	while ((c = s->commits) != NULL && c->is_answered) {
		s->commits = c->next;
		struct riffle_event *ev = kafka_events_add(&s->events, RIFFLE_EV_COMMITTED);
		ev->tag = c->tag;
		ev->status = c->error.code;
		ev->error = c->error;
		free(c);
	}
}

static void
on_rebalance(
	rd_kafka_t *rk, rd_kafka_resp_err_t e, rd_kafka_topic_partition_list_t *list, void *opaque)
{
	struct kafka_source *s = ((struct kafka_client *)opaque)->user;
	if (e == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
		kafka_assign_given(s, list);
		return;
	}
	if (e != RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS)
		kafka_events_error(&s->events, kafka_now_ns(s->owner), e,
			"cannot join group %s: %s", s->group, rd_kafka_err2str(e));
	kafka_assign_taken(s, rd_kafka_assignment_lost(rk));
}

/* Once, and before a commit is told to have failed for it. */
static void
tell_of_successor(struct kafka_source *s)
{
	if (s->is_replaced)
		return;
	s->is_replaced = 1;
	struct riffle_event *ev = kafka_events_add(&s->events, RIFFLE_EV_ERROR);
	ev->status = kafka_err(&ev->error, RIFFLE_E_FENCED,
		"another process has taken the place of this member of group %s: are there two "
		"of one instance?",
		s->group);
}

static void
tell(struct kafka_source *s, rd_kafka_resp_err_t e, const char *words)
{
	if (e == RD_KAFKA_RESP_ERR__FATAL) {
		char fatal[256];
		e = rd_kafka_fatal_error(s->rk, fatal, sizeof fatal);
		if (e == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID) {
			tell_of_successor(s);
			return;
		}
		struct riffle_event *ev = kafka_events_add(&s->events, RIFFLE_EV_ERROR);
		ev->status = kafka_err(&ev->error, RIFFLE_E_FATAL,
			"the consumer of group %s is finished: %s", s->group ? s->group : "(none)",
			fatal);
		return;
	}
	kafka_events_error(&s->events, kafka_now_ns(s->owner), e, "%s", words);
}

static void
on_error(rd_kafka_t *rk, int e, const char *words, void *opaque)
{
	(void)rk;
	tell(((struct kafka_client *)opaque)->user, (rd_kafka_resp_err_t)e, words);
}

static int
on_stats(rd_kafka_t *rk, char *json, size_t len, void *opaque)
{
	(void)rk;
	kafka_stats_take(((struct kafka_client *)opaque)->user, json, len);
	return 0;
}

static int
open_streams(
	struct kafka_source *s, const struct riffle_source_spec *spec, struct riffle_error *reterr)
{
	uint32_t n = s->stream_count = spec->stream_count;
	s->streams = kafka_alloc((n + 1) * sizeof *s->streams);
	s->starts = kafka_alloc((n + 1) * sizeof *s->starts);
	s->topics = kafka_alloc((n + 1) * sizeof(char *));
	for (uint32_t i = 0; i < n; i++) {
		const struct riffle_source_stream *from =
			(const void *)((const char *)spec->streams + (size_t)i * spec->stream_size);
		const char *topic = from->stream->topic;
		s->streams[i] = *from;
		s->topics[i] = kafka_copy(topic, strlen(topic));
		s->starts[i] =
			(struct kafka_stream_start){s->topics[i], from->start, from->start_value};
		s->wants_headers |= (from->flags & RIFFLE_SOURCE_HEADERS) != 0;
		for (uint32_t k = 0; k < i; k++)
			if (strcmp(s->topics[k], topic) == 0)
				return kafka_err(reterr, RIFFLE_E_CONFIG,
					"two inputs are the same topic \"%s\": a member of a group "
					"reads it once",
					topic);
	}
	return RIFFLE_OK;
}

/* The most that may be assigned here, as far as the configuration says. */
static uint32_t
partitions_of(const struct kafka_source *s)
{
	uint32_t sum = 0;
	for (uint32_t i = 0; i < s->stream_count; i++)
		sum += s->streams[i].partition_count ? s->streams[i].partition_count
						     : s->streams[i].stream->partitions;
	return sum;
}

/*
 * A static member that comes back is given what it had, whatever it reads now. So who reads other topics is
 * another member; the one before goes when its session is over.
 */
static int
set_member(const struct kafka_source *s, const char *member, rd_kafka_conf_t *conf,
	struct riffle_error *reterr)
{
	size_t room = strlen(member) + sizeof ".12345678";
	char *text = kafka_alloc(room);
	uint32_t sum = 0;
	for (uint32_t i = 0; i < s->stream_count; i++) {
		uint32_t hash = 2166136261u;
		for (const char *at = s->topics[i]; *at != '\0'; at++)
			hash = (hash ^ (unsigned char)*at) * 16777619u;
		sum += hash;
	}
	snprintf(text, room, "%s.%08x", member, (unsigned)sum);
	int rc = kafka_conf_set(conf, "group.instance.id", text, reterr);
	free(text);
	return rc;
}

/*
 * Without a group nothing is asked of a coordinator: partitions are assigned here. librdkafka wants a
 * group's name all the same.
 */
static int
make_consumer(
	struct kafka_source *s, const struct riffle_source_spec *spec, struct riffle_error *reterr)
{
	rd_kafka_conf_t *conf;
	int joins = spec->group != NULL && s->streams[0].partition_count == 0;
	int rc = kafka_conf_create(&s->client, KAFKA_CONSUMER, &conf, reterr);
	if (rc < 0)
		return rc;
	rc = kafka_conf_set_prefetch(conf, s->owner, partitions_of(s), reterr);
	if (rc == RIFFLE_OK)
		rc = kafka_conf_set(conf, "group.id", s->group ? s->group : "riffle", reterr);
	if (rc == RIFFLE_OK && joins && spec->member != NULL)
		rc = set_member(s, spec->member, conf, reterr);
	if (rc < 0) {
		rd_kafka_conf_destroy(conf);
		return rc;
	}
	rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
	rd_kafka_conf_set_error_cb(conf, on_error);
	rd_kafka_conf_set_stats_cb(conf, on_stats);
	rc = kafka_client_create(KAFKA_CONSUMER, conf, &s->rk, reterr);
	if (rc < 0)
		return rc;
	rd_kafka_poll_set_consumer(s->rk);
	s->queue = rd_kafka_queue_get_consumer(s->rk);
	rd_kafka_queue_cb_event_enable(s->queue, kafka_signal_cb, &s->signal);
	return RIFFLE_OK;
}

static int
subscribe(struct kafka_source *s, struct riffle_error *reterr)
{
	rd_kafka_topic_partition_list_t *list =
		rd_kafka_topic_partition_list_new((int)s->stream_count);
	for (uint32_t i = 0; i < s->stream_count; i++)
		rd_kafka_topic_partition_list_add(list, s->topics[i], RD_KAFKA_PARTITION_UA);
	rd_kafka_resp_err_t e = rd_kafka_subscribe(s->rk, list);
	rd_kafka_topic_partition_list_destroy(list);
	return e ? kafka_rk_err(reterr, e, "cannot join group %s", s->group) : RIFFLE_OK;
}

/* Explicit partitions, or all of them: an assignment that nobody takes away. */
static void
take_partitions(struct kafka_source *s)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
	for (uint32_t i = 0; i < s->stream_count; i++) {
		struct riffle_source_stream *at = &s->streams[i];
		for (uint32_t p = 0; p < at->partition_count; p++)
			rd_kafka_topic_partition_list_add(list, s->topics[i], at->partitions[p]);
		at->partitions = NULL;
	}
	s->phase = KAFKA_RESOLVING;
	kafka_helper_resolve(s, list);
}

static void
source_free(struct kafka_source *s)
{
	for (uint32_t i = 0; i < s->stream_count && s->topics != NULL; i++)
		free(s->topics[i]);
	kafka_events_fini(&s->events);
	kafka_signal_fini(&s->signal);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	s->magic = 0;
	free(s->topics);
	free(s->starts);
	free(s->streams);
	free(s->group);
	free(s->shown);
	free(s);
}

static struct kafka_source *
source_create(struct kafka *owner, const struct riffle_source_spec *spec)
{
	struct kafka_source *s = kafka_alloc(sizeof *s);
	s->magic = KAFKA_SOURCE_MAGIC;
	s->owner = owner;
	s->client = (struct kafka_client){owner, s};
	s->signal.fd = -1;
	s->last = &s->first;
	s->group = spec->group ? kafka_copy(spec->group, strlen(spec->group)) : NULL;
	kafka_events_init(&s->events);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	return s;
}

int
kafka_source_open(void *self, const struct riffle_source_spec *spec, void **ret_source,
	struct riffle_error *reterr)
{
	struct kafka *owner = self;
	KAFKA_CHECK(owner, KAFKA_MAGIC);
	struct kafka_source *s = source_create(owner, spec);
	int rc = kafka_signal_init(&s->signal, reterr);
	if (rc == RIFFLE_OK)
		rc = open_streams(s, spec, reterr);
	if (rc == RIFFLE_OK)
		rc = make_consumer(s, spec, reterr);
	int joins = s->group != NULL && rc == RIFFLE_OK && s->streams[0].partition_count == 0;
	if (joins)
		rc = subscribe(s, reterr);
	if (rc == RIFFLE_OK && pthread_create(&s->helper, NULL, kafka_helper_run, s) != 0)
		rc = kafka_err(reterr, RIFFLE_E_UNAVAILABLE, "cannot start a thread");
	if (rc < 0) {
		if (s->queue != NULL)
			rd_kafka_queue_destroy(s->queue);
		if (s->rk != NULL)
			rd_kafka_destroy(s->rk);
		source_free(s);
		return rc;
	}
	if (!joins)
		take_partitions(s);
	if (spec->txn != NULL) {
		s->txn = spec->txn;
		kafka_txn_bind(s->txn, s);
	}
	*ret_source = s;
	return RIFFLE_OK;
}

int
kafka_source_fd(void *source)
{
	struct kafka_source *s = source;
	KAFKA_CHECK(s, KAFKA_SOURCE_MAGIC);
	return s->signal.fd;
}

/* Callbacks run in here. What comes besides is no record: those have queues of their own. */
static void
serve(struct kafka_source *s)
{
	rd_kafka_message_t *m;
	while ((m = rd_kafka_consumer_poll(s->rk, 0)) != NULL) {
		if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR &&
			m->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
			tell(s, m->err, rd_kafka_message_errstr(m));
		rd_kafka_message_destroy(m);
	}
}

static void
take_trouble(struct kafka_source *s)
{
	pthread_mutex_lock(&s->lock);
	struct riffle_error err = s->trouble;
	s->trouble.code = RIFFLE_OK;
	pthread_mutex_unlock(&s->lock);
	if (err.code != RIFFLE_OK)
		kafka_events_error(&s->events, kafka_now_ns(s->owner), RD_KAFKA_RESP_ERR__FAIL,
			"%s", err.text);
}

/* A consumer with a fatal error is not in a group any more, and refuses. */
static void
begin_to_leave(struct kafka_source *s)
{
	kafka_assign_drop(s);
	s->last_words = rd_kafka_queue_new(s->rk);
	rd_kafka_queue_cb_event_enable(s->last_words, kafka_signal_cb, &s->signal);
	rd_kafka_error_t *error = rd_kafka_consumer_close_queue(s->rk, s->last_words);
	s->is_out = error != NULL;
	if (error != NULL)
		rd_kafka_error_destroy(error);
}

/*
 * The group is left whatever is lent still, so that somebody else can go on with its partitions; the client
 * ends once it has left and the last batch is back.
 */
static int
leave(struct kafka_source *s, struct riffle_event *ev)
{
	if (s->phase == KAFKA_LEAVING && s->last_words == NULL) {
		if (kafka_assign_asked(s) > 0)
			return 0;
		begin_to_leave(s);
	}
	if (s->phase == KAFKA_LEAVING) {
		while (rd_kafka_queue_poll_callback(s->last_words, 0) > 0)
			;
		s->is_out |= rd_kafka_consumer_closed(s->rk);
		if (!s->is_out || kafka_assign_batches_out(s) > 0)
			return 0;
		kafka_assign_forget(s);
		rd_kafka_queue_cb_event_enable(s->queue, NULL, NULL);
		rd_kafka_queue_cb_event_enable(s->last_words, NULL, NULL);
		s->phase = KAFKA_LEFT;
		kafka_helper_end(s);
	}
	pthread_mutex_lock(&s->lock);
	int ended = s->is_destroyed;
	pthread_mutex_unlock(&s->lock);
	if (s->phase != KAFKA_LEFT || !ended)
		return 0;
	s->phase = KAFKA_CLOSED;
	ev->type = RIFFLE_EV_CLOSED;
	return 1;
}

int
kafka_source_poll(void *source, struct riffle_event *ret_event)
{
	struct kafka_source *s = source;
	KAFKA_CHECK(s, KAFKA_SOURCE_MAGIC);
	kafka_signal_take(&s->signal);
	if (s->phase < KAFKA_LEAVING) {
		serve(s);
		take_trouble(s);
	}
	if (kafka_events_take(&s->events, ret_event))
		return 1;
	if (s->phase >= KAFKA_LEAVING)
		return leave(s, ret_event);
	return kafka_assign_poll(s, ret_event);
}

static struct kafka_lane *
owned_lane(struct kafka_source *s, const struct riffle_position *at)
{
	for (uint32_t i = 0; i < s->lane_count; i++)
		if (s->lanes[i].stream == at->stream && s->lanes[i].partition == at->partition)
			return s->lanes[i].is_released ? NULL : &s->lanes[i];
	return NULL;
}

/*
 * The broker does not check who owns a partition, so we do: nothing is committed of a lane that was
 * given back or lost.
 */
int
kafka_source_positions(struct kafka_source *s, const struct riffle_position *positions,
	uint32_t count, rd_kafka_topic_partition_list_t **ret_list, struct riffle_error *reterr)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);
	int rc = RIFFLE_OK;
	for (uint32_t i = 0; i < count && rc == RIFFLE_OK; i++) {
		const struct riffle_position *at = &positions[i];
		if (at->stream >= s->stream_count || at->offset < 0) {
			rc = kafka_err(
				reterr, RIFFLE_E_INVAL, "position %u is not one of this source", i);
			break;
		}
		if (at->metadata.len > METADATA_MAX) {
			rc = kafka_err(reterr, RIFFLE_E_INVAL,
				"position %u has %zu bytes of metadata: a broker takes at most %u",
				i, at->metadata.len, METADATA_MAX);
			break;
		}
		if (owned_lane(s, at) == NULL || rd_kafka_assignment_lost(s->rk)) {
			rc = kafka_err(reterr, RIFFLE_E_FENCED,
				"partition %d of topic \"%s\" is not ours any more", at->partition,
				s->topics[at->stream]);
			break;
		}
		rd_kafka_topic_partition_t *to = rd_kafka_topic_partition_list_add(
			list, s->topics[at->stream], at->partition);
		to->offset = at->offset;
		if (at->metadata.ptr == NULL || at->metadata.len == 0)
			continue;
		to->metadata = kafka_copy(at->metadata.ptr, at->metadata.len);
		to->metadata_size = at->metadata.len;
	}
	if (rc < 0) {
		rd_kafka_topic_partition_list_destroy(list);
		return rc;
	}
	*ret_list = list;
	return RIFFLE_OK;
}

/* The generation stands behind the seven characters that name the form. */
int
kafka_source_is_member(const rd_kafka_consumer_group_metadata_t *member)
{
	void *text = NULL;
	size_t len = 0;
	int32_t generation = -1;
	rd_kafka_error_t *error =
		member ? rd_kafka_consumer_group_metadata_write(member, &text, &len) : NULL;
	if (error != NULL)
		rd_kafka_error_destroy(error);
	else if (len >= 7 + sizeof generation)
		memcpy(&generation, (const char *)text + 7, sizeof generation);
	if (text != NULL)
		rd_kafka_mem_free(NULL, text);
	return generation >= 0;
}

static void
on_committed(
	rd_kafka_t *rk, rd_kafka_resp_err_t e, rd_kafka_topic_partition_list_t *list, void *opaque)
{
	struct kafka_commit *c = opaque;
	struct kafka_source *s = c->source;
	(void)rk;
	for (int i = 0; list != NULL && i < list->cnt && e == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
		e = list->elems[i].err;
	if (e == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID)
		tell_of_successor(s);
	if (e != RD_KAFKA_RESP_ERR_NO_ERROR)
		kafka_rk_err(&c->error, e, "cannot commit positions of group %s", s->group);
	c->is_answered = 1;
	answer_commits(s);
}

int
kafka_source_commit(void *source, const struct riffle_position *positions, uint32_t count,
	uint64_t tag, struct riffle_error *reterr)
{
	struct kafka_source *s = source;
	rd_kafka_topic_partition_list_t *list;
	struct riffle_error fenced;
	KAFKA_CHECK(s, KAFKA_SOURCE_MAGIC);
	if (s->group == NULL)
		return kafka_err(
			reterr, RIFFLE_E_INVAL, "a source without a group commits nothing");
	int rc = kafka_source_positions(s, positions, count, &list, &fenced);
	if (rc == RIFFLE_E_INVAL) {
		*reterr = fenced;
		return rc;
	}
	struct kafka_commit *c = add_commit(s, tag);
	if (rc < 0) {
		c->error = fenced;
		c->is_answered = 1;
		answer_commits(s);
		kafka_signal_raise(&s->signal);
		return RIFFLE_OK;
	}
	rd_kafka_resp_err_t e = rd_kafka_commit_queue(s->rk, list, s->queue, on_committed, c);
	rd_kafka_topic_partition_list_destroy(list);
	if (e == RD_KAFKA_RESP_ERR_NO_ERROR)
		return RIFFLE_OK;
	struct kafka_commit **at = &s->commits;
	while (*at != c)
		at = &(*at)->next;
	*at = NULL;
	free(c);
	return kafka_rk_err(reterr, e, "cannot commit positions of group %s", s->group);
}

void
kafka_source_close(void *source)
{
	struct kafka_source *s = source;
	KAFKA_CHECK(s, KAFKA_SOURCE_MAGIC);
	kafka_helper_cancel(s);
	if (s->txn != NULL)
		kafka_txn_unbind(s->txn, s);
	s->txn = NULL;
	s->phase = KAFKA_LEAVING;
	kafka_signal_raise(&s->signal);
}

void
kafka_source_destroy(void *source)
{
	struct kafka_source *s = source;
	if (s == NULL)
		return;
	KAFKA_CHECK(s, KAFKA_SOURCE_MAGIC);
	kafka_assert(s->phase == KAFKA_CLOSED);
	pthread_join(s->helper, NULL);
	/* Whoever gave the last batch back may still be about to leave the lock. */
	pthread_mutex_lock(&s->lock);
	pthread_mutex_unlock(&s->lock);
	while (s->commits != NULL) {
		struct kafka_commit *next = s->commits->next;
		free(s->commits);
		s->commits = next;
	}
	source_free(s);
}
