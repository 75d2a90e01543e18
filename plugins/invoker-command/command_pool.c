/*
 * The mode coprocess: programs that live on, each with windows one after another. A window goes to a
 * program that is free; when none is, its records but not its end go behind a window that has all of its
 * input, so that the program need not wait for us between windows. What a program writes belongs to its
 * first window until that has its status.
 */
#include "command.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* Reads of one program in one turn. */
#define ROUNDS 16
/*
 * What a program answers goes to the host when there is nothing more to read, but for one that has so much to
 * read still that it will go on at once: it is asked again a page later, and to wake the host for each page
 * costs more than what is on it. Then a batch that is not full waits for the window's end, or for a millisecond.
 */
#define BUSY_BYTES (32 * 1024)
#define HOLD_NS INT64_C(1000000)
/* How long a window waits for programs that are all at open ones before that is told. */
#define HELD_UP_NS INT64_C(5000000000)
/* Windows that are remembered because a program died on them. */
#define SUSPECTS 64

struct slot {
	struct command_child *child;
	struct command_call *turns; /* its windows, in order */
	int64_t start_at_ns, backoff_ns;
	uint32_t windows; /* it was given so far */
	int is_asked;     /* in this turn, of the thread: to start its program */
	int is_closing;   /* its input is closed, so that it ends */
	int64_t close_at_ns;
	int64_t hand_out_at_ns; /* what it has answered; INT64_MAX = nothing waits for it */
};

struct command_pool {
	uint32_t count;
	int is_stopping;
	uint64_t suspects[SUSPECTS];
	uint32_t next_suspect;
	int64_t held_up_at_ns; /* since when windows wait for open ones; 0 = none does */
	int is_held_up_told;
	struct slot slots[];
};

void
command_pool_open(struct command *c)
{
	c->pool = command_alloc(sizeof *c->pool + c->processes * sizeof c->pool->slots[0]);
	c->pool->count = c->processes;
}

void
command_pool_close(struct command *c)
{
	free(c->pool);
	c->pool = NULL;
}

/* NULL = fine. */
static void
say_health(struct command *c, const char *why_not)
{
	struct riffle_error err = {0};
	if (why_not != NULL)
		command_fail(&err, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE, "%s", why_not);
	pthread_mutex_lock(&c->lock);
	c->health = err;
	pthread_mutex_unlock(&c->lock);
}

static int
is_suspect(const struct command_pool *p, uint64_t identity)
{
	for (uint32_t i = 0; i < SUSPECTS; i++)
		if (p->suspects[i] == identity)
			return 1;
	return 0;
}

static void
suspect(struct command_pool *p, uint64_t identity)
{
	p->suspects[p->next_suspect++ % SUSPECTS] = identity;
}

/* The second program that dies on a window is the last: the window is what kills it. */
static void
blame(struct command_pool *p, struct command_call *c, const struct riffle_error *why)
{
	c->error = *why;
	if (!(why->flags & RIFFLE_ERR_RETRIABLE))
		return;
	if (c->spec.attempt > 1 && is_suspect(p, c->identity)) {
		command_fail(&c->error, RIFFLE_E_DATA, 0, "on this window twice: %s", why->text);
		return;
	}
	suspect(p, c->identity);
}

/* The first window has the program's attention; that its program dies is from now on its own affair. */
static void
give_turn(struct slot *s)
{
	struct command_call *c = s->turns;
	if (c == NULL)
		return;
	c->keeps = 0;
	command_input_release(c, &s->child->feed);
	command_input_give_turn(c);
}

/* The window leaves its program. What it answered may still wait for credit. */
static void
leave(struct slot *s)
{
	struct command_call *c = s->turns;
	s->turns = c->turn;
	c->turn = NULL;
	c->child = NULL;
	command_input_drop(c);
}

static void
settle(struct command_call *c)
{
	if (c->error.code != RIFFLE_OK)
		command_answer_drop(c);
	if (command_hand_out(c))
		command_say_done(c);
}

static void
delay(struct command *c, struct slot *s)
{
	int64_t now_ns = command_now_ns(c);
	s->start_at_ns = now_ns + riffle_backoff_next(
					  &s->backoff_ns, c->restart_ns, c->restart_max_ns, now_ns);
}

/* Windows that no program ever saw are waited for without counting against them. */
static void
fail_waiting(struct command *c, const struct riffle_error *why)
{
	struct riffle_error err;
	command_fail(&err, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE, "%s", why->text);
	for (struct command_call *one = c->calls; one != NULL; one = one->next)
		if (one->child == NULL && !one->is_started && one->error.code == RIFFLE_OK)
			one->error = err;
}

