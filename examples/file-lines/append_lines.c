/* A provider that appends each record to a file as a line. */
#include <riffle/simple.h>

static const struct riffle_option options[] = {{"dir", RIFFLE_OPT_PATH, RIFFLE_OPT_REQUIRED, NULL,
	0, 0, NULL, "The directory; a stream's topic is a file in it."}};

static int
open_file(const struct riffle_simple *self, const struct riffle_stream *stream, void *writer,
	struct riffle_error *err)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/%s", riffle_config_at(self->config, 0)->u.s, stream->topic);
	FILE *f = fopen(path, "a+e");
	if (f == NULL)
		return riffle_simple_fail_errno(err, "cannot open %s", path);
	setvbuf(f, NULL, _IOLBF,
		0); /* a line that fits stdio's buffer is one write, never half of one */
	/* A power loss, or a kill in a longer line, may have left half of one, which must not swallow the next. */
	if (fseeko(f, -1, SEEK_END) == 0 && getc(f) != '\n')
		putc('\n', f);
	*(FILE **)writer = f;
	return RIFFLE_OK;
}

static int
append(void *writer, const struct riffle_simple_message *m, struct riffle_error *err)
{
	FILE *f = *(FILE **)writer;
	if (m->value.ptr == NULL || memchr(m->value.ptr, '\n', m->value.len) != NULL)
		return riffle_simple_fail(
			err, RIFFLE_E_DATA, "a line holds no newline and is not null");
	if (fwrite(m->value.ptr, 1, m->value.len, f) < m->value.len || putc('\n', f) < 0)
		return riffle_simple_fail_errno(err, "cannot write");
	return RIFFLE_OK;
}

static int
flush(void *writer, struct riffle_error *err)
{
	FILE *f = *(FILE **)writer;
	if (fflush(f) != 0 || fsync(fileno(f)) < 0)
		return riffle_simple_fail_errno(err, "cannot write");
	return RIFFLE_OK;
}

static void
close_file(void *writer)
{
	fclose(*(FILE **)writer);
}

static const struct riffle_simple_sink file = {
	sizeof(FILE *), open_file, append, flush, close_file};
RIFFLE_SIMPLE_SINK("append-lines", "lines appended to files", "1.0.0", "yours", RIFFLE_CAN_DURABLE,
	options, file);
