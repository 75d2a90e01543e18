/* Creating and destroying plugin instances. */
#include "runtime/instance.h"

#include "base/check.h"
#include "base/error.h"
#include "base/mem.h"
#include "plugin/descriptor.h"

#include <riffle/ext/transactions.h>
#include <stdlib.h>

#define INSTANCE_MAGIC 0x494e5354u

static int
create(const struct rfl_plugin *p, const struct rfl_host *host, const struct riffle_config *config,
	void **ret_self, struct riffle_error *reterr)
{
	if (p->kind == RIFFLE_KIND_PROVIDER)
		return p->ops.provider.create(&host->abi, config, ret_self, reterr);
	return p->ops.invoker.create(&host->abi, config, ret_self, reterr);
}

int
rfl_instance_create(const struct rfl_plugin *plugin, const struct riffle_config *config,
	const struct rfl_clock *clock, struct rfl_instance **ret_instance,
	struct riffle_error *reterr)
{
	const char *section = plugin->kind == RIFFLE_KIND_PROVIDER ? "provider" : "function";
	struct rfl_instance *i = rfl_zalloc(sizeof *i);
	char *what = rfl_sprintf("%s %s", section, config->name);
	i->magic = INSTANCE_MAGIC;
	i->name = config->name;
	i->plugin = plugin;
	rfl_host_init(&i->host, what, clock);
	int rc = create(plugin, &i->host, config, &i->self, reterr);
	if (rc == RIFFLE_OK && i->self == NULL)
		rc = rfl_err(
			reterr, RIFFLE_E_FATAL, "%s: create said OK and made nothing [R13]", what);
	else if (rc > 0 || rc < RIFFLE_E_LAST)
		rc = rfl_err(reterr, RIFFLE_E_FATAL,
			"%s: create returned %d, which is not a status [R13]", what, rc);
	else if (rc < 0)
		rfl_err_prefix(reterr, "%s", what);
	free(what);
	if (rc < 0) {
		rfl_host_fini(&i->host);
		free(i);
		return rc;
	}
	uint64_t now = plugin->kind == RIFFLE_KIND_PROVIDER
			       ? plugin->ops.provider.capabilities(i->self)
			       : plugin->ops.invoker.capabilities(i->self);
	i->capabilities = now & plugin->capabilities;
	*ret_instance = i;
	return RIFFLE_OK;
}

void
rfl_instance_destroy(struct rfl_instance *i)
{
	if (i == NULL)
		return;
	RFL_CHECK(i, INSTANCE_MAGIC);
	RFL_RETIRE(i);
	if (i->plugin->kind == RIFFLE_KIND_PROVIDER)
		i->plugin->ops.provider.destroy(i->self);
	else
		i->plugin->ops.invoker.destroy(i->self);
	rfl_host_fini(&i->host);
	free(i);
}

const struct riffle_transactions *
rfl_instance_transactions(const struct rfl_instance *i)
{
	if (!(i->capabilities & RIFFLE_CAN_TRANSACTIONS))
		return NULL;
	const struct riffle_transactions *t =
		i->plugin->ops.provider.extension(i->self, RIFFLE_EXT_TRANSACTIONS);
	return t != NULL && t->size >= sizeof *t ? t : NULL;
}
