/* Parsers of single values. */
#include "conf/value.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct unit {
	const char *name;
	int64_t factor;
};

/* Below a millisecond only what is a whole number of them; held here in microseconds. */
static const struct unit durations[] = {{"us", 1}, {"ms", 1000}, {"s", 1000000}, {"m", 60000000},
	{"h", INT64_C(3600000000)}, {"d", INT64_C(86400000000)}};
static const struct unit sizes[] = {{"B", 1}, {"kB", 1000}, {"MB", 1000000}, {"GB", 1000000000},
	{"KiB", 1024}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", INT64_C(1) << 40}};

static const char why_duration[] = "a duration needs a unit, as in 250ms, 10s, 1m30s, 2h, 7d";
static const char why_size[] =
	"a size needs a unit, as in 512B, 10kB (10 000) or 10KiB (10 240), 64MiB, 1GB";
static const char why_large[] = "it is too large";
static const char why_long[] = "it is longer than 100 years";

/* In nanoseconds, and with a time added to it, it is a number still. */
#define DURATION_MAX_US (INT64_C(36525) * 86400 * 1000000)

static const struct unit *
find_unit(const struct unit *list, size_t count, const char *s, size_t len)
{
	for (size_t i = 0; i < count; i++)
		if (strlen(list[i].name) == len && strncmp(list[i].name, s, len) == 0)
			return &list[i];
	return NULL;
}

/* One "12unit"; moves *s behind it. */
static int
take_amount(
	const char **s, const struct unit *list, size_t count, int64_t *ret, const char **ret_why)
{
	int64_t n = 0;
	const char *p = *s;
	if (!isdigit((unsigned char)*p))
		return -1;
	for (; isdigit((unsigned char)*p); p++)
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *p - '0', &n)) {
			*ret_why = why_large;
			return -1;
		}
	size_t len = 0;
	while (isalpha((unsigned char)p[len]))
		len++;
	const struct unit *u = find_unit(list, count, p, len);
	if (u == NULL)
		return -1;
	if (__builtin_mul_overflow(n, u->factor, ret)) {
		*ret_why = why_large;
		return -1;
	}
	*s = p + len;
	return 0;
}

int
rfl_value_duration(const char *s, int64_t *ret_ms, const char **ret_why)
{
	int64_t sum = 0, one;
	*ret_why = why_duration;
	if (strcmp(s, "0") == 0) {
		*ret_ms = 0;
		return 0;
	}
	do {
		if (take_amount(&s, durations, sizeof durations / sizeof durations[0], &one,
			    ret_why) < 0)
			return -1;
		if (__builtin_add_overflow(sum, one, &sum)) {
			*ret_why = why_large;
			return -1;
		}
	} while (*s != '\0');
	if (sum > DURATION_MAX_US) {
		*ret_why = why_long;
		return -1;
	}
	if (sum % 1000 != 0) {
		*ret_why = "a duration is a whole number of milliseconds";
		return -1;
	}
	*ret_ms = sum / 1000;
	return 0;
}

int
rfl_value_size(const char *s, int64_t *ret_bytes, const char **ret_why)
{
	int64_t n;
	*ret_why = why_size;
	if (strcmp(s, "0") == 0) {
		*ret_bytes = 0;
		return 0;
	}
	if (take_amount(&s, sizes, sizeof sizes / sizeof sizes[0], &n, ret_why) < 0 || *s != '\0')
		return -1;
	*ret_bytes = n;
	return 0;
}

int
rfl_value_int(const char *s, int64_t *ret, const char **ret_why)
{
	char *end;
	errno = 0;
	long long n = strtoll(s, &end, 10);
	*ret_why = "a whole number is meant";
	if (end == s || *end != '\0' || errno != 0 || isspace((unsigned char)s[0]) || s[0] == '+')
		return -1;
	*ret = n;
	return 0;
}

int
rfl_value_bool(const char *s, int64_t *ret, const char **ret_why)
{
	static const char *const words[] = {"no", "yes", "false", "true", "off", "on"};
	*ret_why = "yes or no is meant (true, false, on, off)";
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (strcmp(s, words[i]) == 0) {
			*ret = (int64_t)(i % 2);
			return 0;
		}
	return -1;
}

/* Do digits stand where shape has them? sscanf takes signs and blanks for parts of a number. */
static int
has_digits(const char *s, const char *shape)
{
	for (; *shape != '\0'; s++, shape++)
		if (*s == '\0' || (*shape == '0' && !isdigit((unsigned char)*s)))
			return 0;
	return 1;
}

