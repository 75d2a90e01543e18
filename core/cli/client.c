/* Opening a stream for a client verb. */
#include "cli/client.h"

#include "base/error.h"
#include "cli/cli.h"

#include <poll.h>

static int
make_sure(struct rfl_client *c, enum rfl_client_need need, struct riffle_error *reterr)
{
	struct riffle_stream_info info = {.size = sizeof info};
	int can_make = c->stream->provision == RFL_PROVISION_CREATE && c->ops->provision != NULL;
	if (can_make && need == RFL_NEED_MADE)
		return c->ops->provision(c->instance->self, &c->stream->stream, reterr);
	if ((can_make && need == RFL_NEED_MAKING) || c->ops->describe == NULL)
		return RIFFLE_OK;
	int rc = c->ops->describe(c->instance->self, &c->stream->stream, &info, reterr);
	if (rc == RIFFLE_OK && !(info.flags & RIFFLE_STREAM_EXISTS))
		rc = rfl_err(reterr, RIFFLE_E_NOTFOUND,
			"stream \"%s\" does not exist on its provider", c->stream->name);
	return rc;
}

int
rfl_client_attach(struct rfl_client *c, const struct rfl_common *common, const char *stream,
	struct riffle_error *reterr)
{
	const struct rfl_plugin *plugin;
	*c = (struct rfl_client){.stream = rfl_conf_stream(common->conf, stream)};
	rfl_clock_init(&c->clock);
	if (c->stream == NULL)
		return rfl_err(reterr, RIFFLE_E_NOTFOUND,
			"stream \"%s\" is not in the configuration", stream);
	const struct rfl_provider_conf *p = c->stream->provider;
	int rc = rfl_plugins_find(common->plugins, RIFFLE_KIND_PROVIDER, p->type,
		&common->conf->runtime.plugins, &plugin, reterr);
	if (rc == RIFFLE_OK)
		rc = rfl_instance_create(plugin, &p->config, &c->clock, common->conf->runtime.guard,
			&c->instance, reterr);
	if (rc < 0)
		return rc;
	c->ops = c->instance->provider;
	return RIFFLE_OK;
}

int
rfl_client_open(struct rfl_client *c, const struct rfl_common *common, const char *stream,
	enum rfl_client_need need, struct riffle_error *reterr)
{
	int rc = rfl_client_attach(c, common, stream, reterr);
	if (rc < 0)
		return rc;
	rc = make_sure(c, need, reterr);
	if (rc < 0)
		rfl_client_close(c);
	return rc;
}

void
rfl_client_close(struct rfl_client *c)
{
	rfl_instance_destroy(c->instance);
	c->instance = NULL;
}

int
rfl_client_can_read(const struct rfl_client *c, struct riffle_error *reterr)
{
	if (c->instance->capabilities & RIFFLE_CAN_SOURCE)
		return RIFFLE_OK;
	return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
		"stream \"%s\" cannot be read: its provider \"%s\" only writes", c->stream->name,
		c->stream->provider->name);
}

int
rfl_client_can_write(const struct rfl_client *c, struct riffle_error *reterr)
{
	if (c->instance->capabilities & RIFFLE_CAN_SINK)
		return RIFFLE_OK;
	return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
		"stream \"%s\" cannot be written: its provider \"%s\" only reads", c->stream->name,
		c->stream->provider->name);
}

int
rfl_client_wait(int fd, int64_t timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	return poll(&p, 1, timeout_ms > 1000 ? 1000 : (int)timeout_ms) != 0;
}

int
rfl_client_run(const char *verb, struct rfl_common *common, const char *stream,
	enum rfl_client_need need, rfl_client_fn *fn, void *ctx)
{
	struct riffle_error err = {0};
	struct rfl_client client;
	int status = rfl_common_load(common, 1);
	if (status == 0) {
		int rc = rfl_client_open(&client, common, stream, need, &err);
		if (rc == RIFFLE_OK) {
			rc = fn(ctx, &client, &err);
			rfl_client_close(&client);
		}
		status = rc < 0 ? rfl_failed_err(verb, &err) : RFL_EXIT_DONE;
	}
	rfl_common_fini(common);
	return status;
}
