/*
 * The running instance: plugin instances, workers and their processors, from start to drained.
 *
 * All functions are for the one thread that created the runtime, except rfl_runtime_status, which
 * any thread may call between start and the return of stop.
 */
#ifndef RFL_RUNTIME_RUNTIME_H
#define RFL_RUNTIME_RUNTIME_H

#include "base/clock.h"
#include "conf/model.h"
#include "plugin/plugin.h"
#include "runtime/status.h"

struct rfl_runtime;

/*
 * Creates the plugin instances that the processors need and provisions their streams. conf, plugins
 * and clock are borrowed until destroy. instance is the stable id.
 */
int rfl_runtime_create(const struct rfl_conf *conf, struct rfl_plugins *plugins,
	const struct rfl_clock *clock, const char *instance, struct rfl_runtime **ret_rt,
	struct riffle_error *reterr);
/* Starts the workers. What goes wrong from here on is a processor's state, not an error. */
int rfl_runtime_start(struct rfl_runtime *rt, struct riffle_error *reterr);
/*
 * Drains: reading stops, windows that are closing finish and are committed, open ones are left
 * uncommitted. Returns 0, or E_TIMEOUT when timeout_ms passed first (the rest is abandoned: it will
 * be read again). kick_fd, or -1: when it becomes readable, draining is given up at once; what is there in the first
 * 200 ms is read off it and forgotten.
 */
int rfl_runtime_stop(struct rfl_runtime *rt, int64_t timeout_ms, int kick_fd);
/* A fresh picture, asked of the workers; what one of them does not tell within a second says so. */
struct rfl_status *rfl_runtime_status(struct rfl_runtime *rt);
void rfl_runtime_destroy(struct rfl_runtime *rt); /* after stop, or never started */

#endif
