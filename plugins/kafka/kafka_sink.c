/* Sinks: idempotent producers, one status for each record. Values are lent, not copied. */
#include "kafka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One record's status; librdkafka carries a pointer to it. The stride of sent[]. */
struct answer {
	struct riffle_sent sent;
	struct kafka_send *send;
};

/* One sink_send. */
struct kafka_send {
	struct kafka_send *next;
	struct kafka_sink *sink;
	struct riffle_batch *batch;
	uint32_t first, count, open; /* open: not yet answered */
	uint64_t tag;
	struct riffle_error error; /* of the first record that was not written */
	struct answer answers[];
};

static void
answered(struct kafka_send *s)
{
	struct kafka_sink *k = s->sink;
	if (--s->open > 0)
		return;
	s->next = NULL;
	*k->last = s;
	k->last = &s->next;
}

static void
refuse_for(struct answer *a, const struct riffle_error *err)
{
	a->sent = (struct riffle_sent){
		.status = err->code, .partition = -1, .offset = RIFFLE_OFFSET_NONE};
	if (a->send->error.code == RIFFLE_OK || a->send->error.code == RIFFLE_E_CANCELLED)
		a->send->error = *err;
}

static void
refuse(struct answer *a, rd_kafka_resp_err_t e, const char *topic)
{
	struct riffle_error err;
	kafka_rk_err(&err, e, "cannot write to topic \"%s\"", topic);
	/* A transaction that another record's refusal has ended takes no more: that says nothing of this one. */
	if (e == RD_KAFKA_RESP_ERR__STATE && a->send->sink->txn != NULL)
		err.code = RIFFLE_E_CANCELLED;
	refuse_for(a, &err);
}

/* What it would be read with is another time: to librdkafka 0 means now, to Kafka -1 that there is none. */
static int
has_lost_time(const struct riffle_record *r)
{
	return r->time_ms == 0 || r->time_ms == -1;
}

static void
refuse_time(struct answer *a, const struct riffle_record *r, const char *topic)
{
	struct riffle_error err;
	kafka_err(&err, RIFFLE_E_DATA,
		"cannot write to topic \"%s\": its time, %lld ms after 1970, cannot be kept there",
		topic, (long long)r->time_ms);
	refuse_for(a, &err);
}

/* A broker refuses the whole batch for it, with all that shares it. */
static void
refuse_keyless(struct answer *a, const char *topic)
{
	struct riffle_error err;
	kafka_err(&err, RIFFLE_E_DATA,
		"cannot write to topic \"%s\": it is compacted by key, and the record has none",
		topic);
	refuse_for(a, &err);
}

static void
delivered(const rd_kafka_message_t *m)
{
	struct answer *a = m->_private;
	if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR)
		a->sent = (struct riffle_sent){
			.status = RIFFLE_OK, .partition = m->partition, .offset = m->offset};
	else
		refuse(a, m->err, rd_kafka_topic_name(m->rkt));
	answered(a->send);
}

static void
failed(struct kafka_sink *k, rd_kafka_t *rk, rd_kafka_resp_err_t e, const char *words)
{
	if (e != RD_KAFKA_RESP_ERR__FATAL) {
		kafka_events_error(&k->events, kafka_now_ns(k->owner), e, "%s", words);
		return;
	}
	char fatal[256];
	uint32_t flags;
	e = rd_kafka_fatal_error(rk, fatal, sizeof fatal);
	struct riffle_event *ev = kafka_events_add(&k->events, RIFFLE_EV_ERROR);
	ev->status = kafka_code_of(e, &flags) == RIFFLE_E_FENCED ? RIFFLE_E_FENCED : RIFFLE_E_FATAL;
	kafka_err(&ev->error, ev->status, "the producer is finished: %s", fatal);
}

/*
 * A broker refuses a whole batch for its size, so no batch is made larger than the smallest of the topics
 * takes: then only a record that is too large by itself is refused, and nothing that shares a batch.
 */
static int
limit_batches(struct kafka_sink *k, const struct kafka_producer *p, rd_kafka_conf_t *conf,
	struct riffle_error *reterr)
{
	char text[32];
	size_t room = sizeof text;
	if (rd_kafka_conf_get(conf, "batch.size", text, &room) != RD_KAFKA_CONF_OK)
		return RIFFLE_OK;
	int64_t bytes = strtoll(text, NULL, 10);
	for (uint32_t i = 0; i < k->stream_count; i++) {
		int64_t limit = kafka_limit_bytes(k->owner, k->streams[i]->topic);
		if (&k->producers[k->producer_of[i]] == p && limit < bytes)
			bytes = limit > 0 ? limit : 1;
	}
	snprintf(text, sizeof text, "%lld", (long long)bytes);
	return kafka_conf_set(conf, "batch.size", text, reterr);
}

