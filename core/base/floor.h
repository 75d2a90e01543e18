/* Division that rounds down, for times before 1970: C's rounds towards zero. */
#ifndef RFL_BASE_FLOOR_H
#define RFL_BASE_FLOOR_H

#include <stdint.h>

/* b > 0 */
static inline int64_t
rfl_floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

#endif
