/*
 * A processor on its worker: opens its sinks and sources, makes a task of each partition it is
 * assigned, commits for all of them, and opens everything again when a part of it breaks.
 */
#ifndef RFL_RUNTIME_PROCESSOR_H
#define RFL_RUNTIME_PROCESSOR_H

#include "runtime/instance.h"
#include "runtime/status.h"
#include "runtime/worker.h"
#include "task/task.h"

struct rfl_processor;

struct rfl_processor_setup {
	const struct rfl_conf *conf;
	const struct rfl_processor_conf *processor;
	const struct rfl_clock *clock;
	const struct rfl_clock *function_clock; /* of the function's timeout; NULL = clock */
	const char *instance;                   /* stable id */
	struct rfl_instance *function;
	struct rfl_instance *const *input_providers;       /* by input */
	struct rfl_instance *const *destination_providers; /* as rfl_conf_destinations */
};

struct rfl_processor *rfl_processor_create(
	const struct rfl_processor_setup *setup, struct rfl_worker *worker);
void rfl_processor_destroy(struct rfl_processor *p); /* rfl_processor_is_closed, or never run */

/* The rest is the worker's. */
void rfl_processor_run(struct rfl_processor *p, struct rfl_task_progress *progress);
void rfl_processor_drain(struct rfl_processor *p);
/*
 * Its thread is in a plugin's call that does not return: nothing of it is touched any more, and what it
 * shares with others goes on without it. On no other processor's account.
 */
void rfl_processor_lose(struct rfl_processor *p);
void rfl_processor_abandon(struct rfl_processor *p); /* draining took too long */
int rfl_processor_is_closed(
	const struct rfl_processor *p); /* drained, and all handles are closed */
/* Puts its fds behind the count that are in *fds. */
void rfl_processor_fds(
	const struct rfl_processor *p, struct pollfd **fds, size_t *room, size_t *count);
/* What it is busy with, for whoever turns its worker by hand. */
struct rfl_processor_activity {
	uint64_t windows_open;    /* records, or the clock, will end them */
	uint64_t windows_waiting; /* over, and not yet done */
	uint64_t calls_due;       /* open calls that have all of their input */
	int is_to_commit;         /* something is to be committed, or is being so */
};
struct rfl_processor_activity rfl_processor_activity(const struct rfl_processor *p);
void rfl_processor_status(const struct rfl_processor *p, struct rfl_processor_status *ret_status);
const char *rfl_processor_name(const struct rfl_processor *p);

#endif
