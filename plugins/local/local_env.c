/* Environments: one for each directory and process, shared by all instances that name it. */
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The smallest page that LMDB has on any of our machines. */
#define PAGE_BYTES_MIN 4096

#define READERS_MAX 1022
/* What LMDB's table of so many readers takes: a cache line each, and two. */
#define LOCK_BYTES ((READERS_MAX + 2) * 64)

/* LMDB forbids opening an environment twice in one process. */
static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct local_env *registry;

_Noreturn void
local_assert_failed(const char *expr, const char *file, int line)
{
	fprintf(stderr, "riffle local provider: a bug: %s:%d: %s\n", file, line, expr);
	abort();
}

static void RIFFLE_PRINTF(4, 0)
	fill(struct riffle_error *err, int code, uint32_t flags, const char *fmt, va_list ap)
{
	err->code = code;
	err->flags = flags;
	vsnprintf(err->text, sizeof err->text, fmt, ap);
}

int
local_err(struct riffle_error *err, int code, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fill(err, code, code == RIFFLE_E_UNAVAILABLE ? RIFFLE_ERR_RETRIABLE : 0, fmt, ap);
	va_end(ap);
	return code;
}

/* What passes when somebody makes room, or repairs what is below us, is worth another try. */
static int
code_of(int rc, uint32_t *ret_flags)
{
	*ret_flags = RIFFLE_ERR_RETRIABLE;
	switch (rc) {
	case MDB_MAP_FULL:
	case MDB_MAP_RESIZED:
	case MDB_READERS_FULL:
	case MDB_DBS_FULL:
	case LOCAL_BUSY:
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
	case EIO:
	case EROFS:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case EAGAIN:
	case EINTR:
	case ENOLCK:
		return RIFFLE_E_UNAVAILABLE;
	case LOCAL_GONE:
		*ret_flags = 0;
		return RIFFLE_E_NOTFOUND;
	case MDB_TXN_FULL:
		*ret_flags = 0;
		return RIFFLE_E_DATA;
	default:
		*ret_flags = 0;
		return RIFFLE_E_FATAL;
	}
}

static const char *
text_of(int rc)
{
	switch (rc) {
	case LOCAL_GONE:
		return "the topic was removed";
	case LOCAL_BUSY:
		return "databases are being opened";
	case MDB_MAP_FULL:
		return "map-size of the provider is used up";
	case MDB_MAP_RESIZED:
		return "another process has let it grow beyond the map-size of this one";
	case MDB_TXN_FULL:
		return "the transaction is larger than LMDB can commit";
	case MDB_DBS_FULL:
		return "more segments are in use at once than max-partitions allows for";
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
		return "the store itself is damaged, or its file was cut off";
	case EIO:
		/* What a disk that fills up within a write looks like through LMDB, too. */
		return "Input/output error, or no space left on device";
	case ENOMEM:
		return "Cannot allocate memory (map-size of the provider may be more than this "
		       "process can map)";
	default:
		return mdb_strerror(rc);
	}
}

int
local_mdb_err(struct riffle_error *err, int rc, const char *fmt, ...)
{
	va_list ap;
	uint32_t flags;
	char why[160];
	int code = code_of(rc, &flags);
	snprintf(why, sizeof why, ": %s", text_of(rc));
	va_start(ap, fmt);
	fill(err, code, flags, fmt, ap);
	va_end(ap);
	/* The reason is what must not be cut off. */
	size_t room = sizeof err->text - 1 - strlen(why);
	if (strlen(err->text) > room)
		err->text[room] = '\0';
	strcat(err->text, why);
	return code;
}

void *
local_alloc(size_t size)
{
	void *p = calloc(1, size);
	if (p == NULL) {
		fprintf(stderr, "riffle local provider: out of memory (%zu bytes)\n", size);
		abort();
	}
	return p;
}

char *
local_strdup(const char *s)
{
	size_t len = strlen(s) + 1;
	return memcpy(local_alloc(len), s, len);
}

int64_t
local_mono_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t
local_wall_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int
local_signal_init(struct local_signal *s)
{
	s->raised = 0;
	s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return s->fd < 0 ? -1 : 0;
}

