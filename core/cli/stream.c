/* riffle stream: its arguments, and streams as drop-in files: create, list, delete. */
#include "cli/stream.h"

#include "base/error.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/rows.h"
#include "cli/verb.h"
#include "conf/value.h"

#include <riffle/ext/positions.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char doc[] =
	"Creates, looks at, moves in, empties and deletes streams.\v"
	"`create` writes a drop-in file to conf.d in the state directory and makes the stream on "
	"its "
	"provider; a running instance takes it up at its next start. `delete` removes that file, "
	"and "
	"with --purge the records too. --dry-run says what would be done.\n\n"
	"`status` shows partitions and the groups that read them. `seek` moves a group that nobody "
	"reads as to earliest, latest, a time or an offset.\n\n"
	"`export` prints all records, one JSON object a line; bytes that are no text are "
	"{\"base64\":...}. Damaged records are named and left out. `import` writes such lines, "
	"each "
	"to the partition it names.\n\n"
	"  riffle stream create orders --provider local --content-type application/json\n"
	"  riffle stream status orders\n"
	"  riffle stream seek orders --group default.averager --to 2026-01-02T03:04:05Z\n"
	"  riffle stream export orders > orders.jsonl\n"
	"  riffle stream import copy -f orders.jsonl";

enum {
	KEY_PROVIDER = 0x2000,
	KEY_GATEWAY,
	KEY_TYPE,
	KEY_PARTITIONS,
	KEY_DRY_RUN,
	KEY_PURGE,
	KEY_GROUP,
	KEY_TO,
	KEY_CREATE,
	KEY_PARTITION,
	KEY_REPARTITION
};

static const struct argp_option options[] = {
	{"provider", KEY_PROVIDER, "PROVIDER", 0, "create: the provider it lies on", 0},
	{"gateway", KEY_GATEWAY, "PROVIDER", 0, "the same", 0},
	{"content-type", KEY_TYPE, "TYPE", 0, "create: its content type", 0},
	{"partitions", KEY_PARTITIONS, "N", 0, "create: how many partitions it has", 0},
	{"purge", KEY_PURGE, NULL, 0, "delete: its records and positions too", 0},
	{"group", KEY_GROUP, "NAME", 0, "status, seek: the group", 0},
	{"to", KEY_TO, "WHERE", 0, "seek: earliest, latest, a time (RFC 3339) or an offset", 0},
	{"create", KEY_CREATE, NULL, 0, "seek: also a group that does not read it yet", 0},
	{"partition", KEY_PARTITION, "N", 0, "seek, export: this partition alone", 0},
	{"file", 'f', "FILE", 0, "import: the file; default, and -: stdin", 0},
	{"repartition", KEY_REPARTITION, NULL, 0,
		"import: partitions by key, else in turn, instead of those recorded", 0},
	{"dry-run", KEY_DRY_RUN, NULL, 0,
		"create, delete, seek, import: say what would be done, change nothing", 0},
	{0},
};

typedef int word_fn(struct rfl_stream_args *a);
static word_fn list, create, delete;

static const struct rfl_word words[] = {
	{"create", "NAME", "makes a stream, and a drop-in file that keeps it"},
	{"list", NULL, "shows the streams of the configuration"},
	{"status", "STREAM", "shows its partitions and the groups that read them"},
	{"delete", "STREAM", "removes its drop-in file, with --purge its records too"},
	{"seek", "STREAM", "moves a group that nobody reads as"},
	{"export", "STREAM", "prints all records as JSON lines"},
	{"import", "STREAM", "writes records from such lines"},
	{0},
};

static const struct {
	const char *word;
	word_fn *run;      /* from the configuration, or */
	rfl_client_fn *on; /* on the open stream, which */
	enum rfl_client_need need, need_dry;
} actions[] = {
	{"create", create, NULL, 0, 0},
	{"list", list, NULL, 0, 0},
	{"status", NULL, rfl_stream_status, RFL_NEED_EXISTING, RFL_NEED_EXISTING},
	{"delete", delete, NULL, 0, 0},
	{"seek", NULL, rfl_stream_seek, RFL_NEED_EXISTING, RFL_NEED_EXISTING},
	{"export", NULL, rfl_stream_export, RFL_NEED_EXISTING, RFL_NEED_EXISTING},
	{"import", NULL, rfl_stream_import, RFL_NEED_MADE, RFL_NEED_MAKING},
};

