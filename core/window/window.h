/*
 * The window engine of one task: which windows a record belongs to, what each open window holds, and
 * which windows are over. Pure: no I/O, no threads, no plugin, no clock of its own. The caller says how
 * far time has come and what stands for a record; it keeps the records themselves.
 *
 * Time is in milliseconds since 1970 UTC, negative times included. Windows are [start, end). Where they
 * are over is decided for each record by what the caller calls closed: windows whose end is at or below
 * it take nothing any more, whether they were handed out yet or not. So the result does not depend on
 * how records come in batches.
 *
 *   count         the open window of a key takes what comes; it is over when it is full, or size_ms
 *                 after its first record
 *   tumbling      panes of equal length, each a window
 *   hopping       panes of the greatest common divisor of size and slide; a record is kept once, in its
 *                 pane, and a window is put together from its panes when it is over
 *   session       the open sessions of a key; a record joins those within gap of it, and merges them,
 *                 as long as the result spans at most max
 *
 * An item is 16 bytes of the caller's that stand for one record. Each is handed out when its window is
 * over, in the order in which the items of that window were added, but for merged ones (is_merged).
 */
#ifndef RFL_WINDOW_WINDOW_H
#define RFL_WINDOW_WINDOW_H

#include "base/zone.h"

#include <stddef.h>
#include <stdint.h>

enum rfl_window_shape {
	RFL_SHAPE_NONE, /* what arrived together is the window: needs no engine */
	RFL_SHAPE_COUNT,
	RFL_SHAPE_TUMBLING,
	RFL_SHAPE_HOPPING,
	RFL_SHAPE_SESSION
};

#define RFL_NEVER_MS INT64_MAX  /* no end, no time at which something happens */
#define RFL_BEFORE_MS INT64_MIN /* earlier than every window: nothing is closed */
/* Times of records lie within: further out sums would overflow. */
#define RFL_WINDOW_TIME_LIMIT (INT64_MAX / 4)

struct rfl_window_spec {
	enum rfl_window_shape shape;
	int64_t size_ms;  /* tumbling, hopping: length; count: the `or`, 0 = none; session: gap */
	int64_t slide_ms; /* hopping; at most size_ms */
	int64_t max_ms;   /* session: the most that its records may span */
	uint64_t count;
	int64_t offset_ms; /* tumbling, hopping: where boundaries lie; any sign */
	const struct rfl_zone
		*zone;  /* tumbling, hopping of whole days: boundaries at its midnights */
	int emit_empty; /* tumbling, hopping, unkeyed: windows without records too */
	/* tumbling, count: items are not held, nor handed out: whoever adds them knows start_ms. No early look. */
	int forgets_items;
};

struct rfl_window_item {
	uint64_t a, b;
};

struct rfl_window_record {
	int64_t time_ms;
	int64_t closed_ms; /* windows that end at or before it are over for this record */
	const void *key;   /* borrowed; len 0 for unkeyed windows */
	uint32_t key_len;
	uint32_t hash; /* of the key: rfl_window_hash */
	struct rfl_window_item item;
	/* Set by add. */
	uint32_t accepted, missed; /* windows: both 0 is not possible */
	int64_t start_ms;          /* of the window that took it, where it can only be one */
};

/* A window that is over, or an early look at one that is not. */
struct rfl_window_fired {
	int64_t start_ms,
		end_ms;  /* count: from its first record's time; without `or` to its largest + 1 */
	const void *key; /* valid until the next call on the engine */
	uint32_t key_len;
	int is_merged; /* items are not in the order of their adding */
	/*
	 * 1: the engine has forgotten the items. 0 (hopping, early): it goes on holding them, and tells
	 * drop of each when it lets go.
	 */
	int is_moved;
};

/* A list that grows; the caller frees items. */
struct rfl_window_items {
	struct rfl_window_item *list;
	size_t count, room;
};

typedef void rfl_window_drop_fn(void *ctx, const struct rfl_window_item *items, size_t count);

struct rfl_window;

/* spec is copied, its zone borrowed. drop may be NULL where items need no care. */
struct rfl_window *rfl_window_create(
	const struct rfl_window_spec *spec, rfl_window_drop_fn *drop, void *ctx);
void rfl_window_destroy(struct rfl_window *w); /* drops what it holds; NULL is a no-op */

/*
 * Windows that end at or before closed_ms were handed out by a predecessor: they are never handed out
 * here. Before the first add.
 */
void rfl_window_restore(struct rfl_window *w, int64_t closed_ms);

uint32_t rfl_window_hash(const void *key, size_t len);

/*
 * How many more records the open window of an unkeyed `count` takes before it is full and must be
 * fetched by fire; UINT64_MAX for the other shapes.
 */
uint64_t rfl_window_room(const struct rfl_window *w);
/*
 * Adds records in their order. Hopping: before a record that misses windows, fire has fetched all that
 * is over at its closed_ms. Of `count` nothing is ever missed. A count window that is
 * full waits to be fetched; the next record of its key opens another.
 */
void rfl_window_add(struct rfl_window *w, struct rfl_window_record *records, size_t count);
/*
 * 1 and the next window that is over once time has come to closed_ms, in the order of their ends; its
 * items are put behind those in *items. 0 when there is none. closed_ms never goes back.
 */
int rfl_window_fire(struct rfl_window *w, int64_t closed_ms, struct rfl_window_fired *ret_fired,
	struct rfl_window_items *items);
/*
 * All windows that end at or before this were handed out, or will never have been: at most the last
 * closed_ms. RFL_BEFORE_MS before the first.
 */
int64_t rfl_window_frontier(const struct rfl_window *w);
/*
 * An early look at the open windows that changed since the last one: 1 and the next of them, 0 at the end
 * of the pass. The calls of one pass follow each other.
 */
int rfl_window_early(
	struct rfl_window *w, struct rfl_window_fired *ret_fired, struct rfl_window_items *items);
/* From here on windows are known (emit_empty): those from t on, if they turn out to be empty. */
void rfl_window_begin(struct rfl_window *w, int64_t t_ms);
/* When fire will have something with no further record; RFL_NEVER_MS = not before one comes. */
int64_t rfl_window_next_ms(const struct rfl_window *w);
/*
 * Where a window ends that begins there: tumbling, and count by its `or`. RFL_NEVER_MS where that is not known
 * before it is over.
 */
int64_t rfl_window_end_ms(const struct rfl_window *w, int64_t start_ms);
/* The largest end of an open window; RFL_BEFORE_MS when none is open. */
int64_t rfl_window_last_ms(const struct rfl_window *w);
uint64_t rfl_window_open_count(
	const struct rfl_window *w);                 /* keys times windows, roughly: entries */
size_t rfl_window_bytes(const struct rfl_window *w); /* what the engine itself holds */

#endif
