/* riffle subscribe: prints the records of a stream, one line of JSON each. */
#include "base/error.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/payload.h"
#include "cli/receiver.h"
#include "cli/verb.h"
#include "conf/value.h"
#include "plugin/host.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char doc[] =
	"Prints the records of a stream, one line of JSON each, until it is stopped.\v"
	"Damaged records are named on stderr and left out; the status in the end is then 1. "
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
	struct rfl_receiver receiver;
	int64_t printed;
};

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
	const char *type = r->receiver.client->stream->stream.content_type;
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
	for (size_t i = 0; i < r->receiver.lane_count && !is_enough(r); i++) {
		struct riffle_batch *b;
		int rc = rfl_receiver_poll(&r->receiver, &r->receiver.lanes[i], &b, reterr);
		if (rc == 0)
			continue;
		if (rc < 0)
			return rc;
		rc = print_batch(r, b, reterr);
		rfl_batch_unref(b);
		if (rc < 0)
			return rc;
		came++;
	}
	return came;
}

/* Nobody reads any more: we end as by the next write, which may be long in coming. */
static int
wait_for_more(struct reader *r, struct riffle_error *reterr)
{
	int source_fd = r->receiver.client->ops->source_fd(r->receiver.source);
	struct pollfd fds[] = {{.fd = source_fd, .events = POLLIN}, {.fd = STDOUT_FILENO}};
	poll(fds, 2, r->options->timeout ? 50 : 1000);
	if (!(fds[1].revents & POLLERR))
		return RIFFLE_OK;
	raise(SIGPIPE);
	return rfl_err(reterr, RIFFLE_E_FATAL, "cannot write to stdout: %s", strerror(EPIPE));
}

static int
read_all(struct reader *r, struct riffle_error *reterr)
{
	const struct rfl_clock *clock = &r->receiver.client->clock;
	int64_t since_ns = rfl_clock_mono_ns(clock);
	while (!stopping && !is_enough(r)) {
		int rc = rfl_receiver_take(&r->receiver, reterr);
		if (rc >= 0)
			rc = read_lanes(r, reterr);
		if (rc < 0)
			return rc;
		int64_t now_ns = rfl_clock_mono_ns(clock);
		if (rc > 0)
			since_ns = now_ns;
		else if (r->options->timeout != NULL &&
			 now_ns - since_ns >= r->options->timeout_ms * 1000000)
			return rfl_err(reterr, RIFFLE_E_TIMEOUT,
				"Timeout after \"%s\" waiting for a record of \"%s\"",
				r->options->timeout, r->options->stream);
		else if (wait_for_more(r, reterr) < 0)
			return reterr->code;
	}
	return RIFFLE_OK;
}

static int
subscribe(void *ctx, struct rfl_client *client, struct riffle_error *reterr)
{
	struct reader r = {.options = ctx};
	uint32_t start = r.options->from_beginning ? RIFFLE_START_EARLIEST : RIFFLE_START_LATEST;
	int rc = rfl_receiver_open(&r.receiver, client, "subscribe", start, -1, reterr);
	if (rc == RIFFLE_OK)
		rc = read_all(&r, reterr);
	return rfl_receiver_close(&r.receiver, rc, reterr);
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