/*
 * Delivery reports come as events: callbacks would be run by whichever thread flushes, and a transaction's
 * thread does.
 */
static void
serve(struct kafka_sink *k, const struct kafka_producer *p)
{
	rd_kafka_event_t *ev;
	const rd_kafka_message_t *m;
	while ((ev = rd_kafka_queue_poll(p->queue, 0)) != NULL) {
		if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_DR)
			while ((m = rd_kafka_event_message_next(ev)) != NULL)
				delivered(m);
		else if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_ERROR)
			failed(k, p->rk,
				rd_kafka_event_error_is_fatal(ev) ? RD_KAFKA_RESP_ERR__FATAL
								  : rd_kafka_event_error(ev),
				rd_kafka_event_error_string(ev));
		rd_kafka_event_destroy(ev);
	}
}

static int
make_producer(struct kafka_sink *k, struct kafka_producer *p, const char *txn_id,
	struct riffle_error *reterr)
{
	rd_kafka_conf_t *conf;
	char linger[32];
	int rc = kafka_conf_create(&k->client, KAFKA_PRODUCER, &conf, reterr);
	if (rc < 0)
		return rc;
	snprintf(linger, sizeof linger, "%lld", (long long)p->linger_ms);
	rc = kafka_conf_set(conf, "linger.ms", linger, reterr);
	if (rc == RIFFLE_OK)
		rc = limit_batches(k, p, conf, reterr);
	if (rc == RIFFLE_OK && txn_id != NULL)
		rc = kafka_conf_set_transactional(conf, txn_id, reterr);
	if (rc < 0) {
		rd_kafka_conf_destroy(conf);
		return rc;
	}
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
	rc = kafka_client_create(KAFKA_PRODUCER, conf, &p->rk, reterr);
	if (rc < 0)
		return rc;
	p->queue = rd_kafka_queue_get_main(p->rk);
	rd_kafka_queue_cb_event_enable(p->queue, kafka_signal_cb, &k->signal);
	return RIFFLE_OK;
}

static int
make_topic(struct kafka_sink *k, uint32_t i, struct riffle_error *reterr)
{
	char words[256];
	const char *compression = kafka_stream_compression(k->streams[i]);
	rd_kafka_t *rk = k->producers[k->producer_of[i]].rk;
	rd_kafka_topic_conf_t *conf = rd_kafka_default_topic_conf_dup(rk);
	if (compression != NULL && rd_kafka_topic_conf_set(conf, "compression.codec", compression,
					   words, sizeof words) != RD_KAFKA_CONF_OK) {
		rd_kafka_topic_conf_destroy(conf);
		return kafka_err(reterr, RIFFLE_E_CONFIG, "stream %s: librdkafka: %s",
			k->streams[i]->name, words);
	}
	k->is_compacted[i] = kafka_is_compacted(k->owner, k->streams[i]->topic);
	k->topics[i] = rd_kafka_topic_new(rk, k->streams[i]->topic, conf);
	return k->topics[i] != NULL ? RIFFLE_OK
				    : kafka_rk_err(reterr, rd_kafka_last_error(),
					      "cannot write to topic \"%s\"", k->streams[i]->topic);
}

/* Streams that wait equally long share a producer; a transaction has one for all of them. */
static void
share_producers(struct kafka_sink *k, int is_one)
{
	k->producers = kafka_alloc((k->stream_count + 1) * sizeof *k->producers);
	for (uint32_t i = 0; i < k->stream_count; i++) {
		int64_t linger_ms = kafka_stream_linger_ms(k->streams[i]);
		uint32_t at = 0;
		if (is_one && i > 0 && k->producers[0].linger_ms < linger_ms)
			linger_ms = k->producers[0].linger_ms;
		if (is_one && i > 0)
			k->producers[0].linger_ms = linger_ms;
		while (at < k->producer_count && k->producers[at].linger_ms != linger_ms)
			at++;
		if (at == k->producer_count)
			k->producers[k->producer_count++].linger_ms = linger_ms;
		k->producer_of[i] = at;
	}
	/* Also without outputs: positions are committed by it. */
	if (is_one && k->producer_count == 0)
		k->producer_count = 1;
}

