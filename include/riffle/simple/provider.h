/* Of riffle/simple.h: the provider, and what its macros are made of. */
#ifndef RIFFLE_SIMPLE_PROVIDER_H
#define RIFFLE_SIMPLE_PROVIDER_H

#include <riffle/simple/sink.h>
#include <riffle/simple/source.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RFS_CAN_READ                                                                               \
	(RIFFLE_CAN_SOURCE | RIFFLE_CAN_ORDER | RIFFLE_CAN_GROUPS | RIFFLE_CAN_REPLAY |            \
		RIFFLE_CAN_METADATA)
#define RFS_CAN_WRITE (RIFFLE_CAN_SINK | RIFFLE_CAN_ORDER)

static inline int
rfs_create(const struct riffle_simple_source *source, const struct riffle_simple_sink *sink,
	uint64_t can, const struct riffle_host *host, const struct riffle_config *cfg,
	void **ret_self)
{
	struct rfs_self *self = (struct rfs_self *)rfs_alloc(sizeof *self);
	self->author.host = host;
	self->author.config = cfg;
	self->source = source;
	self->sink = sink;
	self->can = can;
	if (source == NULL || source->find_time == NULL)
		self->can &= ~RIFFLE_CAN_SEEK_TIME;
	*ret_self = self;
	return RIFFLE_OK;
}

static inline void
rfs_destroy(void *self)
{
	free(self);
}

static inline uint64_t
rfs_capabilities(void *self)
{
	return ((struct rfs_self *)self)->can;
}

/* There is nothing to make: a sink's open makes what is missing. */
static inline int
rfs_provision(void *self, const struct riffle_stream *stream, struct riffle_error *reterr)
{
	(void)self;
	return rfs_check_partitions(stream, reterr);
}

static inline int
rfs_describe(void *self, const struct riffle_stream *stream, struct riffle_stream_info *ret_info,
	struct riffle_error *reterr)
{
	struct rfs_self *owner = (struct rfs_self *)self;
	void *reader = NULL;
	struct riffle_error err = rfs_no_error();
	int rc = rfs_check_partitions(stream, &err);
	if (rc >= 0)
		reader = rfs_reader_new(owner, stream, 0, &rc, &err);
	if (reader != NULL)
		owner->source->close(reader);
	free(reader);
	if (rc < 0 && rc != RIFFLE_E_NOTFOUND) {
		*reterr = err;
		reterr->code = rc;
		return rc;
	}
	ret_info->flags = rc < 0 ? 0 : RIFFLE_STREAM_EXISTS;
	ret_info->partitions = 1;
	ret_info->retention_ms = ret_info->retention_bytes = ret_info->records = -1;
	return RIFFLE_OK;
}

#define RFS_CREATE(source, sink, can)                                                              \
	static int rfs_create_mine(const struct riffle_host *its_host,                             \
		const struct riffle_config *cfg, void **ret_self, struct riffle_error *reterr)     \
	{                                                                                          \
		(void)reterr;                                                                      \
		return rfs_create(source, sink, can, its_host, cfg, ret_self);                     \
	}
#define RFS_OPS_FRONT                                                                              \
	(uint32_t)sizeof(struct riffle_provider_ops), 0, NULL, rfs_create_mine, rfs_destroy,       \
		rfs_capabilities, NULL
#define RFS_OPS_SOURCE                                                                             \
	rfs_source_open, rfs_source_fd, rfs_source_poll, rfs_source_move, rfs_source_move,         \
		rfs_source_release, rfs_source_commit, rfs_lane_poll, rfs_lane_state,              \
		rfs_source_close, rfs_source_destroy
#define RFS_OPS_NO_SOURCE NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
#define RFS_OPS_SINK                                                                               \
	rfs_sink_open, rfs_sink_fd, rfs_sink_poll, rfs_sink_send, NULL, rfs_sink_close,            \
		rfs_sink_destroy
#define RFS_OPS_NO_SINK NULL, NULL, NULL, NULL, NULL, NULL, NULL
#define RFS_PLUGIN(name, summary, version, license, can, options)                                  \
	static const struct riffle_option_table rfs_tables[] = {                                   \
		{(uint32_t)sizeof(struct riffle_option_table), RIFFLE_SECTION_PROVIDER,            \
			(uint32_t)sizeof(struct riffle_option),                                    \
			(uint32_t)(sizeof(options) / sizeof((options)[0])), options}};             \
	static const struct riffle_plugin rfs_plugin = {(uint32_t)sizeof(struct riffle_plugin),    \
		RIFFLE_KIND_PROVIDER, name, summary, version, license, can,                        \
		(uint32_t)sizeof(struct riffle_option_table), 1, rfs_tables, &rfs_ops};            \
	RIFFLE_MODULE(version, &rfs_plugin)

#ifdef __cplusplus
}
#endif
#endif
