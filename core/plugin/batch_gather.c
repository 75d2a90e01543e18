/* Batches put together of records that lie in several others. */
#include "base/check.h"
#include "base/list.h"
#include "base/mem.h"
#include "plugin/batch.h"
#include "plugin/host.h"

#include <stdlib.h>
#include <string.h>

struct gathered {
	struct riffle_batch abi;
	struct riffle_batch **from; /* one reference each */
	uint32_t from_count;
	const char **types;
	struct riffle_record records[];
};

static void
gathered_release(struct riffle_batch *batch)
{
	struct gathered *g = rfl_container(batch, struct gathered, abi);
	for (uint32_t i = 0; i < g->from_count; i++)
		rfl_batch_unref(g->from[i]);
	free(g->from);
	free(g->types);
	free((void *)(uintptr_t)g->abi.headers);
	free(g);
}

static uint32_t
type_index(struct gathered *g, size_t *room, const char *type)
{
	for (uint32_t i = 1; i < g->abi.content_type_count; i++)
		if (strcmp(g->types[i], type) == 0)
			return i;
	uint32_t at = g->abi.content_type_count > 0 ? g->abi.content_type_count : 1;
	rfl_grow(&g->types, room, at + 1, sizeof *g->types);
	g->types[0] = NULL;
	g->types[at] = type;
	g->abi.content_type_count = at + 1;
	return at;
}

struct riffle_batch *
rfl_batch_gather(const struct rfl_record_at *at, uint32_t count)
{
	struct gathered *g = rfl_zalloc(sizeof *g + count * sizeof g->records[0]);
	size_t from_room = 0, type_room = 0;
	uint32_t headers = 0;
	for (uint32_t i = 0; i < count; i++)
		headers += riffle_batch_at(at[i].batch, at[i].index)->header_count;
	struct riffle_header *list = headers ? rfl_alloc(headers * sizeof *list) : NULL;
	headers = 0;
	for (uint32_t i = 0; i < count; i++) {
		struct riffle_batch *b = at[i].batch;
		struct riffle_record *r = &g->records[i];
		*r = *riffle_batch_at(b, at[i].index);
		if (r->header_count > 0)
			memcpy(list + headers, b->headers + r->header_first,
				r->header_count * sizeof *list);
		r->header_first = headers;
		headers += r->header_count;
		if (r->content_type != 0)
			r->content_type =
				type_index(g, &type_room, b->content_types[r->content_type]);
		/* Neighbours mostly lie in one batch; a reference too many does no harm. */
		if (i > 0 && b == at[i - 1].batch)
			continue;
		rfl_grow(&g->from, &from_room, g->from_count + 1, sizeof *g->from);
		g->from[g->from_count++] = b;
		rfl_batch_ref(b);
		g->abi.pinned_bytes += b->pinned_bytes;
	}
	g->abi.size = sizeof g->abi;
	g->abi.record_size = sizeof g->records[0];
	g->abi.record_count = count;
	g->abi.records = g->records;
	g->abi.headers = list;
	g->abi.header_count = headers;
	g->abi.content_types = g->types;
	g->abi.release = gathered_release;
	rfl_batch_take(&g->abi);
	return &g->abi;
}
