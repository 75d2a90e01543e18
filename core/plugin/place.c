/* Finding a plugin's file, and judging it before a byte of it is loaded. */
#include "plugin/place.h"

#include "base/check.h"
#include "base/error.h"
#include "base/mem.h"
#include "plugin/descriptor.h"

#include <errno.h>
#include <limits.h>
#include <nettle/sha2.h>
#include <riffle/plugin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *
rfl_place_find(const struct rfl_plugin_places *places, uint32_t kind, const char *name)
{
	static const char *const endings[] = {"so", "la"};
	const char *prefix = kind == RIFFLE_KIND_INVOKER ? "invoker-" : "";
	if (!rfl_plugin_name_is_legal(name))
		return NULL;
	for (char *const *dir = places->dirs; *dir != NULL; dir++)
		for (size_t i = 0; i < RFL_COUNT(endings); i++) {
			char *path = rfl_sprintf("%s/%s%s.%s", *dir, prefix, name, endings[i]);
			if (access(path, F_OK) == 0)
				return path;
			free(path);
		}
	return NULL;
}

/* What is wrong with who may change it; NULL = nothing. text holds it. */
static const char *
owner_fault(const struct stat *st, char *text, size_t room)
{
	int shared = S_ISDIR(st->st_mode) && (st->st_mode & S_ISVTX);
	if (!shared && (st->st_mode & (S_IWGRP | S_IWOTH)))
		return "writable by others";
	if (st->st_uid == 0 || st->st_uid == geteuid())
		return NULL;
	snprintf(text, room, "owned by user %ld", (long)st->st_uid);
	return text;
}

static int
folders_fail(const char *path, struct riffle_error *reterr)
{
	char *folder = rfl_strdup(path), text[48];
	int rc = RIFFLE_OK;
	for (char *slash = strrchr(folder, '/'); slash != NULL && rc == RIFFLE_OK;
		slash = strrchr(folder, '/')) {
		struct stat st;
		int is_root = slash == folder;
		slash[is_root] = '\0';
		const char *fault = NULL;
		if (stat(folder, &st) < 0)
			rc = rfl_err(reterr, RIFFLE_E_UNSUPPORTED, "%s [R01]", strerror(errno));
		else if ((fault = owner_fault(&st, text, sizeof text)) != NULL)
			rc = rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
				"not a safe file to load: its folder %.160s is %s [R01]", folder,
				fault);
		if (is_root)
			break;
	}
	free(folder);
	return rc;
}

/* Links may lead from one file of a directory to another, not out of it. */
static int
leads_out(const struct rfl_plugin_places *places, const char *path, const char *resolved)
{
	const char *slash = strrchr(path, '/');
	for (char *const *dir = places->dirs; slash != NULL && *dir != NULL; dir++) {
		char real[PATH_MAX];
		if (strncmp(path, *dir, (size_t)(slash - path)) != 0 ||
			(*dir)[slash - path] != '\0' || realpath(*dir, real) == NULL)
			continue;
		size_t len = strlen(real);
		return strncmp(resolved, real, len) != 0 || resolved[len] != '/';
	}
	return 0;
}

static int
place_fails(const struct rfl_plugin_places *places, const char *path, const char *resolved,
	const struct stat *st, struct riffle_error *reterr)
{
	char text[48];
	const char *fault = owner_fault(st, text, sizeof text);
	if (fault != NULL)
		return rfl_err(
			reterr, RIFFLE_E_UNSUPPORTED, "not a safe file to load: %s [R01]", fault);
	if (places != NULL && leads_out(places, path, resolved))
		return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
			"not a safe file to load: it is a link out of its directory, to %.160s "
			"[R01]",
			resolved);
	return folders_fail(resolved, reterr);
}

static int
checksum(const char *path, char *ret_hex)
{
	struct sha256_ctx sha;
	uint8_t block[65536], digest[SHA256_DIGEST_SIZE];
	size_t n;
	FILE *in = fopen(path, "re");
	if (in == NULL)
		return -1;
	sha256_init(&sha);
	while ((n = fread(block, 1, sizeof block, in)) > 0)
		sha256_update(&sha, n, block);
	int failed = ferror(in);
	fclose(in);
	sha256_digest(&sha, sizeof digest, digest);
	for (size_t i = 0; i < sizeof digest; i++)
		snprintf(ret_hex + 2 * i, 3, "%02x", digest[i]);
	return failed ? -1 : 0;
}

/* The pin of a file: what stands behind "name:" where name is the file's without its ending. */
static const char *
pin_of(const struct rfl_plugin_places *places, const char *path)
{
	const char *base = strrchr(path, '/');
	base = base ? base + 1 : path;
	size_t len = strcspn(base, ".");
	for (char *const *pin = places->pins; pin != NULL && *pin != NULL; pin++)
		if (strncmp(*pin, base, len) == 0 && (*pin)[len] == ':')
			return *pin + len + 1;
	return NULL;
}

static int
pin_fails(const struct rfl_plugin_places *places, const char *path, const char *resolved,
	struct riffle_error *reterr)
{
	char hex[2 * SHA256_DIGEST_SIZE + 1];
	const char *pin = places ? pin_of(places, path) : NULL;
	if (pin == NULL)
		return RIFFLE_OK;
	if (checksum(resolved, hex) < 0)
		return rfl_err(
			reterr, RIFFLE_E_UNSUPPORTED, "cannot read it: %s [R01]", strerror(errno));
	if (strcmp(pin, hex) == 0)
		return RIFFLE_OK;
	return rfl_err(reterr, RIFFLE_E_UNSUPPORTED,
		"its SHA-256 is %s, plugin-sha256 says %.64s [R14]", hex, pin);
}

/* Whoever may set the variable may preload code as well: it opens no door. */
static int
is_insecure(const struct rfl_plugin_places *places)
{
	const char *env = secure_getenv("RIFFLE_INSECURE_PLUGINS");
	return (places != NULL && places->insecure) || (env != NULL && strcmp(env, "yes") == 0);
}

int
rfl_place_check(const struct rfl_plugin_places *places, const char *path, char **ret_path,
	struct stat *ret_stat, struct riffle_error *reterr)
{
	char *resolved = realpath(path, NULL);
	int rc = RIFFLE_OK;
	if (resolved == NULL || stat(resolved, ret_stat) < 0) {
		rc = rfl_err(reterr, errno == ENOENT ? RIFFLE_E_NOTFOUND : RIFFLE_E_UNSUPPORTED,
			"%s [R01]", strerror(errno));
	} else if (!S_ISREG(ret_stat->st_mode)) {
		rc = rfl_err(reterr, RIFFLE_E_UNSUPPORTED, "not a regular file [R01]");
	} else {
		if (!is_insecure(places))
			rc = place_fails(places, path, resolved, ret_stat, reterr);
		if (rc == RIFFLE_OK)
			rc = pin_fails(places, path, resolved, reterr);
	}
	if (rc < 0) {
		free(resolved);
		return rc;
	}
	*ret_path = resolved;
	return RIFFLE_OK;
}
