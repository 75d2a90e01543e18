/* Programs that live on: what they are written with, and giving them windows. Goes on from command_bed.h. */
#ifndef RFL_TESTS_UNIT_COPROCESS_BED_H
#define RFL_TESTS_UNIT_COPROCESS_BED_H

#include "command_bed.h"

enum { PER_WINDOW, PER_RECORD, COPROCESS };
enum { LINES, JSON_LINES, FRAMES };

/* What the programs for frames begin with: out, send, and a loop over frames that knows window and attempt. */
#define FRAMES_PROGRAM                                                                             \
	"import os, signal, struct, sys, time\n"                                                   \
	"o, i = sys.stdout.buffer, sys.stdin.buffer\n"                                             \
	"def put(b): o.write(b); o.flush()\n"                                                      \
	"def send(b): put(struct.pack('>I', len(b)) + b)\n"                                        \
	"def text(s): return struct.pack('>I', len(s)) + s\n"                                      \
	"def say(s, n=0): send(b'o' + struct.pack('>Iq', n, -2**63) + b'\\xff' * 8 + bytes(4) + "  \
	"text(s))\n"                                                                               \
	"def done(status=0, why=b''): send(b'd' + w + struct.pack('>I', status) + text(why))\n"    \
	"def frame():\n"                                                                           \
	"  n = i.read(4)\n"                                                                        \
	"  return i.read(struct.unpack('>I', n)[0]) if n else sys.exit(0)\n"                       \
	"frame()\n"                                                                                \
	"if not os.environ.get('MUTE'): send(b'hRFLF' + struct.pack('>I', 1))\n"                   \
	"while True:\n"                                                                            \
	"  f = frame()\n"                                                                          \
	"  if f[:1] == b'S': w, attempt = f[1:5], struct.unpack('>I', f[5:9])[0]\n"

#define ECHO                                                                                       \
	FRAMES_PROGRAM                                                                             \
	"  if f[:1] == b'R': send(b'o' + f[1:])\n"                                                 \
	"  if f[:1] == b'E': done()\n"

#define JSON_PROGRAM                                                                               \
	"import base64, json, os, sys\n"                                                           \
	"def put(s): sys.stdout.write(s + '\\n'); sys.stdout.flush()\n"                            \
	"for line in sys.stdin:\n"                                                                 \
	"  m = json.loads(line)\n"

static void
program(struct bed *b, int mode, int format, const char *text)
{
	script(b, "python3");
	option(b->values, "shell")->u.i = 0;
	b->words[1] = "-c";
	b->words[2] = text;
	*option(b->values, "mode") = (struct riffle_value){.is_set = 1, .u.i = mode};
	*option(b->values, "format") = (struct riffle_value){.is_set = 1, .u.i = format};
}

static void
give(struct call *c, struct riffle_batch *batch, const struct riffle_record *r, uint32_t count,
	const struct riffle_header *headers, const char *const *types)
{
	struct riffle_error err = {0};
	*batch = (struct riffle_batch){.size = sizeof *batch,
		.record_size = sizeof *r,
		.record_count = count,
		.header_count = headers ? 8 : 0,
		.content_type_count = types ? 2 : 0,
		.records = r,
		.headers = headers,
		.content_types = types,
		.release = no_release,
		.host = {1, 0}};
	uint32_t pushed = 0;
	while (pushed < count) {
		int took = ops->call_push(c->call, batch, pushed, count - pushed, &err);
		assert_true(took >= 0);
		pushed += (uint32_t)took;
		if (pushed < count)
			assert_true(eventually(has_room, c));
	}
}

static inline void
give_text(struct call *c, struct riffle_batch *batch, struct riffle_record *r, const char *text)
{
	*r = (struct riffle_record){.value = bytes(text), .time_ms = RIFFLE_TIME_NONE};
	give(c, batch, r, 1, NULL, NULL);
}

/* A window of one text, to its end. */
static inline void
window(struct bed *b, struct call *c, const char *text, const char *start, uint32_t attempt)
{
	static struct riffle_batch batch;
	static struct riffle_record r;
	struct riffle_error err = {0};
	begin_window(b, c, 1, start, attempt);
	ops->call_read(c->call, 1 << 30);
	give_text(c, &batch, &r, text);
	ops->call_end(c->call, &err);
	assert_true(eventually(is_done, c));
	assert_int_equal(batch.host[0], 1);
}

#endif
