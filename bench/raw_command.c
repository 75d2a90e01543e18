/*
 * For `bench/run command`: the command invoker's own object file with a host around it that does nothing
 * else, and the bare loops that it is measured against. Both start the same program, and give it and take from
 * it the same bytes.
 *
 *   raw_command loop FORMAT RECORDS WINDOW PROGRAM...    a coprocess fed and read by a bare poll loop
 *   raw_command riffle OBJECT FORMAT RECORDS WINDOW PROGRAM...   the same through the invoker
 *   raw_command spawn COUNT PROGRAM...       posix_spawn and wait, nothing in, nothing out
 *   raw_command spawn-riffle OBJECT COUNT PROGRAM...   per-window, one call after another
 *   raw_command echo FORMAT                  the program: says back what it gets
 *
 * Prints records (or starts), seconds, CPU seconds of this process.
 */
#include <riffle/riffle.h>

#include <dlfcn.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define VALUE_BYTES 100
#define OPEN_CALLS 4
#define PIPE_BYTES (1 << 20)

extern char **environ;

static _Noreturn void
die(const char *what)
{
	fprintf(stderr, "raw_command: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double
now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
report(size_t count, double seconds)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	printf("%zu %.6f %.6f\n", count, seconds,
		(double)u.ru_utime.tv_sec + (double)u.ru_utime.tv_usec / 1e6 +
			(double)u.ru_stime.tv_sec + (double)u.ru_stime.tv_usec / 1e6);
}

/* The program: reads and writes with stdio, as anybody would, and flushes at the end of a window. */
static void
echo_frames(void)
{
	static char frame[1 << 16];
	uint32_t size, zero = 0, length = htobe32(13), absent = 0xffffffff;
	fwrite("\0\0\0\11hRFLF\0\0\0\1", 1, 13, stdout);
	fflush(stdout);
	while (fread(&size, 4, 1, stdin) == 1 && fread(frame, be32toh(size), 1, stdin) == 1) {
		if (*frame == 'R') {
			*frame = 'o';
			fwrite(&size, 4, 1, stdout);
			fwrite(frame, be32toh(size), 1, stdout);
		} else if (*frame == 'E') {
			*frame = 'd';
			fwrite(&length, 4, 1, stdout);
			fwrite(frame, 5, 1, stdout);
			fwrite(&zero, 4, 1, stdout);
			fwrite(&absent, 4, 1, stdout);
			fflush(stdout);
		}
	}
}

/* It knows how the lines look, and what of one is its answer. */
static void
echo_json_lines(void)
{
	static const char record[] = "{\"type\":\"record\",",
			  end[] = "{\"type\":\"end\",\"window\":";
	char *line = NULL;
	size_t room = 0;
	ssize_t len;
	while ((len = getline(&line, &room, stdin)) > 0) {
		char *value;
		if (strncmp(line, record, sizeof record - 1) == 0 &&
			(value = strstr(line, "\"contentType\":")) != NULL) {
			fputc('{', stdout);
			fwrite(value, 1, (size_t)(line + len - value), stdout);
		} else if (strncmp(line, end, sizeof end - 1) == 0) {
			printf("{\"type\":\"status\",\"status\":0,\"window\":%s",
				line + sizeof end - 1);
			fflush(stdout);
		}
	}
	free(line);
}

struct child {
	pid_t pid;
	int in, out;
};

static struct child
start(char **words)
{
	int in[2], out[2];
	struct child c;
	posix_spawn_file_actions_t a;
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		die("pipe");
	posix_spawn_file_actions_init(&a);
	posix_spawn_file_actions_adddup2(&a, in[0], 0);
	posix_spawn_file_actions_adddup2(&a, out[1], 1);
	errno = posix_spawnp(&c.pid, words[0], &a, NULL, words, environ);
	if (errno != 0)
		die(words[0]);
	posix_spawn_file_actions_destroy(&a);
	close(in[0]);
	close(out[1]);
	c.in = in[1];
	c.out = out[0];
	fcntl(c.in, F_SETFL, O_NONBLOCK);
	fcntl(c.in, F_SETPIPE_SZ, PIPE_BYTES);
	fcntl(c.out, F_SETPIPE_SZ, PIPE_BYTES);
	return c;
}

static void
value_of(char *to, size_t n)
{
	memset(to, 'x', VALUE_BYTES);
	to[snprintf(to, VALUE_BYTES, "%019zu", n)] = 'x';
}

static char *
put_u32(char *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, 4);
	return p + 4;
}

