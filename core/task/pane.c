/* A window's records and outputs. */
#include "task/pane.h"

#include "base/check.h"
#include "base/mem.h"
#include "plugin/host.h"

#include <stdlib.h>

#define PANE_MAGIC 0x50414e45u

/*
 * Copies are cut into batches of about this size, so that a large window is pushed in pieces that a
 * plugin can drop one by one.
 */
#define PIECE_BYTES ((size_t)1024 * 1024)

struct rfl_pane *
rfl_pane_create(size_t lane_count, int copies)
{
	struct rfl_pane *p = rfl_zalloc(sizeof *p);
	p->magic = PANE_MAGIC;
	p->max_time_ms = RIFFLE_TIME_NONE;
	p->cut = rfl_zalloc(lane_count * sizeof *p->cut);
	p->builder = copies ? rfl_builder_create() : NULL;
	rfl_list_init(&p->link);
	return p;
}

static void
add(struct rfl_batches *l, struct riffle_batch *b)
{
	rfl_grow(&l->items, &l->room, l->count + 1, sizeof *l->items);
	l->items[l->count++] = b;
}

static void
drop(struct rfl_batches *l)
{
	for (size_t i = 0; i < l->count; i++)
		rfl_batch_unref(l->items[i]);
	l->count = 0;
}

void
rfl_pane_destroy(struct rfl_pane *p)
{
	if (p == NULL)
		return;
	RFL_CHECK(p, PANE_MAGIC);
	rfl_assert(p->call == NULL);
	RFL_RETIRE(p);
	rfl_list_remove(&p->link);
	rfl_builder_destroy(p->builder);
	drop(&p->records);
	drop(&p->outputs);
	free(p->records.items);
	free(p->outputs.items);
	free(p->outlets);
	free(p->cut);
	free(p);
}

void
rfl_pane_borrow(struct rfl_pane *p, struct riffle_batch *b)
{
	RFL_CHECK(p, PANE_MAGIC);
	add(&p->records, b);
	p->record_bytes += b->pinned_bytes;
}

static void
finish_piece(struct rfl_pane *p)
{
	struct riffle_batch *b = rfl_builder_finish(p->builder);
	if (b != NULL)
		rfl_pane_borrow(p, b);
}

void
rfl_pane_copy(struct rfl_pane *p, const struct riffle_batch *b, uint32_t i)
{
	rfl_builder_copy(p->builder, b, i);
	if (rfl_builder_bytes(p->builder) >= PIECE_BYTES)
		finish_piece(p);
}

size_t
rfl_pane_bytes(const struct rfl_pane *p)
{
	return p->record_bytes + p->output_bytes + (p->builder ? rfl_builder_bytes(p->builder) : 0);
}

void
rfl_pane_close(struct rfl_pane *p, const struct rfl_window_pane *window)
{
	RFL_CHECK(p, PANE_MAGIC);
	rfl_assert(p->state == RFL_PANE_OPEN);
	p->window = *window;
	p->state = RFL_PANE_WAITING;
	if (p->builder == NULL)
		return;
	finish_piece(p);
	rfl_builder_destroy(p->builder);
	p->builder = NULL;
}

void
rfl_pane_output(struct rfl_pane *p, struct riffle_batch *b, struct rfl_outlet *to, size_t bytes)
{
	RFL_CHECK(p, PANE_MAGIC);
	add(&p->outputs, b);
	rfl_grow(&p->outlets, &p->outlet_room, p->outputs.count, sizeof(struct rfl_outlet *));
	p->outlets[p->outputs.count - 1] = to;
	p->output_bytes += bytes;
	p->output_records += b->record_count;
}

void
rfl_pane_drop_outputs(struct rfl_pane *p)
{
	RFL_CHECK(p, PANE_MAGIC);
	drop(&p->outputs);
	p->output_bytes = 0;
	p->outputs_sent = 0;
	p->output_records = 0;
}
