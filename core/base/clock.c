/* The two clocks and their manual stand-in. */
#include "base/clock.h"

#include "base/check.h"

#include <time.h>

static int64_t
read_ns(clockid_t id)
{
	struct timespec ts;
	rfl_assert(clock_gettime(id, &ts) == 0);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

void
rfl_clock_init(struct rfl_clock *c)
{
	*c = (struct rfl_clock){
		.wall_base_ms = read_ns(CLOCK_REALTIME) / 1000000,
		.mono_base_ns = read_ns(CLOCK_MONOTONIC),
	};
}

void
rfl_clock_init_manual(struct rfl_clock *c, int64_t wall_ms)
{
	*c = (struct rfl_clock){.wall_base_ms = wall_ms, .manual = 1};
}

void
rfl_clock_advance(struct rfl_clock *c, int64_t ns)
{
	rfl_assert(c->manual && ns >= 0);
	c->manual_ns += ns;
}

int64_t
rfl_clock_mono_ns(const struct rfl_clock *c)
{
	return c->manual ? c->manual_ns : read_ns(CLOCK_MONOTONIC);
}

int64_t
rfl_clock_wall_ms(const struct rfl_clock *c)
{
	return c->wall_base_ms + (rfl_clock_mono_ns(c) - c->mono_base_ns) / 1000000;
}
