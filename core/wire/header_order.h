/*
 * Headers in the order of their names: which ones are there twice, and whether one is there, without comparing each
 * with each, since a hostile record may have tens of thousands.
 */
#ifndef RFL_WIRE_HEADER_ORDER_H
#define RFL_WIRE_HEADER_ORDER_H

#include <riffle/record.h>

#include <stddef.h>

/* An order of names, not the alphabet's; 0 = equal. */
int rfl_header_compare(struct riffle_bytes a, struct riffle_bytes b);
/* Sorts indices of headers by name; those of equal names stay in their order. */
void rfl_header_sort(const struct riffle_header *headers, size_t *order, size_t count);
/* Does one of a sorted order have this name? */
int rfl_header_is_there(const struct riffle_header *headers, const size_t *order, size_t count,
	struct riffle_bytes name);

#endif
