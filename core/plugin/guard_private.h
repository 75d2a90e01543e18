/* The guard from inside, for its own files. */
#ifndef RFL_PLUGIN_GUARD_PRIVATE_H
#define RFL_PLUGIN_GUARD_PRIVATE_H

#include "base/check.h"
#include "plugin/guard.h"

#include <pthread.h>

#define RFL_GUARD_MAGIC 0x47415244u

/* No single key, value or header is larger: a length beyond it is a length gone wrong. */
#define RFL_GUARD_BYTES_MAX ((size_t)1 << 31)

struct rfl_guard_calls;

struct rfl_guard {
	uint32_t magic;
	enum rfl_guard_mode mode;
	const struct rfl_plugin *plugin;
	char *what;
	void *self; /* the plugin's */
	int quarantined;
	pthread_mutex_t lock; /* of fault, and of calls' free list */
	struct riffle_error fault;
	union {
		struct riffle_provider_ops provider;
		struct riffle_invoker_ops invoker;
	} ops; /* what the core calls */
	const struct riffle_transactions *plugin_transactions;
	struct riffle_transactions transactions;
	const struct riffle_turns *plugin_turns;
	struct riffle_turns turns;
	struct rfl_guard_calls *calls; /* invokers: open calls, by number */
	struct rfl_guard *next_kept;   /* after destroy, of those that cannot be freed */
};

static inline struct rfl_guard *
rfl_guard_of(void *self)
{
	struct rfl_guard *g = self;
	RFL_CHECK(g, RFL_GUARD_MAGIC);
	return g;
}

static inline int
rfl_guard_is_open(const struct rfl_guard *g)
{
	return !__atomic_load_n(&g->quarantined, __ATOMIC_ACQUIRE);
}

/* Refuses a call to a quarantined instance; the fault is what it says. */
int rfl_guard_refuse(const struct rfl_guard *g, struct riffle_error *reterr);

/* Around every call of the plugin by the core. batch is what it borrows meanwhile, or NULL. */
void rfl_guard_enter(struct rfl_guard *g, const char *function, struct riffle_batch *batch);
void rfl_guard_leave(void);

/*
 * The status a function returned: 0 to most, or a known code; an error's text is ended and never empty.
 * What it returns is what the core gets: rc, or E_FATAL after a breach.
 */
int rfl_guard_status(struct rfl_guard *g, const char *function, int rc, int64_t most,
	struct riffle_error *reterr);

/* Whether an open succeeded; then *made is what it made. */
int rfl_guard_opened(struct rfl_guard *g, const char *function, int rc, const void *made,
	struct riffle_error *reterr);

/* guard_batch.c */
struct rfl_guard_expect {
	uint32_t most;      /* records */
	uint32_t streams;   /* record.stream is below */
	int32_t stream;     /* >= 0: all records are of this one */
	int32_t partition;  /* and of this partition */
	int rising_offsets; /* offsets grow from record to record */
};
/* NULL = the batch is sound; else what it is not, until the thread's next check. */
const char *rfl_guard_batch_fault(
	const struct riffle_batch *b, const struct rfl_guard_expect *expect);
/* For the length of a call: the batch itself, or in debug mode a copy of these records as [0, count). */
struct riffle_batch *rfl_guard_lend(
	struct rfl_guard *g, struct riffle_batch *b, uint32_t *first, uint32_t count);
void rfl_guard_lend_end(struct riffle_batch *own, struct riffle_batch *lent);

/* Fill the guard's operations with what the plugin has: guard_provider.c, guard_invoker.c, ... */
void rfl_guard_wrap_provider(struct rfl_guard *g);
void rfl_guard_wrap_invoker(struct rfl_guard *g);
void rfl_guard_wrap_source(struct riffle_provider_ops *ops);
void rfl_guard_wrap_sink(struct riffle_provider_ops *ops, int flushes);
/* Once its self is set: */
void rfl_guard_wrap_transactions(struct rfl_guard *g);
void rfl_guard_wrap_turns(struct rfl_guard *g);

/* guard_sink.c, guard_txn.c: of the guard's sink and transaction. */
void *rfl_guard_sink_bare(void *sink);                /* the plugin's */
void rfl_guard_sink_join(void *sink);                 /* a transaction was opened on it */
void rfl_guard_sink_expect(void *sink, uint64_t tag); /* the answer to a commit or an abort */
void *rfl_guard_txn_bare(void *txn);                  /* the plugin's */

/* guard_invoker.c: every open call ends with the fault. */
void rfl_guard_end_calls(struct rfl_guard *g);
void rfl_guard_free_calls(struct rfl_guard *g);
/* One second is over: a call that has been cancelled for limit of them and has not said done is a breach. */
void rfl_guard_tick_calls(uint32_t limit);

#endif
