/*
 * The invoker border: a way to call a function. One call is one window: it begins, takes records,
 * gets the end of its input, answers records at any time, and ends with one status.
 *
 * It maps one to one to riff's streaming rpc: call_begin is the StartFrame, call_push InputFrames
 * (record.stream = argIndex), call_end the half-close, output OutputFrames (record.stream =
 * resultIndex), done the status.
 */
#ifndef RIFFLE_INVOKER_H
#define RIFFLE_INVOKER_H

#include <riffle/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RIFFLE_CAN_STREAM (UINT64_C(1) << 0)       /* can answer before the input has ended */
#define RIFFLE_CAN_MANY_INPUTS (UINT64_C(1) << 1)  /* the function can tell its inputs apart */
#define RIFFLE_CAN_MANY_OUTPUTS (UINT64_C(1) << 2) /* the function can name an output */

/* Borrowed for call_begin. */
struct riffle_call_spec {
	uint32_t size;
	uint32_t input_count, output_count;
	uint32_t header_count;
	const char *const *input_names;  /* aliases, by argIndex */
	const char *const *input_types;  /* content type of each input stream */
	const char *const *output_names; /* aliases, by resultIndex */
	const char *const *output_types; /* content type each output must have */
	/* What identifies the pane: riffle-window-start, riffle-window-end, riffle-attempt, ... */
	const struct riffle_header *headers;
	uint32_t attempt; /* 1 = the first */
	uint32_t reserved0;
};

/*
 * The host's side of a call. A plugin calls these from any thread, also from inside call_push and
 * its fellows, but never two at once for the same call. They only enqueue.
 */
struct riffle_call_events {
	uint32_t size, reserved0;
	/*
	 * Records of the function; the batch's one reference passes to the host. A partition is
	 * RIFFLE_PARTITION_NONE unless the function chose one; offsets are not looked at.
	 */
	void (*output)(void *data, struct riffle_batch *batch);
	void (*writable)(void *data); /* call_push took less than asked; now there is room */
	/* Optional progress: the function has answered its first count input records for good. */
	void (*replied)(void *data, uint64_t count);
	/*
	 * The last event, exactly once: OK, or the failure, with err set. E_UNSUPPORTED = a content
	 * type the function does not take or make. RIFFLE_ERR_RETRIABLE tells whether another attempt
	 * may go better. E_UNAVAILABLE = the function is away: it is waited for without counting.
	 */
	void (*done)(void *data, int status, const struct riffle_error *err);
};

/* Mandatory: all but check, ready and extension. */
struct riffle_invoker_ops {
	uint32_t size, reserved0;

	int (*check)(const struct riffle_config *cfg,
		const struct riffle_report *report); /* [control] */
	int (*create)(const struct riffle_host *host, const struct riffle_config *cfg,
		void **ret_self, struct riffle_error *reterr); /* [control] */
	void (*destroy)(
		void *self); /* all calls are destroyed before; NULL is a no-op. [control] */
	uint64_t (*capabilities)(void *self); /* RIFFLE_CAN_* as of now. [any] */
	/* OK, or why a call could not succeed now. Waits for nothing. [any] */
	int (*ready)(void *self, struct riffle_error *reterr);
	const void *(*extension)(void *self, const char *id); /* [any] */

	/*
	 * Begin a call. There is no deadline: the host times from call_end and cancels. data is handed
	 * to the events, and lives until call_destroy. [worker]
	 */
	int (*call_begin)(void *self, const struct riffle_call_spec *spec,
		const struct riffle_call_events *events, void *data, void **ret_call,
		struct riffle_error *reterr);
	/*
	 * Take records [first, first + count), as many as there is room for: returns how many. When
	 * fewer than count, writable follows. The batch is borrowed for the call; what is needed
	 * longer takes batch_ref. A failure here is followed by done like any other. [worker]
	 */
	int (*call_push)(void *call, struct riffle_batch *batch, uint32_t first, uint32_t count,
		struct riffle_error *reterr);
	int (*call_end)(void *call, struct riffle_error *reterr); /* no more input. [worker] */
	/*
	 * Output credit: the host takes so many bytes more. A plugin starts with none, stops handing
	 * out when it is used up, and may exceed it by its last record. [worker]
	 */
	void (*call_read)(void *call, size_t bytes);
	/*
	 * Stop: done still follows, promptly, with this reason (E_TIMEOUT, E_CANCELLED), unless it was
	 * on its way. All borrowed batches are dropped by then. Where done does not follow within the
	 * host's plugin-timeout, the instance is given up: none of its functions is called any more, the
	 * processors that need it stop, and what it still holds stays valid until it lets go. [worker]
	 */
	void (*call_cancel)(void *call, int reason);
	void (*call_destroy)(void *call); /* only after done; NULL is a no-op. [worker] */
};

#ifdef __cplusplus
}
#endif
#endif
