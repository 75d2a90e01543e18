/* Names and memory of the status. */
#include "runtime/status.h"

#include <stdlib.h>

const char *
rfl_state_name(enum rfl_state s)
{
	static const char *const names[] = {
		"starting", "running", "stopped", "failed", "draining", "drained"};
	return names[s];
}

static void
free_task(struct rfl_task_status *t)
{
	for (size_t i = 0; i < t->lane_count; i++) {
		free(t->lanes[i].alias);
		free(t->lanes[i].stream);
	}
	free(t->lanes);
	free(t->why);
	free(t->waits_for);
}

void
rfl_status_fini_processor(struct rfl_processor_status *p)
{
	for (size_t k = 0; k < p->task_count; k++)
		free_task(&p->tasks[k]);
	free(p->tasks);
	free(p->name);
	free(p->function);
	free(p->why);
}

void
rfl_status_free(struct rfl_status *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->processor_count; i++)
		rfl_status_fini_processor(&s->processors[i]);
	free(s->processors);
	free(s);
}
