/*
 * riffle.positions/1: looking at what groups have committed, and moving it while nobody reads as them.
 *
 * For tools, not for the way of a record: everything here is [control] and may wait for the broker,
 * within a time-out of the plugin's own. A provider that offers it has RIFFLE_CAN_GROUPS.
 */
#ifndef RIFFLE_EXT_POSITIONS_H
#define RIFFLE_EXT_POSITIONS_H

#include <riffle/provider.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RIFFLE_EXT_POSITIONS "riffle.positions/1"

#define RIFFLE_GROUP_ACTIVE (1u << 0) /* somebody reads as it, so its positions cannot be set */

struct riffle_group_info {
	uint32_t size;
	uint32_t flags;     /* RIFFLE_GROUP_* */
	const char *name;   /* "default.averager" */
	const char *member; /* who reads as it, in words; NULL = nobody, or not known */
};

/* The plugin's; release gives it back. */
struct riffle_group_list {
	uint32_t size;
	uint32_t group_size; /* stride of groups[] */
	uint32_t group_count;
	uint32_t reserved0;
	const struct riffle_group_info *groups; /* by name */
	void *owner;                            /* the plugin's */
	void (*release)(struct riffle_group_list *list);
};

/* A partition of one stream, and where a group stands in it. */
struct riffle_partition_info {
	uint32_t size;
	int32_t partition;
	int64_t log_start, log_end; /* first offset held, and one past the last */
	int64_t records, bytes;     /* held; -1 = not known */
	struct riffle_position
		committed; /* offset RIFFLE_OFFSET_NONE: nothing, or no group asked */
};

struct riffle_partition_list {
	uint32_t size;
	uint32_t partition_size; /* stride of partitions[] */
	uint32_t partition_count;
	uint32_t reserved0;
	const struct riffle_partition_info *partitions; /* by number, all of them */
	void *owner;
	void (*release)(struct riffle_partition_list *list);
};

struct riffle_positions {
	uint32_t size, reserved0;
	/* Groups that have committed something in the stream, or, with NULL, anywhere. */
	int (*groups)(void *self, const struct riffle_stream *stream,
		struct riffle_group_list **ret_list, struct riffle_error *reterr);
	/* group NULL = the partitions alone. E_NOTFOUND: no such stream. */
	int (*partitions)(void *self, const struct riffle_stream *stream, const char *group,
		struct riffle_partition_list **ret_list, struct riffle_error *reterr);
	/*
	 * Commits positions as the group would, all or none; position.stream is an index into
	 * streams, and an offset of RIFFLE_OFFSET_NONE forgets the position. The offset must lie within
	 * log_start and log_end: E_INVAL. E_UNAVAILABLE while somebody reads as the group: the text
	 * says who. E_NOTFOUND: no such stream.
	 */
	int (*set)(void *self, const char *group, const struct riffle_stream *const *streams,
		uint32_t stream_count, const struct riffle_position *positions, uint32_t count,
		struct riffle_error *reterr);
	/*
	 * The first offset whose record's time is time_ms or later (milliseconds since 1970 UTC), the
	 * end where there is none. E_NOTFOUND: no such stream or partition.
	 */
	int (*offset_at)(void *self, const struct riffle_stream *stream, int32_t partition,
		int64_t time_ms, int64_t *ret_offset, struct riffle_error *reterr);
};

#ifdef __cplusplus
}
#endif
#endif
