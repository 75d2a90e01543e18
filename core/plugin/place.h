/*
 * Where plugins lie, and whether a file may be loaded: code that others can change is code that others
 * can run as us.
 *
 * A file is safe when it and each folder above it, up to the root, belong to root or to us and nobody
 * else may write there (a folder with the sticky bit, as /tmp, may be shared), and when it lies, all
 * links followed, in the plugin directory it was found in. `insecure-plugins = yes`, or $RIFFLE_INSECURE_PLUGINS, leaves that out,
 * for trees in which one develops; a pinned checksum is looked at all the same.
 */
#ifndef RFL_PLUGIN_PLACE_H
#define RFL_PLUGIN_PLACE_H

#include "conf/model.h"

#include <riffle/abi.h>
#include <sys/stat.h>

/*
 * The file of the plugin of that kind and name: DIR/x.so, DIR/invoker-x.so, or .la in a build tree. NULL
 * when there is none in any of the directories, or the name is none. The caller frees.
 */
char *rfl_place_find(const struct rfl_plugin_places *places, uint32_t kind, const char *name);
/*
 * The resolved path, which the caller frees, of a file that may be loaded; or an error with code R01 or
 * R14. places NULL: no directories, no pins.
 */
int rfl_place_check(const struct rfl_plugin_places *places, const char *path, char **ret_path,
	struct stat *ret_stat, struct riffle_error *reterr);

#endif
