/*
 * A task from inside, for the files of this folder.
 *
 * A record's way: a lane's batch passes the door (door.c), is copied into the store, enters its windows
 * in the order of time over all lanes (admit.c), moves the watermark (watermark.c). Windows that are over
 * become panes in groups (fire.c), are called (attempt.c), publish what the function answered (publish.c);
 * failures meet the error policy (on_error.c). What may be committed then is in commit.c; what stays of a
 * task without lanes in warm.c. Late records and dead letters take the side way (side.c).
 */
#ifndef RFL_TASK_TASK_PRIVATE_H
#define RFL_TASK_TASK_PRIVATE_H

#include "base/buf.h"
#include "base/check.h"
#include "task/pane.h"
#include "task/task.h"
#include "wire/tuple.h"

#define RFL_TASK_MAGIC 0x5441534bu

/* Output a call may have in flight before it is read on. */
#define RFL_TASK_CREDIT_BYTES ((size_t)1024 * 1024)
/* Records on their way into the engine at a time. */
#define RFL_TASK_ADDS_MAX 256

/* What the door says of a record. */
enum rfl_verdict {
	RFL_ENTERS,
	RFL_SEEN,   /* delivered before: left out without a word */
	RFL_REFUSED /* goes to the error policy */
};

struct rfl_admission {
	enum rfl_verdict verdict;
	int64_t time_ms;
	const void *key;
	uint32_t key_len, hash;
};

struct rfl_lane {
	struct rfl_task_lane at;
	int64_t next;      /* next offset to admit; also hw */
	int64_t settled;   /* low of what is settled, where that is a cut */
	int64_t asked;     /* low of the commit under way, or of the last one */
	int64_t committed; /* low that is committed for sure */
	/* keep = no: the metadata that goes, or went, with them; "" = none. */
	char asked_text[RFL_TUPLE_TEXT + 1], committed_text[RFL_TUPLE_TEXT + 1];
	int64_t rebuilt_from; /* what was committed when the task was rebuilt last */

	/* What was committed by whoever had the lane before. */
	int64_t replay_to;   /* hw: records below were handed to windows before */
	int64_t frontier_ms; /* W: windows that end at or before it are done */
	int is_through;      /* has read up to replay_to again */
	/* Of sessions: what of it was in open ones, where that was written. */
	int has_open_set;
	struct rfl_run *open_runs;
	size_t open_run_count;
	/* Of the sessions that are open now: how many of its records are, and what that takes, see open.c. */
	uint64_t open_count;
	struct rfl_open_size {
		uint64_t change;
		int64_t low, hw;
		size_t bytes;
	} open_size;
	/* Bytes of the value in the checkpoint stream: as committed, and as asked; 0 = none. */
	size_t checkpoint_bytes, asked_checkpoint_bytes;

	int64_t time_ms;        /* T; RFL_BEFORE_MS = none yet */
	int64_t last_record_ns; /* when the last one came */
	int is_dry;             /* the last poll brought nothing */
	int is_idle, is_withheld;

	/* The batch in hand: its records from `at_record` on are not in windows yet. */
	struct rfl_chunk *chunk;
	uint32_t at_record;
	struct rfl_admission *admissions;
	size_t admission_room;
	struct rfl_buf keys; /* of keys that had to be put together */
};

/* A record that goes to the late stream or is a dead letter by itself. */
struct rfl_side {
	uint32_t magic;       /* first, as in a pane: a finished send tells by it whose it was */
	struct rfl_list link; /* in the task's sides, in the order of arrival */
	uint32_t lane;
	int64_t offset;
	struct rfl_chunk *chunk;
	struct riffle_batch *batch; /* as the sink gets it */
	const struct rfl_route *route;
	int is_sent, is_done, is_staged;
	uint64_t tag; /* of the last time that it was sent */
	int64_t retry_at_ns, backoff_ms;
	uint32_t failures;
};

struct rfl_task {
	uint32_t magic;
	int32_t partition;
	const struct rfl_task_spec *spec;
	struct rfl_lane *lanes;
	size_t lane_count, next_lane;
	struct rfl_window *window; /* NULL with `none` */
	struct rfl_store *store;
	struct rfl_window_record *adds; /* on their way into the engine */
	uint32_t *add_records;          /* their places in the batch in hand */

	int64_t watermark_ms; /* of the window's clock; RFL_BEFORE_MS = not known yet */
	int is_replaying;     /* until all lanes are through: no window fires, nothing commits */
	int32_t held_by;      /* lane; -1 = none */
	int64_t held_since_ns;
	int64_t all_idle_since_ns; /* 0 = not all of them are */

