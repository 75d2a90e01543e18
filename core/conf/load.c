/* From files to the checked model: includes, typed values, sections in the order they depend on. */
#include "conf/load.h"

#include "base/log.h"
#include "base/mem.h"
#include "conf/expand.h"
#include "conf/resolve.h"
#include "conf/value.h"

#include <ctype.h>
#include <glob.h>
#include <libgen.h>
#include <limits.h>
#include <riffle/host.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INCLUDE_DEPTH 8
#define SOCKET_PATH_MAX 107

struct rfl_entry *
rfl_entry_of(struct rfl_section *s, const char *key)
{
	struct rfl_entry *e = s ? rfl_section_entry(s, key) : NULL;
	if (e != NULL)
		e->used = 1;
	return e;
}

void
rfl_mark_broken(struct rfl_entry *e)
{
	if (e != NULL)
		e->broken = 1;
}

int
rfl_is_broken(const struct rfl_section *s, const char *key)
{
	const struct rfl_entry *e = rfl_section_entry(s, key);
	return e != NULL && e->broken;
}

static char *
absolute(struct rfl_conf_memory *a, const char *dir, const char *path)
{
	return path[0] == '/' ? rfl_arena_strdup(a, path)
			      : rfl_arena_sprintf(a, "%s/%s", dir, path);
}

static int
type_enum(struct rfl_resolve *r, const struct rfl_entry *e, const struct riffle_option *o,
	const char *text, struct riffle_value *ret)
{
	size_t n = 0;
	for (; o->choices[n] != NULL; n++)
		if (strcmp(o->choices[n], text) == 0) {
			ret->u.i = (int64_t)n;
			return 0;
		}
	struct rfl_buf all = RFL_BUF_INIT;
	const char *near = rfl_value_nearest(text, o->choices, n);
	for (size_t i = 0; i < n; i++)
		rfl_buf_printf(&all, "%s%s", i ? ", " : "one of: ", o->choices[i]);
	char *hint = near ? rfl_arena_sprintf(r->arena, "did you mean '%s'?", near)
			  : rfl_arena_strdup(r->arena, rfl_buf_str(&all));
	rfl_buf_fini(&all);
	rfl_entry_error(
		&r->doc, e, "C102", hint, "unknown %s '%s'", o->name, e->secret ? "***" : text);
	return -1;
}

static int
type_number(struct rfl_resolve *r, const struct rfl_entry *e, const struct riffle_option *o,
	const char *text, struct riffle_value *ret)
{
	const char *why = NULL;
	int rc = o->type == RIFFLE_OPT_BOOL   ? rfl_value_bool(text, &ret->u.i, &why)
		 : o->type == RIFFLE_OPT_INT  ? rfl_value_int(text, &ret->u.i, &why)
		 : o->type == RIFFLE_OPT_SIZE ? rfl_value_size(text, &ret->u.i, &why)
					      : rfl_value_duration(text, &ret->u.i, &why);
	if (rc < 0) {
		rfl_entry_error(&r->doc, e, "C102", why, "'%s' is no value for %s",
			e->secret ? "***" : text, o->name);
		return -1;
	}
	if ((o->min == 0 && o->max == 0) || (ret->u.i >= o->min && ret->u.i <= o->max))
		return 0;
	rfl_entry_error(&r->doc, e, "C102", NULL, "%s = %s is out of range: %lld to %lld%s",
		o->name, text, (long long)o->min, (long long)o->max,
		o->type == RIFFLE_OPT_SIZE       ? " bytes"
		: o->type == RIFFLE_OPT_DURATION ? " ms"
						 : "");
	return -1;
}

static int
type_text(struct rfl_resolve *r, const struct rfl_entry *e, const struct riffle_option *o,
	char *text, struct riffle_value *ret)
{
	size_t count;
	switch (o->type) {
	case RIFFLE_OPT_PATH:
		ret->u.s = absolute(r->arena, e ? e->dir : ".", text);
		return 0;
	case RIFFLE_OPT_LIST:
		ret->u.list = (const char *const *)rfl_value_list(r->arena, text, &count);
		if (ret->u.list != NULL)
			return 0;
		rfl_entry_error(&r->doc, e, "C102", "one, two, three",
			"'%s': an item of the list is empty", text);
		return -1;
	case RIFFLE_OPT_ARGV:
		ret->u.list = (const char *const *)rfl_value_words(r->arena, text);
		if (ret->u.list != NULL)
			return 0;
		rfl_entry_error(&r->doc, e, "C010", NULL,
			"a quote is not closed in the words of %s", o->name);
		return -1;
	default:
		ret->u.s = text;
		return 0;
	}
}

