/*
 * The guard of an invoker: its operations and its calls.
 *
 * What a plugin is handed for its events is not a pointer but a number: which entry of a table that is
 * never freed, and which use of it. So an event for a call that is over is recognised for what it is,
 * however late it comes, and touches nothing.
 */
#include "plugin/guard_private.h"

#include "base/error.h"
#include "base/mem.h"
#include "plugin/host.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL_MAGIC 0x4743414cu
#define CHUNK 64u
#define CHUNKS_MAX 65536u
#define INDEX_BITS 22 /* CHUNK * CHUNKS_MAX entries */

enum state { FREE, OPEN, DONE };

/* Which call it is, in the words of its headers. */
struct pane {
	char start[24], end[24], key[40];
	uint32_t attempt;
};

struct call {
	uint32_t magic;
	uint32_t index;
	uint64_t use; /* counts from 1; part of the number */
	enum state state;
	int busy;                /* somebody is in an event of it, or ends it */
	struct rfl_guard *guard; /* NULL once that is gone */
	uint32_t output_count;
	void *call; /* the plugin's */
	const struct riffle_call_events *events;
	void *data; /* the core's */
	struct pane pane;
	uint64_t cancelled; /* the use that was told to stop; 0 = none */
	uint64_t seen;      /* the watch's: cancelled at its last tick */
	uint32_t ticks;
	struct call *next_free;
};

struct chunk {
	struct chunk *next; /* of its guard */
	struct call calls[CHUNK];
};

struct rfl_guard_calls {
	struct chunk *chunks;
	struct call *free;
};

/* All chunks of the process, so that a number finds its entry without anybody's lock. */
static struct chunk *directory[CHUNKS_MAX];
static uint32_t directory_count;
static struct chunk *spare; /* of guards that are gone */
static pthread_mutex_t directory_lock = PTHREAD_MUTEX_INITIALIZER;
/* No guard goes while the watch looks at its calls. Taken before all others. */
static pthread_mutex_t watch_lock = PTHREAD_MUTEX_INITIALIZER;

static void *
number_of(const struct call *c)
{
	return (void *)(uintptr_t)(c->use << INDEX_BITS | c->index);
}

static struct chunk *
new_chunk(struct rfl_guard *g)
{
	pthread_mutex_lock(&directory_lock);
	struct chunk *k = spare;
	if (k != NULL) {
		spare = k->next;
	} else {
		rfl_assert(directory_count < CHUNKS_MAX);
		k = rfl_zalloc(sizeof *k);
		for (uint32_t i = 0; i < CHUNK; i++) {
			k->calls[i].magic = CALL_MAGIC;
			k->calls[i].index = directory_count * CHUNK + i;
		}
		__atomic_store_n(&directory[directory_count++], k, __ATOMIC_RELEASE);
	}
	for (uint32_t i = 0; i < CHUNK; i++)
		__atomic_store_n(&k->calls[i].guard, g, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&directory_lock);
	return k;
}

/* The entry of a number, whatever its use; NULL for what never was one. */
static struct call *
entry_of(const void *data)
{
	uint64_t number = (uintptr_t)data;
	uint32_t index = (uint32_t)(number & ((UINT64_C(1) << INDEX_BITS) - 1));
	struct chunk *k = __atomic_load_n(&directory[index / CHUNK], __ATOMIC_ACQUIRE);
	return k ? &k->calls[index % CHUNK] : NULL;
}

static void
take(struct call *c)
{
	int idle = 0;
	while (!__atomic_compare_exchange_n(
		&c->busy, &idle, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
		idle = 0;
		sched_yield();
	}
}

static void
give(struct call *c)
{
	__atomic_store_n(&c->busy, 0, __ATOMIC_RELEASE);
}

/* Changed by whoever took the call, read by the watch, which does not: it would be in the way of events. */
static void
set_state(struct call *c, enum state state)
{
	__atomic_store_n(&c->state, state, __ATOMIC_RELEASE);
}

static void
note(char *to, size_t room, struct riffle_bytes value)
{
	size_t len = value.len < room ? value.len : room - 1;
	memcpy(to, value.ptr, len);
	to[len] = '\0';
	/* A key is any bytes; an error is one line. */
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)to[i] < 0x20 || (unsigned char)to[i] > 0x7e)
			to[i] = '?';
}

