/*
 * Which window a record belongs to, and when a window is over. Pure: no I/O, no threads, no plugin,
 * no clock of its own; the caller says what time it is and keeps what the windows hold.
 *
 * Windows on processing time: [start, end) in milliseconds, aligned to 1970 UTC, negative times
 * included. Time given to the functions of one engine never goes back.
 */
#ifndef RFL_WINDOW_WINDOW_H
#define RFL_WINDOW_WINDOW_H

#include <stdint.h>

enum rfl_window_shape {
	RFL_SHAPE_NONE,    /* what arrived together is the window */
	RFL_SHAPE_COUNT,   /* count records, or size_ms after the first where size_ms > 0 */
	RFL_SHAPE_TUMBLING /* size_ms, aligned */
};

struct rfl_window_spec {
	enum rfl_window_shape shape;
	int64_t size_ms;
	uint64_t count;
};

#define RFL_NEVER_MS INT64_MAX

struct rfl_window_pane {
	int64_t start_ms;
	int64_t end_ms; /* RFL_NEVER_MS where only a count ends it */
	uint64_t records;
};

struct rfl_window;

struct rfl_window *rfl_window_create(const struct rfl_window_spec *spec);
void rfl_window_destroy(struct rfl_window *w); /* NULL is a no-op */

/* How many more records the open pane takes; UINT64_MAX = any number. At least 1 once fired. */
uint64_t rfl_window_room(const struct rfl_window *w);
/*
 * count records arrive at now_ms: puts them into the open pane, opening one where there is none.
 * Returns 1 when it was opened. Before, fire has returned 0 for now_ms, and count <= room.
 */
int rfl_window_add(struct rfl_window *w, int64_t now_ms, uint64_t count);
/* 1 and the pane that is over at now_ms, which is then no longer open; else 0. */
int rfl_window_fire(struct rfl_window *w, int64_t now_ms, struct rfl_window_pane *ret_pane);
int rfl_window_is_open(const struct rfl_window *w);
/* When fire will have something with no further record; RFL_NEVER_MS = not before one comes. */
int64_t rfl_window_next_ms(const struct rfl_window *w);

#endif
