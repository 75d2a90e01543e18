/* Of riffle/simple.h: a lane, which reads ahead of the host through one of the author's readers. */
#ifndef RIFFLE_SIMPLE_LANE_H
#define RIFFLE_SIMPLE_LANE_H

#include <riffle/simple/group.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RFS_QUEUE_RECORDS 1024u
#define RFS_POLL_MS 20
#define RFS_QUEUE_BYTES ((size_t)4 * 1024 * 1024)

/* A record that waits for the host: this, its headers, its bytes, in one block. */
struct rfs_record {
	struct rfs_record *next;
	struct riffle_simple_message message;
	size_t bytes, block_bytes;
};

struct rfs_lane {
	struct riffle_source_stream spec;
	/* under the lock */
	int is_started, is_releasing, is_released, is_damaged, is_failing;
	uint32_t generation; /* moved by the host: what was read for an older one is dropped */
	int64_t from, position, log_end;
	struct rfs_record *first, **last;
	uint32_t queued, batches_out;
	size_t queued_bytes;
	int64_t idle_ns; /* when there was nothing more; 0 = there was */
	int64_t damaged_at;
	struct riffle_error damage;
	int64_t retry_ns;
	/* the thread's alone */
	void *reader;
	int is_fresh; /* the reader, which may give what lies before */
	/* It met a bad record and did not say where: before what is wanted, or not. */
	int is_in_doubt;
	struct riffle_error doubt;
	uint32_t reader_generation;
	int64_t read_to;
	int64_t backoff_ms;
	char told[RIFFLE_ERROR_TEXT];
};

struct rfs_event {
	struct rfs_event *next;
	struct riffle_event abi;
	struct riffle_lane *lanes;
};

struct rfs_commit {
	struct rfs_commit *next;
	struct riffle_position *positions; /* with their metadata in one block */
	uint32_t count;
	uint64_t tag;
};

struct rfs_source {
	struct rfs_base base;
	struct rfs_group *group; /* the thread's; NULL = none */
	struct rfs_lane *lanes;
	uint32_t lane_count;
	uint32_t turn, quiet; /* lanes in a row that had nothing */
	int is_failed;
	struct rfs_event *events, **events_last, *shown;
	struct rfs_commit *commits, **commits_last;
};

static inline struct rfs_event *
rfs_source_event(struct rfs_source *s, uint32_t type)
{
	struct rfs_event *e = (struct rfs_event *)rfs_alloc(sizeof *e);
	e->abi.type = type;
	*s->events_last = e;
	s->events_last = &e->next;
	rfs_raise(&s->base);
	return e;
}

/* The lanes are the event's from now on. */
static inline void
rfs_source_show(struct rfs_source *s, uint32_t type, struct riffle_lane *lanes, uint32_t count)
{
	struct rfs_event *e = rfs_source_event(s, type);
	e->lanes = lanes;
	e->abi.lanes = lanes;
	e->abi.lane_size = (uint32_t)sizeof *lanes;
	e->abi.lane_count = count;
}

/* What does not pass ends the source. Under the lock. */
static inline void
rfs_source_trouble(struct rfs_source *s, const struct riffle_error *err)
{
	struct rfs_event *e = rfs_source_event(s, RIFFLE_EV_ERROR);
	e->abi.error = *err;
	e->abi.status = rfs_is_passing(err) ? err->code : RIFFLE_E_FATAL;
	if (!rfs_is_passing(err))
		s->is_failed = 1;
}

static inline void
rfs_records_free(struct rfs_record *r)
{
	while (r != NULL) {
		struct rfs_record *next = r->next;
		free(r);
		r = next;
	}
}

static inline void
rfs_lane_clear(struct rfs_lane *l)
{
	rfs_records_free(l->first);
	l->first = NULL;
	l->last = &l->first;
	l->queued = 0;
	l->queued_bytes = 0;
}

