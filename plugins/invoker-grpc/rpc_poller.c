/* The poller thread of an instance: it owns the rpcs of all calls, from the first byte to done. */
#include "rpc.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Completions between two times that the host is told, where they do not cease. */
#define ROUND 512u

/* With so many replies due, fewer than so many in one go are let collect for so long. */
#define DUE_MANY 64u
#define GO_FEW 4u
#define COLLECT_NS 100000

void
rpc_post(struct rpc_call *one)
{
	struct rpc *c = one->owner;
	if (one->is_over)
		return;
	if (!one->is_posted) {
		one->is_posted = 1;
		one->next_posted = c->posted;
		c->posted = one;
	}
	if (c->is_woken)
		return;
	c->is_woken = 1;
	rpc_assert(grpc_call_start_batch(c->waker, NULL, 0, &c->wake_tag, NULL) == GRPC_CALL_OK);
}

void
rpc_mark_dirty(struct rpc_call *one)
{
	if (one->is_dirty)
		return;
	one->is_dirty = 1;
	one->next_dirty = one->owner->dirty;
	one->owner->dirty = one;
}

void
rpc_start_batch(struct rpc_call *one, enum rpc_op op, const grpc_op *ops, size_t count)
{
	rpc_assert(
		grpc_call_start_batch(one->call, ops, count, &one->tags[op], NULL) == GRPC_CALL_OK);
	one->ops_open++;
}

void
rpc_stop_call(struct rpc_call *one)
{
	rpc_assert(one->error.code != RIFFLE_OK);
	if (one->call != NULL && !one->has_status)
		grpc_call_cancel(one->call, NULL);
}

static void
begin(struct rpc_call *one)
{
	struct rpc *c = one->owner;
	one->is_begun = 1;
	one->next = c->calls;
	one->at = &c->calls;
	if (one->next != NULL)
		one->next->at = &one->next;
	c->calls = one;
	if (one->error.code != RIFFLE_OK)
		return;
	one->call = grpc_channel_create_call(c->channel, NULL, GRPC_PROPAGATE_DEFAULTS, c->queue,
		grpc_slice_from_static_string("/streaming.Riff/Invoke"), NULL,
		gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
	rpc_assert(one->call != NULL);
	grpc_op status = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
		.data.recv_status_on_client = {.trailing_metadata = &one->trailing,
			.status = &one->status,
			.status_details = &one->details}};
	rpc_start_batch(one, RPC_OP_STATUS, &status, 1);
}

/* What the host did since the last time. */
static void
take_posted(struct rpc_call *one, int *ret_cancel, struct riffle_error *ret_refused)
{
	*one->last = one->fresh;
	if (one->fresh != NULL)
		one->last = one->fresh_last;
	one->fresh = NULL;
	one->fresh_last = &one->fresh;
	one->is_ended = one->input_ended;
	one->credit += one->granted;
	one->granted = 0;
	*ret_cancel = one->cancel;
	*ret_refused = one->refused;
}

static void
obey(struct rpc_call *one, int cancel, const struct riffle_error *refused)
{
	if (one->error.code != RIFFLE_OK)
		return;
	if (refused->code != RIFFLE_OK)
		one->error = *refused;
	else if (cancel != 0)
		rpc_fail(&one->error, cancel, cancel == RIFFLE_E_TIMEOUT ? RIFFLE_ERR_RETRIABLE : 0,
			"the call of the function at %s was stopped: %s", one->owner->target,
			cancel == RIFFLE_E_TIMEOUT ? "it took too long" : "cancelled");
	else
		return;
	rpc_stop_call(one);
}

/* Its owner may destroy a call the moment it hears done, so nothing points to it before. */
static void
finish(struct rpc_call *one)
{
	rpc_hand_out(one);
	if (one->error.code == RIFFLE_OK)
		rpc_judge(one);
	rpc_drop_input(one);
	if (one->owner->replies == RPC_REPLIES_ONE)
		one->owner->due -= one->sent - one->received;
	if (one->call != NULL)
		grpc_call_unref(one->call);
	one->call = NULL;
	*one->at = one->next;
	if (one->next != NULL)
		one->next->at = one->at;
	rpc_assert(!one->is_dirty);
	struct riffle_error error = one->error;
	one->events->done(one->data, error.code, &error);
}

/*
 * The call as far as it goes now. A call that is over leaves here and is not looked at again.
 */
static void
advance(struct rpc_call *one)
{
	if (one->error.code == RIFFLE_OK) {
		rpc_send(one);
		rpc_receive(one);
	}
	if (one->ops_open == 0)
		rpc_mark_dirty(one);
}

static void
take_all_posted(struct rpc *c)
{
	pthread_mutex_lock(&c->lock);
	c->is_woken = 0;
	struct rpc_call *list = c->posted;
	c->posted = NULL;
	pthread_mutex_unlock(&c->lock);
	while (list != NULL) {
		struct rpc_call *one = list;
		int cancel;
		struct riffle_error refused;
		list = one->next_posted;
		pthread_mutex_lock(&c->lock);
		one->is_posted = 0;
		take_posted(one, &cancel, &refused);
		pthread_mutex_unlock(&c->lock);
		obey(one, cancel, &refused);
		if (!one->is_begun)
			begin(one);
		advance(one);
	}
}

static void
complete(struct rpc_call *one, enum rpc_op op, int success)
{
	one->ops_open--;
	switch (op) {
	case RPC_OP_START:
		one->is_on_wire = success;
		rpc_send_done(one);
		break;
	case RPC_OP_SEND:
		rpc_send_done(one);
		break;
	case RPC_OP_RECEIVE:
		rpc_receive_done(one);
		break;
	case RPC_OP_STATUS:
		one->has_status = 1;
		break;
	default:
		break;
	}
	advance(one);
}

