/* Options in words. */
#include "cli/option_text.h"

#include "base/check.h"
#include "conf/keys.h"

#include <inttypes.h>

struct unit {
	const char *name;
	int64_t factor;
};

/* Largest first: a bound is written in the largest unit that it is a whole number of. */
static const struct unit durations[] = {
	{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
static const struct unit sizes[] = {
	{"TiB", INT64_C(1) << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1024}, {"B", 1}};

const char *
rfl_option_type(const struct riffle_option *o)
{
	static const char *const names[] = {NULL, "text", "yes or no", "number", "duration", "size",
		"choice", "list", "path", "pairs", "command line"};
	rfl_assert(o->type > 0 && o->type < RFL_COUNT(names));
	return names[o->type];
}

void
rfl_option_number(const struct riffle_option *o, int64_t n, struct rfl_buf *out)
{
	const struct unit *units = o->type == RIFFLE_OPT_SIZE ? sizes : durations;
	size_t i = 0;
	if (n == 0 || (o->type != RIFFLE_OPT_SIZE && o->type != RIFFLE_OPT_DURATION)) {
		rfl_buf_printf(out, "%" PRId64, n);
		return;
	}
	while (n % units[i].factor != 0)
		i++;
	rfl_buf_printf(out, "%" PRId64 "%s", n / units[i].factor, units[i].name);
}

int
rfl_option_is_offered(const struct riffle_option *o)
{
	return !(o->flags & RFL_KEY_NOT_YET);
}

const char *
rfl_section_word(uint32_t section)
{
	static const char *const words[] = {NULL, "provider", "stream", "function"};
	rfl_assert(section > 0 && section < RFL_COUNT(words));
	return words[section];
}

static void
put_range(const struct riffle_option *o, struct rfl_buf *out)
{
	if (o->min == 0 && (o->max == 0 || o->max == INT64_MAX))
		return;
	rfl_buf_puts(out, "; ");
	if (o->max == INT64_MAX) {
		rfl_buf_puts(out, "at least ");
		rfl_option_number(o, o->min, out);
		return;
	}
	rfl_option_number(o, o->min, out);
	rfl_buf_puts(out, " to ");
	rfl_option_number(o, o->max, out);
}

void
rfl_option_facts(const struct riffle_option *o, struct rfl_buf *out)
{
	if (o->type == RIFFLE_OPT_ENUM)
		for (size_t i = 0; o->choices[i] != NULL; i++)
			rfl_buf_printf(out, "%s%s", i ? ", " : "one of ", o->choices[i]);
	else if (o->type == RIFFLE_OPT_PASS)
		rfl_buf_printf(out, "any key that begins with %s", o->name);
	else
		rfl_buf_puts(out, rfl_option_type(o));
	if (o->flags & RIFFLE_OPT_REQUIRED)
		rfl_buf_puts(out, "; required");
	if (o->def != NULL)
		rfl_buf_printf(out, "; default %s", o->def);
	put_range(o, out);
	if (o->flags & RIFFLE_OPT_SECRET)
		rfl_buf_puts(out, "; secret, so write ${cred:NAME} or ${file:PATH}");
	if (o->flags & RIFFLE_OPT_DEPRECATED)
		rfl_buf_puts(out, "; deprecated");
	if (!rfl_option_is_offered(o))
		rfl_buf_puts(out, "; not offered by this version");
}
