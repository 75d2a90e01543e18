/* Logs of records in memory, and the sources, sinks and transactions on them. */
#include "runtime/memory.h"

#include "base/check.h"
#include "base/error.h"
#include "base/mem.h"
#include "plugin/batch.h"

#include <errno.h>
#include <riffle/ext/transactions.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MEMORY_MAGIC 0x4d454d4fu

struct entry {
	struct riffle_batch *batch; /* of one record; one reference */
	int is_written;             /* by a sink */
};

/* A stream: its records, and what the one group that reads it has committed. */
struct log {
	const struct riffle_stream *stream;
	struct entry *entries;
	size_t count, room;
	int64_t committed;
	char *metadata; /* NULL = absent */
	size_t metadata_len;
};

struct memory {
	uint32_t magic;
	const struct riffle_host *host;
	struct log **logs;
	size_t log_count, log_room;
	int fd; /* never readable: whoever is asked has answered already */
};

struct events {
	struct riffle_event *list;
	size_t count, room, next;
};

struct source {
	struct memory *memory;
	struct events events;
	struct log **logs; /* by stream, which is the lane's number as well */
	struct riffle_lane *lanes;
	int64_t *next;
	uint32_t count;
};

struct sink {
	struct memory *memory;
	struct events events;
	struct log **logs;
	uint32_t count;
	int in_txn;
	struct staged {
		struct log *log;
		struct riffle_batch *batch;
	} * staged;
	size_t staged_count, staged_room;
};

struct txn {
	struct sink *sink;
	struct source *source;
};

static struct log *
log_of(struct memory *m, const struct riffle_stream *stream)
{
	for (size_t i = 0; i < m->log_count; i++)
		if (m->logs[i]->stream == stream)
			return m->logs[i];
	struct log *l = rfl_zalloc(sizeof *l);
	l->stream = stream;
	rfl_grow(&m->logs, &m->log_room, m->log_count + 1, sizeof *m->logs);
	m->logs[m->log_count++] = l;
	return l;
}

static void
put(struct log *l, struct riffle_batch *batch, int is_written)
{
	rfl_grow(&l->entries, &l->room, l->count + 1, sizeof *l->entries);
	l->entries[l->count++] = (struct entry){batch, is_written};
}

static void
queue(struct events *e, struct riffle_event ev)
{
	rfl_grow(&e->list, &e->room, e->count + 1, sizeof *e->list);
	e->list[e->count++] = ev;
}

static int
next_event(struct events *e, struct riffle_event *ret)
{
	if (e->next == e->count) {
		e->next = e->count = 0;
		return 0;
	}
	*ret = e->list[e->next++];
	return 1;
}

static void
apply(struct source *s, const struct riffle_position *positions, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct log *l = s->logs[positions[i].stream];
		free(l->metadata);
		l->committed = positions[i].offset;
		l->metadata_len = positions[i].metadata.len;
		l->metadata = positions[i].metadata.ptr
				      ? rfl_strndup(positions[i].metadata.ptr, l->metadata_len)
				      : NULL;
	}
}

static int
create(const struct riffle_host *host, const struct riffle_config *cfg, void **ret_self,
	struct riffle_error *reterr)
{
	(void)cfg;
	struct memory *m = rfl_zalloc(sizeof *m);
	m->magic = MEMORY_MAGIC;
	m->host = host;
	m->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->fd < 0) {
		int why = errno;
		free(m);
		return rfl_err(reterr, RIFFLE_E_FATAL, "cannot make an eventfd: %s", strerror(why));
	}
	*ret_self = m;
	return RIFFLE_OK;
}

static void
destroy(void *self)
{
	struct memory *m = self;
	RFL_CHECK(m, MEMORY_MAGIC);
	for (size_t i = 0; i < m->log_count; i++) {
		struct log *l = m->logs[i];
		for (size_t k = 0; k < l->count; k++)
			rfl_batch_unref(l->entries[k].batch);
		free(l->entries);
		free(l->metadata);
		free(l);
	}
	close(m->fd);
	free(m->logs);
	RFL_RETIRE(m);
	free(m);
}

