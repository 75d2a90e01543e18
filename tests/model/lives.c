/*
 * Random lives of tasks against the reference. A life follows from its seed; one that goes wrong is
 * lived again with fewer records and fewer steps as long as it still goes wrong, and then told step by step.
 *
 *   RIFFLE_SEED   the seed of the first life; without it the time
 *   RIFFLE_LIVES  how many
 *   RIFFLE_TRACE  1 = tell all of them
 */
#include "model.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A core with one thing turned round, of which nothing but what comes out may tell. */
#ifdef SABOTAGE
#define IS_BLIND 1
#else
#define IS_BLIND 0
#define SABOTAGE ""
#endif

#ifndef LIVES
#define LIVES 200000
#endif
#define ASSERTED "an assertion failed"
#define STEPS 200
#define END_ROUNDS 60
#define SETTLE_ROUNDS 2000

static sigjmp_buf wrong;
/* Of all lives: checkpoints that positions pointed to, refused sends that were handed back to their tasks. */
static uint64_t checkpoints, handed_back;

void
m_trace(struct world *w, const char *fmt, ...)
{
	va_list ap;
	if (!w->is_traced)
		return;
	printf("# ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

void
m_fail(struct world *w, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(w->text, sizeof w->text, fmt, ap);
	va_end(ap);
	w->why = w->text;
	m_trace(w, "WRONG: %s", w->text);
	siglongjmp(wrong, 1);
}

void
m_object(struct world *w, const char *fmt, ...)
{
	char text[sizeof w->text];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (w->is_blind)
		m_trace(w, "%s", text);
	else
		m_fail(w, "%s", text);
}

static void
produce(struct world *w)
{
	int input = m_below(w, w->input_count), partition = m_below(w, w->partition_count);
	struct m_lane *l = m_lane(w, input, partition);
	int n = 1 + m_below(w, 8);
	l->available = l->available + n < l->count ? l->available + n : l->count;
	m_trace(w, "lane %d/%d has %d", input, partition, l->available);
}

static void
trouble(struct world *w)
{
	int input = m_below(w, w->input_count), partition = m_below(w, w->partition_count);
	struct m_lane *l = m_lane(w, input, partition);
	static const uint32_t flags[] = {0, RIFFLE_LANE_FAILING, RIFFLE_LANE_HANGING};
	l->flags = l->flags ? 0 : flags[m_below(w, 3)];
	m_trace(w, "lane %d/%d has flags %u", input, partition, l->flags);
}

static void
turn_clock(struct world *w)
{
	static const int64_t ms[] = {1, 10, 60, 200, 1100, 4000};
	int64_t by = ms[m_below(w, 6)];
	rfl_clock_advance(&w->clock, by * 1000000);
	m_trace(w, "%" PRId64 " ms pass: %" PRId64, by, rfl_clock_wall_ms(&w->clock));
}

static void
run_some(struct world *w, struct m_instance *at)
{
	m_trace(w, "  instance %d runs", (int)(at - w->instances));
	m_run(at);
	if (!m_chance(w, 4))
		m_deliver(w);
}

static void
step(struct world *w)
{
	struct m_instance *at = &w->instances[m_below(w, w->instance_count)];
	switch (m_below(w, 24)) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		produce(w);
		break;
	case 5:
	case 6:
	case 7:
		turn_clock(w);
		break;
	case 8:
	case 9:
	case 10:
	case 11:
	case 12:
	case 13:
		run_some(w, at);
		break;
	case 14:
	case 15:
		m_answer(w);
		m_deliver(w);
		break;
	case 16:
	case 17:
		m_acknowledge(at);
		break;
	case 18:
	case 19:
	case 20:
	case 21:
		m_commit(at);
		break;
	case 22:
		if (m_chance(w, 2))
			m_crash(at);
		else if (m_chance(w, 2))
			trouble(w);
		else if (m_chance(w, 2))
			m_stop(at);
		break;
	default:
		if (m_chance(w, 2))
			m_move(w, m_below(w, w->partition_count), at);
		break;
	}
}

static int
is_done(struct world *w)
{
	for (int i = 0; i < w->input_count; i++)
		for (int p = 0; p < w->partition_count; p++) {
			const struct m_lane *l = m_lane(w, i, p);
			if (m_place(l, l->committed) < l->count)
				return 0;
		}
	for (int i = 0; i < w->instance_count; i++)
		if (!m_is_quiet(&w->instances[i]))
			return 0;
	return 1;
}

/* Until nothing moves any more without the clock. */
static void
settle(struct world *w)
{
	for (int i = 0; i < SETTLE_ROUNDS; i++) {
		int moved = 0;
		for (int k = 0; k < w->instance_count; k++) {
			struct m_instance *at = &w->instances[k];
			moved |= m_run(at);
			moved |= m_deliver(w);
			moved |= m_answer(w);
			moved |= m_deliver(w);
			moved |= m_acknowledge(at);
			moved |= m_commit(at);
		}
		if (!moved && i > 2)
			return;
	}
	m_fail(w, "it does not come to rest");
}

static void
come_to_the_end(struct world *w)
{
	w->is_ending = 1;
	w->is_healed = 1;
	m_trace(w, "the end: all that is there comes, and nothing fails any more");
	for (int n = 0; n < M_LANES; n++) {
		w->lanes[n].available = w->lanes[n].count;
		w->lanes[n].flags = 0;
	}
	int64_t rounds = (w->conf.idle_after_ms + w->conf.close_after_idle_ms) / 1500 + 2;
	for (int i = 0; i < END_ROUNDS; i++) {
		settle(w);
		rfl_clock_advance(&w->clock, INT64_C(1500) * 1000000);
		m_trace(w, "1500 ms pass: %" PRId64, rfl_clock_wall_ms(&w->clock));
		if (i > rounds && is_done(w))
			return;
	}
	for (int k = 0; k < w->instance_count; k++)
		m_explain(&w->instances[k]);
}

static void
live(struct world *w)
{
	m_set_up(w);
	m_describe(w);
	for (int i = 0; i < w->instance_count; i++)
		m_instance_open(w, i);
	for (int p = 0; p < w->partition_count; p++)
		m_task_open(&w->instances[p % w->instance_count], p);
	int steps = 20 + m_below(w, STEPS);
	for (w->step = 0; w->step < steps && w->step < w->step_limit; w->step++)
		step(w);
	come_to_the_end(w);
	for (int i = 0; i < w->instance_count; i++)
		m_instance_close(&w->instances[i]);
	m_judge(w);
	for (int i = 0; i < M_LANES; i++)
		free(w->lanes[i].checkpoint);
	checkpoints += (uint64_t)w->checkpoints;
	handed_back += (uint64_t)w->handed_back;
}

/* 1 = it goes wrong, and why is in text. What it held then is left where it is. */
static int
goes_wrong(uint64_t seed, int step_limit, int record_limit, int is_traced, char *text, size_t size)
{
	static struct rfl_mailbox mailbox;
	static int has_mailbox;
	static struct world *w;
	if (w == NULL)
		w = rfl_alloc(sizeof *w);
	if (!has_mailbox && rfl_mailbox_init(&mailbox) < 0)
		RFL_WRONG("no mailbox");
	has_mailbox = 1;
	memset(w, 0, sizeof *w);
	w->seed = seed;
	w->step_limit = step_limit;
	w->record_limit = record_limit;
	w->is_traced = is_traced;
	w->is_blind = IS_BLIND;
	w->mailbox = &mailbox;
	if (sigsetjmp(wrong, 1) == 0) {
		live(w);
		return 0;
	}
	snprintf(text, size, "%s", w->why ? w->text : ASSERTED);
	has_mailbox = 0;
	w = NULL;
	return 1;
}

/* The fewest records, then the fewest steps, with which it still goes wrong. */
static void
tell(uint64_t seed)
{
	char text[512];
	int steps = STEPS + 20, records = M_RECORDS;
	for (int cut = records / 2; cut > 0; cut /= 2)
		while (records > cut &&
			goes_wrong(seed, steps, records - cut, 0, text, sizeof text))
			records -= cut;
	for (int cut = steps / 2; cut > 0; cut /= 2)
		while (steps > cut && goes_wrong(seed, steps - cut, records, 0, text, sizeof text))
			steps -= cut;
	printf("# life %" PRIu64 " with at most %d records a lane and %d steps\n", seed, records,
		steps);
	goes_wrong(seed, steps, records, 1, text, sizeof text);
}

/* An assertion of the core's is a life gone wrong like another. */
static void
on_abort(int number)
{
	(void)number;
	siglongjmp(wrong, 1);
}

static uint64_t
number_or(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	return text != NULL && *text != '\0' ? strtoull(text, NULL, 10) : otherwise;
}

static int
say_wrong(uint64_t seed, uint64_t lives, const char *text)
{
	if (IS_BLIND) {
		printf("# in life %" PRIu64 ": %s\nok 1 - %s is found\n", lives, text, SABOTAGE);
		return 0;
	}
	printf("# life %" PRIu64 ": %s\nnot ok 1 - what comes out is what was promised\n", seed,
		text);
	return 1;
}

static int
say_right(uint64_t lives)
{
	if (IS_BLIND) {
		printf("# not in %" PRIu64 " lives\nnot ok 1 - %s is found\n", lives, SABOTAGE);
		return 1;
	}
	printf("# %" PRIu64 " positions with a checkpoint, %" PRIu64
	       " sends of transactions refused for their data\n",
		checkpoints, handed_back);
	printf("# %.1f s of CPU for %" PRIu64
	       " lives\nok 1 - what comes out is what was promised\n",
		(double)clock() / (double)CLOCKS_PER_SEC, lives);
	return 0;
}

int
main(void)
{
	char text[512];
	uint64_t seed = number_or("RIFFLE_SEED", (uint64_t)time(NULL) * 1000000);
	uint64_t lives = number_or("RIFFLE_LIVES", LIVES);
	int is_traced = (int)number_or("RIFFLE_TRACE", 0);
	rfl_log_setup(0, RFL_LOG_LOGFMT);
	signal(SIGABRT, on_abort);
	printf("1..1\n# seed %" PRIu64 ", %" PRIu64 " lives\n", seed, lives);
	fflush(stdout);
	for (uint64_t i = 0; i < lives; i++) {
		if (!goes_wrong(seed + i, INT32_MAX, M_RECORDS, is_traced, text, sizeof text))
			continue;
		/* An assertion is a look inside. */
		if (IS_BLIND && strcmp(text, ASSERTED) == 0)
			continue;
		if (!is_traced && !IS_BLIND)
			tell(seed + i);
		return say_wrong(seed + i, i, text);
	}
	return say_right(lives);
}
