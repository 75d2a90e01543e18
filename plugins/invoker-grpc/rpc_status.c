/*
 * From the rpc's status to ours. The class rests on the code; riff's two prefixes only make a refused
 * type show as one, because not every invoker writes them.
 */
#include "rpc.h"

#include <stdio.h>
#include <string.h>

struct rule {
	const char *name;
	int code;
	uint32_t flags;
};

/*
 * Again where another attempt may go better. What the code says of the request itself (its contents,
 * rights, a method that is not there) stays as it is.
 */
static const struct rule rules[] = {
	[GRPC_STATUS_CANCELLED] = {"CANCELLED", RIFFLE_E_DATA, RIFFLE_ERR_RETRIABLE},
	[GRPC_STATUS_UNKNOWN] = {"UNKNOWN", RIFFLE_E_DATA, RIFFLE_ERR_RETRIABLE},
	[GRPC_STATUS_INVALID_ARGUMENT] = {"INVALID_ARGUMENT", RIFFLE_E_DATA, 0},
	[GRPC_STATUS_DEADLINE_EXCEEDED] = {"DEADLINE_EXCEEDED", RIFFLE_E_TIMEOUT,
		RIFFLE_ERR_RETRIABLE},
	[GRPC_STATUS_NOT_FOUND] = {"NOT_FOUND", RIFFLE_E_DATA, 0},
	[GRPC_STATUS_ALREADY_EXISTS] = {"ALREADY_EXISTS", RIFFLE_E_DATA, 0},
	[GRPC_STATUS_PERMISSION_DENIED] = {"PERMISSION_DENIED", RIFFLE_E_AUTH, 0},
	[GRPC_STATUS_RESOURCE_EXHAUSTED] = {"RESOURCE_EXHAUSTED", RIFFLE_E_DATA,
		RIFFLE_ERR_RETRIABLE},
	[GRPC_STATUS_FAILED_PRECONDITION] = {"FAILED_PRECONDITION", RIFFLE_E_DATA, 0},
	[GRPC_STATUS_ABORTED] = {"ABORTED", RIFFLE_E_DATA, RIFFLE_ERR_RETRIABLE},
	[GRPC_STATUS_OUT_OF_RANGE] = {"OUT_OF_RANGE", RIFFLE_E_DATA, 0},
	[GRPC_STATUS_UNIMPLEMENTED] = {"UNIMPLEMENTED", RIFFLE_E_FATAL, 0},
	[GRPC_STATUS_INTERNAL] = {"INTERNAL", RIFFLE_E_DATA, RIFFLE_ERR_RETRIABLE},
	[GRPC_STATUS_UNAVAILABLE] = {"UNAVAILABLE", RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE},
	[GRPC_STATUS_DATA_LOSS] = {"DATA_LOSS", RIFFLE_E_DATA, RIFFLE_ERR_RETRIABLE},
	[GRPC_STATUS_UNAUTHENTICATED] = {"UNAUTHENTICATED", RIFFLE_E_AUTH, 0},
};

static int
starts_with(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static struct rule
rule_of(const struct rpc_call *one, const char *details)
{
	struct rule r = {"an unknown code", RIFFLE_E_DATA, RIFFLE_ERR_RETRIABLE};
	if ((unsigned)one->status < sizeof rules / sizeof rules[0])
		r = rules[one->status];
	if (one->status == GRPC_STATUS_INVALID_ARGUMENT &&
		(starts_with(details, "Invoker: Unsupported Media Type") ||
			starts_with(details, "Invoker: Not Acceptable")))
		r.code = RIFFLE_E_UNSUPPORTED;
	/* Our own limit, which is the same at the next attempt. */
	if (one->status == GRPC_STATUS_RESOURCE_EXHAUSTED &&
		strstr(details, "Received message larger than max") != NULL)
		r.flags = 0;
	/* It was there and went away with this window: a window that kills its server must count. */
	if (one->status == GRPC_STATUS_UNAVAILABLE && one->is_on_wire)
		r.code = RIFFLE_E_DATA;
	return r;
}

/* It said OK: were these all the answers there must be? */
static void
judge_count(struct rpc_call *one)
{
	const struct rpc *c = one->owner;
	unsigned long long sent = one->sent, received = one->received;
	if (c->replies == RPC_REPLIES_ONE && (received < sent || one->left_unsent))
		rpc_fail(&one->error, RIFFLE_E_DATA, RIFFLE_ERR_RETRIABLE,
			"the function at %s ended with OK after %llu replies to %llu records%s",
			c->target, received, sent,
			one->left_unsent ? ", before the last record" : "");
	else if (received < c->min_replies)
		rpc_fail(&one->error, RIFFLE_E_DATA, RIFFLE_ERR_RETRIABLE,
			"the function at %s ended with OK after %llu answers, min-replies = %llu",
			c->target, received, (unsigned long long)c->min_replies);
}

void
rpc_judge(struct rpc_call *one)
{
	struct rpc *c = one->owner;
	char details[RIFFLE_ERROR_TEXT - 64];
	one->left_unsent |= one->first != NULL || !one->is_ended;
	if (one->status == GRPC_STATUS_OK) {
		judge_count(one);
		return;
	}
	rpc_quote(details, sizeof details, GRPC_SLICE_START_PTR(one->details),
		GRPC_SLICE_LENGTH(one->details));
	struct rule r = rule_of(one, details);
	rpc_fail(&one->error, r.code, r.flags, "the function at %s: %s (%d): %s", c->target, r.name,
		(int)one->status, details);
	if (r.code != RIFFLE_E_UNAVAILABLE)
		return;
	pthread_mutex_lock(&c->lock);
	snprintf(c->away, sizeof c->away, "%s", details);
	pthread_mutex_unlock(&c->lock);
}
