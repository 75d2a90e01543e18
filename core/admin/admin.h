/*
 * The admin socket: HTTP on a Unix socket, read-only. /healthz, /readyz, /v1/processors,
 * /v1/processors/NAME. It answers from a thread of its own.
 */
#ifndef RFL_ADMIN_ADMIN_H
#define RFL_ADMIN_ADMIN_H

#include "runtime/status.h"

#include <riffle/abi.h>

struct rfl_admin;

/* Where the answers come from; called on the admin thread. status as rfl_runtime_status. */
struct rfl_admin_source {
	void *ctx;
	int (*status)(void *ctx, struct rfl_status **ret_status, struct riffle_error *reterr);
};

/*
 * Listens on path, mode 0660. The socket of a daemon that is gone is taken over; one that answers is
 * an error. Signals are to be blocked by the caller.
 */
int rfl_admin_start(const char *path, const struct rfl_admin_source *source,
	struct rfl_admin **ret_admin, struct riffle_error *reterr);
void rfl_admin_stop(struct rfl_admin *a); /* removes the socket; NULL is a no-op */

#endif
