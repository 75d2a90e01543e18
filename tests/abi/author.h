/* A plugin's file as its author may write it in C++17 or C11: both macros of the adaptor, no word of C alone. */
#include <riffle/simple.h>

static int
open_any(const struct riffle_simple *self, const struct riffle_stream *stream, int64_t from,
	void *reader, struct riffle_error *reterr)
{
	(void)self, (void)stream, (void)from, (void)reader, (void)reterr;
	return RIFFLE_OK;
}

static int
next_none(void *reader, int timeout_ms, struct riffle_simple_message *ret,
	struct riffle_error *reterr)
{
	(void)reader, (void)timeout_ms, (void)ret;
	return riffle_simple_fail(reterr, RIFFLE_E_UNAVAILABLE, "nothing behind %s", "this");
}

static void
close_any(void *object)
{
	(void)object;
}

static int
range_of_none(void *reader, int64_t *ret_start, int64_t *ret_end, struct riffle_error *reterr)
{
	(void)reader, (void)reterr;
	*ret_start = *ret_end = 0;
	return RIFFLE_OK;
}

static int
open_writer(const struct riffle_simple *self, const struct riffle_stream *stream, void *writer,
	struct riffle_error *reterr)
{
	(void)self, (void)stream, (void)writer, (void)reterr;
	return RIFFLE_OK;
}

static int
send_nowhere(void *writer, const struct riffle_simple_message *message, struct riffle_error *reterr)
{
	(void)writer, (void)message, (void)reterr;
	return RIFFLE_OK;
}

static int
flush_nothing(void *writer, struct riffle_error *reterr)
{
	(void)writer, (void)reterr;
	return RIFFLE_OK;
}

static const struct riffle_option options[] = {
	{"word", RIFFLE_OPT_STRING, 0, NULL, 0, 0, NULL, "A word."}};
static const struct riffle_simple_source source = {
	sizeof(int), open_any, next_none, close_any, range_of_none, NULL};
static const struct riffle_simple_sink sink = {
	sizeof(int), open_writer, send_nowhere, flush_nothing, close_any};
RIFFLE_SIMPLE_PROVIDER("none", "nothing", "1", "none", RIFFLE_CAN_KEYS, options, source, sink);
