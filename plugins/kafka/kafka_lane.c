/* Reading a lane: records of one partition, borrowed from librdkafka, without a copy. */
#include "kafka.h"

#include <stdlib.h>
#include <string.h>

#define STASH_MAX 4096u
#define HEADERS_USUAL 64u

struct batch {
	struct riffle_batch abi;
	struct kafka_lane *lane;
	struct riffle_header *headers;
	rd_kafka_message_t **messages;
	uint32_t message_count;
	struct riffle_record records[];
};

static const char *const no_types[] = {NULL};

/* The signal goes out under the lock: without it the source may be gone by then. */
static void
release(struct riffle_batch *abi)
{
	struct batch *b = (struct batch *)(void *)abi;
	struct kafka_source *s = b->lane->source;
	for (uint32_t i = 0; i < b->message_count; i++)
		rd_kafka_message_destroy(b->messages[i]);
	free(b->headers);
	free(b->messages);
	pthread_mutex_lock(&s->lock);
	if (--b->lane->batches_out == 0)
		kafka_signal_raise(&s->signal);
	pthread_mutex_unlock(&s->lock);
	free(b);
}

static void
empty_stash(struct kafka_lane *lane)
{
	for (uint32_t i = 0; i < lane->stash_count; i++)
		rd_kafka_message_destroy(lane->stash[lane->stash_first + i]);
	lane->stash_first = lane->stash_count = 0;
}

void
kafka_lane_forget(struct kafka_lane *lane)
{
	empty_stash(lane);
	lane->failure.code = RIFFLE_OK;
	lane->eof = lane->fetched = 0;
}

static int
is_out_of_range(rd_kafka_resp_err_t e)
{
	return e == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
	       e == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE;
}

/* What librdkafka says of a whole batch has the offset of its first record, which may have been read. */
static void
damage(struct kafka_lane *lane, rd_kafka_resp_err_t e, int64_t offset)
{
	lane->damaged_at = lane->fetched > lane->next ? lane->fetched : lane->next;
	if (offset > lane->damaged_at)
		lane->damaged_at = offset;
	kafka_rk_err(&lane->failure, e, "the record of topic \"%s\" [%d] at offset %lld is damaged",
		lane->source->topics[lane->stream], lane->partition, (long long)lane->damaged_at);
}

/* 1 = it does not pass by itself: a position that is not in the log, bytes that are damaged. */
static int
fail(struct kafka_lane *lane, const rd_kafka_message_t *m)
{
	struct kafka_source *s = lane->source;
	uint32_t flags;
	if (is_out_of_range(m->err)) {
		lane->is_dead = 1;
		kafka_helper_ends(s, lane);
		return 1;
	}
	if (kafka_code_of(m->err, &flags) == RIFFLE_E_DATA) {
		damage(lane, m->err, m->offset);
		return 1;
	}
	lane->flags |= RIFFLE_LANE_FAILING;
	kafka_events_error(&s->events, kafka_now_ns(s->owner), m->err,
		"cannot read topic \"%s\" [%d]: %s", s->topics[lane->stream], lane->partition,
		rd_kafka_message_errstr(m));
	return 0;
}

/* Once the ends of its log are known. */
static void
tell_of_death(struct kafka_lane *lane)
{
	int64_t low = lane->start.log_start, high = lane->start.log_end;
	if (lane->next < low)
		kafka_err(&lane->failure, RIFFLE_E_NOTFOUND,
			"%lld records that were not read are gone: offset %lld is needed, the log "
			"begins at %lld",
			(long long)(low - lane->next), (long long)lane->next, (long long)low);
	else
		kafka_err(&lane->failure, RIFFLE_E_NOTFOUND,
			"offset %lld is outside of the log, which holds %lld to %lld: the topic "
			"was made anew or cut, its committed positions are void",
			(long long)lane->next, (long long)low, (long long)high);
}

/*
 * Sorts out what is no record. What stays is in order, and ends where reading failed: what librdkafka read
 * behind that comes again once the lane was moved.
 */
