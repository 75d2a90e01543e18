/* The invoker "grpc": its options, its instances, its descriptor. */
#include "rpc.h"

#include <grpc/support/log.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum option {
	OPT_ADDRESS,
	OPT_COMMAND,
	OPT_ENV,
	OPT_DIR,
	OPT_GRACE,
	OPT_REPLIES,
	OPT_MIN_REPLIES,
	OPT_IN_FLIGHT,
	OPT_MAX_MESSAGE,
	OPT_MAX_OUTPUT,
	OPT_KEEPALIVE,
	OPT_KEEPALIVE_TIMEOUT,
	OPT_CONNECT_TIMEOUT,
	OPT_TLS,
	OPT_CA,
	OPT_CERT,
	OPT_KEY,
	OPT_SERVER_NAME
};

static const char *const replies[] = {"any", "one-per-record", NULL};

static const struct riffle_option options[] = {
	[OPT_ADDRESS] = {"address", RIFFLE_OPT_STRING, 0, NULL, 0, 0, NULL,
		"Where the function's server listens: host:port, [address]:port or unix:path."},
	[OPT_COMMAND] = {"command", RIFFLE_OPT_ARGV, 0, NULL, 0, 0, NULL,
		"The server's program and its arguments, split as sh splits words: riffle starts "
		"it, "
		"keeps it running and stops it; it listens on the port in GRPC_PORT."},
	[OPT_ENV] = {"env", RIFFLE_OPT_LIST, 0, NULL, 0, 0, NULL,
		"NAME=VALUE to set for `command`, or NAME to pass on; it gets these, PATH, HOME, "
		"LANG, LC_ALL, TZ, TMPDIR and GRPC_PORT."},
	[OPT_DIR] = {"dir", RIFFLE_OPT_PATH, 0, NULL, 0, 0, NULL,
		"The directory `command` runs in."},
	[OPT_GRACE] = {"grace", RIFFLE_OPT_DURATION, 0, "5s", 0, 3600000, NULL,
		"How long after SIGTERM the program of `command` is killed."},
	[OPT_REPLIES] = {"replies", RIFFLE_OPT_ENUM, 0, "any", 0, 0, replies,
		"one-per-record: the function answers each record once; the input then ends after "
		"the last reply, and a call with fewer fails."},
	[OPT_MIN_REPLIES] = {"min-replies", RIFFLE_OPT_INT, 0, "0", 0, INT64_C(1) << 40, NULL,
		"A call that ends with OK and fewer answers than this fails."},
	[OPT_IN_FLIGHT] = {"in-flight", RIFFLE_OPT_INT, 0, "512", 1, 1000000, NULL,
		"With one-per-record, the most records sent and not yet replied to, for each "
		"call."},
	[OPT_MAX_MESSAGE] = {"max-message", RIFFLE_OPT_SIZE, 0, "16MiB", 1, 1 << 30, NULL,
		"The largest message it may answer."},
	[OPT_MAX_OUTPUT] = {"max-output", RIFFLE_OPT_SIZE, 0, "64MiB", 1, INT64_C(1) << 40, NULL,
		"The most it may answer for one window."},
	[OPT_KEEPALIVE] = {"keepalive", RIFFLE_OPT_DURATION, 0, "5m", 1000, INT32_MAX, NULL,
		"How long a connection with open calls may be silent before it is pinged; servers "
		"may hang up on whoever pings more often than they allow."},
	[OPT_KEEPALIVE_TIMEOUT] = {"keepalive-timeout", RIFFLE_OPT_DURATION, 0, "20s", 10,
		INT32_MAX, NULL, "How long the answer to such a ping may take."},
	[OPT_CONNECT_TIMEOUT] = {"connect-timeout", RIFFLE_OPT_DURATION, 0, "5s", 10, INT32_MAX,
		NULL, "How long one attempt to connect may take."},
	[OPT_TLS] = {"tls", RIFFLE_OPT_BOOL, 0, NULL, 0, 0, NULL,
		"yes: TLS with a check of the server's certificate and name; no: plaintext. Must "
		"be "
		"written unless the address is of this machine, where no is the default."},
	[OPT_CA] = {"ca", RIFFLE_OPT_PATH, 0, NULL, 0, 0, NULL,
		"PEM file with the certificates that are trusted; the system's without it."},
	[OPT_CERT] = {"cert", RIFFLE_OPT_PATH, 0, NULL, 0, 0, NULL,
		"PEM file with the client's certificate."},
	[OPT_KEY] = {"key", RIFFLE_OPT_PATH, 0, NULL, 0, 0, NULL,
		"PEM file with the client's private key."},
	[OPT_SERVER_NAME] = {"server-name", RIFFLE_OPT_STRING, 0, NULL, 0, 0, NULL,
		"The name the server's certificate must have, where it is not the address's host."},
};

