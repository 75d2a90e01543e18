/* Where the grpc invoker's server is: the options that say it, TLS, a server of its own. */
#include "grpc_bed.h"

static void
sh(const char *command)
{
	if (system(command) != 0) /* NOLINT: fixed words and a directory of ours */
		fail_msg("%s", command);
}

/* TLS: the right certificates, a name that is not in them, another authority, no client certificate. */
static void
test_tls(void **state)
{
	(void)state;
	char dir[] = "/tmp/riffle-tls-XXXXXX", command[2048], f[6][64];
	static const char *const names[] = {"ca", "server", "client", "other"};
	assert_non_null(mkdtemp(dir));
	snprintf(command, sizeof command,
		"cd %s && exec 2>/dev/null; for ca in ca other; do openssl req -x509 -newkey "
		"ec:<(openssl ecparam -name prime256v1) -nodes -subj /CN=$ca -keyout $ca.key -out "
		"$ca.pem -days 2; done; for n in server client; do openssl req -newkey "
		"ec:<(openssl ecparam -name prime256v1) -nodes -subj /CN=$n -keyout $n.key -out "
		"$n.csr && openssl x509 -req -in $n.csr -CA ca.pem -CAkey ca.key -CAcreateserial "
		"-days 2 -extfile <(echo subjectAltName=DNS:function.test) -out $n.pem; done",
		dir);
	char whole[2400];
	snprintf(whole, sizeof whole, "bash -c '%s'", command);
	sh(whole);
	for (int i = 0; i < 4; i++)
		snprintf(f[i], sizeof f[i], "%s/%s.pem", dir, names[i]);
	snprintf(f[4], sizeof f[4], "%s/server.key", dir);
	snprintf(f[5], sizeof f[5], "%s/client.key", dir);
	struct server s = {0};
	const char *const arguments[] = {f[1], f[4], f[0], NULL};
	start_server(&s, "server.py", arguments);
	const struct {
		const char *ca, *cert, *key, *name;
		int tls, status;
	} rows[] = {{f[0], f[2], f[5], "function.test", 1, RIFFLE_OK},
		{f[0], f[2], f[5], "another.test", 1, RIFFLE_E_UNAVAILABLE},
		{f[0], f[2], f[5], NULL, 1, RIFFLE_E_UNAVAILABLE},
		{f[3], f[2], f[5], "function.test", 1, RIFFLE_E_UNAVAILABLE},
		{f[0], NULL, NULL, "function.test", 1, RIFFLE_E_UNAVAILABLE},
		{NULL, NULL, NULL, NULL, 0, RIFFLE_E_UNAVAILABLE}};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct bed b;
		struct call c;
		make_bed(&b, s.port);
		*option(b.values, "tls") = (struct riffle_value){.is_set = 1, .u.i = rows[i].tls};
		option(b.values, "ca")->u.s = rows[i].ca;
		option(b.values, "cert")->u.s = rows[i].cert;
		option(b.values, "key")->u.s = rows[i].key;
		option(b.values, "server-name")->u.s = rows[i].name;
		open_bed(&b);
		int64_t begin_ns = now_ns(NULL);
		play(&b, &c, "echo");
		/* E14: an error, and soon. */
		assert_in_range(now_ns(NULL) - begin_ns, 0, SOON_NS);
		if (c.status != rows[i].status)
			fail_msg("row %zu: %d %s", i, c.status, c.error.text);
		end(&c);
		ops->destroy(b.self);
	}
	stop_server(&s);
	/* A TLS client at a plaintext server; files that are none. */
	struct bed b;
	struct call c;
	make_bed(&b, shared.port);
	*option(b.values, "tls") = (struct riffle_value){.is_set = 1, .u.i = 1};
	option(b.values, "ca")->u.s = f[0];
	open_bed(&b);
	play(&b, &c, "echo");
	assert_int_equal(c.status, RIFFLE_E_UNAVAILABLE);
	end(&c);
	ops->destroy(b.self);
	struct riffle_error err = {0};
	option(b.values, "ca")->u.s = "/etc/hostname";
	assert_int_equal(ops->create(&host, &b.config, &b.self, &err), RIFFLE_E_CONFIG);
	assert_non_null(strstr(err.text, "/etc/hostname is not a PEM file"));
	option(b.values, "ca")->u.s = "/no/such/file";
	assert_int_equal(ops->create(&host, &b.config, &b.self, &err), RIFFLE_E_CONFIG);
	snprintf(command, sizeof command, "rm -r %s", dir);
	sh(command);
}

static void
use_command(struct bed *b, const char *script)
{
	static char text[4200];
	const char *src = getenv("RIFFLE_SRC");
	snprintf(text, sizeof text, "SRC='%s'; %s", src ? src : ".", script);
	b->words[0] = "/bin/sh";
	b->words[1] = "-c";
	b->words[2] = text;
	option(b->values, "command")->u.list = b->words;
	option(b->values, "address")->u.s = NULL;
}

