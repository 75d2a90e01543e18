/*
 * A piece of work in a process of its own: whatever a plugin does there, what comes of it here is a text, how
 * the process died, or that it was silent for too long.
 */
#ifndef RFL_CLI_CHILD_H
#define RFL_CLI_CHILD_H

#include "base/buf.h"

#include <stdint.h>
#include <sys/types.h>

/* Runs in the child and adds its answer, which holds no NUL; what it returns comes back as status. */
typedef int rfl_child_fn(void *ctx, struct rfl_buf *answer);

enum rfl_child_end { RFL_CHILD_ANSWERED, RFL_CHILD_DIED, RFL_CHILD_SILENT };

struct rfl_child {
	pid_t pid;
	int fd; /* -1 when its answer is here, or will not come */
	enum rfl_child_end end;
	int status;          /* ANSWERED: 0 to 255 */
	struct rfl_buf text; /* the answer; else why there is none: "killed by signal 11 (...)" */
};

/* May be called while no other thread runs. A child that cannot be started has died. */
void rfl_child_start(struct rfl_child *c, rfl_child_fn *fn, void *ctx);
/* Until each has ended one way or another; those that are silent until then are killed. */
void rfl_children_wait(struct rfl_child *children, size_t count, int64_t timeout_ms);
void rfl_child_fini(struct rfl_child *c);

#endif
