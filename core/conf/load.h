/*
 * From files to the checked model: reads the main file and what it includes, checks everything, and
 * reports every error there is, not the first.
 */
#ifndef RFL_CONF_LOAD_H
#define RFL_CONF_LOAD_H

#include "conf/diag.h"
#include "conf/model.h"

#include <riffle/plugin.h>

/* What configuration must know of a plugin. The tables and texts live as long as the process. */
struct rfl_conf_plugin {
	const char *name;
	uint64_t capabilities;
	const struct riffle_option_table *tables;
	uint32_t table_size, table_count;
	int (*check)(
		const struct riffle_config *cfg, const struct riffle_report *report); /* or NULL */
};

/*
 * How plugins are found, handed in so that this room need not know the loader. kind is
 * RIFFLE_KIND_*. E_NOTFOUND: no such plugin, reterr
 * lists where it was looked for. Another failure: refused, reterr says why.
 */
struct rfl_conf_finder {
	void *ctx;
	int (*find)(void *ctx, uint32_t kind, const char *name,
		const struct rfl_plugin_places *places, struct rfl_conf_plugin *ret_plugin,
		struct riffle_error *reterr);
};

struct rfl_conf_request {
	const char *file;        /* the main file; must exist */
	const char *const *sets; /* "SECTION.KEY=VALUE", NULL-terminated; or NULL */
	const struct rfl_conf_finder *finder;
	/* 1: no function will be called, so what its plugin finds in its options does not matter. */
	int calls_nothing;
};

/*
 * Returns 0 and *ret_conf when there is no error (warnings may be in diags), else a negative code,
 * E_UNSUPPORTED when a plugin that is needed was refused (exit code 3), else E_CONFIG (exit 78).
 */
int rfl_conf_load(const struct rfl_conf_request *request, struct rfl_diags *diags,
	struct rfl_conf **ret_conf);

/*
 * The file that a command without -c uses: $RIFFLE_CONFIG, ./riffle.ini, /etc/riffle/riffle.ini. NULL when there
 * is none; the caller frees.
 */
char *rfl_conf_default_file(void);

#endif
