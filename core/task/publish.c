/* From what a function answers to what the sinks get: checked at the door, addressed, sent, settled. */
#include "task/task_private.h"

#include "base/buf.h"
#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "plugin/host.h"
#include "wire/content_type.h"
#include "wire/envelope.h"

#include <inttypes.h>
#include <riffle/host.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int
check_record(const struct rfl_task *t, const struct riffle_batch *b, const struct riffle_record *r,
	struct riffle_error *reterr)
{
	if (r->stream >= t->spec->conf->output_count)
		return rfl_err(reterr, RIFFLE_E_DATA,
			"the function answered on output %u, the processor has %zu, counted from 0",
			r->stream, t->spec->conf->output_count);
	if (r->header_count > b->header_count ||
		r->header_first > b->header_count - r->header_count ||
		(r->content_type != 0 && r->content_type >= b->content_type_count))
		return rfl_err(reterr, RIFFLE_E_DATA,
			"the function's invoker gave a record with headers or a type outside its "
			"batch");
	if (r->content_type == 0)
		return RIFFLE_OK;
	const char *expected = t->spec->routes[r->stream].content_type;
	const char *type = b->content_types[r->content_type];
	if (rfl_content_type_matches(expected, type))
		return RIFFLE_OK;
	return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
		"output \"%s\": content type \"%s\" not compatible with expected content type "
		"\"%s\"",
		t->spec->conf->outputs[r->stream].alias, type, expected);
}

static size_t
bytes_of(const struct riffle_batch *b, const struct riffle_record *r)
{
	size_t sum = sizeof *r + r->key.len + r->value.len;
	for (uint32_t i = 0; i < r->header_count; i++) {
		const struct riffle_header *h = &b->headers[r->header_first + i];
		sum += h->name.len + h->value.len;
	}
	return sum;
}

/* What the function left open: the time of the window's last moment, of `none` its newest record's. */
static int64_t
default_time_ms(const struct rfl_task *t, const struct rfl_pane *p)
{
	if (t->window == NULL)
		return p->max_time_ms;
	if (p->end_ms != RFL_NEVER_MS)
		return p->end_ms - 1;
	return p->start_ms;
}

static void
put_key(struct rfl_buf *id, const struct rfl_pane *p)
{
	const unsigned char *key = p->key;
	for (uint32_t i = 0; i < p->key_len; i++) {
		if (key[i] > ' ' && key[i] < 0x7f && key[i] != '/' && key[i] != '%')
			rfl_buf_putc(id, (char)key[i]);
		else
			rfl_buf_printf(id, "%%%02x", key[i]);
	}
}

/*
 * Which records it was made from: first and last offset and how many, for each lane that has any. A record
 * of a chunk that was spilled is looked up in the file.
 */
static void
put_ranges(struct rfl_buf *id, struct rfl_task *t, const struct rfl_pane *p)
{
	for (uint32_t lane = 0; lane < t->lane_count; lane++) {
		int64_t first = INT64_MAX, last = INT64_MIN;
		uint64_t count = 0;
		if (p->gone != NULL && p->gone[lane].count > 0) {
			first = p->gone[lane].first;
			last = p->gone[lane].last;
			count = p->gone[lane].count;
		}
		for (size_t i = 0; i < p->items.count; i++) {
			struct riffle_batch *b;
			struct riffle_error err;
			struct rfl_window_item item = p->items.list[i];
			struct rfl_chunk *c = rfl_item_chunk(item);
			if (c->lane != lane || rfl_store_batch(t->store, c, &b, &err) < 0)
				continue;
			uint32_t at = rfl_item_index(item), n = rfl_item_count(item);
			int64_t low = riffle_batch_at(b, at)->offset;
			int64_t high = riffle_batch_at(b, at + n - 1)->offset;
			first = low < first ? low : first;
			last = high > last ? high : last;
			count += n;
			rfl_batch_unref(b);
		}
		if (count > 0)
			rfl_buf_printf(id, "/%u:%" PRId64 "-%" PRId64 "x%" PRIu64, lane, first,
				last, count);
	}
}

/*
 * Ids of what one pane published at one moment: readable, and the same for the same records,
 * processor/task/window/key/output/sequence/lanes. All but the sequence is put together once for an output.
 */
