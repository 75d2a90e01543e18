/* The format `lines`: a record is a line on stdin, a line on stdout is a record. */
#include "command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define VECTORS 128
#define READ_BYTES ((size_t)64 * 1024)
#define ERR_LINE_MAX 4096u
#define ERR_LINES_A_SECOND 20u
#define BATCH_RECORDS 1000u

int
command_check_lines(
	const struct riffle_batch *b, uint32_t first, uint32_t count, struct riffle_error *reterr)
{
	for (uint32_t i = first; i < first + count; i++) {
		const struct riffle_record *r = riffle_batch_at(b, i);
		const char *fault = NULL;
		if (r->value.ptr == NULL)
			fault = "has no value";
		else if (memchr(r->value.ptr, '\n', r->value.len) != NULL)
			fault = "has a newline in its value";
		if (fault != NULL)
			return command_fail(reterr, RIFFLE_E_DATA, 0,
				"record at offset %lld of partition %d of input %u %s: it cannot "
				"be a line",
				(long long)r->offset, r->partition, r->stream, fault);
	}
	return RIFFLE_OK;
}

/* The next lines as vectors, the first without what is in the pipe already. */
static int
gather(const struct command_call *c, struct iovec *v)
{
	static char newline[] = "\n";
	size_t skip = c->line_written;
	int n = 0;
	for (const struct command_piece *p = c->first; p != NULL && n + 2 <= VECTORS; p = p->next)
		for (uint32_t i = p->next_record; i < p->end && n + 2 <= VECTORS; i++) {
			const struct riffle_record *r = riffle_batch_at(p->batch, i);
			size_t len = r->value.len;
			if (skip < len)
				v[n++] = (struct iovec){
					(char *)(uintptr_t)r->value.ptr + skip, len - skip};
			v[n++] = (struct iovec){newline, 1};
			skip = 0;
		}
	return n;
}

/* With the lock held. */
static void
advance(struct command_call *c, size_t written)
{
	const struct riffle_host *host = c->owner->host;
	written += c->line_written;
	while (c->first != NULL) {
		struct command_piece *p = c->first;
		size_t line = riffle_batch_at(p->batch, p->next_record)->value.len + 1;
		if (written < line)
			break;
		written -= line;
		c->staged_bytes -= line;
		if (++p->next_record < p->end)
			continue;
		c->first = p->next;
		if (c->first == NULL)
			c->last = &c->first;
		host->batch_unref(host, p->batch);
		free(p);
	}
	c->line_written = written;
}

/* A program need not read its input: a closed pipe ends the writing and says nothing about the call. */
static void
stop_writing(struct command_call *c)
{
	command_call_drop_input(c);
	c->line_written = 0;
	command_close(c, COMMAND_IN);
}

void
command_write(struct command_call *c)
{
	struct iovec v[VECTORS];
	pthread_mutex_t *lock = &c->owner->lock;
	for (;;) {
		pthread_mutex_lock(lock);
		int open = c->watch[COMMAND_IN].fd >= 0;
		int n = open ? gather(c, v) : 0;
		if (!open)
			command_call_drop_input(c);
		else if (n == 0 && c->input_ended)
			command_close(c, COMMAND_IN);
		int tell = c->wants_room && (!open || c->staged_bytes <= COMMAND_STAGED_MAX / 2);
		if (tell)
			c->wants_room = 0;
		pthread_mutex_unlock(lock);
		if (tell)
			c->events->writable(c->data);
		if (n == 0)
			return;
		/* Only this thread takes pieces away, so the vectors stay good without the lock. */
		ssize_t wrote = writev(c->watch[COMMAND_IN].fd, v, n);
		if (wrote < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		pthread_mutex_lock(lock);
		if (wrote < 0)
			stop_writing(c);
		else
			advance(c, (size_t)wrote);
		pthread_mutex_unlock(lock);
	}
}

static char *
room_in(struct command_text *t, size_t want)
{
	if (t->room - t->len < want) {
		size_t room = t->room ? t->room * 2 : want;
		while (room - t->len < want)
			room *= 2;
		t->data = realloc(t->data, room);
		command_assert(t->data != NULL);
		t->room = room;
	}
	return t->data + t->len;
}

static void
check_output(struct command_call *c, size_t from)
{
	const struct command *owner = c->owner;
	if (c->error.code != RIFFLE_OK)
		return;
	if (c->output_count == 0 && c->out.len > 0)
		command_fail(&c->error, RIFFLE_E_DATA, 0,
			"'%s' answers, and the processor has no output", owner->words[0]);
	else if (c->out.len > owner->max_output)
		command_fail(&c->error, RIFFLE_E_DATA, 0,
			"'%s' answers more than max-output = %zu bytes", owner->words[0],
			owner->max_output);
	else if (c->out.len - from > owner->max_line &&
		 memrchr(c->out.data + from, '\n', c->out.len - from) == NULL) {
		const char *last = from ? memrchr(c->out.data, '\n', from) : NULL;
		size_t line = c->out.len - (last ? (size_t)(last + 1 - c->out.data) : 0);
		if (line > owner->max_line)
			command_fail(&c->error, RIFFLE_E_DATA, 0,
				"'%s' answers a line of more than max-line = %zu bytes",
				owner->words[0], owner->max_line);
	}
}

void
command_read_out(struct command_call *c)
{
	while (c->watch[COMMAND_OUT].fd >= 0) {
		char *to = room_in(&c->out, READ_BYTES);
		ssize_t n = read(c->watch[COMMAND_OUT].fd, to, READ_BYTES);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			command_close(c, COMMAND_OUT);
			return;
		}
		size_t from = c->out.len;
		c->out.len += (size_t)n;
		check_output(c, from);
		/* In vain already: read on so that nobody blocks, and keep nothing. */
		if (c->error.code != RIFFLE_OK)
			c->out.len = 0;
	}
}

