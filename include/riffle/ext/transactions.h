/*
 * riffle.transactions/1: outputs and read positions that become visible together or not at all.
 *
 * A transaction object binds one sink and one source, for a producer has one transaction at a time
 * and a group's positions belong to its consumer. The order is: sink_open, open, TXN_READY from
 * sink_poll, then source_open with the object in its spec, so that what a dead predecessor left open
 * is ended before the group is read.
 *
 * Between begin and commit, every record that sink_send of the bound sink takes belongs to the
 * transaction; a SENT event comes only for a record that failed, and then only abort is left.
 * Everything here is asynchronous: begin and send stage, commit and abort are answered by one TXN
 * event of sink_poll.
 */
#ifndef RIFFLE_EXT_TRANSACTIONS_H
#define RIFFLE_EXT_TRANSACTIONS_H

#include <riffle/provider.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RIFFLE_EXT_TRANSACTIONS "riffle.transactions/1"

#define RIFFLE_TXN_COMMITTED 1 /* all of it is visible, for good */
#define RIFFLE_TXN_ABORTED 2   /* none of it is, nor will be; the object can begin again */
/*
 * Not known. The object is finished: destroy it, open a new one with the same id (which settles the
 * question on the broker), and go on from what the group then has committed.
 */
#define RIFFLE_TXN_UNKNOWN 3

struct riffle_txn_spec {
	uint32_t size, reserved0;
	void *sink;
	const char *id; /* stable over restarts: "<namespace>/<processor>/<instance>/<worker>" */
};

struct riffle_transactions {
	uint32_t size, reserved0;
	int (*open)(void *self, const struct riffle_txn_spec *spec, void **ret_txn,
		struct riffle_error *reterr);                 /* [worker] */
	int (*begin)(void *txn, struct riffle_error *reterr); /* one at a time. [worker] */
	/*
	 * Commit what was sent, with these positions of the bound source (their metadata is borrowed
	 * for the call). No begin before its TXN event. [worker]
	 */
	int (*commit)(void *txn, const struct riffle_position *positions, uint32_t count,
		uint64_t tag, struct riffle_error *reterr);
	int (*abort)(void *txn, uint64_t tag, struct riffle_error *reterr); /* [worker] */
	void (*destroy)(
		void *txn); /* before its sink; aborts what is open. NULL is a no-op. [worker] */
};

#ifdef __cplusplus
}
#endif
#endif
