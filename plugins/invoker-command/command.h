/*
 * The command invoker from inside: programs as functions, in three modes.
 *
 *   per-window  a child for each call: records on stdin, answers on stdout, its exit status decides
 *   per-record  a child for each record, several at once, their answers in the order of the records
 *   coprocess   a pool of children that live on: windows come one after another, each with a start,
 *               an end and a status of its own
 *
 * Threads. The host's threads only put things into a call, under the instance's lock, and kick the
 * instance's one poller; that spawns, feeds, reads, kills and reaps all children, and gives
 * all events. It watches every pipe at once, so a child that writes before it reads, or never reads,
 * cannot block anything. What is marked [lock] below is shared, everything else the poller's.
 *
 * The poller is a thread of the instance, or, for a coprocess, the host's worker, turn by turn: its guest
 * (riffle/ext/turns.h). Then the thread only starts programs, since a program gets its parent-death signal
 * from the thread that started it; turn_lock is held by whichever of the two is the poller.
 *
 * Whatever a child writes is foreign: it is checked to the byte before the host sees any of it.
 */
#ifndef RIFFLE_COMMAND_H
#define RIFFLE_COMMAND_H

#include <riffle/riffle.h>

#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/types.h>

#define COMMAND_MAGIC 0x434d4e44u
#define COMMAND_CALL_MAGIC 0x434d434cu
#define COMMAND_CHILD_MAGIC 0x434d4348u

/* Exit status, and status of a window, by which a program says "try again" (EX_TEMPFAIL of sysexits.h). */
#define COMMAND_STATUS_RETRY 75

/* Staged beyond the pipe; past it call_push takes no more until half of it is written. */
#define COMMAND_STAGED_MAX ((size_t)4 * 1024 * 1024)
#define COMMAND_READ_BYTES ((size_t)64 * 1024)
/* Of one answer, at most, but for a record that is larger by itself. */
#define COMMAND_ANSWER_RECORDS 1000u
#define COMMAND_ANSWER_BYTES ((size_t)128 * 1024)

enum command_mode { COMMAND_PER_WINDOW, COMMAND_PER_RECORD, COMMAND_COPROCESS };
enum command_format { COMMAND_LINES, COMMAND_JSON_LINES, COMMAND_FRAMES };

_Noreturn void command_assert_failed(const char *expr, const char *file, int line);
#define command_assert(e) ((e) ? (void)0 : command_assert_failed(#e, __FILE__, __LINE__))
#define COMMAND_CHECK(p, m) command_assert((p) != NULL && (p)->magic == (m))

struct command_call;
struct command_child;
struct command_pool;
struct command_spares;

struct command_limit {
	int resource; /* RLIMIT_* */
	rlim_t value;
};

#define COMMAND_LIMITS 6

/* What a child may do; settled when the instance is made. */
struct command_safety {
	struct command_limit limits[COMMAND_LIMITS];
	int limit_count;
	int has_user; /* uid, gid and groups are set in the child */
	uid_t uid;
	gid_t gid;
	gid_t *groups;
	int group_count;
};

struct command {
	uint32_t magic;
	const struct riffle_host *host;
	const char *const *words; /* of `command` */
	const char *const *env;   /* of `env` */
	const char *dir;
	int shell;
	enum command_mode mode;
	enum command_format format;
	uint32_t processes;
	size_t max_line, max_record, max_output;
	int64_t grace_ns, restart_ns, restart_max_ns;
	struct command_safety safety;

	pthread_t thread;
	pthread_mutex_t lock;
	pthread_mutex_t turn_lock; /* taken before lock */
	pthread_cond_t changed;    /* [lock]: of what the thread rests for, and that it does */
	int epoll, wake;
	int kicked;        /* atomic: there is something to look at */
	int sleeps;        /* atomic: and wake must be written for it */
	int stopping;      /* [lock] */
	const void *guest; /* atomic, written with lock: the host's thread; NULL = none */
	int is_resting;    /* [lock]: the thread, while there is a guest */
	int needs_thread;  /* [lock]: and there is something that only it can do */
	struct command_call *fresh, **fresh_last; /* [lock]: begun, not yet with the poller */
	struct riffle_error health;               /* [lock]: code 0 = the pool is fine */
	uint32_t idle; /* [lock]: programs of the pool without a window */

