/* Children with a pipe for their answer: the text, a NUL, one byte of status. */
#include "cli/child.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int
write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static _Noreturn void
work(int fd, rfl_child_fn *fn, void *ctx)
{
	struct rfl_buf answer = RFL_BUF_INIT;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	int status = fn(ctx, &answer);
	const char tail[] = {'\0', (char)status};
	fflush(NULL);
	rfl_buf_add(&answer, tail, sizeof tail);
	_exit(write_all(fd, answer.data, answer.len) < 0);
}

void
rfl_child_start(struct rfl_child *c, rfl_child_fn *fn, void *ctx)
{
	int fds[2];
	*c = (struct rfl_child){.pid = -1, .fd = -1, .end = RFL_CHILD_DIED};
	if (pipe2(fds, O_CLOEXEC) < 0) {
		rfl_buf_printf(&c->text, "cannot make a pipe: %s", strerror(errno));
		return;
	}
	fflush(NULL);
	c->pid = fork();
	if (c->pid == 0)
		work(fds[1], fn, ctx);
	close(fds[1]);
	if (c->pid < 0) {
		rfl_buf_printf(&c->text, "cannot start a process: %s", strerror(errno));
		close(fds[0]);
		return;
	}
	c->fd = fds[0];
}

/* The NUL may have come without the status behind it. */
static int
is_whole(struct rfl_child *c)
{
	return c->text.len >= 2 && c->text.data[c->text.len - 2] == '\0';
}

static void
reap(struct rfl_child *c)
{
	int status = 0;
	close(c->fd);
	c->fd = -1;
	if (c->end != RFL_CHILD_DIED)
		kill(c->pid, SIGKILL);
	while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
		;
	if (c->end != RFL_CHILD_DIED)
		return;
	rfl_buf_clear(&c->text);
	if (WIFSIGNALED(status))
		rfl_buf_printf(&c->text, "killed by signal %d (%s)", WTERMSIG(status),
			strsignal(WTERMSIG(status)));
	else
		rfl_buf_printf(&c->text, "ended with status %d", WEXITSTATUS(status));
}

static void
take_bytes(struct rfl_child *c)
{
	char bytes[4096];
	ssize_t n = read(c->fd, bytes, sizeof bytes);
	if (n < 0 && errno == EINTR)
		return;
	if (n > 0)
		rfl_buf_add(&c->text, bytes, (size_t)n);
	if (is_whole(c)) {
		c->end = RFL_CHILD_ANSWERED;
		c->status = (unsigned char)c->text.data[c->text.len - 1];
		c->text.len -= 2;
		reap(c);
	} else if (n <= 0) {
		c->end = RFL_CHILD_DIED;
		reap(c);
	}
}

static void
give_up(struct rfl_child *c, int64_t timeout_ms)
{
	c->end = RFL_CHILD_SILENT;
	reap(c);
	rfl_buf_clear(&c->text);
	rfl_buf_printf(&c->text, "no answer within %g s", (double)timeout_ms / 1000);
}

void
rfl_children_wait(struct rfl_child *children, size_t count, int64_t timeout_ms)
{
	struct rfl_clock clock;
	struct pollfd *fds = rfl_zalloc((count + 1) * sizeof *fds);
	rfl_clock_init(&clock);
	int64_t end_ns = rfl_clock_mono_ns(&clock) + timeout_ms * 1000000;
	for (;;) {
		size_t open = 0;
		for (size_t i = 0; i < count; i++) {
			fds[i] = (struct pollfd){.fd = children[i].fd, .events = POLLIN};
			open += children[i].fd >= 0;
		}
		int64_t left_ns = end_ns - rfl_clock_mono_ns(&clock);
		if (open == 0 || left_ns <= 0)
			break;
		int64_t left_ms = left_ns / 1000000 + 1;
		poll(fds, count, left_ms > 1000 ? 1000 : (int)left_ms);
		for (size_t i = 0; i < count; i++)
			if (children[i].fd >= 0 && fds[i].revents != 0)
				take_bytes(&children[i]);
	}
	for (size_t i = 0; i < count; i++)
		if (children[i].fd >= 0)
			give_up(&children[i], timeout_ms);
	free(fds);
}

void
rfl_child_fini(struct rfl_child *c)
{
	rfl_buf_fini(&c->text);
}
