/* The manual pages: hand-written parts from doc/, with what the tables say in their places. */
#ifndef RFL_CLI_PAGE_H
#define RFL_CLI_PAGE_H

#include "base/buf.h"
#include "plugin/plugin.h"

/* doc/riffle.1.in and doc/riffle.ini.5.in, as the build put them into the program. */
extern const char rfl_page_riffle_1[], rfl_page_riffle_ini_5[];

/* A page with its lines @VERBS@, @COMMON@, @TITLE NAME SECTION@ and @KEYS kind@ replaced. */
void rfl_page_fill(const char *text, struct rfl_buf *out);
void rfl_page_plugin(const struct rfl_plugin *p, struct rfl_buf *out);

#endif
