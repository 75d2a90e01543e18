/* See sender.h. */
#include "cli/sender.h"

#include "plugin/host.h"

static void
take_sent(struct rfl_sender *s, const struct riffle_event *ev)
{
	s->answered += ev->count;
	for (uint32_t i = 0; i < ev->count; i++) {
		const struct riffle_sent *one =
			(const void *)((const char *)ev->sent + (size_t)i * ev->sent_size);
		if (ev->sent == NULL || one->status == RIFFLE_OK) {
			s->acknowledged++;
		} else if (s->error.code == RIFFLE_OK) {
			s->error = ev->error;
			s->error.code = one->status;
		}
	}
}

static void
take_events(struct rfl_sender *s)
{
	struct riffle_event ev = {.size = sizeof ev};
	while (s->client->ops->sink_poll(s->sink, &ev) > 0) {
		if (ev.type == RIFFLE_EV_SENT)
			take_sent(s, &ev);
		if (ev.type == RIFFLE_EV_ERROR && s->error.code == RIFFLE_OK)
			s->error = ev.error;
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
rfl_sender_open(struct rfl_sender *s, struct rfl_client *client, const char *member,
	struct riffle_error *reterr)
{
	const struct riffle_stream *stream = &client->stream->stream;
	const struct riffle_sink_spec spec = {.size = sizeof spec,
		.stream_size = sizeof stream,
		.stream_count = 1,
		.streams = &stream,
		.member = member};
	*s = (struct rfl_sender){.client = client};
	return client->ops->sink_open(client->instance->self, &spec, &s->sink, reterr);
}

int
rfl_sender_send(struct rfl_sender *s, struct riffle_batch *b)
{
	uint32_t first = 0;
	while (first < b->record_count && s->error.code == RIFFLE_OK) {
		int took = s->client->ops->sink_send(
			s->sink, b, first, b->record_count - first, ++s->tag, &s->error);
		if (took < 0)
			break;
		first += (uint32_t)took;
		s->sent += (uint64_t)took;
		if (took == 0)
			wait_and_take(s);
		else
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
	if (s->error.code != RIFFLE_OK)
		*reterr = s->error;
	return s->error.code;
}