static int
is_anyone_up(const struct command_pool *p)
{
	for (uint32_t i = 0; i < p->count; i++)
		if (p->slots[i].child != NULL)
			return 1;
	return 0;
}

static void
start(struct command *c, struct slot *s)
{
	const struct command_codec *codec = command_codec(c);
	struct riffle_error err = {0};
	s->is_asked = !command_may_start(c);
	if (s->is_asked)
		return;
	char **environment = command_environment(c, NULL, NULL, NULL, &err);
	char **argv = environment ? command_arguments(c, NULL, &err) : NULL;
	int rc = argv ? command_child_start(c, argv, environment, &s->child, &err) : err.code;
	command_list_free(argv);
	command_list_free(environment);
	if (rc < 0) {
		say_health(c, err.text);
		delay(c, s);
		if (!is_anyone_up(c->pool))
			fail_waiting(c, &err);
		return;
	}
	s->windows = 0;
	s->is_closing = 0;
	s->hand_out_at_ns = INT64_MAX;
	s->child->has_hello = codec->hello == NULL;
	if (codec->hello != NULL)
		codec->hello(&s->child->feed);
	if (s->child->has_hello)
		say_health(c, NULL);
}

static void
fill(struct slot *s)
{
	const struct command_codec *codec = command_codec(s->child->owner);
	struct command_feed *f = &s->child->feed;
	for (struct command_call *c = s->turns; c != NULL; c = c->turn) {
		if (c->is_ended)
			continue;
		if (!c->is_started) {
			c->is_started = 1;
			codec->start(f, c);
		}
		/* A program that has answered for good wants no more of it. */
		if (c->has_status)
			command_input_cut(c, f);
		command_input_encode(c, f);
		if (c->todo != NULL || !c->is_all_taken)
			return;
		c->is_ended = 1;
		codec->end(f, c);
	}
}

/* Mostly it is about to end, and its exit says more. If it lives on, this is why it must not. */
static void
note_closed(struct command_child *ch, const char *what)
{
	if (ch->closed != NULL)
		return;
	ch->closed = what;
	ch->closed_at_ns = command_now_ns(ch->owner) + ch->owner->grace_ns;
}

static void
write_on(struct slot *s)
{
	struct command_child *ch = s->child;
	while (ch->watch[COMMAND_IN].fd >= 0 && !ch->is_killing) {
		fill(s);
		if (command_feed_is_empty(&ch->feed))
			return;
		int rc = command_feed_write(&ch->feed, ch->watch[COMMAND_IN].fd, ch->owner->host);
		if (rc < 0) {
			command_close(ch, COMMAND_IN);
			note_closed(ch, "closed its input");
		}
		if (rc <= 0)
			return;
		for (struct command_call *c = s->turns; c != NULL; c = c->turn)
			command_input_written(c);
	}
}

/* A window was done: whatever was wrong with its program or with itself is over. */
static void
forgive(struct command_pool *p, struct slot *s, const struct command_call *c)
{
	s->backoff_ns = 0;
	for (uint32_t i = 0; i < SUSPECTS && c->spec.attempt > 1; i++)
		if (p->suspects[i] == c->identity)
			p->suspects[i] = 0;
}

static void
check_limits(struct command_call *c)
{
	if (c->answered_bytes > c->owner->max_output)
		command_fault(c->child, "answers more than max-output = %zu bytes for one window",
			c->owner->max_output);
}

/* Between windows a program may say hello, and nothing else. */
static void
parse_idle(struct command_child *ch)
{
	struct command_call nobody = {.owner = ch->owner, .child = ch};
	char quote[64];
	size_t left = ch->out.len - ch->out_read;
	if (left == 0)
		return;
	const char *p = ch->out.data + ch->out_read;
	if (!ch->has_hello)
		command_codec(ch->owner)->parse(ch, &nobody, 0);
	command_assert(nobody.building == NULL);
	int is_more = ch->out_read < ch->out.len || nobody.has_status;
	if (ch->fault.code == RIFFLE_OK && ch->has_hello && is_more)
		command_fault(ch, "writes between windows: \"%s\"",
			command_quote(quote, sizeof quote, p, left));
}

