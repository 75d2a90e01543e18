/* librdkafka's own properties: our defaults, what the section passes through, what it may not. */
#include "kafka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of one partition: less is not worth a request. */
#define PREFETCH_MIN_KIB 1024

struct property {
	const char *name, *value;
};

/* Below what the section says. */
static const struct property common_defaults[] = {
	{"client.id", "riffle"},
	{"topic.metadata.refresh.interval.ms", "10000"},
	{"reconnect.backoff.max.ms", "2000"},
	{"log.connection.close", "false"},
	{"socket.keepalive.enable", "true"},
};
/*
 * A small queue makes librdkafka wait a second whenever it is full, so the number of messages is no
 * limit and the size is the one that `prefetch` gives.
 */
static const struct property consumer_defaults[] = {
	{"queued.min.messages", "1000000"},
	{"fetch.message.max.bytes", "8388608"},
	{"fetch.max.bytes", "67108864"},
	/* A lane that is moved waits for the fetch under way. */
	{"fetch.wait.max.ms", "100"},
};
static const struct property producer_defaults[] = {
	/* Values are lent by the batches they came in, which cost far more than what they hold. */
	{"queue.buffering.max.messages", "50000"},
	{"batch.num.messages", "10000"},
	{"batch.size", "1000000"},
	{"message.timeout.ms", "0"},
};
/* Above it. */
static const struct property consumer_promises[] = {
	{"enable.auto.commit", "false"},
	{"enable.auto.offset.store", "false"},
	{"enable.partition.eof", "true"},
	{"auto.offset.reset", "error"},
	{"isolation.level", "read_committed"},
	{"partition.assignment.strategy", "range"},
	{"statistics.interval.ms", "1000"},
};
static const struct property producer_promises[] = {
	{"enable.idempotence", "true"},
	{"partitioner", "murmur2_random"},
};

static const struct refused {
	const char *name, *why;
} refused[] = {
	{"bootstrap.servers", "write bootstrap-servers"},
	{"metadata.broker.list", "write bootstrap-servers"},
	{"group.id", "the group is <namespace>.<processor>"},
	{"group.instance.id", "the member is <instance>.<worker>.<topics>"},
	{"enable.auto.commit", "positions are committed when outputs are safe"},
	{"auto.commit.enable", "positions are committed when outputs are safe"},
	{"enable.auto.offset.store", "positions are committed when outputs are safe"},
	{"enable.partition.eof", "idleness is told by it"},
	{"auto.offset.reset", "an input says where it starts: in@earliest"},
	{"isolation.level", "only what is committed is read"},
	{"partition.assignment.strategy", "equal partitions of the inputs stay together by range"},
	{"statistics.interval.ms", "idleness is told by it"},
	{"enable.idempotence", "records are neither doubled nor reordered by retries"},
	{"enable.gapless.guarantee", "a record that fails fails its window"},
	{"acks", "a record counts when all replicas have it"},
	{"request.required.acks", "a record counts when all replicas have it"},
	{"transactional.id", "it is <namespace>/<processor>/<instance>/<worker>"},
	{"queued.max.messages.kbytes", "write prefetch"},
	{"queue.buffering.max.kbytes", "write buffer"},
	{"partitioner", "a key goes where Kafka's Java client puts it"},
	{"delivery.report.only.error", "each record has its status"},
	{"linger.ms", "write linger in the [stream] section"},
	{"queue.buffering.max.ms", "write linger in the [stream] section"},
	{"compression.codec", "write compression in the [stream] section"},
	{"compression.type", "write compression in the [stream] section"},
	{"plugin.library.paths", "it loads code"},
	{"ssl.engine.location", "it loads code"},
};

static const char *
why_refused(const char *name)
{
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
		if (strcmp(refused[i].name, name) == 0)
			return refused[i].why;
	return NULL;
}

int
kafka_conf_set(
	rd_kafka_conf_t *conf, const char *name, const char *value, struct riffle_error *reterr)
{
	char words[256];
	if (rd_kafka_conf_set(conf, name, value, words, sizeof words) == RD_KAFKA_CONF_OK)
		return RIFFLE_OK;
	return kafka_err(reterr, RIFFLE_E_CONFIG, "librdkafka: %s", words);
}

static int
set_all(rd_kafka_conf_t *conf, const struct property *list, size_t count,
	struct riffle_error *reterr)
{
	int rc = RIFFLE_OK;
	for (size_t i = 0; i < count && rc == RIFFLE_OK; i++)
		rc = kafka_conf_set(conf, list[i].name, list[i].value, reterr);
	return rc;
}
#define SET_ALL(conf, list, reterr) set_all(conf, list, sizeof(list) / sizeof((list)[0]), reterr)

static int
set_number(rd_kafka_conf_t *conf, const char *name, int64_t value, struct riffle_error *reterr)
{
	char text[32];
	snprintf(text, sizeof text, "%lld", (long long)value);
	return kafka_conf_set(conf, name, text, reterr);
}

/*
 * Errors come to the host as events, from error callbacks; what librdkafka logs beside them repeats
 * them, or speaks of properties that the other side of the section uses.
 */
