/* Whose a log is: what root makes in somebody's directory is theirs, for their daemon must be able to open it. */
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Are we root, and the directory that path lies in somebody else's? */
static int
is_anothers(const char *path, struct stat *ret_dir)
{
	if (geteuid() != 0)
		return 0;
	char *copy = local_strdup(path);
	int rc = stat(dirname(copy), ret_dir);
	free(copy);
	return rc == 0 && ret_dir->st_uid != 0;
}

/* fd, which may be -1, is of what was just made. Where it cannot be given away it stays root's. */
static void
give(int fd, const struct stat *dir)
{
	struct stat st;
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && st.st_uid == 0)
		(void)!fchown(fd, dir->st_uid, dir->st_gid);
	close(fd);
}

int
local_make_dir(const char *path)
{
	struct stat dir;
	if (mkdir(path, 0700) < 0)
		return errno == EEXIST ? 0 : -1;
	if (is_anothers(path, &dir))
		give(open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), &dir);
	return 0;
}

/* Nothing but what we made is given away: what is there already may be a link to somebody's file. */
void
local_make_file(const char *path)
{
	struct stat dir;
	if (is_anothers(path, &dir))
		give(open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600), &dir);
}

/* Of what cannot be looked at, the directory above it is the one that keeps us out. */
void
local_whose(const char *path, char *text, size_t size)
{
	struct passwd entry, *found = NULL;
	struct stat st;
	char room[1024], *at = local_strdup(path);
	/* dirname cuts off in place, or answers "." or "/", which can be looked at. */
	const char *up = at;
	while (stat(up, &st) < 0 && strcmp(up, "/") != 0 && strcmp(up, ".") != 0)
		up = dirname(at);
	if (stat(up, &st) < 0)
		text[0] = '\0';
	else if (getpwuid_r(st.st_uid, &entry, room, sizeof room, &found) == 0 && found != NULL)
		snprintf(text, size, "; %s belongs to %s", up, found->pw_name);
	else
		snprintf(text, size, "; %s belongs to user %ld", up, (long)st.st_uid);
	free(at);
}