/* One window, as the format wants it. */
static size_t
make_window(char *to, int json, size_t window, uint32_t number)
{
	static const char head[] =
		"\0\0\0\0\200\0\0\0\0\0\0\0\377\377\377\377\377\377\377\377\0\0\0\0";
	char *p = to, value[VALUE_BYTES];
	if (json)
		p += sprintf(p,
			"{\"type\":\"start\",\"version\":1,\"window\":%u,\"attempt\":1,"
			"\"inputs\":[{\"name\":\"in\",\"contentType\":\"text/plain\"}],"
			"\"outputs\":[{\"name\":\"out\",\"contentType\":\"text/plain\"}],"
			"\"headers\":[]}\n",
			number);
	else {
		p = put_u32(p, 21);
		*p++ = 'S';
		p = put_u32(put_u32(p, number), 1);
		p = put_u32(put_u32(put_u32(p, 0), 0), 0);
	}
	for (size_t i = 0; i < window; i++) {
		value_of(value, i);
		if (json) {
			p += sprintf(p,
				"{\"type\":\"record\",\"input\":\"in\",\"contentType\":"
				"\"text/plain\",\"value\":\"%.100s\"}\n",
				value);
			continue;
		}
		p = put_u32(p, 1 + sizeof head - 1 + 4 + VALUE_BYTES);
		*p++ = 'R';
		memcpy(p, head, sizeof head - 1);
		p = put_u32(p + sizeof head - 1, VALUE_BYTES);
		memcpy(p, value, VALUE_BYTES);
		p += VALUE_BYTES;
	}
	if (json)
		return (size_t)(p + sprintf(p, "{\"type\":\"end\",\"window\":%u}\n", number) - to);
	p = put_u32(p, 5);
	*p++ = 'E';
	return (size_t)(put_u32(p, number) - to);
}

/* How many records, and how many windows' ends, are whole in it; what is left stays at its front. */
static void
count(char *buf, size_t *len, int json, size_t *records, size_t *windows)
{
	size_t at = 0;
	while (at < *len) {
		uint32_t size;
		if (json) {
			char *end = memchr(buf + at, '\n', *len - at);
			if (end == NULL)
				break;
			if (memcmp(buf + at, "{\"type\":\"status\"", 16) == 0)
				(*windows)++;
			else
				(*records)++;
			at = (size_t)(end + 1 - buf);
			continue;
		}
		if (*len - at < 5)
			break;
		memcpy(&size, buf + at, 4);
		if (*len - at < 4 + be32toh(size))
			break;
		*records += buf[at + 4] == 'o';
		*windows += buf[at + 4] == 'd';
		at += 4 + be32toh(size);
	}
	memmove(buf, buf + at, *len - at);
	*len -= at;
}

/* Never waits for a window's end before it writes the next, small windows many at a time, and copies nothing. */
static void
loop(int json, size_t total, size_t window, char **words)
{
	static char in[1 << 20];
	size_t windows_at_once = window < 500 ? 500 / window : 1, len = 0, at = 0, sent = 0,
	       kept = 0, records = 0, windows = 0;
	char *bytes = malloc(windows_at_once * (window * 300 + 1000));
	for (size_t i = 0; i < windows_at_once; i++)
		len += make_window(bytes + len, json, window, 1);
	struct child c = start(words);
	if (!json && write(c.in, "\0\0\0\11HRFLF\0\0\0\1", 13) != 13)
		die("write");
	double begin = now();
	while (records < total) {
		struct pollfd p[2] = {{c.out, POLLIN, 0}, {sent < total ? c.in : -1, POLLOUT, 0}};
		if (poll(p, 2, -1) < 0)
			die("poll");
		if (p[1].revents) {
			ssize_t n = write(c.in, bytes + at, len - at);
			at += n > 0 ? (size_t)n : 0;
			if (at == len) {
				at = 0;
				sent += window * windows_at_once;
			}
		}
		if (p[0].revents) {
			ssize_t n = read(c.out, in + kept, sizeof in - kept);
			if (n <= 0)
				die("the program ended");
			kept += (size_t)n;
			count(in, &kept, json, &records, &windows);
		}
	}
	report(records, now() - begin);
	close(c.in);
	close(c.out);
	waitpid(c.pid, NULL, 0);
	free(bytes);
}

