/* Of riffle/simple.h: the positions of a group, as they lie in its file, and who has the group. */
#ifndef RIFFLE_SIMPLE_GROUP_H
#define RIFFLE_SIMPLE_GROUP_H

#include <riffle/simple/base.h>

#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>
#include <sys/stat.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RFS_POSITIONS_MAX ((size_t)16 * 1024 * 1024)
#define RFS_POSITIONS_HEAD "riffle positions 1\n"
#define RFS_POSITIONS_END "end\n"

/* Positions of a group, as they lie in its file. */
struct rfs_position {
	struct rfs_position *next;
	char *topic;
	int64_t offset;
	int32_t leader_epoch;
	int has_metadata;
	size_t metadata_len;
	char *metadata;
};

struct rfs_group {
	char *dir, *path, *fresh_path, *lock_path;
	int lock_fd;
	struct rfs_position *positions;
};

static inline void
rfs_group_clear(struct rfs_group *g)
{
	while (g->positions != NULL) {
		struct rfs_position *p = g->positions;
		g->positions = p->next;
		free(p->topic);
		free(p->metadata);
		free(p);
	}
}

/* The lock goes with its descriptor. */
static inline void
rfs_group_destroy(struct rfs_group *g)
{
	if (g == NULL)
		return;
	rfs_group_clear(g);
	if (g->lock_fd >= 0)
		close(g->lock_fd);
	free(g->dir);
	free(g->path);
	free(g->fresh_path);
	free(g->lock_path);
	free(g);
}

static inline char *
rfs_path(const char *dir, const char *name, const char *suffix)
{
	size_t room = strlen(dir) + strlen(name) + strlen(suffix) + 2;
	char *path = (char *)rfs_alloc(room);
	snprintf(path, room, "%s/%s%s", dir, name, suffix);
	return path;
}

/* What could leave the directory, or not be a file's name, is written as %XX. */
static inline char *
rfs_escape(const char *name)
{
	size_t room = 3 * strlen(name) + 1, at = 0;
	char *to = (char *)rfs_alloc(room);
	for (const char *p = name; *p != '\0'; p++) {
		int plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
			    (*p >= '0' && *p <= '9') || *p == '-' || *p == '_' ||
			    (*p == '.' && p != name);
		if (plain)
			to[at++] = *p;
		else
			at += (size_t)snprintf(to + at, room - at, "%%%02X", (unsigned char)*p);
	}
	return to;
}

static inline int
rfs_group_create(const struct riffle_config *config, const char *name, struct rfs_group **ret_group,
	struct riffle_error *reterr)
{
	char *file = rfs_escape(name);
	if (strlen(file) > 200) {
		free(file);
		return riffle_simple_fail(
			reterr, RIFFLE_E_CONFIG, "the name of group \"%s\" is too long", name);
	}
	struct rfs_group *g = (struct rfs_group *)rfs_alloc(sizeof *g);
	char *all = rfs_path(config->dir, "simple", "");
	char *mine = rfs_escape(config->name);
	g->lock_fd = -1;
	g->dir = rfs_path(all, mine, "");
	g->path = rfs_path(g->dir, file, ".positions");
	g->fresh_path = rfs_path(g->dir, file, ".fresh");
	g->lock_path = rfs_path(g->dir, file, ".lock");
	free(all);
	free(mine);
	free(file);
	*ret_group = g;
	return RIFFLE_OK;
}

static inline int
rfs_make_dirs(const char *dir, struct riffle_error *reterr)
{
	char *path = rfs_strdup(dir);
	int rc = 0;
	for (char *p = path + 1; rc == 0; p++) {
		if (*p != '/' && *p != '\0')
			continue;
		char end = *p;
		*p = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			rc = riffle_simple_fail(reterr, RIFFLE_E_UNAVAILABLE, "cannot make %s: %s",
				path, strerror(errno));
		*p = end;
		if (end == '\0')
			break;
	}
	free(path);
	return rc;
}

