/* Sinks: opened, polled, closed. */
#include "runtime/sink.h"

#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "task/task.h"

#include <riffle/host.h>
#include <stdlib.h>

#define SINK_MAGIC 0x53494e4bu

static int
open_txn(struct rfl_sink *s, const char *id, struct riffle_error *reterr)
{
	s->transactions = rfl_instance_transactions(s->instance);
	if (s->transactions == NULL)
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED, "provider %s has no transactions",
			s->instance->name);
	const struct riffle_txn_spec spec = {.size = sizeof spec, .sink = s->sink, .id = id};
	return s->transactions->open(s->instance->self, &spec, &s->txn, reterr);
}

int
rfl_sink_open(struct rfl_instance *instance, const struct riffle_stream *const *streams,
	uint32_t stream_count, const char *member, const char *txn_id, struct rfl_sink **ret_sink,
	struct riffle_error *reterr)
{
	struct rfl_sink *s = rfl_zalloc(sizeof *s);
	const struct riffle_sink_spec spec = {
		.size = sizeof spec,
		.stream_size = sizeof *streams,
		.stream_count = stream_count,
		.streams = streams,
		.member = member,
	};
	s->magic = SINK_MAGIC;
	s->instance = instance;
	s->ops = instance->provider;
	rfl_list_init(&s->link);
	int rc = s->ops->sink_open(instance->self, &spec, &s->sink, reterr);
	if (rc < 0) {
		free(s);
		return rfl_err_prefix(reterr, "cannot write to provider %s", instance->name);
	}
	rfl_outlet_init(&s->outlet, s->ops, s->sink, txn_id != NULL);
	*ret_sink = s;
	if (txn_id == NULL || (rc = open_txn(s, txn_id, reterr)) == RIFFLE_OK)
		return RIFFLE_OK;
	/* The sink is open and must be closed in its own time: it is handed out, broken. */
	s->broken = *reterr;
	return RIFFLE_OK;
}

static void
set_broken(struct rfl_sink *s, const struct riffle_error *err)
{
	if (s->broken.code == 0)
		s->broken = *err;
}

static void
take_event(struct rfl_sink *s, const struct riffle_event *ev)
{
	struct riffle_error err = {0};
	switch (ev->type) {
	case RIFFLE_EV_SENT:
		if (rfl_outlet_sent(&s->outlet, ev, &err) < 0)
			set_broken(s, &err);
		break;
	case RIFFLE_EV_TXN_READY:
		s->txn_ready = 1;
		break;
	case RIFFLE_EV_TXN:
		if (ev->tag != s->txn_tag)
			break;
		s->txn_result = ev->status;
		s->txn_error = ev->error;
		break;
	case RIFFLE_EV_ERROR:
		if (ev->status == RIFFLE_E_FATAL || ev->status == RIFFLE_E_FENCED)
			set_broken(s, &ev->error);
		else
			rfl_log(RIFFLE_LOG_WARNING, "S001", s->instance->host.what, "%s",
				ev->error.text);
		break;
	case RIFFLE_EV_CLOSED:
		s->is_closed = 1;
		break;
	default:
		rfl_err(&err, RIFFLE_E_FATAL, "sink_poll gave an event of type %u", ev->type);
		set_broken(s, &err);
	}
}

static int
deliver_finished(struct rfl_sink *s)
{
	struct rfl_send *send;
	int moved = 0;
	while ((send = rfl_outlet_next(&s->outlet)) != NULL) {
		if (send->owner != NULL)
			rfl_task_sent(send->owner, send);
		rfl_send_free(send);
		moved = 1;
	}
	return moved;
}

int
rfl_sink_run(struct rfl_sink *s)
{
	RFL_CHECK(s, SINK_MAGIC);
	struct riffle_error err = {0};
	int moved = 0;
	struct riffle_event ev;
	for (;;) {
		ev = (struct riffle_event){.size = sizeof ev};
		if (s->is_closed || s->ops->sink_poll(s->sink, &ev) <= 0)
			break;
		take_event(s, &ev);
		moved = 1;
	}
	if (!s->is_closing && s->broken.code == 0 && rfl_outlet_push(&s->outlet, &err) < 0)
		set_broken(s, &err);
	return deliver_finished(s) | moved;
}

int
rfl_sink_fd(const struct rfl_sink *s)
{
	return s->ops->sink_fd(s->sink);
}

void
rfl_sink_close(struct rfl_sink *s)
{
	RFL_CHECK(s, SINK_MAGIC);
	if (s->is_closing)
		return;
	s->is_closing = 1;
	if (s->txn != NULL)
		s->transactions->destroy(s->txn);
	s->txn = NULL;
	s->ops->sink_close(s->sink);
}

void
rfl_sink_destroy(struct rfl_sink *s)
{
	RFL_CHECK(s, SINK_MAGIC);
	rfl_assert(s->is_closed);
	RFL_RETIRE(s);
	rfl_list_remove(&s->link);
	rfl_outlet_fini(&s->outlet);
	s->ops->sink_destroy(s->sink);
	free(s);
}
