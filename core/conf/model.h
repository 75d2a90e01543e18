/*
 * The checked configuration: what the files say after every name, unit and reference was resolved.
 *
 * Made once by rfl_conf_load, then constant; everything in it lives until rfl_conf_free. Whoever holds a
 * pointer into it holds nothing else of the files.
 */
#ifndef RFL_CONF_MODEL_H
#define RFL_CONF_MODEL_H

#include <riffle/option.h>
#include <riffle/provider.h>

#include <stddef.h>
#include <stdint.h>

struct rfl_json_path;
struct rfl_zone;

/* Where something stands: file as it was named or found, line and column from 1. */
struct rfl_place {
	const char *file; /* "--set" for the command line */
	uint32_t line, column;
};

/* How plugins are watched while they run: `guard` of [runtime]. */
enum rfl_guard_mode { RFL_GUARD_OFF, RFL_GUARD_NORMAL, RFL_GUARD_DEBUG };

/* Where plugins come from, and under which conditions. */
struct rfl_plugin_places {
	char **dirs;  /* NULL-terminated, absolute, searched first to last */
	char **pins;  /* "invoker-grpc:<sha256 in hex>", NULL-terminated; NULL = none */
	int insecure; /* who may write the files is not looked at */
};

struct rfl_runtime_conf {
	char *namespace; /* "default" */
	char *instance;  /* stable id; NULL = not written: kept in the state directory */
	char *state_dir; /* absolute */
	struct rfl_plugin_places plugins;
	char *admin;          /* absolute path of the Unix socket; NULL = none ("admin = none") */
	uint32_t workers;     /* threads; default 1 */
	int64_t memory_bytes; /* per task; default 64MiB */
	int64_t spill_bytes;  /* per task, beyond that; default 0 */
	int64_t commit_interval_ms;  /* -1 = not written: 1s, under exactly-once 100ms */
	int64_t shutdown_timeout_ms; /* default 30s */
	int log_level;               /* RIFFLE_LOG_* */
	int log_format;              /* enum rfl_log_format */
	enum rfl_guard_mode guard;
	int64_t plugin_timeout_ms; /* what a call into a plugin may take; default 10s, 0 = for ever */
};

struct rfl_provider_conf {
	char *name, *type;
	struct rfl_place place;
	uint64_t capabilities;       /* the most its plugin declares: RIFFLE_CAN_* */
	struct riffle_config config; /* by the plugin's provider table */
};

enum rfl_provision { RFL_PROVISION_CREATE, RFL_PROVISION_VERIFY };

/* What a record is wrapped in on its provider. */
enum rfl_stream_encoding {
	RFL_ENCODING_NONE,        /* raw: nothing, also not when it looks like an envelope */
	RFL_ENCODING_CLOUDEVENTS, /* the attributes in headers */
	RFL_ENCODING_STRUCTURED,  /* attributes and data in the value, as JSON */
	RFL_ENCODING_RIFF_MESSAGE /* riff 0.5's protobuf message in the value */
};

struct rfl_stream_conf {
	char *name;
	struct rfl_place place;
	const struct rfl_provider_conf *provider;
	enum rfl_provision provision;
	enum rfl_stream_encoding encoding;
	int compat_riff; /* what riff writes is read by its names, and written so that riff reads it */
	struct riffle_stream
		stream; /* as handed to the plugin; name, topic, content type, partitions */
	struct riffle_config config; /* by the plugin's stream table */
};

struct rfl_function_conf {
	char *name, *invoker;
	struct rfl_place place;
	uint64_t capabilities;
	int64_t timeout_ms; /* from the end of the input; default 1m; 0 = none */
	struct riffle_config config;
};

struct rfl_input_conf {
	char *alias;
	const struct rfl_stream_conf *stream;
	uint32_t start; /* RIFFLE_START_* */
	int64_t start_value;
};

struct rfl_output_conf {
	char *alias;
	const struct rfl_stream_conf *stream;
};

enum rfl_time_source {
	RFL_TIME_PROCESSING, /* when it is read */
	RFL_TIME_RECORD,     /* what the broker keeps with the record */
	RFL_TIME_HEADER,
	RFL_TIME_JSON
};

/* Where the time of a record is. Header and JSON: a number in that unit, or RFC 3339 text. */
struct rfl_time_conf {
	enum rfl_time_source source;
	char *name;                 /* header name */
	struct rfl_json_path *path; /* json */
	int64_t unit_ns;            /* 1, 1000, 1000000, 1000000000 */
};

enum rfl_key_source { RFL_BY_NOTHING, RFL_BY_KEY, RFL_BY_HEADER, RFL_BY_JSON };

/* What makes the key of keyed windows. */
struct rfl_by_conf {
	enum rfl_key_source source;
	char *name;
	struct rfl_json_path *path;
};

/* The shapes of window/window.h, in the same order. */
enum rfl_window_kind {
	RFL_WINDOW_NONE,
	RFL_WINDOW_COUNT,
	RFL_WINDOW_TUMBLING,
	RFL_WINDOW_HOPPING,
	RFL_WINDOW_SESSION
};

struct rfl_window_conf {
	enum rfl_window_kind kind;
	int64_t size_ms;  /* tumbling, hopping D; count N or D: the D, else 0; session: gap */
	int64_t slide_ms; /* hopping: every D */
	int64_t max_ms;   /* session: max D */
	uint64_t count;   /* count N */
	int64_t offset_ms;
	char *zone_name;             /* align; NULL = UTC */
	const struct rfl_zone *zone; /* NULL = UTC */
	/*
	 * The resolved settings in one spelling whatever the file wrote, e.g.
	 * "tumbling 10000 time processing". Its fingerprint guards committed positions.
	 */
	char *canonical;
};