static void
log_line(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
	const struct kafka_client *client = rd_kafka_opaque(rk);
	const struct kafka *k = client->owner;
	char line[512];
	(void)level;
	if (!k->host->log_enabled(k->host, RIFFLE_LOG_DEBUG))
		return;
	snprintf(line, sizeof line, "librdkafka: %s: %s", facility, text);
	k->host->log(k->host, RIFFLE_LOG_DEBUG, line);
}

static int
below(int64_t buffer_bytes, enum kafka_side side, rd_kafka_conf_t *conf,
	struct riffle_error *reterr)
{
	struct riffle_error newer;
	int rc = SET_ALL(conf, common_defaults, reterr);
	if (rc < 0)
		return rc;
	if (side == KAFKA_PRODUCER) {
		rc = SET_ALL(conf, producer_defaults, reterr);
		int64_t kib = buffer_bytes / 1024;
		return rc < 0 ? rc
			      : set_number(conf, "queue.buffering.max.kbytes", kib > 0 ? kib : 1,
					reterr);
	}
	rc = SET_ALL(conf, consumer_defaults, reterr);
	/* From 2.2 on; an older one always waits a second. */
	(void)kafka_conf_set(conf, "fetch.queue.backoff.ms", "10", &newer);
	return rc;
}

static int
above(enum kafka_side side, rd_kafka_conf_t *conf, struct riffle_error *reterr)
{
	return side == KAFKA_CONSUMER ? SET_ALL(conf, consumer_promises, reterr)
				      : SET_ALL(conf, producer_promises, reterr);
}

/*
 * A record of a transaction cannot outlive it. Twenty milliseconds and more are lost with each commit if
 * what follows it comes too early and is tried again only after the usual pause.
 */
int
kafka_conf_set_transactional(rd_kafka_conf_t *conf, const char *txn_id, struct riffle_error *reterr)
{
	char text[32];
	size_t room = sizeof text;
	int rc = kafka_conf_set(conf, "transactional.id", txn_id, reterr);
	if (rc == RIFFLE_OK)
		rc = kafka_conf_set(conf, "retry.backoff.ms", "10", reterr);
	if (rc == RIFFLE_OK &&
		rd_kafka_conf_get(conf, "transaction.timeout.ms", text, &room) == RD_KAFKA_CONF_OK)
		rc = kafka_conf_set(conf, "message.timeout.ms", text, reterr);
	return rc;
}

int
kafka_conf_set_prefetch(rd_kafka_conf_t *conf, const struct kafka *k, uint32_t partitions,
	struct riffle_error *reterr)
{
	int64_t kib = k->prefetch_bytes / 1024 / (partitions > 0 ? partitions : 1);
	return set_number(conf, "queued.max.messages.kbytes",
		kib > PREFETCH_MIN_KIB ? kib : PREFETCH_MIN_KIB, reterr);
}

int
kafka_conf_create(struct kafka_client *client, enum kafka_side side, rd_kafka_conf_t **ret_conf,
	struct riffle_error *reterr)
{
	const struct kafka *k = client->owner;
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	int rc = below(k->buffer_bytes, side, conf, reterr);
	for (uint32_t i = 0; i < k->cfg->pair_count && rc == RIFFLE_OK; i++)
		rc = kafka_conf_set(conf, k->cfg->pairs[2 * i], k->cfg->pairs[2 * i + 1], reterr);
	if (rc == RIFFLE_OK)
		rc = above(side, conf, reterr);
	if (rc == RIFFLE_OK)
		rc = kafka_conf_set(conf, "bootstrap.servers", k->servers, reterr);
	if (rc < 0) {
		rd_kafka_conf_destroy(conf);
		return rc;
	}
	rd_kafka_conf_set_opaque(conf, client);
	rd_kafka_conf_set_log_cb(conf, log_line);
	*ret_conf = conf;
	return RIFFLE_OK;
}

int
kafka_client_create(enum kafka_side side, rd_kafka_conf_t *conf, rd_kafka_t **ret_rk,
	struct riffle_error *reterr)
{
	char words[256];
	*ret_rk = rd_kafka_new(side == KAFKA_CONSUMER ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER, conf,
		words, sizeof words);
	if (*ret_rk != NULL)
		return RIFFLE_OK;
	rd_kafka_conf_destroy(conf);
	return kafka_err(reterr, RIFFLE_E_CONFIG, "librdkafka refuses its properties: %s", words);
}

/* 1 = each by itself is fine. */
static int
check_each(const struct riffle_config *cfg, const struct riffle_report *report)
{
	rd_kafka_conf_t *scratch = rd_kafka_conf_new();
	int fine = 1;
	for (uint32_t i = 0; i < cfg->pair_count; i++) {
		const char *name = cfg->pairs[2 * i], *value = cfg->pairs[2 * i + 1];
		const char *why = why_refused(name);
		char option[128], text[400];
		struct riffle_error err;
		snprintf(option, sizeof option, "rdkafka.%s", name);
		if (why != NULL)
			snprintf(text, sizeof text, "%s is riffle's own: %s", option, why);
		else if (kafka_conf_set(scratch, name, value, &err) < 0)
			snprintf(text, sizeof text, "%s", err.text);
		else
			continue;
		fine = 0;
		report->add(report, RIFFLE_REPORT_ERROR, cfg, option, text);
	}
	rd_kafka_conf_destroy(scratch);
	return fine;
}

