/* See sender.h. */
#include "cli/sender.h"

#include "base/check.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "plugin/host.h"
#include "wire/envelope.h"

#include <stdlib.h>
#include <sys/random.h>

#define RANDOM_BYTES 16

static struct rfl_sender_open_send *
find_open(struct rfl_sender *s, uint64_t tag)
{
	size_t i = 0;
	while (i < s->open_count && s->open[i].tag != tag)
		i++;
	rfl_assert(i < s->open_count);
	return &s->open[i];
}

static int
is_written(const struct riffle_event *ev, uint32_t i)
{
	const struct riffle_sent *one =
		(const void *)((const char *)ev->sent + (size_t)i * ev->sent_size);
	return ev->sent == NULL || one->status == RIFFLE_OK;
}

static void
tell_refused(struct rfl_sender *s, const struct riffle_event *ev, uint64_t base)
{
	uint32_t i = 0, first;
	while (s->refused != NULL && i < ev->count) {
		first = i;
		while (i < ev->count && !is_written(ev, i))
			i++;
		if (i > first)
			s->refused(s->ctx, base + ev->first + first, i - first, &ev->error);
		else
			i++;
	}
}

static void
take_sent(struct rfl_sender *s, const struct riffle_event *ev)
{
	struct rfl_sender_open_send *o = find_open(s, ev->tag);
	s->answered += ev->count;
	for (uint32_t i = 0; i < ev->count; i++) {
		const struct riffle_sent *one =
			(const void *)((const char *)ev->sent + (size_t)i * ev->sent_size);
		if (is_written(ev, i)) {
			s->acknowledged++;
		} else if (s->error.code == RIFFLE_OK) {
			s->error = ev->error;
			s->error.code = one->status;
		}
	}
	tell_refused(s, ev, o->base);
	o->left -= ev->count;
	if (o->left == 0)
		*o = s->open[--s->open_count];
}

/* What may pass is waited for, as the answers are: whether a record is there its answer alone says. */
static void
take_error(struct rfl_sender *s, const struct riffle_event *ev)
{
	int is_over = ev->status == RIFFLE_E_FATAL || ev->status == RIFFLE_E_FENCED;
	if (is_over && s->error.code == RIFFLE_OK) {
		s->error = ev->error;
		s->error.code = ev->status;
	}
	if (!is_over && !s->has_waited)
		rfl_failed(s->verb, "%s; it is tried again", ev->error.text);
	s->has_waited |= !is_over;
}

static void
take_events(struct rfl_sender *s)
{
	struct riffle_event ev = {.size = sizeof ev};
	while (s->client->ops->sink_poll(s->sink, &ev) > 0) {
		if (ev.type == RIFFLE_EV_SENT)
			take_sent(s, &ev);
		if (ev.type == RIFFLE_EV_ERROR)
			take_error(s, &ev);
		s->is_closed |= ev.type == RIFFLE_EV_CLOSED;
		ev = (struct riffle_event){.size = sizeof ev};
	}
}

static void
wait_and_take(struct rfl_sender *s)
{
	rfl_client_wait(s->client->ops->sink_fd(s->sink), 1000);
	take_events(s);
}

int
rfl_sender_open(struct rfl_sender *s, struct rfl_client *client, const char *verb,
	struct riffle_error *reterr)
{
	const struct riffle_stream *stream = &client->stream->stream;
	const struct riffle_sink_spec spec = {.size = sizeof spec,
		.stream_size = sizeof stream,
		.stream_count = 1,
		.streams = &stream,
		.member = verb};
	*s = (struct rfl_sender){.client = client, .verb = verb};
	int rc = rfl_client_can_write(client, reterr);
	return rc < 0 ? rc
		      : client->ops->sink_open(client->instance->self, &spec, &s->sink, reterr);
}

/* Ids that nobody else has: sixteen random bytes, and a number. */
static void
event_id(void *ctx, const struct riffle_batch *b, const struct riffle_record *r, uint64_t n,
	struct rfl_buf *out)
{
	const unsigned char *random = ctx;
	(void)b, (void)r;
	for (size_t i = 0; i < RANDOM_BYTES; i++)
		rfl_buf_printf(out, "%02x", random[i]);
	rfl_buf_printf(out, "-%llu", (unsigned long long)n);
}

static struct riffle_batch *
sealed(const struct rfl_sender *s, struct riffle_batch *b)
{
	unsigned char random[RANDOM_BYTES];
	const struct rfl_origin origin = {
		.source = "riffle-publish", .id = event_id, .ctx = random};
	/* Sixteen bytes are never given in part. */
	rfl_assert(getrandom(random, sizeof random, 0) == (ssize_t)sizeof random);
	struct riffle_batch *with = rfl_envelope_seal_for(s->client->stream, b, &origin);
	rfl_batch_unref(b);
	return with;
}

int
rfl_sender_send(struct rfl_sender *s, struct riffle_batch *b)
{
	uint32_t first = 0;
	b = sealed(s, b);
	while (first < b->record_count && s->error.code == RIFFLE_OK) {
		int took = s->client->ops->sink_send(
			s->sink, b, first, b->record_count - first, ++s->tag, &s->error);
		if (took < 0)
			break;
		if (took == 0) {
			wait_and_take(s);
			continue;
		}
		rfl_grow(&s->open, &s->open_room, s->open_count + 1, sizeof *s->open);
		s->open[s->open_count++] = (struct rfl_sender_open_send){
			.tag = s->tag, .base = s->sent - first, .left = (uint32_t)took};
		first += (uint32_t)took;
		s->sent += (uint64_t)took;
		take_events(s);
	}
	rfl_batch_unref(b);
	return s->error.code;
}

int
rfl_sender_close(struct rfl_sender *s, struct riffle_error *reterr)
{
	const struct riffle_provider_ops *ops = s->client->ops;
	if (ops->sink_flush != NULL)
		ops->sink_flush(s->sink);
	while (s->answered < s->sent)
		wait_and_take(s);
	ops->sink_close(s->sink);
	take_events(s);
	while (!s->is_closed)
		wait_and_take(s);
	ops->sink_destroy(s->sink);
	free(s->open);
	if (s->error.code != RIFFLE_OK)
		*reterr = s->error;
	return s->error.code;
}