static uint32_t
keep_records(struct kafka_lane *lane, rd_kafka_message_t **m, uint32_t count)
{
	uint32_t kept = 0;
	int has_failed = 0;
	for (uint32_t i = 0; i < count; i++) {
		if (!has_failed && m[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR &&
			m[i]->offset >= lane->fetched) {
			lane->fetched = m[i]->offset + 1;
			m[kept++] = m[i];
			continue;
		}
		/* The end of the log lies past control records, which are no messages. */
		if (!has_failed && m[i]->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
			lane->eof = m[i]->offset;
		else if (!has_failed && m[i]->err != RD_KAFKA_RESP_ERR_NO_ERROR)
			has_failed = fail(lane, m[i]);
		rd_kafka_message_destroy(m[i]);
	}
	return kept;
}

/* Fills the empty stash from the queue. */
static void
fetch(struct kafka_lane *lane, uint32_t most)
{
	if (lane->stash == NULL)
		lane->stash = kafka_alloc(STASH_MAX * sizeof(rd_kafka_message_t *));
	lane->stash_first = lane->stash_count = 0;
	while (lane->failure.code == RIFFLE_OK && lane->stash_count == 0 && !lane->is_dead) {
		size_t waiting = rd_kafka_queue_length(lane->queue);
		uint32_t n = most < STASH_MAX ? most : STASH_MAX;
		if (waiting == 0)
			return;
		if (waiting < n)
			n = (uint32_t)waiting;
		ssize_t came = rd_kafka_consume_batch_queue(lane->queue, 0, lane->stash, n);
		if (came <= 0)
			return;
		lane->stash_count = keep_records(lane, lane->stash, (uint32_t)came);
	}
}

static struct riffle_bytes
bytes(const void *ptr, size_t len)
{
	return (struct riffle_bytes){ptr, ptr ? len : 0};
}

struct reading {
	struct batch *b;
	uint32_t most; /* records that may be in it */
	size_t header_room, bytes;
};

/*
 * Records of one topic mostly have equally many: then the first guess is right, and nothing is wasted. One
 * that has very many is no measure for the others.
 */
static void
grow_headers(struct reading *r, size_t count)
{
	struct batch *b = r->b;
	size_t need = b->abi.header_count + count;
	if (need <= r->header_room)
		return;
	r->header_room = r->header_room == 0 && count <= HEADERS_USUAL ? count * r->most : need * 2;
	b->headers = realloc(b->headers, r->header_room * sizeof *b->headers);
	kafka_assert(b->headers != NULL);
}

/* Headers are parsed by librdkafka when they are first asked for. */
static rd_kafka_resp_err_t
add_headers(struct reading *r, rd_kafka_message_t *m, struct riffle_record *record, size_t *sum)
{
	rd_kafka_headers_t *list;
	struct batch *b = r->b;
	record->header_first = b->abi.header_count;
	rd_kafka_resp_err_t e = rd_kafka_message_headers(m, &list);
	if (e != RD_KAFKA_RESP_ERR_NO_ERROR)
		return e == RD_KAFKA_RESP_ERR__NOENT ? RD_KAFKA_RESP_ERR_NO_ERROR : e;
	size_t count = rd_kafka_header_cnt(list);
	grow_headers(r, count);
	for (size_t i = 0; i < count; i++) {
		const char *name;
		const void *value;
		size_t len;
		if (rd_kafka_header_get_all(list, i, &name, &value, &len) !=
			RD_KAFKA_RESP_ERR_NO_ERROR)
			break;
		struct riffle_header *h = &b->headers[b->abi.header_count++];
		h->name = bytes(name, strlen(name));
		h->value = bytes(value, len);
		*sum += h->name.len + h->value.len;
		record->header_count++;
	}
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t
add_record(
	struct reading *r, const struct kafka_lane *lane, rd_kafka_message_t *m, size_t *ret_size)
{
	rd_kafka_timestamp_type_t type;
	struct riffle_record *record = &r->b->records[r->b->message_count];
	int64_t time_ms = rd_kafka_message_timestamp(m, &type);
	*record = (struct riffle_record){
		.key = bytes(m->key, m->key_len),
		.value = bytes(m->payload, m->len),
		.offset = m->offset,
		/* -1 is Kafka's own word for none, whatever the type. */
		.time_ms = type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE || time_ms == -1
				   ? RIFFLE_TIME_NONE
				   : time_ms,
		.partition = lane->partition,
		.stream = lane->stream,
	};
	*ret_size = m->key_len + m->len;
	return lane->source->wants_headers ? add_headers(r, m, record, ret_size)
					   : RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* NULL = the first record is damaged. */
static struct batch *
make_batch(struct kafka_lane *lane, uint32_t count, size_t max_bytes)
{
	size_t size;
	struct reading r = {.b = malloc(sizeof *r.b + count * sizeof *r.b->records), .most = count};
	kafka_assert(r.b != NULL);
	*r.b = (struct batch){.lane = lane};
	r.b->messages = malloc(count * sizeof(rd_kafka_message_t *));
	kafka_assert(r.b->messages != NULL);
	while (r.b->message_count < count) {
		rd_kafka_message_t *m = lane->stash[lane->stash_first];
		uint32_t headers = r.b->abi.header_count;
		rd_kafka_resp_err_t e = add_record(&r, lane, m, &size);
		if (e != RD_KAFKA_RESP_ERR_NO_ERROR) {
			lane->fetched = m->offset;
			damage(lane, e, m->offset);
			empty_stash(lane);
			break;
		}
		if (r.b->message_count > 0 && r.bytes + size > max_bytes) {
			r.b->abi.header_count = headers;
			break;
		}
		r.b->messages[r.b->message_count++] = m;
		r.bytes += size;
		lane->stash_first++;
		lane->stash_count--;
		lane->next = m->offset + 1;
	}
	if (r.b->message_count == 0) {
		free(r.b->headers);
		free(r.b->messages);
		free(r.b);
		return NULL;
	}
	r.b->abi.pinned_bytes = r.bytes + r.b->message_count * sizeof *r.b->records;
	return r.b;
}

static void
show(struct batch *b)
{
	struct kafka_source *s = b->lane->source;
	b->abi.size = sizeof b->abi;
	b->abi.record_size = sizeof *b->records;
	b->abi.record_count = b->message_count;
	b->abi.records = b->records;
	b->abi.headers = b->headers;
	b->abi.content_type_count = 1;
	b->abi.content_types = no_types;
	b->abi.release = release;
	pthread_mutex_lock(&s->lock);
	b->lane->batches_out++;
	pthread_mutex_unlock(&s->lock);
}

static int
is_asked(struct kafka_lane *lane)
{
	struct kafka_source *s = lane->source;
	pthread_mutex_lock(&s->lock);
	uint32_t open = lane->asked;
	pthread_mutex_unlock(&s->lock);
	return open > 0;
}

/* What there is in place of a record. */
static int
poll_failure(struct kafka_lane *l, struct riffle_error *reterr)
{
	if (l->failure.code == RIFFLE_OK && l->eof > l->next)
		l->next = l->eof;
	if (l->is_dead && l->failure.code == RIFFLE_OK && !is_asked(l))
		tell_of_death(l);
	if (l->failure.code == RIFFLE_E_DATA)
		l->next = l->damaged_at;
	if (l->failure.code != RIFFLE_OK)
		*reterr = l->failure;
	return l->failure.code;
}

int
kafka_lane_poll(void *source, uint32_t lane, uint32_t max_records, size_t max_bytes,
	struct riffle_batch **ret_batch, struct riffle_error *reterr)
{
	struct kafka_source *s = source;
	KAFKA_CHECK(s, KAFKA_SOURCE_MAGIC);
	struct kafka_lane *l = kafka_source_lane(s, lane);
	if (l == NULL)
		return kafka_err(reterr, RIFFLE_E_INVAL, "there is no lane %u", lane);
	if (!l->is_started || max_records == 0 || is_asked(l))
		return 0;
	if (l->stash_count == 0)
		fetch(l, max_records);
	if (l->stash_count == 0)
		return poll_failure(l, reterr);
	struct batch *b = make_batch(
		l, l->stash_count < max_records ? l->stash_count : max_records, max_bytes);
	if (b == NULL)
		return poll_failure(l, reterr);
	show(b);
	*ret_batch = &b->abi;
	return 1;
}

int
kafka_lane_state(void *source, uint32_t lane, struct riffle_lane_state *ret_state)
{
	struct kafka_source *s = source;
	int64_t low, high;
	KAFKA_CHECK(s, KAFKA_SOURCE_MAGIC);
	struct kafka_lane *l = kafka_source_lane(s, lane);
	if (l == NULL)
		return RIFFLE_E_INVAL;
	pthread_mutex_lock(&s->lock);
	int64_t end = l->high > l->start.log_end ? l->high : l->start.log_end;
	int is_moving = l->asked > 0;
	pthread_mutex_unlock(&s->lock);
	if (rd_kafka_get_watermark_offsets(s->rk, s->topics[l->stream], l->partition, &low,
		    &high) == RD_KAFKA_RESP_ERR_NO_ERROR &&
		high > end)
		end = high;
	ret_state->flags = l->flags;
	ret_state->position = l->next;
	ret_state->log_end = end;
	ret_state->as_of_ns = is_moving ? 0 : l->as_of_ns;
	return RIFFLE_OK;
}
