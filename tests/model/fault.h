/*
 * Faults at the border to the kernel: this program's own write, pwrite, fdatasync and so on stand before the
 * C library's, for itself and for every library in it. They count, and at one count they kill the
 * process, fail or do half of what was asked.
 */
#ifndef RFL_TESTS_MODEL_FAULT_H
#define RFL_TESTS_MODEL_FAULT_H

#define FAULT_WRITE (1u << 0) /* write, writev, pwrite to a regular file */
#define FAULT_SYNC (1u << 1)  /* fdatasync, fsync, msync */
#define FAULT_OPEN (1u << 2)  /* open */
#define FAULT_MMAP (1u << 3)  /* mmap of a file */
#define FAULT_SIZE (1u << 4)  /* ftruncate */
#define FAULT_MAKE (1u << 5)  /* mkdir */
#define FAULT_LOCK (1u << 6)  /* fcntl with a lock */
#define FAULT_FD (1u << 7)    /* eventfd, inotify_init1 */
#define FAULT_META                                                                                 \
	(1u << 8) /* pwrite to a file opened with O_DSYNC: LMDB's last step of a commit */
#define FAULT_READ (1u << 9) /* pread */
#define FAULT_ALL (0x3ffu)

enum fault_what {
	FAULT_NONE,
	FAULT_KILL_BEFORE,
	FAULT_KILL_AFTER,
	FAULT_KILL_TORN, /* half of a write is done; other calls: as before */
	FAULT_ERRNO,
	FAULT_SHORT /* half of a write is done, and said so; other calls: EIO */
};

struct fault {
	enum fault_what what;
	unsigned calls; /* FAULT_*: those that are counted */
	long at, times; /* from the at-th on, counted from 1, so many times */
	int error;
};

/* From here on; NULL = no fault, nothing counted. Syncs are counted and not done. */
void fault_set(const struct fault *f);
long fault_counted(void); /* since fault_set */

#endif
