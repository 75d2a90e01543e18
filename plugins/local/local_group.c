/* Groups: who may read as one, and the positions it has committed. */
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct local_group {
	struct local_group *next; /* in env->groups_open */
	struct local_env *env;
	char *name;
	int fd; /* of the lock file; the lock goes with it */
};

/* What could leave the directory, or not be a file's name, is written as %XX. */
static char *
lock_path(const struct local_env *env, const char *name)
{
	size_t room = strlen(env->dir) + 3 * strlen(name) + 32;
	char *path = local_alloc(room);
	int at = snprintf(path, room, "%s/groups/", env->dir);
	for (const char *p = name; *p != '\0'; p++) {
		int plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
			    (*p >= '0' && *p <= '9') || *p == '-' || *p == '_' || *p == '.';
		at += snprintf(path + at, room - (size_t)at, plain ? "%c" : "%%%02X",
			plain ? *p : (unsigned char)*p);
	}
	snprintf(path + at, room - (size_t)at, ".lock");
	return path;
}

/*
 * A record lock is the process's alone: a child that is being started while the process is killed does not
 * hold it on, as it would a flock. Within the process the list of open groups keeps it to one.
 */
static int
open_lock(const char *path, const char *name, int *ret_fd, struct riffle_error *reterr)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return local_err(
			reterr, RIFFLE_E_UNAVAILABLE, "cannot open %s: %s", path, strerror(errno));
	if (fcntl(fd, F_SETLK, &lock) == 0) {
		*ret_fd = fd;
		return RIFFLE_OK;
	}
	int why = errno;
	int held = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
	close(fd);
	if (held)
		return local_err(reterr, RIFFLE_E_UNAVAILABLE,
			"group \"%s\" is in use by process %ld", name, (long)lock.l_pid);
	return local_err(reterr, RIFFLE_E_UNAVAILABLE, "cannot lock %s: %s", path, strerror(why));
}

static int
is_open_here(const struct local_env *env, const char *name)
{
	for (const struct local_group *g = env->groups_open; g != NULL; g = g->next)
		if (strcmp(g->name, name) == 0)
			return 1;
	return 0;
}

int
local_group_open(struct local_env *env, const char *name, struct local_group **ret_group,
	struct riffle_error *reterr)
{
	char dir[4096];
	int fd = -1, rc;
	if (strlen(name) > 200)
		return local_err(reterr, RIFFLE_E_CONFIG, "a group's name has at most 200 bytes");
	snprintf(dir, sizeof dir, "%s/groups", env->dir);
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return local_err(
			reterr, RIFFLE_E_UNAVAILABLE, "cannot make %s: %s", dir, strerror(errno));
	char *path = lock_path(env, name);
	pthread_mutex_lock(&env->lock);
	if (is_open_here(env, name))
		rc = local_err(reterr, RIFFLE_E_UNAVAILABLE,
			"group \"%s\" is in use by process %ld", name, (long)getpid());
	else
		rc = open_lock(path, name, &fd, reterr);
	if (rc == RIFFLE_OK) {
		struct local_group *g = local_alloc(sizeof *g);
		*g = (struct local_group){
			.next = env->groups_open, .env = env, .name = local_strdup(name), .fd = fd};
		env->groups_open = g;
		*ret_group = g;
	}
	pthread_mutex_unlock(&env->lock);
	free(path);
	return rc;
}

void
local_group_close(struct local_group *g)
{
	if (g == NULL)
		return;
	struct local_env *env = g->env;
	pthread_mutex_lock(&env->lock);
	struct local_group **at = &env->groups_open;
	while (*at != g)
		at = &(*at)->next;
	*at = g->next;
	close(g->fd);
	pthread_mutex_unlock(&env->lock);
	free(g->name);
	free(g);
}

#define KEY_BYTES 511
#define VALUE_FRONT 12

/* Names hold no NUL, so NUL parts them. */
static MDB_val
key_of(const struct local_group *g, const struct local_topic *t, int32_t partition,
	unsigned char *room)
{
	size_t group = strlen(g->name) + 1, topic = strlen(t->name) + 1;
	local_assert(group + topic + 4 <= KEY_BYTES);
	memcpy(room, g->name, group);
	memcpy(room + group, t->name, topic);
	for (int i = 0; i < 4; i++)
		room[group + topic + (size_t)i] =
			(unsigned char)((uint32_t)partition >> (24 - 8 * i));
	return (MDB_val){group + topic + 4, room};
}

int
local_group_put(struct local_env *env, MDB_txn *txn, const struct local_group *g,
	const struct local_topic *t, const struct riffle_position *at)
{
	unsigned char room[KEY_BYTES];
	MDB_val key = key_of(g, t, at->partition, room);
	MDB_val value = {VALUE_FRONT + at->metadata.len, NULL};
	int rc = mdb_put(txn, env->groups, &key, &value, MDB_RESERVE);
	if (rc != 0)
		return rc;
	char *to = value.mv_data;
	memcpy(to, &at->offset, 8);
	memcpy(to + 8, &at->leader_epoch, 4);
	if (at->metadata.len > 0)
		memcpy(to + VALUE_FRONT, at->metadata.ptr, at->metadata.len);
	return 0;
}

int
local_group_get(struct local_env *env, MDB_txn *txn, const struct local_group *g,
	const struct local_topic *t, struct riffle_position *at)
{
	unsigned char room[KEY_BYTES];
	MDB_val key = key_of(g, t, at->partition, room), value;
	int rc = mdb_get(txn, env->groups, &key, &value);
	if (rc != 0)
		return rc;
	if (value.mv_size < VALUE_FRONT)
		return MDB_CORRUPTED;
	const char *from = value.mv_data;
	memcpy(&at->offset, from, 8);
	memcpy(&at->leader_epoch, from + 8, 4);
	at->metadata = (struct riffle_bytes){NULL, 0};
	if (value.mv_size > VALUE_FRONT)
		at->metadata =
			(struct riffle_bytes){from + VALUE_FRONT, value.mv_size - VALUE_FRONT};
	return 0;
}

struct riffle_position *
local_positions_copy(const struct riffle_position *from, uint32_t count)
{
	size_t bytes = count * sizeof *from + 1;
	for (uint32_t i = 0; i < count; i++)
		bytes += from[i].metadata.len;
	struct riffle_position *to = local_alloc(bytes);
	char *text = (char *)(to + count);
	for (uint32_t i = 0; i < count; i++) {
		to[i] = from[i];
		if (from[i].metadata.len == 0)
			continue;
		memcpy(text, from[i].metadata.ptr, from[i].metadata.len);
		to[i].metadata.ptr = text;
		text += from[i].metadata.len;
	}
	return to;
}
