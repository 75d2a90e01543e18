/*
 * Local days of time zones. The C library is the oracle for offsets, a walk second by second is the one
 * for where a day begins; dates of known clock changes are written out.
 */
#include "test.h"

#include "base/zone.h"
#include "base/zone_rule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DAY_MS INT64_C(86400000)
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *const zones[] = {"Africa/Cairo", "Africa/Casablanca", "Africa/El_Aaiun",
	"Africa/Johannesburg", "Africa/Monrovia", "America/Anchorage", "America/Asuncion",
	"America/Caracas", "America/Havana", "America/Juneau", "America/Los_Angeles",
	"America/New_York", "America/Nuuk", "America/Santiago", "America/Sao_Paulo",
	"America/Scoresbysund", "America/St_Johns", "America/Toronto", "Antarctica/Casey",
	"Antarctica/Troll", "Asia/Amman", "Asia/Beirut", "Asia/Dhaka", "Asia/Gaza",
	"Asia/Jerusalem", "Asia/Kathmandu", "Asia/Kolkata", "Asia/Manila", "Asia/Pyongyang",
	"Asia/Shanghai", "Asia/Tehran", "Asia/Tokyo", "Atlantic/Azores", "Australia/Adelaide",
	"Australia/Lord_Howe", "Australia/Sydney", "Europe/Amsterdam", "Europe/Berlin",
	"Europe/Dublin", "Europe/Istanbul", "Europe/Lisbon", "Europe/London", "Europe/Moscow",
	"Etc/GMT+12", "Etc/GMT-14", "Etc/UTC", "Pacific/Apia", "Pacific/Auckland",
	"Pacific/Chatham", "Pacific/Easter", "Pacific/Kiritimati", "Pacific/Kwajalein",
	"Pacific/Norfolk", "UTC"};

static uint64_t seed;

static uint64_t
next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static int64_t
random_in(int64_t from, int64_t to)
{
	return from + (int64_t)(next_random() % (uint64_t)(to - from));
}

static struct riffle_bytes
read_zone(const char *name)
{
	static char data[1 << 16];
	char path[256];
	snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", name);
	FILE *f = fopen(path, "rb");
	if (f == NULL)
		fail_msg("cannot open %s: is tzdata installed?", path);
	size_t len = fread(data, 1, sizeof data, f);
	fclose(f);
	return (struct riffle_bytes){data, len};
}

static struct rfl_zone *
parse_zone(struct riffle_bytes file)
{
	struct rfl_zone *z = NULL;
	struct riffle_error err = {0};
	if (rfl_zone_parse(file, &z, &err) != 0)
		fail_msg("%s", err.text);
	return z;
}

/* The zone of that name, here and in the C library. */
static struct rfl_zone *
open_zone(const char *name)
{
	assert_int_equal(setenv("TZ", name, 1), 0);
	tzset();
	return parse_zone(read_zone(name));
}

static int64_t
libc_offset_s(int64_t utc_s)
{
	struct tm tm;
	time_t t = utc_s;
	assert_non_null(localtime_r(&t, &tm));
	return tm.tm_gmtoff;
}

static int64_t
utc_ms(int year, int month, int day, int hour, int minute)
{
	struct tm tm = {.tm_year = year - 1900,
		.tm_mon = month - 1,
		.tm_mday = day,
		.tm_hour = hour,
		.tm_min = minute};
	return (int64_t)timegm(&tm) * 1000;
}

static void
check_offset(const char *name, const struct rfl_zone *z, int64_t at_s)
{
	int64_t want = libc_offset_s(at_s) * 1000;
	int64_t got = rfl_zone_offset_ms(z, at_s * 1000);
	int64_t late = rfl_zone_offset_ms(z, at_s * 1000 + 999);
	if (got != want || late != want)
		fail_msg("%s at %lld: %lld and %lld, the C library has %lld", name, (long long)at_s,
			(long long)got, (long long)late, (long long)want);
}

/* Random moments, and both sides of the clock changes that lie between two of them. */
static void
test_offsets_are_those_of_the_c_library(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(zones); i++) {
		struct rfl_zone *z = open_zone(zones[i]);
		for (int n = 0; n < 400; n++) {
			int64_t low =
				random_in(utc_ms(1850, 1, 1, 0, 0), utc_ms(2600, 1, 1, 0, 0)) /
				1000;
			int64_t high = low + random_in(1, 300 * 86400);
			check_offset(zones[i], z, low);
			if (libc_offset_s(low) == libc_offset_s(high))
				continue;
			int64_t before = libc_offset_s(low);
			while (high - low > 1) {
				int64_t mid = low + (high - low) / 2;
				if (libc_offset_s(mid) == before)
					low = mid;
				else
					high = mid;
			}
			check_offset(zones[i], z, low);
			check_offset(zones[i], z, high);
		}
		rfl_zone_destroy(z);
	}
}

