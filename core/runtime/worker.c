/* The loop of a worker: deliver, run, and when nothing moved, wait for any of its fds or the time. */
#include "runtime/worker.h"

#include "base/check.h"
#include "base/mem.h"
#include "plugin/guard.h"
#include "runtime/processor.h"
#include "runtime/sink.h"
#include "runtime/turns.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define WORKER_MAGIC 0x574f524bu

/* Sources and sinks are polled at least this often, whatever their fds say. */
#define HEARTBEAT_NS ((int64_t)1000000000)

/*
 * To wake a core that sleeps may take longer than a program takes to answer, and costs the CPU as much: 50 us and more in
 * a virtual machine. So a worker that runs functions looks round for so long before it sleeps. Where that finds
 * nothing a few times, because the program is slow or waits for this very core, one wait in so many tries it again.
 */
#define SPIN_NS INT64_C(50000)
#define SPINS_IN_VAIN 4u
#define WAITS_A_SPIN 16u

int
rfl_worker_init(struct rfl_worker *w, uint32_t index, const char *instance,
	const struct rfl_clock *clock, int done_fd)
{
	*w = (struct rfl_worker){
		.magic = WORKER_MAGIC, .index = index, .clock = clock, .done_fd = done_fd};
	rfl_list_init(&w->sinks);
	w->member = rfl_sprintf("%s.%u", instance, index);
	return rfl_mailbox_init(&w->mailbox);
}

void
rfl_worker_add(struct rfl_worker *w, struct rfl_processor *p)
{
	RFL_CHECK(w, WORKER_MAGIC);
	rfl_grow(&w->processors, &w->processor_room, w->processor_count + 1,
		sizeof(struct rfl_processor *));
	w->processors[w->processor_count++] = p;
}

void
rfl_worker_add_function(struct rfl_worker *w, const struct rfl_instance *function)
{
	RFL_CHECK(w, WORKER_MAGIC);
	rfl_grow(&w->turns, &w->turns_room, w->turns_count + 1, sizeof *w->turns);
	w->turns_count += (size_t)rfl_turns_init(&w->turns[w->turns_count], function);
}

static int
run_sinks(struct rfl_worker *w)
{
	struct rfl_sink *s, *next;
	int moved = 0;
	rfl_list_foreach_safe (s, next, &w->sinks, struct rfl_sink, link) {
		moved |= rfl_sink_run(s);
		if (s->is_closed && s->users == 0)
			rfl_sink_destroy(s);
	}
	return moved;
}

static int
run_processors(struct rfl_worker *w, int64_t *next_ns)
{
	int moved = 0;
	for (size_t i = 0; i < w->processor_count; i++) {
		struct rfl_task_progress one;
		w->current = w->processors[i];
		rfl_processor_run(w->processors[i], &one);
		w->current = NULL;
		moved |= one.moved;
		if (one.next_ns < *next_ns)
			*next_ns = one.next_ns;
	}
	return moved;
}

static void
run_functions(struct rfl_worker *w, int64_t *next_ns)
{
	for (size_t i = 0; i < w->turns_count; i++)
		rfl_turns_run(&w->turns[i], next_ns);
}

int
rfl_worker_is_closed(const struct rfl_worker *w)
{
	for (size_t i = 0; i < w->processor_count; i++)
		if (!rfl_processor_is_closed(w->processors[i]))
			return 0;
	return rfl_list_empty(&w->sinks);
}

static size_t
collect_fds(struct rfl_worker *w)
{
	struct rfl_sink *s;
	size_t n = 1;
	rfl_grow(&w->fds, &w->fd_room, n + w->turns_count, sizeof *w->fds);
	w->fds[0] = (struct pollfd){.fd = w->mailbox.fd, .events = POLLIN};
	for (size_t i = 0; i < w->turns_count; i++)
		w->fds[n++] = (struct pollfd){.fd = rfl_turns_fd(&w->turns[i]), .events = POLLIN};
	for (size_t i = 0; i < w->processor_count; i++)
		rfl_processor_fds(w->processors[i], &w->fds, &w->fd_room, &n);
	rfl_list_foreach (s, &w->sinks, struct rfl_sink, link) {
		rfl_grow(&w->fds, &w->fd_room, n + 1, sizeof *w->fds);
		w->fds[n++] = (struct pollfd){.fd = rfl_sink_fd(s), .events = POLLIN};
	}
	return n;
}

/* What collect_fds put first: functions that this worker runs. */
static int
is_for_functions_alone(const struct rfl_worker *w, int ready)
{
	for (size_t i = 1; i <= w->turns_count; i++)
		ready -= w->fds[i].revents != 0;
	return ready == 0;
}

