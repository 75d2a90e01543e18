/* A stream opened by a client verb: its provider's instance in this process, and the stream made sure of. */
#ifndef RFL_CLI_CLIENT_H
#define RFL_CLI_CLIENT_H

#include "base/clock.h"
#include "cli/common.h"
#include "runtime/instance.h"

struct rfl_client {
	struct rfl_clock clock;
	struct rfl_instance *instance;
	const struct rfl_stream_conf *stream;
	const struct riffle_provider_ops *ops;
};

/* What a verb needs of its stream on the provider. */
enum rfl_client_need {
	RFL_NEED_MADE,   /* it is there: made, if that is its setting */
	RFL_NEED_MAKING, /* it is there or could be made, for a dry run: nothing is made */
	RFL_NEED_EXISTING,
};

/* The provider's instance alone. E_NOTFOUND: the stream is not in the configuration. */
int rfl_client_attach(struct rfl_client *c, const struct rfl_common *common, const char *stream,
	struct riffle_error *reterr);
/* The same, and the stream is as it is needed. E_NOTFOUND: it is not there. */
int rfl_client_open(struct rfl_client *c, const struct rfl_common *common, const char *stream,
	enum rfl_client_need need, struct riffle_error *reterr);
void rfl_client_close(struct rfl_client *c);
typedef int rfl_client_fn(void *ctx, struct rfl_client *client, struct riffle_error *reterr);
/* A verb on one stream: loads the configuration, opens the stream, runs fn; the exit status. */
int rfl_client_run(const char *verb, struct rfl_common *common, const char *stream,
	enum rfl_client_need need, rfl_client_fn *fn, void *ctx);
/* E_UNSUPPORTED: the stream's provider only writes, or only reads. */
int rfl_client_can_read(const struct rfl_client *c, struct riffle_error *reterr);
int rfl_client_can_write(const struct rfl_client *c, struct riffle_error *reterr);
/* Waits until fd is readable or the time has passed; 0 = it passed. A signal counts as readable. */
int rfl_client_wait(int fd, int64_t timeout_ms);

#endif