static void
check_period(const struct rfl_zone *z, int64_t t, int64_t days, int64_t offset_ms)
{
	int64_t p = rfl_zone_period_of(z, t, days, offset_ms);
	int64_t start = rfl_zone_period_start(z, p, days, offset_ms);
	int64_t next = rfl_zone_period_start(z, p + 1, days, offset_ms);
	if (start > t || t >= next)
		fail_msg("%lld is in %lld of %lld days, from %lld to %lld", (long long)t,
			(long long)p, (long long)days, (long long)start, (long long)next);
	assert_int_equal(rfl_zone_period_of(z, start, days, offset_ms), p);
	assert_int_equal(rfl_zone_period_of(z, next - 1, days, offset_ms), p);
	assert_true(rfl_zone_period_of(z, t + 1, days, offset_ms) >= p);
}

static void
test_periods_have_every_moment_once(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(zones); i++) {
		struct rfl_zone *z = parse_zone(read_zone(zones[i]));
		for (int n = 0; n < 400; n++) {
			static const int64_t lengths[] = {1, 2, 7, 14, 30, 400};
			int64_t days = lengths[next_random() % COUNT(lengths)];
			int64_t offset = n % 2 == 0 ? 0 : random_in(-days * DAY_MS, days * DAY_MS);
			check_period(z,
				random_in(utc_ms(1800, 1, 1, 0, 0), utc_ms(2400, 1, 1, 0, 0)), days,
				offset);
		}
		rfl_zone_destroy(z);
	}
}

/* The first second at which the local clock shows that second or a later one; by minutes at first. */
static int64_t
walk_to(int64_t local_s)
{
	int64_t t = local_s - 27 * 3600;
	while (t + libc_offset_s(t) < local_s)
		t += 60;
	t -= 60;
	while (t + libc_offset_s(t) < local_s)
		t++;
	return t;
}

static void
test_days_begin_where_a_walk_finds_them(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(zones); i++) {
		struct rfl_zone *z = open_zone(zones[i]);
		/* A day of a change, when one is met in a few tries. */
		int64_t t = 0;
		for (int n = 0; n < 20; n++) {
			t = random_in(utc_ms(1900, 1, 1, 0, 0), utc_ms(2100, 1, 1, 0, 0)) / 1000;
			while (n < 19 && t < 4102444800 &&
				libc_offset_s(t) == libc_offset_s(t + 86400))
				t += 86400;
			if (libc_offset_s(t) != libc_offset_s(t + 86400))
				break;
		}
		int64_t day = (t + libc_offset_s(t)) / 86400 - 1;
		for (int64_t p = day; p < day + 4; p++) {
			assert_int_equal(
				rfl_zone_period_start(z, p, 1, 0), walk_to(p * 86400) * 1000);
			assert_int_equal(rfl_zone_period_start(z, p, 1, 1800000),
				walk_to(p * 86400 + 1800) * 1000);
		}
		rfl_zone_destroy(z);
	}
}

static int64_t
day_number(int year, int month, int day)
{
	return utc_ms(year, month, day, 0, 0) / DAY_MS;
}

