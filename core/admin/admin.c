/* The HTTP side of the admin socket. */
#include "admin/admin.h"

#include "admin/render.h"
#include "base/check.h"
#include "base/error.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ADMIN_MAGIC 0x41444d4eu
#define CONNECTIONS_MAX 64
#define TIMEOUT_S 5

struct rfl_admin {
	uint32_t magic;
	char *path;
	struct rfl_admin_source source;
	struct MHD_Daemon *daemon;
};

struct reply {
	unsigned status;
	char *body;
};

static struct reply
not_found(void)
{
	return (struct reply){404, rfl_render_error("there is nothing under this path")};
}

static struct reply
ready(struct rfl_admin *a)
{
	struct rfl_status *s = NULL;
	struct riffle_error err = {0};
	int is_ready;
	int rc = a->source.status(a->source.ctx, &s, &err);
	char *body = rfl_render_ready(s, rc < 0 ? err.text : NULL, &is_ready);
	rfl_status_free(s);
	return (struct reply){is_ready ? 200 : 503, body};
}

static struct reply
processors(struct rfl_admin *a, const char *name)
{
	struct rfl_status *s;
	struct riffle_error err = {0};
	if (a->source.status(a->source.ctx, &s, &err) < 0)
		return (struct reply){503, rfl_render_error(err.text)};
	char *body = name[0] ? rfl_render_processor(s, name) : rfl_render_processors(s);
	rfl_status_free(s);
	return body ? (struct reply){200, body} : not_found();
}

static struct reply
answer(struct rfl_admin *a, const char *method, const char *url)
{
	static const char list[] = "/v1/processors";
	if (strcmp(method, "GET") != 0)
		return (struct reply){405, rfl_render_error("only GET is answered here")};
	if (strcmp(url, "/healthz") == 0)
		return (struct reply){200, rfl_strdup("{\"ok\":true}")};
	if (strcmp(url, "/readyz") == 0)
		return ready(a);
	if (strncmp(url, list, sizeof list - 1) != 0)
		return not_found();
	const char *rest = url + sizeof list - 1;
	if (rest[0] == '\0')
		return processors(a, "");
	return rest[0] == '/' && rest[1] != '\0' ? processors(a, rest + 1) : not_found();
}

static enum MHD_Result
on_request(void *ctx, struct MHD_Connection *connection, const char *url, const char *method,
	const char *version, const char *upload, size_t *upload_size, void **state)
{
	struct rfl_admin *a = ctx;
	(void)version, (void)upload, (void)state;
	RFL_CHECK(a, ADMIN_MAGIC);
	if (*upload_size > 0) {
		*upload_size = 0;
		return MHD_YES;
	}
	struct reply r = answer(a, method, url);
	struct MHD_Response *response =
		MHD_create_response_from_buffer(strlen(r.body), r.body, MHD_RESPMEM_MUST_FREE);
	MHD_add_response_header(response, "Content-Type", "application/json");
	enum MHD_Result rc = MHD_queue_response(connection, r.status, response);
	MHD_destroy_response(response);
	return rc;
}

/* 1 = somebody answers there. */
static int
is_alive(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int alive = fd >= 0 && connect(fd, (const struct sockaddr *)addr, sizeof *addr) == 0;
	if (fd >= 0)
		close(fd);
	return alive;
}

static int
listen_on(const char *path, int *ret_fd, struct riffle_error *reterr)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof addr.sun_path)
		return rfl_err(reterr, RIFFLE_E_CONFIG,
			"the path of the admin socket is too long: %s", path);
	strcpy(addr.sun_path, path);
	if (is_alive(&addr))
		return rfl_err(reterr, RIFFLE_E_UNAVAILABLE,
			"another riffle answers on the admin socket %s", path);
	unlink(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t before = umask(0117);
	int failed = fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0 ||
		     listen(fd, CONNECTIONS_MAX) < 0;
	int why = errno;
	umask(before);
	if (failed) {
		if (fd >= 0)
			close(fd);
		return rfl_err(reterr, RIFFLE_E_UNAVAILABLE, "cannot listen on %s: %s", path,
			strerror(why));
	}
	*ret_fd = fd;
	return RIFFLE_OK;
}

int
rfl_admin_start(const char *path, const struct rfl_admin_source *source,
	struct rfl_admin **ret_admin, struct riffle_error *reterr)
{
	int fd = -1;
	int rc = listen_on(path, &fd, reterr);
	if (rc < 0)
		return rc;
	struct rfl_admin *a = rfl_zalloc(sizeof *a);
	a->magic = ADMIN_MAGIC;
	a->path = rfl_strdup(path);
	a->source = *source;
	a->daemon = MHD_start_daemon(MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL,
		on_request, a, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
		(unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)TIMEOUT_S,
		MHD_OPTION_END);
	if (a->daemon == NULL) {
		close(fd);
		unlink(path);
		free(a->path);
		free(a);
		return rfl_err(reterr, RIFFLE_E_FATAL, "cannot start the HTTP server on %s", path);
	}
	*ret_admin = a;
	return RIFFLE_OK;
}

void
rfl_admin_stop(struct rfl_admin *a)
{
	if (a == NULL)
		return;
	RFL_CHECK(a, ADMIN_MAGIC);
	MHD_stop_daemon(a->daemon);
	unlink(a->path);
	RFL_RETIRE(a);
	free(a->path);
	free(a);
}
