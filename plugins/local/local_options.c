/* The options of the provider's and of its streams' sections, and what follows from them. */
#include "local.h"

#include <string.h>

enum provider_option {
	OPT_DIR,
	OPT_DURABILITY,
	OPT_MAP_SIZE,
	OPT_MAX_PARTITIONS,
	OPT_OPEN_SEGMENTS,
	OPT_COMMIT_DELAY,
	OPT_COMMIT_SIZE,
	OPT_CLEAN_INTERVAL,
	OPT_RETENTION,
	OPT_RETENTION_SIZE,
	OPT_SEGMENT,
	OPT_SEGMENT_AGE
};

static const char *const durabilities[] = {"sync", "meta", "none", NULL};
static const unsigned durability_flags[] = {0, MDB_NOMETASYNC, MDB_NOSYNC};

#define RETENTION_OPTION                                                                           \
	{                                                                                          \
		.name = "retention", .type = RIFFLE_OPT_DURATION,                                  \
		.doc = "How long records stay at least, from when they are written; 0s, the "      \
		       "default, is for ever.",                                                    \
	}
#define RETENTION_SIZE_OPTION                                                                      \
	{                                                                                          \
		.name = "retention-size", .type = RIFFLE_OPT_SIZE,                                 \
		.doc = "How much of each partition stays at least, as it lies on the disk; 0B, "   \
		       "the default, "                                                             \
		       "is all.",                                                                  \
	}
#define SEGMENT_OPTION                                                                             \
	{                                                                                          \
		.name = "segment", .type = RIFFLE_OPT_SIZE, .min = 64 << 10,                       \
		.max = INT64_C(1) << 40,                                                           \
		.doc = "Retention and compaction work on whole segments of about this size; by "   \
		       "default 16MiB, or a quarter of retention-size where that is less.",        \
	}
#define SEGMENT_AGE_OPTION                                                                         \
	{                                                                                          \
		.name = "segment-age", .type = RIFFLE_OPT_DURATION,                                \
		.doc = "A segment is closed at this age whatever its size; by default a quarter "  \
		       "of retention, and 10m with cleanup = compact.",                            \
	}

static const struct riffle_option provider_options[] = {
	[OPT_DIR] = {.name = "dir",
		.type = RIFFLE_OPT_PATH,
		.doc = "Where the log lies; by default `local` in the state directory."},
	[OPT_DURABILITY] = {.name = "durability",
		.type = RIFFLE_OPT_ENUM,
		.def = "sync",
		.choices = durabilities,
		.doc = "What an acknowledged record survives: `sync` a power loss; `meta` a crash "
		       "of the process, and a power loss but for the last commit; `none` a crash "
		       "of the process, while a power loss may damage the whole log."},
	[OPT_MAP_SIZE] = {.name = "map-size",
		.type = RIFFLE_OPT_SIZE,
		.def = "1024GiB",
		.min = 1 << 20,
		.max = INT64_C(1) << 46,
		.doc = "The most the log may grow to; address space, not memory or disk."},
	[OPT_MAX_PARTITIONS] = {.name = "max-partitions",
		.type = RIFFLE_OPT_INT,
		.def = "1024",
		.min = 8,
		.max = 16384,
		.doc = "The most partitions of all streams together."},
	[OPT_OPEN_SEGMENTS] = {.name = "open-segments",
		.type = RIFFLE_OPT_INT,
		.def = "128",
		.min = 1,
		.max = 16384,
		.doc = "How many segments are kept open between uses; each costs every "
		       "transaction a little."},
	[OPT_COMMIT_DELAY] = {.name = "commit-delay",
		.type = RIFFLE_OPT_DURATION,
		.def = "0s",
		.max = 10000,
		.doc = "How long the first of a commit's records waits for more, which makes fewer "
		       "and larger commits."},
	[OPT_COMMIT_SIZE] = {.name = "commit-size",
		.type = RIFFLE_OPT_SIZE,
		.def = "8MiB",
		.min = 4 << 10,
		.max = 256 << 20,
		.doc = "A commit is begun at this size, whatever commit-delay, and takes no more "
		       "when it is reached."},
	[OPT_CLEAN_INTERVAL] = {.name = "clean-interval",
		.type = RIFFLE_OPT_DURATION,
		.def = "5s",
		.min = 1,
		.max = 3600000,
		.doc = "How often retention and compaction are looked after."},
	[OPT_RETENTION] = RETENTION_OPTION,
	[OPT_RETENTION_SIZE] = RETENTION_SIZE_OPTION,
	[OPT_SEGMENT] = SEGMENT_OPTION,
	[OPT_SEGMENT_AGE] = SEGMENT_AGE_OPTION,
};