static void
test_a_skipped_midnight_is_the_moment_after_it(void **state)
{
	(void)state;
	struct rfl_zone *z = parse_zone(read_zone("America/Sao_Paulo"));
	int64_t day = day_number(2018, 11, 4); /* 00:00 -03 was 01:00 -02 */
	assert_int_equal(rfl_zone_period_start(z, day, 1, 0), utc_ms(2018, 11, 4, 3, 0));
	assert_int_equal(rfl_zone_period_start(z, day + 1, 1, 0), utc_ms(2018, 11, 5, 2, 0));
	assert_int_equal(rfl_zone_period_of(z, utc_ms(2018, 11, 4, 3, 0) - 1, 1, 0), day - 1);
	assert_int_equal(rfl_zone_period_of(z, utc_ms(2018, 11, 4, 3, 0), 1, 0), day);
	day = day_number(2018, 2, 18); /* 00:00 -02 was 23:00 -03 of the day before */
	assert_int_equal(rfl_zone_period_start(z, day, 1, 0), utc_ms(2018, 2, 18, 3, 0));
	assert_int_equal(rfl_zone_period_of(z, utc_ms(2018, 2, 18, 2, 30), 1, 0), day - 1);
	rfl_zone_destroy(z);

	z = parse_zone(read_zone("Africa/Cairo"));
	day = day_number(2023, 4, 28); /* 00:00 +02 was 01:00 +03 */
	assert_int_equal(rfl_zone_period_start(z, day, 1, 0), utc_ms(2023, 4, 27, 22, 0));
	assert_int_equal(rfl_zone_period_start(z, day + 1, 1, 0), utc_ms(2023, 4, 28, 21, 0));
	rfl_zone_destroy(z);
}

static void
test_a_doubled_midnight_counts_once(void **state)
{
	(void)state;
	struct rfl_zone *z = parse_zone(read_zone("America/Havana"));
	int64_t day = day_number(2023, 11, 5); /* 01:00 -04 was 00:00 -05 */
	assert_int_equal(rfl_zone_period_start(z, day, 1, 0), utc_ms(2023, 11, 5, 4, 0));
	assert_int_equal(rfl_zone_period_start(z, day + 1, 1, 0), utc_ms(2023, 11, 6, 5, 0));
	rfl_zone_destroy(z);

	/* 00:01 -02:30 was 23:01 -03:30 of the day before, which the new day keeps. */
	z = parse_zone(read_zone("America/St_Johns"));
	day = day_number(2010, 11, 7);
	assert_int_equal(rfl_zone_period_start(z, day, 1, 0), utc_ms(2010, 11, 7, 2, 30));
	assert_int_equal(rfl_zone_period_of(z, utc_ms(2010, 11, 7, 2, 29), 1, 0), day - 1);
	assert_int_equal(rfl_zone_period_of(z, utc_ms(2010, 11, 7, 2, 45), 1, 0), day);
	assert_int_equal(rfl_zone_period_of(z, utc_ms(2010, 11, 7, 3, 45), 1, 0), day);
	rfl_zone_destroy(z);
}

static void
test_a_day_that_never_was_is_empty(void **state)
{
	(void)state;
	struct rfl_zone *z = parse_zone(read_zone("Pacific/Apia"));
	int64_t day = day_number(2011, 12, 30);
	int64_t jump = utc_ms(2011, 12, 30, 10, 0); /* -10 became +14 */
	assert_int_equal(rfl_zone_period_start(z, day - 1, 1, 0), jump - DAY_MS);
	assert_int_equal(rfl_zone_period_start(z, day, 1, 0), jump);
	assert_int_equal(rfl_zone_period_start(z, day + 1, 1, 0), jump);
	assert_int_equal(rfl_zone_period_start(z, day + 2, 1, 0), jump + DAY_MS);
	assert_int_equal(rfl_zone_period_of(z, jump - 1, 1, 0), day - 1);
	assert_int_equal(rfl_zone_period_of(z, jump, 1, 0), day + 1);
	rfl_zone_destroy(z);
}

static void
test_weeks_begin_on_mondays_over_changes(void **state)
{
	(void)state;
	struct rfl_zone *z = parse_zone(read_zone("Europe/Berlin"));
	int64_t week = rfl_zone_period_of(z, utc_ms(2024, 3, 28, 12, 0), 7, 0);
	int64_t start = rfl_zone_period_start(z, week, 7, 0);
	int64_t next = rfl_zone_period_start(z, week + 1, 7, 0);
	assert_int_equal(start, utc_ms(2024, 3, 24, 23, 0)); /* Monday the 25th, +01 */
	assert_int_equal(next - start, 7 * DAY_MS - 3600000);
	week = rfl_zone_period_of(z, utc_ms(2024, 10, 22, 12, 0), 7, 0);
	start = rfl_zone_period_start(z, week, 7, 0);
	assert_int_equal(start, utc_ms(2024, 10, 20, 22, 0));
	assert_int_equal(rfl_zone_period_start(z, week + 1, 7, 0) - start, 7 * DAY_MS + 3600000);
	/* Moved by a day and six hours: Tuesdays at six. */
	assert_int_equal(rfl_zone_period_start(z, week, 7, DAY_MS + 6 * 3600000),
		utc_ms(2024, 10, 22, 4, 0));
	rfl_zone_destroy(z);

	z = parse_zone(read_zone("UTC"));
	assert_int_equal(rfl_zone_period_of(z, -1, 1, 0), -1);
	assert_int_equal(rfl_zone_period_of(z, 0, 1, 0), 0);
	assert_int_equal(
		rfl_zone_period_start(z, rfl_zone_period_of(z, 0, 7, 0), 7, 0), -3 * DAY_MS);
	assert_int_equal(rfl_zone_period_start(z, 1, 3, 0), 3 * DAY_MS);
	rfl_zone_destroy(z);
}

