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
	void *call;      /* the plugin's */
	size_t batch;    /* the next to push */
	uint32_t record; /* of that batch */
	int64_t deadline_ns;
};

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

#define HEADER_COUNT 4

struct pane_headers {
	struct riffle_header list[HEADER_COUNT];
	char text[HEADER_COUNT][24];
};

static void
set_header(struct pane_headers *h, int i, const char *name, long long value)
{
	int len = snprintf(h->text[i], sizeof h->text[i], "%lld", value);
	h->list[i] = (struct riffle_header){
		.name = {name, strlen(name)}, .value = {h->text[i], (size_t)len}};
}

static void
describe(struct pane_headers *h, const struct rfl_pane *p)
{
	set_header(h, 0, "riffle-window-start", p->window.start_ms);
	set_header(h, 1, "riffle-window-end", p->window.end_ms);
	set_header(h, 2, "riffle-attempt", p->attempt);
	h->list[3] = (struct riffle_header){.name = {"riffle-pane", strlen("riffle-pane")},
		.value = {"final", strlen("final")}};
}

int
rfl_call_begin(const struct rfl_callee *callee, struct rfl_task *task, struct rfl_pane *pane,
	struct rfl_call **ret_call, struct riffle_error *reterr)
{
	struct pane_headers headers;
	struct riffle_call_spec spec = *callee->spec;
	describe(&headers, pane);
	spec.headers = headers.list;
	spec.header_count = HEADER_COUNT;
	spec.attempt = pane->attempt;

	struct rfl_call *c = rfl_zalloc(sizeof *c);
	c->magic = CALL_MAGIC;
	c->callee = callee;
	c->task = task;
	c->pane = pane;
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

int
rfl_call_push(struct rfl_call *c, struct riffle_error *reterr)
{
	RFL_CHECK(c, CALL_MAGIC);
	const struct rfl_batches *all = &c->pane->records;
	if (c->ended || c->cancelled)
		return 1;
	while (c->batch < all->count) {
		struct riffle_batch *b = all->items[c->batch];
		uint32_t left = b->record_count - c->record;
		int took = c->callee->ops->call_push(c->call, b, c->record, left, reterr);
		if (took < 0)
			return took;
		if ((uint32_t)took > left)
			return rfl_err(reterr, RIFFLE_E_FATAL, "call_push took %d of %u records",
				took, left);
		c->record += (uint32_t)took;
		if ((uint32_t)took < left)
			return 0;
		c->batch++;
		c->record = 0;
	}
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
	free(c);
}
