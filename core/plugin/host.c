/* The host's services to one plugin instance, and the counting of batches. */
#include "plugin/host.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"

#include <riffle/abi.h>
#include <stdlib.h>

static int
host_log_enabled(const struct riffle_host *host, int level)
{
	(void)host;
	return rfl_log_enabled(level);
}

static void
host_log(const struct riffle_host *host, int level, const char *text)
{
	const struct rfl_host *h = host->ctx;
	int serious = level <= RIFFLE_LOG_WARNING;
	rfl_log(level, serious ? "P001" : "", h->what, "%s", text);
}

static int64_t
host_mono_ns(const struct riffle_host *host)
{
	const struct rfl_host *h = host->ctx;
	return rfl_clock_mono_ns(h->clock);
}

static void
host_batch_ref(const struct riffle_host *host, struct riffle_batch *batch)
{
	(void)host;
	rfl_batch_ref(batch);
}

static void
host_batch_unref(const struct riffle_host *host, struct riffle_batch *batch)
{
	(void)host;
	rfl_batch_unref(batch);
}

static const void *
host_extension(const struct riffle_host *host, const char *id)
{
	(void)host;
	(void)id;
	return NULL;
}

void
rfl_host_init(struct rfl_host *h, const char *what, const struct rfl_clock *clock)
{
	*h = (struct rfl_host){
		.abi =
			{
				.size = sizeof h->abi,
				.abi_major = RIFFLE_ABI_MAJOR,
				.abi_minor = RIFFLE_ABI_MINOR,
				.ctx = h,
				.product = "riffle",
				.version = RFL_VERSION,
				.log_enabled = host_log_enabled,
				.log = host_log,
				.mono_ns = host_mono_ns,
				.batch_ref = host_batch_ref,
				.batch_unref = host_batch_unref,
				.extension = host_extension,
			},
		.what = rfl_strdup(what),
		.clock = clock,
	};
}

void
rfl_host_fini(struct rfl_host *h)
{
	free(h->what);
	h->what = NULL;
}

/* host[0] is the count. A relaxed increment is enough: who increments holds a reference already. */
void
rfl_batch_take(struct riffle_batch *b)
{
	__atomic_store_n(&b->host[0], 1, __ATOMIC_RELAXED);
}

void
rfl_batch_ref(struct riffle_batch *b)
{
	__atomic_add_fetch(&b->host[0], 1, __ATOMIC_RELAXED);
}

void
rfl_batch_unref(struct riffle_batch *b)
{
	if (b == NULL)
		return;
	if (__atomic_sub_fetch(&b->host[0], 1, __ATOMIC_ACQ_REL) == 0)
		b->release(b);
}
