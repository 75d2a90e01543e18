/* How riffle/simple.h does what it says: no part of the contract, and included by that header alone. */
#ifndef RIFFLE_SIMPLE_MACHINE_H
#define RIFFLE_SIMPLE_MACHINE_H

#include <riffle/simple.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RFS_CAN_READ                                                                               \
	(RIFFLE_CAN_SOURCE | RIFFLE_CAN_ORDER | RIFFLE_CAN_GROUPS | RIFFLE_CAN_REPLAY |            \
		RIFFLE_CAN_METADATA)
#define RFS_CAN_WRITE (RIFFLE_CAN_SINK | RIFFLE_CAN_ORDER)
#define RFS_QUEUE_RECORDS 1024u
#define RFS_QUEUE_BYTES ((size_t)4 * 1024 * 1024)
#define RFS_STAGED_RECORDS 4096u
#define RFS_STAGED_BYTES ((size_t)8 * 1024 * 1024)
#define RFS_WAIT_MS 100 /* for a record; a commit waits behind it */
#define RFS_POLL_MS 20
#define RFS_BACKOFF_MIN_MS 200
#define RFS_BACKOFF_MAX_MS 10000
#define RFS_GROUP_RETRY_MS 200
#define RFS_POSITIONS_MAX ((size_t)16 * 1024 * 1024)
#define RFS_METADATA_MAX 4096u
#define RFS_POSITIONS_HEAD "riffle positions 1\n"
#define RFS_POSITIONS_END "end\n"

static inline int
riffle_simple_fail(struct riffle_error *reterr, int code, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	reterr->code = code;
	reterr->flags =
		code == RIFFLE_E_UNAVAILABLE || code == RIFFLE_E_TIMEOUT || code == RIFFLE_E_NOMEM
			? RIFFLE_ERR_RETRIABLE
			: 0;
	vsnprintf(reterr->text, sizeof reterr->text, format, args);
	va_end(args);
	return code;
}

static inline int
riffle_simple_fail_errno(struct riffle_error *reterr, const char *format, ...)
{
	char what[RIFFLE_ERROR_TEXT];
	va_list args;
	int why = errno;
	int code = why == ENOENT                   ? RIFFLE_E_NOTFOUND
		   : why == EACCES || why == EPERM ? RIFFLE_E_AUTH
		   : why == ENOMEM                 ? RIFFLE_E_NOMEM
						   : RIFFLE_E_UNAVAILABLE;
	va_start(args, format);
	vsnprintf(what, sizeof what, format, args);
	va_end(args);
	return riffle_simple_fail(reterr, code, "%s: %s", what, strerror(why));
}

static inline void *
rfs_alloc(size_t size)
{
	void *p = calloc(1, size);
	if (p == NULL)
		abort();
	return p;
}

static inline char *
rfs_strdup(const char *s)
{
	size_t len = strlen(s) + 1;
	return (char *)memcpy(rfs_alloc(len), s, len);
}

/* A failing function of the author's may have left the error as it was. */
static inline struct riffle_error
rfs_no_error(void)
{
	struct riffle_error err;
	memset(&err, 0, sizeof err);
	snprintf(err.text, sizeof err.text, "the plugin gave no reason");
	return err;
}

static inline int
rfs_is_passing(const struct riffle_error *err)
{
	return (err->flags & RIFFLE_ERR_RETRIABLE) != 0 || err->code == RIFFLE_E_UNAVAILABLE ||
	       err->code == RIFFLE_E_TIMEOUT || err->code == RIFFLE_E_NOMEM;
}

struct rfs_self {
	struct riffle_simple author;
	const struct riffle_simple_source *source;
	const struct riffle_simple_sink *sink;
	uint64_t can;
};

/* What a source and a sink have in common: a thread, its lock, and the fd that wakes the host. */
struct rfs_base {
	struct rfs_self *owner;
	pthread_mutex_t lock;
	pthread_cond_t wake; /* the thread's */
	pthread_t thread;
	int fd, is_raised;
	int is_closing, is_gone, is_told_closed; /* gone = the thread did its last */
};

static inline int64_t
rfs_now_ns(const struct rfs_base *b)
{
	return b->owner->author.host->mono_ns(b->owner->author.host);
}

/* Under the lock. An eventfd that is full is readable all the same. */
static inline void
rfs_raise(struct rfs_base *b)
{
	const uint64_t one = 1;
	if (b->is_raised)
		return;
	b->is_raised = 1;
	if (write(b->fd, &one, sizeof one) < 0 && errno != EAGAIN)
		abort();
}

static inline void
rfs_take_signal(struct rfs_base *b)
{
	uint64_t count;
	if (!b->is_raised)
		return;
	b->is_raised = 0;
	if (read(b->fd, &count, sizeof count) < 0 && errno != EAGAIN)
		abort();
}

/* The host's clock may be turned by hand; waits run on this one. */
static inline int64_t
rfs_real_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Under the lock, which is given up meanwhile. */
static inline void
rfs_wait_ms(struct rfs_base *b, int64_t ms)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(ms / 1000);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_cond_timedwait(&b->wake, &b->lock, &until);
}

static inline int
rfs_base_init(struct rfs_base *b, struct rfs_self *owner, struct riffle_error *reterr)
{
	pthread_condattr_t attributes;
	b->owner = owner;
	b->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->fd < 0)
		return riffle_simple_fail(reterr, RIFFLE_E_UNAVAILABLE,
			"cannot make an eventfd: %s", strerror(errno));
	pthread_mutex_init(&b->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&b->wake, &attributes);
	pthread_condattr_destroy(&attributes);
	return RIFFLE_OK;
}

static inline void
rfs_base_fini(struct rfs_base *b)
{
	pthread_cond_destroy(&b->wake);
	pthread_mutex_destroy(&b->lock);
	close(b->fd);
}

/* Signals are the host's business: its own threads take them. */
static inline int
rfs_base_run(struct rfs_base *b, void *(*body)(void *), void *object, struct riffle_error *reterr)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(&b->thread, NULL, body, object);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0)
		return riffle_simple_fail(
			reterr, RIFFLE_E_UNAVAILABLE, "cannot start a thread: %s", strerror(rc));
	return RIFFLE_OK;
}

static inline void
rfs_base_leave(struct rfs_base *b)
{
	pthread_mutex_lock(&b->lock);
	b->is_gone = 1;
	rfs_raise(b);
	pthread_mutex_unlock(&b->lock);
}

static inline void
rfs_base_close(struct rfs_base *b)
{
	pthread_mutex_lock(&b->lock);
	b->is_closing = 1;
	pthread_cond_signal(&b->wake);
	pthread_mutex_unlock(&b->lock);
}

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

/* A record that waits for the host: this, its headers, its bytes, in one block. */
struct rfs_record {
	struct rfs_record *next;
	struct riffle_simple_message message;
	size_t bytes, block_bytes;
};

struct rfs_lane {
	struct riffle_source_stream spec;
	/* under the lock */
	int is_started, is_releasing, is_released, is_damaged, is_failing;
	uint32_t generation; /* moved by the host: what was read for an older one is dropped */
	int64_t from, position, log_end;
	struct rfs_record *first, **last;
	uint32_t queued, batches_out;
	size_t queued_bytes;
	int64_t idle_ns; /* when there was nothing more; 0 = there was */
	int64_t damaged_at;
	struct riffle_error damage;
	int64_t retry_ns;
	/* the thread's alone */
	void *reader;
	int is_fresh; /* the reader, which may give what lies before */
	uint32_t reader_generation;
	int64_t read_to;
	int backoff_ms;
	char told[RIFFLE_ERROR_TEXT];
};

struct rfs_event {
	struct rfs_event *next;
	struct riffle_event abi;
	struct riffle_lane *lanes;
};

