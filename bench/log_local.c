/*
 * The embedded provider's log by itself, through the border, for `bench/run log`.
 *
 *   log_local append DIR RECORDS BATCH RETENTION   appends values of 100 bytes, eight sends under way;
 *                                                  RETENTION in bytes, 0 = none
 *   log_local follow DIR RECORDS                   reads until it has so many
 *   log_local ping DIR RECORDS DURABILITY          sends one every two milliseconds, and its time in it
 *   log_local pong DIR RECORDS                     reads them as they come
 *
 * Each prints a line of numbers: records, seconds, CPU seconds, first offset held; ping and pong: the median
 * and the 99th percentile from before the send to the acknowledgement, and to after the read, in
 * microseconds. DURABILITY is the index of sync, meta, none.
 */
#include "../tests/unit/plugin_host.h"

#include <sys/resource.h>

#define VALUE_BYTES 100
#define BATCH_MAX 10000
#define SENDS 8

static const struct riffle_plugin *plugin;
static const struct riffle_provider_ops *ops;
static struct riffle_value provider_values[32], stream_values[16];
static char dir[4096];
static struct riffle_config provider_config = {.size = sizeof provider_config,
	.value_size = sizeof provider_values[0],
	.name = "local",
	.dir = dir,
	.values = provider_values};
static struct riffle_config stream_config = {.size = sizeof stream_config,
	.value_size = sizeof stream_values[0],
	.name = "log",
	.dir = dir,
	.values = stream_values};
static struct riffle_stream stream = {.size = sizeof stream,
	.partitions = 1,
	.name = "log",
	.topic = "log",
	.content_type = "text/plain",
	.config = &stream_config};

static void
set(uint32_t section, const char *name, int64_t value)
{
	const struct riffle_option_table *t = plugin->tables;
	while (t->section != section)
		t++;
	for (uint32_t i = 0; i < t->option_count; i++)
		if (strcmp(t->options[i].name, name) == 0)
			(section == RIFFLE_SECTION_PROVIDER ? provider_values : stream_values)[i] =
				(struct riffle_value){.is_set = 1, .u.i = value};
}

static void
must(int rc, const struct riffle_error *err)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "log_local: %s\n", err->text);
	exit(1);
}

static void *
open_log(int64_t retention, int64_t durability)
{
	struct riffle_error err = {0};
	void *self;
	set(RIFFLE_SECTION_PROVIDER, "durability", durability);
	set(RIFFLE_SECTION_PROVIDER, "map-size", INT64_C(1) << 36);
	set(RIFFLE_SECTION_PROVIDER, "max-partitions", 1024);
	set(RIFFLE_SECTION_PROVIDER, "open-segments", 128);
	set(RIFFLE_SECTION_PROVIDER, "commit-size", 8 << 20);
	set(RIFFLE_SECTION_PROVIDER, "clean-interval", 100);
	set(RIFFLE_SECTION_STREAM, "retention-size", retention);
	must(ops->create(&host, &provider_config, &self, &err), &err);
	must(ops->provision(self, &stream, &err), &err);
	return self;
}

static void *
open_sink(void *self)
{
	struct riffle_error err = {0};
	const struct riffle_stream *list = &stream;
	const struct riffle_sink_spec spec = {.size = sizeof spec,
		.stream_size = sizeof list,
		.stream_count = 1,
		.streams = &list};
	void *sink;
	must(ops->sink_open(self, &spec, &sink, &err), &err);
	return sink;
}

static void
wait_on(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	poll(&p, 1, 1000);
}

static void
static_release(struct riffle_batch *b)
{
	(void)b;
}

static struct riffle_record records[BATCH_MAX];
static struct riffle_batch batches[SENDS];

static void
prepare(uint32_t count)
{
	static char text[VALUE_BYTES];
	static const char *const types[] = {NULL};
	memset(text, 'x', sizeof text);
	for (uint32_t i = 0; i < count; i++)
		records[i] = (struct riffle_record){
			.value = {text, sizeof text}, .time_ms = RIFFLE_TIME_NONE, .partition = 0};
	for (int i = 0; i < SENDS; i++)
		batches[i] = (struct riffle_batch){.size = sizeof batches[i],
			.record_size = sizeof records[0],
			.record_count = count,
			.content_type_count = 1,
			.records = records,
			.content_types = types,
			.pinned_bytes = count * (size_t)VALUE_BYTES,
			.release = static_release,
			.host = {1, 0}};
}

/* How many records were answered since the last look. */
static uint32_t
answered(void *sink)
{
	struct riffle_event ev = {.size = sizeof ev};
	uint32_t n = 0;
	while (ops->sink_poll(sink, &ev) > 0) {
		if (ev.type == RIFFLE_EV_SENT) {
			n += ev.count;
			must(ev.sent[0].status, &ev.error);
		}
		ev = (struct riffle_event){.size = sizeof ev};
	}
	return n;
}

