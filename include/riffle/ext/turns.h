/*
 * riffle.turns/1: an invoker whose work the host's worker does, between its own, in place of a thread of the
 * invoker's. That saves a wake-up each way: what the function answers is in the hands of the worker that waits
 * for it as soon as it has come, and what the worker puts in goes out without another thread.
 *
 * The host asks for it where all calls of an instance are one worker's. From join to leave that worker's thread
 * takes the turns, and the invoker waits for nothing itself; before and after it works on its own as ever.
 * Events come from within a turn, but may come from other threads as well.
 */
#ifndef RIFFLE_EXT_TURNS_H
#define RIFFLE_EXT_TURNS_H

#include <riffle/invoker.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RIFFLE_EXT_TURNS "riffle.turns/1"

struct riffle_turns {
	uint32_t size, reserved0;
	/*
	 * The calling thread takes the turns from here on, and no other makes calls. It has SIGPIPE
	 * blocked or ignored. A second join without a leave is the word of another thread that the first one
	 * will not come back. Waits at most for what the invoker's own thread is at. [worker]
	 */
	int (*join)(void *self, struct riffle_error *reterr);
	/* Readable when there is something to do. The invoker's, from join to leave. [worker] */
	int (*fd)(void *self);
	/*
	 * Does what there is to do now and waits for nothing, but at most for what the invoker's own thread
	 * is at, such as a program that starts; on the thread that joined. It is due when fd
	 * is readable, and before the host waits for that after it called anything of the instance or its
	 * calls. Returns when it is due otherwise, by the host's mono_ns; INT64_MAX = not before. [worker]
	 */
	int64_t (*turn)(void *self);
	/*
	 * The thread goes on without it; calls may be open. On the thread that joined, also when the host has
	 * given the instance up and calls nothing else of it. [worker]
	 */
	void (*leave)(void *self);
};

#ifdef __cplusplus
}
#endif
#endif
