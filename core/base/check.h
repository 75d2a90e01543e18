/*
 * Assertions of our own promises, always on. Never on bytes from outside: those get an error.
 *
 * Every object that outlives one function begins with `uint32_t magic`; RFL_CHECK tests it on entry,
 * RFL_RETIRE clears it when the object is freed.
 */
#ifndef RFL_BASE_CHECK_H
#define RFL_BASE_CHECK_H

#include <stdint.h>

_Noreturn void rfl_assert_failed(const char *expr, const char *file, int line, const char *func);

#define rfl_assert(e) ((e) ? (void)0 : rfl_assert_failed(#e, __FILE__, __LINE__, __func__))
#define RFL_WRONG(text) rfl_assert_failed(text, __FILE__, __LINE__, __func__)
#define RFL_CHECK(p, m) rfl_assert((p) != NULL && (p)->magic == (m))
#define RFL_RETIRE(p) ((p)->magic = 0)

#define RFL_COUNT(a) (sizeof(a) / sizeof((a)[0]))

#endif
