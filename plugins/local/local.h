/*
 * The embedded provider from inside: a durable, transactional, partitioned log in a directory, on LMDB,
 * used by several processes at once.
 *
 * Who does what. Workers read, each source with a read transaction of its own that is renewed for one
 * lane_poll and reset before it returns, since a reader that stays open makes the file grow. All that
 * is written goes as operations to the environment's one writer thread, which applies everything
 * that waits in one LMDB transaction and syncs once for all of it. LMDB's write transaction belongs
 * to its thread and stops every other process's writers, so nobody else opens one.
 *
 * What lies where, each a named database of the environment:
 *   meta               "format" -> version
 *   streams            topic -> number of partitions, u32 little-endian
 *   groups             group NUL topic NUL partition (u32 big-endian) -> offset, epoch, metadata
 *   t/<topic>/<n>      offset (u64 big-endian) -> record, see local_record.c
 */
#ifndef RIFFLE_LOCAL_H
#define RIFFLE_LOCAL_H

#include <riffle/riffle.h>

#include <lmdb.h>
#include <pthread.h>

#define LOCAL_ENV_MAGIC 0x4c454e56u
#define LOCAL_TOPIC_MAGIC 0x4c544f50u
#define LOCAL_SOURCE_MAGIC 0x4c535243u
#define LOCAL_SINK_MAGIC 0x4c534e4bu
#define LOCAL_TXN_MAGIC 0x4c54584eu
#define LOCAL_MAGIC 0x4c4f434cu

#define LOCAL_FORMAT 1u

_Noreturn void local_assert_failed(const char *expr, const char *file, int line);
#define local_assert(e) ((e) ? (void)0 : local_assert_failed(#e, __FILE__, __LINE__))
#define LOCAL_CHECK(p, m) local_assert((p) != NULL && (p)->magic == (m))

/* errors; both return code */
int local_err(struct riffle_error *err, int code, const char *fmt, ...) RIFFLE_PRINTF(3, 4);
/* From what LMDB returned: which of ours it is, and whether it may pass. */
int local_mdb_err(struct riffle_error *err, int rc, const char *fmt, ...) RIFFLE_PRINTF(3, 4);
void *local_alloc(size_t size); /* cleared; the process ends when memory does */
char *local_strdup(const char *s);

/* local_hash.c */
uint32_t local_murmur2(const void *data, size_t len); /* as Kafka's Java client has it */
uint32_t local_partition_of(struct riffle_bytes key, uint32_t partitions);
uint32_t local_crc32c(uint32_t crc, const void *data, size_t len);

/* local_record.c: a record as it is stored */
size_t local_record_size(const struct riffle_batch *b, const struct riffle_record *r);
void local_record_encode(const struct riffle_batch *b, const struct riffle_record *r,
	int64_t time_ms, void *to, size_t size);
/* How many headers it says it has; 0 for what is too short to say. */
uint32_t local_record_header_count(const void *from, size_t size);
struct local_decoded {
	struct riffle_bytes key, value;
	int64_t time_ms;
	const char *content_type; /* NULL = not stated */
	uint32_t header_count;
};
/* Views into from. headers has room for header_count. 0, or -1 when it is damaged. */
int local_record_decode(const void *from, size_t size, struct riffle_header *headers,
	uint32_t header_room, struct local_decoded *ret);

/* A signal to one host thread: an eventfd that is written once until it is taken. */
struct local_signal {
	int fd;
	int raised;
};
int local_signal_init(struct local_signal *s); /* 0 or -1 with errno */
void local_signal_fini(struct local_signal *s);
void local_signal_raise(struct local_signal *s); /* any thread */
void local_signal_take(struct local_signal *s);  /* before looking at what it announces */

struct local_partition {
	MDB_dbi dbi;
	/* Of the write transaction under way; the writer's alone. */
	MDB_cursor *cursor;
	uint64_t next;
	struct local_partition *next_touched;
};

struct local_topic {
	uint32_t magic;
	uint32_t refs; /* sources and sinks, under the environment's lock */
	char *name;
	uint32_t partition_count;
	struct local_partition *partitions;
	struct local_topic *next;
};

struct local_op;
struct local_source;
struct local_group;

struct local_env {
	uint32_t magic;
	uint32_t refs; /* instances; under the registry's lock */
	struct local_env *next;
	dev_t dev;
	ino_t ino;
	char *dir;
	MDB_env *mdb;
	MDB_dbi meta, streams, groups;

	pthread_mutex_t lock; /* topics, listeners, groups */
	struct local_topic *topics;
	struct local_source *listeners;
	struct local_group *groups_open;

	/*
	 * Database handles may be opened by one transaction at a time, until it has ended. Taken
	 * after lock; by the writer for a whole transaction that opens some.
	 */
	pthread_mutex_t opening;
	int writer_is_opening;

	/* writer */
	pthread_t thread;
	pthread_mutex_t queue_lock;
	struct local_op *first, **last;
	int stopping;
	struct local_signal queue;
	int wake_file, inotify;
	struct local_partition *touched; /* by the transaction under way */
	struct riffle_error broken;      /* code 0 = sound; the writer's */
};

/*
 * Something to be written. apply runs on the writer thread inside a transaction: 0, an LMDB error
 * (the transaction is given up), or with *refused set an error that concerns this operation alone and
 * before it wrote anything. done runs there too, after the commit, with error.code 0 or why not.
 */
struct local_op {
	struct local_op *next;
	int (*apply)(struct local_op *op, struct local_env *env, MDB_txn *txn, int *refused);
	void (*done)(struct local_op *op);
	struct riffle_error error;
	int is_unknown; /* the commit failed in a way that leaves open whether it is there */
	int appends;    /* readers must be woken */
};