struct ids {
	struct rfl_task *t;
	const struct rfl_pane *p;
	uint32_t output; /* of before; UINT32_MAX = none yet */
	struct rfl_buf before, after;
};

#define IDS_INIT(task, pane)                                                                       \
	{                                                                                          \
		.t = (task), .p = (pane), .output = UINT32_MAX, .before = RFL_BUF_INIT,            \
		.after = RFL_BUF_INIT                                                              \
	}

static void
ids_fini(struct ids *ids)
{
	rfl_buf_fini(&ids->before);
	rfl_buf_fini(&ids->after);
}

static void
ids_turn_to(struct ids *ids, uint32_t output)
{
	const struct rfl_pane *p = ids->p;
	const struct rfl_processor_conf *c = ids->t->spec->conf;
	if (ids->output == UINT32_MAX)
		put_ranges(&ids->after, ids->t, p);
	ids->output = output;
	rfl_buf_clear(&ids->before);
	rfl_buf_printf(&ids->before, "%s/%d/%" PRId64 "-%" PRId64 "/", c->name, ids->t->partition,
		p->start_ms, p->end_ms);
	put_key(&ids->before, p);
	rfl_buf_printf(&ids->before, "/%s/", c->outputs[output].alias);
}

static void
put_number(struct rfl_buf *to, uint64_t n)
{
	char digits[20];
	size_t at = sizeof digits;
	do
		digits[--at] = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	rfl_buf_add(to, digits + at, sizeof digits - at);
}

/* Adds it to id, which is empty. */
static void
put_id(struct rfl_buf *id, struct ids *ids, uint32_t output, uint64_t sequence)
{
	if (ids->output != output)
		ids_turn_to(ids, output);
	rfl_buf_add(id, ids->before.data, ids->before.len);
	put_number(id, sequence);
	rfl_buf_add(id, rfl_buf_str(&ids->after), ids->after.len);
}

struct output_headers {
	struct riffle_header list[6];
	char start[24], end[24], attempt[16];
	uint32_t count;
};

static void
add_header(struct output_headers *h, const char *name, const char *value, size_t len)
{
	h->list[h->count++] =
		(struct riffle_header){.name = {name, strlen(name)}, .value = {value, len}};
}

static void
pane_headers(struct output_headers *h, const struct rfl_pane *p)
{
	h->count = 0;
	snprintf(h->start, sizeof h->start, "%" PRId64, p->start_ms);
	snprintf(h->end, sizeof h->end, "%" PRId64, p->end_ms);
	snprintf(h->attempt, sizeof h->attempt, "%u", p->attempt);
	add_header(h, "riffle-window-start", h->start, strlen(h->start));
	add_header(h, "riffle-window-end", h->end, strlen(h->end));
	add_header(h, "riffle-pane", p->is_early ? "early" : "final", 5);
	add_header(h, "riffle-attempt", h->attempt, strlen(h->attempt));
	if (p->key != NULL)
		add_header(h, "riffle-window-key", p->key, p->key_len);
}

/* With the pane in their headers records are copied; without, they stay where the function put them. */
static struct riffle_batch *
with_headers(struct rfl_task *t, struct rfl_pane *p, struct riffle_batch *b, uint32_t first,
	uint32_t count)
{
	struct rfl_builder *build = rfl_builder_create();
	struct output_headers h;
	struct rfl_buf id = RFL_BUF_INIT;
	struct ids ids = IDS_INIT(t, p);
	struct riffle_header *all = NULL;
	size_t room = 0;
	for (uint32_t i = first; i < first + count; i++) {
		const struct riffle_record *r = riffle_batch_at(b, i);
		const char *type = r->content_type ? b->content_types[r->content_type] : NULL;
		pane_headers(&h, p);
		rfl_buf_clear(&id);
		put_id(&id, &ids, r->stream, p->output_records + (i - first));
		add_header(&h, "riffle-id", rfl_buf_str(&id), id.len);
		rfl_grow(&all, &room, r->header_count + h.count, sizeof *all);
		if (r->header_count > 0)
			memcpy(all, b->headers + r->header_first, r->header_count * sizeof *all);
		memcpy(all + r->header_count, h.list, h.count * sizeof *all);
		rfl_builder_add(build, r, all, r->header_count + h.count, type);
	}
	struct riffle_batch *made = rfl_builder_finish(build);
	rfl_builder_destroy(build);
	rfl_buf_fini(&id);
	ids_fini(&ids);
	free(all);
	return made;
}

