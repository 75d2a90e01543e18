/*
 * The Kafka provider from inside, over librdkafka.
 *
 * Who does what. All of a source or sink that the host sees happens in the host's worker thread:
 * librdkafka's callbacks are served from source_poll and sink_poll, and nothing there waits. What
 * can only be asked by waiting (committed positions, ends of a log, the result of a seek, the end of
 * a client) is asked by the source's or the transaction's helper thread. librdkafka's own threads do
 * no more than raise a signal.
 *
 * A lane is the queue of one partition, taken out of the consumer's common queue before the
 * partition is assigned. Nothing is paused: a lane that nobody polls fills up to `prefetch`.
 */
#ifndef RIFFLE_KAFKA_H
#define RIFFLE_KAFKA_H

#include <riffle/riffle.h>

#include <librdkafka/rdkafka.h>
#include <pthread.h>

#define KAFKA_MAGIC 0x4b494e53u
#define KAFKA_SOURCE_MAGIC 0x4b535243u
#define KAFKA_SINK_MAGIC 0x4b534e4bu
#define KAFKA_TXN_MAGIC 0x4b54584eu

_Noreturn void kafka_assert_failed(const char *expr, const char *file, int line);
#define kafka_assert(e) ((e) ? (void)0 : kafka_assert_failed(#e, __FILE__, __LINE__))
#define KAFKA_CHECK(p, m) kafka_assert((p) != NULL && (p)->magic == (m))

/* kafka_util.c */
int kafka_err(struct riffle_error *err, int code, const char *fmt, ...) RIFFLE_PRINTF(3, 4);
/* From librdkafka's code: which of ours it is, whether it may pass, its own words at the end. */
int kafka_rk_err(struct riffle_error *err, rd_kafka_resp_err_t rk, const char *fmt, ...)
	RIFFLE_PRINTF(3, 4);
int kafka_code_of(rd_kafka_resp_err_t rk, uint32_t *ret_flags);
void *kafka_alloc(size_t size); /* cleared; the process ends when memory does */
void *kafka_copy(const void *from, size_t len);

/* A signal to one host thread: an eventfd that is written once until it is taken. */
struct kafka_signal {
	int fd;
	int raised;
};
int kafka_signal_init(struct kafka_signal *s, struct riffle_error *reterr);
void kafka_signal_fini(struct kafka_signal *s);
void kafka_signal_raise(struct kafka_signal *s);    /* any thread */
void kafka_signal_take(struct kafka_signal *s);     /* before looking at what it announces */
void kafka_signal_cb(rd_kafka_t *rk, void *signal); /* for rd_kafka_queue_cb_event_enable */

/* Events that wait for the next poll. One thread. */
struct kafka_event {
	struct kafka_event *next;
	struct riffle_event event;
};
struct kafka_events {
	struct kafka_event *first, **last;
	/* The last error told, so that a broker that is away is not told of more than so often. */
	rd_kafka_resp_err_t told;
	int64_t told_ns;
};
void kafka_events_init(struct kafka_events *e);
void kafka_events_fini(struct kafka_events *e);
struct riffle_event *kafka_events_add(struct kafka_events *e, uint32_t type);
int kafka_events_take(struct kafka_events *e, struct riffle_event *ret_event); /* 1 = filled */
/* An ERROR event, unless the same was told within the last ten seconds. */
void kafka_events_error(struct kafka_events *e, int64_t now_ns, rd_kafka_resp_err_t rk,
	const char *fmt, ...) RIFFLE_PRINTF(4, 5);

/* What librdkafka hands back to us: every client has one, and it lives longer than the client. */
struct kafka_client {
	const struct kafka *owner;
	void *user; /* its source, sink, or NULL */
};

/* kafka.c: one [provider] section */
struct kafka {
	uint32_t magic;
	const struct riffle_host *host;
	const struct riffle_config *cfg;
	char *servers;
	int request_timeout_ms;
	int64_t prefetch_bytes, buffer_bytes;
	rd_kafka_t *admin; /* made by the first who needs it; [control] */
	pthread_mutex_t lock;
	struct kafka_limit *limits;        /* what topics take at most; under the lock */
	struct riffle_error admin_trouble; /* the last that its connections had; code 0 = none */
	struct kafka_client client;
};
int64_t kafka_now_ns(const struct kafka *k);

/* kafka_conf.c */
enum kafka_side { KAFKA_CONSUMER, KAFKA_PRODUCER };
/* What the section says, with our defaults below it and what carries our promises above it. */
int kafka_conf_create(struct kafka_client *client, enum kafka_side side, rd_kafka_conf_t **ret_conf,
	struct riffle_error *reterr);
/* The queues of partitions are separate, so each gets its part of the whole. */
int kafka_conf_set_prefetch(rd_kafka_conf_t *conf, const struct kafka *k, uint32_t partitions,
	struct riffle_error *reterr);
