/* The invoker "command": its options, its instances, its descriptor. */
#include "command.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum option {
	OPT_COMMAND,
	OPT_SHELL,
	OPT_MODE,
	OPT_FORMAT,
	OPT_PROCESSES,
	OPT_ENV,
	OPT_DIR,
	OPT_MAX_LINE,
	OPT_MAX_RECORD,
	OPT_MAX_OUTPUT,
	OPT_GRACE,
	OPT_RESTART,
	OPT_RESTART_MAX,
	OPT_USER,
	OPT_LIMIT_CPU,
	OPT_LIMIT_MEMORY,
	OPT_LIMIT_FILE_SIZE,
	OPT_LIMIT_FILES,
	OPT_LIMIT_PROCESSES
};

static const char *const modes[] = {[COMMAND_PER_WINDOW] = "per-window",
	[COMMAND_PER_RECORD] = "per-record",
	[COMMAND_COPROCESS] = "coprocess",
	NULL};
static const char *const formats[] = {[COMMAND_LINES] = "lines",
	[COMMAND_JSON_LINES] = "json-lines",
	[COMMAND_FRAMES] = "frames",
	NULL};

static const struct riffle_option options[] = {
	[OPT_COMMAND] = {"command", RIFFLE_OPT_ARGV, RIFFLE_OPT_REQUIRED, NULL, 0, 0, NULL,
		"The program and its arguments, split as sh splits words; no shell is started. "
		"%{window-start} and its like stand for what identifies the window."},
	[OPT_SHELL] = {"shell", RIFFLE_OPT_BOOL, 0, "no", 0, 0, NULL,
		"With yes, `command` is one quoted script for /bin/sh -c."},
	[OPT_MODE] = {"mode", RIFFLE_OPT_ENUM, 0, NULL, 0, 0, modes,
		"per-window starts the program once for each window, per-record once for each "
		"record, coprocess once for all windows; coprocess with frames, else per-window."},
	[OPT_FORMAT] = {"format", RIFFLE_OPT_ENUM, 0, NULL, 0, 0, formats,
		"lines: a record is a line, there and back; json-lines: an object a line, with "
		"key, headers and time; frames: the same in binary; frames with coprocess, else "
		"lines."},
	[OPT_PROCESSES] = {"processes", RIFFLE_OPT_INT, 0, "1", 1, 1024, NULL,
		"How many programs a coprocess has, and how many per-record runs at once."},
	[OPT_ENV] = {"env", RIFFLE_OPT_LIST, 0, NULL, 0, 0, NULL,
		"NAME=VALUE to set, or NAME to pass on; the program gets these, PATH, HOME, LANG, "
		"LC_ALL, TZ, TMPDIR, and RIFFLE_WINDOW_START and its like."},
	[OPT_DIR] = {"dir", RIFFLE_OPT_PATH, 0, NULL, 0, 0, NULL, "The directory it runs in."},
	[OPT_MAX_LINE] = {"max-line", RIFFLE_OPT_SIZE, 0, "1MiB", 1, INT64_C(1) << 30, NULL,
		"The longest line it may answer."},
	[OPT_MAX_RECORD] = {"max-record", RIFFLE_OPT_SIZE, 0, "16MiB", 64, INT64_C(1) << 30, NULL,
		"The longest frame it may answer."},
	[OPT_MAX_OUTPUT] = {"max-output", RIFFLE_OPT_SIZE, 0, "64MiB", 1, INT64_C(1) << 40, NULL,
		"The most it may answer for one window, per-record for one record."},
	[OPT_GRACE] = {"grace", RIFFLE_OPT_DURATION, 0, "2s", 0, 3600000, NULL,
		"How long after SIGTERM it is killed."},
	[OPT_RESTART] = {"restart", RIFFLE_OPT_DURATION, 0, "100ms", 1, 3600000, NULL,
		"The least wait before a coprocess that ended is started again; it doubles, within "
		"chance, until a window is done."},
	[OPT_RESTART_MAX] = {"restart-max", RIFFLE_OPT_DURATION, 0, "10s", 1, 3600000, NULL,
		"The longest that it waits to start again."},
	[OPT_USER] = {"user", RIFFLE_OPT_STRING, 0, NULL, 0, 0, NULL,
		"Who it runs as, with that user's groups; only root can set it."},
	[OPT_LIMIT_CPU] = {"limit-cpu", RIFFLE_OPT_DURATION, 0, NULL, 1000, INT64_C(1) << 40, NULL,
		"The processor time that one program may use before it is killed."},
	[OPT_LIMIT_MEMORY] = {"limit-memory", RIFFLE_OPT_SIZE, 0, NULL, 1 << 20, INT64_MAX, NULL,
		"The address space of one program."},
	[OPT_LIMIT_FILE_SIZE] = {"limit-file-size", RIFFLE_OPT_SIZE, 0, NULL, 1, INT64_MAX, NULL,
		"The largest file that it may write."},
	[OPT_LIMIT_FILES] = {"limit-files", RIFFLE_OPT_INT, 0, NULL, 3, 1 << 20, NULL,
		"How many files it may have open."},
	[OPT_LIMIT_PROCESSES] = {"limit-processes", RIFFLE_OPT_INT, 0, NULL, 1, 1 << 22, NULL,
		"How many processes its user may have, in all, when it starts another."},
};

