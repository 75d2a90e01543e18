/* Sources: opened, their lanes kept, closed. */
#include "runtime/source.h"

#include "base/check.h"
#include "base/error.h"
#include "base/mem.h"

#include <stdlib.h>

#define SOURCE_MAGIC 0x53524345u

void
rfl_source_init(struct rfl_source *s, struct rfl_instance *instance, const uint32_t *inputs,
	uint32_t input_count)
{
	*s = (struct rfl_source){
		.magic = SOURCE_MAGIC,
		.instance = instance,
		.ops = instance->provider,
		.is_closed = 1,
		.inputs = inputs,
		.input_count = input_count,
	};
}

int
rfl_source_open(
	struct rfl_source *s, const struct riffle_source_spec *spec, struct riffle_error *reterr)
{
	RFL_CHECK(s, SOURCE_MAGIC);
	rfl_assert(s->source == NULL);
	int rc = s->ops->source_open(s->instance->self, spec, &s->source, reterr);
	if (rc < 0) {
		s->source = NULL;
		return rfl_err_prefix(reterr, "cannot read from provider %s", s->instance->name);
	}
	s->is_closing = s->is_closed = 0;
	return RIFFLE_OK;
}

static void
add_lane(struct rfl_source *s, const struct riffle_lane *l)
{
	rfl_grow(&s->lanes, &s->lane_room, s->lane_count + 1, sizeof *s->lanes);
	const struct riffle_position *at = &l->committed;
	s->lanes[s->lane_count++] = (struct rfl_source_lane){
		.state = RFL_LANE_ASSIGNED,
		.id = l->lane,
		.stream = at->stream,
		.input = s->inputs[at->stream],
		.partition = at->partition,
		.leader_epoch = at->leader_epoch,
		.offset = at->offset,
		.log_end = l->log_end,
		.metadata =
			at->metadata.ptr ? rfl_strndup(at->metadata.ptr, at->metadata.len) : NULL,
		.metadata_len = at->metadata.len,
	};
}

void
rfl_source_add_lanes(struct rfl_source *s, const struct riffle_event *ev)
{
	for (uint32_t i = 0; i < ev->lane_count; i++) {
		const struct riffle_lane *l =
			(const void *)((const char *)ev->lanes + (size_t)i * ev->lane_size);
		if (l->committed.stream < s->input_count)
			add_lane(s, l);
	}
}

struct rfl_source_lane *
rfl_source_lane(struct rfl_source *s, uint32_t id)
{
	for (size_t i = 0; i < s->lane_count; i++)
		if (s->lanes[i].id == id)
			return &s->lanes[i];
	return NULL;
}

void
rfl_source_remove_lane(struct rfl_source *s, uint32_t id)
{
	struct rfl_source_lane *l = rfl_source_lane(s, id);
	if (l == NULL)
		return;
	free(l->metadata);
	free(l->checkpoint_key);
	free(l->checkpoint);
	*l = s->lanes[--s->lane_count];
}

void
rfl_source_close(struct rfl_source *s)
{
	if (s->source == NULL || s->is_closing)
		return;
	s->is_closing = 1;
	s->ops->source_close(s->source);
}

void
rfl_source_fini(struct rfl_source *s)
{
	RFL_CHECK(s, SOURCE_MAGIC);
	rfl_assert(s->is_closed);
	while (s->lane_count > 0)
		rfl_source_remove_lane(s, s->lanes[0].id);
	free(s->lanes);
	s->lanes = NULL;
	s->lane_room = 0;
	if (s->source != NULL)
		s->ops->source_destroy(s->source);
	s->source = NULL;
}
