/* riffle run: the daemon, in the foreground, until a signal ends it. */
#include "admin/admin.h"
#include "base/error.h"
#include "base/floor.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/common.h"
#include "cli/verb.h"
#include "runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <riffle/host.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static const char doc[] =
	"Runs an instance, in the foreground.\v"
	"SIGTERM and SIGINT stop it: windows that are closing are finished and committed, open "
	"ones "
	"are read again at the next start. A second one, more than 200 ms behind, ends it at "
	"once.\n\n"
	"  riffle run -c riffle.ini\n"
	"  riffle run -c riffle.ini --set runtime.log-level=debug";

/* systemd drops a message of more than 4096; a processor's reason may take some hundred. */
#define STATUS_CHARS 2000
#define DAY_MS (INT64_C(24) * 3600 * 1000)

struct daemon {
	struct rfl_common common;
	struct rfl_clock clock;
	char *instance;
	int lock_fd, signal_fd;
	struct rfl_runtime *runtime;
	struct rfl_admin *admin;
	char *told; /* by processor: its first line is out */
	char *said; /* to the service manager, last; NULL = nothing yet */
};

/* Of a start that failed: what may pass is worth another try of whoever starts us, a mistake is not. */
static int
code_of(int why)
{
	return why == ENOSPC || why == EDQUOT || why == EIO || why == EMFILE || why == ENFILE
		       ? RIFFLE_E_UNAVAILABLE
		       : RIFFLE_E_CONFIG;
}

static int
make_state_dir(const char *dir, struct riffle_error *reterr)
{
	if (mkdir(dir, 0700) == 0 || errno == EEXIST)
		return RIFFLE_OK;
	return rfl_err(reterr, code_of(errno), "cannot make the state directory %s: %s", dir,
		strerror(errno));
}

/*
 * Two daemons on one state directory would be one instance twice. A record lock is the process's
 * alone: a child that is being started while we are killed does not hold it on, as it would a flock.
 */
