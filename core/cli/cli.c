/* From the first word of the command line to its verb. */
#include "cli/cli.h"

#include "base/check.h"
#include "base/mem.h"
#include "cli/common.h"
#include "cli/verb.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct rfl_verb *const verbs[] = {
	&rfl_verb_run,
	&rfl_verb_check,
	&rfl_verb_test,
	&rfl_verb_publish,
	&rfl_verb_subscribe,
	&rfl_verb_stream,
	&rfl_verb_processor,
	&rfl_verb_plugin,
	&rfl_verb_health,
	&rfl_verb_why,
	&rfl_verb_manual,
	&rfl_verb_completion,
};

const struct rfl_verb *const *
rfl_verbs(size_t *ret_count)
{
	*ret_count = RFL_COUNT(verbs);
	return verbs;
}

static void
help(FILE *out)
{
	fprintf(out, "Usage: riffle VERB [OPTION...]\nRuns functions on streams of messages.\n\n");
	for (size_t i = 0; i < RFL_COUNT(verbs); i++)
		fprintf(out, "  %-11s %s\n", verbs[i]->name, verbs[i]->summary);
	fprintf(out,
		"\n`riffle VERB --help` explains a verb with an example.\n"
		"Everywhere: -c FILE, else $RIFFLE_CONFIG, ./riffle.ini, /etc/riffle/riffle.ini.\n"
		"Exit status: 0 done, 1 failed, 2 usage, 3 a plugin was refused, 78 "
		"configuration.\n");
}

static int
unknown(const char *word)
{
	const char *names[RFL_COUNT(verbs)];
	for (size_t i = 0; i < RFL_COUNT(verbs); i++)
		names[i] = verbs[i]->name;
	char *hint = rfl_did_you_mean(word, names, RFL_COUNT(verbs));
	fprintf(stderr, "riffle: there is no verb '%s'%s\n", word,
		hint[0] ? hint : "; see riffle --help");
	free(hint);
	return RFL_EXIT_USAGE;
}

static int
run_verb(const char *word, int argc, char **argv)
{
	for (size_t i = 0; i < RFL_COUNT(verbs); i++) {
		if (strcmp(word, verbs[i]->name) != 0)
			continue;
		char *name = rfl_sprintf("riffle %s", verbs[i]->name);
		argv[0] = name;
		int status = verbs[i]->run(argc, argv);
		free(name);
		return status;
	}
	return unknown(word);
}

/*
 * Where one of the three was closed, a file that is opened later would get its number: what is printed would
 * go into the log of a provider. Opened the wrong way round, so that who reads or prints is told.
 */
static void
fill_standard_fds(void)
{
	static const int modes[] = {O_WRONLY, O_RDONLY, O_WRONLY};
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) != fd)
			_exit(RFL_EXIT_FAILED);
}

/* What was printed and did not arrive is a failure, found here for all verbs. */
static int
flushed(const char *word, int status)
{
	int was_lost = ferror(stdout), rc = fflush(stdout), why = errno;
	if (status != RFL_EXIT_DONE || (rc == 0 && !was_lost))
		return status;
	return rfl_failed(word, "cannot write to stdout%s%s", rc == 0 ? "" : ": ",
		rc == 0 ? "" : strerror(why));
}

static int
choose_verb(int argc, char **argv)
{
	static char to_help[] = "--help";
	if (argc < 2) {
		help(stderr);
		return RFL_EXIT_USAGE;
	}
	if (strcmp(argv[1], "help") == 0 && argc > 2) {
		char *asked[] = {NULL, to_help, NULL};
		return run_verb(argv[2], 2, asked);
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
		strcmp(argv[1], "help") == 0) {
		help(stdout);
		return RFL_EXIT_DONE;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("riffle " RFL_VERSION "\n");
		return RFL_EXIT_DONE;
	}
	return run_verb(argv[1], argc - 1, argv + 1);
}

int
rfl_cli_main(int argc, char **argv)
{
	argp_err_exit_status = RFL_EXIT_USAGE;
	fill_standard_fds();
	const char *word = argc > 1 ? argv[1] : "";
	return flushed(word, choose_verb(argc, argv));
}
