/*
 * The host as one instance of a plugin sees it: its services, its reference counts, its name in the
 * log. One per [provider] or [function] section.
 */
#ifndef RFL_PLUGIN_HOST_H
#define RFL_PLUGIN_HOST_H

#include "base/clock.h"

#include <riffle/host.h>

struct rfl_guard;

struct rfl_host {
	struct riffle_host abi;  /* what the plugin gets */
	struct rfl_guard *guard; /* NULL = none */
	int is_creating;         /* in create, where batches are not for the plugin yet */
	char *what;              /* "provider local": in front of each of its log lines */
	const struct rfl_clock *clock;
};

void rfl_host_init(struct rfl_host *h, const char *what, const struct rfl_clock *clock);
void rfl_host_fini(struct rfl_host *h);

/*
 * Batches are counted in their host words: all references in the first, those that plugins hold by
 * batch_ref in the second, so that one unref too many is found before it takes somebody else's. take claims the one reference a fresh batch comes with;
 * ref and unref may be called on any thread; the last unref runs release.
 */
void rfl_batch_take(struct riffle_batch *b);
void rfl_batch_ref(struct riffle_batch *b);
void rfl_batch_unref(struct riffle_batch *b); /* NULL is a no-op */

#endif
