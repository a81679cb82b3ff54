/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "vhost_signal.h"

#define SIGNAL_EVENTS 64 /* completions the kernel can keep for us */
#define SIGNAL_REAP   32 /* take them off after so many */

struct signal_context {
	bool tried;
	aio_context_t aio; /* 0: none */
	uint32_t unreaped;
};

static __thread struct signal_context signal_ctx;

/* One for the process, for good. */
static pthread_once_t signal_once = PTHREAD_ONCE_INIT;
static int signal_null_fd = -1;

static void signal_open_null(void)
{
	signal_null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static bool signal_begin(struct signal_context *c)
{
	if (likely(c->tried))
		return c->aio != 0;
	c->tried = true;
	pthread_once(&signal_once, signal_open_null);
	if (signal_null_fd < 0 || syscall(SYS_io_setup, SIGNAL_EVENTS, &c->aio) < 0)
		c->aio = 0;
	return c->aio != 0;
}

void vhost_signal_end(void)
{
	if (signal_ctx.aio)
		syscall(SYS_io_destroy, signal_ctx.aio);
	signal_ctx = (struct signal_context){0};
}

static int signal_by_write(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	uint64_t one = 1;

	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
		return p.revents & (POLLNVAL | POLLERR) ? -EBADF : 0;
	return write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN ? -errno : 0;
}

int vhost_signal(int fd)
{
	struct signal_context *c = &signal_ctx;
	struct io_event events[SIGNAL_EVENTS];
	struct timespec now = {0};
	struct iocb *list[1], cb = {
				      .aio_lio_opcode = IOCB_CMD_PREAD,
				      .aio_flags = IOCB_FLAG_RESFD,
				      .aio_resfd = (uint32_t)fd,
			      };

	if (unlikely(!signal_begin(c)))
		return signal_by_write(fd);
	if (++c->unreaped == SIGNAL_REAP) {
		syscall(SYS_io_getevents, c->aio, 0L, (long)SIGNAL_EVENTS, events, &now);
		c->unreaped = 0;
	}
	cb.aio_fildes = (uint32_t)signal_null_fd;
	list[0] = &cb;
	return syscall(SYS_io_submit, c->aio, 1L, list) == 1 ? 0 : -errno;
}
