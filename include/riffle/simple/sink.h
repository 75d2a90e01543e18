/* Of riffle/simple.h: a sink, whose thread sends what the host staged through the author's writers. */
#ifndef RIFFLE_SIMPLE_SINK_H
#define RIFFLE_SIMPLE_SINK_H

#include <riffle/simple/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RFS_STAGED_RECORDS 4096u
#define RFS_STAGED_BYTES ((size_t)8 * 1024 * 1024)

/* One sink_send. */
struct rfs_job {
	struct rfs_job *next;
	struct riffle_batch *batch;
	uint32_t first, count;
	uint64_t tag;
	size_t pinned_bytes;
	struct riffle_sent *sent;
	struct riffle_error error; /* of its first record that was not written */
};

struct rfs_writer {
	const struct riffle_stream *stream;
	void *writer;
	int is_dirty;
	struct riffle_error failure; /* of this round: code 0 = none */
};

struct rfs_sink {
	struct rfs_base base;
	struct rfs_writer *writers; /* the thread's */
	uint32_t writer_count;
	struct rfs_job *jobs, **jobs_last, *answers, **answers_last, *shown;
	uint32_t staged_records;
	size_t staged_bytes;
	int has_trouble;
	struct riffle_error trouble;
};

static inline int
rfs_writer_open(struct rfs_sink *k, struct rfs_writer *w, struct riffle_error *reterr)
{
	if (w->writer != NULL)
		return RIFFLE_OK;
	w->writer = rfs_alloc(k->base.owner->sink->writer_size);
	int rc = k->base.owner->sink->open(&k->base.owner->author, w->stream, w->writer, reterr);
	if (rc < 0) {
		free(w->writer);
		w->writer = NULL;
	}
	return rc;
}

static inline void
rfs_writer_close(struct rfs_sink *k, struct rfs_writer *w)
{
	if (w->writer != NULL)
		k->base.owner->sink->close(w->writer);
	free(w->writer);
	w->writer = NULL;
}

static inline void
rfs_writer_failed(struct rfs_sink *k, struct rfs_writer *w, int rc, const struct riffle_error *err)
{
	w->failure = *err;
	w->failure.code = rc;
	w->is_dirty = 0;
	rfs_writer_close(k, w);
}

/* What the provider could not keep of a record, it refuses. */
static inline int
rfs_record_judge(
	const struct rfs_sink *k, const struct riffle_record *r, struct riffle_error *reterr)
{
	uint64_t can = k->base.owner->can;
	if (r->stream >= k->writer_count)
		return riffle_simple_fail(
			reterr, RIFFLE_E_INVAL, "the sink has no stream %u", r->stream);
	const char *topic = k->writers[r->stream].stream->topic;
	if (r->partition > 0)
		return riffle_simple_fail(reterr, RIFFLE_E_DATA,
			"topic \"%s\" has no partition %d, only 1", topic, r->partition);
	if (r->key.ptr != NULL && (can & RIFFLE_CAN_KEYS) == 0)
		return riffle_simple_fail(
			reterr, RIFFLE_E_DATA, "topic \"%s\" takes no record with a key", topic);
	if (r->header_count > 0 && (can & RIFFLE_CAN_HEADERS) == 0)
		return riffle_simple_fail(
			reterr, RIFFLE_E_DATA, "topic \"%s\" takes no record with headers", topic);
	return RIFFLE_OK;
}

/* After a failure of the stream nothing behind it is sent in this round: the order stays. */
static inline int
rfs_record_send(struct rfs_sink *k, const struct riffle_batch *batch, const struct riffle_record *r,
	struct riffle_error *reterr)
{
	struct riffle_simple_message m;
	int rc = rfs_record_judge(k, r, reterr);
	if (rc < 0)
		return rc;
	struct rfs_writer *w = &k->writers[r->stream];
	if (w->failure.code != RIFFLE_OK) {
		*reterr = w->failure;
		return w->failure.code;
	}
	memset(&m, 0, sizeof m);
	m.key = r->key;
	m.value = r->value;
	m.offset = RIFFLE_OFFSET_NONE;
	m.time_ms = r->time_ms;
	m.content_type = r->content_type != 0 ? batch->content_types[r->content_type] : NULL;
	m.headers = r->header_count > 0 ? batch->headers + r->header_first : NULL;
	m.header_count = r->header_count;
	rc = rfs_writer_open(k, w, reterr);
	if (rc >= 0)
		rc = k->base.owner->sink->send(w->writer, &m, reterr);
	w->is_dirty |= rc >= 0;
	if (rc < 0 && rc != RIFFLE_E_DATA)
		rfs_writer_failed(k, w, rc, reterr);
	return rc < 0 ? rc : RIFFLE_OK;
}