int
rfl_resolve_value(struct rfl_resolve *r, struct rfl_entry *e, const struct riffle_option *o,
	struct riffle_value *ret)
{
	*ret = (struct riffle_value){.is_set = e != NULL, .line = e ? e->place.line : 0};
	if (e != NULL && e->broken)
		return -1;
	const char *written = e == NULL ? NULL : o->type == RIFFLE_OPT_ARGV ? e->quoted : e->value;
	char *text = e ? rfl_expand(&r->doc, e, written) : rfl_arena_strdup(r->arena, o->def);
	if (text == NULL)
		return e ? -1 : 0;
	int may_be_empty = (o->type == RIFFLE_OPT_STRING || o->type == RIFFLE_OPT_LIST) &&
			   !(o->flags & RIFFLE_OPT_REQUIRED);
	if (e != NULL && text[0] == '\0' && !may_be_empty) {
		rfl_key_error(&r->doc, e, "C102", NULL, "key '%s' has no value", e->key);
		return -1;
	}
	if (o->type == RIFFLE_OPT_ENUM)
		return type_enum(r, e, o, text, ret);
	if (o->type >= RIFFLE_OPT_BOOL && o->type <= RIFFLE_OPT_SIZE)
		return type_number(r, e, o, text, ret);
	return type_text(r, e, o, text, ret);
}

struct riffle_value
rfl_resolve_key(struct rfl_resolve *r, struct rfl_section *s, const char *key)
{
	struct riffle_value v = {0};
	const struct rfl_keys *k = rfl_keys_of(s->kind);
	const struct riffle_option *o = rfl_key_find(k, key);
	struct rfl_entry *e = rfl_entry_of(s, key);
	if (e == NULL && (o->flags & RIFFLE_OPT_REQUIRED)) {
		rfl_section_error(&r->doc, s, "C104", o->doc, "key '%s' is missing in [%s %s]", key,
			s->kind, s->name);
		return v;
	}
	if (rfl_resolve_value(r, e, o, &v) < 0) {
		rfl_mark_broken(e);
		v = (struct riffle_value){0};
	}
	return v;
}

static void read_one(struct rfl_doc *doc, const char *path, int depth);

/* include of one section [runtime] as it stands in the file just read; patterns relative to it. */
static void
read_includes(struct rfl_doc *doc, unsigned before, int depth)
{
	struct rfl_section *s = rfl_doc_section(doc, "runtime", "");
	struct rfl_entry *e = s ? rfl_section_entry(s, "include") : NULL;
	size_t count = 0;
	if (e == NULL || e->file_number <= before)
		return;
	const struct rfl_entry copy = *e;
	char *text = rfl_expand(doc, &copy, copy.value);
	char **list = text ? rfl_value_list(doc->arena, text, &count) : NULL;
	if (depth >= INCLUDE_DEPTH) {
		rfl_entry_error(doc, &copy, "C012", NULL,
			"files include each other, or more than %d deep", INCLUDE_DEPTH);
		return;
	}
	for (size_t i = 0; list != NULL && i < count; i++) {
		glob_t found;
		if (glob(absolute(doc->arena, copy.dir, list[i]), 0, NULL, &found) == 0)
			for (size_t k = 0; k < found.gl_pathc; k++) {
				size_t len = strlen(found.gl_pathv[k]);
				if (len > 4 && strcmp(found.gl_pathv[k] + len - 4, ".ini") == 0)
					read_one(doc, found.gl_pathv[k], depth + 1);
			}
		else if (strpbrk(list[i], "*?[") == NULL)
			rfl_entry_error(doc, &copy, "C012", NULL, "there is no file '%s'", list[i]);
		globfree(&found);
	}
}

/* Findings name files as the user would from where he stands. */
static const char *
shown_path(struct rfl_doc *doc, const char *path)
{
	char cwd[PATH_MAX];
	size_t len;
	if (getcwd(cwd, sizeof cwd) == NULL || (len = strlen(cwd)) < 2)
		return path;
	if (strncmp(path, cwd, len) == 0 && path[len] == '/')
		return rfl_arena_strdup(doc->arena, path + len + 1);
	return path;
}

