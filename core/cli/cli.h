/* The verbs of the command, one file each. */
#ifndef RFL_CLI_CLI_H
#define RFL_CLI_CLI_H

enum rfl_exit {
	RFL_EXIT_DONE = 0,
	RFL_EXIT_FAILED = 1,
	RFL_EXIT_USAGE = 2,
	RFL_EXIT_REFUSED = 3, /* a plugin was refused */
	RFL_EXIT_CONFIG = 78
};

struct rfl_verb {
	const char *name; /* "stream" */
	const char *summary;
	/* argv[0] is "riffle stream"; returns the exit status. */
	int (*run)(int argc, char **argv);
};

int rfl_cli_main(int argc, char **argv);

int rfl_verb_run(int argc, char **argv);
int rfl_verb_check(int argc, char **argv);
int rfl_verb_publish(int argc, char **argv);
int rfl_verb_subscribe(int argc, char **argv);
int rfl_verb_stream(int argc, char **argv);
int rfl_verb_plugin(int argc, char **argv);
int rfl_verb_health(int argc, char **argv);
int rfl_verb_processor(int argc, char **argv);

#endif
