/* Chunks of records: counted, found again, put into a file when there are too many. */
#include "task/store.h"

#include "base/check.h"
#include "base/error.h"
#include "base/mem.h"
#include "plugin/host.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STORE_MAGIC 0x53544f52u

/* A part of the spill file that nothing lies in. */
struct hole {
	int64_t at, len;
};

struct rfl_store {
	uint32_t magic;
	size_t lane_count;
	struct rfl_list *lanes;
	uint64_t order;
	size_t bytes;
	const char *spill_dir;
	size_t memory_bytes;
	int64_t spill_bytes, spilled, file_end;
	struct hole *holes; /* by place; no two touch, and none touches the end */
	size_t hole_count, hole_room;
	int fd;
};

struct rfl_store *
rfl_store_create(size_t lane_count, const char *spill_dir, size_t memory_bytes, int64_t spill_bytes)
{
	struct rfl_store *s = rfl_zalloc(sizeof *s);
	s->magic = STORE_MAGIC;
	s->lane_count = lane_count;
	s->lanes = rfl_zalloc(lane_count * sizeof *s->lanes);
	for (size_t i = 0; i < lane_count; i++)
		rfl_list_init(&s->lanes[i]);
	s->spill_dir = spill_dir;
	s->memory_bytes = memory_bytes;
	s->spill_bytes = spill_bytes;
	s->fd = -1;
	return s;
}

static void
let_go(struct rfl_store *s, struct rfl_chunk *c)
{
	if (c->batch != NULL) {
		rfl_batch_unref(c->batch);
		s->bytes -= c->bytes;
	}
	c->batch = NULL;
}

static void
remove_hole(struct rfl_store *s, size_t i)
{
	s->hole_count--;
	memmove(s->holes + i, s->holes + i + 1, (s->hole_count - i) * sizeof *s->holes);
}

static void
add_hole(struct rfl_store *s, int64_t at, int64_t len)
{
	size_t i = s->hole_count;
	while (i > 0 && s->holes[i - 1].at > at)
		i--;
	rfl_grow(&s->holes, &s->hole_room, s->hole_count + 1, sizeof *s->holes);
	memmove(s->holes + i + 1, s->holes + i, (s->hole_count - i) * sizeof *s->holes);
	s->holes[i] = (struct hole){at, len};
	s->hole_count++;
	if (i + 1 < s->hole_count && at + len == s->holes[i + 1].at) {
		s->holes[i].len += s->holes[i + 1].len;
		remove_hole(s, i + 1);
	}
	if (i > 0 && s->holes[i - 1].at + s->holes[i - 1].len == at) {
		s->holes[i - 1].len += s->holes[i].len;
		remove_hole(s, i--);
	}
	if (s->holes[i].at + s->holes[i].len == s->file_end) {
		s->file_end = s->holes[i].at;
		remove_hole(s, i);
	}
}

/* Where so much has room: with a file that only grew it would be as long as all that was ever spilled. */
static int64_t
take_room(struct rfl_store *s, int64_t len)
{
	int64_t at = s->file_end;
	for (size_t i = 0; i < s->hole_count; i++) {
		struct hole *h = &s->holes[i];
		if (h->len < len)
			continue;
		at = h->at;
		h->at += len;
		h->len -= len;
		if (h->len == 0)
			remove_hole(s, i);
		return at;
	}
	s->file_end += len;
	return at;
}

static void
free_chunk(struct rfl_store *s, struct rfl_chunk *c)
{
	let_go(s, c);
	if (c->spilled_at >= 0) {
		s->spilled -= (int64_t)c->bytes;
		add_hole(s, c->spilled_at, (int64_t)c->bytes);
	}
	rfl_list_remove(&c->link);
	free(c->open);
	free(c->offsets);
	free(c);
}

void
rfl_store_destroy(struct rfl_store *s)
{
	if (s == NULL)
		return;
	RFL_CHECK(s, STORE_MAGIC);
	struct rfl_chunk *c;
	for (size_t i = 0; i < s->lane_count; i++)
		while ((c = rfl_list_first(&s->lanes[i], struct rfl_chunk, link)) != NULL)
			free_chunk(s, c);
	if (s->fd >= 0)
		close(s->fd);
	RFL_RETIRE(s);
	free(s->holes);
	free(s->lanes);
	free(s);
}

static struct rfl_chunk *
add(struct rfl_store *s, uint32_t lane, struct riffle_batch *b, int is_copy)
{
	struct rfl_chunk *c = rfl_zalloc(sizeof *c);
	c->lane = lane;
	c->count = b->record_count;
	c->order = s->order++;
	c->first_offset = riffle_batch_at(b, 0)->offset;
	c->bytes = b->pinned_bytes;
	c->batch = b;
	c->spilled_at = -1;
	c->is_copy = is_copy;
	s->bytes += c->bytes;
	rfl_list_append(&s->lanes[lane], &c->link);
	return c;
}

struct rfl_chunk *
rfl_store_copy(struct rfl_store *s, uint32_t lane, const struct riffle_batch *from, uint32_t first,
	uint32_t count, uint32_t stream)
{
	RFL_CHECK(s, STORE_MAGIC);
	return add(s, lane, rfl_batch_copy(from, first, count, stream), 1);
}

struct rfl_chunk *
rfl_store_borrow(struct rfl_store *s, uint32_t lane, struct riffle_batch *b)
{
	RFL_CHECK(s, STORE_MAGIC);
	return add(s, lane, b, 0);
}

void
rfl_store_need(struct rfl_chunk *c, uint32_t n)
{
	c->live += n;
}

void
rfl_store_discard(struct rfl_store *s, struct rfl_chunk *c)
{
	if (c->live == 0 && c->kept == 0)
		free_chunk(s, c);
}