enum stream_option {
	STREAM_RETENTION,
	STREAM_RETENTION_SIZE,
	STREAM_SEGMENT,
	STREAM_SEGMENT_AGE,
	STREAM_CLEANUP,
	STREAM_TOMBSTONES,
	STREAM_BEHIND
};

static const char *const cleanups[] = {"delete", "compact", NULL};
static const char *const behinds[] = {"stop", "earliest", NULL};

static const struct riffle_option stream_options[] = {
	[STREAM_RETENTION] = RETENTION_OPTION,
	[STREAM_RETENTION_SIZE] = RETENTION_SIZE_OPTION,
	[STREAM_SEGMENT] = SEGMENT_OPTION,
	[STREAM_SEGMENT_AGE] = SEGMENT_AGE_OPTION,
	[STREAM_CLEANUP] = {.name = "cleanup",
		.type = RIFFLE_OPT_ENUM,
		.def = "delete",
		.choices = cleanups,
		.doc = "`delete` what retention names; `compact` keeps the newest record of each "
		       "key, and takes no record without one."},
	[STREAM_TOMBSTONES] = {.name = "tombstones",
		.type = RIFFLE_OPT_DURATION,
		.def = "24h",
		.doc = "With cleanup = compact: how long the record without a value that removes a "
		       "key is still to be read."},
	[STREAM_BEHIND] = {.name = "behind-retention",
		.type = RIFFLE_OPT_ENUM,
		.def = "stop",
		.choices = behinds,
		.doc = "When a reader's next record is gone already: `stop` with an error, or go "
		       "on at the `earliest` that is left, with a warning."},
};

const struct riffle_option_table local_tables[LOCAL_TABLE_COUNT] = {
	{
		.size = sizeof local_tables[0],
		.section = RIFFLE_SECTION_PROVIDER,
		.option_size = sizeof provider_options[0],
		.option_count = sizeof provider_options / sizeof provider_options[0],
		.options = provider_options,
	},
	{
		.size = sizeof local_tables[0],
		.section = RIFFLE_SECTION_STREAM,
		.option_size = sizeof stream_options[0],
		.option_count = sizeof stream_options / sizeof stream_options[0],
		.options = stream_options,
	},
};

#define SEGMENT_BYTES (16 << 20)
#define SEGMENT_BYTES_MIN (64 << 10)
#define SEGMENT_MS_MIN 100
#define COMPACTED_SEGMENT_MS 600000
#define TOMBSTONE_MS 86400000

void
local_settings_of(const struct riffle_config *cfg, struct local_settings *ret)
{
	*ret = (struct local_settings){
		.dir = riffle_config_at(cfg, OPT_DIR)->u.s,
		.mdb_flags = durability_flags[riffle_config_at(cfg, OPT_DURABILITY)->u.i],
		.map_bytes = (size_t)riffle_config_at(cfg, OPT_MAP_SIZE)->u.i,
		.max_partitions = (unsigned)riffle_config_at(cfg, OPT_MAX_PARTITIONS)->u.i,
		.open_segments = (unsigned)riffle_config_at(cfg, OPT_OPEN_SEGMENTS)->u.i,
		.commit_delay_ms = riffle_config_at(cfg, OPT_COMMIT_DELAY)->u.i,
		.commit_bytes = (size_t)riffle_config_at(cfg, OPT_COMMIT_SIZE)->u.i,
		.clean_interval_ms = riffle_config_at(cfg, OPT_CLEAN_INTERVAL)->u.i,
	};
}

/* The stream's own retention, else the provider's, which is not for compacted streams. */
static int64_t
retention(const struct riffle_config *provider, enum provider_option at_provider,
	const struct riffle_config *stream, enum stream_option at_stream, int is_compacted)
{
	const struct riffle_value *own = stream ? riffle_config_at(stream, at_stream) : NULL;
	if (own != NULL && own->is_set)
		return own->u.i;
	return is_compacted ? 0 : riffle_config_at(provider, at_provider)->u.i;
}

