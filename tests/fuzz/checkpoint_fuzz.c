/*
 * The value of a checkpoint, which lies on a broker and is as long as it says itself. Its sum is put right
 * first, or nothing behind it would ever be looked at.
 */
#include "fuzz.h"

#include "base/hash.h"
#include "wire/checkpoint.h"

#include <stdlib.h>
#include <string.h>

const char fuzz_name[] = "checkpoint";

/* The runs lie in order within what was read. */
static void
check_runs(const struct rfl_run *runs, size_t count, int64_t low, int64_t hw)
{
	int64_t at = low;
	for (size_t i = 0; i < count; i++) {
		fuzz_assert(runs[i].first >= at && runs[i].end > runs[i].first);
		at = runs[i].end;
	}
	fuzz_assert(at <= hw);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int64_t low = 1000, hw = 100000;
	struct rfl_run *runs;
	size_t count = 0;
	struct riffle_error err = {0};
	const struct rfl_tuple tuple = {.flags = RFL_TUPLE_CHECKPOINT, .seq = 7, .hw = hw};
	char position[RFL_TUPLE_TEXT + 1];
	const struct riffle_bytes at = {position, RFL_TUPLE_TEXT};
	rfl_tuple_encode(&tuple, position);
	int rc = rfl_checkpoint_decode(
		(struct riffle_bytes){data, size}, at, low, hw, &runs, &count, &err);
	fuzz_assert(rc == RIFFLE_OK || (rc == RIFFLE_E_DATA && err.text[0] != '\0'));
	free(runs);
	/* The same bytes as the runs of a sound one. */
	struct rfl_open_set set = {.bytes = {(char *)(uintptr_t)data, size, size}};
	struct rfl_buf value = RFL_BUF_INIT;
	rfl_checkpoint_encode(position, low, &set, &value);
	rc = rfl_checkpoint_decode(
		(struct riffle_bytes){value.data, value.len}, at, low, hw, &runs, &count, &err);
	fuzz_assert(rc == RIFFLE_OK || rc == RIFFLE_E_DATA);
	if (rc == RIFFLE_OK)
		check_runs(runs, count, low, hw);
	free(runs);
	rfl_buf_fini(&value);
	return 0;
}
