/* The mode per-window: a child for each call, judged by its exit. A run that fails leaves nothing behind. */
#include "command.h"

#include <signal.h>
#include <stdlib.h>

/* Nothing was begun that would have to end. */
static int
start(struct command_call *c)
{
	struct command *owner = c->owner;
	char **environment = command_environment(owner, &c->spec, NULL, NULL, &c->error);
	char **argv = environment ? command_arguments(owner, &c->spec, &c->error) : NULL;
	int rc = argv ? command_child_start(owner, argv, environment, &c->child, &c->error) : -1;
	command_list_free(argv);
	command_list_free(environment);
	c->is_started = 1;
	return rc;
}

static void
fill(struct command_call *c)
{
	const struct command_codec *codec = command_codec(c->owner);
	struct command_feed *f = &c->child->feed;
	int framed = command_is_framed(c->owner);
	if (c->number == 0) {
		c->number = 1;
		if (framed && codec->hello != NULL)
			codec->hello(f);
		if (framed)
			codec->start(f, c);
	}
	command_input_encode(c, f);
	if (c->todo == NULL && c->is_all_taken && !c->is_ended) {
		c->is_ended = 1;
		if (framed)
			codec->end(f, c);
	}
}

/* A program need not read its input: a closed pipe ends the writing and says nothing about the call. */
static void
stop_writing(struct command_call *c)
{
	command_feed_clear(&c->child->feed, c->owner->host);
	command_input_drop(c);
	command_close(c->child, COMMAND_IN);
}

static void
write_on(struct command_call *c)
{
	struct command_child *ch = c->child;
	while (ch->watch[COMMAND_IN].fd >= 0) {
		fill(c);
		if (command_feed_is_empty(&ch->feed) && !c->is_ended)
			return;
		int rc = command_feed_write(&ch->feed, ch->watch[COMMAND_IN].fd, c->owner->host);
		if (rc == 0)
			return;
		if (rc < 0) {
			stop_writing(c);
			return;
		}
		command_input_written(c);
		if (c->is_ended)
			command_close(ch, COMMAND_IN);
	}
}

static void
check_limits(struct command_call *c)
{
	struct command_child *ch = c->child;
	const struct command *owner = c->owner;
	if (c->spec.output_count == 0 && ch->out.len > 0 && owner->format == COMMAND_LINES)
		command_fault(ch, "answers, and the processor has no output");
	if (ch->out_total > owner->max_output)
		command_fault(ch, "answers more than max-output = %zu bytes", owner->max_output);
}

static void
read_on(struct command_call *c)
{
	command_read_out(c->child, SIZE_MAX);
	check_limits(c);
	command_read_err(c->child);
	if (c->error.code == RIFFLE_OK)
		c->error = c->child->fault;
	/* In vain: nobody listens any more, which ends most programs sooner than a signal. */
	if (c->error.code != RIFFLE_OK)
		command_close(c->child, COMMAND_OUT);
}

static int
is_open(const struct command_child *ch)
{
	return ch->watch[COMMAND_OUT].fd >= 0 || ch->watch[COMMAND_ERR].fd >= 0;
}

/* A process that the child left behind holds the output open: it may finish, or has an end. */
static void
wait_for_the_rest(struct command_call *c)
{
	struct command_child *ch = c->child;
	if (c->error.code != RIFFLE_OK)
		command_kill(ch, SIGKILL);
	else if (ch->kill_at_ns == INT64_MAX)
		ch->kill_at_ns = command_rest_until_ns(c->owner);
}

static void
enforce(struct command_call *c)
{
	struct command_child *ch = c->child;
	if (command_now_ns(c->owner) < ch->kill_at_ns)
		return;
	ch->kill_at_ns = INT64_MAX;
	command_kill(ch, SIGKILL);
	if (!ch->is_reaped)
		return;
	if (c->error.code == RIFFLE_OK)
		command_say_left_behind(c->owner);
	command_close(ch, COMMAND_OUT);
	command_close(ch, COMMAND_ERR);
}

/* It has ended, and all that it wrote is here. */
static void
judge(struct command_call *c)
{
	struct command_child *ch = c->child;
	if (c->error.code == RIFFLE_OK)
		command_judge_exit(ch, &c->error);
	if (c->error.code == RIFFLE_OK)
		command_codec(c->owner)->parse(ch, c, 1);
	if (ch->fault.code == RIFFLE_OK && c->has_status && ch->out_read < ch->out.len)
		command_fault(ch, "goes on after the status of its window");
	if (ch->fault.code == RIFFLE_OK && command_is_framed(c->owner) && !c->has_status)
		command_fault(ch, "ended without a status");
	if (c->error.code == RIFFLE_OK)
		c->error = ch->fault;
	command_child_free(ch);
	c->child = NULL;
}

static int64_t
answer(struct command_call *c)
{
	if (c->error.code != RIFFLE_OK)
		command_answer_drop(c);
	if (command_hand_out(c))
		command_say_done(c);
	return INT64_MAX;
}

int64_t
command_window_run(struct command_call *c)
{
	if (!c->is_started && c->error.code == RIFFLE_OK)
		start(c);
	struct command_child *ch = c->child;
	if (ch == NULL)
		return answer(c);
	write_on(c);
	read_on(c);
	if (c->error.code != RIFFLE_OK && !ch->is_reaped)
		command_begin_kill(ch);
	if (command_reap(ch)) {
		/* What the child wrote before it ended is in the pipes by now. */
		ch->watch[COMMAND_OUT].is_ready = ch->watch[COMMAND_ERR].is_ready = 1;
		read_on(c);
		if (is_open(ch))
			wait_for_the_rest(c);
	}
	enforce(c);
	if (!ch->is_reaped || is_open(ch))
		return ch->kill_at_ns;
	judge(c);
	return answer(c);
}