	struct rfl_list groups;           /* of windows that are over, in frontier order */
	struct rfl_list panes;            /* theirs, in the same order */
	struct rfl_list streams, earlies; /* panes that are in no group */
	struct rfl_list waiting, calling; /* by pane.work */
	struct rfl_list publishing;       /* the same: done, of a group, and not settled */
	uint32_t pane_count;              /* over and not settled */
	struct rfl_list sides;
	int64_t early_at_ns;
	int64_t taken_ns; /* keep = no: when a call last began, or took something */
	int fires_more;   /* the engine has more windows that are over */

	uint64_t open_change; /* goes up with each change of the open sets */
	uint32_t seq;         /* of the last commit */
	int64_t asked_frontier_ms, committed_frontier_ms, commit_begun_ns;
	uint32_t calls_open;
	int reading;  /* 0 once drained, stopped or abandoned */
	int draining; /* no further attempts: what failed is read again at the next start */
	int stopped, abandoned, committing;
	int sealed; /* stages and commits nothing any more */
	int suspended;
	struct rfl_rebuild {
		int is_wanted; /* reads nothing; begins again from its position when it is quiet */
		uint32_t failures; /* counted ones since a position moved */
		int64_t at_ns, backoff_ms;
		char *why;             /* of the last one; NULL = none yet */
		struct rfl_attempted { /* calls that it cut short, or that failed */
			int64_t start_ms;
			uint32_t attempt;
		} * attempted;
		size_t attempted_count, attempted_room;
	} rebuild;
	char *why;
	uint64_t records_in, records_out, windows_done, retries, refused, late, late_in_part;
	uint64_t dead_letters, skipped, empty, commits, rebuilds;
};

/* Its windows are on event time: a position says more than how far it was read. */
static inline int
rfl_task_has_event_time(const struct rfl_task *t)
{
	return t->spec->conf->time.source != RFL_TIME_PROCESSING;
}
static inline int
rfl_task_is_keyed(const struct rfl_task *t)
{
	return t->spec->conf->by.source != RFL_BY_NOTHING;
}
/* Windows found again by the W of the position: on event time, with ends that follow from the record's time. */
int rfl_task_has_frontier(const struct rfl_task *t);
/* What is done is a prefix of what was read, so a position without more restores all of it. */
int rfl_task_has_cut(const struct rfl_task *t);
int rfl_task_is_exactly_once(const struct rfl_task *t);
int rfl_task_is_at_most_once(const struct rfl_task *t);
/* keep = no: records of a window go once its call took them. */
static inline int
rfl_task_lets_go(const struct rfl_task *t)
{
	return !t->spec->conf->keep && t->spec->conf->delivery == RFL_STREAMING;
}
/* No call is begun any more for what failed, or is still open. */
static inline int
rfl_task_begins_no_more(const struct rfl_task *t)
{
	return t->draining || t->rebuild.is_wanted;
}
/* Outputs wait for the call's status. */
int rfl_task_holds_outputs(const struct rfl_task *t);

/* It has read again what there was to, and waits at the first new record for the other lanes. */
static inline int
rfl_lane_waits(const struct rfl_task *t, const struct rfl_lane *l)
{
	return t->is_replaying && l->is_through && l->chunk != NULL;
}

/* door.c: judges all records of the batch in hand; refused ones are dealt with when their turn comes. */
void rfl_door_judge(
	struct rfl_task *t, struct rfl_lane *lane, const struct riffle_batch *b, int64_t now_ms);
/* Why record i was refused; the caller frees. */
char *rfl_door_reason(const struct rfl_task *t, const struct rfl_lane *lane,
	const struct riffle_batch *b, uint32_t i, int64_t now_ms);

/* watermark.c */
void rfl_watermark_init(struct rfl_task *t);
void rfl_watermark_record(struct rfl_task *t, struct rfl_lane *lane, int64_t time_ms);
/* The lane has read again what its predecessor had; the last one to get there ends the replay. */
void rfl_watermark_through(struct rfl_task *t, struct rfl_lane *lane);
/* For this record, windows that end at or before it are over. */
int64_t rfl_watermark_closed(const struct rfl_task *t, const struct rfl_lane *lane, int64_t offset);
/* Nothing more is there, as the provider said just now. */
int rfl_watermark_is_at_end(const struct rfl_lane *l, int64_t now_ns);
#ifdef RFL_SABOTAGE_ONE_W
extern int64_t rfl_sabotage_w_ms;
#endif
/* Idleness, replay, the windows' own clock. *next_ns: when to look again at the latest. */
void rfl_watermark_tick(struct rfl_task *t, int64_t now_ns, int64_t now_ms, int64_t *next_ns);

