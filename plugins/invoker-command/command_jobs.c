/*
 * The mode per-record: a child for each record, its body or object on stdin, its reply on stdout. Several
 * run at once over all calls of the instance; their answers go out in the order of the records.
 */
#include "command.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* What may wait for its turn behind a record that takes long. */
#define WAITING_BYTES ((size_t)64 * 1024 * 1024)

static const struct riffle_record *
record_of(const struct command_job *j)
{
	return riffle_batch_at(j->piece.batch, j->piece.next_record);
}

static void
free_job(struct command_call *c, struct command_job *j)
{
	const struct riffle_host *host = c->owner->host;
	command_child_free(j->child);
	host->batch_unref(host, j->piece.batch);
	free(j);
}

/* The record's own share of the piece it came in. */
static struct command_job *
take_record(struct command_call *c)
{
	const struct riffle_host *host = c->owner->host;
	command_input_take(c);
	struct command_piece *p = c->todo;
	if (p == NULL)
		return NULL;
	struct command_job *j = command_alloc(sizeof *j);
	j->piece = (struct command_piece){.batch = p->batch,
		.first = p->next_record,
		.next_record = p->next_record,
		.end = p->next_record + 1};
	host->batch_ref(host, p->batch);
	const struct riffle_record *r = record_of(j);
	snprintf(j->where, sizeof j->where, "record at offset %lld of partition %d of input %u",
		(long long)r->offset, r->partition, r->stream);
	if (++p->next_record == p->end) {
		c->todo = p->next;
		host->batch_unref(host, p->batch);
		free(p);
	}
	return j;
}

static void
blame(struct command_call *c, const struct command_job *j, const struct riffle_error *why)
{
	if (c->error.code == RIFFLE_OK)
		command_fail(&c->error, why->code, why->flags, "%s: %.150s", j->where, why->text);
}

/* 1 = its child runs. */
static int
start(struct command_call *c, struct command_job *j)
{
	struct command *owner = c->owner;
	struct riffle_error err = {0};
	char **environment =
		command_environment(owner, &c->spec, j->piece.batch, record_of(j), &err);
	char **argv = environment ? command_arguments(owner, &c->spec, &err) : NULL;
	int rc = argv ? command_child_start(owner, argv, environment, &j->child, &err) : err.code;
	command_list_free(argv);
	command_list_free(environment);
	if (rc < 0) {
		blame(c, j, &err);
		return 0;
	}
	owner->jobs_running++;
	command_codec(owner)->record(&j->child->feed, c, j->piece.batch, record_of(j));
	return 1;
}

/* Answers are made no faster than they are taken. */
static int
has_enough(struct command_call *c)
{
	size_t waiting = 0;
	for (const struct command_job *j = c->jobs; j != NULL; j = j->next)
		if (j->child->is_reaped)
			waiting += j->child->out.room;
	return waiting >= WAITING_BYTES || !command_hand_out(c);
}

static void
start_jobs(struct command_call *c)
{
	struct command_job **last = &c->jobs, *j;
	if (c->error.code != RIFFLE_OK || has_enough(c))
		return;
	while (*last != NULL)
		last = &(*last)->next;
	while (c->owner->jobs_running < c->owner->processes && (j = take_record(c)) != NULL) {
		if (!start(c, j)) {
			free_job(c, j);
			return;
		}
		*last = j;
		last = &j->next;
	}
}

/* A program need not read its input. */
static void
write_on(struct command_job *j)
{
	struct command_child *ch = j->child;
	if (ch->watch[COMMAND_IN].fd < 0)
		return;
	int rc = command_feed_write(&ch->feed, ch->watch[COMMAND_IN].fd, ch->owner->host);
	if (rc < 0)
		command_feed_clear(&ch->feed, ch->owner->host);
	if (rc != 0)
		command_close(ch, COMMAND_IN);
}

static void
read_on(struct command_call *c, struct command_job *j)
{
	struct command_child *ch = j->child;
	const struct command *owner = c->owner;
	command_read_out(ch, SIZE_MAX);
	if (c->spec.output_count == 0 && ch->out.len > 0)
		command_fault(ch, "answers, and the processor has no output");
	if (ch->out_total > owner->max_output)
		command_fault(ch, "answers more than max-output = %zu bytes", owner->max_output);
	command_read_err(ch);
	if (ch->fault.code != RIFFLE_OK)
		blame(c, j, &ch->fault);
	if (c->error.code != RIFFLE_OK)
		command_close(ch, COMMAND_OUT);
}

