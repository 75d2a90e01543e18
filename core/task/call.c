/* Calls: begin, push, end on one side; events into the mailbox on the other. */
#include "task/call.h"

#include "base/check.h"
#include "base/error.h"
#include "base/mem.h"
#include "plugin/host.h"
#include "task/pane.h"
#include "task/task_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL_MAGIC 0x43414c4cu

struct rfl_call {
	uint32_t magic;
	int ended, cancelled;
	const struct rfl_callee *callee;
	struct rfl_task *task;
	struct rfl_pane *pane;
	struct rfl_store *store;
	void *call;                 /* the plugin's */
	size_t item;                /* of the pane: the next that is not yet in a piece */
	uint32_t taken;             /* records of it that are */
	struct riffle_batch *piece; /* what is being pushed: these records of it are left */
	uint32_t piece_first, piece_count;
	int64_t deadline_ns;
};

/* Records of many chunks are pushed in batches of at most so many. */
#define GATHER_MAX 256u
/* And of no more chunks once these, read from the spill file, have so many bytes. */
#define GATHER_BYTES ((size_t)4 * 1024 * 1024)
/* So many in a row are pushed as they lie. */
#define RUN_MIN 8u

struct call_mail {
	struct rfl_mail mail;
	struct rfl_call *call;
	struct riffle_batch *batch;
	int status;
	struct riffle_error error;
};

static struct call_mail *
new_mail(struct rfl_call *c, void (*deliver)(struct rfl_mail *))
{
	RFL_CHECK(c, CALL_MAGIC);
	struct call_mail *m = rfl_zalloc(sizeof *m);
	m->mail.deliver = deliver;
	m->call = c;
	return m;
}

static void
deliver_output(struct rfl_mail *mail)
{
	struct call_mail *m = (struct call_mail *)(void *)mail;
	rfl_task_call_output(m->call->task, m->call->pane, m->batch);
	free(m);
}

static void
deliver_writable(struct rfl_mail *mail)
{
	struct call_mail *m = (struct call_mail *)(void *)mail;
	rfl_task_call_writable(m->call->task, m->call->pane);
	free(m);
}

static void
deliver_done(struct rfl_mail *mail)
{
	struct call_mail *m = (struct call_mail *)(void *)mail;
	rfl_task_call_done(m->call->task, m->call->pane, m->status, &m->error);
	free(m);
}

static void
on_output(void *data, struct riffle_batch *batch)
{
	struct call_mail *m = new_mail(data, deliver_output);
	rfl_batch_take(batch);
	m->batch = batch;
	rfl_mailbox_post(m->call->callee->mailbox, &m->mail);
}

static void
on_writable(void *data)
{
	struct call_mail *m = new_mail(data, deliver_writable);
	rfl_mailbox_post(m->call->callee->mailbox, &m->mail);
}

/* Progress of one-reply-per-record functions; nothing here depends on it yet. */
static void
on_replied(void *data, uint64_t count)
{
	(void)data;
	(void)count;
}

static void
on_done(void *data, int status, const struct riffle_error *err)
{
	struct call_mail *m = new_mail(data, deliver_done);
	m->status = status;
	if (status != RIFFLE_OK && err != NULL)
		m->error = *err;
	rfl_mailbox_post(m->call->callee->mailbox, &m->mail);
}

static const struct riffle_call_events events = {
	.size = sizeof events,
	.output = on_output,
	.writable = on_writable,
	.replied = on_replied,
	.done = on_done,
};

#define HEADER_MAX 5

struct pane_headers {
	struct riffle_header list[HEADER_MAX];
	char text[3][24];
	uint32_t count;
};

static void
add_header(struct pane_headers *h, const char *name, const void *value, size_t len)
{
	h->list[h->count++] =
		(struct riffle_header){.name = {name, strlen(name)}, .value = {value, len}};
}

