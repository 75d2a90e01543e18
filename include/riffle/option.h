/*
 * Options as tables: the host parses, checks, documents and redacts; a plugin reads typed values.
 *
 * A plugin states one table per kind of section it takes options from. values[i] of the config it
 * is handed belongs to options[i] of that table, and has already passed the type and the bounds.
 */
#ifndef RIFFLE_OPTION_H
#define RIFFLE_OPTION_H

#include <riffle/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Types. The comment says how a value is written and what the plugin reads. */
#define RIFFLE_OPT_STRING 1u   /* text; u.s */
#define RIFFLE_OPT_BOOL 2u     /* yes no true false on off; u.i is 0 or 1 */
#define RIFFLE_OPT_INT 3u      /* decimal; u.i */
#define RIFFLE_OPT_DURATION 4u /* 250ms, 1m30s; u.i in milliseconds */
#define RIFFLE_OPT_SIZE 5u     /* 64KiB, 1GB; u.i in bytes */
#define RIFFLE_OPT_ENUM 6u     /* one of choices; u.i is its index */
#define RIFFLE_OPT_LIST 7u     /* separated by commas; u.list, NULL-terminated */
#define RIFFLE_OPT_PATH 8u     /* relative to the file it stands in; u.s is absolute */
#define RIFFLE_OPT_PASS 9u  /* name is a prefix such as "rdkafka."; the pairs go to config->pairs */
#define RIFFLE_OPT_ARGV 10u /* split as sh splits words, no expansion; u.list, NULL-terminated */

#define RIFFLE_OPT_REQUIRED (1u << 0) /* must be there, and not empty */
#define RIFFLE_OPT_SECRET (1u << 1)   /* never logged, never shown */
#define RIFFLE_OPT_RELOADABLE (1u << 2)
#define RIFFLE_OPT_DEPRECATED (1u << 3)

struct riffle_option {
	const char *name;           /* [a-z][a-z0-9.-]{0,62} */
	uint32_t type;              /* RIFFLE_OPT_STRING ... */
	uint32_t flags;             /* RIFFLE_OPT_REQUIRED ... */
	const char *def;            /* as it would be written in the file; NULL = unset */
	int64_t min, max;           /* both 0 = unbounded */
	const char *const *choices; /* NULL-terminated, for ENUM */
	const char *doc;            /* one sentence, required */
};

/* Which section of the INI a table or a config belongs to. */
#define RIFFLE_SECTION_PROVIDER 1u
#define RIFFLE_SECTION_STREAM 2u
#define RIFFLE_SECTION_FUNCTION 3u

struct riffle_option_table {
	uint32_t size;
	uint32_t section;     /* RIFFLE_SECTION_* */
	uint32_t option_size; /* stride of options[] */
	uint32_t option_count;
	const struct riffle_option *options;
};

struct riffle_value {
	uint32_t
		is_set; /* 1 = written in the file, 0 = the default, or nothing where there is none */
	uint32_t line; /* in the file; 0 = not written */
	union {
		int64_t i;
		const char *s; /* NULL when unset and without a default */
		const char *const *list;
	} u;
};

struct riffle_stream;

/* One section, checked. Lives from before create until after destroy of what it configures. */
struct riffle_config {
	uint32_t size;
	uint32_t section;     /* RIFFLE_SECTION_* */
	uint32_t value_size;  /* stride of values[] */
	uint32_t value_count; /* = option_count of the table */
	uint32_t pair_count;
	uint32_t reserved0;
	const char *name; /* "local" of [provider local] */
	const char *
		dir; /* the instance's state directory, absolute: a plugin keeps its files below it */
	const struct riffle_value *values;
	const char *const
		*pairs; /* key, value, key, value ... of RIFFLE_OPT_PASS, prefix removed */
	/* Of a stream: what it is, so that check sees its topic and partitions, and its provider's section. */
	const struct riffle_stream *stream; /* NULL in other sections */
	const struct riffle_config *provider;
};

static inline const struct riffle_value *
riffle_config_at(const struct riffle_config *c, uint32_t i)
{
	return (const struct riffle_value *)(const void *)((const unsigned char *)c->values +
							   (size_t)i * c->value_size);
}

/*
 * Where a plugin's check puts its findings: any number, each on the line of the option it names, which may be one of
 * the host's ("topic", "partitions").
 */
#define RIFFLE_REPORT_ERROR 1u
#define RIFFLE_REPORT_WARNING 2u

struct riffle_report {
	uint32_t size, reserved0;
	void *ctx; /* the host's */
	/* option NULL = the section as a whole */
	void (*add)(const struct riffle_report *report, uint32_t severity,
		const struct riffle_config *cfg, const char *option, const char *text);
	/*
	 * What the section can do as it is set, where that is less than the descriptor says: RIFFLE_CAN_*
	 * as capabilities() will say. A configuration that needs more is refused before anything starts.
	 */
	void (*can)(const struct riffle_report *report, const struct riffle_config *cfg,
		uint64_t capabilities);
};

/* For a check that may run in a host which does not ask. */
static inline void
riffle_report_can(
	const struct riffle_report *report, const struct riffle_config *cfg, uint64_t capabilities)
{
	if (report->size >= sizeof *report && report->can != NULL)
		report->can(report, cfg, capabilities);
}

#ifdef __cplusplus
}
#endif
#endif
