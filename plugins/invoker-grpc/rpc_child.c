/*
 * The function's server as a child of ours: started with the instance, started again with back-off when
 * it ends, stopped with the instance. A thread of its own reads what it prints and waits for its end;
 * whether it serves shows at the connection, not here.
 */
#include "rpc.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

#define BACKOFF_MIN_NS INT64_C(200000000)
#define BACKOFF_MAX_NS INT64_C(10000000000)
#define LINES_PER_SECOND 20u

static const char *const passed_on[] = {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"};

enum { OUT, ERR, PIPES };

struct output {
	int fd; /* -1 = closed */
	int level;
	size_t len;
	char line[1024];
};

struct rpc_child {
	struct rpc *owner;
	const char *const *words;
	const char *dir;
	char **environment;
	int64_t grace_ns;
	pthread_t thread;
	int stop; /* eventfd: readable once it has to stop */

	/* the thread's */
	pid_t pid; /* 0 = does not run */
	int pidfd;
	struct output out[PIPES];
	int64_t started_ns, backoff_ns;
	int64_t next_ns; /* stopping: SIGKILL then; not running: start then; else INT64_MAX */
	int stopping, spawn_failed;
	int64_t log_second;
	unsigned lines, suppressed;
};

static int
is_program(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

int
rpc_find_program(const char *program, struct riffle_error *reterr)
{
	char path[4096];
	const char *p = getenv("PATH");
	if (strchr(program, '/') != NULL)
		return is_program(program)
			       ? RIFFLE_OK
			       : rpc_fail(reterr, RIFFLE_E_NOTFOUND, 0,
					 "'%s' is no program that can be started", program);
	for (p = p != NULL ? p : "/usr/local/bin:/usr/bin:/bin"; *p != '\0';) {
		size_t n = strcspn(p, ":");
		snprintf(path, sizeof path, "%.*s/%s", (int)n, p, program);
		if (is_program(path))
			return RIFFLE_OK;
		p += n + (p[n] == ':');
	}
	return rpc_fail(reterr, RIFFLE_E_NOTFOUND, 0, "there is no program '%s' in PATH", program);
}

int
rpc_free_port(int *ret_port, struct riffle_error *reterr)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int failed = fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 ||
		     getsockname(fd, (struct sockaddr *)&a, &len) < 0;
	if (failed)
		rpc_fail(reterr, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE,
			"cannot find a free port: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	*ret_port = ntohs(a.sin_port);
	return failed ? RIFFLE_E_UNAVAILABLE : RIFFLE_OK;
}

static char *
pair(const char *name, const char *value)
{
	size_t room = strlen(name) + strlen(value) + 2;
	char *s = rpc_alloc(room);
	snprintf(s, room, "%s=%s", name, value);
	return s;
}

static char **
make_environment(const struct rpc_child_spec *spec)
{
	char port[16];
	size_t n = 0, room = sizeof passed_on / sizeof passed_on[0] + 2;
	for (const char *const *e = spec->env; e != NULL && *e != NULL; e++)
		room++;
	char **list = rpc_alloc(room * sizeof *list);
	for (size_t i = 0; i < sizeof passed_on / sizeof passed_on[0]; i++)
		if (getenv(passed_on[i]) != NULL)
			list[n++] = pair(passed_on[i], getenv(passed_on[i]));
	snprintf(port, sizeof port, "%d", spec->port);
	list[n++] = pair("GRPC_PORT", port);
	for (const char *const *e = spec->env; e != NULL && *e != NULL; e++) {
		if (strchr(*e, '=') != NULL)
			list[n++] = rpc_strdup(*e);
		else if (getenv(*e) != NULL)
			list[n++] = pair(*e, getenv(*e));
	}
	return list;
}

/* A line of its output; a talkative function does not drown the log. */
static void
say(struct rpc_child *k, int level, const char *text, size_t len)
{
	char line[400];
	int64_t second = rpc_now_ns(k->owner) / 1000000000;
	if (second != k->log_second) {
		if (k->suppressed > 0)
			rpc_log(k->owner, RIFFLE_LOG_INFO, "%s: %u more lines in one second",
				k->words[0], k->suppressed);
		k->log_second = second;
		k->lines = k->suppressed = 0;
	}
	if (++k->lines > LINES_PER_SECOND) {
		k->suppressed++;
		return;
	}
	rpc_quote(line, sizeof line, text, len);
	rpc_log(k->owner, level, "%s: %s", k->words[0], line);
}

static void
say_lines(struct rpc_child *k, struct output *o, int at_end)
{
	size_t first = 0;
	for (size_t i = 0; i < o->len; i++) {
		if (o->line[i] != '\n')
			continue;
		say(k, o->level, o->line + first, i - first);
		first = i + 1;
	}
	if (o->len > first && (at_end || (first == 0 && o->len == sizeof o->line))) {
		say(k, o->level, o->line + first, o->len - first);
		first = o->len;
	}
	memmove(o->line, o->line + first, o->len - first);
	o->len -= first;
}

static void
read_output(struct rpc_child *k, struct output *o)
{
	ssize_t n = read(o->fd, o->line + o->len, sizeof o->line - o->len);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		o->len += (size_t)n;
	say_lines(k, o, n <= 0);
	if (n > 0)
		return;
	close(o->fd);
	o->fd = -1;
}

static int
reset_signals(void)
{
	struct sigaction by_default = {.sa_handler = SIG_DFL};
	sigset_t none;
	for (int i = 1; i < NSIG; i++)
		(void)sigaction(i, &by_default, NULL);
	sigemptyset(&none);
	return sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The child's half, which shares our memory until its exec: only failure comes back, as an errno. */
static int
become(const struct rpc_child *k, const int ends[PIPES], pid_t parent)
{
	int null = open("/dev/null", O_RDONLY);
	if (setpgid(0, 0) < 0 || null < 0 || dup2(null, 0) < 0 || dup2(ends[OUT], 1) < 0 ||
		dup2(ends[ERR], 2) < 0)
		return errno;
	closefrom(3);
	if (k->dir != NULL && chdir(k->dir) < 0)
		return errno;
	/* A host that is killed leaves nothing running, nor a port taken; it may be gone already. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent || reset_signals() < 0)
		return errno != 0 ? errno : ESRCH;
	execvpe(k->words[0], (char *const *)(uintptr_t)k->words, k->environment);
	return errno;
}

/* With all signals blocked, as they are in this thread: no handler of ours runs in the child. */
static int
spawn(struct rpc_child *k, const int ends[PIPES])
{
	volatile int why = 0;
	pid_t parent = getpid();
	pid_t pid = vfork();
	if (pid == 0) {
		why = become(k, ends, parent);
		_exit(127);
	}
	if (pid < 0)
		return errno;
	if (why == 0) {
		k->pid = pid;
		return 0;
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	return why;
}

static void
close_end(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Both pipes and the child, or an errno and nothing. */
static int
launch(struct rpc_child *k)
{
	int ends[PIPES] = {-1, -1}, why = 0;
	for (int i = 0; i < PIPES && why == 0; i++) {
		int two[2];
		if (pipe2(two, O_CLOEXEC) < 0) {
			why = errno;
			break;
		}
		/* A process that an earlier child left behind no longer speaks for this one. */
		close_end(&k->out[i].fd);
		k->out[i].fd = two[0];
		k->out[i].len = 0;
		ends[i] = two[1];
		fcntl(two[0], F_SETFL, O_NONBLOCK);
	}
	if (why == 0)
		why = spawn(k, ends);
	for (int i = 0; i < PIPES; i++)
		close_end(&ends[i]);
	k->pidfd = why == 0 ? (int)syscall(SYS_pidfd_open, k->pid, 0) : -1;
	for (int i = 0; i < PIPES && why != 0; i++)
		close_end(&k->out[i].fd);
	return why;
}

/* How long that is. */
static int64_t
wait_before_next(struct rpc_child *k)
{
	int64_t now_ns = rpc_now_ns(k->owner);
	int64_t wait_ns =
		riffle_backoff_next(&k->backoff_ns, BACKOFF_MIN_NS, BACKOFF_MAX_NS, now_ns);
	k->next_ns = now_ns + wait_ns;
	return wait_ns;
}

static void
start(struct rpc_child *k)
{
	int why = launch(k);
	k->started_ns = rpc_now_ns(k->owner);
	k->next_ns = INT64_MAX;
	if (why == 0) {
		k->spawn_failed = 0;
		rpc_log(k->owner, RIFFLE_LOG_INFO, "started '%s' (process %d) for %s", k->words[0],
			(int)k->pid, k->owner->target);
		return;
	}
	if (!k->spawn_failed)
		rpc_log(k->owner, RIFFLE_LOG_ERROR, "cannot start '%s': %s; trying on", k->words[0],
			strerror(why));
	k->spawn_failed = 1;
	(void)wait_before_next(k);
}

static void
reap(struct rpc_child *k)
{
	siginfo_t info = {0};
	int rc = k->pidfd >= 0 ? waitid(P_PIDFD, (id_t)k->pidfd, &info, WEXITED | WNOHANG)
			       : waitid(P_PID, (id_t)k->pid, &info, WEXITED | WNOHANG);
	if (rc < 0 || info.si_pid == 0)
		return;
	for (int i = 0; i < PIPES; i++)
		if (k->out[i].fd >= 0)
			read_output(k, &k->out[i]);
	/* What it started itself goes with it: the port has to be free. */
	kill(-k->pid, SIGKILL);
	close_end(&k->pidfd);
	k->pid = 0;
	k->next_ns = INT64_MAX;
	if (k->stopping)
		return;
	if (rpc_now_ns(k->owner) - k->started_ns > BACKOFF_MAX_NS)
		k->backoff_ns = 0;
	int64_t wait_ms = wait_before_next(k) / 1000000;
	if (info.si_code == CLD_EXITED)
		rpc_log(k->owner, RIFFLE_LOG_WARNING,
			"'%s' ended with exit status %d; again in %lldms", k->words[0],
			info.si_status, (long long)wait_ms);
	else
		rpc_log(k->owner, RIFFLE_LOG_WARNING, "'%s' was killed by SIG%s; again in %lldms",
			k->words[0], sigabbrev_np(info.si_status), (long long)wait_ms);
}

static void
begin_stop(struct rpc_child *k)
{
	if (k->stopping)
		return;
	k->stopping = 1;
	k->next_ns = INT64_MAX;
	if (k->pid == 0)
		return;
	kill(-k->pid, SIGTERM);
	k->next_ns = rpc_now_ns(k->owner) + k->grace_ns;
}

static void
when_due(struct rpc_child *k)
{
	if (rpc_now_ns(k->owner) < k->next_ns)
		return;
	k->next_ns = INT64_MAX;
	if (k->pid != 0)
		kill(-k->pid, SIGKILL);
	else if (!k->stopping)
		start(k);
}

static int
wait_ms(const struct rpc_child *k)
{
	/* Without a pidfd the end is looked for. */
	int64_t most_ms = k->pid != 0 && k->pidfd < 0 ? 100 : 60000;
	if (k->next_ns == INT64_MAX)
		return k->pid != 0 && k->pidfd < 0 ? (int)most_ms : -1;
	int64_t left_ms = (k->next_ns - rpc_now_ns(k->owner) + 999999) / 1000000;
	return left_ms < 0 ? 0 : left_ms > most_ms ? (int)most_ms : (int)left_ms;
}

static void *
run(void *arg)
{
	struct rpc_child *k = arg;
	start(k);
	while (!k->stopping || k->pid != 0) {
		struct pollfd fds[2 + PIPES] = {
			{.fd = k->stopping ? -1 : k->stop, .events = POLLIN},
			{.fd = k->pidfd, .events = POLLIN},
			{.fd = k->out[OUT].fd, .events = POLLIN},
			{.fd = k->out[ERR].fd, .events = POLLIN}};
		poll(fds, 2 + PIPES, wait_ms(k));
		for (int i = 0; i < PIPES; i++)
			if (fds[2 + i].revents != 0 && k->out[i].fd >= 0)
				read_output(k, &k->out[i]);
		if (fds[0].revents != 0)
			begin_stop(k);
		if (k->pid != 0)
			reap(k);
		when_due(k);
	}
	return NULL;
}

static void
release(struct rpc_child *k)
{
	for (int i = 0; i < PIPES; i++)
		close_end(&k->out[i].fd);
	close_end(&k->stop);
	for (char **e = k->environment; *e != NULL; e++)
		free(*e);
	free(k->environment);
	free(k);
}

int
rpc_child_start(struct rpc *c, const struct rpc_child_spec *spec, struct riffle_error *reterr)
{
	struct rpc_child *k = rpc_alloc(sizeof *k);
	k->owner = c;
	k->words = spec->words;
	k->dir = spec->dir;
	k->environment = make_environment(spec);
	k->grace_ns = spec->grace_ms * 1000000;
	k->pidfd = k->out[OUT].fd = k->out[ERR].fd = -1;
	k->out[OUT].level = RIFFLE_LOG_DEBUG;
	k->out[ERR].level = RIFFLE_LOG_INFO;
	k->next_ns = INT64_MAX;
	k->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int why = k->stop < 0 ? errno : pthread_create(&k->thread, NULL, run, k);
	if (why != 0) {
		release(k);
		return rpc_fail(reterr, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE,
			"cannot watch over '%s': %s", spec->words[0], strerror(why));
	}
	pthread_setname_np(k->thread, "rfl-grpc-child");
	c->child = k;
	return RIFFLE_OK;
}

void
rpc_child_stop(struct rpc *c)
{
	uint64_t one = 1;
	struct rpc_child *k = c->child;
	if (k == NULL)
		return;
	rpc_assert(write(k->stop, &one, sizeof one) == (ssize_t)sizeof one);
	pthread_join(k->thread, NULL);
	release(k);
	c->child = NULL;
}
