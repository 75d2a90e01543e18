/*
 * One sink as tasks see it: a queue of batches on their way out, taken as the sink has room, each
 * finished when every record of it has its status. In a transaction a batch is finished once the sink
 * took all of it; the transaction's result says the rest. One thread.
 */
#ifndef RFL_TASK_OUTLET_H
#define RFL_TASK_OUTLET_H

#include "base/list.h"

#include <riffle/provider.h>

/* A batch of the open transaction with a record that the sink refuses for its data. */
struct rfl_refusal {
	uint64_t tag;
	struct riffle_error error; /* E_DATA */
};

struct rfl_outlet {
	uint32_t magic;
	int transactional;
	const struct riffle_provider_ops *ops;
	void *sink;
	struct rfl_list sends;    /* oldest first: not yet finished */
	struct rfl_list finished; /* for rfl_outlet_next */
	uint64_t last_tag;
	int is_full; /* the last push left something behind */
	/* Of the open transaction; code 0 = nothing speaks against it, */
	struct riffle_error txn_error;
	/* and which of its batches do, in the order in which that was said. */
	struct rfl_refusal *refusals;
	size_t refusal_count, refusal_room;
};

struct rfl_send {
	struct rfl_list link;
	uint64_t tag;
	struct riffle_batch *batch; /* one reference */
	uint32_t taken, answered;
	struct riffle_error error; /* code 0 = all of it was written; else why the first was not */
	void *owner;               /* whoever sent it; NULL once that is gone */
	void *detail;              /* the owner's */
	size_t bytes;              /* what the owner says it amounts to */
};

void rfl_outlet_init(
	struct rfl_outlet *o, const struct riffle_provider_ops *ops, void *sink, int transactional);
/* What is still under way is dropped. */
void rfl_outlet_fini(struct rfl_outlet *o);
/* Takes over the batch's reference. Returns its tag: the next one of this outlet is larger by one. */
uint64_t rfl_outlet_send(
	struct rfl_outlet *o, struct riffle_batch *batch, size_t bytes, void *owner, void *detail);
/*
 * Offers what waits to the sink. 1 = all of it was taken, 0 = the sink is full, negative = the sink
 * refused for good.
 */
int rfl_outlet_push(struct rfl_outlet *o, struct riffle_error *reterr);
/* A SENT event. E_FATAL when it answers what was never sent: the plugin is confused. */
int rfl_outlet_sent(
	struct rfl_outlet *o, const struct riffle_event *ev, struct riffle_error *reterr);
/* Another transaction begins: nothing speaks against it yet. */
void rfl_outlet_begin(struct rfl_outlet *o);
/* The next finished send, which the caller frees with rfl_send_free; NULL when there is none. */
struct rfl_send *rfl_outlet_next(struct rfl_outlet *o);
void rfl_send_free(struct rfl_send *s);
/* Forgets what is not finished: the transaction it belonged to is gone. */
void rfl_outlet_drop(struct rfl_outlet *o);
/* The owner goes away: what it sent is finished by nobody. */
void rfl_outlet_disown(struct rfl_outlet *o, const void *owner);

#endif