static const struct riffle_option_table tables[] = {{
	.size = sizeof tables[0],
	.section = RIFFLE_SECTION_FUNCTION,
	.option_size = sizeof options[0],
	.option_count = sizeof options / sizeof options[0],
	.options = options,
}};

int64_t
rpc_now_ns(const struct rpc *c)
{
	return c->host->mono_ns(c->host);
}

void
rpc_log(const struct rpc *c, int level, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	if (!c->host->log_enabled(c->host, level))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	c->host->log(c->host, level, text);
}

static const char *
text_of(const struct riffle_config *cfg, enum option o)
{
	return riffle_config_at(cfg, o)->u.s;
}

static int64_t
number_of(const struct riffle_config *cfg, enum option o)
{
	return riffle_config_at(cfg, o)->u.i;
}

static const char *const *
words_of(const struct riffle_config *cfg)
{
	const char *const *words = riffle_config_at(cfg, OPT_COMMAND)->u.list;
	return words != NULL && words[0] != NULL ? words : NULL;
}

static int
wants_tls(const struct riffle_config *cfg)
{
	return riffle_config_at(cfg, OPT_TLS)->is_set && number_of(cfg, OPT_TLS) != 0;
}

static void
check_tls(const struct riffle_config *cfg, const struct riffle_report *report)
{
	static const enum option needs_tls[] = {OPT_CA, OPT_CERT, OPT_KEY, OPT_SERVER_NAME};
	const char *address = text_of(cfg, OPT_ADDRESS);
	if (!riffle_config_at(cfg, OPT_TLS)->is_set && address != NULL &&
		!rpc_address_is_local(address))
		report->add(report, RIFFLE_REPORT_ERROR, cfg, "address",
			"it is on another machine: write tls = yes, or tls = no to send records "
			"there "
			"in plaintext");
	for (size_t i = 0; i < sizeof needs_tls / sizeof needs_tls[0] && !wants_tls(cfg); i++)
		if (text_of(cfg, needs_tls[i]) != NULL)
			report->add(report, RIFFLE_REPORT_ERROR, cfg, options[needs_tls[i]].name,
				"it goes with tls = yes");
	if ((text_of(cfg, OPT_CERT) == NULL) != (text_of(cfg, OPT_KEY) == NULL))
		report->add(report, RIFFLE_REPORT_ERROR, cfg,
			text_of(cfg, OPT_CERT) == NULL ? "key" : "cert",
			"cert and key go together");
	for (enum option o = OPT_CA; o <= OPT_KEY; o++)
		if (text_of(cfg, o) != NULL && access(text_of(cfg, o), R_OK) != 0)
			report->add(report, RIFFLE_REPORT_ERROR, cfg, options[o].name,
				"the file cannot be read");
}

