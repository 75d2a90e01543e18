/* The instance as a whole: what it is made of, how it starts, stops, and tells of itself. */
#include "runtime/runtime.h"

#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "runtime/instance.h"
#include "runtime/processor.h"
#include "runtime/provision.h"
#include "runtime/watch.h"
#include "runtime/worker.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <riffle/host.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define RUNTIME_MAGIC 0x52554e54u
#define STATUS_WAIT_S 1
#define ABANDON_WAIT_MS 5000
#define TWIN_MS 200

struct rfl_runtime {
	uint32_t magic;
	const struct rfl_conf *conf;
	struct rfl_plugins *plugins;
	const struct rfl_clock *clock;
	char *instance;
	struct rfl_instance **providers; /* by the configuration's index; NULL = not used */
	struct rfl_instance **functions;
	struct rfl_worker *workers;
	uint32_t worker_count, started;
	int done_fd;
	int lost; /* a worker did not come back: nothing may be freed */
	struct rfl_watch *watch;
};

static int
make_instance(struct rfl_runtime *rt, uint32_t kind, const char *type,
	const struct riffle_config *config, struct rfl_instance **slot, struct riffle_error *reterr)
{
	const struct rfl_plugin *plugin;
	if (*slot != NULL)
		return RIFFLE_OK;
	int rc = rfl_plugins_find(
		rt->plugins, kind, type, &rt->conf->runtime.plugins, &plugin, reterr);
	if (rc < 0)
		return rc;
	return rfl_instance_create(
		plugin, config, rt->clock, rt->conf->runtime.guard, slot, reterr);
}

static size_t
index_of(const void *const *list, size_t count, const void *what)
{
	size_t i = 0;
	while (i < count && list[i] != what)
		i++;
	rfl_assert(i < count);
	return i;
}

static int
provider_of(struct rfl_runtime *rt, const struct rfl_stream_conf *stream,
	struct rfl_instance **ret_instance, struct riffle_error *reterr)
{
	const struct rfl_conf *c = rt->conf;
	size_t i = index_of((const void *const *)c->providers, c->provider_count, stream->provider);
	int rc = make_instance(rt, RIFFLE_KIND_PROVIDER, stream->provider->type,
		&stream->provider->config, &rt->providers[i], reterr);
	if (rc == RIFFLE_OK)
		*ret_instance = rt->providers[i];
	return rc;
}

/* Checked with the configuration as far as the plugin said it there; this is what the instance says. */
static int
check_function(const struct rfl_processor_conf *p, const struct rfl_instance *function,
	struct riffle_error *reterr)
{
	int rc = rfl_conf_judge_inputs(p, function->capabilities, reterr);
	return rc < 0 ? rc : rfl_conf_judge_outputs(p, function->capabilities, reterr);
}

static struct rfl_worker *
worker_of(struct rfl_runtime *rt, size_t processor)
{
	return &rt->workers[processor % rt->worker_count];
}

static int
make_processor(struct rfl_runtime *rt, size_t index, struct riffle_error *reterr)
{
	const struct rfl_processor_conf *p = rt->conf->processors[index];
	struct rfl_instance **in = rfl_zalloc(p->input_count * sizeof(struct rfl_instance *));
	struct rfl_instance **out =
		rfl_zalloc((p->output_count + 2) * sizeof(struct rfl_instance *));
	const struct rfl_stream_conf **to = rfl_zalloc((p->output_count + 2) * sizeof *to);
	size_t to_count = rfl_conf_destinations(p, to);
	const struct rfl_conf *c = rt->conf;
	size_t f = index_of((const void *const *)c->functions, c->function_count, p->function);
	int rc = make_instance(rt, RIFFLE_KIND_INVOKER, p->function->invoker, &p->function->config,
		&rt->functions[f], reterr);
	if (rc == RIFFLE_OK)
		rc = check_function(p, rt->functions[f], reterr);
	for (size_t i = 0; i < p->input_count && rc == RIFFLE_OK; i++)
		rc = provider_of(rt, p->inputs[i].stream, &in[i], reterr);
	for (size_t i = 0; i < to_count && rc == RIFFLE_OK; i++)
		rc = provider_of(rt, to[i], &out[i], reterr);
	if (rc == RIFFLE_OK) {
		const struct rfl_processor_setup setup = {
			.conf = rt->conf,
			.processor = p,
			.clock = rt->clock,
			.instance = rt->instance,
			.function = rt->functions[f],
			.input_providers = in,
			.destination_providers = out,
		};
		struct rfl_worker *w = worker_of(rt, index);
		rfl_worker_add(w, rfl_processor_create(&setup, w));
	}
	free(in);
	free(out);
	free(to);
	return rc < 0 ? rfl_err_prefix(reterr, "processor %s", p->name) : RIFFLE_OK;
}