static void
read_one(struct rfl_doc *doc, const char *path, int depth)
{
	unsigned before = doc->files;
	if (rfl_doc_read(doc, shown_path(doc, path)) == 0)
		read_includes(doc, before, depth);
}

static char *
default_state_dir(struct rfl_resolve *r)
{
	const char *env = getenv("STATE_DIRECTORY");
	char *main_dir = rfl_arena_strdup(r->arena, r->conf->file);
	main_dir = dirname(main_dir);
	return absolute(r->arena, main_dir, env && env[0] ? env : "state");
}

static struct rfl_section *
runtime_section(struct rfl_resolve *r)
{
	struct rfl_section *s = rfl_doc_section(&r->doc, "runtime", "");
	static struct rfl_section none;
	static char kind[] = "runtime", name[] = "";
	none = (struct rfl_section){.kind = kind, .name = name};
	return s ? s : &none;
}

static char **
plugin_dirs(struct rfl_resolve *r, struct rfl_section *s)
{
	size_t count;
	struct rfl_entry *e = rfl_entry_of(s, "plugin-dir");
	struct riffle_value v = rfl_resolve_key(r, s, "plugin-dir");
	if (v.u.list == NULL) {
		const char *env = secure_getenv("RIFFLE_PLUGIN_DIR");
		char *text = rfl_arena_strdup(r->arena, env && env[0] ? env : RIFFLE_PLUGINS_DIR);
		for (char *p = text; *p != '\0'; p++)
			*p = *p == ':' ? ',' : *p;
		char **list = rfl_value_list(r->arena, text, &count);
		return list ? list : rfl_arena_alloc(r->arena, sizeof *list);
	}
	for (count = 0; v.u.list[count] != NULL; count++)
		;
	char **list = rfl_arena_alloc(r->arena, (count + 1) * sizeof *list);
	for (size_t i = 0; i < count; i++)
		list[i] = absolute(r->arena, e->dir, v.u.list[i]);
	return list;
}

static char **
plugin_pins(struct rfl_resolve *r, struct rfl_section *s)
{
	struct rfl_entry *e = rfl_entry_of(s, "plugin-sha256");
	struct riffle_value v = rfl_resolve_key(r, s, "plugin-sha256");
	size_t count = 0;
	while (v.u.list != NULL && v.u.list[count] != NULL)
		count++;
	char **list = rfl_arena_alloc(r->arena, (count + 1) * sizeof *list);
	for (size_t i = 0; i < count; i++) {
		list[i] = rfl_arena_strdup(r->arena, v.u.list[i]);
		size_t name = strcspn(list[i], ":");
		size_t hex = strspn(list[i] + name + (list[i][name] != '\0'), "0123456789abcdef");
		if (name == 0 || hex != 64 || list[i][name + 1 + hex] != '\0')
			rfl_entry_error(&r->doc, e, "C102",
				"name:checksum, 64 hexadecimal digits as sha256sum prints them",
				"'%s' is no pin of a plugin", list[i]);
	}
	return list;
}

static char *
admin_path(struct rfl_resolve *r, struct rfl_section *s)
{
	struct rfl_entry *e = rfl_entry_of(s, "admin");
	struct riffle_value v = rfl_resolve_key(r, s, "admin");
	const char *dir = getenv("RUNTIME_DIRECTORY");
	char *path;
	if (v.u.s != NULL && strcmp(v.u.s, "none") == 0)
		return NULL;
	if (v.u.s != NULL && strncmp(v.u.s, "unix:", 5) != 0) {
		rfl_entry_error(
			&r->doc, e, "C102", "unix:PATH or none", "'%s' is no admin address", v.u.s);
		return NULL;
	}
	if (v.u.s != NULL)
		path = absolute(r->arena, e->dir, v.u.s + 5);
	else
		path = rfl_arena_sprintf(r->arena, "%s/riffle.sock",
			dir && dir[0] ? dir : r->conf->runtime.state_dir);
	if (strlen(path) <= SOCKET_PATH_MAX)
		return path;
	const struct rfl_place place = {.file = r->conf->file};
	const struct rfl_place at = e ? e->place : place;
	rfl_diag_add(r->doc.diags, RFL_ERROR, "C102", at, 0, e ? e->source : NULL,
		"admin = unix:/run/riffle.sock",
		"the admin socket's path has %zu bytes, at most %d: %s", strlen(path),
		SOCKET_PATH_MAX, path);
	return NULL;
}

