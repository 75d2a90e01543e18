/*
 * How long to wait before the next try: the host and its plugins back off alike.
 */
#ifndef RIFFLE_BACKOFF_H
#define RIFFLE_BACKOFF_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The wait after one more failure, from least to most, in the caller's unit; what is below 1 counts as 1. *limit doubles with each
 * failure until it is most; it is 0 before the first, and the caller's to put back to 0 when a try
 * went well. The wait lies in the upper half below the limit: where in it is decided by entropy, so
 * that what failed together is not tried again together. Entropy is the reading of a clock in
 * nanoseconds: equal readings give equal waits, which makes a run on a turned clock repeatable.
 */
static inline int64_t
riffle_backoff_next(int64_t *limit, int64_t least, int64_t most, int64_t entropy)
{
	if (most < 1)
		most = 1;
	if (least < 1)
		least = 1;
	if (least > most)
		least = most;
	int64_t last = *limit < least ? least : *limit;
	*limit = last > most / 2 ? most : 2 * last;
	int64_t low = *limit / 2 < least ? least : *limit / 2;
	/* The finalizer of SplitMix64: neighbouring readings end far apart. */
	uint64_t x = (uint64_t)entropy + UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	x ^= x >> 31;
	return low + (int64_t)(x % ((uint64_t)(*limit - low) + 1));
}

#ifdef __cplusplus
}
#endif
#endif
