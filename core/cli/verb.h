/* Reading the command line of one verb by its row: options, words, and the nearest one to what is unknown. */
#ifndef RFL_CLI_VERB_H
#define RFL_CLI_VERB_H

#include "cli/cli.h"

/* The word of a verb that was written, and the name behind it. */
struct rfl_chosen {
	const struct rfl_word *word;
	const char *name; /* NULL where none was written */
};

/* Ends the process with RFL_EXIT_USAGE and the reason when the line cannot be; 0 for --help. */
void rfl_verb_parse(const struct rfl_verb *v, int argc, char **argv, void *input);

/*
 * For the default case of a verb's own parser: takes the word and its name, refuses what is unknown, missing
 * or too much. ARGP_ERR_UNKNOWN for all other keys.
 */
error_t rfl_word_parse(const struct rfl_word *words, int key, char *arg, struct argp_state *state,
	struct rfl_chosen *ret);
int rfl_word_is(const struct rfl_chosen *c, const char *name);

/* The place of a word in "table|json|jsonl", or -1. */
int rfl_choice(const char *choices, const char *word);

/* "; did you mean 'x'?", or "". The caller frees. */
char *rfl_did_you_mean(const char *word, const char *const *words, size_t count);

#endif
