/* riffle plugin list: every plugin in the plugin directories, and why one is refused. */
#include "base/error.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/common.h"
#include "cli/rows.h"
#include "cli/verb.h"
#include "plugin/descriptor.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>

static const char doc[] =
	"Lists the plugins in the plugin directories.\v"
	"A plugin that is refused is named on stderr with the reason, and the exit status is 3.\n\n"
	"  riffle plugin list -c riffle.ini\n"
	"  riffle plugin list --plugin-dir build/plugins";

enum { KEY_DIR = 0x2000 };

static const struct argp_option options[] = {
	{"plugin-dir", KEY_DIR, "DIR", 0, "look here, and not where the configuration says", 0},
	{0},
};

static const struct rfl_word words[] = {
	{"list", NULL, "shows the plugins in the plugin directories"},
	{0},
};

struct args {
	struct rfl_common common;
	struct rfl_chosen chosen;
	const char *dir;
};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;
	switch (key) {
	case KEY_DIR:
		a->dir = arg;
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->common;
		return 0;
	default:
		return rfl_word_parse(words, key, arg, state, &a->chosen);
	}
}

/* The configuration has loaded what it needs already; that is no second plugin. */
static int
is_loaded(const struct rfl_plugins *plugins, const char *path)
{
	for (const struct rfl_plugin *p = rfl_plugins_first(plugins); p != NULL; p = p->next)
		if (strcmp(p->file, path) == 0)
			return 1;
	return 0;
}

static int
load_dir(struct rfl_plugins *plugins, const char *dir)
{
	glob_t found;
	int refused = 0;
	char *pattern = rfl_sprintf("%s/*.so", dir);
	if (glob(pattern, 0, NULL, &found) == 0)
		for (size_t i = 0; i < found.gl_pathc; i++) {
			struct riffle_error err = {0};
			if (is_loaded(plugins, found.gl_pathv[i]) ||
				rfl_plugins_load(plugins, NULL, found.gl_pathv[i], &err) ==
					RIFFLE_OK)
				continue;
			fprintf(stderr, "%s\n", err.text);
			refused = 1;
		}
	globfree(&found);
	free(pattern);
	return refused;
}

static void
print_plugins(const struct rfl_common *common)
{
	const struct rfl_plugins *plugins = common->plugins;
	static const char *const columns[] = {"NAME", "KIND", "VERSION", "SUMMARY", "FILE", NULL};
	size_t n = 0;
	for (const struct rfl_plugin *p = rfl_plugins_first(plugins); p != NULL; p = p->next)
		n++;
	const char **cells = rfl_zalloc((n * 5 + 1) * sizeof *cells);
	size_t at = n;
	for (const struct rfl_plugin *p = rfl_plugins_first(plugins); p != NULL; p = p->next) {
		const char *row[] = {
			p->name, rfl_kind_name(p->kind), p->version, p->summary, p->file};
		memcpy(cells + 5 * --at, row, sizeof row);
	}
	rfl_print_rows(common, "plugins", columns, cells, n);
	free(cells);
}

static int
run(int argc, char **argv)
{
	struct args a = {.dir = NULL};
	int refused = 0;
	rfl_verb_parse(&rfl_verb_plugin, argc, argv, &a);
	if (a.dir != NULL) {
		a.common.plugins = rfl_plugins_create();
		refused = load_dir(a.common.plugins, a.dir);
	} else {
		int status = rfl_common_load(&a.common, 1);
		if (status != 0) {
			rfl_common_fini(&a.common);
			return status;
		}
		for (char **dir = a.common.conf->runtime.plugins.dirs; *dir != NULL; dir++)
			refused |= load_dir(a.common.plugins, *dir);
	}
	print_plugins(&a.common);
	rfl_common_fini(&a.common);
	return refused ? RFL_EXIT_REFUSED : RFL_EXIT_DONE;
}

const struct rfl_verb rfl_verb_plugin = {
	.name = "plugin",
	.summary = "list and explain plugins",
	.doc = doc,
	.words = words,
	.options = options,
	.parse = parse,
	.run = run,
};
