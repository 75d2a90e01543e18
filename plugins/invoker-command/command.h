/*
 * The command invoker from inside: one child process per call, in its own process group, records as
 * lines on its stdin, answers as lines on its stdout, its exit status decides.
 *
 * Threads. The host's threads only put things into a call, under the instance's lock, and kick the
 * instance's one poller thread; that thread spawns, feeds, reads, kills and reaps all children, and gives
 * all events. It watches every pipe at once, so a child that writes before it reads, or never reads,
 * cannot block anything.
 *
 * Outputs are held until the child has exited with status 0: a run that fails leaves nothing behind.
 */
#ifndef RIFFLE_COMMAND_H
#define RIFFLE_COMMAND_H

#include <riffle/riffle.h>

#include <pthread.h>
#include <sys/types.h>

#define COMMAND_MAGIC 0x434d4e44u
#define COMMAND_CALL_MAGIC 0x434d434cu

/* Exit status by which a program says "try again" (EX_TEMPFAIL of sysexits.h). */
#define COMMAND_EXIT_RETRY 75

/* Staged beyond the pipe; past it call_push takes no more until half of it is written. */
#define COMMAND_STAGED_MAX ((size_t)4 * 1024 * 1024)

_Noreturn void command_assert_failed(const char *expr, const char *file, int line);
#define command_assert(e) ((e) ? (void)0 : command_assert_failed(#e, __FILE__, __LINE__))
#define COMMAND_CHECK(p, m) command_assert((p) != NULL && (p)->magic == (m))

struct command_call;

struct command {
	uint32_t magic;
	const struct riffle_host *host;
	const char *const *words; /* of `command` */
	const char *const *env;   /* of `env` */
	const char *dir;
	int shell;
	size_t max_line, max_output;
	int64_t grace_ns;

	pthread_t thread;
	pthread_mutex_t lock; /* what is marked [lock] here and in calls */
	int epoll, wake;
	int stopping;               /* [lock] */
	struct command_call *calls; /* the poller's */
	struct command_call *fresh; /* [lock]: begun, not yet with the poller */
	int64_t log_second;         /* the poller's: lines of stderr are counted by the second */
	unsigned logged, suppressed;
};

/* Records of one push that wait to be written. */
struct command_piece {
	struct command_piece *next;
	struct riffle_batch *batch; /* one reference */
	uint32_t next_record, end;
};

enum command_pipe { COMMAND_IN, COMMAND_OUT, COMMAND_ERR, COMMAND_PIPES };

/* What an epoll event points at. The last is the child's pidfd. */
struct command_watch {
	struct command_call *call;
	int fd; /* -1 = closed */
};

struct command_text {
	char *data;
	size_t len, room;
};

struct command_call {
	uint32_t magic;
	struct command_call *next;
	struct command *owner;
	const struct riffle_call_events *events;
	void *data;
	char *type; /* content type of the output */
	uint32_t output_count;
	char **environment;

	/* [lock] */
	struct command_piece *first, **last;
	size_t staged_bytes;
	int input_ended, wants_room;
	int is_over; /* done is said or about to be: what is pushed now goes nowhere */
	size_t credit;
	int cancel;                  /* reason, 0 = none */
	struct riffle_error refused; /* a record that cannot be a line; code 0 = none */

	/* the poller's */
	struct command_watch watch[COMMAND_PIPES + 1];
	pid_t pid; /* 0 = not spawned, or reaped */
	int is_spawned, is_reaped, is_done, is_killing;
	int wait_status;
	int64_t kill_at_ns;  /* SIGKILL then; INT64_MAX = not on the way */
	size_t line_written; /* bytes of the record at the front that are already in the pipe */
	struct command_text out, err;
	size_t out_read; /* of out: handed to the host */
	int err_cut;
	char last_err[128];        /* the last line of stderr, for the message */
	struct riffle_error error; /* code 0 = nothing went wrong so far */
};

int command_fail(struct riffle_error *err, int code, uint32_t flags, const char *fmt, ...)
	RIFFLE_PRINTF(4, 5);
void *command_alloc(size_t size); /* cleared; the process ends when memory does */
int64_t command_now_ns(const struct command *c);

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
void command_call_drop_input(struct command_call *c); /* with the lock held */

/* command_child.c */
/* 0, or the error: E_UNAVAILABLE where the program is not there. */
int command_spawn(struct command_call *c, struct riffle_error *reterr);
void command_close(struct command_call *c, int which);
void command_kill(struct command_call *c, int signal); /* the whole group */
int command_reap(struct command_call *c);              /* 1 once it is reaped */
void command_judge_exit(struct command_call *c);       /* from wait_status to error */
/* Is there such a program? As execvp would look for it. */
int command_find(const char *program, struct riffle_error *reterr);

/* command_lines.c */
int command_check_lines(
	const struct riffle_batch *b, uint32_t first, uint32_t count, struct riffle_error *reterr);
void command_write(struct command_call *c); /* as much as the pipe takes */
void command_read_out(struct command_call *c);
void command_read_err(struct command_call *c);
int command_hand_out(struct command_call *c); /* within the credit; 1 = all of it is out */

/* command_poller.c */
int command_poller_start(struct command *c, struct riffle_error *reterr);
void command_poller_stop(struct command *c);
void command_poller_kick(struct command *c); /* something of a call changed; the lock may be held */
int command_poller_watch(struct command_call *c, int which, uint32_t events);

#endif
