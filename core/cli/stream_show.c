/* riffle stream status | seek: where a stream's partitions and its groups stand, and moving a group. */
#include "cli/rows.h"
#include "cli/stream.h"

#include "base/check.h"
#include "base/error.h"
#include "base/mem.h"
#include "conf/value.h"

#include <riffle/ext/positions.h>

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static int
positions_of(struct rfl_client *c, const struct riffle_positions **ret, struct riffle_error *reterr)
{
	*ret = NULL;
	if (c->ops->extension != NULL)
		*ret = c->ops->extension(c->instance->self, RIFFLE_EXT_POSITIONS);
	return *ret != NULL
		       ? RIFFLE_OK
		       : rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
				 "provider %s does not show positions", c->stream->provider->name);
}

static const struct riffle_partition_info *
partition_at(const struct riffle_partition_list *l, uint32_t i)
{
	return (const void *)((const char *)l->partitions + (size_t)i * l->partition_size);
}

static const struct riffle_group_info *
group_at(const struct riffle_group_list *l, uint32_t i)
{
	return (const void *)((const char *)l->groups + (size_t)i * l->group_size);
}

/* A number, or null for what is not known. */
static json_t *
number(int64_t n, int64_t unknown)
{
	return n == unknown ? json_null() : json_integer(n);
}

static json_t *
partitions_json(const struct riffle_partition_list *l)
{
	json_t *all = json_array();
	for (uint32_t i = 0; i < l->partition_count; i++) {
		const struct riffle_partition_info *p = partition_at(l, i);
		json_array_append_new(all,
			json_pack("{s:i,s:I,s:I,s:o,s:o}", "partition", (int)p->partition, "start",
				(json_int_t)p->log_start, "end", (json_int_t)p->log_end, "records",
				number(p->records, -1), "bytes", number(p->bytes, -1)));
	}
	return all;
}

static json_t *
lag_of(const struct riffle_partition_info *p)
{
	if (p->committed.offset == RIFFLE_OFFSET_NONE)
		return json_null();
	int64_t from = p->committed.offset > p->log_start ? p->committed.offset : p->log_start;
	return json_integer(p->log_end - from);
}

static json_t *
group_json(const struct riffle_group_info *g, const struct riffle_partition_list *l)
{
	json_t *all = json_array();
	for (uint32_t i = 0; i < l->partition_count; i++) {
		const struct riffle_partition_info *p = partition_at(l, i);
		json_array_append_new(all,
			json_pack("{s:i,s:o,s:o}", "partition", (int)p->partition, "committed",
				number(p->committed.offset, RIFFLE_OFFSET_NONE), "lag", lag_of(p)));
	}
	json_t *j = json_pack("{s:s,s:b,s:o}", "group", g->name, "active",
		(g->flags & RIFFLE_GROUP_ACTIVE) != 0, "positions", all);
	json_object_set_new(j, "member", g->member ? json_string(g->member) : json_null());
	return j;
}

static int
add_groups(const struct rfl_stream_args *a, struct rfl_client *c, const struct riffle_positions *p,
	json_t *into, struct riffle_error *reterr)
{
	struct riffle_group_list *groups;
	void *self = c->instance->bare;
	int rc = RIFFLE_OK;
	if (a->group != NULL)
		rc = rfl_stream_find_group(&a->common, c, p, a->group, "", reterr);
	if (rc == RIFFLE_OK)
		rc = p->groups(self, &c->stream->stream, &groups, reterr);
	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < groups->group_count && rc == RIFFLE_OK; i++) {
		struct riffle_partition_list *l;
		const struct riffle_group_info *g = group_at(groups, i);
		if (a->group != NULL && strcmp(a->group, g->name) != 0)
			continue;
		rc = p->partitions(self, &c->stream->stream, g->name, &l, reterr);
		if (rc < 0)
			break;
		json_array_append_new(into, group_json(g, l));
		l->release(l);
	}
	groups->release(groups);
	return rc;
}

/* What the cells of a row say; numbers that are not known show as <unknown>. */
static char *
cell(const json_t *j, const char *key)
{
	const json_t *value = json_object_get(j, key);
	if (json_is_string(value))
		return rfl_strdup(json_string_value(value));
	return json_is_integer(value)
		       ? rfl_sprintf("%" JSON_INTEGER_FORMAT, json_integer_value(value))
		       : NULL;
}

