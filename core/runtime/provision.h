/*
 * Streams are made sure of by a thread of each provider: it may have to wait for a broker that is away,
 * and neither the start nor the other providers wait with it.
 */
#ifndef RFL_RUNTIME_PROVISION_H
#define RFL_RUNTIME_PROVISION_H

#include "base/mailbox.h"
#include "conf/model.h"
#include "runtime/instance.h"

struct rfl_provisioner;

struct rfl_provisioned {
	const struct rfl_stream_conf *stream;
	struct riffle_error error;      /* code 0 = it is there */
	struct riffle_stream_info info; /* flags 0 where the provider does not describe it */
};

/* Stops its thread. 0 = the thread is in a call of the provider and may still use all of it. */
int rfl_provisioner_destroy(struct rfl_provisioner *p); /* NULL is a no-op */

/*
 * Makes or verifies the stream, as it says; done(owner, ...) runs in the mailbox's thread. The thread
 * is started by the first who asks. [that of one of the instance's processors]
 */
int rfl_provision_ask(struct rfl_instance *instance, const struct rfl_stream_conf *stream,
	struct rfl_mailbox *mailbox, void *owner,
	void (*done)(void *owner, const struct rfl_provisioned *result),
	struct riffle_error *reterr);
/* done is not called any more for this owner, but for what is in its mailbox already. */
void rfl_provision_forget(struct rfl_instance *instance, const void *owner);

#endif
