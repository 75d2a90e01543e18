/* What librdkafka tells of itself each second: where each lane stands, as of when. */
#include "kafka.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* The statistics come once a second. */
#define HANGING_AFTER_S 2

static int
is_word(const json_t *object, const char *key, const char *word)
{
	const char *is = json_string_value(json_object_get(object, key));
	return is != NULL && strcmp(is, word) == 0;
}

static int64_t
number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static const json_t *
broker_of(const json_t *root, int64_t id)
{
	const char *name;
	json_t *broker;
	json_t *brokers = json_object_get(root, "brokers");
	json_object_foreach(brokers, name, broker)
	{
		(void)name;
		if (number(broker, "nodeid") == id)
			return broker;
	}
	return NULL;
}

/* Where a read ends at an open transaction; told once it has stayed there. */
static void
tell_of_hanging(struct kafka_source *s, struct kafka_lane *lane, int64_t stable)
{
	struct riffle_event *ev;
	lane->flags |= RIFFLE_LANE_HANGING;
	if (lane->hangs_at != stable) {
		lane->hangs_at = stable;
		lane->hangs_for = 0;
	}
	if (++lane->hangs_for != HANGING_AFTER_S)
		return;
	ev = kafka_events_add(&s->events, RIFFLE_EV_ERROR);
	ev->status = kafka_err(&ev->error, RIFFLE_E_UNAVAILABLE,
		"topic \"%s\" [%d] cannot be read past offset %lld: an open transaction of "
		"somebody "
		"else begins there",
		s->topics[lane->stream], lane->partition, (long long)stable);
}

/*
 * An answer is as old as what the leader sent last: its fetches come back at least each half second,
 * also from a log that has nothing new.
 */
static void
take_lane(struct kafka_source *s, struct kafka_lane *lane, const json_t *root, const json_t *at)
{
	const json_t *broker = broker_of(root, number(at, "leader"));
	int64_t high = number(at, "hi_offset"), stable = number(at, "ls_offset");
	int fetches = is_word(at, "fetch_state", "active") && broker != NULL &&
		      is_word(broker, "state", "UP");
	lane->as_of_ns = 0;
	lane->flags = fetches ? 0 : RIFFLE_LANE_FAILING;
	if (!fetches)
		return;
	if (high > lane->high)
		lane->high = high;
	if (stable >= 0 && stable < high && number(at, "eof_offset") == stable)
		tell_of_hanging(s, lane, stable);
	lane->as_of_ns = kafka_now_ns(s->owner) - number(broker, "rxidle") * 1000;
}

void
kafka_stats_take(struct kafka_source *s, const char *json, size_t len)
{
	json_t *root = json_loadb(json, len, 0, NULL);
	const json_t *topics = json_object_get(root, "topics");
	for (uint32_t i = 0; i < s->lane_count; i++) {
		char partition[16];
		struct kafka_lane *lane = &s->lanes[i];
		const json_t *topic = json_object_get(topics, s->topics[lane->stream]);
		snprintf(partition, sizeof partition, "%d", lane->partition);
		const json_t *at = json_object_get(json_object_get(topic, "partitions"), partition);
		if (at != NULL)
			take_lane(s, lane, root, at);
	}
	json_decref(root);
}
