/*
 * A complete invoker in one file: answers each record with its value in capital letters. Copy this
 * folder, rename it, and change what call_push does. It is built against the installed headers alone.
 */
#include <riffle/riffle.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

struct upper {
	const struct riffle_host *host;
	const char *suffix;
};

struct call {
	struct upper *owner;
	const struct riffle_call_events *events;
	void *data;
	size_t credit;
	int wants_room, is_done;
};

/* One answer: the batch, its one record, and the record's bytes in a single block. */
struct reply {
	struct riffle_batch batch;
	struct riffle_record record;
	char text[];
};

static const struct riffle_option options[] = {
	{.name = "suffix", .type = RIFFLE_OPT_STRING, .def = "", .doc = "Put behind each answer."},
};

static const struct riffle_option_table tables[] = {{
	.size = sizeof tables[0],
	.section = RIFFLE_SECTION_FUNCTION,
	.option_size = sizeof options[0],
	.option_count = 1,
	.options = options,
}};

static int
create(const struct riffle_host *host, const struct riffle_config *cfg, void **ret_self,
	struct riffle_error *reterr)
{
	struct upper *u = malloc(sizeof *u);
	if (u == NULL) {
		reterr->code = RIFFLE_E_NOMEM;
		snprintf(reterr->text, sizeof reterr->text, "no memory for the instance");
		return RIFFLE_E_NOMEM;
	}
	u->host = host;
	u->suffix = riffle_config_at(cfg, 0)->u.s;
	*ret_self = u;
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
	return RIFFLE_CAN_STREAM;
}

static int
call_begin(void *self, const struct riffle_call_spec *spec, const struct riffle_call_events *events,
	void *data, void **ret_call, struct riffle_error *reterr)
{
	(void)spec;
	struct call *c = calloc(1, sizeof *c);
	if (c == NULL) {
		reterr->code = RIFFLE_E_NOMEM;
		snprintf(reterr->text, sizeof reterr->text, "no memory for a call");
		return RIFFLE_E_NOMEM;
	}
	c->owner = self;
	c->events = events;
	c->data = data;
	*ret_call = c;
	return RIFFLE_OK;
}

static void
reply_release(struct riffle_batch *batch)
{
	free(batch->owner);
}

static struct reply *
reply_to(const struct upper *u, const struct riffle_record *r)
{
	int room = snprintf(NULL, 0, "%s", u->suffix) + 1;
	struct reply *reply = calloc(1, sizeof *reply + r->value.len + (size_t)room);
	const unsigned char *in = r->value.ptr;
	if (reply == NULL)
		return NULL;
	for (size_t i = 0; i < r->value.len; i++)
		reply->text[i] = (char)toupper(in[i]);
	snprintf(reply->text + r->value.len, (size_t)room, "%s", u->suffix);
	reply->record = (struct riffle_record){
		.key = {NULL, 0},
		.value = {reply->text, r->value.len + (size_t)room - 1},
		.offset = RIFFLE_OFFSET_NONE,
		.time_ms = RIFFLE_TIME_NONE,
		.partition = RIFFLE_PARTITION_NONE,
	};
	reply->batch = (struct riffle_batch){
		.size = sizeof reply->batch,
		.record_size = sizeof reply->record,
		.record_count = 1,
		.records = &reply->record,
		.pinned_bytes = sizeof *reply + reply->record.value.len,
		.owner = reply,
		.release = reply_release,
	};
	return reply;
}

static void
finish(struct call *c, int status, const char *text)
{
	struct riffle_error err = {.code = status};
	if (c->is_done)
		return;
	snprintf(err.text, sizeof err.text, "%s", text);
	c->is_done = 1;
	c->events->done(c->data, status, &err);
}

/* Takes records while there is output credit for their answers; writable asks for the rest. */
static int
call_push(void *call, struct riffle_batch *batch, uint32_t first, uint32_t count,
	struct riffle_error *reterr)
{
	struct call *c = call;
	(void)reterr;
	for (uint32_t i = 0; i < count; i++) {
		if (c->credit == 0) {
			c->wants_room = 1;
			return (int)i;
		}
		struct reply *reply = reply_to(c->owner, riffle_batch_at(batch, first + i));
		if (reply == NULL) {
			finish(c, RIFFLE_E_NOMEM, "no memory for an answer");
			return (int)count;
		}
		size_t used = reply->record.value.len;
		c->credit -= used < c->credit ? used : c->credit;
		c->events->output(c->data, &reply->batch);
	}
	return (int)count;
}

static int
call_end(void *call, struct riffle_error *reterr)
{
	(void)reterr;
	finish(call, RIFFLE_OK, "");
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
	finish(call, reason, "cancelled");
}

static void
call_destroy(void *call)
{
	free(call);
}

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
	.name = "upper",
	.summary = "answers each record in capital letters",
	.version = "1.0.0",
	.license = "yours",
	.capabilities = RIFFLE_CAN_STREAM,
	.table_size = sizeof tables[0],
	.table_count = 1,
	.tables = tables,
	.ops = &ops,
};

RIFFLE_MODULE("1.0.0", &plugin);