static int
lock_state_dir(struct daemon *d, struct riffle_error *reterr)
{
	const char *dir = d->common.conf->runtime.state_dir;
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char *path = rfl_sprintf("%s/lock", dir);
	int rc = RIFFLE_OK;
	d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (d->lock_fd < 0)
		rc = rfl_err(reterr, code_of(errno), "cannot open %s: %s", path, strerror(errno));
	else if (fcntl(d->lock_fd, F_SETLK, &lock) < 0) {
		int why = errno;
		if (fcntl(d->lock_fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK)
			rc = rfl_err(reterr, RIFFLE_E_UNAVAILABLE,
				"process %ld runs with the state directory %s", (long)lock.l_pid,
				dir);
		else
			rc = rfl_err(reterr, RIFFLE_E_UNAVAILABLE, "cannot lock %s: %s", path,
				strerror(why));
	}
	free(path);
	return rc;
}

static int
read_word(const char *path, char *word, size_t room)
{
	FILE *in = fopen(path, "re");
	int ok = in != NULL && fgets(word, (int)room, in) != NULL;
	if (in != NULL)
		fclose(in);
	if (ok)
		word[strcspn(word, "\n")] = '\0';
	return ok && word[0] != '\0';
}

/* Transactions and members are named after it, so it must be the same after a restart. */
static int
find_instance(struct daemon *d, struct riffle_error *reterr)
{
	char word[64] = "";
	const struct rfl_runtime_conf *c = &d->common.conf->runtime;
	if (c->instance != NULL) {
		d->instance = rfl_strdup(c->instance);
		return RIFFLE_OK;
	}
	char *path = rfl_sprintf("%s/instance", c->state_dir);
	int rc = RIFFLE_OK;
	if (!read_word(path, word, sizeof word)) {
		FILE *out = read_word("/proc/sys/kernel/random/uuid", word, sizeof word)
				    ? fopen(path, "we")
				    : NULL;
		int failed = out == NULL || fprintf(out, "%s\n", word) < 0;
		if (out != NULL)
			failed |= fclose(out) != 0;
		if (failed)
			rc = rfl_err(reterr, code_of(errno),
				"cannot keep the instance's name in %s: %s", path, strerror(errno));
	}
	d->instance = rfl_strdup(word);
	free(path);
	return rc;
}

static void
notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	if (path == NULL || strlen(path) >= sizeof addr.sun_path ||
		(path[0] != '/' && path[0] != '@'))
		return;
	memcpy(addr.sun_path, path, strlen(path));
	if (path[0] == '@')
		addr.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (fd < 0 || sendto(fd, state, strlen(state), 0, (struct sockaddr *)&addr, len) < 0)
		rfl_log(RIFFLE_LOG_WARNING, "D002", NULL, "cannot notify the service manager: %s",
			strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* A new descriptor, or fd itself. */
static int
watch(int fd, const sigset_t *set)
{
	return signalfd(fd, set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int
block_signals(struct riffle_error *reterr)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	int fd = watch(-1, &set);
	return fd >= 0 ? fd
		       : rfl_err(reterr, RIFFLE_E_FATAL, "cannot make a signalfd: %s",
				 strerror(errno));
}

static int
status_of(void *ctx, struct rfl_status **ret_status, struct riffle_error *reterr)
{
	struct daemon *d = ctx;
	(void)reterr;
	*ret_status = rfl_runtime_status(d->runtime);
	return RIFFLE_OK;
}

/* On the clock of the wall windows close whether anything came or not; on that of records nobody knows when. */
static void
put_first_close(
	const struct rfl_processor_conf *p, const struct rfl_clock *clock, struct rfl_buf *out)
{
	char text[32];
	struct tm tm;
	if (p->window.kind != RFL_WINDOW_TUMBLING || p->time.source != RFL_TIME_PROCESSING ||
		p->window.offset_ms != 0 || p->window.zone != NULL)
		return;
	int64_t now_ms = rfl_clock_wall_ms(clock), size_ms = p->window.size_ms;
	int64_t close_ms = (rfl_floor_div(now_ms, size_ms) + 1) * size_ms;
	time_t close_s = (time_t)rfl_floor_div(close_ms, 1000);
	gmtime_r(&close_s, &tm);
	strftime(text, sizeof text, close_ms - now_ms > DAY_MS ? "%F %T" : "%T", &tm);
	rfl_buf_printf(out, "; first window closes %s UTC", text);
}

static void
put_input(const struct rfl_processor_conf *p, const struct rfl_processor_status *s, size_t i,
	struct rfl_buf *out)
{
	static const char *const starts[] = {"", "earliest", "latest", "a time", "an offset"};
	const struct rfl_input_conf *in = &p->inputs[i];
	int64_t committed = 0, log_end = 0;
	for (size_t t = 0; t < s->task_count; t++)
		for (size_t l = 0; l < s->tasks[t].lane_count; l++)
			if (strcmp(s->tasks[t].lanes[l].alias, in->alias) == 0) {
				committed += s->tasks[t].lanes[l].committed;
				log_end += s->tasks[t].lanes[l].log_end;
			}
	rfl_buf_printf(out, "%s%s@%s", i ? ", " : "", in->stream->name, starts[in->start]);
	if (committed < log_end)
		rfl_buf_printf(out, " (%" PRId64 " %s waiting)", log_end - committed,
			log_end - committed == 1 ? "record is" : "records are");
	else if (in->start == RIFFLE_START_LATEST)
		rfl_buf_puts(out, " (earlier records are not read)");
}

static void
tell_start(
	struct daemon *d, const struct rfl_processor_conf *p, const struct rfl_processor_status *s)
{
	struct rfl_buf text = RFL_BUF_INIT;
	rfl_buf_printf(&text, "%s: reading ", p->name);
	for (size_t i = 0; i < p->input_count; i++)
		put_input(p, s, i, &text);
	put_first_close(p, &d->clock, &text);
	rfl_buf_puts(&text, "; function ready");
	rfl_log(RIFFLE_LOG_INFO, "", NULL, "%s", rfl_buf_str(&text));
	rfl_buf_fini(&text);
}

/* A message to the service manager has a line for each thing it says. */
static void
put_in_line(struct rfl_buf *to, const char *text)
{
	for (; *text != '\0'; text++)
		rfl_buf_putc(to, *text == '\n' ? ' ' : *text);
}

/*
 * It is ready once it is up: a processor may have to wait for its broker, or for partitions that others have, for
 * as long as these please, and no service manager is to end it for that. What waits is in the status.
 */
static void
say_what_waits(struct daemon *d, const struct rfl_status *s, size_t told)
{
	const struct rfl_conf *c = d->common.conf;
	struct rfl_buf text = RFL_BUF_INIT;
	rfl_buf_printf(
		&text, "READY=1\nSTATUS=%zu of %zu processors began", told, c->processor_count);
	const char *before = "; waiting: ";
	for (size_t i = 0; i < c->processor_count; i++) {
		const struct rfl_processor_status *p = &s->processors[i];
		if (d->told[i])
			continue;
		if (text.len > STATUS_CHARS) {
			rfl_buf_puts(&text, " and others");
			break;
		}
		rfl_buf_printf(&text, "%s%s (%s", before, c->processors[i]->name,
			rfl_state_name(p->state));
		rfl_buf_puts(&text, p->why != NULL ? ": " : "");
		put_in_line(&text, p->why != NULL ? p->why : "");
		rfl_buf_putc(&text, ')');
		before = ", ";
	}
	if (d->said == NULL || strcmp(d->said, rfl_buf_str(&text)) != 0) {
		notify(rfl_buf_str(&text));
		free(d->said);
		d->said = rfl_strdup(rfl_buf_str(&text));
	}
	rfl_buf_fini(&text);
}

/* One line each, when it first runs. Returns 1 when all have theirs. */
static int
tell_when_running(struct daemon *d)
{
	const struct rfl_conf *c = d->common.conf;
	size_t told = 0;
	struct rfl_status *s = rfl_runtime_status(d->runtime);
	for (size_t i = 0; i < c->processor_count; i++) {
		if (!d->told[i] && s->processors[i].state == RFL_RUNNING) {
			tell_start(d, c->processors[i], &s->processors[i]);
			d->told[i] = 1;
		}
		told += (size_t)d->told[i];
	}
	say_what_waits(d, s, told);
	rfl_status_free(s);
	return told == c->processor_count;
}

/* While it stops, only another order to stop counts: a terminal that goes is none. */
static void
watch_for_second(const struct daemon *d)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	watch(d->signal_fd, &set);
}

/* Returns the signal that ends it. */
static int
wait_for_signal(struct daemon *d)
{
	int all_told = tell_when_running(d);
	for (;;) {
		struct pollfd fd = {.fd = d->signal_fd, .events = POLLIN};
		struct signalfd_siginfo info;
		poll(&fd, 1, all_told ? -1 : 100);
		if (!all_told)
			all_told = tell_when_running(d);
		if (read(d->signal_fd, &info, sizeof info) != (ssize_t)sizeof info)
			continue;
		if (info.ssi_signo == SIGHUP) {
			rfl_log(RIFFLE_LOG_WARNING, "D001", NULL,
				"SIGHUP: reloading is not offered by this version");
			continue;
		}
		return (int)info.ssi_signo;
	}
}

static int
cannot_start(const struct riffle_error *err)
{
	rfl_log(RIFFLE_LOG_ERROR, "D003", NULL, "%s", err->text);
	return err->code == RIFFLE_E_CONFIG ? RFL_EXIT_CONFIG : RFL_EXIT_FAILED;
}

static int
serve(struct daemon *d)
{
	const struct rfl_runtime_conf *c = &d->common.conf->runtime;
	struct riffle_error err = {0};
	const struct rfl_admin_source source = {.ctx = d, .status = status_of};
	int rc = rfl_runtime_create(
		d->common.conf, d->common.plugins, &d->clock, d->instance, &d->runtime, &err);
	if (rc < 0)
		return cannot_start(&err);
	rc = rfl_runtime_start(d->runtime, &err);
	if (rc == RIFFLE_OK && c->admin != NULL)
		rc = rfl_admin_start(c->admin, &source, &d->admin, &err);
	if (rc == RIFFLE_OK) {
		d->told = rfl_zalloc(d->common.conf->processor_count + 1);
		int number = wait_for_signal(d);
		rfl_log(RIFFLE_LOG_INFO, "", NULL, "stopping: %s",
			number == SIGTERM ? "SIGTERM" : "SIGINT");
		notify("STOPPING=1");
		watch_for_second(d);
	}
	int stopped = rfl_runtime_stop(d->runtime, c->shutdown_timeout_ms, d->signal_fd);
	rfl_admin_stop(d->admin);
	rfl_runtime_destroy(d->runtime);
	if (rc < 0)
		return cannot_start(&err);
	if (stopped == RIFFLE_OK) {
		rfl_log(RIFFLE_LOG_INFO, "", NULL, "stopped");
		return RFL_EXIT_DONE;
	}
	rfl_log(RIFFLE_LOG_ERROR, "D004", NULL,
		"stopped before everything was finished: what was under way is read again at the "
		"next start");
	return RFL_EXIT_FAILED;
}

static int
start(struct daemon *d)
{
	struct riffle_error err = {0};
	const struct rfl_runtime_conf *c = &d->common.conf->runtime;
	rfl_log_setup(c->log_level, (enum rfl_log_format)c->log_format);
	rfl_clock_init(&d->clock);
	int rc = make_state_dir(c->state_dir, &err);
	if (rc == RIFFLE_OK)
		rc = lock_state_dir(d, &err);
	if (rc == RIFFLE_OK)
		rc = find_instance(d, &err);
	return rc < 0 ? cannot_start(&err) : serve(d);
}

static int
run(int argc, char **argv)
{
	struct daemon d = {.lock_fd = -1, .signal_fd = -1};
	struct riffle_error err = {0};
	/* Before anything that takes time: who is told to end while it starts ends as it would later. */
	d.signal_fd = block_signals(&err);
	rfl_verb_parse(&rfl_verb_run, argc, argv, &d.common);
	int status = d.signal_fd < 0 ? cannot_start(&err) : rfl_common_load(&d.common, 0);
	if (status == 0)
		status = start(&d);
	free(d.instance);
	free(d.told);
	free(d.said);
	if (d.signal_fd >= 0)
		close(d.signal_fd);
	if (d.lock_fd >= 0)
		close(d.lock_fd);
	rfl_common_fini(&d.common);
	return status;
}

const struct rfl_verb rfl_verb_run = {
	.name = "run",
	.summary = "run an instance, in the foreground",
	.doc = doc,
	.run = run,
};
