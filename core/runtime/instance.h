/* One [provider] or [function] section brought to life: the plugin's object and its host. */
#ifndef RFL_RUNTIME_INSTANCE_H
#define RFL_RUNTIME_INSTANCE_H

#include "plugin/host.h"
#include "plugin/plugin.h"

struct rfl_instance {
	uint32_t magic;
	struct rfl_host host;
	const char *name; /* of the section */
	const struct rfl_plugin *plugin;
	void *self;
	uint64_t capabilities; /* as of its creation */
};

/* config is borrowed until destroy. */
int rfl_instance_create(const struct rfl_plugin *plugin, const struct riffle_config *config,
	const struct rfl_clock *clock, struct rfl_instance **ret_instance,
	struct riffle_error *reterr);
void rfl_instance_destroy(struct rfl_instance *i); /* NULL is a no-op */
/* The instance's transactions, or NULL where it has none. */
const struct riffle_transactions *rfl_instance_transactions(const struct rfl_instance *i);

#endif
