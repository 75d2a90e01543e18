/* Taking envelopes off, and putting them on. */
#include "wire/envelope.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "plugin/batch.h"
#include "plugin/host.h"
#include "wire/cloudevents.h"
#include "wire/header_order.h"
#include "wire/riff_message.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char content_type[] = "content-type";
static const char riff_content_type[] = "ce_datacontenttype";

static struct riffle_bytes
text(const char *s)
{
	return (struct riffle_bytes){s, strlen(s)};
}

static const struct riffle_header *
headers_of(const struct riffle_batch *b, const struct riffle_record *r)
{
	return r->header_count > 0 ? b->headers + r->header_first : NULL;
}

static const struct riffle_header *
find(const struct riffle_header *list, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (rfl_bytes_are(list[i].name, name))
			return &list[i];
	return NULL;
}

/* Of an event that only carries a record nothing stays but the record. */
static int
is_only_a_carrier(const struct riffle_header *list, size_t count)
{
	const struct riffle_header *type = find(list, count, "ce_type");
	return type != NULL && (rfl_bytes_are(type->value, RFL_EVENT_TYPE) ||
				       rfl_bytes_are(type->value, RFL_EVENT_TYPE_RIFF));
}

static void
keep_header(struct rfl_parts *p, const struct rfl_stream_conf *stream,
	const struct riffle_header *header, int is_carried)
{
	struct riffle_bytes name = header->name;
	if (rfl_bytes_are(name, content_type) || rfl_bytes_are(name, riff_content_type) ||
		(is_carried && rfl_event_is_context(name)))
		return;
	if (stream->compat_riff && rfl_event_is_attribute(name) && !rfl_event_is_context(name)) {
		name.ptr = (const char *)name.ptr + 3;
		name.len -= 3;
	}
	rfl_parts_header(p, name, header->value);
}

/* Keeps of the headers what is the record's own. */
static void
keep_headers(struct rfl_parts *p, const struct rfl_stream_conf *stream,
	const struct riffle_header *list, size_t count)
{
	int carrier = is_only_a_carrier(list, count);
	for (size_t i = 0; i < count; i++)
		keep_header(p, stream, &list[i], carrier);
}

/* What the value says counts more than attributes repeated in headers. */
static void
keep_unrepeated(struct rfl_parts *p, const struct rfl_stream_conf *stream,
	const struct rfl_parts *event, const struct riffle_record *r,
	const struct riffle_header *headers)
{
	size_t *order = rfl_alloc((event->header_count + 1) * sizeof *order);
	for (size_t i = 0; i < event->header_count; i++)
		order[i] = i;
	rfl_header_sort(event->headers, order, event->header_count);
	for (uint32_t i = 0; i < r->header_count; i++)
		if (!rfl_header_is_there(
			    event->headers, order, event->header_count, headers[i].name))
			keep_header(p, stream, &headers[i], 1);
	free(order);
}

/*
 * CloudEvents' own library for Python puts the type of the data where that of the event belongs, so
 * JSON that no header makes an event of, and that names its version, is looked at too.
 */
static int
may_be_structured(const struct riffle_header *media, const struct riffle_record *r,
	const struct riffle_header *headers)
{
	static const char json[] = "application/json", version[] = "\"specversion\"";
	if (media == NULL || r->value.ptr == NULL)
		return 0;
	if (rfl_event_is_structured(media->value))
		return 1;
	return media->value.len >= sizeof json - 1 &&
	       strncasecmp(media->value.ptr, json, sizeof json - 1) == 0 &&
	       find(headers, r->header_count, "ce_specversion") == NULL &&
	       memmem(r->value.ptr, r->value.len, version, sizeof version - 1) != NULL;
}

/* 1 = an event in the value was taken apart into p. */
static int
open_structured(struct rfl_parts *p, const struct rfl_stream_conf *stream,
	const struct riffle_record *r, const struct riffle_header *headers)
{
	struct rfl_parts event = RFL_PARTS_INIT;
	const struct riffle_header *media = find(headers, r->header_count, content_type);
	int is_event =
		may_be_structured(media, r, headers) && rfl_event_parse(r->value, &event) == 0;
	if (is_event) {
		p->value = event.value;
		p->content_type = event.content_type;
		keep_headers(p, stream, event.headers, event.header_count);
		keep_unrepeated(p, stream, &event, r, headers);
		/* The views of p live in the event's memory. */
		for (size_t i = 0; i < event.made_count; i++)
			rfl_parts_made(p, event.made[i], 0);
		event.made_count = 0;
	}
	rfl_parts_fini(&event);
	return is_event;
}

static void
open_binary(struct rfl_parts *p, const struct rfl_stream_conf *stream,
	const struct riffle_record *r, const struct riffle_header *headers)
{
	const struct riffle_header *type = find(headers, r->header_count, content_type);
	if (type == NULL)
		type = find(headers, r->header_count, riff_content_type);
	p->value = r->value;
	if (type != NULL && type->value.len > 0)
		p->content_type = type->value;
	keep_headers(p, stream, headers, r->header_count);
}

