/*
 * A queue into a thread: anybody posts, one thread takes. Posting never blocks and takes no lock;
 * the eventfd is written only when the taker said that it is about to sleep.
 */
#ifndef RFL_BASE_MAILBOX_H
#define RFL_BASE_MAILBOX_H

#include <stdint.h>

/* First member of whatever is posted. The taker calls deliver, which frees what must be freed. */
struct rfl_mail {
	struct rfl_mail *next;
	void (*deliver)(struct rfl_mail *mail);
};

struct rfl_mailbox {
	uint32_t magic;
	int fd; /* readable when something was posted to a sleeper */
	struct rfl_mail *head;
	struct rfl_mail *taken; /* by deliver, and not yet delivered: oldest first */
	int sleeping;
};

int rfl_mailbox_init(struct rfl_mailbox *m);                         /* 0, or -1 with errno */
void rfl_mailbox_fini(struct rfl_mailbox *m);                        /* it is empty by then */
void rfl_mailbox_post(struct rfl_mailbox *m, struct rfl_mail *mail); /* any thread */
/* All that was posted, oldest first, linked by next; NULL when there is nothing. The taker only. */
struct rfl_mail *rfl_mailbox_take(struct rfl_mailbox *m);
/*
 * Takes all and delivers each; 1 = there was something. The taker only. A thread that does not come back from one
 * leaves the rest to the next that delivers.
 */
int rfl_mailbox_deliver(struct rfl_mailbox *m);
int rfl_mailbox_has_mail(const struct rfl_mailbox *m); /* posted and not taken */
/* 1 = nothing is there, and whatever is posted from now on makes fd readable. The taker only. */
int rfl_mailbox_sleep(struct rfl_mailbox *m);
void rfl_mailbox_awake(struct rfl_mailbox *m); /* after the wait, whether fd was readable or not */

#endif
