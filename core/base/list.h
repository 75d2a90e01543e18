/* Doubly linked lists whose links lie in the elements. An empty list points at itself. */
#ifndef RFL_BASE_LIST_H
#define RFL_BASE_LIST_H

#include <stddef.h>

struct rfl_list {
	struct rfl_list *next, *prev;
};

static inline void
rfl_list_init(struct rfl_list *l)
{
	l->next = l->prev = l;
}

static inline int
rfl_list_empty(const struct rfl_list *l)
{
	return l->next == l;
}

static inline void
rfl_list_append(struct rfl_list *l, struct rfl_list *e)
{
	e->prev = l->prev;
	e->next = l;
	l->prev->next = e;
	l->prev = e;
}

/* Safe on an element that was initialised and is in no list. */
static inline void
rfl_list_remove(struct rfl_list *e)
{
	e->prev->next = e->next;
	e->next->prev = e->prev;
	rfl_list_init(e);
}

#define rfl_container(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define rfl_list_first(l, type, member)                                                            \
	(rfl_list_empty(l) ? NULL : rfl_container((l)->next, type, member))

/* The body may not remove the element it is given; the _safe form allows just that. */
#define rfl_list_foreach(pos, l, type, member)                                                     \
	for (pos = rfl_container((l)->next, type, member); &pos->member != (l);                    \
		pos = rfl_container(pos->member.next, type, member))
#define rfl_list_foreach_safe(pos, tmp, l, type, member)                                           \
	for (pos = rfl_container((l)->next, type, member),                                         \
	    tmp = rfl_container(pos->member.next, type, member);                                   \
		&pos->member != (l);                                                               \
		pos = tmp, tmp = rfl_container(pos->member.next, type, member))

#endif
