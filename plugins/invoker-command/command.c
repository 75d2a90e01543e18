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
	OPT_ENV,
	OPT_DIR,
	OPT_MAX_LINE,
	OPT_MAX_OUTPUT,
	OPT_GRACE
};

static const char *const modes[] = {"per-window", NULL};
static const char *const formats[] = {"lines", NULL};

static const struct riffle_option options[] = {
	[OPT_COMMAND] = {"command", RIFFLE_OPT_ARGV, RIFFLE_OPT_REQUIRED, NULL, 0, 0, NULL,
		"The program and its arguments, split as sh splits words; no shell is started."},
	[OPT_SHELL] = {"shell", RIFFLE_OPT_BOOL, 0, "no", 0, 0, NULL,
		"With yes, `command` is one quoted script for /bin/sh -c."},
	[OPT_MODE] = {"mode", RIFFLE_OPT_ENUM, 0, "per-window", 0, 0, modes,
		"per-window starts the program once for each window."},
	[OPT_FORMAT] = {"format", RIFFLE_OPT_ENUM, 0, "lines", 0, 0, formats,
		"lines: a record is a line, there and back."},
	[OPT_ENV] = {"env", RIFFLE_OPT_LIST, 0, NULL, 0, 0, NULL,
		"NAME=VALUE to set, or NAME to pass on; the program gets these, PATH, HOME, LANG, "
		"LC_ALL, TZ, TMPDIR, and RIFFLE_WINDOW_START and its like."},
	[OPT_DIR] = {"dir", RIFFLE_OPT_PATH, 0, NULL, 0, 0, NULL, "The directory it runs in."},
	[OPT_MAX_LINE] = {"max-line", RIFFLE_OPT_SIZE, 0, "1MiB", 1, INT64_C(1) << 30, NULL,
		"The longest line it may answer."},
	[OPT_MAX_OUTPUT] = {"max-output", RIFFLE_OPT_SIZE, 0, "64MiB", 1, INT64_C(1) << 40, NULL,
		"The most it may answer for one window."},
	[OPT_GRACE] = {"grace", RIFFLE_OPT_DURATION, 0, "2s", 0, 3600000, NULL,
		"How long after SIGTERM it is killed."},
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

int64_t
command_now_ns(const struct command *c)
{
	return c->host->mono_ns(c->host);
}

static int
env_is_fine(const char *entry)
{
	size_t n = strspn(entry, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
	return n > 0 && (entry[n] == '\0' || entry[n] == '=') && (entry[0] < '0' || entry[0] > '9');
}

static int
check(const struct riffle_config *cfg, const struct riffle_report *report)
{
	const char *const *words = riffle_config_at(cfg, OPT_COMMAND)->u.list;
	const char *const *env = riffle_config_at(cfg, OPT_ENV)->u.list;
	struct riffle_error err;
	if (words == NULL || words[0] == NULL)
		report->add(report, RIFFLE_REPORT_ERROR, cfg, "command", "no program is named");
	else if (!riffle_config_at(cfg, OPT_SHELL)->u.i && command_find(words[0], &err) < 0)
		report->add(report, RIFFLE_REPORT_ERROR, cfg, "command", err.text);
	else if (riffle_config_at(cfg, OPT_SHELL)->u.i && words[1] != NULL)
		report->add(report, RIFFLE_REPORT_ERROR, cfg, "command",
			"with shell = yes the whole script stands in one pair of quotes");
	for (; env != NULL && *env != NULL; env++)
		if (!env_is_fine(*env))
			report->add(report, RIFFLE_REPORT_ERROR, cfg, "env",
				"an entry is NAME=VALUE or NAME");
	return RIFFLE_OK;
}

static int
create(const struct riffle_host *host, const struct riffle_config *cfg, void **ret_self,
	struct riffle_error *reterr)
{
	struct command *c = command_alloc(sizeof *c);
	c->magic = COMMAND_MAGIC;
	c->host = host;
	c->words = riffle_config_at(cfg, OPT_COMMAND)->u.list;
	c->shell = (int)riffle_config_at(cfg, OPT_SHELL)->u.i;
	c->env = riffle_config_at(cfg, OPT_ENV)->u.list;
	c->dir = riffle_config_at(cfg, OPT_DIR)->u.s;
	c->max_line = (size_t)riffle_config_at(cfg, OPT_MAX_LINE)->u.i;
	c->max_output = (size_t)riffle_config_at(cfg, OPT_MAX_OUTPUT)->u.i;
	c->grace_ns = riffle_config_at(cfg, OPT_GRACE)->u.i * 1000000;
	int rc = command_poller_start(c, reterr);
	if (rc < 0) {
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
	c->magic = 0;
	free(c);
}

static uint64_t
capabilities(void *self)
{
	(void)self;
	return 0;
}

static int
ready(void *self, struct riffle_error *reterr)
{
	struct command *c = self;
	COMMAND_CHECK(c, COMMAND_MAGIC);
	return c->shell ? RIFFLE_OK : command_find(c->words[0], reterr);
}

static const struct riffle_invoker_ops ops = {
	.size = sizeof ops,
	.check = check,
	.create = create,
	.destroy = destroy,
	.capabilities = capabilities,
	.ready = ready,
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
	.summary = "runs a program for each window",
	.version = "0.1.0",
	.license = "same as riffle",
	.table_size = sizeof tables[0],
	.table_count = 1,
	.tables = tables,
	.ops = &ops,
};

RIFFLE_MODULE("0.1.0", &plugin);
