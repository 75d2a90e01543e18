/* A picture of the instance at one moment: plain data, owned by whoever asked for it. */
#ifndef RFL_RUNTIME_STATUS_H
#define RFL_RUNTIME_STATUS_H

#include <stddef.h>
#include <stdint.h>

/*
 * starting: not yet assigned, or its function is not ready. running. stopped: its error policy
 * stopped it, why says what happened. failed: its source or sink is broken and is being opened
 * again. draining, drained: the instance is stopping.
 */
enum rfl_state { RFL_STARTING, RFL_RUNNING, RFL_STOPPED, RFL_FAILED, RFL_DRAINING, RFL_DRAINED };

struct rfl_lane_status {
	char *alias, *stream;
	int32_t partition;
	int64_t position;  /* next offset to read */
	int64_t committed; /* low: where a restart would read from; INT64_MIN = nothing */
	int64_t log_end;   /* INT64_MIN = not known */
	int64_t lag;       /* log_end - committed, -1 = not known */
	int64_t time_ms;   /* its largest event time; INT64_MIN = none */
	int is_idle, is_withheld;
};

struct rfl_task_status {
	int32_t partition;
	enum rfl_state state;
	char *why; /* NULL where there is nothing to say */
	char *waits_for;
	uint64_t windows_open, windows_waiting, calls_open, records_in, records_out, windows_done;
	uint64_t commits, retries, rebuilds, refused, late, late_in_part, dead_letters, skipped,
		empty;
	uint64_t memory_bytes, spilled_bytes;
	uint64_t checkpoint_bytes; /* of its last commit, in the checkpoint stream */
	int64_t next_close_ms;     /* of the windows' clock, INT64_MIN = none */
	int64_t watermark_ms;      /* INT64_MIN = none, or not on event time */
	int is_replaying;
	int32_t held_by; /* the lane that holds the watermark back, -1 = none */
	int64_t held_ms; /* for how long */
	struct rfl_lane_status *lanes;
	size_t lane_count;
};

struct rfl_processor_status {
	char *name, *function;
	enum rfl_state state; /* the worst of its tasks' */
	char *why;
	struct rfl_task_status *tasks;
	size_t task_count;
};

struct rfl_status {
	struct rfl_processor_status *processors; /* in the order of the configuration */
	size_t processor_count;
};

const char *rfl_state_name(enum rfl_state s); /* "running" */
void rfl_status_fini_processor(struct rfl_processor_status *p);
void rfl_status_free(struct rfl_status *s); /* NULL is a no-op */

#endif
