/* Sinks, and transactions, which are sinks whose batches wait for their positions. */
#include "local.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What may wait for the writer outside of a transaction. */
#define STAGED_RECORDS_MAX 65536u
#define STAGED_BYTES_MAX ((size_t)32 * 1024 * 1024)

/* LMDB holds a transaction's pages in memory, and half a gibibyte of them at most. */
#define RECORD_BYTES_MAX ((size_t)256 << 20)

/* One sink_send. */
struct send {
	struct local_op op;
	struct send *next_send; /* staged in a transaction, or answered */
	struct local_sink *sink;
	struct riffle_batch *batch;
	uint32_t first, count;
	uint64_t tag;
	uint32_t
		round_robin; /* the partition of its first record, if that has no key; the next one's follows */
	struct riffle_sent *sent;
	struct riffle_error record_error; /* of the first record that cannot be written */
};

struct local_sink {
	uint32_t magic;
	int is_closing, is_closed;
	struct local *owner;
	struct local_env *env;
	struct local_signal signal;
	struct local_topic **topics;
	uint32_t stream_count;
	uint32_t next_partition;
	uint32_t staged_records; /* under lock */
	size_t staged_bytes;
	struct local_txn *txn;

	pthread_mutex_t lock;
	struct send *first, **last; /* answered */
	uint32_t ops_open;
	struct send *shown; /* by the last SENT event */
};

enum txn_state { TXN_IDLE, TXN_OPEN, TXN_ENDING };

struct local_txn {
	struct local_op op;
	uint32_t magic;
	enum txn_state state; /* the host's thread's */
	int is_told_ready, refused;
	struct local_sink *sink;
	struct local_source *source;
	struct send *first, **last; /* staged */
	struct riffle_position *positions;
	uint32_t position_count;
	uint64_t tag;
	int is_done;   /* under the sink's lock: the writer is through */
	int is_orphan; /* same: destroyed by the host while the writer had it */
	int aborted;   /* nothing was handed to the writer */
};

static struct local_partition *
partition_of(const struct send *s, uint32_t i, int32_t *ret_partition)
{
	const struct riffle_record *r = riffle_batch_at(s->batch, s->first + i);
	struct local_topic *t = s->sink->topics[r->stream];
	uint32_t n = t->row.partitions;
	uint32_t at = (s->round_robin + i) % n;
	if (r->partition >= 0)
		at = (uint32_t)r->partition;
	else if (r->key.ptr != NULL && n > 1)
		at = local_partition_of(r->key, n);
	else if (r->key.ptr != NULL)
		at = 0;
	*ret_partition = (int32_t)at;
	return &t->partitions[at];
}

/* Whether a record can be written is known before it goes to the writer. */
static int
judge(const struct local_sink *s, const struct riffle_batch *b, const struct riffle_record *r,
	struct riffle_error *reterr)
{
	if (r->stream >= s->stream_count)
		return local_err(reterr, RIFFLE_E_INVAL, "the sink has no stream %u", r->stream);
	const struct local_topic *t = s->topics[r->stream];
	if (r->partition >= 0 && (uint32_t)r->partition >= t->row.partitions)
		return local_err(reterr, RIFFLE_E_DATA, "topic \"%s\" has no partition %d, only %u",
			t->name, r->partition, t->row.partitions);
	if (r->key.ptr == NULL &&
		(__atomic_load_n(&t->row.flags, __ATOMIC_RELAXED) & LOCAL_COMPACTED))
		return local_err(reterr, RIFFLE_E_DATA,
			"topic \"%s\" is compacted by key, and the record has none", t->name);
	if (local_record_size(b, r) > RECORD_BYTES_MAX)
		return local_err(reterr, RIFFLE_E_DATA,
			"a record of more than %zu MiB does not fit into topic \"%s\"",
			RECORD_BYTES_MAX >> 20, t->name);
	return RIFFLE_OK;
}

