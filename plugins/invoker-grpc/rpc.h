/*
 * The grpc invoker from inside: one channel per instance, one rpc per call, one poller thread that owns
 * them all.
 *
 * Threads. The host's threads only put things into a call, under the instance's lock, and wake the
 * poller through its completion queue. The poller starts every operation, takes every completion,
 * and gives all events. gRPC brings threads of its own; none of them runs code of ours.
 *
 * Memory. A frame is written from the borrowed batch straight into the slice that gRPC sends, and an
 * answer is copied once, out of the read block it came in: no batch of the host's hangs in a stalled
 * connection after done, and no small record keeps a large block of gRPC's alive.
 */
#ifndef RIFFLE_RPC_H
#define RIFFLE_RPC_H

#include "rpc_frame.h"
#include "rpc_util.h"

#include <grpc/grpc.h>
#include <pthread.h>
#include <riffle/riffle.h>

#define RPC_MAGIC 0x52504349u
#define RPC_CALL_MAGIC 0x52504343u

/* Staged beyond what is sent; past it call_push takes no more until half of it is gone. */
#define RPC_STAGED_MAX ((size_t)4 * 1024 * 1024)

enum rpc_replies { RPC_REPLIES_ANY, RPC_REPLIES_ONE };

struct rpc_call;
struct rpc_child;

/* What a completion stands for. */
enum rpc_op { RPC_OP_START, RPC_OP_SEND, RPC_OP_CLOSE, RPC_OP_RECEIVE, RPC_OP_STATUS, RPC_OPS };
struct rpc_tag {
	struct rpc_call
		*call; /* NULL = the instance's own: the wake-up, the state of the channel */
	enum rpc_op op;
};

struct rpc {
	uint32_t magic;
	const struct riffle_host *host;
	char *target; /* as gRPC takes it */
	enum rpc_replies replies;
	uint64_t min_replies;
	uint32_t in_flight; /* the most records without a reply, for RPC_REPLIES_ONE */
	size_t max_message, max_output;
	struct rpc_child *child; /* NULL = somebody else starts the server */

	/* the poller's after start */
	grpc_channel *channel;
	grpc_completion_queue *queue;
	grpc_call *waker; /* never started: an empty batch on it wakes the poller */
	struct rpc_tag wake_tag, state_tag;
	grpc_connectivity_state state;
	int said_away;
	struct rpc_call *calls;
	struct rpc_call *dirty; /* with something to hand to the host */
	uint64_t due;           /* replies of all calls, for RPC_REPLIES_ONE */

	pthread_t thread;
	pthread_mutex_t lock;    /* what is marked [lock] here and in calls */
	int stopping;            /* [lock] */
	int is_woken;            /* [lock]: a wake-up is on its way */
	int is_connected;        /* [lock] */
	char away[192];          /* [lock]: why not; "" = not known yet */
	struct rpc_call *posted; /* [lock]: something of theirs changed */
};

/* Records of one push that wait to be sent. */
struct rpc_piece {
	struct rpc_piece *next;
	struct riffle_batch *batch; /* one reference */
	uint32_t record, end;
	size_t bytes; /* counted in staged_bytes */
};

struct rpc_block;

struct rpc_call {
	uint32_t magic;
	struct rpc *owner;
	const struct riffle_call_events *events;
	void *data;
	uint32_t input_count, output_count;
	char **input_types;
	grpc_slice start; /* the StartFrame; the poller takes it */
	grpc_metadata *metadata;
	size_t metadata_count;

	/* [lock] */
	struct rpc_call *next_posted;
	int is_posted;
	struct rpc_piece *fresh, **fresh_last;
	size_t staged_bytes;
	int wants_room, input_ended;
	size_t granted;              /* credit the poller has not seen */
	int wants_credit;            /* the poller has none left and waits for it */
	int cancel;                  /* reason, 0 = none */
	struct riffle_error refused; /* a record that no frame can carry; code 0 = none */
	int is_over; /* done is said or about to be: what is pushed now goes nowhere */

