/* A provider that reads the lines of a file, also those to come. An offset is where a line begins. */
#include <riffle/simple.h>

static const struct riffle_option options[] = {{"dir", RIFFLE_OPT_PATH, RIFFLE_OPT_REQUIRED, NULL,
	0, 0, NULL, "The directory; a stream's topic is a file in it."}};

struct reader {
	FILE *file;
	char *line;
	size_t room;
};

static int
open_file(const struct riffle_simple *self, const struct riffle_stream *stream, int64_t from,
	void *reader, struct riffle_error *err)
{
	struct reader *r = reader;
	char path[4096];
	snprintf(path, sizeof path, "%s/%s", riffle_config_at(self->config, 0)->u.s, stream->topic);
	if ((r->file = fopen(path, "re")) == NULL)
		return riffle_simple_fail_errno(err, "cannot open %s", path);
	fseeko(r->file, from > 0 ? from - 1 : 0, SEEK_SET); /* the rest of a line is dropped */
	return RIFFLE_OK;
}

static int
next(void *reader, int timeout_ms, struct riffle_simple_message *ret, struct riffle_error *err)
{
	struct reader *r = reader;
	ret->offset = ftello(r->file);
	ssize_t n = getline(&r->line, &r->room, r->file);
	(void)timeout_ms;
	ret->value = (struct riffle_bytes){r->line, (size_t)n - 1};
	if (n > 0 && r->line[n - 1] == '\n')
		return 1;
	if (ferror(r->file) || fseeko(r->file, 0, SEEK_END) < 0 || ftello(r->file) < ret->offset)
		return riffle_simple_fail(err, RIFFLE_E_FATAL, "the file is unreadable or shrank");
	return fseeko(r->file, ret->offset, SEEK_SET); /* the rest of the line is to come */
}

static void
close_file(void *reader)
{
	fclose(((struct reader *)reader)->file);
	free(((struct reader *)reader)->line);
}

static int
range(void *reader, int64_t *start, int64_t *end, struct riffle_error *err)
{
	struct reader *r = reader;
	*start = fseeko(r->file, 0, SEEK_END);
	*end = ftello(r->file);
	return *start < 0 ? riffle_simple_fail_errno(err, "cannot seek") : RIFFLE_OK;
}

static const struct riffle_simple_source lines = {
	sizeof(struct reader), open_file, next, close_file, range, NULL};
RIFFLE_SIMPLE_SOURCE("read-lines", "lines of files", "1.0.0", "yours", 0, options, lines);