static void
name_call(struct pane *p, const struct riffle_call_spec *spec)
{
	static const char *const names[] = {
		"riffle-window-start", "riffle-window-end", "riffle-window-key"};
	char *const to[] = {p->start, p->end, p->key};
	const size_t room[] = {sizeof p->start, sizeof p->end, sizeof p->key};
	p->attempt = spec->attempt;
	for (size_t k = 0; k < RFL_COUNT(names); k++) {
		size_t len = strlen(names[k]);
		to[k][0] = '\0';
		for (uint32_t i = 0; i < spec->header_count; i++)
			if (spec->headers[i].name.len == len &&
				memcmp(spec->headers[i].name.ptr, names[k], len) == 0)
				note(to[k], room[k], spec->headers[i].value);
	}
}

static struct call *
open_call(struct rfl_guard *g, const struct riffle_call_spec *spec,
	const struct riffle_call_events *events, void *data)
{
	pthread_mutex_lock(&g->lock);
	if (g->calls == NULL)
		g->calls = rfl_zalloc(sizeof *g->calls);
	struct call *c = g->calls->free;
	if (c == NULL) {
		struct chunk *k = new_chunk(g);
		k->next = g->calls->chunks;
		g->calls->chunks = k;
		for (uint32_t i = 0; i < CHUNK; i++) {
			k->calls[i].next_free = g->calls->free;
			g->calls->free = &k->calls[i];
		}
		c = g->calls->free;
	}
	g->calls->free = c->next_free;
	pthread_mutex_unlock(&g->lock);
	take(c);
	c->use++;
	set_state(c, OPEN);
	c->output_count = spec->output_count;
	c->call = NULL;
	c->events = events;
	c->data = data;
	name_call(&c->pane, spec);
	give(c);
	return c;
}

static void
close_call(struct rfl_guard *g, struct call *c)
{
	take(c);
	__atomic_store_n(&c->cancelled, 0, __ATOMIC_RELEASE);
	set_state(c, FREE);
	give(c);
	pthread_mutex_lock(&g->lock);
	c->next_free = g->calls->free;
	g->calls->free = c;
	pthread_mutex_unlock(&g->lock);
}

/*
 * The entry of an event that may be passed on, taken; or NULL after a breach. An entry that somebody is
 * in already is in use by two threads at once, which the contract excludes, unless we are just ending it.
 */
