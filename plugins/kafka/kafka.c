/* The provider "kafka": its options, its instances, its descriptor. */
#include "kafka.h"

#include <stdlib.h>
#include <string.h>

enum option { OPT_SERVERS = KAFKA_OPT_SERVERS, OPT_TIMEOUT, OPT_PREFETCH, OPT_BUFFER, OPT_RDKAFKA };

static const struct riffle_option options[] = {
	[OPT_SERVERS] = {.name = "bootstrap-servers",
		.type = RIFFLE_OPT_LIST,
		.flags = RIFFLE_OPT_REQUIRED,
		.doc = "Brokers to ask for the rest of the cluster: host:port, ..."},
	[OPT_TIMEOUT] = {.name = "request-timeout",
		.type = RIFFLE_OPT_DURATION,
		.def = "10s",
		.min = 100,
		.max = 300000,
		.doc = "How long a topic is asked for, made or removed before the broker counts "
		       "as "
		       "away."},
	[OPT_PREFETCH] = {.name = "prefetch",
		.type = RIFFLE_OPT_SIZE,
		.def = "64MiB",
		.min = 1024,
		.max = INT64_C(2097151) * 1024,
		.doc = "The most that is fetched by a processor before it is read, shared by the "
		       "partitions of its inputs, each 1MiB at least; librdkafka before 2.2 waits "
		       "a second whenever it is reached."},
	[OPT_BUFFER] = {.name = "buffer",
		.type = RIFFLE_OPT_SIZE,
		.def = "64MiB",
		.min = 65536,
		.max = INT64_C(2147483647) * 1024,
		.doc = "The most that waits to be written in one worker."},
	[OPT_RDKAFKA] = {.name = "rdkafka.",
		.type = RIFFLE_OPT_PASS,
		.flags = RIFFLE_OPT_SECRET,
		.doc = "Any property of librdkafka but those that carry the guarantees: "
		       "rdkafka.security.protocol = SASL_SSL."},
};

static const struct riffle_option_table tables[] = {
	{.size = sizeof tables[0],
		.section = RIFFLE_SECTION_PROVIDER,
		.option_size = sizeof options[0],
		.option_count = sizeof options / sizeof options[0],
		.options = options},
	{.size = sizeof tables[0],
		.section = RIFFLE_SECTION_STREAM,
		.option_size = sizeof kafka_stream_options[0],
		.option_count = KAFKA_STREAM_OPTIONS,
		.options = kafka_stream_options},
};

int64_t
kafka_now_ns(const struct kafka *k)
{
	return k->host->mono_ns(k->host);
}

static int
check(const struct riffle_config *cfg, const struct riffle_report *report)
{
	if (cfg->section == RIFFLE_SECTION_PROVIDER)
		kafka_conf_check(cfg, report);
	else if (cfg->section == RIFFLE_SECTION_STREAM)
		kafka_stream_check(cfg, report);
	return RIFFLE_OK;
}

static char *
join(const char *const *list)
{
	size_t len = 1;
	for (size_t i = 0; list[i] != NULL; i++)
		len += strlen(list[i]) + 1;
	char *all = kafka_alloc(len), *at = all;
	for (size_t i = 0; list[i] != NULL; i++) {
		size_t n = strlen(list[i]);
		if (i > 0)
			*at++ = ',';
		memcpy(at, list[i], n);
		at += n;
	}
	return all;
}

static int
create(const struct riffle_host *host, const struct riffle_config *cfg, void **ret_self,
	struct riffle_error *reterr)
{
	if (rd_kafka_version() < 0x02000000 ||
		(rd_kafka_version() >= 0x02010000 && rd_kafka_version() < 0x02020000))
		return kafka_err(reterr, RIFFLE_E_UNSUPPORTED,
			"librdkafka %s is not supported: 2.0 and, for a fault of 2.1, 2.2 and "
			"later are",
			rd_kafka_version_str());
	struct kafka *k = kafka_alloc(sizeof *k);
	k->magic = KAFKA_MAGIC;
	k->host = host;
	k->cfg = cfg;
	k->client = (struct kafka_client){k, k};
	pthread_mutex_init(&k->lock, NULL);
	k->servers = join(riffle_config_at(cfg, OPT_SERVERS)->u.list);
	k->request_timeout_ms = (int)riffle_config_at(cfg, OPT_TIMEOUT)->u.i;
	k->prefetch_bytes = riffle_config_at(cfg, OPT_PREFETCH)->u.i;
	k->buffer_bytes = riffle_config_at(cfg, OPT_BUFFER)->u.i;
	*ret_self = k;
	return RIFFLE_OK;
}

static void
destroy(void *self)
{
	struct kafka *k = self;
	if (k == NULL)
		return;
	KAFKA_CHECK(k, KAFKA_MAGIC);
	if (k->admin != NULL)
		rd_kafka_destroy(k->admin);
	k->magic = 0;
	kafka_limits_free(k);
	pthread_mutex_destroy(&k->lock);
	free(k->servers);
	free(k);
}

#define CAPABILITIES                                                                               \
	(RIFFLE_CAN_SOURCE | RIFFLE_CAN_SINK | RIFFLE_CAN_ORDER | RIFFLE_CAN_GROUPS |              \
		RIFFLE_CAN_TRANSACTIONS | RIFFLE_CAN_HEADERS | RIFFLE_CAN_TIMESTAMPS |             \
		RIFFLE_CAN_DURABLE | RIFFLE_CAN_REPLAY | RIFFLE_CAN_METADATA |                     \
		RIFFLE_CAN_SEEK_TIME | RIFFLE_CAN_PROVISION | RIFFLE_CAN_KEYS |                    \
		RIFFLE_WANTS_ENVELOPE)

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
		return &kafka_transactions;
	return strcmp(id, RIFFLE_EXT_POSITIONS) == 0 ? &kafka_positions : NULL;
}

static const struct riffle_provider_ops ops = {
	.size = sizeof ops,
	.check = check,
	.create = create,
	.destroy = destroy,
	.capabilities = capabilities,
	.extension = extension,
	.provision = kafka_provision,
	.describe = kafka_describe,
	.remove = kafka_remove,
	.source_open = kafka_source_open,
	.source_fd = kafka_source_fd,
	.source_poll = kafka_source_poll,
	.source_start = kafka_source_start,
	.source_rewind = kafka_source_rewind,
	.source_release = kafka_source_release,
	.source_commit = kafka_source_commit,
	.lane_poll = kafka_lane_poll,
	.lane_state = kafka_lane_state,
	.source_close = kafka_source_close,
	.source_destroy = kafka_source_destroy,
	.sink_open = kafka_sink_open,
	.sink_fd = kafka_sink_fd,
	.sink_poll = kafka_sink_poll,
	.sink_send = kafka_sink_send,
	.sink_flush = kafka_sink_flush,
	.sink_close = kafka_sink_close,
	.sink_destroy = kafka_sink_destroy,
};

static const struct riffle_plugin plugin = {
	.size = sizeof plugin,
	.kind = RIFFLE_KIND_PROVIDER,
	.name = "kafka",
	.summary = "topics of an Apache Kafka cluster, by librdkafka",
	.version = "0.1.0",
	.license = "same as riffle",
	.capabilities = CAPABILITIES,
	.table_size = sizeof tables[0],
	.table_count = sizeof tables / sizeof tables[0],
	.tables = tables,
	.ops = &ops,
};

RIFFLE_MODULE("0.1.0", &plugin);
