/*
 * The watch over plugins that run: ticks once a second, so that a thread that spends too long in one call of
 * a plugin is given up (rfl_guard_tick).
 */
#ifndef RFL_RUNTIME_WATCH_H
#define RFL_RUNTIME_WATCH_H

#include "conf/model.h"

struct rfl_watch;

/*
 * As `guard` and `plugin-timeout` say; *ret_watch is NULL where they want none. lost runs on the watch's
 * thread, with the owner that the thread named. 0, or an errno.
 */
int rfl_watch_start(const struct rfl_runtime_conf *conf, void (*lost)(void *ctx, void *owner),
	void *ctx, struct rfl_watch **ret_watch);
void rfl_watch_stop(struct rfl_watch *w); /* NULL is a no-op */

#endif
