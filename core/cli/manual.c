/* riffle manual: the manual pages, made from the tables that the program itself works by. */
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/common.h"
#include "cli/find_plugin.h"
#include "cli/page.h"
#include "cli/verb.h"

#include <stdlib.h>
#include <string.h>

static const char doc[] =
	"Prints a manual page as roff.\v"
	"`riffle` is the command's, and the default; `riffle.ini` the file's; any other name is a "
	"plugin, with or without `riffle-plugin-` before it, whose page comes from its option "
	"tables.\n\n"
	"  riffle manual riffle.ini | man -l -\n"
	"  riffle manual local | man -l -";

static const char page_prefix[] = "riffle-plugin-";

enum { KEY_DIR = 0x2000 };

static const struct argp_option options[] = {
	{"plugin-dir", KEY_DIR, "DIR", 0, "look here for the plugin", 0},
	{0},
};

struct args {
	struct rfl_common common;
	const char *page, *dir;
};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;
	switch (key) {
	case KEY_DIR:
		a->dir = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (state->arg_num > 0)
			argp_error(state, "one page is meant, not also '%s'", arg);
		a->page = arg;
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->common;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int
fill(struct args *a, struct rfl_buf *page)
{
	struct riffle_error err = {0};
	const struct rfl_plugin *plugin;
	if (a->page == NULL || strcmp(a->page, "riffle") == 0) {
		rfl_page_fill(rfl_page_riffle_1, page);
		return RFL_EXIT_DONE;
	}
	if (strcmp(a->page, "riffle.ini") == 0) {
		rfl_page_fill(rfl_page_riffle_ini_5, page);
		return RFL_EXIT_DONE;
	}
	/* A plugin's page by its own name, as man has it, or by the plugin's. */
	const char *name = a->page;
	if (strncmp(name, page_prefix, sizeof page_prefix - 1) == 0)
		name += sizeof page_prefix - 1;
	int status = rfl_plugin_dirs(&a->common, a->dir);
	if (status != 0)
		return status;
	int rc = rfl_plugin_by_name(&a->common, name, &plugin, &err);
	if (rc == RIFFLE_OK)
		rfl_page_plugin(plugin, page);
	else
		rfl_failed_err("manual", &err);
	return rc == RIFFLE_OK              ? RFL_EXIT_DONE
	       : rc == RIFFLE_E_UNSUPPORTED ? RFL_EXIT_REFUSED
					    : RFL_EXIT_FAILED;
}

static int
run(int argc, char **argv)
{
	struct args a = {.page = NULL};
	struct rfl_buf page = RFL_BUF_INIT;
	rfl_verb_parse(&rfl_verb_manual, argc, argv, &a);
	int status = fill(&a, &page);
	fputs(rfl_buf_str(&page), stdout);
	rfl_buf_fini(&page);
	rfl_common_fini(&a.common);
	return status;
}

const struct rfl_verb rfl_verb_manual = {
	.name = "manual",
	.summary = "print a manual page",
	.doc = doc,
	.args = "[riffle|riffle.ini|PLUGIN]",
	.options = options,
	.parse = parse,
	.run = run,
};
