/* The yearly rule of a zone: its text, and the moments of a year at which the clocks change. */
#include "base/zone_rule.h"

#include "base/error.h"
#include "base/floor.h"

#define HOUR_S 3600
#define DAY_S 86400
#define WEEK_DAYS 7
#define CYCLE_YEARS 400 /* after which the calendar repeats, and so many days later */
#define CYCLE_DAYS 146097
#define EPOCH_WEEKDAY 4 /* 1970-01-01 was a Thursday */

struct text {
	const char *at, *end;
};

static int
take(struct text *t, char c)
{
	if (t->at == t->end || *t->at != c)
		return 0;
	t->at++;
	return 1;
}

static int
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* A decimal number of at most three digits within the bounds. */
static int
take_number(struct text *t, int min, int max, int *ret)
{
	const char *from = t->at;
	int n = 0;
	while (t->at < t->end && t->at - from < 3 && is_digit(*t->at))
		n = n * 10 + (*t->at++ - '0');
	if (t->at == from || n < min || n > max)
		return 0;
	*ret = n;
	return 1;
}

/* At least three letters, or anything of letters, digits and signs between < and >. */
static int
take_name(struct text *t)
{
	int quoted = take(t, '<');
	const char *from = t->at;
	while (t->at < t->end &&
		(is_letter(*t->at) ||
			(quoted && (is_digit(*t->at) || *t->at == '+' || *t->at == '-'))))
		t->at++;
	return t->at - from >= 3 && (!quoted || take(t, '>'));
}

/* [+-]hh[:mm[:ss]] */
static int
take_time(struct text *t, int max_hours, int64_t *ret_s)
{
	int hours, minutes = 0, seconds = 0;
	int negative = take(t, '-');
	if (!negative)
		take(t, '+');
	if (!take_number(t, 0, max_hours, &hours))
		return 0;
	if (take(t, ':')) {
		if (!take_number(t, 0, 59, &minutes))
			return 0;
		if (take(t, ':') && !take_number(t, 0, 59, &seconds))
			return 0;
	}
	int64_t s = hours * (int64_t)HOUR_S + minutes * 60 + seconds;
	*ret_s = negative ? -s : s;
	return 1;
}

static int
take_day(struct text *t, struct rfl_zone_day *ret)
{
	struct rfl_zone_day day = {.kind = RFL_ZONE_DAY_ORDINAL, .time_s = 2 * HOUR_S};
	int ok;
	if (take(t, 'M')) {
		day.kind = RFL_ZONE_DAY_WEEKDAY;
		ok = take_number(t, 1, 12, &day.month) && take(t, '.') &&
		     take_number(t, 1, 5, &day.week) && take(t, '.') &&
		     take_number(t, 0, WEEK_DAYS - 1, &day.weekday);
	} else if (take(t, 'J')) {
		day.kind = RFL_ZONE_DAY_JULIAN;
		ok = take_number(t, 1, 365, &day.number);
	} else {
		ok = take_number(t, 0, 365, &day.number);
	}
	if (!ok || (take(t, '/') && !take_time(t, 7 * 24 - 1, &day.time_s)))
		return 0;
	*ret = day;
	return 1;
}

static int
take_rule(struct text *t, struct rfl_zone_rule *ret)
{
	struct rfl_zone_rule rule = {0};
	int64_t west_s;
	if (!take_name(t) || !take_time(t, 24, &west_s))
		return 0;
	rule.standard_s = -west_s;
	if (t->at < t->end) {
		rule.has_summer = 1;
		rule.summer_s = rule.standard_s + HOUR_S;
		if (!take_name(t))
			return 0;
		if (t->at < t->end && *t->at != ',') {
			if (!take_time(t, 24, &west_s))
				return 0;
			rule.summer_s = -west_s;
		}
		if (!take(t, ',') || !take_day(t, &rule.begin) || !take(t, ',') ||
			!take_day(t, &rule.end))
			return 0;
	}
	*ret = rule;
	return t->at == t->end;
}

