/* riffle health: is the running instance ready, and if not, why. */
#include "base/clock.h"
#include "base/error.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/verb.h"
#include "conf/value.h"

#include <jansson.h>
#include <poll.h>
#include <stdlib.h>

static const char doc[] = "Asks the running instance whether it is ready.\v"
			  "Exit status 0 when it is; else 1, with the reasons.\n\n"
			  "  riffle health --wait-timeout 10s && riffle publish in -p 1";

enum { KEY_TIMEOUT = 0x2000 };

static const struct argp_option options[] = {
	{"wait-timeout", KEY_TIMEOUT, "DURATION", 0, "wait so long for it to get ready", 0},
	{0},
};

struct health {
	struct rfl_common common;
	const char *timeout;
	int64_t timeout_ms;
};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct health *h = state->input;
	const char *why;
	switch (key) {
	case KEY_TIMEOUT:
		h->timeout = arg;
		if (rfl_value_duration(arg, &h->timeout_ms, &why) < 0)
			argp_error(state, "--wait-timeout %s: %s", arg, why);
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &h->common;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void
print_reasons(const char *body)
{
	size_t i;
	json_t *reason, *all = json_loads(body, 0, NULL);
	json_array_foreach (json_object_get(all, "reasons"), i, reason)
		fprintf(stderr, "riffle health: %s\n", json_string_value(reason));
	json_decref(all);
}

static int
ask(struct health *h)
{
	struct rfl_clock clock;
	rfl_clock_init(&clock);
	int64_t end_ns = rfl_clock_mono_ns(&clock) + h->timeout_ms * 1000000;
	for (;;) {
		struct riffle_error err = {0};
		char *body = NULL;
		int status = rfl_admin_get(&h->common, "/readyz", &body, &err);
		int late = rfl_clock_mono_ns(&clock) >= end_ns;
		int is_json = h->common.format != RFL_FORMAT_TABLE;
		if (is_json && (status == 200 || (late && status > 0)))
			printf("%s\n", body);
		else if (status == 200)
			printf("ready\n");
		else if (late && status > 0)
			print_reasons(body);
		else if (late)
			rfl_failed_err("health", &err);
		free(body);
		if (status == 200)
			return RFL_EXIT_DONE;
		if (late && h->timeout != NULL)
			fprintf(stderr,
				"Timeout after \"%s\" waiting for the instance to become ready\n",
				h->timeout);
		if (late)
			return RFL_EXIT_FAILED;
		poll(NULL, 0, 50);
	}
}

static int
run(int argc, char **argv)
{
	struct health h = {.timeout = NULL};
	rfl_verb_parse(&rfl_verb_health, argc, argv, &h);
	int status = rfl_common_load(&h.common, 1);
	if (status == 0)
		status = ask(&h);
	rfl_common_fini(&h.common);
	return status;
}

const struct rfl_verb rfl_verb_health = {
	.name = "health",
	.summary = "is the running instance ready?",
	.doc = doc,
	.options = options,
	.parse = parse,
	.run = run,
};
