/* The guard of a provider's sinks. */
#include "plugin/guard_end.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SINK_MAGIC 0x47534e4bu

struct send {
	uint32_t taken, answered;
	int is_complete; /* nothing more of it will be offered */
};

struct sink {
	uint32_t magic;
	struct rfl_guard_end end;
	void *sink;
	struct send *sends; /* sends[tag - first_tag] */
	size_t send_count, send_room;
	uint64_t first_tag;
	int has_txn, is_ready, txn_ends;
	uint64_t txn_tag;
};

static struct sink *
sink_of(void *sink)
{
	struct sink *s = sink;
	RFL_CHECK(s, SINK_MAGIC);
	return s;
}

static int
sink_made(struct rfl_guard *g, void *made, void **ret_sink, struct riffle_error *reterr)
{
	struct rfl_guard_end end;
	rfl_guard_enter(g, "sink_fd", NULL);
	int fd = g->plugin->ops.provider.sink_fd(made);
	rfl_guard_leave();
	int rc = rfl_guard_end_init(&end, g, "sink_fd", fd, reterr);
	if (rc < 0)
		return rc;
	struct sink *s = rfl_alloc(sizeof *s);
	*s = (struct sink){.magic = SINK_MAGIC, .end = end, .sink = made};
	*ret_sink = s;
	return RIFFLE_OK;
}

static int
g_sink_open(void *self, const struct riffle_sink_spec *spec, void **ret_sink,
	struct riffle_error *reterr)
{
	struct rfl_guard *g = rfl_guard_of(self);
	void *made = NULL;
	if (!rfl_guard_is_open(g))
		return rfl_guard_refuse(g, reterr);
	rfl_guard_enter(g, "sink_open", NULL);
	int rc = g->plugin->ops.provider.sink_open(g->self, spec, &made, reterr);
	rfl_guard_leave();
	rc = rfl_guard_opened(g, "sink_open", rc, made, reterr);
	return rc < 0 ? rc : sink_made(g, made, ret_sink, reterr);
}

static int
g_sink_fd(void *sink)
{
	return rfl_guard_end_fd(&sink_of(sink)->end);
}

/* In a transaction its result answers; SENT only tells of what failed. */
static void
note_sent(struct sink *s, uint64_t tag, uint32_t took, int is_complete)
{
	if (s->has_txn)
		return;
	if (s->send_count == 0)
		s->first_tag = tag;
	size_t at = (size_t)(tag - s->first_tag);
	while (s->send_count <= at) {
		rfl_grow(&s->sends, &s->send_room, s->send_count + 1, sizeof *s->sends);
		s->sends[s->send_count++] = (struct send){0, 0, 0};
	}
	s->sends[at].taken += took;
	s->sends[at].is_complete = is_complete;
}

static void
forget_answered(struct sink *s)
{
	size_t n = 0;
	while (n < s->send_count && s->sends[n].is_complete &&
		s->sends[n].answered == s->sends[n].taken)
		n++;
	if (n == 0)
		return;
	s->send_count -= n;
	s->first_tag += n;
	memmove(s->sends, s->sends + n, s->send_count * sizeof *s->sends);
}

static void
take_sent(struct sink *s, const struct riffle_event *ev)
{
	struct rfl_guard *g = s->end.g;
	if (ev->sent != NULL && (ev->sent_size < sizeof(struct riffle_sent) ||
					ev->sent_size > RFL_GUARD_STRIDE_MAX)) {
		rfl_guard_breach(g, "G03", "sink_poll", "gave statuses of %u bytes", ev->sent_size);
		return;
	}
	if (s->has_txn)
		return;
	struct send *one = ev->tag >= s->first_tag && ev->tag - s->first_tag < s->send_count
				   ? &s->sends[ev->tag - s->first_tag]
				   : NULL;
	if (one == NULL || ev->count == 0 || ev->count > one->taken - one->answered) {
		rfl_guard_breach(g, "G06", "sink_poll",
			"gave a status for %u records with tag %" PRIu64
			", which answers nothing that was sent",
			ev->count, ev->tag);
		return;
	}
	one->answered += ev->count;
	forget_answered(s);
}

