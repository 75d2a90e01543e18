/*
 * A worker: one thread that runs processors and waits, in one place, for all that can happen to them.
 */
#ifndef RFL_RUNTIME_WORKER_H
#define RFL_RUNTIME_WORKER_H

#include "base/clock.h"
#include "base/list.h"
#include "base/mailbox.h"
#include "runtime/status.h"

#include <pthread.h>

struct rfl_instance;
struct rfl_processor;
struct rfl_turns;

struct rfl_worker {
	uint32_t magic;
	uint32_t index;
	pthread_t thread;
	int is_running;
	struct rfl_processor *current; /* the one that runs just now, or NULL */
	int has_lost; /* a thread, with a processor, in a plugin that does not return */
	const struct rfl_clock *clock;
	struct rfl_mailbox mailbox;
	char *member; /* "<instance>.<index>" */
	struct rfl_processor **processors;
	size_t processor_count, processor_room;
	struct rfl_turns *turns; /* of functions that nobody else calls */
	size_t turns_count, turns_room;
	uint32_t spins_left, waits; /* see spin */
	struct rfl_list sinks;      /* shared and own ones, rfl_sink.link */
	int done_fd;                /* eventfd of the runtime: one is added when the thread ends */
	struct pollfd *fds;
	size_t fd_room;
};

int rfl_worker_init(struct rfl_worker *w, uint32_t index, const char *instance,
	const struct rfl_clock *clock, int done_fd);
void rfl_worker_add(
	struct rfl_worker *w, struct rfl_processor *p); /* before start; takes it over */
/* No other worker calls the function: this one may do its work, too. Before start. */
void rfl_worker_add_function(struct rfl_worker *w, const struct rfl_instance *function);
int rfl_worker_start(struct rfl_worker *w);
/*
 * One turn of the loop: 1 when something moved, else *ret_next_ns is when to come back at the latest,
 * INT64_MAX = when something happens. What the thread does, and a rehearsal by hand.
 */
int rfl_worker_turn(struct rfl_worker *w, int64_t *ret_next_ns);
/*
 * The thread sits in a plugin's call that does not return, and was given up (rfl_guard_tick): a new one
 * goes on with everything but the processor that made the call. On the watch's thread.
 */
int rfl_worker_replace(struct rfl_worker *w);
int rfl_worker_is_closed(const struct rfl_worker *w); /* drained, with every handle closed */
void rfl_worker_fini(struct rfl_worker *w);           /* joins; the processors are destroyed */

#endif
