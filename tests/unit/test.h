/* What every unit program includes first: cmocka wants these four before it. */
#ifndef RFL_TESTS_UNIT_TEST_H
#define RFL_TESTS_UNIT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* After the four. */
#include <cmocka.h>

#define RUN(name, tests) cmocka_run_group_tests_name(name, tests, NULL, NULL)

#endif
