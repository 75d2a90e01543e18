/* Plugins by the name a person types, with a configuration or without one. */
#ifndef RFL_CLI_FIND_PLUGIN_H
#define RFL_CLI_FIND_PLUGIN_H

#include "cli/common.h"

/*
 * Makes c->plugins and c->conf, so that the plugin directories are known: those of the configuration where one
 * is named or found, else what holds without one; dir (--plugin-dir) stands for all of them. A configuration
 * that nobody named may be broken, which is said and does not matter. 0, or the exit status to end with.
 */
int rfl_plugin_dirs(struct rfl_common *c, const char *dir);
/* The names in the plugin directories, by their files and nothing loaded; NULL-terminated, freed by the next. */
char **rfl_plugin_names(const struct rfl_common *c);
void rfl_names_free(char **names);
/* NAME, or invoker-NAME where a provider has the same. */
int rfl_plugin_by_name(struct rfl_common *c, const char *name, const struct rfl_plugin **ret_plugin,
	struct riffle_error *reterr);

#endif