static int
append_send(struct send *s, struct local_env *env, MDB_txn *txn)
{
	int64_t now_ms = local_wall_ms();
	for (uint32_t i = 0; i < s->count; i++) {
		const struct riffle_record *r = riffle_batch_at(s->batch, s->first + i);
		uint64_t offset;
		int32_t partition;
		if (s->sent != NULL && s->sent[i].status != RIFFLE_OK)
			continue;
		struct local_partition *p = partition_of(s, i, &partition);
		int rc = local_append(env, txn, p, s->batch, r, now_ms, &offset);
		if (rc != 0)
			return rc;
		if (s->sent != NULL)
			s->sent[i] = (struct riffle_sent){.status = RIFFLE_OK,
				.partition = partition,
				.offset = (int64_t)offset};
	}
	return 0;
}

static int
apply_send(struct local_op *op, struct local_env *env, MDB_txn *txn, int *refused)
{
	(void)refused;
	return append_send((struct send *)(void *)op, env, txn);
}

static size_t
batch_bytes(const struct send *s)
{
	return s->batch->pinned_bytes;
}

static void
answer(struct local_sink *k, struct send *s)
{
	s->next_send = NULL;
	*k->last = s;
	k->last = &s->next_send;
}

static void
send_done(struct local_op *op)
{
	struct send *s = (struct send *)(void *)op;
	struct local_sink *k = s->sink;
	if (op->error.code != RIFFLE_OK)
		for (uint32_t i = 0; i < s->count; i++)
			s->sent[i] = (struct riffle_sent){.status = op->error.code,
				.partition = -1,
				.offset = RIFFLE_OFFSET_NONE};
	pthread_mutex_lock(&k->lock);
	answer(k, s);
	k->ops_open--;
	k->staged_records -= s->count;
	k->staged_bytes -= batch_bytes(s);
	local_signal_raise(&k->signal);
	pthread_mutex_unlock(&k->lock);
}

static void
send_free(struct send *s)
{
	const struct riffle_host *host = s->sink->owner->host;
	host->batch_unref(host, s->batch);
	free(s->sent);
	free(s);
}

static struct send *
send_create(struct local_sink *k, struct riffle_batch *batch, uint32_t first, uint32_t count,
	uint64_t tag)
{
	const struct riffle_host *host = k->owner->host;
	struct send *s = local_alloc(sizeof *s);
	s->sink = k;
	s->batch = batch;
	s->first = first;
	s->count = count;
	s->tag = tag;
	s->round_robin = k->next_partition;
	k->next_partition += count;
	host->batch_ref(host, batch);
	return s;
}

/* Records that cannot be written get their status here; returns how many those are. */
static uint32_t
judge_all(struct send *s)
{
	uint32_t bad = 0;
	for (uint32_t i = 0; i < s->count; i++) {
		struct riffle_error err;
		int rc = judge(s->sink, s->batch, riffle_batch_at(s->batch, s->first + i), &err);
		if (rc == RIFFLE_OK)
			continue;
		if (bad++ == 0)
			s->record_error = err;
		s->sent[i] = (struct riffle_sent){
			.status = rc, .partition = -1, .offset = RIFFLE_OFFSET_NONE};
	}
	return bad;
}

int
local_sink_open(void *self, const struct riffle_sink_spec *spec, void **ret_sink,
	struct riffle_error *reterr)
{
	struct local *owner = self;
	LOCAL_CHECK(owner, LOCAL_MAGIC);
	struct local_sink *k = local_alloc(sizeof *k);
	/* Programs that write one record each begin somewhere else each time. */
	k->next_partition = (uint32_t)local_wall_ms();
	k->magic = LOCAL_SINK_MAGIC;
	k->owner = owner;
	k->env = owner->env;
	k->last = &k->first;
	k->topics = local_alloc((spec->stream_count + 1) * sizeof(struct local_topic *));
	pthread_mutex_init(&k->lock, NULL);
	int rc = local_signal_init(&k->signal) < 0
			 ? local_err(reterr, RIFFLE_E_UNAVAILABLE, "cannot make an eventfd: %s",
				   strerror(errno))
			 : RIFFLE_OK;
	for (uint32_t i = 0; i < spec->stream_count && rc == RIFFLE_OK; i++) {
		rc = local_topic_open(k->env, spec->streams[i]->topic, &k->topics[i], reterr);
		k->stream_count += rc == RIFFLE_OK;
	}
	if (rc < 0) {
		k->is_closed = 1;
		local_sink_destroy(k);
		return rc;
	}
	*ret_sink = k;
	return RIFFLE_OK;
}

