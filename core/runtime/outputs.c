/* The sinks of a processor: shared by those of a worker that write to one provider, or its own, with a transaction. */
#include "base/mem.h"
#include "runtime/processor_private.h"

#include <stdlib.h>

/* The streams of one provider that a set of processors writes to; the caller frees. */
static const struct riffle_stream **
streams_to(struct rfl_processor *const *list, size_t list_count,
	const struct rfl_instance *provider, int exactly_once, uint32_t *ret_count)
{
	size_t room = 2; /* one more for a checkpoint stream */
	uint32_t n = 0;
	for (size_t i = 0; i < list_count; i++)
		room += list[i]->destination_count;
	const struct riffle_stream **streams = rfl_zalloc(room * sizeof *streams);
	for (size_t i = 0; i < list_count; i++) {
		const struct rfl_processor *p = list[i];
		if ((p->txn_id != NULL) != exactly_once)
			continue;
		for (size_t k = 0; k < p->destination_count; k++) {
			const struct riffle_stream *s = &p->destinations[k]->stream;
			uint32_t at = 0;
			if (p->setup.destination_providers[k] != provider)
				continue;
			while (at < n && streams[at] != s)
				at++;
			if (at == n)
				streams[n++] = s;
		}
	}
	*ret_count = n;
	return streams;
}

static struct rfl_sink *
find_shared(const struct rfl_worker *w, const struct rfl_instance *provider)
{
	struct rfl_sink *s;
	rfl_list_foreach (s, &w->sinks, struct rfl_sink, link) {
		if (s->is_shared && s->instance == provider && !s->is_closing &&
			s->broken.code == 0)
			return s;
	}
	return NULL;
}

/* A sink's streams are in the order streams_to gives them, which is the same each time. */
static void
set_routes(struct rfl_processor *p, struct rfl_sink *sink, const struct rfl_instance *provider,
	const struct riffle_stream *const *streams)
{
	for (size_t k = 0; k < p->destination_count; k++) {
		const struct riffle_stream *s = &p->destinations[k]->stream;
		uint32_t at = 0;
		if (p->setup.destination_providers[k] != provider)
			continue;
		while (streams[at] != s)
			at++;
		p->sinks[k] = sink;
		p->routes[k] = (struct rfl_route){.outlet = &sink->outlet,
			.sink_stream = at,
			.content_type = s->content_type};
	}
}

/* The tasks find the last two by their names. */
void
rfl_processor_set_side_routes(struct rfl_processor *p)
{
	const struct rfl_processor_conf *c = p->setup.processor;
	size_t at = c->output_count;
	if (c->late_stream != NULL)
		p->task_spec.late = p->routes[at++];
	if (c->on_error.dead_letter != NULL)
		p->task_spec.dead_letter = p->routes[at];
}

static int
open_shared(struct rfl_processor *p, struct rfl_instance *provider, struct riffle_error *reterr)
{
	uint32_t count;
	struct rfl_worker *w = p->worker;
	const struct riffle_stream **streams =
		streams_to(w->processors, w->processor_count, provider, 0, &count);
	struct rfl_sink *sink = find_shared(w, provider);
	int rc = RIFFLE_OK;
	if (sink == NULL) {
		rc = rfl_sink_open(provider, streams, count, w->member, NULL, &sink, reterr);
		if (rc == RIFFLE_OK) {
			sink->is_shared = 1;
			rfl_list_append(&w->sinks, &sink->link);
		}
	}
	if (rc == RIFFLE_OK) {
		sink->users++;
		set_routes(p, sink, provider, streams);
	}
	free(streams);
	return rc;
}

/* Also without outputs: the positions are committed by its transaction. */
static int
open_own(struct rfl_processor *p, struct riffle_error *reterr)
{
	uint32_t count;
	struct rfl_instance *provider = p->setup.input_providers[0];
	const struct riffle_stream **streams = streams_to(&p, 1, provider, 1, &count);
	const struct rfl_stream_conf *checkpoint = p->setup.processor->checkpoint;
	uint32_t checkpoint_at = count;
	if (checkpoint != NULL)
		streams[count++] = &checkpoint->stream;
	struct rfl_sink *sink;
	int rc = rfl_sink_open(
		provider, streams, count, p->worker->member, p->txn_id, &sink, reterr);
	if (rc == RIFFLE_OK) {
		sink->users = 1;
		rfl_list_append(&p->worker->sinks, &sink->link);
		p->own_sink = sink;
		set_routes(p, sink, provider, streams);
		if (checkpoint != NULL)
			p->task_spec.checkpoint = (struct rfl_route){
				.outlet = &sink->outlet, .sink_stream = checkpoint_at};
	}
	free(streams);
	return rc;
}

int
rfl_processor_open_sinks(struct rfl_processor *p, struct riffle_error *reterr)
{
	int rc = RIFFLE_OK;
	if (p->txn_id != NULL)
		return open_own(p, reterr);
	for (size_t k = 0; k < p->destination_count && rc == RIFFLE_OK; k++)
		if (p->sinks[k] == NULL)
			rc = open_shared(p, p->setup.destination_providers[k], reterr);
	return rc;
}

/* Each sink is left once, whatever the number of outputs that go to it. */
void
rfl_processor_leave_sinks(struct rfl_processor *p)
{
	size_t count = p->destination_count;
	for (size_t k = 0; k < count; k++) {
		struct rfl_sink *s = p->sinks[k];
		if (s == NULL)
			continue;
		for (size_t i = k; i < count; i++)
			if (p->sinks[i] == s)
				p->sinks[i] = NULL;
		if (s != p->own_sink && --s->users == 0)
			rfl_sink_close(s);
	}
	if (p->own_sink != NULL) {
		p->own_sink->users = 0;
		rfl_sink_close(p->own_sink);
	}
	p->own_sink = NULL;
}

const struct riffle_error *
rfl_processor_broken_sink(const struct rfl_processor *p)
{
	if (p->own_sink != NULL && p->own_sink->broken.code != 0)
		return &p->own_sink->broken;
	for (size_t k = 0; k < p->destination_count; k++)
		if (p->sinks[k] != NULL && p->sinks[k]->broken.code != 0)
			return &p->sinks[k]->broken;
	return NULL;
}
