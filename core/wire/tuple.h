/*
 * The commit tuple: what a task keeps in the metadata of each lane's committed offset, so that a
 * successor knows which windows were done (reference: doc/internals.md, "Recovery").
 *
 * 48 bytes, little-endian, as 64 characters of Base64 because brokers mangle anything but text:
 * 'R' 'f' version u8, flags u8, seq u32, settings u64, hw i64, W i64, T i64, reserved u32 = 0,
 * CRC-32C u32 of the 44 bytes before it. The committed offset itself is low. Behind it may stand the open
 * set (wire/open_set.h), as flags say.
 */
#ifndef RFL_WIRE_TUPLE_H
#define RFL_WIRE_TUPLE_H

#include <riffle/abi.h>

#define RFL_TUPLE_TEXT 64
/* flags */
#define RFL_TUPLE_OPEN_SET 1u   /* the open set stands behind it */
#define RFL_TUPLE_CHECKPOINT 2u /* it is a record of the checkpoint stream (wire/checkpoint.h) */
#define RFL_TUPLE_UNSET INT64_MIN

struct rfl_tuple {
	uint8_t flags;     /* at most one of them */
	uint32_t seq;      /* of the task's commits; the same in each of its lanes */
	uint64_t settings; /* fingerprint of the window settings */
	int64_t hw;        /* next offset not yet read when this was committed */
	int64_t frontier_ms; /* W: windows that end at or before it are done; unset without event time */
	int64_t time_ms; /* T: the lane's largest event time; unset without event time */
};

/* text has room for RFL_TUPLE_TEXT + 1; ends with a NUL. */
void rfl_tuple_encode(const struct rfl_tuple *t, char *text);
/*
 * 0, or E_DATA: not a tuple of ours (another length, magic, Base64), damaged (CRC), or of a newer version. An
 * open set behind it is not looked at.
 */
int rfl_tuple_decode(
	struct riffle_bytes text, struct rfl_tuple *ret_tuple, struct riffle_error *reterr);
/* The fingerprint of canonical window settings. */
uint64_t rfl_tuple_settings(const char *canonical);

#endif
