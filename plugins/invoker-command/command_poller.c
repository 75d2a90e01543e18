/* The poller of an instance: it owns the children of all calls, from start to done. And its thread. */
#include "command.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENTS 64

void
command_poller_wake(struct command *c)
{
	uint64_t one = 1;
	command_assert(write(c->wake, &one, sizeof one) == (ssize_t)sizeof one);
}

/*
 * A kick that was not heard yet will do for this one too, and who is awake looks for it before going to sleep:
 * either that look finds it, or we find the sleeper. A guest takes its turn after what it calls.
 */
void
command_poller_kick(struct command *c)
{
	if (__atomic_exchange_n(&c->kicked, 1, __ATOMIC_SEQ_CST) ||
		!__atomic_load_n(&c->sleeps, __ATOMIC_SEQ_CST) || command_is_guest(c))
		return;
	command_poller_wake(c);
}

int
command_poller_watch(struct command *c, struct command_watch *w, uint32_t events)
{
	struct epoll_event ev = {.events = events | EPOLLET, .data = {.ptr = w}};
	return epoll_ctl(c->epoll, EPOLL_CTL_ADD, w->fd, &ev);
}

void
command_obey(struct command_call *c)
{
	pthread_mutex_lock(&c->owner->lock);
	int cancel = c->cancel;
	if (c->error.code == RIFFLE_OK && c->refused.code != RIFFLE_OK)
		c->error = c->refused;
	pthread_mutex_unlock(&c->owner->lock);
	if (c->error.code == RIFFLE_OK && cancel != 0)
		command_fail(&c->error, cancel,
			cancel == RIFFLE_E_TIMEOUT ? RIFFLE_ERR_RETRIABLE : 0,
			"'%s' was stopped: %s", command_name(c->owner),
			cancel == RIFFLE_E_TIMEOUT ? "it took too long" : "cancelled");
}

void
command_say_done(struct command_call *c)
{
	command_input_drop(c);
	c->is_done = 1;
}

static int64_t
run_call(struct command_call *c)
{
	command_obey(c);
	switch (c->owner->mode) {
	case COMMAND_PER_WINDOW:
		return command_window_run(c);
	case COMMAND_PER_RECORD:
		return command_jobs_run(c);
	default:
		command_pool_obey(c);
		return INT64_MAX;
	}
}

static void
take_fresh(struct command *c)
{
	pthread_mutex_lock(&c->lock);
	*c->calls_last = c->fresh;
	if (c->fresh != NULL)
		c->calls_last = c->fresh_last;
	c->fresh = NULL;
	c->fresh_last = &c->fresh;
	pthread_mutex_unlock(&c->lock);
}

/* Its owner may destroy a call the moment it hears done, so it is out of the list before. */
static void
bury(struct command *c)
{
	struct command_call **at = &c->calls;
	while (*at != NULL) {
		struct command_call *one = *at;
		if (!one->is_done) {
			at = &one->next;
			continue;
		}
		struct riffle_error error = one->error;
		*at = one->next;
		if (c->calls_last == &one->next)
			c->calls_last = at;
		one->events->done(one->data, error.code, &error);
	}
}

static int64_t
run_all(struct command *c)
{
	int64_t next_ns = INT64_MAX;
	for (struct command_call *one = c->calls; one != NULL; one = one->next) {
		int64_t at_ns = run_call(one);
		next_ns = at_ns < next_ns ? at_ns : next_ns;
	}
	if (c->pool != NULL) {
		int64_t at_ns = command_pool_run(c);
		next_ns = at_ns < next_ns ? at_ns : next_ns;
	}
	bury(c);
	return next_ns;
}

static int
wait_ms(const struct command *c, int64_t next_ns)
{
	if (c->again)
		return 0;
	if (next_ns == INT64_MAX)
		return -1;
	int64_t left_ms = (next_ns - command_now_ns(c) + 999999) / 1000000;
	return left_ms < 0 ? 0 : left_ms > 60000 ? 60000 : (int)left_ms;
}

