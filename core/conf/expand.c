/* Expansion of ${...}. */
#include "conf/expand.h"

#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECRET_MAX 65536

/* A file's text without the newline at its end. 0, or -1 after a finding. */
static int
put_file(struct rfl_doc *doc, const struct rfl_entry *e, const char *path, struct rfl_buf *out)
{
	char *full = path[0] == '/' ? rfl_strdup(path) : rfl_sprintf("%s/%s", e->dir, path);
	char text[SECRET_MAX + 1];
	FILE *in = fopen(full, "re");
	size_t n = in ? fread(text, 1, sizeof text, in) : 0;
	int failed = in == NULL || ferror(in);
	if (failed)
		rfl_entry_error(doc, e, "C013", NULL, "cannot read %s: %s", full, strerror(errno));
	else if (n > SECRET_MAX || memchr(text, '\0', n) != NULL)
		rfl_entry_error(doc, e, "C013", NULL, "%s is larger than %d bytes, or holds a NUL",
			full, SECRET_MAX);
	else if (n == 0)
		rfl_entry_error(doc, e, "C013", NULL, "%s is empty", full);
	if (in != NULL)
		fclose(in);
	free(full);
	if (failed || n == 0 || n > SECRET_MAX || memchr(text, '\0', n) != NULL)
		return -1;
	n -= text[n - 1] == '\n';
	rfl_buf_add(out, text, n);
	return 0;
}

static int
put_credential(
	struct rfl_doc *doc, const struct rfl_entry *e, const char *name, struct rfl_buf *out)
{
	const char *dir = secure_getenv("CREDENTIALS_DIRECTORY");
	if (dir == NULL || strchr(name, '/') != NULL) {
		rfl_entry_error(doc, e, "C013", NULL, "credential '%s': %s", name,
			dir ? "a name has no slash" : "$CREDENTIALS_DIRECTORY is not set");
		return -1;
	}
	char *path = rfl_sprintf("%s/%s", dir, name);
	int rc = put_file(doc, e, path, out);
	free(path);
	return rc;
}

static int
put_variable(struct rfl_doc *doc, const struct rfl_entry *e, char *inside, struct rfl_buf *out)
{
	size_t len =
		strspn(inside, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
	char op = inside[len] == ':' ? inside[len + 1] : '\0';
	if (len == 0 || (inside[len] != '\0' && op != '-' && op != '?')) {
		rfl_entry_error(doc, e, "C013",
			"${NAME}, ${NAME:-default}, ${NAME:?message}, ${file:path}, ${cred:name}",
			"'${%s}' is not one of the forms there are", inside);
		return -1;
	}
	const char *rest = op != '\0' ? inside + len + 2 : NULL;
	inside[len] = '\0';
	const char *value = getenv(inside);
	if (value == NULL || (op != '\0' && value[0] == '\0'))
		value = op == '-' ? rest : op == '?' ? NULL : value;
	if (value == NULL) {
		rfl_entry_error(doc, e, "C013", NULL, "$%s is not set%s%s", inside,
			op == '?' ? ": " : "", op == '?' ? rest : "");
		return -1;
	}
	rfl_buf_puts(out, value);
	return 0;
}

static int
put_one(struct rfl_doc *doc, const struct rfl_entry *e, char *inside, struct rfl_buf *out)
{
	if (strncmp(inside, "file:", 5) == 0)
		return put_file(doc, e, inside + 5, out);
	if (strncmp(inside, "cred:", 5) == 0)
		return put_credential(doc, e, inside + 5, out);
	return put_variable(doc, e, inside, out);
}

char *
rfl_expand(struct rfl_doc *doc, const struct rfl_entry *e, const char *text)
{
	struct rfl_buf out = RFL_BUF_INIT;
	int rc = 0;
	for (const char *p = text; *p != '\0' && rc == 0;) {
		if (p[0] == '$' && p[1] == '$') {
			rfl_buf_putc(&out, '$');
			p += 2;
		} else if (p[0] == '$' && p[1] == '{') {
			const char *end = strchr(p, '}');
			if (end == NULL) {
				rfl_entry_error(doc, e, "C013", NULL, "'${' is not closed");
				rc = -1;
				break;
			}
			char *inside = rfl_strndup(p + 2, (size_t)(end - p - 2));
			rc = put_one(doc, e, inside, &out);
			free(inside);
			p = end + 1;
		} else {
			rfl_buf_putc(&out, *p++);
		}
	}
	char *result = rc == 0 ? rfl_arena_strdup(doc->arena, rfl_buf_str(&out)) : NULL;
	rfl_buf_fini(&out);
	return result;
}