static void
take_txn(struct sink *s, const struct riffle_event *ev)
{
	struct rfl_guard *g = s->end.g;
	if (ev->type == RIFFLE_EV_TXN_READY) {
		if (!s->has_txn || s->is_ready)
			rfl_guard_breach(
				g, "G06", "sink_poll", "said TXN_READY, which nothing asked");
		s->is_ready = 1;
		return;
	}
	if (!s->txn_ends || ev->tag != s->txn_tag)
		rfl_guard_breach(g, "G06", "sink_poll",
			"gave the result of a transaction (tag %" PRIu64 ") that does not end",
			ev->tag);
	else if (ev->status < RIFFLE_TXN_COMMITTED || ev->status > RIFFLE_TXN_UNKNOWN)
		rfl_guard_breach(
			g, "G01", "sink_poll", "gave the result %d of a transaction", ev->status);
	s->txn_ends = 0;
}

static int
g_sink_poll(void *sink, struct riffle_event *ev)
{
	struct sink *s = sink_of(sink);
	struct rfl_guard *g = s->end.g;
	if (!rfl_guard_is_open(g))
		return rfl_guard_end_poll(&s->end, ev);
	rfl_guard_enter(g, "sink_poll", NULL);
	int rc = g->plugin->ops.provider.sink_poll(s->sink, ev);
	rfl_guard_leave();
	if (rfl_guard_end_take(&s->end, "sink_poll", rc, ev)) {
		if (ev->type == RIFFLE_EV_SENT)
			take_sent(s, ev);
		else if (ev->type == RIFFLE_EV_TXN_READY || ev->type == RIFFLE_EV_TXN)
			take_txn(s, ev);
		else if (ev->type != RIFFLE_EV_ERROR && ev->type != RIFFLE_EV_CLOSED)
			rfl_guard_breach(
				g, "G03", "sink_poll", "gave an event of type %u", ev->type);
	}
	if (!rfl_guard_is_open(g))
		return rfl_guard_end_poll(&s->end, ev);
	return rc;
}

static int
g_sink_send(void *sink, struct riffle_batch *batch, uint32_t first, uint32_t count, uint64_t tag,
	struct riffle_error *reterr)
{
	struct sink *s = sink_of(sink);
	struct rfl_guard *g = s->end.g;
	if (!rfl_guard_is_open(g))
		return rfl_guard_refuse(g, reterr);
	struct riffle_batch *lent = rfl_guard_lend(g, batch, &first, count);
	rfl_guard_enter(g, "sink_send", lent);
	int rc = g->plugin->ops.provider.sink_send(s->sink, lent, first, count, tag, reterr);
	rfl_guard_leave();
	rfl_guard_lend_end(batch, lent);
	rc = rfl_guard_status(g, "sink_send", rc, count, reterr);
	if (rc > 0)
		note_sent(s, tag, (uint32_t)rc, (uint32_t)rc == count);
	return rc;
}

static void
g_sink_flush(void *sink)
{
	struct sink *s = sink_of(sink);
	if (!rfl_guard_is_open(s->end.g))
		return;
	rfl_guard_enter(s->end.g, "sink_flush", NULL);
	s->end.g->plugin->ops.provider.sink_flush(s->sink);
	rfl_guard_leave();
}

static void
g_sink_close(void *sink)
{
	struct sink *s = sink_of(sink);
	s->end.is_closing = 1;
	if (!rfl_guard_is_open(s->end.g))
		return;
	rfl_guard_enter(s->end.g, "sink_close", NULL);
	s->end.g->plugin->ops.provider.sink_close(s->sink);
	rfl_guard_leave();
}

static void
g_sink_destroy(void *sink)
{
	if (sink == NULL)
		return;
	struct sink *s = sink_of(sink);
	if (rfl_guard_is_open(s->end.g)) {
		rfl_guard_enter(s->end.g, "sink_destroy", NULL);
		s->end.g->plugin->ops.provider.sink_destroy(s->sink);
		rfl_guard_leave();
	}
	RFL_RETIRE(s);
	rfl_guard_end_fini(&s->end);
	free(s->sends);
	free(s);
}

void *
rfl_guard_sink_bare(void *sink)
{
	return sink_of(sink)->sink;
}

void
rfl_guard_sink_join(void *sink)
{
	sink_of(sink)->has_txn = 1;
}

void
rfl_guard_sink_expect(void *sink, uint64_t tag)
{
	struct sink *s = sink_of(sink);
	s->txn_ends = 1;
	s->txn_tag = tag;
}

void
rfl_guard_wrap_sink(struct riffle_provider_ops *ops, int flushes)
{
	ops->sink_open = g_sink_open;
	ops->sink_fd = g_sink_fd;
	ops->sink_poll = g_sink_poll;
	ops->sink_send = g_sink_send;
	ops->sink_flush = flushes ? g_sink_flush : NULL;
	ops->sink_close = g_sink_close;
	ops->sink_destroy = g_sink_destroy;
}
