/*
 * What the host offers to a plugin. Valid from create until destroy returns; in create and check
 * only log, log_enabled, mono_ns and extension may be called.
 */
#ifndef RIFFLE_HOST_H
#define RIFFLE_HOST_H

#include <riffle/record.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RIFFLE_LOG_ERROR 1
#define RIFFLE_LOG_WARNING 2
#define RIFFLE_LOG_INFO 3
#define RIFFLE_LOG_DEBUG 4

struct riffle_host {
	uint32_t size;
	uint16_t abi_major, abi_minor;
	void *ctx; /* the host's */
	const char *product, *version;
	int (*log_enabled)(const struct riffle_host *host, int level); /* [any] */
	/* One line without its newline. The host adds time, level and the section's name. [any] */
	void (*log)(const struct riffle_host *host, int level, const char *text);
	/* Monotonic nanoseconds. Deadlines use this clock, so that a test can turn it by hand. [any] */
	int64_t (*mono_ns)(const struct riffle_host *host);
	/*
	 * Keep a borrowed batch, and let it go again. Each ref is matched by one unref. [any]
	 */
	void (*batch_ref)(const struct riffle_host *host, struct riffle_batch *batch);
	void (*batch_unref)(const struct riffle_host *host, struct riffle_batch *batch);
	/* A named service, "riffle.<name>/<revision>", or NULL. [any] */
	const void *(*extension)(const struct riffle_host *host, const char *id);
};

#ifdef __cplusplus
}
#endif
#endif