struct rfs_commit {
	struct rfs_commit *next;
	struct riffle_position *positions; /* with their metadata in one block */
	uint32_t count;
	uint64_t tag;
};

struct rfs_source {
	struct rfs_base base;
	struct rfs_group *group; /* the thread's; NULL = none */
	struct rfs_lane *lanes;
	uint32_t lane_count;
	uint32_t turn, quiet; /* lanes in a row that had nothing */
	int is_failed;
	struct rfs_event *events, **events_last, *shown;
	struct rfs_commit *commits, **commits_last;
};

static inline struct rfs_event *
rfs_source_event(struct rfs_source *s, uint32_t type)
{
	struct rfs_event *e = (struct rfs_event *)rfs_alloc(sizeof *e);
	e->abi.type = type;
	*s->events_last = e;
	s->events_last = &e->next;
	rfs_raise(&s->base);
	return e;
}

/* The lanes are the event's from now on. */
static inline void
rfs_source_show(struct rfs_source *s, uint32_t type, struct riffle_lane *lanes, uint32_t count)
{
	struct rfs_event *e = rfs_source_event(s, type);
	e->lanes = lanes;
	e->abi.lanes = lanes;
	e->abi.lane_size = (uint32_t)sizeof *lanes;
	e->abi.lane_count = count;
}

/* What does not pass ends the source. Under the lock. */
static inline void
rfs_source_trouble(struct rfs_source *s, const struct riffle_error *err)
{
	struct rfs_event *e = rfs_source_event(s, RIFFLE_EV_ERROR);
	e->abi.error = *err;
	e->abi.status = rfs_is_passing(err) ? err->code : RIFFLE_E_FATAL;
	if (!rfs_is_passing(err))
		s->is_failed = 1;
}

static inline void
rfs_records_free(struct rfs_record *r)
{
	while (r != NULL) {
		struct rfs_record *next = r->next;
		free(r);
		r = next;
	}
}

static inline void
rfs_lane_clear(struct rfs_lane *l)
{
	rfs_records_free(l->first);
	l->first = NULL;
	l->last = &l->first;
	l->queued = 0;
	l->queued_bytes = 0;
}

static inline struct riffle_bytes
rfs_put_bytes(char **to, struct riffle_bytes from)
{
	struct riffle_bytes put = {NULL, 0};
	if (from.ptr == NULL)
		return put;
	if (from.len > 0)
		memcpy(*to, from.ptr, from.len);
	put.ptr = *to;
	put.len = from.len;
	*to += from.len;
	return put;
}

/* NULL when there is no memory for it. */
static inline struct rfs_record *
rfs_record_copy(const struct riffle_simple_message *m)
{
	size_t bytes = m->key.len + m->value.len;
	for (uint32_t i = 0; i < m->header_count; i++)
		bytes += m->headers[i].name.len + m->headers[i].value.len;
	size_t type = m->content_type != NULL ? strlen(m->content_type) + 1 : 0;
	size_t front = sizeof(struct rfs_record) + m->header_count * sizeof(struct riffle_header);
	struct rfs_record *r = (struct rfs_record *)malloc(front + bytes + type + 1);
	if (r == NULL)
		return NULL;
	struct riffle_header *headers = (struct riffle_header *)(void *)(r + 1);
	char *to = (char *)r + front;
	r->next = NULL;
	r->bytes = bytes;
	r->block_bytes = front + bytes + type + 1;
	r->message = *m;
	r->message.key = rfs_put_bytes(&to, m->key);
	r->message.value = rfs_put_bytes(&to, m->value);
	for (uint32_t i = 0; i < m->header_count; i++) {
		headers[i].name = rfs_put_bytes(&to, m->headers[i].name);
		headers[i].value = rfs_put_bytes(&to, m->headers[i].value);
	}
	r->message.headers = headers;
	if (type > 0)
		r->message.content_type = (const char *)memcpy(to, m->content_type, type);
	return r;
}

static inline void
rfs_reader_close(struct rfs_self *owner, struct rfs_lane *l)
{
	if (l->reader != NULL)
		owner->source->close(l->reader);
	free(l->reader);
	l->reader = NULL;
}

/* A new reader, or NULL with *ret_rc set. */
static inline void *
rfs_reader_new(const struct rfs_self *owner, const struct riffle_stream *stream, int64_t from,
	int *ret_rc, struct riffle_error *reterr)
{
	void *reader = rfs_alloc(owner->source->reader_size);
	*ret_rc = owner->source->open(&owner->author, stream, from, reader, reterr);
	if (*ret_rc >= 0)
		return reader;
	free(reader);
	return NULL;
}

static inline int
rfs_reader_open(struct rfs_source *s, struct rfs_lane *l, uint32_t generation, int64_t from,
	struct riffle_error *reterr)
{
	if (l->reader_generation != generation) {
		rfs_reader_close(s->base.owner, l);
		l->reader_generation = generation;
		l->read_to = from;
		l->backoff_ms = 0;
		l->told[0] = '\0';
	}
	if (l->reader != NULL)
		return RIFFLE_OK;
	int rc;
	l->reader = rfs_reader_new(s->base.owner, l->spec.stream, l->read_to, &rc, reterr);
	l->is_fresh = 1;
	return rc;
}

/*
 * 1 and a copy of the next record, or none of one that is dropped; 0, or a failure. Without the lock:
 * this is what may wait.
 */
static inline int
rfs_reader_next(struct rfs_source *s, struct rfs_lane *l, int timeout_ms,
	struct riffle_simple_message *m, struct rfs_record **ret_record,
	struct riffle_error *reterr)
{
	memset(m, 0, sizeof *m);
	m->offset = RIFFLE_OFFSET_NONE;
	m->time_ms = RIFFLE_TIME_NONE;
	int rc = s->base.owner->source->next(l->reader, timeout_ms, m, reterr);
	int is_before = m->offset >= 0 && m->offset < l->read_to && l->is_fresh;
	if (is_before && (rc > 0 || rc == RIFFLE_E_DATA))
		return 1;
	if (rc <= 0)
		return rc;
	l->is_fresh = 0;
	if (m->offset < l->read_to || m->offset == INT64_MAX)
		return riffle_simple_fail(reterr, RIFFLE_E_FATAL,
			"the plugin gave offset %" PRId64 " of %s where %" PRId64
			" or more was asked for",
			m->offset, l->spec.stream->topic, l->read_to);
	*ret_record = rfs_record_copy(m);
	if (*ret_record == NULL)
		return riffle_simple_fail(reterr, RIFFLE_E_NOMEM,
			"no memory for record %" PRId64 " of %s", m->offset, l->spec.stream->topic);
	return 1;
}

static inline void
rfs_lane_append(struct rfs_source *s, struct rfs_lane *l, struct rfs_record *r)
{
	if (l->first == NULL)
		rfs_raise(&s->base);
	*l->last = r;
	l->last = &r->next;
	l->queued++;
	l->queued_bytes += r->bytes;
	l->read_to = r->message.offset + 1;
	if (l->log_end < l->read_to)
		l->log_end = l->read_to;
	l->idle_ns = 0;
	l->is_failing = 0;
	l->backoff_ms = 0;
	l->told[0] = '\0';
}