/* 1 = the record was taken apart, 0 = it is as it stands. */
static int
open_record(struct rfl_parts *p, const struct rfl_stream_conf *stream, const struct riffle_batch *b,
	const struct riffle_record *r, int *ret_is_lent)
{
	const struct riffle_header *headers = headers_of(b, r);
	*ret_is_lent = 1;
	if (r->content_type != 0)
		return 0;
	if (r->header_count == 0) {
		if (r->value.len == 0 || rfl_riff_message_parse(r->value, p) < 0)
			return 0;
		return 1;
	}
	*ret_is_lent = 0;
	if (open_structured(p, stream, r, headers))
		return 1;
	*ret_is_lent = 1;
	open_binary(p, stream, r, headers);
	return 1;
}

static void
add(struct rfl_builder *to, const struct riffle_record *r, const struct rfl_parts *p, int is_lent)
{
	struct riffle_record out = *r;
	out.value = p->value;
	if (is_lent) {
		rfl_builder_lend(to, &out, p->headers, (uint32_t)p->header_count, p->content_type);
		return;
	}
	char *type =
		p->content_type.ptr ? rfl_strndup(p->content_type.ptr, p->content_type.len) : NULL;
	rfl_builder_add(to, &out, p->headers, (uint32_t)p->header_count, type);
	free(type);
}

static void
add_as_it_stands(
	struct rfl_builder *to, const struct riffle_batch *b, const struct riffle_record *r)
{
	const char *type = r->content_type ? b->content_types[r->content_type] : NULL;
	rfl_builder_lend(to, r, headers_of(b, r), r->header_count,
		type ? text(type) : (struct riffle_bytes){NULL, 0});
}

struct riffle_batch *
rfl_envelope_open(const struct rfl_stream_conf *stream, struct riffle_batch *batch)
{
	struct rfl_parts parts = RFL_PARTS_INIT;
	struct rfl_builder *to = NULL;
	for (uint32_t i = 0; i < batch->record_count && stream->encoding != RFL_ENCODING_NONE;
		i++) {
		const struct riffle_record *r = riffle_batch_at(batch, i);
		int is_lent;
		rfl_parts_clear(&parts);
		int opened = open_record(&parts, stream, batch, r, &is_lent);
		if (!opened && to == NULL)
			continue;
		/* Only now is a batch of our own needed; what came before is as it stands. */
		if (to == NULL) {
			to = rfl_builder_over(batch);
			for (uint32_t k = 0; k < i; k++)
				add_as_it_stands(to, batch, riffle_batch_at(batch, k));
		}
		if (opened)
			add(to, r, &parts, is_lent);
		else
			add_as_it_stands(to, batch, r);
	}
	rfl_parts_fini(&parts);
	if (to == NULL) {
		rfl_batch_ref(batch);
		return batch;
	}
	struct riffle_batch *opened = rfl_builder_finish(to);
	rfl_builder_destroy(to);
	return opened;
}

struct sealing {
	struct rfl_builder *to;
	const struct rfl_origin *origin;
	struct riffle_bytes source;
	struct rfl_parts parts;
	struct rfl_buf buf;
	uint64_t n;
};

/* One that is empty, or no text, is none. */
static int
brings(const struct riffle_batch *b, const struct riffle_record *r, const char *name)
{
	const struct riffle_header *h = find(headers_of(b, r), r->header_count, name);
	return h != NULL && h->value.len > 0 && rfl_utf8_is_text(h->value.ptr, h->value.len);
}

/* What an event must have and this record does not bring along. */
static void
add_attributes(struct sealing *s, const struct riffle_batch *b, const struct riffle_record *r)
{
	if (!brings(b, r, "ce_specversion"))
		rfl_parts_header(&s->parts, text("ce_specversion"), text("1.0"));
	if (!brings(b, r, "ce_id")) {
		rfl_buf_clear(&s->buf);
		s->origin->id(s->origin->ctx, b, r, s->n, &s->buf);
		rfl_parts_header(&s->parts, text("ce_id"),
			rfl_builder_keep(s->to, rfl_buf_str(&s->buf), s->buf.len));
	}
	if (!brings(b, r, "ce_source"))
		rfl_parts_header(&s->parts, text("ce_source"), s->source);
	if (!brings(b, r, "ce_type"))
		rfl_parts_header(&s->parts, text("ce_type"), text(RFL_EVENT_TYPE));
}

static struct riffle_bytes
riff_name(struct sealing *s, struct riffle_bytes name)
{
	if (rfl_event_is_attribute(name))
		return name;
	rfl_buf_clear(&s->buf);
	rfl_buf_puts(&s->buf, "ce_");
	rfl_buf_add(&s->buf, name.ptr, name.len);
	return rfl_builder_keep(s->to, rfl_buf_str(&s->buf), s->buf.len);
}

/* The record's own headers but the one that its content type takes the place of. */
static void
add_own(struct sealing *s, const struct rfl_stream_conf *stream, const struct riffle_header *list,
	size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!rfl_bytes_are(list[i].name, content_type) &&
			!rfl_bytes_are(list[i].name, riff_content_type))
			rfl_parts_header(&s->parts,
				stream->compat_riff ? riff_name(s, list[i].name) : list[i].name,
				list[i].value);
}