static void
address(const struct rfl_task *t, const struct rfl_pane *p, struct riffle_batch *view)
{
	struct riffle_record *records = rfl_batch_records(view);
	int64_t time_ms = default_time_ms(t, p);
	struct riffle_bytes key = {NULL, 0};
	for (uint32_t i = 0; i < view->record_count; i++) {
		struct riffle_record *r = &records[i];
		r->stream = t->spec->routes[r->stream].sink_stream;
		r->offset = RIFFLE_OFFSET_NONE;
		if (r->time_ms == RIFFLE_TIME_NONE)
			r->time_ms = time_ms;
		if (r->key.ptr != NULL || p->key == NULL || t->spec->conf->output_key_none)
			continue;
		/* A sink may have the batch for longer than the task has the pane. */
		if (key.ptr == NULL)
			key = rfl_batch_hold(view, (struct riffle_bytes){p->key, p->key_len});
		r->key = key;
	}
}

static void
event_id(void *ctx, const struct riffle_batch *b, const struct riffle_record *r, uint64_t n,
	struct rfl_buf *out)
{
	(void)b;
	put_id(out, ctx, r->stream, n);
}

/* The batch in the envelopes of its streams: one of our own. */
static struct riffle_batch *
sealed(struct rfl_task *t, const struct rfl_pane *p, struct riffle_batch *b)
{
	const struct rfl_processor_conf *c = t->spec->conf;
	struct ids ids = IDS_INIT(t, p);
	const struct rfl_origin origin = {
		.source = c->group, .id = event_id, .ctx = &ids, .first = p->output_records};
	b = rfl_envelope_seal(c->outputs, b, &origin);
	ids_fini(&ids);
	return b;
}

/* Records [first, first + count) as they are sent: a batch of our own, of which nobody else knows. */
static struct riffle_batch *
outgoing(struct rfl_task *t, struct rfl_pane *p, struct riffle_batch *b, int is_ours,
	uint32_t first, uint32_t count)
{
	if (t->spec->conf->pane_headers)
		return with_headers(t, p, b, first, count);
	if (!is_ours || count < b->record_count)
		return rfl_batch_view(b, first, count);
	rfl_batch_ref(b);
	return b;
}

int
rfl_task_keep_output(struct rfl_task *t, struct rfl_pane *p, struct riffle_batch *b,
	size_t *ret_bytes, struct riffle_error *reterr)
{
	size_t sum = 0;
	for (uint32_t i = 0; i < b->record_count; i++) {
		const struct riffle_record *r = riffle_batch_at(b, i);
		int rc = check_record(t, b, r, reterr);
		if (rc < 0)
			return rc;
		sum += bytes_of(b, r);
	}
	int is_ours = rfl_envelope_is_used(t->spec->conf->outputs, t->spec->conf->output_count);
	if (is_ours)
		b = sealed(t, p, b);
	else
		rfl_batch_ref(b);
	/* One view for each run of records that go to the same sink. */
	for (uint32_t i = 0; i < b->record_count;) {
		struct rfl_outlet *to = t->spec->routes[riffle_batch_at(b, i)->stream].outlet;
		uint32_t n = 1;
		while (i + n < b->record_count &&
			t->spec->routes[riffle_batch_at(b, i + n)->stream].outlet == to)
			n++;
		struct riffle_batch *view = outgoing(t, p, b, is_ours, i, n);
		address(t, p, view);
		rfl_pane_output(p, view, to, i + n == b->record_count ? sum : 0);
		i += n;
	}
	rfl_batch_unref(b);
	*ret_bytes = sum;
	return RIFFLE_OK;
}

void
rfl_task_publish(struct rfl_task *t, struct rfl_pane *p)
{
	for (; p->outputs_sent < p->outputs.count; p->outputs_sent++) {
		struct riffle_batch *b = p->outputs.items[p->outputs_sent];
		rfl_batch_ref(b);
		const struct rfl_way *way = &p->ways[p->outputs_sent];
		p->last_tag = rfl_outlet_send(way->to, b, way->bytes, t, p);
		if (p->outputs_sent == 0)
			p->first_tag = p->last_tag;
		p->sends_open++;
	}
}

