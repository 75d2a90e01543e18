/* riffle subscribe: prints the records of a stream, one line of JSON each. */
#include "base/error.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/payload.h"
#include "cli/verb.h"
#include "conf/value.h"
#include "plugin/host.h"
#include "wire/envelope.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const char doc[] =
	"Prints the records of a stream, one line of JSON each, until it is stopped.\v"
	"Payloads: auto prints text as it is and other bytes as Base64, marked by payloadEncoding; "
	"raw "
	"refuses other bytes; base64 encodes all. Header values that are no text are "
	"{\"base64\":...}; a name that repeats is an array.\n\n"
	"  riffle subscribe out --payload-encoding raw\n"
	"  riffle subscribe out --from-beginning -n 10 --wait-timeout 5s";

#define ENCODINGS "auto|raw|base64"

enum { KEY_ENCODING = 0x2000, KEY_TIMEOUT };

static const struct argp_option options[] = {
	{"from-beginning", 'b', NULL, 0, "begin with the oldest record", 0},
	{"count", 'n', "N", 0, "end after so many records", 0},
	{"payload-encoding", KEY_ENCODING, ENCODINGS, 0, "how payloads are printed", 0},
	{"wait-timeout", KEY_TIMEOUT, "DURATION", 0, "fail when no record comes for so long", 0},
	{0},
};