static const struct riffle_option_table tables[] = {{
	.size = sizeof tables[0],
	.section = RIFFLE_SECTION_FUNCTION,
	.option_size = sizeof options[0],
	.option_count = sizeof options / sizeof options[0],
	.options = options,
}};

_Noreturn void
command_assert_failed(const char *expr, const char *file, int line)
{
	fprintf(stderr, "riffle command invoker: a bug: %s:%d: %s\n", file, line, expr);
	abort();
}

int
command_fail(struct riffle_error *err, int code, uint32_t flags, const char *fmt, ...)
{
	va_list ap;
	err->code = code;
	err->flags = flags;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof err->text, fmt, ap);
	va_end(ap);
	return code;
}

void *
command_alloc(size_t size)
{
	void *p = calloc(1, size);
	if (p == NULL) {
		fprintf(stderr, "riffle command invoker: out of memory (%zu bytes)\n", size);
		abort();
	}
	return p;
}

void *
command_grow_to(void *data, uint32_t *room, uint32_t count, size_t size)
{
	uint32_t want = *room ? *room * 2 : 16;
	while (want < count)
		want *= 2;
	data = realloc(data, want * size);
	command_assert(data != NULL);
	*room = want;
	return data;
}

void
command_text_grow(struct command_text *t, size_t want)
{
	size_t room = t->room ? t->room * 2 : want;
	while (room - t->len < want)
		room *= 2;
	t->data = realloc(t->data, room);
	command_assert(t->data != NULL);
	t->room = room;
}

int64_t
command_now_ns(const struct command *c)
{
	return c->host->mono_ns(c->host);
}

const char *
command_name(const struct command *c)
{
	return c->words[0];
}

/* What is not written follows from what is. */
static void
read_mode(const struct riffle_config *cfg, enum command_mode *ret_mode,
	enum command_format *ret_format)
{
	const struct riffle_value *mode = riffle_config_at(cfg, OPT_MODE);
	const struct riffle_value *format = riffle_config_at(cfg, OPT_FORMAT);
	*ret_mode = (enum command_mode)mode->u.i;
	*ret_format = (enum command_format)format->u.i;
	if (!mode->is_set)
		*ret_mode = format->is_set && *ret_format == COMMAND_FRAMES ? COMMAND_COPROCESS
									    : COMMAND_PER_WINDOW;
	if (!format->is_set)
		*ret_format = *ret_mode == COMMAND_COPROCESS ? COMMAND_FRAMES : COMMAND_LINES;
}

static void
complain(const struct riffle_report *report, const struct riffle_config *cfg, const char *option,
	const char *text)
{
	report->add(report, RIFFLE_REPORT_ERROR, cfg, option, text);
}

/* Programs that take tens of milliseconds until they look at a record. */
static int
is_interpreter(const char *program)
{
	static const char *const slow[] = {
		"python", "node", "java", "ruby", "php", "Rscript", "julia", "deno", "pwsh", NULL};
	const char *slash = strrchr(program, '/');
	program = slash ? slash + 1 : program;
	for (const char *const *s = slow; *s != NULL; s++) {
		size_t n = strlen(*s);
		if (strncmp(program, *s, n) == 0 &&
			strspn(program + n, "0123456789.") == strlen(program + n))
			return 1;
	}
	return 0;
}

/* A warning only: quotes are gone by now, and `tr '|' ,` means what it says. */
static void
check_operators(const struct riffle_config *cfg, const struct riffle_report *report,
	const char *const *words)
{
	static const char *const of_shells[] = {
		"|", "||", "&&", "&", ";", ">", ">>", "<", "2>", "2>&1"};
	char text[200];
	for (size_t i = 1; words[i] != NULL; i++)
		for (size_t k = 0; k < sizeof of_shells / sizeof *of_shells; k++) {
			if (strcmp(words[i], of_shells[k]) != 0)
				continue;
			snprintf(text, sizeof text,
				"'%s' is an argument here, for no shell is started: shell = yes "
				"starts one, with the whole script in one pair of quotes",
				words[i]);
			report->add(report, RIFFLE_REPORT_WARNING, cfg, "command", text);
			return;
		}
}

