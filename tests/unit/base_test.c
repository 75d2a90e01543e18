/* The base room: buffers, lists, clocks, errors, checksums. */
#include "test.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/mailbox.h"

#include <poll.h>
#include <pthread.h>
#include <riffle/backoff.h>
#include <stdlib.h>
#include <string.h>

static void
test_buf_grows_and_terminates(void **state)
{
	(void)state;
	struct rfl_buf b = RFL_BUF_INIT;
	assert_string_equal(rfl_buf_str(&b), "");
	for (int i = 0; i < 1000; i++)
		rfl_buf_printf(&b, "%d,", i % 10);
	assert_int_equal(b.len, 2000);
	assert_int_equal(strlen(rfl_buf_str(&b)), 2000);
	rfl_buf_clear(&b);
	rfl_buf_add(&b, "a\0b", 3);
	assert_int_equal(b.len, 3);
	rfl_buf_fini(&b);
}

struct item {
	int n;
	struct rfl_list link;
};

static void
test_list_removes_while_walking(void **state)
{
	(void)state;
	struct rfl_list l;
	struct item items[5], *it, *next;
	int sum = 0;
	rfl_list_init(&l);
	for (int i = 0; i < 5; i++) {
		items[i].n = i;
		rfl_list_append(&l, &items[i].link);
	}
	rfl_list_foreach_safe (it, next, &l, struct item, link) {
		if (it->n % 2 == 1)
			rfl_list_remove(&it->link);
	}
	rfl_list_foreach (it, &l, struct item, link)
		sum = sum * 10 + it->n;
	assert_int_equal(sum, 24);
	assert_ptr_equal(rfl_list_first(&l, struct item, link), &items[0]);
}

static void
test_backoff_doubles_within_its_bounds(void **state)
{
	(void)state;
	const int64_t most[] = {400, 800, 1000, 1000};
	const int64_t least[] = {200, 400, 500, 500};
	for (int64_t now = 0; now < 1000; now++) {
		int64_t limit = 0;
		for (int i = 0; i < 4; i++)
			assert_in_range(
				riffle_backoff_next(&limit, 200, 1000, now), least[i], most[i]);
		limit = 0;
		assert_int_equal(riffle_backoff_next(&limit, 50, 50, now), 50);
		assert_int_equal(riffle_backoff_next(&limit, 50, 50, now), 50);
	}
	int64_t limit = 0;
	for (int i = 0; i < 100; i++)
		assert_in_range(riffle_backoff_next(&limit, 1, INT64_MAX, i), 1, INT64_MAX);
	assert_int_equal(limit, INT64_MAX);
	/* From nothing it would never grow. */
	limit = 0;
	for (int i = 0; i < 20; i++)
		assert_in_range(riffle_backoff_next(&limit, 0, 1000, i), 1, 1000);
	assert_int_equal(limit, 1000);
	limit = 0;
	assert_int_equal(riffle_backoff_next(&limit, 0, 0, 1), 1);
}

/* A thousand that fail within a microsecond are spread over the whole of the interval. */
static void
test_backoff_parts_what_failed_together(void **state)
{
	(void)state;
	int in_tenth[10] = {0};
	for (int64_t now = 0; now < 1000; now++) {
		int64_t limit = 0, again = 0;
		int64_t wait = riffle_backoff_next(&limit, 1000, 10000, now);
		assert_int_equal(wait, riffle_backoff_next(&again, 1000, 10000, now));
		in_tenth[(wait - 1000) / 101]++;
	}
	for (int i = 0; i < 10; i++)
		assert_in_range(in_tenth[i], 70, 130);
}

static void
test_manual_clock_moves_only_by_hand(void **state)
{
	(void)state;
	struct rfl_clock c;
	rfl_clock_init_manual(&c, 1000000);
	assert_int_equal(rfl_clock_wall_ms(&c), 1000000);
	rfl_clock_advance(&c, 2500000);
	assert_int_equal(rfl_clock_wall_ms(&c), 1000002);
	assert_int_equal(rfl_clock_mono_ns(&c), 2500000);
}

