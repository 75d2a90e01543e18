/* Groups: who may read as one, and the positions it has committed. */
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct local_group {
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

static int
open_lock(const char *path, const char *name, int *ret_fd, struct riffle_error *reterr)
{
	char text[32] = "";
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return local_err(
			reterr, RIFFLE_E_UNAVAILABLE, "cannot open %s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int why = errno;
		ssize_t n = pread(fd, text, sizeof text - 1, 0);
		text[n > 0 ? n : 0] = '\0';
		text[strcspn(text, "\n")] = '\0';
		close(fd);
		if (why != EWOULDBLOCK)
			return local_err(reterr, RIFFLE_E_UNAVAILABLE, "cannot lock %s: %s", path,
				strerror(why));
		return local_err(reterr, RIFFLE_E_UNAVAILABLE,
			"group \"%s\" is in use by process %s", name, text);
	}
	int len = snprintf(text, sizeof text, "%ld\n", (long)getpid());
	if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)len, 0) != len) {
		int why = errno;
		close(fd);
		return local_err(
			reterr, RIFFLE_E_UNAVAILABLE, "cannot write %s: %s", path, strerror(why));
	}
	*ret_fd = fd;
	return RIFFLE_OK;
}

int
local_group_open(struct local_env *env, const char *name, struct local_group **ret_group,
	struct riffle_error *reterr)
{
	char dir[4096];
	int fd = -1;
	if (strlen(name) > 200)
		return local_err(reterr, RIFFLE_E_CONFIG, "a group's name has at most 200 bytes");
	snprintf(dir, sizeof dir, "%s/groups", env->dir);
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return local_err(
			reterr, RIFFLE_E_UNAVAILABLE, "cannot make %s: %s", dir, strerror(errno));
	char *path = lock_path(env, name);
	int rc = open_lock(path, name, &fd, reterr);
	free(path);
	if (rc < 0)
		return rc;
	struct local_group *g = local_alloc(sizeof *g);
	g->name = local_strdup(name);
	g->fd = fd;
	*ret_group = g;
	return RIFFLE_OK;
}

void
local_group_close(struct local_group *g)
{
	if (g == NULL)
		return;
	close(g->fd);
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
