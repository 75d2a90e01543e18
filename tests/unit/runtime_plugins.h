/*
 * The plugins of a processor under test: a function that answers each record with itself, and the table of a provider
 * whose operations the including file defines, by the names they have in the table.
 */
#ifndef RFL_TESTS_UNIT_RUNTIME_PLUGINS_H
#define RFL_TESTS_UNIT_RUNTIME_PLUGINS_H

#include "test.h"

#include "base/error.h"
#include "base/mem.h"
#include "plugin/batch.h"
#include "plugin/host.h"
#include "runtime/processor_private.h"
#include "runtime/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the including file's provider does. */
static int create(const struct riffle_host *host, const struct riffle_config *cfg, void **ret_self,
	struct riffle_error *reterr);
static uint64_t capabilities(void *self);
static const void *extension(void *self, const char *id);
static int source_open(void *self, const struct riffle_source_spec *spec, void **ret_source,
	struct riffle_error *reterr);
static int source_poll(void *source, struct riffle_event *ev);
static int source_start(void *source, const uint32_t *which, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr);
static int source_release(
	void *source, const uint32_t *which, uint32_t count, struct riffle_error *reterr);
static int source_commit(void *source, const struct riffle_position *positions, uint32_t count,
	uint64_t tag, struct riffle_error *reterr);
static int lane_poll(void *source, uint32_t lane, uint32_t max_records, size_t max_bytes,
	struct riffle_batch **ret_batch, struct riffle_error *reterr);
static int lane_state(void *source, uint32_t lane, struct riffle_lane_state *ret);
static void source_close(void *source);
static void source_destroy(void *source);
static int sink_open(void *self, const struct riffle_sink_spec *spec, void **ret_sink,
	struct riffle_error *reterr);
static int sink_poll(void *sink, struct riffle_event *ev);
static int sink_send(void *sink, struct riffle_batch *b, uint32_t first, uint32_t count,
	uint64_t tag, struct riffle_error *reterr);
static void sink_close(void *sink);
static void sink_destroy(void *sink);

static void
destroy(void *self)
{
	(void)self;
}

static int
some_fd(void *any)
{
	(void)any;
	return 0;
}

/* The function answers each record with its value, on its first output; or never ends, when it is to be cancelled. */
struct call {
	const struct riffle_call_events *events;
	void *data;
	int is_done;
};

static int hang, calls_cancelled;
static struct call *deaf; /* hang = 2: the last call that was cancelled, and has not ended for it */

static int
call_begin(void *self, const struct riffle_call_spec *spec, const struct riffle_call_events *ev,
	void *data, void **ret_call, struct riffle_error *reterr)
{
	(void)self, (void)spec, (void)reterr;
	struct call *c = rfl_zalloc(sizeof *c);
	c->events = ev;
	c->data = data;
	*ret_call = c;
	return RIFFLE_OK;
}

static int push_returns; /* what call_push says in place of the truth */

static int
call_push(void *call, struct riffle_batch *b, uint32_t first, uint32_t count,
	struct riffle_error *reterr)
{
	(void)reterr;
	struct call *c = call;
	struct rfl_builder *out = rfl_builder_create();
	for (uint32_t i = first; i < first + count; i++) {
		const struct riffle_record r = {.value = riffle_batch_at(b, i)->value};
		rfl_builder_add(out, &r, NULL, 0, NULL);
	}
	c->events->output(c->data, rfl_builder_finish(out));
	rfl_builder_destroy(out);
	return push_returns ? push_returns : (int)count;
}

static int
call_end(void *call, struct riffle_error *reterr)
{
	struct call *c = call;
	(void)reterr;
	if (hang)
		return RIFFLE_OK;
	c->is_done = 1;
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
	struct call *c = call;
	const struct riffle_error err = {.code = reason};
	if (c->is_done)
		return;
	calls_cancelled++;
	if (hang > 1) {
		deaf = c;
		return;
	}
	c->is_done = 1;
	c->events->done(c->data, reason, &err);
}

static void
call_destroy(void *call)
{
	free(call);
}

static char word_x[] = "x", word_default[] = "default", group_x[] = "default.x",
	    canonical[] = "none", version[] = "1";

static struct rfl_plugin provider = {.kind = RIFFLE_KIND_PROVIDER,
	.name = word_x,
	.version = version,
	.capabilities = UINT64_MAX,
	.ops.provider = {.create = create,
		.destroy = destroy,
		.capabilities = capabilities,
		.extension = extension,
		.source_open = source_open,
		.source_fd = some_fd,
		.source_poll = source_poll,
		.source_start = source_start,
		.source_release = source_release,
		.source_commit = source_commit,
		.lane_poll = lane_poll,
		.lane_state = lane_state,
		.source_close = source_close,
		.source_destroy = source_destroy,
		.sink_open = sink_open,
		.sink_fd = some_fd,
		.sink_poll = sink_poll,
		.sink_send = sink_send,
		.sink_close = sink_close,
		.sink_destroy = sink_destroy}};
static struct rfl_plugin invoker = {.kind = RIFFLE_KIND_INVOKER,
	.name = word_x,
	.version = version,
	.ops.invoker = {.create = create,
		.destroy = destroy,
		.capabilities = capabilities,
		.call_begin = call_begin,
		.call_push = call_push,
		.call_end = call_end,
		.call_read = call_read,
		.call_cancel = call_cancel,
		.call_destroy = call_destroy}};

static void
turn_until_still(struct rfl_worker *w)
{
	int64_t next_ns;
	int turns = 0;
	while (rfl_worker_turn(w, &next_ns))
		assert_true(++turns < 10000);
}

#endif