	struct command_call *calls, **calls_last; /* in the order in which they began */
	struct command_pool *pool;                /* of a coprocess, else NULL */
	uint32_t jobs_running;                    /* of per-record */
	int again;                                /* there is more to do at once */
	int is_patient;                           /* its thread runs as SCHED_BATCH */
	int64_t log_second;                       /* lines of stderr are counted by the second */
	unsigned logged, suppressed;
	int has_left_behind; /* and it was said */
	size_t answer_bytes; /* of the last whole answer */
	struct command_spares *spares;
};

/* Records of one push that wait to be written, or are being written. */
struct command_piece {
	struct command_piece *next;
	struct riffle_batch *batch; /* one reference */
	uint32_t first, next_record, end;
	size_t bytes; /* all of them, as command_input_bytes counts */
};

struct command_text {
	char *data;
	size_t len, room;
};

#define COMMAND_SEGMENTS 64

/*
 * Bytes on their way into a pipe: small ones copied one behind the other, large ones where the host
 * has them. It is filled, written to its last byte, and filled again.
 */
struct command_feed {
	struct command_text text;
	struct command_segment {
		const void *ptr; /* NULL = the next len bytes of text */
		size_t len;
	} segments[COMMAND_SEGMENTS];
	int count, next;
	size_t text_used, skip; /* of text by segments before next; of segments[next] */
	size_t bytes;
	struct command_piece *spent; /* what segments point into */
};

/* Records of a child as one batch, and how much of it the host has. Counted: views keep it. */
struct command_answer {
	struct command_answer *next;
	struct command_spares *spares;
	int refs; /* atomic */
	uint32_t count, given, record_room, header_count, header_room, type_count, type_room,
		json_room;
	struct riffle_record *records;
	struct riffle_header *headers;
	const char **types;
	char *type_is_json; /* of each of types */
	size_t charge;      /* against the credit, of all its records */
	size_t used, room;
	char bytes[];
};

enum command_pipe { COMMAND_IN, COMMAND_OUT, COMMAND_ERR, COMMAND_PIPES };

/* What an epoll event points at. The last of a child is its pidfd. */
struct command_watch {
	int fd; /* -1 = closed */
	int is_ready;
	int is_hung_up; /* the other end is closed */
};

struct command_child {
	uint32_t magic;
	struct command *owner;
	struct command_watch watch[COMMAND_PIPES + 1];
	pid_t pid; /* 0 = not spawned */
	int is_reaped, is_killing, wait_status;
	int64_t kill_at_ns; /* SIGKILL then; INT64_MAX = not on the way */
	struct command_feed feed;
	struct command_text out, err;
	size_t out_read, out_scanned; /* of out: parsed; looked at for a line's end */
	size_t out_total;             /* ever read */
	int has_hello;                /* it said that it speaks frames */
	const char *closed;           /* what it closed that it should not; NULL = nothing */
	int64_t closed_at_ns;         /* and until when it may end by itself */
	int err_cut;
	char last_err[128]; /* the last line of stderr, for the message */
	struct riffle_error fault;
};

/* A copy of what call_begin borrowed. */
struct command_spec {
	uint32_t input_count, output_count, header_count, attempt;
	char *input_is_json, *output_is_json;  /* json-lines: of each type */
	struct riffle_bytes *input_heads;      /* json-lines: how the lines of each input begin */
	struct riffle_bytes *input_json_types; /* json-lines: its content type as a member */
	const char **input_names, **input_types, **output_names, **output_types;
	struct riffle_header *headers;
	void *memory;
};

/* One record of per-record, from its child's start until its answers had their turn. */
struct command_job {
	struct command_job *next;
	struct command_child *child;
	struct command_piece piece;
	char where[96]; /* the record, for messages */
};

struct command_call {
	uint32_t magic;
	struct command_call *next;
	struct command *owner;
	const struct riffle_call_events *events;
	void *data;
	struct command_spec spec;
	uint64_t identity; /* of the window, the same in each attempt */

	/* [lock] */
	struct command_piece *first, **last;
	size_t staged_bytes;
	int input_ended, wants_room;
	int is_over; /* done is said or about to be: what is pushed now goes nowhere */
	/*
	 * Its program works on it. Before that the end of its input is not let in, since the host
	 * counts the time from there: a window must not run out of time because of another.
	 */
	int has_turn;
	size_t credit;
	int wants_credit;            /* answers wait for it */
	int cancel;                  /* reason, 0 = none */
	struct riffle_error refused; /* a record that cannot be passed; code 0 = none */