int kafka_conf_set(
	rd_kafka_conf_t *conf, const char *name, const char *value, struct riffle_error *reterr);
/* Stable over restarts; what it sets is above what the section says. */
int kafka_conf_set_transactional(
	rd_kafka_conf_t *conf, const char *txn_id, struct riffle_error *reterr);
void kafka_conf_check(const struct riffle_config *cfg, const struct riffle_report *report);
/* Takes over conf whatever the outcome. */
int kafka_client_create(enum kafka_side side, rd_kafka_conf_t *conf, rd_kafka_t **ret_rk,
	struct riffle_error *reterr);

#define KAFKA_OPT_SERVERS 0 /* bootstrap-servers, among the options of a [provider] section */

/* kafka_stream.c: the options of a [stream] section */
enum kafka_stream_option {
	KAFKA_OPT_COMPRESSION,
	KAFKA_OPT_LINGER,
	KAFKA_OPT_REPLICATION,
	KAFKA_OPT_RETENTION,
	KAFKA_OPT_TOPIC,
	KAFKA_STREAM_OPTIONS
};
extern const struct riffle_option kafka_stream_options[KAFKA_STREAM_OPTIONS];
const char *kafka_stream_compression(const struct riffle_stream *s); /* NULL = not stated */
int64_t kafka_stream_linger_ms(const struct riffle_stream *s);
void kafka_stream_check(const struct riffle_config *cfg, const struct riffle_report *report);

/* kafka_admin.c: what is asked of the cluster beside records, by one thread at a time */
int kafka_admin_open(struct kafka *k, struct riffle_error *reterr); /* once for all requests */
/* One request of librdkafka's admin API, which is sent with the options to the queue. */
struct kafka_request {
	const struct kafka *owner;
	rd_kafka_queue_t *queue;
	rd_kafka_AdminOptions_t *options;
	rd_kafka_event_t *event; /* its result, once await has returned OK */
};
void kafka_request_begin(struct kafka_request *r, const struct kafka *k, rd_kafka_admin_op_t op);
/* OK, or why there is no result: "cannot make topic "x"". */
int kafka_request_await(
	struct kafka_request *r, const char *what, const char *name, struct riffle_error *reterr);
void kafka_request_end(struct kafka_request *r); /* what its result says is gone with it */
/* The failure of a request, with the reason that its connection gave, or at least with the address. */
int kafka_admin_explain(struct kafka *k, int rc, struct riffle_error *err);
/* The largest request of records that a topic takes, as far as it was described; else INT64_MAX. */
int64_t kafka_limit_bytes(struct kafka *k, const char *topic);
/* It takes no record without a key, as far as it was described. */
int kafka_is_compacted(struct kafka *k, const char *topic);
void kafka_limits_free(struct kafka *k);
int kafka_provision(void *self, const struct riffle_stream *stream, struct riffle_error *reterr);
int kafka_describe(void *self, const struct riffle_stream *stream,
	struct riffle_stream_info *ret_info, struct riffle_error *reterr);
int kafka_remove(void *self, const struct riffle_stream *stream, struct riffle_error *reterr);
/* How many partitions a topic has; E_NOTFOUND. */
int kafka_partitions(rd_kafka_t *rk, const char *topic, int timeout_ms, uint32_t *ret_count,
	struct riffle_error *reterr);
/* For each of list: the offset to which which (RD_KAFKA_OFFSET_BEGINNING, _END or a time) leads. */
int kafka_offsets(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list, int64_t which,
	int timeout_ms, struct riffle_error *reterr);

/* kafka_positions.c: riffle.positions/1 */
extern const struct riffle_positions kafka_positions;

/* kafka_start.c: where the partitions of an assignment are read from, asked by a helper thread */
struct kafka_stream_start {
	const char *topic;
	uint32_t start;
	int64_t start_value;
};
struct kafka_starts {
	rd_kafka_t *rk;
	const struct kafka_stream_start *streams;
	uint32_t stream_count;
	int has_group;
	int timeout_ms;
	/* May this member commit the start of a new group? One of the group may. */
	int settles;
};
struct kafka_start {
	int64_t offset, log_start, log_end;
	char *metadata; /* NULL = absent */
	size_t metadata_len;
};
/* All partitions of all streams, or none. */
int kafka_starts_all(const struct kafka_starts *s, rd_kafka_topic_partition_list_t **ret_list,
	struct riffle_error *reterr);
/*
 * Fills one start for each element of list. E_UNAVAILABLE: ask again (the broker is away, or the
 * member that settles a new group has not done so yet). *ret_is_new says that the group was new.
 */
int kafka_starts_resolve(const struct kafka_starts *s, const rd_kafka_topic_partition_list_t *list,
	struct kafka_start *ret_starts, int *ret_is_new, struct riffle_error *reterr);

