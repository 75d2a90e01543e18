/* riffle check --online: one child for each provider and each function. */
#include "cli/online.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "cli/child.h"
#include "runtime/instance.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>

/* A function may be on its way up; it is asked again until it is ready. */
#define ASK_AGAIN_MS 50
/* Behind the time-out, for a child to say what it heard last. */
#define GRACE_MS 3000

/* Where a child is, for when it is silent: it writes, in memory that both see. */
enum step { AT_START, AT_STREAM, AT_FUNCTION };

struct progress {
	enum step step;
	size_t stream; /* of the configuration */
};

struct question {
	const struct rfl_common *common;
	const struct rfl_provider_conf *provider; /* or */
	const struct rfl_function_conf *function;
	int64_t timeout_ms;
	struct rfl_clock clock;
	struct rfl_instance *instance;
	json_t *answers;
	struct progress *at;
};

enum ok { NOT_OK, OK, NOTHING_TO_ASK };

static json_t *
answer(const struct question *q, const char *stream, enum ok ok, const char *says)
{
	char *section = rfl_sprintf("%s %s", q->provider ? "provider" : "function",
		q->provider ? q->provider->name : q->function->name);
	/* An answer that JSON cannot take would count as none, and so as no failure. */
	char *mended = rfl_utf8_mended(says);
	json_t *one = json_pack("{s:s,s:s?,s:o,s:s}", "section", section, "stream", stream, "ok",
		ok == NOTHING_TO_ASK ? json_null() : json_boolean(ok == OK), "says", mended);
	free(mended);
	free(section);
	return one;
}

static void
add(const struct question *q, const char *stream, enum ok ok, const char *says)
{
	json_array_append_new(q->answers, answer(q, stream, ok, says));
}

/* What the provider has against what the start would need. */
static void
judge(const struct question *q, const struct rfl_stream_conf *s,
	const struct riffle_stream_info *info)
{
	char *says;
	if (!(info->flags & RIFFLE_STREAM_EXISTS)) {
		int is_made = s->provision == RFL_PROVISION_CREATE;
		add(q, s->name, is_made ? OK : NOT_OK,
			is_made ? "is not there, and is made at the start"
				: "is not there, and provision = verify");
		return;
	}
	if (info->partitions != 0 && s->stream.partitions != 0 &&
		info->partitions != s->stream.partitions) {
		says = rfl_sprintf("has %u partitions, the configuration says %u", info->partitions,
			s->stream.partitions);
		add(q, s->name, NOT_OK, says);
	} else {
		says = rfl_sprintf("is there, partitions: %u", info->partitions);
		add(q, s->name, OK, says);
	}
	free(says);
}

static void
ask_provider(const struct question *q)
{
	const struct riffle_provider_ops *ops = q->instance->provider;
	const struct rfl_conf *c = q->common->conf;
	const int64_t end_ns = rfl_clock_mono_ns(&q->clock) + q->timeout_ms * 1000000;
	size_t asked = 0;
	if (ops->describe == NULL) {
		add(q, NULL, NOTHING_TO_ASK, "its plugin cannot be asked for streams");
		return;
	}
	for (size_t i = 0; i < c->stream_count; i++) {
		const struct rfl_stream_conf *s = c->streams[i];
		struct riffle_stream_info info = {.size = sizeof info};
		struct riffle_error err = {0};
		if (s->provider != q->provider)
			continue;
		/* What was heard already, mostly why nobody answers, is not lost with the rest. */
		if (asked++ > 0 && rfl_clock_mono_ns(&q->clock) >= end_ns) {
			add(q, s->name, NOT_OK, "was not asked for, the time was up");
			continue;
		}
		*q->at = (struct progress){AT_STREAM, i};
		if (ops->describe(q->instance->self, &s->stream, &info, &err) == RIFFLE_OK)
			judge(q, s, &info);
		else
			add(q, s->name, NOT_OK, err.text);
	}
	if (asked == 0)
		add(q, NULL, NOTHING_TO_ASK, "has no streams to be asked for");
}

static void
ask_function(const struct question *q)
{
	const struct riffle_invoker_ops *ops = q->instance->invoker;
	struct riffle_error err = {0};
	int64_t end_ns = rfl_clock_mono_ns(&q->clock) + q->timeout_ms * 1000000;
	if (ops->ready == NULL) {
		add(q, NULL, NOTHING_TO_ASK, "its plugin cannot be asked whether it is ready");
		return;
	}
	q->at->step = AT_FUNCTION;
	while (ops->ready(q->instance->self, &err) != RIFFLE_OK) {
		if (rfl_clock_mono_ns(&q->clock) >= end_ns ||
			!(err.code == RIFFLE_E_UNAVAILABLE || (err.flags & RIFFLE_ERR_RETRIABLE))) {
			add(q, NULL, NOT_OK, err.text);
			return;
		}
		poll(NULL, 0, ASK_AGAIN_MS);
	}
	add(q, NULL, OK, "is ready");
}