static int
is_published(const struct rfl_pane *p)
{
	return p->state == RFL_PANE_DONE && p->outputs_sent == p->outputs.count &&
	       p->sends_open == 0;
}

void
rfl_task_free_group(struct rfl_task *t, struct rfl_group *g)
{
	struct rfl_pane *p, *after;
	rfl_open_leave(t, g);
	rfl_list_foreach_safe (p, after, &t->panes, struct rfl_pane, link) {
		if (p->group != g)
			break;
		t->records_out += p->output_records;
		t->windows_done++;
		t->pane_count--;
		if (g->is_staged)
			rfl_pane_release_kept(p, t->store);
		else
			rfl_pane_release(p, t->store);
		rfl_pane_destroy(p);
	}
	rfl_list_remove(&g->link);
	free(g);
}

static void
settle_panes(struct rfl_task *t)
{
	struct rfl_pane *p, *after;
	rfl_list_foreach_safe (p, after, &t->publishing, struct rfl_pane, work) {
		if (!is_published(p))
			continue;
		p->state = RFL_PANE_SETTLED;
		p->group->settled++;
		rfl_list_remove(&p->work);
	}
	rfl_list_foreach_safe (p, after, &t->earlies, struct rfl_pane, link) {
		if (!is_published(p))
			continue;
		rfl_pane_release(p, t->store);
		rfl_pane_destroy(p);
	}
}

/* Moves the position over the groups at the head that need nothing any more, and lets them go. */
void
rfl_task_settle(struct rfl_task *t)
{
	struct rfl_group *g;
	settle_panes(t);
	while ((g = rfl_list_first(&t->groups, struct rfl_group, link)) != NULL && g->is_complete &&
		g->settled == g->panes) {
		for (size_t i = 0; i < t->lane_count; i++)
			if (g->cut[i].next > t->lanes[i].settled)
				t->lanes[i].settled = g->cut[i].next;
		rfl_task_free_group(t, g);
	}
	rfl_side_let_go(t, RFL_SIDE_DONE);
}

/* Nothing is open and nothing waits: all that was read is done, also what was left out. */
void
rfl_task_settle_rest(struct rfl_task *t)
{
	int open = t->window != NULL && rfl_window_open_count(t->window) > 0;
	if (open || !rfl_list_empty(&t->groups) || t->committing || t->stopped)
		return;
	for (size_t i = 0; i < t->lane_count; i++)
		t->lanes[i].settled = t->lanes[i].next;
}

/* The window as a whole is tried again or given up, as the policy says, and once for all of it. */
static void
not_published(struct rfl_task *t, struct rfl_pane *p, const struct riffle_error *why)
{
	struct riffle_error err = *why;
	rfl_err_prefix(&err, "cannot publish");
	if (p->state == RFL_PANE_CALLING) {
		rfl_task_fault(p, &err);
	} else if (p->state == RFL_PANE_DONE && rfl_task_is_at_most_once(t)) {
		rfl_task_publish_failed(t, p, &err);
	} else if (p->state == RFL_PANE_DONE && p->is_dead) {
		rfl_task_dead_letters_failed(t, p, &err);
	} else if (p->state == RFL_PANE_DONE) {
		if (p->group != NULL)
			p->group->done--;
		rfl_task_pane_failed(t, p, &err);
	}
}

void
rfl_task_sent(struct rfl_task *t, const struct rfl_send *s)
{
	RFL_CHECK(t, RFL_TASK_MAGIC);
	struct rfl_pane *p = s->detail;
	if (rfl_side_is(s->detail)) {
		rfl_side_sent(t, s->detail, &s->error);
		return;
	}
	rfl_assert(p->sends_open > 0);
	p->sends_open--;
	if (s->error.code == 0) {
		/* Outputs of a window that goes on may be many. */
		if ((p->lets_go || p->is_open) && !rfl_task_is_exactly_once(t))
			rfl_pane_forget_output(p, s->batch);
		if (p->call != NULL && !rfl_call_is_cancelled(p->call))
			rfl_call_read(p->call, s->bytes);
		return;
	}
	/* What was dropped since has been judged with all else that there was. */
	if (rfl_pane_holds_output(p, s->batch))
		not_published(t, p, &s->error);
}

static struct rfl_pane *
pane_of_tag(const struct rfl_task *t, uint64_t tag)
{
	struct rfl_pane *p;
	rfl_list_foreach (p, &t->panes, struct rfl_pane, link) {
		if (tag >= p->first_tag && tag <= p->last_tag)
			return p;
	}
	return NULL;
}

