/* The thread that asks one provider for its streams. */
#include "runtime/provision.h"

#include "base/check.h"
#include "base/error.h"
#include "base/list.h"
#include "base/mem.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define PROVISIONER_MAGIC 0x50525649u

struct job {
	struct rfl_mail mail;
	struct rfl_list link;
	struct rfl_mailbox *mailbox;
	void *owner; /* NULL = forgotten */
	void (*done)(void *owner, const struct rfl_provisioned *result);
	struct rfl_provisioned result;
};

/* Several workers may ask first at the same time: guards the instances' pointers. */
static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;

struct rfl_provisioner {
	uint32_t magic;
	struct rfl_instance *instance;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct rfl_list jobs;
	struct job *running;
	int is_stopping;
};

static int
make_sure(const struct rfl_instance *i, struct rfl_provisioned *r)
{
	const struct rfl_stream_conf *s = r->stream;
	int rc = RIFFLE_OK;
	if (s->provision == RFL_PROVISION_CREATE && i->provider->provision != NULL)
		rc = i->provider->provision(i->self, &s->stream, &r->error);
	if (rc < 0 || i->provider->describe == NULL)
		return rc;
	rc = i->provider->describe(i->self, &s->stream, &r->info, &r->error);
	if (rc == RIFFLE_OK && s->provision == RFL_PROVISION_VERIFY &&
		!(r->info.flags & RIFFLE_STREAM_EXISTS))
		rc = rfl_err(&r->error, RIFFLE_E_NOTFOUND,
			"it does not exist, and provision = verify does not make it");
	return rc;
}

static void
deliver(struct rfl_mail *mail)
{
	struct job *j = (struct job *)(void *)mail;
	j->done(j->owner, &j->result);
	free(j);
}

/* Under the lock. */
static void
finish(struct rfl_provisioner *p, struct job *j)
{
	p->running = NULL;
	if (j->owner != NULL)
		rfl_mailbox_post(j->mailbox, &j->mail);
	else
		free(j);
}

static void *
run(void *arg)
{
	struct rfl_provisioner *p = arg;
	pthread_mutex_lock(&p->lock);
	while (!p->is_stopping) {
		struct job *j = rfl_list_first(&p->jobs, struct job, link);
		if (j == NULL) {
			pthread_cond_wait(&p->changed, &p->lock);
			continue;
		}
		rfl_list_remove(&j->link);
		p->running = j;
		pthread_mutex_unlock(&p->lock);
		if (make_sure(p->instance, &j->result) < 0)
			rfl_err_prefix(&j->result.error, "stream %s", j->result.stream->name);
		else
			j->result.error.code = RIFFLE_OK;
		pthread_mutex_lock(&p->lock);
		finish(p, j);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static int
start(struct rfl_instance *i, struct riffle_error *reterr)
{
	sigset_t all, before;
	struct rfl_provisioner *p = rfl_zalloc(sizeof *p);
	p->magic = PROVISIONER_MAGIC;
	p->instance = i;
	rfl_list_init(&p->jobs);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(&p->thread, NULL, run, p);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0) {
		free(p);
		return rfl_err(
			reterr, RIFFLE_E_UNAVAILABLE, "cannot start a thread: %s", strerror(rc));
	}
	pthread_setname_np(p->thread, "rfl-provision");
	i->provisioner = p;
	return RIFFLE_OK;
}

int
rfl_provisioner_destroy(struct rfl_provisioner *p)
{
	struct job *j;
	if (p == NULL)
		return 1;
	RFL_CHECK(p, PROVISIONER_MAGIC);
	pthread_mutex_lock(&p->lock);
	p->is_stopping = 1;
	int busy = p->running != NULL;
	pthread_cond_signal(&p->changed);
	pthread_mutex_unlock(&p->lock);
	if (busy)
		return 0;
	pthread_join(p->thread, NULL);
	while ((j = rfl_list_first(&p->jobs, struct job, link)) != NULL) {
		rfl_list_remove(&j->link);
		free(j);
	}
	RFL_RETIRE(p);
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
	free(p);
	return 1;
}

int
rfl_provision_ask(struct rfl_instance *instance, const struct rfl_stream_conf *stream,
	struct rfl_mailbox *mailbox, void *owner,
	void (*done)(void *owner, const struct rfl_provisioned *result),
	struct riffle_error *reterr)
{
	pthread_mutex_lock(&starting);
	int rc = instance->provisioner ? RIFFLE_OK : start(instance, reterr);
	struct rfl_provisioner *p = instance->provisioner;
	pthread_mutex_unlock(&starting);
	if (rc < 0)
		return rc;
	struct job *j = rfl_zalloc(sizeof *j);
	j->mail.deliver = deliver;
	j->mailbox = mailbox;
	j->owner = owner;
	j->done = done;
	j->result.stream = stream;
	/* What a provider does not fill in is not known. */
	j->result.info = (struct riffle_stream_info){.size = sizeof j->result.info,
		.retention_ms = -1,
		.retention_bytes = -1,
		.records = -1,
		.record_bytes = -1};
	rfl_list_init(&j->link);
	pthread_mutex_lock(&p->lock);
	rfl_list_append(&p->jobs, &j->link);
	pthread_cond_signal(&p->changed);
	pthread_mutex_unlock(&p->lock);
	return RIFFLE_OK;
}

void
rfl_provision_forget(struct rfl_instance *instance, const void *owner)
{
	struct job *j, *next;
	pthread_mutex_lock(&starting);
	struct rfl_provisioner *p = instance->provisioner;
	pthread_mutex_unlock(&starting);
	if (p == NULL)
		return;
	pthread_mutex_lock(&p->lock);
	if (p->running != NULL && p->running->owner == owner)
		p->running->owner = NULL;
	rfl_list_foreach_safe (j, next, &p->jobs, struct job, link) {
		if (j->owner != owner)
			continue;
		rfl_list_remove(&j->link);
		free(j);
	}
	pthread_mutex_unlock(&p->lock);
}