static int
create(struct question *q, struct riffle_error *reterr)
{
	const struct rfl_runtime_conf *runtime = &q->common->conf->runtime;
	const struct rfl_plugin *plugin;
	int rc = rfl_plugins_find(q->common->plugins,
		q->provider ? RIFFLE_KIND_PROVIDER : RIFFLE_KIND_INVOKER,
		q->provider ? q->provider->type : q->function->invoker, &runtime->plugins, &plugin,
		reterr);
	if (rc < 0)
		return rc;
	rfl_clock_init(&q->clock);
	return rfl_instance_create(plugin,
		q->provider ? &q->provider->config : &q->function->config, &q->clock,
		runtime->guard, &q->instance, reterr);
}

static int
ask(void *ctx, struct rfl_buf *text)
{
	struct question *q = ctx;
	struct riffle_error err = {0};
	q->answers = json_array();
	if (create(q, &err) < 0)
		add(q, NULL, NOT_OK, err.text);
	else if (q->provider != NULL)
		ask_provider(q);
	else
		ask_function(q);
	rfl_instance_destroy(q->instance);
	char *json = json_dumps(q->answers, JSON_COMPACT);
	rfl_buf_puts(text, json);
	free(json);
	json_decref(q->answers);
	return 0;
}

/* Why the plugin waits it says only when its own limit has passed, which may be longer than ours. */
static json_t *
silence(const struct question *q)
{
	const double seconds = (double)q->timeout_ms / 1000;
	const char *stream = NULL;
	char *says;
	if (q->at->step == AT_STREAM) {
		stream = q->common->conf->streams[q->at->stream]->name;
		says = rfl_sprintf("was asked for, and no answer came within %g s; with a longer "
				   "--wait-timeout its plugin may say why",
			seconds);
	} else {
		says = rfl_sprintf("no answer within %g s to %s", seconds,
			q->at->step == AT_FUNCTION ? "whether it is ready" : "its creation");
	}
	json_t *one = answer(q, stream, NOT_OK, says);
	free(says);
	return one;
}

static void
collect(const struct question *q, const struct rfl_child *child, json_t *all)
{
	json_t *answers = child->end == RFL_CHILD_ANSWERED
				  ? json_loads(rfl_buf_str(&child->text), 0, NULL)
				  : NULL;
	if (answers != NULL) {
		json_array_extend(all, answers);
		json_decref(answers);
		return;
	}
	if (child->end == RFL_CHILD_SILENT) {
		json_array_append_new(all, silence(q));
		return;
	}
	char *says = rfl_sprintf("its plugin was asked: %s", rfl_buf_str(&child->text));
	json_array_append_new(all, answer(q, NULL, NOT_OK, says));
	free(says);
}

json_t *
rfl_online_ask(const struct rfl_common *c, int64_t timeout_ms)
{
	const struct rfl_conf *conf = c->conf;
	size_t count = conf->provider_count + conf->function_count;
	struct question *questions = rfl_zalloc((count + 1) * sizeof *questions);
	struct rfl_child *children = rfl_zalloc((count + 1) * sizeof *children);
	json_t *all = json_array();
	size_t room = (count + 1) * sizeof(struct progress);
	struct progress *at =
		mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	rfl_assert(at != MAP_FAILED);
	for (size_t i = 0; i < count; i++) {
		questions[i] =
			(struct question){.common = c, .timeout_ms = timeout_ms, .at = &at[i]};
		if (i < conf->provider_count)
			questions[i].provider = conf->providers[i];
		else
			questions[i].function = conf->functions[i - conf->provider_count];
		rfl_child_start(&children[i], ask, &questions[i]);
	}
	rfl_children_wait(children, count, timeout_ms + GRACE_MS);
	for (size_t i = 0; i < count; i++) {
		collect(&questions[i], &children[i], all);
		rfl_child_fini(&children[i]);
	}
	munmap(at, room);
	free(children);
	free(questions);
	return all;
}

size_t
rfl_online_failures(const json_t *answers)
{
	size_t failures = 0;
	for (size_t i = 0; i < json_array_size(answers); i++)
		failures += json_is_false(json_object_get(json_array_get(answers, i), "ok"));
	return failures;
}
