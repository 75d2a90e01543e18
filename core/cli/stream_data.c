/*
 * riffle stream export | import: all records of a stream as lines of JSON, and back. A line has partition,
 * offset, time (milliseconds since 1970 UTC), key, value, contentType and headers, which are pairs of a name
 * and a value in their order. Text is a string, other bytes are {"base64":...}, what is absent is null; a
 * record that states no content type has the stream's.
 */
#include "cli/stream.h"

#include "base/base64.h"
#include "base/error.h"
#include "base/mem.h"
#include "cli/lines.h"
#include "cli/payload.h"
#include "cli/receiver.h"
#include "plugin/batch.h"
#include "plugin/host.h"
#include "wire/content_type.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static json_t *
bytes_json(struct riffle_bytes b)
{
	if (b.ptr == NULL)
		return json_null();
	json_t *j = json_stringn(b.ptr, b.len);
	if (j != NULL)
		return j;
	struct rfl_buf text = RFL_BUF_INIT;
	rfl_base64_encode(b.ptr, b.len, &text);
	j = json_pack("{s:s}", "base64", rfl_buf_str(&text));
	rfl_buf_fini(&text);
	return j;
}

static json_t *
record_json(const struct riffle_batch *b, const struct riffle_record *r, const char *stream_type)
{
	json_t *headers = json_array();
	for (uint32_t i = 0; i < r->header_count; i++) {
		const struct riffle_header *h = &b->headers[r->header_first + i];
		json_array_append_new(
			headers, json_pack("[o,o]", bytes_json(h->name), bytes_json(h->value)));
	}
	json_t *j = json_pack("{s:i,s:I,s:o,s:o,s:o}", "partition", (int)r->partition, "offset",
		(json_int_t)r->offset, "key", bytes_json(r->key), "value", bytes_json(r->value),
		"headers", headers);
	json_object_set_new(
		j, "time", r->time_ms == RIFFLE_TIME_NONE ? json_null() : json_integer(r->time_ms));
	json_object_set_new(j, "contentType",
		rfl_type_json(r->content_type ? b->content_types[r->content_type] : stream_type));
	return j;
}

static int
print_batch(const struct riffle_batch *b, const char *stream_type, int64_t end,
	struct riffle_error *reterr)
{
	for (uint32_t i = 0; i < b->record_count; i++) {
		const struct riffle_record *r = riffle_batch_at(b, i);
		if (r->offset >= end)
			return RIFFLE_OK;
		json_t *j = record_json(b, r, stream_type);
		char *text = json_dumps(j, JSON_COMPACT);
		int failed = text == NULL || puts(text) < 0;
		free(text);
		json_decref(j);
		if (failed)
			return rfl_err(reterr, RIFFLE_E_FATAL, "cannot write to stdout");
	}
	return RIFFLE_OK;
}

/* What is there; waits for more when nothing was. */
static int
take_events(struct rfl_receiver *r, int64_t wait_ms, struct riffle_error *reterr)
{
	int count = rfl_receiver_take(r, reterr);
	if (count == 0)
		rfl_client_wait(r->client->ops->source_fd(r->source), wait_ms);
	return count < 0 ? count : RIFFLE_OK;
}

/* Compaction may have taken the last records before the end: the lane then stands at it all the same. */
static int
is_at(struct rfl_receiver *r, const struct riffle_lane *l)
{
	struct riffle_lane_state state = {.size = sizeof state};
	return r->client->ops->lane_state(r->source, l->lane, &state) == RIFFLE_OK &&
	       state.position >= l->log_end;
}

static int
export_lane(struct rfl_receiver *r, struct rfl_receiver_lane *l, struct riffle_error *reterr)
{
	const char *type = r->client->stream->stream.content_type;
	int64_t end = l->lane.log_end;
	int rc = RIFFLE_OK;
	while (rc == RIFFLE_OK && l->next < end && !is_at(r, &l->lane)) {
		struct riffle_batch *b;
		rc = rfl_receiver_poll(r, l, &b, reterr);
		if (rc == 0)
			rc = take_events(r, 100, reterr);
		if (rc <= 0)
			continue;
		rc = print_batch(b, type, end, reterr);
		rfl_batch_unref(b);
	}
	return rc;
}

int
rfl_stream_export(void *args, struct rfl_client *client, struct riffle_error *reterr)
{
	const struct rfl_stream_args *a = args;
	struct rfl_receiver r;
	int rc = rfl_receiver_open(
		&r, client, "stream export", RIFFLE_START_EARLIEST, (int32_t)a->partition, reterr);
	while (rc == RIFFLE_OK && !r.is_assigned)
		rc = take_events(&r, 1000, reterr);
	for (size_t i = 0; rc == RIFFLE_OK && i < r.lane_count; i++)
		rc = export_lane(&r, &r.lanes[i], reterr);
	if (rc == RIFFLE_OK && fflush(stdout) != 0)
		rc = rfl_err(reterr, RIFFLE_E_FATAL, "cannot write to stdout");
	return rfl_receiver_close(&r, rc, reterr);
}