static uint64_t
capabilities(void *self)
{
	(void)self;
	return UINT64_MAX;
}

static void
assign(struct source *s, uint32_t i)
{
	const struct log *l = s->logs[i];
	s->lanes[i] = (struct riffle_lane){
		.size = sizeof s->lanes[i],
		.lane = i,
		.committed = {.stream = i,
			.offset = l->committed,
			.leader_epoch = -1,
			.metadata = {l->metadata, l->metadata_len}},
		.log_end = (int64_t)l->count,
	};
}

static int
source_open(void *self, const struct riffle_source_spec *spec, void **ret_source,
	struct riffle_error *reterr)
{
	(void)reterr;
	struct source *s = rfl_zalloc(sizeof *s);
	s->memory = self;
	s->count = spec->stream_count;
	s->logs = rfl_zalloc(s->count * sizeof *s->logs);
	s->lanes = rfl_zalloc(s->count * sizeof *s->lanes);
	s->next = rfl_zalloc(s->count * sizeof *s->next);
	for (uint32_t i = 0; i < s->count; i++) {
		s->logs[i] = log_of(s->memory, spec->streams[i].stream);
		assign(s, i);
	}
	if (spec->txn != NULL)
		((struct txn *)spec->txn)->source = s;
	queue(&s->events, (struct riffle_event){.type = RIFFLE_EV_ASSIGNED,
				  .lanes = s->lanes,
				  .lane_count = s->count,
				  .lane_size = sizeof *s->lanes});
	*ret_source = s;
	return RIFFLE_OK;
}

static int
source_fd(void *source)
{
	return ((struct source *)source)->memory->fd;
}

static int
source_poll(void *source, struct riffle_event *ret_event)
{
	return next_event(&((struct source *)source)->events, ret_event);
}

static int
source_start(void *source, const uint32_t *lanes, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr)
{
	(void)reterr;
	for (uint32_t i = 0; i < count; i++)
		((struct source *)source)->next[lanes[i]] = from[i].offset;
	return RIFFLE_OK;
}

static int
source_release(void *source, const uint32_t *lanes, uint32_t count, struct riffle_error *reterr)
{
	(void)reterr;
	struct source *s = source;
	for (uint32_t i = 0; i < count; i++)
		queue(&s->events, (struct riffle_event){.type = RIFFLE_EV_RELEASED,
					  .lanes = &s->lanes[lanes[i]],
					  .lane_count = 1,
					  .lane_size = sizeof *s->lanes});
	return RIFFLE_OK;
}

static int
source_commit(void *source, const struct riffle_position *positions, uint32_t count, uint64_t tag,
	struct riffle_error *reterr)
{
	(void)reterr;
	struct source *s = source;
	apply(s, positions, count);
	queue(&s->events, (struct riffle_event){.type = RIFFLE_EV_COMMITTED, .tag = tag});
	return RIFFLE_OK;
}

static int
lane_poll(void *source, uint32_t lane, uint32_t max_records, size_t max_bytes,
	struct riffle_batch **ret_batch, struct riffle_error *reterr)
{
	(void)reterr;
	struct source *s = source;
	const struct log *l = s->logs[lane];
	if ((size_t)s->next[lane] >= l->count)
		return 0;
	struct rfl_builder *b = rfl_builder_create();
	while (rfl_builder_count(b) < max_records && (size_t)s->next[lane] < l->count &&
		(rfl_builder_count(b) == 0 || rfl_builder_bytes(b) < max_bytes)) {
		const struct riffle_batch *from = l->entries[s->next[lane]].batch;
		struct riffle_record r = *riffle_batch_at(from, 0);
		r.offset = s->next[lane]++;
		r.partition = 0;
		r.stream = lane;
		rfl_builder_add(b, &r, from->headers, r.header_count,
			r.content_type ? from->content_types[r.content_type] : NULL);
	}
	*ret_batch = rfl_builder_finish(b);
	rfl_builder_destroy(b);
	return 1;
}

