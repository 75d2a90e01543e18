/*
 * The blocking adaptor: a provider from a few functions that may wait.
 *
 * An author writes "give me the next record" and "send this one"; this header makes of it all that
 * riffle/provider.h asks for: lanes, events, groups with committed positions, release, rewind and
 * orderly closing. Each open source and each open sink has one thread, which alone calls the
 * author's functions for it; the host's threads never wait for them. Two objects of one instance
 * run side by side, so what they share is the author's to protect.
 *
 * A stream has one partition. Positions of groups, with the host's metadata, are files below the
 * state directory, "simple/<provider>/<group>.positions", written anew and synced for each commit,
 * so that records are read again after a crash: at least once. A group has one member at a time; a
 * second one waits until the first is gone. There are no transactions.
 *
 * The author's file defines a table of options for [provider], one or both of struct
 * riffle_simple_source and struct riffle_simple_sink, and ends with one RIFFLE_SIMPLE_ macro. It is
 * linked with -pthread. riffle/riffle.h does not include this header: the code behind it, in
 * riffle/simple/, uses POSIX threads and Linux's eventfd, and brings in stdio.h, stdlib.h,
 * string.h, errno.h, unistd.h and others. Under -std=c11 it stands before any header of the system.
 * Names that begin with rfs_ are its own. Like the host it ends the process when there is no memory
 * for its own few words; for records there may be none, which is tried again.
 */
#ifndef RIFFLE_SIMPLE_H
#define RIFFLE_SIMPLE_H

#if defined(__STRICT_ANSI__) && !defined(_GNU_SOURCE) && !defined(_POSIX_C_SOURCE)
#ifdef _FEATURES_H
#error "under -std=c11 include <riffle/simple.h> first, or define _POSIX_C_SOURCE as 200809L"
#endif
#define _POSIX_C_SOURCE 200809L
#endif

#include <riffle/backoff.h>
#include <riffle/provider.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What each function of the author's is given; lives as long as the instance. */
struct riffle_simple {
	const struct riffle_host *host;
	const struct riffle_config *config; /* riffle_config_at(config, i) is option i */
};

/* A record on its own. */
struct riffle_simple_message {
	struct riffle_bytes key, value;
	int64_t offset;           /* 0 and up, greater than that of the record before */
	int64_t time_ms;          /* RIFFLE_TIME_NONE where it has none */
	const char *content_type; /* NULL = not stated */
	const struct riffle_header *headers;
	uint32_t header_count;
	uint32_t reserved0;
};

/*
 * Failures. E_UNAVAILABLE, E_TIMEOUT, E_NOMEM, and whatever has RIFFLE_ERR_RETRIABLE set, are tried
 * again with growing pauses, on a reader opened anew behind the last good record. E_DATA concerns one
 * record alone. Everything else ends the source, and the host opens another one later.
 */
struct riffle_simple_source {
	size_t reader_size; /* of what open is given: cleared memory, freed after close */
	/*
	 * Read the records whose offset is from or more; from need not be one that exists, and records
	 * before it are dropped. E_NOTFOUND = there is no such stream. The host's control thread may
	 * call it too.
	 */
	int (*open)(const struct riffle_simple *self, const struct riffle_stream *stream,
		int64_t from, void *reader, struct riffle_error *reterr);
	/*
	 * 1 and the next record, or 0 when there was none for timeout_ms (0 = do not wait): commits and
	 * closing wait behind it. Who cannot wait returns 0 at once and is asked again 20 ms later.
	 * What *ret points to is the reader's, until the next call. *ret is empty before. E_DATA sets
	 * the offset of the bad record if it is known; the call after it goes on behind that record.
	 * Where it is not, one that comes first is told of when the next good record shows that it
	 * does not lie before from.
	 */
	int (*next)(void *reader, int timeout_ms, struct riffle_simple_message *ret,
		struct riffle_error *reterr);
	void (*close)(void *reader); /* what open opened; not after a failed open */
	/*
	 * The first offset held, 0 unless it is set, and one past the last, now. It and find_time are
	 * asked of a reader opened for that, which is then closed.
	 */
	int (*range)(
		void *reader, int64_t *ret_start, int64_t *ret_end, struct riffle_error *reterr);
	/* The first offset at or after a time. Goes with RIFFLE_CAN_SEEK_TIME; NULL = cannot tell. */
	int (*find_time)(
		void *reader, int64_t time_ms, int64_t *ret_offset, struct riffle_error *reterr);
};

/* After a failure other than E_DATA the writer is closed, and opened again for what comes next. */
struct riffle_simple_sink {
	size_t writer_size; /* as reader_size */
	int (*open)(const struct riffle_simple *self, const struct riffle_stream *stream,
		void *writer, struct riffle_error *reterr);
	/* The message is borrowed for the call; its offset means nothing. */
	int (*send)(void *writer, const struct riffle_simple_message *message,
		struct riffle_error *reterr);
	/* All that was sent is durable when it returns. Comes after each burst of records. */
	int (*flush)(void *writer, struct riffle_error *reterr);
	void (*close)(void *writer);
};

/* Fills the error and returns its code, so that a failure is one line. */
static inline int riffle_simple_fail(struct riffle_error *reterr, int code, const char *format, ...)
	RIFFLE_PRINTF(3, 4);
/* The same from errno: its words behind the text, and E_NOTFOUND, E_AUTH, E_NOMEM or E_UNAVAILABLE. */
static inline int riffle_simple_fail_errno(struct riffle_error *reterr, const char *format, ...)
	RIFFLE_PRINTF(2, 3);

/*
 * The last line of an author's file. can = what records carry and more: any of RIFFLE_CAN_HEADERS,
 * _TIMESTAMPS, _KEYS, _SEEK_TIME, _DURABLE, or 0. A record with headers or a key is refused for a sink
 * that does not carry them. options = the array of options of [provider], source and sink = the
 * structs, not pointers to them.
 */
#define RIFFLE_SIMPLE_SOURCE(name, summary, version, license, can, options, source)                \
	RFS_CREATE(&(source), NULL, (can) | RFS_CAN_READ)                                          \
	static const struct riffle_provider_ops rfs_ops = {                                        \
		RFS_OPS_FRONT, NULL, rfs_describe, NULL, RFS_OPS_SOURCE, RFS_OPS_NO_SINK};         \
	RFS_PLUGIN(name, summary, version, license, (can) | RFS_CAN_READ, options)
#define RIFFLE_SIMPLE_SINK(name, summary, version, license, can, options, sink)                    \
	RFS_CREATE(NULL, &(sink), (can) | RFS_CAN_WRITE)                                           \
	static const struct riffle_provider_ops rfs_ops = {                                        \
		RFS_OPS_FRONT, rfs_provision, NULL, NULL, RFS_OPS_NO_SOURCE, RFS_OPS_SINK};        \
	RFS_PLUGIN(name, summary, version, license, (can) | RFS_CAN_WRITE, options)
#define RIFFLE_SIMPLE_PROVIDER(name, summary, version, license, can, options, source, sink)        \
	RFS_CREATE(&(source), &(sink), (can) | RFS_CAN_READ | RFS_CAN_WRITE)                       \
	static const struct riffle_provider_ops rfs_ops = {                                        \
		RFS_OPS_FRONT, rfs_provision, rfs_describe, NULL, RFS_OPS_SOURCE, RFS_OPS_SINK};   \
	RFS_PLUGIN(name, summary, version, license, (can) | RFS_CAN_READ | RFS_CAN_WRITE, options)

#ifdef __cplusplus
}
#endif

#include <riffle/simple/provider.h>

#endif
