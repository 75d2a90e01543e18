/* The table of verbs: help, manual pages and shell completion are made from its rows. */
#ifndef RFL_CLI_CLI_H
#define RFL_CLI_CLI_H

#include <argp.h>
#include <stddef.h>

enum rfl_exit {
	RFL_EXIT_DONE = 0,
	RFL_EXIT_FAILED = 1,
	RFL_EXIT_USAGE = 2,
	RFL_EXIT_REFUSED = 3, /* a plugin was refused */
	RFL_EXIT_CONFIG = 78
};

/*
 * What follows a verb: `create NAME` of `riffle stream create NAME`. args is one name, in [] where it may
 * be left out, or NULL. The shells complete it by what it is called: STREAM, PROCESSOR, PROVIDER, FUNCTION
 * and PLUGIN by the names there are, FILE and DIR by paths, a|b by those words, anything else not at all.
 * The same holds for the args of a verb and the argument of an option.
 */
struct rfl_word {
	const char *name, *args, *summary;
};

struct rfl_verb {
	const char *name; /* "stream" */
	const char *summary;
	const char *
		doc; /* one sentence, \v, the rest; lines that begin with two blanks are examples */
	const char *args;                  /* "STREAM"; NULL: none but its words */
	const struct rfl_word *words;      /* ends with an empty row; NULL: none */
	const struct argp_option *options; /* beside those that all verbs have; NULL: none */
	argp_parser_t parse; /* its input begins with a struct rfl_common; NULL: that is all */
	/* argv[0] is "riffle stream"; returns the exit status. */
	int (*run)(int argc, char **argv);
};

int rfl_cli_main(int argc, char **argv);
const struct rfl_verb *const *rfl_verbs(size_t *ret_count);

extern const struct rfl_verb rfl_verb_check, rfl_verb_completion, rfl_verb_health, rfl_verb_manual,
	rfl_verb_plugin, rfl_verb_processor, rfl_verb_publish, rfl_verb_run, rfl_verb_stream,
	rfl_verb_subscribe, rfl_verb_test, rfl_verb_why;

#endif