static void
test_error_is_one_line(void **state)
{
	(void)state;
	struct riffle_error e = {0};
	assert_int_equal(rfl_err(&e, RIFFLE_E_DATA, "cannot read \"%s\"", "a\nb"), RIFFLE_E_DATA);
	assert_string_equal(e.text, "cannot read \"a?b\"");
	assert_int_equal(rfl_err_prefix(&e, "stream %s", "in"), RIFFLE_E_DATA);
	assert_string_equal(e.text, "stream in: cannot read \"a?b\"");
	assert_string_equal(rfl_status_name(RIFFLE_E_LAST), "not found");
	assert_string_equal(rfl_status_name(-99), "unknown status");
}

#define POSTERS 4
#define LETTERS 20000

struct letter {
	struct rfl_mail mail;
	int from, number;
};

static int last_number[POSTERS], received;

static void
receive(struct rfl_mail *mail)
{
	struct letter *l = (struct letter *)(void *)mail;
	assert_int_equal(l->number, last_number[l->from] + 1);
	last_number[l->from] = l->number;
	received++;
	free(l);
}

struct poster {
	struct rfl_mailbox *box;
	int index;
};

static void *
post_all(void *arg)
{
	struct poster *p = arg;
	for (int i = 1; i <= LETTERS; i++) {
		struct letter *l = calloc(1, sizeof *l);
		l->mail.deliver = receive;
		l->from = p->index;
		l->number = i;
		rfl_mailbox_post(p->box, &l->mail);
	}
	return NULL;
}

/* A wake-up that got lost would leave the taker in poll until the test's own limit. */
static void
test_mailbox_loses_nothing_and_wakes_a_sleeper(void **state)
{
	(void)state;
	struct rfl_mailbox box;
	struct poster posters[POSTERS];
	pthread_t threads[POSTERS];
	assert_int_equal(rfl_mailbox_init(&box), 0);
	for (int i = 0; i < POSTERS; i++) {
		posters[i] = (struct poster){&box, i};
		pthread_create(&threads[i], NULL, post_all, &posters[i]);
	}
	while (received < POSTERS * LETTERS) {
		struct rfl_mail *m = rfl_mailbox_take(&box);
		if (m == NULL && rfl_mailbox_sleep(&box)) {
			struct pollfd fd = {.fd = box.fd, .events = POLLIN};
			assert_int_equal(poll(&fd, 1, 120000), 1);
			rfl_mailbox_awake(&box);
		}
		while (m != NULL) {
			struct rfl_mail *next = m->next;
			m->deliver(m);
			m = next;
		}
	}
	for (int i = 0; i < POSTERS; i++)
		pthread_join(threads[i], NULL);
	rfl_mailbox_fini(&box);
}

static struct rfl_mailbox *box_of_the_lost;

/* As a thread that never comes back from here, and another that goes on in its place. */
static void
never_return(struct rfl_mail *mail)
{
	(void)mail;
	assert_int_equal(rfl_mailbox_deliver(box_of_the_lost), 1);
}

static void
test_mail_behind_one_that_does_not_return_is_delivered(void **state)
{
	(void)state;
	struct rfl_mailbox box;
	struct rfl_mail first = {.deliver = never_return};
	assert_int_equal(rfl_mailbox_init(&box), 0);
	box_of_the_lost = &box;
	memset(last_number, 0, sizeof last_number);
	received = 0;
	rfl_mailbox_post(&box, &first);
	struct poster p = {&box, 0};
	post_all(&p);
	rfl_mailbox_deliver(&box);
	assert_int_equal(received, LETTERS);
	rfl_mailbox_fini(&box);
}

/* The check values of the two algorithms' definitions. */
static void
test_checksums_match_their_definitions(void **state)
{
	(void)state;
	assert_int_equal(rfl_crc32c("123456789", 9), 0xe3069283u);
	assert_true(rfl_fnv1a64("a", 1) == UINT64_C(0xaf63dc4c8601ec8c));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buf_grows_and_terminates),
		cmocka_unit_test(test_list_removes_while_walking),
		cmocka_unit_test(test_manual_clock_moves_only_by_hand),
		cmocka_unit_test(test_backoff_doubles_within_its_bounds),
		cmocka_unit_test(test_backoff_parts_what_failed_together),
		cmocka_unit_test(test_error_is_one_line),
		cmocka_unit_test(test_mailbox_loses_nothing_and_wakes_a_sleeper),
		cmocka_unit_test(test_mail_behind_one_that_does_not_return_is_delivered),
		cmocka_unit_test(test_checksums_match_their_definitions),
	};
	return RUN("base", tests);
}
