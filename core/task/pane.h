/*
 * One window of a task with its records, from the first one until its outputs and its position are
 * committed. Records are kept until then, so that a failed call is called again from what is here.
 */
#ifndef RFL_TASK_PANE_H
#define RFL_TASK_PANE_H

#include "base/list.h"
#include "plugin/batch.h"
#include "window/window.h"

#include <riffle/record.h>

enum rfl_pane_state {
	RFL_PANE_OPEN,    /* collecting */
	RFL_PANE_WAITING, /* closed; to be called, at retry_at_ns */
	RFL_PANE_CALLING, /* its call is open */
	RFL_PANE_DONE, /* its call ended well, or it was given up by policy: publish what it holds */
	RFL_PANE_SETTLED /* all of its outputs are written, or taken by the open transaction */
};

struct rfl_call;

struct rfl_batches {
	struct riffle_batch **items; /* one reference each */
	size_t count, room;
};

struct rfl_pane {
	uint32_t magic;
	enum rfl_pane_state state;
	struct rfl_list link; /* in the task's panes, in frontier order */
	struct rfl_window_pane window;
	struct rfl_builder *builder; /* copies while open; NULL for borrowed batches */
	struct rfl_batches records;
	size_t record_bytes; /* memory its records hold */
	int64_t max_time_ms; /* largest time of its records; RIFFLE_TIME_NONE where none has one */
	int64_t *cut;        /* by lane: the next offset once this window is done */

	uint32_t attempt;   /* of the call under way, or the last one; 0 = none yet */
	uint32_t failures;  /* counted ones */
	int64_t backoff_ms; /* the last wait */
	int64_t retry_at_ns;
	struct rfl_call *call;
	/* What we found wrong with the call under way; counts more than its status. code 0 = nothing. */
	struct riffle_error fault;

	struct rfl_batches outputs;  /* as the sinks will get them */
	struct rfl_outlet **outlets; /* outputs.items[i] goes to outlets[i] */
	size_t outlet_room;
	size_t output_bytes;
	size_t outputs_sent; /* how many of outputs went to their outlets */
	uint32_t sends_open; /* of those, not yet finished */
	uint64_t output_records;
};

struct rfl_outlet;

struct rfl_pane *rfl_pane_create(size_t lane_count, int copies);
void rfl_pane_destroy(struct rfl_pane *p); /* no call is open; NULL is a no-op */
/* Takes over the reference. */
void rfl_pane_borrow(struct rfl_pane *p, struct riffle_batch *b);
void rfl_pane_copy(struct rfl_pane *p, const struct riffle_batch *b, uint32_t i);
size_t rfl_pane_bytes(const struct rfl_pane *p);
/* No more records: copies become a batch. */
void rfl_pane_close(struct rfl_pane *p, const struct rfl_window_pane *window);
/* Takes over the reference; bytes is what the function's records amount to. */
void rfl_pane_output(
	struct rfl_pane *p, struct riffle_batch *b, struct rfl_outlet *to, size_t bytes);
void rfl_pane_drop_outputs(struct rfl_pane *p);

#endif
