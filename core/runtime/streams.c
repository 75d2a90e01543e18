/* The streams of a processor are made sure of before it opens them, and judged by what they offer. */
#include "base/error.h"
#include "base/log.h"
#include "runtime/processor_private.h"
#include "runtime/provision.h"

#include <riffle/host.h>

static int
is_input(const struct rfl_processor *p, const struct rfl_stream_conf *s)
{
	for (size_t i = 0; i < p->setup.processor->input_count; i++)
		if (p->setup.processor->inputs[i].stream == s)
			return 1;
	return 0;
}

static int
is_own(const struct rfl_processor *p, const struct rfl_stream_conf *s)
{
	for (size_t i = 0; i < p->destination_count; i++)
		if (p->destinations[i] == s)
			return 1;
	return is_input(p, s) || s == p->setup.processor->checkpoint;
}

/* What the log of an input must offer so that windows can be rebuilt from it. */
static void
judge_input(
	const struct rfl_processor *p, const struct rfl_provisioned *r, struct riffle_error *reterr)
{
	const struct rfl_processor_conf *c = p->setup.processor;
	const char *name = r->stream->name;
	if (r->info.retention_ms >= 0 && (r->info.flags & RIFFLE_STREAM_EXISTS) &&
		r->info.retention_ms < c->window.size_ms)
		rfl_err(reterr, RIFFLE_E_CONFIG,
			"stream %s keeps records for %lldms, shorter than the window of %lldms: "
			"its records would be gone before it closes",
			name, (long long)r->info.retention_ms, (long long)c->window.size_ms);
	if (!(r->info.flags & RIFFLE_STREAM_COMPACTED))
		return;
	if (c->guarantee == RFL_EXACTLY_ONCE)
		rfl_err(reterr, RIFFLE_E_CONFIG,
			"stream %s is compacted: exactly-once needs every record to be there when "
			"it is read again",
			name);
	else
		rfl_log(RIFFLE_LOG_WARNING, "S008", p->what,
			"stream %s is compacted: reading again may lack records that newer ones "
			"replaced",
			name);
}

/* What a record has beside its value: its key, and what a broker counts around it. */
#define AROUND_BYTES 2048

static size_t
checkpoint_room(int64_t record_bytes)
{
	if (record_bytes < 0 || record_bytes >= RFL_CHECKPOINT_MAX + AROUND_BYTES)
		return RFL_CHECKPOINT_MAX;
	return record_bytes > AROUND_BYTES ? (size_t)record_bytes - AROUND_BYTES : 0;
}

/* Where it is not kept, a set would be gone while its position still points to it. */
static void
judge_checkpoint(
	struct rfl_processor *p, const struct rfl_provisioned *r, struct riffle_error *reterr)
{
	const char *name = r->stream->name;
	p->task_spec.checkpoint_bytes = checkpoint_room(r->info.record_bytes);
	if (!(r->info.flags & RIFFLE_STREAM_EXISTS))
		return;
	if (r->info.flags & RIFFLE_STREAM_UNDESCRIBED)
		rfl_log(RIFFLE_LOG_WARNING, "S010", p->what,
			"the settings of stream %s may not be seen: a checkpoint stream has to be "
			"compacted, and to keep for ever what compaction leaves",
			name);
	else if (!(r->info.flags & RIFFLE_STREAM_COMPACTED))
		rfl_err(reterr, RIFFLE_E_CONFIG,
			"stream %s is not compacted, as far as its provider says, and a checkpoint "
			"stream is: its section has to say so before it is made",
			name);
	else if (r->info.retention_ms >= 0 || r->info.retention_bytes >= 0)
		rfl_err(reterr, RIFFLE_E_CONFIG,
			"stream %s has a retention beside its compaction: a position may point to "
			"a checkpoint that is gone by then",
			name);
}

/* Streams that only share a sink with ours are waited for; what is wrong with them is not ours. */
static void
stream_done(void *owner, const struct rfl_provisioned *r)
{
	struct rfl_processor *p = owner;
	RFL_CHECK(p, RFL_PROCESSOR_MAGIC);
	/* Of a round that was given up meanwhile. */
	if (p->phase != RFL_PHASE_STREAMS || p->streams_open == 0)
		return;
	p->streams_open--;
	if (!is_own(p, r->stream) || p->stream_error.code != 0)
		return;
	p->stream_error = r->error;
	if (r->error.code == 0 && is_input(p, r->stream))
		judge_input(p, r, &p->stream_error);
	if (r->error.code == 0 && r->stream == p->setup.processor->checkpoint)
		judge_checkpoint(p, r, &p->stream_error);
}

static int
ask_for(struct rfl_processor *p, struct rfl_instance *provider,
	const struct rfl_stream_conf *stream, struct riffle_error *reterr)
{
	if (provider->provider->provision == NULL && provider->provider->describe == NULL)
		return RIFFLE_OK;
	int rc = rfl_provision_ask(provider, stream, &p->worker->mailbox, p, stream_done, reterr);
	p->streams_open += rc == RIFFLE_OK;
	return rc;
}

static int
writes_to(const struct rfl_processor *p, const struct rfl_instance *provider)
{
	for (size_t i = 0; i < p->destination_count; i++)
		if (p->setup.destination_providers[i] == provider)
			return 1;
	return 0;
}

/* Those that lie where p writes too: they are streams of the same sink. */
static int
ask_for_outputs(
	struct rfl_processor *p, const struct rfl_processor *of, struct riffle_error *reterr)
{
	int rc = RIFFLE_OK;
	for (size_t i = 0; i < of->destination_count && rc == RIFFLE_OK; i++)
		if (writes_to(p, of->setup.destination_providers[i]))
			rc = ask_for(
				p, of->setup.destination_providers[i], of->destinations[i], reterr);
	return rc;
}

int
rfl_processor_ask_for_streams(struct rfl_processor *p, struct riffle_error *reterr)
{
	const struct rfl_worker *w = p->worker;
	int rc = RIFFLE_OK;
	for (size_t i = 0; i < p->setup.processor->input_count && rc == RIFFLE_OK; i++)
		rc = ask_for(p, p->setup.input_providers[i], p->setup.processor->inputs[i].stream,
			reterr);
	if (rc == RIFFLE_OK && p->checkpoint.instance != NULL)
		rc = ask_for(p, p->checkpoint.instance, p->setup.processor->checkpoint, reterr);
	if (p->txn_id != NULL)
		return rc < 0 ? rc : ask_for_outputs(p, p, reterr);
	for (size_t i = 0; i < w->processor_count && rc == RIFFLE_OK; i++)
		if (w->processors[i]->txn_id == NULL)
			rc = ask_for_outputs(p, w->processors[i], reterr);
	return rc;
}

void
rfl_processor_forget_streams(struct rfl_processor *p)
{
	for (size_t i = 0; i < p->setup.processor->input_count; i++)
		rfl_provision_forget(p->setup.input_providers[i], p);
	for (size_t i = 0; i < p->destination_count; i++)
		rfl_provision_forget(p->setup.destination_providers[i], p);
	p->streams_open = 0;
}