static void
resolve_runtime(struct rfl_resolve *r)
{
	static const int levels[] = {
		RIFFLE_LOG_ERROR, RIFFLE_LOG_WARNING, RIFFLE_LOG_INFO, RIFFLE_LOG_DEBUG};
	static const int formats[] = {RFL_LOG_AUTO, RFL_LOG_LOGFMT, RFL_LOG_JSON};
	struct rfl_section *s = runtime_section(r);
	struct rfl_runtime_conf *c = &r->conf->runtime;
	struct riffle_value v = rfl_resolve_key(r, s, "namespace");
	c->namespace = rfl_arena_strdup(r->arena, v.u.s ? v.u.s : "default");
	if (!rfl_value_is_label(c->namespace))
		rfl_entry_error(&r->doc, rfl_entry_of(s, "namespace"), "C106", NULL,
			"namespace '%s' is not a name: a-z, 0-9 and '-', at most 63", c->namespace);
	c->instance = rfl_arena_strdup(r->arena, rfl_resolve_key(r, s, "instance").u.s);
	v = rfl_resolve_key(r, s, "state-dir");
	c->state_dir = v.u.s ? rfl_arena_strdup(r->arena, v.u.s) : default_state_dir(r);
	c->plugins.dirs = plugin_dirs(r, s);
	c->plugins.pins = plugin_pins(r, s);
	c->plugins.insecure = (int)rfl_resolve_key(r, s, "insecure-plugins").u.i;
	c->admin = admin_path(r, s);
	c->workers = (uint32_t)rfl_resolve_key(r, s, "workers").u.i;
	c->memory_bytes = rfl_resolve_key(r, s, "memory").u.i;
	c->spill_bytes = rfl_resolve_key(r, s, "spill").u.i;
	v = rfl_resolve_key(r, s, "commit-interval");
	c->commit_interval_ms = v.is_set ? v.u.i : -1;
	c->shutdown_timeout_ms = rfl_resolve_key(r, s, "shutdown-timeout").u.i;
	c->log_level = levels[rfl_resolve_key(r, s, "log-level").u.i];
	c->log_format = formats[rfl_resolve_key(r, s, "log-format").u.i];
	c->guard = (enum rfl_guard_mode)rfl_resolve_key(r, s, "guard").u.i;
	c->plugin_timeout_ms = rfl_resolve_key(r, s, "plugin-timeout").u.i;
	rfl_entry_of(s, "include");
}

static void
resolve_provider(struct rfl_resolve *r, struct rfl_section *s)
{
	struct rfl_conf_plugin plugin;
	struct riffle_value type = rfl_resolve_key(r, s, "type");
	if (type.u.s == NULL || rfl_resolve_plugin(r, s, rfl_entry_of(s, "type"),
					RIFFLE_KIND_PROVIDER, type.u.s, &plugin) < 0)
		return;
	struct rfl_provider_conf *p = rfl_arena_alloc(r->arena, sizeof *p);
	*p = (struct rfl_provider_conf){
		.name = s->name, .type = rfl_arena_strdup(r->arena, type.u.s), .place = s->place};
	p->capabilities = rfl_resolve_options(r, s, &plugin, RIFFLE_SECTION_PROVIDER, &p->config);
	r->conf->providers[r->conf->provider_count++] = p;
}

static const struct rfl_provider_conf *
provider_of(struct rfl_resolve *r, struct rfl_section *s, struct rfl_entry **ret_entry)
{
	struct rfl_entry *e = rfl_entry_of(s, "provider");
	struct rfl_entry *synonym = rfl_entry_of(s, "gateway");
	if (e != NULL && synonym != NULL)
		rfl_key_error(&r->doc, synonym, "C008", NULL,
			"'gateway' and 'provider' are the same, and both are there");
	struct riffle_value v =
		rfl_resolve_key(r, s, e == NULL && synonym != NULL ? "gateway" : "provider");
	*ret_entry = e ? e : synonym;
	if (v.u.s == NULL)
		return NULL;
	const struct rfl_provider_conf *p = rfl_conf_provider(r->conf, v.u.s);
	if (p != NULL || rfl_doc_section(&r->doc, "provider", v.u.s) != NULL)
		return p;
	const char **words =
		rfl_arena_alloc(r->arena, (r->conf->provider_count + 1) * sizeof *words);
	for (size_t i = 0; i < r->conf->provider_count; i++)
		words[i] = r->conf->providers[i]->name;
	const char *near = rfl_value_nearest(v.u.s, words, r->conf->provider_count);
	p = near ? rfl_conf_provider(r->conf, near) : NULL;
	char *hint = p ? rfl_arena_sprintf(r->arena, "did you mean '%s' (%s:%u)?", near,
				 p->place.file, p->place.line)
		       : NULL;
	rfl_entry_error(&r->doc, *ret_entry, "C105", hint,
		"stream '%s' uses provider '%s', which is not defined", s->name, v.u.s);
	return NULL;
}

