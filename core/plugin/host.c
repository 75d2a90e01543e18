/* The host's services to one plugin instance, and the counting of batches. */
#include "plugin/host.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "plugin/guard.h"

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

static int
may_count(const struct riffle_host *host, const struct riffle_batch *batch, const char *function)
{
	const struct rfl_host *h = host->ctx;
	if (h->guard == NULL)
		return 1;
	if (h->is_creating)
		rfl_guard_breach(h->guard, "G11", function, "was called in create");
	else if (batch == NULL)
		rfl_guard_breach(h->guard, "G10", function, "was given no batch");
	else
		return 1;
	return 0;
}

static void
host_batch_ref(const struct riffle_host *host, struct riffle_batch *batch)
{
	if (!may_count(host, batch, "batch_ref"))
		return;
	__atomic_add_fetch(&batch->host[1], 1, __ATOMIC_RELAXED);
	rfl_batch_ref(batch);
}

static void
host_batch_unref(const struct riffle_host *host, struct riffle_batch *batch)
{
	const struct rfl_host *h = host->ctx;
	if (!may_count(host, batch, "batch_unref"))
		return;
	if (__atomic_fetch_sub(&batch->host[1], 1, __ATOMIC_RELAXED) != 0) {
		rfl_batch_unref(batch);
		return;
	}
	__atomic_add_fetch(&batch->host[1], 1, __ATOMIC_RELAXED);
	if (h->guard != NULL)
		rfl_guard_breach(h->guard, "G10", "batch_unref",
			"let go of a batch of %u records that no plugin holds",
			batch->record_count);
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

/* A relaxed increment is enough: who increments holds a reference already. */
void
rfl_batch_take(struct riffle_batch *b)
{
	__atomic_store_n(&b->host[1], 0, __ATOMIC_RELAXED);
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
