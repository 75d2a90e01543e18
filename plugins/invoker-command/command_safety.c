/* What a program may do: limits of resources, and the user it runs as. */
#include "command.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GROUPS_MAX 1024

static void
limit(struct command_safety *s, int resource, int64_t value)
{
	if (value > 0)
		s->limits[s->limit_count++] = (struct command_limit){resource, (rlim_t)value};
}

static int
look_up(struct command_safety *s, const char *user, struct riffle_error *reterr)
{
	char buf[16384];
	struct passwd pw, *found = NULL;
	int rc = getpwnam_r(user, &pw, buf, sizeof buf, &found);
	if (found == NULL)
		return command_fail(reterr, RIFFLE_E_CONFIG, 0, "user '%s': %s", user,
			rc ? strerror(rc) : "there is none");
	if (geteuid() != 0 && geteuid() != pw.pw_uid)
		return command_fail(reterr, RIFFLE_E_CONFIG, 0,
			"user '%s': only root can start a program as somebody else", user);
	if (geteuid() != 0)
		return RIFFLE_OK;
	int count = GROUPS_MAX;
	s->groups = command_alloc(GROUPS_MAX * sizeof *s->groups);
	if (getgrouplist(user, pw.pw_gid, s->groups, &count) < 0)
		return command_fail(reterr, RIFFLE_E_CONFIG, 0,
			"user '%s' is in more than %d groups", user, GROUPS_MAX);
	s->group_count = count;
	s->uid = pw.pw_uid;
	s->gid = pw.pw_gid;
	s->has_user = 1;
	return RIFFLE_OK;
}

int
command_safety_open(struct command_safety *s, const struct command_safety_options *o,
	struct riffle_error *reterr)
{
	*s = (struct command_safety){.limit_count = 0};
	/* Records may be in a core file, and it would lie wherever the program stood. */
	s->limits[s->limit_count++] = (struct command_limit){RLIMIT_CORE, 0};
	limit(s, RLIMIT_CPU, (o->cpu_ms + 999) / 1000);
	limit(s, RLIMIT_AS, o->memory);
	limit(s, RLIMIT_FSIZE, o->file_size);
	limit(s, RLIMIT_NOFILE, o->files);
	limit(s, RLIMIT_NPROC, o->processes);
	int rc = o->user ? look_up(s, o->user, reterr) : RIFFLE_OK;
	if (rc < 0)
		command_safety_close(s);
	return rc;
}

void
command_safety_close(struct command_safety *s)
{
	free(s->groups);
	s->groups = NULL;
}
