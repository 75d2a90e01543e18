/* What the guard's sources and sinks have in common. */
#include "plugin/guard_end.h"

#include "base/error.h"

#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

int
rfl_guard_end_init(struct rfl_guard_end *e, struct rfl_guard *g, const char *function, int fd,
	struct riffle_error *reterr)
{
	if (fd < 0) {
		rfl_guard_breach(g, "G02", function, "returned %d", fd);
		return rfl_guard_refuse(g, reterr);
	}
	*e = (struct rfl_guard_end){.g = g, .fd = fd, .quiet_fd = -1};
	return RIFFLE_OK;
}

void
rfl_guard_end_fini(struct rfl_guard_end *e)
{
	if (e->quiet_fd >= 0)
		close(e->quiet_fd);
}

int
rfl_guard_end_fd(struct rfl_guard_end *e)
{
	if (rfl_guard_is_open(e->g))
		return e->fd;
	if (e->quiet_fd < 0)
		e->quiet_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return e->quiet_fd;
}

int
rfl_guard_end_poll(struct rfl_guard_end *e, struct riffle_event *ev)
{
	ev->error = e->g->fault;
	ev->status = RIFFLE_E_FATAL;
	ev->type = RIFFLE_EV_ERROR;
	if (!e->is_told)
		return e->is_told = 1;
	ev->type = RIFFLE_EV_CLOSED;
	return e->is_closing && !e->is_closed ? (e->is_closed = 1) : 0;
}

/* Texts of a plugin end, whatever it wrote. */
static void
end_text(struct riffle_event *ev)
{
	ev->error.text[sizeof ev->error.text - 1] = '\0';
	if (ev->error.code == 0)
		ev->error.code = ev->status;
	if (ev->error.text[0] == '\0' && ev->status < 0)
		snprintf(ev->error.text, sizeof ev->error.text, "%s", rfl_status_name(ev->status));
}

int
rfl_guard_end_take(struct rfl_guard_end *e, const char *function, int rc, struct riffle_event *ev)
{
	struct rfl_guard *g = e->g;
	if (rc == 0)
		return 0;
	if (rc != 1)
		rfl_guard_breach(g, "G01", function, "returned %d, which is neither 0 nor 1", rc);
	else if (e->is_closed)
		rfl_guard_breach(g, "G07", function, "gave event %u after CLOSED", ev->type);
	else if (ev->type == RIFFLE_EV_CLOSED && !e->is_closing)
		rfl_guard_breach(g, "G06", function, "said CLOSED before it was asked to close");
	else if (ev->type == RIFFLE_EV_ERROR && (ev->status >= 0 || ev->status < RIFFLE_E_LAST))
		rfl_guard_breach(g, "G01", function, "gave an ERROR with status %d", ev->status);
	if (!rfl_guard_is_open(g))
		return 0;
	e->is_closed = ev->type == RIFFLE_EV_CLOSED;
	end_text(ev);
	return 1;
}
