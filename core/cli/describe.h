/* What a plugin says of itself, from its descriptor and its option tables: for people, for programs, as INI. */
#ifndef RFL_CLI_DESCRIBE_H
#define RFL_CLI_DESCRIBE_H

#include "base/buf.h"
#include "plugin/plugin.h"

#include <jansson.h>

void rfl_describe_text(const struct rfl_plugin *p, struct rfl_buf *out);
json_t *rfl_describe_json(const struct rfl_plugin *p);
/*
 * Its sections, every key with its sentence and facts as a comment, optional ones commented out. Sound as a
 * file as soon as what is required has its value.
 */
void rfl_describe_ini(const struct rfl_plugin *p, struct rfl_buf *out);

/* "source, sink, order": what it can at most. */
void rfl_describe_capabilities(const struct rfl_plugin *p, struct rfl_buf *out);
/* The plugin's table for a kind of section, or NULL. */
const struct riffle_option_table *rfl_plugin_table(const struct rfl_plugin *p, uint32_t section);
const struct riffle_option *rfl_table_option(const struct riffle_option_table *t, uint32_t i);
/* The section that makes an instance of it, and the key that names it there: "provider", "type". */
uint32_t rfl_plugin_section(const struct rfl_plugin *p);
const char *rfl_plugin_key(const struct rfl_plugin *p);

#endif