void
local_signal_fini(struct local_signal *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

void
local_signal_raise(struct local_signal *s)
{
	uint64_t one = 1;
	if (__atomic_exchange_n(&s->raised, 1, __ATOMIC_SEQ_CST))
		return;
	local_assert(write(s->fd, &one, sizeof one) == (ssize_t)sizeof one);
}

/*
 * The fd is emptied first and the flag put down after: a raise in between writes nothing, and the
 * taker, who looks only now, sees what it announced.
 */
void
local_signal_take(struct local_signal *s)
{
	uint64_t n;
	if (!__atomic_load_n(&s->raised, __ATOMIC_SEQ_CST))
		return;
	if (read(s->fd, &n, sizeof n) < 0)
		local_assert(errno == EAGAIN || errno == EINTR);
	__atomic_store_n(&s->raised, 0, __ATOMIC_SEQ_CST);
}

int
local_read_begin(struct local_env *env, MDB_txn **ret_txn, struct riffle_error *reterr)
{
	int rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, ret_txn);
	if (rc == MDB_READERS_FULL) {
		/* Slots of processes that were killed are not given back by themselves. */
		int cleared;
		mdb_reader_check(env->mdb, &cleared);
		rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, ret_txn);
	}
	return rc != 0 ? local_mdb_err(reterr, rc, "cannot read %s", env->dir) : RIFFLE_OK;
}

/* An environment of LMDB's that holds something, but not our mark, is somebody else's. */
static int
is_empty(MDB_txn *txn)
{
	MDB_dbi dbi;
	MDB_stat st;
	return mdb_dbi_open(txn, NULL, 0, &dbi) == 0 && mdb_stat(txn, dbi, &st) == 0 &&
	       st.ms_entries == 0;
}

/* Looked at before anything else is, and nothing is changed in another format. */
static int
check_format(struct local_env *env, MDB_txn *txn, struct riffle_error *reterr)
{
	uint32_t version = LOCAL_FORMAT;
	MDB_val key = local_text_val("format"), value = {sizeof version, &version};
	int rc = mdb_dbi_open(txn, "meta", 0, &env->meta);
	if (rc == MDB_NOTFOUND && is_empty(txn)) {
		rc = mdb_dbi_open(txn, "meta", MDB_CREATE, &env->meta);
		if (rc == 0)
			rc = mdb_put(txn, env->meta, &key, &value, 0);
	} else if (rc == 0) {
		rc = mdb_get(txn, env->meta, &key, &value);
	}
	if (rc == MDB_NOTFOUND || (rc == 0 && value.mv_size != sizeof version))
		return local_err(reterr, RIFFLE_E_CONFIG,
			"%s is an LMDB environment, but not a log of riffle's", env->dir);
	if (rc != 0)
		return local_mdb_err(reterr, rc, "cannot open the log in %s", env->dir);
	memcpy(&version, value.mv_data, sizeof version);
	if (version == LOCAL_FORMAT)
		return RIFFLE_OK;
	return local_err(reterr, RIFFLE_E_CONFIG,
		"the log in %s is in format %u, this version of riffle reads format %u%s", env->dir,
		version, LOCAL_FORMAT,
		version > LOCAL_FORMAT ? ": a newer riffle is needed"
				       : ": export it with the riffle that wrote it");
}

/*
 * Reading behind the end of a file that was cut off, as by a copy that did not end, kills the process. Made as
 * long as it should be it has empty pages there, which LMDB takes for damaged. A sound file may be short, too, by pages
 * that were never used. Inside a write transaction, so that nobody lets it grow meanwhile; 0 or errno.
 */
static int
make_long_enough(struct local_env *env)
{
	MDB_envinfo info;
	MDB_stat pages;
	struct stat st;
	int fd;
	int rc = mdb_env_info(env->mdb, &info);
	if (rc == 0)
		rc = mdb_env_stat(env->mdb, &pages);
	if (rc == 0)
		rc = mdb_env_get_fd(env->mdb, &fd);
	if (rc != 0)
		return rc;
	if (fstat(fd, &st) < 0)
		return errno;
	off_t whole = (off_t)(info.me_last_pgno + 1) * pages.ms_psize;
	return st.st_size < whole && ftruncate(fd, whole) < 0 ? errno : 0;
}

static int
open_databases(struct local_env *env, struct riffle_error *reterr)
{
	MDB_txn *txn;
	const struct {
		const char *name;
		MDB_dbi *dbi;
	} all[] = {{"streams", &env->streams}, {"groups", &env->groups},
		{"segments", &env->segments}, {"removed", &env->removed},
		{"compaction", &env->compaction}, {"tombstones", &env->tombstones}};
	int rc = mdb_txn_begin(env->mdb, NULL, 0, &txn);
	if (rc != 0)
		return local_mdb_err(reterr, rc, "cannot write %s", env->dir);
	rc = make_long_enough(env);
	rc = rc != 0 ? local_mdb_err(reterr, rc, "cannot open the log in %s", env->dir)
		     : check_format(env, txn, reterr);
	if (rc < 0) {
		mdb_txn_abort(txn);
		return rc;
	}
	for (size_t i = 0; i < sizeof all / sizeof all[0] && rc == 0; i++)
		rc = mdb_dbi_open(txn, all[i].name, MDB_CREATE, all[i].dbi);
	if (rc == 0)
		rc = mdb_txn_commit(txn);
	else
		mdb_txn_abort(txn);
	return rc != 0 ? local_mdb_err(reterr, rc, "cannot write %s", env->dir) : RIFFLE_OK;
}