/* The one worker with processors that call the function; NULL = there are several. */
static struct rfl_worker *
only_caller(struct rfl_runtime *rt, const struct rfl_function_conf *function)
{
	struct rfl_worker *only = NULL;
	for (size_t i = 0; i < rt->conf->processor_count; i++) {
		struct rfl_worker *w = worker_of(rt, i);
		if (rt->conf->processors[i]->function != function)
			continue;
		if (only != NULL && only != w)
			return NULL;
		only = w;
	}
	return only;
}

static void
share_out_functions(struct rfl_runtime *rt)
{
	for (size_t i = 0; i < rt->conf->function_count; i++) {
		struct rfl_worker *w = only_caller(rt, rt->conf->functions[i]);
		if (w != NULL)
			rfl_worker_add_function(w, rt->functions[i]);
	}
}

int
rfl_runtime_create(const struct rfl_conf *conf, struct rfl_plugins *plugins,
	const struct rfl_clock *clock, const char *instance, struct rfl_runtime **ret_rt,
	struct riffle_error *reterr)
{
	struct rfl_runtime *rt = rfl_zalloc(sizeof *rt);
	rt->magic = RUNTIME_MAGIC;
	rt->conf = conf;
	rt->plugins = plugins;
	rt->clock = clock;
	rt->instance = rfl_strdup(instance);
	rt->providers = rfl_zalloc((conf->provider_count + 1) * sizeof(struct rfl_instance *));
	rt->functions = rfl_zalloc((conf->function_count + 1) * sizeof(struct rfl_instance *));
	rt->workers = rfl_zalloc(conf->runtime.workers * sizeof *rt->workers);
	rt->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int rc = RIFFLE_OK;
	if (rt->done_fd < 0)
		rc = rfl_err(reterr, RIFFLE_E_FATAL, "cannot make an eventfd: %s", strerror(errno));
	for (uint32_t i = 0; i < conf->runtime.workers && rc == RIFFLE_OK; i++) {
		rt->worker_count++;
		if (rfl_worker_init(&rt->workers[i], i, instance, clock, rt->done_fd) < 0)
			rc = rfl_err(reterr, RIFFLE_E_FATAL, "cannot make a worker: %s",
				strerror(errno));
	}
	for (size_t i = 0; i < conf->processor_count && rc == RIFFLE_OK; i++)
		rc = make_processor(rt, i, reterr);
	if (rc < 0) {
		rfl_runtime_destroy(rt);
		return rc;
	}
	share_out_functions(rt);
	*ret_rt = rt;
	return RIFFLE_OK;
}

static void
replace_worker(void *ctx, void *owner)
{
	struct rfl_worker *w = owner;
	(void)ctx;
	if (rfl_worker_replace(w) != 0)
		rfl_log(RIFFLE_LOG_ERROR, "S007", NULL,
			"worker %u has no thread any more: its processors stand still", w->index);
}

int
rfl_runtime_start(struct rfl_runtime *rt, struct riffle_error *reterr)
{
	RFL_CHECK(rt, RUNTIME_MAGIC);
	for (uint32_t i = 0; i < rt->worker_count; i++) {
		/* Without processors a worker would end at once, as if it had been drained. */
		int rc = rt->workers[i].processor_count > 0 ? rfl_worker_start(&rt->workers[i]) : 0;
		if (rc < 0)
			return rfl_err(
				reterr, RIFFLE_E_FATAL, "cannot start a thread: %s", strerror(-rc));
		rt->started += (uint32_t)rt->workers[i].is_running;
	}
	int rc = rfl_watch_start(&rt->conf->runtime, replace_worker, rt, &rt->watch);
	return rc == 0 ? RIFFLE_OK
		       : rfl_err(reterr, RIFFLE_E_FATAL, "cannot start a thread: %s", strerror(rc));
}

struct order {
	struct rfl_mail mail;
	struct rfl_worker *worker;
	void (*apply)(struct rfl_processor *p);
};

