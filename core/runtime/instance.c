/* Creating and destroying plugin instances. */
#include "runtime/instance.h"

#include "base/check.h"
#include "base/error.h"
#include "base/mem.h"
#include "plugin/descriptor.h"

#include <riffle/ext/transactions.h>
#include <stdatomic.h>
#include <stdlib.h>

#define INSTANCE_MAGIC 0x494e5354u

/* What outlives its destroy, so that it is known to be kept and not leaked. */
static _Atomic(struct rfl_instance *) kept;

static int
create(const struct rfl_plugin *p, const struct rfl_host *host, const struct riffle_config *config,
	void **ret_self, struct riffle_error *reterr)
{
	if (p->kind == RIFFLE_KIND_PROVIDER)
		return p->ops.provider.create(&host->abi, config, ret_self, reterr);
	return p->ops.invoker.create(&host->abi, config, ret_self, reterr);
}

static void
set_ops(struct rfl_instance *i)
{
	int provides = i->plugin->kind == RIFFLE_KIND_PROVIDER;
	i->self = i->guard ? (void *)i->guard : i->bare;
	if (provides)
		i->provider = i->guard ? rfl_guard_provider(i->guard) : &i->plugin->ops.provider;
	else
		i->invoker = i->guard ? rfl_guard_invoker(i->guard) : &i->plugin->ops.invoker;
}

/* Its self exists only now, so create itself is judged here (R13). */
static int
create_checked(
	struct rfl_instance *i, const struct riffle_config *config, struct riffle_error *reterr)
{
	i->host.is_creating = 1;
	int rc = create(i->plugin, &i->host, config, &i->bare, reterr);
	i->host.is_creating = 0;
	if (rc == RIFFLE_OK && i->bare == NULL)
		return rfl_err(reterr, RIFFLE_E_FATAL, "%s: create said OK and made nothing [R13]",
			i->host.what);
	if (rc > 0 || rc < RIFFLE_E_LAST)
		return rfl_err(reterr, RIFFLE_E_FATAL,
			"%s: create returned %d, which is not a status [R13]", i->host.what, rc);
	return rc < 0 ? rfl_err_prefix(reterr, "%s", i->host.what) : RIFFLE_OK;
}

int
rfl_instance_create(const struct rfl_plugin *plugin, const struct riffle_config *config,
	const struct rfl_clock *clock, enum rfl_guard_mode mode, struct rfl_instance **ret_instance,
	struct riffle_error *reterr)
{
	const char *section = plugin->kind == RIFFLE_KIND_PROVIDER ? "provider" : "function";
	struct rfl_instance *i = rfl_zalloc(sizeof *i);
	char *what = rfl_sprintf("%s %s", section, config->name);
	i->magic = INSTANCE_MAGIC;
	i->name = config->name;
	i->plugin = plugin;
	rfl_host_init(&i->host, what, clock);
	free(what);
	if (mode != RFL_GUARD_OFF)
		i->host.guard = i->guard = rfl_guard_create(plugin, i->host.what, mode);
	int rc = create_checked(i, config, reterr);
	if (rc < 0) {
		rfl_guard_destroy(i->guard);
		rfl_host_fini(&i->host);
		free(i);
		return rc;
	}
	if (i->guard != NULL)
		rfl_guard_set_self(i->guard, i->bare);
	set_ops(i);
	uint64_t now = i->provider ? i->provider->capabilities(i->self)
				   : i->invoker->capabilities(i->self);
	i->capabilities = now & plugin->capabilities;
	*ret_instance = i;
	return RIFFLE_OK;
}

/* A quarantined plugin may have threads that go on: the host they know stays. */
void
rfl_instance_destroy(struct rfl_instance *i)
{
	if (i == NULL)
		return;
	RFL_CHECK(i, INSTANCE_MAGIC);
	if (i->provider != NULL)
		i->provider->destroy(i->self);
	else
		i->invoker->destroy(i->self);
	if (rfl_instance_is_quarantined(i, NULL)) {
		i->next_kept = atomic_exchange(&kept, i);
		return;
	}
	RFL_RETIRE(i);
	rfl_guard_destroy(i->guard);
	rfl_host_fini(&i->host);
	free(i);
}

int
rfl_instance_is_quarantined(const struct rfl_instance *i, struct riffle_error *ret_fault)
{
	return i->guard != NULL && rfl_guard_is_quarantined(i->guard, ret_fault);
}

const struct riffle_transactions *
rfl_instance_transactions(const struct rfl_instance *i)
{
	if (!(i->capabilities & RIFFLE_CAN_TRANSACTIONS))
		return NULL;
	if (i->guard != NULL)
		return rfl_guard_transactions(i->guard);
	const struct riffle_transactions *t =
		i->provider->extension(i->self, RIFFLE_EXT_TRANSACTIONS);
	return t != NULL && t->size >= sizeof *t ? t : NULL;
}

const struct riffle_turns *
rfl_instance_turns(const struct rfl_instance *i)
{
	if (i->guard != NULL)
		return rfl_guard_turns(i->guard);
	if (i->invoker->extension == NULL)
		return NULL;
	const struct riffle_turns *t = i->invoker->extension(i->self, RIFFLE_EXT_TURNS);
	return t != NULL && t->size >= sizeof *t ? t : NULL;
}
