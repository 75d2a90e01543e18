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
	char *name, *member;
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

/* What a lock file says is only looked at while it is locked. */
static void
read_holder(int fd, long pid, char *who, size_t size)
{
	char text[128];
	ssize_t n = pread(fd, text, sizeof text - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	snprintf(who, size, text[0] ? "%.100s, process %ld" : "%.100sprocess %ld", text, pid);
}

static void
write_holder(int fd, const char *member)
{
	char text[128];
	int n = snprintf(text, sizeof text, "%.100s\n", member ? member : "");
	/* Only words for an error's text: without them it names the process. */
	if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n)
		(void)!ftruncate(fd, 0);
}

/*
 * A record lock is the process's alone: a child that is being started while the process is killed does not
 * hold it on, as it would a flock. Within the process the list of open groups keeps it to one.
 */
static int
open_lock(const char *path, const char *name, const char *member, int *ret_fd,
	struct riffle_error *reterr)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char who[160];
	local_make_file(path);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return local_err(
			reterr, RIFFLE_E_UNAVAILABLE, "cannot open %s: %s", path, strerror(errno));
	if (fcntl(fd, F_SETLK, &lock) == 0) {
		write_holder(fd, member);
		*ret_fd = fd;
		return RIFFLE_OK;
	}
	int why = errno;
	int held = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
	if (held)
		read_holder(fd, (long)lock.l_pid, who, sizeof who);
	close(fd);
	if (held)
		return local_err(
			reterr, RIFFLE_E_UNAVAILABLE, "group \"%s\" is in use by %s", name, who);
	return local_err(reterr, RIFFLE_E_UNAVAILABLE, "cannot lock %s: %s", path, strerror(why));
}

static const struct local_group *
find_here(const struct local_env *env, const char *name)
{
	const struct local_group *g = env->groups_open;
	while (g != NULL && strcmp(g->name, name) != 0)
		g = g->next;
	return g;
}

/* Opening and closing the file would give up the lock that this process may have: it is looked for first. */
int
local_group_holder(struct local_env *env, const char *name, char *who, size_t size)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	pthread_mutex_lock(&env->lock);
	const struct local_group *g = find_here(env, name);
	int held = g != NULL;
	if (held)
		snprintf(who, size, "%s%sprocess %ld", g->member, g->member[0] ? ", " : "",
			(long)getpid());
	char *path = held ? NULL : lock_path(env, name);
	int fd = held ? -1 : open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0 && fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK) {
		read_holder(fd, (long)lock.l_pid, who, size);
		held = 1;
	}
	if (fd >= 0)
		close(fd);
	pthread_mutex_unlock(&env->lock);
	free(path);
	return held;
}

const char *
local_group_name(const struct local_group *g)
{
	return g->name;
}

int
local_group_open(struct local_env *env, const char *name, const char *member,
	struct local_group **ret_group, struct riffle_error *reterr)
{
	char dir[4096];
	int fd = -1, rc;
	if (strlen(name) > 200)
		return local_err(reterr, RIFFLE_E_CONFIG, "a group's name has at most 200 bytes");
	snprintf(dir, sizeof dir, "%s/groups", env->dir);
	if (strlen(name) == 0)
		return local_err(reterr, RIFFLE_E_CONFIG, "a group's name is not empty");
	if (local_make_dir(dir) < 0)
		return local_err(
			reterr, RIFFLE_E_UNAVAILABLE, "cannot make %s: %s", dir, strerror(errno));
	char *path = lock_path(env, name);
	pthread_mutex_lock(&env->lock);
	const struct local_group *held = find_here(env, name);
	if (held != NULL)
		rc = local_err(reterr, RIFFLE_E_UNAVAILABLE,
			"group \"%s\" is in use by %s%sprocess %ld", name, held->member,
			held->member[0] ? ", " : "", (long)getpid());
	else
		rc = open_lock(path, name, member, &fd, reterr);
	if (rc == RIFFLE_OK) {
		struct local_group *g = local_alloc(sizeof *g);
		*g = (struct local_group){.next = env->groups_open,
			.env = env,
			.name = local_strdup(name),
			.member = local_strdup(member ? member : ""),
			.fd = fd};
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
	free(g->member);
	free(g);
}

#define KEY_BYTES 511
#define VALUE_FRONT 12

/* Names hold no NUL, so NUL parts them. */
static MDB_val
key_of(const char *name, const struct local_topic *t, int32_t partition, unsigned char *room)
{
	size_t group = strlen(name) + 1, topic = strlen(t->name) + 1;
	local_assert(group + topic + 4 <= KEY_BYTES);
	memcpy(room, name, group);
	memcpy(room + group, t->name, topic);
	for (int i = 0; i < 4; i++)
		room[group + topic + (size_t)i] =
			(unsigned char)((uint32_t)partition >> (24 - 8 * i));
	return (MDB_val){group + topic + 4, room};
}

int
local_group_put(struct local_env *env, MDB_txn *txn, const char *group, const struct local_topic *t,
	const struct riffle_position *at)
{
	unsigned char room[KEY_BYTES];
	MDB_val key = key_of(group, t, at->partition, room);
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
local_group_get(struct local_env *env, MDB_txn *txn, const char *group, const struct local_topic *t,
	struct riffle_position *at)
{
	unsigned char room[KEY_BYTES];
	MDB_val key = key_of(group, t, at->partition, room), value;
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

int
local_group_forget(struct local_env *env, MDB_txn *txn, const char *group,
	const struct local_topic *t, int32_t partition)
{
	unsigned char room[KEY_BYTES];
	MDB_val key = key_of(group, t, partition, room);
	int rc = mdb_del(txn, env->groups, &key, NULL);
	return rc == MDB_NOTFOUND ? 0 : rc;
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
