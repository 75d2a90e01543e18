/* A thread that ticks until it is told to end. */
#include "runtime/watch.h"

#include "base/mem.h"
#include "plugin/guard.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct rfl_watch {
	uint32_t limit_ticks;
	void (*lost)(void *ctx, void *owner);
	void *ctx;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t end;
	int ends;
};

static void *
watch(void *arg)
{
	struct rfl_watch *w = arg;
	struct timespec next;
	clock_gettime(CLOCK_MONOTONIC, &next);
	pthread_mutex_lock(&w->lock);
	while (!w->ends) {
		next.tv_sec++;
		if (pthread_cond_timedwait(&w->end, &w->lock, &next) == ETIMEDOUT)
			rfl_guard_tick(w->limit_ticks, w->lost, w->ctx);
		clock_gettime(CLOCK_MONOTONIC, &next);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static void
destroy(struct rfl_watch *w)
{
	pthread_cond_destroy(&w->end);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

int
rfl_watch_start(const struct rfl_runtime_conf *conf, void (*lost)(void *ctx, void *owner),
	void *ctx, struct rfl_watch **ret_watch)
{
	pthread_condattr_t attr;
	*ret_watch = NULL;
	if (conf->guard == RFL_GUARD_OFF || conf->plugin_timeout_ms == 0)
		return 0;
	struct rfl_watch *w = rfl_zalloc(sizeof *w);
	w->limit_ticks = (uint32_t)((conf->plugin_timeout_ms + 999) / 1000);
	w->lost = lost;
	w->ctx = ctx;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->end, &attr);
	pthread_condattr_destroy(&attr);
	int rc = pthread_create(&w->thread, NULL, watch, w);
	if (rc == 0)
		*ret_watch = w;
	else
		destroy(w);
	return rc;
}

void
rfl_watch_stop(struct rfl_watch *w)
{
	if (w == NULL)
		return;
	pthread_mutex_lock(&w->lock);
	w->ends = 1;
	pthread_cond_signal(&w->end);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	destroy(w);
}
