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

/*
 * Written after the commit, so that whoever is woken finds the records. Our own event is taken off
 * again before our readers are woken; one of another process that goes with it was committed before.
 */
static void
tell_everybody(struct local_env *env)
{
	char byte = 1;
	if (pwrite(env->wake_file, &byte, 1, 0) < 0)
		(void)byte;
	drain_inotify(env);
	wake_readers(env);
}

static struct local_op *
take_all(struct local_env *env)
{
	pthread_mutex_lock(&env->queue_lock);
	struct local_op *list = env->first;
	env->first = NULL;
	env->last = &env->first;
	pthread_mutex_unlock(&env->queue_lock);
	return list;
}

void
local_writer_post(struct local_env *env, struct local_op *op)
{
	LOCAL_CHECK(env, LOCAL_ENV_MAGIC);
	op->next = NULL;
	pthread_mutex_lock(&env->queue_lock);
	*env->last = op;
	env->last = &op->next;
	pthread_mutex_unlock(&env->queue_lock);
	local_signal_raise(&env->queue);
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
	}
}

static int
touch(struct local_env *env, MDB_txn *txn, struct local_partition *p)
{
	uint64_t start;
	int rc = local_partition_range(txn, p->dbi, &start, &p->next);
	if (rc == 0)
		rc = mdb_cursor_open(txn, p->dbi, &p->cursor);
	if (rc != 0)
		return rc;
	p->next_touched = env->touched;
	env->touched = p;
	return 0;
}

int
local_append(struct local_env *env, MDB_txn *txn, struct local_partition *p,
	const struct riffle_batch *b, const struct riffle_record *r, int64_t now_ms,
	uint64_t *ret_offset)
{
	unsigned char raw[8];
	int rc = p->cursor ? 0 : touch(env, txn, p);
	if (rc != 0)
		return rc;
	MDB_val key = {sizeof raw, raw}, value = {local_record_size(b, r), NULL};
	local_put_u64(raw, p->next);
	rc = mdb_cursor_put(p->cursor, &key, &value, MDB_APPEND | MDB_RESERVE);
	if (rc != 0)
		return rc;
	int64_t time_ms = r->time_ms == RIFFLE_TIME_NONE ? now_ms : r->time_ms;
	local_record_encode(b, r, time_ms, value.mv_data, value.mv_size);
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

void
local_writer_opens(struct local_env *env)
{
	if (env->writer_is_opening)
		return;
	pthread_mutex_lock(&env->opening);
	env->writer_is_opening = 1;
}

static void
opened(struct local_env *env)
{
	if (!env->writer_is_opening)
		return;
	env->writer_is_opening = 0;
	pthread_mutex_unlock(&env->opening);
}

static int
write_list(struct local_env *env, struct local_op *list, int *ret_committing)
{
	MDB_txn *txn;
	*ret_committing = 0;
	int rc = mdb_txn_begin(env->mdb, NULL, 0, &txn);
	if (rc != 0)
		return rc;
	rc = apply_list(env, txn, list);
	forget_touched(env);
	*ret_committing = rc == 0;
	if (rc == 0)
		rc = mdb_txn_commit(txn);
	else
		mdb_txn_abort(txn);
	opened(env);
	return rc;
}

/* No room is found before anything is flushed, so nothing of the transaction is there. */
static int
is_about_room(int rc)
{
	return rc == MDB_MAP_FULL || rc == MDB_TXN_FULL || rc == ENOSPC || rc == EDQUOT;
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

/*
 * A flush that failed may have lost pages that the kernel calls clean: what is on the disk is not
 * known, and the log is not written again before a restart.
 */
static void
break_env(struct local_env *env, int rc)
{
	local_mdb_err(&env->broken, rc,
		"the log in %s could not be committed and is not written any more until a restart",
		env->dir);
	env->broken.code = RIFFLE_E_FATAL;
	env->broken.flags = 0;
}

static void
write_one_by_one(struct local_env *env, struct local_op *list)
{
	int any = 0;
	while (list != NULL) {
		struct local_op *next = list->next;
		struct riffle_error why = {.code = 0};
		int committing = 0, rc = 0;
		list->next = NULL;
		if (env->broken.code != 0)
			why = env->broken;
		else
			rc = write_list(env, list, &committing);
		if (rc != 0)
			local_mdb_err(&why, rc, "cannot write to the log in %s", env->dir);
		if (rc != 0 && committing && !is_about_room(rc))
			break_env(env, rc);
		any |= rc == 0 && list->appends;
		finish_list(list, why.code != 0 ? &why : NULL,
			rc != 0 && committing && !is_about_room(rc));
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
	if (!committing || is_about_room(rc)) {
		/* One of them does not fit: the others need not suffer for it. */
		write_one_by_one(env, list);
		return;
	}
	break_env(env, rc);
	finish_list(list, &env->broken, 1);
}

static void *
run(void *arg)
{
	struct local_env *env = arg;
	for (;;) {
		struct pollfd fds[2] = {{.fd = env->queue.fd, .events = POLLIN},
			{.fd = env->inotify, .events = POLLIN}};
		int stopping = __atomic_load_n(&env->stopping, __ATOMIC_ACQUIRE);
		local_signal_take(&env->queue);
		struct local_op *list = take_all(env);
		if (list != NULL) {
			write_together(env, list);
			continue;
		}
		if (stopping)
			return NULL;
		if (poll(fds, 2, -1) < 0)
			local_assert(errno == EINTR || errno == ENOMEM);
		if ((fds[1].revents & POLLIN) && drain_inotify(env))
			wake_readers(env);
	}
}

static int
open_wake_file(struct local_env *env, struct riffle_error *reterr)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/wake", env->dir);
	env->wake_file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	env->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (env->wake_file < 0 || env->inotify < 0 ||
		inotify_add_watch(env->inotify, path, IN_MODIFY) < 0)
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
