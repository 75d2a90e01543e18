/*
 * One window of a task that is called: its records, by reference into the store, its call, what the
 * function answered; from when it is over (or, streaming, from its first record) until its outputs and
 * its position are committed. A failed call is called again from what is here.
 */
#ifndef RFL_TASK_PANE_H
#define RFL_TASK_PANE_H

#include "task/store.h"
#include "window/window.h"

enum rfl_pane_state {
	RFL_PANE_WAITING, /* to be called, at retry_at_ns */
	RFL_PANE_CALLING, /* its call is open */
	RFL_PANE_DONE, /* its call ended well, or it was given up by policy: publish what it holds */
	RFL_PANE_SETTLED /* all of its outputs are written, or taken by the open transaction */
};

struct rfl_call;
struct rfl_outlet;

struct rfl_batches {
	struct riffle_batch **items; /* one reference each */
	size_t count, room;
};

/*
 * Windows that are committed together: those with one end. Complete once no further one can join, and
 * settled when all of its panes are.
 */
struct rfl_group {
	struct rfl_list link; /* in the task's groups, in frontier order */
	int64_t end_ms;
	uint32_t panes, done, settled;
	int is_complete, is_staged;
	/*
	 * How things stood when it was over: where the lanes were, and their times. A successor that goes on
	 * from there sees it become over again, and judges what comes then as it was judged.
	 */
	struct rfl_cut {
		int64_t next, time_ms;
	} cut[]; /* by lane */
};

/* A run of records of one chunk, as an item: a is the chunk, b its first index and how many. */
static inline struct rfl_window_item
rfl_item_of(struct rfl_chunk *c, uint32_t index, uint32_t count)
{
	return (struct rfl_window_item){(uintptr_t)c, (uint64_t)count << 32 | index};
}
static inline struct rfl_chunk *
rfl_item_chunk(struct rfl_window_item i)
{
	return (struct rfl_chunk *)(uintptr_t)i.a;
}
static inline uint32_t
rfl_item_index(struct rfl_window_item i)
{
	return (uint32_t)i.b;
}
static inline uint32_t
rfl_item_count(struct rfl_window_item i)
{
	return (uint32_t)(i.b >> 32);
}

/* Records of one lane that are not kept any more: which ones they were. */
struct rfl_gone {
	int64_t first, last; /* offsets; while count > 0 */
	uint64_t count;
};

/* Where a batch of outputs goes, and what the function's records in it amount to. */
struct rfl_way {
	struct rfl_outlet *to;
	size_t bytes;
};

struct rfl_pane {
	uint32_t magic;
	enum rfl_pane_state state;
	struct rfl_list
		link; /* in the task's panes, in frontier order; or its streams, its early ones */
	struct rfl_list work;    /* in the task's waiting, calling or publishing ones */
	struct rfl_group *group; /* NULL: streaming and not yet over, or early */
	int is_early, is_open;   /* open: streaming, more records may come */
	int is_dead;             /* what it holds are its records, as dead letters */
	uint32_t dead_failures;  /* to write these, counted ones */
	int gives_up;            /* failed for good while it was open, as fault says */
	int holds_items;         /* its items need their chunks */
	int64_t start_ms, end_ms;
	void *key;
	uint32_t key_len;
	struct rfl_window_items items; /* what is kept of it */
	uint64_t record_count;         /* with those that are not */
	int lets_go;                   /* keep = no: a record goes once the call took it */
	struct rfl_gone *gone;         /* by lane; NULL = none yet */
	int64_t max_time_ms;           /* `none`: of its records */

	uint32_t attempt;   /* of the call under way, or the last one; 0 = none yet */
	uint32_t failures;  /* counted ones */
	int64_t backoff_ms; /* the limit of the last wait */
	int64_t retry_at_ns;
	struct rfl_call *call;
	/* What we found wrong with the call under way; counts more than its status. code 0 = nothing. */
	struct riffle_error fault;

	struct rfl_batches outputs; /* as the sinks will get them */
	struct rfl_way *ways;       /* of outputs.items[i] */
	size_t way_room;
	size_t output_bytes;
	size_t outputs_sent; /* how many of outputs went to their outlets */
	uint32_t sends_open; /* of those, not yet finished */
	uint64_t first_tag,
		last_tag; /* exactly once: of those, in the last transaction; 0 = none */
	uint64_t output_records;
};

struct rfl_pane *rfl_pane_create(void);
/* No call is open, and its items were released. NULL is a no-op. */
void rfl_pane_destroy(struct rfl_pane *p);
void rfl_pane_set_window(struct rfl_pane *p, const struct rfl_window_fired *fired);
void rfl_pane_add(struct rfl_pane *p, struct rfl_window_item item);
/* In the order of arrival, which merged windows are not in. */
void rfl_pane_sort(struct rfl_pane *p);
void rfl_pane_need(struct rfl_pane *p); /* its items need their chunks from here on */
void rfl_pane_release(struct rfl_pane *p, struct rfl_store *s);
void rfl_pane_release_kept(struct rfl_pane *p, struct rfl_store *s);
/*
 * Its first `items` items, and `more` records of the next, are kept no longer; the pane itself goes on holding
 * their position. They cannot be called again. E_FATAL when their offsets cannot be read from the spill file: then
 * all are kept.
 */
int rfl_pane_let_go(struct rfl_pane *p, struct rfl_store *s, size_t items, uint32_t more,
	struct riffle_error *reterr);
int rfl_pane_let_go_all(struct rfl_pane *p, struct rfl_store *s, struct riffle_error *reterr);
void rfl_pane_stage(struct rfl_pane *p);
void rfl_pane_unstage(struct rfl_pane *p);
/* Takes over the reference; bytes is what the function's records amount to. */
void rfl_pane_output(
	struct rfl_pane *p, struct riffle_batch *b, struct rfl_outlet *to, size_t bytes);
void rfl_pane_drop_outputs(struct rfl_pane *p);
int rfl_pane_holds_output(const struct rfl_pane *p, const struct riffle_batch *b);
/* This one is written and not sent again. */
void rfl_pane_forget_output(struct rfl_pane *p, const struct riffle_batch *b);

#endif
