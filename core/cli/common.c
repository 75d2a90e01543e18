/* Options, configuration, tables and the daemon's socket, for all verbs. */
#include "cli/common.h"

#include "base/error.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/verb.h"

#include <curl/curl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define FORMATS "table|json|jsonl"

enum { KEY_SET = 0x1000, KEY_NO_COLOR };

static const struct argp_option options[] = {
	{"config", 'c', "FILE", 0, "the instance's file", 100},
	{"set", KEY_SET, "SECTION.KEY=VALUE", 0, "override a value of the file", 100},
	{"output-format", 'o', FORMATS, 0, "how lists are printed", 100},
	{"no-color", KEY_NO_COLOR, NULL, 0, "no colours, as with NO_COLOR", 100},
	{0},
};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct rfl_common *c = state->input;
	int choice;
	switch (key) {
	case 'c':
		c->file = arg;
		return 0;
	case 'o':
		choice = rfl_choice(FORMATS, arg);
		if (choice < 0)
			argp_error(state, "-o %s: table, json or jsonl is meant", arg);
		c->format = (enum rfl_format)choice;
		return 0;
	case KEY_NO_COLOR:
		c->no_color = 1;
		return 0;
	case KEY_SET:
		rfl_grow(&c->sets, &c->set_room, c->set_count + 2, sizeof *c->sets);
		c->sets[c->set_count++] = arg;
		c->sets[c->set_count] = NULL;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

const struct argp rfl_common_argp = {.options = options, .parser = parse};

int
rfl_common_load(struct rfl_common *c, int quiet)
{
	struct rfl_diags diags = RFL_DIAGS_INIT;
	struct rfl_buf text = RFL_BUF_INIT;
	if (c->file == NULL)
		c->file = c->found_file = rfl_conf_default_file();
	if (c->file == NULL) {
		fprintf(stderr, "riffle: no configuration: name one with -c, or in $RIFFLE_CONFIG, "
				"or put it in "
				"./riffle.ini or /etc/riffle/riffle.ini\n");
		return RFL_EXIT_CONFIG;
	}
	c->plugins = rfl_plugins_create();
	const struct rfl_conf_finder finder = rfl_plugins_finder(c->plugins);
	const struct rfl_conf_request request = {
		.file = c->file, .sets = c->sets, .finder = &finder, .calls_nothing = quiet};
	int rc = rfl_conf_load(&request, &diags, &c->conf);
	if (diags.errors > 0 || !quiet) {
		rfl_diags_text(&diags, &text);
		fputs(rfl_buf_str(&text), stderr);
	}
	rfl_buf_fini(&text);
	rfl_diags_fini(&diags);
	if (rc == RIFFLE_E_UNSUPPORTED)
		return RFL_EXIT_REFUSED;
	return rc < 0 ? RFL_EXIT_CONFIG : 0;
}

void
rfl_common_fini(struct rfl_common *c)
{
	rfl_conf_free(c->conf);
	rfl_plugins_destroy(c->plugins);
	free(c->found_file);
	free(c->only_dir[0]);
	free(c->sets);
	*c = (struct rfl_common){.file = NULL};
}

static size_t
collect(char *data, size_t size, size_t n, void *into)
{
	rfl_buf_add(into, data, size * n);
	return size * n;
}

int
rfl_admin_get(
	const struct rfl_common *c, const char *path, char **ret_body, struct riffle_error *reterr)
{
	struct rfl_buf body = RFL_BUF_INIT;
	long status = 0, os_errno = 0;
	if (c->conf->runtime.admin == NULL)
		return rfl_err(reterr, RIFFLE_E_UNAVAILABLE,
			"the instance has no admin socket (admin = none)");
	CURL *curl = curl_easy_init();
	if (curl == NULL)
		return rfl_err(reterr, RIFFLE_E_FATAL, "cannot start libcurl");
	char *url = rfl_sprintf("http://riffle%s", path);
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, c->conf->runtime.admin);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 5000L);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
	CURLcode rc = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &os_errno);
	curl_easy_cleanup(curl);
	free(url);
	if (rc != CURLE_OK) {
		rfl_buf_fini(&body);
		return rfl_err(reterr, RIFFLE_E_UNAVAILABLE, "no instance answers on %s: %s",
			c->conf->runtime.admin,
			rc == CURLE_COULDNT_CONNECT && os_errno != 0 ? strerror((int)os_errno)
								     : curl_easy_strerror(rc));
	}
	*ret_body = rfl_buf_take(&body);
	return (int)status;
}

int
rfl_failed(const char *verb, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	char *text = rfl_vsprintf(fmt, ap);
	va_end(ap);
	fprintf(stderr, "riffle %s: %s\n", verb, text);
	free(text);
	return RFL_EXIT_FAILED;
}

int
rfl_failed_err(const char *verb, const struct riffle_error *err)
{
	return rfl_failed(verb, "%s", err->text);
}