	struct command_piece *todo; /* taken over from first */
	struct command_piece *kept; /* in the pipe, newest first, for the case that they are lost */
	int keeps;                  /* what is written goes there */
	int is_all_taken;           /* and there is no more to come */
	size_t encoded_bytes;       /* of staged_bytes: on their way into the pipe */
	uint32_t number;            /* of the window, in its child */
	int is_started, is_ended;   /* start and end are on their way into the pipe */
	int is_end_written;         /* and have left us */
	int has_status;             /* the program said what became of the window */
	int is_done;
	struct command_child *child;     /* per-window: its own; coprocess: who works on it */
	struct command_call *turn;       /* the next window of the same child */
	struct command_job *jobs;        /* in the order of the records */
	uint64_t replied;                /* records answered for good */
	struct command_answer *answers;  /* whole ones, in order */
	struct command_answer *building; /* behind them */
	size_t answered_bytes;
	struct riffle_error error; /* code 0 = nothing went wrong so far */
};

int command_fail(struct riffle_error *err, int code, uint32_t flags, const char *fmt, ...)
	RIFFLE_PRINTF(4, 5);
void *command_alloc(size_t size); /* cleared; the process ends when memory does */
void *command_grow_to(void *data, uint32_t *room, uint32_t count, size_t size);
void command_text_grow(struct command_text *t, size_t want);

/* Room for count of size; data may move. */
static inline void *
command_grow(void *data, uint32_t *room, uint32_t count, size_t size)
{
	return count <= *room && data != NULL ? data : command_grow_to(data, room, count, size);
}

/* Room at its end; len is unchanged. */
static inline char *
command_text_room(struct command_text *t, size_t want)
{
	if (t->room - t->len < want)
		command_text_grow(t, want);
	return t->data + t->len;
}

int64_t command_now_ns(const struct command *c);
/* "name" of the program, for messages */
const char *command_name(const struct command *c);
/* Start, end and status go through the pipes. */
int command_is_framed(const struct command *c);
/* Foreign bytes for a message: printable, at most size - 1. */
const char *command_quote(char *to, size_t size, const char *from, size_t len);

/* command_spec.c */
void command_spec_copy(struct command_spec *to, const struct riffle_call_spec *from);
void command_spec_free(struct command_spec *s);
int command_is_json_type(const char *type);
uint64_t command_spec_identity(const struct command_spec *s);

/* command_env.c */
/* NAME=VALUE list; headers, record and names may be absent. NULL and the error for what cannot be passed. */
char **command_environment(const struct command *c, const struct command_spec *spec,
	const struct riffle_batch *batch, const struct riffle_record *record,
	struct riffle_error *reterr);
/* The words with each %{name} replaced. */
char **command_arguments(
	const struct command *c, const struct command_spec *spec, struct riffle_error *reterr);
void command_list_free(char **list);
int command_env_is_fine(const char *entry);
/* Does a word hold a template? Its fault, or NULL. */
int command_has_template(const char *const *words, const char **ret_fault);

/* command_call.c: the host's side */
int command_call_begin(void *self, const struct riffle_call_spec *spec,
	const struct riffle_call_events *events, void *data, void **ret_call,
	struct riffle_error *reterr);
int command_call_push(void *call, struct riffle_batch *batch, uint32_t first, uint32_t count,
	struct riffle_error *reterr);
int command_call_end(void *call, struct riffle_error *reterr);
void command_call_read(void *call, size_t bytes);
void command_call_cancel(void *call, int reason);
void command_call_destroy(void *call);

/* command_input.c: a call's records, from the host's hands into a feed */
void command_input_take(struct command_call *c); /* what was pushed since */
void command_input_encode(struct command_call *c, struct command_feed *f); /* until it is full */
void command_input_written(struct command_call *c);                        /* the feed is empty */
void command_input_drop(struct command_call *c);
void command_input_again(struct command_call *c); /* all of it is to be written once more */
/* What was kept is needed no more, but for what the feed still points into. */
void command_input_release(struct command_call *c, struct command_feed *f);
/* No more of it is to be written than what the feed holds, which stays. */
void command_input_cut(struct command_call *c, struct command_feed *f);
void command_input_give_turn(struct command_call *c);

