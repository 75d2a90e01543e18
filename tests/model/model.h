/*
 * The world in which a task lives: logs in memory with positions and transactions, a function that
 * answers with the ids of its records, one or two instances that own the tasks, a clock turned by hand.
 * Everything that happens follows from the seed of the life.
 */
#ifndef RFL_TESTS_MODEL_MODEL_H
#define RFL_TESTS_MODEL_MODEL_H

#include "reference.h"

#include "base/mailbox.h"
#include "task/task.h"

#include <stdarg.h>

#define M_INPUTS REF_LANES_MAX
#define M_PARTITIONS 2
#define M_LANES (M_INPUTS * M_PARTITIONS)
#define M_RECORDS 40 /* of a lane */
#define M_KEYS 3
#define M_INSTANCES 2
#define M_CALL_RECORDS (M_INPUTS * M_RECORDS)
#define M_SENT_MAX 4096
#define M_UNTOLD_MAX 64

/* Records that are not like the others. */
enum m_kind {
	M_PLAIN,
	M_POISON,     /* the function never stands it */
	M_UNWRITABLE, /* the sink never takes what is made of it */
	M_FOREIGN,    /* of another content type */
	M_FUTURE      /* refused by the clock */
};

/* What a record says of itself, as its value. */
struct m_id {
	uint32_t lane, record;
};

struct m_record {
	enum m_kind kind;
	int key;
	int64_t offset, time_ms;
	struct m_id id;
	/* What counts in the end: as it was admitted by the life whose commit first covered it. */
	int is_final, is_late;
	int64_t closed_ms;
	/* What came out: by window (from the first that its time lies in), as a dead letter, as late. */
	int sent[REF_WINDOWS_MAX], dead, late;
};

struct m_lane {
	struct m_record list[M_RECORDS];
	struct riffle_record records[M_RECORDS]; /* the same, as a provider gives them */
	int count, available;
	uint32_t flags;     /* RIFFLE_LANE_* */
	int64_t end_offset; /* behind the last one */
	/* What the group committed. */
	int64_t committed, committed_hw, committed_frontier, committed_time;
	uint32_t committed_seq;
	char metadata[RFL_POSITION_TEXT_MAX + 1];
	int has_open_set;
	/* Of its key in the checkpoint stream; NULL = there is none. */
	char *checkpoint;
	size_t checkpoint_len;
};

/* One record that reached an output. */
struct m_sent {
	enum { M_OUTPUT, M_LATE, M_DEAD, M_CHECKPOINT } where;
	int64_t start_ms, end_ms;
	uint32_t count;
	/* Of a checkpoint, whose value is the bytes of ids. */
	struct m_lane *lane;
	size_t value_len; /* 0 = it has none */
	struct m_id ids[];
};

struct m_batch { /* of them */
	struct m_sent *list[M_SENT_MAX];
	int count;
};

/* A window as it was answered. */
struct m_answered {
	int partition, key, count;
	int64_t start_ms;
	uint64_t sum; /* of its records */
};
#define M_ANSWERED_MAX 512

struct m_call;

/* One life of a task. */
struct m_task {
	struct rfl_task *task; /* NULL = this instance does not have it */
	struct m_instance *at;
	int partition;
	int next[M_INPUTS]; /* the record to read next, by input */
	int64_t watermark_ms;
	uint64_t rebuilds; /* of its task that were seen */
	struct ref ref;
	/* What stays of one that was revoked, and what its records counted as then. */
	struct rfl_task *warm;
	struct m_final {
		int is_late;
		int64_t closed_ms;
	} finals[M_INPUTS][M_RECORDS];
};

enum m_txn { M_TXN_NONE, M_TXN_OPEN, M_TXN_CLOSING, M_TXN_ENDING };

struct m_instance {
	struct world *w;
	struct m_task tasks[M_PARTITIONS];
	struct rfl_task_spec spec;
	struct rfl_outlet outlet;
	struct rfl_route route;
	/* The commit under way. */
	enum m_txn txn;
	int committing, is_stopping;
	struct riffle_position positions[M_LANES];
	struct rfl_commit_text texts[M_LANES];
	size_t position_count;
	struct m_batch pending; /* of the open transaction */
	/* Of its sends those with a record that the sink refuses, which it has not said yet. */
	uint64_t untold[M_UNTOLD_MAX];
	int untold_count;
};

