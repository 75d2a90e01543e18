/*
 * Tasks of a processor whose partitions are away: kept, within the memory of one task, for when they come
 * back. Those that went first are dropped first.
 */
#include "base/mem.h"
#include "runtime/processor_private.h"

#include <stdlib.h>
#include <string.h>

static void
drop(struct rfl_processor *p, size_t at)
{
	struct rfl_task *t = p->warm[at];
	rfl_task_abandon(t);
	rfl_task_destroy(t);
	memmove(p->warm + at, p->warm + at + 1, (--p->warm_count - at) * sizeof(struct rfl_task *));
}

void
rfl_processor_keep_warm(struct rfl_processor *p, struct rfl_task *t)
{
	size_t bytes = 0;
	rfl_grow(&p->warm, &p->warm_room, p->warm_count + 1, sizeof(struct rfl_task *));
	p->warm[p->warm_count++] = t;
	for (size_t i = p->warm_count; i-- > 0;) {
		bytes += rfl_task_bytes(p->warm[i]);
		if (bytes > p->task_spec.memory_bytes)
			drop(p, i);
	}
}

struct rfl_task *
rfl_processor_take_warm(struct rfl_processor *p, int32_t partition,
	const struct rfl_task_lane *lanes, const struct riffle_bytes *metadata, size_t lane_count)
{
	for (size_t i = 0; i < p->warm_count; i++) {
		struct rfl_task *t = p->warm[i];
		if (rfl_task_lane(t, 0)->partition != partition)
			continue;
		if (!rfl_task_resume(t, lanes, metadata, lane_count)) {
			drop(p, i);
			return NULL;
		}
		memmove(p->warm + i, p->warm + i + 1,
			(--p->warm_count - i) * sizeof(struct rfl_task *));
		return t;
	}
	return NULL;
}

void
rfl_processor_drop_warm(struct rfl_processor *p)
{
	while (p->warm_count > 0)
		drop(p, p->warm_count - 1);
}
