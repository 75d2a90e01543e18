/* See lines.h. */
#include "cli/lines.h"

#include "base/error.h"
#include "cli/cli.h"
#include "plugin/host.h"

#include <inttypes.h>

#define BATCH_RECORDS 1000
#define BATCH_BYTES (1 << 20)
#define REFUSALS_TOLD 20

/* Each line is one record, so the number of a record is that of its line. */
static void
tell_refused(void *ctx, uint64_t first, uint64_t count, const struct riffle_error *why)
{
	struct rfl_lines *l = ctx;
	unsigned n = l->told++;
	if (n < REFUSALS_TOLD && count == 1)
		rfl_failed(l->verb, "line %" PRIu64 ": %s", first + 1, why->text);
	else if (n < REFUSALS_TOLD)
		rfl_failed(l->verb, "lines %" PRIu64 " to %" PRIu64 ": %s", first + 1,
			first + count, why->text);
	else if (n == REFUSALS_TOLD)
		rfl_failed(l->verb, "line %" PRIu64 " and others behind it, too", first + 1);
	l->refused += count;
}

int
rfl_lines_open(struct rfl_lines *l, struct rfl_client *client, const char *verb, int is_dry,
	struct riffle_error *reterr)
{
	*l = (struct rfl_lines){.verb = verb, .is_dry = is_dry};
	int rc = is_dry ? RIFFLE_OK : rfl_sender_open(&l->sender, client, verb, reterr);
	if (rc < 0)
		return rc;
	l->sender.refused = tell_refused;
	l->sender.ctx = l;
	l->builder = rfl_builder_create();
	return RIFFLE_OK;
}

static int
send_batch(struct rfl_lines *l)
{
	l->count += rfl_builder_count(l->builder);
	struct riffle_batch *batch = rfl_builder_finish(l->builder);
	if (batch == NULL)
		return RIFFLE_OK;
	if (!l->is_dry)
		return rfl_sender_send(&l->sender, batch);
	rfl_batch_unref(batch);
	return RIFFLE_OK;
}

int
rfl_lines_added(struct rfl_lines *l)
{
	if (rfl_builder_count(l->builder) < BATCH_RECORDS &&
		rfl_builder_bytes(l->builder) < BATCH_BYTES)
		return 0;
	return send_batch(l) == RIFFLE_OK ? 0 : -1;
}

int
rfl_lines_flush(struct rfl_lines *l)
{
	return send_batch(l) == RIFFLE_OK ? 0 : -1;
}

/* Refusals were told line by line: what is left to say is how to go on. */
static void
say_how_far(const struct rfl_lines *l, struct riffle_error *err)
{
	uint64_t sent = l->sender.sent;
	if (l->refused > 0) {
		rfl_err(err, err->code,
			"%" PRIu64 " refused; all others up to line %" PRIu64
			" are there, none behind it",
			l->refused, sent);
	} else if (sent > 0) {
		rfl_failed_err(l->verb, err);
		rfl_err(err, err->code, "all up to line %" PRIu64 " are there, none behind it",
			sent);
	}
}

int
rfl_lines_close(struct rfl_lines *l, int rc, struct riffle_error *reterr)
{
	struct riffle_error late = {0};
	send_batch(l);
	rfl_builder_destroy(l->builder);
	int end = l->is_dry ? RIFFLE_OK : rfl_sender_close(&l->sender, &late);
	if (end < 0)
		say_how_far(l, &late);
	if (end < 0 && rc < 0)
		rfl_failed_err(l->verb, &late);
	if (end < 0 && rc == RIFFLE_OK)
		*reterr = late;
	return rc < 0 ? rc : end;
}
