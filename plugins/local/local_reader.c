/* Read transactions that find the segment they need, whose database may have to be opened first. */
#include "local.h"

#include <errno.h>
#include <string.h>

/* How often a segment may go or come between two looks before a reader gives way. */
#define TRIES_MAX 16

int
local_reader_begin(struct local_reader *r, struct riffle_error *reterr)
{
	int rc;
	if (r->is_live)
		local_reader_end(r);
	if (r->txn == NULL) {
		rc = local_read_begin(r->env, &r->txn, reterr);
	} else {
		rc = mdb_txn_renew(r->txn);
		if (rc != 0)
			rc = local_mdb_err(reterr, rc, "cannot read %s", r->env->dir);
	}
	r->is_live = rc == RIFFLE_OK;
	return rc;
}

void
local_reader_end(struct local_reader *r)
{
	if (r->is_live)
		mdb_txn_reset(r->txn);
	r->is_live = 0;
}

void
local_reader_fini(struct local_reader *r)
{
	if (r->txn != NULL)
		mdb_txn_abort(r->txn);
	r->txn = NULL;
	r->is_live = 0;
}

static int
begin(struct local_reader *r)
{
	if (r->is_live)
		local_reader_end(r);
	int rc = r->txn != NULL ? mdb_txn_renew(r->txn)
				: mdb_txn_begin(r->env->mdb, NULL, MDB_RDONLY, &r->txn);
	if (rc == MDB_READERS_FULL && r->txn == NULL) {
		struct riffle_error err;
		rc = local_read_begin(r->env, &r->txn, &err) < 0 ? MDB_READERS_FULL : 0;
	}
	r->is_live = rc == 0;
	return rc;
}

/* 0 with the handle open, also when nothing has been written; EAGAIN: look again. */
static int
look(struct local_reader *r, const struct local_topic *t, uint32_t partition, uint64_t offset,
	struct local_view *v)
{
	int rc = begin(r);
	if (rc == 0)
		rc = local_segment_find(
			r->env, r->txn, t->row.number, partition, offset, &v->segment);
	if (rc != 0)
		return rc == MDB_NOTFOUND ? LOCAL_GONE : rc;
	const struct local_name name =
		local_segment_name(t->row.number, partition, v->segment.base);
	v->handle = local_handle_peek(r->env, &name);
	if (v->handle == NULL)
		return EAGAIN;
	rc = mdb_cursor_open(r->txn, v->handle->dbi, &v->cursor);
	if (rc == 0)
		return 0;
	/* EINVAL: opened after we began. BAD_DBI: dropped since it was opened. */
	local_handle_put(r->env, v->handle);
	v->handle = NULL;
	return rc == EINVAL || rc == MDB_BAD_DBI ? EAGAIN : rc;
}

/*
 * A head that nothing was written to has no database yet; nor has a segment that retention took between two
 * looks, whose records are not to be passed as if there were none. 0 = the head, EAGAIN: look again.
 */
static int
look_for_unwritten(struct local_reader *r, const struct local_topic *t, uint32_t partition,
	uint64_t offset, struct local_view *v)
{
	uint64_t base = v->segment.base;
	int rc = begin(r);
	if (rc == 0)
		rc = local_segment_find(
			r->env, r->txn, t->row.number, partition, offset, &v->segment);
	if (rc != 0)
		return rc == MDB_NOTFOUND ? LOCAL_GONE : rc;
	return v->segment.base == base && v->segment.end == LOCAL_HEAD ? 0 : EAGAIN;
}

int
local_view_open(struct local_reader *r, const struct local_topic *t, uint32_t partition,
	uint64_t offset, int patient, struct local_view *ret)
{
	struct local_handle *keep = NULL;
	int rc = EAGAIN;
	for (int i = 0; i < TRIES_MAX && rc == EAGAIN; i++) {
		memset(ret, 0, sizeof *ret);
		rc = look(r, t, partition, offset, ret);
		if (rc != EAGAIN)
			break;
		/* Held until the next look has found it open. */
		const struct local_name name =
			local_segment_name(t->row.number, partition, ret->segment.base);
		local_reader_end(r);
		local_handle_put(r->env, keep);
		rc = local_handle_get(r->env, &name, patient, &keep);
		if (rc == MDB_NOTFOUND) {
			keep = NULL;
			rc = look_for_unwritten(r, t, partition, offset, ret);
		} else if (rc == 0) {
			rc = EAGAIN;
		}
	}
	local_handle_put(r->env, keep);
	if (rc != 0)
		local_reader_end(r);
	return rc == EAGAIN ? LOCAL_BUSY : rc;
}

void
local_view_close(struct local_reader *r, struct local_view *v)
{
	if (v->cursor != NULL)
		mdb_cursor_close(v->cursor);
	local_handle_put(r->env, v->handle);
	v->cursor = NULL;
	v->handle = NULL;
}

int
local_reader_range(struct local_reader *r, const struct local_topic *t, uint32_t partition,
	uint64_t *ret_start, uint64_t *ret_end)
{
	struct local_segment first;
	struct local_view v;
	int rc = local_view_open(r, t, partition, LOCAL_HEAD, 1, &v);
	if (rc != 0)
		return rc;
	*ret_end = v.segment.base;
	if (v.handle != NULL)
		rc = local_segment_end(r->txn, v.handle->dbi, v.segment.base, ret_end);
	local_view_close(r, &v);
	if (rc == 0)
		rc = local_segment_find(r->env, r->txn, t->row.number, partition, 0, &first);
	*ret_start = first.base;
	local_reader_end(r);
	return rc;
}

/* Times need not be in the order of offsets: the first record that is new enough counts. */
static int
scan(MDB_cursor *c, int64_t time_ms, uint64_t *ret_offset)
{
	MDB_val key, value;
	int rc = mdb_cursor_get(c, &key, &value, MDB_FIRST);
	for (; rc == 0; rc = mdb_cursor_get(c, &key, &value, MDB_NEXT)) {
		if (local_record_time(value.mv_data, value.mv_size) < time_ms)
			continue;
		*ret_offset = local_get_u64(key.mv_data);
		return 0;
	}
	return rc;
}

int
local_reader_offset_at(struct local_reader *r, const struct local_topic *t, uint32_t partition,
	int64_t time_ms, uint64_t *ret_offset)
{
	uint64_t from = 0;
	for (;;) {
		struct local_view v;
		int rc = local_view_open(r, t, partition, from, 1, &v);
		if (rc != 0)
			return rc;
		rc = MDB_NOTFOUND;
		if (v.handle != NULL && v.segment.row.newest_ms >= time_ms)
			rc = scan(v.cursor, time_ms, ret_offset);
		from = v.segment.end;
		local_view_close(r, &v);
		local_reader_end(r);
		if (rc != MDB_NOTFOUND)
			return rc;
		if (from == LOCAL_HEAD)
			break;
	}
	uint64_t start;
	return local_reader_range(r, t, partition, &start, ret_offset);
}
