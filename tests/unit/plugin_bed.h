/* What the beds of plugins share: options by their names, and events that are waited for. */
#ifndef RFL_TESTS_UNIT_PLUGIN_BED_H
#define RFL_TESTS_UNIT_PLUGIN_BED_H

#include "test.h"

#include "plugin_host.h"

static inline const struct riffle_option_table *
options_of(uint32_t section)
{
	const struct riffle_option_table *t = plugin->tables;
	while (t->section != section)
		t++;
	return t;
}

/* Which of a section's values is the one of this name. */
static inline uint32_t
option_at(uint32_t section, const char *name)
{
	const struct riffle_option_table *t = options_of(section);
	uint32_t i = 0;
	while (i < t->option_count && strcmp(t->options[i].name, name) != 0)
		i++;
	if (i == t->option_count)
		fail_msg("there is no option %s", name);
	return i;
}

static inline void
must(int rc, const struct riffle_error *err)
{
	if (rc < 0)
		fail_msg("%d: %s", rc, err->text);
}

/* An event of a source or a sink that is waited for. */
struct wanted {
	int (*poll)(void *object, struct riffle_event *ev);
	void *object;
	uint32_t type;
	struct riffle_event *ev;
};

/* The next event is the one. */
static inline int
came(void *ctx)
{
	struct wanted *w = ctx;
	*w->ev = (struct riffle_event){.size = sizeof *w->ev};
	return w->poll(w->object, w->ev) > 0 && w->ev->type == w->type;
}

#endif
