/* Of riffle/simple.h: errors, memory, and what a source and a sink have in common: a thread, its lock, an fd. */
#ifndef RIFFLE_SIMPLE_BASE_H
#define RIFFLE_SIMPLE_BASE_H

#ifndef RIFFLE_SIMPLE_H
#error "include <riffle/simple.h>: it brings this header in"
#endif

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RFS_METADATA_MAX 4096u
#define RFS_BACKOFF_MIN_MS 200
#define RFS_BACKOFF_MAX_MS 10000

static inline int
riffle_simple_fail(struct riffle_error *reterr, int code, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	reterr->code = code;
	reterr->flags =
		code == RIFFLE_E_UNAVAILABLE || code == RIFFLE_E_TIMEOUT || code == RIFFLE_E_NOMEM
			? RIFFLE_ERR_RETRIABLE
			: 0;
	vsnprintf(reterr->text, sizeof reterr->text, format, args);
	va_end(args);
	return code;
}

static inline int
riffle_simple_fail_errno(struct riffle_error *reterr, const char *format, ...)
{
	char what[RIFFLE_ERROR_TEXT];
	va_list args;
	int why = errno;
	int code = why == ENOENT                   ? RIFFLE_E_NOTFOUND
		   : why == EACCES || why == EPERM ? RIFFLE_E_AUTH
		   : why == ENOMEM                 ? RIFFLE_E_NOMEM
						   : RIFFLE_E_UNAVAILABLE;
	va_start(args, format);
	vsnprintf(what, sizeof what, format, args);
	va_end(args);
	return riffle_simple_fail(reterr, code, "%s: %s", what, strerror(why));
}

static inline void *
rfs_alloc(size_t size)
{
	void *p = calloc(1, size);
	if (p == NULL)
		abort();
	return p;
}

static inline char *
rfs_strdup(const char *s)
{
	size_t len = strlen(s) + 1;
	return (char *)memcpy(rfs_alloc(len), s, len);
}

/* A failing function of the author's may have left the error as it was. */
static inline struct riffle_error
rfs_no_error(void)
{
	struct riffle_error err;
	memset(&err, 0, sizeof err);
	snprintf(err.text, sizeof err.text, "the plugin gave no reason");
	return err;
}

static inline int
rfs_is_passing(const struct riffle_error *err)
{
	return (err->flags & RIFFLE_ERR_RETRIABLE) != 0 || err->code == RIFFLE_E_UNAVAILABLE ||
	       err->code == RIFFLE_E_TIMEOUT || err->code == RIFFLE_E_NOMEM;
}

struct rfs_self {
	struct riffle_simple author;
	const struct riffle_simple_source *source;
	const struct riffle_simple_sink *sink;
	uint64_t can;
};

/* What a source and a sink have in common: a thread, its lock, and the fd that wakes the host. */
struct rfs_base {
	struct rfs_self *owner;
	pthread_mutex_t lock;
	pthread_cond_t wake; /* the thread's */
	pthread_t thread;
	int fd, is_raised;
	int is_closing, is_gone, is_told_closed; /* gone = the thread did its last */
};

static inline int64_t
rfs_now_ns(const struct rfs_base *b)
{
	return b->owner->author.host->mono_ns(b->owner->author.host);
}

/* Under the lock. An eventfd that is full is readable all the same. */
static inline void
rfs_raise(struct rfs_base *b)
{
	const uint64_t one = 1;
	if (b->is_raised)
		return;
	b->is_raised = 1;
	if (write(b->fd, &one, sizeof one) < 0 && errno != EAGAIN)
		abort();
}

static inline void
rfs_take_signal(struct rfs_base *b)
{
	uint64_t count;
	if (!b->is_raised)
		return;
	b->is_raised = 0;
	if (read(b->fd, &count, sizeof count) < 0 && errno != EAGAIN)
		abort();
}

/* The host's clock may be turned by hand; waits run on this one. */
static inline int64_t
rfs_real_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Under the lock, which is given up meanwhile. */
static inline void
rfs_wait_ms(struct rfs_base *b, int64_t ms)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(ms / 1000);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_cond_timedwait(&b->wake, &b->lock, &until);
}

static inline int
rfs_base_init(struct rfs_base *b, struct rfs_self *owner, struct riffle_error *reterr)
{
	pthread_condattr_t attributes;
	b->owner = owner;
	b->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->fd < 0)
		return riffle_simple_fail(reterr, RIFFLE_E_UNAVAILABLE,
			"cannot make an eventfd: %s", strerror(errno));
	pthread_mutex_init(&b->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&b->wake, &attributes);
	pthread_condattr_destroy(&attributes);
	return RIFFLE_OK;
}

static inline void
rfs_base_fini(struct rfs_base *b)
{
	pthread_cond_destroy(&b->wake);
	pthread_mutex_destroy(&b->lock);
	close(b->fd);
}

/* Signals are the host's business: its own threads take them. */
static inline int
rfs_base_run(struct rfs_base *b, void *(*body)(void *), void *object, struct riffle_error *reterr)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(&b->thread, NULL, body, object);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0)
		return riffle_simple_fail(
			reterr, RIFFLE_E_UNAVAILABLE, "cannot start a thread: %s", strerror(rc));
	return RIFFLE_OK;
}

static inline void
rfs_base_leave(struct rfs_base *b)
{
	pthread_mutex_lock(&b->lock);
	b->is_gone = 1;
	rfs_raise(b);
	pthread_mutex_unlock(&b->lock);
}

static inline void
rfs_base_close(struct rfs_base *b)
{
	pthread_mutex_lock(&b->lock);
	b->is_closing = 1;
	pthread_cond_signal(&b->wake);
	pthread_mutex_unlock(&b->lock);
}

static inline int
rfs_check_partitions(const struct riffle_stream *stream, struct riffle_error *reterr)
{
	if (stream->partitions > 1)
		return riffle_simple_fail(reterr, RIFFLE_E_CONFIG,
			"topic \"%s\" has one partition, not %u", stream->topic,
			stream->partitions);
	return RIFFLE_OK;
}

#ifdef __cplusplus
}
#endif
#endif
