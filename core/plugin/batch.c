/* Batches of the core's own making: copies in chunks of memory, and views on other batches. */
#include "plugin/batch.h"

#include "base/check.h"
#include "base/list.h"
#include "base/mem.h"
#include "plugin/host.h"

#include <stdlib.h>
#include <string.h>

#define BUILDER_MAGIC 0x42554c44u
#define CHUNK_BYTES ((size_t)64 * 1024)

struct chunk {
	struct chunk *next;
	size_t used, size;
	unsigned char bytes[];
};

struct own_batch {
	struct riffle_batch abi;
	struct riffle_record *records;
	struct riffle_header *headers; /* NULL in a view: the headers are those of from */
	const char **types;            /* same */
	struct chunk *chunks;
	struct riffle_batch *from; /* what a view looks at */
	int is_poisoned;
};

struct rfl_builder {
	uint32_t magic;
	uint32_t count, header_count, type_count;
	size_t record_room, header_room, type_room, bytes;
	struct riffle_record *records;
	struct riffle_header *headers;
	const char **types;
	struct chunk *chunks;
	struct riffle_batch *from; /* records may be lent of it; NULL = none */
};

struct rfl_builder *
rfl_builder_create(void)
{
	struct rfl_builder *b = rfl_zalloc(sizeof *b);
	b->magic = BUILDER_MAGIC;
	return b;
}

struct rfl_builder *
rfl_builder_over(struct riffle_batch *from)
{
	struct rfl_builder *b = rfl_builder_create();
	b->from = from;
	rfl_batch_ref(from);
	return b;
}

static void
free_chunks(struct chunk *c)
{
	while (c != NULL) {
		struct chunk *next = c->next;
		free(c);
		c = next;
	}
}

void
rfl_builder_destroy(struct rfl_builder *b)
{
	if (b == NULL)
		return;
	RFL_CHECK(b, BUILDER_MAGIC);
	RFL_RETIRE(b);
	free(b->records);
	free(b->headers);
	free(b->types);
	free_chunks(b->chunks);
	rfl_batch_unref(b->from);
	free(b);
}

static void *
reserve(struct rfl_builder *b, size_t len)
{
	struct chunk *c = b->chunks;
	if (c == NULL || c->size - c->used < len) {
		size_t size = len > CHUNK_BYTES ? len : CHUNK_BYTES;
		c = rfl_alloc(sizeof *c + size);
		*c = (struct chunk){.next = b->chunks, .size = size};
		b->chunks = c;
		b->bytes += size;
	}
	void *p = c->bytes + c->used;
	c->used += len;
	return p;
}

/* Absent stays absent; empty becomes a pointer to nothing in particular that is not NULL. */
static struct riffle_bytes
keep(struct rfl_builder *b, struct riffle_bytes from)
{
	if (from.ptr == NULL)
		return from;
	if (from.len == 0)
		return (struct riffle_bytes){"", 0};
	void *p = reserve(b, from.len);
	memcpy(p, from.ptr, from.len);
	return (struct riffle_bytes){p, from.len};
}

/* A type comes from outside and may have NULs: its text would be another one, so they show as '?'. */
static const char *
copy_type(struct rfl_builder *b, struct riffle_bytes type)
{
	char *copy = reserve(b, type.len + 1), *nul;
	memcpy(copy, type.ptr, type.len);
	copy[type.len] = '\0';
	while ((nul = memchr(copy, '\0', type.len)) != NULL)
		*nul = '?';
	return copy;
}

/* Few types occur in one batch, so a walk is the fastest look-up. Index 0 is "not stated". */
static uint32_t
keep_type(struct rfl_builder *b, struct riffle_bytes type)
{
	if (b->type_count == 0) {
		rfl_grow(&b->types, &b->type_room, 1, sizeof *b->types);
		b->types[b->type_count++] = NULL;
	}
	if (type.ptr == NULL)
		return 0;
	for (uint32_t i = 1; i < b->type_count; i++)
		if (strlen(b->types[i]) == type.len && memcmp(b->types[i], type.ptr, type.len) == 0)
			return i;
	rfl_grow(&b->types, &b->type_room, b->type_count + 1, sizeof *b->types);
	b->types[b->type_count] = copy_type(b, type);
	return b->type_count++;
}

static struct riffle_record *
append(struct rfl_builder *b, const struct riffle_record *record, uint32_t header_count)
{
	RFL_CHECK(b, BUILDER_MAGIC);
	rfl_grow(&b->records, &b->record_room, b->count + 1, sizeof *b->records);
	rfl_grow(&b->headers, &b->header_room, b->header_count + header_count, sizeof *b->headers);
	struct riffle_record *r = &b->records[b->count++];
	*r = *record;
	r->header_first = b->header_count;
	r->header_count = header_count;
	return r;
}

void
rfl_builder_add(struct rfl_builder *b, const struct riffle_record *record,
	const struct riffle_header *headers, uint32_t header_count, const char *content_type)
{
	struct riffle_record *r = append(b, record, header_count);
	r->key = keep(b, record->key);
	r->value = keep(b, record->value);
	r->content_type = keep_type(
		b, (struct riffle_bytes){content_type, content_type ? strlen(content_type) : 0});
	for (uint32_t i = 0; i < header_count; i++)
		b->headers[b->header_count++] = (struct riffle_header){
			.name = keep(b, headers[i].name), .value = keep(b, headers[i].value)};
}

struct riffle_bytes
rfl_builder_keep(struct rfl_builder *b, const void *data, size_t len)
{
	return keep(b, (struct riffle_bytes){data, len});
}

