/* What verbs share: the options that are everywhere, loading the configuration, talking to the daemon. */
#ifndef RFL_CLI_COMMON_H
#define RFL_CLI_COMMON_H

#include "conf/load.h"
#include "plugin/plugin.h"

#include <argp.h>
#include <stdio.h>

enum rfl_format { RFL_FORMAT_TABLE, RFL_FORMAT_JSON, RFL_FORMAT_JSONL };

struct rfl_common {
	const char *file; /* -c */
	const char **sets;
	size_t set_count, set_room;
	enum rfl_format format;
	int no_color;
	char *found_file;
	char *only_dir[2]; /* --plugin-dir, where it takes the place of the configuration's */
	struct rfl_plugins *plugins;
	struct rfl_conf *conf;
};

/* A child parser for -c, --set, -o, --no-color; its input is a struct rfl_common. */
extern const struct argp rfl_common_argp;

/*
 * Loads the configuration and prints its findings to stderr. 0, or the exit status to end with.
 * quiet: warnings are not printed.
 */
int rfl_common_load(struct rfl_common *c, int quiet);
void rfl_common_fini(struct rfl_common *c);

/* GET over the admin socket: the status, or -1 with why. *ret_body is freed by the caller. */
int rfl_admin_get(
	const struct rfl_common *c, const char *path, char **ret_body, struct riffle_error *reterr);

/* Says "riffle VERB: text" on stderr; returns RFL_EXIT_FAILED. */
int rfl_failed(const char *verb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int rfl_failed_err(const char *verb, const struct riffle_error *err);

#endif
