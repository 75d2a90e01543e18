/*
 * What a fuzz target is: a name, which is also its folder in corpus/, and a function that takes any
 * bytes. scripts/fuzz runs it with libFuzzer; replay.c runs it over the corpus.
 */
#ifndef RFL_TESTS_FUZZ_FUZZ_H
#define RFL_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

extern const char fuzz_name[];
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for every input. Never compiled out. */
#define fuzz_assert(e)                                                                             \
	((e) ? (void)0                                                                             \
	     : (fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #e), abort()))

#endif
