/* The guard of a provider's transactions. */
#include "plugin/guard_private.h"

#include "base/mem.h"

#include <riffle/ext/transactions.h>
#include <stdlib.h>

#define TXN_MAGIC 0x4754584eu

struct txn {
	uint32_t magic;
	struct rfl_guard *g;
	void *sink; /* the guard's */
	void *txn;
};

static int
g_txn_open(
	void *self, const struct riffle_txn_spec *spec, void **ret_txn, struct riffle_error *reterr)
{
	struct rfl_guard *g = rfl_guard_of(self);
	struct riffle_txn_spec bare = *spec;
	void *made = NULL;
	if (!rfl_guard_is_open(g))
		return rfl_guard_refuse(g, reterr);
	bare.sink = rfl_guard_sink_bare(spec->sink);
	rfl_guard_enter(g, "transactions.open", NULL);
	int rc = g->plugin_transactions->open(g->self, &bare, &made, reterr);
	rfl_guard_leave();
	rc = rfl_guard_opened(g, "transactions.open", rc, made, reterr);
	if (rc < 0)
		return rc;
	struct txn *t = rfl_zalloc(sizeof *t);
	*t = (struct txn){.magic = TXN_MAGIC, .g = g, .sink = spec->sink, .txn = made};
	rfl_guard_sink_join(spec->sink);
	*ret_txn = t;
	return RIFFLE_OK;
}

static struct txn *
txn_of(void *txn)
{
	struct txn *t = txn;
	RFL_CHECK(t, TXN_MAGIC);
	return t;
}

static int
g_txn_begin(void *txn, struct riffle_error *reterr)
{
	struct txn *t = txn_of(txn);
	if (!rfl_guard_is_open(t->g))
		return rfl_guard_refuse(t->g, reterr);
	rfl_guard_enter(t->g, "transactions.begin", NULL);
	int rc = t->g->plugin_transactions->begin(t->txn, reterr);
	rfl_guard_leave();
	return rfl_guard_status(t->g, "transactions.begin", rc, 0, reterr);
}

static int
txn_ended(struct txn *t, const char *function, int rc, uint64_t tag, struct riffle_error *reterr)
{
	rc = rfl_guard_status(t->g, function, rc, 0, reterr);
	if (rc == RIFFLE_OK)
		rfl_guard_sink_expect(t->sink, tag);
	return rc;
}

static int
g_txn_commit(void *txn, const struct riffle_position *positions, uint32_t count, uint64_t tag,
	struct riffle_error *reterr)
{
	struct txn *t = txn_of(txn);
	if (!rfl_guard_is_open(t->g))
		return rfl_guard_refuse(t->g, reterr);
	rfl_guard_enter(t->g, "transactions.commit", NULL);
	int rc = t->g->plugin_transactions->commit(t->txn, positions, count, tag, reterr);
	rfl_guard_leave();
	return txn_ended(t, "transactions.commit", rc, tag, reterr);
}

static int
g_txn_abort(void *txn, uint64_t tag, struct riffle_error *reterr)
{
	struct txn *t = txn_of(txn);
	if (!rfl_guard_is_open(t->g))
		return rfl_guard_refuse(t->g, reterr);
	rfl_guard_enter(t->g, "transactions.abort", NULL);
	int rc = t->g->plugin_transactions->abort(t->txn, tag, reterr);
	rfl_guard_leave();
	return txn_ended(t, "transactions.abort", rc, tag, reterr);
}

static void
g_txn_destroy(void *txn)
{
	if (txn == NULL)
		return;
	struct txn *t = txn_of(txn);
	if (rfl_guard_is_open(t->g)) {
		rfl_guard_enter(t->g, "transactions.destroy", NULL);
		t->g->plugin_transactions->destroy(t->txn);
		rfl_guard_leave();
	}
	RFL_RETIRE(t);
	free(t);
}

void *
rfl_guard_txn_bare(void *txn)
{
	return txn_of(txn)->txn;
}

void
rfl_guard_wrap_transactions(struct rfl_guard *g)
{
	const struct riffle_provider_ops *ops = &g->plugin->ops.provider;
	if (ops->extension == NULL)
		return;
	rfl_guard_enter(g, "extension", NULL);
	const struct riffle_transactions *bare = ops->extension(g->self, RIFFLE_EXT_TRANSACTIONS);
	rfl_guard_leave();
	if (bare == NULL || bare->size < sizeof *bare)
		return;
	g->plugin_transactions = bare;
	g->transactions = (struct riffle_transactions){
		.size = sizeof g->transactions,
		.open = g_txn_open,
		.begin = g_txn_begin,
		.commit = g_txn_commit,
		.abort = g_txn_abort,
		.destroy = g_txn_destroy,
	};
}

const struct riffle_transactions *
rfl_guard_transactions(struct rfl_guard *g)
{
	RFL_CHECK(g, RFL_GUARD_MAGIC);
	return g->plugin_transactions != NULL ? &g->transactions : NULL;
}
