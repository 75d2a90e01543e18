/*
 * Opening shared objects through libltdl, with immediate binding and the system's own words when it
 * fails. libltdl's stock loader binds lazily and reports everything as "file not found", so ours
 * takes its place. Main thread only: libltdl keeps global state.
 */
#ifndef RFL_PLUGIN_LOADER_H
#define RFL_PLUGIN_LOADER_H

#include <riffle/abi.h>

struct rfl_object;

int rfl_loader_init(struct riffle_error *reterr);
void rfl_loader_fini(void);
/* path names an existing .so or .la. The error's text does not repeat it. */
int rfl_object_open(const char *path, struct rfl_object **ret_object, struct riffle_error *reterr);
void *rfl_object_symbol(struct rfl_object *o, const char *name); /* NULL where it has none */
void rfl_object_keep(struct rfl_object *o);  /* accepted: it is never unloaded; frees the handle */
void rfl_object_close(struct rfl_object *o); /* refused: unloads */

#endif
