/* The tables of keys. */
#include "conf/keys.h"

#include "base/check.h"

#include <string.h>

#define STRING RIFFLE_OPT_STRING
#define DURATION RIFFLE_OPT_DURATION

static const char *const levels[] = {"error", "warning", "info", "debug", NULL};
static const char *const formats[] = {"auto", "logfmt", "json", NULL};
static const char *const guards[] = {"off", "normal", "debug", NULL};
static const char *const provisions[] = {"create", "verify", NULL};
static const char *const encodings[] = {"raw", "cloudevents", "structured", "riff-message", NULL};
static const char *const compats[] = {"none", "riff", NULL};
static const char *const guarantees[] = {"at-most-once", "at-least-once", "exactly-once", NULL};
static const char *const outputs[] = {"as-they-come", "at-status", NULL};
static const char *const deliveries[] = {"at-close", "stream", NULL};
static const char *const output_keys[] = {"window", "none", NULL};

static const struct riffle_option runtime_keys[] = {
	{"namespace", STRING, 0, "default", 0, 0, NULL,
		"In front of topics and groups, so that instances can share a broker."},
	{"instance", STRING, 0, NULL, 0, 0, NULL,
		"A stable name of this instance; made once and kept in the state directory when "
		"not written."},
	{"state-dir", RIFFLE_OPT_PATH, 0, NULL, 0, 0, NULL,
		"Where the instance keeps what it must remember; $STATE_DIRECTORY, else `state` "
		"beside the file."},
	{"plugin-dir", RIFFLE_OPT_LIST, 0, NULL, 0, 0, NULL,
		"Directories in which plugins are looked for, first to last."},
	{"plugin-sha256", RIFFLE_OPT_LIST, 0, NULL, 0, 0, NULL,
		"name:checksum of plugin files, as local:9f86d0..., that are loaded only with that "
		"content."},
	{"insecure-plugins", RIFFLE_OPT_BOOL, 0, "no", 0, 0, NULL,
		"yes loads plugins that others may write, for development."},
	{"include", RIFFLE_OPT_LIST, 0, NULL, 0, 0, NULL,
		"Files to read after this one; patterns, relative to it."},
	{"admin", STRING, 0, NULL, 0, 0, NULL,
		"unix:PATH of the admin socket, or none; by default riffle.sock in "
		"$RUNTIME_DIRECTORY or the state directory."},
	{"workers", RIFFLE_OPT_INT, 0, "1", 1, 256, NULL, "Threads that run processors."},
	{"memory", RIFFLE_OPT_SIZE, 0, "64MiB", 65536, INT64_MAX, NULL,
		"What the windows of one task may hold before its lanes are left unread."},
	{"spill", RIFFLE_OPT_SIZE, 0, "0B", 0, INT64_MAX, NULL,
		"What the windows of one task may hold beyond that, in a file of the state "
		"directory."},
	{"commit-interval", DURATION, 0, NULL, 0, 3600000, NULL,
		"How often positions are committed: 1s, under exactly-once 100ms; 0 = as soon as "
		"there is something."},
	{"shutdown-timeout", DURATION, 0, "30s", 0, 86400000, NULL,
		"How long a stop waits for windows that are closing."},
	{"log-level", RIFFLE_OPT_ENUM, 0, "info", 0, 0, levels,
		"The least serious messages that are logged."},
	{"log-format", RIFFLE_OPT_ENUM, 0, "auto", 0, 0, formats,
		"auto is logfmt on a terminal and JSON elsewhere."},
	{"guard", RIFFLE_OPT_ENUM, 0, "normal", 0, 0, guards,
		"How plugins are watched: debug lends copies and poisons them afterwards; off is "
		"for measuring."},
	{"plugin-timeout", DURATION, 0, "10s", 0, 86400000, NULL,
		"A call into a plugin that takes longer, or a cancelled function that goes on for "
		"longer, ends the instance it was made to; 0 = never."},
};

static const struct riffle_option provider_keys[] = {
	{"type", STRING, RIFFLE_OPT_REQUIRED, NULL, 0, 0, NULL, "The plugin."},
};

