/* The plugins of this process: found by kind and name, loaded once, kept. */
#include "plugin/plugin.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/error.h"
#include "base/mem.h"
#include "plugin/descriptor.h"
#include "plugin/loader.h"
#include "plugin/place.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PLUGINS_MAGIC 0x504c4753u

struct loaded {
	dev_t dev;
	ino_t ino;
	char *path;
};

struct rfl_plugins {
	uint32_t magic;
	struct rfl_plugin *first;
	struct loaded *files;
	size_t file_count, file_room;
};

struct rfl_plugins *
rfl_plugins_create(void)
{
	struct rfl_plugins *p = rfl_zalloc(sizeof *p);
	p->magic = PLUGINS_MAGIC;
	return p;
}

void
rfl_plugins_destroy(struct rfl_plugins *p)
{
	if (p == NULL)
		return;
	RFL_CHECK(p, PLUGINS_MAGIC);
	RFL_RETIRE(p);
	while (p->first != NULL) {
		struct rfl_plugin *next = p->first->next;
		rfl_descriptor_free(p->first);
		p->first = next;
	}
	for (size_t i = 0; i < p->file_count; i++)
		free(p->files[i].path);
	free(p->files);
	free(p);
}

const struct rfl_plugin *
rfl_plugins_first(const struct rfl_plugins *p)
{
	return p->first;
}

static const struct rfl_plugin *
lookup(const struct rfl_plugins *p, uint32_t kind, const char *name)
{
	for (const struct rfl_plugin *i = p->first; i != NULL; i = i->next)
		if (i->kind == kind && strcmp(i->name, name) == 0)
			return i;
	return NULL;
}

static int
is_loaded(const struct rfl_plugins *p, const struct stat *st, struct riffle_error *reterr)
{
	for (size_t i = 0; i < p->file_count; i++)
		if (p->files[i].dev == st->st_dev && p->files[i].ino == st->st_ino)
			return rfl_err(reterr, RIFFLE_E_UNSUPPORTED, "already loaded as %s [R02]",
				p->files[i].path);
	return RIFFLE_OK;
}

static int
entry_of(struct rfl_object *o, riffle_module_fn **ret_entry, struct riffle_error *reterr)
{
	void *sym = rfl_object_symbol(o, RIFFLE_MODULE_SYMBOL);
	if (sym != NULL) {
		memcpy(ret_entry, &sym, sizeof sym);
		return RIFFLE_OK;
	}
	for (int v = 0; v < 10; v++) {
		char name[] = RIFFLE_MODULE_SYMBOL_PREFIX "0";
		name[sizeof name - 2] = (char)('0' + v);
		if (rfl_object_symbol(o, name) != NULL)
			return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
				"built for plugin ABI %d, this program speaks %u.%u [R04]", v,
				RIFFLE_ABI_MAJOR, RIFFLE_ABI_MINOR);
	}
	return rfl_err(reterr, RIFFLE_E_UNSUPPORTED, "not a riffle plugin [R04]");
}

/* Reads and copies everything before anything is accepted, so that a refusal leaves nothing behind. */
static int
read_module(struct rfl_plugins *p, struct rfl_object *o, struct rfl_plugin **ret_list,
	struct riffle_error *reterr)
{
	riffle_module_fn *entry;
	Dl_info info;
	struct rfl_plugin *list = NULL;
	int rc = entry_of(o, &entry, reterr);
	if (rc < 0)
		return rc;
	void *address;
	memcpy(&address, &entry, sizeof address);
	rfl_assert(dladdr(address, &info) != 0);
	const struct riffle_module *m = entry();
	rc = rfl_module_check(m, info.dli_fbase, reterr);
	for (uint32_t i = 0; rc == RIFFLE_OK && i < m->plugin_count; i++) {
		struct rfl_plugin *one;
		rc = rfl_descriptor_copy(m, i, info.dli_fbase, &one, reterr);
		if (rc < 0)
			break;
		one->next = list;
		list = one;
		const struct rfl_plugin *same = lookup(p, one->kind, one->name);
		for (const struct rfl_plugin *k = one->next; k != NULL && same == NULL; k = k->next)
			if (k->kind == one->kind && strcmp(k->name, one->name) == 0)
				same = k;
		if (same != NULL)
			rc = rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
				"%s \"%s\" is there already%s%s [R10]", rfl_kind_name(one->kind),
				one->name, same->file ? ", from " : "",
				same->file ? same->file : "");
	}
	if (rc == RIFFLE_OK) {
		*ret_list = list;
		return RIFFLE_OK;
	}
	while (list != NULL) {
		struct rfl_plugin *next = list->next;
		rfl_descriptor_free(list);
		list = next;
	}
	return rc;
}

