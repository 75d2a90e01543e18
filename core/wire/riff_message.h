/*
 * riff 0.5's record: a protobuf message { bytes payload = 1; string contentType = 2; map<string, string>
 * headers = 3 } in the value of a record without headers.
 */
#ifndef RFL_WIRE_RIFF_MESSAGE_H
#define RFL_WIRE_RIFF_MESSAGE_H

#include "wire/cloudevents.h"

/* Views on the message. -1: it is none, or one without a sound content type. */
int rfl_riff_message_parse(struct riffle_bytes message, struct rfl_parts *ret_parts);
void rfl_riff_message_print(const struct rfl_parts *parts, struct rfl_buf *out);

#endif
