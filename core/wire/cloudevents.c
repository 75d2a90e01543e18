/* Events in JSON, and the names of their parts. */
#include "wire/cloudevents.h"

#include "base/base64.h"
#include "base/mem.h"
#include "wire/content_type.h"

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

static struct riffle_bytes
raw_member(struct riffle_bytes json, const char *name)
{
	struct scan s = {json.ptr, (const char *)json.ptr + json.len};
	skip_blanks(&s);
	s.at++;
	for (;;) {
		skip_blanks(&s);
		if (s.at >= s.end || *s.at != '"')
			return (struct riffle_bytes){NULL, 0};
		struct riffle_bytes key = {s.at + 1, 0};
		skip_string(&s);
		key.len = (size_t)(s.at - 1 - (const char *)key.ptr);
		skip_blanks(&s);
		s.at++;
		skip_blanks(&s);
		struct riffle_bytes value = {s.at, 0};
		skip_value(&s);
		value.len = (size_t)(s.at - (const char *)value.ptr);
		if (rfl_bytes_are(key, name))
			return value;
		skip_blanks(&s);
		s.at += s.at < s.end && *s.at == ',';
	}
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

static char *
as_text(const json_t *j)
{
	if (json_is_string(j))
		return rfl_strdup(json_string_value(j));
	return json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
}

static void
take_attributes(struct rfl_parts *p, json_t *root)
{
	const char *name;
	json_t *value;
	json_object_foreach(root, name, value)
	{
		if (json_is_null(value) || strcmp(name, "data") == 0 ||
			strcmp(name, "data_base64") == 0 || strcmp(name, "datacontenttype") == 0)
			continue;
		char *header = rfl_sprintf("ce_%s", name), *text = as_text(value);
		rfl_parts_header(p, rfl_parts_made(p, header, strlen(header)),
			rfl_parts_made(p, text, strlen(text)));
	}
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
	json_t *root = json_loadb(json.ptr, json.len, JSON_REJECT_DUPLICATES, NULL);
	int rc = -1;
	if (json_is_object(root) && is_filled(root, "specversion") && is_filled(root, "id") &&
		is_filled(root, "source") && is_filled(root, "type"))
		rc = take_data(ret_parts, json, root);
	if (rc == 0)
		take_attributes(ret_parts, root);
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
print_member(const char *name, struct riffle_bytes value, struct rfl_buf *out)
{
	rfl_buf_printf(out, "%s\"%s\":", out->len > 1 ? "," : "", name);
	print_string(value, out);
}

static int
is_sound_json(struct riffle_bytes b)
{
	json_t *j = json_loadb(b.ptr, b.len, JSON_DECODE_ANY, NULL);
	json_decref(j);
	return j != NULL;
}

static int
is_text(struct riffle_bytes b)
{
	json_t *j = json_stringn(b.ptr, b.len);
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
	} else if (text && !json && is_text(p->value)) {
		print_member("data", p->value, out);
	} else {
		rfl_buf_puts(out, ",\"data_base64\":\"");
		rfl_base64_encode(p->value.ptr, p->value.len, out);
		rfl_buf_putc(out, '"');
	}
}

void
rfl_event_print(const struct rfl_parts *parts, struct rfl_buf *out)
{
	rfl_buf_putc(out, '{');
	for (size_t i = 0; i < parts->header_count; i++) {
		const struct riffle_header *h = &parts->headers[i];
		if (!rfl_event_is_attribute(h->name) || h->value.ptr == NULL)
			continue;
		char *name = rfl_strndup((const char *)h->name.ptr + 3, h->name.len - 3);
		print_member(name, h->value, out);
		free(name);
	}
	if (parts->content_type.ptr != NULL)
		print_member("datacontenttype", parts->content_type, out);
	if (parts->value.ptr != NULL)
		print_data(parts, out);
	rfl_buf_putc(out, '}');
}
