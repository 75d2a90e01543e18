/* What the host's threads do to a call: put records in, grant credit, end, cancel. */
#include "rpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char **
copy_strings(const char *const *list, uint32_t count)
{
	char **copy = rpc_alloc((count + 1) * sizeof *copy);
	for (uint32_t i = 0; i < count; i++)
		copy[i] = rpc_strdup(list[i]);
	return copy;
}

static int
is_plain(struct riffle_bytes b)
{
	const unsigned char *p = b.ptr;
	for (size_t i = 0; i < b.len; i++)
		if (p[i] < 0x20 || p[i] > 0x7e)
			return 0;
	/* HTTP/2 does not keep space at the ends. */
	return b.len == 0 || (p[0] != ' ' && p[b.len - 1] != ' ');
}

static int
can_be_metadata(const struct riffle_header *h)
{
	grpc_slice name = grpc_slice_from_static_buffer(h->name.ptr, h->name.len);
	const char *p = h->name.ptr;
	for (size_t i = 0; i < h->name.len; i++)
		if (p[i] >= 'A' && p[i] <= 'Z')
			return 0;
	return grpc_header_key_is_legal(name) && !grpc_is_binary_header(name);
}

/* A value that is not plain text says so by its name. */
static grpc_metadata
make_metadata(const struct riffle_header *h)
{
	static const char suffix[] = "-bin";
	size_t extra = is_plain(h->value) ? 0 : sizeof suffix - 1;
	grpc_slice key = grpc_slice_malloc(h->name.len + extra);
	memcpy(GRPC_SLICE_START_PTR(key), h->name.ptr, h->name.len);
	memcpy(GRPC_SLICE_START_PTR(key) + h->name.len, suffix, extra);
	return (grpc_metadata){.key = key,
		.value = grpc_slice_from_copied_buffer(
			h->value.len > 0 ? h->value.ptr : "", h->value.len)};
}

int
rpc_call_begin(void *self, const struct riffle_call_spec *spec,
	const struct riffle_call_events *events, void *data, void **ret_call,
	struct riffle_error *reterr)
{
	struct rpc *owner = self;
	RPC_CHECK(owner, RPC_MAGIC);
	for (uint32_t i = 0; i < spec->header_count; i++)
		if (!can_be_metadata(&spec->headers[i]))
			return rpc_fail(reterr, RIFFLE_E_INVAL, 0,
				"header %u of the call cannot be metadata of an rpc", i);
	struct rpc_call *one = rpc_alloc(sizeof *one);
	one->magic = RPC_CALL_MAGIC;
	one->owner = owner;
	one->events = events;
	one->data = data;
	one->input_count = spec->input_count;
	one->output_count = spec->output_count;
	one->input_types = copy_strings(spec->input_types, spec->input_count);
	one->start = rpc_start_frame(spec);
	one->metadata = rpc_alloc((spec->header_count + 1) * sizeof *one->metadata);
	for (uint32_t i = 0; i < spec->header_count; i++)
		one->metadata[one->metadata_count++] = make_metadata(&spec->headers[i]);
	one->fresh_last = &one->fresh;
	one->last = &one->first;
	one->details = grpc_empty_slice();
	for (int i = 0; i < RPC_OPS; i++)
		one->tags[i] = (struct rpc_tag){.call = one, .op = (enum rpc_op)i};
	grpc_metadata_array_init(&one->initial);
	grpc_metadata_array_init(&one->trailing);
	one->outgoing = grpc_raw_byte_buffer_create(NULL, 0);
	pthread_mutex_lock(&owner->lock);
	rpc_post(one);
	pthread_mutex_unlock(&owner->lock);
	*ret_call = one;
	return RIFFLE_OK;
}

static int
bad_input(const struct rpc_call *one, const struct riffle_batch *b, uint32_t first, uint32_t count,
	struct riffle_error *reterr)
{
	for (uint32_t i = first; i < first + count; i++) {
		const struct riffle_record *r = riffle_batch_at(b, i);
		if (r->stream >= one->input_count)
			return rpc_fail(reterr, RIFFLE_E_INVAL, 0,
				"a record of input %u was pushed, the call has %u inputs",
				r->stream, one->input_count);
		if (r->value.ptr == NULL)
			return rpc_fail(reterr, RIFFLE_E_DATA, 0,
				"the record at offset %lld of partition %d of input %u has no "
				"value, which riff's protocol cannot say",
				(long long)r->offset, r->partition, r->stream);
		for (uint32_t k = 0; k < r->header_count; k++) {
			const struct riffle_header *h = &b->headers[r->header_first + k];
			char name[64];
			if (rpc_is_utf8(h->name) && rpc_is_utf8(h->value))
				continue;
			rpc_quote(name, sizeof name, h->name.ptr, h->name.len);
			return rpc_fail(reterr, RIFFLE_E_DATA, 0,
				"header \"%s\" of the record at offset %lld is not UTF-8, which "
				"riff's protocol wants",
				name, (long long)r->offset);
		}
	}
	return RIFFLE_OK;
}