/* 1 = it is ours now, 0 = another member has it. */
static inline int
rfs_group_lock(struct rfs_group *g, struct riffle_error *reterr)
{
	if (g->lock_fd < 0) {
		int rc = rfs_make_dirs(g->dir, reterr);
		if (rc < 0)
			return rc;
		g->lock_fd = open(g->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	}
	if (g->lock_fd >= 0 && flock(g->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 1;
	if (g->lock_fd >= 0 && errno == EWOULDBLOCK)
		return 0;
	return riffle_simple_fail(
		reterr, RIFFLE_E_UNAVAILABLE, "cannot lock %s: %s", g->lock_path, strerror(errno));
}

static inline struct rfs_position *
rfs_group_find(const struct rfs_group *g, const char *topic)
{
	struct rfs_position *p = g->positions;
	while (p != NULL && strcmp(p->topic, topic) != 0)
		p = p->next;
	return p;
}

static inline void
rfs_group_set(struct rfs_group *g, const char *topic, const struct riffle_position *from)
{
	struct rfs_position *p = rfs_group_find(g, topic);
	if (p == NULL) {
		p = (struct rfs_position *)rfs_alloc(sizeof *p);
		p->topic = rfs_strdup(topic);
		p->next = g->positions;
		g->positions = p;
	}
	p->offset = from->offset;
	p->leader_epoch = from->leader_epoch;
	free(p->metadata);
	p->has_metadata = from->metadata.ptr != NULL;
	p->metadata_len = from->metadata.len;
	p->metadata = (char *)rfs_alloc(from->metadata.len + 1);
	if (from->metadata.len > 0)
		memcpy(p->metadata, from->metadata.ptr, from->metadata.len);
}

/* One entry of the file; the text ends with a NUL. Returns what follows it, or NULL. */
static inline const char *
rfs_position_parse(struct rfs_group *g, const char *from, const char *end)
{
	struct riffle_position p;
	long long offset, topic_len, metadata_len;
	int epoch, used = 0;
	memset(&p, 0, sizeof p);
	if (sscanf(from, "%lld %d %lld %lld%n", &offset, &epoch, &topic_len, &metadata_len, &used) <
			4 ||
		from[used] != '\n' || offset < 0 || topic_len < 1 || topic_len > 65536 ||
		metadata_len < -1 || metadata_len > (long long)RFS_METADATA_MAX)
		return NULL;
	from += used + 1;
	size_t topic_size = (size_t)topic_len;
	size_t metadata_size = metadata_len < 0 ? 0 : (size_t)metadata_len;
	if ((size_t)(end - from) < topic_size + metadata_size + 1 ||
		from[topic_size + metadata_size] != '\n')
		return NULL;
	char *topic = (char *)rfs_alloc(topic_size + 1);
	memcpy(topic, from, topic_size);
	p.offset = offset;
	p.leader_epoch = epoch;
	p.metadata.ptr = metadata_len < 0 ? NULL : from + topic_size;
	p.metadata.len = metadata_size;
	rfs_group_set(g, topic, &p);
	free(topic);
	return from + topic_size + metadata_size + 1;
}

static inline int
rfs_group_parse(struct rfs_group *g, const char *text, size_t len, struct riffle_error *reterr)
{
	const char *at = text, *end = text + len;
	size_t head = strlen(RFS_POSITIONS_HEAD);
	if (len >= head && memcmp(at, RFS_POSITIONS_HEAD, head) == 0)
		for (at += head; at != NULL; at = rfs_position_parse(g, at, end))
			if (strcmp(at, RFS_POSITIONS_END) == 0)
				return RIFFLE_OK;
	return riffle_simple_fail(reterr, RIFFLE_E_FATAL,
		"%s is damaged: put a copy back, or remove it to begin anew", g->path);
}

static inline int
rfs_group_load(struct rfs_group *g, struct riffle_error *reterr)
{
	int rc = RIFFLE_OK;
	FILE *f = fopen(g->path, "re");
	rfs_group_clear(g);
	if (f == NULL && errno == ENOENT)
		return RIFFLE_OK;
	if (f == NULL)
		return riffle_simple_fail(reterr, RIFFLE_E_UNAVAILABLE, "cannot open %s: %s",
			g->path, strerror(errno));
	char *text = (char *)rfs_alloc(RFS_POSITIONS_MAX + 1);
	size_t len = fread(text, 1, RFS_POSITIONS_MAX, f);
	if (ferror(f))
		rc = riffle_simple_fail(reterr, RIFFLE_E_UNAVAILABLE, "cannot read %s: %s", g->path,
			strerror(errno));
	else
		rc = rfs_group_parse(g, text, len, reterr);
	free(text);
	fclose(f);
	return rc;
}

static inline int
rfs_sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	int rc = fsync(fd);
	close(fd);
	return rc;
}

static inline int
rfs_group_write(const struct rfs_group *g, FILE *f)
{
	fputs(RFS_POSITIONS_HEAD, f);
	for (const struct rfs_position *p = g->positions; p != NULL; p = p->next) {
		fprintf(f, "%" PRId64 " %" PRId32 " %zu %lld\n", p->offset, p->leader_epoch,
			strlen(p->topic), p->has_metadata ? (long long)p->metadata_len : -1);
		fputs(p->topic, f);
		fwrite(p->metadata, 1, p->metadata_len, f);
		fputc('\n', f);
	}
	fputs(RFS_POSITIONS_END, f);
	return fflush(f) != 0 || ferror(f) || fsync(fileno(f)) < 0 ? -1 : 0;
}

/* The old file is whole until the new one is, and which of them is there after a crash is settled. */
static inline int
rfs_group_store(const struct rfs_group *g, struct riffle_error *reterr)
{
	FILE *f = fopen(g->fresh_path, "we");
	int rc = f != NULL ? rfs_group_write(g, f) : -1;
	int why = errno;
	if (f != NULL)
		fclose(f);
	if (rc == 0) {
		rc = rename(g->fresh_path, g->path) < 0 || rfs_sync_dir(g->dir) < 0 ? -1 : 0;
		why = errno;
	}
	if (rc < 0)
		return riffle_simple_fail(reterr, RIFFLE_E_UNAVAILABLE, "cannot write %s: %s",
			g->path, strerror(why));
	return RIFFLE_OK;
}

#ifdef __cplusplus
}
#endif
#endif
