/* The guard of a provider's sources. */
#include "plugin/guard_end.h"

#include "base/error.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SOURCE_MAGIC 0x47535243u
#define LANES_MAX 1000000u
#define METADATA_MAX 4096u

enum lane_state { LANE_ASSIGNED, LANE_STARTED, LANE_RELEASING };

struct lane {
	uint32_t id, stream;
	int32_t partition;
	enum lane_state state;
};

struct source {
	uint32_t magic;
	struct rfl_guard_end end;
	void *source; /* the plugin's */
	uint32_t stream_count;
	struct lane *lanes; /* by id */
	size_t lane_count, lane_room;
	uint64_t *commits; /* tags not yet answered, oldest first */
	size_t commit_count, commit_room;
};

static struct source *
source_of(void *source)
{
	struct source *s = source;
	RFL_CHECK(s, SOURCE_MAGIC);
	return s;
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
		ev->lane_size < sizeof(struct riffle_lane) ||
		ev->lane_size > RFL_GUARD_STRIDE_MAX) {
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
		return rfl_guard_end_poll(&s->end, ev);
	rfl_guard_enter(g, "source_poll", NULL);
	int rc = g->plugin->ops.provider.source_poll(s->source, ev);
	rfl_guard_leave();
	if (rfl_guard_end_take(&s->end, "source_poll", rc, ev)) {
		if (ev->type >= RIFFLE_EV_ASSIGNED && ev->type <= RIFFLE_EV_RELEASED)
			take_lanes(s, ev);
		else if (ev->type == RIFFLE_EV_COMMITTED)
			take_committed(s, ev);
		else if (ev->type != RIFFLE_EV_ERROR && ev->type != RIFFLE_EV_CLOSED)
			rfl_guard_breach(
				g, "G03", "source_poll", "gave an event of type %u", ev->type);
	}
	if (!rfl_guard_is_open(g))
		return rfl_guard_end_poll(&s->end, ev);
	return rc;
}

static int
source_made(struct rfl_guard *g, void *made, uint32_t stream_count, void **ret_source,
	struct riffle_error *reterr)
{
	struct rfl_guard_end end;
	rfl_guard_enter(g, "source_fd", NULL);
	int fd = g->plugin->ops.provider.source_fd(made);
	rfl_guard_leave();
	int rc = rfl_guard_end_init(&end, g, "source_fd", fd, reterr);
	if (rc < 0)
		return rc;
	struct source *s = rfl_alloc(sizeof *s);
	*s = (struct source){
		.magic = SOURCE_MAGIC, .end = end, .source = made, .stream_count = stream_count};
	*ret_source = s;
	return RIFFLE_OK;
}

static int
g_source_open(void *self, const struct riffle_source_spec *spec, void **ret_source,
	struct riffle_error *reterr)
{
	struct rfl_guard *g = rfl_guard_of(self);
	struct riffle_source_spec bare = *spec;
	void *made = NULL;
	if (!rfl_guard_is_open(g))
		return rfl_guard_refuse(g, reterr);
	if (spec->txn != NULL)
		bare.txn = rfl_guard_txn_bare(spec->txn);
	rfl_guard_enter(g, "source_open", NULL);
	int rc = g->plugin->ops.provider.source_open(g->self, &bare, &made, reterr);
	rfl_guard_leave();
	rc = rfl_guard_opened(g, "source_open", rc, made, reterr);
	return rc < 0 ? rc : source_made(g, made, spec->stream_count, ret_source, reterr);
}

static int
g_source_fd(void *source)
{
	return rfl_guard_end_fd(&source_of(source)->end);
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
	rfl_guard_end_fini(&s->end);
	free(s->lanes);
	free(s->commits);
	free(s);
}

void
rfl_guard_wrap_source(struct riffle_provider_ops *ops)
{
	ops->source_open = g_source_open;
	ops->source_fd = g_source_fd;
	ops->source_poll = g_source_poll;
	ops->source_start = g_source_start;
	ops->source_rewind = g_source_rewind;
	ops->source_release = g_source_release;
	ops->source_commit = g_source_commit;
	ops->lane_poll = g_lane_poll;
	ops->lane_state = g_lane_state;
	ops->source_close = g_source_close;
	ops->source_destroy = g_source_destroy;
}
