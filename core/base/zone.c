/* Periods of local days: a zone's offsets from its file, and where the local clock passes a midnight. */
#include "base/zone.h"

#include "base/check.h"
#include "base/error.h"
#include "base/floor.h"
#include "base/mem.h"
#include "base/zone_rule.h"

#include <stdlib.h>
#include <string.h>

#define ZONE_MAGIC 0x5a4f4e45u

#define SECOND_MS 1000
#define DAY_MS INT64_C(86400000)
#define MAX_OFFSET_S (26 * 3600) /* RFC 8536; a rule's are less too */
#define MONDAY (-3)              /* 1969-12-29: weeks are counted from it */
/* Moments and shifts further out count as these, so that no sum of them overflows. */
#define MAX_MS (INT64_C(1) << 60)
/* Beyond all such sums: where a period begins that is further out. */
#define FAR_MS (INT64_C(1) << 62)

#define HEADER_BYTES 44
#define TYPE_BYTES 6

struct change {
	int64_t at_s; /* UTC */
	int32_t offset_s;
};

struct rfl_zone {
	uint32_t magic;
	int has_rule;
	struct rfl_zone_rule rule; /* after the last change */
	int32_t first_offset_s;    /* before the first */
	size_t change_count;
	struct change changes[];
};

/* The counts of a header, and where its block lies. */
struct block {
	uint32_t utc_count, standard_count, leap_count, change_count, type_count, name_bytes;
	const uint8_t *data;
	uint64_t bytes;
};

static uint32_t
get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int32_t
get_i32(const uint8_t *p)
{
	uint32_t u = get_u32(p);
	return u > INT32_MAX ? -(int32_t)(UINT32_MAX - u) - 1 : (int32_t)u;
}

static int64_t
get_i64(const uint8_t *p)
{
	uint64_t u = (uint64_t)get_u32(p) << 32 | get_u32(p + 4);
	return u > INT64_MAX ? -(int64_t)(UINT64_MAX - u) - 1 : (int64_t)u;
}

/* Takes a header and its block, whose times have so many bytes, off the front of rest. */
static int
take_block(struct riffle_bytes *rest, unsigned time_bytes, struct block *ret,
	struct riffle_error *reterr)
{
	const uint8_t *p = rest->ptr;
	if (rest->len < HEADER_BYTES)
		return rfl_err(reterr, RIFFLE_E_DATA, "the file ends in a header");
	if (memcmp(p, "TZif", 4) != 0)
		return rfl_err(reterr, RIFFLE_E_DATA,
			"no file of the tz database: it does not have TZif in its header");
	if (p[4] < '2')
		return rfl_err(reterr, RIFFLE_E_DATA,
			"the file has version 1, which cannot tell times after 2037");
	struct block b = {.utc_count = get_u32(p + 20),
		.standard_count = get_u32(p + 24),
		.leap_count = get_u32(p + 28),
		.change_count = get_u32(p + 32),
		.type_count = get_u32(p + 36),
		.name_bytes = get_u32(p + 40),
		.data = p + HEADER_BYTES};
	b.bytes = (uint64_t)b.change_count * (time_bytes + 1) +
		  (uint64_t)b.type_count * TYPE_BYTES + b.name_bytes +
		  (uint64_t)b.leap_count * (time_bytes + 4) + b.standard_count + b.utc_count;
	if (b.bytes > rest->len - HEADER_BYTES)
		return rfl_err(
			reterr, RIFFLE_E_DATA, "the file ends before what its header counts");
	rest->ptr = b.data + b.bytes;
	rest->len -= HEADER_BYTES + (size_t)b.bytes;
	*ret = b;
	return 0;
}

static int
check_types(const struct block *b, struct riffle_error *reterr)
{
	const uint8_t *types = b->data + (size_t)b->change_count * 9;
	if (b->type_count == 0)
		return rfl_err(reterr, RIFFLE_E_DATA, "the file has no offset at all");
	/* Its times count them; ours, like those of everybody else, do not. */
	if (b->leap_count > 0)
		return rfl_err(reterr, RIFFLE_E_DATA, "the file counts leap seconds");
	for (uint32_t i = 0; i < b->type_count; i++) {
		int32_t offset = get_i32(types + (size_t)i * TYPE_BYTES);
		if (offset <= -MAX_OFFSET_S || offset >= MAX_OFFSET_S)
			return rfl_err(reterr, RIFFLE_E_DATA,
				"the file has an offset of %d s, more than a day and two hours",
				(int)offset);
	}
	return 0;
}

static int
read_changes(const struct block *b, struct rfl_zone *z, struct riffle_error *reterr)
{
	const uint8_t *indices = b->data + (size_t)b->change_count * 8;
	const uint8_t *types = indices + b->change_count;
	z->first_offset_s = get_i32(types);
	z->change_count = b->change_count;
	for (uint32_t i = 0; i < b->change_count; i++) {
		struct change *c = &z->changes[i];
		c->at_s = get_i64(b->data + (size_t)i * 8);
		if (i > 0 && c->at_s <= c[-1].at_s)
			return rfl_err(reterr, RIFFLE_E_DATA,
				"the file's changes are not in the order of time");
		if (indices[i] >= b->type_count)
			return rfl_err(reterr, RIFFLE_E_DATA, "the file names offset %u of %u",
				(unsigned)indices[i], (unsigned)b->type_count);
		c->offset_s = get_i32(types + (size_t)indices[i] * TYPE_BYTES);
	}
	return 0;
}

