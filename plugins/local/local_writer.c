/*
 * The writer thread: all that waits goes into one LMDB transaction and one sync. It also watches the wake
 * file, by which every process tells the others that it has committed.
 */
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

static void
wake_readers(struct local_env *env)
{
	pthread_mutex_lock(&env->lock);
	for (struct local_source *s = env->listeners; s != NULL; s = local_source_next(s))
		local_source_signal(s);
	pthread_mutex_unlock(&env->lock);
}

static int
drain_inotify(struct local_env *env)
{
	char buf[4096] __attribute__((aligned(8)));
	int any = 0;
	while (read(env->inotify, buf, sizeof buf) > 0)
		any = 1;
	return any;
}

/* A signal must not silence it. */
static int
write_wake_file(const struct local_env *env)
{
	const char byte = 1;
	ssize_t n;
	do
		n = pwrite(env->wake_file, &byte, 1, 0);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

/*
 * Written after the commit, so that whoever is woken finds the records. Our own event is taken off
 * again before our readers are woken; one of another process that goes with it was committed before.
 */
static void
tell_everybody(struct local_env *env)
{
	(void)write_wake_file(env);
	drain_inotify(env);
	wake_readers(env);
}

/* What waits, up to the size of a commit; at least one where there is one. */
static struct local_op *
take_some(struct local_env *env)
{
	size_t bytes = 0;
	pthread_mutex_lock(&env->queue_lock);
	struct local_op *list = env->first, **at = &env->first;
	while (*at != NULL && (at == &env->first || bytes < env->settings.commit_bytes)) {
		bytes += (*at)->bytes;
		at = &(*at)->next;
	}
	env->first = *at;
	*at = NULL;
	if (env->first == NULL)
		env->last = &env->first;
	env->queued_bytes -= bytes;
	pthread_mutex_unlock(&env->queue_lock);
	return list;
}

void
local_writer_post(struct local_env *env, struct local_op *op)
{
	LOCAL_CHECK(env, LOCAL_ENV_MAGIC);
	op->next = NULL;
	pthread_mutex_lock(&env->queue_lock);
	if (env->first == NULL && env->settings.commit_delay_ms > 0)
		env->queued_ns = local_mono_ns();
	env->queued_bytes += op->bytes;
	*env->last = op;
	env->last = &op->next;
	pthread_mutex_unlock(&env->queue_lock);
	local_signal_raise(&env->queue);
}

/* How far a segment's newest time is rounded up, so that its row is not written with each commit. */
#define NEWEST_STEP_MS 10000

static int
put_rows(struct local_env *env, MDB_txn *txn)
{
	int rc = 0;
	for (struct local_partition *p = env->touched; p != NULL && rc == 0; p = p->next_touched) {
		if (!p->is_row_dirty)
			continue;
		rc = local_segment_put(env, txn, p->topic->row.number,
			(uint32_t)(p - p->topic->partitions), &p->head);
		p->is_row_dirty = 0;
	}
	return rc;
}

/* The cursors and next offsets of partitions live as long as the transaction. */
static void
forget_touched(struct local_env *env)
{
	while (env->touched != NULL) {
		struct local_partition *p = env->touched;
		env->touched = p->next_touched;
		if (p->cursor != NULL)
			mdb_cursor_close(p->cursor);
		p->cursor = NULL;
		p->is_row_dirty = 0;
	}
}

static int
is_to_be_sealed(const struct local_topic *t, const struct local_segment *head, uint64_t records,
	uint64_t bytes)
{
	int64_t max_bytes = __atomic_load_n(&t->row.segment_bytes, __ATOMIC_RELAXED);
	int64_t max_ms = __atomic_load_n(&t->row.segment_ms, __ATOMIC_RELAXED);
	if (records == 0)
		return 0;
	return bytes >= (uint64_t)max_bytes ||
	       (max_ms > 0 && local_wall_ms() - head->row.created_ms >= max_ms);
}

/* The head's database; a full head is sealed first, which only who may open databases can do. */
static int
open_head(struct local_env *env, MDB_txn *txn, struct local_partition *p, MDB_dbi *ret_dbi)
{
	uint32_t number = p->topic->row.number;
	uint32_t partition = (uint32_t)(p - p->topic->partitions);
	uint64_t records, bytes, end;
	struct local_name name = local_segment_name(number, partition, p->head.base);
	int rc = local_handle_open(env, txn, &name, MDB_CREATE, ret_dbi);
	if (rc == 0)
		rc = local_segment_stat(txn, *ret_dbi, &records, &bytes);
	if (rc == 0 && records == 0) {
		p->head.row.created_ms = local_wall_ms();
		p->is_row_dirty = 1;
	}
	if (rc != 0 || !is_to_be_sealed(p->topic, &p->head, records, bytes))
		return rc;
	if (!env->writer_is_opening)
		return LOCAL_REOPEN;
	rc = local_segment_end(txn, *ret_dbi, p->head.base, &end);
	if (rc == 0)
		rc = local_segment_roll(env, txn, number, partition, &p->head, *ret_dbi, end);
	name = local_segment_name(number, partition, p->head.base);
	return rc != 0 ? rc : local_handle_open(env, txn, &name, MDB_CREATE, ret_dbi);
}

int
local_touch(struct local_env *env, MDB_txn *txn, struct local_partition *p)
{
	MDB_dbi dbi;
	if (p->cursor != NULL)
		return 0;
	p->is_row_dirty = 0;
	int rc = local_segment_find(env, txn, p->topic->row.number,
		(uint32_t)(p - p->topic->partitions), LOCAL_HEAD, &p->head);
	if (rc == 0)
		rc = open_head(env, txn, p, &dbi);
	if (rc == 0)
		rc = local_segment_end(txn, dbi, p->head.base, &p->next);
	if (rc == 0)
		rc = mdb_cursor_open(txn, dbi, &p->cursor);
	if (rc != 0)
		return rc == MDB_NOTFOUND ? LOCAL_GONE : rc;
	p->next_touched = env->touched;
	env->touched = p;
	return 0;
}

static void
note_time(struct local_partition *p, int64_t time_ms)
{
	if (time_ms <= p->head.row.newest_ms)
		return;
	p->head.row.newest_ms =
		time_ms > INT64_MAX - NEWEST_STEP_MS ? INT64_MAX : time_ms + NEWEST_STEP_MS;
	p->is_row_dirty = 1;
}

int
local_append(struct local_env *env, MDB_txn *txn, struct local_partition *p,
	const struct riffle_batch *b, const struct riffle_record *r, int64_t now_ms,
	uint64_t *ret_offset)
{
	unsigned char raw[8];
	int rc = p->cursor ? 0 : local_touch(env, txn, p);
	if (rc != 0)
		return rc;
	MDB_val key = {sizeof raw, raw}, value = {local_record_size(b, r), NULL};
	local_put_u64(raw, p->next);
	rc = mdb_cursor_put(p->cursor, &key, &value, MDB_APPEND | MDB_RESERVE);
	if (rc != 0)
		return rc;
	int64_t time_ms = r->time_ms == RIFFLE_TIME_NONE ? now_ms : r->time_ms;
	note_time(p, time_ms);
	local_record_encode(b, r, time_ms, p->next, value.mv_data, value.mv_size);
	*ret_offset = p->next++;
	return 0;
}

/* 0 = all of the list is applied, but for those refused; else the LMDB error that stopped it. */
static int
apply_list(struct local_env *env, MDB_txn *txn, struct local_op *list)
{
	for (struct local_op *op = list; op != NULL; op = op->next) {
		int refused = 0;
		op->error.code = RIFFLE_OK;
		int rc = op->apply(op, env, txn, &refused);
		if (rc != 0 && !refused)
			return rc;
	}
	return 0;
}

/*
 * Tries once. LOCAL_REOPEN: nothing was done, the same again with the right to open databases.
 * *ret_committing tells whether it came as far as the commit.
 */
static int
try_list(struct local_env *env, struct local_op *list, int *ret_committing)
{
	MDB_txn *txn;
	*ret_committing = 0;
	int rc = mdb_txn_begin(env->mdb, NULL, 0, &txn);
	if (rc != 0)
		return rc;
	rc = apply_list(env, txn, list);
	if (rc == 0)
		rc = put_rows(env, txn);
	forget_touched(env);
	*ret_committing = rc == 0;
	if (rc == 0)
		rc = mdb_txn_commit(txn);
	else
		mdb_txn_abort(txn);
	return rc;
}

static int
write_list(struct local_env *env, struct local_op *list, int *ret_committing)
{
	int rc = try_list(env, list, ret_committing), opened = 0;
	if (rc == LOCAL_REOPEN) {
		local_handles_end(env, 0);
		local_handles_allow(env);
		opened = 1;
		rc = try_list(env, list, ret_committing);
	}
	local_handles_end(env, rc == 0);
	if (opened)
		wake_readers(env);
	return rc;
}

/*
 * LMDB writes and syncs the data, then the page that makes it valid. When the first fails, nothing of
 * the transaction is there, and what is there was synced before. When the second fails it is not known
 * what the disk has, and LMDB refuses this environment from then on.
 */
static int
is_panicked(struct local_env *env)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn);
	if (rc == 0)
		mdb_txn_abort(txn);
	return rc == MDB_PANIC;
}

