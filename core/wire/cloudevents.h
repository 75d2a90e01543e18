/*
 * CloudEvents 1.0 in JSON, and names of the Kafka binding: bytes in, parts out. A part is a view on what
 * it was read from, or on memory of the parts themselves.
 */
#ifndef RFL_WIRE_CLOUDEVENTS_H
#define RFL_WIRE_CLOUDEVENTS_H

#include "base/buf.h"

#include <riffle/record.h>

#include <stddef.h>
#include <string.h>

/* The type of events that only carry a record: what we and riff write, and take off again. */
#define RFL_EVENT_TYPE "riffle-event"
#define RFL_EVENT_TYPE_RIFF "riff-event"
#define RFL_EVENT_MEDIA "application/cloudevents"
#define RFL_EVENT_MEDIA_JSON "application/cloudevents+json; charset=UTF-8"

/* A record without its envelope. */
struct rfl_parts {
	struct riffle_bytes value, content_type; /* content type absent = not stated */
	struct riffle_header *headers;
	size_t header_count, header_room;
	char **made; /* memory that views point to */
	size_t made_count, made_room;
};

#define RFL_PARTS_INIT                                                                             \
	{                                                                                          \
		.headers = NULL                                                                    \
	}

void rfl_parts_clear(struct rfl_parts *p); /* keeps the arrays */
void rfl_parts_fini(struct rfl_parts *p);
void rfl_parts_header(struct rfl_parts *p, struct riffle_bytes name, struct riffle_bytes value);
/* Takes over text, which is malloc'ed. */
struct riffle_bytes rfl_parts_made(struct rfl_parts *p, char *text, size_t len);

/* Inline: asked of every header of a record, mostly of a name whose length alone says no. */
static inline int
rfl_bytes_are(struct riffle_bytes b, const char *text)
{
	return b.ptr != NULL && b.len == strlen(text) && memcmp(b.ptr, text, b.len) == 0;
}

/* Is it an attribute's header, "ce_" and a name? */
static inline int
rfl_event_is_attribute(struct riffle_bytes name)
{
	return name.len > 3 && memcmp(name.ptr, "ce_", 3) == 0;
}

/* Of those, the ones that an event of no meaning of its own carries beside its data. */
int rfl_event_is_context(struct riffle_bytes name);
/* Does a value of content-type say that the event is in the value? */
int rfl_event_is_structured(struct riffle_bytes media);

/*
 * Reads an event of JSON: its data byte for byte as value, its attributes as ce_ headers. -1: it is none.
 */
int rfl_event_parse(struct riffle_bytes json, struct rfl_parts *ret_parts);
/*
 * For each header: is it one that an event of JSON has as an attribute? Not one whose name or value is no text, has no
 * value, would stand for the data, or is there twice; of those that an event must have the first counts. The caller
 * frees.
 */
unsigned char *rfl_event_rooms(const struct rfl_parts *parts);
/*
 * Writes one: headers that it has room for, by rooms, become attributes, others are left out. JSON that is sound is
 * embedded as it is; text stays text; anything else is data_base64.
 */
void rfl_event_print(
	const struct rfl_parts *parts, const unsigned char *rooms, struct rfl_buf *out);

#endif
