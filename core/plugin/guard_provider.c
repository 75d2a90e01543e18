/* The guard of a provider: its operations, sources, sinks and transactions. */
#include "plugin/guard_private.h"

#include "base/error.h"
#include "base/mem.h"
#include "plugin/batch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SOURCE_MAGIC 0x47535243u
#define SINK_MAGIC 0x47534e4bu
#define TXN_MAGIC 0x4754584eu
#define STRIDE_MAX 65536u
#define LANES_MAX 1000000u
#define METADATA_MAX 4096u

enum lane_state { LANE_ASSIGNED, LANE_STARTED, LANE_RELEASING };

struct lane {
	uint32_t id, stream;
	int32_t partition;
	enum lane_state state;
};

/* What both ends have: how they say that the instance is quarantined, and that they are closed. */
struct end {
	struct rfl_guard *g;
	int fd;       /* the plugin's, asked once */
	int quiet_fd; /* shown in its place once nobody would clear it any more; -1 until then */
	int is_closing, is_closed, is_told;
};

struct source {
	uint32_t magic;
	struct end end;
	void *source; /* the plugin's */
	uint32_t stream_count;
	struct lane *lanes; /* by id */
	size_t lane_count, lane_room;
	uint64_t *commits; /* tags not yet answered, oldest first */
	size_t commit_count, commit_room;
};

struct send {
	uint32_t taken, answered;
	int is_complete; /* nothing more of it will be offered */
};

struct sink {
	uint32_t magic;
	struct end end;
	void *sink;
	struct send *sends; /* sends[tag - first_tag] */
	size_t send_count, send_room;
	uint64_t first_tag;
	int has_txn, is_ready, txn_ends;
	uint64_t txn_tag;
};

struct txn {
	uint32_t magic;
	struct rfl_guard *g;
	struct sink *sink;
	void *txn;
};

static struct rfl_guard *
guard_of(void *self)
{
	struct rfl_guard *g = self;
	RFL_CHECK(g, RFL_GUARD_MAGIC);
	return g;
}

static struct source *
source_of(void *source)
{
	struct source *s = source;
	RFL_CHECK(s, SOURCE_MAGIC);
	return s;
}

static struct sink *
sink_of(void *sink)
{
	struct sink *s = sink;
	RFL_CHECK(s, SINK_MAGIC);
	return s;
}

/* Whether an open succeeded; then *made is what it made. */
static int
opened(struct rfl_guard *g, const char *function, int rc, const void *made,
	struct riffle_error *reterr)
{
	rc = rfl_guard_status(g, function, rc, 0, reterr);
	if (rc != RIFFLE_OK || made != NULL)
		return rc;
	rfl_guard_breach(g, "G02", function, "said OK and made nothing");
	return rfl_guard_refuse(g, reterr);
}

static int
end_fd(struct end *e)
{
	if (rfl_guard_is_open(e->g))
		return e->fd;
	if (e->quiet_fd < 0)
		e->quiet_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return e->quiet_fd;
}

/* What is left to say once the plugin says nothing any more. */
static int
end_poll(struct end *e, struct riffle_event *ev)
{
	ev->error = e->g->fault;
	ev->status = RIFFLE_E_FATAL;
	ev->type = RIFFLE_EV_ERROR;
	if (!e->is_told)
		return e->is_told = 1;
	ev->type = RIFFLE_EV_CLOSED;
	return e->is_closing && !e->is_closed ? (e->is_closed = 1) : 0;
}

static void
end_fini(struct end *e)
{
	if (e->quiet_fd >= 0)
		close(e->quiet_fd);
}