static void
finish_list(struct local_op *list, const struct riffle_error *why, int is_unknown)
{
	while (list != NULL) {
		struct local_op *next = list->next;
		if (why != NULL) {
			list->error = *why;
			list->is_unknown = is_unknown;
		}
		list->done(list);
		list = next;
	}
}

static void
break_env(struct local_env *env, int rc)
{
	local_mdb_err(&env->broken, rc,
		"the log in %s could not be committed and is not used any more until a restart",
		env->dir);
	env->broken.code = RIFFLE_E_FATAL;
	env->broken.flags = 0;
}

/* Of what is to be written one after the other, so many failures in a row are enough to know. */
#define FAILURES_MAX 3

static void
write_one_by_one(struct local_env *env, struct local_op *list)
{
	int any = 0, failures = 0;
	struct riffle_error why = {.code = 0};
	while (list != NULL) {
		struct local_op *next = list->next;
		int committing = 0, rc = 0, unknown = 0;
		list->next = NULL;
		if (env->broken.code != 0)
			why = env->broken;
		else if (failures < FAILURES_MAX)
			rc = write_list(env, list, &committing);
		if (rc != 0) {
			local_mdb_err(&why, rc, "cannot write to the log in %s", env->dir);
			failures += committing;
			unknown = committing && is_panicked(env);
		} else if (env->broken.code == 0 && failures < FAILURES_MAX) {
			failures = 0;
			any |= list->appends;
		}
		if (unknown)
			break_env(env, rc);
		finish_list(list,
			rc != 0 || failures >= FAILURES_MAX || env->broken.code != 0 ? &why : NULL,
			unknown);
		list = next;
	}
	if (any)
		tell_everybody(env);
}

