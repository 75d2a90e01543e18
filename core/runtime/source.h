/* An open source of a processor: the inputs that lie on one provider, and the lanes it was given. */
#ifndef RFL_RUNTIME_SOURCE_H
#define RFL_RUNTIME_SOURCE_H

#include "runtime/instance.h"

enum rfl_lane_state {
	RFL_LANE_ASSIGNED,  /* waits for the other inputs' lanes of its partition */
	RFL_LANE_STARTED,   /* a task reads it */
	RFL_LANE_RELEASING, /* to be given back once no task has it */
	RFL_LANE_RELEASED   /* asked to; RELEASED follows */
};

/* Of the set that a lane's position points to, see checkpoint.c. */
enum rfl_checkpoint_state {
	RFL_CHECKPOINT_NONE,    /* there is none, or nobody asked */
	RFL_CHECKPOINT_WANTED,  /* the next reading looks for it */
	RFL_CHECKPOINT_READING, /* this one does */
	RFL_CHECKPOINT_READ     /* `checkpoint` has it, if there is any */
};

struct rfl_source_lane {
	enum rfl_lane_state state;
	uint32_t id, stream, input;
	int32_t partition, leader_epoch;
	int64_t offset, log_end; /* committed or resolved; end when assigned */
	char *metadata;          /* NULL = absent */
	size_t metadata_len;
	enum rfl_checkpoint_state checkpoint_state;
	int is_checkpoint_found;           /* the one of its position */
	char *checkpoint_key, *checkpoint; /* the newest, or the one of its position; NULL = none */
	size_t checkpoint_len;
};

struct rfl_source {
	uint32_t magic;
	struct rfl_instance *instance;
	const struct riffle_provider_ops *ops;
	void *source; /* NULL = not open */
	int is_closing, is_closed;
	const uint32_t *inputs; /* by stream of the source: the input it is */
	uint32_t input_count;
	struct rfl_source_lane *lanes;
	size_t lane_count, lane_room;
};

/* inputs is borrowed for as long as the source. */
void rfl_source_init(struct rfl_source *s, struct rfl_instance *instance, const uint32_t *inputs,
	uint32_t input_count);
int rfl_source_open(
	struct rfl_source *s, const struct riffle_source_spec *spec, struct riffle_error *reterr);
void rfl_source_add_lanes(struct rfl_source *s, const struct riffle_event *ev);
struct rfl_source_lane *rfl_source_lane(struct rfl_source *s, uint32_t id);
void rfl_source_remove_lane(struct rfl_source *s, uint32_t id);
void rfl_source_close(struct rfl_source *s);
void rfl_source_fini(struct rfl_source *s); /* closed, or never open */

#endif