static void
deliver_order(struct rfl_mail *mail)
{
	struct order *o = (struct order *)(void *)mail;
	for (size_t i = 0; i < o->worker->processor_count; i++)
		o->apply(o->worker->processors[i]);
	free(o);
}

static void
order_all(struct rfl_runtime *rt, void (*apply)(struct rfl_processor *))
{
	for (uint32_t i = 0; i < rt->worker_count; i++) {
		if (!rt->workers[i].is_running)
			continue;
		struct order *o = rfl_zalloc(sizeof *o);
		o->mail.deliver = deliver_order;
		o->worker = &rt->workers[i];
		o->apply = apply;
		rfl_mailbox_post(&rt->workers[i].mailbox, &o->mail);
	}
}

/* What comes so soon is the first order once more: timeout(1) and others signal a process and its group. */
static int
is_meant(const struct rfl_runtime *rt, int kick_fd, int64_t begin_ns)
{
	char twin[256];
	return rfl_clock_mono_ns(rt->clock) - begin_ns > TWIN_MS * INT64_C(1000000) ||
	       read(kick_fd, twin, sizeof twin) < 0;
}

/* Waits until all workers ended; 0 = the time passed, or kick_fd became readable. */
static int
wait_for_workers(struct rfl_runtime *rt, int64_t timeout_ms, int kick_fd)
{
	int64_t begin_ns = rfl_clock_mono_ns(rt->clock), end_ns = begin_ns + timeout_ms * 1000000;
	while (rt->started > 0) {
		struct pollfd fds[2] = {
			{.fd = rt->done_fd, .events = POLLIN}, {.fd = kick_fd, .events = POLLIN}};
		int64_t left_ms = (end_ns - rfl_clock_mono_ns(rt->clock) + 999999) / 1000000;
		if (left_ms <= 0)
			return 0;
		if (poll(fds, 2, left_ms > 60000 ? 60000 : (int)left_ms) < 0 && errno != EINTR)
			return 0;
		uint64_t ended;
		if (read(rt->done_fd, &ended, sizeof ended) == (ssize_t)sizeof ended)
			rt->started -= (uint32_t)ended;
		else if (kick_fd >= 0 && fds[1].revents != 0 && is_meant(rt, kick_fd, begin_ns))
			return 0;
	}
	return 1;
}

int
rfl_runtime_stop(struct rfl_runtime *rt, int64_t timeout_ms, int kick_fd)
{
	RFL_CHECK(rt, RUNTIME_MAGIC);
	order_all(rt, rfl_processor_drain);
	if (wait_for_workers(rt, timeout_ms, kick_fd))
		return RIFFLE_OK;
	order_all(rt, rfl_processor_abandon);
	rt->lost = !wait_for_workers(rt, ABANDON_WAIT_MS, -1);
	return RIFFLE_E_TIMEOUT;
}

/* Shared by the one who asks and the workers; freed by whoever lets go last. */
struct question {
	pthread_mutex_t lock;
	pthread_cond_t answered;
	uint32_t refs, open;
	struct rfl_status *status;   /* NULL once whoever asked has taken it */
	unsigned char *answered_for; /* by processor */
};

struct question_mail {
	struct rfl_mail mail;
	struct rfl_worker *worker;
	const struct rfl_conf *conf;
	struct question *question;
};

