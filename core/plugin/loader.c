/* libltdl with a loader of our own in it. */
#include "plugin/loader.h"

#include "base/error.h"
#include "base/mem.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <ltdl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct rfl_object {
	lt_dlhandle handle;
};

static char last_error[RIFFLE_ERROR_TEXT];

#if defined(__x86_64__)
#define OUR_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define OUR_MACHINE EM_AARCH64
#elif defined(__riscv)
#define OUR_MACHINE EM_RISCV
#else
#define OUR_MACHINE EM_NONE
#endif

/*
 * glibc says "No such file or directory" for an object of another architecture, so the header is
 * looked at before. Returns 0 when it is none of ours to judge.
 */
static int
other_machine(const char *path)
{
	unsigned char h[EI_NIDENT + 4] = {0};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t got = read(fd, h, sizeof h);
	close(fd);
	if (got != (ssize_t)sizeof h || memcmp(h, ELFMAG, SELFMAG) != 0 || OUR_MACHINE == EM_NONE)
		return 0;
	int machine = h[18] | h[19] << 8;
	return machine != OUR_MACHINE ||
	       h[EI_CLASS] != (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32);
}

/* The linker's words mostly begin with the path, which our callers say themselves. */
static void
keep_error(const char *path, const char *why)
{
	size_t len = strlen(path);
	if (why == NULL)
		why = "no reason given";
	else if (strncmp(why, path, len) == 0 && strncmp(why + len, ": ", 2) == 0)
		why += len + 2;
	snprintf(last_error, sizeof last_error, "%s", why);
}

static lt_module
open_now(lt_user_data data, const char *path, lt_dladvise advise)
{
	(void)data;
	(void)advise;
	if (path == NULL)
		return dlopen(NULL, RTLD_NOW | RTLD_LOCAL);
	if (other_machine(path)) {
		snprintf(last_error, sizeof last_error, "built for another kind of machine");
		return NULL;
	}
	void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (h == NULL)
		keep_error(path, dlerror());
	return h;
}

static int
close_now(lt_user_data data, lt_module module)
{
	(void)data;
	return dlclose(module);
}

static void *
symbol_now(lt_user_data data, lt_module module, const char *name)
{
	(void)data;
	return dlsym(module, name);
}

static const lt_dlvtable our_loader = {
	.name = "riffle-now",
	.sym_prefix = NULL,
	.module_open = open_now,
	.module_close = close_now,
	.find_sym = symbol_now,
	.priority = LT_DLLOADER_PREPEND,
};

int
rfl_loader_init(struct riffle_error *reterr)
{
	if (lt_dlinit() != 0)
		return rfl_err(reterr, RIFFLE_E_FATAL, "cannot start libltdl: %s", lt_dlerror());
	if (lt_dlloader_find("riffle-now") != NULL)
		return RIFFLE_OK;
	if (lt_dlloader_add(&our_loader) != 0)
		return rfl_err(
			reterr, RIFFLE_E_FATAL, "cannot add a loader to libltdl: %s", lt_dlerror());
	/* With the stock loader still there, what ours refuses would be opened lazily by it. */
	lt_dlloader_remove("lt_dlopen");
	return RIFFLE_OK;
}

void
rfl_loader_fini(void)
{
	lt_dlexit();
}

int
rfl_object_open(const char *path, struct rfl_object **ret_object, struct riffle_error *reterr)
{
	lt_dladvise advise;
	last_error[0] = '\0';
	if (lt_dladvise_init(&advise) != 0 || lt_dladvise_local(&advise) != 0)
		return rfl_err(reterr, RIFFLE_E_FATAL, "libltdl: %s", lt_dlerror());
	lt_dlhandle h = lt_dlopenadvise(path, advise);
	const char *general = h == NULL ? lt_dlerror() : NULL;
	lt_dladvise_destroy(&advise);
	if (h == NULL)
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED, "%s",
			last_error[0] != '\0' ? last_error : general);
	struct rfl_object *o = rfl_alloc(sizeof *o);
	o->handle = h;
	*ret_object = o;
	return RIFFLE_OK;
}

void *
rfl_object_symbol(struct rfl_object *o, const char *name)
{
	return lt_dlsym(o->handle, name);
}

void
rfl_object_keep(struct rfl_object *o)
{
	lt_dlmakeresident(o->handle);
	free(o);
}

void
rfl_object_close(struct rfl_object *o)
{
	lt_dlclose(o->handle);
	free(o);
}
