/*
 * The provider border: a named connection to a broker that offers streams to read and to write.
 *
 * Reading. source_open joins; nothing is read yet. source_poll then yields ASSIGNED with the lanes
 * (one lane is one partition of one input stream), each with what the group has committed. The host
 * answers source_start with the offset to read each lane from, and pulls with lane_poll. Not
 * pulling is the back-pressure: there is no pause.
 *
 * Waiting. No function here waits. source_fd and sink_fd are readable from the moment there is
 * something new until the next source_poll or sink_poll, which clears them. The host polls a source,
 * a sink or a lane until it yields nothing and only then waits. A wake-up tells of a change from
 * empty to not empty: a lane that the host left before it was empty gives no wake-up. The host calls
 * source_poll and sink_poll at least once a second regardless.
 *
 * Completion. Everything asynchronous is answered by an event of the same source's or sink's poll,
 * in the host's thread, carrying the tag the host gave. A plugin never calls the core.
 *
 * Writing. sink_send says how many records it took; each of them is answered by exactly one status
 * in a SENT event, or, inside a transaction, by the transaction's result.
 */
#ifndef RIFFLE_PROVIDER_H
#define RIFFLE_PROVIDER_H

#include <riffle/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * What a provider can do. The descriptor states the most; capabilities() may only take away. The
 * host refuses a configuration that needs more, naming the rule.
 */
#define RIFFLE_CAN_SOURCE (UINT64_C(1) << 0)
#define RIFFLE_CAN_SINK (UINT64_C(1) << 1)
#define RIFFLE_CAN_ORDER (UINT64_C(1) << 2)        /* records of a partition stay in order */
#define RIFFLE_CAN_GROUPS (UINT64_C(1) << 3)       /* membership; else explicit partitions */
#define RIFFLE_CAN_TRANSACTIONS (UINT64_C(1) << 4) /* RIFFLE_EXT_TRANSACTIONS */
#define RIFFLE_CAN_HEADERS (UINT64_C(1) << 5)
#define RIFFLE_CAN_TIMESTAMPS (UINT64_C(1) << 6)
#define RIFFLE_CAN_DURABLE (UINT64_C(1) << 7)  /* an acknowledged record survives a crash */
#define RIFFLE_CAN_REPLAY (UINT64_C(1) << 8)   /* records can be read again from an older offset */
#define RIFFLE_CAN_METADATA (UINT64_C(1) << 9) /* a committed position carries bytes of ours */
#define RIFFLE_CAN_SEEK_TIME (UINT64_C(1) << 10) /* start at a time */
#define RIFFLE_CAN_PROVISION (UINT64_C(1) << 11)
#define RIFFLE_CAN_KEYS (UINT64_C(1) << 12)
/* Keeps no content type beside a record: the host wraps records in CloudEvents unless told otherwise. */
#define RIFFLE_WANTS_ENVELOPE (UINT64_C(1) << 13)

/* A stream as the configuration describes it. Lives as long as the instance. */
struct riffle_stream {
	uint32_t size;
	uint32_t partitions; /* 0 = not stated */
	const char *name;    /* "in" */
	const char *topic;   /* its name on the broker: "<namespace>_<stream>" unless overridden */
	const char *content_type;
	const struct riffle_config
		*config; /* its section, by the plugin's stream table; may be NULL */
};

#define RIFFLE_STREAM_EXISTS (1u << 0)
#define RIFFLE_STREAM_COMPACTED (1u << 1)
#define RIFFLE_STREAM_UNDESCRIBED                                                                  \
	(1u << 2) /* its settings may not be seen: COMPACTED is not known */

struct riffle_stream_info {
	uint32_t size;
	uint32_t flags; /* RIFFLE_STREAM_* */
	uint32_t partitions;
	uint32_t reserved0;
	/* After how long, or beyond how much, records go, whatever compaction keeps. */
	int64_t retention_ms;    /* -1 = for ever, or not known */
	int64_t retention_bytes; /* -1 = without limit, or not known */
	int64_t records;         /* held now, over all partitions; -1 = not known */
	int64_t record_bytes;    /* the largest record that it takes; -1 = not known */
};

/* Frozen: carries no size. Offsets are ordered, not contiguous. */
struct riffle_position {
	uint32_t stream; /* index into the source's streams */
	int32_t partition;
	int64_t offset;       /* the next one to read, or RIFFLE_OFFSET_NONE */
	int32_t leader_epoch; /* -1 = not known */
	uint32_t reserved0;
	struct riffle_bytes
		metadata; /* text of the host's, at most 4096 bytes; absent where there is none */
};