/* 1 = something was taken. */
static int
parse(struct slot *s)
{
	struct command_child *ch = s->child;
	struct command_call *c = s->turns;
	size_t before = ch->out_read;
	int had_hello = ch->has_hello, had_status = c != NULL && c->has_status;
	if (ch->fault.code != RIFFLE_OK)
		return 0;
	if (c == NULL) {
		parse_idle(ch);
	} else {
		if (!c->has_status)
			command_codec(ch->owner)->parse(ch, c, 0);
		if (ch->fault.code == RIFFLE_OK)
			check_limits(c);
		/* What is not much yet goes when there is nothing more to read. */
		if (ch->fault.code == RIFFLE_OK && c->answers != NULL)
			(void)command_hand_out(c);
	}
	if (!had_hello && ch->has_hello)
		say_health(ch->owner, NULL);
	/* While its window is open still, its end is written now, for the program to read. */
	if (c != NULL && c->has_status && !had_status && !c->is_end_written)
		ch->owner->again = 1;
	if (c == NULL || !c->has_status || !c->is_end_written || ch->fault.code != RIFFLE_OK)
		return ch->out_read > before;
	forgive(ch->owner->pool, s, c);
	leave(s);
	settle(c);
	give_turn(s);
	return 1;
}

static int
may_read(const struct slot *s)
{
	const struct command_call *c = s->turns;
	return c == NULL || (c->answers == NULL && !c->has_status);
}

static int
is_busy(const struct command_child *ch)
{
	int left = 0;
	return ch->watch[COMMAND_IN].fd >= 0 &&
	       ioctl(ch->watch[COMMAND_IN].fd, FIONREAD, &left) == 0 && left >= BUSY_BYTES;
}

/* All that has come is in the answer. */
static void
hand_out_in_time(struct slot *s)
{
	struct command_call *c = s->turns;
	if (c != NULL && c->building != NULL && is_busy(s->child)) {
		int64_t now_ns = command_now_ns(c->owner);
		if (s->hand_out_at_ns == INT64_MAX)
			s->hand_out_at_ns = now_ns + HOLD_NS;
		if (now_ns < s->hand_out_at_ns)
			return;
	}
	s->hand_out_at_ns = INT64_MAX;
	if (c != NULL && s->child->fault.code == RIFFLE_OK)
		(void)command_hand_out(c);
}

static void
read_on(struct slot *s)
{
	struct command_child *ch = s->child;
	size_t before;
	int rounds = 0;
	do {
		while (parse(s))
			continue;
		/* However fast it writes and the host takes: others have their turn too. */
		if (rounds++ == ROUNDS) {
			ch->owner->again = 1;
			break;
		}
		before = ch->out_total;
		if (may_read(s) && ch->fault.code == RIFFLE_OK)
			command_read_out(ch, ch->out.len - ch->out_read + 4 * COMMAND_READ_BYTES);
	} while (ch->out_total > before && ch->fault.code == RIFFLE_OK);
	hand_out_in_time(s);
	command_read_err(ch);
	if (ch->watch[COMMAND_OUT].fd < 0)
		note_closed(ch, "closed its output");
}

/* Why it ended: a fault of ours to name, or what the system says; whose end was not asked for may have had a bad moment. */
static void
judge(struct command_child *ch, struct riffle_error *ret_why)
{
	*ret_why = ch->fault;
	if (ret_why->code != RIFFLE_OK)
		return;
	command_judge_exit(ch, ret_why);
	if (ret_why->code == RIFFLE_OK)
		command_fail(ret_why, RIFFLE_E_DATA, 0, "'%s' ended", command_name(ch->owner));
	ret_why->flags = RIFFLE_ERR_RETRIABLE;
}

/* The window of a program that is gone. */
static void
judge_window(struct command *c, const struct command_child *ch, struct command_call *one,
	const struct riffle_error *why)
{
	if (one->error.code != RIFFLE_OK || one->has_status)
		return;
	/* That says nothing about this one: it is tried again without a mark against it. */
	if (ch->is_killing && ch->fault.code == RIFFLE_OK)
		command_fail(&one->error, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE,
			"'%s' was stopped together with another window", command_name(c));
	else if (!ch->has_hello && ch->fault.code == RIFFLE_OK)
		command_fail(&one->error, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE,
			"before it said hello: %.200s", why->text);
	else
		blame(c->pool, one, why);
}

/* Those behind the first were not looked at: they wait for the next program, and nobody need know. */
static void
wait_again(struct slot *s)
{
	while (s->turns != NULL) {
		struct command_call *one = s->turns;
		s->turns = one->turn;
		one->turn = NULL;
		one->child = NULL;
		command_input_again(one);
	}
}