/* kafka_source.c, kafka_assign.c, kafka_lane.c */
struct kafka_source;
struct kafka_lane {
	struct kafka_source *source;
	uint32_t stream;
	int32_t partition;
	rd_kafka_queue_t *queue;
	/* Taken out of the queue, not yet handed over. */
	rd_kafka_message_t **stash;
	uint32_t stash_first, stash_count;
	int is_started, is_releasing, is_released;
	int64_t next;    /* past the last record handed over, or the end once it is reached */
	int64_t fetched; /* past the last record that came; what comes again is left out */
	int64_t eof;     /* the end that was seen last, past control records */
	/* Its offset is not in the log: its fetcher gave up, and only a new assignment moves it. */
	int is_dead;
	struct riffle_error failure; /* code 0 = sound; else until the lane is moved */
	int64_t damaged_at;          /* E_DATA: of which record it speaks */
	struct kafka_start start;
	/* As the statistics said last. */
	int64_t as_of_ns, high;
	uint32_t flags;
	int64_t hangs_at; /* the stable offset at which reading ended */
	uint32_t hangs_for;

	/* Under the source's lock. */
	uint32_t batches_out;
	uint32_t asked; /* what the helper does for it; it yields nothing meanwhile */
};

/* Lanes that were given back, while the host still hears of their release: records outlive an assignment. */
struct kafka_gone {
	struct kafka_gone *next;
	struct kafka_lane *lanes;
	uint32_t count, base;
};

struct kafka_job {
	struct kafka_job *next;
	void (*run)(struct kafka_source *s, struct kafka_job *job);
};

enum kafka_phase {
	KAFKA_IDLE,      /* nothing is assigned */
	KAFKA_RESOLVING, /* the helper asks where the assigned partitions are read from */
	KAFKA_ASSIGNED,
	KAFKA_REVOKING, /* the host was told and gives its lanes back */
	KAFKA_LEAVING,  /* close was asked: the group is left, and batches come back */
	KAFKA_LEFT,     /* the helper ends the client */
	KAFKA_CLOSED
};

struct kafka_source {
	uint32_t magic;
	enum kafka_phase phase;
	struct kafka *owner;
	struct kafka_client client;
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue; /* the consumer's */
	struct kafka_signal signal;
	struct kafka_events events;
	char *group; /* NULL = none */
	struct riffle_source_stream *streams;
	struct kafka_stream_start *starts;
	char **topics;
	uint32_t stream_count;
	int wants_headers;
	int revoke_event;             /* RIFFLE_EV_REVOKED or LOST, to be told; 0 = none */
	rd_kafka_queue_t *last_words; /* of the consumer while it leaves the group */
	int is_out;                   /* it has left */
	struct kafka_txn *txn;        /* NULL = positions are committed by source_commit */

	struct kafka_lane *lanes;
	uint32_t lane_count, lane_base;           /* ids are lane_base + index */
	struct kafka_gone *gone;                  /* of assignments before */
	struct riffle_lane *shown;                /* by the last event */
	rd_kafka_topic_partition_list_t *pending; /* assigned by the group, being resolved */
	struct kafka_commit *commits;             /* not yet answered */

	pthread_t helper;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct kafka_job *first, **last;
	uint64_t epoch; /* of the assignment; a job of another one is in vain */
	struct kafka_resolved *resolved;
	struct riffle_error trouble; /* of the helper, to be told; code 0 = none */
	int is_destroyed;            /* the helper ended the client and itself */
	int is_replaced;             /* told that another process has its place */
};
int kafka_source_open(void *self, const struct riffle_source_spec *spec, void **ret_source,
	struct riffle_error *reterr);
int kafka_source_fd(void *source);
int kafka_source_poll(void *source, struct riffle_event *ret_event);
int kafka_source_commit(void *source, const struct riffle_position *positions, uint32_t count,
	uint64_t tag, struct riffle_error *reterr);
void kafka_source_close(void *source);
void kafka_source_destroy(void *source);
/* Positions as librdkafka takes them; E_FENCED when one is of a lane that is not ours now. */
int kafka_source_positions(struct kafka_source *s, const struct riffle_position *positions,
	uint32_t count, rd_kafka_topic_partition_list_t **ret_list, struct riffle_error *reterr);