/* Polls in the way all polls go: 1 = *ev is the plugin's, sound in what every event has. */
static int
end_take(struct end *e, const char *function, int rc, const struct riffle_event *ev)
{
	struct rfl_guard *g = e->g;
	if (rc == 0)
		return 0;
	if (rc != 1)
		rfl_guard_breach(g, "G01", function, "returned %d, which is neither 0 nor 1", rc);
	else if (e->is_closed)
		rfl_guard_breach(g, "G07", function, "gave event %u after CLOSED", ev->type);
	else if (ev->type == RIFFLE_EV_CLOSED && !e->is_closing)
		rfl_guard_breach(g, "G06", function, "said CLOSED before it was asked to close");
	else if (ev->type == RIFFLE_EV_ERROR && (ev->status >= 0 || ev->status < RIFFLE_E_LAST))
		rfl_guard_breach(g, "G01", function, "gave an ERROR with status %d", ev->status);
	if (!rfl_guard_is_open(g))
		return 0;
	e->is_closed = ev->type == RIFFLE_EV_CLOSED;
	return 1;
}

/* Texts of a plugin end, whatever it wrote. */
static void
end_text(struct riffle_event *ev)
{
	ev->error.text[sizeof ev->error.text - 1] = '\0';
	if (ev->error.code == 0)
		ev->error.code = ev->status;
	if (ev->error.text[0] == '\0' && ev->status < 0)
		snprintf(ev->error.text, sizeof ev->error.text, "%s", rfl_status_name(ev->status));
}

