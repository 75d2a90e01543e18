/*
 * A task: one partition number of a processor, over the lanes of all its inputs. It owns its lanes,
 * its windows, their calls and what they answered, and knows which position may be committed.
 *
 * One thread. A task never waits: run does what can be done now and says when to come back. Positions
 * are committed by the processor for all its tasks together:
 *
 *   at-least-once   outputs are published as they come (or at the status); a window is settled when
 *                   the sinks acknowledged them; low moves over settled windows in frontier order
 *   exactly-once    outputs are held until the status; stage hands them to the open transaction in
 *                   frontier order; a window is settled when the sink took them, and let go when
 *                   the transaction is committed
 */
#ifndef RFL_TASK_TASK_H
#define RFL_TASK_TASK_H

#include "base/clock.h"
#include "conf/model.h"
#include "task/call.h"
#include "task/outlet.h"
#include "window/window.h"
#include "wire/open_set.h"

struct rfl_task;

/* Where one output of the processor goes; its late records and dead letters go the same way. */
struct rfl_route {
	struct rfl_outlet *outlet;
	uint32_t sink_stream; /* index of the stream in that sink */
	const char *content_type;
};

/* What the tasks of one processor share; lives longer than they do. */
struct rfl_task_spec {
	const struct rfl_processor_conf *conf;
	const struct rfl_clock *clock;
	/* Of the function's timeout, for where `clock` is turned by hand and the function is not; NULL = clock */
	const struct rfl_clock *function_clock;
	const char *what; /* "processor averager", for the log */
	struct rfl_callee callee;
	struct rfl_window_spec window;
	uint64_t settings;                  /* fingerprint */
	const struct rfl_route *routes;     /* by output */
	struct rfl_route late, dead_letter; /* of the streams that the configuration names */
	size_t memory_bytes;
	int64_t spill_bytes;
	const char *state_dir;
	size_t position_chars; /* that a position may carry, at most RFL_POSITION_TEXT_MAX */
	/*
	 * Exactly-once sessions: where an open set goes that a position does not carry, as a value of at
	 * most checkpoint_bytes. No outlet = there is none.
	 */
	struct rfl_route checkpoint;
	size_t checkpoint_bytes;
};

/* A lane as the provider assigned it. */
struct rfl_task_lane {
	const struct riffle_provider_ops *ops;
	void *source;
	uint32_t id;     /* the provider's number */
	uint32_t input;  /* argIndex */
	uint32_t stream; /* index in its source's spec */
	uint32_t source_index;
	int32_t partition;
	int32_t leader_epoch;
	int64_t low;       /* where to read from: the committed offset */
	const char *topic; /* of its stream; lives as long as the task */
	/* The value that its metadata points to, for rfl_task_create alone; absent = there is none. */
	struct riffle_bytes checkpoint;
};

/*
 * metadata[i] belongs to lanes[i]: absent for a new group. Where it cannot be gone on from (not ours,
 * damaged, other window settings) the task exists all the same, stopped, and says why.
 */
struct rfl_task *rfl_task_create(const struct rfl_task_spec *spec, int32_t partition,
	const struct rfl_task_lane *lanes, const struct riffle_bytes *metadata, size_t lane_count);
void rfl_task_destroy(struct rfl_task *t); /* rfl_task_is_idle; NULL is a no-op */

struct rfl_task_progress {
	int moved;       /* something was done: run again before waiting */
	int64_t next_ns; /* come back then at the latest; INT64_MAX = only when something happens */
};

/* Fires windows, reads lanes, begins and feeds calls, sends outputs. */
void rfl_task_run(struct rfl_task *t, struct rfl_task_progress *progress);
/* Reading stops for good; what is open stays uncommitted, what is closing goes on. */
void rfl_task_drain(struct rfl_task *t);
int rfl_task_is_drained(
	const struct rfl_task *t); /* nothing is closing any more, or it is stopped */
/* Everything is dropped; calls are cancelled. Idle once the last of them is done. */
void rfl_task_abandon(struct rfl_task *t);
int rfl_task_is_idle(const struct rfl_task *t);
/*
 * Its lanes are revoked: 1 = it keeps what it has read and does nothing any more, not even to commit, until it
 * is resumed or abandoned; 0 = it cannot. Its calls are cancelled: it is set aside once it is idle.
 */
int rfl_task_suspend(struct rfl_task *t);
int rfl_task_is_suspended(const struct rfl_task *t); /* and still worth keeping */
/*
 * Its partition came back, with these positions: 1 = they are its own, it goes on with these lanes; 0 = it
 * is to be abandoned, and another made of them.
 */
int rfl_task_resume(struct rfl_task *t, const struct rfl_task_lane *lanes,
	const struct riffle_bytes *metadata, size_t lane_count);
