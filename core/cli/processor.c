/* riffle processor list | status: what the running instance says of its processors. */
#include "base/error.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/rows.h"
#include "cli/verb.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char doc[] = "Shows the processors of the running instance.\v"
			  "`list` shows all of them, `status NAME` one with its tasks, as JSON.\n\n"
			  "  riffle processor list\n"
			  "  riffle processor status time-averager | jq .tasks[0].nextClose";

static const struct rfl_word words[] = {
	{"list", NULL, "shows all of them"},
	{"status", "PROCESSOR", "shows one with its tasks, as JSON"},
	{0},
};

struct args {
	struct rfl_common common;
	struct rfl_chosen chosen;
};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->common;
		return 0;
	default:
		return rfl_word_parse(words, key, arg, state, &a->chosen);
	}
}

/* "in, orders:raw" */
static char *
streams(const char *const *aliases, const char *const *names, size_t count)
{
	struct rfl_buf text = RFL_BUF_INIT;
	for (size_t i = 0; i < count; i++)
		rfl_buf_printf(&text, "%s%s%s%s", i ? ", " : "",
			strcmp(aliases[i], names[i]) ? aliases[i] : "",
			strcmp(aliases[i], names[i]) ? ":" : "", names[i]);
	return rfl_buf_take(&text);
}

static char *
sides(const struct rfl_processor_conf *p, int inputs)
{
	size_t count = inputs ? p->input_count : p->output_count;
	const char **aliases = rfl_zalloc((count + 1) * sizeof *aliases);
	const char **names = rfl_zalloc((count + 1) * sizeof *names);
	for (size_t i = 0; i < count; i++) {
		aliases[i] = inputs ? p->inputs[i].alias : p->outputs[i].alias;
		names[i] = inputs ? p->inputs[i].stream->name : p->outputs[i].stream->name;
	}
	char *text = streams(aliases, names, count);
	free(aliases);
	free(names);
	return text;
}

static const char *
state_of(const json_t *list, const char *name)
{
	size_t i;
	json_t *one;
	json_array_foreach ((json_t *)(uintptr_t)list, i, one)
		if (strcmp(json_string_value(json_object_get(one, "name")), name) == 0)
			return json_string_value(json_object_get(one, "state"));
	return NULL;
}

static void
print_list(const struct rfl_common *common, const char *body)
{
	const struct rfl_conf *c = common->conf;
	json_t *list = json_loads(body, 0, NULL);
	if (common->format != RFL_FORMAT_TABLE) {
		rfl_print_json(common, list);
		json_decref(list);
		return;
	}
	static const char *const columns[] = {
		"NAME", "FUNCTION", "INPUTS", "OUTPUTS", "STATUS", NULL};
	const char **cells = rfl_zalloc((c->processor_count * 5 + 1) * sizeof *cells);
	char **texts = rfl_zalloc((c->processor_count * 2 + 1) * sizeof *texts);
	for (size_t i = 0; i < c->processor_count; i++) {
		const struct rfl_processor_conf *p = c->processors[i];
		texts[2 * i] = sides(p, 1);
		texts[2 * i + 1] = sides(p, 0);
		const char *row[] = {p->name, p->function->name, texts[2 * i], texts[2 * i + 1],
			state_of(list, p->name)};
		memcpy(cells + 5 * i, row, sizeof row);
	}
	rfl_print_rows(common, "processors", columns, cells, c->processor_count);
	for (size_t i = 0; i < c->processor_count * 2; i++)
		free(texts[i]);
	free(texts);
	free(cells);
	json_decref(list);
}

static int
show(struct args *a)
{
	struct riffle_error err = {0};
	const char *name = a->chosen.name;
	char *body = NULL;
	char *path = name ? rfl_sprintf("/v1/processors/%s", name) : rfl_strdup("/v1/processors");
	int status = rfl_admin_get(&a->common, path, &body, &err);
	free(path);
	if (status < 0)
		return rfl_failed_err("processor", &err);
	if (status != 200) {
		free(body);
		return rfl_failed("processor",
			name && status == 404 ? "there is no processor \"%s\"" : "%s",
			name && status == 404 ? name : "the instance does not answer as it should");
	}
	if (name != NULL)
		printf("%s\n", body);
	else
		print_list(&a->common, body);
	free(body);
	return RFL_EXIT_DONE;
}

static int
run(int argc, char **argv)
{
	struct args a = {.chosen = {NULL, NULL}};
	rfl_verb_parse(&rfl_verb_processor, argc, argv, &a);
	int status = rfl_common_load(&a.common, 1);
	if (status == 0)
		status = show(&a);
	rfl_common_fini(&a.common);
	return status;
}

const struct rfl_verb rfl_verb_processor = {
	.name = "processor",
	.summary = "what the running instance's processors do",
	.doc = doc,
	.words = words,
	.parse = parse,
	.run = run,
};
