/* What a [stream] section on a Kafka provider may say beside what every stream may. */
#include "kafka.h"

#include <stdio.h>
#include <string.h>

static const char *const compressions[] = {"none", "gzip", "snappy", "lz4", "zstd", NULL};

const struct riffle_option kafka_stream_options[KAFKA_STREAM_OPTIONS] = {
	[KAFKA_OPT_COMPRESSION] = {.name = "compression",
		.type = RIFFLE_OPT_ENUM,
		.def = "none",
		.choices = compressions,
		.doc = "How records are compressed on their way to the broker, and kept there."},
	[KAFKA_OPT_LINGER] = {.name = "linger",
		.type = RIFFLE_OPT_DURATION,
		.def = "5ms",
		.max = 900000,
		.doc = "How long a record waits for others to share a request with."},
	[KAFKA_OPT_REPLICATION] = {.name = "replication",
		.type = RIFFLE_OPT_INT,
		.min = 1,
		.max = 32767,
		.doc = "Copies of each partition when the topic is made; by default what the "
		       "broker "
		       "does."},
	[KAFKA_OPT_RETENTION] = {.name = "retention",
		.type = RIFFLE_OPT_DURATION,
		.min = 1,
		.max = INT64_MAX,
		.doc = "How long records are kept, by their time, when the topic is made; by "
		       "default "
		       "what the broker does."},
	[KAFKA_OPT_TOPIC] = {.name = "topic.",
		.type = RIFFLE_OPT_PASS,
		.doc = "Any setting of a topic, by Kafka's name, when the topic is made: "
		       "topic.cleanup.policy = compact."},
};

const char *
kafka_stream_compression(const struct riffle_stream *s)
{
	if (s->config == NULL)
		return NULL;
	return compressions[riffle_config_at(s->config, KAFKA_OPT_COMPRESSION)->u.i];
}

int64_t
kafka_stream_linger_ms(const struct riffle_stream *s)
{
	return s->config ? riffle_config_at(s->config, KAFKA_OPT_LINGER)->u.i : 5;
}

#define TOPIC_MAX 249

/* As brokers judge a topic's name; NULL = they take it. */
static const char *
topic_fault(const char *topic)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	if (topic[0] == '\0' || strcmp(topic, ".") == 0 || strcmp(topic, "..") == 0)
		return "is none of Kafka's: '.', '..' and nothing are taken";
	if (topic[strspn(topic, allowed)] != '\0')
		return "is none of Kafka's: a-z, A-Z, 0-9, '.', '_' and '-' are allowed";
	return strlen(topic) > TOPIC_MAX ? "is none of Kafka's: at most 249 characters are allowed"
					 : NULL;
}

void
kafka_stream_check(const struct riffle_config *cfg, const struct riffle_report *report)
{
	char text[600];
	const char *why = cfg->stream ? topic_fault(cfg->stream->topic) : NULL;
	if (why == NULL)
		return;
	snprintf(text, sizeof text, "topic '%.300s' %s", cfg->stream->topic, why);
	report->add(report, RIFFLE_REPORT_ERROR, cfg, "topic", text);
}
