/* A plugin as text and as JSON. */
#include "cli/describe.h"

#include "base/check.h"
#include "cli/option_text.h"
#include "plugin/descriptor.h"

#include <riffle/invoker.h>
#include <riffle/provider.h>

struct capability {
	uint64_t bit;
	const char *name;
};

static const struct capability of_providers[] = {
	{RIFFLE_CAN_SOURCE, "source"},
	{RIFFLE_CAN_SINK, "sink"},
	{RIFFLE_CAN_ORDER, "order"},
	{RIFFLE_CAN_GROUPS, "groups"},
	{RIFFLE_CAN_TRANSACTIONS, "transactions"},
	{RIFFLE_CAN_HEADERS, "headers"},
	{RIFFLE_CAN_TIMESTAMPS, "timestamps"},
	{RIFFLE_CAN_DURABLE, "durable"},
	{RIFFLE_CAN_REPLAY, "replay"},
	{RIFFLE_CAN_METADATA, "metadata"},
	{RIFFLE_CAN_SEEK_TIME, "seek-time"},
	{RIFFLE_CAN_PROVISION, "provision"},
	{RIFFLE_CAN_KEYS, "keys"},
};

static const struct capability of_invokers[] = {
	{RIFFLE_CAN_STREAM, "stream"},
	{RIFFLE_CAN_MANY_INPUTS, "many-inputs"},
	{RIFFLE_CAN_MANY_OUTPUTS, "many-outputs"},
};

static const struct capability *
capabilities_of(const struct rfl_plugin *p, size_t *ret_count)
{
	int is_provider = p->kind == RIFFLE_KIND_PROVIDER;
	*ret_count = is_provider ? RFL_COUNT(of_providers) : RFL_COUNT(of_invokers);
	return is_provider ? of_providers : of_invokers;
}

const struct riffle_option_table *
rfl_plugin_table(const struct rfl_plugin *p, uint32_t section)
{
	for (uint32_t i = 0; i < p->table_count; i++) {
		const struct riffle_option_table *t =
			(const void *)((const char *)p->tables + (size_t)i * p->table_size);
		if (t->section == section)
			return t;
	}
	return NULL;
}

const struct riffle_option *
rfl_table_option(const struct riffle_option_table *t, uint32_t i)
{
	return (const void *)((const char *)t->options + (size_t)i * t->option_size);
}

uint32_t
rfl_plugin_section(const struct rfl_plugin *p)
{
	return p->kind == RIFFLE_KIND_PROVIDER ? RIFFLE_SECTION_PROVIDER : RIFFLE_SECTION_FUNCTION;
}

const char *
rfl_plugin_key(const struct rfl_plugin *p)
{
	return p->kind == RIFFLE_KIND_PROVIDER ? "type" : "invoker";
}

void
rfl_describe_capabilities(const struct rfl_plugin *p, struct rfl_buf *out)
{
	size_t count, start = out->len;
	const struct capability *all = capabilities_of(p, &count);
	for (size_t i = 0; i < count; i++)
		if (p->capabilities & all[i].bit)
			rfl_buf_printf(out, "%s%s", out->len > start ? ", " : "", all[i].name);
	if (out->len == start)
		rfl_buf_puts(out, "nothing beyond its kind");
}

static void
put_table(const struct riffle_option_table *t, struct rfl_buf *out)
{
	rfl_buf_printf(out, "\nKeys of its [%s] sections:\n", rfl_section_word(t->section));
	for (uint32_t i = 0; i < t->option_count; i++) {
		const struct riffle_option *o = rfl_table_option(t, i);
		rfl_buf_printf(out, "  %s\n      ", o->name);
		rfl_option_facts(o, out);
		rfl_buf_printf(out, "\n      %s\n", o->doc);
	}
}

void
rfl_describe_text(const struct rfl_plugin *p, struct rfl_buf *out)
{
	rfl_buf_printf(out, "%s %s: %s\n", p->name, p->version, p->summary);
	rfl_buf_printf(out,
		"  kind     %s\n  license  %s\n  build    %s\n  file     %s\n  can      ",
		rfl_kind_name(p->kind), p->license, p->build, p->file);
	rfl_describe_capabilities(p, out);
	rfl_buf_putc(out, '\n');
	for (uint32_t s = RIFFLE_SECTION_PROVIDER; s <= RIFFLE_SECTION_FUNCTION; s++)
		if (rfl_plugin_table(p, s) != NULL)
			put_table(rfl_plugin_table(p, s), out);
}

static json_t *
option_json(const struct riffle_option *o)
{
	json_t *all =
		json_pack("{s:s,s:s,s:s?,s:b,s:b,s:s}", "name", o->name, "type", rfl_option_type(o),
			"default", o->def, "required", (o->flags & RIFFLE_OPT_REQUIRED) != 0,
			"secret", (o->flags & RIFFLE_OPT_SECRET) != 0, "doc", o->doc);
	if (o->min != 0 || o->max != 0) {
		json_object_set_new(all, "min", json_integer(o->min));
		json_object_set_new(all, "max", json_integer(o->max));
	}
	if (o->type == RIFFLE_OPT_ENUM) {
		json_t *choices = json_array();
		for (size_t i = 0; o->choices[i] != NULL; i++)
			json_array_append_new(choices, json_string(o->choices[i]));
		json_object_set_new(all, "choices", choices);
	}
	return all;
}

json_t *
rfl_describe_json(const struct rfl_plugin *p)
{
	size_t count;
	const struct capability *can = capabilities_of(p, &count);
	json_t *list = json_array(), *sections = json_object();
	for (size_t i = 0; i < count; i++)
		if (p->capabilities & can[i].bit)
			json_array_append_new(list, json_string(can[i].name));
	for (uint32_t s = RIFFLE_SECTION_PROVIDER; s <= RIFFLE_SECTION_FUNCTION; s++) {
		const struct riffle_option_table *t = rfl_plugin_table(p, s);
		if (t == NULL)
			continue;
		json_t *options = json_array();
		for (uint32_t i = 0; i < t->option_count; i++)
			json_array_append_new(options, option_json(rfl_table_option(t, i)));
		json_object_set_new(sections, rfl_section_word(s), options);
	}
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:o,s:o}", "name", p->name, "kind",
		rfl_kind_name(p->kind), "version", p->version, "license", p->license, "build",
		p->build, "summary", p->summary, "file", p->file, "can", list, "options", sections);
}