static void
spawn(size_t count, char **words)
{
	double begin = now();
	for (size_t i = 0; i < count; i++) {
		pid_t pid;
		int status;
		posix_spawn_file_actions_t a;
		posix_spawn_file_actions_init(&a);
		posix_spawn_file_actions_addopen(&a, 0, "/dev/null", O_RDONLY, 0);
		if (posix_spawnp(&pid, words[0], &a, NULL, words, environ) != 0 ||
			waitpid(pid, &status, 0) != pid || status != 0)
			die(words[0]);
		posix_spawn_file_actions_destroy(&a);
	}
	report(count, now() - begin);
}

/* The host: counts references, keeps time, logs nothing. */
static int
log_enabled(const struct riffle_host *h, int level)
{
	(void)h, (void)level;
	return 0;
}

static void
log_line(const struct riffle_host *h, int level, const char *text)
{
	(void)h, (void)level;
	fprintf(stderr, "raw_command: %s\n", text);
}

static int64_t
mono_ns(const struct riffle_host *h)
{
	struct timespec t;
	(void)h;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void
batch_ref(const struct riffle_host *h, struct riffle_batch *b)
{
	(void)h;
	__atomic_add_fetch(&b->host[0], 1, __ATOMIC_RELAXED);
}

static void
batch_unref(const struct riffle_host *h, struct riffle_batch *b)
{
	(void)h;
	if (__atomic_sub_fetch(&b->host[0], 1, __ATOMIC_ACQ_REL) == 0)
		b->release(b);
}

static const struct riffle_host host = {.size = sizeof host,
	.abi_major = RIFFLE_ABI_MAJOR,
	.abi_minor = RIFFLE_ABI_MINOR,
	.log_enabled = log_enabled,
	.log = log_line,
	.mono_ns = mono_ns,
	.batch_ref = batch_ref,
	.batch_unref = batch_unref};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int sleeps; /* [lock] the host waits for a change */

/* As the runtime's mailbox: only a sleeper is woken, once, and finds the lock free. */
static void
unlock_and_tell(void)
{
	int tell = sleeps;
	sleeps = 0;
	pthread_mutex_unlock(&lock);
	if (tell)
		pthread_cond_signal(&changed);
}

struct call {
	void *call;
	struct riffle_batch batch;
	uint32_t pushed;
	size_t records;  /* [lock] of all answers */
	size_t credit;   /* [lock] bytes to give back */
	int wants, done; /* [lock] */
	int ended;
	struct riffle_error error;
};

static void
on_output(void *data, struct riffle_batch *b)
{
	struct call *c = data;
	size_t bytes = 0;
	for (uint32_t i = 0; i < b->record_count; i++)
		bytes += sizeof(struct riffle_record) + riffle_batch_at(b, i)->value.len;
	pthread_mutex_lock(&lock);
	c->records += b->record_count;
	c->credit += bytes;
	unlock_and_tell();
	b->release(b);
}

static void
on_writable(void *data)
{
	struct call *c = data;
	pthread_mutex_lock(&lock);
	c->wants = 1;
	unlock_and_tell();
}

static void
on_done(void *data, int status, const struct riffle_error *err)
{
	struct call *c = data;
	pthread_mutex_lock(&lock);
	c->done = 1;
	if (status < 0)
		c->error = *err;
	unlock_and_tell();
}

static const struct riffle_call_events events = {
	.size = sizeof events, .output = on_output, .writable = on_writable, .done = on_done};

static void
no_release(struct riffle_batch *b)
{
	(void)b;
}

struct invoker {
	const struct riffle_plugin *plugin;
	const struct riffle_invoker_ops *ops;
	struct riffle_value values[64];
	struct riffle_config config;
	void *self;
	const struct riffle_turns *turns; /* NULL = it works in a thread of its own */
};

static struct riffle_value *
value_at(struct invoker *i, const char *name)
{
	const struct riffle_option_table *t = i->plugin->tables;
	for (uint32_t k = 0; k < t->option_count; k++)
		if (strcmp(t->options[k].name, name) == 0)
			return &i->values[k];
	errno = EINVAL;
	die(name);
}

/* Limits out of the way, everything else as an INI without these keys has it. */
static void
open_invoker(
	struct invoker *i, const char *object, const char *mode, const char *format, char **words)
{
	void *so = dlopen(object, RTLD_NOW | RTLD_LOCAL), *symbol;
	riffle_module_fn *entry;
	struct riffle_error err = {0};
	if (so == NULL || (symbol = dlsym(so, RIFFLE_MODULE_SYMBOL)) == NULL) {
		fprintf(stderr, "raw_command: %s\n", dlerror());
		exit(1);
	}
	memcpy(&entry, &symbol, sizeof entry);
	i->plugin = entry()->plugins[0];
	i->ops = i->plugin->ops;
	value_at(i, "command")->u.list = (const char *const *)words;
	value_at(i, "mode")->u.i = strcmp(mode, "coprocess") == 0 ? 2 : 0;
	value_at(i, "mode")->is_set = 1;
	value_at(i, "format")->u.i =
		strcmp(format, "frames") == 0 ? 2 : strcmp(format, "lines") != 0;
	value_at(i, "format")->is_set = 1;
	value_at(i, "processes")->u.i = 1;
	value_at(i, "max-line")->u.i = 1 << 20;
	value_at(i, "max-record")->u.i = 1 << 24;
	value_at(i, "max-output")->u.i = INT64_C(1) << 40;
	value_at(i, "grace")->u.i = 2000;
	value_at(i, "restart")->u.i = 100;
	value_at(i, "restart-max")->u.i = 100;
	i->config = (struct riffle_config){.size = sizeof i->config,
		.section = RIFFLE_SECTION_FUNCTION,
		.value_size = sizeof i->values[0],
		.value_count = 64,
		.name = "bench",
		.dir = "/tmp",
		.values = i->values};
	if (i->ops->create(&host, &i->config, &i->self, &err) < 0) {
		fprintf(stderr, "raw_command: %s\n", err.text);
		exit(1);
	}
	if (i->ops->extension != NULL)
		i->turns = i->ops->extension(i->self, RIFFLE_EXT_TURNS);
	if (i->turns != NULL && i->turns->join(i->self, &err) < 0)
		die("join");
}

static void
begin_call(struct invoker *i, struct call *c, const struct riffle_record *r, uint32_t count)
{
	static const char *const in[] = {"in"}, *const out[] = {"out"},
				 *const type[] = {"text/plain"};
	static const char *const types[] = {NULL};
	const struct riffle_call_spec spec = {.size = sizeof spec,
		.input_count = 1,
		.output_count = 1,
		.input_names = in,
		.input_types = type,
		.output_names = out,
		.output_types = type,
		.attempt = 1};
	struct riffle_error err;
	*c = (struct call){.wants = 1};
	c->batch = (struct riffle_batch){.size = sizeof c->batch,
		.record_size = sizeof *r,
		.record_count = count,
		.content_type_count = 1,
		.records = r,
		.content_types = types,
		.release = no_release,
		.host = {1, 0}};
	if (i->ops->call_begin(i->self, &spec, &events, c, &c->call, &err) < 0)
		die("call_begin");
	i->ops->call_read(c->call, 1 << 20);
}

/* What the host's worker would do for it now. 1 = it is over. */
static int
serve(struct invoker *i, struct call *c)
{
	struct riffle_error err;
	pthread_mutex_lock(&lock);
	int wants = c->wants, done = c->done;
	size_t credit = c->credit;
	c->wants = 0;
	c->credit = 0;
	pthread_mutex_unlock(&lock);
	if (done)
		return 1;
	if (credit > 0)
		i->ops->call_read(c->call, credit);
	if (!wants || c->ended)
		return 0;
	if (c->pushed < c->batch.record_count) {
		int took = i->ops->call_push(
			c->call, &c->batch, c->pushed, c->batch.record_count - c->pushed, &err);
		if (took < 0)
			die("call_push");
		c->pushed += (uint32_t)took;
	}
	if (c->pushed == c->batch.record_count) {
		i->ops->call_end(c->call, &err);
		c->ended = 1;
	}
	return 0;
}

static int
has_changed(const struct call *calls, int n)
{
	for (int k = 0; k < n; k++)
		if (calls[k].call != NULL && (calls[k].done || calls[k].credit > 0 ||
						     (calls[k].wants && !calls[k].ended)))
			return 1;
	return 0;
}

/* As the runtime's worker does it, for the same reasons and as long: core/runtime/worker.c. */
static int
spin(struct pollfd *p, int64_t left_ns)
{
	static int spins_left, waits;
	if (spins_left == 0 && ++waits % 16 != 0)
		return 0;
	int64_t end_ns = mono_ns(&host) + (left_ns < 50000 ? left_ns : 50000);
	do {
		if (poll(p, 1, 0) != 0) {
			spins_left = 4;
			return 1;
		}
	} while (mono_ns(&host) < end_ns);
	spins_left -= spins_left > 0;
	return 0;
}

/* As the runtime's worker: a turn, and a wait for the next only where nothing came of it. */
static void
take_turns(struct invoker *i, const struct call *calls, int n)
{
	struct pollfd p = {i->turns->fd(i->self), POLLIN, 0};
	for (;;) {
		int64_t next_ns = i->turns->turn(i->self);
		pthread_mutex_lock(&lock);
		int is_changed = has_changed(calls, n);
		pthread_mutex_unlock(&lock);
		if (is_changed)
			return;
		int64_t left_ns = next_ns - mono_ns(&host);
		if (left_ns > 0 && !spin(&p, left_ns) &&
			poll(&p, 1, left_ns > 1000000000 ? 1000 : (int)(left_ns / 1000000 + 1)) < 0)
			die("poll");
	}
}

static void
wait_for_change(struct invoker *i, const struct call *calls, int n)
{
	if (i->turns != NULL) {
		take_turns(i, calls, n);
		return;
	}
	pthread_mutex_lock(&lock);
	while (!has_changed(calls, n)) {
		sleeps = 1;
		pthread_cond_wait(&changed, &lock);
	}
	pthread_mutex_unlock(&lock);
}

static void
through_riffle(struct invoker *i, size_t total, size_t window, int open)
{
	char *bytes = malloc((window + 1) * VALUE_BYTES);
	struct riffle_record *r = calloc(window + 1, sizeof *r);
	static struct call calls[OPEN_CALLS];
	size_t begun = 0, over = 0, records = 0;
	for (size_t k = 0; k < window; k++) {
		value_of(bytes + k * VALUE_BYTES, k);
		r[k] = (struct riffle_record){.value = {bytes + k * VALUE_BYTES, VALUE_BYTES},
			.time_ms = RIFFLE_TIME_NONE};
	}
	double begin = now();
	while (over < total) {
		for (int k = 0; k < open; k++) {
			struct call *c = &calls[k];
			if (c->call == NULL && begun < total) {
				begin_call(i, c, r, (uint32_t)window);
				begun++;
			}
			if (c->call == NULL || !serve(i, c))
				continue;
			if (c->error.code != 0) {
				fprintf(stderr, "raw_command: %s\n", c->error.text);
				exit(1);
			}
			records += c->records;
			i->ops->call_destroy(c->call);
			c->call = NULL;
			over++;
			k--;
		}
		if (over < total)
			wait_for_change(i, calls, open);
	}
	double seconds = now() - begin;
	if (i->turns != NULL)
		i->turns->leave(i->self);
	i->ops->destroy(i->self);
	if (records != total * window) {
		fprintf(stderr, "raw_command: %zu records of %zu\n", records, total * window);
		exit(1);
	}
	report(window ? records : total, seconds);
	free(bytes);
	free(r);
}

int
main(int argc, char **argv)
{
	static struct invoker i;
	const char *what = argc > 1 ? argv[1] : "";
	signal(SIGPIPE, SIG_IGN);
	if (strcmp(what, "echo") == 0 && argc == 3) {
		if (strcmp(argv[2], "frames") == 0)
			echo_frames();
		else
			echo_json_lines();
	} else if (strcmp(what, "loop") == 0 && argc > 5) {
		loop(strcmp(argv[2], "frames") != 0, strtoul(argv[3], NULL, 10),
			strtoul(argv[4], NULL, 10), argv + 5);
	} else if (strcmp(what, "riffle") == 0 && argc > 6) {
		size_t window = strtoul(argv[5], NULL, 10);
		open_invoker(&i, argv[2], "coprocess", argv[3], argv + 6);
		through_riffle(&i, strtoul(argv[4], NULL, 10) / window, window, OPEN_CALLS);
	} else if (strcmp(what, "spawn") == 0 && argc > 3) {
		spawn(strtoul(argv[2], NULL, 10), argv + 3);
	} else if (strcmp(what, "spawn-riffle") == 0 && argc > 4) {
		open_invoker(&i, argv[2], "per-window", "lines", argv + 4);
		through_riffle(&i, strtoul(argv[3], NULL, 10), 0, 1);
	} else {
		fprintf(stderr, "raw_command: see the head of bench/raw_command.c\n");
		return 2;
	}
	return 0;
}
