/* Windows that are over become panes, in groups of one end; streaming ones are panes from their first record. */
#include "task/task_private.h"

#include "base/mem.h"
#include "plugin/host.h"

#include <stdlib.h>

/* Panes that wait or are called: beyond, windows stay in the engine, where they need less. */
#define PANES_PER_CALL 4u
#define PANES_LEAST 256u

static struct rfl_group *
last_group(const struct rfl_task *t)
{
	return rfl_list_empty(&t->groups) ? NULL
					  : rfl_container(t->groups.prev, struct rfl_group, link);
}

/* Of the last group, which is not settled before the engine has handed out the rest of it. */
static uint32_t
done_too_early(const struct rfl_task *t)
{
	const struct rfl_group *g = last_group(t);
	if (g == NULL || g->is_complete)
		return 0;
	return rfl_task_is_exactly_once(t) ? g->done : g->settled;
}

/* Those that are done and wait for others to end may not keep these from ending. */
static int
may_fire(const struct rfl_task *t)
{
	uint32_t most = t->spec->conf->calls * PANES_PER_CALL;
	return t->pane_count - done_too_early(t) < (most > PANES_LEAST ? most : PANES_LEAST) ||
	       rfl_task_waits_for_room(t);
}

int
rfl_task_can_fire(const struct rfl_task *t)
{
	return t->fires_more && t->reading && may_fire(t);
}

/* A transaction takes nothing while it ends, and what follows it is read meanwhile. */
static int
has_full_sink(const struct rfl_task *t)
{
	for (size_t i = 0; i < t->spec->conf->output_count; i++) {
		const struct rfl_outlet *o = t->spec->routes[i].outlet;
		if (o->is_full && !o->transactional)
			return 1;
	}
	return 0;
}

int
rfl_task_has_room(const struct rfl_task *t)
{
	uint32_t calls = t->spec->conf->calls;
	/*
	 * With `none` each round is a window of its own: no more may wait than can be called, and what a full
	 * sink cannot take yet had better stay with the provider, where it costs least.
	 */
	if (t->window == NULL)
		return t->calls_open < calls && rfl_list_empty(&t->waiting) && !has_full_sink(t);
	return !t->fires_more && may_fire(t);
}

/* Unless the next window ends with it. */
static void
complete_last(struct rfl_task *t, int64_t next_end_ms)
{
	struct rfl_group *g = last_group(t);
	if (g != NULL && g->end_ms != next_end_ms)
		g->is_complete = 1;
}

/* Of `count` and `none` each window is done by itself; others with all that end with it. */
static struct rfl_group *
group_for(struct rfl_task *t, int64_t end_ms)
{
	enum rfl_window_kind kind = t->spec->conf->window.kind;
	int alone = kind == RFL_WINDOW_NONE || kind == RFL_WINDOW_COUNT;
	struct rfl_group *g = last_group(t);
	if (g != NULL && !alone && !g->is_complete && g->end_ms == end_ms)
		return g;
	complete_last(t, RFL_NEVER_MS);
	g = rfl_zalloc(sizeof *g + t->lane_count * sizeof g->cut[0]);
	g->end_ms = end_ms;
	g->is_complete = alone;
	for (size_t i = 0; i < t->lane_count; i++)
		g->cut[i] = (struct rfl_cut){t->lanes[i].next, t->lanes[i].time_ms};
	rfl_list_append(&t->groups, &g->link);
	return g;
}

static void
enqueue(struct rfl_task *t, struct rfl_pane *p)
{
	p->group = group_for(t, p->end_ms);
	p->group->panes++;
	t->pane_count++;
	rfl_list_remove(&p->link);
	rfl_list_append(&t->panes, &p->link);
#ifdef RFL_SABOTAGE_COMMIT_FIRST
	for (size_t i = 0; i < t->lane_count; i++)
		t->lanes[i].settled = p->group->cut[i].next;
#endif
}

static struct rfl_pane *
find_stream(struct rfl_task *t, int64_t start_ms)
{
	struct rfl_pane *p;
	rfl_list_foreach (p, &t->streams, struct rfl_pane, link) {
		if (p->start_ms == start_ms)
			return p;
	}
	return NULL;
}

static void
take_items(struct rfl_pane *p, const struct rfl_window_items *items)
{
	for (size_t i = 0; i < items->count; i++)
		rfl_pane_add(p, items->list[i]);
}

/* The pane that was called while its window was open has all of its records already. */
static struct rfl_pane *
close_stream(struct rfl_task *t, const struct rfl_window_fired *fired)
{
	struct rfl_pane *p = find_stream(t, fired->start_ms);
	if (p == NULL)
		return NULL;
	p->is_open = 0;
	p->end_ms = fired->end_ms;
	p->holds_items = 1;
	enqueue(t, p);
	if (p->gives_up)
		rfl_task_give_up(t, p);
	else if (p->call != NULL)
		rfl_task_feed(t, p);
	else if (rfl_list_empty(&p->work))
		rfl_task_pane_waits(t, p);
	return p;
}

