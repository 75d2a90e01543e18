/* The longest common part, by the table that is as large as both lists. */
#include "cli/difference.h"

#include "base/mem.h"

#include <stdint.h>
#include <stdlib.h>

/* Of the table: 64 MiB. */
#define CELLS_MAX ((size_t)16 * 1024 * 1024)

struct lists {
	size_t expected, got;
	int (*are_equal)(const void *ctx, size_t expected, size_t got);
	const void *ctx;
	struct rfl_difference *out;
	size_t count;
};

static void
put(struct lists *l, enum rfl_edit edit, size_t expected, size_t got)
{
	l->out[l->count++] = (struct rfl_difference){edit, expected, got};
}

/* cell[i][k]: how long the common part of what begins at i and k is. */
static void
by_table(struct lists *l, size_t from, size_t expected_end, size_t got_end)
{
	size_t rows = expected_end - from, columns = got_end - from, width = columns + 1;
	uint32_t *cell = rfl_zalloc((rows + 1) * width * sizeof *cell);
	for (size_t i = rows; i-- > 0;)
		for (size_t k = columns; k-- > 0;) {
			uint32_t down = cell[(i + 1) * width + k], right = cell[i * width + k + 1];
			cell[i * width + k] = l->are_equal(l->ctx, from + i, from + k)
						      ? cell[(i + 1) * width + k + 1] + 1
					      : down > right ? down
							     : right;
		}
	size_t i = 0, k = 0;
	while (i < rows || k < columns) {
		if (i < rows && k < columns && l->are_equal(l->ctx, from + i, from + k)) {
			put(l, RFL_EDIT_SAME, from + i, from + k);
			i++, k++;
		} else if (i < rows &&
			   (k == columns || cell[(i + 1) * width + k] >= cell[i * width + k + 1])) {
			put(l, RFL_EDIT_MISSING, from + i++, 0);
		} else {
			put(l, RFL_EDIT_UNEXPECTED, 0, from + k++);
		}
	}
	free(cell);
}

static void
by_place(struct lists *l, size_t from, size_t expected_end, size_t got_end)
{
	for (size_t i = from; i < expected_end || i < got_end; i++) {
		if (i < expected_end && i < got_end && l->are_equal(l->ctx, i, i)) {
			put(l, RFL_EDIT_SAME, i, i);
			continue;
		}
		if (i < expected_end)
			put(l, RFL_EDIT_MISSING, i, 0);
		if (i < got_end)
			put(l, RFL_EDIT_UNEXPECTED, 0, i);
	}
}

struct rfl_difference *
rfl_difference(size_t expected, size_t got,
	int (*are_equal)(const void *ctx, size_t expected, size_t got), const void *ctx,
	size_t *ret_count)
{
	struct lists l = {.expected = expected, .got = got, .are_equal = are_equal, .ctx = ctx};
	size_t head = 0, tail = 0;
	l.out = rfl_alloc((expected + got + 1) * sizeof *l.out);
	for (; head < expected && head < got && are_equal(ctx, head, head); head++)
		put(&l, RFL_EDIT_SAME, head, head);
	while (tail < expected - head && tail < got - head &&
		are_equal(ctx, expected - tail - 1, got - tail - 1))
		tail++;
	size_t rows = expected - head - tail, columns = got - head - tail;
	if ((rows + 1) <= CELLS_MAX / (columns + 1))
		by_table(&l, head, expected - tail, got - tail);
	else
		by_place(&l, head, expected - tail, got - tail);
	for (; tail > 0; tail--)
		put(&l, RFL_EDIT_SAME, expected - tail, got - tail);
	*ret_count = l.count;
	return l.out;
}
