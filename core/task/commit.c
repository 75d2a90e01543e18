/* Which position a task may commit, with the tuple that lets a successor go on. */
#include "task/task_private.h"

#include "wire/tuple.h"

#include <string.h>

int
rfl_task_can_commit(const struct rfl_task *t)
{
	if (t->committing || t->sealed)
		return 0;
	for (size_t i = 0; i < t->lane_count; i++)
		if (t->lanes[i].settled > t->lanes[i].committed)
			return 1;
	return 0;
}

size_t
rfl_task_lane_count(const struct rfl_task *t)
{
	return t->lane_count;
}

/* On processing time the cut is a prefix of what was read, so low and hw are one. */
size_t
rfl_task_positions(const struct rfl_task *t, uint32_t source_index,
	struct riffle_position *positions, struct rfl_commit_text *texts)
{
	size_t n = 0;
	for (size_t i = 0; i < t->lane_count; i++) {
		const struct rfl_lane *lane = &t->lanes[i];
		if (lane->at.source_index != source_index)
			continue;
		const struct rfl_tuple tuple = {
			.seq = t->seq + 1,
			.settings = t->spec->settings,
			.hw = lane->settled,
			.frontier_ms = RFL_TUPLE_UNSET,
			.time_ms = RFL_TUPLE_UNSET,
		};
		rfl_tuple_encode(&tuple, texts[n].text);
		positions[n] = (struct riffle_position){
			.stream = lane->at.stream,
			.partition = lane->at.partition,
			.offset = lane->settled,
			.leader_epoch = lane->at.leader_epoch,
			.metadata = {texts[n].text, RFL_TUPLE_TEXT},
		};
		n++;
	}
	return n;
}

int
rfl_task_is_committing(const struct rfl_task *t)
{
	return t->committing;
}

void
rfl_task_commit_begin(struct rfl_task *t)
{
	rfl_assert(!t->committing);
	t->committing = 1;
	t->seq++;
	for (size_t i = 0; i < t->lane_count; i++)
		t->lanes[i].asked = t->lanes[i].settled;
}

/* Under exactly-once the windows of the transaction were kept until now. */
static void
let_go(struct rfl_task *t)
{
	struct rfl_pane *p;
	while ((p = rfl_list_first(&t->panes, struct rfl_pane, link)) != NULL &&
		p->state == RFL_PANE_SETTLED) {
		t->records_out += p->output_records;
		t->windows_done++;
		rfl_pane_destroy(p);
	}
}

void
rfl_task_commit_done(struct rfl_task *t)
{
	rfl_assert(t->committing);
	t->committing = 0;
	t->commits++;
	for (size_t i = 0; i < t->lane_count; i++)
		t->lanes[i].committed = t->lanes[i].asked;
	if (rfl_task_is_exactly_once(t))
		let_go(t);
}

void
rfl_task_commit_undone(struct rfl_task *t)
{
	struct rfl_pane *p;
	t->committing = 0;
	if (!rfl_task_is_exactly_once(t))
		return;
	rfl_list_foreach (p, &t->panes, struct rfl_pane, link) {
		if (p->state != RFL_PANE_SETTLED && p->outputs_sent == 0)
			continue;
		p->state = p->state == RFL_PANE_SETTLED ? RFL_PANE_DONE : p->state;
		p->outputs_sent = 0;
		p->sends_open = 0;
	}
	for (size_t i = 0; i < t->lane_count; i++)
		t->lanes[i].settled = t->lanes[i].committed;
}
