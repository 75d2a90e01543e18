/* Committing: positions of all tasks of a processor together, alone or with their outputs. */
#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "runtime/processor_private.h"

#include <riffle/host.h>
#include <stdlib.h>

#define TXN_RETRY_NS ((int64_t)200 * 1000000)

static int
can_commit(const struct rfl_processor *p)
{
	for (size_t i = 0; i < p->task_count; i++)
		if (rfl_task_can_commit(p->tasks[i]))
			return 1;
	return 0;
}

static void
collect(const struct rfl_processor *p, uint32_t source, struct rfl_positions *out)
{
	size_t room = 0;
	for (size_t i = 0; i < p->task_count; i++)
		room += rfl_task_lane_count(p->tasks[i]);
	out->list = rfl_zalloc((room + 1) * sizeof *out->list);
	out->texts = rfl_alloc((room + 1) * sizeof *out->texts);
	out->count = 0;
	for (size_t i = 0; i < p->task_count; i++)
		if (rfl_task_can_commit(p->tasks[i]))
			out->count += (uint32_t)rfl_task_positions(p->tasks[i], source,
				out->list + out->count, out->texts + out->count);
}

static void
free_positions(struct rfl_positions *p)
{
	free(p->list);
	free(p->texts);
	*p = (struct rfl_positions){0};
}

/* The tasks that take part say so after the positions were collected, and none before. */
static void
begin_tasks(struct rfl_processor *p)
{
	for (size_t i = 0; i < p->task_count; i++)
		if (rfl_task_can_commit(p->tasks[i]))
			rfl_task_commit_begin(p->tasks[i]);
}

static void
end_tasks(struct rfl_processor *p, int committed)
{
	for (size_t i = 0; i < p->task_count; i++) {
		if (!rfl_task_is_committing(p->tasks[i]))
			continue;
		if (committed)
			rfl_task_commit_done(p->tasks[i]);
		else
			rfl_task_commit_undone(p->tasks[i]);
	}
}

/* Windows that were sent, and are not in a commit under way, are to be sent again. */
static void
unstage_tasks(struct rfl_processor *p)
{
	rfl_outlet_drop(&p->own_sink->outlet);
	for (size_t i = 0; i < p->task_count; i++)
		rfl_task_commit_undone(p->tasks[i]);
}

int
rfl_processor_is_committing(const struct rfl_processor *p)
{
	return p->commits_open > 0 || p->txn_phase >= RFL_TXN_CLOSING;
}

void
rfl_processor_forget_commit(struct rfl_processor *p)
{
	p->commits_open = 0;
	p->txn_phase = RFL_TXN_NONE;
	free_positions(&p->txn_positions);
}

static int
is_due(const struct rfl_processor *p, int64_t now_ns, int64_t *next_ns)
{
	int64_t due_ns = p->last_commit_ns + p->setup.processor->commit_interval_ms * 1000000;
	if (p->draining || now_ns >= due_ns)
		return 1;
	if (due_ns < *next_ns)
		*next_ns = due_ns;
	return 0;
}

static int
commit_positions(struct rfl_processor *p, int64_t now_ns, int64_t *next_ns)
{
	struct riffle_error err = {0};
	if (p->commits_open > 0 || !can_commit(p) || !is_due(p, now_ns, next_ns))
		return 0;
	p->last_commit_ns = now_ns;
	p->commit_error.code = 0;
	p->commit_tag++;
	int rc = RIFFLE_OK;
	for (uint32_t i = 0; i < p->source_count && rc >= 0; i++) {
		struct rfl_positions at;
		collect(p, i, &at);
		if (at.count > 0) {
			rc = p->sources[i].ops->source_commit(
				p->sources[i].source, at.list, at.count, p->commit_tag, &err);
			p->commits_open += rc >= 0;
		}
		free_positions(&at);
	}
	begin_tasks(p);
	if (rc < 0)
		rfl_processor_fail(p, &err);
	return 1;
}

void
rfl_processor_committed(struct rfl_processor *p, const struct riffle_event *ev)
{
	if (ev->tag != p->commit_tag || p->commits_open == 0)
		return;
	p->commits_open--;
	if (ev->status != RIFFLE_OK && p->commit_error.code == 0) {
		p->commit_error = ev->error;
		p->commit_error.code = ev->status;
	}
	if (p->commits_open > 0)
		return;
	end_tasks(p, p->commit_error.code == 0);
	if (p->commit_error.code == 0)
		return;
	if (p->commit_error.code == RIFFLE_E_FENCED || p->commit_error.code == RIFFLE_E_FATAL)
		rfl_processor_fail(p, &p->commit_error);
	else
		rfl_log(RIFFLE_LOG_WARNING, "S003", p->what,
			"positions were not committed: %s; tried again", p->commit_error.text);
}

static int
any_task(const struct rfl_processor *p, int (*is)(const struct rfl_task *))
{
	for (size_t i = 0; i < p->task_count; i++)
		if (is(p->tasks[i]))
			return 1;
	return 0;
}

static int
txn_begin(struct rfl_processor *p, int64_t now_ns, int64_t *next_ns)
{
	struct riffle_error err = {0};
	struct rfl_sink *s = p->own_sink;
	if (!any_task(p, rfl_task_can_stage) && !can_commit(p))
		return 0;
	if (now_ns < p->txn_retry_ns) {
		*next_ns = p->txn_retry_ns < *next_ns ? p->txn_retry_ns : *next_ns;
		return 0;
	}
	if (s->transactions->begin(s->txn, &err) < 0) {
		rfl_processor_fail(p, &err);
		return 0;
	}
	rfl_outlet_begin(&s->outlet);
	p->txn_phase = RFL_TXN_OPEN;
	p->txn_is_spoiled = 0;
	p->txn_bytes = 0;
	return 1;
}

