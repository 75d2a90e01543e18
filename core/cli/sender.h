/* Writing records from a client verb, until all of them are acknowledged. */
#ifndef RFL_CLI_SENDER_H
#define RFL_CLI_SENDER_H

#include "cli/client.h"

struct rfl_sender {
	struct rfl_client *client;
	void *sink;
	uint64_t tag, sent, answered;
	uint64_t acknowledged; /* of those answered */
	int is_closed;
	struct riffle_error error; /* the first; once there is one nothing more is sent */
};

int rfl_sender_open(struct rfl_sender *s, struct rfl_client *client, const char *member,
	struct riffle_error *reterr);
/* Takes the caller's reference of the batch. The code of s->error. */
int rfl_sender_send(struct rfl_sender *s, struct riffle_batch *b);
/* Waits for what was sent, and closes; the first error, if there was one. */
int rfl_sender_close(struct rfl_sender *s, struct riffle_error *reterr);

#endif
