/*
 * The ground of the border: version numbers, status codes, errors, borrowed bytes.
 *
 * Everything under riffle/ is the contract between the riffle host and its plugins. A plugin
 * imports nothing from the host: all it may call arrives through struct riffle_host. The headers
 * are ISO C11, compile as C++17, and include only <stddef.h>, <stdint.h> and each other.
 *
 * Threads. Each function of the border carries one tag:
 *   [control]  one thread at a time per instance (the object made by create); instances in parallel
 *   [worker]   one thread at a time for that object (source, sink, transaction, call); it must not
 *              block: no waiting for a network, a lock held across I/O, or a child process
 *   [any]      any thread, at the same time as anything else
 *
 * Ownership. Whoever makes a thing frees it, through the function supplied with it. A pointer that
 * is passed in is borrowed until the call returns unless the function says otherwise.
 */
#ifndef RIFFLE_ABI_H
#define RIFFLE_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * While the major is 0 anything may change, and a plugin loads only into a host with exactly the
 * same major and minor. From 1.0 on: equal major, and the minor the plugin needs is at most ours.
 */
#define RIFFLE_ABI_MAJOR 0u
#define RIFFLE_ABI_MINOR 1u

#if defined(__GNUC__)
#define RIFFLE_EXPORT __attribute__((visibility("default")))
#define RIFFLE_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define RIFFLE_EXPORT
#define RIFFLE_PRINTF(f, a)
#endif

/*
 * Is member m inside the struct the other side handed over, and set? The struct's first field is
 * its size as its maker knew it, so a member added later is simply absent in an older one.
 */
#define RIFFLE_HAS(type, p, m) ((p)->size >= offsetof(type, m) + sizeof((p)->m) && (p)->m != NULL)

/* A borrowed view. ptr NULL means absent; ptr set and len 0 means empty. They are never mixed up. */
struct riffle_bytes {
	const void *ptr;
	size_t len;
};

/* Every function that returns int returns 0 or a count on success and one of these on failure. */
#define RIFFLE_OK 0
#define RIFFLE_E_INVAL (-1)       /* a bad argument: a bug of the caller */
#define RIFFLE_E_NOMEM (-2)       /* out of memory */
#define RIFFLE_E_CONFIG (-3)      /* an option's value cannot work */
#define RIFFLE_E_UNSUPPORTED (-4) /* not offered here, or a type the other side does not take */
#define RIFFLE_E_TIMEOUT (-5)     /* a limit of time was reached */
#define RIFFLE_E_CANCELLED (-6)   /* stopped because the caller asked */
#define RIFFLE_E_UNAVAILABLE (-7) /* the far side is away; it may come back */
#define RIFFLE_E_AUTH (-8)        /* the far side refused who we are */
#define RIFFLE_E_DATA (-9)        /* this record or window is bad; the next may be good */
#define RIFFLE_E_FENCED (-10)     /* we no longer own this: nothing may be committed any more */
#define RIFFLE_E_FULL (-11)       /* no room now: nothing was taken, call again later */
#define RIFFLE_E_FATAL (-12)      /* this object is finished: close it */
#define RIFFLE_E_NOTFOUND (-13)   /* the stream, file or program named does not exist */
#define RIFFLE_E_LAST (-13)       /* the lowest code there is */

#define RIFFLE_ERR_RETRIABLE (1u << 0) /* the same call may succeed later */

#define RIFFLE_ERROR_TEXT 256

/*
 * Why something failed. Owned by the caller; written only on failure, untouched on success. The
 * text says what was being done and to what, in lower case, one line, no full stop.
 */
struct riffle_error {
	int32_t code;
	uint32_t flags; /* RIFFLE_ERR_* */
	char text[RIFFLE_ERROR_TEXT];
};

#ifdef __cplusplus
}
#endif
#endif