/* `command`: started, started again when it dies, gone with the instance. */
static void
test_a_local_function(void **state)
{
	(void)state;
	struct bed b;
	struct call c;
	make_bed(&b, 0);
	use_command(&b, "exec /usr/bin/python3 \"$SRC\"/tests/grpc/server.py $GRPC_PORT");
	open_bed(&b);
	assert_true(eventually(is_ready, &b));
	play(&b, &c, "echo");
	assert_int_equal(c.status, RIFFLE_OK);
	end(&c);
	play_until(&b, &c, "die", 2);
	assert_int_equal(c.error.flags, AGAIN);
	end(&c);
	assert_true(eventually(is_not_ready, &b));
	assert_true(eventually(is_ready, &b));
	play(&b, &c, "echo");
	assert_int_equal(c.status, RIFFLE_OK);
	end(&c);
	ops->destroy(b.self);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), 0); /* the shared server alone */
}

static int
is_there(void *path)
{
	return access(path, F_OK) == 0;
}

static void
test_a_local_function_that_will_not_end(void **state)
{
	(void)state;
	struct bed b;
	char dir[64] = "/tmp/riffle-grpc-XXXXXX", script[256];
	assert_non_null(mkdtemp(dir));
	snprintf(script, sizeof script, "trap '' TERM; : > %s/up; while :; do sleep 0.05; done",
		dir);
	make_bed(&b, 0);
	use_command(&b, script);
	option(b.values, "grace")->u.i = 100;
	open_bed(&b);
	strcat(dir, "/up");
	assert_true(eventually(is_there, dir));
	unlink(dir);
	*strrchr(dir, '/') = '\0';
	rmdir(dir);
	int64_t begin_ns = now_ns(NULL);
	ops->destroy(b.self);
	assert_in_range(now_ns(NULL) - begin_ns, 100000000, SOON_NS);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), 0);
}

static char findings[4096];

static void
take_finding(const struct riffle_report *report, uint32_t severity, const struct riffle_config *cfg,
	const char *option, const char *text)
{
	(void)report, (void)severity, (void)cfg;
	size_t n = strlen(findings);
	snprintf(findings + n, sizeof findings - n, "%s: %s;", option ? option : "-", text);
}

static void
expect_findings(struct bed *b, const char *expected)
{
	const struct riffle_report report = {.size = sizeof report, .add = take_finding};
	findings[0] = '\0';
	ops->check(&b->config, &report);
	assert_string_equal(findings, expected);
}

static void
test_check_finds_mistakes(void **state)
{
	(void)state;
	static const struct {
		const char *address, *finding;
	} addresses[] = {{"127.0.0.1:8081", ""}, {"localhost:1", ""}, {"[::1]:8081", ""},
		{"unix:/tmp/s", ""},
		{"8081", "address: it is host:port, [address]:port or unix:path;"},
		{"localhost:0", "address: a port is 1 to 65535;"},
		{"localhost:80x", "address: a port is 1 to 65535;"},
		{"::1:8081", "address: an IPv6 address stands in brackets: [::1]:8081;"},
		{"http://localhost:80", "address: it is host:port, without a scheme or a path;"},
		{"unix:", "address: a path is missing behind unix:;"},
		{"example.com:8081",
			"address: it is on another machine: write tls = yes, or tls = no "
			"to send records there in plaintext;"}};
	struct bed b;
	for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
		make_bed(&b, 1);
		option(b.values, "address")->u.s = addresses[i].address;
		expect_findings(&b, addresses[i].finding);
	}
	make_bed(&b, 1);
	option(b.values, "address")->u.s = NULL;
	expect_findings(&b, "-: `address` is missing, or `command` that starts the server;");
	make_bed(&b, 1);
	option(b.values, "cert")->u.s = "/no/file";
	option(b.values, "dir")->is_set = 1;
	expect_findings(&b, "cert: it goes with tls = yes;cert: cert and key go together;"
			    "cert: the file cannot be read;dir: it goes with `command`;");
	make_bed(&b, 1);
	b.words[0] = "no-such-program";
	option(b.values, "command")->u.list = b.words;
	option(b.values, "address")->u.s = "unix:/tmp/s";
	expect_findings(&b,
		"command: there is no program 'no-such-program' in PATH;"
		"address: with `command` it is a port of this machine: 127.0.0.1:8081;");
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check_finds_mistakes),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_a_local_function),
		cmocka_unit_test(test_a_local_function_that_will_not_end),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	ops = load_plugin("plugins/invoker-grpc/.libs/invoker-grpc.so")->ops;
	return cmocka_run_group_tests_name("grpc server", tests, start_shared, stop_shared);
}