static const struct riffle_option stream_keys[] = {
	{"provider", STRING, RIFFLE_OPT_REQUIRED, NULL, 0, 0, NULL,
		"The provider it lies on; `gateway` is the same."},
	{"gateway", STRING, 0, NULL, 0, 0, NULL, "The same as `provider`."},
	{"content-type", STRING, 0, "application/octet-stream", 0, 0, NULL,
		"The type of its records; others are refused at the door."},
	{"partitions", RIFFLE_OPT_INT, 0, "1", 1, 100000, NULL,
		"How many parts it has, each in order."},
	{"topic", STRING, 0, NULL, 0, 0, NULL,
		"Its name on the broker; <namespace>_<stream> when not written."},
	{"provision", RIFFLE_OPT_ENUM, 0, "create", 0, 0, provisions,
		"create makes it when it is missing, verify does not."},
	{"encoding", RIFFLE_OPT_ENUM, 0, NULL, 0, 0, encodings,
		"What records are wrapped in on the provider: cloudevents where it keeps no "
		"content "
		"type beside them, raw elsewhere."},
	{"compat", RIFFLE_OPT_ENUM, 0, "none", 0, 0, compats,
		"riff reads headers and content types by the names that riff gives them, and "
		"writes "
		"those beside the standard's."},
};

static const struct riffle_option function_keys[] = {
	{"invoker", STRING, RIFFLE_OPT_REQUIRED, NULL, 0, 0, NULL, "The plugin that calls it."},
	{"timeout", DURATION, 0, "1m", 0, INT64_MAX, NULL,
		"How long after the end of its input it may take; 0 = for ever."},
};

static const struct riffle_option processor_keys[] = {
	{"function", STRING, RIFFLE_OPT_REQUIRED, NULL, 0, 0, NULL, "The function it calls."},
	{"input", RIFFLE_OPT_LIST, RIFFLE_OPT_REQUIRED, NULL, 0, 0, NULL,
		"[alias:]stream[@earliest|latest|TIME|OFFSET], one or more."},
	{"output", RIFFLE_OPT_LIST, 0, NULL, 0, 0, NULL, "[alias:]stream, any number."},
	{"window", STRING, 0, "tumbling 60s", 0, 0, NULL,
		"none | count N [or D] | tumbling D | hopping D every D | session gap D max D; "
		"then "
		"[align ZONE] [offset D]."},
	{"guarantee", RIFFLE_OPT_ENUM, 0, "at-least-once", 0, 0, guarantees,
		"What a crash may do to its outputs."},
	{"on-error", STRING, 0, "retry 5 backoff 200ms..10s then stop", 0, 0, NULL,
		"stop | skip | dead-letter STREAM | retry N backoff D..D then one of these."},
	{"outputs", RIFFLE_OPT_ENUM, 0, "as-they-come", 0, 0, outputs,
		"at-status holds the outputs of a call until it has ended well."},
	{"max-outputs", RIFFLE_OPT_SIZE, 0, "64MiB", 1, INT64_MAX, NULL,
		"The most that is held of one call; past it the call fails."},
	{"calls", RIFFLE_OPT_INT, 0, "16", 1, 100000, NULL,
		"Calls that may be open at once in one task."},
	{"max-records", RIFFLE_OPT_INT, 0, "1000", 1, 1000000, NULL,
		"The most that one read of a partition brings; with window = none, the most of a "
		"window."},
	{"commit-interval", DURATION, 0, NULL, 0, 3600000, NULL,
		"As in [runtime], for this processor."},
	{"checkpoint", STRING, 0, NULL, 0, 0, NULL,
		"A compacted stream for which records are in open sessions, when that does not fit "
		"a position; exactly-once sessions wait for room without it."},
	{"delivery", RIFFLE_OPT_ENUM, 0, NULL, 0, 0, deliveries,
		"When a call begins: at-close with the whole window, stream with its first record; "
		"by default stream where window and function can."},
	{"keep", RIFFLE_OPT_BOOL, 0, "yes", 0, 0, NULL,
		"no keeps no records of streaming windows once their call took them: a failure is "
		"then like a crash of the task."},
	{"time", STRING, 0, "processing", 0, 0, NULL,
		"The clock of its windows: processing | record | header:NAME [unit] | json:PATH "
		"[unit]; unit is s, ms (the default), us or ns."},
	{"by", STRING, 0, NULL, 0, 0, NULL,
		"One window for each key and interval: key | header:NAME | json:PATH."},
	{"max-disorder", DURATION, 0, NULL, 0, INT64_MAX, NULL,
		"How much later than the newest one a record may come; needed with time."},
	{"grace", DURATION, 0, NULL, 0, INT64_MAX, NULL, "The same as max-disorder."},
	{"late", STRING, 0, "drop", 0, 0, NULL,
		"What happens to records whose windows are all over: drop | stream NAME | stop; "
		"they are counted in any case."},
	{"max-future", DURATION, 0, "5m", 0, INT64_MAX, NULL,
		"A time that is further ahead of the wall clock is refused at the door."},
	{"idle-after", DURATION, 0, "30s", 1, INT64_MAX, NULL,
		"When a partition that has no more records no longer holds back the others."},
	{"close-after-idle", STRING, 0, NULL, 0, 0, NULL,
		"When open windows are closed although no record comes: a duration, by default the "
		"window's length and at least 1m, or never."},
	{"early", STRING, 0, NULL, 0, 0, NULL,
		"every D: panes with all records so far, before the window is over."},
	{"emit-empty", RIFFLE_OPT_BOOL, 0, "no", 0, 0, NULL,
		"Calls for windows without records too."},
	{"pane-headers", RIFFLE_OPT_BOOL, 0, "no", 0, 0, NULL,
		"Puts the window, the attempt and the output's id into the headers of records."},
	{"output-key", RIFFLE_OPT_ENUM, 0, "window", 0, 0, output_keys,
		"The key of outputs that have none: that of the window, or none."},
};

