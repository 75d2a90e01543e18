/* An invoker that answers each window with nothing and, from the second on, breaks the contract as it is told. */
#include <riffle/riffle.h>

#include <stdlib.h>
#include <unistd.h>

struct rude {
	const struct riffle_host *host;
	int64_t how;
	int calls;
};

enum { HANG, DONE_TWICE, TAKE_TOO_MUCH, NEVER_DONE };

struct call {
	struct rude *owner;
	const struct riffle_call_events *events;
	void *data;
	int is_bad;
};

static int
create(const struct riffle_host *host, const struct riffle_config *cfg, void **ret_self,
	struct riffle_error *reterr)
{
	struct rude *r = calloc(1, sizeof *r);
	(void)reterr;
	r->host = host;
	r->how = riffle_config_at(cfg, 0)->u.i;
	*ret_self = r;
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
	return 0;
}

static int
call_begin(void *self, const struct riffle_call_spec *spec, const struct riffle_call_events *events,
	void *data, void **ret_call, struct riffle_error *reterr)
{
	struct call *c = calloc(1, sizeof *c);
	struct rude *r = self;
	(void)spec, (void)reterr;
	*c = (struct call){.owner = r, .events = events, .data = data, .is_bad = r->calls++ > 0};
	*ret_call = c;
	return RIFFLE_OK;
}

static int
call_push(void *call, struct riffle_batch *batch, uint32_t first, uint32_t count,
	struct riffle_error *reterr)
{
	struct call *c = call;
	(void)first, (void)reterr;
	if (c->is_bad && c->owner->how == NEVER_DONE)
		c->owner->host->batch_ref(c->owner->host, batch);
	while (c->is_bad && c->owner->how == HANG)
		pause();
	return (int)count + (c->is_bad && c->owner->how == TAKE_TOO_MUCH);
}

static int
call_end(void *call, struct riffle_error *reterr)
{
	struct call *c = call;
	(void)reterr;
	if (c->is_bad && c->owner->how == NEVER_DONE)
		return RIFFLE_OK;
	c->events->done(c->data, RIFFLE_OK, NULL);
	if (c->is_bad && c->owner->how == DONE_TWICE)
		c->events->done(c->data, RIFFLE_OK, NULL);
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
	(void)call, (void)reason;
}

static void
call_destroy(void *call)
{
	free(call);
}

static const char *const hows[] = {"hang", "done-twice", "take-too-much", "never-done", NULL};
static const struct riffle_option options[] = {
	{"how", RIFFLE_OPT_ENUM, RIFFLE_OPT_REQUIRED, NULL, 0, 0, hows, "How it misbehaves."},
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
static const struct riffle_plugin rude = {
	.size = sizeof rude,
	.kind = RIFFLE_KIND_INVOKER,
	.name = "rude",
	.summary = "misbehaves",
	.version = "1.2",
	.license = "none",
	.table_size = sizeof tables[0],
	.table_count = 1,
	.tables = tables,
	.ops = &ops,
};

RIFFLE_MODULE("test", &rude);
