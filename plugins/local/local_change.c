/* Operations that a control thread posts to the writer and waits for. */
#include "local.h"

static void
change_done(struct local_op *op)
{
	struct local_change *c = (struct local_change *)(void *)op;
	pthread_mutex_lock(&c->lock);
	c->is_done = 1;
	pthread_cond_signal(&c->done);
	pthread_mutex_unlock(&c->lock);
}

int
local_change_run(struct local_env *env, struct local_change *c, struct riffle_error *reterr)
{
	c->op.done = change_done;
	c->is_done = 0;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->done, NULL);
	local_writer_post(env, &c->op);
	pthread_mutex_lock(&c->lock);
	while (!c->is_done)
		pthread_cond_wait(&c->done, &c->lock);
	pthread_mutex_unlock(&c->lock);
	pthread_cond_destroy(&c->done);
	pthread_mutex_destroy(&c->lock);
	if (c->op.error.code == RIFFLE_OK)
		return RIFFLE_OK;
	*reterr = c->op.error;
	return reterr->code;
}
