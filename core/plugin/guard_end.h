/* What the guard's sources and sinks have in common: an fd, events, and how they say that it is over. */
#ifndef RFL_PLUGIN_GUARD_END_H
#define RFL_PLUGIN_GUARD_END_H

#include "plugin/guard_private.h"

/* The most that one element of an event's array may measure. */
#define RFL_GUARD_STRIDE_MAX 65536u

struct rfl_guard_end {
	struct rfl_guard *g;
	int fd;       /* the plugin's, asked once */
	int quiet_fd; /* shown in its place once nobody would clear it any more; -1 until then */
	int is_closing, is_closed, is_told;
};

/* fd is what the plugin's function said. A negative one is a breach, and E_FATAL. */
int rfl_guard_end_init(struct rfl_guard_end *e, struct rfl_guard *g, const char *function, int fd,
	struct riffle_error *reterr);
void rfl_guard_end_fini(struct rfl_guard_end *e);
int rfl_guard_end_fd(struct rfl_guard_end *e);
/* What is left to poll once the plugin says nothing any more: the fault, then CLOSED if it was asked. */
int rfl_guard_end_poll(struct rfl_guard_end *e, struct riffle_event *ev);
/* After a poll that returned rc: 1 = *ev is sound in what every event has, and its text is ended. */
int rfl_guard_end_take(
	struct rfl_guard_end *e, const char *function, int rc, struct riffle_event *ev);

#endif
