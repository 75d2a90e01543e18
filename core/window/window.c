/* The engine's face: one shape or another does the work. */
#include "window/window_private.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct rfl_window *
rfl_window_create(const struct rfl_window_spec *spec, rfl_window_drop_fn *drop, void *ctx)
{
	struct rfl_window *w = rfl_zalloc(sizeof *w);
	w->magic = RFL_WINDOW_MAGIC;
	w->spec = *spec;
	w->drop = drop;
	w->ctx = ctx;
	w->frontier_ms = RFL_BEFORE_MS;
	switch (spec->shape) {
	case RFL_SHAPE_NONE:
		RFL_WRONG("`none` needs no engine");
	case RFL_SHAPE_COUNT:
		rfl_counts_init(w);
		break;
	case RFL_SHAPE_TUMBLING:
	case RFL_SHAPE_HOPPING:
		rfl_panes_init(w);
		break;
	case RFL_SHAPE_SESSION:
		rfl_sessions_init(w);
		break;
	}
	return w;
}

void
rfl_window_destroy(struct rfl_window *w)
{
	if (w == NULL)
		return;
	RFL_CHECK(w, RFL_WINDOW_MAGIC);
	w->ops->fini(w);
	RFL_RETIRE(w);
	free(w);
}

void
rfl_window_restore(struct rfl_window *w, int64_t closed_ms)
{
	RFL_CHECK(w, RFL_WINDOW_MAGIC);
	if (closed_ms <= -RFL_WINDOW_TIME_LIMIT || closed_ms >= RFL_WINDOW_TIME_LIMIT)
		return;
	w->frontier_ms = closed_ms;
	if (w->spec.shape == RFL_SHAPE_TUMBLING || w->spec.shape == RFL_SHAPE_HOPPING)
		rfl_panes_restore(w, closed_ms);
}

/* Eight bytes at a time through a multiplication whose both halves are used; keys are short. */
uint32_t
rfl_window_hash(const void *key, size_t len)
{
	const unsigned char *p = key;
	uint64_t h = UINT64_C(0x9e3779b97f4a7c15) ^ len;
	while (len > 0) {
		uint64_t word = 0;
		size_t n = len < 8 ? len : 8;
		memcpy(&word, p, n);
		__uint128_t m = (__uint128_t)(h ^ word) * UINT64_C(0xd6e8feb86659fd93);
		h = (uint64_t)m ^ (uint64_t)(m >> 64);
		p += n;
		len -= n;
	}
	h ^= h >> 32;
	return (uint32_t)h;
}

uint64_t
rfl_window_room(const struct rfl_window *w)
{
	RFL_CHECK(w, RFL_WINDOW_MAGIC);
	return w->spec.shape == RFL_SHAPE_COUNT ? rfl_counts_room(w) : UINT64_MAX;
}

void
rfl_window_add(struct rfl_window *w, struct rfl_window_record *records, size_t count)
{
	RFL_CHECK(w, RFL_WINDOW_MAGIC);
	w->ops->add(w, records, count);
}

int
rfl_window_fire(struct rfl_window *w, int64_t closed_ms, struct rfl_window_fired *ret_fired,
	struct rfl_window_items *items)
{
	RFL_CHECK(w, RFL_WINDOW_MAGIC);
	if (w->ops->fire(w, closed_ms, ret_fired, items)) {
		if (w->frontier_ms < ret_fired->end_ms - 1)
			w->frontier_ms = ret_fired->end_ms - 1;
		return 1;
	}
	if (w->frontier_ms < closed_ms)
		w->frontier_ms = closed_ms;
	return 0;
}

int64_t
rfl_window_frontier(const struct rfl_window *w)
{
	return w->frontier_ms;
}

int
rfl_window_early(
	struct rfl_window *w, struct rfl_window_fired *ret_fired, struct rfl_window_items *items)
{
	RFL_CHECK(w, RFL_WINDOW_MAGIC);
	return w->ops->early(w, ret_fired, items);
}

void
rfl_window_begin(struct rfl_window *w, int64_t t_ms)
{
	if (w->spec.shape == RFL_SHAPE_TUMBLING || w->spec.shape == RFL_SHAPE_HOPPING)
		rfl_panes_begin(w, t_ms);
}

int64_t
rfl_window_next_ms(const struct rfl_window *w)
{
	return w->ops->next(w);
}

int64_t
rfl_window_end_ms(const struct rfl_window *w, int64_t start_ms)
{
	if (w->spec.shape == RFL_SHAPE_TUMBLING)
		return rfl_panes_end_ms(w, start_ms);
	if (w->spec.shape == RFL_SHAPE_COUNT && w->spec.size_ms > 0)
		return start_ms + w->spec.size_ms;
	return RFL_NEVER_MS;
}

int64_t
rfl_window_last_ms(const struct rfl_window *w)
{
	return w->ops->last(w);
}

uint64_t
rfl_window_open_count(const struct rfl_window *w)
{
	return w->ops->open_count(w);
}

size_t
rfl_window_bytes(const struct rfl_window *w)
{
	return w->ops->bytes(w);
}