static void
check_words(const struct riffle_config *cfg, const struct riffle_report *report,
	const struct command *c)
{
	const char *fault;
	char path[4096];
	struct riffle_error err;
	if (c->words == NULL || c->words[0] == NULL) {
		complain(report, cfg, "command", "no program is named");
		return;
	}
	if (c->shell) {
		if (c->words[1] != NULL)
			complain(report, cfg, "command",
				"with shell = yes the whole script stands in one pair of quotes");
		return;
	}
	/* Below a directory that is not there nothing is. */
	if (command_find_dir(c, &err) == RIFFLE_OK &&
		command_find(c, c->words[0], path, sizeof path, &err) < 0)
		complain(report, cfg, "command", err.text);
	check_operators(cfg, report, c->words);
	int has_template = command_has_template(c->words, &fault);
	if (fault != NULL)
		complain(report, cfg, "command", fault);
	else if (has_template && c->mode == COMMAND_COPROCESS)
		complain(report, cfg, "command",
			"a coprocess has its windows one after another: %{...} would have no "
			"value");
	if (c->mode != COMMAND_COPROCESS && is_interpreter(c->words[0]))
		report->add(report, RIFFLE_REPORT_WARNING, cfg, "command",
			"an interpreter takes tens of milliseconds to start: with windows or "
			"records that come faster, mode = coprocess starts it once");
}

static void
check_pair(const struct riffle_config *cfg, const struct riffle_report *report,
	const struct command *c)
{
	const char *option = riffle_config_at(cfg, OPT_FORMAT)->is_set ? "format" : "mode";
	if (c->mode == COMMAND_COPROCESS && c->format == COMMAND_LINES)
		complain(report, cfg, option,
			"a coprocess must be told where a window starts and ends, which lines "
			"cannot: "
			"format = frames or json-lines");
	if (c->mode == COMMAND_PER_RECORD && c->format == COMMAND_FRAMES)
		complain(report, cfg, option,
			"per-record takes format = lines (the body as it is) or json-lines");
}

static void
read_config(struct command *c, const struct riffle_config *cfg)
{
	c->words = riffle_config_at(cfg, OPT_COMMAND)->u.list;
	c->shell = (int)riffle_config_at(cfg, OPT_SHELL)->u.i;
	c->env = riffle_config_at(cfg, OPT_ENV)->u.list;
	c->dir = riffle_config_at(cfg, OPT_DIR)->u.s;
	c->processes = (uint32_t)riffle_config_at(cfg, OPT_PROCESSES)->u.i;
	c->max_line = (size_t)riffle_config_at(cfg, OPT_MAX_LINE)->u.i;
	c->max_record = (size_t)riffle_config_at(cfg, OPT_MAX_RECORD)->u.i;
	c->max_output = (size_t)riffle_config_at(cfg, OPT_MAX_OUTPUT)->u.i;
	c->grace_ns = riffle_config_at(cfg, OPT_GRACE)->u.i * 1000000;
	c->restart_ns = riffle_config_at(cfg, OPT_RESTART)->u.i * 1000000;
	c->restart_max_ns = riffle_config_at(cfg, OPT_RESTART_MAX)->u.i * 1000000;
	read_mode(cfg, &c->mode, &c->format);
}

static int
open_safety(struct command *c, const struct riffle_config *cfg, struct riffle_error *reterr)
{
	const struct command_safety_options o = {.user = riffle_config_at(cfg, OPT_USER)->u.s,
		.cpu_ms = riffle_config_at(cfg, OPT_LIMIT_CPU)->u.i,
		.memory = riffle_config_at(cfg, OPT_LIMIT_MEMORY)->u.i,
		.file_size = riffle_config_at(cfg, OPT_LIMIT_FILE_SIZE)->u.i,
		.files = riffle_config_at(cfg, OPT_LIMIT_FILES)->u.i,
		.processes = riffle_config_at(cfg, OPT_LIMIT_PROCESSES)->u.i};
	return command_safety_open(&c->safety, &o, reterr);
}