static int
lane_state(void *source, uint32_t lane, struct riffle_lane_state *ret_state)
{
	const struct source *s = source;
	ret_state->flags = 0;
	ret_state->position = s->next[lane];
	ret_state->log_end = (int64_t)s->logs[lane]->count;
	ret_state->as_of_ns = s->memory->host->mono_ns(s->memory->host);
	return RIFFLE_OK;
}

static void
source_close(void *source)
{
	struct source *s = source;
	queue(&s->events, (struct riffle_event){.type = RIFFLE_EV_CLOSED});
}

static void
source_destroy(void *source)
{
	struct source *s = source;
	if (s == NULL)
		return;
	free(s->events.list);
	free(s->logs);
	free(s->lanes);
	free(s->next);
	free(s);
}

static int
sink_open(void *self, const struct riffle_sink_spec *spec, void **ret_sink,
	struct riffle_error *reterr)
{
	(void)reterr;
	struct sink *k = rfl_zalloc(sizeof *k);
	k->memory = self;
	k->count = spec->stream_count;
	k->logs = rfl_zalloc((k->count + 1) * sizeof *k->logs);
	for (uint32_t i = 0; i < k->count; i++)
		k->logs[i] = log_of(k->memory, spec->streams[i]);
	*ret_sink = k;
	return RIFFLE_OK;
}

static int
sink_fd(void *sink)
{
	return ((struct sink *)sink)->memory->fd;
}

static int
sink_poll(void *sink, struct riffle_event *ret_event)
{
	return next_event(&((struct sink *)sink)->events, ret_event);
}

static int
sink_send(void *sink, struct riffle_batch *batch, uint32_t first, uint32_t count, uint64_t tag,
	struct riffle_error *reterr)
{
	(void)reterr;
	struct sink *k = sink;
	for (uint32_t i = first; i < first + count; i++) {
		struct log *l = k->logs[riffle_batch_at(batch, i)->stream];
		struct riffle_batch *one = rfl_batch_copy(batch, i, 1, 0);
		if (!k->in_txn) {
			put(l, one, 1);
			continue;
		}
		rfl_grow(&k->staged, &k->staged_room, k->staged_count + 1, sizeof *k->staged);
		k->staged[k->staged_count++] = (struct staged){l, one};
	}
	if (!k->in_txn)
		queue(&k->events, (struct riffle_event){.type = RIFFLE_EV_SENT,
					  .tag = tag,
					  .first = first,
					  .count = count});
	return (int)count;
}

static void
drop_staged(struct sink *k)
{
	for (size_t i = 0; i < k->staged_count; i++)
		rfl_batch_unref(k->staged[i].batch);
	k->staged_count = 0;
	k->in_txn = 0;
}

static void
sink_close(void *sink)
{
	struct sink *k = sink;
	drop_staged(k);
	queue(&k->events, (struct riffle_event){.type = RIFFLE_EV_CLOSED});
}

static void
sink_destroy(void *sink)
{
	struct sink *k = sink;
	if (k == NULL)
		return;
	free(k->events.list);
	free(k->staged);
	free(k->logs);
	free(k);
}

static int
txn_open(
	void *self, const struct riffle_txn_spec *spec, void **ret_txn, struct riffle_error *reterr)
{
	(void)self, (void)reterr;
	struct txn *t = rfl_zalloc(sizeof *t);
	t->sink = spec->sink;
	queue(&t->sink->events, (struct riffle_event){.type = RIFFLE_EV_TXN_READY});
	*ret_txn = t;
	return RIFFLE_OK;
}

static int
txn_begin(void *txn, struct riffle_error *reterr)
{
	(void)reterr;
	((struct txn *)txn)->sink->in_txn = 1;
	return RIFFLE_OK;
}