static double
cpu_seconds(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void *
open_source(void *self, uint32_t start, uint32_t *ret_lane, int64_t *ret_start)
{
	struct riffle_error err = {0};
	const struct riffle_source_stream in = {
		.size = sizeof in, .stream = &stream, .start = start};
	const struct riffle_source_spec spec = {
		.size = sizeof spec, .stream_size = sizeof in, .stream_count = 1, .streams = &in};
	void *source;
	struct riffle_event ev = {.size = sizeof ev};
	must(ops->source_open(self, &spec, &source, &err), &err);
	while (ops->source_poll(source, &ev) == 0 || ev.type != RIFFLE_EV_ASSIGNED)
		wait_on(ops->source_fd(source));
	*ret_lane = ev.lanes[0].lane;
	*ret_start = ev.lanes[0].log_start;
	must(ops->source_start(source, ret_lane, &ev.lanes[0].committed, 1, &err), &err);
	return source;
}

static void
append(uint64_t count, uint32_t batch, int64_t retention)
{
	void *self = open_log(retention, 0), *sink = open_sink(self);
	uint64_t sent = 0, done = 0;
	uint32_t lane;
	int64_t start;
	prepare(batch);
	int64_t begin_ns = now_ns(NULL);
	while (done < count) {
		struct riffle_error err = {0};
		while (sent < count && sent - done < (uint64_t)SENDS * batch) {
			struct riffle_batch *b = &batches[sent / batch % SENDS];
			must(ops->sink_send(sink, b, 0, batch, 1, &err), &err);
			sent += batch;
		}
		uint32_t n = answered(sink);
		done += n;
		if (n == 0)
			wait_on(ops->sink_fd(sink));
	}
	double seconds = (double)(now_ns(NULL) - begin_ns) / 1e9;
	open_source(self, RIFFLE_START_EARLIEST, &lane, &start);
	printf("%llu %.6f %.6f %lld\n", (unsigned long long)done, seconds, cpu_seconds(),
		(long long)start);
}

/* One round; the records that came are given to each, or counted where it is NULL. */
static uint64_t
read_round(void *source, uint32_t lane, void (*each)(const struct riffle_record *r))
{
	struct riffle_error err = {0};
	struct riffle_batch *b;
	struct riffle_event ev = {.size = sizeof ev};
	int rc = ops->lane_poll(source, lane, 1000, 1 << 20, &b, &err);
	must(rc, &err);
	if (rc == 0) {
		wait_on(ops->source_fd(source));
		ops->source_poll(source, &ev);
		return 0;
	}
	b->host[0] = 1;
	uint64_t n = b->record_count;
	for (uint32_t i = 0; each != NULL && i < n; i++)
		each(riffle_batch_at(b, i));
	batch_unref(&host, b);
	return n;
}

static void
follow(uint64_t count)
{
	uint32_t lane;
	int64_t start;
	void *source = open_source(open_log(0, 0), RIFFLE_START_EARLIEST, &lane, &start);
	uint64_t done = 0;
	int64_t begin_ns = now_ns(NULL);
	while (done < count)
		done += read_round(source, lane, NULL);
	printf("%llu %.6f %.6f %lld\n", (unsigned long long)done,
		(double)(now_ns(NULL) - begin_ns) / 1e9, cpu_seconds(), (long long)start);
}

static int64_t *took_ns;
static uint64_t took_count;

static int
compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

static void
print_took(void)
{
	qsort(took_ns, took_count, sizeof *took_ns, compare);
	printf("%llu %.1f %.1f\n", (unsigned long long)took_count,
		(double)took_ns[took_count / 2] / 1e3,
		(double)took_ns[took_count * 99 / 100] / 1e3);
}

static void
ping(uint64_t count, int64_t durability)
{
	void *sink = open_sink(open_log(0, durability));
	prepare(1);
	took_ns = calloc(count, sizeof *took_ns);
	for (uint64_t i = 0; i < count; i++) {
		struct riffle_error err = {0};
		int64_t sent_ns = now_ns(NULL);
		records[0].value = (struct riffle_bytes){&sent_ns, sizeof sent_ns};
		must(ops->sink_send(sink, &batches[0], 0, 1, 1, &err), &err);
		while (answered(sink) == 0)
			wait_on(ops->sink_fd(sink));
		took_ns[took_count++] = now_ns(NULL) - sent_ns;
		struct timespec pause = {.tv_nsec = 2000000};
		nanosleep(&pause, NULL);
	}
	print_took();
}

static void
take(const struct riffle_record *r)
{
	int64_t sent_ns;
	memcpy(&sent_ns, r->value.ptr, sizeof sent_ns);
	took_ns[took_count++] = now_ns(NULL) - sent_ns;
}

static void
pong(uint64_t count)
{
	uint32_t lane;
	int64_t start;
	void *source = open_source(open_log(0, 0), RIFFLE_START_EARLIEST, &lane, &start);
	took_ns = calloc(count + 1000, sizeof *took_ns);
	while (took_count < count)
		read_round(source, lane, take);
	print_took();
}

int
main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: log_local append|follow|ping|pong DIR RECORDS [BATCH "
				"RETENTION | DURABILITY]\n");
		return 2;
	}
	uint64_t count = strtoull(argv[3], NULL, 10);
	plugin = load_plugin("plugins/local/.libs/local.so");
	ops = plugin->ops;
	for (uint32_t i = 0; i < plugin->table_count; i++)
		(plugin->tables[i].section == RIFFLE_SECTION_PROVIDER ? &provider_config
								      : &stream_config)
			->value_count = plugin->tables[i].option_count;
	snprintf(dir, sizeof dir, "%s", argv[2]);
	if (strcmp(argv[1], "append") == 0 && argc == 6)
		append(count, (uint32_t)atoi(argv[4]), atoll(argv[5]));
	else if (strcmp(argv[1], "follow") == 0)
		follow(count);
	else if (strcmp(argv[1], "ping") == 0 && argc == 5)
		ping(count, atoi(argv[4]));
	else
		pong(count);
	return 0;
}
