/* The records of a call, from the host's hands into the feed of a child. */
#include "command.h"

#include <stdlib.h>

void
command_input_take(struct command_call *c)
{
	if (c->todo != NULL || c->is_all_taken)
		return;
	pthread_mutex_lock(&c->owner->lock);
	c->todo = c->first;
	c->first = NULL;
	c->last = &c->first;
	c->is_all_taken = c->input_ended;
	pthread_mutex_unlock(&c->owner->lock);
}

void
command_input_encode(struct command_call *c, struct command_feed *f)
{
	const struct command_codec *codec = command_codec(c->owner);
	for (;;) {
		command_input_take(c);
		struct command_piece *p = c->todo;
		if (p == NULL)
			return;
		while (p->next_record < p->end) {
			if (command_feed_is_full(f))
				return;
			uint32_t i = p->next_record++;
			codec->record(f, c, p->batch, riffle_batch_at(p->batch, i));
		}
		c->todo = p->next;
		c->encoded_bytes += p->bytes;
		if (!c->keeps) {
			command_feed_spend(f, p);
			continue;
		}
		p->next = c->kept;
		c->kept = p;
	}
}

void
command_input_written(struct command_call *c)
{
	if (c->encoded_bytes > 0) {
		pthread_mutex_lock(&c->owner->lock);
		c->staged_bytes -= c->encoded_bytes;
		c->encoded_bytes = 0;
		int tell =
			c->wants_room && c->has_turn && c->staged_bytes <= COMMAND_STAGED_MAX / 2;
		if (tell)
			c->wants_room = 0;
		pthread_mutex_unlock(&c->owner->lock);
		if (tell)
			c->events->writable(c->data);
	}
	c->is_end_written = c->is_ended;
}

void
command_input_release(struct command_call *c, struct command_feed *f)
{
	while (c->kept != NULL) {
		struct command_piece *p = c->kept;
		c->kept = p->next;
		command_feed_spend(f, p);
	}
	if (command_feed_is_empty(f))
		command_feed_clear(f, c->owner->host);
}

void
command_input_again(struct command_call *c)
{
	size_t bytes = 0;
	if (c->todo != NULL)
		c->todo->next_record = c->todo->first;
	while (c->kept != NULL) {
		struct command_piece *p = c->kept;
		c->kept = p->next;
		bytes += p->bytes;
		p->next_record = p->first;
		p->next = c->todo;
		c->todo = p;
	}
	pthread_mutex_lock(&c->owner->lock);
	c->staged_bytes += bytes - c->encoded_bytes;
	c->encoded_bytes = 0;
	pthread_mutex_unlock(&c->owner->lock);
	c->is_started = c->is_ended = c->is_end_written = 0;
}

void
command_input_give_turn(struct command_call *c)
{
	pthread_mutex_lock(&c->owner->lock);
	int tell = c->wants_room && !c->has_turn;
	c->has_turn = 1;
	if (tell)
		c->wants_room = 0;
	pthread_mutex_unlock(&c->owner->lock);
	if (tell)
		c->events->writable(c->data);
}

static void
drop(const struct riffle_host *host, struct command_piece *p)
{
	while (p != NULL) {
		struct command_piece *next = p->next;
		host->batch_unref(host, p->batch);
		free(p);
		p = next;
	}
}

/* From here on what is pushed goes nowhere, and is taken without end. */
void
command_input_drop(struct command_call *c)
{
	const struct riffle_host *host = c->owner->host;
	pthread_mutex_lock(&c->owner->lock);
	struct command_piece *first = c->first;
	c->first = NULL;
	c->last = &c->first;
	c->staged_bytes = 0;
	c->encoded_bytes = 0;
	c->is_over = 1;
	int tell = c->wants_room;
	c->wants_room = 0;
	pthread_mutex_unlock(&c->owner->lock);
	if (tell)
		c->events->writable(c->data);
	drop(host, first);
	drop(host, c->todo);
	drop(host, c->kept);
	c->todo = c->kept = NULL;
	c->is_all_taken = 1;
}

void
command_input_cut(struct command_call *c, struct command_feed *f)
{
	struct command_piece *p = c->todo;
	if (p != NULL && p->next_record > p->first) {
		c->todo = p->next;
		command_feed_spend(f, p);
	}
	command_input_release(c, f);
	command_input_drop(c);
}
