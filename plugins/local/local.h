/*
 * The embedded provider from inside: a durable, transactional, partitioned log in a directory, on LMDB,
 * used by several processes at once.
 *
 * Who does what. Workers read, each source with a read transaction of its own that is renewed for one
 * lane_poll and reset before it returns, since a reader that stays open makes the file grow. All that
 * is written goes as operations to the environment's one writer thread, which applies what waits in one
 * LMDB transaction and syncs once for all of it; between two of those it cleans. LMDB's write
 * transaction belongs to its thread and stops every other process's writers, so nobody else opens one.
 *
 * What lies where, each a named database of the environment; numbers in keys are big-endian:
 *   meta               "format" -> version; "topics" -> numbers given to topics so far
 *   streams            topic -> struct local_topic_row
 *   groups             group NUL topic NUL partition u32 -> offset, epoch, metadata
 *   segments           topic's number u32, partition u32, base u64 -> struct local_segment_row
 *   removed            topic's number u32 -> partitions u32: what is left of a removed topic
 *   compaction         topic's number u32, partition u32 -> offset up to which keys are indexed u64
 *   tombstones         topic's number u32, partition u32, offset u64 -> written when, key in the index
 *   s/<n>/<p>/<base>   offset u64 -> record, see local_record.c
 *   k/<n>/<p>/0        key -> offset of its newest record, of what compaction has seen
 *
 * A partition is a chain of segments. The last is its head, the only one that is appended to; the others
 * are sealed. A topic's number is never given again, so what belonged to a removed one is never met.
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

#define LOCAL_FORMAT 2u

_Noreturn void local_assert_failed(const char *expr, const char *file, int line);
#define local_assert(e) ((e) ? (void)0 : local_assert_failed(#e, __FILE__, __LINE__))
#define LOCAL_CHECK(p, m) local_assert((p) != NULL && (p)->magic == (m))

/* What our functions return beside LMDB's own codes. */
#define LOCAL_REOPEN (-31001) /* the writer: again, with the right to open databases */
#define LOCAL_GONE (-31002)   /* the topic was removed */
#define LOCAL_BUSY (-31003)   /* the writer is opening databases; readers are woken after it */

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
	int64_t time_ms, uint64_t offset, void *to, size_t size);
/* The record's time without looking at the rest; RIFFLE_TIME_NONE for what has none. */
int64_t local_record_time(const void *from, size_t size);
/* How many headers it says it has; 0 for what is too short to say. */
uint32_t local_record_header_count(const void *from, size_t size);
struct local_decoded {
	struct riffle_bytes key, value;
	int64_t time_ms;
	const char *content_type; /* NULL = not stated */
	uint32_t header_count;
};
/* Views into from. headers has room for header_count. 0, or -1 when it is damaged. */
int local_record_decode(const void *from, size_t size, uint64_t offset,
	struct riffle_header *headers, uint32_t header_room, struct local_decoded *ret);

/* A signal to one host thread: an eventfd that is written once until it is taken. */
struct local_signal {
	int fd;
	int raised;
};
int local_signal_init(struct local_signal *s); /* 0 or -1 with errno */
void local_signal_fini(struct local_signal *s);
void local_signal_raise(struct local_signal *s); /* any thread */
void local_signal_take(struct local_signal *s);  /* before looking at what it announces */

/* A database by what it holds: 's' a segment, 'k' the index of keys of a partition. */
struct local_name {
	uint64_t base;
	uint32_t topic, partition;
	char kind;
};

/* An open database, one of few: what is not in use is closed to make room. */
struct local_handle {
	struct local_handle *next; /* in its slot of the table, or of the writer's transaction */
	struct local_name name;
	MDB_dbi dbi;
	uint32_t refs;
	uint64_t used_at; /* the table's clock: how many times anything was used */
	/* of the writer's transaction, the writer's alone */
	int is_pinned;
	struct local_handle *pinned_next;
};

