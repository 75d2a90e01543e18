/* Children: found, started, killed with their group, reaped, judged. */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
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

/* Fewer turns between us and the child; a system that grants less is fine too. */
#define PIPE_BYTES (1024 * 1024)

/* What is still on its way from a process behind a pipe or a subshell is there by then. */
#define REST_NS INT64_C(500000000)

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
command_find_dir(const struct command *c, struct riffle_error *reterr)
{
	struct stat st;
	int why = 0;
	if (c->dir == NULL)
		return RIFFLE_OK;
	if (stat(c->dir, &st) < 0)
		why = errno;
	else if (!S_ISDIR(st.st_mode))
		why = ENOTDIR;
	return why == 0 ? RIFFLE_OK
			: command_fail(reterr, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE,
				  "directory '%s': %s", c->dir, strerror(why));
}

/* A path that is not absolute counts from where the program will run. */
static int
find_path(const struct command *c, const char *program, char *ret_path, size_t size,
	struct riffle_error *reterr)
{
	char full[4096];
	int why = ENAMETOOLONG;
	int below = c->dir != NULL && program[0] != '/';
	size_t full_len = (size_t)snprintf(
		full, sizeof full, "%s%s%s", below ? c->dir : "", below ? "/" : "", program);
	if (full_len < sizeof full && strlen(program) < size && is_program(full, &why)) {
		strcpy(ret_path, program);
		return RIFFLE_OK;
	}
	return command_fail(reterr, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE, "program '%s': %s",
		program, strerror(why));
}

int
command_find(const struct command *c, const char *program, char *ret_path, size_t size,
	struct riffle_error *reterr)
{
	int why = ENOENT, worse = ENOENT;
	if (strchr(program, '/') != NULL)
		return find_path(c, program, ret_path, size, reterr);
	const char *p = getenv("PATH");
	p = p ? p : "/usr/local/bin:/usr/bin:/bin";
	while (*p != '\0') {
		size_t n = strcspn(p, ":");
		int len = snprintf(ret_path, size, "%.*s/%s", (int)n, p, program);
		if (len >= 0 && (size_t)len < size && is_program(ret_path, &worse))
			return RIFFLE_OK;
		if (worse != ENOENT)
			why = worse;
		p += n + (p[n] == ':');
	}
	return command_fail(reterr, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE,
		"program '%s' is not in PATH%s%s", program, why != ENOENT ? ": " : "",
		why != ENOENT ? strerror(why) : "");
}

/* Close-on-exec from birth, and out of the way of 0 to 2, which a host may have closed. */
static int
make_pipe(int ends[2])
{
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	for (int i = 0; i < 2; i++) {
		if (ends[i] > 2)
			continue;
		int higher = fcntl(ends[i], F_DUPFD_CLOEXEC, 3);
		if (higher < 0)
			return -1;
		close(ends[i]);
		ends[i] = higher;
	}
	return 0;
}