/* Under the lock. A failure that goes on is told once. */
static inline void
rfs_lane_failed(struct rfs_source *s, struct rfs_lane *l, const struct riffle_simple_message *m,
	const struct riffle_error *err)
{
	l->idle_ns = 0;
	if (err->code == RIFFLE_E_DATA) {
		l->is_damaged = 1;
		l->damaged_at = m->offset > l->read_to ? m->offset : l->read_to;
		l->damage = *err;
		rfs_raise(&s->base);
		return;
	}
	l->is_failing = 1;
	l->backoff_ms = l->backoff_ms == 0 ? RFS_BACKOFF_MIN_MS : 2 * l->backoff_ms;
	if (l->backoff_ms > RFS_BACKOFF_MAX_MS)
		l->backoff_ms = RFS_BACKOFF_MAX_MS;
	l->retry_ns = rfs_now_ns(&s->base) + (int64_t)l->backoff_ms * 1000000;
	if (!rfs_is_passing(err) || strcmp(l->told, err->text) != 0)
		rfs_source_trouble(s, err);
	memcpy(l->told, err->text, sizeof l->told);
}

/* Under the lock, which is given up while the author's functions run. */
static inline void
rfs_lane_read(struct rfs_source *s, struct rfs_lane *l, int timeout_ms)
{
	struct riffle_error err = rfs_no_error();
	struct riffle_simple_message m;
	struct rfs_record *record = NULL;
	uint32_t generation = l->generation;
	int64_t from = l->from;
	int64_t began_ms = rfs_real_ms();
	m.offset = RIFFLE_OFFSET_NONE;
	pthread_mutex_unlock(&s->base.lock);
	int rc = rfs_reader_open(s, l, generation, from, &err);
	if (rc >= 0)
		rc = rfs_reader_next(s, l, timeout_ms, &m, &record, &err);
	if (rc < 0)
		rfs_reader_close(s->base.owner, l);
	pthread_mutex_lock(&s->base.lock);
	if (l->generation != generation) {
		free(record);
		return;
	}
	if (rc < 0) {
		err.code = rc;
		rfs_lane_failed(s, l, &m, &err);
	} else if (rc == 0) {
		l->idle_ns = rfs_now_ns(&s->base);
		l->is_failing = 0;
		s->quiet++;
		if (rfs_real_ms() - began_ms < timeout_ms / 2 && s->commits == NULL &&
			!s->base.is_closing)
			rfs_wait_ms(&s->base, timeout_ms < RFS_POLL_MS ? timeout_ms : RFS_POLL_MS);
	} else {
		s->quiet = 0;
		if (record != NULL)
			rfs_lane_append(s, l, record);
	}
}

/* Milliseconds until the lane may be read, 0 = now, -1 = when something changes. */
static inline int64_t
rfs_lane_pause(struct rfs_source *s, const struct rfs_lane *l)
{
	if (s->is_failed || !l->is_started || l->is_damaged)
		return l->reader != NULL && !l->is_started ? 0 : -1;
	if (l->queued >= RFS_QUEUE_RECORDS || l->queued_bytes >= RFS_QUEUE_BYTES)
		return -1;
	int64_t left_ns = l->is_failing ? l->retry_ns - rfs_now_ns(&s->base) : 0;
	return left_ns <= 0 ? 0 : left_ns / 1000000 + 1;
}

/* One step of one lane, or a wait until there is one. Under the lock. */
static inline void
rfs_source_step(struct rfs_source *s)
{
	int64_t pause = -1;
	uint32_t ready = 0, chosen = 0;
	for (uint32_t i = 0; i < s->lane_count; i++) {
		uint32_t at = (s->turn + i) % s->lane_count;
		int64_t ms = rfs_lane_pause(s, &s->lanes[at]);
		if (ms == 0 && ready++ == 0)
			chosen = at;
		if (ms > 0 && (pause < 0 || ms < pause))
			pause = ms;
	}
	if (ready == 0 && pause < 0)
		pthread_cond_wait(&s->base.wake, &s->base.lock);
	else if (ready == 0)
		rfs_wait_ms(&s->base, pause);
	if (ready == 0)
		return;
	struct rfs_lane *l = &s->lanes[chosen];
	s->turn = chosen + 1;
	if (l->is_started) {
		int wait_ms = RFS_WAIT_MS / (int)ready;
		rfs_lane_read(s, l, s->quiet < ready ? 0 : wait_ms > 0 ? wait_ms : 1);
		return;
	}
	pthread_mutex_unlock(&s->base.lock);
	rfs_reader_close(s->base.owner, l);
	pthread_mutex_lock(&s->base.lock);
}

/* All that wait are written at once, and then answered in order. Under the lock. */
static inline void
rfs_source_write_commits(struct rfs_source *s)
{
	struct riffle_error err = rfs_no_error();
	struct rfs_commit *all = s->commits;
	s->commits = NULL;
	s->commits_last = &s->commits;
	pthread_mutex_unlock(&s->base.lock);
	for (struct rfs_commit *c = all; c != NULL; c = c->next)
		for (uint32_t i = 0; i < c->count; i++)
			rfs_group_set(s->group, s->lanes[c->positions[i].stream].spec.stream->topic,
				&c->positions[i]);
	int rc = rfs_group_store(s->group, &err);
	pthread_mutex_lock(&s->base.lock);
	while (all != NULL) {
		struct rfs_commit *c = all;
		struct rfs_event *e = rfs_source_event(s, RIFFLE_EV_COMMITTED);
		all = c->next;
		e->abi.tag = c->tag;
		e->abi.status = rc;
		if (rc < 0)
			e->abi.error = err;
		free(c->positions);
		free(c);
	}
}

/* Where a group that knows nothing of the stream begins. */
static inline int
rfs_lane_start(const struct rfs_self *owner, const struct rfs_lane *l, void *reader,
	struct riffle_lane *to, struct riffle_error *reterr)
{
	int64_t *offset = &to->committed.offset;
	int rc = RIFFLE_OK;
	*offset = l->spec.start == RIFFLE_START_EARLIEST ? to->log_start : to->log_end;
	if (l->spec.start == RIFFLE_START_OFFSET)
		*offset = l->spec.start_value;
	if (l->spec.start == RIFFLE_START_TIME)
		rc = owner->source->find_time(reader, l->spec.start_value, offset, reterr);
	if (*offset > to->log_end)
		*offset = to->log_end;
	if (*offset < to->log_start)
		*offset = to->log_start;
	return rc;
}

/* What the stream holds and, for a new group, where it begins. */
static inline int
rfs_lane_look(const struct rfs_self *owner, const struct rfs_lane *l, int is_new,
	struct riffle_lane *to, struct riffle_error *reterr)
{
	int rc;
	void *reader = rfs_reader_new(owner, l->spec.stream, 0, &rc, reterr);
	if (reader == NULL)
		return rc;
	rc = owner->source->range(reader, &to->log_start, &to->log_end, reterr);
	if (rc >= 0 && (to->log_start < 0 || to->log_end < to->log_start))
		rc = riffle_simple_fail(reterr, RIFFLE_E_FATAL,
			"the plugin gave the range %" PRId64 " to %" PRId64 " of %s", to->log_start,
			to->log_end, l->spec.stream->topic);
	to->committed.offset = to->log_start;
	if (rc >= 0 && is_new)
		rc = rfs_lane_start(owner, l, reader, to, reterr);
	owner->source->close(reader);
	free(reader);
	return rc;
}

static inline int
rfs_is_new_group(const struct rfs_source *s)
{
	for (uint32_t i = 0; i < s->lane_count; i++)
		if (s->group != NULL &&
			rfs_group_find(s->group, s->lanes[i].spec.stream->topic) != NULL)
			return 0;
	return 1;
}