static size_t
staged_bytes(const struct riffle_batch *b, uint32_t i)
{
	return riffle_batch_at(b, i)->value.len + sizeof(struct riffle_record);
}

/* With the lock held: as many as there is room for, at least one where nothing is staged. */
static struct rpc_piece *
stage(struct rpc_call *one, struct riffle_batch *batch, uint32_t first, uint32_t count)
{
	if (one->staged_bytes >= RPC_STAGED_MAX)
		return NULL;
	struct rpc_piece *p = rpc_alloc(sizeof *p);
	p->batch = batch;
	p->record = p->end = first;
	while (p->end < first + count && one->staged_bytes < RPC_STAGED_MAX) {
		size_t n = staged_bytes(batch, p->end++);
		p->bytes += n;
		one->staged_bytes += n;
	}
	*one->fresh_last = p;
	one->fresh_last = &p->next;
	return p;
}

int
rpc_call_push(void *call, struct riffle_batch *batch, uint32_t first, uint32_t count,
	struct riffle_error *reterr)
{
	struct rpc_call *one = call;
	RPC_CHECK(one, RPC_CALL_MAGIC);
	struct rpc *owner = one->owner;
	int rc = bad_input(one, batch, first, count, reterr);
	pthread_mutex_lock(&owner->lock);
	uint32_t took = count;
	if (!one->is_over && rc < 0) {
		one->refused = *reterr;
		rpc_post(one);
	} else if (!one->is_over) {
		struct rpc_piece *p = stage(one, batch, first, count);
		took = p != NULL ? p->end - first : 0;
		one->wants_room = took < count;
		if (p != NULL)
			owner->host->batch_ref(owner->host, batch);
		rpc_post(one);
	}
	pthread_mutex_unlock(&owner->lock);
	return rc < 0 ? rc : (int)took;
}

int
rpc_call_end(void *call, struct riffle_error *reterr)
{
	struct rpc_call *one = call;
	RPC_CHECK(one, RPC_CALL_MAGIC);
	(void)reterr;
	pthread_mutex_lock(&one->owner->lock);
	one->input_ended = 1;
	rpc_post(one);
	pthread_mutex_unlock(&one->owner->lock);
	return RIFFLE_OK;
}

void
rpc_call_read(void *call, size_t bytes)
{
	struct rpc_call *one = call;
	RPC_CHECK(one, RPC_CALL_MAGIC);
	pthread_mutex_lock(&one->owner->lock);
	one->granted += bytes;
	if (one->wants_credit) {
		one->wants_credit = 0;
		rpc_post(one);
	}
	pthread_mutex_unlock(&one->owner->lock);
}

void
rpc_call_cancel(void *call, int reason)
{
	struct rpc_call *one = call;
	RPC_CHECK(one, RPC_CALL_MAGIC);
	pthread_mutex_lock(&one->owner->lock);
	if (one->cancel == 0)
		one->cancel = reason;
	rpc_post(one);
	pthread_mutex_unlock(&one->owner->lock);
}

/* The poller let it go before it said done. */
void
rpc_call_destroy(void *call)
{
	struct rpc_call *one = call;
	if (one == NULL)
		return;
	RPC_CHECK(one, RPC_CALL_MAGIC);
	rpc_assert(one->first == NULL && one->fresh == NULL && one->call == NULL);
	one->magic = 0;
	for (uint32_t i = 0; i < one->input_count; i++)
		free(one->input_types[i]);
	free(one->input_types);
	for (size_t i = 0; i < one->metadata_count; i++) {
		grpc_slice_unref(one->metadata[i].key);
		grpc_slice_unref(one->metadata[i].value);
	}
	free(one->metadata);
	grpc_slice_unref(one->start);
	grpc_slice_unref(one->details);
	grpc_metadata_array_destroy(&one->initial);
	grpc_metadata_array_destroy(&one->trailing);
	grpc_byte_buffer_destroy(one->outgoing);
	free(one);
}