/* A program for each record knows its input from RIFFLE_INPUT; lines name neither side. */
static uint64_t
can_as_set(const struct command *c)
{
	uint64_t can = 0;
	if (c->mode != COMMAND_PER_WINDOW)
		can |= RIFFLE_CAN_STREAM;
	if (c->format != COMMAND_LINES || c->mode == COMMAND_PER_RECORD)
		can |= RIFFLE_CAN_MANY_INPUTS;
	if (c->format != COMMAND_LINES)
		can |= RIFFLE_CAN_MANY_OUTPUTS;
	return can;
}

static int
check(const struct riffle_config *cfg, const struct riffle_report *report)
{
	struct command c = {.magic = COMMAND_MAGIC};
	struct riffle_error err;
	read_config(&c, cfg);
	riffle_report_can(report, cfg, can_as_set(&c));
	if (command_find_dir(&c, &err) < 0)
		complain(report, cfg, "dir", err.text);
	check_words(cfg, report, &c);
	check_pair(cfg, report, &c);
	for (const char *const *e = c.env; e != NULL && *e != NULL; e++)
		if (!command_env_is_fine(*e))
			complain(report, cfg, "env", "an entry is NAME=VALUE or NAME");
	if (open_safety(&c, cfg, &err) < 0)
		complain(report, cfg, "user", err.text);
	command_safety_close(&c.safety);
	return RIFFLE_OK;
}

static int
create(const struct riffle_host *host, const struct riffle_config *cfg, void **ret_self,
	struct riffle_error *reterr)
{
	struct command *c = command_alloc(sizeof *c);
	c->magic = COMMAND_MAGIC;
	c->host = host;
	read_config(c, cfg);
	if (c->mode == COMMAND_COPROCESS)
		command_fail(&c->health, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE,
			c->format == COMMAND_FRAMES
				? "'%s' has not said hello yet (it must flush it)"
				: "'%s' is starting",
			command_name(c));
	c->spares = command_spares_create();
	int rc = open_safety(c, cfg, reterr);
	if (rc == RIFFLE_OK)
		rc = command_poller_start(c, reterr);
	if (rc < 0) {
		command_spares_close(c->spares);
		command_safety_close(&c->safety);
		free(c);
		return rc;
	}
	*ret_self = c;
	return RIFFLE_OK;
}

static void
destroy(void *self)
{
	struct command *c = self;
	if (c == NULL)
		return;
	COMMAND_CHECK(c, COMMAND_MAGIC);
	command_poller_stop(c);
	command_spares_close(c->spares);
	command_safety_close(&c->safety);
	c->magic = 0;
	free(c);
}

static uint64_t
capabilities(void *self)
{
	const struct command *c = self;
	COMMAND_CHECK(c, COMMAND_MAGIC);
	return can_as_set(c);
}

static int
ready(void *self, struct riffle_error *reterr)
{
	struct command *c = self;
	char path[4096];
	COMMAND_CHECK(c, COMMAND_MAGIC);
	if (command_find_dir(c, reterr) < 0)
		return reterr->code;
	if (!c->shell && command_find(c, c->words[0], path, sizeof path, reterr) < 0)
		return reterr->code;
	pthread_mutex_lock(&c->lock);
	int rc = c->health.code;
	if (rc != RIFFLE_OK)
		*reterr = c->health;
	pthread_mutex_unlock(&c->lock);
	return rc;
}

/* Programs for a window or a record each are started all the time, which is for the instance's own thread. */
static const void *
extension(void *self, const char *id)
{
	const struct command *c = self;
	COMMAND_CHECK(c, COMMAND_MAGIC);
	return c->mode == COMMAND_COPROCESS && strcmp(id, RIFFLE_EXT_TURNS) == 0 ? &command_turns
										 : NULL;
}

static const struct riffle_invoker_ops ops = {
	.size = sizeof ops,
	.check = check,
	.create = create,
	.destroy = destroy,
	.capabilities = capabilities,
	.ready = ready,
	.extension = extension,
	.call_begin = command_call_begin,
	.call_push = command_call_push,
	.call_end = command_call_end,
	.call_read = command_call_read,
	.call_cancel = command_call_cancel,
	.call_destroy = command_call_destroy,
};

static const struct riffle_plugin plugin = {
	.size = sizeof plugin,
	.kind = RIFFLE_KIND_INVOKER,
	.name = "command",
	.summary = "runs programs: one for each window or record, or one for all",
	.version = "0.1.0",
	.license = "same as riffle",
	.capabilities = RIFFLE_CAN_STREAM | RIFFLE_CAN_MANY_INPUTS | RIFFLE_CAN_MANY_OUTPUTS,
	.table_size = sizeof tables[0],
	.table_count = 1,
	.tables = tables,
	.ops = &ops,
};

RIFFLE_MODULE("0.1.0", &plugin);