static int
may_spin(struct rfl_worker *w)
{
	return w->turns_count > 0 && (w->spins_left > 0 || ++w->waits % WAITS_A_SPIN == 0);
}

/* How many fds have something, the mailbox's not among them; 0 = none yet, negative = there is mail. */
static int
spin(struct rfl_worker *w, size_t n, int64_t left_ns)
{
	const struct timespec at_once = {0, 0};
	int64_t end_ns = rfl_clock_mono_ns(w->clock) + (left_ns < SPIN_NS ? left_ns : SPIN_NS);
	do {
		int ready = rfl_mailbox_has_mail(&w->mailbox)
				    ? -1
				    : ppoll(w->fds + 1, n - 1, &at_once, NULL);
		if (ready != 0) {
			w->spins_left = SPINS_IN_VAIN;
			return ready;
		}
	} while (rfl_clock_mono_ns(w->clock) < end_ns);
	w->spins_left -= w->spins_left > 0;
	return 0;
}

/* As spin, asleep; also 0 = the time is over. */
static int
doze(struct rfl_worker *w, size_t n, int64_t left_ns)
{
	const struct timespec ts = {
		.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
	if (!rfl_mailbox_sleep(&w->mailbox))
		return -1;
	int ready = ppoll(w->fds, n, &ts, NULL);
	if (ready < 0)
		rfl_assert(errno == EINTR || errno == ENOMEM);
	rfl_mailbox_awake(&w->mailbox);
	return w->fds[0].revents != 0 ? -1 : ready;
}

/* A function that has read a page of an answer has nothing yet for anybody else, who is then not asked. */
static void
wait_for_something(struct rfl_worker *w, int64_t next_ns)
{
	size_t n = collect_fds(w);
	int64_t end_ns = rfl_clock_mono_ns(w->clock) + HEARTBEAT_NS;
	if (next_ns < end_ns)
		end_ns = next_ns;
	for (;;) {
		int64_t left_ns = end_ns - rfl_clock_mono_ns(w->clock);
		if (left_ns <= 0)
			return;
		int ready = may_spin(w) ? spin(w, n, left_ns) : 0;
		if (ready == 0)
			ready = doze(w, n, left_ns);
		if (ready <= 0 || !is_for_functions_alone(w, ready))
			return;
		run_functions(w, &end_ns);
	}
}

int
rfl_worker_turn(struct rfl_worker *w, int64_t *ret_next_ns)
{
	*ret_next_ns = INT64_MAX;
	int moved = rfl_mailbox_deliver(&w->mailbox);
	moved |= run_sinks(w);
	moved |= run_processors(w, ret_next_ns);
	/* What comes of it is mail. */
	run_functions(w, ret_next_ns);
	moved |= run_sinks(w);
	return moved;
}

static void *
run(void *arg)
{
	struct rfl_worker *w = arg;
	rfl_guard_thread_owner(w);
	for (size_t i = 0; i < w->turns_count; i++)
		rfl_turns_join(&w->turns[i]);
	while (!rfl_worker_is_closed(w)) {
		int64_t next_ns;
		if (!rfl_worker_turn(w, &next_ns))
			wait_for_something(w, next_ns);
	}
	for (size_t i = 0; i < w->turns_count; i++)
		rfl_turns_leave(&w->turns[i]);
	uint64_t one = 1;
	rfl_assert(write(w->done_fd, &one, sizeof one) == (ssize_t)sizeof one);
	return NULL;
}

int
rfl_worker_start(struct rfl_worker *w)
{
	RFL_CHECK(w, WORKER_MAGIC);
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(&w->thread, NULL, run, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0)
		return -rc;
	pthread_setname_np(w->thread, "rfl-worker");
	w->is_running = 1;
	return 0;
}

int
rfl_worker_replace(struct rfl_worker *w)
{
	RFL_CHECK(w, WORKER_MAGIC);
	struct rfl_processor *lost = w->current;
	w->current = NULL;
	w->has_lost = 1;
	pthread_detach(w->thread);
	if (lost != NULL)
		rfl_processor_lose(lost);
	return rfl_worker_start(w);
}

void
rfl_worker_fini(struct rfl_worker *w)
{
	RFL_CHECK(w, WORKER_MAGIC);
	if (w->is_running)
		pthread_join(w->thread, NULL);
	rfl_mailbox_deliver(&w->mailbox);
	if (w->has_lost)
		return;
	RFL_RETIRE(w);
	for (size_t i = 0; i < w->processor_count; i++)
		rfl_processor_destroy(w->processors[i]);
	rfl_mailbox_fini(&w->mailbox);
	free(w->processors);
	free(w->turns);
	free(w->fds);
	free(w->member);
}
