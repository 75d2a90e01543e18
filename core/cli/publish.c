/* riffle publish: writes records to a stream and waits until they are acknowledged. */
#include "base/base64.h"
#include "base/error.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/lines.h"
#include "cli/sender.h"
#include "cli/verb.h"
#include "conf/value.h"
#include "plugin/batch.h"
#include "plugin/host.h"
#include "wire/content_type.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES 65536
/* Lines that come closer together than this are sent together. */
#define LINGER_MS 5

static const char doc[] =
	"Writes records to a stream and waits until they are acknowledged.\v"
	"One of -p, --payload-base64, -f and -l says what. A record has the stream's content type "
	"unless another is given, which must be compatible.\n\n"
	"  riffle publish in --content-type application/json --payload 10\n"
	"  seq 1000 | riffle publish in -l -k user-7 --header source:test";

enum { KEY_BASE64 = 0x2000, KEY_TYPE, KEY_HEADER, KEY_TIME, KEY_PARTITION };

static const struct argp_option options[] = {
	{"payload", 'p', "TEXT", 0, "the record's value", 0},
	{"payload-base64", KEY_BASE64, "BASE64", 0, "the record's value, as Base64", 0},
	{"file", 'f', "FILE", 0, "the record's value, from a file; - is stdin", 0},
	{"lines", 'l', NULL, 0, "one record for each line of stdin, as it comes", 0},
	{"content-type", KEY_TYPE, "TYPE", 0, "content type; default: the stream's", 0},
	{"key", 'k', "KEY", 0, "key; without it there is none", 0},
	{"header", KEY_HEADER, "NAME:VALUE", 0, "a header; may be repeated", 0},
	{"time", KEY_TIME, "TIME", 0, "RFC 3339; default: when it is written", 0},
	{"partition", KEY_PARTITION, "N", 0, "partition; default: by key, else in turn", 0},
	{0},
};

struct publish {
	struct rfl_common common;
	const char *stream, *text, *base64, *file, *type, *key;
	int lines, sources;
	struct riffle_header *headers;
	size_t header_count, header_room;
	int64_t time_ms, partition;
};

