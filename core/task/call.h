/*
 * One open call of a function, the host's side. Whatever the plugin says, from whichever thread, is
 * posted to the worker's mailbox; everything else here is the worker's.
 */
#ifndef RFL_TASK_CALL_H
#define RFL_TASK_CALL_H

#include "base/mailbox.h"

#include <riffle/invoker.h>

struct rfl_call;
struct rfl_task;
struct rfl_pane;
struct rfl_store;

/* What calls of one processor have in common. */
struct rfl_callee {
	const struct riffle_invoker_ops *ops;
	void *self; /* the plugin's instance */
	struct rfl_mailbox *mailbox;
	const struct riffle_call_spec
		*spec; /* names and types; headers and attempt are set per call */
};

/*
 * Begins the call of a pane. On failure nothing was begun. The events come to rfl_task_call_* through the
 * mailbox.
 */
int rfl_call_begin(const struct rfl_callee *callee, struct rfl_task *task, struct rfl_pane *pane,
	struct rfl_store *store, struct rfl_call **ret_call, struct riffle_error *reterr);
/*
 * Pushes on what the pane holds, and the end once it is no longer open: 1 = all of it is in, 0 = the
 * function has no room now, or an error.
 */
int rfl_call_push(struct rfl_call *c, struct riffle_error *reterr);
int rfl_call_is_ended(const struct rfl_call *c); /* the end of its input is in */
void rfl_call_read(struct rfl_call *c, size_t bytes);
/* Once: the first reason stands. done still follows. */
void rfl_call_cancel(struct rfl_call *c, int reason);
int64_t rfl_call_deadline_ns(const struct rfl_call *c); /* INT64_MAX = none */
void rfl_call_set_deadline(struct rfl_call *c, int64_t deadline_ns);
int rfl_call_is_cancelled(const struct rfl_call *c);
void rfl_call_destroy(struct rfl_call *c); /* after done */

#endif
