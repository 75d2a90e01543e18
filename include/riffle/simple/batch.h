/* Of riffle/simple.h: batches, which are taken from a lane and given back from any thread. */
#ifndef RIFFLE_SIMPLE_BATCH_H
#define RIFFLE_SIMPLE_BATCH_H

#include <riffle/simple/lane.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A batch: this, its records, headers and types in one block, and the blocks of its records. */
struct rfs_batch {
	struct riffle_batch abi;
	struct rfs_source *source;
	struct rfs_lane *lane;
	struct rfs_record *first;
};

/* The signal goes out under the lock: without it the source may be gone by then. */
static inline void
rfs_batch_release(struct riffle_batch *batch)
{
	struct rfs_batch *b = (struct rfs_batch *)batch->owner;
	struct rfs_source *s = b->source;
	rfs_records_free(b->first);
	pthread_mutex_lock(&s->base.lock);
	if (--b->lane->batches_out == 0)
		rfs_raise(&s->base);
	pthread_mutex_unlock(&s->base.lock);
	free(b);
}

static inline void
rfs_batch_fill(struct rfs_batch *b, struct riffle_record *records, struct riffle_header *headers,
	const char **types)
{
	uint32_t n = 0, header_count = 0, type_count = 1;
	types[0] = NULL;
	for (struct rfs_record *r = b->first; r != NULL; r = r->next) {
		const struct riffle_simple_message *m = &r->message;
		struct riffle_record *to = &records[n++];
		memset(to, 0, sizeof *to);
		to->key = m->key;
		to->value = m->value;
		to->offset = m->offset;
		to->time_ms = m->time_ms;
		to->stream = (uint32_t)(b->lane - b->source->lanes);
		to->header_first = header_count;
		to->header_count = m->header_count;
		if (m->header_count > 0)
			memcpy(&headers[header_count], m->headers,
				m->header_count * sizeof *headers);
		header_count += m->header_count;
		if (m->content_type != NULL &&
			(type_count == 1 || strcmp(types[type_count - 1], m->content_type) != 0))
			types[type_count++] = m->content_type;
		to->content_type = m->content_type != NULL ? type_count - 1 : 0;
		b->abi.pinned_bytes += r->block_bytes;
	}
	b->abi.size = (uint32_t)sizeof b->abi;
	b->abi.record_size = (uint32_t)sizeof *records;
	b->abi.record_count = n;
	b->abi.header_count = header_count;
	b->abi.content_type_count = type_count;
	b->abi.records = records;
	b->abi.headers = headers;
	b->abi.content_types = types;
	b->abi.owner = b;
	b->abi.release = rfs_batch_release;
}

/* Takes the front of the queue. NULL when there is no memory for it. Under the lock. */
static inline struct rfs_batch *
rfs_lane_take(struct rfs_source *s, struct rfs_lane *l, uint32_t max_records, size_t max_bytes)
{
	uint32_t n = 1, headers = l->first->message.header_count;
	size_t bytes = l->first->bytes;
	struct rfs_record *last = l->first;
	while (n < max_records && last->next != NULL && bytes <= max_bytes &&
		last->next->bytes <= max_bytes - bytes) {
		last = last->next;
		bytes += last->bytes;
		headers += last->message.header_count;
		n++;
	}
	size_t size = sizeof(struct rfs_batch) + n * sizeof(struct riffle_record) +
		      headers * sizeof(struct riffle_header) + (n + 1) * sizeof(char *);
	struct rfs_batch *b = (struct rfs_batch *)calloc(1, size);
	if (b == NULL)
		return NULL;
	b->source = s;
	b->lane = l;
	b->first = l->first;
	l->first = last->next;
	last->next = NULL;
	if (l->first == NULL)
		l->last = &l->first;
	l->queued -= n;
	l->queued_bytes -= bytes;
	l->batches_out++;
	l->position = last->message.offset + 1;
	struct riffle_record *records = (struct riffle_record *)(void *)(b + 1);
	struct riffle_header *room = (struct riffle_header *)(void *)(records + n);
	b->abi.pinned_bytes = size;
	rfs_batch_fill(b, records, room, (const char **)(void *)(room + headers));
	return b;
}

#ifdef __cplusplus
}
#endif
#endif
