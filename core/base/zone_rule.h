/*
 * The yearly rule at the end of a zone's file: when summer time begins and ends for ever after. It is
 * the TZ variable of POSIX with the hours of RFC 8536, such as CET-1CEST,M3.5.0,M10.5.0/3.
 * Pure. Seconds since 1970 UTC; offsets are local time minus UTC, in seconds.
 */
#ifndef RFL_BASE_ZONE_RULE_H
#define RFL_BASE_ZONE_RULE_H

#include <riffle/abi.h>
#include <stdint.h>

enum rfl_zone_day_kind {
	RFL_ZONE_DAY_JULIAN,  /* Jn: 1 to 365, February 29 is never counted */
	RFL_ZONE_DAY_ORDINAL, /* n: 0 to 365 */
	RFL_ZONE_DAY_WEEKDAY  /* Mm.w.d: the week's weekday in that month, week 5 is the last */
};

struct rfl_zone_day {
	enum rfl_zone_day_kind kind;
	int number; /* Jn, n */
	int month, week, weekday;
	int64_t time_s; /* local time of that day by the clock until then; may lie days off */
};

struct rfl_zone_rule {
	int64_t standard_s, summer_s;
	int has_summer;
	struct rfl_zone_day begin, end; /* of summer time */
};

/*
 * E_DATA when the text is no such rule; a summer time without its dates is none. Offsets that it
 * accepts are less than 26 hours.
 */
int rfl_zone_rule_parse(
	struct riffle_bytes text, struct rfl_zone_rule *ret_rule, struct riffle_error *reterr);
/* For times within 2^63 milliseconds of 1970, as the next. */
int64_t rfl_zone_rule_offset_s(const struct rfl_zone_rule *rule, int64_t utc_s);
/* The first change after utc_s; INT64_MAX when there is none. */
int64_t rfl_zone_rule_next_s(const struct rfl_zone_rule *rule, int64_t utc_s);

#endif