#define LOCAL_HANDLE_SLOTS 256u

struct local_handles {
	pthread_mutex_t lock; /* held for a look, never while LMDB works */
	struct local_handle *slots[LOCAL_HANDLE_SLOTS];
	uint32_t count, wanted; /* open now, and how many may stay so */
	uint64_t clock;
};

#define LOCAL_HEAD UINT64_MAX

/* As stored. The values of sealed segments are kept up; those of a head are its database's own. */
struct local_segment_row {
	int64_t created_ms; /* when its first record was written */
	int64_t sealed_ms;  /* 0 = it is the head */
	int64_t newest_ms;  /* no record's time is above it; INT64_MIN = no record */
	uint64_t records, bytes;
};

struct local_segment {
	uint64_t base, end; /* end is LOCAL_HEAD for the head */
	struct local_segment_row row;
};

#define LOCAL_COMPACTED 1u

/* As stored. What the topic's configuration says counts for whoever cleans, so it lies here. */
struct local_topic_row {
	uint32_t number, partitions;
	uint32_t flags; /* LOCAL_COMPACTED */
	uint32_t reserved0;
	int64_t retention_ms, retention_bytes; /* 0 = for ever, without limit */
	int64_t segment_ms, segment_bytes;     /* older, larger: sealed; segment_ms 0 = never */
	int64_t tombstone_ms;
};

struct local_topic;

/* What the write transaction under way knows of a partition; the writer's alone. */
struct local_partition {
	struct local_topic *topic;
	MDB_cursor *cursor; /* NULL = not touched */
	uint64_t next;
	struct local_segment head;
	int is_row_dirty;
	struct local_partition *next_touched;
};

struct local_topic {
	uint32_t magic;
	uint32_t refs; /* sources and sinks, under the environment's lock */
	int is_gone;   /* another of the name has taken its place; same lock */
	char *name;
	struct local_topic_row
		row; /* the writer's, once others use the topic; number, partitions never change */
	struct local_partition *partitions;
	struct local_topic *next;
};

struct local_op;
struct local_source;
struct local_group;

struct local_settings {
	const char *dir;
	unsigned mdb_flags;
	size_t map_bytes;
	unsigned max_partitions, open_segments;
	int64_t commit_delay_ms;
	size_t commit_bytes;
	int64_t clean_interval_ms;
};

struct local_env {
	uint32_t magic;
	uint32_t refs; /* instances; under the registry's lock */
	struct local_env *next;
	dev_t dev;
	ino_t ino;
	char *dir;
	MDB_env *mdb;
	MDB_dbi meta, streams, groups, segments, removed, compaction, tombstones;
	struct local_settings settings;
	struct local_handles handles;

	pthread_mutex_t lock; /* topics, listeners, groups */
	struct local_topic *topics;
	struct local_source *listeners;
	struct local_group *groups_open;

	/*
	 * LMDB lets one transaction at a time open databases, and none that began before another did.
	 * So who opens takes this before the transaction begins and gives it back when it has ended.
	 */
	pthread_mutex_t opening;
	int writer_is_opening; /* atomic */

	/* writer */
	pthread_t thread;
	pthread_mutex_t queue_lock;
	struct local_op *first, **last;
	size_t queued_bytes;
	int64_t queued_ns; /* since when the first of them waits */
	int stopping;
	struct local_signal queue;
	int wake_file, inotify;
	struct local_partition *touched; /* by the transaction under way, as are the next two */
	struct local_handle *pinned;     /* found open */
	struct local_handle *opened;     /* others see them after the commit */
	uint32_t opened_count;
	struct riffle_error broken; /* code 0 = sound; the writer's */
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
	size_t bytes;   /* about what it adds; for the size of a commit */
};

/* local_env.c */
int local_env_open(const struct local_settings *settings, struct local_env **ret_env,
	struct riffle_error *reterr);
