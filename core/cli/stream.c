/* riffle stream create | list: streams as drop-in files, and as their providers know them. */
#include "base/error.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/rows.h"
#include "cli/verb.h"
#include "conf/value.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char doc[] =
	"Creates a stream, or lists those of the configuration.\v"
	"`create` writes a drop-in file to conf.d in the state directory and makes the stream on "
	"its "
	"provider; --dry-run prints the file instead. A running instance takes it up at its next "
	"start.\n\n"
	"  riffle stream create orders --provider local --content-type application/json\n"
	"  riffle stream list";

enum { KEY_PROVIDER = 0x2000, KEY_GATEWAY, KEY_TYPE, KEY_PARTITIONS, KEY_DRY_RUN };

static const struct argp_option options[] = {
	{"provider", KEY_PROVIDER, "PROVIDER", 0, "the provider it lies on", 0},
	{"gateway", KEY_GATEWAY, "PROVIDER", 0, "the same", 0},
	{"content-type", KEY_TYPE, "TYPE", 0, "its content type", 0},
	{"partitions", KEY_PARTITIONS, "N", 0, "how many partitions it has", 0},
	{"dry-run", KEY_DRY_RUN, NULL, 0, "print the file, change nothing", 0},
	{0},
};

static const struct rfl_word words[] = {
	{"create", "NAME", "makes a stream, and a drop-in file that keeps it"},
	{"list", NULL, "shows the streams of the configuration"},
	{0},
};

struct args {
	struct rfl_common common;
	struct rfl_chosen chosen;
	const char *name, *provider, *type, *partitions;
	int dry_run;
};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;
	switch (key) {
	case KEY_PROVIDER:
	case KEY_GATEWAY:
		a->provider = arg;
		return 0;
	case KEY_TYPE:
		a->type = arg;
		return 0;
	case KEY_PARTITIONS:
		a->partitions = arg;
		return 0;
	case KEY_DRY_RUN:
		a->dry_run = 1;
		return 0;
	case ARGP_KEY_SUCCESS:
		a->name = a->chosen.name;
		if (rfl_word_is(&a->chosen, "create") && a->provider == NULL)
			argp_error(state, "create needs --provider");
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->common;
		return 0;
	default:
		return rfl_word_parse(words, key, arg, state, &a->chosen);
	}
}

static int
list(struct args *a)
{
	static const char *const columns[] = {
		"NAME", "PROVIDER", "CONTENT-TYPE", "STATUS", "AGE", NULL};
	const struct rfl_conf *c = a->common.conf;
	const char **cells = rfl_zalloc((c->stream_count * 5 + 1) * sizeof *cells);
	for (size_t i = 0; i < c->stream_count; i++) {
		const struct rfl_stream_conf *s = c->streams[i];
		struct rfl_client client;
		struct riffle_error err = {0};
		struct riffle_stream_info info = {.size = sizeof info};
		const char *status = NULL;
		if (rfl_client_attach(&client, &a->common, s->name, &err) == RIFFLE_OK) {
			if (client.ops->describe != NULL &&
				client.ops->describe(client.instance->self, &s->stream, &info,
					&err) == RIFFLE_OK)
				status = info.flags & RIFFLE_STREAM_EXISTS ? "Ready" : "NotFound";
			rfl_client_close(&client);
		}
		const char *row[] = {
			s->name, s->provider->name, s->stream.content_type, status, NULL};
		memcpy(cells + 5 * i, row, sizeof row);
	}
	rfl_print_rows(&a->common, "streams", columns, cells, c->stream_count);
	free(cells);
	return RFL_EXIT_DONE;
}

static char *
drop_in(const struct args *a)
{
	struct rfl_buf text = RFL_BUF_INIT;
	rfl_buf_printf(&text, "[stream %s]\nprovider = %s\n", a->name, a->provider);
	if (a->type != NULL)
		rfl_buf_printf(&text, "content-type = %s\n", a->type);
	if (a->partitions != NULL)
		rfl_buf_printf(&text, "partitions = %s\n", a->partitions);
	return rfl_buf_take(&text);
}

/* Whole or not at all: a temporary file that takes its name when it is on the disk. */
static int
write_whole(const char *path, const char *text, struct riffle_error *reterr)
{
	char *temporary = rfl_sprintf("%s.new", path);
	size_t len = strlen(text);
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	int failed = fd < 0 || write(fd, text, len) != (ssize_t)len || fsync(fd) < 0;
	if (fd >= 0)
		failed |= close(fd) < 0;
	if (!failed)
		failed = rename(temporary, path) < 0;
	int why = errno;
	if (failed)
		unlink(temporary);
	free(temporary);
	return failed ? rfl_err(reterr, RIFFLE_E_FATAL, "cannot write %s: %s", path, strerror(why))
		      : RIFFLE_OK;
}

static char *
drop_in_path(const struct args *a)
{
	char *dir = rfl_sprintf("%s/conf.d", a->common.conf->runtime.state_dir);
	mkdir(a->common.conf->runtime.state_dir, 0700);
	mkdir(dir, 0750);
	char *path = rfl_sprintf("%s/stream-%s.ini", dir, a->name);
	free(dir);
	return path;
}

/* The file stays only if the configuration with it is sound and its provider made the stream. */
static int
create_for_good(struct args *a, const char *text)
{
	struct riffle_error err = {0};
	struct rfl_client client;
	char *path = drop_in_path(a);
	int status = RFL_EXIT_FAILED;
	if (write_whole(path, text, &err) < 0) {
		free(path);
		return rfl_failed_err("stream create", &err);
	}
	struct rfl_common with = {.file = a->common.file, .sets = a->common.sets};
	int loaded = rfl_common_load(&with, 1);
	if (loaded == 0 && rfl_client_open(&client, &with, a->name, &err) == RIFFLE_OK) {
		rfl_client_close(&client);
		printf("Created stream \"%s\"\n", a->name);
		status = RFL_EXIT_DONE;
	} else {
		unlink(path);
		status = loaded != 0 ? loaded : rfl_failed_err("stream create", &err);
	}
	with.sets = NULL;
	rfl_common_fini(&with);
	free(path);
	return status;
}

static int
create(struct args *a)
{
	if (!rfl_value_is_label(a->name))
		return rfl_failed(
			"stream create", "'%s' is no name: a-z, 0-9 and '-', at most 63", a->name);
	if (rfl_conf_stream(a->common.conf, a->name) != NULL)
		return rfl_failed("stream create", "stream \"%s\" exists already", a->name);
	char *text = drop_in(a);
	int status = RFL_EXIT_DONE;
	if (a->dry_run)
		fputs(text, stdout);
	else
		status = create_for_good(a, text);
	free(text);
	return status;
}

static int
run(int argc, char **argv)
{
	struct args a = {.name = NULL};
	rfl_verb_parse(&rfl_verb_stream, argc, argv, &a);
	int status = rfl_common_load(&a.common, 1);
	if (status == 0)
		status = rfl_word_is(&a.chosen, "list") ? list(&a) : create(&a);
	rfl_common_fini(&a.common);
	return status;
}

const struct rfl_verb rfl_verb_stream = {
	.name = "stream",
	.summary = "create and list streams",
	.doc = doc,
	.words = words,
	.options = options,
	.parse = parse,
	.run = run,
};
