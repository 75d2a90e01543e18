/*
 * Findings about a configuration: collected while it is read, shown all at once, in the form that
 * editors jump to or as JSON. Nothing here prints by itself.
 */
#ifndef RFL_CONF_DIAG_H
#define RFL_CONF_DIAG_H

#include "base/buf.h"
#include "conf/model.h"

enum rfl_severity { RFL_ERROR, RFL_WARNING };

struct rfl_diag {
	enum rfl_severity severity;
	char code[8];           /* "C102": stable, one meaning each (doc/messages.md) */
	struct rfl_place place; /* its file is this finding's own copy */
	uint32_t width;         /* columns to underline, 0 = just the caret */
	char *text;             /* "unknown window kind 'tumblng'" */
	char *hint;             /* "did you mean 'tumbling'?" or NULL */
	char *source; /* the line as written; NULL where there is none, secrets replaced */
};

struct rfl_diags {
	struct rfl_diag *items; /* in the order of files and lines once loading has ended */
	size_t count, room;
	size_t errors, warnings, files; /* files: how many were read */
};

#define RFL_DIAGS_INIT                                                                             \
	{                                                                                          \
		NULL, 0, 0, 0, 0, 0                                                                \
	}

/* Takes ownership of nothing; copies what it is given. hint may be NULL. */
void rfl_diag_add(struct rfl_diags *d, enum rfl_severity severity, const char *code,
	struct rfl_place place, uint32_t width, const char *source, const char *hint,
	const char *fmt, ...) __attribute__((format(printf, 8, 9)));
/* By file and line; what was found twice stands once. */
void rfl_diags_sort(struct rfl_diags *d);
/* "file:5:10: error: text [C102]", the line, the caret, the hint; then the sum, "2 errors in 2 files". */
void rfl_diags_text(const struct rfl_diags *d, struct rfl_buf *out);
void rfl_diags_json(const struct rfl_diags *d, struct rfl_buf *out);
void rfl_diags_fini(struct rfl_diags *d);

#endif
