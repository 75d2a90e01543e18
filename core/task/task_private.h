/* A task from inside, for the files of this folder: admit, task, publish, commit. */
#ifndef RFL_TASK_TASK_PRIVATE_H
#define RFL_TASK_TASK_PRIVATE_H

#include "base/check.h"
#include "task/pane.h"
#include "task/task.h"

#define RFL_TASK_MAGIC 0x5441534bu

/* Output a call may have in flight before it is read on. */
#define RFL_TASK_CREDIT_BYTES ((size_t)1024 * 1024)

struct rfl_lane {
	struct rfl_task_lane at;
	int64_t next;      /* next offset to admit; also hw */
	int64_t settled;   /* low of what is settled */
	int64_t asked;     /* low of the commit under way, or of the last one */
	int64_t committed; /* low that is committed for sure */
};

struct rfl_task {
	uint32_t magic;
	int32_t partition;
	const struct rfl_task_spec *spec;
	struct rfl_lane *lanes;
	size_t lane_count, next_lane;
	struct rfl_window *window;
	struct rfl_pane *open; /* the one that collects, or NULL */
	struct rfl_list panes; /* closed ones, in frontier order */
	uint32_t seq;          /* of the last commit */
	uint32_t calls_open;
	int reading;  /* 0 once drained, stopped or abandoned */
	int draining; /* no further attempts: what failed is read again at the next start */
	int stopped, abandoned, committing;
	int sealed; /* stages and commits nothing any more */
	char *why;
	uint64_t records_in, records_out, windows_done, retries, refused, commits;
};

/* admit.c: reads the lanes once round. Returns how many records came. */
uint32_t rfl_task_admit(struct rfl_task *t, int64_t now_ms);
size_t rfl_task_bytes(const struct rfl_task *t);

/* publish.c */
void rfl_task_publish(struct rfl_task *t, struct rfl_pane *p); /* sends what it holds */
void rfl_task_settle(struct rfl_task *t);                      /* at-least-once: moves low */
/* Checks one batch of a function and keeps it in the pane, addressed; E_DATA, E_UNSUPPORTED. */
int rfl_task_keep_output(struct rfl_task *t, struct rfl_pane *p, struct riffle_batch *b,
	size_t *ret_bytes, struct riffle_error *reterr);

/* task.c: what the error policy says to the failure of a window. */
void rfl_task_pane_failed(struct rfl_task *t, struct rfl_pane *p, const struct riffle_error *err);
/* The call under way is in vain: it is cancelled, and failed by this once it is done. */
void rfl_task_fault(struct rfl_pane *p, const struct riffle_error *err);
int rfl_task_is_exactly_once(const struct rfl_task *t);
/* Outputs wait for the call's status. */
int rfl_task_holds_outputs(const struct rfl_task *t);

#endif