static int
is_open(const struct command_child *ch)
{
	return ch->watch[COMMAND_OUT].fd >= 0 || ch->watch[COMMAND_ERR].fd >= 0;
}

static void
enforce(struct command_call *c, const struct command_job *j)
{
	struct command_child *ch = j->child;
	if (ch->is_reaped && ch->kill_at_ns == INT64_MAX && is_open(ch))
		ch->kill_at_ns = c->error.code == RIFFLE_OK ? command_rest_until_ns(c->owner) : 0;
	if (command_now_ns(c->owner) < ch->kill_at_ns)
		return;
	ch->kill_at_ns = INT64_MAX;
	command_kill(ch, SIGKILL);
	if (!ch->is_reaped || !is_open(ch))
		return;
	if (c->error.code == RIFFLE_OK)
		command_say_left_behind(c->owner);
	command_close(ch, COMMAND_OUT);
	command_close(ch, COMMAND_ERR);
}

/* Brings the job on; 1 = its child has ended, and all that it wrote is here. */
static int
run(struct command_call *c, struct command_job *j)
{
	struct command_child *ch = j->child;
	if (ch->is_reaped && !is_open(ch))
		return 1;
	write_on(j);
	read_on(c, j);
	if (c->error.code != RIFFLE_OK && !ch->is_reaped)
		command_begin_kill(ch);
	int was_reaped = ch->is_reaped;
	if (command_reap(ch)) {
		c->owner->jobs_running -= !was_reaped;
		ch->watch[COMMAND_OUT].is_ready = ch->watch[COMMAND_ERR].is_ready = 1;
		read_on(c, j);
	}
	enforce(c, j);
	return ch->is_reaped && !is_open(ch);
}

static void
judge(struct command_call *c, struct command_job *j)
{
	struct command_child *ch = j->child;
	struct riffle_error err = {0};
	command_judge_exit(ch, &err);
	if (err.code == RIFFLE_OK && c->owner->format == COMMAND_LINES)
		command_parse_body(ch, c);
	else if (err.code == RIFFLE_OK)
		command_codec(c->owner)->parse(ch, c, 1);
	if (err.code == RIFFLE_OK)
		err = ch->fault;
	if (err.code != RIFFLE_OK)
		blame(c, j, &err);
	else
		c->replied++;
	c->encoded_bytes += command_input_bytes(j->piece.batch, j->piece.next_record);
}

static void
tell_replied(struct command_call *c, uint64_t before)
{
	if (c->replied > before && c->answers == NULL &&
		RIFFLE_HAS(struct riffle_call_events, c->events, replied))
		c->events->replied(c->data, c->replied);
}

/* Those at the head that have ended, in the order of the records. */
static void
settle(struct command_call *c)
{
	struct command_job *j;
	while ((j = c->jobs) != NULL && j->child->is_reaped && !is_open(j->child)) {
		uint64_t before = c->replied;
		c->jobs = j->next;
		if (c->error.code == RIFFLE_OK)
			judge(c, j);
		free_job(c, j);
		if (c->error.code != RIFFLE_OK)
			continue;
		command_input_written(c);
		(void)command_hand_out(c);
		tell_replied(c, before);
	}
	if (c->error.code != RIFFLE_OK)
		command_answer_drop(c);
	(void)command_hand_out(c);
}

int64_t
command_jobs_run(struct command_call *c)
{
	int64_t next_ns = INT64_MAX;
	int moved;
	do {
		moved = 0;
		start_jobs(c);
		for (struct command_job *j = c->jobs; j != NULL; j = j->next)
			moved |= run(c, j) && j == c->jobs;
		settle(c);
	} while (moved);
	for (struct command_job *j = c->jobs; j != NULL; j = j->next)
		if (j->child->kill_at_ns < next_ns)
			next_ns = j->child->kill_at_ns;
	int is_over = c->error.code != RIFFLE_OK || (c->todo == NULL && c->is_all_taken);
	if (c->jobs == NULL && is_over && c->answers == NULL)
		command_say_done(c);
	return next_ns;
}