void local_env_close(struct local_env *env);
int local_read_begin(struct local_env *env, MDB_txn **ret_txn, struct riffle_error *reterr);
int64_t local_mono_ns(void);

/* local_owner.c: what root makes belongs to whom the directory belongs that it is made in */
int local_make_dir(const char *path); /* 0700; 0, also where it is there, or -1 with errno */
/* For root, before it is opened with O_CREAT by others; what fails shows there. */
void local_make_file(const char *path);
/* "; PATH belongs to USER", for an error's text. */
void local_whose(const char *path, char *text, size_t size);

/* local_handle.c */
void local_handles_init(struct local_handles *h, uint32_t wanted);
void local_handles_fini(struct local_handles *h);
/*
 * For readers, outside of their transactions. 0, MDB_NOTFOUND, LOCAL_BUSY unless patient, an LMDB error.
 * A transaction that began before may not know the handle: EINVAL from LMDB then.
 */
int local_handle_get(struct local_env *env, const struct local_name *name, int patient,
	struct local_handle **ret_handle);
/* One that is open already, or NULL. */
struct local_handle *local_handle_peek(struct local_env *env, const struct local_name *name);
void local_handle_put(struct local_env *env, struct local_handle *h); /* NULL is a no-op */
/* For the writer, inside its transaction, until whose end the handle is good. */
int local_handle_open(struct local_env *env, MDB_txn *txn, const struct local_name *name,
	unsigned flags, MDB_dbi *ret_dbi);
/* How many the writer's transaction has opened: what it may open is limited. */
uint32_t local_handles_opened(const struct local_env *env);
/*
 * Drops the database, of which the transaction has no cursor any more; 0 also where there is none.
 * LOCAL_BUSY while a reader of ours is in it.
 */
int local_handle_drop(struct local_env *env, MDB_txn *txn, const struct local_name *name);
/* The writer's transaction has ended; the right to open is given back too. */
void local_handles_end(struct local_env *env, int committed);
void local_handles_allow(struct local_env *env); /* before the transaction begins */

/* local_segment.c: which segments a partition has; 0 or an LMDB error */
/* The segment that holds offset, or the first if that lies behind it. MDB_NOTFOUND: no such topic. */
int local_segment_find(struct local_env *env, MDB_txn *txn, uint32_t topic, uint32_t partition,
	uint64_t offset, struct local_segment *ret);
int local_segment_put(struct local_env *env, MDB_txn *txn, uint32_t topic, uint32_t partition,
	const struct local_segment *s);
int local_segment_delete(
	struct local_env *env, MDB_txn *txn, uint32_t topic, uint32_t partition, uint64_t base);
struct local_name local_segment_name(uint32_t topic, uint32_t partition, uint64_t base);
/* Numbers of a segment's database: records, and the bytes of its pages. */
int local_segment_stat(MDB_txn *txn, MDB_dbi dbi, uint64_t *ret_records, uint64_t *ret_bytes);
/* One past the last record of the head. */
int local_segment_end(MDB_txn *txn, MDB_dbi dbi, uint64_t base, uint64_t *ret_end);
/* Seals the head, of which there is something, and makes a new one. On the writer thread. */
int local_segment_roll(struct local_env *env, MDB_txn *txn, uint32_t topic, uint32_t partition,
	struct local_segment *head, MDB_dbi dbi, uint64_t end);

/* local_reader.c: reading transactions that find segments */
struct local_reader {
	struct local_env *env;
	MDB_txn *txn; /* reset between calls */
	int is_live;
};
struct local_view {
	struct local_segment segment;
	struct local_handle *handle; /* NULL: nothing was written to it yet */
	MDB_cursor *cursor;
};
int local_reader_begin(struct local_reader *r, struct riffle_error *reterr);
void local_reader_end(struct local_reader *r);
void local_reader_fini(struct local_reader *r);
/*
 * Begins the reader's transaction with a cursor in the segment that holds offset. 0, LOCAL_GONE,
 * LOCAL_BUSY unless patient, an LMDB error; the transaction is over then.
 */
