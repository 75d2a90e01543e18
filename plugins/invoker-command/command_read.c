/* What comes out of a child: stdout is kept for the format, stderr goes to the log, in moderation. */
#include "command.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Reads in one turn: a child that floods us does not keep the others waiting. */
#define READS 16

#define ERR_LINE_MAX 4096u
#define ERR_LINES_A_SECOND 20u

static void
make_room(struct command_child *ch)
{
	size_t rest = ch->out.len - ch->out_read;
	if (ch->out_read == 0)
		return;
	if (rest > 0)
		memmove(ch->out.data, ch->out.data + ch->out_read, rest);
	ch->out_scanned -= ch->out_scanned < ch->out_read ? ch->out_scanned : ch->out_read;
	ch->out.len = rest;
	ch->out_read = 0;
}

void
command_read_out(struct command_child *ch, size_t max)
{
	struct command_watch *w = &ch->watch[COMMAND_OUT];
	for (int reads = 0; w->fd >= 0 && w->is_ready && ch->out.len - ch->out_read < max;
		reads++) {
		if (reads == READS) {
			ch->owner->again = 1;
			return;
		}
		make_room(ch);
		char *to = command_text_room(&ch->out, COMMAND_READ_BYTES);
		ssize_t n = read(w->fd, to, COMMAND_READ_BYTES);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			w->is_ready = 0;
			return;
		}
		if (n == 0) {
			command_close(ch, COMMAND_OUT);
			return;
		}
		ch->out.len += (size_t)n;
		ch->out_total += (size_t)n;
		/* What comes behind it gives an event of its own; of an end that has come there is none more. */
		if ((size_t)n < COMMAND_READ_BYTES && !w->is_hung_up) {
			w->is_ready = 0;
			return;
		}
	}
}

static void
log_line(struct command_child *ch, char *line, int cut)
{
	struct command *owner = ch->owner;
	const struct riffle_host *host = owner->host;
	char text[ERR_LINE_MAX + 64];
	int64_t second = command_now_ns(owner) / 1000000000;
	snprintf(ch->last_err, sizeof ch->last_err, "%s", line);
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
take_err(struct command_child *ch, const char *from, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (from[i] != '\n' && ch->err.len < ERR_LINE_MAX) {
			*command_text_room(&ch->err, 2) = from[i] == '\0' ? '?' : from[i];
			ch->err.len++;
		} else if (from[i] != '\n') {
			ch->err_cut = 1;
		} else {
			*command_text_room(&ch->err, 1) = '\0';
			log_line(ch, ch->err.data, ch->err_cut);
			ch->err.len = 0;
			ch->err_cut = 0;
		}
	}
}

void
command_read_err(struct command_child *ch)
{
	char buf[COMMAND_READ_BYTES];
	struct command_watch *w = &ch->watch[COMMAND_ERR];
	for (int reads = 0; w->fd >= 0 && w->is_ready; reads++) {
		if (reads == READS) {
			ch->owner->again = 1;
			return;
		}
		ssize_t n = read(w->fd, buf, sizeof buf);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			w->is_ready = 0;
			return;
		}
		if (n > 0) {
			take_err(ch, buf, (size_t)n);
			continue;
		}
		if (ch->err.len > 0)
			take_err(ch, "\n", 1);
		command_close(ch, COMMAND_ERR);
	}
}