	/* the poller's */
	struct rpc_call *next, **at; /* in the instance's calls */
	struct rpc_call *next_dirty;
	int is_dirty;
	struct rpc_tag tags[RPC_OPS];
	grpc_call *call;         /* NULL = not begun, or over */
	unsigned ops_open;       /* batches that have not completed */
	int is_begun;            /* call was made, or never will be */
	int is_started;          /* the metadata and the StartFrame are on their way */
	int is_sending;          /* one message is with gRPC */
	int is_receiving;        /* and one is asked for */
	int is_ended, is_closed; /* the host's end of input was seen; it was sent */
	int is_paused;           /* in_flight was reached */
	int has_initial, output_ended, has_status;
	int is_on_wire;  /* a server got the beginning of it */
	int left_unsent; /* the function ended before it was sent everything */
	struct rpc_piece *first, **last;
	uint64_t sent, received, replied;
	size_t credit, output_bytes;
	grpc_byte_buffer *outgoing, *incoming;
	grpc_metadata_array initial, trailing;
	grpc_status_code status;
	grpc_slice details;
	struct rpc_block *block;   /* answers not yet handed out */
	struct riffle_error error; /* ours; code 0 = nothing went wrong so far */
};

int64_t rpc_now_ns(const struct rpc *c);
void rpc_log(const struct rpc *c, int level, const char *fmt, ...) RIFFLE_PRINTF(3, 4);

/* rpc_call.c: the host's side */
int rpc_call_begin(void *self, const struct riffle_call_spec *spec,
	const struct riffle_call_events *events, void *data, void **ret_call,
	struct riffle_error *reterr);
int rpc_call_push(void *call, struct riffle_batch *batch, uint32_t first, uint32_t count,
	struct riffle_error *reterr);
int rpc_call_end(void *call, struct riffle_error *reterr);
void rpc_call_read(void *call, size_t bytes);
void rpc_call_cancel(void *call, int reason);
void rpc_call_destroy(void *call);

/* rpc_channel.c */
struct rpc_tls {
	int on;
	const char *ca, *cert, *key, *server_name; /* files, and a name; NULL = none */
};
struct rpc_channel_spec {
	struct rpc_tls tls;
	int64_t max_message, keepalive_ms, keepalive_timeout_ms, connect_timeout_ms;
};
grpc_channel *rpc_channel_create(
	const char *target, const struct rpc_channel_spec *spec, struct riffle_error *reterr);
/* Is it host:port, [host]:port or unix:path? NULL, or what is wrong, in static words. */
const char *rpc_address_check(const char *address);
int rpc_address_is_local(const char *address);

/* rpc_start.c: the first message of a call */
grpc_slice rpc_start_frame(const struct riffle_call_spec *spec);

/* rpc_poller.c */
int rpc_poller_start(struct rpc *c, struct riffle_error *reterr);
void rpc_poller_stop(struct rpc *c);
void rpc_post(struct rpc_call *one); /* something of it changed; with the lock held */
/* Starts a batch of operations; its completion comes to the poller. The poller's. */
void rpc_start_batch(struct rpc_call *one, enum rpc_op op, const grpc_op *ops, size_t count);
void rpc_stop_call(struct rpc_call *one); /* error is set: end it. The poller's */
void rpc_mark_dirty(struct rpc_call *one);

/* rpc_send.c: the poller's */
void rpc_send(struct rpc_call *one);      /* as much as may be sent now */
void rpc_send_done(struct rpc_call *one); /* the message that was with gRPC is on its way */
void rpc_drop_input(struct rpc_call *one);

/* rpc_receive.c: the poller's */
void rpc_receive(struct rpc_call *one);
void rpc_receive_done(struct rpc_call *one);
void rpc_hand_out(struct rpc_call *one); /* what was answered so far, to the host */

/* rpc_status.c */
void rpc_judge(struct rpc_call *one); /* from the status to error */

/* rpc_child.c: the function's server as a child of ours */
struct rpc_child_spec {
	const char *const *words, *const *env;
	const char *dir;
	int port;
	int64_t grace_ms;
};
int rpc_child_start(struct rpc *c, const struct rpc_child_spec *spec, struct riffle_error *reterr);
void rpc_child_stop(struct rpc *c);
int rpc_free_port(int *ret_port, struct riffle_error *reterr); /* of 127.0.0.1, now */
int rpc_find_program(const char *program, struct riffle_error *reterr);

#endif
