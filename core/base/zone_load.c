/* A zone by its name: the file of the tz database. */
#include "base/error.h"
#include "base/mem.h"
#include "base/zone.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX ((size_t)256 * 1024)

/* A name is a path below the database, and leads nowhere else. */
static int
is_name(const char *s)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-/";
	return s[0] != '\0' && s[0] != '/' && strlen(s) < 64 && s[strspn(s, allowed)] == '\0';
}

int
rfl_zone_load(
	const char *dir, const char *name, struct rfl_zone **ret_zone, struct riffle_error *reterr)
{
	if (!is_name(name))
		return rfl_err(reterr, RIFFLE_E_NOTFOUND, "'%s' is no name of a time zone", name);
	char *path = rfl_sprintf("%s/%s", dir, name);
	FILE *in = fopen(path, "re");
	free(path);
	if (in == NULL)
		return rfl_err(reterr, RIFFLE_E_NOTFOUND, "there is no time zone '%s' in %s: %s",
			name, dir, strerror(errno));
	unsigned char *bytes = rfl_alloc(FILE_MAX);
	size_t len = fread(bytes, 1, FILE_MAX, in);
	int failed = ferror(in) || len == FILE_MAX;
	fclose(in);
	int rc = failed ? rfl_err(reterr, RIFFLE_E_DATA, "cannot read time zone '%s'", name)
			: rfl_zone_parse((struct riffle_bytes){bytes, len}, ret_zone, reterr);
	free(bytes);
	return rc;
}
