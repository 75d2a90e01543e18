/* Breaches, quarantine, and the watch over calls that do not return. */
#include "plugin/guard_private.h"

#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"

#include <riffle/host.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The low bits of a thread's word; the rest counts its calls, so that two calls never look like one. */
#define OUT 0u
#define IN 1u
#define ABANDONED 2u
#define STATE_MASK 3u
#define ONE_CALL 4u

/* What outlives its destroy, so that it is known to be kept and not leaked. */
static struct rfl_guard *kept;

struct thread {
	uint64_t word;
	struct rfl_guard *guard;
	const char *function;
	struct riffle_batch *batch;
	void *owner;
	uint64_t seen; /* the watch's: word at its last tick */
	uint32_t ticks;
	struct thread *next;
};

static pthread_mutex_t threads_lock = PTHREAD_MUTEX_INITIALIZER;
static struct thread *threads;
static pthread_key_t thread_key;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;
static _Thread_local struct thread *this_thread;

static void
forget_thread(void *arg)
{
	struct thread *t = arg, **at = &threads;
	pthread_mutex_lock(&threads_lock);
	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	pthread_mutex_unlock(&threads_lock);
	free(t);
}

static void
make_key(void)
{
	rfl_assert(pthread_key_create(&thread_key, forget_thread) == 0);
}

static struct thread *
own_thread(void)
{
	if (this_thread != NULL)
		return this_thread;
	pthread_once(&thread_once, make_key);
	struct thread *t = rfl_zalloc(sizeof *t);
	pthread_mutex_lock(&threads_lock);
	t->next = threads;
	threads = t;
	pthread_mutex_unlock(&threads_lock);
	pthread_setspecific(thread_key, t);
	this_thread = t;
	return t;
}

void
rfl_guard_thread_owner(void *owner)
{
	__atomic_store_n(&own_thread()->owner, owner, __ATOMIC_RELEASE);
}

void
rfl_guard_enter(struct rfl_guard *g, const char *function, struct riffle_batch *batch)
{
	struct thread *t = own_thread();
	uint64_t word = __atomic_load_n(&t->word, __ATOMIC_RELAXED);
	rfl_assert((word & STATE_MASK) == OUT);
	__atomic_store_n(&t->guard, g, __ATOMIC_RELAXED);
	__atomic_store_n(&t->function, function, __ATOMIC_RELAXED);
	__atomic_store_n(&t->batch, batch, __ATOMIC_RELAXED);
	__atomic_store_n(&t->word, word + ONE_CALL + IN, __ATOMIC_RELEASE);
}