int
rfl_zone_rule_parse(
	struct riffle_bytes bytes, struct rfl_zone_rule *ret_rule, struct riffle_error *reterr)
{
	struct text t = {bytes.ptr, (const char *)bytes.ptr + bytes.len};
	struct rfl_zone_rule rule;
	if (!take_rule(&t, &rule))
		return rfl_err(reterr, RIFFLE_E_DATA, "the yearly rule \"%.*s\" is malformed",
			(int)(bytes.len < 80 ? bytes.len : 80), (const char *)bytes.ptr);
	*ret_rule = rule;
	return 0;
}

static int
is_leap(int64_t year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* Days from 1970-01-01 to the year's first. */
static int64_t
year_start(int64_t year)
{
	int64_t before = year - 1;
	int64_t leaps =
		rfl_floor_div(before, 4) - rfl_floor_div(before, 100) + rfl_floor_div(before, 400);
	return (year - 1970) * 365 + leaps - 477; /* 477 leap years lie before 1970 */
}

static int64_t
year_of(int64_t day)
{
	int64_t year = 1970 + rfl_floor_div(day * CYCLE_YEARS, CYCLE_DAYS);
	while (year_start(year) > day)
		year--;
	while (year_start(year + 1) <= day)
		year++;
	return year;
}

static int64_t
weekday_in_month(const struct rfl_zone_day *d, int64_t year)
{
	static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
	int64_t leap = is_leap(year);
	int64_t first = year_start(year) + before[d->month - 1] + (d->month > 2 ? leap : 0);
	int64_t next = year_start(year) + before[d->month] + (d->month >= 2 ? leap : 0);
	int64_t weekday = (first + EPOCH_WEEKDAY) % WEEK_DAYS;
	weekday += weekday < 0 ? WEEK_DAYS : 0;
	int64_t day = first + (d->weekday - weekday + WEEK_DAYS) % WEEK_DAYS;
	day += (d->week - 1) * WEEK_DAYS;
	return day >= next ? day - WEEK_DAYS : day;
}

/* When that day's change comes, by a clock so far ahead of UTC. */
static int64_t
change_at(const struct rfl_zone_day *d, int64_t year, int64_t offset_s)
{
	int64_t day;
	if (d->kind == RFL_ZONE_DAY_WEEKDAY)
		day = weekday_in_month(d, year);
	else if (d->kind == RFL_ZONE_DAY_ORDINAL)
		day = year_start(year) + d->number;
	else
		day = year_start(year) + d->number - 1 + (d->number >= 60 && is_leap(year));
	return day * DAY_S + d->time_s - offset_s;
}

/*
 * A change may lie some days outside the year it is written for, so three years count. The years go
 * upwards and of two changes at one moment the later one counts: summer time for the whole year is
 * written as an end that is the next year's beginning.
 */
int64_t
rfl_zone_rule_offset_s(const struct rfl_zone_rule *rule, int64_t utc_s)
{
	if (!rule->has_summer)
		return rule->standard_s;
	int64_t year = year_of(rfl_floor_div(utc_s, DAY_S));
	int64_t last = INT64_MIN, offset = rule->standard_s;
	for (int64_t y = year - 1; y <= year + 1; y++) {
		int64_t begin = change_at(&rule->begin, y, rule->standard_s);
		int64_t end = change_at(&rule->end, y, rule->summer_s);
		if (begin <= utc_s && begin >= last) {
			last = begin;
			offset = rule->summer_s;
		}
		if (end <= utc_s && end >= last) {
			last = end;
			offset = rule->standard_s;
		}
	}
	return offset;
}

int64_t
rfl_zone_rule_next_s(const struct rfl_zone_rule *rule, int64_t utc_s)
{
	if (!rule->has_summer)
		return INT64_MAX;
	int64_t year = year_of(rfl_floor_div(utc_s, DAY_S));
	int64_t next = INT64_MAX;
	for (int64_t y = year - 1; y <= year + 1; y++) {
		int64_t begin = change_at(&rule->begin, y, rule->standard_s);
		int64_t end = change_at(&rule->end, y, rule->summer_s);
		if (begin > utc_s && begin < next)
			next = begin;
		if (end > utc_s && end < next)
			next = end;
	}
	return next;
}
