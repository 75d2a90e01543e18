/* A bed for the grpc invoker: servers of tests/grpc, one instance, calls that play scripts. Used by its programs. */
#ifndef RFL_TESTS_UNIT_GRPC_BED_H
#define RFL_TESTS_UNIT_GRPC_BED_H

#define OUT_MAX 4096u
#include "call_bed.h"

#include <arpa/inet.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * gRPC as Debian builds it hides its locks from ThreadSanitizer: each eight bytes that one of its threads received and
 * another copied were reported, and the report suppressed, which takes minutes for a few megabytes. What is looked
 * at is our own memory.
 */
#ifdef __SANITIZE_THREAD__
__attribute__((visibility("default"))) const char *__tsan_default_options(void);
__attribute__((visibility("default"))) const char *
__tsan_default_options(void)
{
	return "ignore_noninstrumented_modules=1";
}
#endif

/* A server of tests/grpc. */
struct server {
	pid_t pid;
	int port;
};

static inline void
start_server(struct server *s, const char *program, const char *const *arguments)
{
	extern char **environ;
	char path[4096], line[32] = "";
	char python[] = "/usr/bin/python3", zero[] = "0";
	char *argv[8] = {python, path, zero};
	int ends[2];
	const char *src = getenv("RIFFLE_SRC");
	snprintf(path, sizeof path, "%s/tests/grpc/%s", src ? src : ".", program);
	if (s->port != 0)
		snprintf(argv[2] = line, sizeof line, "%d", s->port);
	for (int i = 0; arguments != NULL && arguments[i] != NULL; i++)
		argv[3 + i] = (char *)(uintptr_t)arguments[i];
	assert_int_equal(pipe(ends), 0);
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
	posix_spawn_file_actions_addclosefrom_np(&actions, 3);
	assert_int_equal(posix_spawn(&s->pid, python, &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	char port[16] = "";
	FILE *in = fdopen(ends[0], "r");
	if (fgets(port, sizeof port, in) == NULL)
		fail_msg("%s did not start", path);
	fclose(in);
	s->port = atoi(port);
}

static inline void
stop_server(struct server *s)
{
	kill(s->pid, SIGKILL);
	kill(s->pid, SIGCONT);
	waitpid(s->pid, NULL, 0);
}

/*
 * None that the kernel gives to whoever connects: it is free still when its server comes back, and a client that
 * tries it meanwhile is not connected to itself.
 */
static inline int
free_port(void)
{
	int first = 0;
	FILE *in = fopen("/proc/sys/net/ipv4/ip_local_port_range", "r");
	assert_non_null(in);
	assert_int_equal(fscanf(in, "%d", &first), 1); /* NOLINT: the kernel's own number */
	fclose(in);
	assert_in_range(first, 12000, 65535);
	srandom((unsigned)getpid() ^ (unsigned)now_ns(NULL));
	for (;;) {
		int port = first - 1 - (int)(random() % 10000);
		struct sockaddr_in a = {.sin_family = AF_INET,
			.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
			.sin_port = htons((uint16_t)port)};
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		int is_free = bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
		close(fd);
		if (is_free)
			return port;
	}
}

/* One that most tests of a program share. */
static struct server shared;

static inline int
start_shared(void **state)
{
	(void)state;
	start_server(&shared, "server.py", NULL);
	return 0;
}

static inline int
stop_shared(void **state)
{
	(void)state;
	stop_server(&shared);
	return 0;
}

/* One instance, with what its [function] section would say. */
struct bed {
	struct riffle_value values[OPTIONS_MOST];
	struct riffle_config config;
	char address[64];
	const char *words[8];
	void *self;
};

static inline void
make_bed(struct bed *b, int port)
{
	memset(b, 0, sizeof *b);
	snprintf(b->address, sizeof b->address, "127.0.0.1:%d", port);
	option(b->values, "address")->u.s = b->address;
	option(b->values, "grace")->u.i = 2000;
	option(b->values, "in-flight")->u.i = 512;
	option(b->values, "max-message")->u.i = 1 << 20;
	option(b->values, "max-output")->u.i = 64 << 20;
	option(b->values, "keepalive")->u.i = 300000;
	option(b->values, "keepalive-timeout")->u.i = 20000;
	/* A server that is only starved is waited for. */
	option(b->values, "connect-timeout")->u.i = EVENTUALLY_S * 1000;
	b->config = (struct riffle_config){.size = sizeof b->config,
		.section = RIFFLE_SECTION_FUNCTION,
		.value_size = sizeof b->values[0],
		.value_count = options_of(RIFFLE_SECTION_FUNCTION)->option_count,
		.name = "f",
		.dir = "/tmp",
		.values = b->values};
}

static inline void
open_bed(struct bed *b)
{
	struct riffle_error err = {0};
	if (ops->create(&host, &b->config, &b->self, &err) < 0)
		fail_msg("%s", err.text);
}

static inline void
start(struct bed *b, int port)
{
	make_bed(b, port);
	open_bed(b);
}

/* Answers are often the numbers from 0 on. */
static void
look(struct call *c, const struct riffle_batch *batch, const struct riffle_record *r)
{
	char number[24];
	(void)batch;
	snprintf(number, sizeof number, "%llu", (unsigned long long)c->records);
	if (c->wrong < 0 &&
		(r->value.len != strlen(number) || memcmp(r->value.ptr, number, r->value.len) != 0))
		c->wrong = (int64_t)c->records;
}

/* The name of the first input is the script that the server plays. */
static inline void
begin_shaped(struct bed *b, struct call *c, const char *script, uint32_t inputs, uint32_t outputs)
{
	const char *names[] = {script, "second"}, *const outs[] = {"x", "y"};
	static const char *const types[] = {"text/plain", "application/json"};
	static const unsigned char key[] = {0xff, 0x00};
	const struct riffle_header headers[] = {{bytes("riffle-window-start"), bytes("1000")},
		{bytes("riffle-attempt"), bytes("2")}, {bytes("riffle-window-key"), {key, 2}}};
	const struct riffle_call_spec spec = {.size = sizeof spec,
		.input_count = inputs,
		.output_count = outputs,
		.header_count = 3,
		.input_names = names,
		.input_types = types,
		.output_names = outs,
		.output_types = types,
		.headers = headers,
		.attempt = 2};
	begin_call(b->self, &spec, c);
}

static inline void
begin(struct bed *b, struct call *c, const char *script)
{
	begin_shaped(b, c, script, 1, 1);
}

struct wanted_records {
	struct call *c;
	uint64_t count;
};

static inline int
has_records_or_is_done(void *ctx)
{
	struct wanted_records *w = ctx;
	pthread_mutex_lock(&w->c->lock);
	int has = w->c->records >= w->count || w->c->is_done;
	pthread_mutex_unlock(&w->c->lock);
	return has;
}

/* Waits for so many records of a call that goes on. */
static inline void
await_records(struct call *c, uint64_t count)
{
	struct wanted_records w = {c, count};
	(void)eventually(has_records_or_is_done, &w);
	pthread_mutex_lock(&c->lock);
	uint64_t records = c->records;
	int done = c->is_done;
	pthread_mutex_unlock(&c->lock);
	if (done || records < count)
		fail_msg("%llu records of %llu, %s%s", (unsigned long long)records,
			(unsigned long long)count, done ? "then the end " : "and no end",
			done ? c->error.text : "");
}

static const struct riffle_record abc[] = {{.value = {"a", 1}, .offset = 1},
	{.value = {"b", 1}, .offset = 2}, {.value = {"c", 1}, .offset = 3}};

/*
 * a, b, c and, once it has so many answers, the end go to the script; c is done, the caller looks at it and calls
 * end.
 */
static inline void
play_until(struct bed *b, struct call *c, const char *script, uint64_t answers)
{
	struct riffle_batch batch;
	struct riffle_error err = {0};
	begin(b, c, script);
	ops->call_read(c->call, 1 << 30);
	assert_int_equal(push(c, &batch, abc, 3, &err), 3);
	if (answers > 0)
		await_records(c, answers);
	ops->call_end(c->call, &err);
	assert_true(eventually(is_done, c));
	assert_int_equal(batch.host[0], 1);
}

static inline void
play(struct bed *b, struct call *c, const char *script)
{
	play_until(b, c, script, 0);
}

struct row {
	const char *id, *script, *out;
	int status;
	uint32_t flags;
	const char *why;
};

static inline void
expect(struct bed *b, const struct row *row)
{
	struct call c;
	play(b, &c, row->script);
	if (c.status != row->status || strcmp(c.out ? c.out : "", row->out) != 0 ||
		(c.status < 0 && (c.error.code != c.status || c.error.flags != row->flags ||
					 strstr(c.error.text, row->why) == NULL)))
		fail_msg("%s %s: %d, \"%s\", %x \"%s\"", row->id, row->script, c.status,
			c.out ? c.out : "", c.error.flags, c.error.text);
	end(&c);
}

#define AGAIN RIFFLE_ERR_RETRIABLE

static inline int
is_ready(void *ctx)
{
	struct bed *b = ctx;
	struct riffle_error err;
	return ops->ready(b->self, &err) == RIFFLE_OK;
}

static inline int
is_not_ready(void *ctx)
{
	return !is_ready(ctx);
}

static inline uint32_t
next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

#endif