/* What follows the seconds: a fraction, then Z or +hh:mm. */
static int
take_zone(const char *p, int64_t *ms)
{
	int h, m, n = 0;
	if (*p == '.') {
		int64_t scale = 100;
		if (!isdigit((unsigned char)*++p))
			return -1;
		for (; isdigit((unsigned char)*p); p++, scale /= 10)
			*ms += (*p - '0') * scale;
	}
	if ((*p == 'Z' || *p == 'z') && p[1] == '\0')
		return 0;
	if ((*p != '+' && *p != '-') || !has_digits(p + 1, "00:00") ||
		sscanf(p + 1, "%2d:%2d%n", &h, &m, &n) != 2 || p[1 + n] != '\0' || h > 23 || m > 59)
		return -1;
	*ms -= (*p == '-' ? -1 : 1) * ((int64_t)h * 60 + m) * 60000;
	return 0;
}

int
rfl_value_time(const char *s, int64_t *ret_ms)
{
	struct tm tm = {0};
	int n = 0;
	char t;
	if (!has_digits(s, "0000-00-00T00:00:00") ||
		sscanf(s, "%4d-%2d-%2d%c%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &t,
			&tm.tm_hour, &tm.tm_min, &tm.tm_sec, &n) != 7 ||
		(t != 'T' && t != 't' && t != ' ') || tm.tm_mon < 1 || tm.tm_mon > 12 ||
		tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 || tm.tm_min > 59 ||
		tm.tm_sec > 60)
		return -1;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	int month = tm.tm_mon, seconds = tm.tm_sec;
	tm.tm_sec = 0;
	int64_t ms = ((int64_t)timegm(&tm) + seconds) * 1000;
	/* The 30th of February would be a day of March; a leap second may well be in another month. */
	if (tm.tm_mon != month)
		return -1;
	if (take_zone(s + n, &ms) < 0)
		return -1;
	*ret_ms = ms;
	return 0;
}

static size_t
trimmed(const char **s, size_t len)
{
	while (len > 0 && isspace((unsigned char)**s)) {
		(*s)++;
		len--;
	}
	while (len > 0 && isspace((unsigned char)(*s)[len - 1]))
		len--;
	return len;
}

char **
rfl_value_list(struct rfl_conf_memory *a, const char *s, size_t *ret_count)
{
	size_t room = 2, n = 0;
	for (const char *p = s; *p != '\0'; p++)
		room += *p == ',';
	char **list = rfl_arena_alloc(a, room * sizeof *list);
	while (*s != '\0') {
		size_t len = strcspn(s, ",");
		const char *item = s;
		size_t kept = trimmed(&item, len);
		if (kept == 0)
			return NULL;
		list[n++] = rfl_arena_strndup(a, item, kept);
		s += len;
		if (*s == ',' && *++s == '\0')
			return NULL;
	}
	*ret_count = n;
	return list;
}

/* Copies one word to *out and returns what follows it; NULL where a quote stays open. */
static const char *
take_word(const char *s, char **out)
{
	char quote = '\0';
	for (; *s != '\0' && (quote != '\0' || !isspace((unsigned char)*s)); s++) {
		if (quote == '\0' && (*s == '\'' || *s == '"')) {
			quote = *s;
		} else if (*s == quote) {
			quote = '\0';
		} else {
			if (*s == '\\' && quote != '\'' &&
				(s[1] == '"' || s[1] == '\\' || (quote == '\0' && s[1] != '\0')))
				s++;
			*(*out)++ = *s;
		}
	}
	*(*out)++ = '\0';
	return quote != '\0' ? NULL : s;
}

char **
rfl_value_words(struct rfl_conf_memory *a, const char *s)
{
	size_t len = strlen(s), n = 0;
	char **list = rfl_arena_alloc(a, (len / 2 + 2) * sizeof *list);
	char *out = rfl_arena_alloc(a, len + 2);
	for (;;) {
		while (isspace((unsigned char)*s))
			s++;
		if (*s == '\0')
			return list;
		list[n++] = out;
		s = take_word(s, &out);
		if (s == NULL)
			return NULL;
	}
}

int
rfl_value_is_label(const char *s)
{
	size_t len = strlen(s);
	if (len < 1 || len > 63 || s[0] == '-' || s[len - 1] == '-')
		return 0;
	return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

#define WORD_MAX 40

size_t
rfl_value_distance(const char *a, const char *b)
{
	size_t row[WORD_MAX + 1], la = strlen(a), lb = strlen(b);
	if (la > WORD_MAX || lb > WORD_MAX)
		return WORD_MAX;
	for (size_t j = 0; j <= lb; j++)
		row[j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t diagonal = row[0];
		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			size_t cost = diagonal + (a[i - 1] != b[j - 1]);
			diagonal = row[j];
			if (row[j] + 1 < cost)
				cost = row[j] + 1;
			if (row[j - 1] + 1 < cost)
				cost = row[j - 1] + 1;
			row[j] = cost;
		}
	}
	return row[lb];
}

const char *
rfl_value_nearest(const char *s, const char *const *words, size_t count)
{
	const char *best = NULL;
	size_t least = strlen(s) / 3 + 2;
	for (size_t i = 0; i < count; i++) {
		size_t d = rfl_value_distance(s, words[i]);
		if (d >= least)
			continue;
		least = d;
		best = words[i];
	}
	return best;
}
