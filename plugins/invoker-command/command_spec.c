/* What a call was begun with, kept for as long as the call lives. */
#include "command.h"
#include "command_json.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* application/json, or anything with +json, whatever its parameters. */
int
command_is_json_type(const char *type)
{
	size_t n = strcspn(type, "; \t");
	if (n == 16 && strncasecmp(type, "application/json", n) == 0)
		return 1;
	return n > 5 && strncasecmp(type + n - 5, "+json", 5) == 0;
}

/* One block for all of it; counted first, filled in the same walk again. */
struct arena {
	char *data;
	size_t used;
};

static void *
put(struct arena *a, const void *from, size_t len)
{
	char *to = a->data ? a->data + a->used : NULL;
	a->used += len;
	return to && len > 0 ? memcpy(to, from, len) : to;
}

static const char **
put_list(struct arena *a, const char *const *from, uint32_t count)
{
	const char **list = put(a, from, count * sizeof *list);
	for (uint32_t i = 0; i < count; i++) {
		char *s = put(a, from[i], strlen(from[i]) + 1);
		if (list != NULL)
			list[i] = s;
	}
	/* The next list begins on a boundary. */
	a->used = (a->used + 15) & ~(size_t)15;
	return list;
}

static struct riffle_bytes
put_bytes(struct arena *a, struct riffle_bytes from)
{
	if (from.ptr == NULL)
		return from;
	char *s = put(a, from.ptr, from.len);
	if (s != NULL)
		s[from.len] = '\0';
	a->used++;
	return (struct riffle_bytes){s, from.len};
}

static struct riffle_header *
put_headers(struct arena *a, const struct riffle_header *from, uint32_t count)
{
	struct riffle_header *list = put(a, from, count * sizeof *list);
	for (uint32_t i = 0; i < count; i++) {
		struct riffle_header h = {put_bytes(a, from[i].name), put_bytes(a, from[i].value)};
		if (list != NULL)
			list[i] = h;
	}
	return list;
}

static char *
put_json(struct arena *a, const char *const *types, uint32_t count)
{
	char *list = a->data ? a->data + a->used : NULL;
	for (uint32_t i = 0; i < count; i++) {
		char is = (char)command_is_json_type(types[i]);
		put(a, &is, 1);
	}
	return list;
}

/* What is put before it, the text as JSON has it, and its end; as much room as that may take at worst. */
static struct riffle_bytes
put_json_text(struct arena *a, const char *before, const char *text)
{
	char *to = a->data ? a->data + a->used : NULL, *p = to;
	size_t len = strlen(text);
	a->used += strlen(before) + 6 * len + 1;
	if (to == NULL)
		return (struct riffle_bytes){NULL, 0};
	p = stpcpy(p, before);
	p = json_escape(p, text, len);
	*p++ = '"';
	return (struct riffle_bytes){to, (size_t)(p - to)};
}

static struct riffle_bytes *
put_json_texts(struct arena *a, const char *before, const char *const *texts, uint32_t count)
{
	struct riffle_bytes *list = a->data ? (void *)(a->data + a->used) : NULL;
	a->used += count * sizeof *list;
	for (uint32_t i = 0; i < count; i++) {
		struct riffle_bytes one = put_json_text(a, before, texts[i]);
		if (list != NULL)
			list[i] = one;
	}
	a->used = (a->used + 15) & ~(size_t)15;
	return list;
}

static void
put_all(struct arena *a, struct command_spec *to, const struct riffle_call_spec *from)
{
	to->input_names = put_list(a, from->input_names, from->input_count);
	to->input_types = put_list(a, from->input_types, from->input_count);
	to->output_names = put_list(a, from->output_names, from->output_count);
	to->output_types = put_list(a, from->output_types, from->output_count);
	to->input_heads = put_json_texts(
		a, "{\"type\":\"record\",\"input\":\"", from->input_names, from->input_count);
	to->input_json_types =
		put_json_texts(a, ",\"contentType\":\"", from->input_types, from->input_count);
	to->headers = put_headers(a, from->headers, from->header_count);
	to->input_is_json = put_json(a, from->input_types, from->input_count);
	to->output_is_json = put_json(a, from->output_types, from->output_count);
}

void
command_spec_copy(struct command_spec *to, const struct riffle_call_spec *from)
{
	struct arena count = {0}, fill = {0};
	*to = (struct command_spec){.input_count = from->input_count,
		.output_count = from->output_count,
		.header_count = from->header_count,
		.attempt = from->attempt};
	put_all(&count, to, from);
	to->memory = fill.data = command_alloc(count.used + 1);
	put_all(&fill, to, from);
}

void
command_spec_free(struct command_spec *s)
{
	free(s->memory);
	s->memory = NULL;
}

static uint64_t
mix(uint64_t hash, const void *data, size_t len)
{
	const unsigned char *p = data;
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ p[i]) * UINT64_C(1099511628211);
	return (hash ^ 0xff) * UINT64_C(1099511628211);
}

uint64_t
command_spec_identity(const struct command_spec *s)
{
	static const char attempt[] = "riffle-attempt";
	uint64_t hash = UINT64_C(14695981039346656037);
	for (uint32_t i = 0; i < s->input_count; i++)
		hash = mix(hash, s->input_names[i], strlen(s->input_names[i]));
	for (uint32_t i = 0; i < s->output_count; i++)
		hash = mix(hash, s->output_names[i], strlen(s->output_names[i]));
	for (uint32_t i = 0; i < s->header_count; i++) {
		const struct riffle_header *h = &s->headers[i];
		if (h->name.len == sizeof attempt - 1 &&
			memcmp(h->name.ptr, attempt, h->name.len) == 0)
			continue;
		hash = mix(hash, h->name.ptr, h->name.len);
		hash = mix(hash, h->value.ptr, h->value.len);
	}
	return hash;
}
