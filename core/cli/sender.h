/* Writing records from a client verb, until all of them are acknowledged. */
#ifndef RFL_CLI_SENDER_H
#define RFL_CLI_SENDER_H

#include "cli/client.h"

/* Records first..first + count of all that were sent, counted from 0, were not written. */
typedef void rfl_sender_refused_fn(
	void *ctx, uint64_t first, uint64_t count, const struct riffle_error *why);

/* Records that were taken and are not answered: their tag, and where record 0 of their batch would be. */
struct rfl_sender_open_send {
	uint64_t tag, base;
	uint32_t left;
};

struct rfl_sender {
	struct rfl_client *client;
	rfl_sender_refused_fn *refused; /* NULL: only the first error counts; set after open */
	void *ctx;
	struct rfl_sender_open_send *open;
	size_t open_count, open_room;
	void *sink;
	uint64_t tag, sent, answered;
	uint64_t acknowledged; /* of those answered */
	int is_closed, has_waited;
	const char *verb; /* in front of what is said on stderr, and the member of its sink */
	struct riffle_error error; /* the first; once there is one nothing more is sent */
};

int rfl_sender_open(struct rfl_sender *s, struct rfl_client *client, const char *verb,
	struct riffle_error *reterr);
/* Takes the caller's reference of the batch. The code of s->error. */
int rfl_sender_send(struct rfl_sender *s, struct riffle_batch *b);
/* Waits for what was sent, and closes; the first error, if there was one. */
int rfl_sender_close(struct rfl_sender *s, struct riffle_error *reterr);

#endif
