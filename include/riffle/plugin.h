/*
 * How a plugin says what it is: one exported function, one descriptor per plugin in the file.
 *
 * ABI history, newest first:
 *   0.1  first shape: lanes, in-band events, asynchronous commits, transactions as an extension
 *
 * A file ends with one line:
 *
 *     RIFFLE_MODULE("1.2.0", &my_plugin);
 *
 * and is linked with -module -avoid-version, immediate binding, and no undefined symbol. The entry
 * function and everything its result points to must be constant and live as long as the process: an
 * accepted plugin is never unloaded. Nothing else of the plugin runs before the host has checked it
 * all, and the host then works on its own copy of the descriptor.
 */
#ifndef RIFFLE_PLUGIN_H
#define RIFFLE_PLUGIN_H

#include <riffle/host.h>
#include <riffle/option.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RIFFLE_MODULE_MAGIC 0x52464c45u
#define RIFFLE_KIND_PROVIDER 1u
#define RIFFLE_KIND_INVOKER 2u

struct riffle_plugin {
	uint32_t size;
	uint32_t kind;       /* RIFFLE_KIND_* */
	const char *name;    /* [a-z][a-z0-9-]{0,30}; what the INI says */
	const char *summary; /* one line */
	const char *version, *license;
	uint64_t capabilities; /* the most it can offer: RIFFLE_CAN_* of its kind's header */
	uint32_t table_size;   /* stride of tables[] */
	uint32_t table_count;
	const struct riffle_option_table *tables;
	const void *ops; /* struct riffle_provider_ops or struct riffle_invoker_ops */
};

struct riffle_module {
	uint32_t magic; /* these four are frozen for ever */
	uint16_t abi_major, abi_minor;
	uint32_t size;
	uint32_t plugin_count;
	const char *build; /* a version or revision; printed in every complaint */
	const struct riffle_plugin *const *plugins;
};

typedef const struct riffle_module *riffle_module_fn(void);
#define RIFFLE_MODULE_SYMBOL_PREFIX "riffle_module_v"
#define RIFFLE_MODULE_SYMBOL "riffle_module_v0"
RIFFLE_EXPORT const struct riffle_module *riffle_module_v0(void);

#define RIFFLE_MODULE(build_text, ...)                                                             \
	static const struct riffle_plugin *const riffle_plugins_[] = {__VA_ARGS__};                \
	static const struct riffle_module riffle_module_ = {                                       \
		RIFFLE_MODULE_MAGIC,                                                               \
		RIFFLE_ABI_MAJOR,                                                                  \
		RIFFLE_ABI_MINOR,                                                                  \
		(uint32_t)sizeof(struct riffle_module),                                            \
		(uint32_t)(sizeof riffle_plugins_ / sizeof riffle_plugins_[0]),                    \
		build_text,                                                                        \
		riffle_plugins_,                                                                   \
	};                                                                                         \
	RIFFLE_EXPORT const struct riffle_module *riffle_module_v0(void)                           \
	{                                                                                          \
		return &riffle_module_;                                                            \
	}                                                                                          \
	extern int riffle_module_needs_semicolon_

#ifdef __cplusplus
}
#endif
#endif