/* Fills what ASSIGNED shows; the metadata is the group's until the first commit. */
static inline int
rfs_source_resolve(struct rfs_source *s, struct riffle_lane *lanes, struct riffle_error *reterr)
{
	const struct rfs_self *owner = s->base.owner;
	int is_new = rfs_is_new_group(s), is_changed = 0;
	for (uint32_t i = 0; i < s->lane_count; i++) {
		struct rfs_lane *l = &s->lanes[i];
		struct riffle_position *at = &lanes[i].committed;
		const char *topic = l->spec.stream->topic;
		struct rfs_position *known =
			s->group != NULL ? rfs_group_find(s->group, topic) : NULL;
		lanes[i].size = (uint32_t)sizeof lanes[i];
		lanes[i].lane = at->stream = i;
		at->leader_epoch = -1;
		int rc = rfs_lane_look(owner, l, is_new, &lanes[i], reterr);
		if (rc < 0) {
			reterr->code = rc;
			return rc;
		}
		if (known == NULL && s->group != NULL) {
			rfs_group_set(s->group, topic, at);
			is_changed = 1;
		}
		if (known == NULL)
			continue;
		at->offset = known->offset;
		at->leader_epoch = known->leader_epoch;
		at->metadata.ptr = known->has_metadata ? known->metadata : NULL;
		at->metadata.len = known->metadata_len;
	}
	return is_changed ? rfs_group_store(s->group, reterr) : RIFFLE_OK;
}

/* The host reads the metadata after the thread may have changed the group: it gets a copy. */
static inline struct riffle_lane *
rfs_lanes_copy(const struct riffle_lane *from, uint32_t count)
{
	size_t bytes = count * sizeof *from + 1;
	for (uint32_t i = 0; i < count; i++)
		bytes += from[i].committed.metadata.len;
	struct riffle_lane *lanes = (struct riffle_lane *)rfs_alloc(bytes);
	char *to = (char *)(void *)(lanes + count);
	for (uint32_t i = 0; i < count; i++) {
		lanes[i] = from[i];
		lanes[i].committed.metadata = rfs_put_bytes(&to, from[i].committed.metadata);
	}
	return lanes;
}

/* Waits for the group to be free. 1 = it is ours, 0 = the source is being closed. Under the lock. */
static inline int
rfs_source_await_group(struct rfs_source *s, struct riffle_error *reterr)
{
	int is_told = 0;
	while (!s->base.is_closing) {
		pthread_mutex_unlock(&s->base.lock);
		int rc = rfs_group_lock(s->group, reterr);
		pthread_mutex_lock(&s->base.lock);
		if (rc != 0)
			return rc;
		if (!is_told) {
			struct riffle_error err;
			riffle_simple_fail(&err, RIFFLE_E_UNAVAILABLE,
				"the group of %s has a member: waiting until it is gone",
				s->group->path);
			rfs_source_trouble(s, &err);
		}
		is_told = 1;
		if (!s->base.is_closing)
			rfs_wait_ms(&s->base, RFS_GROUP_RETRY_MS);
	}
	return 0;
}

/* Under the lock. Whatever fails before there are lanes is the host's to try again. */
static inline void
rfs_source_join(struct rfs_source *s)
{
	struct riffle_error err = rfs_no_error();
	int rc = s->group != NULL ? rfs_source_await_group(s, &err) : 1;
	if (rc == 0)
		return;
	pthread_mutex_unlock(&s->base.lock);
	struct riffle_lane *lanes =
		(struct riffle_lane *)rfs_alloc((s->lane_count + 1) * sizeof(struct riffle_lane));
	if (rc > 0 && s->group != NULL)
		rc = rfs_group_load(s->group, &err);
	if (rc >= 0)
		rc = rfs_source_resolve(s, lanes, &err);
	pthread_mutex_lock(&s->base.lock);
	if (rc < 0) {
		struct rfs_event *e = rfs_source_event(s, RIFFLE_EV_ERROR);
		s->is_failed = 1;
		e->abi.status = RIFFLE_E_FATAL;
		e->abi.error = err;
	} else {
		for (uint32_t i = 0; i < s->lane_count; i++)
			s->lanes[i].log_end = lanes[i].log_end;
		rfs_source_show(
			s, RIFFLE_EV_ASSIGNED, rfs_lanes_copy(lanes, s->lane_count), s->lane_count);
	}
	free(lanes);
}

/* Commits that were asked for are written before the group is left. */
static inline void *
rfs_source_main(void *object)
{
	struct rfs_source *s = (struct rfs_source *)object;
	pthread_mutex_lock(&s->base.lock);
	rfs_source_join(s);
	while (!s->base.is_closing || s->commits != NULL) {
		if (s->commits != NULL)
			rfs_source_write_commits(s);
		else
			rfs_source_step(s);
	}
	pthread_mutex_unlock(&s->base.lock);
	for (uint32_t i = 0; i < s->lane_count; i++)
		rfs_reader_close(s->base.owner, &s->lanes[i]);
	rfs_group_destroy(s->group);
	s->group = NULL;
	rfs_base_leave(&s->base);
	return NULL;
}

static inline int
rfs_check_partitions(const struct riffle_stream *stream, struct riffle_error *reterr)
{
	if (stream->partitions > 1)
		return riffle_simple_fail(reterr, RIFFLE_E_CONFIG,
			"topic \"%s\" has one partition, not %u", stream->topic,
			stream->partitions);
	return RIFFLE_OK;
}

static inline int
rfs_check_source_stream(const struct rfs_self *owner, const struct riffle_source_stream *in,
	struct riffle_error *reterr)
{
	for (uint32_t i = 0; i < in->partition_count; i++)
		if (in->partitions[i] != 0 || i > 0)
			return riffle_simple_fail(reterr, RIFFLE_E_CONFIG,
				"topic \"%s\" has no partition %d, only 1", in->stream->topic,
				in->partitions[i]);
	if (in->start == RIFFLE_START_TIME && owner->source->find_time == NULL)
		return riffle_simple_fail(reterr, RIFFLE_E_UNSUPPORTED,
			"topic \"%s\" cannot be read from a time on", in->stream->topic);
	return rfs_check_partitions(in->stream, reterr);
}

static inline void
rfs_source_free(struct rfs_source *s)
{
	for (uint32_t i = 0; i < s->lane_count; i++)
		rfs_lane_clear(&s->lanes[i]);
	while (s->events != NULL) {
		struct rfs_event *e = s->events;
		s->events = e->next;
		free(e->lanes);
		free(e);
	}
	if (s->shown != NULL)
		free(s->shown->lanes);
	free(s->shown);
	rfs_group_destroy(s->group);
	free(s->lanes);
	free(s);
}

static inline int
rfs_source_add_lane(struct rfs_source *s, const struct rfs_self *owner,
	const struct riffle_source_stream *in, struct riffle_error *reterr)
{
	struct rfs_lane *l = &s->lanes[s->lane_count++];
	l->spec = *in;
	l->spec.partitions = NULL;
	l->last = &l->first;
	return rfs_check_source_stream(owner, in, reterr);
}

static inline int
rfs_source_open(void *self, const struct riffle_source_spec *spec, void **ret_source,
	struct riffle_error *reterr)
{
	struct rfs_self *owner = (struct rfs_self *)self;
	int rc = RIFFLE_OK;
	if (spec->txn != NULL)
		return riffle_simple_fail(
			reterr, RIFFLE_E_UNSUPPORTED, "this provider has no transactions");
	struct rfs_source *s = (struct rfs_source *)rfs_alloc(sizeof *s);
	s->events_last = &s->events;
	s->commits_last = &s->commits;
	s->lanes = (struct rfs_lane *)rfs_alloc((spec->stream_count + 1) * sizeof *s->lanes);
	for (uint32_t i = 0; i < spec->stream_count && rc == RIFFLE_OK; i++) {
		const char *in = (const char *)spec->streams + (size_t)i * spec->stream_size;
		rc = rfs_source_add_lane(
			s, owner, (const struct riffle_source_stream *)(const void *)in, reterr);
	}
	if (rc == RIFFLE_OK && spec->group != NULL)
		rc = rfs_group_create(owner->author.config, spec->group, &s->group, reterr);
	if (rc == RIFFLE_OK && (rc = rfs_base_init(&s->base, owner, reterr)) == RIFFLE_OK &&
		(rc = rfs_base_run(&s->base, rfs_source_main, s, reterr)) < 0)
		rfs_base_fini(&s->base);
	if (rc < 0) {
		rfs_source_free(s);
		return rc;
	}
	*ret_source = s;
	return RIFFLE_OK;
}