static void
question_unref(struct question *q)
{
	pthread_mutex_lock(&q->lock);
	uint32_t left = --q->refs;
	pthread_mutex_unlock(&q->lock);
	if (left > 0)
		return;
	rfl_status_free(q->status);
	free(q->answered_for);
	pthread_cond_destroy(&q->answered);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

/* Nobody waits any more for an answer that comes too late. */
static void
answer(struct question *q, const struct rfl_conf *conf, struct rfl_processor_status *one)
{
	for (size_t i = 0; q->status != NULL && i < conf->processor_count; i++) {
		struct rfl_processor_status *slot = &q->status->processors[i], empty = *slot;
		if (strcmp(conf->processors[i]->name, one->name) != 0)
			continue;
		*slot = *one;
		*one = empty;
		q->answered_for[i] = 1;
	}
}

static void
deliver_question(struct rfl_mail *mail)
{
	struct question_mail *m = (struct question_mail *)(void *)mail;
	struct question *q = m->question;
	for (size_t i = 0; i < m->worker->processor_count; i++) {
		struct rfl_processor_status one;
		rfl_processor_status(m->worker->processors[i], &one);
		pthread_mutex_lock(&q->lock);
		answer(q, m->conf, &one);
		pthread_mutex_unlock(&q->lock);
		rfl_status_fini_processor(&one);
	}
	pthread_mutex_lock(&q->lock);
	q->open--;
	pthread_cond_signal(&q->answered);
	pthread_mutex_unlock(&q->lock);
	question_unref(q);
	free(m);
}

static struct question *
ask(struct rfl_runtime *rt)
{
	pthread_condattr_t attr;
	struct question *q = rfl_zalloc(sizeof *q);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->answered, &attr);
	pthread_condattr_destroy(&attr);
	q->status = rfl_zalloc(sizeof *q->status);
	q->status->processor_count = rt->conf->processor_count;
	q->status->processors =
		rfl_zalloc((rt->conf->processor_count + 1) * sizeof *q->status->processors);
	q->answered_for = rfl_zalloc(rt->conf->processor_count + 1);
	/* What no worker answers for, before the start, is starting. */
	for (size_t i = 0; i < rt->conf->processor_count; i++)
		q->status->processors[i] = (struct rfl_processor_status){
			.name = rfl_strdup(rt->conf->processors[i]->name),
			.function = rfl_strdup(rt->conf->processors[i]->function->name)};
	q->refs = 1;
	pthread_mutex_lock(&q->lock);
	for (uint32_t i = 0; i < rt->worker_count; i++) {
		if (!rt->workers[i].is_running)
			continue;
		struct question_mail *m = rfl_zalloc(sizeof *m);
		m->mail.deliver = deliver_question;
		m->worker = &rt->workers[i];
		m->conf = rt->conf;
		m->question = q;
		q->refs++;
		q->open++;
		rfl_mailbox_post(&rt->workers[i].mailbox, &m->mail);
	}
	return q;
}

struct rfl_status *
rfl_runtime_status(struct rfl_runtime *rt)
{
	RFL_CHECK(rt, RUNTIME_MAGIC);
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += STATUS_WAIT_S;
	struct question *q = ask(rt);
	int late = 0;
	while (q->open > 0 && !late)
		late = pthread_cond_timedwait(&q->answered, &q->lock, &until) == ETIMEDOUT;
	struct rfl_status *status = q->status;
	q->status = NULL;
	for (size_t i = 0; late && i < status->processor_count; i++) {
		if (q->answered_for[i])
			continue;
		status->processors[i].state = RFL_FAILED;
		status->processors[i].why = rfl_sprintf(
			"its thread has not answered for %d s: it is in a call of a plugin, or "
			"overloaded",
			STATUS_WAIT_S);
	}
	pthread_mutex_unlock(&q->lock);
	question_unref(q);
	return status;
}

static void
destroy_instances(struct rfl_instance **list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		rfl_instance_destroy(list[i]);
	free(list);
}

/* 0 = it waits for a broker that does not answer. */
static int
stop_provisioner(struct rfl_instance *i)
{
	if (i == NULL || !rfl_provisioner_destroy(i->provisioner))
		return i == NULL;
	i->provisioner = NULL;
	return 1;
}

void
rfl_runtime_destroy(struct rfl_runtime *rt)
{
	if (rt == NULL)
		return;
	RFL_CHECK(rt, RUNTIME_MAGIC);
	rfl_watch_stop(rt->watch);
	rt->watch = NULL;
	for (uint32_t i = 0; i < rt->worker_count; i++)
		rt->lost |= rt->workers[i].has_lost;
	for (size_t i = 0; i < rt->conf->provider_count && !rt->lost; i++)
		rt->lost |= !stop_provisioner(rt->providers[i]);
	/* A thread of ours may still use all of it; the process is about to end. */
	if (rt->lost)
		return;
	RFL_RETIRE(rt);
	for (uint32_t i = 0; i < rt->worker_count; i++)
		rfl_worker_fini(&rt->workers[i]);
	destroy_instances(rt->functions, rt->conf->function_count);
	destroy_instances(rt->providers, rt->conf->provider_count);
	if (rt->done_fd >= 0)
		close(rt->done_fd);
	free(rt->workers);
	free(rt->instance);
	free(rt);
}
