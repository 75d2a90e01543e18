/* Partitions come and go: what the group gives is resolved, shown, and given back. */
#include "kafka.h"

#include <stdlib.h>
#include <string.h>

struct kafka_lane *
kafka_source_lane(struct kafka_source *s, uint32_t id)
{
	uint32_t i = id - s->lane_base;
	return i < s->lane_count ? &s->lanes[i] : NULL;
}

void
kafka_assign_given(struct kafka_source *s, const rd_kafka_topic_partition_list_t *list)
{
	kafka_helper_cancel(s);
	if (s->phase >= KAFKA_LEAVING || list->cnt == 0) {
		rd_kafka_assign(s->rk, s->phase >= KAFKA_LEAVING ? NULL : list);
		return;
	}
	s->phase = KAFKA_RESOLVING;
	kafka_helper_resolve(s, rd_kafka_topic_partition_list_copy(list));
}

void
kafka_assign_taken(struct kafka_source *s, int lost)
{
	kafka_helper_cancel(s);
	if (s->phase == KAFKA_ASSIGNED) {
		s->phase = KAFKA_REVOKING;
		s->revoke_event = lost ? RIFFLE_EV_LOST : RIFFLE_EV_REVOKED;
		kafka_signal_raise(&s->signal);
	} else if (s->phase != KAFKA_REVOKING) {
		if (s->phase == KAFKA_RESOLVING)
			s->phase = KAFKA_IDLE;
		rd_kafka_assign(s->rk, NULL);
	}
}

static uint32_t
stream_of(const struct kafka_source *s, const char *topic)
{
	uint32_t i = 0;
	while (i + 1 < s->stream_count && strcmp(s->topics[i], topic) != 0)
		i++;
	return i;
}

static void
make_lane(struct kafka_source *s, struct kafka_lane *lane, rd_kafka_topic_partition_t *at,
	struct kafka_start *start)
{
	*lane = (struct kafka_lane){
		.source = s,
		.stream = stream_of(s, at->topic),
		.partition = at->partition,
		.next = start->offset,
		.start = *start,
	};
	start->metadata = NULL;
	/* Out of the common queue before the fetcher begins, and not back into it. */
	lane->queue = rd_kafka_queue_get_partition(s->rk, at->topic, at->partition);
	rd_kafka_queue_forward(lane->queue, NULL);
	rd_kafka_queue_cb_event_enable(lane->queue, kafka_signal_cb, &s->signal);
	at->offset = start->offset;
}

static void
tell_of_new_group(const struct kafka_source *s)
{
	const struct riffle_host *h = s->owner->host;
	char text[512];
	snprintf(text, sizeof text,
		"group %s has no committed positions: each input begins where it says", s->group);
	h->log(h, RIFFLE_LOG_INFO, text);
}

static void
show_lane(const struct kafka_lane *lane, uint32_t id, struct riffle_lane *out)
{
	*out = (struct riffle_lane){.size = sizeof *out,
		.lane = id,
		.committed = {.stream = lane->stream,
			.partition = lane->partition,
			.offset = lane->start.offset,
			.leader_epoch = -1,
			.metadata = {lane->start.metadata, lane->start.metadata_len}},
		.log_start = lane->start.log_start,
		.log_end = lane->start.log_end};
}

/* Those of the lanes of which it is to be told. 0 = none are. */
static int
show(struct kafka_source *s, uint32_t type, const struct kafka_gone *of,
	int (*which)(struct kafka_lane *lane), struct riffle_event *ev)
{
	uint32_t n = 0;
	free(s->shown);
	s->shown = kafka_alloc((of->count + 1) * sizeof *s->shown);
	for (uint32_t i = 0; i < of->count; i++)
		if (which(&of->lanes[i]))
			show_lane(&of->lanes[i], of->base + i, &s->shown[n++]);
	if (n == 0)
		return 0;
	ev->type = type;
	ev->lanes = s->shown;
	ev->lane_count = n;
	ev->lane_size = sizeof *s->shown;
	return 1;
}

static int
is_any(struct kafka_lane *lane)
{
	(void)lane;
	return 1;
}

static struct kafka_gone
present(const struct kafka_source *s)
{
	return (struct kafka_gone){.lanes = s->lanes, .count = s->lane_count, .base = s->lane_base};
}

static int
show_all(struct kafka_source *s, uint32_t type, struct riffle_event *ev)
{
	const struct kafka_gone all = present(s);
	return show(s, type, &all, is_any, ev);
}