static inline void
rfs_job_fail(struct rfs_job *j, uint32_t i, int rc, const struct riffle_error *err)
{
	j->sent[i].status = rc;
	j->sent[i].offset = RIFFLE_OFFSET_NONE;
	if (j->error.code != RIFFLE_OK)
		return;
	j->error = *err;
	j->error.code = rc;
}

static inline void
rfs_job_send(struct rfs_sink *k, struct rfs_job *j)
{
	for (uint32_t i = 0; i < j->count; i++) {
		struct riffle_error err = rfs_no_error();
		int rc =
			rfs_record_send(k, j->batch, riffle_batch_at(j->batch, j->first + i), &err);
		j->sent[i].offset = RIFFLE_OFFSET_NONE;
		if (rc < 0)
			rfs_job_fail(j, i, rc, &err);
	}
}

/* What was sent to a writer that then failed may be there or not: it counts as not written. */
static inline void
rfs_job_judge(struct rfs_sink *k, struct rfs_job *j)
{
	for (uint32_t i = 0; i < j->count; i++) {
		const struct riffle_record *r = riffle_batch_at(j->batch, j->first + i);
		if (j->sent[i].status != RIFFLE_OK)
			continue;
		const struct rfs_writer *w = &k->writers[r->stream];
		if (w->failure.code != RIFFLE_OK)
			rfs_job_fail(j, i, w->failure.code, &w->failure);
	}
}

/* Sends all jobs, makes them durable, and only then judges them. */
static inline void
rfs_sink_round(struct rfs_sink *k, struct rfs_job *jobs)
{
	const struct riffle_host *host = k->base.owner->author.host;
	for (struct rfs_job *j = jobs; j != NULL; j = j->next)
		rfs_job_send(k, j);
	for (uint32_t i = 0; i < k->writer_count; i++) {
		struct rfs_writer *w = &k->writers[i];
		struct riffle_error err = rfs_no_error();
		int rc = w->is_dirty ? k->base.owner->sink->flush(w->writer, &err) : RIFFLE_OK;
		w->is_dirty = 0;
		if (rc < 0)
			rfs_writer_failed(k, w, rc, &err);
	}
	for (struct rfs_job *j = jobs; j != NULL; j = j->next) {
		rfs_job_judge(k, j);
		host->batch_unref(host, j->batch);
		j->batch = NULL;
	}
	for (uint32_t i = 0; i < k->writer_count; i++)
		k->writers[i].failure.code = RIFFLE_OK;
}

/* A stream that cannot be opened is told at once, and tried again for the first record. */
static inline void
rfs_sink_begin(struct rfs_sink *k)
{
	struct riffle_error err = rfs_no_error();
	int rc = RIFFLE_OK;
	for (uint32_t i = 0; i < k->writer_count && rc >= 0; i++)
		rc = rfs_writer_open(k, &k->writers[i], &err);
	if (rc >= 0)
		return;
	err.code = rc;
	pthread_mutex_lock(&k->base.lock);
	k->has_trouble = 1;
	k->trouble = err;
	rfs_raise(&k->base);
	pthread_mutex_unlock(&k->base.lock);
}

static inline void *
rfs_sink_main(void *object)
{
	struct rfs_sink *k = (struct rfs_sink *)object;
	rfs_sink_begin(k);
	pthread_mutex_lock(&k->base.lock);
	while (k->jobs != NULL || !k->base.is_closing) {
		struct rfs_job *jobs = k->jobs, **last = k->jobs_last;
		if (jobs == NULL) {
			pthread_cond_wait(&k->base.wake, &k->base.lock);
			continue;
		}
		k->jobs = NULL;
		k->jobs_last = &k->jobs;
		pthread_mutex_unlock(&k->base.lock);
		rfs_sink_round(k, jobs);
		pthread_mutex_lock(&k->base.lock);
		for (struct rfs_job *j = jobs; j != NULL; j = j->next) {
			k->staged_records -= j->count;
			k->staged_bytes -= j->pinned_bytes;
		}
		*k->answers_last = jobs;
		k->answers_last = last;
		rfs_raise(&k->base);
	}
	pthread_mutex_unlock(&k->base.lock);
	for (uint32_t i = 0; i < k->writer_count; i++)
		rfs_writer_close(k, &k->writers[i]);
	rfs_base_leave(&k->base);
	return NULL;
}

static inline void
rfs_job_free(struct rfs_job *j)
{
	if (j != NULL)
		free(j->sent);
	free(j);
}

static inline void
rfs_sink_free(struct rfs_sink *k)
{
	rfs_job_free(k->shown);
	while (k->answers != NULL) {
		struct rfs_job *j = k->answers;
		k->answers = j->next;
		rfs_job_free(j);
	}
	free(k->writers);
	free(k);
}

