/* A host small enough to read: what a plugin's unit program loads it with. Counts references. */
#ifndef RFL_TESTS_UNIT_PLUGIN_HOST_H
#define RFL_TESTS_UNIT_PLUGIN_HOST_H

#include <riffle/riffle.h>

#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t
now_ns(const struct riffle_host *host)
{
	struct timespec ts;
	(void)host;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static char last_log[512];
static unsigned log_lines;

static int
log_enabled(const struct riffle_host *host, int level)
{
	(void)host, (void)level;
	return 1;
}

static void
take_log(const struct riffle_host *host, int level, const char *text)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	(void)host, (void)level;
	pthread_mutex_lock(&lock);
	snprintf(last_log, sizeof last_log, "%s", text);
	log_lines++;
	pthread_mutex_unlock(&lock);
}

static void
batch_ref(const struct riffle_host *host, struct riffle_batch *b)
{
	(void)host;
	__atomic_add_fetch(&b->host[0], 1, __ATOMIC_RELAXED);
}

static void
batch_unref(const struct riffle_host *host, struct riffle_batch *b)
{
	(void)host;
	if (__atomic_sub_fetch(&b->host[0], 1, __ATOMIC_ACQ_REL) == 0)
		b->release(b);
}

static const struct riffle_host host = {
	.size = sizeof host,
	.abi_major = RIFFLE_ABI_MAJOR,
	.abi_minor = RIFFLE_ABI_MINOR,
	.log_enabled = log_enabled,
	.log = take_log,
	.mono_ns = now_ns,
	.batch_ref = batch_ref,
	.batch_unref = batch_unref,
};

/* The one that is loaded. */
static const struct riffle_plugin *plugin;

/* The first plugin of an object in the build tree. */
static inline const struct riffle_plugin *
load_plugin(const char *path)
{
	char full[4096];
	void *symbol;
	riffle_module_fn *entry;
	const char *build = getenv("RIFFLE_BUILD");
	snprintf(full, sizeof full, "%s/%s", build ? build : ".", path);
	void *object = dlopen(full, RTLD_NOW | RTLD_LOCAL);
	if (object == NULL || (symbol = dlsym(object, RIFFLE_MODULE_SYMBOL)) == NULL) {
		fprintf(stderr, "%s: %s\n", full, dlerror());
		exit(1);
	}
	memcpy(&entry, &symbol, sizeof entry);
	return plugin = entry()->plugins[0];
}

static inline struct riffle_bytes
bytes(const char *s)
{
	return (struct riffle_bytes){s, s ? strlen(s) : 0};
}

/* Only what never comes takes so long, be the machine however slow. */
#define EVENTUALLY_S 60
/* Upper bound of what waits for nobody; what it is told from lasts longer still. */
#define SOON_NS INT64_C(30000000000)

/* What the host's thread does while it waits; NULL = nothing. */
static void (*meanwhile)(void);

/* Polls until done says so, or so many seconds have passed. */
static inline int
eventually(int (*done)(void *ctx), void *ctx)
{
	int64_t end = now_ns(NULL) + EVENTUALLY_S * INT64_C(1000000000);
	while (!done(ctx)) {
		if (now_ns(NULL) > end)
			return 0;
		if (meanwhile != NULL)
			meanwhile();
		poll(NULL, 0, 1);
	}
	return 1;
}

#endif