static void
print_rows(const struct rfl_common *c, const char *const *columns, const char *const *keys,
	size_t width, json_t *rows)
{
	size_t n = json_array_size(rows);
	char **cells = rfl_zalloc((n * width + 1) * sizeof *cells);
	for (size_t i = 0; i < n * width; i++)
		cells[i] = cell(json_array_get(rows, i / width), keys[i % width]);
	rfl_print_rows(c, "positions", columns, (const char *const *)cells, n);
	for (size_t i = 0; i < n * width; i++)
		free(cells[i]);
	free(cells);
}

/* One row a group and partition. */
static json_t *
flat(const json_t *groups)
{
	json_t *rows = json_array();
	for (size_t i = 0; i < json_array_size(groups); i++) {
		const json_t *g = json_array_get(groups, i);
		const json_t *positions = json_object_get(g, "positions");
		for (size_t k = 0; k < json_array_size(positions); k++) {
			json_t *row = json_copy(json_array_get(positions, k));
			const json_t *member = json_object_get(g, "member");
			json_object_set(row, "group", json_object_get(g, "group"));
			json_object_set_new(row, "member",
				json_string(json_is_string(member) ? json_string_value(member)
								   : "idle"));
			json_array_append_new(rows, row);
		}
	}
	return rows;
}

static void
print_status(const struct rfl_common *common, json_t *status)
{
	static const char *const columns[] = {
		"PARTITION", "START", "END", "RECORDS", "BYTES", NULL};
	static const char *const keys[] = {"partition", "start", "end", "records", "bytes"};
	static const char *const group_columns[] = {
		"GROUP", "PARTITION", "COMMITTED", "LAG", "READ-BY", NULL};
	static const char *const group_keys[] = {
		"group", "partition", "committed", "lag", "member"};
	if (common->format != RFL_FORMAT_TABLE) {
		char *text = json_dumps(
			status, common->format == RFL_FORMAT_JSON ? JSON_INDENT(2) : JSON_COMPACT);
		puts(text);
		free(text);
		return;
	}
	print_rows(common, columns, keys, 5, json_object_get(status, "partitions"));
	json_t *rows = flat(json_object_get(status, "groups"));
	if (json_array_size(rows) > 0) {
		putchar('\n');
		print_rows(common, group_columns, group_keys, 5, rows);
	}
	json_decref(rows);
}

int
rfl_stream_status(void *args, struct rfl_client *c, struct riffle_error *reterr)
{
	const struct rfl_stream_args *a = args;
	const struct riffle_positions *p;
	struct riffle_partition_list *l;
	int rc = positions_of(c, &p, reterr);
	if (rc == RIFFLE_OK)
		rc = p->partitions(c->instance->bare, &c->stream->stream, NULL, &l, reterr);
	if (rc < 0)
		return rc;
	json_t *groups = json_array();
	json_t *status = json_pack("{s:s,s:s,s:s,s:o,s:o}", "name", c->stream->name, "provider",
		c->stream->provider->name, "contentType", c->stream->stream.content_type,
		"partitions", partitions_json(l), "groups", groups);
	l->release(l);
	rc = add_groups(a, c, p, groups, reterr);
	if (rc == RIFFLE_OK)
		print_status(&a->common, status);
	json_decref(status);
	return rc;
}

static int
is_number(const char *s)
{
	return s[0] != '\0' && s[strspn(s, "0123456789")] == '\0';
}

int
rfl_stream_is_place(const char *to)
{
	int64_t number;
	const char *why;
	return strcmp(to, "earliest") == 0 || strcmp(to, "latest") == 0 ||
	       (is_number(to) && rfl_value_int(to, &number, &why) == 0) ||
	       rfl_value_time(to, &number) == 0;
}