/* admit.c: reads the lanes once round. Returns how many records entered. */
uint32_t rfl_task_admit(struct rfl_task *t, int64_t now_ns, int64_t now_ms);

/* fire.c: windows that are over become panes. 1 = some did. */
int rfl_task_fire(struct rfl_task *t);
int rfl_task_can_fire(
	const struct rfl_task *t); /* the engine has more that are over, and may hand them out */
int rfl_task_fire_early(struct rfl_task *t, int64_t now_ns, int64_t *next_ns);
/* `none`: the batch is a window. */
void rfl_task_fire_batch(struct rfl_task *t, struct rfl_chunk *c, uint32_t first, uint32_t count,
	int64_t now_ms, int64_t max_time_ms);
/* Streaming: records of one window, which may still be open. */
void rfl_task_stream(struct rfl_task *t, struct rfl_window_item item, int64_t start_ms);
void rfl_task_feed_streams(struct rfl_task *t); /* pushes what they got */
/* Before the next pane, and the next round of lanes: the windows that wait may be no more than this. */
int rfl_task_has_room(const struct rfl_task *t);

/* publish.c */
void rfl_task_publish(struct rfl_task *t, struct rfl_pane *p); /* sends what it holds */
void rfl_task_settle(struct rfl_task *t);                      /* lets go of groups that are done */
void rfl_task_settle_rest(struct rfl_task *t); /* and of what was left out behind them */
/* Checks one batch of a function and keeps it in the pane, addressed; E_DATA, E_UNSUPPORTED. */
int rfl_task_keep_output(struct rfl_task *t, struct rfl_pane *p, struct riffle_batch *b,
	size_t *ret_bytes, struct riffle_error *reterr);
void rfl_task_free_group(struct rfl_task *t, struct rfl_group *g); /* with its panes */

/* side.c */
void rfl_side_late(struct rfl_task *t, struct rfl_lane *lane, uint32_t record, int64_t closed_ms);
void rfl_side_refused(struct rfl_task *t, struct rfl_lane *lane, uint32_t record, const char *why);
/* The pane's outputs become its records, as dead letters. E_FATAL when they cannot be read. */
int rfl_side_dead_letters(struct rfl_task *t, struct rfl_pane *p, const struct riffle_error *err,
	struct riffle_error *reterr);
void rfl_side_run(struct rfl_task *t, int64_t now_ns, int64_t *next_ns);
int rfl_side_is(const void *detail);
void rfl_side_sent(struct rfl_task *t, struct rfl_side *s, const struct riffle_error *err);
/* Exactly-once: into the open transaction go those that its hw, or its cut, has come past. Bytes. */
size_t rfl_side_stage(struct rfl_task *t);
int rfl_side_is_staging(const struct rfl_task *t);
int rfl_side_can_stage(const struct rfl_task *t);
/* Some will be written without another record; others wait behind windows that are open. */
int rfl_side_is_moving(const struct rfl_task *t);
int rfl_side_has_staged(const struct rfl_task *t);
int rfl_side_has_begun(const struct rfl_task *t); /* some are on their way, or there */
void rfl_side_unstage(struct rfl_task *t);
/* 1 = the batch was one of these, for which there is no further place: the task is sealed. */
int rfl_side_refuse(struct rfl_task *t, const struct rfl_refusal *refusal);
/* At least once: a position says that the records before it are done, late ones too. */
int rfl_side_holds_commit(const struct rfl_task *t);
enum rfl_side_which { RFL_SIDE_DONE, RFL_SIDE_STAGED, RFL_SIDE_ALL };
void rfl_side_let_go(struct rfl_task *t, enum rfl_side_which which);
/* The first offset of the lane that a side record still holds; next = none. */
int64_t rfl_side_low(const struct rfl_task *t, uint32_t lane, int64_t next);

/* commit.c: what may be committed now. */
int64_t rfl_task_hw(const struct rfl_task *t, uint32_t lane);
int64_t rfl_task_low(const struct rfl_task *t, uint32_t lane);
/* The open transaction holds something of this task, and may not end without its positions. */
int rfl_task_has_staged(const struct rfl_task *t);

