/* See header_order.h. */
#include "wire/header_order.h"

#include <stdlib.h>
#include <string.h>

int
rfl_header_compare(struct riffle_bytes a, struct riffle_bytes b)
{
	if (a.len != b.len)
		return a.len < b.len ? -1 : 1;
	return a.len == 0 ? 0 : memcmp(a.ptr, b.ptr, a.len);
}

struct context {
	const struct riffle_header *headers;
};

static int
by_name(const void *a, const void *b, void *ctx)
{
	const struct riffle_header *headers = ((const struct context *)ctx)->headers;
	size_t i = *(const size_t *)a, k = *(const size_t *)b;
	int c = rfl_header_compare(headers[i].name, headers[k].name);
	return c != 0 ? c : (i > k) - (i < k);
}

void
rfl_header_sort(const struct riffle_header *headers, size_t *order, size_t count)
{
	struct context context = {headers};
	qsort_r(order, count, sizeof *order, by_name, &context);
}

int
rfl_header_is_there(const struct riffle_header *headers, const size_t *order, size_t count,
	struct riffle_bytes name)
{
	size_t low = 0, high = count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int c = rfl_header_compare(headers[order[middle]].name, name);
		if (c == 0)
			return 1;
		if (c < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return 0;
}
