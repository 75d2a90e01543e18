/* A file through the INI reader and all of the configuration's checks, and what was found as text and JSON. */
#include "fuzz.h"

#include "base/buf.h"
#include "base/mem.h"
#include "conf/load.h"

#include <riffle/invoker.h>

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const char fuzz_name[] = "conf";

static const char *const colours[] = {"red", "green", NULL};
static const struct riffle_option options[] = {
	{.name = "servers",
		.type = RIFFLE_OPT_LIST,
		.flags = RIFFLE_OPT_REQUIRED,
		.doc = "A list."},
	{.name = "password",
		.type = RIFFLE_OPT_STRING,
		.flags = RIFFLE_OPT_SECRET,
		.doc = "Hidden."},
	{.name = "linger",
		.type = RIFFLE_OPT_DURATION,
		.def = "5ms",
		.min = 1,
		.max = 1000,
		.doc = "A time."},
	{.name = "colour",
		.type = RIFFLE_OPT_ENUM,
		.def = "red",
		.choices = colours,
		.doc = "A word."},
	{.name = "raw.", .type = RIFFLE_OPT_PASS, .doc = "Pairs."},
	{.name = "max", .type = RIFFLE_OPT_SIZE, .def = "1KiB", .doc = "A size."},
	{.name = "dir", .type = RIFFLE_OPT_PATH, .doc = "A path."},
	{.name = "flag", .type = RIFFLE_OPT_BOOL, .doc = "Yes or no."},
	{.name = "level", .type = RIFFLE_OPT_INT, .min = -5, .max = 5, .doc = "A number."},
	{.name = "words", .type = RIFFLE_OPT_ARGV, .doc = "Words."},
};

#define TABLE(of)                                                                                  \
	{                                                                                          \
		.size = sizeof(struct riffle_option_table), .section = (of),                       \
		.option_size = sizeof options[0],                                                  \
		.option_count = sizeof options / sizeof options[0], .options = options             \
	}
static const struct riffle_option_table provider_tables[] = {TABLE(RIFFLE_SECTION_PROVIDER)};
static const struct riffle_option_table function_tables[] = {TABLE(RIFFLE_SECTION_FUNCTION)};

static int
find(void *ctx, uint32_t kind, const char *name, const struct rfl_plugin_places *places,
	struct rfl_conf_plugin *ret, struct riffle_error *reterr)
{
	(void)ctx, (void)places;
	int is_provider = kind == RIFFLE_KIND_PROVIDER;
	*ret = (struct rfl_conf_plugin){.name = name,
		.capabilities = is_provider ? (RIFFLE_CAN_PROVISION << 1) - 1 : RIFFLE_CAN_STREAM,
		.tables = is_provider ? provider_tables : function_tables,
		.table_size = sizeof provider_tables[0],
		.table_count = 1};
	if (strcmp(name, "fake") == 0)
		return RIFFLE_OK;
	snprintf(reterr->text, sizeof reterr->text, "no such plugin");
	return reterr->code = RIFFLE_E_NOTFOUND;
}

/* Where files would be read from is no part of the input: neither the environment nor /etc counts. */
static int
reaches_outside(const uint8_t *data, size_t size)
{
	return memmem(data, size, "file:", 5) != NULL || memmem(data, size, "include", 7) != NULL;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	char path[64];
	const struct rfl_conf_finder finder = {.find = find};
	const struct rfl_conf_request request = {.file = path, .finder = &finder};
	struct rfl_diags diags = RFL_DIAGS_INIT;
	struct rfl_conf *conf = NULL;
	struct rfl_buf out = RFL_BUF_INIT;
	if (reaches_outside(data, size))
		return 0;
	if (fd < 0)
		fd = memfd_create("riffle-fuzz.ini", MFD_CLOEXEC);
	fuzz_assert(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int rc = rfl_conf_load(&request, &diags, &conf);
	fuzz_assert((rc < 0) == (diags.errors > 0));
	fuzz_assert((rc == 0) == (conf != NULL));
	rfl_diags_text(&diags, &out);
	rfl_buf_clear(&out);
	rfl_diags_json(&diags, &out);
	rfl_buf_fini(&out);
	if (conf != NULL)
		rfl_conf_free(conf);
	rfl_diags_fini(&diags);
	return 0;
}
