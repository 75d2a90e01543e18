/*
 * A rehearsal: one processor with its real function, on streams made of memory and a clock that is turned
 * by hand, so that days pass in milliseconds. What a [test] of the configuration describes.
 *
 * Each record comes when the clock has reached its time. Between two records, and after the last one, the
 * clock goes on by what the processor next waits for; it stands still while the function has an answer to
 * give, for the function lives by a real clock. Whatever the file says, streams have one partition here,
 * and windows are called one after the other, each when it is over: so what comes out has one order.
 */
#ifndef RFL_RUNTIME_REHEARSAL_H
#define RFL_RUNTIME_REHEARSAL_H

#include "conf/model.h"
#include "plugin/plugin.h"

struct riffle_batch;

/* A record that the processor wrote. */
struct rfl_rehearsed {
	const struct rfl_stream_conf *stream;
	struct riffle_bytes key, value; /* may be absent */
	int64_t time_ms;                /* RIFFLE_TIME_NONE = without */
	int has_window;                 /* of an output whose window can be told */
	int64_t start_ms, end_ms;       /* the window; end INT64_MAX = without */
};

struct rfl_rehearsal {
	char *failure;                 /* why it did not come to its end; NULL = it did */
	struct rfl_rehearsed *written; /* stream by stream, as rfl_conf_destinations, in order */
	size_t written_count;
	uint64_t windows, late, late_in_part, refused, skipped, dead_letters, retries;
	uint64_t windows_open; /* at the end: nothing would close them any more */
	int64_t took_ms;       /* by a real clock */
	int64_t ended_ms;      /* by the test's */
	void *memory;          /* what the texts lie in */
};

/*
 * Runs a test. Failures of the test are in *ret; an error here means that it could not be begun, and *ret
 * is not set. conf and plugins are borrowed. On the one thread that owns the plugins.
 */
int rfl_rehearse(const struct rfl_conf *conf, struct rfl_plugins *plugins,
	const struct rfl_test_conf *test, struct rfl_rehearsal *ret, struct riffle_error *reterr);
void rfl_rehearsal_fini(struct rfl_rehearsal *r);

#endif
