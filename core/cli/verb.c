/* A verb's command line, read by its row of the table. */
#include "cli/verb.h"

#include "base/buf.h"
#include "base/mem.h"
#include "cli/common.h"
#include "conf/value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONG_OPTIONS_MAX 64

char *
rfl_did_you_mean(const char *word, const char *const *words, size_t count)
{
	const char *near = rfl_value_nearest(word, words, count);
	return near ? rfl_sprintf("; did you mean '%s'?", near) : rfl_strdup("");
}

int
rfl_choice(const char *choices, const char *word)
{
	for (int i = 0; *choices != '\0'; i++) {
		size_t len = strcspn(choices, "|");
		if (strlen(word) == len && strncmp(choices, word, len) == 0)
			return i;
		choices += len + (choices[len] == '|');
	}
	return -1;
}

/* Both tables of a verb's options, its own and those of all verbs, as one run. */
static const struct argp_option *
next_option(const struct rfl_verb *v, size_t *at)
{
	const struct argp_option *o = v->options;
	size_t i = (*at)++;
	for (; o != NULL && (o->name != NULL || o->key != 0); o++)
		if (i-- == 0)
			return o;
	o = rfl_common_argp.options + i;
	return o->name != NULL || o->key != 0 ? o : NULL;
}

/* As getopt finds it: the whole name, or a beginning. */
static const struct argp_option *
find_long(const struct rfl_verb *v, const char *name, size_t len)
{
	const struct argp_option *o;
	for (size_t at = 0; (o = next_option(v, &at)) != NULL;)
		if (o->name != NULL && strncmp(o->name, name, len) == 0)
			return o;
	return NULL;
}

/* Does a group of short options, "-bn", take the next word as a value? */
static int
takes_next(const struct rfl_verb *v, const char *letters)
{
	const struct argp_option *o;
	for (; *letters != '\0'; letters++)
		for (size_t at = 0; (o = next_option(v, &at)) != NULL;)
			if (o->key == *letters && o->arg != NULL)
				return letters[1] == '\0';
	return 0;
}

static void
refuse_option(const struct rfl_verb *v, const char *program, const char *name, size_t len)
{
	const char *names[LONG_OPTIONS_MAX] = {"help", "usage"};
	size_t count = 2;
	const struct argp_option *o;
	for (size_t at = 0; (o = next_option(v, &at)) != NULL && count < LONG_OPTIONS_MAX;)
		if (o->name != NULL)
			names[count++] = o->name;
	char *word = rfl_strndup(name, len);
	const char *near = rfl_value_nearest(word, names, count);
	if (near != NULL)
		fprintf(stderr, "%s: there is no option '--%s'; did you mean '--%s'?\n", program,
			word, near);
	else
		fprintf(stderr, "%s: there is no option '--%s'; see %s --help\n", program, word,
			program);
	free(word);
	exit(RFL_EXIT_USAGE);
}

/* getopt names what it does not know and nothing else, so the long options are looked at before it. */
static void
check_long_options(const struct rfl_verb *v, int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		const char *name = argv[i] + 2;
		if (argv[i][0] != '-')
			continue;
		if (argv[i][1] != '-') {
			i += takes_next(v, argv[i] + 1);
			continue;
		}
		size_t len = strcspn(name, "=");
		const struct argp_option *o = find_long(v, name, len);
		if (o != NULL)
			i += o->arg != NULL && name[len] == '\0' &&
			     !(o->flags & OPTION_ARG_OPTIONAL);
		else if (strncmp("help", name, len) != 0 && strncmp("usage", name, len) != 0)
			refuse_option(v, argv[0], name, len);
	}
}

/* "create NAME\nlist": one line each in the usage. */
static char *
args_doc(const struct rfl_verb *v)
{
	struct rfl_buf text = RFL_BUF_INIT;
	if (v->words == NULL)
		return rfl_strdup(v->args);
	for (const struct rfl_word *w = v->words; w->name != NULL; w++)
		rfl_buf_printf(&text, "%s%s%s%s", w == v->words ? "" : "\n", w->name,
			w->args ? " " : "", w->args ? w->args : "");
	return rfl_buf_take(&text);
}

void
rfl_verb_parse(const struct rfl_verb *v, int argc, char **argv, void *input)
{
	const struct argp_child children[] = {{&rfl_common_argp, 0, NULL, 0}, {0}};
	char *args = args_doc(v);
	const struct argp argp = {.options = v->options,
		.parser = v->parse,
		.args_doc = args,
		.doc = v->doc,
		.children = children};
	check_long_options(v, argc, argv);
	argp_parse(&argp, argc, argv, 0, NULL, input);
	free(args);
}

/* "create NAME, or list, is meant" */
static _Noreturn void
no_word(const struct rfl_word *words, struct argp_state *state)
{
	struct rfl_buf text = RFL_BUF_INIT;
	for (const struct rfl_word *w = words; w->name != NULL; w++)
		rfl_buf_printf(&text, "%s%s%s%s",
			w == words          ? ""
			: w[1].name == NULL ? " or "
					    : ", ",
			w->name, w->args ? " " : "", w->args ? w->args : "");
	argp_error(state, "%s is meant", rfl_buf_str(&text));
	abort();
}

static const struct rfl_word *
find_word(const struct rfl_word *words, const char *arg, struct argp_state *state)
{
	const char *names[LONG_OPTIONS_MAX];
	size_t count = 0;
	for (const struct rfl_word *w = words; w->name != NULL; w++) {
		if (strcmp(w->name, arg) == 0)
			return w;
		names[count++] = w->name;
	}
	const char *near = rfl_value_nearest(arg, names, count);
	if (near == NULL)
		no_word(words, state);
	argp_error(state, "there is no '%s'; did you mean '%s'?", arg, near);
	return NULL;
}

error_t
rfl_word_parse(const struct rfl_word *words, int key, char *arg, struct argp_state *state,
	struct rfl_chosen *ret)
{
	switch (key) {
	case ARGP_KEY_ARG:
		if (ret->word == NULL)
			ret->word = find_word(words, arg, state);
		else if (ret->word->args != NULL && ret->name == NULL)
			ret->name = arg;
		else
			argp_error(state, "'%s' is too much behind %s", arg, ret->word->name);
		return 0;
	case ARGP_KEY_END:
		if (ret->word == NULL)
			no_word(words, state);
		if (ret->word->args != NULL && ret->word->args[0] != '[' && ret->name == NULL)
			argp_error(state, "%s %s is meant", ret->word->name, ret->word->args);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int
rfl_word_is(const struct rfl_chosen *c, const char *name)
{
	return strcmp(c->word->name, name) == 0;
}