static void
log_line(struct command_call *c, char *line, int cut)
{
	struct command *owner = c->owner;
	const struct riffle_host *host = owner->host;
	char text[ERR_LINE_MAX + 64];
	int64_t second = command_now_ns(owner) / 1000000000;
	snprintf(c->last_err, sizeof c->last_err, "%s", line);
	if (second != owner->log_second && owner->suppressed > 0) {
		snprintf(
			text, sizeof text, "%u lines of stderr were not logged", owner->suppressed);
		host->log(host, RIFFLE_LOG_WARNING, text);
	}
	if (second != owner->log_second) {
		owner->log_second = second;
		owner->logged = owner->suppressed = 0;
	}
	if (owner->logged >= ERR_LINES_A_SECOND) {
		owner->suppressed++;
		return;
	}
	owner->logged++;
	snprintf(text, sizeof text, "stderr: %s%s", line, cut ? " [cut]" : "");
	host->log(host, RIFFLE_LOG_INFO, text);
}

static void
take_err(struct command_call *c, const char *from, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (from[i] != '\n' && c->err.len < ERR_LINE_MAX) {
			*room_in(&c->err, 2) = from[i] == '\0' ? '?' : from[i];
			c->err.len++;
		} else if (from[i] != '\n') {
			c->err_cut = 1;
		} else {
			*room_in(&c->err, 1) = '\0';
			log_line(c, c->err.data, c->err_cut);
			c->err.len = 0;
			c->err_cut = 0;
		}
	}
}

void
command_read_err(struct command_call *c)
{
	char buf[READ_BYTES];
	while (c->watch[COMMAND_ERR].fd >= 0) {
		ssize_t n = read(c->watch[COMMAND_ERR].fd, buf, sizeof buf);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n > 0) {
			take_err(c, buf, (size_t)n);
			continue;
		}
		if (c->err.len > 0)
			take_err(c, "\n", 1);
		command_close(c, COMMAND_ERR);
	}
}

struct answer {
	struct riffle_batch batch;
	const char *types[2];
	struct riffle_record records[BATCH_RECORDS];
};

static void
answer_release(struct riffle_batch *b)
{
	free(b->owner);
}

static size_t
line_at(const struct command_call *c, size_t from)
{
	const char *end = memchr(c->out.data + from, '\n', c->out.len - from);
	return end ? (size_t)(end - c->out.data) - from : c->out.len - from;
}

/* As many lines as the credit covers; the last may exceed it. */
static struct answer *
make_answer(const struct command_call *c, size_t credit, size_t *ret_used, size_t *ret_charged)
{
	size_t used = 0, charged = 0, count = 0, from = c->out_read, lines[BATCH_RECORDS];
	while (from + used < c->out.len && count < BATCH_RECORDS && charged < credit) {
		lines[count] = line_at(c, from + used);
		charged += lines[count];
		used += lines[count++] + 1;
	}
	size_t kept = from + used > c->out.len ? c->out.len - from : used;
	size_t type = strlen(c->type) + 1;
	struct answer *a = command_alloc(sizeof *a + kept + type + 1);
	char *bytes = (char *)(a + 1);
	memcpy(bytes, c->out.data + from, kept);
	memcpy(bytes + kept, c->type, type);
	a->types[1] = bytes + kept;
	for (size_t i = 0; i < count; i++) {
		a->records[i] = (struct riffle_record){
			.key = {NULL, 0},
			.value = {bytes, lines[i]},
			.offset = RIFFLE_OFFSET_NONE,
			.time_ms = RIFFLE_TIME_NONE,
			.partition = RIFFLE_PARTITION_NONE,
			.content_type = 1,
		};
		bytes += lines[i] + 1;
	}
	a->batch = (struct riffle_batch){
		.size = sizeof a->batch,
		.record_size = sizeof a->records[0],
		.record_count = (uint32_t)count,
		.content_type_count = 2,
		.records = a->records,
		.content_types = a->types,
		.pinned_bytes = sizeof *a + kept + type + 1,
		.owner = a,
		.release = answer_release,
	};
	*ret_used = kept;
	*ret_charged = charged;
	return a;
}

int
command_hand_out(struct command_call *c)
{
	pthread_mutex_t *lock = &c->owner->lock;
	while (c->out_read < c->out.len) {
		size_t used, charged;
		pthread_mutex_lock(lock);
		size_t credit = c->credit;
		pthread_mutex_unlock(lock);
		if (credit == 0)
			return 0;
		struct answer *a = make_answer(c, credit, &used, &charged);
		c->out_read += used;
		pthread_mutex_lock(lock);
		c->credit -= charged < c->credit ? charged : c->credit;
		pthread_mutex_unlock(lock);
		c->events->output(c->data, &a->batch);
	}
	return 1;
}
