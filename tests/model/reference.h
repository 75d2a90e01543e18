/*
 * The naive reference: what riffle promises of windows and late records, written down from the promises
 * and not from the engine. It keeps every record that a task admitted, in the order of admission, and
 * looks through all of them whenever it is asked.
 *
 * One `struct ref` follows one life of one task, from a position to a crash.
 */
#ifndef RFL_TESTS_MODEL_REFERENCE_H
#define RFL_TESTS_MODEL_REFERENCE_H

#include <stdint.h>

#define REF_LANES_MAX 3
#define REF_ENTRIES_MAX 160
#define REF_WINDOWS_MAX 8
#define REF_NEVER INT64_MIN

enum ref_shape { REF_NONE, REF_COUNT, REF_TUMBLING, REF_HOPPING, REF_SESSION };

struct ref_settings {
	enum ref_shape shape;
	int has_event_time, is_keyed;
	int64_t size_ms; /* session: the gap; count: the `or`, 0 = none */
	int64_t slide_ms, offset_ms, max_ms;
	uint32_t count;
	int64_t disorder_ms, close_after_idle_ms;
};

/* A record as it was admitted. */
struct ref_entry {
	int lane, record; /* record: its place in the log of the lane */
	int64_t time_ms;
	int key;
	int64_t closed_ms; /* windows that end at or before it are over for it */
	int is_fresh;      /* the first life that read it as far as any commit says */
	int is_late;       /* none of its windows takes it */
	int session;       /* which one holds it; merging joins the numbers */
	int pane;          /* count: the first entry of its window, once that was seen; -1 */
};

struct ref_lane {
	int64_t hw, frontier_ms, time_ms;
	int is_idle, is_through;
};

struct ref {
	const struct ref_settings *is;
	int lane_count;
	struct ref_lane lanes[REF_LANES_MAX];
	int64_t watermark_ms;
	int is_replaying;
	int64_t all_idle_since_ms; /* REF_NEVER = not all are */
	int is_shifted; /* the wall closed windows once: what is late hangs on when that was */
	struct ref_entry list[REF_ENTRIES_MAX];
	int count, sessions;
};

void ref_start(struct ref *r, const struct ref_settings *is, int lane_count);
/* What the position of a lane said; before the first record. */
void ref_restore(struct ref *r, int lane, int64_t hw, int64_t frontier_ms, int64_t time_ms);

/* What is idle now, and whether the task still reads again; moves the watermark. */
void ref_look(struct ref *r, const int *is_idle, int is_replaying, int64_t now_ms);
/*
 * The task may have looked more than once since, when fewer lanes were idle: its watermark counts if only
 * lanes that are idle are behind it.
 */
void ref_follow(struct ref *r, int64_t watermark_ms);
/* Records now: the entry. */
struct ref_entry *ref_admit(
	struct ref *r, int lane, int record, int64_t offset, int64_t time_ms, int key);

/* The starts of the windows that a time lies in, oldest first; tumbling and hopping. */
int ref_windows(const struct ref_settings *is, int64_t time_ms, int64_t *starts);
int64_t ref_last_end_ms(const struct ref *r); /* of the open windows; REF_NEVER = none is */
/* Is the entry in that window, as it is known now? */
int ref_holds(
	const struct ref *r, const struct ref_entry *e, int64_t start_ms, int64_t end_ms, int key);
/*
 * NULL, or what is wrong with a call for that window that was given these records, as many as it was: lanes[i],
 * records[i].
 */
const char *ref_check_call(struct ref *r, int64_t start_ms, int64_t end_ms, int key,
	const int *lanes, const int *records, int count);

#endif