static void
write_together(struct local_env *env, struct local_op *list)
{
	int committing, appends = 0;
	if (env->broken.code != 0) {
		finish_list(list, &env->broken, 0);
		return;
	}
	for (struct local_op *op = list; op != NULL; op = op->next)
		appends |= op->appends;
	int rc = write_list(env, list, &committing);
	if (rc == 0) {
		if (appends)
			tell_everybody(env);
		finish_list(list, NULL, 0);
		return;
	}
	if (!committing || !is_panicked(env)) {
		/* One of them does not fit: the others need not suffer for it. */
		write_one_by_one(env, list);
		return;
	}
	break_env(env, rc);
	finish_list(list, &env->broken, 1);
}

/* The state of cleaning, of the writer's loop. */
struct cleaning {
	int64_t next_ns;
};

/* What is due is found while others may write; the step looks only whether it still is. */
static int
find_job(struct local_env *env, struct local_job *ret)
{
	MDB_txn *txn;
	if (mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn) != 0)
		return 0;
	int rc = local_clean_find(env, txn, ret);
	mdb_txn_abort(txn);
	return rc == 0 && ret->kind != LOCAL_JOB_NONE;
}

/* 1 = done. A failure is met again in the next round; what it tells is met by who writes, too. */
static int
clean_step(struct local_env *env, struct local_job *job)
{
	MDB_txn *txn;
	int committing = 0;
	local_handles_allow(env);
	int rc = mdb_txn_begin(env->mdb, NULL, 0, &txn);
	if (rc == 0) {
		rc = local_clean_do(env, txn, job);
		committing = rc == 0;
		if (committing)
			rc = mdb_txn_commit(txn);
		else
			mdb_txn_abort(txn);
	}
	if (rc != 0 && committing && is_panicked(env))
		break_env(env, rc);
	local_handles_end(env, rc == 0);
	wake_readers(env);
	return rc == 0;
}

/*
 * While there is something to write, cleaning takes a tenth of the time; it goes on in steps until nothing
 * is due, and looks again after the interval.
 */
#define SHARE 9

static void
clean(struct local_env *env, struct cleaning *c, int is_busy)
{
	struct local_job job;
	int64_t begin_ns = local_mono_ns();
	if (begin_ns < c->next_ns || env->broken.code != 0)
		return;
	int dead;
	/* What a reader that was killed still holds would let the file grow. */
	mdb_reader_check(env->mdb, &dead);
	int done = find_job(env, &job) && clean_step(env, &job);
	int64_t end_ns = local_mono_ns();
	c->next_ns = end_ns;
	if (!done)
		c->next_ns += env->settings.clean_interval_ms * 1000000;
	else if (is_busy)
		c->next_ns += SHARE * (end_ns - begin_ns);
}

