/*
 * An invoker that answers each record at once with itself and, in its headers, what `subscribe` does not print:
 * key, time, input. It fails at a record `poison` as often as it is told.
 */
#include <riffle/riffle.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN 3u
#define NUMBER_MAX 24u

struct show {
	const struct riffle_host *host;
	int64_t failures;
};

struct call {
	struct show *owner;
	const struct riffle_call_events *events;
	void *data;
	uint32_t attempt;
	int is_done;
};

struct shown {
	struct riffle_record record;
	char time[NUMBER_MAX], input[NUMBER_MAX];
};

/* One record of a batch that is kept, with headers of its own. */
struct answer {
	struct riffle_batch batch;
	const struct riffle_host *host;
	struct riffle_batch *from;
	struct shown *shown;
	struct riffle_header *headers;
};

static void
answer_release(struct riffle_batch *batch)
{
	struct answer *a = batch->owner;
	a->host->batch_unref(a->host, a->from);
	free(a->shown);
	free(a->headers);
	free(a);
}

static struct riffle_header
header(const char *name, const void *value, size_t len)
{
	return (struct riffle_header){.name = {name, strlen(name)}, .value = {value, len}};
}

static void
show_record(struct answer *a, struct shown *s, const struct riffle_record *r)
{
	struct riffle_header *to = a->headers + a->batch.header_count;
	uint32_t n = r->header_count;
	if (n > 0)
		memcpy(to, a->from->headers + r->header_first, n * sizeof *to);
	if (r->key.ptr != NULL)
		to[n++] = header("seen-key", r->key.ptr, r->key.len);
	snprintf(s->time, sizeof s->time, "%lld", (long long)r->time_ms);
	to[n++] = header("seen-time", s->time, strlen(s->time));
	snprintf(s->input, sizeof s->input, "%u", r->stream);
	to[n++] = header("seen-input", s->input, strlen(s->input));
	s->record = *r;
	s->record.stream = 0;
	s->record.partition = RIFFLE_PARTITION_NONE;
	s->record.header_first = a->batch.header_count;
	s->record.header_count = n;
	a->batch.header_count += n;
}

static struct answer *
answer_create(struct show *owner, struct riffle_batch *from, uint32_t first, uint32_t count)
{
	size_t headers = 0;
	for (uint32_t i = first; i < first + count; i++)
		headers += riffle_batch_at(from, i)->header_count + SHOWN;
	struct answer *a = calloc(1, sizeof *a);
	if (a == NULL)
		abort();
	a->host = owner->host;
	a->from = from;
	a->shown = calloc(count, sizeof *a->shown);
	a->headers = calloc(headers, sizeof *a->headers);
	if (a->shown == NULL || a->headers == NULL)
		abort();
	for (uint32_t i = 0; i < count; i++)
		show_record(a, &a->shown[i], riffle_batch_at(from, first + i));
	uint32_t header_count = a->batch.header_count;
	a->batch = *from;
	a->batch.size = sizeof a->batch;
	a->batch.record_size = sizeof a->shown[0];
	a->batch.record_count = count;
	a->batch.records = &a->shown[0].record;
	a->batch.header_count = header_count;
	a->batch.headers = a->headers;
	a->batch.owner = a;
	a->batch.release = answer_release;
	a->batch.host[0] = a->batch.host[1] = 0;
	owner->host->batch_ref(owner->host, from);
	return a;
}

static int
create(const struct riffle_host *host, const struct riffle_config *cfg, void **ret_self,
	struct riffle_error *reterr)
{
	struct show *s = calloc(1, sizeof *s);
	(void)reterr;
	if (s == NULL)
		abort();
	s->host = host;
	s->failures = riffle_config_at(cfg, 0)->u.i;
	*ret_self = s;
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
	(void)reterr;
	if (c == NULL)
		abort();
	*c = (struct call){.owner = self, .events = events, .data = data, .attempt = spec->attempt};
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
is_poison(const struct riffle_record *r)
{
	return r->value.len == 6 && memcmp(r->value.ptr, "poison", 6) == 0;
}

/* Its windows are small: it does not wait for credit. */
static int
call_push(void *call, struct riffle_batch *batch, uint32_t first, uint32_t count,
	struct riffle_error *reterr)
{
	struct call *c = call;
	for (uint32_t i = first; i < first + count && c->attempt <= c->owner->failures; i++) {
		if (!is_poison(riffle_batch_at(batch, i)))
			continue;
		*reterr = (struct riffle_error){.code = RIFFLE_E_DATA,
			.flags = RIFFLE_ERR_RETRIABLE,
			.text = "there is poison in it"};
		finish(c, RIFFLE_E_DATA, reterr);
		return RIFFLE_E_DATA;
	}
	c->events->output(c->data, &answer_create(c->owner, batch, first, count)->batch);
	return (int)count;
}

static int
call_end(void *call, struct riffle_error *reterr)
{
	(void)reterr;
	finish(call, RIFFLE_OK, NULL);
	return RIFFLE_OK;
}

static void
call_read(void *call, size_t bytes)
{
	(void)call, (void)bytes;
}

static void
call_cancel(void *call, int reason)
{
	const struct riffle_error err = {.code = reason, .text = "cancelled"};
	finish(call, reason, &err);
}

static void
call_destroy(void *call)
{
	free(call);
}

static const struct riffle_option options[] = {
	{"failures", RIFFLE_OPT_INT, 0, "0", 0, INT32_MAX, NULL, "Attempts that fail."},
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
static const struct riffle_plugin show = {
	.size = sizeof show,
	.kind = RIFFLE_KIND_INVOKER,
	.name = "show",
	.summary = "answers each record with itself, its key and its time",
	.version = "1.0",
	.license = "none",
	.capabilities = RIFFLE_CAN_STREAM | RIFFLE_CAN_MANY_INPUTS,
	.table_size = sizeof tables[0],
	.table_count = 1,
	.tables = tables,
	.ops = &ops,
};

RIFFLE_MODULE("test", &show);
