/* The groups of a stream: those that have positions in it, and those of the processors that read it. */
#include "cli/stream.h"

#include "base/error.h"
#include "base/mem.h"
#include "conf/value.h"

#include <stdlib.h>
#include <string.h>

/* As many as are named when one is not among them. */
#define SHOWN_MAX 3

struct names {
	char **list;
	size_t count, room;
};

static void
add(struct names *n, char *name)
{
	for (size_t i = 0; i < n->count; i++)
		if (strcmp(n->list[i], name) == 0) {
			free(name);
			return;
		}
	rfl_grow(&n->list, &n->room, n->count + 1, sizeof *n->list);
	n->list[n->count++] = name;
}

static int
add_those_with_positions(struct names *n, struct rfl_client *c, const struct riffle_positions *p,
	struct riffle_error *reterr)
{
	struct riffle_group_list *groups;
	int rc = p->groups(c->instance->bare, &c->stream->stream, &groups, reterr);
	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < groups->group_count; i++) {
		const struct riffle_group_info *g = (const void *)((const char *)groups->groups +
								   (size_t)i * groups->group_size);
		add(n, rfl_strdup(g->name));
	}
	groups->release(groups);
	return RIFFLE_OK;
}

static void
add_those_of_processors(
	struct names *n, const struct rfl_conf *conf, const struct rfl_stream_conf *s)
{
	for (size_t i = 0; i < conf->processor_count; i++)
		for (size_t k = 0; k < conf->processors[i]->input_count; k++)
			if (conf->processors[i]->inputs[k].stream == s)
				add(n, rfl_conf_group(conf->processors[i], s->provider));
}

/* Whatever is left is brought forward by its distance; there are few. */
static void
put_nearest_first(const struct names *n, const char *group, struct rfl_buf *out)
{
	for (size_t i = 0; i < n->count && i < SHOWN_MAX; i++) {
		size_t best = i;
		for (size_t k = i + 1; k < n->count; k++)
			if (rfl_value_distance(group, n->list[k]) <
				rfl_value_distance(group, n->list[best]))
				best = k;
		char *name = n->list[best];
		n->list[best] = n->list[i];
		n->list[i] = name;
		rfl_buf_printf(out, "%s\"%s\"", i > 0 ? ", " : ": there are ", name);
	}
	if (n->count > SHOWN_MAX)
		rfl_buf_printf(out, " and %zu more", n->count - SHOWN_MAX);
}

int
rfl_stream_find_group(const struct rfl_common *common, struct rfl_client *client,
	const struct riffle_positions *positions, const char *group, const char *cure,
	struct riffle_error *reterr)
{
	struct names n = {.list = NULL};
	struct rfl_buf known = RFL_BUF_INIT;
	int found = 0, rc = add_those_with_positions(&n, client, positions, reterr);
	add_those_of_processors(&n, common->conf, client->stream);
	for (size_t i = 0; i < n.count; i++)
		found |= strcmp(n.list[i], group) == 0;
	put_nearest_first(&n, group, &known);
	if (rc == RIFFLE_OK && !found)
		rc = rfl_err(reterr, RIFFLE_E_NOTFOUND, "no group \"%s\" reads stream \"%s\"%s%s",
			group, client->stream->name, cure, rfl_buf_str(&known));
	for (size_t i = 0; i < n.count; i++)
		free(n.list[i]);
	free(n.list);
	rfl_buf_fini(&known);
	return rc;
}