/* What a record counts for while it is staged. */
static inline size_t
command_input_bytes(const struct riffle_batch *b, uint32_t i)
{
	const struct riffle_record *r = riffle_batch_at(b, i);
	size_t sum = r->key.len + r->value.len + 1;
	for (uint32_t h = 0; h < r->header_count; h++)
		sum += b->headers[r->header_first + h].name.len +
		       b->headers[r->header_first + h].value.len;
	return sum;
}

/* command_feed.c */
void command_feed_begin_text(struct command_feed *f);
/* len bytes to fill in, at its end */
static inline char *
command_feed_room(struct command_feed *f, size_t len)
{
	char *to = command_text_room(&f->text, len);
	if (f->count == 0 || f->segments[f->count - 1].ptr != NULL)
		command_feed_begin_text(f);
	f->segments[f->count - 1].len += len;
	f->text.len += len;
	f->bytes += len;
	return to;
}
void command_feed_bytes(struct command_feed *f, const void *ptr, size_t len); /* ptr lives on */
int command_feed_is_full(const struct command_feed *f);
int command_feed_is_empty(const struct command_feed *f);
void command_feed_spend(struct command_feed *f, struct command_piece *p);
/* 1 = all of it is written, 0 = the pipe is full, -1 = nobody reads it any more */
int command_feed_write(struct command_feed *f, int fd, const struct riffle_host *host);
void command_feed_clear(struct command_feed *f, const struct riffle_host *host);
void command_feed_free(struct command_feed *f, const struct riffle_host *host);

/* command_child.c */
/* argv and environment are borrowed. On failure nothing runs; E_UNAVAILABLE: it may later. */
int command_child_start(struct command *c, char *const *argv, char *const *environment,
	struct command_child **ret_child, struct riffle_error *reterr);
void command_child_free(struct command_child *ch); /* reaped */
void command_close(struct command_child *ch, int which);
void command_kill(struct command_child *ch, int signal); /* the whole group */
void command_begin_kill(struct command_child *ch);       /* SIGTERM, SIGKILL after the grace */
int command_reap(struct command_child *ch);              /* 1 once it is reaped */
/* Until when what a child left behind may go on writing once the child itself has ended. */
int64_t command_rest_until_ns(const struct command *c);
void command_say_left_behind(struct command *c); /* that it did not end by then; said once */
/* From wait_status to an error; untouched for status 0. */
void command_judge_exit(const struct command_child *ch, struct riffle_error *err);
/* Is there the directory that `dir` names, if any? */
int command_find_dir(const struct command *c, struct riffle_error *reterr);
/* Is there such a program, and where? As execvp would look for it. */
int command_find(const struct command *c, const char *program, char *ret_path, size_t size,
	struct riffle_error *reterr);

/* command_spawn.c */
struct command_plan {
	const char *path, *dir;
	char *const *argv, *const *environment;
	int fds[COMMAND_PIPES]; /* the child's ends, none below 3 */
	const struct command_safety *safety;
	int is_patient; /* the calling thread, which the child shall not take after */
	pid_t parent;
};
/* The pid, or a negative errno with what was being done. */
pid_t command_spawn(const struct command_plan *plan, const char **ret_stage);

/* command_safety.c */
struct command_safety_options {
	const char *user;
	int64_t cpu_ms, memory, file_size, files, processes; /* 0 = as the host has it */
};
int command_safety_open(struct command_safety *s, const struct command_safety_options *o,
	struct riffle_error *reterr);
void command_safety_close(struct command_safety *s);

/* command_read.c */
void command_read_out(struct command_child *ch, size_t max); /* until so much waits to be parsed */
void command_read_err(struct command_child *ch);

/* command_answer.c */
/* Room for a record with so many bytes and headers; those are put into the answer, in order. */
struct command_answer *command_answer_more_room(
	struct command_call *c, size_t bytes, uint32_t headers, size_t expected);
static inline struct command_answer *
command_answer_room(struct command_call *c, size_t bytes, uint32_t headers, size_t expected)
{
	struct command_answer *a = c->building;
	if (a != NULL && a->room - a->used > bytes && a->count < a->record_room &&
		a->count < COMMAND_ANSWER_RECORDS && a->header_room - a->header_count >= headers &&
		a->type_count > 0 && a->type_room - a->type_count >= 2 &&
		a->json_room - a->type_count >= 2)
		return a;
	return command_answer_more_room(c, bytes, headers, expected);
}

