/*
 * A function whose calls are all one worker's, and whose invoker lets that worker do its work (riffle/ext/turns.h):
 * then the worker waits for it as for its sources and sinks. Everything here is for the worker's thread.
 */
#ifndef RFL_RUNTIME_TURNS_H
#define RFL_RUNTIME_TURNS_H

#include "runtime/instance.h"

struct rfl_turns {
	const struct riffle_turns *ops;
	const struct rfl_instance *function;
	int is_joined; /* else the invoker works by itself */
};

/* 0 = it is none that lets a worker do its work. Borrows the instance. */
int rfl_turns_init(struct rfl_turns *t, const struct rfl_instance *function);
void rfl_turns_join(struct rfl_turns *t);
void rfl_turns_leave(struct rfl_turns *t);
/* One turn, if it is joined; *next_ns becomes sooner where the next is due sooner. */
void rfl_turns_run(struct rfl_turns *t, int64_t *next_ns);
int rfl_turns_fd(const struct rfl_turns *t); /* to wait for; -1 = not now */

#endif