/* A thread that was given up meanwhile owns nothing any more: it stays here until the process ends. */
void
rfl_guard_leave(void)
{
	struct thread *t = this_thread;
	uint64_t word = __atomic_load_n(&t->word, __ATOMIC_RELAXED);
	uint64_t inside = (word & ~(uint64_t)STATE_MASK) | IN;
	if (__atomic_compare_exchange_n(
		    &t->word, &inside, inside - IN, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return;
	for (;;)
		pause();
}

/* The batch it reads stays readable: a reference is left behind for good. */
static void
abandon(struct thread *t, uint32_t limit, void (*lost)(void *, void *), void *ctx)
{
	uint64_t word = t->seen;
	struct rfl_guard *g = __atomic_load_n(&t->guard, __ATOMIC_RELAXED);
	const char *function = __atomic_load_n(&t->function, __ATOMIC_RELAXED);
	struct riffle_batch *batch = __atomic_load_n(&t->batch, __ATOMIC_RELAXED);
	if (!__atomic_compare_exchange_n(
		    &t->word, &word, word - IN + ABANDONED, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return;
	if (batch != NULL)
		__atomic_add_fetch(&batch->host[0], 1, __ATOMIC_RELAXED);
	rfl_guard_breach(g, "G08", function, "has not returned for %u s", limit);
	lost(ctx, __atomic_load_n(&t->owner, __ATOMIC_ACQUIRE));
}

static void
tick_threads(uint32_t limit, void (*lost)(void *ctx, void *owner), void *ctx)
{
	pthread_mutex_lock(&threads_lock);
	for (struct thread *t = threads; t != NULL; t = t->next) {
		uint64_t word = __atomic_load_n(&t->word, __ATOMIC_ACQUIRE);
		int waits = (word & STATE_MASK) == IN && word == t->seen &&
			    __atomic_load_n(&t->owner, __ATOMIC_ACQUIRE) != NULL;
		t->ticks = waits ? t->ticks + 1 : 0;
		t->seen = word;
		if (t->ticks >= limit) {
			t->ticks = 0;
			abandon(t, limit, lost, ctx);
		}
	}
	pthread_mutex_unlock(&threads_lock);
}

void
rfl_guard_tick(uint32_t limit, void (*lost)(void *ctx, void *owner), void *ctx)
{
	tick_threads(limit, lost, ctx);
	rfl_guard_tick_calls(limit);
}

struct rfl_guard *
rfl_guard_create(const struct rfl_plugin *plugin, const char *what, enum rfl_guard_mode mode)
{
	struct rfl_guard *g = rfl_zalloc(sizeof *g);
	g->magic = RFL_GUARD_MAGIC;
	g->mode = mode;
	g->plugin = plugin;
	g->what = rfl_strdup(what);
	pthread_mutex_init(&g->lock, NULL);
	if (plugin->kind == RIFFLE_KIND_PROVIDER)
		rfl_guard_wrap_provider(g);
	else
		rfl_guard_wrap_invoker(g);
	return g;
}

int
rfl_guard_opened(struct rfl_guard *g, const char *function, int rc, const void *made,
	struct riffle_error *reterr)
{
	rc = rfl_guard_status(g, function, rc, 0, reterr);
	if (rc != RIFFLE_OK || made != NULL)
		return rc;
	rfl_guard_breach(g, "G02", function, "said OK and made nothing");
	return rfl_guard_refuse(g, reterr);
}

void
rfl_guard_set_self(struct rfl_guard *g, void *self)
{
	RFL_CHECK(g, RFL_GUARD_MAGIC);
	g->self = self;
	if (g->plugin->kind == RIFFLE_KIND_PROVIDER)
		rfl_guard_wrap_transactions(g);
	else
		rfl_guard_wrap_turns(g);
}

/* What a quarantined plugin may still call, from threads of its own, must find what it calls. */
void
rfl_guard_destroy(struct rfl_guard *g)
{
	if (g == NULL)
		return;
	RFL_CHECK(g, RFL_GUARD_MAGIC);
	if (!rfl_guard_is_open(g)) {
		g->next_kept = __atomic_exchange_n(&kept, g, __ATOMIC_ACQ_REL);
		return;
	}
	rfl_guard_free_calls(g);
	RFL_RETIRE(g);
	pthread_mutex_destroy(&g->lock);
	free(g->what);
	free(g);
}

const struct riffle_provider_ops *
rfl_guard_provider(const struct rfl_guard *g)
{
	RFL_CHECK(g, RFL_GUARD_MAGIC);
	return &g->ops.provider;
}

const struct riffle_invoker_ops *
rfl_guard_invoker(const struct rfl_guard *g)
{
	RFL_CHECK(g, RFL_GUARD_MAGIC);
	return &g->ops.invoker;
}

int
rfl_guard_is_quarantined(const struct rfl_guard *g, struct riffle_error *ret_fault)
{
	if (rfl_guard_is_open(g))
		return 0;
	if (ret_fault != NULL)
		*ret_fault = g->fault;
	return 1;
}

int
rfl_guard_refuse(const struct rfl_guard *g, struct riffle_error *reterr)
{
	*reterr = g->fault;
	return RIFFLE_E_FATAL;
}

/* The fault is written once, before anybody can see that it is there. */
static int
set_fault(struct rfl_guard *g, const char *code, const char *function, const char *text)
{
	pthread_mutex_lock(&g->lock);
	int first = g->fault.code == 0;
	if (first) {
		rfl_err(&g->fault, RIFFLE_E_FATAL,
			"plugin \"%s\" %s misbehaved: %s: %s %s; it is not called any more [%s]",
			g->plugin->name, g->plugin->version, g->what, function, text, code);
		__atomic_store_n(&g->quarantined, 1, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&g->lock);
	return first;
}

void
rfl_guard_breach(struct rfl_guard *g, const char *code, const char *function, const char *fmt, ...)
{
	char text[160];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (!set_fault(g, code, function, text))
		return;
	rfl_log(RIFFLE_LOG_ERROR, code, g->what, "%s", g->fault.text);
	if (g->plugin->kind == RIFFLE_KIND_INVOKER)
		rfl_guard_end_calls(g);
}

int
rfl_guard_status(struct rfl_guard *g, const char *function, int rc, int64_t most,
	struct riffle_error *reterr)
{
	if (rc >= 0 && rc <= most)
		return rc;
	if (rc > 0 && most > 0)
		rfl_guard_breach(
			g, "G04", function, "took %d, %lld were offered", rc, (long long)most);
	else if (rc > 0 || rc < RIFFLE_E_LAST)
		rfl_guard_breach(g, "G01", function, "returned %d, which is not a status", rc);
	else {
		reterr->code = rc;
		reterr->text[sizeof reterr->text - 1] = '\0';
		if (reterr->text[0] == '\0')
			rfl_err(reterr, rc, "%s failed and did not say why: %s", function,
				rfl_status_name(rc));
		return rc;
	}
	return rfl_guard_refuse(g, reterr);
}
