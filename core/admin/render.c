/* From the status to JSON texts. */
#include "admin/render.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* An unknown number is null, not a value that looks like one. */
static json_t *
number(int64_t n)
{
	return n == INT64_MIN ? json_null() : json_integer(n);
}

/* Reasons have bytes from outside in them; of what is no text JSON would make nothing at all. */
static json_t *
text_or_null(const char *s)
{
	char *mended = rfl_utf8_mended(s);
	json_t *j = mended ? json_string(mended) : json_null();
	free(mended);
	return j;
}

static json_t *
time_or_null(int64_t ms)
{
	char text[64], whole[40];
	struct tm tm;
	if (ms == INT64_MIN)
		return json_null();
	int64_t rest = ((ms % 1000) + 1000) % 1000;
	time_t s = (time_t)((ms - rest) / 1000);
	gmtime_r(&s, &tm);
	strftime(whole, sizeof whole, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, sizeof text, "%s.%03" PRId64 "Z", whole, rest);
	return json_string(text);
}

static json_t *
lane(const struct rfl_lane_status *l)
{
	return json_pack("{s:s,s:s,s:i,s:o,s:o,s:o,s:o,s:o,s:b,s:b}", "input", l->alias, "stream",
		l->stream, "partition", l->partition, "position", number(l->position), "committed",
		number(l->committed), "logEnd", number(l->log_end), "lag",
		number(l->lag < 0 ? INT64_MIN : l->lag), "newestTime", time_or_null(l->time_ms),
		"idle", l->is_idle, "withheld", l->is_withheld);
}

/* Who holds the watermark back, and for how long; null where nobody does. */
static json_t *
holder(const struct rfl_task_status *t)
{
	if (t->watermark_ms == INT64_MIN || t->held_by < 0 || (size_t)t->held_by >= t->lane_count)
		return json_null();
	const struct rfl_lane_status *l = &t->lanes[t->held_by];
	return json_pack("{s:s,s:i,s:I}", "stream", l->stream, "partition", l->partition, "forMs",
		(json_int_t)t->held_ms);
}

static void
count(json_t *to, const char *name, uint64_t n)
{
	json_object_set_new(to, name, json_integer((json_int_t)n));
}

static json_t *
task(const struct rfl_task_status *t)
{
	json_t *lanes = json_array();
	for (size_t i = 0; i < t->lane_count; i++)
		json_array_append_new(lanes, lane(&t->lanes[i]));
	json_t *all = json_pack("{s:i,s:s,s:o,s:o,s:o,s:o,s:o,s:b}", "partition", t->partition,
		"state", rfl_state_name(t->state), "why", text_or_null(t->why), "waitsFor",
		text_or_null(t->waits_for), "nextClose", time_or_null(t->next_close_ms),
		"watermark", time_or_null(t->watermark_ms), "heldBackBy", holder(t), "replaying",
		t->is_replaying);
	count(all, "windowsOpen", t->windows_open);
	count(all, "windowsWaiting", t->windows_waiting);
	count(all, "callsOpen", t->calls_open);
	count(all, "memoryBytes", t->memory_bytes);
	count(all, "spilledBytes", t->spilled_bytes);
	count(all, "checkpointBytes", t->checkpoint_bytes);
	count(all, "recordsIn", t->records_in);
	count(all, "recordsOut", t->records_out);
	count(all, "windowsDone", t->windows_done);
	count(all, "emptyWindows", t->empty);
	count(all, "commits", t->commits);
	count(all, "retries", t->retries);
	count(all, "rebuilds", t->rebuilds);
	count(all, "refused", t->refused);
	count(all, "late", t->late);
	count(all, "lateInPart", t->late_in_part);
	count(all, "deadLetters", t->dead_letters);
	count(all, "skipped", t->skipped);
	json_object_set_new(all, "lanes", lanes);
	return all;
}

static json_t *
processor(const struct rfl_processor_status *p)
{
	json_t *tasks = json_array();
	for (size_t i = 0; i < p->task_count; i++)
		json_array_append_new(tasks, task(&p->tasks[i]));
	return json_pack("{s:s,s:s,s:s,s:o,s:o}", "name", p->name, "function", p->function, "state",
		rfl_state_name(p->state), "why", text_or_null(p->why), "tasks", tasks);
}

static char *
take_text(json_t *j)
{
	char *text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	return text;
}

char *
rfl_render_processors(const struct rfl_status *s)
{
	json_t *list = json_array();
	for (size_t i = 0; i < s->processor_count; i++)
		json_array_append_new(list, processor(&s->processors[i]));
	return take_text(list);
}

char *
rfl_render_processor(const struct rfl_status *s, const char *name)
{
	for (size_t i = 0; i < s->processor_count; i++)
		if (strcmp(s->processors[i].name, name) == 0)
			return take_text(processor(&s->processors[i]));
	return NULL;
}

char *
rfl_render_ready(const struct rfl_status *s, const char *why_not, int *ret_ready)
{
	json_t *reasons = json_array();
	if (why_not != NULL)
		json_array_append_new(reasons, text_or_null(why_not));
	for (size_t i = 0; s != NULL && i < s->processor_count; i++) {
		const struct rfl_processor_status *p = &s->processors[i];
		if (p->state == RFL_RUNNING)
			continue;
		char *reason = rfl_sprintf("processor %s: %s%s%s", p->name,
			rfl_state_name(p->state), p->why ? ": " : "", p->why ? p->why : "");
		json_array_append_new(reasons, text_or_null(reason));
		free(reason);
	}
	*ret_ready = json_array_size(reasons) == 0;
	return take_text(json_pack("{s:b,s:o}", "ready", *ret_ready, "reasons", reasons));
}

char *
rfl_render_error(const char *text)
{
	return take_text(json_pack("{s:o}", "error", text_or_null(text)));
}