struct local_settings {
	const char *dir;
	unsigned mdb_flags;
	size_t map_bytes;
	unsigned max_databases;
};

/* local_env.c */
int local_env_open(const struct local_settings *settings, struct local_env **ret_env,
	struct riffle_error *reterr);
void local_env_close(struct local_env *env);
int local_read_begin(struct local_env *env, MDB_txn **ret_txn, struct riffle_error *reterr);

/* local_topic.c */
int local_topic_open(struct local_env *env, const char *name, struct local_topic **ret_topic,
	struct riffle_error *reterr);                                 /* E_NOTFOUND */
void local_topic_close(struct local_env *env, struct local_topic *t); /* NULL is a no-op */
int local_topic_provision(
	struct local_env *env, const struct riffle_stream *stream, struct riffle_error *reterr);
int local_topic_remove(struct local_env *env, const char *name, struct riffle_error *reterr);
int local_topic_describe(struct local_env *env, const char *name,
	struct riffle_stream_info *ret_info, struct riffle_error *reterr);
/* First offset held and one past the last, as of txn. 0 or an LMDB error. */
int local_partition_range(MDB_txn *txn, MDB_dbi dbi, uint64_t *ret_start, uint64_t *ret_end);
void local_topics_free(struct local_env *env);

/* local_writer.c */
int local_writer_start(struct local_env *env, struct riffle_error *reterr);
void local_writer_stop(struct local_env *env);
void local_writer_post(struct local_env *env, struct local_op *op);
/* Appends one record; the offset it got. On the writer thread, inside apply. */
int local_append(struct local_env *env, MDB_txn *txn, struct local_partition *p,
	const struct riffle_batch *b, const struct riffle_record *r, int64_t now_ms,
	uint64_t *ret_offset);
void local_put_u64(unsigned char *to, uint64_t v); /* big-endian */
uint64_t local_get_u64(const unsigned char *from);

/* Before the transaction under way opens databases; given back when it has ended. Inside apply. */
void local_writer_opens(struct local_env *env);

/* local_group.c: positions of groups */
struct local_group; /* a name, locked against other members */
int local_group_open(struct local_env *env, const char *name, struct local_group **ret_group,
	struct riffle_error *reterr); /* E_UNAVAILABLE when another member has it */
void local_group_close(struct local_group *g);
int local_group_put(struct local_env *env, MDB_txn *txn, const struct local_group *g,
	const struct local_topic *t, const struct riffle_position *at);
/* 0, MDB_NOTFOUND, or another LMDB error. The metadata points into the transaction. */
int local_group_get(struct local_env *env, MDB_txn *txn, const struct local_group *g,
	const struct local_topic *t, struct riffle_position *at);

/* local_batch.c: reading a lane into a batch of its own memory */
struct local_lane {
	struct local_source *source;
	struct local_topic *topic;
	MDB_cursor *cursor;
	uint32_t stream;
	int32_t partition;
	int is_started, is_releasing, is_released;
	uint64_t next;
	uint32_t batches_out; /* under the source's lock: release runs on any thread */
};
int local_batch_read(struct local_lane *lane, MDB_txn *txn, uint32_t max_records, size_t max_bytes,
	struct riffle_batch **ret_batch, struct riffle_error *reterr);

/* local_source.c, local_sink.c */
struct local {
	uint32_t magic;
	const struct riffle_host *host;
	struct local_env *env;
};
int64_t local_wall_ms(void);
void local_source_signal(struct local_source *s);
void local_source_lent(struct local_lane *lane);                /* a batch went out */
void local_source_returned(struct local_lane *lane);            /* any thread: it is back */
struct local_source *local_source_next(struct local_source *s); /* in env->listeners */
int local_source_open(void *self, const struct riffle_source_spec *spec, void **ret_source,
	struct riffle_error *reterr);
int local_source_fd(void *source);
int local_source_poll(void *source, struct riffle_event *ret_event);
int local_source_start(void *source, const uint32_t *lanes, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr);
int local_source_rewind(void *source, const uint32_t *lanes, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr);
int local_source_release(
	void *source, const uint32_t *lanes, uint32_t count, struct riffle_error *reterr);
int local_source_commit(void *source, const struct riffle_position *positions, uint32_t count,
	uint64_t tag, struct riffle_error *reterr);
int local_lane_poll(void *source, uint32_t lane, uint32_t max_records, size_t max_bytes,
	struct riffle_batch **ret_batch, struct riffle_error *reterr);
int local_lane_state(void *source, uint32_t lane, struct riffle_lane_state *ret_state);
void local_source_close(void *source);
void local_source_destroy(void *source);
/* Puts positions of the source's group; inside a transaction of the writer. */
int local_source_put(struct local_source *s, MDB_txn *txn, const struct riffle_position *positions,
	uint32_t count);
/* An operation of the writer's uses the source: it is not closed before the end. */
void local_source_op_begin(struct local_source *s);
void local_source_op_end(struct local_source *s);
uint32_t local_source_stream_count(const struct local_source *s);

struct local_txn;
void local_txn_bind(struct local_txn *t, struct local_source *s);
int local_sink_open(void *self, const struct riffle_sink_spec *spec, void **ret_sink,
	struct riffle_error *reterr);
int local_sink_fd(void *sink);
int local_sink_poll(void *sink, struct riffle_event *ret_event);
int local_sink_send(void *sink, struct riffle_batch *batch, uint32_t first, uint32_t count,
	uint64_t tag, struct riffle_error *reterr);
void local_sink_close(void *sink);
void local_sink_destroy(void *sink);
extern const struct riffle_transactions local_transactions;

/* Positions copied with their metadata, one block; free() it. */
struct riffle_position *local_positions_copy(const struct riffle_position *from, uint32_t count);

#endif