/* Of these a client reads files, which who checks may not be allowed to. */
static int
is_of_connections(const char *name)
{
	return strncmp(name, "ssl.", 4) == 0 || strncmp(name, "sasl.", 5) == 0 ||
	       strncmp(name, "security.", 9) == 0;
}

static void
no_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
	(void)rk, (void)level, (void)facility, (void)text;
}

/* Which of them do not go together librdkafka only says to who makes a client. This one has no broker to go to. */
static int
try_client(const struct riffle_config *cfg, enum kafka_side side, const char *txn_id,
	struct riffle_error *reterr)
{
	rd_kafka_t *rk;
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	int rc = below(0, side, conf, reterr);
	for (uint32_t i = 0; i < cfg->pair_count && rc == RIFFLE_OK; i++)
		if (!is_of_connections(cfg->pairs[2 * i]))
			rc = kafka_conf_set(conf, cfg->pairs[2 * i], cfg->pairs[2 * i + 1], reterr);
	if (rc == RIFFLE_OK)
		rc = above(side, conf, reterr);
	if (rc == RIFFLE_OK && side == KAFKA_CONSUMER)
		rc = kafka_conf_set(conf, "group.id", "check", reterr);
	if (rc == RIFFLE_OK && txn_id != NULL)
		rc = kafka_conf_set_transactional(conf, txn_id, reterr);
	if (rc < 0) {
		rd_kafka_conf_destroy(conf);
		return rc;
	}
	rd_kafka_conf_set_log_cb(conf, no_log);
	rc = kafka_client_create(side, conf, &rk, reterr);
	if (rc == RIFFLE_OK)
		rd_kafka_destroy(rk);
	return rc;
}

/* On the line of the first of them that librdkafka names. */
static void
report_client(const struct riffle_config *cfg, const struct riffle_report *report,
	uint32_t severity, const char *text)
{
	char option[128];
	for (uint32_t i = 0; i < cfg->pair_count; i++) {
		if (strstr(text, cfg->pairs[2 * i]) == NULL)
			continue;
		snprintf(option, sizeof option, "rdkafka.%s", cfg->pairs[2 * i]);
		report->add(report, severity, cfg, option, text);
		return;
	}
	report->add(report, severity, cfg, NULL, text);
}

/* What librdkafka would take for a host that nobody finds, or for port 0. NULL = nothing. */
static const char *
server_fault(const char *server)
{
	const char *host = strstr(server, "://");
	host = host ? host + 3 : server;
	const char *colon = strrchr(host, ':');
	/* An address of IPv6 with a port is in brackets. */
	int is_bare_v6 = colon != NULL && strchr(host, ':') != colon && colon[-1] != ']';
	if (strpbrk(server, " \t") != NULL)
		return "has a space in it; several servers are separated by commas";
	if (host[0] == '\0' || colon == host || strncmp(host, "[]", 2) == 0)
		return "has no host";
	if (colon == NULL || is_bare_v6)
		return NULL;
	size_t digits = strspn(colon + 1, "0123456789");
	long port = digits > 0 && digits < 6 ? strtol(colon + 1, NULL, 10) : 0;
	return colon[1 + digits] == '\0' && port >= 1 && port <= 65535
		       ? NULL
		       : "has no port from 1 to 65535 behind its colon";
}

static void
check_servers(const struct riffle_config *cfg, const struct riffle_report *report)
{
	const char *const *list = riffle_config_at(cfg, KAFKA_OPT_SERVERS)->u.list;
	char text[400];
	for (; list != NULL && *list != NULL; list++) {
		const char *why = server_fault(*list);
		if (why == NULL)
			continue;
		snprintf(text, sizeof text, "server '%s' %s", *list, why);
		report->add(report, RIFFLE_REPORT_ERROR, cfg, "bootstrap-servers", text);
	}
}

/* Without a transaction some are no matter, and it is not known here whether there will be one. */
void
kafka_conf_check(const struct riffle_config *cfg, const struct riffle_report *report)
{
	struct riffle_error err;
	check_servers(cfg, report);
	if (cfg->pair_count == 0 || !check_each(cfg, report))
		return;
	if (try_client(cfg, KAFKA_CONSUMER, NULL, &err) < 0)
		report_client(cfg, report, RIFFLE_REPORT_ERROR, err.text);
	if (try_client(cfg, KAFKA_PRODUCER, NULL, &err) < 0) {
		report_client(cfg, report, RIFFLE_REPORT_ERROR, err.text);
	} else if (try_client(cfg, KAFKA_PRODUCER, "check", &err) < 0) {
		char text[400];
		snprintf(text, sizeof text, "exactly-once would be refused: %s", err.text);
		report_client(cfg, report, RIFFLE_REPORT_WARNING, text);
	}
}
