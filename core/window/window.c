/* The window engine: none, count and tumbling on processing time, one open pane at a time. */
#include "window/window.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdlib.h>

#define WINDOW_MAGIC 0x57494e44u

struct rfl_window {
	uint32_t magic;
	int is_open;
	struct rfl_window_spec spec;
	struct rfl_window_pane open;
};

struct rfl_window *
rfl_window_create(const struct rfl_window_spec *spec)
{
	rfl_assert(spec->shape != RFL_SHAPE_TUMBLING || spec->size_ms > 0);
	rfl_assert(spec->shape != RFL_SHAPE_COUNT || spec->count > 0);
	struct rfl_window *w = rfl_zalloc(sizeof *w);
	w->magic = WINDOW_MAGIC;
	w->spec = *spec;
	return w;
}

void
rfl_window_destroy(struct rfl_window *w)
{
	if (w == NULL)
		return;
	RFL_CHECK(w, WINDOW_MAGIC);
	RFL_RETIRE(w);
	free(w);
}

uint64_t
rfl_window_room(const struct rfl_window *w)
{
	if (w->spec.shape != RFL_SHAPE_COUNT)
		return UINT64_MAX;
	return w->spec.count - (w->is_open ? w->open.records : 0);
}

/* C's division rounds towards zero; a window before 1970 begins further from it. */
static int64_t
floor_to(int64_t t, int64_t step)
{
	int64_t r = t % step;
	return t - (r < 0 ? r + step : r);
}

/* The end of a pane that opens now, kept from overflowing at the edge of time. */
static int64_t
end_of(int64_t start_ms, int64_t size_ms)
{
	return start_ms > RFL_NEVER_MS - 1 - size_ms ? RFL_NEVER_MS - 1 : start_ms + size_ms;
}

static struct rfl_window_pane
pane_at(const struct rfl_window *w, int64_t now_ms)
{
	const struct rfl_window_spec *s = &w->spec;
	switch (s->shape) {
	case RFL_SHAPE_NONE:
		return (struct rfl_window_pane){.start_ms = now_ms, .end_ms = now_ms};
	case RFL_SHAPE_COUNT:
		return (struct rfl_window_pane){.start_ms = now_ms,
			.end_ms = s->size_ms > 0 ? end_of(now_ms, s->size_ms) : RFL_NEVER_MS};
	case RFL_SHAPE_TUMBLING:
		break;
	}
	int64_t start = floor_to(now_ms, s->size_ms);
	return (struct rfl_window_pane){.start_ms = start, .end_ms = end_of(start, s->size_ms)};
}

int
rfl_window_add(struct rfl_window *w, int64_t now_ms, uint64_t count)
{
	RFL_CHECK(w, WINDOW_MAGIC);
	rfl_assert(count > 0 && count <= rfl_window_room(w));
	int opened = !w->is_open;
	if (opened) {
		w->open = pane_at(w, now_ms);
		w->is_open = 1;
	}
	w->open.records += count;
	return opened;
}

static int
is_over(const struct rfl_window *w, int64_t now_ms)
{
	if (!w->is_open)
		return 0;
	if (w->spec.shape == RFL_SHAPE_COUNT && w->open.records == w->spec.count)
		return 1;
	return w->open.end_ms != RFL_NEVER_MS && now_ms >= w->open.end_ms;
}

int
rfl_window_fire(struct rfl_window *w, int64_t now_ms, struct rfl_window_pane *ret_pane)
{
	RFL_CHECK(w, WINDOW_MAGIC);
	if (!is_over(w, now_ms))
		return 0;
	*ret_pane = w->open;
	if (ret_pane->end_ms == RFL_NEVER_MS)
		ret_pane->end_ms = now_ms;
	w->is_open = 0;
	return 1;
}

int
rfl_window_is_open(const struct rfl_window *w)
{
	return w->is_open;
}

int64_t
rfl_window_next_ms(const struct rfl_window *w)
{
	if (!w->is_open)
		return RFL_NEVER_MS;
	if (w->spec.shape == RFL_SHAPE_COUNT && w->open.records == w->spec.count)
		return w->open.start_ms;
	return w->open.end_ms;
}