int
rfl_task_refused(struct rfl_task *t, const struct rfl_refusal *refusal)
{
	RFL_CHECK(t, RFL_TASK_MAGIC);
	if (t->sealed || t->suspended)
		return 0;
	if (rfl_side_refuse(t, refusal))
		return 1;
	struct rfl_pane *p = pane_of_tag(t, refusal->tag);
	if (p == NULL)
		return 0;
	/* What else of it is refused says nothing more. */
	p->first_tag = p->last_tag = 0;
	not_published(t, p, &refusal->error);
	return 1;
}

/* The first group that is not in the open transaction yet, once all of it is done; NULL = none. */
static struct rfl_group *
next_to_stage(const struct rfl_task *t)
{
	struct rfl_group *g;
	rfl_list_foreach (g, &t->groups, struct rfl_group, link) {
		if (!g->is_staged)
			return g->is_complete && g->done == g->panes ? g : NULL;
	}
	return NULL;
}

static int
has_begun(const struct rfl_task *t, const struct rfl_group *g)
{
	const struct rfl_pane *p;
	rfl_list_foreach (p, &t->panes, struct rfl_pane, link) {
		if (p->group == g && p->outputs_sent > 0)
			return 1;
	}
	return 0;
}

/* A transaction that cannot end as it is has to go on. */
static int
must_go_on(const struct rfl_task *t)
{
	return (rfl_task_has_staged(t) || rfl_side_has_begun(t)) && !rfl_open_fits(t);
}

int
rfl_task_can_stage(const struct rfl_task *t)
{
	const struct rfl_group *g = next_to_stage(t);
	if (t->sealed || t->suspended)
		return 0;
	return (g != NULL && rfl_open_may_stage(t, g)) ||
	       (rfl_side_can_stage(t) && rfl_open_fits(t));
}

int
rfl_task_waits_for_room(const struct rfl_task *t)
{
	const struct rfl_group *g = next_to_stage(t);
	if (!rfl_task_is_exactly_once(t))
		return 0;
	return g == NULL ? must_go_on(t) : !has_begun(t, g) && !rfl_open_may_stage(t, g);
}

/* A group is in the transaction as a whole or not at all. */
int
rfl_task_is_staging(const struct rfl_task *t)
{
	const struct rfl_group *g = next_to_stage(t);
	if (t->sealed || t->suspended)
		return 0;
	/* It takes no part in this one, or holds it until its position can go with it. */
	if (!rfl_open_fits(t))
		return must_go_on(t) || (g != NULL && has_begun(t, g));
	return (g != NULL && has_begun(t, g)) || rfl_side_is_staging(t);
}

/* Sends what the panes of the group hold. 1 = the sinks took all of it. */
static int
stage_group(struct rfl_task *t, struct rfl_group *g, size_t *bytes)
{
	struct rfl_pane *p;
	int taken = 1;
	rfl_list_foreach (p, &t->panes, struct rfl_pane, link) {
		if (p->group != g)
			continue;
		if (p->outputs_sent == 0)
			*bytes += p->output_bytes;
		rfl_task_publish(t, p);
		taken &= p->sends_open == 0;
	}
	return taken;
}

size_t
rfl_task_stage(struct rfl_task *t, int begin_more)
{
	struct rfl_group *g;
	size_t bytes = 0;
	if (t->sealed || t->suspended)
		return 0;
	while ((g = next_to_stage(t)) != NULL) {
		struct rfl_pane *p;
		if (!has_begun(t, g) &&
			(!(begin_more || must_go_on(t)) || !rfl_open_may_stage(t, g)))
			break;
		if (!stage_group(t, g, &bytes))
			break;
		g->is_staged = 1;
		rfl_open_leave(t, g);
		rfl_list_foreach (p, &t->panes, struct rfl_pane, link) {
			if (p->group != g)
				continue;
			p->state = RFL_PANE_SETTLED;
			rfl_pane_stage(p);
		}
		for (size_t i = 0; i < t->lane_count; i++)
			t->lanes[i].settled = g->cut[i].next;
	}
	if (rfl_open_fits(t) || must_go_on(t))
		bytes += rfl_side_stage(t);
	return bytes;
}