static void
make_pane(struct rfl_task *t, const struct rfl_window_fired *fired,
	const struct rfl_window_items *items)
{
	if (t->spec->conf->delivery == RFL_STREAMING && close_stream(t, fired) != NULL)
		return;
	struct rfl_pane *p = rfl_pane_create();
	rfl_pane_set_window(p, fired);
	take_items(p, items);
	if (fired->is_merged)
		rfl_pane_sort(p);
	if (fired->is_moved)
		p->holds_items = 1;
	else
		rfl_pane_need(p);
	t->empty += p->record_count == 0;
	enqueue(t, p);
	rfl_task_pane_waits(t, p);
}

int
rfl_task_fire(struct rfl_task *t)
{
	struct rfl_window_items items = {NULL, 0, 0};
	struct rfl_window_fired fired;
	int moved = 0;
	t->fires_more = 0;
	if (t->window == NULL || t->is_replaying || t->stopped)
		return 0;
	for (;;) {
		if (!may_fire(t)) {
			int64_t next_ms = rfl_window_next_ms(t->window);
			complete_last(t, next_ms);
			t->fires_more = next_ms <= t->watermark_ms;
			break;
		}
		items.count = 0;
		if (!rfl_window_fire(t->window, t->watermark_ms, &fired, &items)) {
			complete_last(t, RFL_NEVER_MS);
			break;
		}
		make_pane(t, &fired, &items);
		moved = 1;
	}
	free(items.list);
	return moved;
}

/* Looks at what is open, again and again; what is said then stands for nothing that is committed. */
int
rfl_task_fire_early(struct rfl_task *t, int64_t now_ns, int64_t *next_ns)
{
	int64_t every_ns = t->spec->conf->early_ms * 1000000;
	struct rfl_window_items items = {NULL, 0, 0};
	struct rfl_window_fired fired;
	int moved = 0;
	if (every_ns == 0 || t->window == NULL || t->is_replaying || !t->reading)
		return 0;
	if (t->early_at_ns == 0)
		t->early_at_ns = now_ns + every_ns;
	if (now_ns < t->early_at_ns) {
		rfl_task_note_next(next_ns, t->early_at_ns);
		return 0;
	}
	t->early_at_ns = now_ns + every_ns;
	rfl_task_note_next(next_ns, t->early_at_ns);
	/* To a slow function they would pile up: what is left out now is in the next look. */
	if (!rfl_list_empty(&t->earlies))
		return 0;
	while (rfl_window_early(t->window, &fired, &items)) {
		struct rfl_pane *p = rfl_pane_create();
		p->is_early = 1;
		rfl_pane_set_window(p, &fired);
		take_items(p, &items);
		if (fired.is_merged)
			rfl_pane_sort(p);
		rfl_pane_need(p);
		rfl_list_append(&t->earlies, &p->link);
		rfl_task_pane_waits(t, p);
		items.count = 0;
		moved = 1;
	}
	free(items.list);
	return moved;
}

void
rfl_task_fire_batch(struct rfl_task *t, struct rfl_chunk *c, uint32_t first, uint32_t count,
	int64_t now_ms, int64_t max_time_ms)
{
	struct rfl_pane *p = rfl_pane_create();
	p->start_ms = p->end_ms = now_ms;
	p->max_time_ms = max_time_ms;
	rfl_pane_add(p, rfl_item_of(c, first, count));
	rfl_pane_need(p);
	enqueue(t, p);
	rfl_task_pane_waits(t, p);
}

/* At most `calls` are open; a window beyond that is collected, and called when one has ended or it is over. */
void
rfl_task_stream(struct rfl_task *t, struct rfl_window_item item, int64_t start_ms)
{
	struct rfl_pane *p = find_stream(t, start_ms);
	if (p == NULL) {
		p = rfl_pane_create();
		p->is_open = 1;
		p->start_ms = start_ms;
		p->end_ms = rfl_window_end_ms(t->window, start_ms);
		p->lets_go = rfl_task_lets_go(t);
		p->attempt = rfl_rebuild_attempt(t, start_ms);
		rfl_list_append(&t->streams, &p->link);
		rfl_task_pane_waits(t, p);
	}
	rfl_pane_add(p, item);
}

void
rfl_task_feed_streams(struct rfl_task *t)
{
	struct rfl_pane *p;
	struct riffle_error err = {0};
	rfl_list_foreach (p, &t->streams, struct rfl_pane, link) {
		if (p->call != NULL)
			rfl_task_feed(t, p);
		else if (p->gives_up && p->lets_go && rfl_pane_let_go_all(p, t->store, &err) < 0)
			rfl_task_stop(t, err.text);
	}
}