static inline struct riffle_bytes
command_answer_copy(struct command_answer *a, struct riffle_bytes from)
{
	if (from.ptr == NULL)
		return from;
	command_assert(a->room - a->used >= from.len);
	char *to = a->bytes + a->used;
	memcpy(to, from.ptr, from.len);
	a->used += from.len;
	return (struct riffle_bytes){to, from.len};
}

/* The index of the type among the answer's; room was made for it. */
uint32_t command_answer_type(struct command_answer *a, struct riffle_bytes type);
/* A record with the last header_count headers. Counts it against max-output. */
void command_answer_add(struct command_call *c, struct command_answer *a,
	const struct riffle_record *r, uint32_t header_count);
struct command_spares *command_spares_create(void);
void command_spares_close(struct command_spares *s); /* answers may live on */
int command_hand_out(struct command_call *c);        /* within the credit; 1 = all of it is out */
void command_answer_drop(struct command_call *c);

/* What a format does. */
struct command_codec {
	/* Why a record cannot be passed, or NULL. [any] */
	const char *(*refuses)(const struct riffle_batch *b, const struct riffle_record *r);
	void (*hello)(struct command_feed *f); /* may be NULL */
	void (*start)(struct command_feed *f, const struct command_call *c);
	void (*record)(struct command_feed *f, const struct command_call *c,
		const struct riffle_batch *b, const struct riffle_record *r);
	void (*end)(struct command_feed *f, const struct command_call *c);
	/*
	 * Takes what is whole of out, up to a status. at_end: no more follows. Faults go to the
	 * child's fault.
	 */
	void (*parse)(struct command_child *ch, struct command_call *c, int at_end);
};
extern const struct command_codec command_lines, command_json_lines, command_frames;
const struct command_codec *command_codec(const struct command *c);
int command_line_is_too_long(struct command_child *ch, size_t len); /* then it is a fault */
/* A fault of what the program wrote: it ends the child, and the window with it. The first stays. */
void command_fault(struct command_child *ch, const char *fmt, ...) RIFFLE_PRINTF(2, 3);
/* The status of the window: 0, COMMAND_STATUS_RETRY, or anything else. */
void command_take_status(struct command_child *ch, struct command_call *c, int64_t number,
	int64_t status, const char *text, size_t len);
/* Whether all of out may be one reply: the body of a record without a format. */
void command_parse_body(struct command_child *ch, struct command_call *c);

/* command_window.c, command_jobs.c, command_pool.c: one mode each */
int64_t command_window_run(struct command_call *c); /* when to look again; INT64_MAX = when told */
int64_t command_jobs_run(struct command_call *c);
void command_pool_open(struct command *c);
int64_t command_pool_run(struct command *c);
void command_pool_obey(struct command_call *c);
void command_pool_stop(struct command *c);     /* there are no calls any more, and will be none */
int command_pool_is_closed(struct command *c); /* and no child is left */
void command_pool_close(struct command *c);

/* command_poller.c */
int command_poller_start(struct command *c, struct riffle_error *reterr);
void command_poller_stop(struct command *c);
void command_poller_kick(struct command *c); /* something of a call changed; the lock may be held */
void command_poller_wake(
	struct command *c); /* out of its wait, whether there is something or not */
int command_poller_watch(struct command *c, struct command_watch *w, uint32_t events);
/* What there is to do now; when to come again. turn_lock is held where there is a guest. */
int64_t command_poller_work(struct command *c);
/* What the children did, waited for until then. */
void command_poller_look(struct command *c, int64_t until_ns);
/* What the host wants: a cancel or a refused record becomes the call's error. */
void command_obey(struct command_call *c);
void command_say_done(struct command_call *c); /* nothing of it runs any more */

/* command_turns.c: the host's thread as the poller */
extern const struct riffle_turns command_turns;
int command_is_guest(const struct command *c); /* the calling thread is */
int command_has_guest(const struct command *c);
/* May the calling thread start programs? Else the instance's own is told to do what is due. */
int command_may_start(struct command *c);
/* The own thread, for as long as a guest does all there is to do; returns whether to stop. */
int command_rest(struct command *c);

#endif
