/*
 * A plugin that is right in everything, for the files of this folder to make wrong in one thing each
 * by defining a macro before they include this.
 */
#include <riffle/riffle.h>

#ifndef BAD_MAGIC
#define BAD_MAGIC RIFFLE_MODULE_MAGIC
#endif
#ifndef BAD_MAJOR
#define BAD_MAJOR RIFFLE_ABI_MAJOR
#endif
#ifndef BAD_MINOR
#define BAD_MINOR RIFFLE_ABI_MINOR
#endif
#ifndef BAD_MODULE_SIZE
#define BAD_MODULE_SIZE sizeof(struct riffle_module)
#endif
#ifndef BAD_COUNT
#define BAD_COUNT 1
#endif
#ifndef BAD_ENTRY
#define BAD_ENTRY &plugin
#endif
#ifndef BAD_NAME
#define BAD_NAME "bad"
#endif
#ifndef BAD_KIND
#define BAD_KIND RIFFLE_KIND_INVOKER
#endif
#ifndef BAD_PLUGIN_SIZE
#define BAD_PLUGIN_SIZE sizeof(struct riffle_plugin)
#endif
#ifndef BAD_OPS_SIZE
#define BAD_OPS_SIZE sizeof(struct riffle_invoker_ops)
#endif
#ifndef BAD_PUSH
#define BAD_PUSH call_push
#endif
#ifndef BAD_OPTIONS
#define BAD_OPTIONS                                                                                \
	{                                                                                          \
		.name = "linger", .type = RIFFLE_OPT_DURATION, .def = "5ms",                       \
		.doc = "How long to wait."                                                         \
	}
#endif
#ifndef BAD_SUMMARY
#define BAD_SUMMARY "wrong in one thing"
#endif
#ifndef BAD_VERSION
#define BAD_VERSION "1"
#endif
#ifndef BAD_LICENSE
#define BAD_LICENSE "none"
#endif
#ifndef BAD_BUILD
#define BAD_BUILD "test"
#endif
#ifndef BAD_OPS
#define BAD_OPS &ops
#endif
#ifndef BAD_CAPABILITIES
#define BAD_CAPABILITIES 0
#endif
#ifndef BAD_TABLES
#define BAD_TABLES tables
#endif
#ifndef BAD_TABLE_STRIDE
#define BAD_TABLE_STRIDE sizeof tables[0]
#endif
#ifndef BAD_TABLE_COUNT
#define BAD_TABLE_COUNT 1
#endif
#ifndef BAD_TABLE_SIZE
#define BAD_TABLE_SIZE sizeof tables[0]
#endif
#ifndef BAD_SECTION
#define BAD_SECTION RIFFLE_SECTION_FUNCTION
#endif
#ifndef BAD_OPTION_SIZE
#define BAD_OPTION_SIZE sizeof options[0]
#endif
#ifndef BAD_OPTION_COUNT
#define BAD_OPTION_COUNT sizeof options / sizeof options[0]
#endif
#ifndef BAD_OPTION_LIST
#define BAD_OPTION_LIST options
#endif
#ifndef BAD_PLUGINS
#define BAD_PLUGINS plugins
#endif
#ifndef BAD_RESULT
#define BAD_RESULT &module
#endif

static int
create(const struct riffle_host *host, const struct riffle_config *cfg, void **ret_self,
	struct riffle_error *reterr)
{
	(void)host, (void)cfg, (void)reterr;
	*ret_self = (void *)1;
	return RIFFLE_OK;
}

static void
destroy(void *self)
{
	(void)self;
}

static uint64_t
capabilities(void *self)
{
	(void)self;
	return 0;
}

static int
call_begin(void *self, const struct riffle_call_spec *spec, const struct riffle_call_events *events,
	void *data, void **ret_call, struct riffle_error *reterr)
{
	(void)self, (void)spec, (void)events, (void)data, (void)ret_call, (void)reterr;
	return RIFFLE_E_UNSUPPORTED;
}

__attribute__((unused)) static int
call_push(void *call, struct riffle_batch *batch, uint32_t first, uint32_t count,
	struct riffle_error *reterr)
{
	(void)call, (void)batch, (void)first, (void)count, (void)reterr;
	return RIFFLE_E_UNSUPPORTED;
}

static int
call_end(void *call, struct riffle_error *reterr)
{
	(void)call, (void)reterr;
	return RIFFLE_E_UNSUPPORTED;
}

static void
call_read(void *call, size_t bytes)
{
	(void)call, (void)bytes;
}

static void
call_cancel(void *call, int reason)
{
	(void)call, (void)reason;
}

static void
call_destroy(void *call)
{
	(void)call;
}

__attribute__((unused)) static const struct riffle_invoker_ops ops = {
	.size = (uint32_t)(BAD_OPS_SIZE),
	.create = create,
	.destroy = destroy,
	.capabilities = capabilities,
	.call_begin = call_begin,
	.call_push = BAD_PUSH,
	.call_end = call_end,
	.call_read = call_read,
	.call_cancel = call_cancel,
	.call_destroy = call_destroy,
};

#ifdef BAD_PROVIDER
static int
never(void)
{
	return RIFFLE_E_UNSUPPORTED;
}
#define NEVER(member) (__typeof__(((struct riffle_provider_ops *)0)->member))(void (*)(void))never
static const struct riffle_provider_ops provider_ops = {.size = sizeof provider_ops,
	.create = create,
	.destroy = destroy,
	.capabilities = capabilities,
	BAD_PROVIDER};
#endif

__attribute__((unused)) static const struct riffle_option options[] = {BAD_OPTIONS};

__attribute__((unused)) static const struct riffle_option_table tables[] = {{
	.size = (uint32_t)(BAD_TABLE_SIZE),
	.section = BAD_SECTION,
	.option_size = (uint32_t)(BAD_OPTION_SIZE),
	.option_count = BAD_OPTION_COUNT,
	.options = BAD_OPTION_LIST,
}};

static const struct riffle_plugin plugin = {
	.size = (uint32_t)(BAD_PLUGIN_SIZE),
	.kind = BAD_KIND,
	.name = BAD_NAME,
	.summary = BAD_SUMMARY,
	.version = BAD_VERSION,
	.license = BAD_LICENSE,
	.capabilities = BAD_CAPABILITIES,
	.table_size = (uint32_t)(BAD_TABLE_STRIDE),
	.table_count = BAD_TABLE_COUNT,
	.tables = BAD_TABLES,
	.ops = BAD_OPS,
};

__attribute__((unused)) static const struct riffle_plugin *const plugins[] = {BAD_ENTRY, &plugin};

__attribute__((unused)) static const struct riffle_module module = {
	.magic = BAD_MAGIC,
	.abi_major = BAD_MAJOR,
	.abi_minor = BAD_MINOR,
	.size = (uint32_t)(BAD_MODULE_SIZE),
	.plugin_count = BAD_COUNT,
	.build = BAD_BUILD,
	.plugins = BAD_PLUGINS,
};

#ifndef BAD_SYMBOL
#define BAD_SYMBOL riffle_module_v0
#endif

RIFFLE_EXPORT const struct riffle_module *BAD_SYMBOL(void);

const struct riffle_module *
BAD_SYMBOL(void)
{
	return BAD_RESULT;
}