/* The fixed databases, LMDB's own two, and twice what one transaction may seal of segments. */
static MDB_dbi
databases_of(const struct local_settings *s)
{
	return 16 + s->open_segments + 2 * s->max_partitions;
}

/* What only a person can put right is not tried again. */
static int
open_err(const char *dir, int rc, const char *what, struct riffle_error *reterr)
{
	char whose[200] = "";
	if (rc == EACCES || rc == EPERM)
		local_whose(dir, whose, sizeof whose);
	local_mdb_err(reterr, rc, "cannot %s %s", what, dir);
	strncat(reterr->text, whose, sizeof reterr->text - 1 - strlen(reterr->text));
	if ((reterr->flags & RIFFLE_ERR_RETRIABLE) && rc != EROFS)
		return reterr->code;
	reterr->flags = 0;
	return reterr->code = RIFFLE_E_CONFIG;
}

/* The size of a file of the log, -1 where there is none, or none to be seen. */
static off_t
size_of(const char *dir, const char *name)
{
	char path[4096];
	struct stat st;
	snprintf(path, sizeof path, "%s/%s", dir, name);
	return stat(path, &st) == 0 ? st.st_size : -1;
}

/*
 * LMDB takes an empty file for a new environment, but not one whose maker died before both of its first pages
 * were written; nothing was ever in that one. The wake file is made when the first transaction was committed: with it
 * there, a log was lost. The caller keeps others from making it meanwhile.
 */
static int
clear_unmade(const char *dir, struct riffle_error *reterr)
{
	char path[4096];
	off_t size = size_of(dir, "data.mdb");
	if (size >= 2 * PAGE_BYTES_MIN)
		return RIFFLE_OK;
	if (size_of(dir, "wake") > 0)
		return local_err(reterr, RIFFLE_E_CONFIG,
			"data.mdb is %s, but there was a log: put it back, or remove the whole of "
			"%s to begin anew",
			size < 0    ? "gone"
			: size == 0 ? "empty"
				    : "cut off",
			dir);
	if (size <= 0)
		return RIFFLE_OK;
	snprintf(path, sizeof path, "%s/data.mdb", dir);
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOFOLLOW);
	/* LMDB says what is wrong with it when this does not help. */
	if (fd >= 0)
		close(fd);
	return RIFFLE_OK;
}

/* Processes open one after the other; the lock goes with the descriptor. */
static int
lock_opening(const char *dir, int *ret_fd, struct riffle_error *reterr)
{
	char path[4096];
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	snprintf(path, sizeof path, "%s/opening", dir);
	local_make_file(path);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int rc = fd < 0 ? -1 : fcntl(fd, F_SETLKW, &lock);
	while (rc < 0 && fd >= 0 && errno == EINTR)
		rc = fcntl(fd, F_SETLKW, &lock);
	if (rc >= 0) {
		*ret_fd = fd;
		return RIFFLE_OK;
	}
	rc = errno;
	if (fd >= 0)
		close(fd);
	return open_err(dir, rc, "open the log in", reterr);
}

/* Those that LMDB would make; it takes empty ones for new. */
static void
make_files(const char *dir)
{
	static const char *const names[] = {"data.mdb", "lock.mdb"};
	char path[4096];
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		local_make_file(path);
	}
}

/*
 * LMDB makes its lock file as a hole and writes it through a map, so that a full disk would be a SIGBUS. Nobody of this
 * process has it open yet: closing it would give up its locks.
 */
