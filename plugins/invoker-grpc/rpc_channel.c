/* The channel to the function's server: its address, its arguments, TLS. */
#include "rpc.h"

#include <errno.h>
#include <grpc/grpc_security.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SYSTEM_ROOTS "/etc/ssl/certs/ca-certificates.crt"
#define PEM_MAX (16 << 20)

/* The server is back within this long of its port being open again. */
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 2000

/* What gRPC may hold for one instance: so much, and so many of the largest messages. */
#define QUOTA_BYTES ((size_t)64 << 20)
#define QUOTA_MESSAGES 4

const char *
rpc_address_check(const char *address)
{
	if (strncmp(address, "unix:", 5) == 0)
		return address[5] != '\0' ? NULL : "a path is missing behind unix:";
	if (strpbrk(address, "/ \t") != NULL)
		return "it is host:port, without a scheme or a path";
	const char *colon = strrchr(address, ':');
	if (colon == NULL || colon == address)
		return "it is host:port, [address]:port or unix:path";
	char *end;
	long port = strtol(colon + 1, &end, 10);
	if (colon[1] < '0' || colon[1] > '9' || *end != '\0' || port < 1 || port > 65535)
		return "a port is 1 to 65535";
	if (address[0] == '[' ? colon[-1] != ']'
			      : memchr(address, ':', (size_t)(colon - address)) != NULL)
		return "an IPv6 address stands in brackets: [::1]:8081";
	return NULL;
}

int
rpc_address_is_local(const char *address)
{
	return strncmp(address, "unix:", 5) == 0 || strncmp(address, "127.", 4) == 0 ||
	       strncmp(address, "localhost:", 10) == 0 || strncmp(address, "[::1]:", 6) == 0;
}

static int
read_pem(const char *path, char **ret_text, struct riffle_error *reterr)
{
	FILE *in = fopen(path, "re");
	if (in == NULL)
		return rpc_fail(
			reterr, RIFFLE_E_CONFIG, 0, "cannot read %s: %s", path, strerror(errno));
	size_t len = 0, room = 0;
	char *text = NULL;
	do {
		room = 2 * room + 4096;
		text = rpc_realloc(text, room);
		len += fread(text + len, 1, room - len - 1, in);
	} while (len == room - 1 && room < PEM_MAX);
	int failed = ferror(in) || !feof(in);
	fclose(in);
	text[len] = '\0';
	if (failed || strstr(text, "-----BEGIN ") == NULL) {
		free(text);
		return rpc_fail(reterr, RIFFLE_E_CONFIG, 0, "%s is not a PEM file", path);
	}
	*ret_text = text;
	return RIFFLE_OK;
}

static grpc_channel_credentials *
make_credentials(const struct rpc_tls *tls, struct riffle_error *reterr)
{
	char *ca = NULL, *cert = NULL, *key = NULL;
	grpc_channel_credentials *made = NULL;
	if (!tls->on)
		return grpc_insecure_credentials_create();
	int rc = read_pem(tls->ca != NULL ? tls->ca : SYSTEM_ROOTS, &ca, reterr);
	if (rc >= 0 && tls->cert != NULL)
		rc = read_pem(tls->cert, &cert, reterr);
	if (rc >= 0 && tls->key != NULL)
		rc = read_pem(tls->key, &key, reterr);
	if (rc >= 0) {
		grpc_ssl_pem_key_cert_pair pair = {.private_key = key, .cert_chain = cert};
		made = grpc_ssl_credentials_create(ca, cert != NULL ? &pair : NULL, NULL, NULL);
		if (made == NULL)
			rpc_fail(reterr, RIFFLE_E_CONFIG, 0, "the TLS files cannot be used");
	}
	free(ca);
	free(cert);
	free(key);
	return made;
}

#define ARGS_MAX 20
struct args {
	grpc_arg list[ARGS_MAX];
	size_t count;
};

static void
add_int(struct args *a, const char *key, int64_t value)
{
	rpc_assert(a->count < ARGS_MAX);
	int bounded = value > INT_MAX ? INT_MAX : (int)value;
	a->list[a->count++] = (grpc_arg){
		.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)key, .value.integer = bounded};
}

static void
add_text(struct args *a, const char *key, const char *value)
{
	rpc_assert(a->count < ARGS_MAX);
	a->list[a->count++] = (grpc_arg){.type = GRPC_ARG_STRING,
		.key = (char *)(uintptr_t)key,
		.value.string = (char *)(uintptr_t)value};
}

/*
 * gRPC looks at the length of a message when all of it is there, so what it may hold is bounded beside:
 * past that it ends the call that holds the most.
 */
static grpc_resource_quota *
make_quota(int64_t max_message)
{
	grpc_resource_quota *quota = grpc_resource_quota_create(NULL);
	grpc_resource_quota_resize(quota, QUOTA_BYTES + QUOTA_MESSAGES * (size_t)max_message);
	return quota;
}

static void
add_quota(struct args *a, grpc_resource_quota *quota)
{
	rpc_assert(a->count < ARGS_MAX);
	a->list[a->count++] = (grpc_arg){.type = GRPC_ARG_POINTER,
		.key = (char *)(uintptr_t)GRPC_ARG_RESOURCE_QUOTA,
		.value.pointer = {.p = quota, .vtable = grpc_resource_quota_arg_vtable()}};
}

grpc_channel *
rpc_channel_create(
	const char *target, const struct rpc_channel_spec *spec, struct riffle_error *reterr)
{
	struct args a = {.count = 0};
	grpc_channel_credentials *credentials = make_credentials(&spec->tls, reterr);
	if (credentials == NULL)
		return NULL;
	/* Instances do not share a connection, nor what is wrong with it. */
	add_int(&a, GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
	add_int(&a, GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, BACKOFF_MIN_MS);
	add_int(&a, GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, BACKOFF_MAX_MS);
	/* In spite of its name, the least that one attempt to connect is given. */
	add_int(&a, GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, spec->connect_timeout_ms);
	add_int(&a, GRPC_ARG_KEEPALIVE_TIME_MS, spec->keepalive_ms);
	add_int(&a, GRPC_ARG_KEEPALIVE_TIMEOUT_MS, spec->keepalive_timeout_ms);
	add_int(&a, GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
	add_int(&a, GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, spec->max_message);
	add_int(&a, GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, -1);
	/* A few compressed bytes can be any amount of memory: such a message is refused unread. */
	add_int(&a, GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
	add_int(&a, GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1);
	/* The host calls again, and it alone: gRPC would keep copies for it. */
	add_int(&a, GRPC_ARG_ENABLE_RETRIES, 0);
	add_int(&a, GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
	/* Nothing in the environment sends records elsewhere. */
	add_int(&a, GRPC_ARG_ENABLE_HTTP_PROXY, 0);
	if (spec->tls.on && spec->tls.server_name != NULL)
		add_text(&a, GRPC_SSL_TARGET_NAME_OVERRIDE_ARG, spec->tls.server_name);
	grpc_resource_quota *quota = make_quota(spec->max_message);
	add_quota(&a, quota);
	const grpc_channel_args args = {.num_args = a.count, .args = a.list};
	grpc_channel *channel = grpc_channel_create(target, credentials, &args);
	grpc_channel_credentials_release(credentials);
	grpc_resource_quota_unref(quota);
	if (channel == NULL)
		rpc_fail(reterr, RIFFLE_E_CONFIG, 0, "cannot make a channel to %s", target);
	return channel;
}
