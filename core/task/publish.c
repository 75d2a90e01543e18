/* From what a function answers to what the sinks get: checked at the door, addressed, sent, settled. */
#include "task/task_private.h"

#include "base/buf.h"
#include "base/error.h"
#include "base/log.h"
#include "plugin/host.h"
#include "wire/content_type.h"
#include "wire/envelope.h"

#include <inttypes.h>
#include <riffle/host.h>
#include <stdlib.h>

static int
check_record(const struct rfl_task *t, const struct riffle_batch *b, const struct riffle_record *r,
	struct riffle_error *reterr)
{
	if (r->stream >= t->spec->conf->output_count)
		return rfl_err(reterr, RIFFLE_E_DATA,
			"the function answered on output %u, the processor has %zu", r->stream,
			t->spec->conf->output_count);
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
	if (t->spec->window.shape == RFL_SHAPE_NONE)
		return p->max_time_ms;
	return p->window.end_ms - 1;
}

static void
address(const struct rfl_task *t, struct riffle_batch *view, int64_t time_ms)
{
	struct riffle_record *records = rfl_batch_records(view);
	for (uint32_t i = 0; i < view->record_count; i++) {
		records[i].stream = t->spec->routes[records[i].stream].sink_stream;
		records[i].offset = RIFFLE_OFFSET_NONE;
		if (records[i].time_ms == RIFFLE_TIME_NONE)
			records[i].time_ms = time_ms;
	}
}

/* What the window was made from, lane by lane: equal records give equal ids, whoever made them. */
static void
print_origin(const struct rfl_task *t, const struct rfl_pane *p, struct rfl_buf *out)
{
	rfl_buf_printf(out, "%d", t->partition);
	if (t->spec->window.shape == RFL_SHAPE_TUMBLING)
		rfl_buf_printf(out, "/%" PRId64, p->window.start_ms);
	for (uint32_t in = 0; in < t->spec->conf->input_count; in++) {
		int64_t first = -1, last = -1;
		uint64_t count = 0;
		for (size_t i = 0; i < p->records.count; i++)
			for (uint32_t k = 0; k < p->records.items[i]->record_count; k++) {
				const struct riffle_record *r =
					riffle_batch_at(p->records.items[i], k);
				if (r->stream != in)
					continue;
				first = count++ == 0 ? r->offset : first;
				last = r->offset;
			}
		if (count > 0)
			rfl_buf_printf(out, "/%s:%" PRId64 "-%" PRId64 "+%" PRIu64,
				t->spec->conf->inputs[in].alias, first, last, count);
	}
}

/* The batch in the envelopes of its streams; one reference that is the caller's. */
static struct riffle_batch *
sealed(const struct rfl_task *t, const struct rfl_pane *p, struct riffle_batch *b)
{
	const struct rfl_processor_conf *c = t->spec->conf;
	struct rfl_buf id = RFL_BUF_INIT;
	if (!rfl_envelope_is_used(c->outputs, c->output_count)) {
		rfl_batch_ref(b);
		return b;
	}
	print_origin(t, p, &id);
	const struct rfl_origin origin = {c->group, rfl_buf_str(&id), p->output_records};
	struct riffle_batch *out = rfl_envelope_seal(c->outputs, b, &origin);
	rfl_buf_fini(&id);
	return out;
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
	b = sealed(t, p, b);
	/* One view for each run of records that go to the same sink. */
	for (uint32_t i = 0; i < b->record_count;) {
		struct rfl_outlet *to = t->spec->routes[riffle_batch_at(b, i)->stream].outlet;
		uint32_t n = 1;
		while (i + n < b->record_count &&
			t->spec->routes[riffle_batch_at(b, i + n)->stream].outlet == to)
			n++;
		struct riffle_batch *view = rfl_batch_view(b, i, n);
		address(t, view, default_time_ms(t, p));
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
		rfl_outlet_send(p->outlets[p->outputs_sent], b, t, p);
		p->sends_open++;
	}
}

static int
is_published(const struct rfl_pane *p)
{
	return p->state == RFL_PANE_DONE && p->outputs_sent == p->outputs.count &&
	       p->sends_open == 0;
}

/* Moves low over the windows at the head that need nothing any more, and lets them go. */
void
rfl_task_settle(struct rfl_task *t)
{
	struct rfl_pane *p;
	while ((p = rfl_list_first(&t->panes, struct rfl_pane, link)) != NULL && is_published(p)) {
		for (size_t i = 0; i < t->lane_count; i++)
			t->lanes[i].settled = p->cut[i];
		t->records_out += p->output_records;
		t->windows_done++;
		rfl_pane_destroy(p);
	}
}

void
rfl_task_sent(struct rfl_task *t, const struct rfl_send *s)
{
	RFL_CHECK(t, RFL_TASK_MAGIC);
	struct rfl_pane *p = s->detail;
	rfl_assert(p->sends_open > 0);
	p->sends_open--;
	if (s->error.code == 0)
		return;
	/* The window as a whole is tried again or given up, as the policy says, and once for all of it. */
	struct riffle_error err = s->error;
	rfl_err_prefix(&err, "cannot publish");
	if (p->state == RFL_PANE_CALLING)
		rfl_task_fault(p, &err);
	else if (p->state == RFL_PANE_DONE)
		rfl_task_pane_failed(t, p, &err);
}

int
rfl_task_can_stage(const struct rfl_task *t)
{
	const struct rfl_pane *p;
	if (t->sealed)
		return 0;
	rfl_list_foreach (p, &t->panes, struct rfl_pane, link) {
		if (p->state == RFL_PANE_SETTLED)
			continue;
		return p->state == RFL_PANE_DONE && p->outputs_sent == 0;
	}
	return 0;
}

int
rfl_task_is_staging(const struct rfl_task *t)
{
	const struct rfl_pane *p;
	rfl_list_foreach (p, &t->panes, struct rfl_pane, link) {
		if (p->state == RFL_PANE_DONE && p->outputs_sent > 0 && p->sends_open > 0)
			return 1;
	}
	return 0;
}

/* Frontier order: the first window that is not done holds all that follow. */
size_t
rfl_task_stage(struct rfl_task *t, int begin_more)
{
	struct rfl_pane *p;
	size_t bytes = 0;
	if (t->sealed)
		return 0;
	rfl_list_foreach (p, &t->panes, struct rfl_pane, link) {
		if (p->state == RFL_PANE_SETTLED)
			continue;
		if (p->state != RFL_PANE_DONE || (p->outputs_sent == 0 && !begin_more))
			break;
		if (p->outputs_sent == 0)
			bytes += p->output_bytes;
		rfl_task_publish(t, p);
		if (p->sends_open > 0)
			break;
		p->state = RFL_PANE_SETTLED;
		for (size_t i = 0; i < t->lane_count; i++)
			t->lanes[i].settled = p->cut[i];
	}
	return bytes;
}
