/* Answers: records of a child made into batches, and handed to the host as far as its credit goes. */
#include "command.h"

#include <stdlib.h>
#include <string.h>

#define SPARES 4

/* A part of an answer, as a batch of its own. */
struct view {
	struct riffle_batch batch;
	struct command_answer *of;
};

/*
 * Large answers that the host has done with, for the next ones: it gives them back on threads of its own, and
 * memory that one thread takes and another gives goes back to the system and comes again page by page. Lives
 * until the instance and the last answer are gone.
 */
struct command_spares {
	pthread_mutex_t lock;
	struct command_answer *list; /* [lock] */
	int count, is_closed;        /* [lock] */
	int refs;                    /* atomic */
};

struct command_spares *
command_spares_create(void)
{
	struct command_spares *s = command_alloc(sizeof *s);
	pthread_mutex_init(&s->lock, NULL);
	s->refs = 1;
	return s;
}

static void
unref_spares(struct command_spares *s)
{
	if (__atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static void
destroy(struct command_answer *a)
{
	free(a->records);
	free(a->headers);
	free(a->types);
	free(a->type_is_json);
	free(a);
}

void
command_spares_close(struct command_spares *s)
{
	pthread_mutex_lock(&s->lock);
	struct command_answer *a = s->list;
	s->list = NULL;
	s->is_closed = 1;
	pthread_mutex_unlock(&s->lock);
	while (a != NULL) {
		struct command_answer *next = a->next;
		destroy(a);
		a = next;
	}
	unref_spares(s);
}

/* 1 = it is kept. */
static int
spare(struct command_spares *s, struct command_answer *a)
{
	pthread_mutex_lock(&s->lock);
	int is_kept = !s->is_closed && s->count < SPARES && a->room == COMMAND_ANSWER_BYTES;
	if (is_kept) {
		a->next = s->list;
		s->list = a;
		s->count++;
	}
	pthread_mutex_unlock(&s->lock);
	return is_kept;
}

static struct command_answer *
take_spare(struct command_spares *s)
{
	pthread_mutex_lock(&s->lock);
	struct command_answer *a = s->list;
	if (a != NULL) {
		s->list = a->next;
		s->count--;
	}
	pthread_mutex_unlock(&s->lock);
	return a;
}

static void
unref(struct command_answer *a)
{
	if (__atomic_sub_fetch(&a->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	struct command_spares *s = a->spares;
	if (!spare(s, a))
		destroy(a);
	unref_spares(s);
}

static struct command_answer *
create(struct command_spares *s, size_t room)
{
	struct command_answer *a = room == COMMAND_ANSWER_BYTES ? take_spare(s) : NULL;
	if (a == NULL) {
		a = malloc(sizeof *a + room);
		command_assert(a != NULL);
		*a = (struct command_answer){.room = room, .spares = s};
	}
	a->next = NULL;
	a->refs = 1;
	a->count = a->given = a->header_count = a->type_count = 0;
	a->charge = a->used = 0;
	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
	return a;
}

static void
finish(struct command_call *c)
{
	struct command_answer **last = &c->answers;
	while (*last != NULL)
		last = &(*last)->next;
	c->owner->answer_bytes = c->building->used;
	if (c->building->count > 0)
		*last = c->building;
	else
		unref(c->building);
	c->building = NULL;
}

struct command_answer *
command_answer_more_room(struct command_call *c, size_t bytes, uint32_t headers, size_t expected)
{
	struct command_answer *a = c->building;
	if (a != NULL && (a->count == COMMAND_ANSWER_RECORDS || a->room - a->used < bytes + 1)) {
		finish(c);
		a = NULL;
	}
	if (a == NULL) {
		/* As large as it will be, as far as that can be known: a small one keeps no large block. */
		size_t before = 2 * c->owner->answer_bytes;
		size_t room = expected < before ? before : expected;
		if (room > COMMAND_ANSWER_BYTES)
			room = COMMAND_ANSWER_BYTES;
		a = c->building = create(c->owner->spares, bytes + 1 > room ? bytes + 1 : room);
	}
	a->records = command_grow(a->records, &a->record_room, a->count + 1, sizeof *a->records);
	a->headers = command_grow(
		a->headers, &a->header_room, a->header_count + headers, sizeof *a->headers);
	a->types = command_grow(a->types, &a->type_room, a->type_count + 2, sizeof *a->types);
	a->type_is_json = command_grow(a->type_is_json, &a->json_room, a->type_count + 2, 1);
	if (a->type_count == 0)
		a->types[a->type_count++] = NULL;
	return a;
}

/* Few types occur in one answer, so a walk is the fastest look-up. */
uint32_t
command_answer_type(struct command_answer *a, struct riffle_bytes type)
{
	if (type.ptr == NULL)
		return 0;
	for (uint32_t i = 1; i < a->type_count; i++)
		if (strncmp(a->types[i], type.ptr, type.len) == 0 && a->types[i][type.len] == '\0')
			return i;
	struct riffle_bytes copy = command_answer_copy(a, type);
	a->bytes[a->used++] = '\0';
	a->types[a->type_count] = copy.ptr;
	a->type_is_json[a->type_count] = (char)command_is_json_type(copy.ptr);
	return a->type_count++;
}

/* Even nothing counts for what it takes, or there would be no end of it. */
static size_t
charge_of(const struct command_answer *a, const struct riffle_record *r)
{
	size_t sum = sizeof *r + r->key.len + r->value.len;
	for (uint32_t i = 0; i < r->header_count; i++)
		sum += a->headers[r->header_first + i].name.len +
		       a->headers[r->header_first + i].value.len;
	return sum;
}

void
command_answer_add(struct command_call *c, struct command_answer *a, const struct riffle_record *r,
	uint32_t header_count)
{
	struct riffle_record *to = &a->records[a->count++];
	*to = *r;
	to->offset = RIFFLE_OFFSET_NONE;
	to->partition = RIFFLE_PARTITION_NONE;
	to->header_first = a->header_count - header_count;
	to->header_count = header_count;
	size_t charge = charge_of(a, to);
	a->charge += charge;
	c->answered_bytes += charge;
}

static void
release(struct riffle_batch *b)
{
	struct view *v = b->owner;
	unref(v->of);
	free(v);
}

/* As many records as the credit covers; the last may exceed it. */
static struct view *
make_view(struct command_answer *a, size_t credit, size_t *ret_charged)
{
	uint32_t n = 0;
	*ret_charged = 0;
	if (a->given == 0 && a->charge <= credit) {
		n = a->count;
		*ret_charged = a->charge;
	}
	while (a->given + n < a->count && *ret_charged < credit)
		*ret_charged += charge_of(a, &a->records[a->given + n++]);
	struct view *v = command_alloc(sizeof *v);
	v->of = a;
	__atomic_add_fetch(&a->refs, 1, __ATOMIC_RELAXED);
	v->batch = (struct riffle_batch){
		.size = sizeof v->batch,
		.record_size = sizeof a->records[0],
		.record_count = n,
		.header_count = a->header_count,
		.content_type_count = a->type_count,
		.records = a->records + a->given,
		.headers = a->headers,
		.content_types = a->types,
		.pinned_bytes = sizeof *v + n * sizeof a->records[0] + *ret_charged,
		.owner = v,
		.release = release,
	};
	a->given += n;
	return v;
}

int
command_hand_out(struct command_call *c)
{
	pthread_mutex_t *lock = &c->owner->lock;
	if (c->building != NULL)
		finish(c);
	while (c->answers != NULL) {
		struct command_answer *a = c->answers;
		size_t charged;
		pthread_mutex_lock(lock);
		size_t credit = c->credit;
		c->wants_credit = credit == 0;
		pthread_mutex_unlock(lock);
		if (credit == 0)
			return 0;
		struct view *v = make_view(a, credit, &charged);
		if (a->given == a->count) {
			c->answers = a->next;
			unref(a);
		}
		pthread_mutex_lock(lock);
		c->credit -= charged < c->credit ? charged : c->credit;
		pthread_mutex_unlock(lock);
		c->events->output(c->data, &v->batch);
	}
	return 1;
}

void
command_answer_drop(struct command_call *c)
{
	if (c->building != NULL)
		finish(c);
	while (c->answers != NULL) {
		struct command_answer *a = c->answers;
		c->answers = a->next;
		unref(a);
	}
}
