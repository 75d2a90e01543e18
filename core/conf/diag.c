/* Findings: collected, sorted by place, shown. */
#include "conf/diag.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
rfl_diag_add(struct rfl_diags *d, enum rfl_severity severity, const char *code,
	struct rfl_place place, uint32_t width, const char *source, const char *hint,
	const char *fmt, ...)
{
	va_list ap;
	rfl_grow(&d->items, &d->room, d->count + 1, sizeof *d->items);
	struct rfl_diag *one = &d->items[d->count++];
	*one = (struct rfl_diag){
		.severity = severity,
		.place = place,
		.width = width,
		.hint = rfl_strdup(hint),
		.source = rfl_strdup(source),
	};
	snprintf(one->code, sizeof one->code, "%s", code);
	va_start(ap, fmt);
	one->place.file = rfl_strdup(place.file);
	one->text = rfl_vsprintf(fmt, ap);
	va_end(ap);
	if (severity == RFL_ERROR)
		d->errors++;
	else
		d->warnings++;
}

static void
free_one(struct rfl_diag *one)
{
	free((char *)(uintptr_t)one->place.file);
	free(one->text);
	free(one->hint);
	free(one->source);
}

static int
by_place(const void *a, const void *b)
{
	const struct rfl_diag *x = a, *y = b;
	int order = strcmp(x->place.file, y->place.file);
	if (order == 0)
		order = (x->place.line > y->place.line) - (x->place.line < y->place.line);
	if (order == 0)
		order = (x->place.column > y->place.column) - (x->place.column < y->place.column);
	return order ? order : strcmp(x->text, y->text);
}

void
rfl_diags_sort(struct rfl_diags *d)
{
	size_t kept = 0;
	if (d->count > 1)
		qsort(d->items, d->count, sizeof *d->items, by_place);
	for (size_t i = 0; i < d->count; i++) {
		struct rfl_diag *one = &d->items[i];
		if (kept == 0 || by_place(&d->items[kept - 1], one) != 0) {
			d->items[kept++] = *one;
			continue;
		}
		*(one->severity == RFL_ERROR ? &d->errors : &d->warnings) -= 1;
		free_one(one);
	}
	d->count = kept;
}

static void
put_source(const struct rfl_diag *one, struct rfl_buf *out)
{
	uint32_t before = one->place.column > 0 ? one->place.column - 1 : 0;
	rfl_buf_printf(out, "%5u | ", one->place.line);
	for (const char *p = one->source; *p != '\0'; p++)
		rfl_buf_putc(out, *p == '\t' ? ' ' : *p);
	rfl_buf_printf(out, "\n      | %*s^", (int)before, "");
	for (uint32_t i = 1; i < one->width; i++)
		rfl_buf_putc(out, '~');
	if (one->hint != NULL)
		rfl_buf_printf(out, " %s", one->hint);
	rfl_buf_putc(out, '\n');
}

static void
put_sum(const struct rfl_diags *d, struct rfl_buf *out)
{
	if (d->errors > 0)
		rfl_buf_printf(out, "%zu error%s", d->errors, d->errors == 1 ? "" : "s");
	if (d->warnings > 0)
		rfl_buf_printf(out, "%s%zu warning%s", d->errors ? ", " : "", d->warnings,
			d->warnings == 1 ? "" : "s");
	rfl_buf_printf(out, " in %zu file%s%s\n", d->files, d->files == 1 ? "" : "s",
		d->errors ? "; nothing was started" : "");
}

void
rfl_diags_text(const struct rfl_diags *d, struct rfl_buf *out)
{
	for (size_t i = 0; i < d->count; i++) {
		const struct rfl_diag *one = &d->items[i];
		const char *kind = one->severity == RFL_ERROR ? "error" : "warning";
		if (one->place.line > 0)
			rfl_buf_printf(out, "%s:%u:%u: %s: %s [%s]\n", one->place.file,
				one->place.line, one->place.column, kind, one->text, one->code);
		else
			rfl_buf_printf(out, "%s: %s: %s [%s]\n", one->place.file, kind, one->text,
				one->code);
		if (one->source != NULL)
			put_source(one, out);
		else if (one->hint != NULL)
			rfl_buf_printf(out, "      | %s\n", one->hint);
	}
	if (d->count > 0)
		put_sum(d, out);
}

void
rfl_diags_json(const struct rfl_diags *d, struct rfl_buf *out)
{
	json_t *list = json_array();
	for (size_t i = 0; i < d->count; i++) {
		const struct rfl_diag *one = &d->items[i];
		char *file = rfl_utf8_mended(one->place.file), *says = rfl_utf8_mended(one->text);
		char *hint = rfl_utf8_mended(one->hint);
		json_array_append_new(list,
			json_pack("{s:s,s:s,s:s,s:I,s:I,s:s,s:s?}", "severity",
				one->severity == RFL_ERROR ? "error" : "warning", "code", one->code,
				"file", file, "line", (json_int_t)one->place.line, "column",
				(json_int_t)one->place.column, "message", says, "hint", hint));
		free(file);
		free(says);
		free(hint);
	}
	json_t *all = json_pack("{s:I,s:I,s:o}", "errors", (json_int_t)d->errors, "warnings",
		(json_int_t)d->warnings, "diagnostics", list);
	char *text = json_dumps(all, JSON_INDENT(2));
	rfl_buf_puts(out, text);
	rfl_buf_putc(out, '\n');
	free(text);
	json_decref(all);
}

void
rfl_diags_fini(struct rfl_diags *d)
{
	for (size_t i = 0; i < d->count; i++)
		free_one(&d->items[i]);
	free(d->items);
	*d = (struct rfl_diags)RFL_DIAGS_INIT;
}
