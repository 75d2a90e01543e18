/*
 * Open sets that do not fit a position: records of the checkpoint stream, written in the transaction that
 * commits the position which points to them, and found by whoever goes on from there.
 */
#include "task/task_private.h"

#include "base/error.h"
#include "base/mem.h"
#include "plugin/batch.h"
#include "wire/checkpoint.h"

#include <riffle/host.h>
#include <stdlib.h>
#include <string.h>

static void
send(struct rfl_task *t, const struct rfl_lane *l, struct riffle_bytes value)
{
	char *key = rfl_checkpoint_key(t->spec->conf->group, l->at.topic, l->at.partition);
	struct rfl_builder *build = rfl_builder_create();
	const struct riffle_record r = {
		.key = {key, strlen(key)},
		.value = value,
		.offset = RIFFLE_OFFSET_NONE,
		.time_ms = rfl_clock_wall_ms(t->spec->clock),
		.partition = RIFFLE_PARTITION_NONE,
		.stream = t->spec->checkpoint.sink_stream,
	};
	rfl_builder_add(build, &r, NULL, 0, NULL);
	/* Nobody waits for it but the transaction, which the outlet tells when it was refused. */
	rfl_outlet_send(t->spec->checkpoint.outlet, rfl_builder_finish(build), 0, NULL, NULL);
	rfl_builder_destroy(build);
	free(key);
}

void
rfl_checkpoint_send(struct rfl_task *t, uint32_t lane, const char *tuple)
{
	struct rfl_lane *l = &t->lanes[lane];
	enum rfl_open_place place = rfl_open_place(t, lane);
	l->asked_checkpoint_bytes = 0;
	if (place != RFL_OPEN_IN_CHECKPOINT) {
		if (l->checkpoint_bytes > 0 && t->spec->checkpoint.outlet != NULL)
			send(t, l, (struct riffle_bytes){NULL, 0});
		return;
	}
#ifdef RFL_SABOTAGE_CHECKPOINT_ONCE
	if ((l->asked_checkpoint_bytes = l->checkpoint_bytes) > 0)
		return;
#endif
	struct rfl_open_set set = rfl_open_write(t, lane);
	struct rfl_buf value = RFL_BUF_INIT;
	rfl_checkpoint_encode(tuple, rfl_task_low(t, lane), &set, &value);
	send(t, l, (struct riffle_bytes){value.data, value.len});
	l->asked_checkpoint_bytes = value.len;
	rfl_buf_fini(&value);
	rfl_open_set_fini(&set);
}

int
rfl_checkpoint_restore(const struct rfl_task *t, struct rfl_lane *lane,
	struct riffle_bytes metadata, struct riffle_bytes value, struct riffle_error *reterr)
{
	const struct rfl_processor_conf *c = t->spec->conf;
	int rc;
	if (t->spec->checkpoint.outlet == NULL)
		return rfl_err(reterr, RIFFLE_E_CONFIG,
			"group %s, partition %d: which records are in open sessions was written to "
			"a checkpoint stream, and `checkpoint` names none",
			c->group, t->partition);
	if (value.ptr == NULL)
		rc = rfl_err(reterr, RIFFLE_E_DATA, "it is not there");
	else
		rc = rfl_checkpoint_decode(value, metadata, lane->at.low, lane->replay_to,
			&lane->open_runs, &lane->open_run_count, reterr);
	if (rc < 0) {
		char *key = rfl_checkpoint_key(c->group, lane->at.topic, lane->at.partition);
		rfl_err_prefix(
			reterr, "the checkpoint \"%s\" in stream %s", key, c->checkpoint->name);
		free(key);
		return rc;
	}
	lane->has_open_set = 1;
	lane->checkpoint_bytes = lane->asked_checkpoint_bytes = value.len;
	return RIFFLE_OK;
}
