/* The queue in front of a sink. */
#include "task/outlet.h"

#include "base/check.h"
#include "base/error.h"
#include "base/mem.h"
#include "plugin/host.h"

#include <stdlib.h>

#define OUTLET_MAGIC 0x4f55544cu

void
rfl_outlet_init(
	struct rfl_outlet *o, const struct riffle_provider_ops *ops, void *sink, int transactional)
{
	*o = (struct rfl_outlet){
		.magic = OUTLET_MAGIC, .ops = ops, .sink = sink, .transactional = transactional};
	rfl_list_init(&o->sends);
	rfl_list_init(&o->finished);
}

void
rfl_send_free(struct rfl_send *s)
{
	rfl_batch_unref(s->batch);
	free(s);
}

static void
free_all(struct rfl_list *l)
{
	struct rfl_send *s;
	while ((s = rfl_list_first(l, struct rfl_send, link)) != NULL) {
		rfl_list_remove(&s->link);
		rfl_send_free(s);
	}
}

void
rfl_outlet_drop(struct rfl_outlet *o)
{
	RFL_CHECK(o, OUTLET_MAGIC);
	free_all(&o->sends);
	free_all(&o->finished);
	o->is_full = 0;
}

void
rfl_outlet_fini(struct rfl_outlet *o)
{
	rfl_outlet_drop(o);
	free(o->refusals);
	RFL_RETIRE(o);
}

void
rfl_outlet_begin(struct rfl_outlet *o)
{
	RFL_CHECK(o, OUTLET_MAGIC);
	o->txn_error.code = 0;
	o->refusal_count = 0;
}

uint64_t
rfl_outlet_send(
	struct rfl_outlet *o, struct riffle_batch *batch, size_t bytes, void *owner, void *detail)
{
	RFL_CHECK(o, OUTLET_MAGIC);
	struct rfl_send *s = rfl_zalloc(sizeof *s);
	s->tag = ++o->last_tag;
	s->batch = batch;
	s->owner = owner;
	s->detail = detail;
	s->bytes = bytes;
	rfl_list_append(&o->sends, &s->link);
	return s->tag;
}

static void
finish(struct rfl_outlet *o, struct rfl_send *s)
{
	rfl_list_remove(&s->link);
	rfl_list_append(&o->finished, &s->link);
}

int
rfl_outlet_push(struct rfl_outlet *o, struct riffle_error *reterr)
{
	struct rfl_send *s, *next;
	RFL_CHECK(o, OUTLET_MAGIC);
	o->is_full = 0;
	rfl_list_foreach_safe (s, next, &o->sends, struct rfl_send, link) {
		uint32_t left = s->batch->record_count - s->taken;
		if (left == 0)
			continue;
		int took = o->ops->sink_send(o->sink, s->batch, s->taken, left, s->tag, reterr);
		if (took < 0)
			return took;
		if ((uint32_t)took > left)
			return rfl_err(reterr, RIFFLE_E_FATAL, "sink_send took %d of %u records",
				took, left);
		s->taken += (uint32_t)took;
		if ((uint32_t)took < left) {
			o->is_full = 1;
			return 0;
		}
		if (o->transactional)
			finish(o, s);
	}
	return 1;
}

static struct rfl_send *
find(struct rfl_outlet *o, uint64_t tag)
{
	struct rfl_send *s;
	rfl_list_foreach (s, &o->sends, struct rfl_send, link) {
		if (s->tag == tag)
			return s;
	}
	return NULL;
}

static const struct riffle_sent *
sent_at(const struct riffle_event *ev, uint32_t i)
{
	return (const void *)((const char *)ev->sent + (size_t)i * ev->sent_size);
}

/* The first record that was not written decides what is said of the batch. */
static void
note_failures(struct riffle_error *error, const struct riffle_event *ev)
{
	if (ev->sent == NULL || error->code != 0)
		return;
	for (uint32_t i = 0; i < ev->count; i++) {
		if (sent_at(ev, i)->status == RIFFLE_OK)
			continue;
		*error = ev->error;
		error->code = sent_at(ev, i)->status;
		return;
	}
}

static void
note_refusal(struct rfl_outlet *o, const struct riffle_event *ev)
{
	uint32_t i = 0;
	while (ev->sent != NULL && i < ev->count && sent_at(ev, i)->status != RIFFLE_E_DATA)
		i++;
	if (ev->sent == NULL || i == ev->count)
		return;
	rfl_grow(&o->refusals, &o->refusal_room, o->refusal_count + 1, sizeof *o->refusals);
	struct rfl_refusal *r = &o->refusals[o->refusal_count++];
	*r = (struct rfl_refusal){ev->tag, ev->error};
	r->error.code = RIFFLE_E_DATA;
}

int
rfl_outlet_sent(struct rfl_outlet *o, const struct riffle_event *ev, struct riffle_error *reterr)
{
	RFL_CHECK(o, OUTLET_MAGIC);
	if (o->transactional) {
		note_failures(&o->txn_error, ev);
		note_refusal(o, ev);
		return RIFFLE_OK;
	}
	struct rfl_send *s = find(o, ev->tag);
	if (s == NULL || ev->count > s->taken - s->answered)
		return rfl_err(reterr, RIFFLE_E_FATAL,
			"a status for %u records with tag %llu answers nothing that was sent",
			ev->count, (unsigned long long)ev->tag);
	note_failures(&s->error, ev);
	s->answered += ev->count;
	if (s->answered == s->batch->record_count)
		finish(o, s);
	return RIFFLE_OK;
}

struct rfl_send *
rfl_outlet_next(struct rfl_outlet *o)
{
	struct rfl_send *s = rfl_list_first(&o->finished, struct rfl_send, link);
	if (s != NULL)
		rfl_list_remove(&s->link);
	return s;
}

static void
disown(struct rfl_list *l, const void *owner)
{
	struct rfl_send *s;
	rfl_list_foreach (s, l, struct rfl_send, link) {
		if (s->owner == owner)
			s->owner = NULL;
	}
}

void
rfl_outlet_disown(struct rfl_outlet *o, const void *owner)
{
	RFL_CHECK(o, OUTLET_MAGIC);
	disown(&o->sends, owner);
	disown(&o->finished, owner);
}
