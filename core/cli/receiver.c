/* See receiver.h. */
#include "cli/receiver.h"

#include "base/error.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "plugin/batch.h"
#include "plugin/host.h"
#include "wire/envelope.h"

#include <inttypes.h>
#include <stdlib.h>

#define CLOSE_WAIT_MS 10000

/* What did not close, and may still be used by its provider's threads, until the process ends. */
static void *volatile left_source, *volatile left_instance;

int
rfl_receiver_open(struct rfl_receiver *r, struct rfl_client *client, const char *verb,
	uint32_t start, int32_t partition, struct riffle_error *reterr)
{
	const struct riffle_source_stream stream = {.size = sizeof stream,
		.flags = RIFFLE_SOURCE_HEADERS,
		.stream = &client->stream->stream,
		.start = start,
		.partition_count = partition >= 0 ? 1 : 0,
		.partitions = &partition};
	const struct riffle_source_spec spec = {.size = sizeof spec,
		.stream_size = sizeof stream,
		.stream_count = 1,
		.streams = &stream,
		.member = verb};
	*r = (struct rfl_receiver){.client = client, .verb = verb};
	int rc = rfl_client_can_read(client, reterr);
	return rc < 0 ? rc
		      : client->ops->source_open(client->instance->self, &spec, &r->source, reterr);
}

static int
start_lanes(struct rfl_receiver *r, const struct riffle_event *ev, struct riffle_error *reterr)
{
	int rc = RIFFLE_OK;
	r->is_assigned = 1;
	for (uint32_t i = 0; i < ev->lane_count && rc == RIFFLE_OK; i++) {
		const struct riffle_lane *given =
			(const void *)((const char *)ev->lanes + (size_t)i * ev->lane_size);
		rfl_grow(&r->lanes, &r->lane_room, r->lane_count + 1, sizeof *r->lanes);
		struct rfl_receiver_lane *l = &r->lanes[r->lane_count++];
		*l = (struct rfl_receiver_lane){.lane = *given, .next = given->committed.offset};
		l->lane.committed.metadata = (struct riffle_bytes){NULL, 0};
		rc = r->client->ops->source_start(
			r->source, &l->lane.lane, &l->lane.committed, 1, reterr);
	}
	return rc;
}

static int
take_error(struct rfl_receiver *r, const struct riffle_event *ev, struct riffle_error *reterr)
{
	if (ev->status == RIFFLE_E_FATAL || ev->status == RIFFLE_E_FENCED) {
		*reterr = ev->error;
		return ev->status;
	}
	if (!r->has_waited)
		rfl_failed(r->verb, "%s; it is tried again", ev->error.text);
	r->has_waited = 1;
	return RIFFLE_OK;
}

int
rfl_receiver_take(struct rfl_receiver *r, struct riffle_error *reterr)
{
	struct riffle_event ev = {.size = sizeof ev};
	int rc = RIFFLE_OK, count = 0;
	while (rc == RIFFLE_OK && !r->is_closed &&
		r->client->ops->source_poll(r->source, &ev) > 0) {
		if (ev.type == RIFFLE_EV_ERROR)
			rc = take_error(r, &ev, reterr);
		if (ev.type == RIFFLE_EV_ASSIGNED)
			rc = start_lanes(r, &ev, reterr);
		r->is_closed |= ev.type == RIFFLE_EV_CLOSED;
		ev = (struct riffle_event){.size = sizeof ev};
		count++;
	}
	return rc < 0 ? rc : count;
}

static int
pass_damaged(struct rfl_receiver *r, struct rfl_receiver_lane *l, struct riffle_error *reterr)
{
	struct riffle_lane_state state = {.size = sizeof state};
	struct riffle_position past = l->lane.committed;
	if (r->client->ops->lane_state(r->source, l->lane.lane, &state) != RIFFLE_OK ||
		state.position < l->next)
		return RIFFLE_E_DATA;
	rfl_failed(r->verb, "%s; it is left out", reterr->text);
	r->damaged++;
	past.offset = l->next = state.position + 1;
	return r->client->ops->source_rewind(r->source, &l->lane.lane, &past, 1, reterr);
}

int
rfl_receiver_poll(struct rfl_receiver *r, struct rfl_receiver_lane *l,
	struct riffle_batch **ret_batch, struct riffle_error *reterr)
{
	struct riffle_batch *b;
	int rc;
	while ((rc = r->client->ops->lane_poll(
			r->source, l->lane.lane, 1000, 1 << 20, &b, reterr)) == RIFFLE_E_DATA) {
		rc = pass_damaged(r, l, reterr);
		if (rc < 0)
			break;
	}
	if (rc <= 0)
		return rc;
	rfl_batch_take(b);
	l->next = riffle_batch_at(b, b->record_count - 1)->offset + 1;
	*ret_batch = rfl_envelope_open(r->client->stream, b);
	rfl_batch_unref(b);
	return 1;
}

/* A destroy before the end is none of ours to ask for. */
static void
close_source(struct rfl_receiver *r)
{
	struct riffle_error ignored;
	const struct riffle_provider_ops *ops = r->client->ops;
	int64_t end_ns = rfl_clock_mono_ns(&r->client->clock) + CLOSE_WAIT_MS * INT64_C(1000000);
	ops->source_close(r->source);
	rfl_receiver_take(r, &ignored);
	while (!r->is_closed && rfl_clock_mono_ns(&r->client->clock) < end_ns) {
		rfl_client_wait(ops->source_fd(r->source), 100);
		rfl_receiver_take(r, &ignored);
	}
	if (r->is_closed) {
		ops->source_destroy(r->source);
		return;
	}
	rfl_failed(r->verb, "provider \"%s\" did not close within %d s",
		r->client->stream->provider->name, CLOSE_WAIT_MS / 1000);
	left_source = r->source;
	left_instance = r->client->instance;
	r->client->instance = NULL;
}

int
rfl_receiver_close(struct rfl_receiver *r, int rc, struct riffle_error *reterr)
{
	if (r->source != NULL)
		close_source(r);
	free(r->lanes);
	if (rc < 0 || r->damaged == 0)
		return rc;
	return rfl_err(reterr, RIFFLE_E_DATA,
		"%" PRIu64 " damaged %s left out, all others are written", r->damaged,
		r->damaged == 1 ? "record is" : "records are");
}
