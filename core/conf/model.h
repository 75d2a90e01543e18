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

enum rfl_window_kind { RFL_WINDOW_NONE, RFL_WINDOW_COUNT, RFL_WINDOW_TUMBLING };

struct rfl_window_conf {
	enum rfl_window_kind kind;
	int64_t size_ms; /* tumbling D; count N or D: the D, else 0 */
	uint64_t count;  /* count N */
	/*
	 * The resolved settings in one spelling whatever the file wrote, e.g.
	 * "tumbling 10000 time processing". Its fingerprint guards committed positions.
	 */
	char *canonical;
};

enum rfl_guarantee { RFL_AT_MOST_ONCE, RFL_AT_LEAST_ONCE, RFL_EXACTLY_ONCE };
enum rfl_final_action { RFL_ON_ERROR_STOP, RFL_ON_ERROR_SKIP };

struct rfl_on_error_conf {
	uint32_t retries; /* 0 = none */
	int64_t backoff_min_ms, backoff_max_ms;
	enum rfl_final_action then;
};

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
	enum rfl_guarantee guarantee;
	struct rfl_on_error_conf on_error;
	int outputs_at_status; /* hold outputs until the call's status; always 1 under exactly-once */
	int64_t max_outputs_bytes;  /* held outputs of one call; default 64MiB */
	uint32_t calls;             /* open at once per task; default 16 */
	uint32_t max_records;       /* per read of a lane; default 1000 */
	int64_t commit_interval_ms; /* resolved */
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
	struct rfl_conf_memory *memory; /* what everything above is allocated from */
};

const struct rfl_stream_conf *rfl_conf_stream(const struct rfl_conf *c, const char *name);
const struct rfl_provider_conf *rfl_conf_provider(const struct rfl_conf *c, const char *name);
void rfl_conf_free(struct rfl_conf *c); /* NULL is a no-op */

#endif
