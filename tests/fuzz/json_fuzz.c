/* A path in the first line, a document behind it. */
#include "fuzz.h"

#include "base/json_path.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <string.h>

const char fuzz_name[] = "json";

static void
look(const struct rfl_json_path *path, struct riffle_bytes document)
{
	struct rfl_json_value v, again;
	struct riffle_error err = {0};
	struct rfl_buf buf = RFL_BUF_INIT;
	struct rfl_json_path *whole = NULL;
	int rc = rfl_json_path_find(path, document, &v, &err);
	fuzz_assert(rfl_json_path_create("$", &whole, &err) == RIFFLE_OK);
	/* Whether it is JSON does not depend on what is looked for. */
	fuzz_assert(rfl_json_path_find(whole, document, &again, &err) == (rc < 0 ? rc : 1));
	if (rc == 1) {
		const uint8_t *from = document.ptr, *raw = v.raw.ptr;
		fuzz_assert(raw >= from && raw + v.raw.len <= from + document.len);
		struct riffle_bytes text = rfl_json_text(&v, &buf);
		fuzz_assert(text.len <= v.raw.len);
		const unsigned char *at = text.ptr, *end = at + text.len;
		for (size_t n; at < end; at += n)
			fuzz_assert((n = rfl_utf8_len(at, end)) > 0);
		/* What was found is a document itself. */
		fuzz_assert(v.kind == RFL_JSON_STRING ||
			    rfl_json_path_find(whole, v.raw, &again, &err) == 1);
	}
	rfl_json_path_destroy(whole);
	rfl_buf_fini(&buf);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *newline = size > 0 ? memchr(data, '\n', size) : NULL;
	size_t len = newline ? (size_t)(newline - data) : size;
	char *text = rfl_strndup((const char *)data, len);
	struct rfl_json_path *path = NULL;
	struct riffle_error err = {0};
	int rc = rfl_json_path_create(text, &path, &err);
	fuzz_assert(rc == RIFFLE_OK || err.text[0] != '\0');
	if (rc == RIFFLE_OK && newline != NULL)
		look(path, (struct riffle_bytes){newline + 1, size - len - 1});
	rfl_json_path_destroy(path);
	free(text);
	return 0;
}