/* Says yes once for each lane. */
static int
is_released_now(struct kafka_lane *lane)
{
	if (!lane->is_releasing || lane->is_released || lane->batches_out > 0 || lane->asked > 0)
		return 0;
	lane->is_released = 1;
	return 1;
}

static int
begin(struct kafka_source *s, struct kafka_resolved *r, struct riffle_event *ev)
{
	s->lane_count = (uint32_t)r->list->cnt;
	s->lanes = kafka_alloc((s->lane_count + 1) * sizeof *s->lanes);
	for (uint32_t i = 0; i < s->lane_count; i++)
		make_lane(s, &s->lanes[i], &r->list->elems[i], &r->starts[i]);
	rd_kafka_resp_err_t e = rd_kafka_assign(s->rk, r->list);
	if (r->is_new && s->group != NULL)
		tell_of_new_group(s);
	kafka_resolved_free(r);
	s->phase = KAFKA_ASSIGNED;
	if (e == RD_KAFKA_RESP_ERR_NO_ERROR)
		return show_all(s, RIFFLE_EV_ASSIGNED, ev);
	ev->type = RIFFLE_EV_ERROR;
	kafka_rk_err(&ev->error, e, "cannot take the partitions that the group assigned");
	ev->status = RIFFLE_E_FATAL;
	return 1;
}

uint32_t
kafka_assign_asked(struct kafka_source *s)
{
	uint32_t sum = 0;
	pthread_mutex_lock(&s->lock);
	for (uint32_t i = 0; i < s->lane_count; i++)
		sum += s->lanes[i].asked;
	pthread_mutex_unlock(&s->lock);
	return sum;
}

uint32_t
kafka_assign_batches_out(struct kafka_source *s)
{
	uint32_t sum = 0;
	pthread_mutex_lock(&s->lock);
	for (const struct kafka_gone *g = s->gone; g != NULL; g = g->next)
		for (uint32_t i = 0; i < g->count; i++)
			sum += g->lanes[i].batches_out;
	pthread_mutex_unlock(&s->lock);
	return sum;
}

static void
gone_free(struct kafka_gone *g)
{
	free(g->lanes);
	free(g);
}

void
kafka_assign_forget(struct kafka_source *s)
{
	while (s->gone != NULL) {
		struct kafka_gone *next = s->gone->next;
		gone_free(s->gone);
		s->gone = next;
	}
}

void
kafka_assign_drop(struct kafka_source *s)
{
	for (uint32_t i = 0; i < s->lane_count; i++) {
		struct kafka_lane *lane = &s->lanes[i];
		kafka_lane_forget(lane);
		rd_kafka_queue_cb_event_enable(lane->queue, NULL, NULL);
	}
	rd_kafka_assign(s->rk, NULL);
	for (uint32_t i = 0; i < s->lane_count; i++) {
		struct kafka_lane *lane = &s->lanes[i];
		rd_kafka_queue_destroy(lane->queue);
		free(lane->stash);
		free(lane->start.metadata);
		lane->start.metadata = NULL;
		lane->start.metadata_len = 0;
	}
	struct kafka_gone *g = kafka_alloc(sizeof *g);
	*g = present(s);
	g->next = s->gone;
	s->gone = g;
	s->lanes = NULL;
	s->lane_base += s->lane_count;
	s->lane_count = 0;
}

/* The host reads none of them any more, and no answer to one is on its way. Under the lock. */
static int
all_given_back(const struct kafka_source *s)
{
	for (uint32_t i = 0; i < s->lane_count; i++)
		if (!s->lanes[i].is_releasing || s->lanes[i].asked > 0)
			return 0;
	return 1;
}

static int
all_released(const struct kafka_gone *g)
{
	for (uint32_t i = 0; i < g->count; i++)
		if (!g->lanes[i].is_released)
			return 0;
	return 1;
}

/* Lanes whose last batch came back, of this assignment or one before. */
static int
poll_released(struct kafka_source *s, struct riffle_event *ev)
{
	const struct kafka_gone now = present(s);
	pthread_mutex_lock(&s->lock);
	int some = show(s, RIFFLE_EV_RELEASED, &now, is_released_now, ev);
	for (struct kafka_gone **at = &s->gone; !some && *at != NULL;) {
		struct kafka_gone *g = *at;
		some = show(s, RIFFLE_EV_RELEASED, g, is_released_now, ev);
		if (some || !all_released(g)) {
			at = &g->next;
			continue;
		}
		*at = g->next;
		gone_free(g);
	}
	pthread_mutex_unlock(&s->lock);
	return some;
}

