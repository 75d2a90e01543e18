/* What the programs that test the guard share: a plugin that does as it is told, behind a guard. */
#ifndef RFL_TESTS_UNIT_GUARD_BED_H
#define RFL_TESTS_UNIT_GUARD_BED_H

#include "test.h"

#include "base/log.h"
#include "base/mem.h"
#include "plugin/batch.h"
#include "plugin/guard.h"
#include "plugin/host.h"

#include <pthread.h>
#include <riffle/riffle.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the plugin of the including file says, and what it was told. */
static int rc, made;
static uint64_t rude_called;
static struct riffle_batch *pushed, *rude_batch;

static int
destroyed(void)
{
	rude_called++;
	return rc;
}

static void
r_destroy(void *self)
{
	(void)self;
	destroyed();
}

static uint64_t
r_capabilities(void *self)
{
	(void)self;
	return UINT64_MAX;
}

static char rude_name[] = "rude", rude_version[] = "1.2";

struct bed {
	struct rfl_guard *guard;
	const struct riffle_provider_ops *ops;
	const struct riffle_invoker_ops *calls;
	void *source, *sink, *txn, *call;
	struct riffle_error err;
	/* What came out of the guarded events. */
	int outputs, dones, status;
	char done_text[RIFFLE_ERROR_TEXT];
};

static void start_plugin(void); /* of the including file: what its plugin begins with */

static void
setup(struct bed *b, struct rfl_plugin *plugin, enum rfl_guard_mode mode)
{
	static int self;
	rfl_log_setup(0, RFL_LOG_LOGFMT);
	*b = (struct bed){.guard = rfl_guard_create(plugin, "section x", mode)};
	rfl_guard_set_self(b->guard, &self);
	rc = 0;
	made = 1;
	rude_called = 0;
	rude_batch = pushed = NULL;
	start_plugin();
	if (plugin->kind == RIFFLE_KIND_PROVIDER)
		b->ops = rfl_guard_provider(b->guard);
	else
		b->calls = rfl_guard_invoker(b->guard);
}

static void
assert_fault(const struct bed *b, const char *what)
{
	struct riffle_error fault = {0};
	char all[RIFFLE_ERROR_TEXT];
	assert_true(rfl_guard_is_quarantined(b->guard, &fault));
	snprintf(all, sizeof all,
		"plugin \"rude\" 1.2 misbehaved: section x: %.*s; it is not called any more %s",
		(int)(strlen(what) - 6), what, what + strlen(what) - 5);
	assert_string_equal(fault.text, all);
}

/* A batch of two sound records, to be spoiled. */
static struct riffle_record records[2];
static struct riffle_header header = {.name = {"n", 1}, .value = {"v", 1}};
static const char *types[2] = {NULL, "text/plain"};
static struct riffle_batch batch;

static void
no_release(struct riffle_batch *b)
{
	(void)b;
}

static void
sound_batch(void)
{
	for (int i = 0; i < 2; i++)
		records[i] = (struct riffle_record){.key = {"k", 1},
			.value = {"v", 1},
			.offset = i,
			.partition = 1,
			.header_count = 1,
			.content_type = 1};
	batch = (struct riffle_batch){.size = sizeof batch,
		.record_size = sizeof records[0],
		.record_count = 2,
		.header_count = 1,
		.content_type_count = 2,
		.records = records,
		.headers = &header,
		.content_types = types,
		.release = no_release};
	rude_batch = &batch;
}

#endif