/* The offset that --to, which is a place, means in this partition. */
static int
resolve(const struct rfl_stream_args *a, struct rfl_client *c, const struct riffle_positions *p,
	const struct riffle_partition_info *info, int64_t *ret, struct riffle_error *reterr)
{
	int64_t time_ms;
	const char *why;
	if (strcmp(a->to, "earliest") == 0) {
		*ret = info->log_start;
		return RIFFLE_OK;
	}
	if (strcmp(a->to, "latest") == 0) {
		*ret = info->log_end;
		return RIFFLE_OK;
	}
	if (is_number(a->to) && rfl_value_int(a->to, ret, &why) == 0) {
		if (*ret >= info->log_start && *ret <= info->log_end)
			return RIFFLE_OK;
		return rfl_err(reterr, RIFFLE_E_INVAL,
			"stream \"%s\", partition %d has offsets %" PRId64 " to %" PRId64
			", not %" PRId64,
			c->stream->name, info->partition, info->log_start, info->log_end, *ret);
	}
	rfl_assert(rfl_value_time(a->to, &time_ms) == 0);
	return p->offset_at(
		c->instance->bare, &c->stream->stream, info->partition, time_ms, ret, reterr);
}

/* The positions to set: one partition's, or all of them. */
static int
plan(const struct rfl_stream_args *a, struct rfl_client *c, const struct riffle_positions *p,
	const struct riffle_partition_list *l, struct riffle_position *to, uint32_t *ret_count,
	struct riffle_error *reterr)
{
	*ret_count = 0;
	for (uint32_t i = 0; i < l->partition_count; i++) {
		const struct riffle_partition_info *info = partition_at(l, i);
		if (a->partition >= 0 && info->partition != a->partition)
			continue;
		struct riffle_position *at = &to[(*ret_count)++];
		*at = (struct riffle_position){.partition = info->partition, .leader_epoch = -1};
		int rc = resolve(a, c, p, info, &at->offset, reterr);
		if (rc < 0)
			return rc;
	}
	return *ret_count > 0 ? RIFFLE_OK
			      : rfl_err(reterr, RIFFLE_E_NOTFOUND,
					"stream \"%s\" has no partition %" PRId64, c->stream->name,
					a->partition);
}

/* What setting positions would refuse, for a dry run: somebody reads as the group. */
static int
is_idle(const struct rfl_stream_args *a, struct rfl_client *c, const struct riffle_positions *p,
	struct riffle_error *reterr)
{
	struct riffle_group_list *groups;
	int rc = p->groups(c->instance->bare, &c->stream->stream, &groups, reterr);
	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < groups->group_count && rc == RIFFLE_OK; i++) {
		const struct riffle_group_info *g = group_at(groups, i);
		if (strcmp(g->name, a->group) == 0 && (g->flags & RIFFLE_GROUP_ACTIVE))
			rc = rfl_err(reterr, RIFFLE_E_UNAVAILABLE, "group \"%s\" is in use by %s",
				g->name, g->member ? g->member : "somebody");
	}
	groups->release(groups);
	return rc;
}

static void
print_move(const struct rfl_stream_args *a, const struct rfl_client *c,
	const struct riffle_position *to)
{
	printf("%s group \"%s\" to offset %" PRId64 " of stream \"%s\", partition %d\n",
		a->dry_run ? "Would move" : "Moved", a->group, to->offset, c->stream->name,
		to->partition);
}

int
rfl_stream_seek(void *args, struct rfl_client *c, struct riffle_error *reterr)
{
	const struct rfl_stream_args *a = args;
	const struct riffle_stream *stream = &c->stream->stream;
	const struct riffle_positions *p;
	struct riffle_partition_list *l;
	uint32_t count;
	int rc = positions_of(c, &p, reterr);
	if (rc == RIFFLE_OK && !a->create)
		rc = rfl_stream_find_group(
			&a->common, c, p, a->group, " (--create makes it)", reterr);
	if (rc == RIFFLE_OK)
		rc = p->partitions(c->instance->bare, stream, a->group, &l, reterr);
	if (rc < 0)
		return rc;
	struct riffle_position *to = rfl_zalloc((l->partition_count + 1) * sizeof *to);
	rc = plan(a, c, p, l, to, &count, reterr);
	if (rc == RIFFLE_OK)
		rc = a->dry_run
			     ? is_idle(a, c, p, reterr)
			     : p->set(c->instance->bare, a->group, &stream, 1, to, count, reterr);
	for (uint32_t i = 0; i < count && rc == RIFFLE_OK; i++)
		print_move(a, c, &to[i]);
	l->release(l);
	free(to);
	return rc;
}
