/*
 * Filling struct riffle_error. Functions return the negative code and fill reterr; they do not log:
 * the edge (a worker's loop, main, a verb) logs once.
 */
#ifndef RFL_BASE_ERROR_H
#define RFL_BASE_ERROR_H

#include <riffle/abi.h>

/*
 * Both fill err, which may be NULL, and have the value code; a macro shows the compiler that this is
 * negative, so it sees what is set on success only. Control characters in the text, and what is no UTF-8, become '?'. The
 * second says RIFFLE_ERR_RETRIABLE.
 */
#define rfl_err(err, code, ...) (rfl_err_fill((err), (code), 0, __VA_ARGS__), rfl_err_code(code))
#define rfl_err_retriable(err, code, ...)                                                          \
	(rfl_err_fill((err), (code), RIFFLE_ERR_RETRIABLE, __VA_ARGS__), rfl_err_code(code))
static inline int
rfl_err_code(int code)
{
	return code;
}
void rfl_err_fill(struct riffle_error *err, int code, uint32_t flags, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Puts "text: " in front of what is there already. Returns err->code. */
int rfl_err_prefix(struct riffle_error *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
const char *rfl_status_name(int code); /* "unavailable" */

#endif
