/* Events in JSON, and the names of their parts. */
#include "wire/cloudevents.h"

#include "base/base64.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "wire/content_type.h"
#include "wire/header_order.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void
rfl_parts_clear(struct rfl_parts *p)
{
	for (size_t i = 0; i < p->made_count; i++)
		free(p->made[i]);
	p->made_count = p->header_count = 0;
	p->value = p->content_type = (struct riffle_bytes){NULL, 0};
}

void
rfl_parts_fini(struct rfl_parts *p)
{
	rfl_parts_clear(p);
	free(p->made);
	free(p->headers);
	*p = (struct rfl_parts)RFL_PARTS_INIT;
}

void
rfl_parts_header(struct rfl_parts *p, struct riffle_bytes name, struct riffle_bytes value)
{
	rfl_grow(&p->headers, &p->header_room, p->header_count + 1, sizeof *p->headers);
	p->headers[p->header_count++] = (struct riffle_header){name, value};
}

struct riffle_bytes
rfl_parts_made(struct rfl_parts *p, char *text, size_t len)
{
	rfl_grow(&p->made, &p->made_room, p->made_count + 1, sizeof *p->made);
	p->made[p->made_count++] = text;
	return (struct riffle_bytes){text, len};
}

int
rfl_event_is_context(struct riffle_bytes name)
{
	return rfl_event_is_attribute(name) &&
	       (rfl_bytes_are(name, "ce_specversion") || rfl_bytes_are(name, "ce_id") ||
		       rfl_bytes_are(name, "ce_source") || rfl_bytes_are(name, "ce_type") ||
		       rfl_bytes_are(name, "ce_time"));
}

int
rfl_event_is_structured(struct riffle_bytes media)
{
	static const char json[] = RFL_EVENT_MEDIA "+json";
	size_t n = sizeof json - 1;
	if (media.ptr == NULL || media.len < n || strncasecmp(media.ptr, json, n) != 0)
		return 0;
	const char *after = (const char *)media.ptr + n;
	return media.len == n || *after == ';' || *after == ' ';
}

/* An integer may be larger than jansson's: its value is not looked at. */
#define READ_FLAGS ((size_t)JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL)

/*
 * The bytes of a member's value in an object that is known to be sound JSON: the parser gives values, not
 * where they stood, and numbers must survive as they were written.
 */
struct scan {
	const char *at, *end;
};

static void
skip_blanks(struct scan *s)
{
	while (s->at < s->end && strchr(" \t\r\n", *s->at) != NULL)
		s->at++;
}

static void
skip_string(struct scan *s)
{
	for (s->at++; s->at < s->end && *s->at != '"'; s->at++)
		s->at += *s->at == '\\';
	s->at++;
}

static void
skip_value(struct scan *s)
{
	int depth = 0;
	do {
		skip_blanks(s);
		if (s->at >= s->end)
			return;
		if (*s->at == '"') {
			skip_string(s);
		} else if (*s->at == '{' || *s->at == '[') {
			depth++;
			s->at++;
		} else if (*s->at == '}' || *s->at == ']') {
			depth--;
			s->at++;
		} else if (*s->at == ',' || *s->at == ':') {
			s->at++;
		} else {
			while (s->at < s->end && strchr(",:]} \t\r\n", *s->at) == NULL)
				s->at++;
		}
	} while (depth > 0);
}