/* Is what was taken in call_push still to be counted, or more posted? Then done has to wait. */
static int
close_door(struct rpc_call *one)
{
	struct rpc *c = one->owner;
	pthread_mutex_lock(&c->lock);
	int is_free = !one->is_posted;
	one->is_over |= is_free;
	pthread_mutex_unlock(&c->lock);
	return is_free;
}

static void
run_dirty(struct rpc *c)
{
	while (c->dirty != NULL) {
		struct rpc_call *one = c->dirty;
		c->dirty = one->next_dirty;
		one->is_dirty = 0;
		rpc_hand_out(one);
		if (one->ops_open == 0 && (one->has_status || one->error.code != RIFFLE_OK) &&
			close_door(one))
			finish(one);
	}
}

static void
say_state(struct rpc *c, grpc_connectivity_state state)
{
	if (state == GRPC_CHANNEL_READY)
		rpc_log(c, RIFFLE_LOG_INFO, "connected to the function at %s", c->target);
	else if (c->state == GRPC_CHANNEL_READY && state != GRPC_CHANNEL_SHUTDOWN)
		rpc_log(c, RIFFLE_LOG_WARNING, "the connection to the function at %s ended",
			c->target);
	else if (state == GRPC_CHANNEL_TRANSIENT_FAILURE && !c->said_away)
		rpc_log(c, RIFFLE_LOG_WARNING, "the function at %s cannot be reached; trying on",
			c->target);
	c->said_away = state == GRPC_CHANNEL_READY               ? 0
		       : state == GRPC_CHANNEL_TRANSIENT_FAILURE ? 1
								 : c->said_away;
}

/* Looks at the channel, which connects whenever it is not connected, and at its next change. */
static void
watch(struct rpc *c)
{
	grpc_connectivity_state state = grpc_channel_check_connectivity_state(c->channel, 1);
	if (state != c->state)
		say_state(c, state);
	c->state = state;
	pthread_mutex_lock(&c->lock);
	c->is_connected = state == GRPC_CHANNEL_READY;
	if (c->is_connected)
		c->away[0] = '\0';
	pthread_mutex_unlock(&c->lock);
	grpc_channel_watch_connectivity_state(
		c->channel, state, gpr_inf_future(GPR_CLOCK_MONOTONIC), c->queue, &c->state_tag);
}

/*
 * riff's Node invoker sends each reply in a packet of its own. Woken for each, this thread, the host's and the
 * kernel do their work of a batch for a single record; the function has enough to do meanwhile.
 */
static void
let_collect(const struct rpc *c, unsigned came)
{
	const struct timespec pause = {.tv_nsec = COLLECT_NS};
	if (c->due >= DUE_MANY && came < GO_FEW)
		nanosleep(&pause, NULL);
}

/* Everything that is there, then the host is told in one go, then the wait for more. */
static void *
run(void *arg)
{
	struct rpc *c = arg;
	watch(c);
	for (unsigned since = 0;; since++) {
		gpr_timespec when = c->dirty != NULL ? gpr_inf_past(GPR_CLOCK_MONOTONIC)
						     : gpr_inf_future(GPR_CLOCK_MONOTONIC);
		grpc_event ev = grpc_completion_queue_next(c->queue, when, NULL);
		if (ev.type == GRPC_QUEUE_TIMEOUT || since >= ROUND) {
			run_dirty(c);
			if (ev.type == GRPC_QUEUE_TIMEOUT)
				let_collect(c, since);
			since = 0;
		}
		if (ev.type == GRPC_QUEUE_TIMEOUT)
			continue;
		rpc_assert(ev.type == GRPC_OP_COMPLETE);
		struct rpc_tag *tag = ev.tag;
		if (tag->call != NULL)
			complete(tag->call, tag->op, ev.success);
		else if (tag == &c->state_tag)
			watch(c);
		else
			take_all_posted(c);
		pthread_mutex_lock(&c->lock);
		int stopping = c->stopping;
		pthread_mutex_unlock(&c->lock);
		if (stopping && c->calls == NULL)
			return NULL;
	}
}

int
rpc_poller_start(struct rpc *c, struct riffle_error *reterr)
{
	pthread_mutex_init(&c->lock, NULL);
	c->queue = grpc_completion_queue_create_for_next(NULL);
	c->waker = grpc_channel_create_call(c->channel, NULL, GRPC_PROPAGATE_DEFAULTS, c->queue,
		grpc_slice_from_static_string("/riffle/wake"), NULL,
		gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
	int rc = pthread_create(&c->thread, NULL, run, c);
	if (rc == 0) {
		pthread_setname_np(c->thread, "rfl-grpc");
		return RIFFLE_OK;
	}
	grpc_call_unref(c->waker);
	grpc_completion_queue_shutdown(c->queue);
	grpc_completion_queue_destroy(c->queue);
	pthread_mutex_destroy(&c->lock);
	return rpc_fail(reterr, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE,
		"cannot start the thread of the grpc invoker: %s", strerror(rc));
}

void
rpc_poller_stop(struct rpc *c)
{
	grpc_event ev;
	pthread_mutex_lock(&c->lock);
	c->stopping = 1;
	if (!c->is_woken)
		grpc_call_start_batch(c->waker, NULL, 0, &c->wake_tag, NULL);
	c->is_woken = 1;
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	rpc_assert(c->calls == NULL && c->posted == NULL);
	grpc_call_unref(c->waker);
	grpc_channel_destroy(c->channel);
	grpc_completion_queue_shutdown(c->queue);
	do {
		ev = grpc_completion_queue_next(
			c->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
	} while (ev.type != GRPC_QUEUE_SHUTDOWN);
	grpc_completion_queue_destroy(c->queue);
	pthread_mutex_destroy(&c->lock);
}
