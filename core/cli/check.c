/* riffle check: finds every mistake of a configuration, starts nothing. */
#include "cli/cli.h"
#include "cli/common.h"
#include "cli/verb.h"

#include "base/buf.h"

#include <stdio.h>

static const char doc[] =
	"Checks a configuration and starts nothing.\v"
	"Every error is shown, with its place. Exit status 0, 3 (a plugin was refused) or 78.\n\n"
	"  riffle check -c riffle.ini\n"
	"  riffle check -c riffle.ini -o json | jq .errors";

static int
check_json(struct rfl_common *c)
{
	struct rfl_diags diags = RFL_DIAGS_INIT;
	struct rfl_buf text = RFL_BUF_INIT;
	c->file = c->file ? c->file : (c->found_file = rfl_conf_default_file());
	if (c->file == NULL)
		return rfl_common_load(c, 0);
	c->plugins = rfl_plugins_create();
	const struct rfl_conf_finder finder = rfl_plugins_finder(c->plugins);
	const struct rfl_conf_request request = {
		.file = c->file, .sets = c->sets, .finder = &finder};
	int rc = rfl_conf_load(&request, &diags, &c->conf);
	rfl_diags_json(&diags, &text);
	fputs(rfl_buf_str(&text), stdout);
	rfl_buf_fini(&text);
	rfl_diags_fini(&diags);
	return rc == RIFFLE_E_UNSUPPORTED ? RFL_EXIT_REFUSED
	       : rc < 0                   ? RFL_EXIT_CONFIG
					  : RFL_EXIT_DONE;
}

static int
run(int argc, char **argv)
{
	struct rfl_common c = {.file = NULL};
	rfl_verb_parse(&rfl_verb_check, argc, argv, &c);
	int status = c.format == RFL_FORMAT_TABLE ? rfl_common_load(&c, 0) : check_json(&c);
	if (status == 0 && c.format == RFL_FORMAT_TABLE)
		printf("%s: fine: provider sections %zu, stream %zu, function %zu, processor %zu\n",
			c.file, c.conf->provider_count, c.conf->stream_count,
			c.conf->function_count, c.conf->processor_count);
	rfl_common_fini(&c);
	return status;
}

const struct rfl_verb rfl_verb_check = {
	.name = "check",
	.summary = "check a configuration and start nothing",
	.doc = doc,
	.run = run,
};