void
rfl_store_release(struct rfl_store *s, struct rfl_chunk *c, uint32_t n)
{
	rfl_assert(c->live >= n);
	c->live -= n;
	rfl_store_discard(s, c);
}

void
rfl_store_stage(struct rfl_chunk *c, uint32_t n)
{
	rfl_assert(c->live >= n);
	c->live -= n;
	c->kept += n;
}

void
rfl_store_unstage(struct rfl_chunk *c, uint32_t n)
{
	rfl_assert(c->kept >= n);
	c->kept -= n;
	c->live += n;
}

void
rfl_store_release_kept(struct rfl_store *s, struct rfl_chunk *c, uint32_t n)
{
	rfl_assert(c->kept >= n);
	c->kept -= n;
	rfl_store_discard(s, c);
}

static int
read_back(struct rfl_store *s, const struct rfl_chunk *c, struct riffle_batch **ret_batch,
	struct riffle_error *reterr)
{
	char *bytes = rfl_alloc(c->bytes);
	size_t done = 0;
	while (done < c->bytes) {
		ssize_t n =
			pread(s->fd, bytes + done, c->bytes - done, c->spilled_at + (int64_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			free(bytes);
			return rfl_err(reterr, RIFFLE_E_FATAL, "cannot read the spill file: %s",
				n < 0 ? strerror(errno) : "it is shorter than it was");
		}
		done += (size_t)n;
	}
	*ret_batch = rfl_batch_unpack(bytes);
	return RIFFLE_OK;
}

int
rfl_store_batch(struct rfl_store *s, struct rfl_chunk *c, struct riffle_batch **ret_batch,
	struct riffle_error *reterr)
{
	if (c->batch == NULL)
		return read_back(s, c, ret_batch, reterr);
	rfl_batch_ref(c->batch);
	*ret_batch = c->batch;
	return RIFFLE_OK;
}

size_t
rfl_store_lane_count(const struct rfl_store *s)
{
	return s->lane_count;
}

const struct rfl_list *
rfl_store_chunks(const struct rfl_store *s, uint32_t lane)
{
	return &s->lanes[lane];
}

int64_t
rfl_store_low(const struct rfl_store *s, uint32_t lane, int64_t next)
{
	const struct rfl_chunk *c;
	rfl_list_foreach (c, &s->lanes[lane], struct rfl_chunk, link) {
		if (c->live > 0)
			return c->first_offset;
	}
	return next;
}

size_t
rfl_store_bytes(const struct rfl_store *s)
{
	return s->bytes;
}

int64_t
rfl_store_spilled(const struct rfl_store *s)
{
	return s->spilled;
}

/* Without a name from the start, so that nothing stays behind whatever happens. */
static int
open_file(struct rfl_store *s, struct riffle_error *reterr)
{
	if (s->fd >= 0)
		return RIFFLE_OK;
	s->fd = open(s->spill_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (s->fd < 0 && errno == EOPNOTSUPP) {
		char *path = rfl_sprintf("%s/spill-XXXXXX", s->spill_dir);
		s->fd = mkostemp(path, O_CLOEXEC);
		if (s->fd >= 0)
			unlink(path);
		free(path);
	}
	return s->fd >= 0 ? RIFFLE_OK
			  : rfl_err(reterr, RIFFLE_E_FATAL, "cannot make a spill file in %s: %s",
				    s->spill_dir, strerror(errno));
}

static int
write_chunk(struct rfl_store *s, struct rfl_chunk *c, struct riffle_error *reterr)
{
	struct riffle_bytes b = rfl_batch_pack(c->batch);
	size_t done = 0;
	rfl_assert(b.len == c->bytes);
	int64_t at = take_room(s, (int64_t)b.len);
	while (done < b.len) {
		ssize_t n =
			pwrite(s->fd, (const char *)b.ptr + done, b.len - done, at + (int64_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			rfl_err(reterr, RIFFLE_E_FATAL, "cannot write the spill file: %s",
				strerror(errno));
			add_hole(s, at, (int64_t)b.len);
			return reterr->code;
		}
		done += (size_t)n;
	}
	c->spilled_at = at;
	s->spilled += (int64_t)b.len;
	let_go(s, c);
	return RIFFLE_OK;
}

/* The newest copy in memory: its windows are the last to be over. */
static struct rfl_chunk *
newest(const struct rfl_store *s)
{
	struct rfl_chunk *found = NULL;
	for (size_t i = 0; i < s->lane_count; i++)
		for (struct rfl_list *at = s->lanes[i].prev; at != &s->lanes[i]; at = at->prev) {
			struct rfl_chunk *c = rfl_container(at, struct rfl_chunk, link);
			if (c->batch == NULL || !c->is_copy || c->is_pinned)
				continue;
			if (found == NULL || c->order > found->order)
				found = c;
			break;
		}
	return found;
}

int
rfl_store_spill(struct rfl_store *s, size_t limit, struct riffle_error *reterr)
{
	RFL_CHECK(s, STORE_MAGIC);
	struct rfl_chunk *c;
	while (s->bytes > limit && (c = newest(s)) != NULL) {
		if (s->spilled + (int64_t)c->bytes > s->spill_bytes)
			return rfl_err(reterr, RIFFLE_E_FULL,
				"its windows need more than memory = %zu and spill = %" PRId64
				" bytes",
				s->memory_bytes, s->spill_bytes);
		int rc = open_file(s, reterr);
		if (rc == RIFFLE_OK)
			rc = write_chunk(s, c, reterr);
		if (rc < 0)
			return rc;
	}
	return RIFFLE_OK;
}