/* type "/" subtype, each of the characters that RFC 2045 allows; parameters may follow. */
static int
is_media_type(const char *s)
{
	static const char token[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'+-.^_`{|}~";
	size_t type = strspn(s, token);
	size_t sub = s[type] == '/' ? strspn(s + type + 1, token) : 0;
	const char *rest = s + type + 1 + sub;
	return type > 0 && sub > 0 && (*rest == '\0' || *rest == ';' || *rest == ' ');
}

static void
resolve_stream(struct rfl_resolve *r, struct rfl_section *s)
{
	struct rfl_conf_plugin plugin;
	struct rfl_entry *e = NULL;
	const struct rfl_provider_conf *provider = provider_of(r, s, &e);
	const char *type = rfl_resolve_key(r, s, "content-type").u.s;
	const char *topic = rfl_resolve_key(r, s, "topic").u.s;
	uint32_t partitions = (uint32_t)rfl_resolve_key(r, s, "partitions").u.i;
	int64_t provision = rfl_resolve_key(r, s, "provision").u.i;
	const struct riffle_value encoding = rfl_resolve_key(r, s, "encoding");
	int64_t compat = rfl_resolve_key(r, s, "compat").u.i;
	if (type != NULL && !is_media_type(type))
		rfl_entry_error(&r->doc, rfl_entry_of(s, "content-type"), "C124",
			"application/json, text/plain, ...", "'%s' is no content type", type);
	if (provider == NULL)
		return;
	struct rfl_stream_conf *stream = rfl_arena_alloc(r->arena, sizeof *stream);
	stream->name = s->name;
	stream->place = s->place;
	stream->provider = provider;
	stream->provision = (enum rfl_provision)provision;
	stream->encoding = (enum rfl_stream_encoding)encoding.u.i;
	if (!encoding.is_set)
		stream->encoding = provider->capabilities & RIFFLE_WANTS_ENVELOPE
					   ? RFL_ENCODING_CLOUDEVENTS
					   : RFL_ENCODING_NONE;
	stream->compat_riff = compat != 0;
	stream->stream = (struct riffle_stream){
		.size = sizeof stream->stream,
		.partitions = partitions,
		.name = s->name,
		.topic = topic ? topic
			       : rfl_arena_sprintf(
					 r->arena, "%s_%s", r->conf->runtime.namespace, s->name),
		.content_type = type ? type : "application/octet-stream",
		.config = &stream->config,
	};
	if (rfl_resolve_plugin(r, s, e, RIFFLE_KIND_PROVIDER, provider->type, &plugin) < 0)
		return;
	stream->config.stream = &stream->stream;
	stream->config.provider = &provider->config;
	rfl_resolve_options(r, s, &plugin, RIFFLE_SECTION_STREAM, &stream->config);
	r->conf->streams[r->conf->stream_count++] = stream;
}

static void
resolve_function(struct rfl_resolve *r, struct rfl_section *s)
{
	struct rfl_conf_plugin plugin;
	struct riffle_value invoker = rfl_resolve_key(r, s, "invoker");
	int64_t timeout_ms = rfl_resolve_key(r, s, "timeout").u.i;
	if (invoker.u.s == NULL || rfl_resolve_plugin(r, s, rfl_entry_of(s, "invoker"),
					   RIFFLE_KIND_INVOKER, invoker.u.s, &plugin) < 0)
		return;
	struct rfl_function_conf *f = rfl_arena_alloc(r->arena, sizeof *f);
	*f = (struct rfl_function_conf){.name = s->name,
		.invoker = rfl_arena_strdup(r->arena, invoker.u.s),
		.place = s->place,
		.timeout_ms = timeout_ms};
	f->capabilities = rfl_resolve_options(r, s, &plugin, RIFFLE_SECTION_FUNCTION, &f->config);
	r->conf->functions[r->conf->function_count++] = f;
}

/* A near word is the likely one; else the key may stand in the wrong section. */
void
rfl_unknown_key(struct rfl_resolve *r, struct rfl_section *s, struct rfl_entry *e,
	const char *const *words, size_t count)
{
	size_t kinds;
	const char *const *names = rfl_section_kinds(&kinds);
	const char *near = rfl_value_nearest(e->key, words, count);
	char *hint = near ? rfl_arena_sprintf(r->arena, "did you mean '%s'?", near) : NULL;
	for (size_t i = 0; i < kinds && hint == NULL; i++) {
		const struct rfl_keys *other = rfl_keys_of(names[i]);
		if (other != NULL && rfl_key_find(other, e->key) != NULL)
			hint = rfl_arena_sprintf(r->arena, "'%s' is a key of [%s%s]", e->key,
				names[i], strcmp(names[i], "runtime") == 0 ? "" : " ...");
	}
	rfl_key_error(&r->doc, e, "C103", hint, "unknown key '%s' in [%s%s%s]", e->key, s->kind,
		s->name[0] ? " " : "", s->name);
}

/* How the name would have to be written, where that is only a matter of case and dashes. */
static const char *
name_hint(struct rfl_resolve *r, const struct rfl_section *s)
{
	char *name = rfl_arena_strdup(r->arena, s->name);
	if (name[0] == '\0')
		return rfl_arena_sprintf(r->arena, "[%s NAME]", s->kind);
	for (char *p = name; *p != '\0'; p++)
		*p = *p == '_' || *p == ' ' || *p == '.' ? '-' : (char)tolower((unsigned char)*p);
	if (!rfl_value_is_label(name))
		return "a-z, 0-9 and '-', at most 63";
	return rfl_arena_sprintf(r->arena, "did you mean [%s %s]?", s->kind, name);
}

/* Kinds and names of sections; keys of the sections that are the core's alone, or not offered yet. */
static void
check_section(struct rfl_resolve *r, struct rfl_section *s)
{
	const struct rfl_keys *k = rfl_keys_of(s->kind);
	size_t kinds;
	const char *const *words = rfl_section_kinds(&kinds);
	if (k == NULL) {
		const char *near = rfl_value_nearest(s->kind, words, kinds);
		char *hint = near ? rfl_arena_sprintf(r->arena, "did you mean '%s'?", near) : NULL;
		rfl_section_error(&r->doc, s, "C101", hint, "unknown section [%s]", s->kind);
		return;
	}
	int is_runtime = strcmp(s->kind, "runtime") == 0;
	if (is_runtime ? s->name[0] != '\0' : !rfl_value_is_label(s->name))
		rfl_section_error(&r->doc, s, "C106", is_runtime ? "[runtime]" : name_hint(r, s),
			"'%s' is no name for a [%s]", s->name, s->kind);
	int has_plugin =
		strcmp(s->kind, "processor") != 0 && strcmp(s->kind, "test") != 0 && !is_runtime;
	for (size_t i = 0; i < s->entry_count && k->keys != NULL; i++) {
		struct rfl_entry *e = &s->entries[i];
		const struct riffle_option *o = rfl_key_find(k, e->key);
		if (o != NULL && (o->flags & RFL_KEY_NOT_YET)) {
			rfl_key_error(&r->doc, e, "C107", NULL,
				"'%s' is not offered by this version", e->key);
		} else if (o == NULL && !has_plugin) {
			const char *names[64];
			for (size_t n = 0; n < k->count; n++)
				names[n] = k->keys[n].name;
			rfl_unknown_key(r, s, e, names, k->count);
		}
	}
}

static void
each_section(struct rfl_resolve *r, const char *kind,
	void (*resolve)(struct rfl_resolve *, struct rfl_section *))
{
	for (size_t i = 0; i < r->doc.section_count; i++)
		if (strcmp(r->doc.sections[i].kind, kind) == 0)
			resolve(r, &r->doc.sections[i]);
}

static void
read_files(struct rfl_resolve *r, const struct rfl_conf_request *request)
{
	char *cwd = realpath(".", NULL);
	read_one(&r->doc, request->file, 0);
	/* What `create` wrote comes after the operator's own files, so where state is must be known. */
	struct rfl_section *s = runtime_section(r);
	struct riffle_value v = rfl_resolve_key(r, s, "state-dir");
	char *pattern = rfl_arena_sprintf(
		r->arena, "%s/conf.d/*.ini", v.u.s ? v.u.s : default_state_dir(r));
	glob_t found;
	if (glob(pattern, 0, NULL, &found) == 0)
		for (size_t i = 0; i < found.gl_pathc; i++)
			read_one(&r->doc, found.gl_pathv[i], 0);
	globfree(&found);
	for (size_t i = 0; request->sets != NULL && request->sets[i] != NULL; i++)
		rfl_doc_set(&r->doc, request->sets[i], cwd ? cwd : "/");
	free(cwd);
}

int
rfl_conf_load(
	const struct rfl_conf_request *request, struct rfl_diags *diags, struct rfl_conf **ret_conf)
{
	struct rfl_conf_memory *arena = rfl_arena_create();
	struct rfl_conf *c = rfl_arena_alloc(arena, sizeof *c);
	struct rfl_resolve r = {.conf = c,
		.arena = arena,
		.finder = request->finder,
		.calls_nothing = request->calls_nothing,
		.doc = {.arena = arena, .diags = diags}};
	c->memory = arena;
	char *full = realpath(request->file, NULL);
	c->file = rfl_arena_strdup(arena, full ? full : request->file);
	free(full);
	read_files(&r, request);
	size_t n = r.doc.section_count + 1;
	c->providers = rfl_arena_alloc(arena, n * sizeof(void *));
	c->streams = rfl_arena_alloc(arena, n * sizeof(void *));
	c->functions = rfl_arena_alloc(arena, n * sizeof(void *));
	c->processors = rfl_arena_alloc(arena, n * sizeof(void *));
	c->tests = rfl_arena_alloc(arena, n * sizeof(void *));
	for (size_t i = 0; i < r.doc.section_count; i++)
		check_section(&r, &r.doc.sections[i]);
	resolve_runtime(&r);
	each_section(&r, "provider", resolve_provider);
	each_section(&r, "stream", resolve_stream);
	each_section(&r, "function", resolve_function);
	each_section(&r, "processor", rfl_resolve_processor);
	each_section(&r, "test", rfl_resolve_test);
	rfl_resolve_check(&r);
	/* state-dir is looked at twice, before the files of `create` are read and after. */
	rfl_diags_sort(diags);
	rfl_doc_fini(&r.doc);
	if (diags->errors > 0) {
		rfl_arena_destroy(arena);
		return r.plugin_refused ? RIFFLE_E_UNSUPPORTED : RIFFLE_E_CONFIG;
	}
	*ret_conf = c;
	return RIFFLE_OK;
}

void
rfl_conf_free(struct rfl_conf *c)
{
	if (c != NULL)
		rfl_arena_destroy(c->memory);
}

size_t
rfl_conf_destinations(const struct rfl_processor_conf *p, const struct rfl_stream_conf **list)
{
	size_t n = 0;
	for (; n < p->output_count; n++)
		list[n] = p->outputs[n].stream;
	if (p->late_stream != NULL)
		list[n++] = p->late_stream;
	if (p->on_error.dead_letter != NULL)
		list[n++] = p->on_error.dead_letter;
	return n;
}

char *
rfl_conf_group(const struct rfl_processor_conf *p, const struct rfl_provider_conf *provider)
{
	return provider == p->inputs[0].stream->provider
		       ? rfl_strdup(p->group)
		       : rfl_sprintf("%s.%s", p->group, provider->name);
}

const struct rfl_stream_conf *
rfl_conf_stream(const struct rfl_conf *c, const char *name)
{
	for (size_t i = 0; i < c->stream_count; i++)
		if (strcmp(c->streams[i]->name, name) == 0)
			return c->streams[i];
	return NULL;
}

const struct rfl_provider_conf *
rfl_conf_provider(const struct rfl_conf *c, const char *name)
{
	for (size_t i = 0; i < c->provider_count; i++)
		if (strcmp(c->providers[i]->name, name) == 0)
			return c->providers[i];
	return NULL;
}

char *
rfl_conf_default_file(void)
{
	static const char *const places[] = {
		"riffle.ini", RIFFLE_SYSCONF_DIR "/riffle.ini", "/etc/riffle/riffle.ini"};
	const char *env = getenv("RIFFLE_CONFIG");
	if (env != NULL && env[0] != '\0')
		return rfl_strdup(env);
	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
		if (access(places[i], R_OK) == 0)
			return rfl_strdup(places[i]);
	return NULL;
}