void
command_poller_look(struct command *c, int64_t until_ns)
{
	struct epoll_event events[EVENTS];
	uint64_t n;
	int count = epoll_wait(c->epoll, events, EVENTS, until_ns == 0 ? 0 : wait_ms(c, until_ns));
	command_assert(count >= 0 || errno == EINTR);
	for (int i = 0; i < count; i++) {
		struct command_watch *w = events[i].data.ptr;
		if (w != NULL) {
			w->is_ready = 1;
			w->is_hung_up |= (events[i].events & EPOLLHUP) != 0;
			continue;
		}
		if (read(c->wake, &n, sizeof n) < 0)
			command_assert(errno == EAGAIN || errno == EINTR);
	}
}

static void
wait_for_events(struct command *c, int64_t next_ns)
{
	__atomic_store_n(&c->sleeps, 1, __ATOMIC_SEQ_CST);
	command_poller_look(c, __atomic_load_n(&c->kicked, __ATOMIC_SEQ_CST) ? 0 : next_ns);
	__atomic_store_n(&c->sleeps, 0, __ATOMIC_SEQ_CST);
}

int64_t
command_poller_work(struct command *c)
{
	/* Who finds it set from here on finds us awake; what came before is seen in this turn. */
	__atomic_exchange_n(&c->kicked, 0, __ATOMIC_ACQ_REL);
	c->again = 0;
	take_fresh(c);
	return run_all(c);
}

/*
 * Who wakes the poller mostly has more for it: a program its next page, a host the end of the window. So it does not
 * take the core from them at once; where a core is idle it runs there without delay all the same.
 */
static void
be_patient(struct command *c)
{
	const struct sched_param none = {0};
	c->is_patient = sched_getscheduler(0) == SCHED_OTHER &&
			sched_setscheduler(0, SCHED_BATCH, &none) == 0;
}

/* 1 = there is nothing left and never will be. */
static int
take_turn(struct command *c, int stopping, int64_t *ret_next_ns)
{
	pthread_mutex_lock(&c->turn_lock);
	int is_empty = stopping && c->calls == NULL;
	if (is_empty && c->pool != NULL)
		command_pool_stop(c);
	*ret_next_ns = command_poller_work(c);
	int is_over =
		stopping && c->calls == NULL && (c->pool == NULL || command_pool_is_closed(c));
	pthread_mutex_unlock(&c->turn_lock);
	return is_over;
}

static void *
run(void *arg)
{
	struct command *c = arg;
	int64_t next_ns;
	be_patient(c);
	for (;;) {
		int stopping = command_rest(c);
		if (take_turn(c, stopping, &next_ns))
			break;
		if (command_has_guest(c))
			/* It may be due sooner now, and what was kicked meanwhile is for it. */
			command_poller_kick(c);
		else
			wait_for_events(c, next_ns);
	}
	return NULL;
}

static int
start_thread(struct command *c)
{
	sigset_t all, before;
	sigfillset(&all);
	/* SIGPIPE among them: a pipe that was closed shows as EPIPE. */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(&c->thread, NULL, run, c);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc == 0)
		pthread_setname_np(c->thread, "rfl-command");
	return rc;
}

static void
close_rest(struct command *c)
{
	command_pool_close(c);
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->turn_lock);
	pthread_mutex_destroy(&c->lock);
}

int
command_poller_start(struct command *c, struct riffle_error *reterr)
{
	struct epoll_event ev = {.events = EPOLLIN, .data = {.ptr = NULL}};
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->turn_lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	if (c->mode == COMMAND_COPROCESS)
		command_pool_open(c);
	c->fresh_last = &c->fresh;
	c->calls_last = &c->calls;
	c->epoll = epoll_create1(EPOLL_CLOEXEC);
	c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int failed =
		c->epoll < 0 || c->wake < 0 || epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->wake, &ev) < 0;
	int why = failed ? errno : start_thread(c);
	if (why == 0)
		return RIFFLE_OK;
	if (c->epoll >= 0)
		close(c->epoll);
	if (c->wake >= 0)
		close(c->wake);
	close_rest(c);
	return command_fail(reterr, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE,
		"cannot start the thread of the command invoker: %s", strerror(why));
}

void
command_poller_stop(struct command *c)
{
	pthread_mutex_lock(&c->lock);
	c->stopping = 1;
	/* A guest that never left is a thread that does not come back. */
	__atomic_store_n(&c->guest, NULL, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	command_poller_wake(c);
	pthread_join(c->thread, NULL);
	close(c->epoll);
	close(c->wake);
	close_rest(c);
}
