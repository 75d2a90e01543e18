/*
 * The way from a plan to a running program. vfork, because a copy of a large host's page tables for
 * each child costs tens of milliseconds, and posix_spawn cannot set limits, user or the parent-death signal.
 * Until exec the child shares our memory: it makes system calls and writes into its report alone.
 */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* CLOSE_RANGE_CLOEXEC, which older kernel headers lack; and how far to go where there is no close_range. */
#define CLOSE_ON_EXEC 4u
#define FD_MAX 65536

struct report {
	int why;
	int stage;
};

enum stage {
	STAGE_START,
	STAGE_PIPES,
	STAGE_LIMITS,
	STAGE_USER,
	STAGE_DIRECTORY,
	STAGE_SIGNALS,
	STAGE_EXEC
};

static const char *const stages[] = {
	[STAGE_START] = "cannot start",
	[STAGE_PIPES] = "cannot connect the pipes of",
	[STAGE_LIMITS] = "cannot set the limits of",
	[STAGE_USER] = "cannot change to the user of",
	[STAGE_DIRECTORY] = "cannot enter the directory of",
	[STAGE_SIGNALS] = "cannot reset the signals of",
	[STAGE_EXEC] = "cannot start",
};

static int
take_pipes(const struct command_plan *plan)
{
	for (int i = 0; i < COMMAND_PIPES; i++)
		if (dup2(plan->fds[i], i) < 0)
			return -1;
	/* Libraries open files that are not close-on-exec; none of them is the child's business. */
	if (syscall(SYS_close_range, 3, ~0u, CLOSE_ON_EXEC) < 0)
		for (int fd = 3; fd < FD_MAX; fd++)
			fcntl(fd, F_SETFD, FD_CLOEXEC);
	return 0;
}

static int
take_limits(const struct command_safety *s)
{
	for (int i = 0; i < s->limit_count; i++) {
		const struct rlimit limit = {s->limits[i].value, s->limits[i].value};
		if (setrlimit(s->limits[i].resource, &limit) < 0)
			return -1;
	}
	return 0;
}

/* The system calls themselves: those of the C library would change our own threads. */
static int
take_user(const struct command_safety *s)
{
	if (!s->has_user)
		return 0;
	if (syscall(SYS_setgroups, s->group_count, s->groups) < 0 ||
		syscall(SYS_setresgid, s->gid, s->gid, s->gid) < 0 ||
		syscall(SYS_setresuid, s->uid, s->uid, s->uid) < 0)
		return -1;
	/* What was given away must be gone. */
	if (s->uid != 0 && syscall(SYS_setresuid, -1, 0, -1) == 0) {
		errno = EPERM;
		return -1;
	}
	return 0;
}

/* The system call itself, which is not kept from the two signals that the C library has for itself. */
static int
reset_signals(void)
{
	static const char by_default[64];
	sigset_t none;
	for (int s = 1; s < NSIG; s++)
		(void)syscall(SYS_rt_sigaction, s, by_default, NULL, (size_t)(NSIG - 1) / 8);
	sigemptyset(&none);
	return sigprocmask(SIG_SETMASK, &none, NULL);
}

static int
reset_scheduling(const struct command_plan *plan)
{
	const struct sched_param none = {0};
	return plan->is_patient ? sched_setscheduler(0, SCHED_OTHER, &none) : 0;
}

static enum stage
prepare(const struct command_plan *plan)
{
	if (setpgid(0, 0) < 0 || reset_scheduling(plan) < 0)
		return STAGE_START;
	if (take_pipes(plan) < 0)
		return STAGE_PIPES;
	if (take_limits(plan->safety) < 0)
		return STAGE_LIMITS;
	if (take_user(plan->safety) < 0)
		return STAGE_USER;
	if (plan->dir != NULL && chdir(plan->dir) < 0)
		return STAGE_DIRECTORY;
	/* After the user, whose change clears it; and the host may have died before it was set. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != plan->parent ||
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return STAGE_START;
	if (reset_signals() < 0)
		return STAGE_SIGNALS;
	execve(plan->path, plan->argv, plan->environment);
	return STAGE_EXEC;
}

/* Only failure comes back. */
static _Noreturn void
become(const struct command_plan *plan, int report_fd)
{
	struct report r;
	r.stage = (int)prepare(plan);
	r.why = errno != 0 ? errno : ESRCH;
	if (write(report_fd, &r, sizeof r) < 0)
		_exit(126);
	_exit(127);
}

/* With all signals blocked: the child runs on our stack, with handlers that are ours until it resets them. */
static pid_t
split(const struct command_plan *plan, int report_fd)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid_t pid = vfork();
	if (pid == 0)
		become(plan, report_fd);
	int why = errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = why;
	return pid;
}

static pid_t
judge(pid_t pid, int report_fd, const char **ret_stage)
{
	struct report r = {0, 0};
	ssize_t n;
	do
		n = read(report_fd, &r, sizeof r);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return pid;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	*ret_stage = stages[r.stage];
	return n == (ssize_t)sizeof r ? -r.why : -EIO;
}

pid_t
command_spawn(const struct command_plan *plan, const char **ret_stage)
{
	int report[2];
	*ret_stage = stages[STAGE_START];
	if (pipe2(report, O_CLOEXEC) < 0)
		return -errno;
	/* The child puts its pipes at 0 to 2. */
	command_assert(report[1] > 2);
	pid_t pid = split(plan, report[1]);
	int why = errno;
	close(report[1]);
	pid = pid < 0 ? -why : judge(pid, report[0], ret_stage);
	close(report[0]);
	return pid;
}