int
local_sink_fd(void *sink)
{
	struct local_sink *k = sink;
	LOCAL_CHECK(k, LOCAL_SINK_MAGIC);
	return k->signal.fd;
}

static uint32_t
room_for(struct local_sink *k, const struct riffle_batch *b, uint32_t count)
{
	pthread_mutex_lock(&k->lock);
	uint32_t room = STAGED_RECORDS_MAX - k->staged_records;
	if (k->staged_bytes > 0 && k->staged_bytes + b->pinned_bytes > STAGED_BYTES_MAX)
		room = 0;
	uint32_t n = count < room ? count : room;
	if (n > 0) {
		k->staged_records += n;
		k->staged_bytes += b->pinned_bytes;
		k->ops_open++;
	}
	pthread_mutex_unlock(&k->lock);
	return n;
}

static int
stage(struct local_sink *k, struct riffle_batch *batch, uint32_t first, uint32_t count,
	uint64_t tag)
{
	struct local_txn *t = k->txn;
	struct send *s = send_create(k, batch, first, count, tag);
	struct riffle_error err;
	for (uint32_t i = 0; i < count; i++) {
		if (judge(k, batch, riffle_batch_at(batch, first + i), &err) == RIFFLE_OK)
			continue;
		/* One status says that the transaction can only be aborted now. */
		t->refused = 1;
		s->record_error = err;
		s->sent = local_alloc(sizeof *s->sent);
		s->sent[0] = (struct riffle_sent){
			.status = err.code, .partition = -1, .offset = RIFFLE_OFFSET_NONE};
		s->first += i;
		s->count = 1;
		pthread_mutex_lock(&k->lock);
		answer(k, s);
		local_signal_raise(&k->signal);
		pthread_mutex_unlock(&k->lock);
		return (int)count;
	}
	*t->last = s;
	t->last = &s->next_send;
	return (int)count;
}

int
local_sink_send(void *sink, struct riffle_batch *batch, uint32_t first, uint32_t count,
	uint64_t tag, struct riffle_error *reterr)
{
	struct local_sink *k = sink;
	LOCAL_CHECK(k, LOCAL_SINK_MAGIC);
	if (count == 0)
		return 0;
	if (k->txn != NULL) {
		if (k->txn->state != TXN_OPEN)
			return local_err(reterr, RIFFLE_E_INVAL,
				"a record was sent outside of the transaction");
		return stage(k, batch, first, count, tag);
	}
	uint32_t n = room_for(k, batch, count);
	if (n == 0)
		return 0;
	struct send *s = send_create(k, batch, first, n, tag);
	s->sent = local_alloc(n * sizeof *s->sent);
	judge_all(s);
	s->op.apply = apply_send;
	s->op.done = send_done;
	s->op.appends = 1;
	s->op.bytes = batch_bytes(s) / (batch->record_count ? batch->record_count : 1) * n;
	local_writer_post(k->env, &s->op);
	return (int)n;
}

static struct send *
take_answer(struct local_sink *k)
{
	pthread_mutex_lock(&k->lock);
	struct send *s = k->first;
	if (s != NULL) {
		k->first = s->next_send;
		if (k->first == NULL)
			k->last = &k->first;
	}
	pthread_mutex_unlock(&k->lock);
	return s;
}

static void
drop_sends(struct send *s)
{
	while (s != NULL) {
		struct send *next = s->next_send;
		send_free(s);
		s = next;
	}
}

static void
txn_clear(struct local_txn *t)
{
	drop_sends(t->first);
	t->first = NULL;
	t->last = &t->first;
	free(t->positions);
	t->positions = NULL;
	t->position_count = 0;
	t->refused = t->aborted = 0;
}

static int
txn_poll(struct local_txn *t, struct riffle_event *ev)
{
	if (!t->is_told_ready) {
		t->is_told_ready = 1;
		ev->type = RIFFLE_EV_TXN_READY;
		return 1;
	}
	pthread_mutex_lock(&t->sink->lock);
	int done = t->is_done;
	t->is_done = 0;
	pthread_mutex_unlock(&t->sink->lock);
	if (!done)
		return 0;
	ev->type = RIFFLE_EV_TXN;
	ev->tag = t->tag;
	ev->error = t->op.error;
	ev->status = RIFFLE_TXN_COMMITTED;
	if (t->op.is_unknown)
		ev->status = RIFFLE_TXN_UNKNOWN;
	else if (t->aborted || t->op.error.code != RIFFLE_OK)
		ev->status = RIFFLE_TXN_ABORTED;
	t->state = TXN_IDLE;
	txn_clear(t);
	return 1;
}

