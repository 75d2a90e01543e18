/* The status as JSON, for people and machines alike. */
#ifndef RFL_ADMIN_RENDER_H
#define RFL_ADMIN_RENDER_H

#include "runtime/status.h"

/* Texts the caller frees. */
char *rfl_render_processors(const struct rfl_status *s);
char *rfl_render_processor(const struct rfl_status *s, const char *name); /* NULL: there is none */
/* {"ready":true,"reasons":[]}; *ret_ready says the same. s NULL = the instance still starts. */
char *rfl_render_ready(const struct rfl_status *s, const char *why_not, int *ret_ready);
char *rfl_render_error(const char *text);

#endif