static void
add_number(struct pane_headers *h, const char *name, long long value)
{
	char *text = h->text[h->count];
	int len = snprintf(text, sizeof h->text[0], "%lld", value);
	add_header(h, name, text, (size_t)len);
}

static void
describe(struct pane_headers *h, const struct rfl_pane *p)
{
	const char *which = p->is_early ? "early" : "final";
	h->count = 0;
	add_number(h, "riffle-window-start", p->start_ms);
	add_number(h, "riffle-window-end", p->end_ms);
	add_number(h, "riffle-attempt", p->attempt);
	add_header(h, "riffle-pane", which, strlen(which));
	if (p->key != NULL)
		add_header(h, "riffle-window-key", p->key, p->key_len);
}

int
rfl_call_begin(const struct rfl_callee *callee, struct rfl_task *task, struct rfl_pane *pane,
	struct rfl_store *store, struct rfl_call **ret_call, struct riffle_error *reterr)
{
	struct pane_headers headers;
	struct riffle_call_spec spec = *callee->spec;
	describe(&headers, pane);
	spec.headers = headers.list;
	spec.header_count = headers.count;
	spec.attempt = pane->attempt;

	struct rfl_call *c = rfl_zalloc(sizeof *c);
	c->magic = CALL_MAGIC;
	c->callee = callee;
	c->task = task;
	c->pane = pane;
	c->store = store;
	c->deadline_ns = INT64_MAX;
	int rc = callee->ops->call_begin(callee->self, &spec, &events, c, &c->call, reterr);
	if (rc < 0) {
		RFL_RETIRE(c);
		free(c);
		return rc;
	}
	*ret_call = c;
	return RIFFLE_OK;
}

static void
drop_piece(struct rfl_call *c)
{
	rfl_batch_unref(c->piece);
	c->piece = NULL;
}

static int
direct_piece(struct rfl_call *c, struct rfl_window_item item, struct riffle_error *reterr)
{
	int rc = rfl_store_batch(c->store, rfl_item_chunk(item), &c->piece, reterr);
	if (rc < 0)
		return rc;
	c->piece_first = rfl_item_index(item) + c->taken;
	c->piece_count = rfl_item_count(item) - c->taken;
	c->item++;
	c->taken = 0;
	return RIFFLE_OK;
}

/* Short runs, put together. A chunk in the spill file is read once for all neighbours in it. */
static int
gathered_piece(struct rfl_call *c, struct riffle_error *reterr)
{
	const struct rfl_window_items *all = &c->pane->items;
	struct rfl_record_at at[GATHER_MAX];
	struct riffle_batch *batch = NULL;
	uint32_t n = 0;
	int rc = RIFFLE_OK;
	const struct rfl_chunk *last = NULL;
	struct riffle_batch *held[GATHER_MAX];
	uint32_t held_count = 0;
	size_t read_bytes = 0;
	for (; c->item < all->count && n < GATHER_MAX; c->item++, c->taken = 0) {
		struct rfl_window_item item = all->list[c->item];
		if (rfl_item_count(item) - c->taken >= RUN_MIN && n > 0)
			break;
		if (rfl_item_chunk(item) != last) {
			if (read_bytes >= GATHER_BYTES)
				break;
			read_bytes += rfl_item_chunk(item)->batch == NULL
					      ? rfl_item_chunk(item)->bytes
					      : 0;
			rc = rfl_store_batch(c->store, rfl_item_chunk(item), &batch, reterr);
			if (rc < 0)
				break;
			held[held_count++] = batch;
			last = rfl_item_chunk(item);
		}
		for (; c->taken < rfl_item_count(item) && n < GATHER_MAX; c->taken++)
			at[n++] = (struct rfl_record_at){batch, rfl_item_index(item) + c->taken};
		/* The last run of an open pane may still grow. */
		if (c->taken < rfl_item_count(item) ||
			(c->pane->is_open && c->item + 1 == all->count))
			break;
	}
	if (rc == RIFFLE_OK) {
		c->piece = rfl_batch_gather(at, n);
		c->piece_first = 0;
		c->piece_count = n;
	}
	while (held_count > 0)
		rfl_batch_unref(held[--held_count]);
	return rc;
}

