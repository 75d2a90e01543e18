/* What a plugin's batch may be, and what is lent to a plugin. */
#include "plugin/guard_private.h"

#include "plugin/batch.h"
#include "plugin/host.h"

#include <inttypes.h>
#include <stdio.h>

#define RECORD_SIZE_MAX 65536u

static int
bytes_fail(struct riffle_bytes b)
{
	return (b.ptr == NULL && b.len != 0) || b.len > RFL_GUARD_BYTES_MAX;
}

static const char *
shape_fault(const struct riffle_batch *b)
{
	if (b->size < sizeof *b)
		return "a batch whose size is too small";
	if (b->release == NULL)
		return "a batch without release";
	if (b->record_count == 0 || b->records == NULL)
		return "a batch without records";
	if (b->record_size < sizeof(struct riffle_record) || b->record_size > RECORD_SIZE_MAX ||
		b->record_size % _Alignof(struct riffle_record) != 0)
		return "a batch whose record_size cannot be";
	if (b->header_count > 0 && b->headers == NULL)
		return "a batch whose headers are NULL";
	if (b->content_type_count > 0 && b->content_types == NULL)
		return "a batch whose content_types are NULL";
	return NULL;
}

static const char *
record_fault(const struct riffle_batch *b, const struct riffle_record *r,
	const struct rfl_guard_expect *e)
{
	if (r->stream >= e->streams || (e->stream >= 0 && r->stream != (uint32_t)e->stream))
		return "with a stream out of range";
	if (e->stream >= 0 && r->partition != e->partition)
		return "of another partition than its lane's";
	if (r->header_count > b->header_count ||
		r->header_first > b->header_count - r->header_count)
		return "with headers out of range";
	if (r->content_type != 0 && (r->content_type >= b->content_type_count ||
					    b->content_types[r->content_type] == NULL))
		return "with a content type out of range";
	if (bytes_fail(r->key) || bytes_fail(r->value))
		return "with a length that cannot be";
	return NULL;
}

static const char *
headers_fault(const struct riffle_batch *b)
{
	for (uint32_t i = 0; i < b->header_count; i++)
		if (bytes_fail(b->headers[i].name) || bytes_fail(b->headers[i].value) ||
			b->headers[i].name.ptr == NULL)
			return "a batch with a header that cannot be";
	return NULL;
}

static const char *
records_fault(const struct riffle_batch *b, const struct rfl_guard_expect *e, uint32_t *ret_at)
{
	int64_t last = INT64_MIN;
	for (uint32_t i = 0; i < b->record_count; i++) {
		const struct riffle_record *r = riffle_batch_at(b, i);
		const char *fault = record_fault(b, r, e);
		if (fault == NULL && e->rising_offsets && r->offset <= last)
			fault = "whose offset is not above the one before";
		last = r->offset;
		*ret_at = i;
		if (fault != NULL)
			return fault;
	}
	return NULL;
}

/* One pass over what the core will use as indexes and lengths: some ns a record. */
const char *
rfl_guard_batch_fault(const struct riffle_batch *b, const struct rfl_guard_expect *e)
{
	static _Thread_local char text[128];
	uint32_t at;
	const char *fault = b == NULL ? "no batch" : shape_fault(b);
	if (fault == NULL)
		fault = headers_fault(b);
	if (fault != NULL)
		return fault;
	if (b->record_count > e->most) {
		snprintf(text, sizeof text, "%u records, at most %u were asked", b->record_count,
			e->most);
		return text;
	}
	fault = records_fault(b, e, &at);
	if (fault == NULL)
		return NULL;
	snprintf(text, sizeof text, "record %u of %u (offset %" PRId64 ") %s", at, b->record_count,
		riffle_batch_at(b, at)->offset, fault);
	return text;
}

struct riffle_batch *
rfl_guard_lend(struct rfl_guard *g, struct riffle_batch *b, uint32_t *first, uint32_t count)
{
	if (g->mode != RFL_GUARD_DEBUG || count == 0)
		return b;
	struct rfl_builder *copy = rfl_builder_create();
	for (uint32_t i = 0; i < count; i++)
		rfl_builder_copy(copy, b, *first + i);
	struct riffle_batch *lent = rfl_builder_finish(copy);
	rfl_builder_destroy(copy);
	rfl_batch_poison(lent);
	*first = 0;
	return lent;
}

void
rfl_guard_lend_end(struct riffle_batch *own, struct riffle_batch *lent)
{
	if (lent != own)
		rfl_batch_unref(lent);
}