/* The rule between two newlines; an empty one says that the last offset holds on. */
static int
read_footer(struct riffle_bytes rest, struct rfl_zone *z, struct riffle_error *reterr)
{
	const char *p = rest.ptr;
	const char *end = rest.len > 1 && *p == '\n' ? memchr(p + 1, '\n', rest.len - 1) : NULL;
	if (end == NULL)
		return rfl_err(
			reterr, RIFFLE_E_DATA, "the file has no line with the rule at its end");
	z->has_rule = end > p + 1;
	if (!z->has_rule)
		return 0;
	return rfl_zone_rule_parse(
		(struct riffle_bytes){p + 1, (size_t)(end - p - 1)}, &z->rule, reterr);
}

int
rfl_zone_parse(struct riffle_bytes file, struct rfl_zone **ret_zone, struct riffle_error *reterr)
{
	struct block narrow, b;
	int rc = take_block(&file, 4, &narrow, reterr);
	if (rc == 0)
		rc = take_block(&file, 8, &b, reterr);
	if (rc == 0)
		rc = check_types(&b, reterr);
	if (rc != 0)
		return rc;
	struct rfl_zone *z = rfl_zalloc(sizeof *z + b.change_count * sizeof z->changes[0]);
	z->magic = ZONE_MAGIC;
	rc = read_changes(&b, z, reterr);
	if (rc == 0)
		rc = read_footer(file, z, reterr);
	if (rc != 0) {
		rfl_zone_destroy(z);
		return rc;
	}
	*ret_zone = z;
	return 0;
}

void
rfl_zone_destroy(struct rfl_zone *z)
{
	if (z == NULL)
		return;
	RFL_CHECK(z, ZONE_MAGIC);
	RFL_RETIRE(z);
	free(z);
}

/* How many changes have come by then. */
static size_t
changes_until(const struct rfl_zone *z, int64_t utc_s)
{
	size_t low = 0, high = z->change_count;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (z->changes[mid].at_s <= utc_s)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int64_t
offset_s(const struct rfl_zone *z, int64_t utc_s)
{
	size_t n = changes_until(z, utc_s);
	if (n == z->change_count && z->has_rule)
		return rfl_zone_rule_offset_s(&z->rule, utc_s);
	return n == 0 ? z->first_offset_s : z->changes[n - 1].offset_s;
}

/* The first moment after utc_s at which the offset may be another; INT64_MAX = none. */
static int64_t
next_change_s(const struct rfl_zone *z, int64_t utc_s)
{
	size_t n = changes_until(z, utc_s);
	if (n < z->change_count)
		return z->changes[n].at_s;
	return z->has_rule ? rfl_zone_rule_next_s(&z->rule, utc_s) : INT64_MAX;
}

static int64_t
clamp_ms(int64_t ms)
{
	if (ms > MAX_MS)
		return MAX_MS;
	return ms < -MAX_MS ? -MAX_MS : ms;
}

int64_t
rfl_zone_offset_ms(const struct rfl_zone *z, int64_t utc_ms)
{
	RFL_CHECK(z, ZONE_MAGIC);
	return offset_s(z, rfl_floor_div(clamp_ms(utc_ms), SECOND_MS)) * SECOND_MS;
}

/*
 * The first moment at which the local clock shows that time or more. Before `from` it shows less, for
 * no offset is larger than the one assumed; from there on it is followed from change to change.
 */
static int64_t
first_at(const struct rfl_zone *z, int64_t local_ms)
{
	int64_t from_s = rfl_floor_div(local_ms, SECOND_MS) - MAX_OFFSET_S;
	for (;;) {
		int64_t at_ms = local_ms - offset_s(z, from_s) * SECOND_MS;
		if (at_ms <= from_s * SECOND_MS)
			return from_s * SECOND_MS;
		int64_t next_s = next_change_s(z, from_s);
		if (rfl_floor_div(at_ms, SECOND_MS) < next_s)
			return at_ms;
		from_s = next_s;
	}
}

static int64_t
first_day(int64_t days)
{
	return days == 7 ? MONDAY : 0;
}

/* By the local clock. */
static int64_t
period_local_ms(int64_t period, int64_t days, int64_t offset_ms)
{
	int64_t day, ms;
	if (__builtin_mul_overflow(period, days, &day) ||
		__builtin_add_overflow(day, first_day(days), &day) ||
		__builtin_mul_overflow(day, DAY_MS, &ms) || ms > FAR_MS || ms < -FAR_MS)
		ms = period < 0 ? -FAR_MS : FAR_MS;
	return ms + clamp_ms(offset_ms);
}

int64_t
rfl_zone_period_start(const struct rfl_zone *z, int64_t period, int64_t days, int64_t offset_ms)
{
	RFL_CHECK(z, ZONE_MAGIC);
	rfl_assert(days > 0);
	return first_at(z, period_local_ms(period, days, offset_ms));
}

/*
 * What the clock shows gives the period, but for hours that it shows a second time: those after a
 * midnight that it has passed already are the new period's.
 */
int64_t
rfl_zone_period_of(const struct rfl_zone *z, int64_t utc_ms, int64_t days, int64_t offset_ms)
{
	RFL_CHECK(z, ZONE_MAGIC);
	rfl_assert(days > 0);
	int64_t moment_ms = clamp_ms(utc_ms);
	int64_t shown_ms = moment_ms + rfl_zone_offset_ms(z, moment_ms) - clamp_ms(offset_ms);
	int64_t day = rfl_floor_div(shown_ms, DAY_MS);
	int64_t period = rfl_floor_div(day - first_day(days), days);
	while (rfl_zone_period_start(z, period + 1, days, offset_ms) <= moment_ms)
		period++;
	return period;
}