static void
bury(struct command *c, struct slot *s)
{
	struct command_child *ch = s->child;
	struct command_call *one = s->turns;
	struct riffle_error why;
	int is_ours = ch->is_killing && ch->fault.code == RIFFLE_OK;
	judge(ch, &why);
	if (one != NULL) {
		judge_window(c, ch, one, &why);
		leave(s);
		settle(one);
	}
	wait_again(s);
	if (!is_ours && !c->pool->is_stopping) {
		say_health(c, why.text);
		c->host->log(c->host, RIFFLE_LOG_WARNING, why.text);
		delay(c, s);
	}
	s->child = NULL;
	command_child_free(ch);
}

/* 1 = all that it wrote is here. Its group goes with it: what it left behind has no window. */
static int
is_read_out(const struct command *c, struct slot *s)
{
	struct command_child *ch = s->child;
	struct command_watch *out = &ch->watch[COMMAND_OUT];
	command_kill(ch, SIGKILL);
	/* Before a window leaves whose records the feed points into. */
	command_close(ch, COMMAND_IN);
	command_feed_clear(&ch->feed, c->host);
	out->is_ready = ch->watch[COMMAND_ERR].is_ready = 1;
	if (s->turns != NULL)
		s->turns->is_end_written = 1;
	read_on(s);
	int in_vain = ch->fault.code != RIFFLE_OK ||
		      (s->turns != NULL && s->turns->error.code != RIFFLE_OK);
	return in_vain || out->fd < 0 || !out->is_ready;
}

/* The end of its input tells a program to end; one that does not is told so, and then made to. */
static void
close_slot(struct command *c, struct slot *s)
{
	if (s->is_closing == 0) {
		s->is_closing = 1;
		s->close_at_ns = command_now_ns(c) + c->grace_ns;
		command_close(s->child, COMMAND_IN);
	}
	if (command_now_ns(c) >= s->close_at_ns)
		command_begin_kill(s->child);
}