/* One partition of one input stream, as assigned. */
struct riffle_lane {
	uint32_t size;
	/*
	 * The provider's number for it, its own in this source until RELEASED: the same partition may be
	 * assigned again, as another lane, before that.
	 */
	uint32_t lane;
	/*
	 * What the group committed. For a new group the provider has resolved the spec's start and
	 * committed it, for all partitions of all streams in one commit, before it says ASSIGNED, so
	 * that a crash cannot move it; the metadata is then absent. Partitions that appear later start
	 * at their beginning. Without a group: the resolved start, nothing committed.
	 */
	struct riffle_position committed;
	int64_t log_start, log_end; /* first offset held, and one past the last, now */
};

#define RIFFLE_LANE_FAILING (1u << 0) /* leaderless, denied, unreachable */
#define RIFFLE_LANE_HANGING (1u << 1) /* behind somebody's open transaction */

/*
 * Where a lane stands. Caught up means position >= log_end as of as_of_ns; an answer older than 3 s
 * counts as not known, so a provider that cannot tell leaves as_of_ns 0.
 */
struct riffle_lane_state {
	uint32_t size;
	uint32_t flags;   /* RIFFLE_LANE_* */
	int64_t position; /* next offset to fetch, past control records */
	int64_t log_end;  /* the high watermark, not the last stable offset */
	int64_t as_of_ns; /* mono_ns clock */
};

#define RIFFLE_START_EARLIEST 1u
#define RIFFLE_START_LATEST 2u
#define RIFFLE_START_TIME 3u   /* start_value: milliseconds since 1970 UTC */
#define RIFFLE_START_OFFSET 4u /* start_value: an offset, the same in each partition */

#define RIFFLE_SOURCE_HEADERS (1u << 0) /* headers are wanted */

struct riffle_source_stream {
	uint32_t size;
	uint32_t flags; /* RIFFLE_SOURCE_* */
	const struct riffle_stream *stream;
	uint32_t start;           /* RIFFLE_START_*; counts only where nothing is committed */
	uint32_t partition_count; /* 0 = by membership in the group, or all of them without one */
	int64_t start_value;
	const int32_t *
		partitions; /* explicit ones: no membership, commits go to the group all the same */
};

struct riffle_source_spec {
	uint32_t size;
	uint32_t stream_size; /* stride of streams[] */
	uint32_t stream_count;
	uint32_t reserved0;
	const struct riffle_source_stream *streams;
	const char *group;  /* NULL = none: nothing is committed */
	const char *member; /* stable name of this member: "<instance>.<worker>" */
	void *txn; /* positions are committed by this transaction object; NULL = by source_commit */
};

struct riffle_sink_spec {
	uint32_t size;
	uint32_t stream_size; /* stride of streams[]: an array of pointers, so sizeof(void *) */
	uint32_t stream_count;
	uint32_t reserved0;
	const struct riffle_stream *const *streams; /* record.stream is an index into these */
	const char *member;
};

/* Events of source_poll. */
#define RIFFLE_EV_NONE 0u
#define RIFFLE_EV_ASSIGNED 1u  /* lanes: answer with source_start */
#define RIFFLE_EV_REVOKED 2u   /* lanes: commit if you must, then source_release */
#define RIFFLE_EV_LOST 3u      /* lanes: gone already, nothing may be committed; source_release */
#define RIFFLE_EV_RELEASED 4u  /* lanes: released, and the last batch of them is back */
#define RIFFLE_EV_COMMITTED 5u /* tag, status, error */
#define RIFFLE_EV_ERROR                                                                            \
	6u /* status, error. FATAL: close, open again. FENCED: same, a source for good. Else it goes on trying */
#define RIFFLE_EV_CLOSED 7u /* after close: the last event; destroy may follow */
/* Events of sink_poll, beside ERROR and CLOSED. */
#define RIFFLE_EV_SENT 8u      /* tag, first, count, sent */
#define RIFFLE_EV_TXN_READY 9u /* the transaction object can begin (riffle/ext/transactions.h) */
#define RIFFLE_EV_TXN 10u      /* tag, status = RIFFLE_TXN_*, error unless committed */

struct riffle_sent {
	int32_t status; /* RIFFLE_OK or why it was not written */
	int32_t partition;
	int64_t offset; /* RIFFLE_OFFSET_NONE where the broker does not say */
};

struct riffle_event {
	uint32_t size, type;
	uint64_t tag;
	int32_t status;
	uint32_t lane_size; /* stride of lanes[] */
	uint32_t lane_count;
	uint32_t first, count;           /* SENT: these records of the batch */
	uint32_t sent_size;              /* stride of sent[] */
	const struct riffle_lane *lanes; /* valid until the next poll of the same object */
	const struct riffle_sent *sent;  /* same; NULL = all of them OK, positions not told */
	struct riffle_error error;
};

/*
 * Mandatory: create, destroy, capabilities, and at least one complete half (all of source_* and
 * lane_*, or all of sink_* but sink_flush). The others may be NULL.
 */
struct riffle_provider_ops {
	uint32_t size, reserved0;

