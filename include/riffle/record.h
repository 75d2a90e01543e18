/*
 * Records and batches: the only shape in which messages cross the border.
 *
 * A batch is an array of views on memory that its maker keeps alive until release. It is immutable
 * once handed over, except for the host's own words. Batches are counted by the host alone: a plugin
 * implements release, and calls batch_ref and batch_unref of struct riffle_host when it needs the
 * bytes of a borrowed batch after the call returned.
 */
#ifndef RIFFLE_RECORD_H
#define RIFFLE_RECORD_H

#include <riffle/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RIFFLE_TIME_NONE INT64_MIN   /* the record has no time of its own */
#define RIFFLE_OFFSET_NONE INT64_MIN /* no offset: not yet written, or nothing committed */
#define RIFFLE_PARTITION_NONE (-1)   /* the provider chooses: by key, else round-robin by batches */

struct riffle_header {
	struct riffle_bytes name, value; /* names may repeat; a value may be absent */
};

struct riffle_record {
	struct riffle_bytes key, value;
	int64_t offset;  /* position in its lane: ordered, not necessarily contiguous */
	int64_t time_ms; /* milliseconds since 1970 UTC, or RIFFLE_TIME_NONE */
	int32_t partition;
	uint32_t stream;       /* index into the names given at open: argIndex, resultIndex */
	uint32_t header_first; /* slice of the batch's headers */
	uint32_t header_count;
	uint32_t content_type; /* index into the batch's content_types; 0 = not stated */
	uint32_t flags;        /* 0 */
};

struct riffle_batch {
	uint32_t size;        /* of this struct */
	uint32_t record_size; /* stride of records[] */
	uint32_t record_count;
	uint32_t header_count;
	uint32_t content_type_count; /* counts entry 0, which is NULL */
	uint32_t reserved0;
	const struct riffle_record *records;
	const struct riffle_header *headers;
	const char *const *content_types;
	/*
	 * Bytes of memory this batch keeps alive, which may be far more than its records use (a whole
	 * fetch buffer). The host's memory rule counts these.
	 */
	size_t pinned_bytes;
	void *owner; /* the maker's; nobody else looks */
	/*
	 * Runs once, on any thread, when the last reference is gone. It must not block and may not
	 * call the host except for log and batch_unref.
	 */
	void (*release)(struct riffle_batch *batch);
	uint64_t host[2]; /* the host's: the maker sets 0 and never looks again */
};

static inline const struct riffle_record *
riffle_batch_at(const struct riffle_batch *b, uint32_t i)
{
	return (const struct riffle_record *)(const void *)((const unsigned char *)b->records +
							    (size_t)i * b->record_size);
}

#ifdef __cplusplus
}
#endif
#endif
