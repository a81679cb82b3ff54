/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "port_state.h"
#include "why.h"

#define STATE_MAGIC 0x31657461747378ull /* "xstate1" */

struct port_state_file {
	uint64_t magic;
	uint64_t features;  /* acknowledged virtio bits */
	uint32_t front_end; /* process id */
	struct vhost_kept rings[2 * VHOST_MAX_QUEUE_PAIRS];
};
static_assert(offsetof(struct port_state_file, rings) == CACHE_LINE, "laid out in files");

struct port_state {
	struct port_state_file *file;
	int fd; /* holds the lock */
};

static char *state_path(const char *near, const char *name)
{
	const char *slash = strrchr(near, '/');
	char *path;

	if (asprintf(&path, "%.*s%s.state", slash ? (int)(slash + 1 - near) : 0, near, name) < 0)
		return NULL;
	return path;
}

/* Ours alone, of the right size, and with all of its pages: a full disk is told now. */
static int state_prepare(int fd)
{
	const off_t size = sizeof(struct port_state_file);
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_nlink != 1)
		return -EPERM;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	if (st.st_size != size && (ftruncate(fd, 0) < 0 || ftruncate(fd, size) < 0))
		return -errno;
	return -posix_fallocate(fd, 0, size);
}

static int state_map(struct port_state *s, const char *path)
{
	int err;

	s->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (s->fd < 0)
		return -errno;
	err = state_prepare(s->fd);
	if (err < 0)
		return err;
	s->file = mmap(NULL, sizeof(*s->file), PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
	if (s->file == MAP_FAILED)
		return -errno;
	if (s->file->magic != STATE_MAGIC) {
		memset(s->file, 0, sizeof(*s->file));
		s->file->magic = STATE_MAGIC;
	}
	return 0;
}

int port_state_open(const char *near, const char *name, struct port_state **ret_state,
                    char **ret_why)
{
	struct port_state *s = malloc(sizeof(*s));
	char *path = state_path(near, name);
	int err = -ENOMEM;

	if (s) {
		*s = (struct port_state){.file = MAP_FAILED, .fd = -1};
		err = path ? state_map(s, path) : -ENOMEM;
	}
	if (err == 0)
		*ret_state = s;
	else
		port_state_close(s);
	if (err < 0)
		why_set(ret_why, err,
		        "port %s: cannot keep its state in %s: %s; packed rings will not outlive "
		        "this daemon",
		        name, path ? path : "a file",
		        err == -EBUSY ? "another daemon does" : strerror(-err));
	free(path);
	return err;
}

void port_state_close(struct port_state *s)
{
	if (!s)
		return;
	if (s->file != MAP_FAILED)
		munmap(s->file, sizeof(*s->file));
	if (s->fd >= 0)
		close(s->fd);
	free(s);
}

struct vhost_kept *port_state_rings(struct port_state *s)
{
	return s->file->rings;
}

void port_state_note(struct port_state *s, int front_end, uint64_t features)
{
	s->file->features = features;
	s->file->front_end = (uint32_t)front_end;
}

uint64_t port_state_features(const struct port_state *s, int front_end)
{
	return front_end > 0 && s->file->front_end == (uint32_t)front_end ? s->file->features : 0;
}
