/*
 * Time, injected. The monotonic clock drives everything that lasts; the wall clock is read once, at
 * start, and runs on with the monotonic one, so that a jump of the wall clock neither closes nor
 * stretches a window. A test makes a manual clock and turns it.
 */
#ifndef RFL_BASE_CLOCK_H
#define RFL_BASE_CLOCK_H

#include <stdint.h>

struct rfl_clock {
	int64_t wall_base_ms; /* wall time at mono_base_ns */
	int64_t mono_base_ns;
	int64_t manual_ns;
	int manual;
};

void rfl_clock_init(struct rfl_clock *c);                         /* the system's */
void rfl_clock_init_manual(struct rfl_clock *c, int64_t wall_ms); /* stands still until advanced */
void rfl_clock_advance(struct rfl_clock *c, int64_t ns);          /* manual clocks only */
int64_t rfl_clock_mono_ns(const struct rfl_clock *c);
int64_t rfl_clock_wall_ms(const struct rfl_clock *c);

#endif