static void
close_all(int fds[COMMAND_PIPES])
{
	for (int i = 0; i < COMMAND_PIPES; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* Ours do not block. */
static int
make_pipes(struct command_child *ch, int theirs[COMMAND_PIPES])
{
	for (int i = 0; i < COMMAND_PIPES; i++)
		theirs[i] = -1;
	for (int i = 0; i < COMMAND_PIPES; i++) {
		int ends[2] = {-1, -1};
		int rc = make_pipe(ends);
		theirs[i] = i == COMMAND_IN ? ends[0] : ends[1];
		ch->watch[i].fd = i == COMMAND_IN ? ends[1] : ends[0];
		if (rc < 0 || fcntl(ch->watch[i].fd, F_SETFL, O_NONBLOCK) < 0)
			return -1;
		if (ch->owner->mode == COMMAND_COPROCESS && i != COMMAND_ERR)
			(void)fcntl(ch->watch[i].fd, F_SETPIPE_SZ, PIPE_BYTES);
	}
	return 0;
}

static int
watch_child(struct command_child *ch)
{
	static const uint32_t events[] = {EPOLLOUT, EPOLLIN, EPOLLIN, EPOLLIN};
	ch->watch[COMMAND_PIPES].fd = (int)syscall(SYS_pidfd_open, ch->pid, 0);
	if (ch->watch[COMMAND_PIPES].fd < 0)
		return -1;
	for (int i = 0; i <= COMMAND_PIPES; i++) {
		ch->watch[i].is_ready = 1;
		if (command_poller_watch(ch->owner, &ch->watch[i], events[i]) < 0)
			return -1;
	}
	return 0;
}

static int
start(struct command_child *ch, char *const *argv, char *const *environment,
	const int theirs[COMMAND_PIPES], struct riffle_error *reterr)
{
	struct command *c = ch->owner;
	char path[4096];
	const char *stage;
	int rc = command_find(c, argv[0], path, sizeof path, reterr);
	if (rc < 0)
		return rc;
	struct command_plan plan = {.path = path,
		.dir = c->dir,
		.argv = argv,
		.environment = environment,
		.fds = {theirs[0], theirs[1], theirs[2]},
		.safety = &c->safety,
		.is_patient = c->is_patient,
		.parent = getpid()};
	pid_t pid = command_spawn(&plan, &stage);
	if (pid < 0) {
		int away = pid == -ENOENT || pid == -EAGAIN || pid == -ENOMEM || pid == -EMFILE ||
			   pid == -ENFILE || pid == -ETXTBSY;
		return command_fail(reterr, away ? RIFFLE_E_UNAVAILABLE : RIFFLE_E_DATA,
			away ? RIFFLE_ERR_RETRIABLE : 0, "%s '%s': %s", stage, command_name(c),
			strerror((int)-pid));
	}
	ch->pid = pid;
	return RIFFLE_OK;
}

static int
abandon(struct command_child *ch, int rc)
{
	ch->is_reaped = 1;
	command_child_free(ch);
	return rc;
}

int
command_child_start(struct command *c, char *const *argv, char *const *environment,
	struct command_child **ret_child, struct riffle_error *reterr)
{
	int theirs[COMMAND_PIPES];
	struct command_child *ch = command_alloc(sizeof *ch);
	ch->magic = COMMAND_CHILD_MAGIC;
	ch->owner = c;
	ch->kill_at_ns = INT64_MAX;
	for (int i = 0; i <= COMMAND_PIPES; i++)
		ch->watch[i].fd = -1;
	if (make_pipes(ch, theirs) < 0) {
		int why = errno;
		close_all(theirs);
		return abandon(ch, command_fail(reterr, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE,
					   "cannot make a pipe: %s", strerror(why)));
	}
	int rc = start(ch, argv, environment, theirs, reterr);
	close_all(theirs);
	if (rc < 0)
		return abandon(ch, rc);
	if (watch_child(ch) < 0) {
		int why = errno;
		command_kill(ch, SIGKILL);
		while (waitpid(ch->pid, NULL, 0) < 0 && errno == EINTR)
			continue;
		return abandon(
			ch, command_fail(reterr, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE,
				    "cannot watch '%s': %s", command_name(c), strerror(why)));
	}
	*ret_child = ch;
	return RIFFLE_OK;
}

void
command_child_free(struct command_child *ch)
{
	if (ch == NULL)
		return;
	COMMAND_CHECK(ch, COMMAND_CHILD_MAGIC);
	command_assert(ch->is_reaped);
	for (int i = 0; i <= COMMAND_PIPES; i++)
		command_close(ch, i);
	command_feed_free(&ch->feed, ch->owner->host);
	ch->magic = 0;
	free(ch->out.data);
	free(ch->err.data);
	free(ch);
}

void
command_close(struct command_child *ch, int which)
{
	int fd = ch->watch[which].fd;
	if (fd < 0)
		return;
	/* Closing alone would not end the watch while a child of somebody else, not yet at its exec, has a copy. */
	(void)epoll_ctl(ch->owner->epoll, EPOLL_CTL_DEL, fd, NULL);
	close(fd);
	ch->watch[which].fd = -1;
}

/* The group outlives its leader as long as a grandchild is in it. */
void
command_kill(struct command_child *ch, int signal)
{
	if (ch->pid > 0)
		kill(-ch->pid, signal);
}

void
command_begin_kill(struct command_child *ch)
{
	if (ch->is_killing)
		return;
	ch->is_killing = 1;
	command_kill(ch, SIGTERM);
	ch->kill_at_ns = command_now_ns(ch->owner) + ch->owner->grace_ns;
}

int
command_reap(struct command_child *ch)
{
	siginfo_t info = {0};
	if (ch->is_reaped)
		return 1;
	if (!ch->watch[COMMAND_PIPES].is_ready)
		return 0;
	int rc = waitid(P_PIDFD, (id_t)ch->watch[COMMAND_PIPES].fd, &info, WEXITED | WNOHANG);
	if (rc < 0 && errno == EINTR)
		return 0;
	/* Nobody else waits for it. */
	command_assert(rc == 0);
	ch->watch[COMMAND_PIPES].is_ready = 0;
	if (info.si_pid == 0)
		return 0;
	ch->is_reaped = 1;
	ch->wait_status = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
	command_close(ch, COMMAND_PIPES);
	return 1;
}

int64_t
command_rest_until_ns(const struct command *c)
{
	return command_now_ns(c) + (c->grace_ns < REST_NS ? c->grace_ns : REST_NS);
}

void
command_say_left_behind(struct command *c)
{
	char text[256];
	if (c->has_left_behind)
		return;
	c->has_left_behind = 1;
	snprintf(text, sizeof text,
		"'%s' ended and left a process behind that held its output open: it was killed "
		"a moment later, for which each call waits; what runs on needs an output of its "
		"own "
		"(>/dev/null 2>&1); this is said once",
		command_name(c));
	c->host->log(c->host, RIFFLE_LOG_WARNING, text);
}

void
command_judge_exit(const struct command_child *ch, struct riffle_error *err)
{
	const char *quote = ch->last_err[0] ? ": " : "";
	if (ch->wait_status < 0)
		command_fail(err, RIFFLE_E_DATA, RIFFLE_ERR_RETRIABLE,
			"'%s' was killed by SIG%s%s%s", command_name(ch->owner),
			sigabbrev_np(-ch->wait_status), quote, ch->last_err);
	else if (ch->wait_status > 0)
		command_fail(err, RIFFLE_E_DATA,
			ch->wait_status == COMMAND_STATUS_RETRY ? RIFFLE_ERR_RETRIABLE : 0,
			"'%s' ended with exit status %d%s%s", command_name(ch->owner),
			ch->wait_status, quote, ch->last_err);
}
