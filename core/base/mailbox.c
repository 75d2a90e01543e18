/* A stack of posted mail that the taker turns round; an eventfd for a taker that sleeps. */
#include "base/mailbox.h"

#include "base/check.h"

#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MAILBOX_MAGIC 0x4d41494cu

int
rfl_mailbox_init(struct rfl_mailbox *m)
{
	*m = (struct rfl_mailbox){.magic = MAILBOX_MAGIC};
	m->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return m->fd < 0 ? -1 : 0;
}

void
rfl_mailbox_fini(struct rfl_mailbox *m)
{
	RFL_CHECK(m, MAILBOX_MAGIC);
	rfl_assert(m->head == NULL && m->taken == NULL);
	RFL_RETIRE(m);
	close(m->fd);
}

/*
 * Post: publish, then look whether the taker sleeps. Sleep: say so, then look whether something was
 * published. With both in sequential order one of the two always sees the other.
 */
void
rfl_mailbox_post(struct rfl_mailbox *m, struct rfl_mail *mail)
{
	RFL_CHECK(m, MAILBOX_MAGIC);
	mail->next = __atomic_load_n(&m->head, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(
		&m->head, &mail->next, mail, 1, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		;
	if (__atomic_load_n(&m->sleeping, __ATOMIC_SEQ_CST)) {
		uint64_t one = 1;
		rfl_assert(write(m->fd, &one, sizeof one) == (ssize_t)sizeof one);
	}
}

struct rfl_mail *
rfl_mailbox_take(struct rfl_mailbox *m)
{
	RFL_CHECK(m, MAILBOX_MAGIC);
	if (__atomic_load_n(&m->head, __ATOMIC_RELAXED) == NULL)
		return NULL;
	struct rfl_mail *newest = __atomic_exchange_n(&m->head, NULL, __ATOMIC_ACQUIRE);
	struct rfl_mail *oldest = NULL;
	while (newest != NULL) {
		struct rfl_mail *next = newest->next;
		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	return oldest;
}

int
rfl_mailbox_deliver(struct rfl_mailbox *m)
{
	struct rfl_mail *mail;
	int any = 0;
	if (m->taken == NULL)
		m->taken = rfl_mailbox_take(m);
	while ((mail = m->taken) != NULL) {
		m->taken = mail->next;
		mail->deliver(mail);
		any = 1;
	}
	return any;
}

int
rfl_mailbox_has_mail(const struct rfl_mailbox *m)
{
	return __atomic_load_n(&m->head, __ATOMIC_ACQUIRE) != NULL;
}

int
rfl_mailbox_sleep(struct rfl_mailbox *m)
{
	__atomic_store_n(&m->sleeping, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&m->head, __ATOMIC_SEQ_CST) == NULL)
		return 1;
	__atomic_store_n(&m->sleeping, 0, __ATOMIC_SEQ_CST);
	return 0;
}

void
rfl_mailbox_awake(struct rfl_mailbox *m)
{
	uint64_t n;
	__atomic_store_n(&m->sleeping, 0, __ATOMIC_SEQ_CST);
	if (read(m->fd, &n, sizeof n) < 0)
		return;
}
