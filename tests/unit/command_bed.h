/* A bed for the command invoker: one instance, calls on it, and all that they say. Used by its two programs. */
#ifndef RFL_TESTS_UNIT_COMMAND_BED_H
#define RFL_TESTS_UNIT_COMMAND_BED_H

#include "call_bed.h"

/* One instance, with what its [function] section would say. */
struct bed {
	struct riffle_value values[OPTIONS_MOST];
	struct riffle_config config;
	const char *words[8];
	void *self;
};

static void
script(struct bed *b, const char *text)
{
	memset(b, 0, sizeof *b);
	b->words[0] = text;
	option(b->values, "command")->u.list = b->words;
	option(b->values, "shell")->u.i = 1;
	option(b->values, "max-line")->u.i = 1 << 20;
	option(b->values, "max-output")->u.i = 64 << 20;
	option(b->values, "grace")->u.i = 200;
	option(b->values, "processes")->u.i = 1;
	option(b->values, "max-record")->u.i = 16 << 20;
	option(b->values, "restart")->u.i = 20;
	option(b->values, "restart-max")->u.i = 100;
	b->config = (struct riffle_config){.size = sizeof b->config,
		.section = RIFFLE_SECTION_FUNCTION,
		.value_size = sizeof b->values[0],
		.value_count = options_of(RIFFLE_SECTION_FUNCTION)->option_count,
		.name = "f",
		.dir = "/tmp",
		.values = b->values};
}

/* 1: the test's thread does the work of coprocesses, in place of the instance's own. */
#ifndef IN_TURNS
#define IN_TURNS 0
#endif
static const struct riffle_turns *turns;
static void *guest_of;

static inline void
take_turn(void)
{
	turns->turn(guest_of);
}

static void
start(struct bed *b)
{
	struct riffle_error err = {0};
	if (ops->create(&host, &b->config, &b->self, &err) < 0)
		fail_msg("%s", err.text);
	turns = IN_TURNS ? ops->extension(b->self, RIFFLE_EXT_TURNS) : NULL;
	if (turns == NULL)
		return;
	assert_int_equal(turns->join(b->self, &err), RIFFLE_OK);
	guest_of = b->self;
	meanwhile = take_turn;
}

static inline void
stop(struct bed *b)
{
	if (guest_of == b->self && meanwhile != NULL)
		turns->leave(b->self);
	meanwhile = NULL;
	ops->destroy(b->self);
}

static void
describe_bytes(struct call *c, const char *name, struct riffle_bytes b)
{
	char *to = c->full + c->full_len;
	size_t left = sizeof c->full - c->full_len;
	int n = b.ptr == NULL ? snprintf(to, left, " %s absent", name)
			      : snprintf(to, left, " %s %zu'", name, b.len);
	for (size_t i = 0; b.ptr != NULL && i < b.len && (size_t)n + 8 < left; i++) {
		unsigned char x = ((const unsigned char *)b.ptr)[i];
		n += snprintf(to + n, left - (size_t)n, x < 0x20 || x > 0x7e ? "\\%02x" : "%c", x);
	}
	c->full_len += (size_t)n;
}

static void
look(struct call *c, const struct riffle_batch *b, const struct riffle_record *r)
{
	char *to = c->full + c->full_len;
	if (c->full_len > sizeof c->full / 2)
		return;
	c->full_len += (size_t)(r->time_ms == RIFFLE_TIME_NONE
					? snprintf(to, 64, "%u no time", r->stream)
					: snprintf(to, 64, "%u time %lld", r->stream,
						  (long long)r->time_ms));
	describe_bytes(c, "key", r->key);
	describe_bytes(
		c, "type", bytes(r->content_type ? b->content_types[r->content_type] : NULL));
	for (uint32_t i = 0; i < r->header_count; i++) {
		describe_bytes(c, "header", b->headers[r->header_first + i].name);
		describe_bytes(c, "=", b->headers[r->header_first + i].value);
	}
	describe_bytes(c, "value", r->value);
	c->full_len += (size_t)sprintf(c->full + c->full_len, "\n");
}

static void
begin_window(struct bed *b, struct call *c, uint32_t outputs, const char *start, uint32_t attempt)
{
	static const char *const names[] = {"x", "y"};
	static const char *const types[] = {"text/plain", "application/json"};
	char text[16];
	snprintf(text, sizeof text, "%u", attempt);
	const struct riffle_header headers[] = {{bytes("riffle-window-start"), bytes(start)},
		{bytes("riffle-attempt"), bytes(text)}};
	const struct riffle_call_spec spec = {.size = sizeof spec,
		.input_count = outputs > 0 ? outputs : 1,
		.output_count = outputs,
		.header_count = 2,
		.input_names = names,
		.input_types = types,
		.output_names = names,
		.output_types = types,
		.headers = headers,
		.attempt = attempt};
	begin_call(b->self, &spec, c);
}

static inline void
begin(struct bed *b, struct call *c, uint32_t outputs)
{
	begin_window(b, c, outputs, "1000", 2);
}

static void
finish(struct bed *b, struct call *c)
{
	end(c);
	stop(b);
}

#endif
