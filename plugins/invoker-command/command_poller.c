/* The poller thread of an instance: it owns the children of all calls, from spawn to done. */
#include "command.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENTS 64

void
command_poller_kick(struct command *c)
{
	uint64_t one = 1;
	command_assert(write(c->wake, &one, sizeof one) == (ssize_t)sizeof one);
}

int
command_poller_watch(struct command_call *c, int which, uint32_t events)
{
	struct epoll_event ev = {.events = events | EPOLLET, .data = {.ptr = &c->watch[which]}};
	return epoll_ctl(c->owner->epoll, EPOLL_CTL_ADD, c->watch[which].fd, &ev);
}

static void
begin_kill(struct command_call *c)
{
	if (c->is_killing)
		return;
	c->is_killing = 1;
	command_kill(c, SIGTERM);
	c->kill_at_ns = command_now_ns(c->owner) + c->owner->grace_ns;
}

/* What the host wants of the call: a cancel or a refused record ends it. */
static void
obey(struct command_call *c)
{
	pthread_mutex_lock(&c->owner->lock);
	int cancel = c->cancel;
	struct riffle_error refused = c->refused;
	pthread_mutex_unlock(&c->owner->lock);
	if (c->error.code == RIFFLE_OK && refused.code != RIFFLE_OK)
		c->error = refused;
	if (c->error.code == RIFFLE_OK && cancel != 0)
		command_fail(&c->error, cancel,
			cancel == RIFFLE_E_TIMEOUT ? RIFFLE_ERR_RETRIABLE : 0,
			"'%s' was stopped: %s", c->owner->words[0],
			cancel == RIFFLE_E_TIMEOUT ? "it took too long" : "cancelled");
	if (c->error.code != RIFFLE_OK && !c->is_reaped)
		begin_kill(c);
}

/* A process that the child left behind holds the output open: it gets the grace, and then an end. */
static void
wait_for_the_rest(struct command_call *c)
{
	if (c->kill_at_ns == INT64_MAX)
		c->kill_at_ns = command_now_ns(c->owner) + c->owner->grace_ns;
}

static void
enforce(struct command_call *c)
{
	if (command_now_ns(c->owner) < c->kill_at_ns)
		return;
	c->kill_at_ns = INT64_MAX;
	command_kill(c, SIGKILL);
	if (!c->is_reaped)
		return;
	if (c->error.code == RIFFLE_OK)
		command_fail(&c->error, RIFFLE_E_DATA, 0,
			"'%s' ended, and a process that it left behind holds its output open",
			c->owner->words[0]);
	command_close(c, COMMAND_OUT);
	command_close(c, COMMAND_ERR);
}

static void
say_done(struct command_call *c)
{
	for (int i = 0; i <= COMMAND_PIPES; i++)
		command_close(c, i);
	pthread_mutex_lock(&c->owner->lock);
	command_call_drop_input(c);
	c->is_over = 1;
	pthread_mutex_unlock(&c->owner->lock);
	c->is_done = 1;
}

/* Brings a call as far as it goes now. */
static void
run_call(struct command_call *c)
{
	if (!c->is_spawned && command_spawn(c, &c->error) < 0 && !c->is_reaped)
		begin_kill(c);
	obey(c);
	command_write(c);
	command_read_out(c);
	command_read_err(c);
	if (c->error.code != RIFFLE_OK && !c->is_reaped)
		begin_kill(c);
	if (command_reap(c)) {
		/* What the child wrote before it ended is in the pipes by now. */
		command_read_out(c);
		command_read_err(c);
		int open = c->watch[COMMAND_OUT].fd >= 0 || c->watch[COMMAND_ERR].fd >= 0;
		if (open)
			wait_for_the_rest(c);
		if (open && c->error.code != RIFFLE_OK)
			command_kill(c, SIGKILL);
	}
	enforce(c);
	if (!c->is_reaped || c->watch[COMMAND_OUT].fd >= 0 || c->watch[COMMAND_ERR].fd >= 0)
		return;
	command_judge_exit(c);
	if (c->error.code != RIFFLE_OK || command_hand_out(c))
		say_done(c);
}

static void
take_fresh(struct command *c)
{
	pthread_mutex_lock(&c->lock);
	while (c->fresh != NULL) {
		struct command_call *one = c->fresh;
		c->fresh = one->next;
		one->next = c->calls;
		c->calls = one;
	}
	pthread_mutex_unlock(&c->lock);
}

/* Its owner may destroy a call the moment it hears done, so it is out of the list before. */
static int64_t
run_calls(struct command *c)
{
	int64_t next_ns = INT64_MAX;
	struct command_call **at = &c->calls;
	while (*at != NULL) {
		struct command_call *one = *at;
		run_call(one);
		if (one->is_done) {
			struct riffle_error error = one->error;
			*at = one->next;
			one->events->done(one->data, error.code, &error);
			continue;
		}
		if (one->kill_at_ns < next_ns)
			next_ns = one->kill_at_ns;
		at = &one->next;
	}
	return next_ns;
}

static int
wait_ms(const struct command *c, int64_t next_ns)
{
	if (next_ns == INT64_MAX)
		return -1;
	int64_t left_ms = (next_ns - command_now_ns(c) + 999999) / 1000000;
	return left_ms < 0 ? 0 : left_ms > 60000 ? 60000 : (int)left_ms;
}

static void *
run(void *arg)
{
	struct command *c = arg;
	for (;;) {
		struct epoll_event events[EVENTS];
		uint64_t n;
		pthread_mutex_lock(&c->lock);
		int stopping = c->stopping;
		pthread_mutex_unlock(&c->lock);
		take_fresh(c);
		int64_t next_ns = run_calls(c);
		if (stopping && c->calls == NULL)
			return NULL;
		if (epoll_wait(c->epoll, events, EVENTS, wait_ms(c, next_ns)) < 0)
			command_assert(errno == EINTR);
		if (read(c->wake, &n, sizeof n) < 0)
			command_assert(errno == EAGAIN || errno == EINTR);
	}
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

int
command_poller_start(struct command *c, struct riffle_error *reterr)
{
	struct epoll_event ev = {.events = EPOLLIN, .data = {.ptr = NULL}};
	pthread_mutex_init(&c->lock, NULL);
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
	pthread_mutex_destroy(&c->lock);
	return command_fail(reterr, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE,
		"cannot start the thread of the command invoker: %s", strerror(why));
}

void
command_poller_stop(struct command *c)
{
	pthread_mutex_lock(&c->lock);
	c->stopping = 1;
	pthread_mutex_unlock(&c->lock);
	command_poller_kick(c);
	pthread_join(c->thread, NULL);
	close(c->epoll);
	close(c->wake);
	pthread_mutex_destroy(&c->lock);
}
