/* The provider "local": its instances, its descriptor. */
#include "local.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int
create(const struct riffle_host *host, const struct riffle_config *cfg, void **ret_self,
	struct riffle_error *reterr)
{
	char fallback[4096];
	struct local_settings settings;
	local_settings_of(cfg, &settings);
	int n = snprintf(fallback, sizeof fallback, "%s/local", cfg->dir);
	if (n < 0 || (size_t)n >= sizeof fallback - 64)
		return local_err(
			reterr, RIFFLE_E_CONFIG, "the path of the state directory is too long");
	if (settings.dir == NULL)
		settings.dir = fallback;
	struct local_env *env;
	int rc = local_env_open(&settings, &env, reterr);
	if (rc < 0)
		return rc;
	struct local *l = local_alloc(sizeof *l);
	l->magic = LOCAL_MAGIC;
	l->host = host;
	l->env = env;
	l->config = cfg;
	*ret_self = l;
	return RIFFLE_OK;
}

static void
destroy(void *self)
{
	struct local *l = self;
	if (l == NULL)
		return;
	LOCAL_CHECK(l, LOCAL_MAGIC);
	local_env_close(l->env);
	l->magic = 0;
	free(l);
}

#define CAPABILITIES                                                                               \
	(RIFFLE_CAN_SOURCE | RIFFLE_CAN_SINK | RIFFLE_CAN_ORDER | RIFFLE_CAN_GROUPS |              \
		RIFFLE_CAN_TRANSACTIONS | RIFFLE_CAN_HEADERS | RIFFLE_CAN_TIMESTAMPS |             \
		RIFFLE_CAN_DURABLE | RIFFLE_CAN_REPLAY | RIFFLE_CAN_METADATA |                     \
		RIFFLE_CAN_SEEK_TIME | RIFFLE_CAN_PROVISION | RIFFLE_CAN_KEYS)

static uint64_t
capabilities(void *self)
{
	(void)self;
	return CAPABILITIES;
}

static const void *
extension(void *self, const char *id)
{
	(void)self;
	if (strcmp(id, RIFFLE_EXT_TRANSACTIONS) == 0)
		return &local_transactions;
	return strcmp(id, RIFFLE_EXT_POSITIONS) == 0 ? &local_positions : NULL;
}

static int
provision(void *self, const struct riffle_stream *stream, struct riffle_error *reterr)
{
	struct local *l = self;
	LOCAL_CHECK(l, LOCAL_MAGIC);
	struct local_topic_row wanted;
	local_row_of(l->config, stream, &wanted);
	return local_topic_provision(l->env, stream->topic, &wanted, reterr);
}

static int
describe(void *self, const struct riffle_stream *stream, struct riffle_stream_info *ret_info,
	struct riffle_error *reterr)
{
	struct local *l = self;
	LOCAL_CHECK(l, LOCAL_MAGIC);
	return local_topic_describe(l->env, stream->topic, ret_info, reterr);
}

static int
remove_stream(void *self, const struct riffle_stream *stream, struct riffle_error *reterr)
{
	struct local *l = self;
	LOCAL_CHECK(l, LOCAL_MAGIC);
	return local_topic_remove(l->env, stream->topic, reterr);
}

static const struct riffle_provider_ops ops = {
	.size = sizeof ops,
	.check = local_check,
	.create = create,
	.destroy = destroy,
	.capabilities = capabilities,
	.extension = extension,
	.provision = provision,
	.describe = describe,
	.remove = remove_stream,
	.source_open = local_source_open,
	.source_fd = local_source_fd,
	.source_poll = local_source_poll,
	.source_start = local_source_start,
	.source_rewind = local_source_rewind,
	.source_release = local_source_release,
	.source_commit = local_source_commit,
	.lane_poll = local_lane_poll,
	.lane_state = local_lane_state,
	.source_close = local_source_close,
	.source_destroy = local_source_destroy,
	.sink_open = local_sink_open,
	.sink_fd = local_sink_fd,
	.sink_poll = local_sink_poll,
	.sink_send = local_sink_send,
	.sink_close = local_sink_close,
	.sink_destroy = local_sink_destroy,
};

static const struct riffle_plugin plugin = {
	.size = sizeof plugin,
	.kind = RIFFLE_KIND_PROVIDER,
	.name = "local",
	.summary = "a durable, transactional log in a directory",
	.version = "0.1.0",
	.license = "same as riffle",
	.capabilities = CAPABILITIES,
	.table_size = sizeof local_tables[0],
	.table_count = LOCAL_TABLE_COUNT,
	.tables = local_tables,
	.ops = &ops,
};

RIFFLE_MODULE("0.1.0", &plugin);
