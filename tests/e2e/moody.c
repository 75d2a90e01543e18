/* A provider of three records that fails in passing before it gives them, and closes, or does not. */
#include <riffle/riffle.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RECORDS 3

struct moody {
	const struct riffle_host *host;
	int64_t closes;
};

struct source {
	struct moody *owner;
	int fd, step, is_closing;
	int64_t position;
	struct riffle_lane lane;
};

static int
create(const struct riffle_host *host, const struct riffle_config *cfg, void **ret_self,
	struct riffle_error *reterr)
{
	struct moody *m = calloc(1, sizeof *m);
	(void)reterr;
	m->host = host;
	m->closes = riffle_config_at(cfg, 0)->u.i;
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
	return RIFFLE_CAN_SOURCE;
}

static int
source_open(void *self, const struct riffle_source_spec *spec, void **ret_source,
	struct riffle_error *reterr)
{
	struct source *s = calloc(1, sizeof *s);
	(void)spec, (void)reterr;
	s->owner = self;
	s->fd = eventfd(1, EFD_CLOEXEC);
	*ret_source = s;
	return RIFFLE_OK;
}

static int
source_fd(void *source)
{
	return ((struct source *)source)->fd;
}

static int
source_poll(void *source, struct riffle_event *ev)
{
	struct source *s = source;
	if (s->is_closing && s->owner->closes) {
		ev->type = RIFFLE_EV_CLOSED;
		return 1;
	}
	switch (s->step++) {
	case 0:
	case 2:
		ev->type = RIFFLE_EV_ERROR;
		ev->status = ev->error.code = RIFFLE_E_UNAVAILABLE;
		snprintf(ev->error.text, sizeof ev->error.text, "in no mood");
		return 1;
	case 1:
		s->lane = (struct riffle_lane){.size = sizeof s->lane, .log_end = RECORDS};
		ev->type = RIFFLE_EV_ASSIGNED;
		ev->lanes = &s->lane;
		ev->lane_count = 1;
		ev->lane_size = sizeof s->lane;
		return 1;
	default:
		return 0;
	}
}

static int
source_start(void *source, const uint32_t *lanes, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr)
{
	(void)lanes, (void)count, (void)reterr;
	((struct source *)source)->position = from->offset;
	return RIFFLE_OK;
}

static int
source_rewind(void *source, const uint32_t *lanes, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr)
{
	return source_start(source, lanes, from, count, reterr);
}

static int
source_release(void *source, const uint32_t *lanes, uint32_t count, struct riffle_error *reterr)
{
	(void)source, (void)lanes, (void)count, (void)reterr;
	return RIFFLE_OK;
}

static int
source_commit(void *source, const struct riffle_position *positions, uint32_t count, uint64_t tag,
	struct riffle_error *reterr)
{
	(void)source, (void)positions, (void)count, (void)tag, (void)reterr;
	return RIFFLE_OK;
}

static void
release(struct riffle_batch *b)
{
	free(b);
}

static struct riffle_batch *
one_record(int64_t offset)
{
	struct made {
		struct riffle_batch batch;
		struct riffle_record record;
		const char *types[1];
		char text[32];
	} *m = calloc(1, sizeof *m);
	int len = snprintf(m->text, sizeof m->text, "record %d", (int)offset);
	m->record = (struct riffle_record){
		.offset = offset, .time_ms = RIFFLE_TIME_NONE, .value = {m->text, (size_t)len}};
	m->batch = (struct riffle_batch){.size = sizeof m->batch,
		.record_size = sizeof m->record,
		.record_count = 1,
		.content_type_count = 1,
		.records = &m->record,
		.content_types = m->types,
		.pinned_bytes = sizeof *m,
		.release = release};
	return &m->batch;
}

static int
lane_poll(void *source, uint32_t lane, uint32_t max_records, size_t max_bytes,
	struct riffle_batch **ret_batch, struct riffle_error *reterr)
{
	struct source *s = source;
	(void)lane, (void)max_records, (void)max_bytes, (void)reterr;
	if (s->position == RECORDS)
		return 0;
	*ret_batch = one_record(s->position++);
	return 1;
}

static int
lane_state(void *source, uint32_t lane, struct riffle_lane_state *ret_state)
{
	(void)lane;
	ret_state->position = ((struct source *)source)->position;
	ret_state->log_end = RECORDS;
	return RIFFLE_OK;
}

static void
source_close(void *source)
{
	((struct source *)source)->is_closing = 1;
}

static void
source_destroy(void *source)
{
	struct source *s = source;
	if (s == NULL)
		return;
	close(s->fd);
	free(s);
}

static const struct riffle_option options[] = {
	{"closes", RIFFLE_OPT_BOOL, 0, "yes", 0, 0, NULL, "Does it ever say that it is closed?"},
};
static const struct riffle_option_table tables[] = {
	{sizeof tables[0], RIFFLE_SECTION_PROVIDER, sizeof options[0], 1, options},
};
static const struct riffle_provider_ops ops = {
	.size = sizeof ops,
	.create = create,
	.destroy = destroy,
	.capabilities = capabilities,
	.source_open = source_open,
	.source_fd = source_fd,
	.source_poll = source_poll,
	.source_start = source_start,
	.source_rewind = source_rewind,
	.source_release = source_release,
	.source_commit = source_commit,
	.lane_poll = lane_poll,
	.lane_state = lane_state,
	.source_close = source_close,
	.source_destroy = source_destroy,
};
static const struct riffle_plugin moody = {
	.size = sizeof moody,
	.kind = RIFFLE_KIND_PROVIDER,
	.name = "moody",
	.summary = "fails in passing",
	.version = "0.7",
	.license = "none",
	.capabilities = RIFFLE_CAN_SOURCE,
	.table_size = sizeof tables[0],
	.table_count = 1,
	.tables = tables,
	.ops = &ops,
};

RIFFLE_MODULE("test", &moody);
