/* What the verbs under `riffle stream` share. */
#ifndef RFL_CLI_STREAM_H
#define RFL_CLI_STREAM_H

#include "cli/client.h"
#include "cli/verb.h"

#include <riffle/ext/positions.h>

struct rfl_stream_args {
	struct rfl_common common;
	struct rfl_chosen chosen;
	const char *name, *provider, *type, *partitions;
	const char *group, *to, *file;
	int64_t partition; /* RIFFLE_PARTITION_NONE = all, or as recorded */
	int dry_run, purge, repartition, create;
};

int rfl_stream_is_place(const char *to); /* can --to mean it? */

/*
 * stream_groups.c: RIFFLE_OK where the group has positions in the stream or a processor of the configuration
 * reads it as that group, else E_NOTFOUND, whose text has `cure` and names those that there are, the nearest first.
 */
int rfl_stream_find_group(const struct rfl_common *common, struct rfl_client *client,
	const struct riffle_positions *positions, const char *group, const char *cure,
	struct riffle_error *reterr);

/* One verb on an open stream: negative with why, and its name for messages is "stream <verb>". */
int rfl_stream_status(void *args, struct rfl_client *client, struct riffle_error *reterr);
int rfl_stream_seek(void *args, struct rfl_client *client, struct riffle_error *reterr);
int rfl_stream_export(void *args, struct rfl_client *client, struct riffle_error *reterr);
int rfl_stream_import(void *args, struct rfl_client *client, struct riffle_error *reterr);

#endif
