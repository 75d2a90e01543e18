/* The checks of a plugin's descriptor, and our own copy of it. */
#include "plugin/descriptor.h"

#include "base/check.h"
#include "base/error.h"
#include "base/mem.h"
#include "conf/value.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLUGIN_MAGIC 0x504c5547u
#define TEXT_MAX 4096u
#define STRUCT_MAX 65536u
#define PLUGINS_MAX 64u
#define TABLES_MAX 3u
#define OPTIONS_MAX 1024u

const char *
rfl_kind_name(uint32_t kind)
{
	return kind == RIFFLE_KIND_PROVIDER  ? "provider"
	       : kind == RIFFLE_KIND_INVOKER ? "invoker"
					     : "?";
}

static int
in_object(const void *p, const void *base)
{
	Dl_info info;
	return p != NULL && dladdr(p, &info) != 0 && info.dli_fbase == base;
}

static int
size_fails(const char *what, uint32_t size, size_t least, struct riffle_error *reterr)
{
	if (size < least)
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
			"%s too small: %u bytes, at least %zu [R08]", what, size, least);
	if (size > STRUCT_MAX)
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
			"%s too large: %u bytes, at most %u [R08]", what, size, STRUCT_MAX);
	return RIFFLE_OK;
}

int
rfl_module_check(const struct riffle_module *m, const void *base, struct riffle_error *reterr)
{
	if ((uintptr_t)m % _Alignof(struct riffle_module) != 0 || !in_object(m, base))
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
			"entry function returned a pointer outside the plugin [R05]");
	if (m->magic != RIFFLE_MODULE_MAGIC)
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
			"bad magic 0x%08x; damaged, or byte order [R06]", m->magic);
	if (m->abi_major != RIFFLE_ABI_MAJOR || m->abi_minor != RIFFLE_ABI_MINOR)
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
			"needs plugin ABI %u.%u, this program provides %u.%u: rebuild it against "
			"this "
			"version's headers [R07]",
			m->abi_major, m->abi_minor, RIFFLE_ABI_MAJOR, RIFFLE_ABI_MINOR);
	int rc = size_fails("module", m->size, sizeof *m, reterr);
	if (rc < 0)
		return rc;
	if (m->plugin_count < 1 || m->plugin_count > PLUGINS_MAX)
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
			"plugin list of %u entries is not one of 1 to %u [R09]", m->plugin_count,
			PLUGINS_MAX);
	if (!in_object(m->plugins, base))
		return rfl_err(
			reterr, RIFFLE_E_UNSUPPORTED, "plugin list is outside the plugin [R09]");
	for (uint32_t i = 0; i < m->plugin_count; i++)
		if (!in_object(m->plugins[i], base))
			return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
				"plugin list entry %u is %s [R09]", i + 1,
				m->plugins[i] ? "outside the plugin" : "NULL");
	return RIFFLE_OK;
}

static int
text_fails(const char *what, const char *s, const void *base, struct riffle_error *reterr)
{
	if (s == NULL)
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED, "%s is NULL [R10]", what);
	if (!in_object(s, base) || strnlen(s, TEXT_MAX) == TEXT_MAX)
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
			"%s is not a text of the plugin below %u bytes [R10]", what, TEXT_MAX);
	return RIFFLE_OK;
}

/* [a-z][a-z0-9<more>]{0,<max>-1} */
static int
name_is_legal(const char *s, size_t max, const char *more)
{
	if (s[0] < 'a' || s[0] > 'z' || strlen(s) > max)
		return 0;
	for (; *s != '\0'; s++)
		if (!(*s >= 'a' && *s <= 'z') && !(*s >= '0' && *s <= '9') &&
			strchr(more, *s) == NULL)
			return 0;
	return 1;
}

int
rfl_plugin_name_is_legal(const char *name)
{
	return name_is_legal(name, 31, "-");
}

