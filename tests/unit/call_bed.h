/* What the beds of the invokers share: one call, and all that it said. */
#ifndef RFL_TESTS_UNIT_CALL_BED_H
#define RFL_TESTS_UNIT_CALL_BED_H

#include "test.h"

#include "plugin_bed.h"

#include <pthread.h>

static const struct riffle_invoker_ops *ops;

/* More than any invoker has options. */
#define OPTIONS_MOST 32

static inline struct riffle_value *
option(struct riffle_value *values, const char *name)
{
	return &values[option_at(RIFFLE_SECTION_FUNCTION, name)];
}

/* How much of the answers is kept as text; what does not fit is counted only. */
#ifndef OUT_MAX
#define OUT_MAX ((size_t)1 << 30)
#endif

/* One call, and all that it said. */
struct call {
	void *call;
	pthread_mutex_t lock;
	char *out; /* records, each with a '|' behind it */
	size_t len, room;
	uint64_t records, batches, bytes, replied;
	char full
		[4096]; /* the last records with all that they have, where the bed describes them */
	size_t full_len;
	char type[64];
	int64_t wrong; /* the first record that was not its own number; -1 = none */
	int is_done, status, writable, quick; /* quick: answers are given credit at once */
	struct riffle_error error;
};

/* What more a bed wants to know of a record of an answer; the call is locked. */
static void look(struct call *c, const struct riffle_batch *batch, const struct riffle_record *r);

static void
note(struct call *c, const struct riffle_batch *batch, const struct riffle_record *r)
{
	look(c, batch, r);
	c->records++;
	c->bytes += r->value.len;
	snprintf(c->type, sizeof c->type, "%s",
		r->content_type ? batch->content_types[r->content_type] : "");
	if (c->len + r->value.len > OUT_MAX)
		return;
	while (c->room < c->len + r->value.len + 2)
		c->out = realloc(c->out, c->room = 2 * c->room + 64);
	if (r->value.len > 0)
		memcpy(c->out + c->len, r->value.ptr, r->value.len);
	c->len += r->value.len;
	c->out[c->len++] = '|';
	c->out[c->len] = '\0';
}

static void
on_output(void *data, struct riffle_batch *batch)
{
	struct call *c = data;
	size_t bytes = 0;
	pthread_mutex_lock(&c->lock);
	assert_false(c->is_done);
	assert_true(batch->record_count > 0 && batch->pinned_bytes > 0);
	for (uint32_t i = 0; i < batch->record_count; i++) {
		const struct riffle_record *r = riffle_batch_at(batch, i);
		note(c, batch, r);
		bytes += sizeof *r + r->value.len;
		for (uint32_t k = 0; k < r->header_count; k++)
			bytes += batch->headers[r->header_first + k].name.len +
				 batch->headers[r->header_first + k].value.len;
	}
	c->batches++;
	pthread_mutex_unlock(&c->lock);
	batch->release(batch);
	if (c->quick)
		ops->call_read(c->call, bytes);
}

static void
on_writable(void *data)
{
	struct call *c = data;
	__atomic_store_n(&c->writable, 1, __ATOMIC_RELEASE);
}

static void
on_replied(void *data, uint64_t count)
{
	struct call *c = data;
	pthread_mutex_lock(&c->lock);
	assert_true(count > c->replied);
	c->replied = count;
	pthread_mutex_unlock(&c->lock);
}

static void
on_done(void *data, int status, const struct riffle_error *err)
{
	struct call *c = data;
	pthread_mutex_lock(&c->lock);
	assert_false(c->is_done);
	c->status = status;
	if (status < 0)
		c->error = *err;
	c->is_done = 1;
	pthread_mutex_unlock(&c->lock);
}

static const struct riffle_call_events events = {.size = sizeof events,
	.output = on_output,
	.writable = on_writable,
	.replied = on_replied,
	.done = on_done};

static inline void
begin_call(void *self, const struct riffle_call_spec *spec, struct call *c)
{
	struct riffle_error err = {0};
	memset(c, 0, sizeof *c);
	c->wrong = -1;
	pthread_mutex_init(&c->lock, NULL);
	assert_int_equal(ops->call_begin(self, spec, &events, c, &c->call, &err), RIFFLE_OK);
}

static inline void
no_release(struct riffle_batch *b)
{
	(void)b;
}

/* With one reference, the caller's. */
static inline void
make_batch(struct riffle_batch *batch, const struct riffle_record *r, uint32_t count)
{
	*batch = (struct riffle_batch){.size = sizeof *batch,
		.record_size = sizeof *r,
		.record_count = count,
		.records = r,
		.release = no_release,
		.host = {1, 0}};
}

static inline int
push(struct call *c, struct riffle_batch *batch, const struct riffle_record *r, uint32_t count,
	struct riffle_error *err)
{
	make_batch(batch, r, count);
	return ops->call_push(c->call, batch, 0, count, err);
}

static inline int
is_done(void *ctx)
{
	struct call *c = ctx;
	pthread_mutex_lock(&c->lock);
	int done = c->is_done;
	pthread_mutex_unlock(&c->lock);
	return done;
}

/* Since it was last asked. */
static inline int
has_room(void *ctx)
{
	return __atomic_exchange_n(&((struct call *)ctx)->writable, 0, __ATOMIC_ACQ_REL);
}

static inline void
end(struct call *c)
{
	assert_true(eventually(is_done, c));
	ops->call_destroy(c->call);
	free(c->out);
	pthread_mutex_destroy(&c->lock);
}

#endif