static struct call *
begin_event(void *data, const char *event)
{
	struct call *c = entry_of(data);
	struct rfl_guard *g = c ? __atomic_load_n(&c->guard, __ATOMIC_ACQUIRE) : NULL;
	int idle = 0;
	if (g == NULL || !rfl_guard_is_open(g))
		return NULL;
	if (!__atomic_compare_exchange_n(
		    &c->busy, &idle, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
		rfl_guard_breach(
			g, "G09", event, "while another thread is in an event of that call");
		return NULL;
	}
	if (number_of(c) == data && c->state == OPEN)
		return c;
	int after_done = number_of(c) == data && c->state == DONE;
	give(c);
	rfl_guard_breach(
		g, "G07", event, "%s", after_done ? "after done" : "for a call that was destroyed");
	return NULL;
}

static void
on_output(void *data, struct riffle_batch *batch)
{
	/* An index beyond the outputs is the function's fault, not the invoker's: the task says so. */
	const struct rfl_guard_expect expect = {
		.most = UINT32_MAX, .streams = UINT32_MAX, .stream = -1};
	struct call *c = begin_event(data, "output");
	if (c == NULL)
		return;
	struct rfl_guard *g = c->guard;
	const char *fault = rfl_guard_batch_fault(batch, &expect);
	if (fault == NULL)
		c->events->output(c->data, batch);
	give(c);
	if (fault != NULL)
		rfl_guard_breach(g, "G05", "output", "gave %s", fault);
}

static void
on_writable(void *data)
{
	struct call *c = begin_event(data, "writable");
	if (c == NULL)
		return;
	c->events->writable(c->data);
	give(c);
}

static void
on_replied(void *data, uint64_t count)
{
	struct call *c = begin_event(data, "replied");
	if (c == NULL)
		return;
	c->events->replied(c->data, count);
	give(c);
}

static void
on_done(void *data, int status, const struct riffle_error *err)
{
	struct call *c = begin_event(data, "done");
	struct riffle_error why = {0};
	if (c == NULL)
		return;
	struct rfl_guard *g = c->guard;
	int known = status <= 0 && status >= RIFFLE_E_LAST;
	if (known && status != RIFFLE_OK) {
		if (err != NULL)
			why = *err;
		why.code = status;
		why.text[sizeof why.text - 1] = '\0';
	}
	if (known) {
		set_state(c, DONE);
		c->events->done(c->data, status, &why);
	}
	give(c);
	if (!known)
		rfl_guard_breach(g, "G01", "done", "with %d, which is not a status", status);
}

static const struct riffle_call_events guarded_events = {
	.size = sizeof guarded_events,
	.output = on_output,
	.writable = on_writable,
	.replied = on_replied,
	.done = on_done,
};

static void
end_call(struct rfl_guard *g, struct call *c)
{
	take(c);
	if (c->state == OPEN) {
		set_state(c, DONE);
		c->events->done(c->data, RIFFLE_E_FATAL, &g->fault);
	}
	give(c);
}

/* No event is passed on from here on, and none breaches while it holds its call, so each is soon free. */
void
rfl_guard_end_calls(struct rfl_guard *g)
{
	pthread_mutex_lock(&g->lock);
	struct chunk *k = g->calls ? g->calls->chunks : NULL;
	pthread_mutex_unlock(&g->lock);
	for (; k != NULL; k = k->next)
		for (uint32_t i = 0; i < CHUNK; i++)
			end_call(g, &k->calls[i]);
}

static void
tick_call(struct call *c, uint32_t limit)
{
	uint64_t use = __atomic_load_n(&c->cancelled, __ATOMIC_ACQUIRE);
	int waits =
		use != 0 && use == c->seen && __atomic_load_n(&c->state, __ATOMIC_ACQUIRE) == OPEN;
	const struct pane *p = &c->pane;
	c->ticks = waits ? c->ticks + 1 : 0;
	c->seen = use;
	if (c->ticks < limit)
		return;
	rfl_guard_breach(c->guard, "G12", "done",
		"has not followed call_cancel for %u s: window %s to %s%s%s, attempt %u", limit,
		p->start, p->end, p->key[0] ? " of key " : "", p->key, p->attempt);
}

void
rfl_guard_tick_calls(uint32_t limit)
{
	pthread_mutex_lock(&watch_lock);
	for (uint32_t k = 0; k < CHUNKS_MAX; k++) {
		struct chunk *chunk = __atomic_load_n(&directory[k], __ATOMIC_ACQUIRE);
		if (chunk == NULL)
			break;
		for (uint32_t i = 0; i < CHUNK; i++)
			tick_call(&chunk->calls[i], limit);
	}
	pthread_mutex_unlock(&watch_lock);
}

static void
put_back_calls(struct rfl_guard *g)
{
	pthread_mutex_lock(&directory_lock);
	while (g->calls->chunks != NULL) {
		struct chunk *k = g->calls->chunks;
		g->calls->chunks = k->next;
		for (uint32_t i = 0; i < CHUNK; i++) {
			rfl_assert(k->calls[i].state == FREE);
			__atomic_store_n(&k->calls[i].guard, NULL, __ATOMIC_RELEASE);
		}
		k->next = spare;
		spare = k;
	}
	pthread_mutex_unlock(&directory_lock);
}

void
rfl_guard_free_calls(struct rfl_guard *g)
{
	if (g->calls == NULL)
		return;
	pthread_mutex_lock(&watch_lock);
	put_back_calls(g);
	pthread_mutex_unlock(&watch_lock);
	free(g->calls);
}

static struct call *
call_of(void *call)
{
	struct call *c = call;
	RFL_CHECK(c, CALL_MAGIC);
	return c;
}

static int
is_done(struct call *c)
{
	take(c);
	int done = c->state == DONE;
	give(c);
	return done;
}

static int
g_call_begin(void *self, const struct riffle_call_spec *spec,
	const struct riffle_call_events *events, void *data, void **ret_call,
	struct riffle_error *reterr)
{
	struct rfl_guard *g = rfl_guard_of(self);
	void *made = NULL;
	if (!rfl_guard_is_open(g))
		return rfl_guard_refuse(g, reterr);
	struct call *c = open_call(g, spec, events, data);
	rfl_guard_enter(g, "call_begin", NULL);
	int rc = g->plugin->ops.invoker.call_begin(
		g->self, spec, &guarded_events, number_of(c), &made, reterr);
	rfl_guard_leave();
	rc = rfl_guard_status(g, "call_begin", rc, 0, reterr);
	if (rc == RIFFLE_OK && made == NULL)
		rfl_guard_breach(g, "G02", "call_begin", "said OK and made nothing");
	/* The breach of another thread may have come in between, and not have seen this call. */
	if (!rfl_guard_is_open(g))
		end_call(g, c);
	if (rc < 0 && !is_done(c)) {
		close_call(g, c);
		return rc;
	}
	if (rc < 0)
		rfl_guard_breach(g, "G06", "call_begin", "failed, and said done all the same");
	c->call = made;
	*ret_call = c;
	return RIFFLE_OK;
}

/* The guard has said done, or is about to: what is pushed meanwhile goes nowhere. */
static int
is_over(const struct call *c)
{
	return !rfl_guard_is_open(c->guard);
}

static int
g_call_push(void *call, struct riffle_batch *batch, uint32_t first, uint32_t count,
	struct riffle_error *reterr)
{
	struct call *c = call_of(call);
	struct rfl_guard *g = c->guard;
	if (is_over(c))
		return 0;
	struct riffle_batch *lent = rfl_guard_lend(g, batch, &first, count);
	rfl_guard_enter(g, "call_push", lent);
	int rc = g->plugin->ops.invoker.call_push(c->call, lent, first, count, reterr);
	rfl_guard_leave();
	rfl_guard_lend_end(batch, lent);
	return rfl_guard_status(g, "call_push", rc, count, reterr);
}

static int
g_call_end(void *call, struct riffle_error *reterr)
{
	struct call *c = call_of(call);
	struct rfl_guard *g = c->guard;
	if (is_over(c))
		return RIFFLE_OK;
	rfl_guard_enter(g, "call_end", NULL);
	int rc = g->plugin->ops.invoker.call_end(c->call, reterr);
	rfl_guard_leave();
	return rfl_guard_status(g, "call_end", rc, 0, reterr);
}

static void
g_call_read(void *call, size_t bytes)
{
	struct call *c = call_of(call);
	if (is_over(c))
		return;
	rfl_guard_enter(c->guard, "call_read", NULL);
	c->guard->plugin->ops.invoker.call_read(c->call, bytes);
	rfl_guard_leave();
}

static void
g_call_cancel(void *call, int reason)
{
	struct call *c = call_of(call);
	if (is_over(c))
		return;
	__atomic_store_n(&c->cancelled, c->use, __ATOMIC_RELEASE);
	rfl_guard_enter(c->guard, "call_cancel", NULL);
	c->guard->plugin->ops.invoker.call_cancel(c->call, reason);
	rfl_guard_leave();
}

static void
g_call_destroy(void *call)
{
	if (call == NULL)
		return;
	struct call *c = call_of(call);
	struct rfl_guard *g = c->guard;
	if (!is_over(c)) {
		rfl_guard_enter(g, "call_destroy", NULL);
		g->plugin->ops.invoker.call_destroy(c->call);
		rfl_guard_leave();
	}
	close_call(g, c);
}

static int
g_ready(void *self, struct riffle_error *reterr)
{
	struct rfl_guard *g = rfl_guard_of(self);
	if (!rfl_guard_is_open(g))
		return rfl_guard_refuse(g, reterr);
	rfl_guard_enter(g, "ready", NULL);
	int rc = g->plugin->ops.invoker.ready(g->self, reterr);
	rfl_guard_leave();
	return rfl_guard_status(g, "ready", rc, 0, reterr);
}

static uint64_t
g_capabilities(void *self)
{
	struct rfl_guard *g = rfl_guard_of(self);
	if (!rfl_guard_is_open(g))
		return 0;
	rfl_guard_enter(g, "capabilities", NULL);
	uint64_t now = g->plugin->ops.invoker.capabilities(g->self);
	rfl_guard_leave();
	return now & g->plugin->capabilities;
}

static const void *
g_extension(void *self, const char *id)
{
	struct rfl_guard *g = rfl_guard_of(self);
	if (!rfl_guard_is_open(g))
		return NULL;
	if (strcmp(id, RIFFLE_EXT_TURNS) == 0)
		return rfl_guard_turns(g);
	rfl_guard_enter(g, "extension", NULL);
	const void *found = g->plugin->ops.invoker.extension(g->self, id);
	rfl_guard_leave();
	return found;
}

static void
g_destroy(void *self)
{
	struct rfl_guard *g = rfl_guard_of(self);
	if (!rfl_guard_is_open(g))
		return;
	rfl_guard_enter(g, "destroy", NULL);
	g->plugin->ops.invoker.destroy(g->self);
	rfl_guard_leave();
}

void
rfl_guard_wrap_invoker(struct rfl_guard *g)
{
	const struct riffle_invoker_ops *bare = &g->plugin->ops.invoker;
	g->ops.invoker = (struct riffle_invoker_ops){
		.size = sizeof g->ops.invoker,
		.destroy = g_destroy,
		.capabilities = g_capabilities,
		.ready = bare->ready ? g_ready : NULL,
		.extension = bare->extension ? g_extension : NULL,
		.call_begin = g_call_begin,
		.call_push = g_call_push,
		.call_end = g_call_end,
		.call_read = g_call_read,
		.call_cancel = g_call_cancel,
		.call_destroy = g_call_destroy,
	};
}
