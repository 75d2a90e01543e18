/* The three forms of a list. */
#include "cli/rows.h"

#include "base/mem.h"

#include <ctype.h>
#include <libsmartcols.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int
rfl_use_color(const struct rfl_common *c)
{
	const char *no = getenv("NO_COLOR");
	return !c->no_color && (no == NULL || no[0] == '\0') && isatty(STDOUT_FILENO);
}

static void
print_table(const struct rfl_common *c, const char *const *columns, const char *const *cells,
	size_t rows)
{
	struct libscols_table *t = scols_new_table();
	size_t width = 0;
	scols_table_enable_colors(t, rfl_use_color(c));
	for (; columns[width] != NULL; width++) {
		struct libscols_column *column = scols_table_new_column(t, columns[width], 0, 0);
		scols_cell_set_color(scols_column_get_header(column), "bold");
	}
	for (size_t i = 0; i < rows; i++) {
		struct libscols_line *line = scols_table_new_line(t, NULL);
		for (size_t k = 0; k < width; k++) {
			const char *cell = cells[i * width + k];
			scols_line_set_data(line, k,
				cell == NULL ? "<unknown>"
				: cell[0]    ? cell
					     : "<empty>");
		}
	}
	scols_print_table(t);
	scols_unref_table(t);
}

/* "CONTENT-TYPE" as the name of a member. */
static void
member_name(const char *column, char *name, size_t room)
{
	size_t n = 0;
	int upper = 0;
	for (; *column != '\0' && n + 1 < room; column++) {
		if (*column == '-') {
			upper = 1;
			continue;
		}
		name[n++] = upper ? *column : (char)tolower((unsigned char)*column);
		upper = 0;
	}
	name[n] = '\0';
}

static json_t *
row_json(const char *const *columns, const char *const *cells)
{
	char name[64];
	json_t *row = json_object();
	for (size_t k = 0; columns[k] != NULL; k++) {
		member_name(columns[k], name, sizeof name);
		json_object_set_new(
			row, name, cells[k] == NULL ? json_null() : json_string(cells[k]));
	}
	return row;
}

void
rfl_print_json(const struct rfl_common *c, const json_t *array)
{
	if (c->format == RFL_FORMAT_JSON) {
		json_dumpf(array, stdout, JSON_INDENT(2));
		putchar('\n');
		return;
	}
	for (size_t i = 0; i < json_array_size(array); i++) {
		json_dumpf(json_array_get(array, i), stdout, JSON_COMPACT);
		putchar('\n');
	}
}

static void
print_json_rows(const struct rfl_common *c, const char *const *columns, const char *const *cells,
	size_t rows)
{
	size_t width = 0;
	json_t *all = json_array();
	while (columns[width] != NULL)
		width++;
	for (size_t i = 0; i < rows; i++)
		json_array_append_new(all, row_json(columns, cells + i * width));
	rfl_print_json(c, all);
	json_decref(all);
}

void
rfl_print_rows(const struct rfl_common *c, const char *what, const char *const *columns,
	const char *const *cells, size_t rows)
{
	if (c->format != RFL_FORMAT_TABLE)
		print_json_rows(c, columns, cells, rows);
	else if (rows == 0)
		printf("No %s found.\n", what);
	else
		print_table(c, columns, cells, rows);
}
