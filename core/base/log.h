/*
 * The log: one line an event on stderr, logfmt on a terminal, JSON elsewhere. Only edges log; every
 * warning and error has a stable code (doc/messages.md), which is what tests match.
 */
#ifndef RFL_BASE_LOG_H
#define RFL_BASE_LOG_H

#include <stdint.h>

enum rfl_log_format { RFL_LOG_AUTO, RFL_LOG_LOGFMT, RFL_LOG_JSON };

/* Levels are RIFFLE_LOG_* of riffle/host.h. Not thread-safe: before the threads start. */
void rfl_log_setup(int level, enum rfl_log_format format);
int rfl_log_enabled(int level);
/*
 * code "" for info and debug. what names the thing concerned, "processor averager", or is NULL.
 * Thread-safe; one write per line.
 */
void rfl_log(int level, const char *code, const char *what, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#endif
