/* What the host's threads do to a call: put records in, grant credit, end, cancel. */
#include "command.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const passed_on[] = {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"};

static char *
pair(const char *name, const char *value, size_t value_len)
{
	size_t len = strlen(name);
	char *s = command_alloc(len + value_len + 2);
	memcpy(s, name, len);
	s[len] = '=';
	memcpy(s + len + 1, value, value_len);
	return s;
}

/* riffle-window-start becomes RIFFLE_WINDOW_START; a value with a NUL cannot be passed. */
static char *
from_header(const struct riffle_header *h)
{
	char name[64];
	size_t n = h->name.len < sizeof name - 1 ? h->name.len : sizeof name - 1;
	if (h->value.ptr == NULL || memchr(h->value.ptr, '\0', h->value.len) != NULL)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		char c = ((const char *)h->name.ptr)[i];
		name[i] = isalnum((unsigned char)c) ? (char)toupper((unsigned char)c) : '_';
	}
	name[n] = '\0';
	return pair(name, h->value.ptr, h->value.len);
}

static char **
make_environment(const struct command *c, const struct riffle_call_spec *spec)
{
	size_t n = 0, room = sizeof passed_on / sizeof passed_on[0] + spec->header_count + 1;
	for (const char *const *e = c->env; e != NULL && *e != NULL; e++)
		room++;
	char **list = command_alloc(room * sizeof *list);
	for (size_t i = 0; i < sizeof passed_on / sizeof passed_on[0]; i++) {
		const char *value = getenv(passed_on[i]);
		if (value != NULL)
			list[n++] = pair(passed_on[i], value, strlen(value));
	}
	for (const char *const *e = c->env; e != NULL && *e != NULL; e++) {
		const char *value = strchr(*e, '=') ? NULL : getenv(*e);
		if (strchr(*e, '=') != NULL)
			list[n++] = strcpy(command_alloc(strlen(*e) + 1), *e);
		else if (value != NULL)
			list[n++] = pair(*e, value, strlen(value));
	}
	for (uint32_t i = 0; i < spec->header_count; i++) {
		char *one = from_header(&spec->headers[i]);
		if (one != NULL)
			list[n++] = one;
	}
	return list;
}

int
command_call_begin(void *self, const struct riffle_call_spec *spec,
	const struct riffle_call_events *events, void *data, void **ret_call,
	struct riffle_error *reterr)
{
	struct command *owner = self;
	COMMAND_CHECK(owner, COMMAND_MAGIC);
	(void)reterr;
	struct command_call *c = command_alloc(sizeof *c);
	c->magic = COMMAND_CALL_MAGIC;
	c->owner = owner;
	c->events = events;
	c->data = data;
	c->last = &c->first;
	c->output_count = spec->output_count;
	c->kill_at_ns = INT64_MAX;
	const char *type = spec->output_count > 0 ? spec->output_types[0] : "";
	c->type = strcpy(command_alloc(strlen(type) + 1), type);
	c->environment = make_environment(owner, spec);
	for (int i = 0; i <= COMMAND_PIPES; i++)
		c->watch[i] = (struct command_watch){.call = c, .fd = -1};
	pthread_mutex_lock(&owner->lock);
	c->next = owner->fresh;
	owner->fresh = c;
	pthread_mutex_unlock(&owner->lock);
	command_poller_kick(owner);
	*ret_call = c;
	return RIFFLE_OK;
}

static size_t
line_bytes(const struct riffle_batch *b, uint32_t i)
{
	return riffle_batch_at(b, i)->value.len + 1;
}

int
command_call_push(void *call, struct riffle_batch *batch, uint32_t first, uint32_t count,
	struct riffle_error *reterr)
{
	struct command_call *c = call;
	COMMAND_CHECK(c, COMMAND_CALL_MAGIC);
	struct command *owner = c->owner;
	int rc = command_check_lines(batch, first, count, reterr);
	if (rc < 0) {
		pthread_mutex_lock(&owner->lock);
		c->refused = *reterr;
		pthread_mutex_unlock(&owner->lock);
		command_poller_kick(owner);
		return rc;
	}
	struct command_piece *p = command_alloc(sizeof *p);
	p->batch = batch;
	p->next_record = p->end = first;
	pthread_mutex_lock(&owner->lock);
	int is_over = c->is_over;
	while (!is_over && p->end < first + count && c->staged_bytes < COMMAND_STAGED_MAX)
		c->staged_bytes += line_bytes(batch, p->end++);
	uint32_t took = is_over ? count : p->end - first;
	c->wants_room = took < count;
	if (took > 0 && !is_over) {
		owner->host->batch_ref(owner->host, batch);
		*c->last = p;
		c->last = &p->next;
	}
	pthread_mutex_unlock(&owner->lock);
	if (took == 0 || is_over)
		free(p);
	command_poller_kick(owner);
	return (int)took;
}

int
command_call_end(void *call, struct riffle_error *reterr)
{
	struct command_call *c = call;
	COMMAND_CHECK(c, COMMAND_CALL_MAGIC);
	(void)reterr;
	pthread_mutex_lock(&c->owner->lock);
	c->input_ended = 1;
	pthread_mutex_unlock(&c->owner->lock);
	command_poller_kick(c->owner);
	return RIFFLE_OK;
}

void
command_call_read(void *call, size_t bytes)
{
	struct command_call *c = call;
	COMMAND_CHECK(c, COMMAND_CALL_MAGIC);
	pthread_mutex_lock(&c->owner->lock);
	c->credit += bytes;
	pthread_mutex_unlock(&c->owner->lock);
	command_poller_kick(c->owner);
}

void
command_call_cancel(void *call, int reason)
{
	struct command_call *c = call;
	COMMAND_CHECK(c, COMMAND_CALL_MAGIC);
	pthread_mutex_lock(&c->owner->lock);
	if (c->cancel == 0)
		c->cancel = reason;
	pthread_mutex_unlock(&c->owner->lock);
	command_poller_kick(c->owner);
}

void
command_call_drop_input(struct command_call *c)
{
	const struct riffle_host *host = c->owner->host;
	while (c->first != NULL) {
		struct command_piece *p = c->first;
		c->first = p->next;
		host->batch_unref(host, p->batch);
		free(p);
	}
	c->last = &c->first;
	c->staged_bytes = 0;
}

/* The poller let it go before it said done. */
void
command_call_destroy(void *call)
{
	struct command_call *c = call;
	if (c == NULL)
		return;
	COMMAND_CHECK(c, COMMAND_CALL_MAGIC);
	command_assert(c->first == NULL);
	for (char **e = c->environment; *e != NULL; e++)
		free(*e);
	c->magic = 0;
	free(c->environment);
	free(c->type);
	free(c->out.data);
	free(c->err.data);
	free(c);
}