/* The stream's value, else the provider's. */
static const struct riffle_value *
either(const struct riffle_config *provider, enum provider_option at_provider,
	const struct riffle_config *stream, enum stream_option at_stream)
{
	const struct riffle_value *own = stream ? riffle_config_at(stream, at_stream) : NULL;
	return own != NULL && own->is_set ? own : riffle_config_at(provider, at_provider);
}

void
local_row_of(const struct riffle_config *provider, const struct riffle_stream *stream,
	struct local_topic_row *ret)
{
	const struct riffle_config *own = stream->config;
	const struct riffle_value *size, *age;
	*ret = (struct local_topic_row){.partitions = stream->partitions};
	int is_compacted = own != NULL && riffle_config_at(own, STREAM_CLEANUP)->u.i == 1;
	if (is_compacted)
		ret->flags |= LOCAL_COMPACTED;
	ret->retention_ms = retention(provider, OPT_RETENTION, own, STREAM_RETENTION, is_compacted);
	ret->retention_bytes =
		retention(provider, OPT_RETENTION_SIZE, own, STREAM_RETENTION_SIZE, is_compacted);
	ret->tombstone_ms = own ? riffle_config_at(own, STREAM_TOMBSTONES)->u.i : TOMBSTONE_MS;
	size = either(provider, OPT_SEGMENT, own, STREAM_SEGMENT);
	ret->segment_bytes = size->is_set ? size->u.i : SEGMENT_BYTES;
	if (!size->is_set && ret->retention_bytes > 0 &&
		ret->retention_bytes / 4 < ret->segment_bytes)
		ret->segment_bytes = ret->retention_bytes / 4;
	if (ret->segment_bytes < SEGMENT_BYTES_MIN)
		ret->segment_bytes = SEGMENT_BYTES_MIN;
	age = either(provider, OPT_SEGMENT_AGE, own, STREAM_SEGMENT_AGE);
	if (is_compacted)
		ret->segment_ms = COMPACTED_SEGMENT_MS;
	if (ret->retention_ms > 0)
		ret->segment_ms = ret->retention_ms / 4 > SEGMENT_MS_MIN ? ret->retention_ms / 4
									 : SEGMENT_MS_MIN;
	if (age->is_set)
		ret->segment_ms = age->u.i;
}

int
local_goes_on(const struct riffle_stream *stream)
{
	return stream->config != NULL && riffle_config_at(stream->config, STREAM_BEHIND)->u.i == 1;
}

int
local_topic_judge(const char *name, struct riffle_error *reterr)
{
	if (name[0] == '\0')
		return local_err(reterr, RIFFLE_E_CONFIG, "a topic has a name");
	if (strlen(name) > LOCAL_TOPIC_NAME_MAX)
		return local_err(reterr, RIFFLE_E_CONFIG, "a topic's name has at most %d bytes",
			LOCAL_TOPIC_NAME_MAX);
	return RIFFLE_OK;
}

int
local_partitions_judge(const char *topic, uint32_t wanted, uint64_t held, uint32_t most,
	struct riffle_error *reterr)
{
	if (held + wanted <= most)
		return RIFFLE_OK;
	return local_err(reterr, RIFFLE_E_CONFIG,
		"topic \"%s\" with %u partitions is more than max-partitions allows: %u, of which "
		"%llu are in use",
		topic, wanted, most, (unsigned long long)held);
}

int
local_check(const struct riffle_config *cfg, const struct riffle_report *report)
{
	const struct riffle_stream *s = cfg->stream;
	struct riffle_error err;
	if (s == NULL || cfg->provider == NULL)
		return RIFFLE_OK;
	unsigned most = (unsigned)riffle_config_at(cfg->provider, OPT_MAX_PARTITIONS)->u.i;
	if (local_topic_judge(s->topic, &err) < 0)
		report->add(report, RIFFLE_REPORT_ERROR, cfg, "topic", err.text);
	else if (local_partitions_judge(s->topic, s->partitions, 0, most, &err) < 0)
		report->add(report, RIFFLE_REPORT_ERROR, cfg, "partitions", err.text);
	return RIFFLE_OK;
}
