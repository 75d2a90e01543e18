/* Where plugins are, and which one is meant. */
#include "cli/find_plugin.h"

#include "base/error.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/verb.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>

static const char invoker_prefix[] = "invoker-";

static int
load(struct rfl_common *c, const char *file, struct rfl_diags *diags)
{
	const struct rfl_conf_finder finder = rfl_plugins_finder(c->plugins);
	const struct rfl_conf_request request = {.file = file, .sets = c->sets, .finder = &finder};
	return rfl_conf_load(&request, diags, &c->conf);
}

/* A file that says nothing: what holds without a configuration is then known in one place, conf's. */
static int
load_nothing(struct rfl_common *c)
{
	struct rfl_diags diags = RFL_DIAGS_INIT;
	struct rfl_buf text = RFL_BUF_INIT;
	int rc = load(c, "/dev/null", &diags);
	if (rc < 0) {
		rfl_diags_text(&diags, &text);
		fputs(rfl_buf_str(&text), stderr);
	}
	rfl_buf_fini(&text);
	rfl_diags_fini(&diags);
	return rc < 0 ? RFL_EXIT_CONFIG : 0;
}

static int
load_found(struct rfl_common *c)
{
	struct rfl_diags diags = RFL_DIAGS_INIT;
	int rc = load(c, c->found_file, &diags);
	rfl_diags_fini(&diags);
	if (rc == RIFFLE_OK)
		return 0;
	fprintf(stderr,
		"riffle: %s has errors, which riffle check shows; looks for plugins where it would "
		"without it\n",
		c->found_file);
	return load_nothing(c);
}

int
rfl_plugin_dirs(struct rfl_common *c, const char *dir)
{
	if (c->file != NULL && dir == NULL)
		return rfl_common_load(c, 1);
	c->plugins = rfl_plugins_create();
	c->found_file = dir == NULL ? rfl_conf_default_file() : NULL;
	int status = c->found_file != NULL ? load_found(c) : load_nothing(c);
	if (status == 0 && dir != NULL) {
		c->only_dir[0] = rfl_strdup(dir);
		c->conf->runtime.plugins.dirs = c->only_dir;
	}
	return status;
}

/* "local" of ".../local.so", "command" of ".../invoker-command.so". */
static char *
name_of_file(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	if (strncmp(name, invoker_prefix, sizeof invoker_prefix - 1) == 0)
		name += sizeof invoker_prefix - 1;
	return rfl_strndup(name, strcspn(name, "."));
}

char **
rfl_plugin_names(const struct rfl_common *c)
{
	char **names = NULL;
	size_t count = 0, room = 0;
	for (char **dir = c->conf->runtime.plugins.dirs; *dir != NULL; dir++) {
		glob_t found;
		char *pattern = rfl_sprintf("%s/*.so", *dir);
		size_t n = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
		for (size_t i = 0; i < n; i++) {
			rfl_grow(&names, &room, count + 2, sizeof *names);
			names[count++] = name_of_file(found.gl_pathv[i]);
		}
		globfree(&found);
		free(pattern);
	}
	rfl_grow(&names, &room, count + 1, sizeof *names);
	names[count] = NULL;
	return names;
}

void
rfl_names_free(char **names)
{
	for (char **n = names; n != NULL && *n != NULL; n++)
		free(*n);
	free(names);
}

static int
no_such(struct rfl_common *c, const char *name, struct riffle_error *reterr)
{
	struct rfl_buf dirs = RFL_BUF_INIT;
	size_t count = 0;
	char **names = rfl_plugin_names(c);
	for (char **d = c->conf->runtime.plugins.dirs; *d != NULL; d++)
		rfl_buf_printf(&dirs, "%s%s", dirs.len ? ", " : "", *d);
	while (names[count] != NULL)
		count++;
	char *hint = rfl_did_you_mean(name, (const char *const *)names, count);
	rfl_err_fill(reterr, RIFFLE_E_NOTFOUND, 0, "there is no plugin \"%s\"%s (looked in %s)",
		name, hint, rfl_buf_str(&dirs));
	free(hint);
	rfl_names_free(names);
	rfl_buf_fini(&dirs);
	return RIFFLE_E_NOTFOUND;
}

int
rfl_plugin_by_name(struct rfl_common *c, const char *name, const struct rfl_plugin **ret_plugin,
	struct riffle_error *reterr)
{
	const struct rfl_plugin_places *places = &c->conf->runtime.plugins;
	size_t prefix = sizeof invoker_prefix - 1;
	int is_invoker = strncmp(name, invoker_prefix, prefix) == 0;
	int rc = RIFFLE_E_NOTFOUND;
	if (!is_invoker)
		rc = rfl_plugins_find(
			c->plugins, RIFFLE_KIND_PROVIDER, name, places, ret_plugin, reterr);
	if (rc == RIFFLE_E_NOTFOUND)
		rc = rfl_plugins_find(c->plugins, RIFFLE_KIND_INVOKER,
			name + (is_invoker ? prefix : 0), places, ret_plugin, reterr);
	return rc == RIFFLE_E_NOTFOUND ? no_such(c, name, reterr) : rc;
}