int
kafka_sink_make_producers(struct kafka_sink *k, const char *txn_id, struct riffle_error *reterr)
{
	int rc = RIFFLE_OK;
	k->is_live = 1;
	share_producers(k, txn_id != NULL);
	for (uint32_t i = 0; i < k->producer_count && rc == RIFFLE_OK; i++)
		rc = make_producer(k, &k->producers[i], txn_id, reterr);
	for (uint32_t i = 0; i < k->stream_count && rc == RIFFLE_OK; i++)
		rc = make_topic(k, i, reterr);
	return rc;
}

/* Waits: for the threads of the clients. */
static void
end_producers(struct kafka_sink *k)
{
	for (uint32_t i = 0; i < k->stream_count; i++)
		if (k->topics[i] != NULL)
			rd_kafka_topic_destroy(k->topics[i]);
	for (uint32_t i = 0; i < k->producer_count; i++) {
		struct kafka_producer *p = &k->producers[i];
		if (p->queue != NULL) {
			rd_kafka_queue_cb_event_enable(p->queue, NULL, NULL);
			rd_kafka_queue_destroy(p->queue);
		}
		if (p->rk != NULL)
			rd_kafka_destroy(p->rk);
	}
}

static void
sink_free(struct kafka_sink *k)
{
	kafka_events_fini(&k->events);
	kafka_signal_fini(&k->signal);
	k->magic = 0;
	free(k->streams);
	free(k->topics);
	free(k->producer_of);
	free(k->is_compacted);
	free(k->producers);
	free(k);
}

int
kafka_sink_open(void *self, const struct riffle_sink_spec *spec, void **ret_sink,
	struct riffle_error *reterr)
{
	struct kafka *owner = self;
	KAFKA_CHECK(owner, KAFKA_MAGIC);
	struct kafka_sink *k = kafka_alloc(sizeof *k);
	uint32_t n = spec->stream_count;
	k->magic = KAFKA_SINK_MAGIC;
	k->owner = owner;
	k->client = (struct kafka_client){owner, k};
	k->last = &k->first;
	k->stream_count = n;
	k->streams = kafka_copy(spec->streams, n * sizeof(void *));
	k->topics = kafka_alloc((n + 1) * sizeof(rd_kafka_topic_t *));
	k->producer_of = kafka_alloc((n + 1) * sizeof *k->producer_of);
	k->is_compacted = kafka_alloc((n + 1) * sizeof *k->is_compacted);
	kafka_events_init(&k->events);
	int rc = kafka_signal_init(&k->signal, reterr);
	if (rc < 0) {
		sink_free(k);
		return rc;
	}
	/* The first poll makes the producers. */
	kafka_signal_raise(&k->signal);
	*ret_sink = k;
	return RIFFLE_OK;
}

int
kafka_sink_fd(void *sink)
{
	struct kafka_sink *k = sink;
	KAFKA_CHECK(k, KAFKA_SINK_MAGIC);
	return k->signal.fd;
}

static rd_kafka_headers_t *
headers_of(const struct riffle_batch *b, const struct riffle_record *r)
{
	rd_kafka_headers_t *list = rd_kafka_headers_new(r->header_count);
	for (uint32_t i = 0; i < r->header_count; i++) {
		const struct riffle_header *h = &b->headers[r->header_first + i];
		rd_kafka_header_add(list, h->name.ptr ? h->name.ptr : "", (ssize_t)h->name.len,
			h->value.ptr, (ssize_t)h->value.len);
	}
	return list;
}

static rd_kafka_resp_err_t
produce(struct kafka_sink *k, const struct riffle_batch *b, const struct riffle_record *r,
	struct answer *a)
{
	rd_kafka_vu_t vu[8];
	size_t n = 0;
	rd_kafka_headers_t *headers = NULL;
	vu[n].vtype = RD_KAFKA_VTYPE_RKT;
	vu[n++].u.rkt = k->topics[r->stream];
	vu[n].vtype = RD_KAFKA_VTYPE_PARTITION;
	vu[n++].u.i32 = r->partition >= 0 ? r->partition : RD_KAFKA_PARTITION_UA;
	vu[n].vtype = RD_KAFKA_VTYPE_VALUE;
	vu[n].u.mem.ptr = (void *)(uintptr_t)r->value.ptr;
	vu[n++].u.mem.size = r->value.len;
	vu[n].vtype = RD_KAFKA_VTYPE_KEY;
	vu[n].u.mem.ptr = (void *)(uintptr_t)r->key.ptr;
	vu[n++].u.mem.size = r->key.len;
	vu[n].vtype = RD_KAFKA_VTYPE_OPAQUE;
	vu[n++].u.ptr = a;
	if (r->time_ms != RIFFLE_TIME_NONE) {
		vu[n].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
		vu[n++].u.i64 = r->time_ms;
	}
	if (r->header_count > 0) {
		headers = headers_of(b, r);
		vu[n].vtype = RD_KAFKA_VTYPE_HEADERS;
		vu[n++].u.headers = headers;
	}
	rd_kafka_error_t *error =
		rd_kafka_produceva(k->producers[k->producer_of[r->stream]].rk, vu, n);
	if (error == NULL)
		return RD_KAFKA_RESP_ERR_NO_ERROR;
	rd_kafka_resp_err_t e = rd_kafka_error_code(error);
	rd_kafka_error_destroy(error);
	if (headers != NULL)
		rd_kafka_headers_destroy(headers);
	return e;
}

