/*
 * Plugins as the core sees them: found in the plugin directories, checked, copied, kept for good.
 *
 * Which file a name stands for, and which may be loaded: plugin/place.h. Everything is loaded on the main thread before others start.
 */
#ifndef RFL_PLUGIN_PLUGIN_H
#define RFL_PLUGIN_PLUGIN_H

#include "conf/load.h"

#include <riffle/riffle.h>

/*
 * A checked plugin. The ops are copies of our own size: what an older plugin does not know is NULL.
 */
struct rfl_plugin {
	uint32_t magic;
	uint32_t kind; /* RIFFLE_KIND_* */
	char *name, *summary, *version, *license, *build;
	char *file; /* resolved path */
	uint64_t capabilities;
	const struct riffle_option_table *tables;
	uint32_t table_size, table_count;
	union {
		struct riffle_provider_ops provider;
		struct riffle_invoker_ops invoker;
	} ops;
	struct rfl_plugin *next;
};

struct rfl_plugins;

struct rfl_plugins *rfl_plugins_create(void);
/* Loaded objects stay mapped: what they left behind (threads, TLS) may still run their code. */
void rfl_plugins_destroy(struct rfl_plugins *p);

/*
 * The plugin of that kind and name, loaded now if it was not before. E_NOTFOUND: no file in any of
 * the directories. Other failures: refused; reterr begins with the file and ends with the refusal's code,
 * "[R07]".
 */
int rfl_plugins_find(struct rfl_plugins *p, uint32_t kind, const char *name,
	const struct rfl_plugin_places *places, const struct rfl_plugin **ret_plugin,
	struct riffle_error *reterr);
/* Load one file; all plugins in it are checked and added. places NULL: no directories, no pins. */
int rfl_plugins_load(struct rfl_plugins *p, const struct rfl_plugin_places *places,
	const char *path, struct riffle_error *reterr);
/*
 * Fills reterr with "plugin refused: PATH: WHY" and returns code. What does not fit is taken from the
 * front of the path, "...": the cause and its code are always there.
 */
int rfl_plugin_refused(struct riffle_error *reterr, int code, const char *path, const char *why);
/* All that are loaded, newest first. */
const struct rfl_plugin *rfl_plugins_first(const struct rfl_plugins *p);
/* The finder that conf is handed; valid as long as p. */
struct rfl_conf_finder rfl_plugins_finder(struct rfl_plugins *p);

#endif
