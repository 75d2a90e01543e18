/* Goes on from local_bed.h: a log that is filled, looked at by positions, and used by a second process. */
#ifndef RFL_TESTS_UNIT_LOCAL_LOG_BED_H
#define RFL_TESTS_UNIT_LOCAL_LOG_BED_H

#include "local_bed.h"

#include <signal.h>
#include <sys/wait.h>

#define KIB INT64_C(1024)

static inline struct riffle_stream
kept_stream(const char *name, uint32_t partitions)
{
	struct riffle_stream s = stream_of(name, partitions);
	s.config = &stream_config;
	return s;
}

/* Numbered records of about a kibibyte, with their number as the time, in sends of a hundred. */
static inline void
fill(struct bed *b, int from, int count)
{
	static char text[100][1024];
	struct riffle_record r[100];
	for (int n = from; n < from + count;) {
		int k = 0;
		for (; k < 100 && n < from + count; k++, n++) {
			memset(text[k], 'x', sizeof text[k]);
			snprintf(text[k], sizeof text[k], "%d", n);
			r[k] = (struct riffle_record){.value = {text[k], sizeof text[k]},
				.time_ms = n,
				.partition = RIFFLE_PARTITION_NONE};
		}
		send_all(b, r, (uint32_t)k);
	}
}

static inline const struct riffle_positions *
positions_of(struct bed *b)
{
	const struct riffle_positions *p = ops->extension(b->self, RIFFLE_EXT_POSITIONS);
	assert_non_null(p);
	return p;
}

static inline struct riffle_partition_info
look_at(struct bed *b, const struct riffle_stream *s, const char *group, uint32_t partition)
{
	struct riffle_partition_list *list;
	struct riffle_error err = {0};
	must(positions_of(b)->partitions(b->self, s, group, &list, &err), &err);
	assert_true(partition < list->partition_count);
	struct riffle_partition_info info = list->partitions[partition];
	info.committed.metadata = bytes(NULL);
	list->release(list);
	return info;
}

static inline pid_t
spawn_self(const char *role)
{
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	execl("/proc/self/exe", "self", role, dir, (char *)NULL);
	_exit(127);
}

static inline int
run_self(const char *role)
{
	int status = -1;
	pid_t child = spawn_self(role);
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

#endif