/* Milliseconds until the commit may begin; 0 = now, or nothing waits. */
static int
delay_ms(struct local_env *env)
{
	if (env->settings.commit_delay_ms == 0)
		return 0;
	pthread_mutex_lock(&env->queue_lock);
	int is_full = env->first == NULL || env->queued_bytes >= env->settings.commit_bytes;
	int64_t left_ns =
		env->queued_ns + env->settings.commit_delay_ms * 1000000 - local_mono_ns();
	pthread_mutex_unlock(&env->queue_lock);
	return is_full || left_ns <= 0 || __atomic_load_n(&env->stopping, __ATOMIC_ACQUIRE)
		       ? 0
		       : (int)(left_ns / 1000000) + 1;
}

static int
until_ms(const struct cleaning *c)
{
	int64_t left_ns = c->next_ns - local_mono_ns();
	return left_ns <= 0 ? 0 : (int)(left_ns / 1000000) + 1;
}

static void
wait_ms(struct local_env *env, int timeout_ms)
{
	struct pollfd fds[2] = {
		{.fd = env->queue.fd, .events = POLLIN}, {.fd = env->inotify, .events = POLLIN}};
	if (poll(fds, 2, timeout_ms) < 0)
		local_assert(errno == EINTR || errno == ENOMEM);
	if ((fds[1].revents & POLLIN) && drain_inotify(env))
		wake_readers(env);
}

static void *
run(void *arg)
{
	struct local_env *env = arg;
	struct cleaning cleaning = {
		.next_ns = local_mono_ns() + env->settings.clean_interval_ms * 1000000};
	for (;;) {
		int stopping = __atomic_load_n(&env->stopping, __ATOMIC_ACQUIRE);
		local_signal_take(&env->queue);
		int delay = delay_ms(env);
		struct local_op *list = delay == 0 ? take_some(env) : NULL;
		if (list != NULL)
			write_together(env, list);
		else if (stopping)
			return NULL;
		clean(env, &cleaning, list != NULL);
		if (list == NULL)
			wait_ms(env, delay ? delay : until_ms(&cleaning));
	}
}

static int
open_wake_file(struct local_env *env, struct riffle_error *reterr)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/wake", env->dir);
	local_make_file(path);
	env->wake_file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	env->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	/*
	 * Its block is taken now, so that a full disk does not silence it; once, for it wakes the others, and
	 * before we watch it, for we are not told of our own.
	 */
	struct stat st;
	if (env->wake_file < 0 || fstat(env->wake_file, &st) < 0 ||
		(st.st_size == 0 && !write_wake_file(env)))
		return local_err(
			reterr, RIFFLE_E_UNAVAILABLE, "cannot write %s: %s", path, strerror(errno));
	if (env->inotify < 0 || inotify_add_watch(env->inotify, path, IN_MODIFY) < 0)
		return local_err(
			reterr, RIFFLE_E_UNAVAILABLE, "cannot watch %s: %s", path, strerror(errno));
	return RIFFLE_OK;
}

static void
close_files(struct local_env *env)
{
	if (env->wake_file >= 0)
		close(env->wake_file);
	if (env->inotify >= 0)
		close(env->inotify);
	local_signal_fini(&env->queue);
	pthread_mutex_destroy(&env->queue_lock);
}

int
local_writer_start(struct local_env *env, struct riffle_error *reterr)
{
	sigset_t all, before;
	env->last = &env->first;
	pthread_mutex_init(&env->queue_lock, NULL);
	int rc = local_signal_init(&env->queue) < 0
			 ? local_err(reterr, RIFFLE_E_UNAVAILABLE, "cannot make an eventfd: %s",
				   strerror(errno))
			 : RIFFLE_OK;
	if (rc == RIFFLE_OK)
		rc = open_wake_file(env, reterr);
	else
		env->wake_file = env->inotify = -1;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (rc == RIFFLE_OK && pthread_create(&env->thread, NULL, run, env) != 0)
		rc = local_err(reterr, RIFFLE_E_UNAVAILABLE, "cannot start a thread");
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc < 0)
		close_files(env);
	else
		pthread_setname_np(env->thread, "rfl-local");
	return rc;
}

void
local_writer_stop(struct local_env *env)
{
	__atomic_store_n(&env->stopping, 1, __ATOMIC_RELEASE);
	local_signal_raise(&env->queue);
	pthread_join(env->thread, NULL);
	close_files(env);
}
