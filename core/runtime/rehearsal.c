/* Turning one processor by hand: what is sent when, when the clock goes on, what came of it. */
#include "runtime/rehearsal.h"

#include "base/check.h"
#include "base/error.h"
#include "base/mem.h"
#include "conf/arena.h"
#include "runtime/memory.h"
#include "runtime/processor.h"
#include "runtime/worker.h"
#include "window/window.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_MS INT64_C(1000000)
/* The clock begins here: 0 means unknown to those who ask it. */
#define ORIGIN_NS NS_PER_MS
/* Two hundred years of the test's clock, which counts nanoseconds. */
#define HORIZON_NS (INT64_C(200) * 366 * 86400 * 1000 * NS_PER_MS)
/* What a cancelled call of the function may still take to end. */
#define CLOSE_MS 10000
#define READY_POLL_MS 5
/* How late the end of a function's timeout, which is of the real clock, may be seen. */
#define TIMEOUT_POLL_MS 20

/* A window that the function was called with. */
struct called {
	int64_t start_ms, end_ms;
	char *key; /* NULL = none */
	size_t key_len;
};

/* The function as the processor sees it: the real one, and a look at the windows it is called with. */
struct callee {
	struct rfl_instance instance;
	struct riffle_invoker_ops ops;
	const struct rfl_instance *real;
	struct called *called;
	size_t count, room;
};

struct bed {
	const struct rfl_test_conf *test;
	struct rfl_processor_conf
		conf; /* the test's processor, but for when it calls, from what is kept */
	struct rfl_clock clock, real_clock;
	int64_t began_ns, limit_ns; /* by the real clock */
	struct rfl_instance *memory, *function;
	struct callee callee;
	struct rfl_worker worker;
	struct rfl_processor *processor;
	char *failure;
};

static struct riffle_bytes
header(const struct riffle_call_spec *spec, const char *name)
{
	for (uint32_t i = 0; i < spec->header_count; i++)
		if (spec->headers[i].name.len == strlen(name) &&
			memcmp(spec->headers[i].name.ptr, name, strlen(name)) == 0)
			return spec->headers[i].value;
	return (struct riffle_bytes){NULL, 0};
}

static int64_t
number(struct riffle_bytes text)
{
	char copy[24] = "";
	if (text.len < sizeof copy && text.ptr != NULL)
		memcpy(copy, text.ptr, text.len);
	return strtoll(copy, NULL, 10);
}

static int
call_begin(void *self, const struct riffle_call_spec *spec, const struct riffle_call_events *events,
	void *data, void **ret_call, struct riffle_error *reterr)
{
	struct callee *c = self;
	struct riffle_bytes key = header(spec, "riffle-window-key");
	if (spec->attempt == 1) {
		rfl_grow(&c->called, &c->room, c->count + 1, sizeof *c->called);
		c->called[c->count++] = (struct called){
			.start_ms = number(header(spec, "riffle-window-start")),
			.end_ms = number(header(spec, "riffle-window-end")),
			.key = key.ptr != NULL ? rfl_strndup(key.ptr, key.len) : NULL,
			.key_len = key.len,
		};
	}
	return c->real->invoker->call_begin(c->real->self, spec, events, data, ret_call, reterr);
}

static int
ready(void *self, struct riffle_error *reterr)
{
	const struct callee *c = self;
	return c->real->invoker->ready(c->real->self, reterr);
}

static uint64_t
capabilities(void *self)
{
	const struct callee *c = self;
	return c->real->invoker->capabilities(c->real->self);
}

static const void *
extension(void *self, const char *id)
{
	const struct callee *c = self;
	return c->real->invoker->extension(c->real->self, id);
}

static void
callee_init(struct callee *c, const struct rfl_instance *real)
{
	c->real = real;
	c->instance = *real;
	c->ops = *real->invoker;
	c->ops.call_begin = call_begin;
	c->ops.capabilities = capabilities;
	c->ops.ready = real->invoker->ready ? ready : NULL;
	c->ops.extension = real->invoker->extension ? extension : NULL;
	c->instance.invoker = &c->ops;
	c->instance.self = c;
}

static void
callee_fini(struct callee *c)
{
	for (size_t i = 0; i < c->count; i++)
		free(c->called[i].key);
	free(c->called);
}

static int64_t
real_ns(const struct bed *b)
{
	return rfl_clock_mono_ns(&b->real_clock);
}

static void __attribute__((format(printf, 2, 3))) fail(struct bed *b, const char *fmt, ...)
{
	va_list ap;
	if (b->failure != NULL)
		return;
	va_start(ap, fmt);
	b->failure = rfl_vsprintf(fmt, ap);
	va_end(ap);
}

