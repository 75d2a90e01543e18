/* The host's thread as the poller of a coprocess: turn by turn, while the instance's own thread rests. */
#include "command.h"

/* Its address tells threads apart, also those that are gone. */
static _Thread_local char me;

int
command_is_guest(const struct command *c)
{
	return __atomic_load_n(&c->guest, __ATOMIC_ACQUIRE) == &me;
}

int
command_has_guest(const struct command *c)
{
	return __atomic_load_n(&c->guest, __ATOMIC_ACQUIRE) != NULL;
}

static void
set_guest(struct command *c, const void *guest)
{
	pthread_mutex_lock(&c->lock);
	__atomic_store_n(&c->guest, guest, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

int
command_may_start(struct command *c)
{
	if (!command_is_guest(c))
		return 1;
	pthread_mutex_lock(&c->lock);
	c->needs_thread = 1;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	return 0;
}

int
command_rest(struct command *c)
{
	pthread_mutex_lock(&c->lock);
	while (command_has_guest(c) && !c->needs_thread && !c->stopping) {
		c->is_resting = 1;
		pthread_cond_broadcast(&c->changed);
		pthread_cond_wait(&c->changed, &c->lock);
	}
	c->is_resting = 0;
	c->needs_thread = 0;
	int stopping = c->stopping;
	pthread_mutex_unlock(&c->lock);
	return stopping;
}

static struct command *
command_of(void *self)
{
	struct command *c = self;
	COMMAND_CHECK(c, COMMAND_MAGIC);
	return c;
}

/* The thread is in its wait, or near it: it is woken, and has seen all events it took once it rests. */
static int
join(void *self, struct riffle_error *reterr)
{
	struct command *c = command_of(self);
	(void)reterr;
	set_guest(c, &me);
	command_poller_wake(c);
	pthread_mutex_lock(&c->lock);
	while (!c->is_resting)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
	/* Whoever is not the guest wakes it, wherever it is. */
	__atomic_store_n(&c->sleeps, 1, __ATOMIC_SEQ_CST);
	return RIFFLE_OK;
}

static int
fd(void *self)
{
	return command_of(self)->epoll;
}

static int64_t
turn(void *self)
{
	struct command *c = command_of(self);
	pthread_mutex_lock(&c->turn_lock);
	command_poller_look(c, 0);
	int64_t next_ns = command_poller_work(c);
	int again = c->again;
	pthread_mutex_unlock(&c->turn_lock);
	return again ? 0 : next_ns;
}

static void
leave(void *self)
{
	struct command *c = command_of(self);
	__atomic_store_n(&c->sleeps, 0, __ATOMIC_SEQ_CST);
	set_guest(c, NULL);
}

const struct riffle_turns command_turns = {
	.size = sizeof command_turns, .join = join, .fd = fd, .turn = turn, .leave = leave};
