/* The engine from inside: what its shapes have in common. */
#ifndef RFL_WINDOW_WINDOW_PRIVATE_H
#define RFL_WINDOW_WINDOW_PRIVATE_H

#include "base/check.h"
#include "window/table.h"
#include "window/window.h"

#define RFL_WINDOW_MAGIC 0x57494e44u

/* Record groups that are looked up together, so that their memory is fetched at the same time. */
#define RFL_WINDOW_GROUP 32

struct rfl_window_ops {
	void (*add)(struct rfl_window *w, struct rfl_window_record *records, size_t count);
	int (*fire)(struct rfl_window *w, int64_t closed_ms, struct rfl_window_fired *ret_fired,
		struct rfl_window_items *items);
	int (*early)(struct rfl_window *w, struct rfl_window_fired *ret_fired,
		struct rfl_window_items *items);
	int64_t (*next)(const struct rfl_window *w);
	int64_t (*last)(const struct rfl_window *w);
	uint64_t (*open_count)(const struct rfl_window *w);
	size_t (*bytes)(const struct rfl_window *w);
	void (*fini)(struct rfl_window *w);
};

struct rfl_window {
	uint32_t magic;
	const struct rfl_window_ops *ops;
	struct rfl_window_spec spec;
	rfl_window_drop_fn *drop;
	void *ctx;
	int64_t frontier_ms;
	uint64_t adds;       /* counts records: entries note when they last changed */
	uint64_t early_from; /* entries that changed after it have an early look to come */
	uint64_t early_now;  /* adds when the pass under way began; 0 = none is */
	union {
		struct rfl_panes *panes;
		struct rfl_sessions *sessions;
		struct rfl_counts *counts;
	} u;
};

/* panes.c, sessions.c, counts.c */
void rfl_panes_init(struct rfl_window *w);
void rfl_panes_restore(struct rfl_window *w, int64_t closed_ms);
void rfl_panes_begin(struct rfl_window *w, int64_t t_ms);
int64_t rfl_panes_end_ms(const struct rfl_window *w, int64_t start_ms);
void rfl_sessions_init(struct rfl_window *w);
void rfl_counts_init(struct rfl_window *w);
uint64_t rfl_counts_room(const struct rfl_window *w);

/* The pass of early looks: begin notes where the next one starts, end makes it so. */
static inline void
rfl_window_early_begin(struct rfl_window *w)
{
	if (w->early_now == 0)
		w->early_now = w->adds + 1;
}

static inline int
rfl_window_early_end(struct rfl_window *w)
{
	w->early_from = w->early_now - 1;
	w->early_now = 0;
	return 0;
}

#endif