/* Until the function says something, or the real time is over: then 0. */
static int
wait_for_function(struct bed *b, int64_t limit_ns, int most_ms)
{
	int64_t left_ms = (limit_ns - real_ns(b) + NS_PER_MS - 1) / NS_PER_MS;
	if (left_ms <= 0)
		return 0;
	if (!rfl_mailbox_sleep(&b->worker.mailbox))
		return 1;
	struct pollfd fd = {.fd = b->worker.mailbox.fd, .events = POLLIN};
	if (poll(&fd, 1, left_ms < most_ms ? (int)left_ms : most_ms) < 0)
		rfl_assert(errno == EINTR || errno == ENOMEM);
	rfl_mailbox_awake(&b->worker.mailbox);
	return 1;
}

static int
is_ready(const struct bed *b, struct riffle_error *reterr)
{
	const struct riffle_invoker_ops *ops = b->function->invoker;
	return ops->ready == NULL || ops->ready(b->function->self, reterr) >= 0;
}

static void
fail_late(struct bed *b)
{
	struct rfl_processor_status s;
	struct riffle_error err = {0};
	rfl_processor_status(b->processor, &s);
	const char *why = s.task_count > 0 ? s.tasks[0].waits_for : s.why;
	if (!is_ready(b, &err))
		why = err.text;
	fail(b, "not done after timeout = %" PRId64 "ms: %s", b->test->timeout_ms,
		why ? why : "nothing is known of it");
	rfl_status_fini_processor(&s);
}

/*
 * Turns the worker until nothing moves and the function has nothing to answer. A window that waits for a
 * function that is away waits by the real clock too. *next_ns: what it waits for then.
 */
static int
settle(struct bed *b, int64_t *next_ns)
{
	struct riffle_error err = {0};
	for (;;) {
		if (real_ns(b) >= b->limit_ns)
			break;
		if (rfl_worker_turn(&b->worker, next_ns))
			continue;
		const struct rfl_processor_activity now = rfl_processor_activity(b->processor);
		int is_away = now.windows_waiting > 0 && !is_ready(b, &err);
		if (now.calls_due == 0 && !is_away)
			return 0;
		if (!wait_for_function(b, b->limit_ns, is_away ? READY_POLL_MS : TIMEOUT_POLL_MS))
			break;
	}
	fail_late(b);
	return -1;
}

static void
advance_to(struct bed *b, int64_t ns)
{
	int64_t now_ns = rfl_clock_mono_ns(&b->clock);
	/* Whoever wants to be asked again at once is asked a little later, or time would stand still. */
	rfl_clock_advance(&b->clock, ns > now_ns ? ns - now_ns : NS_PER_MS);
}

/* Up to that moment, by way of all that happens before it. */
static int
pass_time(struct bed *b, int64_t until_ns)
{
	int64_t next_ns;
	for (;;) {
		if (settle(b, &next_ns) < 0)
			return -1;
		if (rfl_clock_mono_ns(&b->clock) >= until_ns)
			return 0;
		advance_to(b, next_ns < until_ns ? next_ns : until_ns);
	}
}

static int
is_at_rest(const struct bed *b)
{
	const struct rfl_processor_activity a = rfl_processor_activity(b->processor);
	return a.windows_open == 0 && a.windows_waiting == 0 && a.calls_due == 0 && !a.is_to_commit;
}

/* By jumps, until everything is over or nothing would happen any more. */
static int
pass_rest(struct bed *b)
{
	int64_t next_ns, looked_ns = rfl_clock_mono_ns(&b->clock) + b->conf.early_ms * NS_PER_MS;
	for (;;) {
		if (settle(b, &next_ns) < 0)
			return -1;
		if (is_at_rest(b) || next_ns == INT64_MAX)
			return 0;
		/* All that came was looked at by now: over a window that stays open looks would go on for ever. */
		if (rfl_clock_mono_ns(&b->clock) >= looked_ns)
			b->conf.early_ms = 0;
		if (next_ns >= HORIZON_NS) {
			fail(b, "nothing happens within the next two hundred years");
			return -1;
		}
		advance_to(b, next_ns);
	}
}

static void
append(struct bed *b, const struct rfl_test_record *line)
{
	const struct riffle_record r = {
		.key = line->key,
		.value = line->value,
		.time_ms = line->time_ms,
	};
	rfl_memory_append(b->memory, &line->stream->stream, &r, line->headers, line->header_count);
}

