/* A processor from inside, for the files that it is made of. */
#ifndef RFL_RUNTIME_PROCESSOR_PRIVATE_H
#define RFL_RUNTIME_PROCESSOR_PRIVATE_H

#include "base/check.h"
#include "runtime/processor.h"
#include "runtime/sink.h"
#include "runtime/source.h"

#define RFL_PROCESSOR_MAGIC 0x50524f43u

enum rfl_phase {
	RFL_PHASE_IDLE,    /* nothing is open; opens at retry_at_ns */
	RFL_PHASE_STREAMS, /* its streams are being made sure of */
	RFL_PHASE_SINKS,   /* sinks are open, the transaction object is not ready yet */
	RFL_PHASE_RUNNING, /* sources are open; lanes come and go */
	RFL_PHASE_TASKS,   /* closing: waits for the calls of its tasks */
	RFL_PHASE_HANDLES, /* closing: waits for sources, then sinks */
	RFL_PHASE_CLOSED,  /* drained: does not come back */
	RFL_PHASE_LOST     /* a thread is in it and does not come out */
};

enum rfl_txn_phase {
	RFL_TXN_NONE,
	RFL_TXN_OPEN,
	RFL_TXN_CLOSING, /* its positions stand, the sink has not taken all checkpoints yet */
	RFL_TXN_ENDING
};

/* Windows of so many output bytes make a transaction due before its interval. */
#define RFL_TXN_BYTES ((size_t)16 * 1024 * 1024)

/* A reading of the checkpoint stream, from its beginning to its end. */
struct rfl_checkpoint {
	struct rfl_instance *instance; /* NULL = the processor has no such stream */
	struct rfl_source source;
	uint32_t input;   /* its one stream, for the source's inputs */
	int64_t ended_ns; /* since when all is read; 0 = it is not */
};

/* Positions that a transaction is about to commit, once it has all that goes with them. */
struct rfl_positions {
	struct riffle_position *list;
	struct rfl_commit_text *texts;
	uint32_t count;
};

/* The largest value of a checkpoint stream, where the stream takes so much: brokers take a megabyte by default. */
#define RFL_CHECKPOINT_MAX 900000

struct rfl_processor {
	uint32_t magic;
	enum rfl_phase phase;
	int draining;
	int is_over; /* an instance it needs is quarantined, or another has its place: it is not opened again */
	struct rfl_processor_setup setup; /* arrays copied */
	struct rfl_worker *worker;
	char *what;
	char *txn_id;
	char *why;                        /* of the last failure, until it runs again */
	struct riffle_error source_error; /* a passing one, while it has no tasks; code 0 = none */
	int64_t retry_at_ns, backoff_ms;
	int64_t runs_since_ns; /* 0 = it has no tasks yet */
	int64_t leaves_at_ns; /* while draining, without what a broken function holds; 0 = not yet */
	uint32_t streams_open; /* asked for, not answered yet */
	int has_streams;       /* all were there once */
	struct riffle_error stream_error;

	struct rfl_task_spec task_spec;
	const struct rfl_stream_conf **destinations; /* outputs, then late and dead letters */
	size_t destination_count;
	struct rfl_route *routes; /* by destination */
	struct riffle_call_spec call_spec;
	const char **names; /* the call spec's arrays point into this */

	struct rfl_source *sources; /* one per provider of inputs; the first leads */
	uint32_t source_count;
	int follows_old;         /* the leader's partitions changed since the others were opened */
	uint32_t *source_inputs; /* the sources' inputs arrays point into this */
	struct rfl_sink **sinks; /* by destination; the same one may stand there more than once */
	struct rfl_sink *own_sink; /* exactly-once: with the transaction */
	struct rfl_checkpoint checkpoint;

	struct rfl_task **tasks;
	size_t task_count, task_room;
	struct rfl_task **warm; /* their partitions are away; idle */
	size_t warm_count, warm_room;

	int64_t last_commit_ns;
	uint64_t commit_tag;   /* of the commit under way */
	uint32_t commits_open; /* at-least-once: sources that have not answered yet */
	struct riffle_error commit_error;
	enum rfl_txn_phase txn_phase;
	struct rfl_positions txn_positions; /* of RFL_TXN_CLOSING */
	int txn_is_spoiled; /* it holds outputs of tasks that were taken away: it is aborted */
	size_t txn_bytes;
	int64_t txn_retry_ns;
};

/* processor.c: everything is closed and opened again later, or stays closed. */
void rfl_processor_fail(struct rfl_processor *p, const struct riffle_error *err);
void rfl_processor_stop(struct rfl_processor *p, const struct riffle_error *why);

/* streams.c: asks for those it needs; streams_open and stream_error then say how that goes. */
int rfl_processor_ask_for_streams(struct rfl_processor *p, struct riffle_error *reterr);
void rfl_processor_forget_streams(
	struct rfl_processor *p); /* what is asked for is answered to nobody */

/* outputs.c */
int rfl_processor_open_sinks(struct rfl_processor *p, struct riffle_error *reterr);
void rfl_processor_set_side_routes(struct rfl_processor *p); /* once the sinks are open */
void rfl_processor_leave_sinks(struct rfl_processor *p);
const struct riffle_error *rfl_processor_broken_sink(
	const struct rfl_processor *p); /* NULL = none is */

/* assign.c */
int rfl_processor_open_source(
	struct rfl_processor *p, struct rfl_source *s, struct riffle_error *reterr);
int rfl_processor_poll_sources(struct rfl_processor *p); /* 1 = something happened */
void rfl_processor_make_tasks(struct rfl_processor *p);
void rfl_processor_release_lanes(struct rfl_processor *p);

/* follow.c */
void rfl_processor_lanes_changed(struct rfl_processor *p, const struct rfl_source *s);
int rfl_processor_follow(struct rfl_processor *p); /* 1 = something happened */

/* checkpoint.c */
/* 1 = it is known which value the position of that lane points to, if it points to any. */
int rfl_processor_has_checkpoint(struct rfl_processor *p, struct rfl_source_lane *l);
int rfl_processor_run_checkpoint(struct rfl_processor *p, int64_t now_ns, int64_t *next_ns);
int rfl_processor_is_reading_checkpoint(const struct rfl_processor *p);
void rfl_processor_close_checkpoint(struct rfl_processor *p); /* run until it is not reading */

/* warm.c */
void rfl_processor_keep_warm(struct rfl_processor *p, struct rfl_task *t); /* suspended, and idle */
/* The one that may go on with these lanes; NULL = there is none. */
struct rfl_task *rfl_processor_take_warm(struct rfl_processor *p, int32_t partition,
	const struct rfl_task_lane *lanes, const struct riffle_bytes *metadata, size_t lane_count);
void rfl_processor_drop_warm(struct rfl_processor *p);

/* commit.c */
int rfl_processor_commit(struct rfl_processor *p, int64_t now_ns, int64_t *next_ns); /* 1 = moved */
void rfl_processor_committed(struct rfl_processor *p, const struct riffle_event *ev);
int rfl_processor_is_committing(const struct rfl_processor *p);
void rfl_processor_forget_commit(struct rfl_processor *p); /* nobody will say how it ended */

#endif