/*
 * Outputs go out until no window is done, or the transaction holds enough for one: what is sent in
 * it is kept by the provider until the end.
 */
static int
txn_stage(struct rfl_processor *p)
{
	int moved = 0, again = 1;
	while (again && p->own_sink->broken.code == 0) {
		for (size_t i = 0; i < p->task_count; i++)
			p->txn_bytes += rfl_task_stage(p->tasks[i], p->txn_bytes < RFL_TXN_BYTES);
		again = rfl_sink_run(p->own_sink);
		moved |= again;
	}
	return moved;
}

static void
txn_ask(struct rfl_processor *p, int is_refused)
{
	struct riffle_error err = {0};
	struct rfl_sink *s = p->own_sink;
	const struct rfl_positions *at = &p->txn_positions;
	s->txn_result = 0;
	s->txn_tag = ++p->commit_tag;
	p->txn_phase = RFL_TXN_ENDING;
	int rc = is_refused
			 ? s->transactions->abort(s->txn, s->txn_tag, &err)
			 : s->transactions->commit(s->txn, at->list, at->count, s->txn_tag, &err);
	free_positions(&p->txn_positions);
	if (rc < 0)
		rfl_processor_fail(p, &err);
}

static int
is_refused(const struct rfl_processor *p)
{
	return p->own_sink->outlet.txn_error.code != 0 || p->txn_is_spoiled;
}

/* What is asked for when the sink has taken what goes with it: what is not in the transaction is not there. */
static int
txn_close(struct rfl_processor *p)
{
	struct rfl_sink *s = p->own_sink;
	int moved = rfl_sink_run(s);
	if (s->broken.code != 0)
		return moved;
	if (!is_refused(p) && !rfl_list_empty(&s->outlet.sends))
		return moved;
	txn_ask(p, is_refused(p));
	return 1;
}

static int
txn_end(struct rfl_processor *p, int64_t now_ns)
{
	p->last_commit_ns = now_ns;
	if (is_refused(p)) {
		txn_ask(p, 1);
		return 1;
	}
	collect(p, 0, &p->txn_positions);
	begin_tasks(p);
	p->txn_phase = RFL_TXN_CLOSING;
	txn_close(p);
	return 1;
}

/* What the sink refused for its data goes to the error policy, and only that. 1 = there was such. */
static int
hand_back(struct rfl_processor *p)
{
	const struct rfl_outlet *o = &p->own_sink->outlet;
	int found = 0;
	for (size_t i = 0; i < o->refusal_count; i++)
		for (size_t k = 0; k < p->task_count; k++)
			found |= rfl_task_refused(p->tasks[k], &o->refusals[i]);
	return found;
}

/* Nothing of it is there: all is still held, and goes into the next one. */
static void
txn_aborted(struct rfl_processor *p, int64_t now_ns)
{
	const struct rfl_sink *s = p->own_sink;
	const struct riffle_error *why =
		s->outlet.txn_error.code != 0 ? &s->outlet.txn_error : &s->txn_error;
	end_tasks(p, 0);
	unstage_tasks(p);
	/* Of what else was said against it some may have come of that, and the rest comes again. */
	if (hand_back(p) || p->txn_is_spoiled)
		return;
	p->txn_retry_ns = now_ns + TXN_RETRY_NS;
	if (why->flags & RIFFLE_ERR_RETRIABLE) {
		rfl_log(RIFFLE_LOG_WARNING, "S004", p->what,
			"a transaction was aborted: %s; tried again", why->text);
		return;
	}
	for (size_t i = 0; i < p->task_count; i++)
		rfl_task_seal(p->tasks[i], why->text);
}

static int
txn_result(struct rfl_processor *p, int64_t now_ns)
{
	struct rfl_sink *s = p->own_sink;
	struct riffle_error err = {0};
	int result = s->txn_result;
	if (result == 0)
		return 0;
	s->txn_result = 0;
	p->txn_phase = RFL_TXN_NONE;
	if (result == RIFFLE_TXN_COMMITTED) {
		end_tasks(p, 1);
	} else if (result == RIFFLE_TXN_ABORTED) {
		txn_aborted(p, now_ns);
	} else {
		rfl_err(&err, RIFFLE_E_FATAL,
			"it is not known whether a transaction was committed: %s",
			s->txn_error.text);
		rfl_processor_fail(p, &err);
	}
	return 1;
}

static int
commit_transaction(struct rfl_processor *p, int64_t now_ns, int64_t *next_ns)
{
	int moved = 0;
	if (p->txn_phase == RFL_TXN_CLOSING)
		return txn_close(p);
	if (p->txn_phase == RFL_TXN_ENDING)
		moved = txn_result(p, now_ns);
	if (p->txn_phase == RFL_TXN_NONE)
		moved |= txn_begin(p, now_ns, next_ns);
	if (p->txn_phase != RFL_TXN_OPEN)
		return moved;
	if (p->txn_is_spoiled)
		return moved | txn_end(p, now_ns);
	moved |= txn_stage(p);
	int refused = p->own_sink->outlet.txn_error.code != 0;
	if (!refused && (any_task(p, rfl_task_is_staging) || !can_commit(p)))
		return moved;
	if (refused || p->txn_bytes >= RFL_TXN_BYTES || is_due(p, now_ns, next_ns))
		moved |= txn_end(p, now_ns);
	return moved;
}

int
rfl_processor_commit(struct rfl_processor *p, int64_t now_ns, int64_t *next_ns)
{
	if (p->own_sink != NULL)
		return commit_transaction(p, now_ns, next_ns);
	return commit_positions(p, now_ns, next_ns);
}
