/* ${...} in values: the environment, files, credentials. Expansion never makes keys or sections. */
#ifndef RFL_CONF_EXPAND_H
#define RFL_CONF_EXPAND_H

#include "conf/reader.h"

/*
 * ${NAME}, ${NAME:-default}, ${NAME:?message}, ${file:path}, ${cred:name}; $$ is a dollar. NULL after
 * a finding at the entry.
 */
char *rfl_expand(struct rfl_doc *doc, const struct rfl_entry *e, const char *text);

#endif