static void
check(struct rfl_stream_args *a, struct argp_state *state)
{
	a->name = a->chosen.name;
	if (rfl_word_is(&a->chosen, "create") && a->provider == NULL)
		argp_error(state, "create needs --provider");
	if (rfl_word_is(&a->chosen, "seek") && (a->group == NULL || a->to == NULL))
		argp_error(state, "seek needs --group and --to");
	if (a->to != NULL && !rfl_stream_is_place(a->to))
		argp_error(state,
			"--to %s: earliest, latest, a time like 2026-01-02T03:04:05Z or an offset "
			"is meant",
			a->to);
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct rfl_stream_args *a = state->input;
	const char *why;
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
	case KEY_PURGE:
		a->purge = 1;
		return 0;
	case KEY_GROUP:
		a->group = arg;
		return 0;
	case KEY_TO:
		a->to = arg;
		return 0;
	case KEY_CREATE:
		a->create = 1;
		return 0;
	case KEY_PARTITION:
		if (rfl_value_int(arg, &a->partition, &why) < 0 || a->partition < 0 ||
			a->partition > INT32_MAX)
			argp_error(state, "--partition %s: a number from 0 on is meant", arg);
		return 0;
	case KEY_REPARTITION:
		a->repartition = 1;
		return 0;
	case 'f':
		a->file = arg;
		return 0;
	case ARGP_KEY_SUCCESS:
		check(a, state);
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->common;
		return 0;
	default:
		return rfl_word_parse(words, key, arg, state, &a->chosen);
	}
}

/* *ret_status stays as it is where the provider does not say. */
static int
look_up(struct rfl_stream_args *a, const struct rfl_stream_conf *s, const char **ret_status,
	struct riffle_error *reterr)
{
	struct rfl_client client;
	struct riffle_stream_info info = {.size = sizeof info};
	int rc = rfl_client_attach(&client, &a->common, s->name, reterr);
	if (rc < 0)
		return rc;
	if (client.ops->describe != NULL) {
		rc = client.ops->describe(client.instance->self, &s->stream, &info, reterr);
		if (rc == RIFFLE_OK)
			*ret_status = info.flags & RIFFLE_STREAM_EXISTS ? "Ready" : "NotFound";
	}
	rfl_client_close(&client);
	return rc;
}

static int
list(struct rfl_stream_args *a)
{
	static const char *const columns[] = {
		"NAME", "PROVIDER", "CONTENT-TYPE", "STATUS", "AGE", NULL};
	const struct rfl_conf *c = a->common.conf;
	const char **cells = rfl_zalloc((c->stream_count * 5 + 1) * sizeof *cells);
	struct riffle_error told = {0};
	int rc = RIFFLE_OK;
	for (size_t i = 0; i < c->stream_count; i++) {
		const struct rfl_stream_conf *s = c->streams[i];
		struct riffle_error err = {0};
		const char *status = NULL;
		if (look_up(a, s, &status, &err) < 0) {
			rc = err.code;
			/* What a provider cannot do is mostly the same for all its streams. */
			if (strcmp(told.text, err.text) != 0)
				rfl_failed_err("stream list", &err);
			told = err;
		}
		const char *row[] = {
			s->name, s->provider->name, s->stream.content_type, status, NULL};
		memcpy(cells + 5 * i, row, sizeof row);
	}
	rfl_print_rows(&a->common, "streams", columns, cells, c->stream_count);
	free(cells);
	return rc < 0 ? RFL_EXIT_FAILED : RFL_EXIT_DONE;
}

static char *
drop_in(const struct rfl_stream_args *a)
{
	struct rfl_buf text = RFL_BUF_INIT;
	rfl_buf_printf(&text, "[stream %s]\nprovider = %s\n", a->name, a->provider);
	if (a->type != NULL)
		rfl_buf_printf(&text, "content-type = %s\n", a->type);
	if (a->partitions != NULL)
		rfl_buf_printf(&text, "partitions = %s\n", a->partitions);
	return rfl_buf_take(&text);
}

