/*
 * Checking what a plugin says of itself, before any of its functions but the entry has run. Nothing
 * here trusts a byte of it: sizes, strings and pointers are looked at before they are used.
 */
#ifndef RFL_PLUGIN_DESCRIPTOR_H
#define RFL_PLUGIN_DESCRIPTOR_H

#include "plugin/plugin.h"

int rfl_plugin_name_is_legal(const char *name); /* [a-z][a-z0-9-]{0,30} */
/* Refusals R06 to R09: the module as a whole. base is where its object lies in memory. */
int rfl_module_check(const struct riffle_module *m, const void *base, struct riffle_error *reterr);
/* Refusals R08, R10 to R12: plugin i of a module that passed; copies it into a fresh struct. */
int rfl_descriptor_copy(const struct riffle_module *m, uint32_t i, const void *base,
	struct rfl_plugin **ret_plugin, struct riffle_error *reterr);
void rfl_descriptor_free(struct rfl_plugin *p);
const char *rfl_kind_name(uint32_t kind); /* "provider" */

#endif
