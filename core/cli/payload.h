/* A record as one line of JSON, and the forms a payload can take in it. */
#ifndef RFL_CLI_PAYLOAD_H
#define RFL_CLI_PAYLOAD_H

#include "base/buf.h"

#include <jansson.h>
#include <riffle/record.h>

enum rfl_encoding { RFL_ENCODING_AUTO, RFL_ENCODING_RAW, RFL_ENCODING_BASE64 };

/* The caller's; bytes that are no text show as '?'. */
json_t *rfl_type_json(const char *content_type);
/*
 * {"payload":...,"contentType":...,"headers":{...}}, riff's form, without a newline. E_DATA: raw is
 * asked and the payload is not UTF-8.
 */
int rfl_payload_line(const struct riffle_batch *b, const struct riffle_record *r,
	const char *stream_type, enum rfl_encoding encoding, struct rfl_buf *out,
	struct riffle_error *reterr);

#endif