/* What root makes is the state directory's owner's: his daemon reads it. Else it stays root's. */
static void
give_to_owner(int fd, const char *state_dir)
{
	struct stat st;
	if (fd >= 0 && geteuid() == 0 && stat(state_dir, &st) == 0 && st.st_uid != 0)
		(void)!fchown(fd, st.st_uid, st.st_gid);
}

/* Whole or not at all: a temporary file that takes its name when it is on the disk. */
static int
write_whole(const struct rfl_stream_args *a, const char *path, const char *text,
	struct riffle_error *reterr)
{
	char *temporary = rfl_sprintf("%s.new", path);
	size_t len = strlen(text);
	/* One that is there was left by somebody who was killed. */
	unlink(temporary);
	int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
	give_to_owner(fd, a->common.conf->runtime.state_dir);
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
drop_in_path(const struct rfl_stream_args *a)
{
	return rfl_sprintf("%s/conf.d/stream-%s.ini", a->common.conf->runtime.state_dir, a->name);
}

static int
make_dir(const char *path, mode_t mode, const char *like, struct riffle_error *reterr)
{
	if (mkdir(path, mode) < 0)
		return errno == EEXIST ? RIFFLE_OK
				       : rfl_err(reterr, RIFFLE_E_FATAL, "cannot make %s: %s", path,
						 strerror(errno));
	int fd = like ? open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
	give_to_owner(fd, like);
	if (fd >= 0)
		close(fd);
	return RIFFLE_OK;
}

/* Where drop-ins are kept: made with the first of them. */
static int
make_place(const struct rfl_stream_args *a, struct riffle_error *reterr)
{
	const char *state = a->common.conf->runtime.state_dir;
	char *dir = rfl_sprintf("%s/conf.d", state);
	int rc = make_dir(state, 0700, NULL, reterr);
	if (rc == RIFFLE_OK)
		rc = make_dir(dir, 0750, state, reterr);
	free(dir);
	return rc;
}

/* The file stays only if the configuration with it is sound and its provider made the stream. */
static int
create_for_good(struct rfl_stream_args *a, const char *text)
{
	struct riffle_error err = {0};
	struct rfl_client client;
	char *path = drop_in_path(a);
	int status = RFL_EXIT_FAILED;
	if (make_place(a, &err) < 0 || write_whole(a, path, text, &err) < 0) {
		free(path);
		return rfl_failed_err("stream create", &err);
	}
	struct rfl_common with = {.file = a->common.file, .sets = a->common.sets};
	int loaded = rfl_common_load(&with, 1);
	if (loaded == 0 &&
		rfl_client_open(&client, &with, a->name, RFL_NEED_MADE, &err) == RIFFLE_OK) {
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
create(struct rfl_stream_args *a)
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

/* Somebody reads it: what it needs would be gone. */
static int
is_read(struct rfl_client *c, struct riffle_error *reterr)
{
	const struct riffle_positions *p = NULL;
	struct riffle_group_list *groups;
	int rc = RIFFLE_OK;
	if (c->ops->extension != NULL)
		p = c->ops->extension(c->instance->self, RIFFLE_EXT_POSITIONS);
	if (p == NULL)
		return RIFFLE_OK;
	rc = p->groups(c->instance->bare, &c->stream->stream, &groups, reterr);
	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < groups->group_count && rc == RIFFLE_OK; i++) {
		const struct riffle_group_info *g = (const void *)((const char *)groups->groups +
								   (size_t)i * groups->group_size);
		if (g->flags & RIFFLE_GROUP_ACTIVE)
			rc = rfl_err(reterr, RIFFLE_E_UNAVAILABLE,
				"stream \"%s\" is read by group \"%s\" (%s)", c->stream->name,
				g->name, g->member ? g->member : "somebody");
	}
	groups->release(groups);
	return rc;
}

static int
purge(struct rfl_client *c, struct riffle_error *reterr)
{
	if (c->ops->remove == NULL)
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
			"provider %s cannot remove the records of a stream",
			c->stream->provider->name);
	int rc = is_read(c, reterr);
	if (rc == RIFFLE_OK)
		rc = c->ops->remove(c->instance->self, &c->stream->stream, reterr);
	return rc == RIFFLE_E_NOTFOUND ? RIFFLE_OK : rc;
}

/* The configuration must be sound without the file: what still names the stream is shown. */
static int
is_sound_without(struct rfl_stream_args *a, const char *path, const char *aside)
{
	struct rfl_common without = {.file = a->common.file, .sets = a->common.sets};
	if (rename(path, aside) < 0)
		return rfl_failed("stream delete", "cannot rename %s: %s", path, strerror(errno));
	int status = rfl_common_load(&without, 1);
	without.sets = NULL;
	rfl_common_fini(&without);
	if (status != 0 && rename(aside, path) < 0)
		rfl_failed("stream delete", "cannot put %s back: %s", aside, strerror(errno));
	return status;
}

static int
delete_for_good(struct rfl_stream_args *a, struct rfl_client *c, const char *path)
{
	struct riffle_error err = {0};
	char *aside = rfl_sprintf("%s.deleted", path);
	int has_file = access(path, F_OK) == 0;
	int status = has_file ? is_sound_without(a, path, aside) : RFL_EXIT_DONE;
	if (status == RFL_EXIT_DONE && a->purge && purge(c, &err) < 0) {
		status = rfl_failed_err("stream delete", &err);
		if (has_file && rename(aside, path) < 0)
			rfl_failed(
				"stream delete", "cannot put %s back: %s", aside, strerror(errno));
	}
	if (status == RFL_EXIT_DONE && has_file && unlink(aside) < 0)
		status =
			rfl_failed("stream delete", "cannot remove %s: %s", aside, strerror(errno));
	free(aside);
	return status;
}

/* Refuses what delete would refuse. */
static int
show_delete(const struct rfl_stream_args *a, struct rfl_client *c, const char *path)
{
	struct riffle_error err = {0};
	if (a->purge && is_read(c, &err) < 0)
		return rfl_failed_err("stream delete", &err);
	if (access(path, F_OK) == 0)
		printf("Would remove %s\n", path);
	if (a->purge)
		printf("Would remove the records of stream \"%s\"\n", a->name);
	return RFL_EXIT_DONE;
}

static int delete (struct rfl_stream_args *a)
{
	struct riffle_error err = {0};
	struct rfl_client client;
	char *path = drop_in_path(a);
	int has_file = access(path, F_OK) == 0, status;
	const struct rfl_stream_conf *s = rfl_conf_stream(a->common.conf, a->name);
	if (s != NULL && !has_file && !a->purge) {
		status = rfl_failed("stream delete",
			"stream \"%s\" is written in %s, line %u: it is removed there; --purge "
			"empties it",
			a->name, s->place.file, s->place.line);
	} else if (rfl_client_attach(&client, &a->common, a->name, &err) < 0) {
		status = rfl_failed_err("stream delete", &err);
	} else if (a->dry_run) {
		status = show_delete(a, &client, path);
		rfl_client_close(&client);
	} else {
		status = delete_for_good(a, &client, path);
		if (status == RFL_EXIT_DONE)
			printf(has_file ? "Deleted stream \"%s\"\n" : "Emptied stream \"%s\"\n",
				a->name);
		rfl_client_close(&client);
	}
	free(path);
	return status;
}

static int
run(int argc, char **argv)
{
	struct rfl_stream_args a = {.partition = RIFFLE_PARTITION_NONE};
	char verb[32];
	size_t n = 0;
	rfl_verb_parse(&rfl_verb_stream, argc, argv, &a);
	while (!rfl_word_is(&a.chosen, actions[n].word))
		n++;
	snprintf(verb, sizeof verb, "stream %s", actions[n].word);
	if (actions[n].on != NULL)
		return rfl_client_run(verb, &a.common, a.name,
			a.dry_run ? actions[n].need_dry : actions[n].need, actions[n].on, &a);
	int status = rfl_common_load(&a.common, 1);
	if (status == 0)
		status = actions[n].run(&a);
	rfl_common_fini(&a.common);
	return status;
}

const struct rfl_verb rfl_verb_stream = {
	.name = "stream",
	.summary = "create | list | status | delete | seek | export | import streams",
	.doc = doc,
	.words = words,
	.options = options,
	.parse = parse,
	.run = run,
};