int
local_sink_poll(void *sink, struct riffle_event *ret_event)
{
	struct local_sink *k = sink;
	LOCAL_CHECK(k, LOCAL_SINK_MAGIC);
	if (k->shown != NULL)
		send_free(k->shown);
	local_signal_take(&k->signal);
	k->shown = take_answer(k);
	if (k->shown != NULL) {
		ret_event->type = RIFFLE_EV_SENT;
		ret_event->tag = k->shown->tag;
		ret_event->first = k->shown->first;
		ret_event->count = k->shown->count;
		ret_event->sent = k->shown->sent;
		ret_event->sent_size = sizeof *k->shown->sent;
		ret_event->error = k->shown->op.error.code != RIFFLE_OK ? k->shown->op.error
									: k->shown->record_error;
		return 1;
	}
	if (k->txn != NULL && txn_poll(k->txn, ret_event))
		return 1;
	pthread_mutex_lock(&k->lock);
	int closed = k->is_closing && k->ops_open == 0 && k->first == NULL;
	pthread_mutex_unlock(&k->lock);
	if (!closed || k->is_closed)
		return 0;
	k->is_closed = 1;
	ret_event->type = RIFFLE_EV_CLOSED;
	return 1;
}

void
local_sink_close(void *sink)
{
	struct local_sink *k = sink;
	LOCAL_CHECK(k, LOCAL_SINK_MAGIC);
	k->is_closing = 1;
	local_signal_raise(&k->signal);
}

void
local_sink_destroy(void *sink)
{
	struct local_sink *k = sink;
	if (k == NULL)
		return;
	LOCAL_CHECK(k, LOCAL_SINK_MAGIC);
	local_assert(k->is_closed && k->txn == NULL);
	pthread_mutex_lock(&k->lock);
	pthread_mutex_unlock(&k->lock);
	if (k->shown != NULL)
		send_free(k->shown);
	drop_sends(k->first);
	for (uint32_t i = 0; i < k->stream_count; i++)
		local_topic_close(k->env, k->topics[i]);
	local_signal_fini(&k->signal);
	pthread_mutex_destroy(&k->lock);
	k->magic = 0;
	free(k->topics);
	free(k);
}

void
local_txn_bind(struct local_txn *t, struct local_source *s)
{
	LOCAL_CHECK(t, LOCAL_TXN_MAGIC);
	t->source = s;
}

static int
txn_open(
	void *self, const struct riffle_txn_spec *spec, void **ret_txn, struct riffle_error *reterr)
{
	struct local_sink *k = spec->sink;
	(void)self;
	LOCAL_CHECK(k, LOCAL_SINK_MAGIC);
	if (k->txn != NULL)
		return local_err(
			reterr, RIFFLE_E_INVAL, "the sink has a transaction object already");
	struct local_txn *t = local_alloc(sizeof *t);
	t->magic = LOCAL_TXN_MAGIC;
	t->sink = k;
	t->last = &t->first;
	k->txn = t;
	local_signal_raise(&k->signal);
	*ret_txn = t;
	return RIFFLE_OK;
}

static int
txn_begin(void *txn, struct riffle_error *reterr)
{
	struct local_txn *t = txn;
	LOCAL_CHECK(t, LOCAL_TXN_MAGIC);
	if (t->state != TXN_IDLE)
		return local_err(reterr, RIFFLE_E_INVAL, "the transaction before has not ended");
	t->state = TXN_OPEN;
	return RIFFLE_OK;
}

static int
apply_txn(struct local_op *op, struct local_env *env, MDB_txn *txn, int *refused)
{
	struct local_txn *t = (struct local_txn *)(void *)op;
	(void)refused;
	for (struct send *s = t->first; s != NULL; s = s->next_send) {
		int rc = append_send(s, env, txn);
		if (rc != 0)
			return rc;
	}
	return t->position_count > 0
		       ? local_source_put(t->source, txn, t->positions, t->position_count)
		       : 0;
}

