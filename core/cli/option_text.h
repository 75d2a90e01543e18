/* An option of a table in words: the same for the manual, the sample section and `plugin show`. */
#ifndef RFL_CLI_OPTION_TEXT_H
#define RFL_CLI_OPTION_TEXT_H

#include "base/buf.h"

#include <riffle/option.h>

const char *rfl_option_type(const struct riffle_option *o); /* "duration" */
/* "duration; default 2s; 0 to 1h", "one of a, b; required" */
void rfl_option_facts(const struct riffle_option *o, struct rfl_buf *out);
/* A number as the file would have it: "64KiB", "90s", "8". */
void rfl_option_number(const struct riffle_option *o, int64_t n, struct rfl_buf *out);
int rfl_option_is_offered(const struct riffle_option *o); /* 0: known, and not in this version */
const char *rfl_section_word(uint32_t section);           /* "provider" */

#endif
