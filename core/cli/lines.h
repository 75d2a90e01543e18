/* Sending lines, each of which is one record: in batches, with those that are refused named by their numbers. */
#ifndef RFL_CLI_LINES_H
#define RFL_CLI_LINES_H

#include "cli/sender.h"
#include "plugin/batch.h"

struct rfl_lines {
	const char *verb;
	struct rfl_builder
		*builder; /* where the caller puts the record of each line, one after the other */
	struct rfl_sender sender;
	int is_dry; /* nothing is written */
	uint64_t count;
	uint64_t refused; /* by the provider */
	unsigned told;    /* messages about those */
};

/* The verb for messages, "publish" or "stream import"; with is_dry lines are only counted. */
int rfl_lines_open(struct rfl_lines *l, struct rfl_client *client, const char *verb, int is_dry,
	struct riffle_error *reterr);
/* After each record: sends what is enough for a batch. -1: the sender has an error, no more lines are wanted. */
int rfl_lines_added(struct rfl_lines *l);
/* Sends what there is, before its caller waits for the next line. -1 as above. */
int rfl_lines_flush(struct rfl_lines *l);
/*
 * Sends the rest, waits and closes. rc is why the caller ended, with *reterr, or RIFFLE_OK; it comes back unless it is
 * that and writing failed: then *reterr says up to which line all is written, and why was told before.
 */
int rfl_lines_close(struct rfl_lines *l, int rc, struct riffle_error *reterr);

#endif