static inline int
rfs_sink_open(void *self, const struct riffle_sink_spec *spec, void **ret_sink,
	struct riffle_error *reterr)
{
	struct rfs_self *owner = (struct rfs_self *)self;
	int rc = RIFFLE_OK;
	struct rfs_sink *k = (struct rfs_sink *)rfs_alloc(sizeof *k);
	k->jobs_last = &k->jobs;
	k->answers_last = &k->answers;
	k->writers = (struct rfs_writer *)rfs_alloc((spec->stream_count + 1) * sizeof *k->writers);
	for (uint32_t i = 0; i < spec->stream_count && rc == RIFFLE_OK; i++) {
		k->writers[k->writer_count++].stream = spec->streams[i];
		rc = rfs_check_partitions(spec->streams[i], reterr);
	}
	if (rc == RIFFLE_OK && (rc = rfs_base_init(&k->base, owner, reterr)) == RIFFLE_OK &&
		(rc = rfs_base_run(&k->base, rfs_sink_main, k, reterr)) < 0)
		rfs_base_fini(&k->base);
	if (rc < 0) {
		rfs_sink_free(k);
		return rc;
	}
	*ret_sink = k;
	return RIFFLE_OK;
}

static inline int
rfs_sink_fd(void *sink)
{
	return ((struct rfs_sink *)sink)->base.fd;
}

/* Under the lock. A lone batch is taken whatever its size. */
static inline uint32_t
rfs_sink_room(const struct rfs_sink *k, const struct riffle_batch *batch, uint32_t count)
{
	uint32_t room = RFS_STAGED_RECORDS - k->staged_records;
	if (k->base.is_closing ||
		(k->staged_records > 0 && k->staged_bytes + batch->pinned_bytes > RFS_STAGED_BYTES))
		return 0;
	return count < room ? count : room;
}

static inline int
rfs_sink_send(void *sink, struct riffle_batch *batch, uint32_t first, uint32_t count, uint64_t tag,
	struct riffle_error *reterr)
{
	struct rfs_sink *k = (struct rfs_sink *)sink;
	const struct riffle_host *host = k->base.owner->author.host;
	(void)reterr;
	pthread_mutex_lock(&k->base.lock);
	uint32_t n = rfs_sink_room(k, batch, count);
	if (n > 0) {
		struct rfs_job *j = (struct rfs_job *)rfs_alloc(sizeof *j);
		j->batch = batch;
		j->first = first;
		j->count = n;
		j->tag = tag;
		j->pinned_bytes = batch->pinned_bytes;
		j->sent = (struct riffle_sent *)rfs_alloc(n * sizeof *j->sent);
		host->batch_ref(host, batch);
		*k->jobs_last = j;
		k->jobs_last = &j->next;
		k->staged_records += n;
		k->staged_bytes += batch->pinned_bytes;
		pthread_cond_signal(&k->base.wake);
	}
	pthread_mutex_unlock(&k->base.lock);
	return (int)n;
}

static inline int
rfs_sink_poll(void *sink, struct riffle_event *ret_event)
{
	struct rfs_sink *k = (struct rfs_sink *)sink;
	uint32_t size = ret_event->size;
	int found = 1;
	rfs_job_free(k->shown);
	memset(ret_event, 0, sizeof *ret_event);
	pthread_mutex_lock(&k->base.lock);
	rfs_take_signal(&k->base);
	k->shown = k->answers;
	if (k->shown != NULL) {
		k->answers = k->shown->next;
		if (k->answers == NULL)
			k->answers_last = &k->answers;
		ret_event->type = RIFFLE_EV_SENT;
		ret_event->tag = k->shown->tag;
		ret_event->first = k->shown->first;
		ret_event->count = k->shown->count;
		ret_event->sent = k->shown->sent;
		ret_event->sent_size = (uint32_t)sizeof *k->shown->sent;
		ret_event->error = k->shown->error;
	} else if (k->has_trouble) {
		k->has_trouble = 0;
		ret_event->type = RIFFLE_EV_ERROR;
		ret_event->status = rfs_is_passing(&k->trouble) ? k->trouble.code : RIFFLE_E_FATAL;
		ret_event->error = k->trouble;
	} else if (k->base.is_gone && !k->base.is_told_closed) {
		k->base.is_told_closed = 1;
		ret_event->type = RIFFLE_EV_CLOSED;
	} else {
		found = 0;
	}
	pthread_mutex_unlock(&k->base.lock);
	ret_event->size = size;
	return found;
}

static inline void
rfs_sink_close(void *sink)
{
	rfs_base_close(&((struct rfs_sink *)sink)->base);
}

static inline void
rfs_sink_destroy(void *sink)
{
	struct rfs_sink *k = (struct rfs_sink *)sink;
	if (k == NULL)
		return;
	pthread_join(k->base.thread, NULL);
	rfs_base_fini(&k->base);
	rfs_sink_free(k);
}

#ifdef __cplusplus
}
#endif
#endif
