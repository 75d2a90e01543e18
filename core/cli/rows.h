/* Rows of texts as a table for people, as JSON or as JSON lines for programs. */
#ifndef RFL_CLI_ROWS_H
#define RFL_CLI_ROWS_H

#include "cli/common.h"

#include <jansson.h>

/*
 * In the format that was asked for. columns are NULL-terminated, cells go row by row; what is called "streams"
 * is named where a table would have no row. A NULL cell is not known: <unknown>, or null. "CONTENT-TYPE"
 * is the member contentType.
 */
void rfl_print_rows(const struct rfl_common *c, const char *what, const char *const *columns,
	const char *const *cells, size_t rows);
/* An array, as one JSON text or as a line for each of its elements. */
void rfl_print_json(const struct rfl_common *c, const json_t *array);
/* May stdout be coloured: a terminal, and neither --no-color nor NO_COLOR is there. */
int rfl_use_color(const struct rfl_common *c);

#endif
