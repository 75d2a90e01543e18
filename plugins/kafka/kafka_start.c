/*
 * Where the partitions of an assignment are read from. The first member of a new group commits the
 * resolved start of all partitions at once, so that a crash cannot move it; the others wait for it.
 */
#include "kafka.h"

#include <stdlib.h>
#include <string.h>

static uint32_t
stream_of(const struct kafka_starts *s, const char *topic)
{
	uint32_t i = 0;
	while (i + 1 < s->stream_count && strcmp(s->streams[i].topic, topic) != 0)
		i++;
	return i;
}

int
kafka_starts_all(const struct kafka_starts *s, rd_kafka_topic_partition_list_t **ret_list,
	struct riffle_error *reterr)
{
	rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(16);
	for (uint32_t i = 0; i < s->stream_count; i++) {
		uint32_t count;
		int rc =
			kafka_partitions(s->rk, s->streams[i].topic, s->timeout_ms, &count, reterr);
		if (rc < 0) {
			rd_kafka_topic_partition_list_destroy(all);
			return rc;
		}
		for (uint32_t p = 0; p < count; p++)
			rd_kafka_topic_partition_list_add(all, s->streams[i].topic, (int32_t)p);
	}
	*ret_list = all;
	return RIFFLE_OK;
}

/* A time-out clears the list without an error in its elements, so the code alone counts. */
static int
committed(const struct kafka_starts *s, rd_kafka_topic_partition_list_t *list,
	struct riffle_error *reterr)
{
	rd_kafka_resp_err_t e = rd_kafka_committed(s->rk, list, s->timeout_ms);
	for (int i = 0; i < list->cnt && e == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
		e = list->elems[i].err;
	return e ? kafka_rk_err(reterr, e, "cannot read the committed positions of the group")
		 : RIFFLE_OK;
}

static int
has_any(const rd_kafka_topic_partition_list_t *list)
{
	for (int i = 0; i < list->cnt; i++)
		if (list->elems[i].offset >= 0)
			return 1;
	return 0;
}

/* The elements of list that belong to one stream get the offset at which it says to start. */
static int
resolve_stream(const struct kafka_starts *s, uint32_t stream, rd_kafka_topic_partition_list_t *list,
	struct riffle_error *reterr)
{
	const struct kafka_stream_start *at = &s->streams[stream];
	rd_kafka_topic_partition_list_t *part = rd_kafka_topic_partition_list_new(list->cnt);
	rd_kafka_topic_partition_list_t *low, *high;
	for (int i = 0; i < list->cnt; i++)
		if (stream_of(s, list->elems[i].topic) == stream)
			rd_kafka_topic_partition_list_add(
				part, list->elems[i].topic, list->elems[i].partition);
	low = rd_kafka_topic_partition_list_copy(part);
	high = rd_kafka_topic_partition_list_copy(part);
	int rc = kafka_offsets(s->rk, low, RD_KAFKA_OFFSET_BEGINNING, s->timeout_ms, reterr);
	if (rc == RIFFLE_OK)
		rc = kafka_offsets(s->rk, high, RD_KAFKA_OFFSET_END, s->timeout_ms, reterr);
	if (rc == RIFFLE_OK && at->start == RIFFLE_START_TIME)
		rc = kafka_offsets(s->rk, part, at->start_value, s->timeout_ms, reterr);
	for (int i = 0; i < part->cnt && rc == RIFFLE_OK; i++) {
		int64_t first = low->elems[i].offset, end = high->elems[i].offset;
		int64_t from = part->elems[i].offset;
		if (at->start == RIFFLE_START_OFFSET)
			from = at->start_value < first ? first : at->start_value;
		else if (at->start != RIFFLE_START_TIME)
			from = at->start == RIFFLE_START_EARLIEST ? first : end;
		/* A time after the last record leads to the end. */
		if (from < 0 || from > end)
			from = end;
		rd_kafka_topic_partition_list_find(
			list, part->elems[i].topic, part->elems[i].partition)
			->offset = from;
	}
	rd_kafka_topic_partition_list_destroy(low);
	rd_kafka_topic_partition_list_destroy(high);
	rd_kafka_topic_partition_list_destroy(part);
	return rc;
}

static int
resolve_all(const struct kafka_starts *s, rd_kafka_topic_partition_list_t *list,
	struct riffle_error *reterr)
{
	int rc = RIFFLE_OK;
	for (uint32_t i = 0; i < s->stream_count && rc == RIFFLE_OK; i++)
		rc = resolve_stream(s, i, list, reterr);
	return rc;
}

static int
settle(const struct kafka_starts *s, rd_kafka_topic_partition_list_t *all,
	struct riffle_error *reterr)
{
	if (!s->settles)
		return kafka_err(reterr, RIFFLE_E_UNAVAILABLE,
			"the start of a new group is not committed yet by the member that reads "
			"its first partition");
	int rc = resolve_all(s, all, reterr);
	if (rc < 0)
		return rc;
	rd_kafka_resp_err_t e = rd_kafka_commit(s->rk, all, 0);
	return e ? kafka_rk_err(reterr, e, "cannot commit the start of a new group") : RIFFLE_OK;
}

/* What the group has for the partitions of list, which gets it. */
static int
ask_group(const struct kafka_starts *s, rd_kafka_topic_partition_list_t *list, int *ret_is_new,
	struct riffle_error *reterr)
{
	rd_kafka_topic_partition_list_t *all;
	*ret_is_new = 0;
	int rc = kafka_starts_all(s, &all, reterr);
	if (rc < 0)
		return rc;
	rc = committed(s, all, reterr);
	*ret_is_new = rc == RIFFLE_OK && !has_any(all);
	if (*ret_is_new)
		rc = settle(s, all, reterr);
	for (int i = 0; i < list->cnt && rc == RIFFLE_OK; i++) {
		const rd_kafka_topic_partition_t *from = rd_kafka_topic_partition_list_find(
			all, list->elems[i].topic, list->elems[i].partition);
		rd_kafka_topic_partition_t *to = &list->elems[i];
		if (from == NULL) {
			rc = kafka_err(reterr, RIFFLE_E_UNAVAILABLE,
				"partition %d of topic \"%s\" is not known yet", to->partition,
				to->topic);
			break;
		}
		to->offset = from->offset;
		if (from->metadata == NULL || from->metadata_size == 0)
			continue;
		to->metadata = kafka_copy(from->metadata, from->metadata_size);
		to->metadata_size = from->metadata_size;
	}
	rd_kafka_topic_partition_list_destroy(all);
	return rc;
}

static int
fill(const struct kafka_starts *s, const rd_kafka_topic_partition_list_t *list,
	struct kafka_start *starts, struct riffle_error *reterr)
{
	rd_kafka_topic_partition_list_t *ends = rd_kafka_topic_partition_list_copy(list);
	int rc = kafka_offsets(s->rk, ends, RD_KAFKA_OFFSET_BEGINNING, s->timeout_ms, reterr);
	for (int i = 0; i < list->cnt && rc == RIFFLE_OK; i++)
		starts[i].log_start = ends->elems[i].offset;
	if (rc == RIFFLE_OK)
		rc = kafka_offsets(s->rk, ends, RD_KAFKA_OFFSET_END, s->timeout_ms, reterr);
	for (int i = 0; i < list->cnt && rc == RIFFLE_OK; i++) {
		const rd_kafka_topic_partition_t *at = &list->elems[i];
		starts[i].log_end = ends->elems[i].offset;
		/* The group is known and the partition is not: it came later. */
		starts[i].offset = at->offset >= 0 ? at->offset : starts[i].log_start;
		if (at->metadata == NULL)
			continue;
		starts[i].metadata = kafka_copy(at->metadata, at->metadata_size);
		starts[i].metadata_len = at->metadata_size;
	}
	rd_kafka_topic_partition_list_destroy(ends);
	return rc;
}

int
kafka_starts_resolve(const struct kafka_starts *s, const rd_kafka_topic_partition_list_t *list,
	struct kafka_start *ret_starts, int *ret_is_new, struct riffle_error *reterr)
{
	rd_kafka_topic_partition_list_t *mine = rd_kafka_topic_partition_list_copy(list);
	*ret_is_new = 0;
	int rc = s->has_group ? ask_group(s, mine, ret_is_new, reterr)
			      : resolve_all(s, mine, reterr);
	if (rc == RIFFLE_OK)
		rc = fill(s, mine, ret_starts, reterr);
	rd_kafka_topic_partition_list_destroy(mine);
	return rc;
}