/* open.c */
int rfl_task_has_open_set(const struct rfl_task *t);
/* Record index of the chunk in hand is in a session. */
void rfl_open_enter(struct rfl_task *t, struct rfl_lane *lane, uint32_t index);
void rfl_open_leave(struct rfl_task *t, const struct rfl_group *g);  /* it is done, or staged */
void rfl_open_return(struct rfl_task *t, const struct rfl_group *g); /* it is not, after all */
/* Where the set of a lane goes with its next position. */
enum rfl_open_place { RFL_OPEN_NOWHERE, RFL_OPEN_IN_POSITION, RFL_OPEN_IN_CHECKPOINT };
enum rfl_open_place rfl_open_place(const struct rfl_task *t, uint32_t lane);
/* The set as of the next position, which has room for it; the caller ends it. */
struct rfl_open_set rfl_open_write(const struct rfl_task *t, uint32_t lane);
/* Exactly once no position goes without it: a transaction does not end before the set fits, */
int rfl_open_fits(const struct rfl_task *t);
/* nor takes a group, the first that is not staged, before it would. */
int rfl_open_may_stage(const struct rfl_task *t, const struct rfl_group *first);
int rfl_open_restore(const struct rfl_task *t, struct rfl_lane *lane, struct riffle_bytes metadata,
	struct riffle_error *reterr);
/* It was read before, and is in no session that was open. */
int rfl_open_passes(const struct rfl_lane *lane, int64_t offset);

/* rebuild.c: a call failed, and what it took is not kept. 1 = the task begins again from its position. */
int rfl_rebuild_want(struct rfl_task *t, struct rfl_pane *p, const struct riffle_error *err);
int rfl_rebuild_run(struct rfl_task *t, int64_t now_ns, int64_t *next_ns); /* 1 = it did */
/* Of the window that begins there, in the life before; 0 = none. */
uint32_t rfl_rebuild_attempt(struct rfl_task *t, int64_t start_ms);
/* The first offset of the lane that a window holds and does not keep; next = none. */
int64_t rfl_rebuild_low(const struct rfl_task *t, uint32_t lane, int64_t next);
/* Something that was let go is not settled: only its position has it. */
int rfl_rebuild_holds(const struct rfl_task *t);

/* task.c: all that it has read is forgotten, and it is where its lanes' committed positions say. */
int rfl_task_begin_again(struct rfl_task *t, struct riffle_error *reterr);
/* It failed, and is not called again by a task that drains, or is rebuilt. */
int rfl_task_is_given_up(const struct rfl_task *t, const struct rfl_pane *p);
void rfl_task_note_next(int64_t *next_ns, int64_t at_ns);

/* checkpoint.c: the value that a position points to, out and in. */
void rfl_checkpoint_send(struct rfl_task *t, uint32_t lane, const char *tuple);
int rfl_checkpoint_restore(const struct rfl_task *t, struct rfl_lane *lane,
	struct riffle_bytes metadata, struct riffle_bytes value, struct riffle_error *reterr);

/* attempt.c: calls begin, as many as may be open, and are cancelled at their deadlines. 1 = some began. */
int rfl_attempt_run(struct rfl_task *t, int64_t now_ns, int64_t *next_ns);
/* The call under way is in vain: it is cancelled, and failed by this once it is done. */
void rfl_task_fault(struct rfl_pane *p, const struct riffle_error *err);
void rfl_task_feed(struct rfl_task *t, struct rfl_pane *p);
/* It may be called from now on. */
void rfl_task_pane_waits(struct rfl_task *t, struct rfl_pane *p);
/* It is not called again: what it holds is all there is of it. */
void rfl_task_pane_done(struct rfl_task *t, struct rfl_pane *p);

/* on_error.c: what the error policy says to the failure of a window. */
void rfl_task_pane_failed(struct rfl_task *t, struct rfl_pane *p, const struct riffle_error *err);
/* Of its dead letters some could not be written. */
void rfl_task_dead_letters_failed(
	struct rfl_task *t, struct rfl_pane *p, const struct riffle_error *err);
void rfl_task_write_again(struct rfl_task *t, struct rfl_pane *p); /* these, once it is time */
/* Its window is over, and it had failed for good before: skipped, or dead letters. */
void rfl_task_give_up(struct rfl_task *t, struct rfl_pane *p);
/* At most once: some of what it answered is written, so that it may not be called again. */
void rfl_task_publish_failed(
	struct rfl_task *t, struct rfl_pane *p, const struct riffle_error *err);

#endif
