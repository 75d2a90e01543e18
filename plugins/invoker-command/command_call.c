/* What the host's threads do to a call: put records in, grant credit, end, cancel. */
#include "command.h"

#include <stdlib.h>

int
command_call_begin(void *self, const struct riffle_call_spec *spec,
	const struct riffle_call_events *events, void *data, void **ret_call,
	struct riffle_error *reterr)
{
	struct command *owner = self;
	COMMAND_CHECK(owner, COMMAND_MAGIC);
	(void)reterr;
	struct command_call *c = command_alloc(sizeof *c);
	c->magic = COMMAND_CALL_MAGIC;
	c->owner = owner;
	c->events = events;
	c->data = data;
	c->last = &c->first;
	command_spec_copy(&c->spec, spec);
	c->identity = command_spec_identity(&c->spec);
	pthread_mutex_lock(&owner->lock);
	c->has_turn = owner->mode != COMMAND_COPROCESS || owner->idle > 0;
	owner->idle -= owner->idle > 0;
	*owner->fresh_last = c;
	owner->fresh_last = &c->next;
	pthread_mutex_unlock(&owner->lock);
	command_poller_kick(owner);
	*ret_call = c;
	return RIFFLE_OK;
}

static int
check_records(const struct command_call *c, const struct riffle_batch *b, uint32_t first,
	uint32_t count, size_t *ret_bytes, struct riffle_error *reterr)
{
	const struct command_codec *codec = command_codec(c->owner);
	*ret_bytes = 0;
	for (uint32_t i = first; i < first + count; i++) {
		const struct riffle_record *r = riffle_batch_at(b, i);
		const char *fault = codec->refuses(b, r);
		if (c->owner->mode == COMMAND_PER_RECORD && c->owner->format == COMMAND_LINES)
			fault = r->value.ptr ? NULL : "has no value: it cannot be a body";
		if (r->stream >= c->spec.input_count)
			fault = "is not of an input that the call has";
		if (fault != NULL)
			return command_fail(reterr, RIFFLE_E_DATA, 0,
				"record at offset %lld of partition %d of input %u %s",
				(long long)r->offset, r->partition, r->stream, fault);
		*ret_bytes += command_input_bytes(b, i);
	}
	return RIFFLE_OK;
}

/* Of count records, which are so many bytes, those for which there is room; the last may exceed it. */
static void
fit(struct command_piece *p, uint32_t count, size_t bytes, size_t room)
{
	p->end = p->first + count;
	p->bytes = bytes;
	if (bytes <= room)
		return;
	p->end = p->first;
	p->bytes = 0;
	while (p->bytes < room)
		p->bytes += command_input_bytes(p->batch, p->end++);
}

/* All of it, or all but the last of a window whose turn has not come. */
int
command_call_push(void *call, struct riffle_batch *batch, uint32_t first, uint32_t count,
	struct riffle_error *reterr)
{
	struct command_call *c = call;
	COMMAND_CHECK(c, COMMAND_CALL_MAGIC);
	struct command *owner = c->owner;
	size_t bytes;
	int rc = check_records(c, batch, first, count, &bytes, reterr);
	if (rc < 0) {
		pthread_mutex_lock(&owner->lock);
		c->refused = *reterr;
		pthread_mutex_unlock(&owner->lock);
		command_poller_kick(owner);
		return rc;
	}
	struct command_piece *p = command_alloc(sizeof *p);
	p->batch = batch;
	p->first = p->next_record = p->end = first;
	pthread_mutex_lock(&owner->lock);
	int is_over = c->is_over, waits = !c->has_turn && count > 0;
	size_t held = waits ? command_input_bytes(batch, first + count - 1) : 0;
	size_t room =
		c->staged_bytes < COMMAND_STAGED_MAX ? COMMAND_STAGED_MAX - c->staged_bytes : 0;
	if (!is_over)
		fit(p, count - (uint32_t)waits, bytes - held, room);
	c->staged_bytes += p->bytes;
	uint32_t took = is_over ? count : p->end - first;
	c->wants_room = took < count;
	if (took > 0 && !is_over) {
		owner->host->batch_ref(owner->host, batch);
		*c->last = p;
		c->last = &p->next;
	}
	pthread_mutex_unlock(&owner->lock);
	if (took == 0 || is_over)
		free(p);
	command_poller_kick(owner);
	return (int)took;
}

int
command_call_end(void *call, struct riffle_error *reterr)
{
	struct command_call *c = call;
	COMMAND_CHECK(c, COMMAND_CALL_MAGIC);
	(void)reterr;
	pthread_mutex_lock(&c->owner->lock);
	c->input_ended = 1;
	pthread_mutex_unlock(&c->owner->lock);
	command_poller_kick(c->owner);
	return RIFFLE_OK;
}

void
command_call_read(void *call, size_t bytes)
{
	struct command_call *c = call;
	COMMAND_CHECK(c, COMMAND_CALL_MAGIC);
	pthread_mutex_lock(&c->owner->lock);
	c->credit += bytes;
	int is_awaited = c->wants_credit;
	c->wants_credit = 0;
	pthread_mutex_unlock(&c->owner->lock);
	if (is_awaited)
		command_poller_kick(c->owner);
}

void
command_call_cancel(void *call, int reason)
{
	struct command_call *c = call;
	COMMAND_CHECK(c, COMMAND_CALL_MAGIC);
	pthread_mutex_lock(&c->owner->lock);
	if (c->cancel == 0)
		c->cancel = reason;
	pthread_mutex_unlock(&c->owner->lock);
	command_poller_kick(c->owner);
}

/* The poller let it go before it said done. */
void
command_call_destroy(void *call)
{
	struct command_call *c = call;
	if (c == NULL)
		return;
	COMMAND_CHECK(c, COMMAND_CALL_MAGIC);
	command_assert(c->is_done && c->first == NULL && c->todo == NULL && c->child == NULL);
	c->magic = 0;
	command_spec_free(&c->spec);
	free(c);
}