int local_view_open(struct local_reader *r, const struct local_topic *t, uint32_t partition,
	uint64_t offset, int patient, struct local_view *ret);
/* The cursor and the handle; the transaction goes on until local_reader_end. */
void local_view_close(struct local_reader *r, struct local_view *v);
/* First offset held and one past the last. The transaction is over. */
int local_reader_range(struct local_reader *r, const struct local_topic *t, uint32_t partition,
	uint64_t *ret_start, uint64_t *ret_end);
/* The first record whose time is at or above it; the end where there is none. Waits. */
int local_reader_offset_at(struct local_reader *r, const struct local_topic *t, uint32_t partition,
	int64_t time_ms, uint64_t *ret_offset);

/* local_topic.c */
int local_topic_open(struct local_env *env, const char *name, struct local_topic **ret_topic,
	struct riffle_error *reterr);                                 /* E_NOTFOUND */
void local_topic_close(struct local_env *env, struct local_topic *t); /* NULL is a no-op */
/* wanted: number and reserved0 are not looked at; partitions 0 = not stated. */
int local_topic_provision(struct local_env *env, const char *name,
	const struct local_topic_row *wanted, struct riffle_error *reterr);
int local_topic_remove(struct local_env *env, const char *name, struct riffle_error *reterr);
int local_topic_describe(struct local_env *env, const char *name,
	struct riffle_stream_info *ret_info, struct riffle_error *reterr);
void local_topics_free(struct local_env *env);
int local_topic_row(
	struct local_env *env, MDB_txn *txn, const char *name, struct local_topic_row *ret);
MDB_val local_text_val(const char *s);

/* local_change.c: operations of control threads, which wait for them */
struct local_change {
	struct local_op op;
	pthread_mutex_t lock;
	pthread_cond_t done;
	int is_done;
};
int local_change_run(struct local_env *env, struct local_change *c, struct riffle_error *reterr);

/* local_writer.c */
int local_writer_start(struct local_env *env, struct riffle_error *reterr);
void local_writer_stop(struct local_env *env);
void local_writer_post(struct local_env *env, struct local_op *op);
/* What the transaction under way knows of the partition. On the writer thread, inside apply. */
int local_touch(struct local_env *env, MDB_txn *txn, struct local_partition *p);
/* Appends one record; the offset it got. On the writer thread, inside apply. */
int local_append(struct local_env *env, MDB_txn *txn, struct local_partition *p,
	const struct riffle_batch *b, const struct riffle_record *r, int64_t now_ms,
	uint64_t *ret_offset);
void local_put_u32(unsigned char *to, uint32_t v); /* big-endian */
uint32_t local_get_u32(const unsigned char *from);
void local_put_u64(unsigned char *to, uint64_t v);
uint64_t local_get_u64(const unsigned char *from);

/* local_clean.c: retention and what is left of removed topics, in steps of the writer's */
struct local_job {
	enum {
		LOCAL_JOB_NONE,
		LOCAL_JOB_PURGE,
		LOCAL_JOB_DROP,
		LOCAL_JOB_ROLL,
		LOCAL_JOB_COMPACT,
		LOCAL_JOB_MERGE
	} kind;
	struct local_topic_row row;
	uint32_t partition;
	struct local_segment segment;
};
/* What is due first, as txn sees it; NONE when nothing is. 0 or an LMDB error. */
int local_clean_find(struct local_env *env, MDB_txn *txn, struct local_job *ret);
/* Does one step of a job that was found before, if it is still to be done. */
int local_clean_do(struct local_env *env, MDB_txn *txn, struct local_job *job);
/* Drops a segment of a removed topic: 1 = there may be more, 0 = nothing is left, an LMDB error. */
int local_clean_removed(struct local_env *env, MDB_txn *txn, uint32_t topic);