static size_t
lane_place(const struct source *s, uint32_t id)
{
	size_t low = 0, high = s->lane_count;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (s->lanes[mid].id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct lane *
lane_find(const struct source *s, uint32_t id)
{
	size_t at = lane_place(s, id);
	return at < s->lane_count && s->lanes[at].id == id ? &s->lanes[at] : NULL;
}

static const struct riffle_lane *
event_lane(const struct riffle_event *ev, uint32_t i)
{
	return (const void *)((const char *)ev->lanes + (size_t)i * ev->lane_size);
}

static const char *
assigned_fault(const struct source *s, const struct riffle_lane *l)
{
	const struct riffle_position *at = &l->committed;
	if (lane_find(s, l->lane) != NULL)
		return "it is assigned already";
	if (at->stream >= s->stream_count || at->partition < 0)
		return "its stream or partition is out of range";
	if (at->offset < 0)
		return "its position is not resolved";
	if (at->metadata.len > METADATA_MAX || (at->metadata.ptr == NULL && at->metadata.len > 0))
		return "its metadata cannot be";
	return NULL;
}

static void
lane_add(struct source *s, const struct riffle_lane *l)
{
	size_t at = lane_place(s, l->lane);
	rfl_grow(&s->lanes, &s->lane_room, s->lane_count + 1, sizeof *s->lanes);
	memmove(s->lanes + at + 1, s->lanes + at, (s->lane_count - at) * sizeof *s->lanes);
	s->lane_count++;
	s->lanes[at] = (struct lane){
		.id = l->lane, .stream = l->committed.stream, .partition = l->committed.partition};
}

static void
lane_remove(struct source *s, uint32_t id)
{
	size_t at = lane_place(s, id);
	memmove(s->lanes + at, s->lanes + at + 1, (s->lane_count - at - 1) * sizeof *s->lanes);
	s->lane_count--;
}

/* One lane of ASSIGNED, REVOKED, LOST, RELEASED. */
static const char *
take_lane(struct source *s, uint32_t type, const struct riffle_lane *l)
{
	struct lane *known = lane_find(s, l->lane);
	if (type == RIFFLE_EV_ASSIGNED) {
		const char *fault = assigned_fault(s, l);
		if (fault == NULL)
			lane_add(s, l);
		return fault;
	}
	if (known == NULL)
		return "it was never assigned";
	if (type != RIFFLE_EV_RELEASED)
		return NULL;
	if (known->state != LANE_RELEASING)
		return "its release was not asked for";
	lane_remove(s, l->lane);
	return NULL;
}

static void
take_lanes(struct source *s, const struct riffle_event *ev)
{
	if (ev->lane_count == 0 || ev->lane_count > LANES_MAX || ev->lanes == NULL ||
		ev->lane_size < sizeof(struct riffle_lane) || ev->lane_size > STRIDE_MAX) {
		rfl_guard_breach(s->end.g, "G03", "source_poll",
			"gave event %u with %u lanes of %u bytes", ev->type, ev->lane_count,
			ev->lane_size);
		return;
	}
	for (uint32_t i = 0; i < ev->lane_count; i++) {
		const struct riffle_lane *l = event_lane(ev, i);
		const char *fault = take_lane(s, ev->type, l);
		if (fault == NULL)
			continue;
		rfl_guard_breach(s->end.g, "G03", "source_poll", "gave event %u for lane %u: %s",
			ev->type, l->lane, fault);
		return;
	}
}

/* Commits complete in the order they were asked. */
static void
take_committed(struct source *s, const struct riffle_event *ev)
{
	if (s->commit_count == 0 || s->commits[0] != ev->tag) {
		rfl_guard_breach(s->end.g, "G06", "source_poll",
			"said COMMITTED for tag %" PRIu64 ", which is not the next commit",
			ev->tag);
		return;
	}
	memmove(s->commits, s->commits + 1, --s->commit_count * sizeof *s->commits);
	if (ev->status > 0 || ev->status < RIFFLE_E_LAST)
		rfl_guard_breach(s->end.g, "G01", "source_poll", "gave a COMMITTED with status %d",
			ev->status);
}

static int
g_source_poll(void *source, struct riffle_event *ev)
{
	struct source *s = source_of(source);
	struct rfl_guard *g = s->end.g;
	if (!rfl_guard_is_open(g))
		return end_poll(&s->end, ev);
	rfl_guard_enter(g, "source_poll", NULL);
	int rc = g->plugin->ops.provider.source_poll(s->source, ev);
	rfl_guard_leave();
	if (end_take(&s->end, "source_poll", rc, ev)) {
		end_text(ev);
		if (ev->type >= RIFFLE_EV_ASSIGNED && ev->type <= RIFFLE_EV_RELEASED)
			take_lanes(s, ev);
		else if (ev->type == RIFFLE_EV_COMMITTED)
			take_committed(s, ev);
		else if (ev->type != RIFFLE_EV_ERROR && ev->type != RIFFLE_EV_CLOSED)
			rfl_guard_breach(
				g, "G03", "source_poll", "gave an event of type %u", ev->type);
	}
	if (!rfl_guard_is_open(g))
		return end_poll(&s->end, ev);
	return rc;
}

static int
source_made(struct rfl_guard *g, void *made, uint32_t stream_count, void **ret_source,
	struct riffle_error *reterr)
{
	rfl_guard_enter(g, "source_fd", NULL);
	int fd = g->plugin->ops.provider.source_fd(made);
	rfl_guard_leave();
	if (fd < 0) {
		rfl_guard_breach(g, "G02", "source_fd", "returned %d", fd);
		return rfl_guard_refuse(g, reterr);
	}
	struct source *s = rfl_zalloc(sizeof *s);
	s->magic = SOURCE_MAGIC;
	s->end = (struct end){.g = g, .fd = fd, .quiet_fd = -1};
	s->source = made;
	s->stream_count = stream_count;
	*ret_source = s;
	return RIFFLE_OK;
}

static int
g_source_open(void *self, const struct riffle_source_spec *spec, void **ret_source,
	struct riffle_error *reterr)
{
	struct rfl_guard *g = guard_of(self);
	struct riffle_source_spec bare = *spec;
	void *made = NULL;
	if (!rfl_guard_is_open(g))
		return rfl_guard_refuse(g, reterr);
	if (spec->txn != NULL)
		bare.txn = ((struct txn *)spec->txn)->txn;
	rfl_guard_enter(g, "source_open", NULL);
	int rc = g->plugin->ops.provider.source_open(g->self, &bare, &made, reterr);
	rfl_guard_leave();
	rc = opened(g, "source_open", rc, made, reterr);
	return rc < 0 ? rc : source_made(g, made, spec->stream_count, ret_source, reterr);
}

static int
g_source_fd(void *source)
{
	return end_fd(&source_of(source)->end);
}

static int
g_source_start(void *source, const uint32_t *lanes, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr)
{
	struct source *s = source_of(source);
	struct rfl_guard *g = s->end.g;
	if (!rfl_guard_is_open(g))
		return rfl_guard_refuse(g, reterr);
	for (uint32_t i = 0; i < count; i++) {
		struct lane *l = lane_find(s, lanes[i]);
		rfl_assert(l != NULL);
		l->state = LANE_STARTED;
	}
	rfl_guard_enter(g, "source_start", NULL);
	int rc = g->plugin->ops.provider.source_start(s->source, lanes, from, count, reterr);
	rfl_guard_leave();
	return rfl_guard_status(g, "source_start", rc, 0, reterr);
}

static int
g_source_rewind(void *source, const uint32_t *lanes, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr)
{
	struct source *s = source_of(source);
	struct rfl_guard *g = s->end.g;
	if (!rfl_guard_is_open(g))
		return rfl_guard_refuse(g, reterr);
	rfl_guard_enter(g, "source_rewind", NULL);
	int rc = g->plugin->ops.provider.source_rewind(s->source, lanes, from, count, reterr);
	rfl_guard_leave();
	return rfl_guard_status(g, "source_rewind", rc, 0, reterr);
}

static int
g_source_release(void *source, const uint32_t *lanes, uint32_t count, struct riffle_error *reterr)
{
	struct source *s = source_of(source);
	struct rfl_guard *g = s->end.g;
	if (!rfl_guard_is_open(g))
		return rfl_guard_refuse(g, reterr);
	for (uint32_t i = 0; i < count; i++) {
		struct lane *l = lane_find(s, lanes[i]);
		rfl_assert(l != NULL);
		l->state = LANE_RELEASING;
	}
	rfl_guard_enter(g, "source_release", NULL);
	int rc = g->plugin->ops.provider.source_release(s->source, lanes, count, reterr);
	rfl_guard_leave();
	return rfl_guard_status(g, "source_release", rc, 0, reterr);
}

static int
g_source_commit(void *source, const struct riffle_position *positions, uint32_t count, uint64_t tag,
	struct riffle_error *reterr)
{
	struct source *s = source_of(source);
	struct rfl_guard *g = s->end.g;
	if (!rfl_guard_is_open(g))
		return rfl_guard_refuse(g, reterr);
	rfl_guard_enter(g, "source_commit", NULL);
	int rc = g->plugin->ops.provider.source_commit(s->source, positions, count, tag, reterr);
	rfl_guard_leave();
	rc = rfl_guard_status(g, "source_commit", rc, 0, reterr);
	if (rc < 0)
		return rc;
	rfl_grow(&s->commits, &s->commit_room, s->commit_count + 1, sizeof *s->commits);
	s->commits[s->commit_count++] = tag;
	return rc;
}

static int
g_lane_poll(void *source, uint32_t lane, uint32_t max_records, size_t max_bytes,
	struct riffle_batch **ret_batch, struct riffle_error *reterr)
{
	struct source *s = source_of(source);
	struct rfl_guard *g = s->end.g;
	struct riffle_batch *b = NULL;
	if (!rfl_guard_is_open(g))
		return rfl_guard_refuse(g, reterr);
	rfl_guard_enter(g, "lane_poll", NULL);
	int rc = g->plugin->ops.provider.lane_poll(
		s->source, lane, max_records, max_bytes, &b, reterr);
	rfl_guard_leave();
	rc = rfl_guard_status(g, "lane_poll", rc, 1, reterr);
	if (rc != 1)
		return rc;
	const struct lane *l = lane_find(s, lane);
	rfl_assert(l != NULL);
	const struct rfl_guard_expect expect = {
		.most = max_records,
		.streams = s->stream_count,
		.stream = (int32_t)l->stream,
		.partition = l->partition,
		.rising_offsets = 1,
	};
	const char *fault = rfl_guard_batch_fault(b, &expect);
	if (fault != NULL) {
		rfl_guard_breach(g, "G05", "lane_poll", "gave %s", fault);
		return rfl_guard_refuse(g, reterr);
	}
	*ret_batch = b;
	return 1;
}

static int
g_lane_state(void *source, uint32_t lane, struct riffle_lane_state *ret_state)
{
	struct source *s = source_of(source);
	struct rfl_guard *g = s->end.g;
	struct riffle_error err = {0};
	if (!rfl_guard_is_open(g))
		return RIFFLE_E_FATAL;
	rfl_guard_enter(g, "lane_state", NULL);
	int rc = g->plugin->ops.provider.lane_state(s->source, lane, ret_state);
	rfl_guard_leave();
	return rfl_guard_status(g, "lane_state", rc, 0, &err);
}

static void
g_source_close(void *source)
{
	struct source *s = source_of(source);
	s->end.is_closing = 1;
	if (!rfl_guard_is_open(s->end.g))
		return;
	rfl_guard_enter(s->end.g, "source_close", NULL);
	s->end.g->plugin->ops.provider.source_close(s->source);
	rfl_guard_leave();
}

static void
g_source_destroy(void *source)
{
	if (source == NULL)
		return;
	struct source *s = source_of(source);
	if (rfl_guard_is_open(s->end.g)) {
		rfl_guard_enter(s->end.g, "source_destroy", NULL);
		s->end.g->plugin->ops.provider.source_destroy(s->source);
		rfl_guard_leave();
	}
	RFL_RETIRE(s);
	end_fini(&s->end);
	free(s->lanes);
	free(s->commits);
	free(s);
}

static int
sink_made(struct rfl_guard *g, void *made, void **ret_sink, struct riffle_error *reterr)
{
	rfl_guard_enter(g, "sink_fd", NULL);
	int fd = g->plugin->ops.provider.sink_fd(made);
	rfl_guard_leave();
	if (fd < 0) {
		rfl_guard_breach(g, "G02", "sink_fd", "returned %d", fd);
		return rfl_guard_refuse(g, reterr);
	}
	struct sink *s = rfl_zalloc(sizeof *s);
	s->magic = SINK_MAGIC;
	s->end = (struct end){.g = g, .fd = fd, .quiet_fd = -1};
	s->sink = made;
	*ret_sink = s;
	return RIFFLE_OK;
}

static int
g_sink_open(void *self, const struct riffle_sink_spec *spec, void **ret_sink,
	struct riffle_error *reterr)
{
	struct rfl_guard *g = guard_of(self);
	void *made = NULL;
	if (!rfl_guard_is_open(g))
		return rfl_guard_refuse(g, reterr);
	rfl_guard_enter(g, "sink_open", NULL);
	int rc = g->plugin->ops.provider.sink_open(g->self, spec, &made, reterr);
	rfl_guard_leave();
	rc = opened(g, "sink_open", rc, made, reterr);
	return rc < 0 ? rc : sink_made(g, made, ret_sink, reterr);
}

static int
g_sink_fd(void *sink)
{
	return end_fd(&sink_of(sink)->end);
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
	if (ev->sent != NULL &&
		(ev->sent_size < sizeof(struct riffle_sent) || ev->sent_size > STRIDE_MAX)) {
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
		return end_poll(&s->end, ev);
	rfl_guard_enter(g, "sink_poll", NULL);
	int rc = g->plugin->ops.provider.sink_poll(s->sink, ev);
	rfl_guard_leave();
	if (end_take(&s->end, "sink_poll", rc, ev)) {
		end_text(ev);
		if (ev->type == RIFFLE_EV_SENT)
			take_sent(s, ev);
		else if (ev->type == RIFFLE_EV_TXN_READY || ev->type == RIFFLE_EV_TXN)
			take_txn(s, ev);
		else if (ev->type != RIFFLE_EV_ERROR && ev->type != RIFFLE_EV_CLOSED)
			rfl_guard_breach(
				g, "G03", "sink_poll", "gave an event of type %u", ev->type);
	}
	if (!rfl_guard_is_open(g))
		return end_poll(&s->end, ev);
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
	end_fini(&s->end);
	free(s->sends);
	free(s);
}

static int
g_txn_open(
	void *self, const struct riffle_txn_spec *spec, void **ret_txn, struct riffle_error *reterr)
{
	struct rfl_guard *g = guard_of(self);
	struct sink *s = sink_of(spec->sink);
	struct riffle_txn_spec bare = *spec;
	void *made = NULL;
	if (!rfl_guard_is_open(g))
		return rfl_guard_refuse(g, reterr);
	bare.sink = s->sink;
	rfl_guard_enter(g, "transactions.open", NULL);
	int rc = g->plugin_transactions->open(g->self, &bare, &made, reterr);
	rfl_guard_leave();
	rc = opened(g, "transactions.open", rc, made, reterr);
	if (rc < 0)
		return rc;
	struct txn *t = rfl_zalloc(sizeof *t);
	*t = (struct txn){.magic = TXN_MAGIC, .g = g, .sink = s, .txn = made};
	s->has_txn = 1;
	*ret_txn = t;
	return RIFFLE_OK;
}

static struct txn *
txn_of(void *txn)
{
	struct txn *t = txn;
	RFL_CHECK(t, TXN_MAGIC);
	return t;
}

static int
g_txn_begin(void *txn, struct riffle_error *reterr)
{
	struct txn *t = txn_of(txn);
	if (!rfl_guard_is_open(t->g))
		return rfl_guard_refuse(t->g, reterr);
	rfl_guard_enter(t->g, "transactions.begin", NULL);
	int rc = t->g->plugin_transactions->begin(t->txn, reterr);
	rfl_guard_leave();
	return rfl_guard_status(t->g, "transactions.begin", rc, 0, reterr);
}

static int
txn_ended(struct txn *t, const char *function, int rc, uint64_t tag, struct riffle_error *reterr)
{
	rc = rfl_guard_status(t->g, function, rc, 0, reterr);
	if (rc == RIFFLE_OK) {
		t->sink->txn_ends = 1;
		t->sink->txn_tag = tag;
	}
	return rc;
}

static int
g_txn_commit(void *txn, const struct riffle_position *positions, uint32_t count, uint64_t tag,
	struct riffle_error *reterr)
{
	struct txn *t = txn_of(txn);
	if (!rfl_guard_is_open(t->g))
		return rfl_guard_refuse(t->g, reterr);
	rfl_guard_enter(t->g, "transactions.commit", NULL);
	int rc = t->g->plugin_transactions->commit(t->txn, positions, count, tag, reterr);
	rfl_guard_leave();
	return txn_ended(t, "transactions.commit", rc, tag, reterr);
}

static int
g_txn_abort(void *txn, uint64_t tag, struct riffle_error *reterr)
{
	struct txn *t = txn_of(txn);
	if (!rfl_guard_is_open(t->g))
		return rfl_guard_refuse(t->g, reterr);
	rfl_guard_enter(t->g, "transactions.abort", NULL);
	int rc = t->g->plugin_transactions->abort(t->txn, tag, reterr);
	rfl_guard_leave();
	return txn_ended(t, "transactions.abort", rc, tag, reterr);
}

static void
g_txn_destroy(void *txn)
{
	if (txn == NULL)
		return;
	struct txn *t = txn_of(txn);
	if (rfl_guard_is_open(t->g)) {
		rfl_guard_enter(t->g, "transactions.destroy", NULL);
		t->g->plugin_transactions->destroy(t->txn);
		rfl_guard_leave();
	}
	RFL_RETIRE(t);
	free(t);
}

static uint64_t
g_capabilities(void *self)
{
	struct rfl_guard *g = guard_of(self);
	if (!rfl_guard_is_open(g))
		return 0;
	rfl_guard_enter(g, "capabilities", NULL);
	uint64_t now = g->plugin->ops.provider.capabilities(g->self);
	rfl_guard_leave();
	return now & g->plugin->capabilities;
}

static const void *
g_extension(void *self, const char *id)
{
	struct rfl_guard *g = guard_of(self);
	if (!rfl_guard_is_open(g))
		return NULL;
	if (strcmp(id, RIFFLE_EXT_TRANSACTIONS) == 0)
		return rfl_guard_transactions(g);
	rfl_guard_enter(g, "extension", NULL);
	const void *found = g->plugin->ops.provider.extension(g->self, id);
	rfl_guard_leave();
	return found;
}

const struct riffle_transactions *
rfl_guard_transactions(struct rfl_guard *g)
{
	RFL_CHECK(g, RFL_GUARD_MAGIC);
	const struct riffle_transactions *bare = g->plugin_transactions;
	if (bare == NULL && rfl_guard_is_open(g)) {
		rfl_guard_enter(g, "extension", NULL);
		bare = g->plugin->ops.provider.extension(g->self, RIFFLE_EXT_TRANSACTIONS);
		rfl_guard_leave();
	}
	if (bare == NULL || bare->size < sizeof *bare)
		return NULL;
	g->plugin_transactions = bare;
	g->transactions = (struct riffle_transactions){
		.size = sizeof g->transactions,
		.open = g_txn_open,
		.begin = g_txn_begin,
		.commit = g_txn_commit,
		.abort = g_txn_abort,
		.destroy = g_txn_destroy,
	};
	return &g->transactions;
}

static int
g_provision(void *self, const struct riffle_stream *stream, struct riffle_error *reterr)
{
	struct rfl_guard *g = guard_of(self);
	if (!rfl_guard_is_open(g))
		return rfl_guard_refuse(g, reterr);
	rfl_guard_enter(g, "provision", NULL);
	int rc = g->plugin->ops.provider.provision(g->self, stream, reterr);
	rfl_guard_leave();
	return rfl_guard_status(g, "provision", rc, 0, reterr);
}

static int
g_describe(void *self, const struct riffle_stream *stream, struct riffle_stream_info *ret_info,
	struct riffle_error *reterr)
{
	struct rfl_guard *g = guard_of(self);
	if (!rfl_guard_is_open(g))
		return rfl_guard_refuse(g, reterr);
	rfl_guard_enter(g, "describe", NULL);
	int rc = g->plugin->ops.provider.describe(g->self, stream, ret_info, reterr);
	rfl_guard_leave();
	return rfl_guard_status(g, "describe", rc, 0, reterr);
}

static int
g_remove(void *self, const struct riffle_stream *stream, struct riffle_error *reterr)
{
	struct rfl_guard *g = guard_of(self);
	if (!rfl_guard_is_open(g))
		return rfl_guard_refuse(g, reterr);
	rfl_guard_enter(g, "remove", NULL);
	int rc = g->plugin->ops.provider.remove(g->self, stream, reterr);
	rfl_guard_leave();
	return rfl_guard_status(g, "remove", rc, 0, reterr);
}

static void
g_destroy(void *self)
{
	struct rfl_guard *g = guard_of(self);
	if (!rfl_guard_is_open(g))
		return;
	rfl_guard_enter(g, "destroy", NULL);
	g->plugin->ops.provider.destroy(g->self);
	rfl_guard_leave();
}

void
rfl_guard_wrap_provider(struct rfl_guard *g)
{
	const struct riffle_provider_ops *bare = &g->plugin->ops.provider;
	int reads = bare->source_open != NULL, writes = bare->sink_open != NULL;
	g->ops.provider = (struct riffle_provider_ops){
		.size = sizeof g->ops.provider,
		.destroy = g_destroy,
		.capabilities = g_capabilities,
		.extension = bare->extension ? g_extension : NULL,
		.provision = bare->provision ? g_provision : NULL,
		.describe = bare->describe ? g_describe : NULL,
		.remove = bare->remove ? g_remove : NULL,
		.source_open = reads ? g_source_open : NULL,
		.source_fd = g_source_fd,
		.source_poll = g_source_poll,
		.source_start = g_source_start,
		.source_rewind = g_source_rewind,
		.source_release = g_source_release,
		.source_commit = g_source_commit,
		.lane_poll = g_lane_poll,
		.lane_state = g_lane_state,
		.source_close = g_source_close,
		.source_destroy = g_source_destroy,
		.sink_open = writes ? g_sink_open : NULL,
		.sink_fd = g_sink_fd,
		.sink_poll = g_sink_poll,
		.sink_send = g_sink_send,
		.sink_flush = bare->sink_flush ? g_sink_flush : NULL,
		.sink_close = g_sink_close,
		.sink_destroy = g_sink_destroy,
	};
}