/*
 * An orphan is freed here. What it holds goes first: once the operation is not counted any more, its
 * sink and source may be gone.
 */
static void
txn_done(struct local_op *op)
{
	struct local_txn *t = (struct local_txn *)(void *)op;
	struct local_sink *k = t->sink;
	if (t->position_count > 0)
		local_source_op_end(t->source);
	pthread_mutex_lock(&k->lock);
	int orphan = t->is_orphan;
	if (!orphan) {
		t->is_done = 1;
		k->ops_open--;
		local_signal_raise(&k->signal);
	}
	pthread_mutex_unlock(&k->lock);
	if (!orphan)
		return;
	txn_clear(t);
	pthread_mutex_lock(&k->lock);
	k->ops_open--;
	local_signal_raise(&k->signal);
	pthread_mutex_unlock(&k->lock);
	free(t);
}

static int
txn_abort(void *txn, uint64_t tag, struct riffle_error *reterr)
{
	struct local_txn *t = txn;
	LOCAL_CHECK(t, LOCAL_TXN_MAGIC);
	if (t->state != TXN_OPEN)
		return local_err(reterr, RIFFLE_E_INVAL, "there is no transaction to abort");
	t->state = TXN_ENDING;
	t->tag = tag;
	t->aborted = 1;
	t->op.is_unknown = 0;
	local_err(&t->op.error, RIFFLE_E_CANCELLED, "aborted on request");
	pthread_mutex_lock(&t->sink->lock);
	t->is_done = 1;
	local_signal_raise(&t->sink->signal);
	pthread_mutex_unlock(&t->sink->lock);
	return RIFFLE_OK;
}

static int
txn_commit(void *txn, const struct riffle_position *positions, uint32_t count, uint64_t tag,
	struct riffle_error *reterr)
{
	struct local_txn *t = txn;
	LOCAL_CHECK(t, LOCAL_TXN_MAGIC);
	if (t->state != TXN_OPEN || t->refused)
		return local_err(
			reterr, RIFFLE_E_INVAL, "there is no transaction that could be committed");
	if (count > 0 && t->source == NULL)
		return local_err(reterr, RIFFLE_E_INVAL, "no source is bound to the transaction");
	if (count > 0 && !local_source_is_member(t->source))
		return local_err(reterr, RIFFLE_E_FENCED,
			"the source that is bound to the transaction has left its group");
	for (uint32_t i = 0; i < count; i++)
		if (positions[i].stream >= local_source_stream_count(t->source) ||
			positions[i].metadata.len > 4096)
			return local_err(
				reterr, RIFFLE_E_INVAL, "position %u is not one of the source", i);
	t->state = TXN_ENDING;
	t->tag = tag;
	t->positions = local_positions_copy(positions, count);
	t->position_count = count;
	t->op.apply = apply_txn;
	t->op.done = txn_done;
	t->op.appends = t->first != NULL;
	t->op.is_unknown = 0;
	t->op.error.code = RIFFLE_OK;
	pthread_mutex_lock(&t->sink->lock);
	t->sink->ops_open++;
	pthread_mutex_unlock(&t->sink->lock);
	if (count > 0)
		local_source_op_begin(t->source);
	local_writer_post(t->sink->env, &t->op);
	return RIFFLE_OK;
}

/* A commit that is with the writer cannot be taken back: the writer frees the object then. */
static void
txn_destroy(void *txn)
{
	struct local_txn *t = txn;
	if (t == NULL)
		return;
	LOCAL_CHECK(t, LOCAL_TXN_MAGIC);
	struct local_sink *k = t->sink;
	k->txn = NULL;
	t->magic = 0;
	pthread_mutex_lock(&k->lock);
	t->is_orphan = t->state == TXN_ENDING && !t->is_done;
	int orphan = t->is_orphan;
	pthread_mutex_unlock(&k->lock);
	if (orphan)
		return;
	txn_clear(t);
	free(t);
}

const struct riffle_transactions local_transactions = {
	.size = sizeof local_transactions,
	.open = txn_open,
	.begin = txn_begin,
	.commit = txn_commit,
	.abort = txn_abort,
	.destroy = txn_destroy,
};
