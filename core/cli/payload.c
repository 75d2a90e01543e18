/* Payloads: UTF-8 or Base64, and the line that subscribe prints. */
#include "cli/payload.h"

#include "base/base64.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

static json_t *
base64(struct riffle_bytes b)
{
	struct rfl_buf text = RFL_BUF_INIT;
	rfl_base64_encode(b.ptr, b.len, &text);
	json_t *j = json_string(rfl_buf_str(&text));
	rfl_buf_fini(&text);
	return j;
}

/* Bytes that are no text are {"base64": ...}, so that nothing is mangled. */
static json_t *
text_or_base64(struct riffle_bytes b)
{
	if (b.ptr == NULL)
		return json_null();
	json_t *j = json_stringn(b.ptr, b.len);
	return j ? j : json_pack("{s:o}", "base64", base64(b));
}

json_t *
rfl_type_json(const char *type)
{
	char *mended = rfl_utf8_mended(type);
	json_t *j = json_string(mended);
	free(mended);
	return j;
}

/* A name that repeats becomes an array, in order. */
static void
add_header(json_t *headers, const struct riffle_header *h)
{
	char *name = rfl_strndup(h->name.ptr, h->name.len);
	rfl_utf8_mend(name);
	json_t *old = json_object_get(headers, name), *value = text_or_base64(h->value);
	if (old == NULL) {
		json_object_set_new(headers, name, value);
	} else if (json_is_array(old)) {
		json_array_append_new(old, value);
	} else {
		json_object_set_new(headers, name, json_pack("[O,o]", old, value));
	}
	free(name);
}

static json_t *
headers_of(const struct riffle_batch *b, const struct riffle_record *r)
{
	json_t *headers = json_object();
	for (uint32_t i = 0; i < r->header_count; i++)
		add_header(headers, &b->headers[r->header_first + i]);
	return headers;
}

int
rfl_payload_line(const struct riffle_batch *b, const struct riffle_record *r,
	const char *stream_type, enum rfl_encoding encoding, struct rfl_buf *out,
	struct riffle_error *reterr)
{
	const char *type = r->content_type ? b->content_types[r->content_type] : stream_type;
	json_t *line = json_object(), *payload = NULL;
	int encoded = 0;
	if (r->value.ptr == NULL)
		payload = json_null();
	else if (encoding != RFL_ENCODING_BASE64)
		payload = json_stringn(r->value.ptr, r->value.len);
	if (payload == NULL && encoding == RFL_ENCODING_RAW) {
		json_decref(line);
		return rfl_err(reterr, RIFFLE_E_DATA,
			"the payload of partition %d, offset %" PRId64
			" is not UTF-8; --payload-encoding auto shows it",
			r->partition, r->offset);
	}
	if (payload == NULL) {
		payload = base64(r->value);
		encoded = encoding == RFL_ENCODING_AUTO;
	}
	json_object_set_new(line, "payload", payload);
	if (encoded)
		json_object_set_new(line, "payloadEncoding", json_string("base64"));
	json_object_set_new(line, "contentType", rfl_type_json(type));
	json_object_set_new(line, "headers", headers_of(b, r));
	char *text = json_dumps(line, JSON_COMPACT);
	rfl_buf_puts(out, text);
	free(text);
	json_decref(line);
	return RIFFLE_OK;
}
