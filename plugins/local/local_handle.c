/*
 * Open databases. A transaction of LMDB costs something for every open one, and each segment is one, so
 * only those in use and the most recently used stay open.
 */
#include "local.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
local_handles_init(struct local_handles *h, uint32_t wanted)
{
	memset(h, 0, sizeof *h);
	h->wanted = wanted;
	pthread_mutex_init(&h->lock, NULL);
}

void
local_handles_fini(struct local_handles *h)
{
	for (uint32_t i = 0; i < LOCAL_HANDLE_SLOTS; i++)
		while (h->slots[i] != NULL) {
			struct local_handle *first = h->slots[i];
			h->slots[i] = first->next;
			free(first);
		}
	pthread_mutex_destroy(&h->lock);
}

static struct local_handle **
slot_of(struct local_handles *h, const struct local_name *n)
{
	uint64_t x = n->base * UINT64_C(0x9e3779b97f4a7c15);
	x ^= ((uint64_t)n->topic << 32 | n->partition) * UINT64_C(0xc2b2ae3d27d4eb4f);
	x ^= x >> 29;
	return &h->slots[(x ^ (uint64_t)n->kind) % LOCAL_HANDLE_SLOTS];
}

static int
is_same(const struct local_name *a, const struct local_name *b)
{
	return a->base == b->base && a->topic == b->topic && a->partition == b->partition &&
	       a->kind == b->kind;
}

/* Where in the table it hangs. Under the lock. */
static struct local_handle **
find(struct local_handles *h, const struct local_name *name)
{
	struct local_handle **at = slot_of(h, name);
	while (*at != NULL && !is_same(&(*at)->name, name))
		at = &(*at)->next;
	return at;
}

struct local_handle *
local_handle_peek(struct local_env *env, const struct local_name *name)
{
	struct local_handles *h = &env->handles;
	pthread_mutex_lock(&h->lock);
	struct local_handle *found = *find(h, name);
	if (found != NULL) {
		found->refs++;
		found->used_at = ++h->clock;
	}
	pthread_mutex_unlock(&h->lock);
	return found;
}

void
local_handle_put(struct local_env *env, struct local_handle *handle)
{
	if (handle == NULL)
		return;
	pthread_mutex_lock(&env->handles.lock);
	local_assert(handle->refs > 0);
	handle->refs--;
	pthread_mutex_unlock(&env->handles.lock);
}

static void
text_of(const struct local_name *name, char *to, size_t size)
{
	snprintf(to, size, "%c/%u/%u/%llu", name->kind, name->topic, name->partition,
		(unsigned long long)name->base);
}

static struct local_handle *
handle_create(const struct local_name *name, MDB_dbi dbi)
{
	struct local_handle *handle = local_alloc(sizeof *handle);
	handle->name = *name;
	handle->dbi = dbi;
	handle->refs = 1;
	return handle;
}

static void
insert(struct local_handles *h, struct local_handle *handle)
{
	struct local_handle **at = slot_of(h, &handle->name);
	handle->used_at = ++h->clock;
	handle->next = *at;
	*at = handle;
	h->count++;
}

/* The one that nobody uses and that was used the longest time ago. */
static struct local_handle **
oldest(struct local_handles *h)
{
	struct local_handle **found = NULL;
	for (uint32_t i = 0; i < LOCAL_HANDLE_SLOTS; i++)
		for (struct local_handle **at = &h->slots[i]; *at != NULL; at = &(*at)->next)
			if ((*at)->refs == 0 &&
				(found == NULL || (*at)->used_at < (*found)->used_at))
				found = at;
	return found;
}

/* Who calls has the right to open, so nobody can be opening what is closed here. */
static void
make_room(struct local_env *env)
{
	struct local_handles *h = &env->handles;
	pthread_mutex_lock(&h->lock);
	while (h->count >= h->wanted) {
		struct local_handle **at = oldest(h), *gone;
		if (at == NULL)
			break;
		gone = *at;
		*at = gone->next;
		h->count--;
		mdb_dbi_close(env->mdb, gone->dbi);
		free(gone);
	}
	pthread_mutex_unlock(&h->lock);
}

static int
open_now(struct local_env *env, const struct local_name *name, MDB_dbi *ret_dbi)
{
	char text[64];
	MDB_txn *txn;
	struct riffle_error ignored;
	text_of(name, text, sizeof text);
	int rc = local_read_begin(env, &txn, &ignored);
	if (rc < 0)
		return MDB_READERS_FULL;
	rc = mdb_dbi_open(txn, text, 0, ret_dbi);
	/* It is the environment's only once the transaction ended well. */
	if (rc == 0)
		return mdb_txn_commit(txn);
	mdb_txn_abort(txn);
	return rc;
}

int
local_handle_get(struct local_env *env, const struct local_name *name, int patient,
	struct local_handle **ret_handle)
{
	MDB_dbi dbi;
	int rc = 0;
	*ret_handle = local_handle_peek(env, name);
	if (*ret_handle != NULL)
		return 0;
	if (!patient && __atomic_load_n(&env->writer_is_opening, __ATOMIC_ACQUIRE))
		return LOCAL_BUSY;
	pthread_mutex_lock(&env->opening);
	*ret_handle = local_handle_peek(env, name);
	if (*ret_handle == NULL) {
		make_room(env);
		rc = open_now(env, name, &dbi);
	}
	if (*ret_handle == NULL && rc == 0) {
		*ret_handle = handle_create(name, dbi);
		pthread_mutex_lock(&env->handles.lock);
		insert(&env->handles, *ret_handle);
		pthread_mutex_unlock(&env->handles.lock);
	}
	pthread_mutex_unlock(&env->opening);
	return rc;
}

