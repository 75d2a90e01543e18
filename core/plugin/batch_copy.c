/*
 * Copies of records in one piece of memory: the batch, its arrays, its bytes, one behind the other, with
 * pointers that are put right when the piece has been elsewhere.
 */
#include "base/check.h"
#include "base/list.h"
#include "base/mem.h"
#include "plugin/batch.h"
#include "plugin/host.h"

#include <stdlib.h>
#include <string.h>

#define COPY_MAGIC 0x434f5059u

struct copy {
	struct riffle_batch abi;
	uint32_t magic;
	size_t size;        /* of the whole piece */
	const void *origin; /* where it lay when its pointers were set */
};

/* What the arrays and bytes of a run need. Sizes of the parts keep the next one aligned. */
struct need {
	size_t records, headers, types, bytes;
	uint32_t header_count;
};

static size_t
aligned(size_t n)
{
	return (n + 15) & ~(size_t)15;
}

static struct need
measure(const struct riffle_batch *from, uint32_t first, uint32_t count)
{
	struct need n = {.bytes = 1};
	for (uint32_t i = first; i < first + count; i++) {
		const struct riffle_record *r = riffle_batch_at(from, i);
		n.bytes += r->key.len + r->value.len;
		n.header_count += r->header_count;
		for (uint32_t h = 0; h < r->header_count; h++) {
			const struct riffle_header *one = &from->headers[r->header_first + h];
			n.bytes += one->name.len + one->value.len;
		}
	}
	for (uint32_t i = 1; i < from->content_type_count; i++)
		if (from->content_types[i] != NULL)
			n.bytes += strlen(from->content_types[i]) + 1;
	n.records = aligned(count * sizeof(struct riffle_record));
	n.headers = aligned(n.header_count * sizeof(struct riffle_header));
	n.types = aligned(from->content_type_count * sizeof(char *));
	return n;
}

/* Absent stays absent; empty points at the bytes, of which there is always one. */
static struct riffle_bytes
keep(char **at, struct riffle_bytes b)
{
	if (b.ptr == NULL)
		return b;
	struct riffle_bytes copy = {*at, b.len};
	if (b.len > 0)
		memcpy(*at, b.ptr, b.len);
	*at += b.len;
	return copy;
}

static void
copy_release(struct riffle_batch *batch)
{
	free(batch);
}

struct riffle_batch *
rfl_batch_copy(const struct riffle_batch *from, uint32_t first, uint32_t count, uint32_t stream)
{
	const struct need n = measure(from, first, count);
	size_t head = aligned(sizeof(struct copy));
	size_t size = head + n.records + n.headers + n.types + n.bytes;
	struct copy *c = rfl_alloc(size);
	struct riffle_record *records = (void *)((char *)c + head);
	struct riffle_header *headers = (void *)((char *)records + n.records);
	const char **types = (void *)((char *)headers + n.headers);
	char *at = (char *)types + n.types;
	*c = (struct copy){
		.abi = {.size = sizeof c->abi,
			.record_size = sizeof *records,
			.record_count = count,
			.header_count = n.header_count,
			.content_type_count = from->content_type_count,
			.records = records,
			.headers = headers,
			.content_types = types,
			.pinned_bytes = size,
			.release = copy_release},
		.magic = COPY_MAGIC,
		.size = size,
		.origin = c,
	};
	for (uint32_t i = 0, h = 0; i < count; i++) {
		const struct riffle_record *r = riffle_batch_at(from, first + i);
		records[i] = *r;
		records[i].stream = stream;
		records[i].header_first = h;
		records[i].key = keep(&at, r->key);
		records[i].value = keep(&at, r->value);
		for (uint32_t k = 0; k < r->header_count; k++, h++) {
			const struct riffle_header *one = &from->headers[r->header_first + k];
			headers[h].name = keep(&at, one->name);
			headers[h].value = keep(&at, one->value);
		}
	}
	for (uint32_t i = 0; i < from->content_type_count; i++) {
		const char *type = i > 0 ? from->content_types[i] : NULL;
		types[i] = type ? at : NULL;
		if (type != NULL)
			at = stpcpy(at, type) + 1;
	}
	rfl_batch_take(&c->abi);
	return &c->abi;
}

struct riffle_bytes
rfl_batch_pack(const struct riffle_batch *copy)
{
	const struct copy *c = (const void *)copy;
	RFL_CHECK(c, COPY_MAGIC);
	return (struct riffle_bytes){c, c->size};
}

static void
move(ptrdiff_t by, void *pointer)
{
	char *p;
	memcpy(&p, pointer, sizeof p);
	if (p == NULL)
		return;
	p += by;
	memcpy(pointer, &p, sizeof p);
}

struct riffle_batch *
rfl_batch_unpack(void *bytes)
{
	struct copy *c = bytes;
	RFL_CHECK(c, COPY_MAGIC);
	ptrdiff_t by = (char *)c - (const char *)c->origin;
	move(by, &c->abi.records);
	move(by, &c->abi.headers);
	move(by, &c->abi.content_types);
	struct riffle_record *records = (void *)(uintptr_t)c->abi.records;
	struct riffle_header *headers = (void *)(uintptr_t)c->abi.headers;
	for (uint32_t i = 0; i < c->abi.record_count; i++) {
		move(by, &records[i].key.ptr);
		move(by, &records[i].value.ptr);
	}
	for (uint32_t i = 0; i < c->abi.header_count; i++) {
		move(by, &headers[i].name.ptr);
		move(by, &headers[i].value.ptr);
	}
	for (uint32_t i = 0; i < c->abi.content_type_count; i++)
		move(by, (void *)(uintptr_t)&c->abi.content_types[i]);
	c->abi.release = copy_release;
	c->origin = c;
	rfl_batch_take(&c->abi);
	return &c->abi;
}
