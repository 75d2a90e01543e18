/* The helper thread of a source: what can only be asked by waiting. */
#include "kafka.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SEEK_TIMEOUT_MS 5000
#define ASK_AGAIN_MS 100

void
kafka_helper_post(struct kafka_source *s, struct kafka_job *job)
{
	pthread_mutex_lock(&s->lock);
	*s->last = job;
	s->last = &job->next;
	pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

void *
kafka_helper_run(void *source)
{
	struct kafka_source *s = source;
	pthread_mutex_lock(&s->lock);
	while (!s->is_destroyed) {
		struct kafka_job *job = s->first;
		if (job == NULL) {
			pthread_cond_wait(&s->changed, &s->lock);
			continue;
		}
		s->first = job->next;
		if (s->first == NULL)
			s->last = &s->first;
		pthread_mutex_unlock(&s->lock);
		job->run(s, job);
		pthread_mutex_lock(&s->lock);
	}
	kafka_signal_raise(&s->signal);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

void
kafka_helper_cancel(struct kafka_source *s)
{
	pthread_mutex_lock(&s->lock);
	s->epoch++;
	kafka_resolved_free(s->resolved);
	s->resolved = NULL;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

void
kafka_resolved_free(struct kafka_resolved *r)
{
	if (r == NULL)
		return;
	for (int i = 0; i < r->list->cnt && r->starts != NULL; i++)
		free(r->starts[i].metadata);
	rd_kafka_topic_partition_list_destroy(r->list);
	free(r->starts);
	free(r);
}

struct resolve_job {
	struct kafka_job job;
	rd_kafka_topic_partition_list_t *list;
	uint64_t epoch;
};

/* Under the lock. 1 = the assignment is still that of the job. */
static int
wait_a_little(struct kafka_source *s, uint64_t epoch)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += ASK_AGAIN_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	if (s->epoch == epoch)
		pthread_cond_timedwait(&s->changed, &s->lock, &until);
	return s->epoch == epoch;
}

/* One member of the group has the first partition of the first stream, and settles for all. */
static int
is_settler(const struct kafka_source *s, const rd_kafka_topic_partition_list_t *list)
{
	return s->streams[0].partition_count > 0 ||
	       rd_kafka_topic_partition_list_find(
		       (rd_kafka_topic_partition_list_t *)(uintptr_t)list, s->topics[0], 0) != NULL;
}

/* A list that is empty stands for all partitions. */
static int
resolve(const struct kafka_starts *ask, struct kafka_resolved *r, struct riffle_error *reterr)
{
	rd_kafka_topic_partition_list_t *all;
	if (r->list->cnt == 0) {
		int rc = kafka_starts_all(ask, &all, reterr);
		if (rc < 0)
			return rc;
		rd_kafka_topic_partition_list_destroy(r->list);
		r->list = all;
	}
	if (r->starts == NULL)
		r->starts = kafka_alloc((size_t)(r->list->cnt + 1) * sizeof *r->starts);
	return kafka_starts_resolve(ask, r->list, r->starts, &r->is_new, reterr);
}

static void
run_resolve(struct kafka_source *s, struct kafka_job *base)
{
	struct resolve_job *job = (struct resolve_job *)(void *)base;
	const struct kafka_starts ask = {
		.rk = s->rk,
		.streams = s->starts,
		.stream_count = s->stream_count,
		.has_group = s->group != NULL,
		.timeout_ms = s->owner->request_timeout_ms,
		.settles = is_settler(s, job->list),
	};
	struct kafka_resolved *r = kafka_alloc(sizeof *r);
	struct riffle_error err = {0};
	int rc, current;
	r->list = job->list;
	do {
		rc = resolve(&ask, r, &err);
		pthread_mutex_lock(&s->lock);
		if (rc < 0) {
			s->trouble = err;
			kafka_signal_raise(&s->signal);
		}
		current = rc < 0 ? wait_a_little(s, job->epoch) : s->epoch == job->epoch;
		if (rc == RIFFLE_OK && current) {
			s->trouble.code = RIFFLE_OK;
			s->resolved = r;
			kafka_signal_raise(&s->signal);
		}
		pthread_mutex_unlock(&s->lock);
	} while (rc < 0 && current);
	if (!current)
		kafka_resolved_free(r);
	free(job);
}

void
kafka_helper_resolve(struct kafka_source *s, rd_kafka_topic_partition_list_t *list)
{
	struct resolve_job *job = kafka_alloc(sizeof *job);
	job->job.run = run_resolve;
	job->list = list;
	job->epoch = s->epoch;
	kafka_helper_post(s, &job->job);
}

/* The lane is not freed while something is asked for it. */
struct lane_job {
	struct kafka_job job;
	struct kafka_lane *lane;
	int64_t offset;
	uint64_t epoch;
};

static void
post_for(struct kafka_source *s, struct kafka_lane *lane, int64_t offset,
	void (*run)(struct kafka_source *s, struct kafka_job *job))
{
	struct lane_job *job = kafka_alloc(sizeof *job);
	job->job.run = run;
	job->lane = lane;
	job->offset = offset;
	job->epoch = s->epoch;
	pthread_mutex_lock(&s->lock);
	lane->asked++;
	pthread_mutex_unlock(&s->lock);
	kafka_helper_post(s, &job->job);
}

static void
done_for(struct kafka_source *s, struct lane_job *job)
{
	pthread_mutex_lock(&s->lock);
	job->lane->asked--;
	kafka_signal_raise(&s->signal);
	pthread_mutex_unlock(&s->lock);
	free(job);
}

/* 1 = to be tried again, a little later. */
static int
is_to_be_tried_again(struct kafka_source *s, const struct lane_job *job, rd_kafka_resp_err_t e)
{
	pthread_mutex_lock(&s->lock);
	int again = e != RD_KAFKA_RESP_ERR_NO_ERROR && s->epoch == job->epoch &&
		    wait_a_little(s, job->epoch);
	pthread_mutex_unlock(&s->lock);
	return again;
}

static rd_kafka_resp_err_t
seek(struct kafka_source *s, const struct lane_job *job)
{
	const char *topic = s->topics[job->lane->stream];
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(list, topic, job->lane->partition)->offset = job->offset;
	rd_kafka_error_t *error = rd_kafka_seek_partitions(s->rk, list, SEEK_TIMEOUT_MS);
	rd_kafka_resp_err_t e = error ? rd_kafka_error_code(error) : list->elems[0].err;
	if (error != NULL)
		rd_kafka_error_destroy(error);
	rd_kafka_topic_partition_list_destroy(list);
	return e;
}

/* A partition that was just assigned refuses to be moved until its fetcher has begun. */
static void
run_seek(struct kafka_source *s, struct kafka_job *base)
{
	struct lane_job *job = (struct lane_job *)(void *)base;
	while (is_to_be_tried_again(s, job, seek(s, job)))
		;
	done_for(s, job);
}

void
kafka_helper_seek(struct kafka_source *s, struct kafka_lane *lane, int64_t offset)
{
	post_for(s, lane, offset, run_seek);
}

static void
run_ends(struct kafka_source *s, struct kafka_job *base)
{
	struct lane_job *job = (struct lane_job *)(void *)base;
	struct kafka_lane *lane = job->lane;
	rd_kafka_resp_err_t e;
	int64_t low, high;
	do {
		e = rd_kafka_query_watermark_offsets(s->rk, s->topics[lane->stream],
			lane->partition, &low, &high, s->owner->request_timeout_ms);
	} while (is_to_be_tried_again(s, job, e));
	if (e == RD_KAFKA_RESP_ERR_NO_ERROR) {
		pthread_mutex_lock(&s->lock);
		lane->start.log_start = low;
		lane->start.log_end = high;
		pthread_mutex_unlock(&s->lock);
	}
	done_for(s, job);
}

void
kafka_helper_ends(struct kafka_source *s, struct kafka_lane *lane)
{
	post_for(s, lane, 0, run_ends);
}

static void
run_end(struct kafka_source *s, struct kafka_job *job)
{
	free(job);
	if (s->queue != NULL)
		rd_kafka_queue_destroy(s->queue);
	if (s->last_words != NULL)
		rd_kafka_queue_destroy(s->last_words);
	rd_kafka_destroy(s->rk);
	pthread_mutex_lock(&s->lock);
	s->rk = NULL;
	s->queue = s->last_words = NULL;
	s->is_destroyed = 1;
	pthread_mutex_unlock(&s->lock);
}

void
kafka_helper_end(struct kafka_source *s)
{
	struct kafka_job *job = kafka_alloc(sizeof *job);
	job->run = run_end;
	kafka_helper_post(s, job);
}
