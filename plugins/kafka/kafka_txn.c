/*
 * Transactions: the producer's calls that may wait are made by a thread of the transaction, one after the
 * other, with no limit of time; each outcome is one of committed, aborted, unknown.
 *
 *   retriable   the same call again
 *   abortable   abort: nothing of it is there
 *   fatal       the producer is finished, and what it asked last is not known: a new one with the same id
 *               settles it, and the group's positions say how
 */
#include "kafka.h"

#include <stdlib.h>
#include <string.h>

#define AGAIN_MS 100

enum txn_state { TXN_STARTING, TXN_IDLE, TXN_OPEN, TXN_ENDING, TXN_OVER };
enum order { ORDER_NONE, ORDER_COMMIT, ORDER_ABORT, ORDER_QUIT };

struct kafka_txn {
	uint32_t magic;
	struct kafka_sink *sink;
	struct kafka_source *source;
	enum txn_state state; /* the worker's */
	uint64_t tag;
	int is_refused; /* a record of it failed: only abort is left */

	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Under the lock. */
	enum order order;
	rd_kafka_topic_partition_list_t *positions;
	rd_kafka_consumer_group_metadata_t *member;
	int is_ready, is_told_ready, result; /* RIFFLE_TXN_*; 0 = none yet */
	struct riffle_error error;
};

/* How a call ended; the error object is consumed. */
enum outcome { DONE, AGAIN, ABORTABLE, FATAL };

static enum outcome
judge(rd_kafka_error_t *error, const char *what, struct riffle_error *err)
{
	if (error == NULL)
		return DONE;
	enum outcome o = FATAL;
	if (rd_kafka_error_txn_requires_abort(error))
		o = ABORTABLE;
	else if (!rd_kafka_error_is_fatal(error) && rd_kafka_error_is_retriable(error))
		o = AGAIN;
	kafka_rk_err(err, rd_kafka_error_code(error), "cannot %s", what);
	kafka_err(err, err->code, "cannot %s: %s", what, rd_kafka_error_string(error));
	rd_kafka_error_destroy(error);
	return o;
}

static int
is_quitting(struct kafka_txn *t)
{
	pthread_mutex_lock(&t->lock);
	int quitting = t->order == ORDER_QUIT;
	pthread_mutex_unlock(&t->lock);
	return quitting;
}

/* Calls are given a second at a time, so that whoever destroys the object does not wait for a broker. */
static enum outcome
repeat(struct kafka_txn *t, rd_kafka_error_t *(*call)(struct kafka_txn *t), const char *what,
	struct riffle_error *err)
{
	enum outcome o;
	do {
		o = judge(call(t), what, err);
		if (o == AGAIN && is_quitting(t))
			return FATAL;
	} while (o == AGAIN);
	return o;
}

static rd_kafka_t *
rk_of(const struct kafka_txn *t)
{
	return t->sink->producers[0].rk;
}

static rd_kafka_error_t *
call_init(struct kafka_txn *t)
{
	return rd_kafka_init_transactions(rk_of(t), 1000);
}

static rd_kafka_error_t *
call_send_offsets(struct kafka_txn *t)
{
	return rd_kafka_send_offsets_to_transaction(rk_of(t), t->positions, t->member, 1000);
}

static rd_kafka_error_t *
call_commit(struct kafka_txn *t)
{
	return rd_kafka_commit_transaction(rk_of(t), 1000);
}

static rd_kafka_error_t *
call_abort(struct kafka_txn *t)
{
	return rd_kafka_abort_transaction(rk_of(t), 1000);
}

static rd_kafka_error_t *
call_begin(struct kafka_txn *t)
{
	return rd_kafka_begin_transaction(rk_of(t));
}

/* What went wrong first is told; how the abort went decides what it came to. */
static int
abort_it(struct kafka_txn *t, struct riffle_error *err)
{
	struct riffle_error why = {0};
	if (repeat(t, call_abort, "abort a transaction", &why) == DONE)
		return RIFFLE_TXN_ABORTED;
	if (err->code == RIFFLE_OK)
		*err = why;
	return RIFFLE_TXN_UNKNOWN;
}

static int
commit_it(struct kafka_txn *t, struct riffle_error *err)
{
	enum outcome o = DONE;
	if (t->positions != NULL && t->positions->cnt > 0)
		o = repeat(t, call_send_offsets, "commit positions in a transaction", err);
	if (o == DONE)
		o = repeat(t, call_commit, "commit a transaction", err);
	if (o == DONE)
		return RIFFLE_TXN_COMMITTED;
	return o == ABORTABLE ? abort_it(t, err) : RIFFLE_TXN_UNKNOWN;
}

