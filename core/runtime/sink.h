/*
 * An open sink of a worker: the outlet in front of it and what its poll has said. Shared by all
 * at-least-once processors of the worker that write to the provider, or one processor's own, with its
 * transaction object.
 */
#ifndef RFL_RUNTIME_SINK_H
#define RFL_RUNTIME_SINK_H

#include "base/list.h"
#include "runtime/instance.h"
#include "task/outlet.h"

#include <riffle/ext/transactions.h>

struct rfl_sink {
	uint32_t magic;
	struct rfl_list link; /* in the worker's sinks */
	struct rfl_instance *instance;
	const struct riffle_provider_ops *ops;
	void *sink;
	struct rfl_outlet outlet;
	uint32_t users;
	int is_shared, is_closing, is_closed;
	struct riffle_error broken; /* code 0 = sound */

	const struct riffle_transactions *transactions; /* own sinks only */
	void *txn;
	int txn_ready;
	int txn_result; /* RIFFLE_TXN_*, 0 = none yet */
	uint64_t txn_tag;
	struct riffle_error txn_error;
};

/* streams live as long as the sink. txn_id NULL = no transactions. */
int rfl_sink_open(struct rfl_instance *instance, const struct riffle_stream *const *streams,
	uint32_t stream_count, const char *member, const char *txn_id, struct rfl_sink **ret_sink,
	struct riffle_error *reterr);
/*
 * Pushes what waits and takes in what the sink says, finished sends to their tasks. Returns 1 when
 * something moved. A sink that breaks says so in broken, and stays that way.
 */
int rfl_sink_run(struct rfl_sink *s);
int rfl_sink_fd(const struct rfl_sink *s);
void rfl_sink_close(struct rfl_sink *s);   /* once; is_closed follows from run */
void rfl_sink_destroy(struct rfl_sink *s); /* is_closed */

#endif
