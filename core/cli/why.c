/* riffle why: what a processor of the running instance waits for, in one paragraph. */
#include "base/error.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/verb.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char doc[] = "Says what a processor of the running instance waits for.\v"
			  "One line for the processor, and one for each of its partitions.\n\n"
			  "  riffle why time-averager";

struct args {
	struct rfl_common common;
	const char *name;
};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->common;
		return 0;
	case ARGP_KEY_ARG:
		if (a->name != NULL)
			argp_error(state, "one processor at a time");
		a->name = arg;
		return 0;
	case ARGP_KEY_END:
		if (a->name == NULL)
			argp_error(state, "a processor has to be named");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void
print(const json_t *p)
{
	size_t i;
	json_t *t;
	const char *why = json_string_value(json_object_get(p, "why"));
	printf("%s is %s%s%s.\n", json_string_value(json_object_get(p, "name")),
		json_string_value(json_object_get(p, "state")), why ? ": " : "", why ? why : "");
	json_array_foreach (json_object_get(p, "tasks"), i, t)
		printf("Partition %d: %s\n",
			(int)json_integer_value(json_object_get(t, "partition")),
			json_string_value(json_object_get(t, "waitsFor")));
}

static int
ask(struct args *a)
{
	struct riffle_error err = {0};
	char *body = NULL, *path = rfl_sprintf("/v1/processors/%s", a->name);
	int status = rfl_admin_get(&a->common, path, &body, &err);
	free(path);
	if (status < 0)
		return rfl_failed_err("why", &err);
	json_t *p = status == 200 ? json_loads(body, 0, NULL) : NULL;
	if (status == 404)
		rfl_failed("why", "there is no processor \"%s\"", a->name);
	else if (p == NULL)
		rfl_failed("why", "the instance does not answer as it should");
	else if (a->common.format == RFL_FORMAT_TABLE)
		print(p);
	else
		printf("%s\n", body);
	free(body);
	json_decref(p);
	return p ? RFL_EXIT_DONE : RFL_EXIT_FAILED;
}

static int
run(int argc, char **argv)
{
	struct args a = {.name = NULL};
	rfl_verb_parse(&rfl_verb_why, argc, argv, &a);
	int status = rfl_common_load(&a.common, 1);
	if (status == 0)
		status = ask(&a);
	rfl_common_fini(&a.common);
	return status;
}

const struct rfl_verb rfl_verb_why = {
	.name = "why",
	.summary = "what does a processor wait for?",
	.doc = doc,
	.args = "PROCESSOR",
	.parse = parse,
	.run = run,
};