struct world {
	uint64_t seed, random; /* random: of the steps */
	int step, step_limit, record_limit;
	int is_traced, is_blind, is_ending;
	const char *why; /* it failed; text is in `text` */
	char text[512];

	struct ref_settings settings;
	struct rfl_clock clock;
	struct rfl_mailbox *mailbox;
	struct rfl_stream_conf stream;
	struct rfl_function_conf function;
	struct rfl_input_conf inputs[M_INPUTS];
	struct rfl_output_conf output;
	struct rfl_processor_conf conf;
	struct riffle_call_spec call_spec;

	int input_count, partition_count, instance_count;
	int fails, answers_late, answers_in_parts, takes_little, refuses, is_healed;
	int is_picky;      /* the sink: more records are unwritable */
	int refuses_aside; /* it takes no unwritable records as late ones, or dead letters, either */
	uint32_t poll_most;
	size_t memory_bytes;
	int64_t spill_bytes;
	size_t position_chars;
	int has_checkpoint;
	size_t checkpoint_bytes;
	int checkpoints;              /* that positions pointed to */
	int handed_back;              /* refused sends of a transaction, to their tasks */
	struct m_lane lanes[M_LANES]; /* input * M_PARTITIONS + partition */
	struct m_instance instances[M_INSTANCES];
	struct m_call *calls; /* open ones, newest first */
	int crashes, stops;
	struct m_answered answered[M_ANSWERED_MAX];
	int answered_count, is_shifted;
	struct m_task *running; /* whose records enter windows now */
};

/* Random numbers: [0, n), and 1 in `n` times. */
uint64_t m_random(uint64_t *state);
int m_below(struct world *w, int n);
int m_chance(struct world *w, int n);

void m_trace(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The life is wrong, and over. */
/*
 * The same of what only a look inside shows. A blind life goes on: then what came out must tell.
 */
void m_object(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void m_fail(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* setup.c: what the seed says of shapes, policies and logs. */
void m_set_up(struct world *w);
void m_describe(struct world *w); /* traced */

/* broker.c */
extern const struct riffle_provider_ops m_provider_ops;
struct m_lane *m_lane(struct world *w, int input, int partition);
int64_t m_log_end(const struct m_lane *l);
const char *m_topic(int input);
int m_place(const struct m_lane *l, int64_t offset);   /* of the first record at or behind it */
void m_count(struct world *w, const struct m_sent *s); /* it is there for good */
void m_count_all(struct world *w, struct m_batch *b);
void m_write(struct world *w, const struct riffle_record *r); /* the same, as a sink gets it */
void m_drop_all(struct m_batch *b);
/* Positions that a group is to keep; each must be one that may follow. */
void m_apply_positions(struct m_instance *at);

/* Of a record as it crosses the border, where nothing is aligned. */
struct m_id m_id_of(const struct riffle_record *r);
/* The sink refuses it for its data. */
int m_is_refused(struct world *w, const struct riffle_record *r);

/* function.c */
extern const struct riffle_invoker_ops m_invoker_ops;
int m_answer(struct world *w); /* some open call goes on; 1 = one did */

/* instance.c */
void m_instance_open(struct world *w, int which);
void m_instance_close(struct m_instance *at);
void m_task_open(struct m_instance *at, int partition);
void m_task_close(struct m_task *t);
void m_look(struct m_task *t);               /* the reference comes to where the task is */
int m_run(struct m_instance *at);            /* 1 = something moved */
int m_is_quiet(const struct m_instance *at); /* no window is open, but those that count on */
void m_explain(struct m_instance *at);       /* traced: what its tasks wait for */
int m_deliver(struct world *w);
int m_acknowledge(struct m_instance *at);
/* One step of committing, in which the broker may refuse; 1 = there was something to do. */
int m_commit(struct m_instance *at);
void m_crash(struct m_instance *at);
void m_stop(struct m_instance *at); /* in good order, and begins again */
void m_move(struct world *w, int partition, struct m_instance *to);

/* verdict.c */
void m_judge(struct world *w);

#endif
