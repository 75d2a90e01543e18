/* A provider that can write nothing and read nothing, and answers to describe as it is told. */
#include <riffle/riffle.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ANSWER, AWAY, HANG, CRASH, SLOW };

struct mute {
	int64_t how, partitions;
};

static int
create(const struct riffle_host *host, const struct riffle_config *cfg, void **ret_self,
	struct riffle_error *reterr)
{
	struct mute *m = calloc(1, sizeof *m);
	(void)host, (void)reterr;
	m->how = riffle_config_at(cfg, 0)->u.i;
	m->partitions = riffle_config_at(cfg, 1)->u.i;
	*ret_self = m;
	return RIFFLE_OK;
}

static void
destroy(void *self)
{
	free(self);
}

static uint64_t
capabilities(void *self)
{
	(void)self;
	return RIFFLE_CAN_SINK;
}

static int
describe(void *self, const struct riffle_stream *stream, struct riffle_stream_info *ret_info,
	struct riffle_error *reterr)
{
	struct mute *m = self;
	(void)stream;
	while (m->how == HANG)
		pause();
	if (m->how == CRASH)
		abort();
	if (m->how == SLOW)
		usleep(1000000);
	if (m->how == AWAY || m->how == SLOW) {
		reterr->code = RIFFLE_E_UNAVAILABLE;
		strcpy(reterr->text, "cannot reach the broker: nobody is there");
		return reterr->code;
	}
	ret_info->flags = RIFFLE_STREAM_EXISTS;
	ret_info->partitions = (uint32_t)m->partitions;
	return RIFFLE_OK;
}

static int
sink_open(void *self, const struct riffle_sink_spec *spec, void **ret_sink,
	struct riffle_error *reterr)
{
	(void)self, (void)spec, (void)ret_sink;
	reterr->code = RIFFLE_E_FATAL;
	strcpy(reterr->text, "cannot open a sink: there is none");
	return RIFFLE_E_FATAL;
}

static int
sink_fd(void *sink)
{
	(void)sink;
	return 0;
}

static int
sink_poll(void *sink, struct riffle_event *ret_event)
{
	(void)sink, (void)ret_event;
	return 0;
}

static int
sink_send(void *sink, struct riffle_batch *batch, uint32_t first, uint32_t count, uint64_t tag,
	struct riffle_error *reterr)
{
	(void)sink, (void)batch, (void)first, (void)count, (void)tag, (void)reterr;
	return 0;
}

static void
sink_close(void *sink)
{
	(void)sink;
}

static const char *const hows[] = {"answer", "away", "hang", "crash", "slow", NULL};
static const struct riffle_option options[] = {
	{"how", RIFFLE_OPT_ENUM, 0, "answer", 0, 0, hows, "How it answers."},
	{"has", RIFFLE_OPT_INT, 0, "1", 1, 9, NULL, "The partitions of its streams."},
	{"password", RIFFLE_OPT_STRING, RIFFLE_OPT_SECRET, NULL, 0, 0, NULL, "Who's there."},
	{"raw.", RIFFLE_OPT_PASS, 0, NULL, 0, 0, NULL, "What it is handed as it is."},
};
static const struct riffle_option stream_options[] = {
	{"note", RIFFLE_OPT_STRING, 0, "none ; yet", 0, 0, NULL, "A remark; with `words`."},
};
static const struct riffle_option_table tables[] = {
	{sizeof tables[0], RIFFLE_SECTION_PROVIDER, sizeof options[0], 4, options},
	{sizeof tables[0], RIFFLE_SECTION_STREAM, sizeof options[0], 1, stream_options},
};
static const struct riffle_provider_ops ops = {
	.size = sizeof ops,
	.create = create,
	.destroy = destroy,
	.capabilities = capabilities,
	.describe = describe,
	.sink_open = sink_open,
	.sink_fd = sink_fd,
	.sink_poll = sink_poll,
	.sink_send = sink_send,
	.sink_close = sink_close,
	.sink_destroy = sink_close,
};
static const struct riffle_plugin mute = {
	.size = sizeof mute,
	.kind = RIFFLE_KIND_PROVIDER,
	.name = "mute",
	.summary = "says nothing",
	.version = "0.7",
	.license = "none",
	.capabilities = RIFFLE_CAN_SINK,
	.table_size = sizeof tables[0],
	.table_count = 2,
	.tables = tables,
	.ops = &ops,
};

RIFFLE_MODULE("test", &mute);