static void
add_header(struct publish *p, char *arg, struct argp_state *state)
{
	const char *colon = strchr(arg, ':');
	if (colon == NULL || colon == arg)
		argp_error(state, "--header %s: NAME:VALUE is meant", arg);
	rfl_grow(&p->headers, &p->header_room, p->header_count + 1, sizeof *p->headers);
	p->headers[p->header_count++] = (struct riffle_header){
		.name = {arg, (size_t)(colon - arg)}, .value = {colon + 1, strlen(colon + 1)}};
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct publish *p = state->input;
	const char *why;
	switch (key) {
	case 'p':
		p->text = arg;
		p->sources++;
		return 0;
	case KEY_BASE64:
		p->base64 = arg;
		p->sources++;
		return 0;
	case 'f':
		p->file = arg;
		p->sources++;
		return 0;
	case 'l':
		p->lines = 1;
		p->sources++;
		return 0;
	case KEY_TYPE:
		p->type = arg;
		return 0;
	case 'k':
		p->key = arg;
		return 0;
	case KEY_HEADER:
		add_header(p, arg, state);
		return 0;
	case KEY_TIME:
		if (rfl_value_time(arg, &p->time_ms) < 0)
			argp_error(
				state, "--time %s: a time like 2026-01-02T03:04:05Z is meant", arg);
		return 0;
	case KEY_PARTITION:
		if (rfl_value_int(arg, &p->partition, &why) < 0 || p->partition < 0 ||
			p->partition > INT32_MAX)
			argp_error(state, "--partition %s: a number from 0 on is meant", arg);
		return 0;
	case ARGP_KEY_ARG:
		if (p->stream != NULL)
			argp_error(state, "one stream is meant, not also '%s'", arg);
		p->stream = arg;
		return 0;
	case ARGP_KEY_END:
		if (p->stream == NULL)
			argp_error(state, "which stream?");
		if (p->sources == 0)
			argp_error(state, "one of -p, --payload-base64, -f, -l is needed");
		if (p->sources > 1)
			argp_error(state,
				"-p, --payload-base64, -f and -l exclude each other; of a "
				"record there is one value");
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &p->common;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void
add_record(const struct publish *p, struct rfl_builder *b, const void *data, size_t len,
	const char *type)
{
	const struct riffle_record r = {
		.key = {p->key, p->key ? strlen(p->key) : 0},
		.value = {data, len},
		.offset = RIFFLE_OFFSET_NONE,
		.time_ms = p->time_ms,
		.partition = (int32_t)p->partition,
	};
	rfl_builder_add(b, &r, p->headers, (uint32_t)p->header_count, type);
}

/* Standard input as far as it was read and is not a record yet. */
struct input {
	char *data;
	size_t room, len, at, looked_at;
	int is_over;
};

/* What was read is on its way before more is waited for: a program that writes a line now and then is not kept back. */
static int
read_more(struct input *in, struct rfl_lines *l, unsigned long long lines,
	struct riffle_error *reterr)
{
	struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
	ssize_t n;
	if (in->at > 0)
		memmove(in->data, in->data + in->at, in->len - in->at);
	in->len -= in->at;
	in->looked_at -= in->at;
	in->at = 0;
	rfl_grow(&in->data, &in->room, in->len + READ_BYTES, 1);
	if (poll(&p, 1, LINGER_MS) == 0 && rfl_lines_flush(l) < 0)
		return 0;
	do
		n = read(STDIN_FILENO, in->data + in->len, READ_BYTES);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return rfl_err(reterr, RIFFLE_E_FATAL, "cannot read stdin behind line %llu: %s",
			lines, strerror(errno));
	in->len += (size_t)n;
	in->is_over = n == 0;
	return 1;
}

/* 1 and the next line, without its newline; 0 = there is none yet. */
static int
take_line(struct input *in, const char **ret, size_t *ret_len)
{
	char *from = in->data + in->at;
	char *end = in->len > in->looked_at
			    ? memchr(in->data + in->looked_at, '\n', in->len - in->looked_at)
			    : NULL;
	in->looked_at = in->len;
	if (end == NULL && !(in->is_over && in->at < in->len))
		return 0;
	*ret = from;
	*ret_len = end ? (size_t)(end - from) : in->len - in->at;
	in->looked_at = in->at += *ret_len + (end != NULL);
	return 1;
}

static int
send_lines(const struct publish *p, struct rfl_client *client, const char *type,
	struct riffle_error *reterr)
{
	struct rfl_lines l;
	struct input in = {0};
	const char *line;
	size_t len;
	unsigned long long lines = 0;
	int is_refused = 0, rc = rfl_lines_open(&l, client, "publish", 0, reterr);
	if (rc < 0)
		return rc;
	for (rc = 1; rc > 0 && !is_refused && !in.is_over;) {
		rc = read_more(&in, &l, lines, reterr);
		while (rc > 0 && !is_refused && take_line(&in, &line, &len)) {
			add_record(p, l.builder, line, len, type);
			lines++;
			is_refused = rfl_lines_added(&l) < 0;
		}
	}
	free(in.data);
	return rfl_lines_close(&l, rc < 0 ? rc : RIFFLE_OK, reterr);
}

static int
read_file(const char *path, struct rfl_buf *out, struct riffle_error *reterr)
{
	char buf[65536];
	size_t n;
	FILE *in = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	while (in != NULL && (n = fread(buf, 1, sizeof buf, in)) > 0)
		rfl_buf_add(out, buf, n);
	int failed = in == NULL || ferror(in), why = errno;
	if (in != NULL && in != stdin)
		fclose(in);
	return failed ? rfl_err(reterr, RIFFLE_E_NOTFOUND, "cannot read %s: %s", path,
				strerror(why))
		      : RIFFLE_OK;
}

/* What -p, --payload-base64 or -f says. */
static int
read_value(const struct publish *p, struct rfl_buf *value, struct riffle_error *reterr)
{
	if (p->file != NULL)
		return read_file(p->file, value, reterr);
	if (p->text != NULL)
		rfl_buf_puts(value, p->text);
	else if (rfl_base64_decode(p->base64, strlen(p->base64), value) < 0)
		return rfl_err(reterr, RIFFLE_E_INVAL, "--payload-base64 is not Base64");
	return RIFFLE_OK;
}

static int
send_one(const struct publish *p, struct rfl_client *client, const char *type,
	struct riffle_error *reterr)
{
	struct rfl_buf value = RFL_BUF_INIT;
	struct rfl_sender o;
	int rc = read_value(p, &value, reterr);
	if (rc == RIFFLE_OK)
		rc = rfl_sender_open(&o, client, "publish", reterr);
	if (rc == RIFFLE_OK) {
		struct rfl_builder *b = rfl_builder_create();
		add_record(p, b, rfl_buf_str(&value), value.len, type);
		rfl_sender_send(&o, rfl_builder_finish(b));
		rfl_builder_destroy(b);
		rc = rfl_sender_close(&o, reterr);
	}
	rfl_buf_fini(&value);
	return rc;
}

static int
publish(void *ctx, struct rfl_client *client, struct riffle_error *reterr)
{
	const struct publish *p = ctx;
	const char *expected = client->stream->stream.content_type;
	const char *type = p->type ? p->type : expected;
	if (!rfl_content_type_matches(expected, type))
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
			"contentType \"%s\" not compatible with expected contentType \"%s\"", type,
			expected);
	return p->lines ? send_lines(p, client, type, reterr) : send_one(p, client, type, reterr);
}

static int
run(int argc, char **argv)
{
	struct publish p = {.time_ms = RIFFLE_TIME_NONE, .partition = RIFFLE_PARTITION_NONE};
	rfl_verb_parse(&rfl_verb_publish, argc, argv, &p);
	int status = rfl_client_run("publish", &p.common, p.stream, RFL_NEED_MADE, publish, &p);
	free(p.headers);
	return status;
}

const struct rfl_verb rfl_verb_publish = {
	.name = "publish",
	.summary = "write records to a stream",
	.doc = doc,
	.args = "STREAM",
	.options = options,
	.parse = parse,
	.run = run,
};