static void
send_free(struct kafka_send *s)
{
	const struct riffle_host *host = s->sink->owner->host;
	host->batch_unref(host, s->batch);
	s->sink->sends_open--;
	free(s);
}

static struct kafka_send *
send_create(struct kafka_sink *k, struct riffle_batch *batch, uint32_t first, uint32_t count,
	uint64_t tag)
{
	const struct riffle_host *host = k->owner->host;
	struct kafka_send *s = malloc(sizeof *s + count * sizeof s->answers[0]);
	kafka_assert(s != NULL);
	*s = (struct kafka_send){.sink = k, .batch = batch, .first = first, .tag = tag};
	host->batch_ref(host, batch);
	k->sends_open++;
	return s;
}

/* 0 = the producer is full. */
static int
send_one(
	struct kafka_sink *k, struct kafka_send *s, const struct riffle_record *r, struct answer *a)
{
	const char *topic = r->stream < k->stream_count ? k->streams[r->stream]->topic : NULL;
	if (topic == NULL) {
		refuse(a, RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, "?");
	} else if (has_lost_time(r)) {
		refuse_time(a, r, topic);
	} else if (r->key.ptr == NULL && k->is_compacted[r->stream]) {
		refuse_keyless(a, topic);
	} else {
		rd_kafka_resp_err_t e = produce(k, s->batch, r, a);
		if (e == RD_KAFKA_RESP_ERR__QUEUE_FULL)
			return 0;
		if (e == RD_KAFKA_RESP_ERR_NO_ERROR)
			return 1;
		refuse(a, e, topic);
	}
	answered(s);
	return 1;
}

/* Sends until the producer is full; the send holds itself open until it knows how many it is. */
static int
send_all(struct kafka_sink *k, struct kafka_send *s, uint32_t count)
{
	s->open = 1;
	for (uint32_t i = 0; i < count; i++) {
		const struct riffle_record *r = riffle_batch_at(s->batch, s->first + i);
		struct answer *a = &s->answers[i];
		a->send = s;
		s->open++;
		if (!send_one(k, s, r, a)) {
			s->open--;
			break;
		}
		s->count++;
	}
	return (int)s->count;
}

int
kafka_sink_send(void *sink, struct riffle_batch *batch, uint32_t first, uint32_t count,
	uint64_t tag, struct riffle_error *reterr)
{
	struct kafka_sink *k = sink;
	KAFKA_CHECK(k, KAFKA_SINK_MAGIC);
	if (count == 0)
		return 0;
	int rc = k->is_live ? RIFFLE_OK : kafka_sink_make_producers(k, NULL, reterr);
	if (rc < 0)
		return rc;
	if (k->txn != NULL && !kafka_txn_is_open(k->txn))
		return kafka_err(
			reterr, RIFFLE_E_INVAL, "a record was sent outside of the transaction");
	struct kafka_send *s = send_create(k, batch, first, count, tag);
	int took = send_all(k, s, count);
	if (took == 0) {
		send_free(s);
		return 0;
	}
	answered(s);
	if (k->first != NULL)
		kafka_signal_raise(&k->signal);
	return took;
}

static struct kafka_send *
take_answered(struct kafka_sink *k)
{
	struct kafka_send *s = k->first;
	if (s == NULL)
		return NULL;
	k->first = s->next;
	if (k->first == NULL)
		k->last = &k->first;
	return s;
}

/* The first record of the send that was not written, and not merely called back by an abort; or count. */
static uint32_t
first_failure(const struct kafka_send *s)
{
	uint32_t i = 0;
	while (i < s->count && (s->answers[i].sent.status == RIFFLE_OK ||
				       s->answers[i].sent.status == RIFFLE_E_CANCELLED))
		i++;
	return i;
}