static struct kafka_resolved *
take_resolved(struct kafka_source *s)
{
	pthread_mutex_lock(&s->lock);
	struct kafka_resolved *r = s->resolved;
	s->resolved = NULL;
	pthread_mutex_unlock(&s->lock);
	return r;
}

/*
 * The group has its partitions back as soon as nothing is read of them: what was lent may be held up by a
 * transaction for as long as that may last.
 */
static void
give_back(struct kafka_source *s)
{
	pthread_mutex_lock(&s->lock);
	int all = all_given_back(s);
	pthread_mutex_unlock(&s->lock);
	if (!all)
		return;
	kafka_assign_drop(s);
	s->phase = KAFKA_IDLE;
}

int
kafka_assign_poll(struct kafka_source *s, struct riffle_event *ev)
{
	if (s->phase == KAFKA_RESOLVING) {
		struct kafka_resolved *r = take_resolved(s);
		if (r != NULL)
			return begin(s, r, ev);
	}
	if (s->phase == KAFKA_REVOKING && s->revoke_event != 0) {
		uint32_t type = (uint32_t)s->revoke_event;
		s->revoke_event = 0;
		return show_all(s, type, ev);
	}
	if (s->phase == KAFKA_REVOKING)
		give_back(s);
	return poll_released(s, ev);
}

static int
check_lanes(struct kafka_source *s, const uint32_t *lanes, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr)
{
	for (uint32_t i = 0; i < count; i++)
		if (kafka_source_lane(s, lanes[i]) == NULL || (from && from[i].offset < 0))
			return kafka_err(reterr, RIFFLE_E_INVAL,
				"there is no lane %u, or no offset %lld in it", lanes[i],
				from ? (long long)from[i].offset : 0);
	return RIFFLE_OK;
}

/* All lanes again where they are, for the sake of one that cannot be moved otherwise. */
static void
assign_again(struct kafka_source *s)
{
	rd_kafka_topic_partition_list_t *list =
		rd_kafka_topic_partition_list_new((int)s->lane_count);
	for (uint32_t i = 0; i < s->lane_count; i++) {
		const struct kafka_lane *l = &s->lanes[i];
		rd_kafka_topic_partition_list_add(list, s->topics[l->stream], l->partition)
			->offset = l->fetched > l->next ? l->fetched : l->next;
	}
	rd_kafka_assign(s->rk, list);
	rd_kafka_topic_partition_list_destroy(list);
}

static void
move(struct kafka_source *s, struct kafka_lane *lane, int64_t offset)
{
	int is_dead = lane->is_dead;
	kafka_lane_forget(lane);
	lane->next = offset;
	lane->as_of_ns = 0;
	lane->is_dead = 0;
	if (is_dead)
		assign_again(s);
	else
		kafka_helper_seek(s, lane, offset);
}

int
kafka_source_start(void *source, const uint32_t *lanes, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr)
{
	struct kafka_source *s = source;
	KAFKA_CHECK(s, KAFKA_SOURCE_MAGIC);
	int rc = check_lanes(s, lanes, from, count, reterr);
	for (uint32_t i = 0; i < count && rc == RIFFLE_OK; i++) {
		struct kafka_lane *lane = kafka_source_lane(s, lanes[i]);
		lane->is_started = 1;
		/* Its fetcher was begun where the group said. */
		if (from[i].offset != lane->next)
			move(s, lane, from[i].offset);
	}
	return rc;
}

int
kafka_source_rewind(void *source, const uint32_t *lanes, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr)
{
	struct kafka_source *s = source;
	KAFKA_CHECK(s, KAFKA_SOURCE_MAGIC);
	int rc = check_lanes(s, lanes, from, count, reterr);
	for (uint32_t i = 0; i < count && rc == RIFFLE_OK; i++)
		move(s, kafka_source_lane(s, lanes[i]), from[i].offset);
	return rc;
}

int
kafka_source_release(
	void *source, const uint32_t *lanes, uint32_t count, struct riffle_error *reterr)
{
	struct kafka_source *s = source;
	KAFKA_CHECK(s, KAFKA_SOURCE_MAGIC);
	int rc = check_lanes(s, lanes, NULL, count, reterr);
	for (uint32_t i = 0; i < count && rc == RIFFLE_OK; i++) {
		struct kafka_lane *lane = kafka_source_lane(s, lanes[i]);
		lane->is_releasing = 1;
		lane->is_started = 0;
		kafka_lane_forget(lane);
	}
	kafka_signal_raise(&s->signal);
	return rc;
}