static int
texts_fail(const struct riffle_plugin *d, const void *base, struct riffle_error *reterr)
{
	int rc = text_fails("plugin name", d->name, base, reterr);
	if (rc == RIFFLE_OK)
		rc = text_fails("summary", d->summary, base, reterr);
	if (rc == RIFFLE_OK)
		rc = text_fails("version", d->version, base, reterr);
	if (rc == RIFFLE_OK)
		rc = text_fails("license", d->license, base, reterr);
	if (rc < 0)
		return rc;
	if (!rfl_plugin_name_is_legal(d->name))
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
			"plugin name \"%s\" is not allowed [R10]", d->name);
	if (d->kind != RIFFLE_KIND_PROVIDER && d->kind != RIFFLE_KIND_INVOKER)
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
			"plugin \"%s\": kind %u is not known [R10]", d->name, d->kind);
	return RIFFLE_OK;
}

struct needed {
	const char *name;
	size_t at;
};

#define NEED(type, member)                                                                         \
	{                                                                                          \
#member, offsetof(struct type, member)                                             \
	}

static const struct needed provider_always[] = {
	NEED(riffle_provider_ops, create),
	NEED(riffle_provider_ops, destroy),
	NEED(riffle_provider_ops, capabilities),
};
static const struct needed provider_source[] = {
	NEED(riffle_provider_ops, source_open),
	NEED(riffle_provider_ops, source_fd),
	NEED(riffle_provider_ops, source_poll),
	NEED(riffle_provider_ops, source_start),
	NEED(riffle_provider_ops, source_rewind),
	NEED(riffle_provider_ops, source_release),
	NEED(riffle_provider_ops, source_commit),
	NEED(riffle_provider_ops, lane_poll),
	NEED(riffle_provider_ops, lane_state),
	NEED(riffle_provider_ops, source_close),
	NEED(riffle_provider_ops, source_destroy),
};
static const struct needed provider_sink[] = {
	NEED(riffle_provider_ops, sink_open),
	NEED(riffle_provider_ops, sink_fd),
	NEED(riffle_provider_ops, sink_poll),
	NEED(riffle_provider_ops, sink_send),
	NEED(riffle_provider_ops, sink_close),
	NEED(riffle_provider_ops, sink_destroy),
};
static const struct needed invoker_always[] = {
	NEED(riffle_invoker_ops, create),
	NEED(riffle_invoker_ops, destroy),
	NEED(riffle_invoker_ops, capabilities),
	NEED(riffle_invoker_ops, call_begin),
	NEED(riffle_invoker_ops, call_push),
	NEED(riffle_invoker_ops, call_end),
	NEED(riffle_invoker_ops, call_read),
	NEED(riffle_invoker_ops, call_cancel),
	NEED(riffle_invoker_ops, call_destroy),
};

/* The name of the first operation of the list that is missing, or NULL. */
static const char *
first_missing(const void *ops, const struct needed *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		void (*fn)(void);
		memcpy(&fn, (const char *)ops + list[i].at, sizeof fn);
		if (fn == NULL)
			return list[i].name;
	}
	return NULL;
}

static const char *
missing_op(const struct rfl_plugin *p)
{
	const void *ops = &p->ops;
	if (p->kind == RIFFLE_KIND_INVOKER)
		return first_missing(ops, invoker_always, RFL_COUNT(invoker_always));
	const char *missing = first_missing(ops, provider_always, RFL_COUNT(provider_always));
	if (missing == NULL && (p->capabilities & RIFFLE_CAN_SOURCE))
		missing = first_missing(ops, provider_source, RFL_COUNT(provider_source));
	if (missing == NULL && (p->capabilities & RIFFLE_CAN_SINK))
		missing = first_missing(ops, provider_sink, RFL_COUNT(provider_sink));
	if (missing == NULL && (p->capabilities & RIFFLE_CAN_TRANSACTIONS) &&
		p->ops.provider.extension == NULL)
		missing = "extension";
	return missing;
}

