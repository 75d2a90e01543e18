/* What differs between two lists of texts: the fewest lines to leave out and to put in. */
#ifndef RFL_CLI_DIFFERENCE_H
#define RFL_CLI_DIFFERENCE_H

#include <stddef.h>

enum rfl_edit { RFL_EDIT_SAME, RFL_EDIT_MISSING, RFL_EDIT_UNEXPECTED };

struct rfl_difference {
	enum rfl_edit edit;
	size_t expected, got; /* indexes; the one that there is none of is not set */
};

/*
 * are_equal(ctx, i, k) compares expected i with got k. Returns the lines in their order, missing ones
 * before unexpected ones of the same place, and how many; the caller frees. Lists that differ in more than
 * a few thousand places are compared place by place.
 */
struct rfl_difference *rfl_difference(size_t expected, size_t got,
	int (*are_equal)(const void *ctx, size_t expected, size_t got), const void *ctx,
	size_t *ret_count);

#endif