	/* Opens nothing and waits for nothing: only looks at what is written. [control] */
	int (*check)(const struct riffle_config *cfg, const struct riffle_report *report);
	/* cfg lives until destroy has returned. Waits for no broker. [control] */
	int (*create)(const struct riffle_host *host, const struct riffle_config *cfg,
		void **ret_self, struct riffle_error *reterr);
	void (*destroy)(
		void *self); /* NULL is a no-op. All sources, sinks are destroyed before. [control] */
	uint64_t (*capabilities)(void *self);                 /* RIFFLE_CAN_* as of now. [any] */
	const void *(*extension)(void *self, const char *id); /* NULL where there is none. [any] */

	/*
	 * These three may wait for the broker, within a time-out of the plugin's own. provision makes
	 * the stream if it is missing and adopts it if it exists, E_CONFIG if with other partitions.
	 * describe of a missing stream succeeds without RIFFLE_STREAM_EXISTS. remove deletes its data.
	 * [control]
	 */
	int (*provision)(
		void *self, const struct riffle_stream *stream, struct riffle_error *reterr);
	int (*describe)(void *self, const struct riffle_stream *stream,
		struct riffle_stream_info *ret_info, struct riffle_error *reterr);
	int (*remove)(void *self, const struct riffle_stream *stream, struct riffle_error *reterr);

	/* The spec is borrowed for the call, its streams live as long as the source. [worker] */
	int (*source_open)(void *self, const struct riffle_source_spec *spec, void **ret_source,
		struct riffle_error *reterr);
	int (*source_fd)(void *source); /* valid until destroy; never -1. [worker] */
	/* 1 and *ret_event filled, or 0 for nothing. ret_event->size is set by the host. [worker] */
	int (*source_poll)(void *source, struct riffle_event *ret_event);
	/* Read lanes[i] from from[i].offset on; lane_poll yields records only after this. [worker] */
	int (*source_start)(void *source, const uint32_t *lanes, const struct riffle_position *from,
		uint32_t count, struct riffle_error *reterr);
	/*
	 * Go back, or on, to from[i]. All batches of the lanes are released before. Asynchronous: once
	 * it returned, lane_poll yields nothing but what lies from there on. [worker]
	 */
	int (*source_rewind)(void *source, const uint32_t *lanes,
		const struct riffle_position *from, uint32_t count, struct riffle_error *reterr);
	/* The host pulls no more from these; RELEASED follows when the last batch is back. [worker] */
	int (*source_release)(
		void *source, const uint32_t *lanes, uint32_t count, struct riffle_error *reterr);
	/* COMMITTED follows with the tag. Commits complete in the order they were asked. [worker] */
	int (*source_commit)(void *source, const struct riffle_position *positions, uint32_t count,
		uint64_t tag, struct riffle_error *reterr);
	/*
	 * The next records of a lane in order: 1 and *ret_batch with at least one record, at most
	 * max_records, and at most max_bytes of keys, values and headers unless the first alone is
	 * larger; its one reference is now the host's. 0 = nothing now. E_DATA = the record at
	 * lane_state.position is damaged, and the same again until source_rewind passes it; the text
	 * names stream, partition and offset. E_NOTFOUND = what lies at the position is gone, by
	 * retention or with its stream: the text says which, and what is left. [worker]
	 */
	int (*lane_poll)(void *source, uint32_t lane, uint32_t max_records, size_t max_bytes,
		struct riffle_batch **ret_batch, struct riffle_error *reterr);
	int (*lane_state)(
		void *source, uint32_t lane, struct riffle_lane_state *ret_state); /* [worker] */
	/* Begin to close: lanes are given up, the group is left, CLOSED follows. [worker] */
	void (*source_close)(void *source);
	void (*source_destroy)(void *source); /* after CLOSED; NULL is a no-op. [worker] */

	int (*sink_open)(void *self, const struct riffle_sink_spec *spec, void **ret_sink,
		struct riffle_error *reterr);                         /* [worker] */
	int (*sink_fd)(void *sink);                                   /* [worker] */
	int (*sink_poll)(void *sink, struct riffle_event *ret_event); /* as source_poll. [worker] */
	/*
	 * Take records [first, first + count) of the batch, in order, as many as there is room for:
	 * returns how many, 0 when full (the fd tells when to try again). The batch is borrowed for
	 * the call: what is needed longer takes batch_ref. A record with a key and without a partition
	 * goes where Kafka's murmur2 partitioner puts it. [worker]
	 */
	int (*sink_send)(void *sink, struct riffle_batch *batch, uint32_t first, uint32_t count,
		uint64_t tag, struct riffle_error *reterr);
	void (*sink_flush)(void *sink); /* a hint: do not wait for more. May be NULL. [worker] */
	void (*sink_close)(
		void *sink); /* what was taken is still written; CLOSED follows. [worker] */
	void (*sink_destroy)(void *sink); /* after CLOSED; NULL is a no-op. [worker] */
};

#ifdef __cplusplus
}
#endif
#endif