/* Under the lock, which is let go while the broker is asked. */
static void
carry_out(struct kafka_txn *t)
{
	enum order order = t->order;
	struct riffle_error err = {0};
	pthread_mutex_unlock(&t->lock);
	int result = order == ORDER_COMMIT ? commit_it(t, &err) : abort_it(t, &err);
	pthread_mutex_lock(&t->lock);
	if (t->order != ORDER_QUIT)
		t->order = ORDER_NONE;
	t->result = result;
	if (err.code != RIFFLE_OK && t->error.code == RIFFLE_OK)
		t->error = err;
	kafka_signal_raise(&t->sink->signal);
}

static void *
run(void *arg)
{
	struct kafka_txn *t = arg;
	struct riffle_error err = {0};
	enum outcome o = repeat(t, call_init, "begin with transactions", &err);
	pthread_mutex_lock(&t->lock);
	t->is_ready = o == DONE;
	if (o != DONE)
		t->error = err;
	kafka_signal_raise(&t->sink->signal);
	while (t->order != ORDER_QUIT) {
		if (t->order == ORDER_NONE)
			pthread_cond_wait(&t->changed, &t->lock);
		else
			carry_out(t);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

static int
txn_open(
	void *self, const struct riffle_txn_spec *spec, void **ret_txn, struct riffle_error *reterr)
{
	struct kafka_sink *k = spec->sink;
	(void)self;
	KAFKA_CHECK(k, KAFKA_SINK_MAGIC);
	if (k->txn != NULL)
		return kafka_err(
			reterr, RIFFLE_E_INVAL, "the sink has a transaction object already");
	int rc = kafka_sink_make_producers(k, spec->id, reterr);
	if (rc < 0)
		return rc;
	struct kafka_txn *t = kafka_alloc(sizeof *t);
	t->magic = KAFKA_TXN_MAGIC;
	t->sink = k;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, NULL);
	if (pthread_create(&t->thread, NULL, run, t) != 0) {
		free(t);
		return kafka_err(reterr, RIFFLE_E_UNAVAILABLE, "cannot start a thread");
	}
	k->txn = t;
	*ret_txn = t;
	return RIFFLE_OK;
}

static int
txn_begin(void *txn, struct riffle_error *reterr)
{
	struct kafka_txn *t = txn;
	KAFKA_CHECK(t, KAFKA_TXN_MAGIC);
	if (t->state != TXN_IDLE)
		return kafka_err(reterr, RIFFLE_E_INVAL, "the transaction before has not ended");
	if (judge(call_begin(t), "begin a transaction", reterr) != DONE)
		return reterr->code;
	t->state = TXN_OPEN;
	t->is_refused = 0;
	return RIFFLE_OK;
}

static void
give_order(struct kafka_txn *t, enum order order, uint64_t tag)
{
	t->state = TXN_ENDING;
	t->tag = tag;
	pthread_mutex_lock(&t->lock);
	t->order = order;
	t->result = 0;
	t->error.code = RIFFLE_OK;
	pthread_cond_signal(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

/* Positions that may not be committed are no reason to guess: nothing of it becomes visible. */
static void
give_up(struct kafka_txn *t, uint64_t tag, const struct riffle_error *why)
{
	give_order(t, ORDER_ABORT, tag);
	pthread_mutex_lock(&t->lock);
	t->error = *why;
	pthread_mutex_unlock(&t->lock);
}

/*
 * The member's data is taken now, by the thread that serves the consumer: taken later it could be that of
 * another assignment, and the broker would let it pass.
 */
static int
take_positions(struct kafka_txn *t, const struct riffle_position *positions, uint32_t count,
	struct riffle_error *reterr)
{
	struct kafka_source *s = t->source;
	if (t->positions != NULL)
		rd_kafka_topic_partition_list_destroy(t->positions);
	if (t->member != NULL)
		rd_kafka_consumer_group_metadata_destroy(t->member);
	t->positions = NULL;
	t->member = NULL;
	if (count == 0)
		return RIFFLE_OK;
	if (s == NULL || s->phase != KAFKA_ASSIGNED)
		return kafka_err(reterr, RIFFLE_E_FENCED,
			"the partitions of a transaction are not ours any more");
	int rc = kafka_source_positions(s, positions, count, &t->positions, reterr);
	if (rc < 0)
		return rc;
	t->member = rd_kafka_consumer_group_metadata(s->rk);
	return kafka_source_is_member(t->member)
		       ? RIFFLE_OK
		       : kafka_err(reterr, RIFFLE_E_FENCED, "the group has no generation with us");
}

static int
txn_commit(void *txn, const struct riffle_position *positions, uint32_t count, uint64_t tag,
	struct riffle_error *reterr)
{
	struct kafka_txn *t = txn;
	struct riffle_error why = {0};
	KAFKA_CHECK(t, KAFKA_TXN_MAGIC);
	if (t->state != TXN_OPEN || t->is_refused)
		return kafka_err(
			reterr, RIFFLE_E_INVAL, "there is no transaction that could be committed");
	int rc = take_positions(t, positions, count, &why);
	if (rc == RIFFLE_E_INVAL) {
		*reterr = why;
		return rc;
	}
	if (rc < 0)
		give_up(t, tag, &why);
	else
		give_order(t, ORDER_COMMIT, tag);
	return RIFFLE_OK;
}

static int
txn_abort(void *txn, uint64_t tag, struct riffle_error *reterr)
{
	struct kafka_txn *t = txn;
	KAFKA_CHECK(t, KAFKA_TXN_MAGIC);
	if (t->state != TXN_OPEN)
		return kafka_err(reterr, RIFFLE_E_INVAL, "there is no transaction to abort");
	give_order(t, ORDER_ABORT, tag);
	return RIFFLE_OK;
}

int
kafka_txn_is_open(const struct kafka_txn *t)
{
	return t->state == TXN_OPEN;
}

void
kafka_txn_refused(struct kafka_txn *t)
{
	t->is_refused = 1;
}

void
kafka_txn_bind(struct kafka_txn *t, struct kafka_source *s)
{
	KAFKA_CHECK(t, KAFKA_TXN_MAGIC);
	t->source = s;
}

void
kafka_txn_unbind(struct kafka_txn *t, const struct kafka_source *s)
{
	if (t->source == s)
		t->source = NULL;
}

static int
poll_start(struct kafka_txn *t, struct riffle_event *ev)
{
	if (!t->is_ready && t->error.code == RIFFLE_OK)
		return 0;
	t->state = t->is_ready ? TXN_IDLE : TXN_OVER;
	ev->type = RIFFLE_EV_TXN_READY;
	if (t->is_ready)
		return 1;
	ev->type = RIFFLE_EV_ERROR;
	ev->error = t->error;
	ev->status = t->error.code == RIFFLE_E_FENCED ? RIFFLE_E_FENCED : RIFFLE_E_FATAL;
	return 1;
}

int
kafka_txn_poll(struct kafka_txn *t, struct riffle_event *ev)
{
	int some = 0;
	pthread_mutex_lock(&t->lock);
	if (t->state == TXN_STARTING) {
		some = poll_start(t, ev);
	} else if (t->state == TXN_ENDING && t->result != 0) {
		ev->type = RIFFLE_EV_TXN;
		ev->tag = t->tag;
		ev->status = t->result;
		ev->error = t->error;
		/* What was fenced off is not committed by us; what is still ours is tried again. */
		if (ev->error.code == RIFFLE_E_FENCED || ev->error.code == RIFFLE_E_UNAVAILABLE)
			ev->error.flags |= RIFFLE_ERR_RETRIABLE;
		t->state = t->result == RIFFLE_TXN_UNKNOWN ? TXN_OVER : TXN_IDLE;
		t->result = 0;
		some = 1;
	}
	pthread_mutex_unlock(&t->lock);
	return some;
}

/* The producer itself is ended by its sink; its end leaves a transaction that is open to be aborted. */
static void
txn_destroy(void *txn)
{
	struct kafka_txn *t = txn;
	if (t == NULL)
		return;
	KAFKA_CHECK(t, KAFKA_TXN_MAGIC);
	if (t->source != NULL)
		t->source->txn = NULL;
	t->sink->txn = NULL;
	t->sink->finished_txn = t;
	pthread_mutex_lock(&t->lock);
	t->order = ORDER_QUIT;
	pthread_cond_signal(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

void
kafka_txn_end(struct kafka_txn *t)
{
	if (t == NULL)
		return;
	pthread_join(t->thread, NULL);
	if (t->state == TXN_OPEN || t->state == TXN_ENDING) {
		rd_kafka_error_t *error = rd_kafka_abort_transaction(rk_of(t), 1000);
		if (error != NULL)
			rd_kafka_error_destroy(error);
	}
	if (t->positions != NULL)
		rd_kafka_topic_partition_list_destroy(t->positions);
	if (t->member != NULL)
		rd_kafka_consumer_group_metadata_destroy(t->member);
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
	t->magic = 0;
	free(t);
}

const struct riffle_transactions kafka_transactions = {
	.size = sizeof kafka_transactions,
	.open = txn_open,
	.begin = txn_begin,
	.commit = txn_commit,
	.abort = txn_abort,
	.destroy = txn_destroy,
};