static int
fill_lock_file(const char *dir, struct riffle_error *reterr)
{
	char path[4096];
	struct stat st;
	snprintf(path, sizeof path, "%s/lock.mdb", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int rc = fd < 0 || fstat(fd, &st) < 0 ? errno : 0;
	if (rc == 0 && st.st_blocks < LOCK_BYTES / 512 && fallocate(fd, 0, 0, LOCK_BYTES) < 0 &&
		errno != EOPNOTSUPP)
		rc = errno;
	if (fd >= 0)
		close(fd);
	return rc != 0 ? open_err(dir, rc, "open the log in", reterr) : RIFFLE_OK;
}

static int
open_mdb(struct local_env *env, const struct local_settings *s, struct riffle_error *reterr)
{
	int cleared, fd, lock;
	int rc = lock_opening(s->dir, &lock, reterr);
	if (rc < 0)
		return rc;
	rc = clear_unmade(s->dir, reterr);
	if (rc == RIFFLE_OK) {
		make_files(s->dir);
		rc = fill_lock_file(s->dir, reterr);
	}
	if (rc < 0) {
		close(lock);
		return rc;
	}
	rc = mdb_env_create(&env->mdb);
	if (rc == 0)
		rc = mdb_env_set_mapsize(env->mdb, s->map_bytes);
	if (rc == 0)
		rc = mdb_env_set_maxdbs(env->mdb, databases_of(s));
	if (rc == 0)
		rc = mdb_env_set_maxreaders(env->mdb, READERS_MAX);
	if (rc == 0)
		rc = mdb_env_open(env->mdb, s->dir, MDB_NOTLS | s->mdb_flags, 0600);
	close(lock);
	if (rc != 0)
		return open_err(s->dir, rc, "open the log in", reterr);
	/* LMDB leaves its data file to be inherited by every program we start. */
	if (mdb_env_get_fd(env->mdb, &fd) == 0)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	mdb_reader_check(env->mdb, &cleared);
	return open_databases(env, reterr);
}

static void
env_free(struct local_env *env)
{
	local_topics_free(env);
	if (env->mdb != NULL)
		mdb_env_close(env->mdb);
	pthread_mutex_destroy(&env->lock);
	pthread_mutex_destroy(&env->opening);
	local_handles_fini(&env->handles);
	env->magic = 0;
	free(env->dir);
	free(env);
}

static int
env_create(const struct local_settings *s, const struct stat *st, struct local_env **ret_env,
	struct riffle_error *reterr)
{
	struct local_env *env = local_alloc(sizeof *env);
	env->magic = LOCAL_ENV_MAGIC;
	env->refs = 1;
	env->dev = st->st_dev;
	env->ino = st->st_ino;
	env->dir = local_strdup(s->dir);
	env->settings = *s;
	env->settings.dir = env->dir;
	local_handles_init(&env->handles, s->open_segments);
	pthread_mutex_init(&env->lock, NULL);
	pthread_mutex_init(&env->opening, NULL);
	int rc = open_mdb(env, s, reterr);
	if (rc == RIFFLE_OK)
		rc = local_writer_start(env, reterr);
	if (rc < 0) {
		env_free(env);
		return rc;
	}
	*ret_env = env;
	return RIFFLE_OK;
}

/* Makes the directory and what is missing above it. */
static int
make_dirs(const char *dir)
{
	char *path = local_strdup(dir);
	int rc = 0;
	for (char *p = path + 1; rc == 0 && *p != '\0'; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		rc = local_make_dir(path);
		*p = '/';
	}
	if (rc == 0)
		rc = local_make_dir(path);
	free(path);
	return rc;
}

/* Those of a stream may differ; these are the environment's. */
static int
is_same(const struct local_settings *a, const struct local_settings *b)
{
	return a->mdb_flags == b->mdb_flags && a->map_bytes == b->map_bytes &&
	       a->max_partitions == b->max_partitions && a->open_segments == b->open_segments &&
	       a->commit_delay_ms == b->commit_delay_ms && a->commit_bytes == b->commit_bytes &&
	       a->clean_interval_ms == b->clean_interval_ms;
}

int
local_env_open(const struct local_settings *settings, struct local_env **ret_env,
	struct riffle_error *reterr)
{
	struct stat st;
	if (make_dirs(settings->dir) < 0 || stat(settings->dir, &st) < 0)
		return open_err(settings->dir, errno, "reach the directory", reterr);
	pthread_mutex_lock(&registry_lock);
	struct local_env *env = registry;
	while (env != NULL && (env->dev != st.st_dev || env->ino != st.st_ino))
		env = env->next;
	int rc = RIFFLE_OK;
	if (env != NULL && !is_same(&env->settings, settings)) {
		rc = local_err(reterr, RIFFLE_E_CONFIG,
			"another provider of this process has %s open with other settings",
			env->dir);
	} else if (env != NULL) {
		env->refs++;
	} else {
		rc = env_create(settings, &st, &env, reterr);
		if (rc == RIFFLE_OK) {
			env->next = registry;
			registry = env;
		}
	}
	pthread_mutex_unlock(&registry_lock);
	if (rc == RIFFLE_OK)
		*ret_env = env;
	return rc;
}

void
local_env_close(struct local_env *env)
{
	LOCAL_CHECK(env, LOCAL_ENV_MAGIC);
	pthread_mutex_lock(&registry_lock);
	if (--env->refs == 0) {
		struct local_env **at = &registry;
		while (*at != env)
			at = &(*at)->next;
		*at = env->next;
		local_writer_stop(env);
		env_free(env);
	}
	pthread_mutex_unlock(&registry_lock);
}
