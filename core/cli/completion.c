/* riffle completion: what shells complete the command with. */
#include "cli/completion.h"

#include "base/check.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/common.h"
#include "cli/find_plugin.h"
#include "cli/verb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char doc[] =
	"Prints a completion script for a shell, or the names that such a script asks for.\v"
	"The names are those of the configuration; no provider and no instance is asked.\n\n"
	"  riffle completion bash >/etc/bash_completion.d/riffle\n"
	"  riffle completion zsh >/usr/local/share/zsh/site-functions/_riffle\n"
	"  riffle completion fish >~/.config/fish/completions/riffle.fish";

static const struct rfl_word words[] = {
	{"bash", NULL, "the script for bash"},
	{"zsh", NULL, "the script for zsh"},
	{"fish", NULL, "the script for fish"},
	{"streams", NULL, "the names of the streams"},
	{"processors", NULL, "the names of the processors"},
	{"providers", NULL, "the names of the providers"},
	{"functions", NULL, "the names of the functions"},
	{"plugins", NULL, "the names of the plugins"},
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
	if (key == ARGP_KEY_INIT) {
		state->child_inputs[0] = &a->common;
		return 0;
	}
	return rfl_word_parse(words, key, arg, state, &a->chosen);
}

const char *
rfl_completion_names(const char *kind, size_t len)
{
	static const char *const names[][2] = {{"STREAM", "streams"}, {"PROCESSOR", "processors"},
		{"PROVIDER", "providers"}, {"FUNCTION", "functions"}, {"PLUGIN", "plugins"}};
	for (size_t i = 0; i < RFL_COUNT(names); i++)
		if (strlen(names[i][0]) == len && strncmp(names[i][0], kind, len) == 0)
			return names[i][1];
	return NULL;
}

static int
print_plugins(struct rfl_common *c)
{
	int status = rfl_plugin_dirs(c, NULL);
	char **names = status == 0 ? rfl_plugin_names(c) : NULL;
	for (size_t i = 0; names != NULL && names[i] != NULL; i++)
		printf("%s\n", names[i]);
	rfl_names_free(names);
	return status;
}

static int
print_names(struct args *a)
{
	int status = rfl_common_load(&a->common, 1);
	const struct rfl_conf *c = a->common.conf;
	if (status != 0)
		return status;
	for (size_t i = 0; rfl_word_is(&a->chosen, "streams") && i < c->stream_count; i++)
		printf("%s\n", c->streams[i]->name);
	for (size_t i = 0; rfl_word_is(&a->chosen, "processors") && i < c->processor_count; i++)
		printf("%s\n", c->processors[i]->name);
	for (size_t i = 0; rfl_word_is(&a->chosen, "providers") && i < c->provider_count; i++)
		printf("%s\n", c->providers[i]->name);
	for (size_t i = 0; rfl_word_is(&a->chosen, "functions") && i < c->function_count; i++)
		printf("%s\n", c->functions[i]->name);
	return RFL_EXIT_DONE;
}

static int
run(int argc, char **argv)
{
	struct args a = {.chosen = {NULL, NULL}};
	struct rfl_buf script = RFL_BUF_INIT;
	int status = RFL_EXIT_DONE;
	rfl_verb_parse(&rfl_verb_completion, argc, argv, &a);
	if (rfl_word_is(&a.chosen, "bash"))
		rfl_completion_bash(&script);
	else if (rfl_word_is(&a.chosen, "zsh"))
		rfl_completion_zsh(&script);
	else if (rfl_word_is(&a.chosen, "fish"))
		rfl_completion_fish(&script);
	else if (rfl_word_is(&a.chosen, "plugins"))
		status = print_plugins(&a.common);
	else
		status = print_names(&a);
	fputs(rfl_buf_str(&script), stdout);
	rfl_buf_fini(&script);
	rfl_common_fini(&a.common);
	return status;
}

const struct rfl_verb rfl_verb_completion = {
	.name = "completion",
	.summary = "print a completion script",
	.doc = doc,
	.words = words,
	.parse = parse,
	.run = run,
};