static int
copy_ops(struct rfl_plugin *p, const void *ops, const void *base, struct riffle_error *reterr)
{
	size_t ours =
		p->kind == RIFFLE_KIND_PROVIDER ? sizeof p->ops.provider : sizeof p->ops.invoker;
	uint32_t theirs;
	if (!in_object(ops, base))
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
			"%s \"%s\": ops is outside the plugin [R11]", rfl_kind_name(p->kind),
			p->name);
	memcpy(&theirs, ops, sizeof theirs);
	/* At major 0 both sides have the same headers, so the least is all of it. */
	int rc = size_fails("ops", theirs, ours, reterr);
	if (rc < 0)
		return rc;
	memcpy(&p->ops, ops, theirs < ours ? theirs : ours);
	if (p->kind == RIFFLE_KIND_PROVIDER &&
		!(p->capabilities & (RIFFLE_CAN_SOURCE | RIFFLE_CAN_SINK)))
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
			"provider \"%s\": offers neither a source nor a sink [R11]", p->name);
	const char *missing = missing_op(p);
	if (missing != NULL)
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED, "%s \"%s\": %s is missing [R11]",
			rfl_kind_name(p->kind), p->name, missing);
	return RIFFLE_OK;
}

static const struct riffle_option *
option_at(const struct riffle_option_table *t, uint32_t i)
{
	return (const void *)((const char *)t->options + (size_t)i * t->option_size);
}

/* A default is what the file would say, so it passes what the file's would. */
static const char *
default_fault(const struct riffle_option *o, char *text, size_t room)
{
	static const char *const types[] = {[RIFFLE_OPT_BOOL] = "a yes or no",
		[RIFFLE_OPT_INT] = "a number",
		[RIFFLE_OPT_DURATION] = "a duration",
		[RIFFLE_OPT_SIZE] = "a size",
		[RIFFLE_OPT_ENUM] = "one of its choices"};
	int64_t value = 0;
	const char *why;
	int rc = 0;
	if (o->type == RIFFLE_OPT_BOOL)
		rc = rfl_value_bool(o->def, &value, &why);
	else if (o->type == RIFFLE_OPT_INT)
		rc = rfl_value_int(o->def, &value, &why);
	else if (o->type == RIFFLE_OPT_DURATION)
		rc = rfl_value_duration(o->def, &value, &why);
	else if (o->type == RIFFLE_OPT_SIZE)
		rc = rfl_value_size(o->def, &value, &why);
	else if (o->type == RIFFLE_OPT_ENUM) {
		rc = -1;
		for (size_t n = 0; o->choices[n] != NULL; n++)
			rc = strcmp(o->choices[n], o->def) == 0 ? 0 : rc;
	} else
		return NULL;
	if (rc < 0)
		snprintf(text, room, "default \"%.40s\" is not %s", o->def, types[o->type]);
	else if ((o->min != 0 || o->max != 0) && (value < o->min || value > o->max))
		snprintf(text, room, "default \"%.40s\" is out of its bounds", o->def);
	else
		return NULL;
	return text;
}

static const char *
option_fault(
	const struct riffle_option_table *t, uint32_t i, const void *base, char *text, size_t room)
{
	const struct riffle_option *o = option_at(t, i);
	if (o->type < RIFFLE_OPT_STRING || o->type > RIFFLE_OPT_ARGV)
		return "its type is not known";
	if (o->doc == NULL || !in_object(o->doc, base) || o->doc[0] == '\0')
		return "it has no doc";
	if (o->min > o->max)
		return "min is above max";
	if (o->type == RIFFLE_OPT_ENUM &&
		(o->choices == NULL || !in_object(o->choices, base) || o->choices[0] == NULL))
		return "it has no choices";
	for (uint32_t k = 0; k < i; k++)
		if (strcmp(option_at(t, k)->name, o->name) == 0)
			return "it is there twice";
	if (o->def != NULL && !in_object(o->def, base))
		return "its default is outside the plugin";
	return o->def ? default_fault(o, text, room) : NULL;
}