/* Names are compared as they are meant: "d\\u0061ta" is the data. */
static int
is_name(struct riffle_bytes key, const char *name)
{
	if (memchr(key.ptr, '\\', key.len) == NULL)
		return rfl_bytes_are(key, name);
	/* With its quotes it is JSON of its own. */
	json_t *j = json_loadb(
		(const char *)key.ptr - 1, key.len + 2, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	int same = j != NULL && strcmp(json_string_value(j), name) == 0;
	json_decref(j);
	return same;
}

/* The next member as it is written, names with their escapes; 0 = there is none. */
static int
next_member(struct scan *s, struct riffle_bytes *ret_key, struct riffle_bytes *ret_value)
{
	skip_blanks(s);
	s->at += s->at < s->end && (*s->at == '{' || *s->at == ',');
	skip_blanks(s);
	if (s->at >= s->end || *s->at != '"')
		return 0;
	*ret_key = (struct riffle_bytes){s->at + 1, 0};
	skip_string(s);
	ret_key->len = (size_t)(s->at - 1 - (const char *)ret_key->ptr);
	skip_blanks(s);
	s->at++;
	skip_blanks(s);
	*ret_value = (struct riffle_bytes){s->at, 0};
	skip_value(s);
	ret_value->len = (size_t)(s->at - (const char *)ret_value->ptr);
	return 1;
}

static struct riffle_bytes
raw_member(struct riffle_bytes json, const char *name)
{
	struct scan s = {json.ptr, (const char *)json.ptr + json.len};
	struct riffle_bytes key, value;
	while (next_member(&s, &key, &value))
		if (is_name(key, name))
			return value;
	return (struct riffle_bytes){NULL, 0};
}

static struct riffle_bytes
copy(struct rfl_parts *p, const char *text, size_t len)
{
	return rfl_parts_made(p, rfl_strndup(text, len), len);
}

static int
is_json(const char *type)
{
	return rfl_content_type_matches("application/json", type) ||
	       rfl_content_type_matches("text/json", type) ||
	       rfl_content_type_matches("application/*+json", type);
}

static int
take_base64(struct rfl_parts *p, const json_t *j)
{
	struct rfl_buf raw = RFL_BUF_INIT;
	if (!json_is_string(j) ||
		rfl_base64_decode(json_string_value(j), json_string_length(j), &raw) < 0) {
		rfl_buf_fini(&raw);
		return -1;
	}
	size_t len = raw.len;
	rfl_buf_str(&raw);
	char *text = raw.len > 0 ? rfl_buf_take(&raw) : rfl_strdup("");
	p->value = rfl_parts_made(p, text, len);
	return 0;
}

/* An event of JSON without a type of its data has JSON for data; a text stays one. */
static int
take_data(struct rfl_parts *p, struct riffle_bytes json, const json_t *root)
{
	const json_t *type = json_object_get(root, "datacontenttype");
	const json_t *data = json_object_get(root, "data");
	const json_t *encoded = json_object_get(root, "data_base64");
	if (json_is_string(type) && strlen(json_string_value(type)) != json_string_length(type))
		return -1;
	if (json_is_string(type))
		p->content_type = copy(p, json_string_value(type), json_string_length(type));
	if (encoded != NULL && !json_is_null(encoded))
		return data != NULL ? -1 : take_base64(p, encoded);
	if (data == NULL)
		return 0;
	if (p->content_type.ptr == NULL)
		p->content_type = copy(p, "application/json", 16);
	if (json_is_string(data) && !is_json(p->content_type.ptr))
		p->value = copy(p, json_string_value(data), json_string_length(data));
	else
		p->value = raw_member(json, "data");
	return 0;
}

/* Texts as they are meant, all else as it is written. jansson keeps members in their order, as the scan has them. */
static int
take_attributes(struct rfl_parts *p, struct riffle_bytes json, json_t *root)
{
	struct scan s = {json.ptr, (const char *)json.ptr + json.len};
	struct riffle_bytes key, raw;
	const char *name;
	json_t *value;
	json_object_foreach(root, name, value)
	{
		if (!next_member(&s, &key, &raw) || !is_name(key, name))
			return -1;
		if (json_is_null(value) || strcmp(name, "data") == 0 ||
			strcmp(name, "data_base64") == 0 || strcmp(name, "datacontenttype") == 0)
			continue;
		char *header = rfl_sprintf("ce_%s", name);
		struct riffle_bytes header_name = rfl_parts_made(p, header, strlen(header));
		rfl_parts_header(p, header_name,
			json_is_string(value)
				? copy(p, json_string_value(value), json_string_length(value))
				: copy(p, raw.ptr, raw.len));
	}
	return 0;
}

static int
is_filled(const json_t *root, const char *name)
{
	return json_string_length(json_object_get(root, name)) > 0;
}

int
rfl_event_parse(struct riffle_bytes json, struct rfl_parts *ret_parts)
{
	if (json.ptr == NULL)
		return -1;
	json_t *root = json_loadb(json.ptr, json.len, READ_FLAGS, NULL);
	int rc = -1;
	if (json_is_object(root) && is_filled(root, "specversion") && is_filled(root, "id") &&
		is_filled(root, "source") && is_filled(root, "type"))
		rc = take_data(ret_parts, json, root);
	if (rc == 0)
		rc = take_attributes(ret_parts, json, root);
	json_decref(root);
	return rc;
}

static void
print_string(struct riffle_bytes b, struct rfl_buf *out)
{
	json_t *j = json_stringn(b.ptr, b.len);
	char *text = j ? json_dumps(j, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
	rfl_buf_puts(out, text ? text : "\"\"");
	free(text);
	json_decref(j);
}

static void
print_member(struct riffle_bytes name, struct riffle_bytes value, struct rfl_buf *out)
{
	if (out->len > 1)
		rfl_buf_putc(out, ',');
	print_string(name, out);
	rfl_buf_putc(out, ':');
	print_string(value, out);
}

static struct riffle_bytes
literal(const char *s)
{
	return (struct riffle_bytes){s, strlen(s)};
}

static int
is_sound_json(struct riffle_bytes b)
{
	json_t *j = json_loadb(b.ptr, b.len, JSON_DECODE_ANY | READ_FLAGS, NULL);
	json_decref(j);
	return j != NULL;
}

static void
print_data(const struct rfl_parts *p, struct rfl_buf *out)
{
	char *type =
		rfl_strndup(p->content_type.ptr ? p->content_type.ptr : "", p->content_type.len);
	int json = is_json(type), text = strncasecmp(type, "text/", 5) == 0;
	free(type);
	if (json && is_sound_json(p->value)) {
		rfl_buf_puts(out, ",\"data\":");
		rfl_buf_add(out, p->value.ptr, p->value.len);
	} else if (text && !json && rfl_utf8_is_text(p->value.ptr, p->value.len)) {
		print_member(literal("data"), p->value, out);
	} else {
		rfl_buf_puts(out, ",\"data_base64\":\"");
		rfl_base64_encode(p->value.ptr, p->value.len, out);
		rfl_buf_putc(out, '"');
	}
}

static int
can_be_said(const struct riffle_header *h)
{
	return rfl_event_is_attribute(h->name) && h->value.ptr != NULL &&
	       !rfl_bytes_are(h->name, "ce_data") && !rfl_bytes_are(h->name, "ce_data_base64") &&
	       !rfl_bytes_are(h->name, "ce_datacontenttype") &&
	       memchr(h->name.ptr, '\0', h->name.len) == NULL &&
	       rfl_utf8_is_text(h->name.ptr, h->name.len) &&
	       rfl_utf8_is_text(h->value.ptr, h->value.len) &&
	       (h->value.len > 0 || !rfl_event_is_context(h->name));
}

unsigned char *
rfl_event_rooms(const struct rfl_parts *parts)
{
	const struct riffle_header *h = parts->headers;
	unsigned char *rooms = rfl_zalloc(parts->header_count + 1);
	size_t *order = rfl_alloc((parts->header_count + 1) * sizeof *order);
	size_t count = 0;
	for (size_t i = 0; i < parts->header_count; i++)
		if (can_be_said(&h[i]))
			order[count++] = i;
	rfl_header_sort(h, order, count);
	for (size_t i = 0, end; i < count; i = end) {
		struct riffle_bytes name = h[order[i]].name;
		end = i + 1;
		while (end < count && rfl_header_compare(h[order[end]].name, name) == 0)
			end++;
		rooms[order[i]] = end - i == 1 || rfl_event_is_context(name);
	}
	free(order);
	return rooms;
}

void
rfl_event_print(const struct rfl_parts *parts, const unsigned char *rooms, struct rfl_buf *out)
{
	rfl_buf_putc(out, '{');
	for (size_t i = 0; i < parts->header_count; i++) {
		const struct riffle_header *h = &parts->headers[i];
		if (rooms[i])
			print_member((struct riffle_bytes){(const char *)h->name.ptr + 3,
					     h->name.len - 3},
				h->value, out);
	}
	if (parts->content_type.ptr != NULL)
		print_member(literal("datacontenttype"), parts->content_type, out);
	if (parts->value.ptr != NULL)
		print_data(parts, out);
	rfl_buf_putc(out, '}');
}
