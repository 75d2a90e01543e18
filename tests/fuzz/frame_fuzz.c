/* A message of a function's server, which may be anything. */
#include "fuzz.h"

#include "../../plugins/invoker-grpc/rpc_frame.h"

#include <string.h>

const char fuzz_name[] = "frame";

static int
is_inside(struct riffle_bytes b, const uint8_t *data, size_t size)
{
	const uint8_t *p = b.ptr;
	return b.len == 0 || (p >= data && b.len <= size && p <= data + size - b.len);
}

static void
is_same(struct riffle_bytes a, struct riffle_bytes b)
{
	fuzz_assert(a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* What was read, written and read again, is the same: the directions differ in the signal's tag alone. */
static void
write_and_read(const struct rpc_frame *f)
{
	struct rpc_frame again;
	struct rpc_headers headers = {0};
	size_t size = rpc_frame_size(f);
	unsigned char *out = malloc(size);
	rpc_frame_write(f, out);
	fuzz_assert(out[0] == 0x12);
	out[0] = 0x0a;
	fuzz_assert(rpc_frame_read(out, size, &again, &headers) == NULL);
	is_same(f->payload, again.payload);
	is_same(f->type, again.type);
	fuzz_assert(f->index == again.index && f->header_count == again.header_count);
	for (uint32_t i = 0; i < headers.count; i++) {
		is_same(f->headers[i].name, headers.list[i].name);
		is_same(f->headers[i].value, headers.list[i].value);
	}
	free(headers.list);
	free(out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rpc_frame f;
	struct rpc_headers headers = {0};
	const char *why = rpc_frame_read(data, size, &f, &headers);
	fuzz_assert(why == NULL || why[0] != '\0');
	if (why == NULL) {
		fuzz_assert(is_inside(f.payload, data, size) && is_inside(f.type, data, size));
		fuzz_assert(f.header_count == headers.count);
		for (uint32_t i = 0; i < headers.count; i++)
			fuzz_assert(is_inside(headers.list[i].name, data, size) &&
				    is_inside(headers.list[i].value, data, size));
		f.headers = headers.list;
		write_and_read(&f);
	}
	free(headers.list);
	return 0;
}