static int64_t
sooner(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t
run_slot(struct command *c, struct slot *s)
{
	struct command_child *ch = s->child;
	if (ch == NULL)
		return INT64_MAX;
	if (c->pool->is_stopping)
		close_slot(c, s);
	write_on(s);
	read_on(s);
	if (ch->closed != NULL && !s->is_closing && command_now_ns(c) >= ch->closed_at_ns)
		command_fault(ch, "%s, and goes on", ch->closed);
	if (ch->fault.code != RIFFLE_OK && !ch->is_reaped) {
		/* Nobody listens any more, which ends most programs sooner than a signal. */
		command_close(ch, COMMAND_OUT);
		command_begin_kill(ch);
	}
	if (command_reap(ch) && is_read_out(c, s)) {
		bury(c, s);
		return INT64_MAX;
	}
	if (!ch->is_reaped && command_now_ns(c) >= ch->kill_at_ns) {
		ch->kill_at_ns = INT64_MAX;
		command_kill(ch, SIGKILL);
	}
	if (!ch->is_killing && s->is_closing)
		return s->close_at_ns;
	if (!ch->is_killing && ch->closed != NULL)
		return sooner(ch->closed_at_ns, s->hand_out_at_ns);
	return sooner(ch->kill_at_ns, s->hand_out_at_ns);
}

static int
is_fit(const struct slot *s)
{
	const struct command_child *ch = s->child;
	return ch != NULL && !ch->is_killing && !ch->is_reaped && ch->closed == NULL &&
	       ch->fault.code == RIFFLE_OK;
}

/* Free, or started for it, or else one that has one window and all of its input. */
static struct slot *
find_slot(struct command *c)
{
	struct command_pool *p = c->pool;
	int is_one_asked = 0;
	for (uint32_t i = 0; i < p->count; i++)
		if (is_fit(&p->slots[i]) && p->slots[i].turns == NULL)
			return &p->slots[i];
	for (uint32_t i = 0; i < p->count; i++) {
		struct slot *s = &p->slots[i];
		if (s->child == NULL && command_now_ns(c) >= s->start_at_ns)
			start(c, s);
		if (is_fit(s) && s->turns == NULL)
			return s;
		is_one_asked |= s->is_asked;
	}
	/* The program that is about to start is for it. */
	if (is_one_asked)
		return NULL;
	for (uint32_t i = 0; i < p->count; i++) {
		struct slot *s = &p->slots[i];
		if (is_fit(s) && s->turns->turn == NULL && s->turns->is_ended)
			return s;
	}
	return NULL;
}

static void
assign(struct slot *s, struct command_call *c)
{
	struct command_call **last = &s->turns;
	while (*last != NULL)
		last = &(*last)->turn;
	*last = c;
	c->child = s->child;
	c->number = ++s->windows;
	c->keeps = c != s->turns;
	if (!c->keeps)
		give_turn(s);
}

static int
is_waiting(const struct command_call *c)
{
	return c->child == NULL && !c->is_started && !c->is_done && c->error.code == RIFFLE_OK;
}

/* So that a window that begins now may have its turn at once. */
static void
say_idle(struct command *c)
{
	uint32_t idle = 0, taken = 0;
	for (uint32_t i = 0; i < c->pool->count; i++)
		idle += is_fit(&c->pool->slots[i]) && c->pool->slots[i].turns == NULL;
	pthread_mutex_lock(&c->lock);
	for (const struct command_call *one = c->fresh; one != NULL; one = one->next)
		taken++;
	c->idle = idle > taken ? idle - taken : 0;
	pthread_mutex_unlock(&c->lock);
}

static int
is_at_open_window(const struct slot *s)
{
	return is_fit(s) && s->turns != NULL && !s->turns->is_ended && !s->turns->has_status;
}

/*
 * A window that is open may be so for as long as its stream likes, and those behind it wait, also when they
 * are over: that is told, once.
 */
static int64_t
tell_held_up(struct command *c, int waiting)
{
	struct command_pool *p = c->pool;
	char text[256];
	for (uint32_t i = 0; i < p->count; i++)
		waiting = waiting && is_at_open_window(&p->slots[i]);
	if (!waiting || p->is_held_up_told) {
		p->held_up_at_ns = 0;
		return INT64_MAX;
	}
	if (p->held_up_at_ns == 0)
		p->held_up_at_ns = command_now_ns(c);
	if (command_now_ns(c) < p->held_up_at_ns + HELD_UP_NS)
		return p->held_up_at_ns + HELD_UP_NS;
	p->is_held_up_told = 1;
	snprintf(text, sizeof text,
		"windows wait: each of processes = %u is at one that is still open, and takes no "
		"other before its end; it needs as many processes as windows may be open at once, "
		"or "
		"delivery = at-close",
		p->count);
	c->host->log(c->host, RIFFLE_LOG_WARNING, text);
	return INT64_MAX;
}

/* When a program may start that somebody waits for; the first one always is. */
static int64_t
assign_all(struct command *c)
{
	struct command_pool *p = c->pool;
	struct slot *s;
	int64_t next_ns = INT64_MAX;
	int waiting = 0;
	if (p->is_stopping)
		return INT64_MAX;
	for (uint32_t i = 0; i < p->count; i++)
		p->slots[i].is_asked = 0;
	if (p->slots[0].child == NULL && command_now_ns(c) >= p->slots[0].start_at_ns)
		start(c, &p->slots[0]);
	for (struct command_call *one = c->calls; one != NULL; one = one->next) {
		if (!is_waiting(one))
			continue;
		if ((s = find_slot(c)) == NULL) {
			waiting = 1;
			break;
		}
		assign(s, one);
		write_on(s);
	}
	for (uint32_t i = 0; i < p->count; i++)
		if (p->slots[i].child == NULL && !p->slots[i].is_asked && (waiting || i == 0))
			next_ns = sooner(next_ns, p->slots[i].start_at_ns);
	return sooner(next_ns, tell_held_up(c, waiting));
}

static int
is_cancelled(const struct command_call *c)
{
	pthread_mutex_lock(&c->owner->lock);
	int cancel = c->cancel;
	pthread_mutex_unlock(&c->owner->lock);
	return cancel != 0;
}

/*
 * A window that is stopped takes its program with it: there is no other way to have its attention. One that is
 * answered and still has its program waits for the program to read: that may be never.
 */
void
command_pool_obey(struct command_call *c)
{
	if (c->child != NULL && c->error.code != RIFFLE_OK && (!c->has_status || is_cancelled(c)))
		command_begin_kill(c->child);
	else if (c->child == NULL && (c->error.code != RIFFLE_OK || c->has_status))
		settle(c);
}

int64_t
command_pool_run(struct command *c)
{
	int64_t next_ns = INT64_MAX;
	for (uint32_t i = 0; i < c->pool->count; i++)
		next_ns = sooner(next_ns, run_slot(c, &c->pool->slots[i]));
	next_ns = sooner(next_ns, assign_all(c));
	for (struct command_call *one = c->calls; one != NULL; one = one->next)
		if (!one->is_done)
			command_pool_obey(one);
	say_idle(c);
	return next_ns;
}

void
command_pool_stop(struct command *c)
{
	c->pool->is_stopping = 1;
}

int
command_pool_is_closed(struct command *c)
{
	return c->pool->is_stopping && !is_anyone_up(c->pool);
}