/* local_compact.c */
int local_compact_is_due(struct local_env *env, MDB_txn *txn, const struct local_topic_row *row,
	uint32_t partition, int *ret_due);
int local_compact_step(
	struct local_env *env, MDB_txn *txn, const struct local_topic_row *row, uint32_t partition);
/* Is so little left in two neighbours, the second of them fully looked at, that they can be one? */
int local_compact_is_mergeable(struct local_env *env, MDB_txn *txn,
	const struct local_topic_row *row, uint32_t partition, const struct local_segment *first,
	const struct local_segment *second, int *ret);
int local_compact_merge(struct local_env *env, MDB_txn *txn, const struct local_topic_row *row,
	uint32_t partition, uint64_t base);
/* All that compaction keeps beside the records. */
int local_compact_forget(struct local_env *env, MDB_txn *txn, uint32_t topic, uint32_t partition);

/* local_group.c: positions of groups */
struct local_group; /* a name, locked against other members */
/* E_UNAVAILABLE when another member has it; the text says which. */
int local_group_open(struct local_env *env, const char *name, const char *member,
	struct local_group **ret_group, struct riffle_error *reterr);
void local_group_close(struct local_group *g); /* NULL is a no-op */
/* Who reads as the group, in words, into who; 0 = nobody. */
int local_group_holder(struct local_env *env, const char *name, char *who, size_t size);
const char *local_group_name(const struct local_group *g);
int local_group_put(struct local_env *env, MDB_txn *txn, const char *group,
	const struct local_topic *t, const struct riffle_position *at);
int local_group_forget(struct local_env *env, MDB_txn *txn, const char *group,
	const struct local_topic *t, int32_t partition);
/* 0, MDB_NOTFOUND, or another LMDB error. The metadata points into the transaction. */
int local_group_get(struct local_env *env, MDB_txn *txn, const char *group,
	const struct local_topic *t, struct riffle_position *at);

/* local_batch.c: reading a lane into a batch of its own memory */
struct local_lane {
	struct local_source *source;
	struct local_topic *topic;
	uint32_t stream;
	int32_t partition;
	int is_started, is_releasing, is_released;
	int goes_on; /* behind retention: at what is left, instead of an error */
	uint64_t next;
	uint32_t batches_out; /* under the source's lock: release runs on any thread */
};
int local_batch_read(struct local_lane *lane, struct local_reader *reader, uint32_t max_records,
	size_t max_bytes, struct riffle_batch **ret_batch, struct riffle_error *reterr);

/* local_source.c, local_sink.c */
struct local {
	uint32_t magic;
	const struct riffle_host *host;
	struct local_env *env;
	const struct riffle_config *config;
};
/* local_options.c: what the sections say */
extern const struct riffle_option_table local_tables[];
#define LOCAL_TABLE_COUNT 2u
void local_settings_of(const struct riffle_config *cfg, struct local_settings *ret);
void local_row_of(const struct riffle_config *provider, const struct riffle_stream *stream,
	struct local_topic_row *ret);
int local_goes_on(const struct riffle_stream *stream); /* behind-retention = earliest */
int local_check(const struct riffle_config *cfg, const struct riffle_report *report);
#define LOCAL_TOPIC_NAME_MAX 255
int local_topic_judge(const char *name, struct riffle_error *reterr);
/* Whether so many more have room beside those that are held. */
int local_partitions_judge(const char *topic, uint32_t wanted, uint64_t held, uint32_t most,
	struct riffle_error *reterr);

int64_t local_wall_ms(void);
void local_source_signal(struct local_source *s);
void local_source_warn(const struct local_source *s, const char *fmt, ...) RIFFLE_PRINTF(2, 3);
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
int local_source_is_member(const struct local_source *s); /* of its group, until it has left it */

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
extern const struct riffle_positions local_positions; /* local_positions.c */

/* Positions copied with their metadata, one block; free() it. */
struct riffle_position *local_positions_copy(const struct riffle_position *from, uint32_t count);

#endif