/* A record on its way in. Decoded bytes live in bufs, the rest in the line's JSON. */
struct line {
	size_t number;
	struct riffle_record record;
	const char *type;
	struct riffle_header *headers;
	struct rfl_buf *bufs;
	size_t buf_count;
	struct riffle_error *err;
};

static int
bad(struct line *l, const char *what)
{
	return rfl_err(l->err, RIFFLE_E_DATA, "line %zu: %s", l->number, what);
}

static int
take_bytes(struct line *l, const json_t *j, const char *what, struct riffle_bytes *ret)
{
	const json_t *encoded = json_object_get(j, "base64");
	*ret = (struct riffle_bytes){NULL, 0};
	if (j == NULL || json_is_null(j))
		return RIFFLE_OK;
	if (json_is_string(j)) {
		*ret = (struct riffle_bytes){json_string_value(j), json_string_length(j)};
		return RIFFLE_OK;
	}
	struct rfl_buf *buf = &l->bufs[l->buf_count++];
	if (!json_is_string(encoded) || json_object_size(j) != 1 ||
		rfl_base64_decode(json_string_value(encoded), json_string_length(encoded), buf) < 0)
		return bad(l, what);
	*ret = (struct riffle_bytes){rfl_buf_str(buf), buf->len};
	return RIFFLE_OK;
}

static int
take_headers(struct line *l, const json_t *list)
{
	size_t n = json_array_size(list);
	if (list != NULL && !json_is_array(list))
		return bad(l, "\"headers\" is not an array");
	l->headers = rfl_zalloc((n + 1) * sizeof *l->headers);
	for (size_t i = 0; i < n; i++) {
		const json_t *pair = json_array_get(list, i);
		struct riffle_header *h = &l->headers[i];
		const char *what = "a header is not a pair of a name and a value, text or "
				   "{\"base64\":...}";
		if (json_array_size(pair) != 2 || json_is_null(json_array_get(pair, 0)))
			return bad(l, what);
		if (take_bytes(l, json_array_get(pair, 0), what, &h->name) < 0 ||
			take_bytes(l, json_array_get(pair, 1), what, &h->value) < 0)
			return l->err->code;
	}
	l->record.header_count = (uint32_t)n;
	return RIFFLE_OK;
}

static int
take_partition(struct line *l, const json_t *j, int repartition, uint32_t partitions)
{
	l->record.partition = RIFFLE_PARTITION_NONE;
	if (j == NULL || repartition)
		return RIFFLE_OK;
	if (!json_is_integer(j) || json_integer_value(j) < 0 || json_integer_value(j) > INT32_MAX)
		return bad(l, "\"partition\" is not a number from 0 on");
	l->record.partition = (int32_t)json_integer_value(j);
	if (partitions > 0 && (uint32_t)l->record.partition >= partitions)
		return rfl_err(l->err, RIFFLE_E_DATA,
			"line %zu: there is no partition %d, the stream has %u", l->number,
			l->record.partition, partitions);
	return RIFFLE_OK;
}

static int
take_time(struct line *l, const json_t *j)
{
	l->record.time_ms = RIFFLE_TIME_NONE;
	if (j == NULL || json_is_null(j))
		return RIFFLE_OK;
	if (!json_is_integer(j))
		return bad(l, "\"time\" is not a number of milliseconds");
	l->record.time_ms = json_integer_value(j);
	return RIFFLE_OK;
}

static int
take_type(struct line *l, const json_t *j, const char *expected)
{
	l->type = expected;
	if (j == NULL || json_is_null(j))
		return RIFFLE_OK;
	if (!json_is_string(j))
		return bad(l, "\"contentType\" is not text");
	l->type = json_string_value(j);
	if (rfl_content_type_matches(expected, l->type))
		return RIFFLE_OK;
	return rfl_err(l->err, RIFFLE_E_UNSUPPORTED,
		"line %zu: contentType \"%s\" not compatible with expected contentType \"%s\"",
		l->number, l->type, expected);
}

static int
check_names(struct line *l, json_t *j)
{
	static const char *const names[] = {
		"partition", "offset", "time", "key", "value", "contentType", "headers"};
	const char *name;
	json_t *value;
	if (!json_is_object(j))
		return bad(l, "it is not a JSON object");
	json_object_foreach(j, name, value)
	{
		size_t i = 0;
		while (i < 7 && strcmp(names[i], name) != 0)
			i++;
		if (i == 7)
			return rfl_err(l->err, RIFFLE_E_DATA, "line %zu: unknown name \"%.60s\"",
				l->number, name);
	}
	return RIFFLE_OK;
}