static inline int
rfs_source_fd(void *source)
{
	return ((struct rfs_source *)source)->base.fd;
}

/* Lanes whose last batch is back. Under the lock. */
static inline void
rfs_source_tell_released(struct rfs_source *s)
{
	struct riffle_lane *lanes =
		(struct riffle_lane *)rfs_alloc((s->lane_count + 1) * sizeof *lanes);
	uint32_t n = 0;
	for (uint32_t i = 0; i < s->lane_count; i++) {
		struct rfs_lane *l = &s->lanes[i];
		if (!l->is_releasing || l->is_released || l->batches_out > 0)
			continue;
		l->is_released = 1;
		lanes[n].size = (uint32_t)sizeof lanes[n];
		lanes[n].lane = lanes[n].committed.stream = i;
		lanes[n].committed.offset = RIFFLE_OFFSET_NONE;
		lanes[n++].committed.leader_epoch = -1;
	}
	if (n == 0) {
		free(lanes);
		return;
	}
	rfs_source_show(s, RIFFLE_EV_RELEASED, lanes, n);
}

static inline int
rfs_source_is_quiet(const struct rfs_source *s)
{
	for (uint32_t i = 0; i < s->lane_count; i++)
		if (s->lanes[i].batches_out > 0)
			return 0;
	return s->base.is_gone && s->events == NULL;
}

static inline int
rfs_source_poll(void *source, struct riffle_event *ret_event)
{
	struct rfs_source *s = (struct rfs_source *)source;
	uint32_t size = ret_event->size;
	int found = 1;
	if (s->shown != NULL)
		free(s->shown->lanes);
	free(s->shown);
	pthread_mutex_lock(&s->base.lock);
	rfs_source_tell_released(s);
	rfs_take_signal(&s->base);
	s->shown = s->events;
	if (s->shown != NULL) {
		s->events = s->shown->next;
		if (s->events == NULL)
			s->events_last = &s->events;
		*ret_event = s->shown->abi;
	} else if (rfs_source_is_quiet(s) && !s->base.is_told_closed) {
		s->base.is_told_closed = 1;
		memset(ret_event, 0, sizeof *ret_event);
		ret_event->type = RIFFLE_EV_CLOSED;
	} else {
		found = 0;
	}
	pthread_mutex_unlock(&s->base.lock);
	ret_event->size = size;
	return found;
}

static inline int
rfs_source_move(void *source, const uint32_t *lanes, const struct riffle_position *from,
	uint32_t count, struct riffle_error *reterr)
{
	struct rfs_source *s = (struct rfs_source *)source;
	for (uint32_t i = 0; i < count; i++)
		if (lanes[i] >= s->lane_count || from[i].offset < 0)
			return riffle_simple_fail(reterr, RIFFLE_E_INVAL,
				"there is no lane %u, or no offset %" PRId64 " in it", lanes[i],
				from[i].offset);
	pthread_mutex_lock(&s->base.lock);
	for (uint32_t i = 0; i < count; i++) {
		struct rfs_lane *l = &s->lanes[lanes[i]];
		rfs_lane_clear(l);
		l->generation++;
		l->from = l->position = from[i].offset;
		l->is_started = 1;
		l->is_damaged = l->is_failing = 0;
		l->idle_ns = 0;
	}
	pthread_cond_signal(&s->base.wake);
	pthread_mutex_unlock(&s->base.lock);
	return RIFFLE_OK;
}

static inline int
rfs_source_release(void *source, const uint32_t *lanes, uint32_t count, struct riffle_error *reterr)
{
	struct rfs_source *s = (struct rfs_source *)source;
	for (uint32_t i = 0; i < count; i++)
		if (lanes[i] >= s->lane_count)
			return riffle_simple_fail(
				reterr, RIFFLE_E_INVAL, "there is no lane %u", lanes[i]);
	pthread_mutex_lock(&s->base.lock);
	for (uint32_t i = 0; i < count; i++) {
		struct rfs_lane *l = &s->lanes[lanes[i]];
		rfs_lane_clear(l);
		l->generation++;
		l->is_started = 0;
		l->is_releasing = 1;
	}
	rfs_raise(&s->base);
	pthread_cond_signal(&s->base.wake);
	pthread_mutex_unlock(&s->base.lock);
	return RIFFLE_OK;
}

static inline struct riffle_position *
rfs_positions_copy(const struct riffle_position *from, uint32_t count)
{
	size_t bytes = count * sizeof *from + 1;
	for (uint32_t i = 0; i < count; i++)
		bytes += from[i].metadata.len;
	struct riffle_position *copy = (struct riffle_position *)rfs_alloc(bytes);
	char *to = (char *)(void *)(copy + count);
	for (uint32_t i = 0; i < count; i++) {
		copy[i] = from[i];
		copy[i].metadata = rfs_put_bytes(&to, from[i].metadata);
	}
	return copy;
}

static inline int
rfs_source_commit(void *source, const struct riffle_position *positions, uint32_t count,
	uint64_t tag, struct riffle_error *reterr)
{
	struct rfs_source *s = (struct rfs_source *)source;
	for (uint32_t i = 0; i < count; i++)
		if (positions[i].stream >= s->lane_count || positions[i].partition != 0 ||
			positions[i].offset < 0 || positions[i].metadata.len > RFS_METADATA_MAX)
			return riffle_simple_fail(
				reterr, RIFFLE_E_INVAL, "position %u is not one of this source", i);
	pthread_mutex_lock(&s->base.lock);
	int is_possible = s->group != NULL && !s->base.is_closing;
	if (is_possible) {
		struct rfs_commit *c = (struct rfs_commit *)rfs_alloc(sizeof *c);
		c->positions = rfs_positions_copy(positions, count);
		c->count = count;
		c->tag = tag;
		*s->commits_last = c;
		s->commits_last = &c->next;
		pthread_cond_signal(&s->base.wake);
	}
	pthread_mutex_unlock(&s->base.lock);
	if (!is_possible)
		return riffle_simple_fail(reterr, RIFFLE_E_INVAL,
			"a source that is closing or has no group commits nothing");
	return RIFFLE_OK;
}

/* A batch: this, its records, headers and types in one block, and the blocks of its records. */
struct rfs_batch {
	struct riffle_batch abi;
	struct rfs_source *source;
	struct rfs_lane *lane;
	struct rfs_record *first;
};

/* The signal goes out under the lock: without it the source may be gone by then. */
static inline void
rfs_batch_release(struct riffle_batch *batch)
{
	struct rfs_batch *b = (struct rfs_batch *)batch->owner;
	struct rfs_source *s = b->source;
	rfs_records_free(b->first);
	pthread_mutex_lock(&s->base.lock);
	if (--b->lane->batches_out == 0)
		rfs_raise(&s->base);
	pthread_mutex_unlock(&s->base.lock);
	free(b);
}

