/*
 * Filling struct riffle_error. Functions return the negative code and fill reterr; they do not log:
 * the edge (a worker's loop, main, a verb) logs once.
 */
#ifndef RFL_BASE_ERROR_H
#define RFL_BASE_ERROR_H

#include <riffle/abi.h>

/* Returns code. err may be NULL. Control characters in the text become '?'. */
int rfl_err(struct riffle_error *err, int code, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
/* The same with flags RIFFLE_ERR_RETRIABLE. */
int rfl_err_retriable(struct riffle_error *err, int code, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
/* Puts "text: " in front of what is there already. Returns err->code. */
int rfl_err_prefix(struct riffle_error *err, const char *fmt, ...)
        __attribute__((format(printf, 2, 3)));
const char *rfl_status_name(int code); /* "unavailable" */

#endif
