/* Manual pages as roff with the man macros: text that cannot be mistaken for a request, options, examples. */
#ifndef RFL_CLI_ROFF_H
#define RFL_CLI_ROFF_H

#include "base/buf.h"

#include <argp.h>
#include <riffle/option.h>

/* One text, escaped; `words` between backquotes are bold. Adds no newline. */
void rfl_roff_text(struct rfl_buf *out, const char *text);
/* Lines of a verb's doc: paragraphs, and examples where lines begin with two blanks. */
void rfl_roff_doc(struct rfl_buf *out, const char *text, size_t len);
void rfl_roff_title(struct rfl_buf *out, const char *page, int section);
/* A key of the INI with its facts and its sentence. */
void rfl_roff_key(struct rfl_buf *out, const struct riffle_option *o);
/* Every option of a table, which ends with an empty row; NULL is an empty table. */
void rfl_roff_options(struct rfl_buf *out, const struct argp_option *options);

#endif