static inline void
rfs_batch_fill(struct rfs_batch *b, struct riffle_record *records, struct riffle_header *headers,
	const char **types)
{
	uint32_t n = 0, header_count = 0, type_count = 1;
	types[0] = NULL;
	for (struct rfs_record *r = b->first; r != NULL; r = r->next) {
		const struct riffle_simple_message *m = &r->message;
		struct riffle_record *to = &records[n++];
		memset(to, 0, sizeof *to);
		to->key = m->key;
		to->value = m->value;
		to->offset = m->offset;
		to->time_ms = m->time_ms;
		to->stream = (uint32_t)(b->lane - b->source->lanes);
		to->header_first = header_count;
		to->header_count = m->header_count;
		if (m->header_count > 0)
			memcpy(&headers[header_count], m->headers,
				m->header_count * sizeof *headers);
		header_count += m->header_count;
		if (m->content_type != NULL &&
			(type_count == 1 || strcmp(types[type_count - 1], m->content_type) != 0))
			types[type_count++] = m->content_type;
		to->content_type = m->content_type != NULL ? type_count - 1 : 0;
		b->abi.pinned_bytes += r->block_bytes;
	}
	b->abi.size = (uint32_t)sizeof b->abi;
	b->abi.record_size = (uint32_t)sizeof *records;
	b->abi.record_count = n;
	b->abi.header_count = header_count;
	b->abi.content_type_count = type_count;
	b->abi.records = records;
	b->abi.headers = headers;
	b->abi.content_types = types;
	b->abi.owner = b;
	b->abi.release = rfs_batch_release;
}

/* Takes the front of the queue. NULL when there is no memory for it. Under the lock. */
static inline struct rfs_batch *
rfs_lane_take(struct rfs_source *s, struct rfs_lane *l, uint32_t max_records, size_t max_bytes)
{
	uint32_t n = 1, headers = l->first->message.header_count;
	size_t bytes = l->first->bytes;
	struct rfs_record *last = l->first;
	while (n < max_records && last->next != NULL && bytes <= max_bytes &&
		last->next->bytes <= max_bytes - bytes) {
		last = last->next;
		bytes += last->bytes;
		headers += last->message.header_count;
		n++;
	}
	size_t size = sizeof(struct rfs_batch) + n * sizeof(struct riffle_record) +
		      headers * sizeof(struct riffle_header) + (n + 1) * sizeof(char *);
	struct rfs_batch *b = (struct rfs_batch *)calloc(1, size);
	if (b == NULL)
		return NULL;
	b->source = s;
	b->lane = l;
	b->first = l->first;
	l->first = last->next;
	last->next = NULL;
	if (l->first == NULL)
		l->last = &l->first;
	l->queued -= n;
	l->queued_bytes -= bytes;
	l->batches_out++;
	l->position = last->message.offset + 1;
	struct riffle_record *records = (struct riffle_record *)(void *)(b + 1);
	struct riffle_header *room = (struct riffle_header *)(void *)(records + n);
	b->abi.pinned_bytes = size;
	rfs_batch_fill(b, records, room, (const char **)(void *)(room + headers));
	return b;
}

static inline int
rfs_lane_poll(void *source, uint32_t lane, uint32_t max_records, size_t max_bytes,
	struct riffle_batch **ret_batch, struct riffle_error *reterr)
{
	struct rfs_source *s = (struct rfs_source *)source;
	int rc = 0;
	if (lane >= s->lane_count)
		return riffle_simple_fail(reterr, RIFFLE_E_INVAL, "there is no lane %u", lane);
	struct rfs_lane *l = &s->lanes[lane];
	pthread_mutex_lock(&s->base.lock);
	if (!l->is_started || max_records == 0 || s->base.is_closing) {
		rc = 0;
	} else if (l->first != NULL) {
		struct rfs_batch *b = rfs_lane_take(s, l, max_records, max_bytes);
		rc = b != NULL ? 1
			       : riffle_simple_fail(reterr, RIFFLE_E_NOMEM,
					 "no memory for a batch of %s", l->spec.stream->topic);
		if (b != NULL)
			*ret_batch = &b->abi;
		pthread_cond_signal(&s->base.wake);
	} else if (l->is_damaged) {
		l->position = l->damaged_at;
		*reterr = l->damage;
		rc = RIFFLE_E_DATA;
	}
	pthread_mutex_unlock(&s->base.lock);
	return rc;
}

static inline int
rfs_lane_state(void *source, uint32_t lane, struct riffle_lane_state *ret_state)
{
	struct rfs_source *s = (struct rfs_source *)source;
	if (lane >= s->lane_count)
		return RIFFLE_E_INVAL;
	struct rfs_lane *l = &s->lanes[lane];
	pthread_mutex_lock(&s->base.lock);
	int is_idle = l->first == NULL && l->idle_ns != 0;
	ret_state->flags = l->is_failing ? RIFFLE_LANE_FAILING : 0;
	ret_state->position = l->position;
	ret_state->log_end = is_idle || l->log_end < l->position ? l->position : l->log_end;
	ret_state->as_of_ns = is_idle ? l->idle_ns : 0;
	if (l->first != NULL)
		ret_state->as_of_ns = rfs_now_ns(&s->base);
	pthread_mutex_unlock(&s->base.lock);
	return RIFFLE_OK;
}

static inline void
rfs_source_close(void *source)
{
	rfs_base_close(&((struct rfs_source *)source)->base);
}

/* Whoever gave the last batch back may still be about to leave the lock. */
static inline void
rfs_source_destroy(void *source)
{
	struct rfs_source *s = (struct rfs_source *)source;
	if (s == NULL)
		return;
	pthread_join(s->base.thread, NULL);
	pthread_mutex_lock(&s->base.lock);
	pthread_mutex_unlock(&s->base.lock);
	rfs_base_fini(&s->base);
	rfs_source_free(s);
}

/* One sink_send. */
struct rfs_job {
	struct rfs_job *next;
	struct riffle_batch *batch;
	uint32_t first, count;
	uint64_t tag;
	size_t pinned_bytes;
	struct riffle_sent *sent;
	struct riffle_error error; /* of its first record that was not written */
};

struct rfs_writer {
	const struct riffle_stream *stream;
	void *writer;
	int is_dirty;
	struct riffle_error failure; /* of this round: code 0 = none */
};

struct rfs_sink {
	struct rfs_base base;
	struct rfs_writer *writers; /* the thread's */
	uint32_t writer_count;
	struct rfs_job *jobs, **jobs_last, *answers, **answers_last, *shown;
	uint32_t staged_records;
	size_t staged_bytes;
	int has_trouble;
	struct riffle_error trouble;
};

static inline int
rfs_writer_open(struct rfs_sink *k, struct rfs_writer *w, struct riffle_error *reterr)
{
	if (w->writer != NULL)
		return RIFFLE_OK;
	w->writer = rfs_alloc(k->base.owner->sink->writer_size);
	int rc = k->base.owner->sink->open(&k->base.owner->author, w->stream, w->writer, reterr);
	if (rc < 0) {
		free(w->writer);
		w->writer = NULL;
	}
	return rc;
}

static inline void
rfs_writer_close(struct rfs_sink *k, struct rfs_writer *w)
{
	if (w->writer != NULL)
		k->base.owner->sink->close(w->writer);
	free(w->writer);
	w->writer = NULL;
}

static inline void
rfs_writer_failed(struct rfs_sink *k, struct rfs_writer *w, int rc, const struct riffle_error *err)
{
	w->failure = *err;
	w->failure.code = rc;
	w->is_dirty = 0;
	rfs_writer_close(k, w);
}

/* What the provider could not keep of a record, it refuses. */
static inline int
rfs_record_judge(
	const struct rfs_sink *k, const struct riffle_record *r, struct riffle_error *reterr)
{
	uint64_t can = k->base.owner->can;
	if (r->stream >= k->writer_count)
		return riffle_simple_fail(
			reterr, RIFFLE_E_INVAL, "the sink has no stream %u", r->stream);
	const char *topic = k->writers[r->stream].stream->topic;
	if (r->partition > 0)
		return riffle_simple_fail(reterr, RIFFLE_E_DATA,
			"topic \"%s\" has no partition %d, only 1", topic, r->partition);
	if (r->key.ptr != NULL && (can & RIFFLE_CAN_KEYS) == 0)
		return riffle_simple_fail(
			reterr, RIFFLE_E_DATA, "topic \"%s\" takes no record with a key", topic);
	if (r->header_count > 0 && (can & RIFFLE_CAN_HEADERS) == 0)
		return riffle_simple_fail(
			reterr, RIFFLE_E_DATA, "topic \"%s\" takes no record with headers", topic);
	return RIFFLE_OK;
}