static const struct riffle_option test_keys[] = {
	{"processor", STRING, RIFFLE_OPT_REQUIRED, NULL, 0, 0, NULL, "The processor it runs."},
	{"send", STRING, RIFFLE_OPT_REQUIRED, NULL, 0, 0, NULL,
		"A line for each record that comes, and when: STREAM [DAYSd ]HH:MM:SS[.mmm] "
		"[key=K] "
		"[header:NAME=V]... VALUE."},
	{"expect", STRING, 0, NULL, 0, 0, NULL,
		"A line for each record that goes out, per stream in order: STREAM [key=K] VALUE. "
		"Without the key nothing is compared and what came out is shown."},
	{"start", STRING, 0, "1970-01-01T00:00:00Z", 0, 0, NULL,
		"The time of the test's clock at 00:00:00."},
	{"timeout", DURATION, 0, "30s", 1, 86400000, NULL,
		"What the test may take by a real clock, its calls of the function and all."},
};

static const struct rfl_keys tables[] = {
	{"runtime", runtime_keys, RFL_COUNT(runtime_keys)},
	{"provider", provider_keys, RFL_COUNT(provider_keys)},
	{"stream", stream_keys, RFL_COUNT(stream_keys)},
	{"function", function_keys, RFL_COUNT(function_keys)},
	{"processor", processor_keys, RFL_COUNT(processor_keys)},
	{"test", test_keys, RFL_COUNT(test_keys)},
};

const struct rfl_keys *
rfl_keys_of(const char *kind)
{
	for (size_t i = 0; i < RFL_COUNT(tables); i++)
		if (strcmp(tables[i].kind, kind) == 0)
			return &tables[i];
	return NULL;
}

const char *const *
rfl_section_kinds(size_t *ret_count)
{
	static const char *const kinds[] = {
		"runtime", "provider", "gateway", "stream", "function", "processor", "test"};
	*ret_count = RFL_COUNT(kinds);
	return kinds;
}

const struct riffle_option *
rfl_key_find(const struct rfl_keys *k, const char *name)
{
	for (size_t i = 0; i < k->count; i++)
		if (strcmp(k->keys[i].name, name) == 0)
			return &k->keys[i];
	return NULL;
}