/* The offset from which its source has to go on. */
int64_t rfl_task_reads_from(const struct rfl_task *t, size_t lane);
size_t rfl_task_bytes(const struct rfl_task *t); /* what it holds in memory */
void rfl_task_stop(
	struct rfl_task *t, const char *why); /* by policy: reads no more, keeps its lanes */
/* Stopped, and nothing of it can be committed any more either. */
void rfl_task_seal(struct rfl_task *t, const char *why);
/* A send of this task is finished; the pane, or the side record, is the send's detail. */
void rfl_task_sent(struct rfl_task *t, const struct rfl_send *s);

/*
 * Exactly-once: hands outputs of windows that are done to their outlets, in frontier order; call
 * inside a transaction only. Returns the bytes handed over. Without begin_more only windows that
 * were begun are brought to their end.
 */
size_t rfl_task_stage(struct rfl_task *t, int begin_more);
int rfl_task_can_stage(const struct rfl_task *t);  /* there is a window to stage */
int rfl_task_is_staging(const struct rfl_task *t); /* a staged window is not wholly taken yet */
/* Sessions are done, and the position that says so would not hold which others are open. */
int rfl_task_waits_for_room(const struct rfl_task *t);

/*
 * Exactly-once: the sink refused a batch of the transaction for its data, and that is aborted: commit_undone was
 * before this. What the batch was of fails, as the error policy says, and all else goes into the next one.
 * 1 = the batch was one of this task's.
 */
int rfl_task_refused(struct rfl_task *t, const struct rfl_refusal *refusal);

/* Would a commit move low? */
int rfl_task_can_commit(const struct rfl_task *t);
struct rfl_commit_text {
	char text[RFL_POSITION_TEXT_MAX + 1];
};
/*
 * The positions of the lanes of one source for the next commit, at most one per lane, into positions
 * and texts (room for lane_count each). Returns how many.
 */
size_t rfl_task_positions(const struct rfl_task *t, uint32_t source_index,
	struct riffle_position *positions, struct rfl_commit_text *texts);
size_t rfl_task_lane_count(const struct rfl_task *t);
int rfl_task_is_committing(const struct rfl_task *t);
/*
 * What positions said is on its way. Exactly-once: the transaction may end with these positions once the
 * outlets took all they have, for what did not fit a position goes by the checkpoint's.
 */
void rfl_task_commit_begin(struct rfl_task *t);
void rfl_task_commit_done(struct rfl_task *t); /* committed */
void rfl_task_commit_undone(
	struct rfl_task *t); /* not committed: settled windows are staged again */

/* From the mailbox. */
void rfl_task_call_output(struct rfl_task *t, struct rfl_pane *p, struct riffle_batch *b);
void rfl_task_call_writable(struct rfl_task *t, struct rfl_pane *p);
void rfl_task_call_done(
	struct rfl_task *t, struct rfl_pane *p, int status, const struct riffle_error *err);

/* Open calls that wait for their function alone: all of their input was, or can be, pushed. */
uint32_t rfl_task_calls_due(const struct rfl_task *t);

/* For the status; why is borrowed until the task changes. */
struct rfl_task_view {
	int32_t partition;
	int stopped, drained;
	const char *why;
	uint64_t windows_open, windows_waiting, calls_open, records_in, records_out, windows_done;
	uint64_t retries, refused, late, late_in_part, dead_letters, skipped, empty;
	uint64_t commits;  /* that took part of this task's windows, since it began */
	uint64_t rebuilds; /* keep = no: after failed calls */
	size_t memory_bytes;
	int64_t spilled_bytes;
	int64_t next_close_ms; /* of the window's clock; RFL_NEVER_MS = none */
	int64_t watermark_ms;  /* RFL_BEFORE_MS = not known yet */
	int is_replaying;      /* rebuilds its windows from the position */
	int awaits_rebuild; /* keep = no: a call failed, what was over before is finished first */
	int32_t held_by;    /* the lane that holds the watermark back; -1 = none does */
	int64_t held_since_ns; /* mono clock */
	size_t lane_count;
	size_t checkpoint_bytes; /* that its last commit put into the checkpoint stream */
};
struct rfl_lane_view {
	int64_t next, committed;
	int64_t time_ms; /* its largest event time; RFL_BEFORE_MS = none yet */
	int is_idle, is_withheld;
};
void rfl_task_view(const struct rfl_task *t, struct rfl_task_view *ret_view);
/* What it waits for, as a sentence; the caller frees. */
char *rfl_task_explain(const struct rfl_task *t);
const struct rfl_task_lane *rfl_task_lane(const struct rfl_task *t, size_t lane);
struct rfl_lane_view rfl_task_lane_view(const struct rfl_task *t, size_t lane);

#endif