/* After a failure of the stream nothing behind it is sent in this round: the order stays. */
static inline int
rfs_record_send(struct rfs_sink *k, const struct riffle_batch *batch, const struct riffle_record *r,
	struct riffle_error *reterr)
{
	struct riffle_simple_message m;
	int rc = rfs_record_judge(k, r, reterr);
	if (rc < 0)
		return rc;
	struct rfs_writer *w = &k->writers[r->stream];
	if (w->failure.code != RIFFLE_OK) {
		*reterr = w->failure;
		return w->failure.code;
	}
	memset(&m, 0, sizeof m);
	m.key = r->key;
	m.value = r->value;
	m.offset = RIFFLE_OFFSET_NONE;
	m.time_ms = r->time_ms;
	m.content_type = r->content_type != 0 ? batch->content_types[r->content_type] : NULL;
	m.headers = r->header_count > 0 ? batch->headers + r->header_first : NULL;
	m.header_count = r->header_count;
	rc = rfs_writer_open(k, w, reterr);
	if (rc >= 0)
		rc = k->base.owner->sink->send(w->writer, &m, reterr);
	w->is_dirty |= rc >= 0;
	if (rc < 0 && rc != RIFFLE_E_DATA)
		rfs_writer_failed(k, w, rc, reterr);
	return rc < 0 ? rc : RIFFLE_OK;
}

static inline void
rfs_job_fail(struct rfs_job *j, uint32_t i, int rc, const struct riffle_error *err)
{
	j->sent[i].status = rc;
	j->sent[i].offset = RIFFLE_OFFSET_NONE;
	if (j->error.code != RIFFLE_OK)
		return;
	j->error = *err;
	j->error.code = rc;
}

static inline void
rfs_job_send(struct rfs_sink *k, struct rfs_job *j)
{
	for (uint32_t i = 0; i < j->count; i++) {
		struct riffle_error err = rfs_no_error();
		int rc =
			rfs_record_send(k, j->batch, riffle_batch_at(j->batch, j->first + i), &err);
		j->sent[i].offset = RIFFLE_OFFSET_NONE;
		if (rc < 0)
			rfs_job_fail(j, i, rc, &err);
	}
}

/* What was sent to a writer that then failed may be there or not: it counts as not written. */
static inline void
rfs_job_judge(struct rfs_sink *k, struct rfs_job *j)
{
	for (uint32_t i = 0; i < j->count; i++) {
		const struct riffle_record *r = riffle_batch_at(j->batch, j->first + i);
		if (j->sent[i].status != RIFFLE_OK)
			continue;
		const struct rfs_writer *w = &k->writers[r->stream];
		if (w->failure.code != RIFFLE_OK)
			rfs_job_fail(j, i, w->failure.code, &w->failure);
	}
}

/* Sends all jobs, makes them durable, and only then judges them. */
static inline void
rfs_sink_round(struct rfs_sink *k, struct rfs_job *jobs)
{
	const struct riffle_host *host = k->base.owner->author.host;
	for (struct rfs_job *j = jobs; j != NULL; j = j->next)
		rfs_job_send(k, j);
	for (uint32_t i = 0; i < k->writer_count; i++) {
		struct rfs_writer *w = &k->writers[i];
		struct riffle_error err = rfs_no_error();
		int rc = w->is_dirty ? k->base.owner->sink->flush(w->writer, &err) : RIFFLE_OK;
		w->is_dirty = 0;
		if (rc < 0)
			rfs_writer_failed(k, w, rc, &err);
	}
	for (struct rfs_job *j = jobs; j != NULL; j = j->next) {
		rfs_job_judge(k, j);
		host->batch_unref(host, j->batch);
		j->batch = NULL;
	}
	for (uint32_t i = 0; i < k->writer_count; i++)
		k->writers[i].failure.code = RIFFLE_OK;
}

/* A stream that cannot be opened is told at once, and tried again for the first record. */
static inline void
rfs_sink_begin(struct rfs_sink *k)
{
	struct riffle_error err = rfs_no_error();
	int rc = RIFFLE_OK;
	for (uint32_t i = 0; i < k->writer_count && rc >= 0; i++)
		rc = rfs_writer_open(k, &k->writers[i], &err);
	if (rc >= 0)
		return;
	err.code = rc;
	pthread_mutex_lock(&k->base.lock);
	k->has_trouble = 1;
	k->trouble = err;
	rfs_raise(&k->base);
	pthread_mutex_unlock(&k->base.lock);
}

static inline void *
rfs_sink_main(void *object)
{
	struct rfs_sink *k = (struct rfs_sink *)object;
	rfs_sink_begin(k);
	pthread_mutex_lock(&k->base.lock);
	while (k->jobs != NULL || !k->base.is_closing) {
		struct rfs_job *jobs = k->jobs, **last = k->jobs_last;
		if (jobs == NULL) {
			pthread_cond_wait(&k->base.wake, &k->base.lock);
			continue;
		}
		k->jobs = NULL;
		k->jobs_last = &k->jobs;
		pthread_mutex_unlock(&k->base.lock);
		rfs_sink_round(k, jobs);
		pthread_mutex_lock(&k->base.lock);
		for (struct rfs_job *j = jobs; j != NULL; j = j->next) {
			k->staged_records -= j->count;
			k->staged_bytes -= j->pinned_bytes;
		}
		*k->answers_last = jobs;
		k->answers_last = last;
		rfs_raise(&k->base);
	}
	pthread_mutex_unlock(&k->base.lock);
	for (uint32_t i = 0; i < k->writer_count; i++)
		rfs_writer_close(k, &k->writers[i]);
	rfs_base_leave(&k->base);
	return NULL;
}

static inline void
rfs_job_free(struct rfs_job *j)
{
	if (j != NULL)
		free(j->sent);
	free(j);
}

static inline void
rfs_sink_free(struct rfs_sink *k)
{
	rfs_job_free(k->shown);
	while (k->answers != NULL) {
		struct rfs_job *j = k->answers;
		k->answers = j->next;
		rfs_job_free(j);
	}
	free(k->writers);
	free(k);
}

static inline int
rfs_sink_open(void *self, const struct riffle_sink_spec *spec, void **ret_sink,
	struct riffle_error *reterr)
{
	struct rfs_self *owner = (struct rfs_self *)self;
	int rc = RIFFLE_OK;
	struct rfs_sink *k = (struct rfs_sink *)rfs_alloc(sizeof *k);
	k->jobs_last = &k->jobs;
	k->answers_last = &k->answers;
	k->writers = (struct rfs_writer *)rfs_alloc((spec->stream_count + 1) * sizeof *k->writers);
	for (uint32_t i = 0; i < spec->stream_count && rc == RIFFLE_OK; i++) {
		k->writers[k->writer_count++].stream = spec->streams[i];
		rc = rfs_check_partitions(spec->streams[i], reterr);
	}
	if (rc == RIFFLE_OK && (rc = rfs_base_init(&k->base, owner, reterr)) == RIFFLE_OK &&
		(rc = rfs_base_run(&k->base, rfs_sink_main, k, reterr)) < 0)
		rfs_base_fini(&k->base);
	if (rc < 0) {
		rfs_sink_free(k);
		return rc;
	}
	*ret_sink = k;
	return RIFFLE_OK;
}

