/*
 * Days and weeks of a time zone, over its clock changes. Pure: made from the bytes of a zone's file in
 * the tz database (RFC 8536), versions 2 and up.
 */
#ifndef RFL_BASE_ZONE_H
#define RFL_BASE_ZONE_H

#include <riffle/abi.h>
#include <stdint.h>

struct rfl_zone;

/* E_DATA when the bytes are no such file. */
int rfl_zone_parse(
	struct riffle_bytes file, struct rfl_zone **ret_zone, struct riffle_error *reterr);
/* The zone of that name below dir; E_NOTFOUND, or E_DATA. */
int rfl_zone_load(
	const char *dir, const char *name, struct rfl_zone **ret_zone, struct riffle_error *reterr);
void rfl_zone_destroy(struct rfl_zone *z); /* NULL is a no-op */
/* Local time minus UTC at that moment, in milliseconds; by the rule at the file's end after its last change. */
int64_t rfl_zone_offset_ms(const struct rfl_zone *z, int64_t utc_ms);
/*
 * Periods of so many local days (at least 1), numbered: of 7 days from Mondays on, otherwise from
 * 1970-01-01 on; shifted by offset_ms of local time. Both directions: the period a moment lies in, and
 * the moment a period begins (the first one at which the local clock shows its midnight or, where the
 * clock jumps over it, is past it). period_start(period_of(t)) <= t < period_start(period_of(t) + 1).
 */
int64_t rfl_zone_period_of(
	const struct rfl_zone *z, int64_t utc_ms, int64_t days, int64_t offset_ms);
int64_t rfl_zone_period_start(
	const struct rfl_zone *z, int64_t period, int64_t days, int64_t offset_ms);

#endif
