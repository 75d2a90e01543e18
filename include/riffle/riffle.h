/* All stable headers of the border. */
#ifndef RIFFLE_RIFFLE_H
#define RIFFLE_RIFFLE_H

#include <riffle/backoff.h>
#include <riffle/ext/positions.h>
#include <riffle/ext/transactions.h>
#include <riffle/ext/turns.h>
#include <riffle/invoker.h>
#include <riffle/provider.h>

#endif
