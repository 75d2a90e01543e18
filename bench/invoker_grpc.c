/*
 * The grpc invoker alone, with a host that hands it batches and throws the answers away.
 *
 *   invoker_grpc PLUGIN.so PORT RECORDS BYTES IN-FLIGHT [BATCH]   prints as raw_grpc does
 */
#include <dlfcn.h>
#include <pthread.h>
#include <riffle/riffle.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static void
must(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "invoker_grpc: %s\n", what);
	exit(1);
}

static double
seconds(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int64_t
now_ns(const struct riffle_host *host)
{
	(void)host;
	return (int64_t)(seconds(CLOCK_MONOTONIC) * 1e9);
}

static int
log_enabled(const struct riffle_host *host, int level)
{
	(void)host, (void)level;
	return 0;
}

static void
no_log(const struct riffle_host *host, int level, const char *text)
{
	(void)host, (void)level, (void)text;
}

static void
batch_ref(const struct riffle_host *host, struct riffle_batch *b)
{
	(void)host;
	__atomic_add_fetch(&b->host[0], 1, __ATOMIC_RELAXED);
}

static void
batch_unref(const struct riffle_host *host, struct riffle_batch *b)
{
	(void)host;
	__atomic_sub_fetch(&b->host[0], 1, __ATOMIC_ACQ_REL);
}

static const struct riffle_host host = {.size = sizeof host,
	.abi_major = RIFFLE_ABI_MAJOR,
	.abi_minor = RIFFLE_ABI_MINOR,
	.log_enabled = log_enabled,
	.log = no_log,
	.mono_ns = now_ns,
	.batch_ref = batch_ref,
	.batch_unref = batch_unref};

static const struct riffle_invoker_ops *ops;
static void *call;
static unsigned long received;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int writable, done, status;
static char why[RIFFLE_ERROR_TEXT];

static void
on_output(void *data, struct riffle_batch *b)
{
	size_t bytes = 0;
	(void)data;
	for (uint32_t i = 0; i < b->record_count; i++)
		bytes += sizeof(struct riffle_record) + riffle_batch_at(b, i)->value.len;
	received += b->record_count;
	b->release(b);
	ops->call_read(call, bytes);
}

static void
set(int *flag)
{
	pthread_mutex_lock(&lock);
	*flag = 1;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
}

static void
wait_for(int *flag)
{
	pthread_mutex_lock(&lock);
	while (!*flag)
		pthread_cond_wait(&changed, &lock);
	*flag = 0;
	pthread_mutex_unlock(&lock);
}

static void
on_writable(void *data)
{
	(void)data;
	set(&writable);
}

static void
on_done(void *data, int rc, const struct riffle_error *err)
{
	(void)data;
	status = rc;
	if (rc < 0)
		memcpy(why, err->text, sizeof why);
	set(&done);
}

static const struct riffle_call_events events = {
	.size = sizeof events, .output = on_output, .writable = on_writable, .done = on_done};

static const struct riffle_plugin *
load(const char *path)
{
	void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	must(object != NULL, path);
	void *symbol = dlsym(object, RIFFLE_MODULE_SYMBOL);
	riffle_module_fn *entry;
	must(symbol != NULL, path);
	memcpy(&entry, &symbol, sizeof entry);
	return entry()->plugins[0];
}

static int64_t
default_of(const struct riffle_option *o)
{
	char *end;
	int64_t n = o->def != NULL ? strtoll(o->def, &end, 10) : 0;
	if (o->def == NULL || n == 0)
		return 0;
	if (o->type == RIFFLE_OPT_DURATION)
		return n * (*end == 'm' ? 60000 : 1000);
	return o->type == RIFFLE_OPT_SIZE ? n << 20 : n;
}

/* The values of a [function] section that says address, replies and in-flight; no limit on the output. */
static void
fill(struct riffle_value *values, const struct riffle_option_table *table, const char *address,
	int64_t in_flight)
{
	for (uint32_t i = 0; i < table->option_count; i++) {
		const struct riffle_option *o = &table->options[i];
		values[i].u.i = 0;
		if (strcmp(o->name, "address") == 0)
			values[i].u.s = address;
		else if (strcmp(o->name, "replies") == 0)
			values[i].u.i = 1;
		else if (strcmp(o->name, "in-flight") == 0)
			values[i].u.i = in_flight;
		else if (strcmp(o->name, "max-output") == 0)
			values[i].u.i = INT64_C(1) << 40;
		else
			values[i].u.i = default_of(o);
	}
}

static void
push_all(unsigned long records, const struct riffle_record *one, uint32_t size)
{
	struct riffle_error err = {0};
	struct riffle_record *list = malloc(size * sizeof *list);
	for (uint32_t i = 0; i < size; i++)
		list[i] = *one;
	struct riffle_batch b = {.size = sizeof b,
		.record_size = sizeof *list,
		.record_count = size,
		.records = list,
		.host = {1, 0}};
	for (unsigned long sent = 0; sent < records;) {
		uint32_t n = records - sent < size ? (uint32_t)(records - sent) : size;
		int took = ops->call_push(call, &b, 0, n, &err);
		must(took >= 0, err.text);
		sent += (unsigned long)took;
		if ((uint32_t)took < n)
			wait_for(&writable);
	}
	ops->call_end(call, &err);
	wait_for(&done);
	must(status == RIFFLE_OK, why);
	free(list);
}

int
main(int argc, char **argv)
{
	must(argc >= 6, "PLUGIN.so PORT RECORDS BYTES IN-FLIGHT [BATCH]");
	const struct riffle_plugin *plugin = load(argv[1]);
	struct riffle_value *values = calloc(plugin->tables[0].option_count, sizeof *values);
	unsigned long records = strtoul(argv[3], NULL, 10);
	size_t bytes = strtoul(argv[4], NULL, 10);
	uint32_t size = argc > 6 ? (uint32_t)strtoul(argv[6], NULL, 10) : 1000;
	char address[64];
	struct riffle_error err = {0};
	void *self;
	ops = plugin->ops;
	snprintf(address, sizeof address, "127.0.0.1:%s", argv[2]);
	fill(values, &plugin->tables[0], address, atoi(argv[5]));
	const struct riffle_config config = {.size = sizeof config,
		.section = RIFFLE_SECTION_FUNCTION,
		.value_size = sizeof *values,
		.value_count = plugin->tables[0].option_count,
		.name = "f",
		.dir = ".",
		.values = values};
	const char *const in[] = {"in"}, *const out[] = {"out"}, *const types[] = {"text/plain"};
	const struct riffle_call_spec spec = {.size = sizeof spec,
		.input_count = 1,
		.output_count = 1,
		.input_names = in,
		.input_types = types,
		.output_names = out,
		.output_types = types,
		.attempt = 1};
	const struct riffle_record one = {.value = {memset(malloc(bytes), 'x', bytes), bytes}};
	double begin = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	must(ops->create(&host, &config, &self, &err) >= 0, err.text);
	must(ops->call_begin(self, &spec, &events, NULL, &call, &err) >= 0, err.text);
	ops->call_read(call, 4 << 20);
	push_all(records, &one, size);
	must(received == records, "not every record came back");
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	printf("%lu %.6f %.6f %ld\n", received, seconds(CLOCK_MONOTONIC) - begin,
		seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu, usage.ru_maxrss);
	ops->call_destroy(call);
	ops->destroy(self);
	return 0;
}