static int
env_is_fine(const char *entry)
{
	size_t n = strspn(entry, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
	return n > 0 && (entry[n] == '\0' || entry[n] == '=') && (entry[0] < '0' || entry[0] > '9');
}

static void
check_command(const struct riffle_config *cfg, const struct riffle_report *report)
{
	static const enum option needs_command[] = {OPT_ENV, OPT_DIR, OPT_GRACE};
	const char *const *words = words_of(cfg);
	const char *const *env = riffle_config_at(cfg, OPT_ENV)->u.list;
	const char *address = text_of(cfg, OPT_ADDRESS);
	struct riffle_error err;
	if (words != NULL && rpc_find_program(words[0], &err) < 0)
		report->add(report, RIFFLE_REPORT_ERROR, cfg, "command", err.text);
	if (words != NULL && address != NULL &&
		(!rpc_address_is_local(address) || strncmp(address, "unix:", 5) == 0))
		report->add(report, RIFFLE_REPORT_ERROR, cfg, "address",
			"with `command` it is a port of this machine: 127.0.0.1:8081");
	for (size_t i = 0; i < sizeof needs_command / sizeof needs_command[0]; i++)
		if (words == NULL && riffle_config_at(cfg, needs_command[i])->is_set)
			report->add(report, RIFFLE_REPORT_ERROR, cfg,
				options[needs_command[i]].name, "it goes with `command`");
	for (; env != NULL && *env != NULL; env++)
		if (!env_is_fine(*env))
			report->add(report, RIFFLE_REPORT_ERROR, cfg, "env",
				"an entry is NAME=VALUE or NAME");
}

static int
check(const struct riffle_config *cfg, const struct riffle_report *report)
{
	const char *address = text_of(cfg, OPT_ADDRESS);
	const char *why = address != NULL ? rpc_address_check(address) : NULL;
	if (address == NULL && words_of(cfg) == NULL)
		report->add(report, RIFFLE_REPORT_ERROR, cfg, NULL,
			"`address` is missing, or `command` that starts the server");
	if (why != NULL)
		report->add(report, RIFFLE_REPORT_ERROR, cfg, "address", why);
	if (why == NULL)
		check_tls(cfg, report);
	if (why == NULL)
		check_command(cfg, report);
	return RIFFLE_OK;
}

static struct rpc_channel_spec
channel_spec(const struct riffle_config *cfg)
{
	return (struct rpc_channel_spec){
		.tls = {.on = wants_tls(cfg),
			.ca = text_of(cfg, OPT_CA),
			.cert = text_of(cfg, OPT_CERT),
			.key = text_of(cfg, OPT_KEY),
			.server_name = text_of(cfg, OPT_SERVER_NAME)},
		.max_message = number_of(cfg, OPT_MAX_MESSAGE),
		.keepalive_ms = number_of(cfg, OPT_KEEPALIVE),
		.keepalive_timeout_ms = number_of(cfg, OPT_KEEPALIVE_TIMEOUT),
		.connect_timeout_ms = number_of(cfg, OPT_CONNECT_TIMEOUT),
	};
}

static void
put_together(struct rpc *c, const struct riffle_host *host, const struct riffle_config *cfg)
{
	c->magic = RPC_MAGIC;
	c->host = host;
	c->replies = (enum rpc_replies)number_of(cfg, OPT_REPLIES);
	c->min_replies = (uint64_t)number_of(cfg, OPT_MIN_REPLIES);
	c->in_flight = (uint32_t)number_of(cfg, OPT_IN_FLIGHT);
	c->max_message = (size_t)number_of(cfg, OPT_MAX_MESSAGE);
	c->max_output = (size_t)number_of(cfg, OPT_MAX_OUTPUT);
	c->state = GRPC_CHANNEL_IDLE;
}

/* The port in the address, or a free one where there is no address. */
static int
choose_target(
	struct rpc *c, const struct riffle_config *cfg, int *ret_port, struct riffle_error *reterr)
{
	const char *address = text_of(cfg, OPT_ADDRESS);
	char text[32];
	if (address != NULL) {
		c->target = rpc_strdup(address);
		*ret_port = atoi(strrchr(address, ':') + 1);
		return RIFFLE_OK;
	}
	int rc = rpc_free_port(ret_port, reterr);
	if (rc < 0)
		return rc;
	snprintf(text, sizeof text, "127.0.0.1:%d", *ret_port);
	c->target = rpc_strdup(text);
	return RIFFLE_OK;
}

static int
start(struct rpc *c, const struct riffle_config *cfg, int port, struct riffle_error *reterr)
{
	const struct rpc_channel_spec spec = channel_spec(cfg);
	const struct rpc_child_spec child = {.words = words_of(cfg),
		.env = riffle_config_at(cfg, OPT_ENV)->u.list,
		.dir = text_of(cfg, OPT_DIR),
		.port = port,
		.grace_ms = number_of(cfg, OPT_GRACE)};
	c->channel = rpc_channel_create(c->target, &spec, reterr);
	if (c->channel == NULL)
		return reterr->code;
	int rc = rpc_poller_start(c, reterr);
	if (rc < 0) {
		grpc_channel_destroy(c->channel);
		return rc;
	}
	if (child.words == NULL)
		return RIFFLE_OK;
	rc = rpc_child_start(c, &child, reterr);
	if (rc < 0)
		rpc_poller_stop(c);
	return rc;
}

/* What gRPC has to say of a call is in its status, which is logged once, by the host. */
static void
say_nothing(gpr_log_func_args *args)
{
	(void)args;
}

/* gRPC's threads take the signal mask of whoever makes them: none of them may catch a signal. */
static int
create(const struct riffle_host *host, const struct riffle_config *cfg, void **ret_self,
	struct riffle_error *reterr)
{
	sigset_t all, before;
	int port = 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (getenv("GRPC_VERBOSITY") == NULL && getenv("GRPC_TRACE") == NULL)
		gpr_set_log_function(say_nothing);
	grpc_init();
	struct rpc *c = rpc_alloc(sizeof *c);
	put_together(c, host, cfg);
	int rc = choose_target(c, cfg, &port, reterr);
	if (rc >= 0)
		rc = start(c, cfg, port, reterr);
	if (rc < 0) {
		free(c->target);
		free(c);
		grpc_shutdown_blocking();
	} else {
		*ret_self = c;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

static void
destroy(void *self)
{
	struct rpc *c = self;
	if (c == NULL)
		return;
	RPC_CHECK(c, RPC_MAGIC);
	rpc_child_stop(c);
	rpc_poller_stop(c);
	c->magic = 0;
	free(c->target);
	free(c);
	grpc_shutdown_blocking();
}

static uint64_t
capabilities(void *self)
{
	(void)self;
	return RIFFLE_CAN_STREAM | RIFFLE_CAN_MANY_INPUTS | RIFFLE_CAN_MANY_OUTPUTS;
}

static int
ready(void *self, struct riffle_error *reterr)
{
	struct rpc *c = self;
	RPC_CHECK(c, RPC_MAGIC);
	pthread_mutex_lock(&c->lock);
	int rc = RIFFLE_OK;
	if (!c->is_connected)
		rc = rpc_fail(reterr, RIFFLE_E_UNAVAILABLE, RIFFLE_ERR_RETRIABLE,
			"no connection to the function at %s%s%s", c->target,
			c->away[0] != '\0' ? ": " : "", c->away);
	pthread_mutex_unlock(&c->lock);
	return rc;
}

static const struct riffle_invoker_ops ops = {
	.size = sizeof ops,
	.check = check,
	.create = create,
	.destroy = destroy,
	.capabilities = capabilities,
	.ready = ready,
	.call_begin = rpc_call_begin,
	.call_push = rpc_call_push,
	.call_end = rpc_call_end,
	.call_read = rpc_call_read,
	.call_cancel = rpc_call_cancel,
	.call_destroy = rpc_call_destroy,
};

static const struct riffle_plugin plugin = {
	.size = sizeof plugin,
	.kind = RIFFLE_KIND_INVOKER,
	.name = "grpc",
	.summary = "calls a function's server over riff's streaming rpc",
	.version = "0.1.0",
	.license = "same as riffle",
	.capabilities = RIFFLE_CAN_STREAM | RIFFLE_CAN_MANY_INPUTS | RIFFLE_CAN_MANY_OUTPUTS,
	.table_size = sizeof tables[0],
	.table_count = 1,
	.tables = tables,
	.ops = &ops,
};

RIFFLE_MODULE("0.1.0", &plugin);