static inline int
rfs_sink_fd(void *sink)
{
	return ((struct rfs_sink *)sink)->base.fd;
}

/* Under the lock. A lone batch is taken whatever its size. */
static inline uint32_t
rfs_sink_room(const struct rfs_sink *k, const struct riffle_batch *batch, uint32_t count)
{
	uint32_t room = RFS_STAGED_RECORDS - k->staged_records;
	if (k->base.is_closing ||
		(k->staged_records > 0 && k->staged_bytes + batch->pinned_bytes > RFS_STAGED_BYTES))
		return 0;
	return count < room ? count : room;
}

static inline int
rfs_sink_send(void *sink, struct riffle_batch *batch, uint32_t first, uint32_t count, uint64_t tag,
	struct riffle_error *reterr)
{
	struct rfs_sink *k = (struct rfs_sink *)sink;
	const struct riffle_host *host = k->base.owner->author.host;
	(void)reterr;
	pthread_mutex_lock(&k->base.lock);
	uint32_t n = rfs_sink_room(k, batch, count);
	if (n > 0) {
		struct rfs_job *j = (struct rfs_job *)rfs_alloc(sizeof *j);
		j->batch = batch;
		j->first = first;
		j->count = n;
		j->tag = tag;
		j->pinned_bytes = batch->pinned_bytes;
		j->sent = (struct riffle_sent *)rfs_alloc(n * sizeof *j->sent);
		host->batch_ref(host, batch);
		*k->jobs_last = j;
		k->jobs_last = &j->next;
		k->staged_records += n;
		k->staged_bytes += batch->pinned_bytes;
		pthread_cond_signal(&k->base.wake);
	}
	pthread_mutex_unlock(&k->base.lock);
	return (int)n;
}

static inline int
rfs_sink_poll(void *sink, struct riffle_event *ret_event)
{
	struct rfs_sink *k = (struct rfs_sink *)sink;
	uint32_t size = ret_event->size;
	int found = 1;
	rfs_job_free(k->shown);
	memset(ret_event, 0, sizeof *ret_event);
	pthread_mutex_lock(&k->base.lock);
	rfs_take_signal(&k->base);
	k->shown = k->answers;
	if (k->shown != NULL) {
		k->answers = k->shown->next;
		if (k->answers == NULL)
			k->answers_last = &k->answers;
		ret_event->type = RIFFLE_EV_SENT;
		ret_event->tag = k->shown->tag;
		ret_event->first = k->shown->first;
		ret_event->count = k->shown->count;
		ret_event->sent = k->shown->sent;
		ret_event->sent_size = (uint32_t)sizeof *k->shown->sent;
		ret_event->error = k->shown->error;
	} else if (k->has_trouble) {
		k->has_trouble = 0;
		ret_event->type = RIFFLE_EV_ERROR;
		ret_event->status = rfs_is_passing(&k->trouble) ? k->trouble.code : RIFFLE_E_FATAL;
		ret_event->error = k->trouble;
	} else if (k->base.is_gone && !k->base.is_told_closed) {
		k->base.is_told_closed = 1;
		ret_event->type = RIFFLE_EV_CLOSED;
	} else {
		found = 0;
	}
	pthread_mutex_unlock(&k->base.lock);
	ret_event->size = size;
	return found;
}

static inline void
rfs_sink_close(void *sink)
{
	rfs_base_close(&((struct rfs_sink *)sink)->base);
}

static inline void
rfs_sink_destroy(void *sink)
{
	struct rfs_sink *k = (struct rfs_sink *)sink;
	if (k == NULL)
		return;
	pthread_join(k->base.thread, NULL);
	rfs_base_fini(&k->base);
	rfs_sink_free(k);
}

static inline int
rfs_create(const struct riffle_simple_source *source, const struct riffle_simple_sink *sink,
	uint64_t can, const struct riffle_host *host, const struct riffle_config *cfg,
	void **ret_self)
{
	struct rfs_self *self = (struct rfs_self *)rfs_alloc(sizeof *self);
	self->author.host = host;
	self->author.config = cfg;
	self->source = source;
	self->sink = sink;
	self->can = can;
	if (source == NULL || source->find_time == NULL)
		self->can &= ~RIFFLE_CAN_SEEK_TIME;
	*ret_self = self;
	return RIFFLE_OK;
}

static inline void
rfs_destroy(void *self)
{
	free(self);
}

static inline uint64_t
rfs_capabilities(void *self)
{
	return ((struct rfs_self *)self)->can;
}

/* There is nothing to make: a sink's open makes what is missing. */
static inline int
rfs_provision(void *self, const struct riffle_stream *stream, struct riffle_error *reterr)
{
	(void)self;
	return rfs_check_partitions(stream, reterr);
}

static inline int
rfs_describe(void *self, const struct riffle_stream *stream, struct riffle_stream_info *ret_info,
	struct riffle_error *reterr)
{
	struct rfs_self *owner = (struct rfs_self *)self;
	void *reader = NULL;
	struct riffle_error err = rfs_no_error();
	int rc = rfs_check_partitions(stream, &err);
	if (rc >= 0)
		reader = rfs_reader_new(owner, stream, 0, &rc, &err);
	if (reader != NULL)
		owner->source->close(reader);
	free(reader);
	if (rc < 0 && rc != RIFFLE_E_NOTFOUND) {
		*reterr = err;
		reterr->code = rc;
		return rc;
	}
	ret_info->flags = rc < 0 ? 0 : RIFFLE_STREAM_EXISTS;
	ret_info->partitions = 1;
	ret_info->retention_ms = ret_info->retention_bytes = ret_info->records = -1;
	return RIFFLE_OK;
}

#define RFS_CREATE(source, sink, can)                                                              \
	static int rfs_create_mine(const struct riffle_host *its_host,                             \
		const struct riffle_config *cfg, void **ret_self, struct riffle_error *reterr)     \
	{                                                                                          \
		(void)reterr;                                                                      \
		return rfs_create(source, sink, can, its_host, cfg, ret_self);                     \
	}
#define RFS_OPS_FRONT                                                                              \
	(uint32_t)sizeof(struct riffle_provider_ops), 0, NULL, rfs_create_mine, rfs_destroy,       \
		rfs_capabilities, NULL
#define RFS_OPS_SOURCE                                                                             \
	rfs_source_open, rfs_source_fd, rfs_source_poll, rfs_source_move, rfs_source_move,         \
		rfs_source_release, rfs_source_commit, rfs_lane_poll, rfs_lane_state,              \
		rfs_source_close, rfs_source_destroy
#define RFS_OPS_NO_SOURCE NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
#define RFS_OPS_SINK                                                                               \
	rfs_sink_open, rfs_sink_fd, rfs_sink_poll, rfs_sink_send, NULL, rfs_sink_close,            \
		rfs_sink_destroy
#define RFS_OPS_NO_SINK NULL, NULL, NULL, NULL, NULL, NULL, NULL
#define RFS_PLUGIN(name, summary, version, license, can, options)                                  \
	static const struct riffle_option_table rfs_tables[] = {                                   \
		{(uint32_t)sizeof(struct riffle_option_table), RIFFLE_SECTION_PROVIDER,            \
			(uint32_t)sizeof(struct riffle_option),                                    \
			(uint32_t)(sizeof(options) / sizeof((options)[0])), options}};             \
	static const struct riffle_plugin rfs_plugin = {(uint32_t)sizeof(struct riffle_plugin),    \
		RIFFLE_KIND_PROVIDER, name, summary, version, license, can,                        \
		(uint32_t)sizeof(struct riffle_option_table), 1, rfs_tables, &rfs_ops};            \
	RIFFLE_MODULE(version, &rfs_plugin)

#ifdef __cplusplus
}
#endif
#endif