/* Lines of one time come together: one read brings them. */
static int
send_all(struct bed *b)
{
	const struct rfl_test_conf *t = b->test;
	for (size_t i = 0; i < t->send_count; i++) {
		const struct rfl_test_record *line = &t->sends[i];
		int64_t at_ns = ORIGIN_NS + (line->time_ms - t->start_ms) * NS_PER_MS;
		if ((i == 0 || line->time_ms != t->sends[i - 1].time_ms) && pass_time(b, at_ns) < 0)
			return -1;
		append(b, line);
	}
	return 0;
}

static int
wait_until_ready(struct bed *b)
{
	struct riffle_error err = {0};
	while (!is_ready(b, &err)) {
		if (wait_for_function(b, b->limit_ns, READY_POLL_MS))
			continue;
		fail(b, "function %s is not ready: %s", b->test->processor->function->name,
			err.text);
		return -1;
	}
	return 0;
}

static int
open_bed(struct bed *b, const struct rfl_conf *conf, struct rfl_plugins *plugins,
	struct riffle_error *reterr)
{
	const struct rfl_function_conf *f = b->test->processor->function;
	const struct rfl_plugin *plugin;
	int rc = rfl_plugins_find(
		plugins, RIFFLE_KIND_INVOKER, f->invoker, &conf->runtime.plugins, &plugin, reterr);
	if (rc == RIFFLE_OK)
		rc = rfl_instance_create(plugin, &f->config, &b->real_clock, conf->runtime.guard,
			&b->function, reterr);
	if (rc == RIFFLE_OK)
		rc = rfl_memory_create(&b->clock, &b->memory, reterr);
	if (rc == RIFFLE_OK && rfl_worker_init(&b->worker, 0, "test", &b->clock, -1) < 0)
		rc = rfl_err(reterr, RIFFLE_E_FATAL, "cannot make a mailbox: %s", strerror(errno));
	if (rc == RIFFLE_OK)
		return rc;
	rfl_instance_destroy(b->function);
	rfl_instance_destroy(b->memory);
	return rc;
}

static void
open_processor(struct bed *b, const struct rfl_conf *conf)
{
	const struct rfl_processor_conf *p = &b->conf;
	size_t most = p->input_count + p->output_count + 2;
	struct rfl_instance **providers = rfl_zalloc(most * sizeof(struct rfl_instance *));
	for (size_t i = 0; i < most; i++)
		providers[i] = b->memory;
	callee_init(&b->callee, b->function);
	const struct rfl_processor_setup setup = {
		.conf = conf,
		.processor = p,
		.clock = &b->clock,
		.function_clock = &b->real_clock,
		.instance = "test",
		.function = &b->callee.instance,
		.input_providers = providers,
		.destination_providers = providers,
	};
	b->processor = rfl_processor_create(&setup, &b->worker);
	rfl_worker_add(&b->worker, b->processor);
	free(providers);
}

/*
 * What is still open is cancelled. 0 = the function does not let go, or is not trusted any more: all that it
 * may touch has to stay.
 */
static int
close_bed(struct bed *b)
{
	int64_t next_ns, limit_ns = real_ns(b) + CLOSE_MS * NS_PER_MS;
	rfl_processor_abandon(b->processor);
	while (!rfl_worker_is_closed(&b->worker))
		if (!rfl_worker_turn(&b->worker, &next_ns) &&
			!wait_for_function(b, limit_ns, CLOSE_MS)) {
			fail(b, "the function did not end within %d s of being cancelled",
				CLOSE_MS / 1000);
			return 0;
		}
	int is_trusted = !rfl_instance_is_quarantined(b->function, NULL);
	rfl_worker_fini(&b->worker);
	rfl_instance_destroy(b->function);
	rfl_instance_destroy(b->memory);
	callee_fini(&b->callee);
	return is_trusted;
}

/* The time that an output of the window has unless the function gave one. */
static int64_t
stamp(const struct called *c)
{
	return c->end_ms == RFL_NEVER_MS ? c->start_ms : c->end_ms - 1;
}

static int
by_stamp(const void *a, const void *b)
{
	const struct called *x = a, *y = b;
	return (stamp(x) > stamp(y)) - (stamp(x) < stamp(y));
}

