/* One [provider] or [function] section brought to life: the plugin's object and its host. */
#ifndef RFL_RUNTIME_INSTANCE_H
#define RFL_RUNTIME_INSTANCE_H

#include "plugin/guard.h"
#include "plugin/host.h"

struct rfl_instance {
	uint32_t magic;
	struct rfl_host host;
	const char *name; /* of the section */
	const struct rfl_plugin *plugin;
	struct rfl_guard *guard; /* NULL under `guard = off` */
	/* What to call, and with which self: the guard's, or the plugin's own. One of the two is NULL. */
	const struct riffle_provider_ops *provider;
	const struct riffle_invoker_ops *invoker;
	void *self;
	void *bare;            /* the plugin's own object, for the plugin's own extensions */
	uint64_t capabilities; /* as of its creation */
	struct rfl_provisioner *provisioner; /* NULL until somebody asks for a stream */
	struct rfl_instance *next_kept;      /* after destroy, of those that cannot be freed */
};

/* config is borrowed until destroy. */
int rfl_instance_create(const struct rfl_plugin *plugin, const struct riffle_config *config,
	const struct rfl_clock *clock, enum rfl_guard_mode mode, struct rfl_instance **ret_instance,
	struct riffle_error *reterr);
void rfl_instance_destroy(struct rfl_instance *i); /* NULL is a no-op */
/* 1, and *ret_fault says why: it broke the contract and is not called any more. */
int rfl_instance_is_quarantined(const struct rfl_instance *i, struct riffle_error *ret_fault);
/* The instance's transactions, or NULL where it has none. */
const struct riffle_transactions *rfl_instance_transactions(const struct rfl_instance *i);
/* How a worker does the work of the instance, or NULL where it does it by itself. */
const struct riffle_turns *rfl_instance_turns(const struct rfl_instance *i);

#endif