enum rfl_guarantee { RFL_AT_MOST_ONCE, RFL_AT_LEAST_ONCE, RFL_EXACTLY_ONCE };
enum rfl_final_action { RFL_ON_ERROR_STOP, RFL_ON_ERROR_SKIP, RFL_ON_ERROR_DEAD_LETTER };

struct rfl_on_error_conf {
	uint32_t retries; /* 0 = none */
	int64_t backoff_min_ms, backoff_max_ms;
	enum rfl_final_action then;
	const struct rfl_stream_conf *dead_letter; /* of RFL_ON_ERROR_DEAD_LETTER */
};

enum rfl_late_action { RFL_LATE_DROP, RFL_LATE_STREAM, RFL_LATE_STOP };
enum rfl_delivery { RFL_AT_CLOSE, RFL_STREAMING };

struct rfl_processor_conf {
	char *name;
	struct rfl_place place;
	char *group; /* "<namespace>.<processor>" */
	const struct rfl_function_conf *function;
	struct rfl_input_conf *inputs;
	size_t input_count; /* at least 1 */
	struct rfl_output_conf *outputs;
	size_t output_count; /* 0 is fine */
	struct rfl_window_conf window;
	struct rfl_time_conf time;
	struct rfl_by_conf by;
	int64_t max_disorder_ms;
	int64_t max_future_ms; /* a time further ahead of the wall clock is refused; default 5m */
	int64_t idle_after_ms; /* default 30s */
	int64_t close_after_idle_ms; /* resolved; -1 = never */
	enum rfl_late_action late;
	const struct rfl_stream_conf *late_stream;
	/* Exactly-once sessions: has what does not fit a position; NULL = none. No destination. */
	const struct rfl_stream_conf *checkpoint;
	int64_t early_ms; /* 0 = no early panes */
	int emit_empty, pane_headers, keep;
	enum rfl_delivery delivery; /* resolved */
	int output_key_none; /* outputs without a key of their own have none, even with `by` */
	enum rfl_guarantee guarantee;
	struct rfl_on_error_conf on_error;
	int outputs_at_status; /* hold outputs until the call's status; always 1 under exactly-once */
	int64_t max_outputs_bytes;  /* held outputs of one call; default 64MiB */
	uint32_t calls;             /* open at once per task; default 16 */
	uint32_t max_records;       /* per read of a lane; default 1000 */
	int64_t commit_interval_ms; /* resolved */
};

/* A line of send or expect; everything in it lives as long as the configuration. */
struct rfl_test_record {
	const struct rfl_stream_conf *stream;
	int64_t time_ms;               /* send: since 1970, on the test's clock */
	struct riffle_bytes key;       /* absent: none is sent; expect: any will do */
	struct riffle_bytes value;     /* never absent */
	struct riffle_header *headers; /* send */
	uint32_t header_count;
	struct rfl_place place;
};

/* What a processor answers to a few records, on a clock that is turned by hand. */
struct rfl_test_conf {
	char *name;
	struct rfl_place place;
	const struct rfl_processor_conf *processor;
	int64_t start_ms;   /* since 1970: 00:00:00 of the test's times; default 0 */
	int64_t timeout_ms; /* by a real clock: what its calls may take together; default 30s */
	struct rfl_test_record *sends; /* in the order of the lines */
	size_t send_count;             /* at least 1 */
	struct rfl_test_record *expects;
	size_t expect_count;
	int has_expect; /* 0: nothing is compared. With it, what is not in expects may not come */
};

struct rfl_conf {
	char *file; /* the main file, absolute */
	struct rfl_runtime_conf runtime;
	struct rfl_provider_conf **providers;
	size_t provider_count;
	struct rfl_stream_conf **streams;
	size_t stream_count;
	struct rfl_function_conf **functions;
	size_t function_count;
	struct rfl_processor_conf **processors;
	size_t processor_count;
	struct rfl_test_conf **tests;
	size_t test_count;
	struct rfl_conf_memory *memory; /* what everything above is allocated from */
};

/*
 * Whether a function that can do that (RIFFLE_CAN_*) may have the inputs, or the outputs, of a processor.
 */
int rfl_conf_judge_inputs(
	const struct rfl_processor_conf *p, uint64_t capabilities, struct riffle_error *reterr);
int rfl_conf_judge_outputs(
	const struct rfl_processor_conf *p, uint64_t capabilities, struct riffle_error *reterr);

/*
 * Where a processor writes: its outputs in their order, then its late and its dead-letter stream where it
 * has them. list has room for output_count + 2. Returns how many.
 */
size_t rfl_conf_destinations(
	const struct rfl_processor_conf *p, const struct rfl_stream_conf **list);
/* The group that a processor reads a stream of that provider as. The caller frees. */
char *rfl_conf_group(const struct rfl_processor_conf *p, const struct rfl_provider_conf *provider);
/* It keeps the records of its windows, and could have keep = no. */
int rfl_conf_may_let_go(const struct rfl_processor_conf *p);
const struct rfl_stream_conf *rfl_conf_stream(const struct rfl_conf *c, const char *name);
const struct rfl_provider_conf *rfl_conf_provider(const struct rfl_conf *c, const char *name);
void rfl_conf_free(struct rfl_conf *c); /* NULL is a no-op */

#endif
