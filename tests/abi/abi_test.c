/* Two sides that were built at different times: shorter structs, other strides. The layout itself is in layout.h. */
#include "unit/test.h"

#include "abi/layout.h"

#include <stdlib.h>
#include <string.h>

static int
log_enabled(const struct riffle_host *host, int level)
{
	(void)host, (void)level;
	return 1;
}

static const void *
extension(const struct riffle_host *host, const char *id)
{
	(void)host, (void)id;
	return NULL;
}

static const struct riffle_host whole = {
	.size = sizeof whole, .log_enabled = log_enabled, .extension = extension};

/*
 * As an older peer hands it over: no byte more than its size, so that a sanitizer sees who reads on. Not in line:
 * a compiler that knows the size warns of what is asked here.
 */
static void *__attribute__((noinline)) shortened(const void *from, uint32_t size)
{
	char *p = malloc(size);
	assert_non_null(p);
	memcpy(p, from, size);
	memcpy(p, &size, sizeof size);
	return p;
}

static void
test_a_member_behind_the_end_is_absent(void **state)
{
	const uint32_t end = offsetof(struct riffle_host, extension);
	(void)state;
	assert_true(RIFFLE_HAS(struct riffle_host, &whole, extension));
	for (uint32_t size = end; size < end + sizeof(void *); size++) {
		struct riffle_host *h = shortened(&whole, size);
		assert_false(RIFFLE_HAS(struct riffle_host, h, extension));
		assert_true(RIFFLE_HAS(struct riffle_host, h, log_enabled));
		free(h);
	}
	struct riffle_host *h = shortened(&whole, end + sizeof(void *));
	assert_true(RIFFLE_HAS(struct riffle_host, h, extension));
	free(h);
}

static void
test_a_member_that_is_not_set_is_absent(void **state)
{
	(void)state;
	assert_false(RIFFLE_HAS(struct riffle_host, &whole, log));
	const struct riffle_provider_ops none = {.size = sizeof none};
	assert_false(RIFFLE_HAS(struct riffle_provider_ops, &none, provision));
	assert_false(RIFFLE_HAS(struct riffle_provider_ops, &none, sink_flush));
	const struct riffle_call_events events = {.size = sizeof events};
	assert_false(RIFFLE_HAS(struct riffle_call_events, &events, replied));
}

/* A struct that says size 0 was not filled in: nothing of it counts. */
static void
test_a_size_of_zero_has_nothing(void **state)
{
	struct riffle_host h = whole;
	(void)state;
	h.size = 0;
	assert_false(RIFFLE_HAS(struct riffle_host, &h, log_enabled));
}

static void
test_records_of_a_later_version_are_stepped_over(void **state)
{
	struct later {
		struct riffle_record record;
		uint64_t more[3];
	} records[4];
	struct riffle_batch b = {.size = sizeof b,
		.record_size = sizeof records[0],
		.record_count = 4,
		.records = &records[0].record};
	(void)state;
	memset(records, 0xff, sizeof records);
	for (int i = 0; i < 4; i++)
		records[i].record.offset = 100 + i;
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(riffle_batch_at(&b, i)->offset, 100 + i);
}

static void
test_values_of_a_later_version_are_stepped_over(void **state)
{
	struct later {
		struct riffle_value value;
		uint64_t more;
	} values[3];
	const struct riffle_config c = {.size = sizeof c,
		.value_size = sizeof values[0],
		.value_count = 3,
		.values = &values[0].value};
	(void)state;
	for (int i = 0; i < 3; i++)
		values[i].value.u.i = i;
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(riffle_config_at(&c, i)->u.i, i);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_member_behind_the_end_is_absent),
		cmocka_unit_test(test_a_member_that_is_not_set_is_absent),
		cmocka_unit_test(test_a_size_of_zero_has_nothing),
		cmocka_unit_test(test_records_of_a_later_version_are_stepped_over),
		cmocka_unit_test(test_values_of_a_later_version_are_stepped_over),
	};
	return RUN("abi", tests);
}