/* In a transaction only failures are told: its result says the rest. */
static struct kafka_send *
take_failure(struct kafka_sink *k, uint32_t *ret_at)
{
	struct kafka_send *s;
	while ((s = take_answered(k)) != NULL) {
		*ret_at = first_failure(s);
		if (*ret_at < s->count && k->txn != NULL)
			break;
		send_free(s);
	}
	if (s != NULL)
		kafka_txn_refused(k->txn);
	return s;
}

static void *
reap(void *sink)
{
	struct kafka_sink *k = sink;
	kafka_txn_end(k->finished_txn);
	end_producers(k);
	__atomic_store_n(&k->is_reaped, 1, __ATOMIC_SEQ_CST);
	kafka_signal_raise(&k->signal);
	return NULL;
}

/* What was taken is written first; then the clients are ended, by a thread, for that waits. */
static int
close_step(struct kafka_sink *k, struct riffle_event *ev)
{
	if (!k->is_closing || k->is_closed || k->sends_open > 0)
		return 0;
	if (!k->is_reaping) {
		k->is_reaping = 1;
		if (pthread_create(&k->reaper, NULL, reap, k) != 0) {
			kafka_txn_end(k->finished_txn);
			end_producers(k);
			k->is_reaping = -1;
			k->is_reaped = 1;
		}
	}
	if (!__atomic_load_n(&k->is_reaped, __ATOMIC_SEQ_CST))
		return 0;
	k->is_closed = 1;
	ev->type = RIFFLE_EV_CLOSED;
	return 1;
}

static void
show(const struct kafka_send *s, uint32_t first, uint32_t count, struct riffle_event *ev)
{
	ev->type = RIFFLE_EV_SENT;
	ev->tag = s->tag;
	ev->first = s->first + first;
	ev->count = count;
	ev->sent = &s->answers[first].sent;
	ev->sent_size = sizeof s->answers[0];
	ev->error = s->error;
}

static void
make_late(struct kafka_sink *k)
{
	struct riffle_error err;
	if (kafka_sink_make_producers(k, NULL, &err) == RIFFLE_OK)
		return;
	struct riffle_event *ev = kafka_events_add(&k->events, RIFFLE_EV_ERROR);
	ev->status = RIFFLE_E_FATAL;
	ev->error = err;
}

int
kafka_sink_poll(void *sink, struct riffle_event *ret_event)
{
	struct kafka_sink *k = sink;
	uint32_t at = 0;
	KAFKA_CHECK(k, KAFKA_SINK_MAGIC);
	if (k->shown != NULL)
		send_free(k->shown);
	k->shown = NULL;
	kafka_signal_take(&k->signal);
	if (!k->is_live && !k->is_closing)
		make_late(k);
	for (uint32_t i = 0; i < k->producer_count && !k->is_reaping; i++)
		if (k->producers[i].queue != NULL)
			serve(k, &k->producers[i]);
	if (kafka_events_take(&k->events, ret_event))
		return 1;
	int is_plain = k->txn == NULL && k->finished_txn == NULL;
	struct kafka_send *s = k->shown = is_plain ? take_answered(k) : take_failure(k, &at);
	if (s != NULL) {
		show(s, at, is_plain ? s->count : 1, ret_event);
		return 1;
	}
	if (k->txn != NULL && kafka_txn_poll(k->txn, ret_event))
		return 1;
	return close_step(k, ret_event);
}

void
kafka_sink_flush(void *sink)
{
	struct kafka_sink *k = sink;
	KAFKA_CHECK(k, KAFKA_SINK_MAGIC);
	for (uint32_t i = 0; i < k->producer_count && !k->is_reaping; i++)
		if (k->producers[i].rk != NULL)
			rd_kafka_flush(k->producers[i].rk, 0);
}

void
kafka_sink_close(void *sink)
{
	struct kafka_sink *k = sink;
	KAFKA_CHECK(k, KAFKA_SINK_MAGIC);
	k->is_closing = 1;
	/* What is left of a transaction is not to be written any more. */
	if (k->finished_txn != NULL)
		rd_kafka_purge(
			k->producers[0].rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
	kafka_signal_raise(&k->signal);
}

void
kafka_sink_destroy(void *sink)
{
	struct kafka_sink *k = sink;
	if (k == NULL)
		return;
	KAFKA_CHECK(k, KAFKA_SINK_MAGIC);
	kafka_assert(k->is_closed && k->sends_open == 0);
	if (k->is_reaping == 1)
		pthread_join(k->reaper, NULL);
	sink_free(k);
}
