/* What all files of the provider use: errors, signals, events that wait. */
#include "kafka.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TELL_AGAIN_NS ((int64_t)10 * 1000000000)

void
kafka_assert_failed(const char *expr, const char *file, int line)
{
	fprintf(stderr, "riffle: kafka: %s:%d: assertion failed: %s\n", file, line, expr);
	abort();
}

void *
kafka_alloc(size_t size)
{
	void *p = calloc(1, size ? size : 1);
	if (p == NULL)
		abort();
	return p;
}

void *
kafka_copy(const void *from, size_t len)
{
	char *to = kafka_alloc(len + 1);
	if (len > 0)
		memcpy(to, from, len);
	return to;
}

int
kafka_err(struct riffle_error *err, int code, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	err->code = code;
	err->flags = code == RIFFLE_E_UNAVAILABLE ? RIFFLE_ERR_RETRIABLE : 0;
	vsnprintf(err->text, sizeof err->text, fmt, ap);
	va_end(ap);
	return code;
}

int
kafka_code_of(rd_kafka_resp_err_t rk, uint32_t *ret_flags)
{
	*ret_flags = 0;
	switch (rk) {
	case RD_KAFKA_RESP_ERR_NO_ERROR:
		return RIFFLE_OK;
	case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
	case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
	case RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE:
	case RD_KAFKA_RESP_ERR__AUTHENTICATION:
	case RD_KAFKA_RESP_ERR__SSL:
		return RIFFLE_E_AUTH;
	case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
	case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
		return RIFFLE_E_NOTFOUND;
	case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
	case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
	case RD_KAFKA_RESP_ERR_INVALID_MSG:
	case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
	case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
	case RD_KAFKA_RESP_ERR_INVALID_RECORD:
	case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
	case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
	case RD_KAFKA_RESP_ERR__BAD_MSG:
	case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
	case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
	case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
		return RIFFLE_E_DATA;
	case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
	case RD_KAFKA_RESP_ERR__FENCED:
	case RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
		return RIFFLE_E_FENCED;
	case RD_KAFKA_RESP_ERR__FATAL:
		return RIFFLE_E_FATAL;
	case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
	case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
	case RD_KAFKA_RESP_ERR__DESTROY:
		return RIFFLE_E_CANCELLED;
	case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
	case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
	case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
	case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
	case RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE:
	case RD_KAFKA_RESP_ERR__INVALID_ARG:
		return RIFFLE_E_CONFIG;
	case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
	case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
		return RIFFLE_E_UNSUPPORTED;
	default:
		*ret_flags = RIFFLE_ERR_RETRIABLE;
		return RIFFLE_E_UNAVAILABLE;
	}
}

static void fill(struct riffle_error *err, rd_kafka_resp_err_t rk, const char *fmt, va_list ap)
	RIFFLE_PRINTF(3, 0);

static void
fill(struct riffle_error *err, rd_kafka_resp_err_t rk, const char *fmt, va_list ap)
{
	size_t used;
	err->code = kafka_code_of(rk, &err->flags);
	vsnprintf(err->text, sizeof err->text, fmt, ap);
	used = strlen(err->text);
	snprintf(err->text + used, sizeof err->text - used, ": %s", rd_kafka_err2str(rk));
}

int
kafka_rk_err(struct riffle_error *err, rd_kafka_resp_err_t rk, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fill(err, rk, fmt, ap);
	va_end(ap);
	return err->code;
}

int
kafka_signal_init(struct kafka_signal *s, struct riffle_error *reterr)
{
	s->raised = 0;
	s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->fd < 0)
		return kafka_err(reterr, RIFFLE_E_UNAVAILABLE, "cannot make an eventfd: %s",
			strerror(errno));
	return RIFFLE_OK;
}

void
kafka_signal_fini(struct kafka_signal *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

void
kafka_signal_raise(struct kafka_signal *s)
{
	uint64_t one = 1;
	if (__atomic_exchange_n(&s->raised, 1, __ATOMIC_SEQ_CST) == 0)
		kafka_assert(write(s->fd, &one, sizeof one) == (ssize_t)sizeof one);
}

void
kafka_signal_take(struct kafka_signal *s)
{
	uint64_t n;
	if (__atomic_load_n(&s->raised, __ATOMIC_SEQ_CST) == 0)
		return;
	/* Nobody else reads it; what is raised between the two lines is seen by who looks next. */
	if (read(s->fd, &n, sizeof n) == (ssize_t)sizeof n)
		__atomic_store_n(&s->raised, 0, __ATOMIC_SEQ_CST);
}

void
kafka_signal_cb(rd_kafka_t *rk, void *signal)
{
	(void)rk;
	kafka_signal_raise(signal);
}

void
kafka_events_init(struct kafka_events *e)
{
	*e = (struct kafka_events){.first = NULL};
	e->last = &e->first;
}

void
kafka_events_fini(struct kafka_events *e)
{
	struct riffle_event ignored;
	while (kafka_events_take(e, &ignored))
		;
}

struct riffle_event *
kafka_events_add(struct kafka_events *e, uint32_t type)
{
	struct kafka_event *one = kafka_alloc(sizeof *one);
	one->event.type = type;
	*e->last = one;
	e->last = &one->next;
	return &one->event;
}

int
kafka_events_take(struct kafka_events *e, struct riffle_event *ret_event)
{
	struct kafka_event *one = e->first;
	if (one == NULL)
		return 0;
	e->first = one->next;
	if (e->first == NULL)
		e->last = &e->first;
	uint32_t size = ret_event->size;
	*ret_event = one->event;
	ret_event->size = size;
	free(one);
	return 1;
}

void
kafka_events_error(
	struct kafka_events *e, int64_t now_ns, rd_kafka_resp_err_t rk, const char *fmt, ...)
{
	va_list ap;
	if (e->told == rk && now_ns - e->told_ns < TELL_AGAIN_NS)
		return;
	e->told = rk;
	e->told_ns = now_ns;
	struct riffle_event *ev = kafka_events_add(e, RIFFLE_EV_ERROR);
	va_start(ap, fmt);
	ev->error.code = kafka_code_of(rk, &ev->error.flags);
	vsnprintf(ev->error.text, sizeof ev->error.text, fmt, ap);
	va_end(ap);
	ev->status = ev->error.code;
}
