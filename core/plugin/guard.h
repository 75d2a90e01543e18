/*
 * The guard: what stands between the core and one instance of a plugin while it runs.
 *
 * It offers the same operations as the plugin, so the core calls a guarded instance as it would call a
 * bare one. On the way it looks at what a confused plugin gets wrong: statuses that do not exist, sizes
 * that cannot be, indexes out of range, answers to what was never asked, answers after the last one, two
 * threads at once, calls that do not return, functions that do not end once they were cancelled. A breach
 * is told once, with the plugin's section, the function and what it did (codes G01 to G12), and from then
 * on the instance is quarantined: the plugin gets no further call, its open calls end with E_FATAL, its
 * sources and sinks say an error and then that they are closed. What the plugin still holds is left to it; an invoker
 * whose work a worker did has its own thread back for that, by the one call that is still made (riffle/ext/turns.h).
 * The process goes on.
 */
#ifndef RFL_PLUGIN_GUARD_H
#define RFL_PLUGIN_GUARD_H

#include "conf/model.h"
#include "plugin/plugin.h"

#include <riffle/ext/transactions.h>
#include <riffle/ext/turns.h>

struct rfl_guard;

/*
 * For an instance of plugin that is to be created; what ("provider local") is copied. RFL_GUARD_DEBUG
 * lends copies in place of what is borrowed, and poisons them when the loan is over.
 */
struct rfl_guard *rfl_guard_create(
	const struct rfl_plugin *plugin, const char *what, enum rfl_guard_mode mode);
/* Of a quarantined instance, what open objects need stays behind. NULL is a no-op. */
void rfl_guard_destroy(struct rfl_guard *g);
/* Now self exists: the operations below take the guard for it. */
void rfl_guard_set_self(struct rfl_guard *g, void *self);
/* As the plugin's, with NULL where the plugin has none. Valid as long as the guard. */
const struct riffle_provider_ops *rfl_guard_provider(const struct rfl_guard *g);
const struct riffle_invoker_ops *rfl_guard_invoker(const struct rfl_guard *g);
/* The instance's transactions, guarded; NULL where it has none. */
const struct riffle_transactions *rfl_guard_transactions(struct rfl_guard *g);
/* The turns of an invoker, guarded; NULL where it has none. */
const struct riffle_turns *rfl_guard_turns(struct rfl_guard *g);

/* 1, and *ret_fault says what it did; any thread. ret_fault may be NULL. */
int rfl_guard_is_quarantined(const struct rfl_guard *g, struct riffle_error *ret_fault);
/* The instance broke the contract. Any thread; the first breach counts. */
void rfl_guard_breach(struct rfl_guard *g, const char *code, const char *function, const char *fmt,
	...) __attribute__((format(printf, 4, 5)));

/*
 * The watch. A worker's thread names its owner once; calls it makes into plugins are then timed by the
 * ticks of whoever calls rfl_guard_tick, once a second. After limit ticks in one call the instance is
 * quarantined and lost(ctx, owner) is called: the thread, should the call ever return, waits there for
 * ever, so what it owned can be given to another. A function's call that was cancelled and has not said
 * done for limit ticks quarantines its instance too: the calls end, and what the plugin borrowed stays until it
 * lets go.
 */
void rfl_guard_thread_owner(void *owner);
void rfl_guard_tick(uint32_t limit, void (*lost)(void *ctx, void *owner), void *ctx);

#endif