static void
accept_all(struct rfl_plugins *p, struct rfl_plugin *list, const char *path, const struct stat *st)
{
	while (list != NULL) {
		struct rfl_plugin *next = list->next;
		list->file = rfl_strdup(path);
		list->next = p->first;
		p->first = list;
		list = next;
	}
	rfl_grow(&p->files, &p->file_room, p->file_count + 1, sizeof *p->files);
	p->files[p->file_count++] =
		(struct loaded){.dev = st->st_dev, .ino = st->st_ino, .path = rfl_strdup(path)};
}

/* path is resolved and may be loaded. */
static int
load(struct rfl_plugins *p, const char *path, const struct stat *st, struct riffle_error *reterr)
{
	struct rfl_object *o;
	struct rfl_plugin *list = NULL;
	int rc = is_loaded(p, st, reterr);
	if (rc == RIFFLE_OK)
		rc = rfl_loader_init(reterr);
	if (rc < 0)
		return rc;
	rc = rfl_object_open(path, &o, reterr);
	if (rc < 0) {
		struct riffle_error why = *reterr;
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED, "%.200s (see ldd) [R03]", why.text);
	}
	rc = read_module(p, o, &list, reterr);
	if (rc < 0) {
		rfl_object_close(o);
		return rc;
	}
	accept_all(p, list, path, st);
	rfl_object_keep(o);
	return RIFFLE_OK;
}

int
rfl_plugin_refused(struct riffle_error *reterr, int code, const char *path, const char *why)
{
	static const char form[] = "plugin refused: : ", cut[] = "...";
	size_t room = sizeof reterr->text - sizeof form - strnlen(why, RIFFLE_ERROR_TEXT - 80);
	size_t len = strlen(path);
	const char *tail = len > room ? path + len - (room - strlen(cut)) : path;
	return rfl_err(
		reterr, code, "plugin refused: %s%s: %s", tail == path ? "" : cut, tail, why);
}

int
rfl_plugins_load(struct rfl_plugins *p, const struct rfl_plugin_places *places, const char *path,
	struct riffle_error *reterr)
{
	RFL_CHECK(p, PLUGINS_MAGIC);
	struct riffle_error why;
	struct stat st;
	char *resolved = NULL;
	int rc = rfl_place_check(places, path, &resolved, &st, &why);
	if (rc == RIFFLE_OK)
		rc = load(p, resolved, &st, &why);
	free(resolved);
	return rc < 0 ? rfl_plugin_refused(reterr, rc, path, why.text) : rc;
}

static int
not_found(uint32_t kind, const char *name, char *const *dirs, struct riffle_error *reterr)
{
	struct rfl_buf where = RFL_BUF_INIT;
	for (; *dirs != NULL; dirs++)
		rfl_buf_printf(&where, "%s%s", where.len ? ", " : "", *dirs);
	rfl_err(reterr, RIFFLE_E_NOTFOUND, "no %s \"%s\" in %s", rfl_kind_name(kind), name,
		where.len ? rfl_buf_str(&where) : "any plugin directory (none is set)");
	rfl_buf_fini(&where);
	return RIFFLE_E_NOTFOUND;
}

int
rfl_plugins_find(struct rfl_plugins *p, uint32_t kind, const char *name,
	const struct rfl_plugin_places *places, const struct rfl_plugin **ret_plugin,
	struct riffle_error *reterr)
{
	RFL_CHECK(p, PLUGINS_MAGIC);
	const struct rfl_plugin *found = lookup(p, kind, name);
	if (found != NULL) {
		*ret_plugin = found;
		return RIFFLE_OK;
	}
	char *path = rfl_place_find(places, kind, name);
	if (path == NULL)
		return not_found(kind, name, places->dirs, reterr);
	int rc = rfl_plugins_load(p, places, path, reterr);
	found = rc < 0 ? NULL : lookup(p, kind, name);
	if (rc == RIFFLE_OK && found == NULL) {
		struct riffle_error why;
		rfl_err(&why, RIFFLE_E_UNSUPPORTED, "holds no %s \"%s\" [R10]", rfl_kind_name(kind),
			name);
		rc = rfl_plugin_refused(reterr, why.code, path, why.text);
	}
	free(path);
	if (rc < 0)
		return rc;
	*ret_plugin = found;
	return RIFFLE_OK;
}

static int
find_for_conf(void *ctx, uint32_t kind, const char *name, const struct rfl_plugin_places *places,
	struct rfl_conf_plugin *ret_plugin, struct riffle_error *reterr)
{
	const struct rfl_plugin *p;
	int rc = rfl_plugins_find(ctx, kind, name, places, &p, reterr);
	if (rc < 0)
		return rc;
	*ret_plugin = (struct rfl_conf_plugin){
		.name = p->name,
		.capabilities = p->capabilities,
		.tables = p->tables,
		.table_size = p->table_size,
		.table_count = p->table_count,
		.check =
			kind == RIFFLE_KIND_PROVIDER ? p->ops.provider.check : p->ops.invoker.check,
	};
	return RIFFLE_OK;
}

struct rfl_conf_finder
rfl_plugins_finder(struct rfl_plugins *p)
{
	return (struct rfl_conf_finder){.ctx = p, .find = find_for_conf};
}
