/* What every file of the plugin needs: errors, memory that is there or the process is not, asserts. */
#ifndef RIFFLE_RPC_UTIL_H
#define RIFFLE_RPC_UTIL_H

#include <riffle/abi.h>

_Noreturn void rpc_assert_failed(const char *expr, const char *file, int line);
#define rpc_assert(e) ((e) ? (void)0 : rpc_assert_failed(#e, __FILE__, __LINE__))
#define RPC_CHECK(p, m) rpc_assert((p) != NULL && (p)->magic == (m))

int rpc_fail(struct riffle_error *err, int code, uint32_t flags, const char *fmt, ...)
	RIFFLE_PRINTF(4, 5);
void *rpc_alloc(size_t size); /* cleared */
void *rpc_realloc(void *p, size_t size);
char *rpc_strdup(const char *s); /* NULL gives NULL */

/* A text of the far side's as one line of ours: what is not printable UTF-8 becomes \xNN. */
void rpc_quote(char *out, size_t room, const void *text, size_t len);

#endif
