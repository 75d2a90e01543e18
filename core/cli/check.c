/* riffle check: finds every mistake of a configuration, starts nothing. */
#include "cli/cli.h"
#include "cli/common.h"
#include "cli/online.h"
#include "cli/rows.h"
#include "cli/verb.h"

#include "base/buf.h"
#include "conf/value.h"

#include <stdio.h>

#define DEFAULT_TIMEOUT_MS 10000

static const char doc[] =
	"Checks a configuration and starts nothing.\v"
	"Every error is shown, with its place. Exit status 0, 3 (a plugin was refused) or 78.\n"
	"With --online, what is sound on paper is asked too: each provider for its streams, each "
	"function whether it is ready. A line says what each answers; exit status 1 when one does "
	"not, or not as the configuration has it.\n\n"
	"  riffle check -c riffle.ini\n"
	"  riffle check -c riffle.ini -o json | jq .errors\n"
	"  riffle check --online --wait-timeout 30s";

enum { KEY_ONLINE = 0x2000, KEY_TIMEOUT };

static const struct argp_option options[] = {
	{"online", KEY_ONLINE, NULL, 0, "ask providers and functions whether they answer", 0},
	{"wait-timeout", KEY_TIMEOUT, "DURATION", 0,
		"online: how long an answer may take, 10s if not said", 0},
	{0},
};

struct args {
	struct rfl_common common;
	int online;
	int64_t timeout_ms;
};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;
	const char *why;
	switch (key) {
	case KEY_ONLINE:
		a->online = 1;
		return 0;
	case KEY_TIMEOUT:
		if (rfl_value_duration(arg, &a->timeout_ms, &why) < 0)
			argp_error(state, "--wait-timeout %s: %s", arg, why);
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->common;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int
exit_of(int rc)
{
	return rc == RIFFLE_E_UNSUPPORTED ? RFL_EXIT_REFUSED
	       : rc < 0                   ? RFL_EXIT_CONFIG
					  : RFL_EXIT_DONE;
}

static int
load(struct rfl_common *c, struct rfl_diags *diags)
{
	c->plugins = rfl_plugins_create();
	const struct rfl_conf_finder finder = rfl_plugins_finder(c->plugins);
	const struct rfl_conf_request request = {
		.file = c->file, .sets = c->sets, .finder = &finder};
	return exit_of(rfl_conf_load(&request, diags, &c->conf));
}

static void
print_text(const struct rfl_common *c, const struct rfl_diags *diags, const json_t *online)
{
	struct rfl_buf text = RFL_BUF_INIT;
	rfl_diags_text(diags, &text);
	fputs(rfl_buf_str(&text), stderr);
	rfl_buf_fini(&text);
	if (c->conf != NULL)
		printf("%s: fine: provider sections %zu, stream %zu, function %zu, processor %zu\n",
			c->file, c->conf->provider_count, c->conf->stream_count,
			c->conf->function_count, c->conf->processor_count);
	for (size_t i = 0; i < json_array_size(online); i++) {
		const json_t *one = json_array_get(online, i);
		const json_t *stream = json_object_get(one, "stream");
		printf("%s: %s%s%s%s%s\n", json_string_value(json_object_get(one, "section")),
			json_is_false(json_object_get(one, "ok")) ? "FAILS: " : "",
			json_is_null(stream) ? "" : "stream ",
			json_is_null(stream) ? "" : json_string_value(stream),
			json_is_null(stream) ? "" : " ",
			json_string_value(json_object_get(one, "says")));
	}
}

/* As one text, or a line for each finding and each answer. */
static void
print_json(const struct rfl_common *c, const struct rfl_diags *diags, json_t *online)
{
	struct rfl_buf text = RFL_BUF_INIT;
	rfl_diags_json(diags, &text);
	json_t *all = json_loads(rfl_buf_str(&text), 0, NULL);
	rfl_buf_fini(&text);
	if (c->format == RFL_FORMAT_JSONL) {
		rfl_print_json(c, json_object_get(all, "diagnostics"));
		rfl_print_json(c, online);
	} else {
		if (online != NULL)
			json_object_set(all, "online", online);
		json_dumpf(all, stdout, JSON_INDENT(2));
		putchar('\n');
	}
	json_decref(all);
}

static int
check(struct args *a)
{
	struct rfl_common *c = &a->common;
	struct rfl_diags diags = RFL_DIAGS_INIT;
	json_t *online = NULL;
	if (c->file == NULL)
		c->file = c->found_file = rfl_conf_default_file();
	if (c->file == NULL)
		return rfl_common_load(c, 0);
	int status = load(c, &diags);
	if (status == RFL_EXIT_DONE && a->online) {
		online = rfl_online_ask(c, a->timeout_ms);
		if (rfl_online_failures(online) > 0)
			status = RFL_EXIT_FAILED;
	}
	if (c->format == RFL_FORMAT_TABLE)
		print_text(c, &diags, online);
	else
		print_json(c, &diags, online);
	json_decref(online);
	rfl_diags_fini(&diags);
	return status;
}

static int
run(int argc, char **argv)
{
	struct args a = {.timeout_ms = DEFAULT_TIMEOUT_MS};
	rfl_verb_parse(&rfl_verb_check, argc, argv, &a);
	int status = check(&a);
	rfl_common_fini(&a.common);
	return status;
}

const struct rfl_verb rfl_verb_check = {
	.name = "check",
	.summary = "check a configuration and start nothing",
	.doc = doc,
	.options = options,
	.parse = parse,
	.run = run,
};