static size_t
first_with(const struct callee *c, int64_t time_ms)
{
	size_t low = 0, high = c->count;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (stamp(&c->called[mid]) < time_ms)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* The window that an output is of, as far as its time and key tell. */
static void
set_window(const struct callee *c, struct rfl_rehearsed *r)
{
	size_t first = first_with(c, r->time_ms);
	int same = 1;
	const struct called *found = NULL;
	for (size_t i = first; i < c->count && stamp(&c->called[i]) == r->time_ms; i++) {
		const struct called *one = &c->called[i];
		same &= one->start_ms == c->called[first].start_ms;
		if (r->key.ptr != NULL && one->key != NULL && one->key_len == r->key.len &&
			memcmp(one->key, r->key.ptr, r->key.len) == 0)
			found = one;
	}
	if (found == NULL && same && first < c->count && stamp(&c->called[first]) == r->time_ms)
		found = &c->called[first];
	if (found == NULL)
		return;
	r->has_window = 1;
	r->start_ms = found->start_ms;
	r->end_ms = found->end_ms;
}

static struct riffle_bytes
keep(struct rfl_conf_memory *a, struct riffle_bytes b)
{
	return b.ptr ? (struct riffle_bytes){rfl_arena_strndup(a, b.ptr, b.len), b.len} : b;
}

static void
collect(struct bed *b, struct rfl_rehearsal *ret)
{
	const struct rfl_processor_conf *p = b->test->processor;
	const struct rfl_stream_conf **to = rfl_zalloc((p->output_count + 2) * sizeof *to);
	size_t count = rfl_conf_destinations(p, to), room = 0;
	const struct riffle_batch *one;
	if (b->callee.count > 1)
		qsort(b->callee.called, b->callee.count, sizeof *b->callee.called, by_stamp);
	for (size_t i = 0; i < count; i++) {
		int is_seen = 0;
		size_t at = 0;
		for (size_t k = 0; k < i; k++)
			is_seen |= to[k] == to[i];
		while (!is_seen &&
			(one = rfl_memory_written(b->memory, &to[i]->stream, &at)) != NULL) {
			const struct riffle_record *r = riffle_batch_at(one, 0);
			rfl_grow(
				&ret->written, &room, ret->written_count + 1, sizeof *ret->written);
			struct rfl_rehearsed *w = &ret->written[ret->written_count++];
			*w = (struct rfl_rehearsed){.stream = to[i],
				.key = keep(ret->memory, r->key),
				.value = keep(ret->memory, r->value),
				.time_ms = r->time_ms};
			if (i < p->output_count && p->window.kind != RFL_WINDOW_NONE)
				set_window(&b->callee, w);
		}
	}
	free(to);
}

static void
count_up(struct bed *b, struct rfl_rehearsal *ret)
{
	struct rfl_processor_status s;
	rfl_processor_status(b->processor, &s);
	if (s.state == RFL_STOPPED || s.state == RFL_FAILED)
		fail(b, "the processor is %s: %s", rfl_state_name(s.state), s.why ? s.why : "?");
	for (size_t i = 0; i < s.task_count; i++) {
		const struct rfl_task_status *t = &s.tasks[i];
		ret->windows += t->windows_done;
		ret->windows_open += t->windows_open;
		ret->late += t->late;
		ret->late_in_part += t->late_in_part;
		ret->refused += t->refused;
		ret->skipped += t->skipped;
		ret->dead_letters += t->dead_letters;
		ret->retries += t->retries;
	}
	rfl_status_fini_processor(&s);
	ret->ended_ms = rfl_clock_wall_ms(&b->clock);
}

int
rfl_rehearse(const struct rfl_conf *conf, struct rfl_plugins *plugins,
	const struct rfl_test_conf *test, struct rfl_rehearsal *ret, struct riffle_error *reterr)
{
	struct bed *b = rfl_zalloc(sizeof *b);
	b->test = test;
	/* Of calls at the same time, and of answers while records come, one does not know which is first. */
	b->conf = *test->processor;
	b->conf.calls = 1;
	b->conf.delivery = RFL_AT_CLOSE;
	b->conf.keep = 1;
	rfl_guard_thread_owner(b);
	rfl_clock_init(&b->real_clock);
	rfl_clock_init_manual(&b->clock, test->start_ms - ORIGIN_NS / NS_PER_MS);
	rfl_clock_advance(&b->clock, ORIGIN_NS);
	b->began_ns = real_ns(b);
	b->limit_ns = b->began_ns + test->timeout_ms * NS_PER_MS;
	int rc = open_bed(b, conf, plugins, reterr);
	if (rc < 0) {
		free(b);
		return rc;
	}
	open_processor(b, conf);
	*ret = (struct rfl_rehearsal){.memory = rfl_arena_create()};
	if (wait_until_ready(b) == 0 && send_all(b) == 0)
		pass_rest(b);
	count_up(b, ret);
	collect(b, ret);
	ret->took_ms = (real_ns(b) - b->began_ns) / NS_PER_MS;
	int may_go = close_bed(b);
	ret->failure = b->failure;
	if (may_go)
		free(b);
	return RIFFLE_OK;
}

void
rfl_rehearsal_fini(struct rfl_rehearsal *r)
{
	free(r->failure);
	free(r->written);
	rfl_arena_destroy(r->memory);
	*r = (struct rfl_rehearsal){.failure = NULL};
}
