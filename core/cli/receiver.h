/*
 * Reading a stream in a client verb, without a group. Damaged records are told and passed, for what lies behind
 * them can be had in no other way; so is what may pass, which the provider goes on with by itself.
 */
#ifndef RFL_CLI_RECEIVER_H
#define RFL_CLI_RECEIVER_H

#include "cli/client.h"

struct rfl_receiver_lane {
	struct riffle_lane lane; /* as it was assigned; without metadata */
	int64_t next;            /* nothing before it is left to read */
};

struct rfl_receiver {
	struct rfl_client *client;
	const char *verb; /* "stream export", for what is told meanwhile */
	void *source;
	struct rfl_receiver_lane *lanes;
	size_t lane_count, lane_room;
	int is_assigned, is_closed, has_waited;
	uint64_t damaged; /* records that were left out */
};

/* start: RIFFLE_START_*. partition: -1 for all. */
int rfl_receiver_open(struct rfl_receiver *r, struct rfl_client *client, const char *verb,
	uint32_t start, int32_t partition, struct riffle_error *reterr);
/* Takes what the source says: how many events there were, or what it ended with. */
int rfl_receiver_take(struct rfl_receiver *r, struct riffle_error *reterr);
/*
 * The next records of a lane, out of their envelopes: 1 and *ret_batch, whose reference is the caller's; 0:
 * none are there now.
 */
int rfl_receiver_poll(struct rfl_receiver *r, struct rfl_receiver_lane *l,
	struct riffle_batch **ret_batch, struct riffle_error *reterr);
/*
 * Ends it; what is not opened is a no-op. rc is what the reading ended with, of which reterr tells; if that is OK,
 * E_DATA where records were left out. A source that does not close in time is told and left alone.
 */
int rfl_receiver_close(struct rfl_receiver *r, int rc, struct riffle_error *reterr);

#endif