struct subscribe {
	struct rfl_common common;
	const char *stream, *timeout;
	int from_beginning;
	int64_t count, timeout_ms;
	enum rfl_encoding encoding;
};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct subscribe *s = state->input;
	const char *why;
	int i;
	switch (key) {
	case 'b':
		s->from_beginning = 1;
		return 0;
	case 'n':
		if (rfl_value_int(arg, &s->count, &why) < 0 || s->count < 1)
			argp_error(state, "-n %s: a number of records is meant", arg);
		return 0;
	case KEY_ENCODING:
		i = rfl_choice(ENCODINGS, arg);
		if (i < 0)
			argp_error(
				state, "--payload-encoding %s: auto, raw or base64 is meant", arg);
		s->encoding = (enum rfl_encoding)i;
		return 0;
	case KEY_TIMEOUT:
		s->timeout = arg;
		if (rfl_value_duration(arg, &s->timeout_ms, &why) < 0)
			argp_error(state, "--wait-timeout %s: %s", arg, why);
		return 0;
	case ARGP_KEY_ARG:
		if (s->stream != NULL)
			argp_error(state, "one stream is meant, not also '%s'", arg);
		s->stream = arg;
		return 0;
	case ARGP_KEY_END:
		if (s->stream == NULL)
			argp_error(state, "which stream?");
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &s->common;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static volatile sig_atomic_t stopping;

static void
on_signal(int number)
{
	(void)number;
	stopping = 1;
}

struct reader {
	const struct subscribe *options;
	struct rfl_client *client;
	void *source;
	uint32_t *lanes;
	size_t lane_count, lane_room;
	int64_t printed;
	int is_closed;
};

static int
take_event(struct reader *r, const struct riffle_event *ev, struct riffle_error *reterr)
{
	if (ev->type == RIFFLE_EV_ERROR && ev->status == RIFFLE_E_FATAL) {
		*reterr = ev->error;
		return ev->status;
	}
	r->is_closed |= ev->type == RIFFLE_EV_CLOSED;
	for (uint32_t i = 0; ev->type == RIFFLE_EV_ASSIGNED && i < ev->lane_count; i++) {
		const struct riffle_lane *l =
			(const void *)((const char *)ev->lanes + (size_t)i * ev->lane_size);
		struct riffle_position from = l->committed;
		int rc = r->client->ops->source_start(r->source, &l->lane, &from, 1, reterr);
		if (rc < 0)
			return rc;
		rfl_grow(&r->lanes, &r->lane_room, r->lane_count + 1, sizeof *r->lanes);
		r->lanes[r->lane_count++] = l->lane;
	}
	return RIFFLE_OK;
}

static int
take_events(struct reader *r, struct riffle_error *reterr)
{
	struct riffle_event ev = {.size = sizeof ev};
	int rc = RIFFLE_OK;
	while (rc == RIFFLE_OK && !r->is_closed &&
		r->client->ops->source_poll(r->source, &ev) > 0) {
		rc = take_event(r, &ev, reterr);
		ev = (struct riffle_event){.size = sizeof ev};
	}
	return rc;
}

static int
is_enough(const struct reader *r)
{
	return r->options->count > 0 && r->printed >= r->options->count;
}

static int
print_batch(struct reader *r, struct riffle_batch *b, struct riffle_error *reterr)
{
	struct rfl_buf text = RFL_BUF_INIT;
	int rc = RIFFLE_OK;
	const char *type = r->client->stream->stream.content_type;
	for (uint32_t i = 0; i < b->record_count && rc == RIFFLE_OK && !is_enough(r); i++) {
		rc = rfl_payload_line(
			b, riffle_batch_at(b, i), type, r->options->encoding, &text, reterr);
		if (rc < 0)
			break;
		rfl_buf_putc(&text, '\n');
		r->printed++;
	}
	if (fwrite(rfl_buf_str(&text), 1, text.len, stdout) != text.len || fflush(stdout) != 0)
		rc = rfl_err(reterr, RIFFLE_E_FATAL, "cannot write to stdout");
	rfl_buf_fini(&text);
	return rc;
}

/* One round over the lanes: how many batches came, or an error. */
static int
read_lanes(struct reader *r, struct riffle_error *reterr)
{
	int came = 0;
	for (size_t i = 0; i < r->lane_count && !is_enough(r); i++) {
		struct riffle_batch *b;
		int rc = r->client->ops->lane_poll(
			r->source, r->lanes[i], 1000, 1 << 20, &b, reterr);
		if (rc == 0)
			continue;
		if (rc < 0)
			return rc;
		rfl_batch_take(b);
		struct riffle_batch *opened = rfl_envelope_open(r->client->stream, b);
		rc = print_batch(r, opened, reterr);
		rfl_batch_unref(opened);
		rfl_batch_unref(b);
		if (rc < 0)
			return rc;
		came++;
	}
	return came;
}

static int
read_all(struct reader *r, struct riffle_error *reterr)
{
	int64_t since_ns = rfl_clock_mono_ns(&r->client->clock);
	while (!stopping && !is_enough(r)) {
		int rc = take_events(r, reterr);
		if (rc == RIFFLE_OK)
			rc = read_lanes(r, reterr);
		if (rc < 0)
			return rc;
		int64_t now_ns = rfl_clock_mono_ns(&r->client->clock);
		if (rc > 0)
			since_ns = now_ns;
		else if (r->options->timeout != NULL &&
			 now_ns - since_ns >= r->options->timeout_ms * 1000000)
			return rfl_err(reterr, RIFFLE_E_TIMEOUT,
				"Timeout after \"%s\" waiting for a record of \"%s\"",
				r->options->timeout, r->options->stream);
		else
			rfl_client_wait(r->client->ops->source_fd(r->source),
				r->options->timeout ? 50 : 1000);
	}
	return RIFFLE_OK;
}

static int
subscribe(void *ctx, struct rfl_client *client, struct riffle_error *reterr)
{
	const struct subscribe *s = ctx;
	struct reader r = {.options = s, .client = client};
	const struct riffle_source_stream stream = {.size = sizeof stream,
		.flags = RIFFLE_SOURCE_HEADERS,
		.stream = &client->stream->stream,
		.start = s->from_beginning ? RIFFLE_START_EARLIEST : RIFFLE_START_LATEST};
	const struct riffle_source_spec spec = {.size = sizeof spec,
		.stream_size = sizeof stream,
		.stream_count = 1,
		.streams = &stream,
		.member = "subscribe"};
	struct riffle_error ignored;
	int rc = client->ops->source_open(client->instance->self, &spec, &r.source, reterr);
	if (rc < 0)
		return rc;
	rc = read_all(&r, reterr);
	client->ops->source_close(r.source);
	while (!r.is_closed) {
		take_events(&r, &ignored);
		if (!r.is_closed)
			rfl_client_wait(client->ops->source_fd(r.source), 1000);
	}
	client->ops->source_destroy(r.source);
	free(r.lanes);
	return rc;
}

static int
run(int argc, char **argv)
{
	struct subscribe s = {.encoding = RFL_ENCODING_AUTO};
	const struct sigaction action = {.sa_handler = on_signal};
	rfl_verb_parse(&rfl_verb_subscribe, argc, argv, &s);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	return rfl_client_run("subscribe", &s.common, s.stream, RFL_NEED_MADE, subscribe, &s);
}

const struct rfl_verb rfl_verb_subscribe = {
	.name = "subscribe",
	.summary = "print the records of a stream",
	.doc = doc,
	.args = "STREAM",
	.options = options,
	.parse = parse,
	.run = run,
};