/* kafka_helper.c: the thread of a source that may wait */
void kafka_helper_post(struct kafka_source *s, struct kafka_job *job);
void kafka_helper_cancel(struct kafka_source *s); /* what it asks for an assignment is in vain */
/* Asks where list, which it takes over, is read from; s->resolved follows. */
void kafka_helper_resolve(struct kafka_source *s, rd_kafka_topic_partition_list_t *list);
/* Moves a lane; it yields nothing until it is there. */
void kafka_helper_seek(struct kafka_source *s, struct kafka_lane *lane, int64_t offset);
/* Asks for the ends of its log, into lane->start; it yields nothing until they are known. */
void kafka_helper_ends(struct kafka_source *s, struct kafka_lane *lane);
void kafka_helper_end(struct kafka_source *s); /* ends the client, then itself */
void *kafka_helper_run(void *source);
struct kafka_resolved {
	rd_kafka_topic_partition_list_t *list;
	struct kafka_start *starts;
	int is_new;
};
void kafka_resolved_free(struct kafka_resolved *r); /* NULL is a no-op */

/* Has the broker given us a generation? Without one it checks nothing. */
int kafka_source_is_member(const rd_kafka_consumer_group_metadata_t *member);

/* kafka_assign.c: partitions come and go */
void kafka_assign_given(struct kafka_source *s, const rd_kafka_topic_partition_list_t *list);
void kafka_assign_taken(struct kafka_source *s, int lost);
int kafka_assign_poll(struct kafka_source *s, struct riffle_event *ev); /* 1 = ev is filled */
/* All lanes, for which nothing is asked any more; batches may be out still. */
void kafka_assign_drop(struct kafka_source *s);
uint32_t kafka_assign_asked(struct kafka_source *s);       /* answers that are on their way */
uint32_t kafka_assign_batches_out(struct kafka_source *s); /* of what was dropped */
void kafka_assign_forget(struct kafka_source *s); /* those before, whose batches are back */
int kafka_source_start(void *source, const uint32_t *lanes, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr);
int kafka_source_rewind(void *source, const uint32_t *lanes, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr);
int kafka_source_release(
	void *source, const uint32_t *lanes, uint32_t count, struct riffle_error *reterr);
struct kafka_lane *kafka_source_lane(struct kafka_source *s, uint32_t id); /* NULL = none */

/* kafka_lane.c */
int kafka_lane_poll(void *source, uint32_t lane, uint32_t max_records, size_t max_bytes,
	struct riffle_batch **ret_batch, struct riffle_error *reterr);
int kafka_lane_state(void *source, uint32_t lane, struct riffle_lane_state *ret_state);
void kafka_lane_forget(struct kafka_lane *lane); /* what was fetched; it is moved or given up */

/* kafka_stats.c: what librdkafka tells of itself each second */
void kafka_stats_take(struct kafka_source *s, const char *json, size_t len);

/* kafka_sink.c */
struct kafka_send;
struct kafka_producer {
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue;
	int64_t linger_ms;
};
struct kafka_sink {
	uint32_t magic;
	struct kafka *owner;
	struct kafka_client client;
	struct kafka_signal signal;
	struct kafka_events events;
	const struct riffle_stream **streams;
	rd_kafka_topic_t **topics; /* by stream */
	uint32_t *producer_of;     /* same */
	int *is_compacted;         /* same */
	uint32_t stream_count;
	struct kafka_producer *producers; /* one for each linger; one alone in a transaction */
	uint32_t producer_count;
	/* Made by the first who needs them: only then is it known whether there are transactions. */
	int is_live;
	struct kafka_txn *finished_txn;   /* destroyed by the host, ended by the reaper */
	struct kafka_send *first, **last; /* answered */
	struct kafka_send *shown;
	uint32_t sends_open;
	struct kafka_txn *txn;
	pthread_t reaper;
	int is_closing, is_reaping, is_closed;
	int is_reaped; /* atomic: by the reaper */
};
/* With transactions of that id, or without. */
int kafka_sink_make_producers(
	struct kafka_sink *k, const char *txn_id, struct riffle_error *reterr);
int kafka_sink_open(void *self, const struct riffle_sink_spec *spec, void **ret_sink,
	struct riffle_error *reterr);
int kafka_sink_fd(void *sink);
int kafka_sink_poll(void *sink, struct riffle_event *ret_event);
int kafka_sink_send(void *sink, struct riffle_batch *batch, uint32_t first, uint32_t count,
	uint64_t tag, struct riffle_error *reterr);
void kafka_sink_flush(void *sink);
void kafka_sink_close(void *sink);
void kafka_sink_destroy(void *sink);

/* kafka_txn.c */
extern const struct riffle_transactions kafka_transactions;
int kafka_txn_is_open(const struct kafka_txn *t);
void kafka_txn_refused(struct kafka_txn *t); /* a record failed */
int kafka_txn_poll(struct kafka_txn *t, struct riffle_event *ev);
void kafka_txn_bind(struct kafka_txn *t, struct kafka_source *s);
void kafka_txn_unbind(struct kafka_txn *t, const struct kafka_source *s);
void kafka_txn_end(struct kafka_txn *t); /* waits; NULL is a no-op */

#endif