static int
table_fails(const struct rfl_plugin *p, const struct riffle_option_table *t, const void *base,
	struct riffle_error *reterr)
{
	int rc = size_fails("option table", t->size, sizeof *t, reterr);
	if (rc == RIFFLE_OK && t->option_count > 0)
		rc = size_fails("option", t->option_size, sizeof(struct riffle_option), reterr);
	if (rc < 0)
		return rc;
	if (t->section < RIFFLE_SECTION_PROVIDER || t->section > RIFFLE_SECTION_FUNCTION)
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
			"%s \"%s\": an option table is for section %u, which there is not [R12]",
			rfl_kind_name(p->kind), p->name, t->section);
	if (t->option_count > OPTIONS_MAX)
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
			"%s \"%s\": an option table holds %u options, at most %u [R12]",
			rfl_kind_name(p->kind), p->name, t->option_count, OPTIONS_MAX);
	if (t->option_count > 0 && !in_object(t->options, base))
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
			"%s \"%s\": its options are outside the plugin [R12]",
			rfl_kind_name(p->kind), p->name);
	for (uint32_t i = 0; i < t->option_count; i++) {
		const char *name = option_at(t, i)->name;
		if (name == NULL || !in_object(name, base) || strnlen(name, 64) == 64 ||
			!name_is_legal(name, 63, "-."))
			return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
				"%s \"%s\": the name of option %u is not allowed [R12]",
				rfl_kind_name(p->kind), p->name, i + 1);
		char text[96];
		const char *fault = option_fault(t, i, base, text, sizeof text);
		if (fault != NULL)
			return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
				"%s \"%s\": option \"%s\": %s [R12]", rfl_kind_name(p->kind),
				p->name, name, fault);
	}
	return RIFFLE_OK;
}

static int
tables_fail(const struct rfl_plugin *p, const void *base, struct riffle_error *reterr)
{
	if (p->table_count > TABLES_MAX)
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
			"%s \"%s\": %u option tables, at most %u [R12]", rfl_kind_name(p->kind),
			p->name, p->table_count, TABLES_MAX);
	if (p->table_count > 0 && !in_object(p->tables, base))
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
			"%s \"%s\": its option tables are outside the plugin [R12]",
			rfl_kind_name(p->kind), p->name);
	for (uint32_t i = 0; i < p->table_count; i++) {
		const struct riffle_option_table *t =
			(const void *)((const char *)p->tables + (size_t)i * p->table_size);
		int rc = table_fails(p, t, base, reterr);
		if (rc < 0)
			return rc;
	}
	return RIFFLE_OK;
}

int
rfl_descriptor_copy(const struct riffle_module *m, uint32_t i, const void *base,
	struct rfl_plugin **ret_plugin, struct riffle_error *reterr)
{
	const struct riffle_plugin *d = m->plugins[i];
	int rc = size_fails("descriptor", d->size, sizeof *d, reterr);
	if (rc == RIFFLE_OK)
		rc = texts_fail(d, base, reterr);
	if (rc == RIFFLE_OK)
		rc = text_fails("build", m->build, base, reterr);
	if (rc == RIFFLE_OK && d->table_count > 0)
		rc = size_fails(
			"option table", d->table_size, sizeof(struct riffle_option_table), reterr);
	if (rc < 0)
		return rc;
	struct rfl_plugin *p = rfl_zalloc(sizeof *p);
	*p = (struct rfl_plugin){
		.magic = PLUGIN_MAGIC,
		.kind = d->kind,
		.name = rfl_strdup(d->name),
		.summary = rfl_strdup(d->summary),
		.version = rfl_strdup(d->version),
		.license = rfl_strdup(d->license),
		.build = rfl_strdup(m->build),
		.capabilities = d->capabilities,
		.tables = d->tables,
		.table_size = d->table_size,
		.table_count = d->table_count,
	};
	rc = copy_ops(p, d->ops, base, reterr);
	if (rc == RIFFLE_OK)
		rc = tables_fail(p, base, reterr);
	if (rc < 0) {
		rfl_descriptor_free(p);
		return rc;
	}
	*ret_plugin = p;
	return RIFFLE_OK;
}

void
rfl_descriptor_free(struct rfl_plugin *p)
{
	if (p == NULL)
		return;
	RFL_CHECK(p, PLUGIN_MAGIC);
	RFL_RETIRE(p);
	free(p->name);
	free(p->summary);
	free(p->version);
	free(p->license);
	free(p->build);
	free(p->file);
	free(p);
}
