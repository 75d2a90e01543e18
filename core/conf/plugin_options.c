/* A plugin's part of a section: its options typed, its check run, unknown keys found. */
#include "conf/expand.h"
#include "conf/resolve.h"
#include "conf/value.h"

#include <stdlib.h>
#include <string.h>

int
rfl_resolve_plugin(struct rfl_resolve *r, struct rfl_section *s, struct rfl_entry *e, uint32_t kind,
	const char *type, struct rfl_conf_plugin *ret_plugin)
{
	struct riffle_error err = {0};
	int rc = r->finder->find(
		r->finder->ctx, kind, type, &r->conf->runtime.plugins, ret_plugin, &err);
	(void)s;
	if (rc >= 0)
		return 0;
	if (rc != RIFFLE_E_NOTFOUND)
		r->plugin_refused = 1;
	rfl_entry_error(
		&r->doc, e, rc == RIFFLE_E_NOTFOUND ? "C110" : "C111", NULL, "%s", err.text);
	return -1;
}

static const struct riffle_option_table *
table_of(const struct rfl_conf_plugin *p, uint32_t section)
{
	for (uint32_t i = 0; i < p->table_count; i++) {
		const struct riffle_option_table *t =
			(const void *)((const char *)p->tables + (size_t)i * p->table_size);
		if (t->section == section)
			return t;
	}
	return NULL;
}

static const struct riffle_option *
option_at(const struct riffle_option_table *t, uint32_t i)
{
	return (const void *)((const char *)t->options + (size_t)i * t->option_size);
}

static int
is_prefix_of(const struct riffle_option *o, const char *key)
{
	return o->type == RIFFLE_OPT_PASS && strncmp(key, o->name, strlen(o->name)) == 0;
}

static uint32_t
collect_pairs(struct rfl_resolve *r, struct rfl_section *s, const struct riffle_option *o,
	const char **pairs, uint32_t used)
{
	for (size_t i = 0; i < s->entry_count; i++) {
		struct rfl_entry *e = &s->entries[i];
		if (!is_prefix_of(o, e->key))
			continue;
		e->used = 1;
		e->secret |= (o->flags & RIFFLE_OPT_SECRET) != 0;
		pairs[used++] = e->key + strlen(o->name);
		pairs[used++] = rfl_expand(&r->doc, e, e->value);
	}
	return used;
}

/* Keys nobody asked for. The nearest of the core's and the plugin's is the likely one. */
static void
find_unknown(struct rfl_resolve *r, struct rfl_section *s, const struct riffle_option_table *t)
{
	const struct rfl_keys *k = rfl_keys_of(s->kind);
	size_t count = k->count + (t ? t->option_count : 0), n = 0;
	const char **words = rfl_arena_alloc(r->arena, (count + 1) * sizeof *words);
	for (size_t i = 0; i < k->count; i++)
		words[n++] = k->keys[i].name;
	for (uint32_t i = 0; t != NULL && i < t->option_count; i++)
		words[n++] = option_at(t, i)->name;
	for (size_t i = 0; i < s->entry_count; i++) {
		struct rfl_entry *e = &s->entries[i];
		if (e->used || rfl_key_find(k, e->key) != NULL)
			continue;
		e->used = 1;
		rfl_unknown_key(r, s, e, words, n);
	}
}

struct reporter {
	struct rfl_resolve *r;
	struct rfl_section *s;
	uint64_t capabilities;
};

static void
report(const struct riffle_report *rep, uint32_t severity, const struct riffle_config *cfg,
	const char *option, const char *text)
{
	struct reporter *p = rep->ctx;
	struct rfl_entry *e = option ? rfl_section_entry(p->s, option) : NULL;
	(void)cfg;
	if (e != NULL && severity == RIFFLE_REPORT_WARNING)
		rfl_entry_warning(&p->r->doc, e, "C112", NULL, "%s", text);
	else if (e != NULL)
		rfl_entry_error(&p->r->doc, e, "C112", NULL, "%s", text);
	else if (severity == RIFFLE_REPORT_WARNING)
		rfl_section_warning(&p->r->doc, p->s, "C112", NULL, "%s%s%s", option ? option : "",
			option ? ": " : "", text);
	else
		rfl_section_error(&p->r->doc, p->s, "C112", NULL, "%s%s%s", option ? option : "",
			option ? ": " : "", text);
}

static void
report_can(const struct riffle_report *rep, const struct riffle_config *cfg, uint64_t capabilities)
{
	struct reporter *p = rep->ctx;
	(void)cfg;
	p->capabilities &= capabilities;
}

uint64_t
rfl_resolve_options(struct rfl_resolve *r, struct rfl_section *s,
	const struct rfl_conf_plugin *plugin, uint32_t section, struct riffle_config *config)
{
	const struct riffle_option_table *t = table_of(plugin, section);
	uint32_t count = t ? t->option_count : 0, pairs_used = 0;
	struct riffle_value *values = rfl_arena_alloc(r->arena, (count + 1) * sizeof *values);
	const char **pairs = rfl_arena_alloc(r->arena, (2 * s->entry_count + 1) * sizeof *pairs);
	size_t errors = r->doc.diags->errors;
	for (uint32_t i = 0; i < count; i++) {
		const struct riffle_option *o = option_at(t, i);
		if (o->type == RIFFLE_OPT_PASS) {
			pairs_used = collect_pairs(r, s, o, pairs, pairs_used);
			continue;
		}
		struct rfl_entry *e = rfl_entry_of(s, o->name);
		if (e != NULL && (o->flags & RIFFLE_OPT_SECRET))
			e->secret = 1;
		if (e == NULL && (o->flags & RIFFLE_OPT_REQUIRED))
			rfl_section_error(&r->doc, s, "C104", o->doc,
				"key '%s' is missing in [%s %s]", o->name, s->kind, s->name);
		rfl_resolve_value(r, e, o, &values[i]);
	}
	int is_typed = r->doc.diags->errors == errors;
	find_unknown(r, s, t);
	*config = (struct riffle_config){
		.size = sizeof *config,
		.section = section,
		.value_size = sizeof *values,
		.value_count = count,
		.pair_count = pairs_used / 2,
		.name = s->name,
		.dir = r->conf->runtime.state_dir,
		.values = values,
		.pairs = pairs,
		.stream = config->stream,
		.provider = config->provider,
	};
	struct reporter ctx = {r, s, plugin->capabilities};
	const struct riffle_report rep = {
		.size = sizeof rep, .ctx = &ctx, .add = report, .can = report_can};
	if (r->calls_nothing && section == RIFFLE_SECTION_FUNCTION)
		return ctx.capabilities;
	if (plugin->check != NULL && is_typed)
		plugin->check(config, &rep);
	return ctx.capabilities;
}
