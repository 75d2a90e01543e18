/* Completion scripts for shells, from the table of verbs. */
#ifndef RFL_CLI_COMPLETION_H
#define RFL_CLI_COMPLETION_H

#include "base/buf.h"

void rfl_completion_bash(struct rfl_buf *out);
void rfl_completion_zsh(struct rfl_buf *out);
void rfl_completion_fish(struct rfl_buf *out);

/* "streams" where an argument is called STREAM: the names `riffle completion streams` prints. NULL: no names. */
const char *rfl_completion_names(const char *kind, size_t len);

#endif
