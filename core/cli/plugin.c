/* riffle plugin list | show | check: what is in the plugin directories, and why one is refused. */
#include "base/error.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/common.h"
#include "cli/describe.h"
#include "cli/find_plugin.h"
#include "cli/probe.h"
#include "cli/rows.h"
#include "cli/verb.h"
#include "plugin/descriptor.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>

static const char doc[] =
	"Lists and explains plugins.\v"
	"`list` names a plugin that is refused on stderr with the reason, and ends with status 3. "
	"`show` prints what a plugin says of itself, with --ini a commented section to begin with. "
	"`check` loads one file in a process of its own, says what is in it or why it is refused, "
	"and ends with status 0 or 3.\n\n"
	"  riffle plugin list --plugin-dir build/plugins\n"
	"  riffle plugin show local --ini >>riffle.ini\n"
	"  riffle plugin check ./upper.so";

enum { KEY_DIR = 0x2000, KEY_INI };

static const struct argp_option options[] = {
	{"plugin-dir", KEY_DIR, "DIR", 0, "look here, and not where the configuration says", 0},
	{"ini", KEY_INI, NULL, 0, "show: print its sections for the instance's file", 0},
	{0},
};

static const struct rfl_word words[] = {
	{"list", NULL, "shows the plugins in the plugin directories"},
	{"show", "PLUGIN", "explains one with its keys"},
	{"check", "FILE", "tries one file"},
	{0},
};

struct args {
	struct rfl_common common;
	struct rfl_chosen chosen;
	const char *dir;
	int ini;
};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;
	switch (key) {
	case KEY_DIR:
		a->dir = arg;
		return 0;
	case KEY_INI:
		a->ini = 1;
		return 0;
	case ARGP_KEY_SUCCESS:
		if (a->ini && !rfl_word_is(&a->chosen, "show"))
			argp_error(state, "--ini belongs to show");
		if (a->ini && a->common.format != RFL_FORMAT_TABLE)
			argp_error(state, "--ini and -o exclude each other");
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
	char *resolved = realpath(path, NULL);
	int found = 0;
	for (const struct rfl_plugin *p = rfl_plugins_first(plugins); p != NULL; p = p->next)
		found |= strcmp(p->file, path) == 0 ||
			 (resolved != NULL && strcmp(p->file, resolved) == 0);
	free(resolved);
	return found;
}

/* A file that survived the probe is loaded here too, which finds what it shares with others. */
static int
load_file(struct rfl_plugins *plugins, const struct rfl_plugin_places *places, const char *path)
{
	struct riffle_error err = {0};
	int rc = rfl_probe_plugin(places, path, &err);
	if (rc == RIFFLE_OK)
		rc = rfl_plugins_load(plugins, places, path, &err);
	if (rc < 0)
		fprintf(stderr, "%s\n", err.text);
	return rc < 0;
}

static int
load_dir(struct rfl_common *c, const char *dir)
{
	struct rfl_plugins *plugins = c->plugins;
	glob_t found;
	int refused = 0;
	char *pattern = rfl_sprintf("%s/*.so", dir);
	if (glob(pattern, 0, NULL, &found) == 0)
		for (size_t i = 0; i < found.gl_pathc; i++)
			if (!is_loaded(plugins, found.gl_pathv[i]))
				refused |= load_file(
					plugins, &c->conf->runtime.plugins, found.gl_pathv[i]);
	globfree(&found);
	free(pattern);
	return refused;
}

static void
print_plugins(const struct rfl_common *common)
{
	static const char *const columns[] = {"NAME", "KIND", "VERSION", "SUMMARY", "FILE", NULL};
	size_t n = 0;
	for (const struct rfl_plugin *p = rfl_plugins_first(common->plugins); p != NULL;
		p = p->next)
		n++;
	const char **cells = rfl_zalloc((n * 5 + 1) * sizeof *cells);
	size_t at = n;
	for (const struct rfl_plugin *p = rfl_plugins_first(common->plugins); p != NULL;
		p = p->next) {
		const char *row[] = {
			p->name, rfl_kind_name(p->kind), p->version, p->summary, p->file};
		memcpy(cells + 5 * --at, row, sizeof row);
	}
	rfl_print_rows(common, "plugins", columns, cells, n);
	free(cells);
}

static int
list(struct args *a)
{
	int refused = 0;
	for (char **dir = a->common.conf->runtime.plugins.dirs; *dir != NULL; dir++)
		refused |= load_dir(&a->common, *dir);
	print_plugins(&a->common);
	return refused ? RFL_EXIT_REFUSED : RFL_EXIT_DONE;
}

static void
print_one(const struct args *a, const struct rfl_plugin *p)
{
	struct rfl_buf text = RFL_BUF_INIT;
	if (a->common.format != RFL_FORMAT_TABLE) {
		json_t *all = rfl_describe_json(p);
		json_dumpf(all, stdout,
			a->common.format == RFL_FORMAT_JSON ? JSON_INDENT(2) : JSON_COMPACT);
		putchar('\n');
		json_decref(all);
	} else if (a->ini) {
		rfl_describe_ini(p, &text);
	} else {
		rfl_describe_text(p, &text);
	}
	fputs(rfl_buf_str(&text), stdout);
	rfl_buf_fini(&text);
}

static int
show(struct args *a)
{
	struct riffle_error err = {0};
	const struct rfl_plugin *p;
	int rc = rfl_plugin_by_name(&a->common, a->chosen.name, &p, &err);
	if (rc == RIFFLE_OK)
		print_one(a, p);
	else
		rfl_failed_err("plugin", &err);
	return rc == RIFFLE_OK              ? RFL_EXIT_DONE
	       : rc == RIFFLE_E_UNSUPPORTED ? RFL_EXIT_REFUSED
					    : RFL_EXIT_FAILED;
}

/* As the instance would load it, by its own pins; in a table of its own, since the file may be loaded already. */
static int
check(struct args *a)
{
	struct rfl_plugins *plugins = rfl_plugins_create();
	int refused = load_file(plugins, &a->common.conf->runtime.plugins, a->chosen.name);
	for (const struct rfl_plugin *p = rfl_plugins_first(plugins); p != NULL; p = p->next)
		print_one(a, p);
	rfl_plugins_destroy(plugins);
	return refused ? RFL_EXIT_REFUSED : RFL_EXIT_DONE;
}

static int
act(struct args *a)
{
	int status = rfl_plugin_dirs(&a->common, a->dir);
	if (status != 0)
		return status;
	if (rfl_word_is(&a->chosen, "check"))
		return check(a);
	return rfl_word_is(&a->chosen, "show") ? show(a) : list(a);
}

static int
run(int argc, char **argv)
{
	struct args a = {.dir = NULL};
	rfl_verb_parse(&rfl_verb_plugin, argc, argv, &a);
	int status = act(&a);
	rfl_common_fini(&a.common);
	return status;
}

const struct rfl_verb rfl_verb_plugin = {
	.name = "plugin",
	.summary = "list, explain and try plugins",
	.doc = doc,
	.words = words,
	.options = options,
	.parse = parse,
	.run = run,
};