static void
seal_binary(struct sealing *s, const struct rfl_stream_conf *stream, struct riffle_bytes type)
{
	rfl_parts_header(&s->parts, text(content_type), type);
	if (stream->compat_riff)
		rfl_parts_header(&s->parts, text(riff_content_type), type);
}

/* The event moves into the value; headers that are none of its attributes stay beside it. */
static void
seal_structured(struct sealing *s)
{
	struct rfl_parts beside = RFL_PARTS_INIT;
	rfl_buf_clear(&s->buf);
	unsigned char *rooms = rfl_event_rooms(&s->parts);
	rfl_event_print(&s->parts, rooms, &s->buf);
	s->parts.value = rfl_builder_keep(s->to, rfl_buf_str(&s->buf), s->buf.len);
	for (size_t i = 0; i < s->parts.header_count; i++)
		if (!rooms[i])
			rfl_parts_header(
				&beside, s->parts.headers[i].name, s->parts.headers[i].value);
	free(rooms);
	rfl_parts_header(&beside, text(content_type), text(RFL_EVENT_MEDIA_JSON));
	free(s->parts.headers);
	s->parts.headers = beside.headers;
	s->parts.header_count = beside.header_count;
	s->parts.header_room = beside.header_room;
}

static void
seal_riff_message(struct sealing *s)
{
	rfl_buf_clear(&s->buf);
	rfl_riff_message_print(&s->parts, &s->buf);
	s->parts.value = rfl_builder_keep(s->to, rfl_buf_str(&s->buf), s->buf.len);
	s->parts.header_count = 0;
}

static void
seal(struct sealing *s, const struct rfl_stream_conf *stream, const struct riffle_batch *b,
	const struct riffle_record *r)
{
	const struct riffle_header *own = headers_of(b, r);
	/* riff's message has no word for it, and only a record without a value deletes its key. */
	if (stream->encoding == RFL_ENCODING_RIFF_MESSAGE && r->value.ptr == NULL) {
		rfl_builder_lend(s->to, r, own, r->header_count, (struct riffle_bytes){NULL, 0});
		s->n++;
		return;
	}
	const char *type =
		r->content_type ? b->content_types[r->content_type] : stream->stream.content_type;
	rfl_parts_clear(&s->parts);
	s->parts.value = r->value;
	s->parts.content_type = text(type);
	if (stream->encoding == RFL_ENCODING_CLOUDEVENTS)
		seal_binary(s, stream, text(type));
	if (stream->encoding != RFL_ENCODING_RIFF_MESSAGE)
		add_attributes(s, b, r);
	add_own(s, stream, own, r->header_count);
	if (stream->encoding == RFL_ENCODING_STRUCTURED)
		seal_structured(s);
	else if (stream->encoding == RFL_ENCODING_RIFF_MESSAGE)
		seal_riff_message(s);
	struct riffle_record out = *r;
	out.value = s->parts.value;
	/* The type is in the envelope now, and of the envelope nothing is stated beside it. */
	rfl_builder_lend(s->to, &out, s->parts.headers, (uint32_t)s->parts.header_count,
		(struct riffle_bytes){NULL, 0});
	s->n++;
}

int
rfl_envelope_is_used(const struct rfl_output_conf *outputs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (outputs[i].stream->encoding != RFL_ENCODING_NONE)
			return 1;
	return 0;
}

static struct riffle_batch *
seal_all(const struct rfl_output_conf *outputs, const struct rfl_stream_conf *one,
	struct riffle_batch *batch, const struct rfl_origin *origin)
{
	struct sealing s = {.to = rfl_builder_over(batch),
		.origin = origin,
		.parts = RFL_PARTS_INIT,
		.buf = RFL_BUF_INIT,
		.n = origin->first};
	/* The batch may outlive whoever writes. */
	s.source = rfl_builder_keep(s.to, origin->source, strlen(origin->source));
	for (uint32_t i = 0; i < batch->record_count; i++) {
		const struct riffle_record *r = riffle_batch_at(batch, i);
		const struct rfl_stream_conf *stream = one ? one : outputs[r->stream].stream;
		if (stream->encoding == RFL_ENCODING_NONE)
			add_as_it_stands(s.to, batch, r);
		else
			seal(&s, stream, batch, r);
	}
	rfl_parts_fini(&s.parts);
	rfl_buf_fini(&s.buf);
	struct riffle_batch *sealed = rfl_builder_finish(s.to);
	rfl_builder_destroy(s.to);
	return sealed;
}

struct riffle_batch *
rfl_envelope_seal(const struct rfl_output_conf *outputs, struct riffle_batch *batch,
	const struct rfl_origin *origin)
{
	return seal_all(outputs, NULL, batch, origin);
}

struct riffle_batch *
rfl_envelope_seal_for(const struct rfl_stream_conf *stream, struct riffle_batch *batch,
	const struct rfl_origin *origin)
{
	if (stream->encoding != RFL_ENCODING_NONE)
		return seal_all(NULL, stream, batch, origin);
	rfl_batch_ref(batch);
	return batch;
}