static int
txn_commit(void *txn, const struct riffle_position *positions, uint32_t count, uint64_t tag,
	struct riffle_error *reterr)
{
	(void)reterr;
	struct txn *t = txn;
	struct sink *k = t->sink;
	for (size_t i = 0; i < k->staged_count; i++)
		put(k->staged[i].log, k->staged[i].batch, 1);
	k->staged_count = 0;
	k->in_txn = 0;
	apply(t->source, positions, count);
	queue(&k->events,
		(struct riffle_event){
			.type = RIFFLE_EV_TXN, .tag = tag, .status = RIFFLE_TXN_COMMITTED});
	return RIFFLE_OK;
}

static int
txn_abort(void *txn, uint64_t tag, struct riffle_error *reterr)
{
	(void)reterr;
	struct sink *k = ((struct txn *)txn)->sink;
	drop_staged(k);
	queue(&k->events, (struct riffle_event){
				  .type = RIFFLE_EV_TXN, .tag = tag, .status = RIFFLE_TXN_ABORTED});
	return RIFFLE_OK;
}

static void
txn_destroy(void *txn)
{
	if (txn == NULL)
		return;
	drop_staged(((struct txn *)txn)->sink);
	free(txn);
}

static const void *
extension(void *self, const char *id)
{
	static const struct riffle_transactions transactions = {.size = sizeof transactions,
		.open = txn_open,
		.begin = txn_begin,
		.commit = txn_commit,
		.abort = txn_abort,
		.destroy = txn_destroy};
	(void)self;
	return strcmp(id, RIFFLE_EXT_TRANSACTIONS) == 0 ? &transactions : NULL;
}

int
rfl_memory_create(const struct rfl_clock *clock, struct rfl_instance **ret_instance,
	struct riffle_error *reterr)
{
	static char name[] = "memory";
	static const struct rfl_plugin plugin = {.kind = RIFFLE_KIND_PROVIDER,
		.name = name,
		.version = name,
		.capabilities = UINT64_MAX,
		.ops.provider = {.size = sizeof plugin.ops.provider,
			.create = create,
			.destroy = destroy,
			.capabilities = capabilities,
			.extension = extension,
			.source_open = source_open,
			.source_fd = source_fd,
			.source_poll = source_poll,
			.source_start = source_start,
			.source_rewind = source_start,
			.source_release = source_release,
			.source_commit = source_commit,
			.lane_poll = lane_poll,
			.lane_state = lane_state,
			.source_close = source_close,
			.source_destroy = source_destroy,
			.sink_open = sink_open,
			.sink_fd = sink_fd,
			.sink_poll = sink_poll,
			.sink_send = sink_send,
			.sink_close = sink_close,
			.sink_destroy = sink_destroy}};
	const struct riffle_config config = {.size = sizeof config, .name = name};
	return rfl_instance_create(&plugin, &config, clock, RFL_GUARD_OFF, ret_instance, reterr);
}

void
rfl_memory_append(struct rfl_instance *memory, const struct riffle_stream *stream,
	const struct riffle_record *record, const struct riffle_header *headers,
	uint32_t header_count)
{
	struct memory *m = memory->bare;
	RFL_CHECK(m, MEMORY_MAGIC);
	struct riffle_record r = *record;
	r.header_first = 0;
	r.header_count = header_count;
	r.content_type = 0;
	const struct riffle_batch view = {
		.size = sizeof view,
		.record_size = sizeof r,
		.record_count = 1,
		.header_count = header_count,
		.records = &r,
		.headers = headers,
	};
	put(log_of(m, stream), rfl_batch_copy(&view, 0, 1, 0), 0);
}

const struct riffle_batch *
rfl_memory_written(
	const struct rfl_instance *memory, const struct riffle_stream *stream, size_t *at)
{
	struct memory *m = memory->bare;
	RFL_CHECK(m, MEMORY_MAGIC);
	const struct log *l = log_of(m, stream);
	while (*at < l->count) {
		const struct entry *e = &l->entries[(*at)++];
		if (e->is_written)
			return e->batch;
	}
	return NULL;
}