static inline struct riffle_bytes
rfs_put_bytes(char **to, struct riffle_bytes from)
{
	struct riffle_bytes put = {NULL, 0};
	if (from.ptr == NULL)
		return put;
	if (from.len > 0)
		memcpy(*to, from.ptr, from.len);
	put.ptr = *to;
	put.len = from.len;
	*to += from.len;
	return put;
}

/* NULL when there is no memory for it. */
static inline struct rfs_record *
rfs_record_copy(const struct riffle_simple_message *m)
{
	size_t bytes = m->key.len + m->value.len;
	for (uint32_t i = 0; i < m->header_count; i++)
		bytes += m->headers[i].name.len + m->headers[i].value.len;
	size_t type = m->content_type != NULL ? strlen(m->content_type) + 1 : 0;
	size_t front = sizeof(struct rfs_record) + m->header_count * sizeof(struct riffle_header);
	struct rfs_record *r = (struct rfs_record *)malloc(front + bytes + type + 1);
	if (r == NULL)
		return NULL;
	struct riffle_header *headers = (struct riffle_header *)(void *)(r + 1);
	char *to = (char *)r + front;
	r->next = NULL;
	r->bytes = bytes;
	r->block_bytes = front + bytes + type + 1;
	r->message = *m;
	r->message.key = rfs_put_bytes(&to, m->key);
	r->message.value = rfs_put_bytes(&to, m->value);
	for (uint32_t i = 0; i < m->header_count; i++) {
		headers[i].name = rfs_put_bytes(&to, m->headers[i].name);
		headers[i].value = rfs_put_bytes(&to, m->headers[i].value);
	}
	r->message.headers = headers;
	if (type > 0)
		r->message.content_type = (const char *)memcpy(to, m->content_type, type);
	return r;
}

static inline void
rfs_reader_close(struct rfs_self *owner, struct rfs_lane *l)
{
	if (l->reader != NULL)
		owner->source->close(l->reader);
	free(l->reader);
	l->reader = NULL;
}

/* A new reader, or NULL with *ret_rc set. */
static inline void *
rfs_reader_new(const struct rfs_self *owner, const struct riffle_stream *stream, int64_t from,
	int *ret_rc, struct riffle_error *reterr)
{
	void *reader = rfs_alloc(owner->source->reader_size);
	*ret_rc = owner->source->open(&owner->author, stream, from, reader, reterr);
	if (*ret_rc >= 0)
		return reader;
	free(reader);
	return NULL;
}

static inline int
rfs_reader_open(struct rfs_source *s, struct rfs_lane *l, uint32_t generation, int64_t from,
	struct riffle_error *reterr)
{
	if (l->reader_generation != generation) {
		rfs_reader_close(s->base.owner, l);
		l->reader_generation = generation;
		l->read_to = from;
		l->backoff_ms = 0;
		l->told[0] = '\0';
	}
	if (l->reader != NULL)
		return RIFFLE_OK;
	int rc;
	l->reader = rfs_reader_new(s->base.owner, l->spec.stream, l->read_to, &rc, reterr);
	l->is_fresh = 1;
	l->is_in_doubt = 0;
	return rc;
}

/*
 * 1 and a copy of the next record, or none of one that is dropped; 0, or a failure. Without the lock:
 * this is what may wait. Whether a bad record that has no offset is wanted shows the one behind it.
 */
