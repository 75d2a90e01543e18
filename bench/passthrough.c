/*
 * An invoker that answers each record with itself, in the process and without copying: what is left
 * of the time when the function costs nothing. For benchmarks and tests; not installed.
 */
#include <riffle/riffle.h>

#include <stdlib.h>
#include <string.h>

struct passthrough {
	const struct riffle_host *host;
	int64_t fails_every; /* of its calls, after the answer; 0 = none */
	int64_t calls;       /* atomic */
};

struct call {
	struct passthrough *owner;
	const struct riffle_call_events *events;
	void *data;
	uint32_t output_count;
	size_t credit;
	int wants_room, is_done;
};

/* Records of its own, bytes of the batch it was made from. */
struct echo {
	struct riffle_batch abi;
	const struct riffle_host *host;
	struct riffle_batch *from;
	struct riffle_record records[];
};

static void
echo_release(struct riffle_batch *batch)
{
	struct echo *e = (struct echo *)(void *)batch;
	e->host->batch_unref(e->host, e->from);
	free(e);
}

static struct echo *
echo_create(const struct riffle_host *host, struct riffle_batch *from, uint32_t first,
	uint32_t count, size_t *ret_bytes)
{
	struct echo *e = malloc(sizeof *e + count * sizeof e->records[0]);
	if (e == NULL)
		return NULL;
	e->abi = *from;
	e->abi.size = sizeof e->abi;
	e->abi.record_size = sizeof e->records[0];
	e->abi.record_count = count;
	e->abi.records = e->records;
	e->abi.owner = NULL;
	e->abi.release = echo_release;
	e->abi.host[0] = e->abi.host[1] = 0;
	e->host = host;
	e->from = from;
	*ret_bytes = 0;
	for (uint32_t i = 0; i < count; i++) {
		e->records[i] = *riffle_batch_at(from, first + i);
		e->records[i].stream = 0;
		e->records[i].partition = RIFFLE_PARTITION_NONE;
		*ret_bytes += e->records[i].key.len + e->records[i].value.len;
	}
	host->batch_ref(host, from);
	return e;
}

static int
fail(struct riffle_error *reterr, int code, const char *text)
{
	reterr->code = code;
	reterr->flags = 0;
	strncpy(reterr->text, text, sizeof reterr->text - 1);
	reterr->text[sizeof reterr->text - 1] = '\0';
	return code;
}

static int
create(const struct riffle_host *host, const struct riffle_config *cfg, void **ret_self,
	struct riffle_error *reterr)
{
	struct passthrough *p = calloc(1, sizeof *p);
	if (p == NULL)
		return fail(reterr, RIFFLE_E_NOMEM, "no memory for the instance");
	p->host = host;
	p->fails_every = riffle_config_at(cfg, 0)->u.i;
	*ret_self = p;
	return RIFFLE_OK;
}

static void
destroy(void *self)
{
	free(self);
}

static uint64_t
capabilities(void *self)
{
	(void)self;
	return RIFFLE_CAN_STREAM | RIFFLE_CAN_MANY_INPUTS;
}

static int
call_begin(void *self, const struct riffle_call_spec *spec, const struct riffle_call_events *events,
	void *data, void **ret_call, struct riffle_error *reterr)
{
	struct call *c = calloc(1, sizeof *c);
	if (c == NULL)
		return fail(reterr, RIFFLE_E_NOMEM, "no memory for a call");
	c->owner = self;
	c->events = events;
	c->data = data;
	c->output_count = spec->output_count;
	*ret_call = c;
	return RIFFLE_OK;
}

static void
finish(struct call *c, int status, const struct riffle_error *err)
{
	if (c->is_done)
		return;
	c->is_done = 1;
	c->events->done(c->data, status, err);
}

static int
call_push(void *call, struct riffle_batch *batch, uint32_t first, uint32_t count,
	struct riffle_error *reterr)
{
	struct call *c = call;
	size_t bytes;
	if (c->output_count == 0)
		return (int)count;
	if (c->credit == 0) {
		c->wants_room = 1;
		return 0;
	}
	struct echo *e = echo_create(c->owner->host, batch, first, count, &bytes);
	if (e == NULL) {
		fail(reterr, RIFFLE_E_NOMEM, "no memory for an answer");
		finish(c, RIFFLE_E_NOMEM, reterr);
		return RIFFLE_E_NOMEM;
	}
	c->credit -= bytes < c->credit ? bytes : c->credit;
	c->events->output(c->data, &e->abi);
	return (int)count;
}

static int
call_end(void *call, struct riffle_error *reterr)
{
	struct call *c = call;
	struct passthrough *p = c->owner;
	struct riffle_error err = {0};
	int64_t number = __atomic_add_fetch(&p->calls, 1, __ATOMIC_RELAXED);
	(void)reterr;
	if (p->fails_every == 0 || number % p->fails_every != 0) {
		finish(c, RIFFLE_OK, NULL);
		return RIFFLE_OK;
	}
	fail(&err, RIFFLE_E_DATA, "it was told to fail");
	err.flags = RIFFLE_ERR_RETRIABLE;
	finish(c, RIFFLE_E_DATA, &err);
	return RIFFLE_OK;
}

static void
call_read(void *call, size_t bytes)
{
	struct call *c = call;
	c->credit += bytes;
	if (!c->wants_room || c->is_done)
		return;
	c->wants_room = 0;
	c->events->writable(c->data);
}

static void
call_cancel(void *call, int reason)
{
	struct riffle_error err = {0};
	fail(&err, reason, "cancelled");
	finish(call, reason, &err);
}

static void
call_destroy(void *call)
{
	free(call);
}

static const struct riffle_option options[] = {
	{"fails-every", RIFFLE_OPT_INT, 0, "0", 0, INT32_MAX, NULL,
		"Of so many calls one fails, once it has answered; 0 = none does."},
};
static const struct riffle_option_table tables[] = {
	{sizeof tables[0], RIFFLE_SECTION_FUNCTION, sizeof options[0], 1, options},
};

static const struct riffle_invoker_ops ops = {
	.size = sizeof ops,
	.create = create,
	.destroy = destroy,
	.capabilities = capabilities,
	.call_begin = call_begin,
	.call_push = call_push,
	.call_end = call_end,
	.call_read = call_read,
	.call_cancel = call_cancel,
	.call_destroy = call_destroy,
};

static const struct riffle_plugin plugin = {
	.size = sizeof plugin,
	.kind = RIFFLE_KIND_INVOKER,
	.name = "passthrough",
	.summary = "answers each record with itself",
	.version = "0.1.0",
	.license = "same as riffle",
	.capabilities = RIFFLE_CAN_STREAM | RIFFLE_CAN_MANY_INPUTS,
	.table_size = sizeof tables[0],
	.table_count = 1,
	.tables = tables,
	.ops = &ops,
};

RIFFLE_MODULE("bench", &plugin);