struct import {
	const struct rfl_stream_args *args;
	struct rfl_client *client;
	uint32_t partitions; /* 0 = not known */
};

static int
take_line(struct line *l, json_t *j, const struct import *in)
{
	const char *expected = in->client->stream->stream.content_type;
	int rc = check_names(l, j);
	if (rc == RIFFLE_OK)
		rc = take_partition(
			l, json_object_get(j, "partition"), in->args->repartition, in->partitions);
	if (rc == RIFFLE_OK)
		rc = take_time(l, json_object_get(j, "time"));
	if (rc == RIFFLE_OK)
		rc = take_type(l, json_object_get(j, "contentType"), expected);
	l->bufs = rfl_zalloc(
		(2 * json_array_size(json_object_get(j, "headers")) + 2) * sizeof *l->bufs);
	if (rc == RIFFLE_OK)
		rc = take_bytes(l, json_object_get(j, "key"),
			"\"key\" is neither text nor {\"base64\":...}", &l->record.key);
	if (rc == RIFFLE_OK)
		rc = take_bytes(l, json_object_get(j, "value"),
			"\"value\" is neither text nor {\"base64\":...}; JSON is text too: "
			"\"{\\\"n\\\":1}\"",
			&l->record.value);
	return rc == RIFFLE_OK ? take_headers(l, json_object_get(j, "headers")) : rc;
}

static int
add_line(const char *text, size_t len, size_t number, const struct import *in,
	struct rfl_builder *b, struct riffle_error *reterr)
{
	json_error_t why;
	if (text[strspn(text, " \t\r\n")] == '\0' && strlen(text) == len)
		return rfl_err(reterr, RIFFLE_E_DATA,
			"line %zu: it is empty; each line is one record", number);
	struct line l = {.number = number, .record.offset = RIFFLE_OFFSET_NONE, .err = reterr};
	json_t *j = json_loadb(text, len, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &why);
	if (j == NULL)
		return rfl_err(reterr, RIFFLE_E_DATA, "line %zu: %s", number, why.text);
	int rc = take_line(&l, j, in);
	if (rc == RIFFLE_OK)
		rfl_builder_add(b, &l.record, l.headers, l.record.header_count, l.type);
	for (size_t i = 0; i < l.buf_count; i++)
		rfl_buf_fini(&l.bufs[i]);
	free(l.bufs);
	free(l.headers);
	json_decref(j);
	return rc;
}

/* Until a line is wrong, or the sender has an error. */
static int
read_lines(const struct import *in, struct rfl_lines *l, FILE *file, struct riffle_error *reterr)
{
	char *text = NULL;
	size_t room = 0, number = 0;
	ssize_t n;
	int rc = RIFFLE_OK, is_refused = 0;
	while (rc == RIFFLE_OK && !is_refused && (n = getline(&text, &room, file)) >= 0) {
		rc = add_line(text, (size_t)n, ++number, in, l->builder, reterr);
		is_refused = rc == RIFFLE_OK && rfl_lines_added(l) < 0;
	}
	if (rc == RIFFLE_OK && ferror(file))
		rc = rfl_err(reterr, RIFFLE_E_FATAL, "cannot read the input: %s", strerror(errno));
	free(text);
	return rc;
}

static int
import_from(const struct import *in, FILE *file, struct riffle_error *reterr)
{
	int is_dry = in->args->dry_run;
	struct rfl_lines l;
	int rc = rfl_lines_open(&l, in->client, "stream import", is_dry, reterr);
	if (rc < 0)
		return rc;
	rc = read_lines(in, &l, file, reterr);
	rc = rfl_lines_close(&l, rc, reterr);
	printf("%s %" PRIu64 " records into stream \"%s\"\n", is_dry ? "Would import" : "Imported",
		is_dry ? l.count : l.sender.acknowledged, in->client->stream->name);
	return rc;
}

int
rfl_stream_import(void *args, struct rfl_client *client, struct riffle_error *reterr)
{
	const struct rfl_stream_args *a = args;
	struct import in = {.args = a, .client = client};
	struct riffle_stream_info info = {.size = sizeof info};
	struct riffle_error unknown;
	FILE *file = a->file == NULL || strcmp(a->file, "-") == 0 ? stdin : fopen(a->file, "re");
	if (file == NULL)
		return rfl_err(
			reterr, RIFFLE_E_NOTFOUND, "cannot read %s: %s", a->file, strerror(errno));
	if (client->ops->describe != NULL &&
		client->ops->describe(client->instance->self, &client->stream->stream, &info,
			&unknown) == RIFFLE_OK)
		in.partitions = info.flags & RIFFLE_STREAM_EXISTS
					? info.partitions
					: client->stream->stream.partitions;
	int rc = import_from(&in, file, reterr);
	if (file != stdin)
		fclose(file);
	return rc;
}
