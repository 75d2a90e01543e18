/* See fault.h. */
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static struct fault now;
static int is_on; /* atomic */
static long counted;

void
fault_set(const struct fault *f)
{
	__atomic_store_n(&is_on, 0, __ATOMIC_SEQ_CST);
	counted = 0;
	if (f == NULL)
		return;
	now = *f;
	__atomic_store_n(&is_on, 1, __ATOMIC_SEQ_CST);
}

long
fault_counted(void)
{
	return __atomic_load_n(&counted, __ATOMIC_SEQ_CST);
}

static _Noreturn void
die(void)
{
	syscall(SYS_kill, getpid(), SIGKILL);
	for (;;)
		pause();
}

/* What is to happen at this call, which is of that kind. */
static enum fault_what
meet(unsigned call)
{
	if (!__atomic_load_n(&is_on, __ATOMIC_SEQ_CST) || !(now.calls & call))
		return FAULT_NONE;
	long n = __atomic_add_fetch(&counted, 1, __ATOMIC_SEQ_CST);
	if (now.what == FAULT_NONE || n < now.at || n >= now.at + now.times)
		return FAULT_NONE;
	if (now.what == FAULT_KILL_BEFORE)
		die();
	return now.what;
}

static int
is_regular(int fd)
{
	struct stat st;
	return syscall(SYS_fstat, fd, &st) == 0 && S_ISREG(st.st_mode);
}

static long
failed(int error)
{
	errno = error;
	return -1;
}

/* Calls that are done or not: there is no half of them. */
static int
is_failing(unsigned call, enum fault_what *ret)
{
	*ret = meet(call);
	if (*ret == FAULT_KILL_TORN)
		die();
	if (*ret == FAULT_ERRNO)
		errno = now.error;
	if (*ret == FAULT_SHORT)
		errno = EIO;
	return *ret == FAULT_ERRNO || *ret == FAULT_SHORT;
}

static long
after(enum fault_what what, long result)
{
	if (what == FAULT_KILL_AFTER)
		die();
	return result;
}

static size_t
half_of(enum fault_what what, size_t size)
{
	return what == FAULT_SHORT || what == FAULT_KILL_TORN ? size / 2 : size;
}

/* Those that were opened with O_DSYNC, which is left out. */
static char is_meta[1024];

static unsigned
kind_of(int fd)
{
	return fd < (int)sizeof is_meta && is_meta[fd] ? FAULT_META : FAULT_WRITE;
}

static long
end_write(enum fault_what what, long result)
{
	if (what == FAULT_KILL_TORN)
		die();
	return after(what, result);
}

/* Seen by the libraries, in spite of how the rest is built. */
#pragma GCC visibility push(default)

ssize_t
write(int fd, const void *data, size_t size)
{
	enum fault_what what = is_regular(fd) ? meet(kind_of(fd)) : FAULT_NONE;
	if (what == FAULT_ERRNO)
		return failed(now.error);
	return end_write(what, syscall(SYS_write, fd, data, half_of(what, size)));
}

ssize_t
pwrite(int fd, const void *data, size_t size, off_t at)
{
	enum fault_what what = is_regular(fd) ? meet(kind_of(fd)) : FAULT_NONE;
	if (what == FAULT_ERRNO)
		return failed(now.error);
	return end_write(what, syscall(SYS_pwrite64, fd, data, half_of(what, size), at));
}

ssize_t
writev(int fd, const struct iovec *parts, int count)
{
	enum fault_what what = is_regular(fd) ? meet(kind_of(fd)) : FAULT_NONE;
	if (what == FAULT_ERRNO)
		return failed(now.error);
	if (what == FAULT_SHORT || what == FAULT_KILL_TORN) {
		long n = count > 1
				 ? syscall(SYS_writev, fd, parts, count / 2)
				 : syscall(SYS_write, fd, parts[0].iov_base, parts[0].iov_len / 2);
		return end_write(what, n);
	}
	return after(what, syscall(SYS_writev, fd, parts, count));
}

ssize_t
pread(int fd, void *data, size_t size, off_t at)
{
	enum fault_what what;
	if (is_failing(FAULT_READ, &what))
		return -1;
	return after(what, syscall(SYS_pread64, fd, data, size, at));
}

/* That the disk has it makes no difference to who outlives the process. */
static int
sync_like(void)
{
	enum fault_what what;
	return is_failing(FAULT_SYNC, &what) ? -1 : (int)after(what, 0);
}

int
fdatasync(int fd)
{
	(void)fd;
	return sync_like();
}

int
fsync(int fd)
{
	(void)fd;
	return sync_like();
}

int
msync(void *at, size_t size, int flags)
{
	(void)at, (void)size, (void)flags;
	return sync_like();
}

int
open(const char *path, int flags, ...)
{
	enum fault_what what;
	mode_t mode = 0;
	va_list ap;
	va_start(ap, flags);
	if (flags & O_CREAT)
		mode = va_arg(ap, mode_t);
	va_end(ap);
	if (is_failing(FAULT_OPEN, &what))
		return -1;
	int is_dsync = (flags & O_DSYNC) != 0;
	int fd = (int)after(what, syscall(SYS_openat, AT_FDCWD, path, flags & ~O_DSYNC, mode));
	if (fd >= 0 && fd < (int)sizeof is_meta)
		is_meta[fd] = (char)is_dsync;
	return fd;
}

void *
mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	enum fault_what what = FAULT_NONE;
	if (fd >= 0 && is_failing(FAULT_MMAP, &what))
		return MAP_FAILED;
	return (void *)(uintptr_t)after(
		what, syscall(SYS_mmap, at, size, protection, flags, fd, offset));
}

int
ftruncate(int fd, off_t size)
{
	enum fault_what what;
	if (is_failing(FAULT_SIZE, &what))
		return -1;
	return (int)after(what, syscall(SYS_ftruncate, fd, size));
}

int
mkdir(const char *path, mode_t mode)
{
	enum fault_what what;
	if (is_failing(FAULT_MAKE, &what))
		return -1;
	return (int)after(what, syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}

int
fcntl(int fd, int command, ...)
{
	enum fault_what what = FAULT_NONE;
	va_list ap;
	va_start(ap, command);
	void *argument = va_arg(ap, void *);
	va_end(ap);
	int is_lock = command == F_SETLK || command == F_SETLKW || command == F_GETLK;
	if (is_lock && is_failing(FAULT_LOCK, &what))
		return -1;
	return (int)after(what, syscall(SYS_fcntl, fd, command, argument));
}

int
eventfd(unsigned count, int flags)
{
	enum fault_what what;
	if (is_failing(FAULT_FD, &what))
		return -1;
	return (int)after(what, syscall(SYS_eventfd2, count, flags));
}

int
inotify_init1(int flags)
{
	enum fault_what what;
	if (is_failing(FAULT_FD, &what))
		return -1;
	return (int)after(what, syscall(SYS_inotify_init1, flags));
}

#pragma GCC visibility pop