static void
test_the_ends_of_time_are_harmless(void **state)
{
	(void)state;
	static const int64_t ends[] = {
		INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX};
	struct rfl_zone *z = parse_zone(read_zone("Europe/Berlin"));
	for (size_t t = 0; t < COUNT(ends); t++)
		for (size_t o = 0; o < COUNT(ends); o++) {
			rfl_zone_offset_ms(z, ends[t]);
			int64_t p = rfl_zone_period_of(z, ends[t], 1, ends[o]);
			assert_true(rfl_zone_period_of(z, ends[t], INT64_MAX, ends[o]) <= 1);
			assert_true(rfl_zone_period_start(z, ends[t], 1, ends[o]) <=
				    rfl_zone_period_start(z, INT64_MAX, 1, ends[o]));
			assert_true(rfl_zone_period_start(z, p, 1, ends[o]) <
				    rfl_zone_period_start(z, p + 1, 1, ends[o]));
		}
	int64_t far = INT64_C(1) << 60;
	check_period(z, far - 2, 1, 0);
	check_period(z, -far, 7, 0);
	rfl_zone_destroy(z);
}

static void
refused(struct riffle_bytes file, const char *why)
{
	struct rfl_zone *z = NULL;
	struct riffle_error err = {0};
	assert_int_equal(rfl_zone_parse(file, &z, &err), RIFFLE_E_DATA);
	assert_null(z);
	if (strstr(err.text, why) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", err.text, why);
}

/* In memory of its exact size, so that a sanitizer sees what is read behind it. */
static unsigned char *
copy_of(struct riffle_bytes b)
{
	unsigned char *p = malloc(b.len > 0 ? b.len : 1);
	assert_non_null(p);
	memcpy(p, b.ptr, b.len);
	return p;
}

static void
test_a_file_cut_anywhere_is_refused(void **state)
{
	(void)state;
	struct riffle_bytes whole = read_zone("Europe/Berlin");
	for (size_t len = 0; len < whole.len; len++) {
		unsigned char *part = copy_of((struct riffle_bytes){whole.ptr, len});
		refused((struct riffle_bytes){part, len}, "the file");
		free(part);
	}
}

static void
test_damaged_files_do_no_harm(void **state)
{
	(void)state;
	for (int n = 0; n < 4000; n++) {
		struct riffle_bytes file = read_zone(zones[next_random() % COUNT(zones)]);
		unsigned char *p = copy_of(file);
		file.ptr = p;
		for (uint64_t k = next_random() % 4 + 1; k > 0; k--)
			p[next_random() % (n % 2 == 0 ? 44 : file.len)] =
				(unsigned char)next_random();
		struct rfl_zone *z;
		struct riffle_error err;
		if (rfl_zone_parse(file, &z, &err) == 0) {
			for (int k = 0; k < 4; k++)
				check_period(
					z, random_in(-(INT64_C(1) << 44), INT64_C(1) << 44), 1, 0);
			rfl_zone_destroy(z);
		}
		free(p);
	}
}

static void
put_u32(unsigned char *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (unsigned char)(v >> (24 - 8 * i));
}

static unsigned char made[4096];

/* In `made`: a file with an empty old block, so many changes a day apart between two offsets, and the footer. */
static struct riffle_bytes
make_file(uint32_t changes, int32_t offset_s, const char *footer)
{
	unsigned char *data = made;
	memset(made, 0, sizeof made);
	for (int block = 0; block < 2; block++)
		memcpy(data + block * 44, "TZif2", 5);
	unsigned char *header = data + 44, *p = data + 88;
	put_u32(header + 32, changes);
	put_u32(header + 36, 2);
	put_u32(header + 40, 4);
	for (uint32_t i = 0; i < changes; i++, p += 8)
		put_u32(p + 4, i * 86400);
	for (uint32_t i = 0; i < changes; i++)
		*p++ = (i + 1) % 2;
	put_u32(p + 6, (uint32_t)offset_s);
	p += 2 * 6 + 4;
	int n = snprintf((char *)p, 256, "\n%s\n", footer);
	return (struct riffle_bytes){data, (size_t)(p - data) + (size_t)n};
}

static void
test_wrong_files_are_refused(void **state)
{
	(void)state;
	rfl_zone_destroy(parse_zone(make_file(3, 3600, "")));
	rfl_zone_destroy(parse_zone(make_file(0, 93599, "UTC0")));
	refused(make_file(0, 93600, ""), "an offset of 93600 s");
	refused(make_file(0, -93600, ""), "an offset of -93600 s");
	refused(make_file(0, INT32_MIN, ""), "an offset");
	refused(make_file(0, 0, "CET"), "rule \"CET\"");

	struct riffle_bytes file = make_file(3, 3600, "");
	made[4] = 0;
	refused(file, "version 1");
	file = make_file(3, 3600, "");
	made[44] = 'X';
	refused(file, "TZif");
	file = make_file(3, 3600, "");
	put_u32(made + 44 + 36, 0);
	refused(file, "no offset");
	file = make_file(3, 3600, "");
	put_u32(made + 44 + 32, UINT32_MAX);
	refused(file, "its header counts");
	file = make_file(3, 3600, "");
	put_u32(made + 88 + 8 + 4, 0);
	refused(file, "order of time");
	file = make_file(3, 3600, "");
	made[88 + 24] = 2;
	refused(file, "offset 2 of 2");
	file = make_file(0, 0, "UTC0");
	put_u32(made + 44 + 28, 1);
	file.len += 12;
	refused(file, "leap seconds");
	refused(read_zone("right/UTC"), "leap seconds");
}

/* The file's own last offset holds on where it has no rule, its first one before its first change. */
static void
test_a_file_without_rule(void **state)
{
	(void)state;
	struct rfl_zone *z = parse_zone(make_file(3, 3600, ""));
	assert_int_equal(rfl_zone_offset_ms(z, -1), 0);
	assert_int_equal(rfl_zone_offset_ms(z, 0), 3600000);
	assert_int_equal(rfl_zone_offset_ms(z, DAY_MS - 1), 3600000);
	assert_int_equal(rfl_zone_offset_ms(z, DAY_MS), 0);
	assert_int_equal(rfl_zone_offset_ms(z, INT64_MAX), 3600000);
	check_period(z, 1000 * DAY_MS, 1, 0);
	rfl_zone_destroy(z);
}

static int
parse_rule(const char *text, struct rfl_zone_rule *rule, struct riffle_error *err)
{
	size_t len = strlen(text);
	unsigned char *p = copy_of((struct riffle_bytes){text, len});
	int rc = rfl_zone_rule_parse((struct riffle_bytes){p, len}, rule, err);
	free(p);
	return rc;
}

/* None of them changes near the new year: there the C library looks at one year of UTC alone. */
static void
test_rules_are_those_of_the_c_library(void **state)
{
	(void)state;
	static const char *const rules[] = {"UTC0", "<+03>-3", "<-0330>+3:30", "IST-5:30",
		"CET-1CEST,M3.5.0,M10.5.0/3", "EST5EDT,M3.2.0,M11.1.0",
		"EST5EDT4,M3.2.0/02:00:00,M11.1.0/2", "<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
		"IST-1GMT0,M10.5.0,M3.5.0/1", "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
		"AAA3BBB,J60/1:30,J300", "AAA3BBB,59/0:00:01,299", "AAA-3BBB,J3/0,J363/23",
		"AAA-3BBB-5,2/0,299/24", "IST-2IDT,M3.4.4/26,M10.5.0",
		"EET-2EEST,M3.4.4/50,M10.4.4/50", "<-03>3<-02>,M3.5.0/-2,M10.5.0/-1",
		"XXX24YYY,M1.1.0,M7.1.6", "XXX-24YYY-24:59:59,M2.5.1,M8.4.3", "<+0545>-5:45:10",
		"NZST-12NZDT,M9.5.0,M4.1.0/3"};
	for (size_t i = 0; i < COUNT(rules); i++) {
		struct rfl_zone_rule rule;
		struct riffle_error err = {0};
		if (parse_rule(rules[i], &rule, &err) != 0)
			fail_msg("%s: %s", rules[i], err.text);
		assert_int_equal(setenv("TZ", rules[i], 1), 0);
		tzset();
		for (int n = 0; n < 1000; n++) {
			int64_t t = random_in(utc_ms(1971, 1, 1, 0, 0), utc_ms(2300, 1, 1, 0, 0)) /
				    1000;
			int64_t next = rfl_zone_rule_next_s(&rule, t);
			int64_t at[] = {t, next - 1, next};
			for (size_t k = 0; k < (rule.has_summer ? 3 : 1); k++)
				if (rfl_zone_rule_offset_s(&rule, at[k]) != libc_offset_s(at[k]))
					fail_msg("%s at %lld: %lld, the C library has %lld",
						rules[i], (long long)at[k],
						(long long)rfl_zone_rule_offset_s(&rule, at[k]),
						(long long)libc_offset_s(at[k]));
		}
	}
}

/* RFC 8536 writes summer time for the whole year as an end that is the next beginning. */
static void
test_summer_time_all_year(void **state)
{
	(void)state;
	struct rfl_zone_rule rule;
	struct riffle_error err;
	assert_int_equal(parse_rule("EST5EDT,0/0,J365/25", &rule, &err), 0);
	for (int n = 0; n < 1000; n++) {
		int64_t t =
			utc_ms((int)random_in(1900, 2300), 1, 1, 5, 0) / 1000 + random_in(-3, 3);
		assert_int_equal(rfl_zone_rule_offset_s(&rule, t), -4 * 3600);
	}
}

static void
test_malformed_rules_are_refused(void **state)
{
	(void)state;
	static const char *const rules[] = {"", "U0", "UT0", "UTC", "UTC0 ", "UTC25", "UTC+",
		"UTC1:60", "UTC1:", "UTC1:00:60", "UTC1:00:", "<+03-3", "<>3", "<+0>0", "+033",
		"EST5EDT", "EST5EDT,M3.2.0", "EST5EDT,M3.2.0,", "EST5EDT,M3.2.0,M11.1.0,",
		"EST5EDT,M0.2.0,M11.1.0", "EST5EDT,M13.2.0,M11.1.0", "EST5EDT,M3.0.0,M11.1.0",
		"EST5EDT,M3.6.0,M11.1.0", "EST5EDT,M3.2.7,M11.1.0", "EST5EDT,M3.2,M11.1.0",
		"EST5EDT,J0,J2", "EST5EDT,J366,J2", "EST5EDT,366,2", "EST5EDT,0/168,2",
		"EST5EDT,0/-168,2", "EST5EDT,0/,2", "EST5EDT,0,2/", "EST5EDT25,0,2", "EST5ED,0,2",
		"EST0005"};
	for (size_t i = 0; i < COUNT(rules); i++) {
		struct rfl_zone_rule rule;
		struct riffle_error err = {0};
		if (parse_rule(rules[i], &rule, &err) != RIFFLE_E_DATA)
			fail_msg("\"%s\" was taken", rules[i]);
		assert_non_null(strstr(err.text, rules[i]));
	}
}

int
main(void)
{
	const char *given = getenv("RIFFLE_SEED");
	seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
	seed += seed == 0; /* which the generator never leaves */
	printf("# seed %llu (RIFFLE_SEED)\n", (unsigned long long)seed);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_offsets_are_those_of_the_c_library),
		cmocka_unit_test(test_periods_have_every_moment_once),
		cmocka_unit_test(test_days_begin_where_a_walk_finds_them),
		cmocka_unit_test(test_a_skipped_midnight_is_the_moment_after_it),
		cmocka_unit_test(test_a_doubled_midnight_counts_once),
		cmocka_unit_test(test_a_day_that_never_was_is_empty),
		cmocka_unit_test(test_weeks_begin_on_mondays_over_changes),
		cmocka_unit_test(test_the_ends_of_time_are_harmless),
		cmocka_unit_test(test_a_file_cut_anywhere_is_refused),
		cmocka_unit_test(test_damaged_files_do_no_harm),
		cmocka_unit_test(test_wrong_files_are_refused),
		cmocka_unit_test(test_a_file_without_rule),
		cmocka_unit_test(test_rules_are_those_of_the_c_library),
		cmocka_unit_test(test_summer_time_all_year),
		cmocka_unit_test(test_malformed_rules_are_refused),
	};
	return RUN("zone", tests);
}
