/* Children: found, spawned, killed with their group, reaped, judged. */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static int
is_program(const char *path, int *ret_errno)
{
	struct stat st;
	if (stat(path, &st) < 0) {
		*ret_errno = errno;
		return 0;
	}
	*ret_errno = S_ISDIR(st.st_mode) ? EISDIR : EACCES;
	return S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

int
command_find(const char *program, struct riffle_error *reterr)
{
	char path[4096];
	int why = ENOENT, worse;
	if (strchr(program, '/') != NULL) {
		if (is_program(program, &why))
			return RIFFLE_OK;
		return command_fail(reterr, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE,
			"program '%s': %s", program, strerror(why));
	}
	const char *p = getenv("PATH");
	p = p ? p : "/usr/local/bin:/usr/bin:/bin";
	while (*p != '\0') {
		size_t n = strcspn(p, ":");
		snprintf(path, sizeof path, "%.*s/%s", (int)n, p, program);
		if (is_program(path, &worse))
			return RIFFLE_OK;
		if (worse != ENOENT)
			why = worse;
		p += n + (p[n] == ':');
	}
	return command_fail(reterr, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE,
		"program '%s' is not in PATH%s%s", program, why != ENOENT ? ": " : "",
		why != ENOENT ? strerror(why) : "");
}

/* pipes[i][0] is the child's end, [1] ours; all close-on-exec from birth, ours non-blocking. */
static int
make_pipes(int pipes[COMMAND_PIPES][2])
{
	for (int i = 0; i < COMMAND_PIPES; i++)
		pipes[i][0] = pipes[i][1] = -1;
	for (int i = 0; i < COMMAND_PIPES; i++) {
		int ends[2];
		if (pipe2(ends, O_CLOEXEC) < 0)
			return -1;
		pipes[i][0] = i == COMMAND_IN ? ends[0] : ends[1];
		pipes[i][1] = i == COMMAND_IN ? ends[1] : ends[0];
		if (fcntl(pipes[i][1], F_SETFL, O_NONBLOCK) < 0)
			return -1;
	}
	return 0;
}

static void
close_all(int pipes[COMMAND_PIPES][2], int end)
{
	for (int i = 0; i < COMMAND_PIPES; i++)
		if (pipes[i][end] >= 0)
			close(pipes[i][end]);
}

static int
spawn(struct command_call *c, int pipes[COMMAND_PIPES][2])
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	char sh[] = "/bin/sh", dash_c[] = "-c";
	char *shell_words[] = {sh, dash_c, (char *)(uintptr_t)c->owner->words[0], NULL};
	char *const *argv =
		c->owner->shell ? shell_words : (char *const *)(uintptr_t)c->owner->words;
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	for (int i = 0; i < COMMAND_PIPES; i++)
		posix_spawn_file_actions_adddup2(&actions, pipes[i][0], i);
	/* Libraries open files that are not close-on-exec; none of them is the child's business. */
	posix_spawn_file_actions_addclosefrom_np(&actions, 3);
	if (c->owner->dir != NULL)
		posix_spawn_file_actions_addchdir_np(&actions, c->owner->dir);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(
		&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	int rc = posix_spawnp(&c->pid, argv[0], &actions, &attr, argv, c->environment);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return rc;
}

static int
watch_child(struct command_call *c, int pipes[COMMAND_PIPES][2])
{
	for (int i = 0; i < COMMAND_PIPES; i++)
		c->watch[i].fd = pipes[i][1];
	c->watch[COMMAND_PIPES].fd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	if (c->watch[COMMAND_PIPES].fd < 0)
		return -1;
	if (command_poller_watch(c, COMMAND_IN, EPOLLOUT) < 0 ||
		command_poller_watch(c, COMMAND_OUT, EPOLLIN) < 0 ||
		command_poller_watch(c, COMMAND_ERR, EPOLLIN) < 0 ||
		command_poller_watch(c, COMMAND_PIPES, EPOLLIN) < 0)
		return -1;
	return 0;
}

int
command_spawn(struct command_call *c, struct riffle_error *reterr)
{
	int pipes[COMMAND_PIPES][2];
	c->is_spawned = 1;
	c->is_reaped = 1;
	if (make_pipes(pipes) < 0) {
		int why = errno;
		close_all(pipes, 0);
		close_all(pipes, 1);
		return command_fail(reterr, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE,
			"cannot make a pipe: %s", strerror(why));
	}
	int rc = spawn(c, pipes);
	close_all(pipes, 0);
	if (rc != 0) {
		c->pid = 0;
		close_all(pipes, 1);
		int away = rc == ENOENT || rc == EAGAIN || rc == ENOMEM;
		return command_fail(reterr, away ? RIFFLE_E_UNAVAILABLE : RIFFLE_E_DATA,
			away ? RIFFLE_ERR_RETRIABLE : 0, "cannot start '%s': %s",
			c->owner->words[0], strerror(rc));
	}
	c->is_reaped = 0;
	if (watch_child(c, pipes) < 0)
		return command_fail(reterr, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE,
			"cannot watch '%s': %s", c->owner->words[0], strerror(errno));
	return RIFFLE_OK;
}

void
command_close(struct command_call *c, int which)
{
	if (c->watch[which].fd >= 0)
		close(c->watch[which].fd);
	c->watch[which].fd = -1;
}

/* The group outlives its leader as long as a grandchild is in it. */
void
command_kill(struct command_call *c, int signal)
{
	if (c->pid > 0)
		kill(-c->pid, signal);
}

int
command_reap(struct command_call *c)
{
	siginfo_t info = {0};
	if (c->is_reaped)
		return 1;
	int fd = c->watch[COMMAND_PIPES].fd;
	int rc = fd >= 0 ? waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG)
			 : waitid(P_PID, (id_t)c->pid, &info, WEXITED);
	if (rc < 0 || info.si_pid == 0)
		return 0;
	c->is_reaped = 1;
	c->wait_status = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
	command_close(c, COMMAND_PIPES);
	return 1;
}

void
command_judge_exit(struct command_call *c)
{
	const char *quote = c->last_err[0] ? ": " : "";
	if (c->error.code != RIFFLE_OK || c->wait_status == 0)
		return;
	if (c->wait_status < 0)
		command_fail(&c->error, RIFFLE_E_DATA, RIFFLE_ERR_RETRIABLE,
			"'%s' was killed by SIG%s%s%s", c->owner->words[0],
			sigabbrev_np(-c->wait_status), quote, c->last_err);
	else
		command_fail(&c->error, RIFFLE_E_DATA,
			c->wait_status == COMMAND_EXIT_RETRY ? RIFFLE_ERR_RETRIABLE : 0,
			"'%s' ended with exit status %d%s%s", c->owner->words[0], c->wait_status,
			quote, c->last_err);
}