static int
next_piece(struct rfl_call *c, struct riffle_error *reterr)
{
	const struct rfl_window_items *all = &c->pane->items;
	if (c->taken == rfl_item_count(all->list[c->item])) {
		c->item++;
		c->taken = 0;
	}
	struct rfl_window_item item = all->list[c->item];
	uint32_t left = rfl_item_count(item) - c->taken;
	/* Of an open pane the last run may still grow: it stays the next item, with what is taken. */
	int may_grow = c->pane->is_open && c->item + 1 == all->count;
	if (may_grow) {
		int rc = direct_piece(c, item, reterr);
		c->item--;
		c->taken = rfl_item_count(item);
		return rc;
	}
	if (left >= RUN_MIN || c->item + 1 == all->count)
		return direct_piece(c, item, reterr);
	return gathered_piece(c, reterr);
}

/* What lies before the cursor was taken: the pane need not keep it. */
static int
let_go(struct rfl_call *c, struct riffle_error *reterr)
{
	size_t items = c->item;
	uint32_t more = c->taken;
	if (!c->pane->lets_go)
		return RIFFLE_OK;
	c->item = 0;
	c->taken = 0;
	return rfl_pane_let_go(c->pane, c->store, items, more, reterr);
}

static int
has_more(const struct rfl_call *c)
{
	const struct rfl_window_items *all = &c->pane->items;
	return c->item + 1 < all->count ||
	       (c->item < all->count && c->taken < rfl_item_count(all->list[c->item]));
}

int
rfl_call_push(struct rfl_call *c, struct riffle_error *reterr)
{
	RFL_CHECK(c, CALL_MAGIC);
	if (c->ended || c->cancelled)
		return 1;
	while (c->piece != NULL || has_more(c)) {
		if (c->piece == NULL) {
			int rc = next_piece(c, reterr);
			if (rc < 0)
				return rc;
		}
		int took = c->callee->ops->call_push(
			c->call, c->piece, c->piece_first, c->piece_count, reterr);
		if (took < 0)
			return took;
		if ((uint32_t)took > c->piece_count)
			return rfl_err(reterr, RIFFLE_E_FATAL, "call_push took %d of %u records",
				took, c->piece_count);
		c->piece_first += (uint32_t)took;
		c->piece_count -= (uint32_t)took;
		if (c->piece_count > 0)
			return 0;
		drop_piece(c);
		int rc = let_go(c, reterr);
		if (rc < 0)
			return rc;
	}
	if (c->pane->is_open)
		return 1;
	int rc = c->callee->ops->call_end(c->call, reterr);
	if (rc < 0)
		return rc;
	c->ended = 1;
	return 1;
}

int
rfl_call_is_ended(const struct rfl_call *c)
{
	return c->ended;
}

void
rfl_call_read(struct rfl_call *c, size_t bytes)
{
	c->callee->ops->call_read(c->call, bytes);
}

void
rfl_call_cancel(struct rfl_call *c, int reason)
{
	RFL_CHECK(c, CALL_MAGIC);
	if (c->cancelled)
		return;
	c->cancelled = 1;
	c->deadline_ns = INT64_MAX;
	c->callee->ops->call_cancel(c->call, reason);
}

int
rfl_call_is_cancelled(const struct rfl_call *c)
{
	return c->cancelled;
}

int64_t
rfl_call_deadline_ns(const struct rfl_call *c)
{
	return c->deadline_ns;
}

void
rfl_call_set_deadline(struct rfl_call *c, int64_t deadline_ns)
{
	c->deadline_ns = deadline_ns;
}

void
rfl_call_destroy(struct rfl_call *c)
{
	RFL_CHECK(c, CALL_MAGIC);
	RFL_RETIRE(c);
	c->callee->ops->call_destroy(c->call);
	drop_piece(c);
	free(c);
}
