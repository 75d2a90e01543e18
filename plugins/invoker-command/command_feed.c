/* Bytes on their way into a pipe: many records a system call, large values not copied. */
#include "command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* Below it a copy costs less than a vector of its own. */
#define LARGE_BYTES 2048u
/* A pipe is locked while it is written, and its program waits that long to read on: not too much at a time. */
#define FULL_BYTES ((size_t)32 * 1024)

void
command_feed_begin_text(struct command_feed *f)
{
	command_assert(f->count < COMMAND_SEGMENTS);
	f->segments[f->count++] = (struct command_segment){NULL, 0};
}

void
command_feed_bytes(struct command_feed *f, const void *ptr, size_t len)
{
	/* The last ones stay free for what must still follow. */
	if (len >= LARGE_BYTES && f->count + 4 <= COMMAND_SEGMENTS) {
		f->segments[f->count++] = (struct command_segment){ptr, len};
		f->bytes += len;
	} else if (len > 0) {
		memcpy(command_feed_room(f, len), ptr, len);
	}
}

int
command_feed_is_full(const struct command_feed *f)
{
	return f->bytes >= FULL_BYTES || f->count + 8 > COMMAND_SEGMENTS;
}

int
command_feed_is_empty(const struct command_feed *f)
{
	return f->count == 0;
}

void
command_feed_spend(struct command_feed *f, struct command_piece *p)
{
	p->next = f->spent;
	f->spent = p;
}

void
command_feed_clear(struct command_feed *f, const struct riffle_host *host)
{
	while (f->spent != NULL) {
		struct command_piece *p = f->spent;
		f->spent = p->next;
		host->batch_unref(host, p->batch);
		free(p);
	}
	f->text.len = f->text_used = f->skip = f->bytes = 0;
	f->count = f->next = 0;
}

void
command_feed_free(struct command_feed *f, const struct riffle_host *host)
{
	command_feed_clear(f, host);
	free(f->text.data);
	f->text = (struct command_text){0};
}

static int
gather(const struct command_feed *f, struct iovec *v)
{
	size_t at = f->text_used, skip = f->skip;
	int n = 0;
	for (int i = f->next; i < f->count; i++) {
		const struct command_segment *s = &f->segments[i];
		const char *from = s->ptr ? s->ptr : f->text.data + at;
		v[n++] = (struct iovec){(char *)(uintptr_t)from + skip, s->len - skip};
		at += s->ptr ? 0 : s->len;
		skip = 0;
	}
	return n;
}

static void
advance(struct command_feed *f, size_t written)
{
	written += f->skip;
	while (f->next < f->count && written >= f->segments[f->next].len) {
		const struct command_segment *s = &f->segments[f->next++];
		written -= s->len;
		f->text_used += s->ptr ? 0 : s->len;
	}
	f->skip = written;
}

int
command_feed_write(struct command_feed *f, int fd, const struct riffle_host *host)
{
	struct iovec v[COMMAND_SEGMENTS];
	while (f->next < f->count) {
		int n = gather(f, v);
		ssize_t wrote = writev(fd, v, n);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			return errno == EAGAIN ? 0 : -1;
		advance(f, (size_t)wrote);
	}
	command_feed_clear(f, host);
	return 1;
}