void
rfl_builder_lend(struct rfl_builder *b, const struct riffle_record *record,
	const struct riffle_header *headers, uint32_t header_count,
	struct riffle_bytes content_type)
{
	struct riffle_record *r = append(b, record, header_count);
	r->content_type = keep_type(b, content_type);
	if (header_count > 0)
		memcpy(b->headers + b->header_count, headers, header_count * sizeof *headers);
	b->header_count += header_count;
}

void
rfl_builder_copy(struct rfl_builder *b, const struct riffle_batch *from, uint32_t i)
{
	const struct riffle_record *r = riffle_batch_at(from, i);
	const struct riffle_header *headers =
		r->header_count ? from->headers + r->header_first : NULL;
	const char *type = r->content_type ? from->content_types[r->content_type] : NULL;
	rfl_builder_add(b, r, headers, r->header_count, type);
}

uint32_t
rfl_builder_count(const struct rfl_builder *b)
{
	return b->count;
}

size_t
rfl_builder_bytes(const struct rfl_builder *b)
{
	return b->bytes + b->record_room * sizeof *b->records + b->header_room * sizeof *b->headers;
}

static void
own_free(struct own_batch *own)
{
	free(own->records);
	free(own->headers);
	free(own->types);
	free_chunks(own->chunks);
	rfl_batch_unref(own->from);
	free(own);
}

#define POISON 0xdb
#define GRAVES 64

/* The oldest of the last ones is freed for good; whoever reads the others reads poison. */
static void
bury(struct own_batch *own)
{
	static struct own_batch *graves[GRAVES];
	static uint32_t next;
	for (struct chunk *c = own->chunks; c != NULL; c = c->next)
		memset(c->bytes, POISON, c->size);
	memset(own->records, POISON, own->abi.record_count * sizeof *own->records);
	if (own->headers != NULL)
		memset(own->headers, POISON, own->abi.header_count * sizeof *own->headers);
	uint32_t at = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED) % GRAVES;
	own = __atomic_exchange_n(&graves[at], own, __ATOMIC_ACQ_REL);
	if (own != NULL)
		own_free(own);
}

static void
own_release(struct riffle_batch *batch)
{
	struct own_batch *own = rfl_container(batch, struct own_batch, abi);
	if (own->is_poisoned)
		bury(own);
	else
		own_free(own);
}

void
rfl_batch_poison(struct riffle_batch *b)
{
	rfl_assert(b->release == own_release);
	rfl_container(b, struct own_batch, abi)->is_poisoned = 1;
}

static struct own_batch *
own_create(void)
{
	struct own_batch *own = rfl_zalloc(sizeof *own);
	own->abi.size = sizeof own->abi;
	own->abi.record_size = sizeof(struct riffle_record);
	own->abi.release = own_release;
	rfl_batch_take(&own->abi);
	return own;
}

/* A batch may wait long for a broker: what the growing array has too much goes back. */
static void
fit(struct rfl_builder *b)
{
	if (b->header_count == 0 || b->header_room - b->header_count < b->header_count / 8)
		return;
	struct riffle_header *less = realloc(b->headers, b->header_count * sizeof *less);
	if (less == NULL)
		return;
	b->headers = less;
	b->header_room = b->header_count;
}

struct riffle_batch *
rfl_builder_finish(struct rfl_builder *b)
{
	RFL_CHECK(b, BUILDER_MAGIC);
	if (b->count == 0)
		return NULL;
	fit(b);
	struct own_batch *own = own_create();
	own->records = b->records;
	own->headers = b->headers;
	own->types = b->types;
	own->chunks = b->chunks;
	own->abi.records = b->records;
	own->abi.headers = b->headers;
	own->abi.content_types = b->types;
	own->abi.record_count = b->count;
	own->abi.header_count = b->header_count;
	own->abi.content_type_count = b->type_count;
	own->abi.pinned_bytes = rfl_builder_bytes(b) + (b->from ? b->from->pinned_bytes : 0);
	own->from = b->from;
	*b = (struct rfl_builder){.magic = BUILDER_MAGIC};
	return &own->abi;
}

struct riffle_batch *
rfl_batch_view(struct riffle_batch *from, uint32_t first, uint32_t count)
{
	rfl_assert(count > 0 && first + count <= from->record_count);
	struct own_batch *own = own_create();
	own->records = rfl_alloc(count * sizeof *own->records);
	if (from->record_size == sizeof *own->records)
		memcpy(own->records, riffle_batch_at(from, first), count * sizeof *own->records);
	else
		for (uint32_t i = 0; i < count; i++)
			own->records[i] = *riffle_batch_at(from, first + i);
	own->abi.records = own->records;
	own->abi.headers = from->headers;
	own->abi.header_count = from->header_count;
	own->abi.content_types = from->content_types;
	own->abi.content_type_count = from->content_type_count;
	own->abi.record_count = count;
	own->abi.pinned_bytes = from->pinned_bytes + count * sizeof *own->records;
	own->from = from;
	rfl_batch_ref(from);
	return &own->abi;
}

struct riffle_record *
rfl_batch_records(struct riffle_batch *b)
{
	rfl_assert(b->release == own_release);
	return rfl_container(b, struct own_batch, abi)->records;
}

struct riffle_bytes
rfl_batch_hold(struct riffle_batch *b, struct riffle_bytes bytes)
{
	rfl_assert(b->release == own_release);
	struct own_batch *own = rfl_container(b, struct own_batch, abi);
	struct chunk *c = rfl_alloc(sizeof *c + bytes.len);
	c->next = own->chunks;
	c->used = c->size = bytes.len;
	if (bytes.len > 0)
		memcpy(c->bytes, bytes.ptr, bytes.len);
	own->chunks = c;
	own->abi.pinned_bytes += bytes.len;
	return (struct riffle_bytes){c->bytes, bytes.len};
}
