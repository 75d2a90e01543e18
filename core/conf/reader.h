/*
 * From the text of the files to sections and entries, each with its place.
 *
 * inih parses; but what it is given is only "[N]" for the n-th header and "N=" for the n-th key of a
 * file, because by itself it cuts long lines and names, takes an indented key for the rest of the value
 * above, and has no line numbers. The text of names and values stays with us.
 *
 * Lexical rules. A line is blank, a comment (; or # first), `[kind name]`, `key = value`, or, indented,
 * the next line of a value that began with nothing after its `=`. A BOM and CRLF are accepted; NUL,
 * UTF-16 and invalid UTF-8 are errors. ` ;` and ` #` begin a comment except between quotes; a value that
 * is one whole "..." or '...' loses its quotes. Later files override earlier ones key by key; the same
 * key or section twice in one file is an error.
 */
#ifndef RFL_CONF_READER_H
#define RFL_CONF_READER_H

#include "conf/arena.h"
#include "conf/diag.h"

/* A line of a continuation, without its indentation. */
struct rfl_entry_line {
	char *text, *source;
	struct rfl_place place; /* of its first word */
};

struct rfl_entry {
	char *key, *value; /* before expansion */
	char *quoted;      /* the value with the quotes around it, where words are split */
	struct rfl_place key_place, place;
	char *source;                 /* the line, for findings */
	struct rfl_entry_line *lines; /* where the value is a continuation; else none */
	size_t line_count;
	char *dir; /* of the file: relative paths begin there */
	int secret, used;
	int broken; /* its value could not be read, and a finding says so */
	unsigned file_number;
};

struct rfl_section {
	char *kind, *name; /* name "" where there is none */
	struct rfl_place place;
	char *source;
	struct rfl_entry *entries;
	size_t entry_count, entry_room;
	unsigned file_number; /* of its newest header */
};

struct rfl_doc {
	struct rfl_conf_memory *arena;
	struct rfl_diags *diags;
	struct rfl_section *sections; /* in the order in which they first appear */
	size_t section_count, section_room;
	unsigned files;
};

/* Adds one file. 0, or -1 when it cannot be read (a finding says why). */
int rfl_doc_read(struct rfl_doc *doc, const char *path);
/* "SECTION.KEY=VALUE" of the command line; SECTION is "runtime" or "processor.name". */
void rfl_doc_set(struct rfl_doc *doc, const char *text, const char *dir);
struct rfl_section *rfl_doc_section(struct rfl_doc *doc, const char *kind, const char *name);
struct rfl_entry *rfl_section_entry(const struct rfl_section *s, const char *key);
void rfl_doc_fini(struct rfl_doc *doc); /* not the arena */

/* A finding at an entry's value, or at its key; a secret's line is not shown. */
void rfl_entry_error(struct rfl_doc *doc, const struct rfl_entry *e, const char *code,
	const char *hint, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void rfl_entry_warning(struct rfl_doc *doc, const struct rfl_entry *e, const char *code,
	const char *hint, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void rfl_key_error(struct rfl_doc *doc, const struct rfl_entry *e, const char *code,
	const char *hint, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void rfl_section_error(struct rfl_doc *doc, const struct rfl_section *s, const char *code,
	const char *hint, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void rfl_section_warning(struct rfl_doc *doc, const struct rfl_section *s, const char *code,
	const char *hint, const char *fmt, ...) __attribute__((format(printf, 5, 6)));

#endif