void
local_handles_allow(struct local_env *env)
{
	pthread_mutex_lock(&env->opening);
	__atomic_store_n(&env->writer_is_opening, 1, __ATOMIC_RELEASE);
	make_room(env);
}

static struct local_handle *
opened_by_writer(struct local_env *env, const struct local_name *name)
{
	struct local_handle *h = env->opened;
	while (h != NULL && !is_same(&h->name, name))
		h = h->next;
	return h;
}

/* Once for each transaction, whose reference it keeps. */
static void
pin(struct local_env *env, struct local_handle *h)
{
	if (h->is_pinned) {
		local_handle_put(env, h);
		return;
	}
	h->is_pinned = 1;
	h->pinned_next = env->pinned;
	env->pinned = h;
}

int
local_handle_open(struct local_env *env, MDB_txn *txn, const struct local_name *name,
	unsigned flags, MDB_dbi *ret_dbi)
{
	char text[64];
	unsigned known;
	struct local_handle *h = opened_by_writer(env, name);
	if (h != NULL) {
		*ret_dbi = h->dbi;
		return 0;
	}
	h = local_handle_peek(env, name);
	if (h != NULL) {
		/* Opened by a reader after this transaction began, it is not known to it. */
		int rc = mdb_dbi_flags(txn, h->dbi, &known);
		*ret_dbi = h->dbi;
		if (rc == 0)
			pin(env, h);
		else
			local_handle_put(env, h);
		return rc == EINVAL ? LOCAL_REOPEN : rc;
	}
	if (!env->writer_is_opening)
		return LOCAL_REOPEN;
	text_of(name, text, sizeof text);
	int rc = mdb_dbi_open(txn, text, flags, ret_dbi);
	if (rc != 0)
		return rc;
	h = handle_create(name, *ret_dbi);
	h->next = env->opened;
	env->opened = h;
	env->opened_count++;
	return 0;
}

uint32_t
local_handles_opened(const struct local_env *env)
{
	return env->opened_count;
}

/* The writer's own, of this transaction. */
static void
forget_own(struct local_env *env, const struct local_name *name)
{
	struct local_handle **at = &env->opened;
	while (*at != NULL && !is_same(&(*at)->name, name))
		at = &(*at)->next;
	struct local_handle *own = *at;
	if (own != NULL) {
		*at = own->next;
		free(own);
	}
	for (at = &env->pinned; *at != NULL; at = &(*at)->pinned_next)
		if (is_same(&(*at)->name, name)) {
			struct local_handle *pinned = *at;
			*at = pinned->pinned_next;
			pinned->is_pinned = 0;
			local_handle_put(env, pinned);
			return;
		}
}

/*
 * LMDB closes the handle with the database, before anything is committed: it is taken from the table first,
 * and is opened again, whole, should the transaction not come to its end.
 */
static int
take_out(struct local_env *env, const struct local_name *name)
{
	struct local_handles *h = &env->handles;
	forget_own(env, name);
	pthread_mutex_lock(&h->lock);
	struct local_handle **at = find(h, name), *found = *at;
	int busy = found != NULL && found->refs > 0;
	if (found != NULL && !busy) {
		*at = found->next;
		h->count--;
	}
	pthread_mutex_unlock(&h->lock);
	if (busy)
		return LOCAL_BUSY;
	free(found);
	return 0;
}

int
local_handle_drop(struct local_env *env, MDB_txn *txn, const struct local_name *name)
{
	char text[64];
	MDB_dbi dbi;
	if (!env->writer_is_opening)
		return LOCAL_REOPEN;
	int rc = take_out(env, name);
	if (rc != 0)
		return rc;
	/* Open or not, LMDB finds it by its name. */
	text_of(name, text, sizeof text);
	rc = mdb_dbi_open(txn, text, 0, &dbi);
	if (rc != 0)
		return rc == MDB_NOTFOUND ? 0 : rc;
	rc = mdb_drop(txn, dbi, 1);
	if (rc != 0)
		mdb_dbi_close(env->mdb, dbi);
	return rc;
}

void
local_handles_end(struct local_env *env, int committed)
{
	struct local_handles *h = &env->handles;
	pthread_mutex_lock(&h->lock);
	while (env->pinned != NULL) {
		struct local_handle *first = env->pinned;
		env->pinned = first->pinned_next;
		first->is_pinned = 0;
		first->refs--;
	}
	env->opened_count = 0;
	while (env->opened != NULL) {
		struct local_handle *first = env->opened;
		env->opened = first->next;
		first->refs = 0;
		if (committed)
			insert(h, first);
		else
			free(first);
	}
	pthread_mutex_unlock(&h->lock);
	if (!env->writer_is_opening)
		return;
	__atomic_store_n(&env->writer_is_opening, 0, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&env->opening);
}