static inline int
rfs_reader_next(struct rfs_source *s, struct rfs_lane *l, int timeout_ms,
	struct riffle_simple_message *m, struct rfs_record **ret_record,
	struct riffle_error *reterr)
{
	memset(m, 0, sizeof *m);
	m->offset = RIFFLE_OFFSET_NONE;
	m->time_ms = RIFFLE_TIME_NONE;
	int rc = s->base.owner->source->next(l->reader, timeout_ms, m, reterr);
	int is_before = m->offset >= 0 && m->offset < l->read_to && l->is_fresh;
	if (is_before && (rc > 0 || rc == RIFFLE_E_DATA))
		return 1;
	if (rc == RIFFLE_E_DATA && m->offset < 0 && l->is_fresh) {
		l->is_in_doubt = 1;
		l->doubt = *reterr;
		return 1;
	}
	if (rc <= 0)
		return rc;
	if (l->is_in_doubt && m->offset > l->read_to) {
		*reterr = l->doubt;
		m->offset = RIFFLE_OFFSET_NONE;
		return RIFFLE_E_DATA;
	}
	l->is_fresh = l->is_in_doubt = 0;
	if (m->offset < l->read_to || m->offset == INT64_MAX)
		return riffle_simple_fail(reterr, RIFFLE_E_FATAL,
			"the plugin gave offset %" PRId64 " of %s where %" PRId64
			" or more was asked for",
			m->offset, l->spec.stream->topic, l->read_to);
	*ret_record = rfs_record_copy(m);
	if (*ret_record == NULL)
		return riffle_simple_fail(reterr, RIFFLE_E_NOMEM,
			"no memory for record %" PRId64 " of %s", m->offset, l->spec.stream->topic);
	return 1;
}

static inline void
rfs_lane_append(struct rfs_source *s, struct rfs_lane *l, struct rfs_record *r)
{
	if (l->first == NULL)
		rfs_raise(&s->base);
	*l->last = r;
	l->last = &r->next;
	l->queued++;
	l->queued_bytes += r->bytes;
	l->read_to = r->message.offset + 1;
	if (l->log_end < l->read_to)
		l->log_end = l->read_to;
	l->idle_ns = 0;
	l->is_failing = 0;
	l->backoff_ms = 0;
	l->told[0] = '\0';
}

/* Under the lock. A failure that goes on is told once. */
static inline void
rfs_lane_failed(struct rfs_source *s, struct rfs_lane *l, const struct riffle_simple_message *m,
	const struct riffle_error *err)
{
	l->idle_ns = 0;
	if (err->code == RIFFLE_E_DATA) {
		l->is_damaged = 1;
		l->damaged_at = m->offset > l->read_to ? m->offset : l->read_to;
		l->damage = *err;
		rfs_raise(&s->base);
		return;
	}
	l->is_failing = 1;
	int64_t now_ns = rfs_now_ns(&s->base);
	l->retry_ns = now_ns + 1000000 * riffle_backoff_next(&l->backoff_ms, RFS_BACKOFF_MIN_MS,
						 RFS_BACKOFF_MAX_MS, now_ns);
	if (!rfs_is_passing(err) || strcmp(l->told, err->text) != 0)
		rfs_source_trouble(s, err);
	memcpy(l->told, err->text, sizeof l->told);
}

/* Under the lock, which is given up while the author's functions run. */
static inline void
rfs_lane_read(struct rfs_source *s, struct rfs_lane *l, int timeout_ms)
{
	struct riffle_error err = rfs_no_error();
	struct riffle_simple_message m;
	struct rfs_record *record = NULL;
	uint32_t generation = l->generation;
	int64_t from = l->from;
	int64_t began_ms = rfs_real_ms();
	m.offset = RIFFLE_OFFSET_NONE;
	pthread_mutex_unlock(&s->base.lock);
	int rc = rfs_reader_open(s, l, generation, from, &err);
	if (rc >= 0)
		rc = rfs_reader_next(s, l, timeout_ms, &m, &record, &err);
	if (rc < 0)
		rfs_reader_close(s->base.owner, l);
	pthread_mutex_lock(&s->base.lock);
	if (l->generation != generation) {
		free(record);
		return;
	}
	if (rc < 0) {
		err.code = rc;
		rfs_lane_failed(s, l, &m, &err);
	} else if (rc == 0) {
		l->idle_ns = rfs_now_ns(&s->base);
		l->is_failing = 0;
		s->quiet++;
		if (rfs_real_ms() - began_ms < (timeout_ms + 1) / 2 && s->commits == NULL &&
			!s->base.is_closing)
			rfs_wait_ms(&s->base, timeout_ms < RFS_POLL_MS ? timeout_ms : RFS_POLL_MS);
	} else {
		s->quiet = 0;
		if (record != NULL)
			rfs_lane_append(s, l, record);
	}
}

#ifdef __cplusplus
}
#endif
#endif
