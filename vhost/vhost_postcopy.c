/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_postcopy.c - a device during post-copy migration: userfaultfds, and threads that may wait
 *
 * Jobs and threads meet under one mutex. A helper takes one page of one job, lets the mutex go,
 * sleeps in vhost_late_fetch() if it has to, and comes back. Several helpers keep several requests
 * on their way to the source. Each says which mapping it is in, so that a mapping can be taken
 * away: its jobs are ended, vhost_late_release() wakes who sleeps, and the last one to leave
 * signals. A front end that never provides a page so holds up nothing but its own rings.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "vhost_postcopy.h"

#define N_HELPERS 4

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1 /* since Linux 5.11 */
#endif

struct postcopy_range {
	struct vhost_late *late;
	size_t next, end; /* pages not given to a helper yet */
};

struct postcopy_job {
	uint32_t n, at;   /* ranges; the first that has pages left */
	uint32_t helpers; /* at work on its pages */
	uint32_t serial;  /* of the job: helpers of a dropped one do not count */
	bool open, failed;
	bool urgent; /* the ring itself, without which nothing goes on */
	struct postcopy_range ranges[VHOST_POSTCOPY_MAX_RANGES];
};

struct postcopy_helper {
	struct vhost_postcopy *pc;
	pthread_t thread;
	struct vhost_late *in; /* mapping that it is in; under the mutex */
};

struct vhost_postcopy {
	int fault_fd, bus_fd;
	void (*attend)(void *owner);
	void *owner;

	pthread_mutex_t mutex;
	pthread_cond_t work;  /* there are pages to fetch, or it is time to end */
	pthread_cond_t leave; /* a helper has left a mapping */
	bool stop, held;
	uint64_t n_slept; /* pages that helpers had to sleep for */
	uint32_t turn;    /* ring whose job is looked at first: they take turns */
	uint32_t n_helpers;
	struct postcopy_helper helpers[N_HELPERS];
	uint32_t n_jobs;
	struct postcopy_job jobs[]; /* one per ring */
};

/* ---- the descriptors ---- */

static int uffd_open(uint64_t features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	int err;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, UFFDIO_API, &api) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

static const char *missing;

static void probe(void)
{
	const uint64_t need = UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MISSING_SHMEM;
	int fd = uffd_open(need);

	if (fd == -ENOSYS)
		missing = "the kernel has no userfaultfd";
	else if (fd == -EPERM || fd == -EACCES)
		missing = "userfaultfd is forbidden to this process";
	else if (fd < 0)
		missing = "userfaultfd of this kernel lacks what is needed";
	else
		close(fd);
}

const char *vhost_postcopy_missing(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, probe);
	return missing;
}

int vhost_postcopy_open(uint32_t n_rings, void (*attend)(void *owner), void *owner,
                        struct vhost_postcopy **ret_postcopy)
{
	struct vhost_postcopy *pc = calloc(1, sizeof(*pc) + n_rings * sizeof(pc->jobs[0]));
	int err;

	if (!pc)
		return -ENOMEM;
	pc->attend = attend;
	pc->owner = owner;
	pc->n_jobs = n_rings;
	pthread_mutex_init(&pc->mutex, NULL);
	pthread_cond_init(&pc->work, NULL);
	pthread_cond_init(&pc->leave, NULL);
	pc->bus_fd = -1;
	/* No features: it is the front end that reads it, and those bits would be news to it. */
	pc->fault_fd = uffd_open(0);
	if (pc->fault_fd >= 0)
		pc->bus_fd = uffd_open(UFFD_FEATURE_SIGBUS);
	if (pc->bus_fd < 0) {
		err = pc->fault_fd < 0 ? pc->fault_fd : pc->bus_fd;
		vhost_postcopy_close(pc);
		return err;
	}
	*ret_postcopy = pc;
	return 0;
}

int vhost_postcopy_fd(const struct vhost_postcopy *pc)
{
	return pc->fault_fd;
}

void vhost_postcopy_close(struct vhost_postcopy *pc)
{
	if (!pc)
		return;
	pthread_mutex_lock(&pc->mutex);
	pc->stop = true;
	pthread_cond_broadcast(&pc->work);
	pthread_mutex_unlock(&pc->mutex);
	for (uint32_t i = 0; i < pc->n_helpers; i++)
		pthread_join(pc->helpers[i].thread, NULL);
	if (pc->fault_fd >= 0)
		close(pc->fault_fd);
	if (pc->bus_fd >= 0)
		close(pc->bus_fd);
	pthread_cond_destroy(&pc->leave);
	pthread_cond_destroy(&pc->work);
	pthread_mutex_destroy(&pc->mutex);
	free(pc);
}

/* ---- helpers. With the mutex held, but for the fetch ---- */

static uint32_t n_busy(const struct vhost_postcopy *pc)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < pc->n_helpers; i++)
		n += pc->helpers[i].in != NULL;
	return n;
}

/*
 * A page that waits to be fetched; the rings take turns. The last helper is kept for rings: the
 * pages of buffers may all be long in coming.
 */
static struct postcopy_job *next_page(struct vhost_postcopy *pc, struct vhost_late **ret_late,
                                      size_t *ret_page)
{
	bool last = pc->n_helpers > 1 && n_busy(pc) + 1 >= pc->n_helpers;

	for (uint32_t i = 0; i < pc->n_jobs && !pc->held; i++) {
		struct postcopy_job *job = &pc->jobs[(pc->turn + i) % pc->n_jobs];

		if (last && !job->urgent)
			continue;
		for (; job->at < job->n; job->at++) {
			struct postcopy_range *r = &job->ranges[job->at];

			if (r->next == r->end)
				continue;
			pc->turn = (pc->turn + i + 1) % pc->n_jobs;
			*ret_late = r->late;
			*ret_page = r->next++;
			return job;
		}
	}
	return NULL;
}

/* Is there nothing left to do, nor anybody at it? */
static bool job_is_over(const struct postcopy_job *job)
{
	return job->open && job->helpers == 0 && (job->failed || job->at == job->n);
}

static void helper_fetch(struct postcopy_helper *h, struct postcopy_job *job,
                         struct vhost_late *late, size_t page)
{
	struct vhost_postcopy *pc = h->pc;
	uint32_t serial = job->serial;
	bool over;
	int err;

	h->in = late;
	job->helpers++;
	pthread_mutex_unlock(&pc->mutex);
	err = vhost_late_fetch(late, page);
	pthread_mutex_lock(&pc->mutex);
	h->in = NULL;
	pc->n_slept += err > 0;
	pthread_cond_broadcast(&pc->leave);
	if (job->serial != serial)
		return;
	job->helpers--;
	job->failed |= err == -EFAULT;
	/* Pages behind a failure are of no use. */
	if (job->failed)
		job->at = job->n;
	else
		while (job->at < job->n && job->ranges[job->at].next == job->ranges[job->at].end)
			job->at++;
	over = job_is_over(job);
	if (!over)
		return;
	pthread_mutex_unlock(&pc->mutex);
	pc->attend(pc->owner);
	pthread_mutex_lock(&pc->mutex);
}

static void *helper_main(void *arg)
{
	struct postcopy_helper *h = arg;
	struct vhost_postcopy *pc = h->pc;

	pthread_mutex_lock(&pc->mutex);
	while (!pc->stop) {
		struct vhost_late *late;
		size_t page;
		struct postcopy_job *job = next_page(pc, &late, &page);

		if (job)
			helper_fetch(h, job, late, page);
		else
			pthread_cond_wait(&pc->work, &pc->mutex);
	}
	pthread_mutex_unlock(&pc->mutex);
	return NULL;
}

static int helper_start(struct vhost_postcopy *pc, struct postcopy_helper *h)
{
	sigset_t all, old;
	int err;

	h->pc = pc;
	/* Signals belong to the control thread; guest memory may go away under us all the same. */
	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGSEGV);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&h->thread, NULL, helper_main, h);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return -err;
	pthread_setname_np(h->thread, "postcopy");
	return 0;
}

int vhost_postcopy_listen(struct vhost_postcopy *pc)
{
	int err = 0;

	/* The first helpers may be at work, and count, before the last one is there. */
	pthread_mutex_lock(&pc->mutex);
	while (pc->n_helpers < N_HELPERS && err == 0) {
		err = helper_start(pc, &pc->helpers[pc->n_helpers]);
		if (err == 0)
			pc->n_helpers++;
	}
	pthread_mutex_unlock(&pc->mutex);
	/* One is enough. */
	return pc->n_helpers ? 0 : err;
}

bool vhost_postcopy_is_listening(const struct vhost_postcopy *pc)
{
	return pc && pc->n_helpers > 0;
}

void vhost_postcopy_hold(struct vhost_postcopy *pc)
{
	pthread_mutex_lock(&pc->mutex);
	pc->held = true;
	pthread_mutex_unlock(&pc->mutex);
}

void vhost_postcopy_go(struct vhost_postcopy *pc)
{
	pthread_mutex_lock(&pc->mutex);
	pc->held = false;
	pthread_cond_broadcast(&pc->work);
	pthread_mutex_unlock(&pc->mutex);
}

uint64_t vhost_postcopy_slept(struct vhost_postcopy *pc)
{
	uint64_t n;

	pthread_mutex_lock(&pc->mutex);
	n = pc->n_slept;
	pthread_mutex_unlock(&pc->mutex);
	return n;
}

/* ---- mappings ---- */

int vhost_postcopy_add(struct vhost_postcopy *pc, void *host, size_t len, size_t page, int fd,
                       uint64_t offset, struct vhost_late **ret_late, const char **ret_why)
{
	int err = vhost_late_new(host, len, page, fd, offset, pc->fault_fd, pc->bus_fd, ret_late,
	                         ret_why);

	if (!err)
		(*ret_late)->postcopy = pc;
	return err;
}

static bool is_inside(const struct vhost_postcopy *pc, const struct vhost_late *late)
{
	for (uint32_t i = 0; i < pc->n_helpers; i++)
		if (pc->helpers[i].in == late)
			return true;
	return false;
}

/* Ends the job if it needs @late; who asked sees then that the memory is gone. Return: did it? */
static bool take_away(struct postcopy_job *job, const struct vhost_late *late)
{
	bool any = false;

	for (uint32_t i = 0; i < job->n; i++)
		any |= job->ranges[i].late == late;
	if (any)
		job->at = job->n;
	return any;
}

/* End what is done for @late, and wait until nobody is in it. Return: was there anything? */
static bool quit(struct vhost_postcopy *pc, struct vhost_late *late)
{
	bool any = false;

	pthread_mutex_lock(&pc->mutex);
	for (uint32_t i = 0; i < pc->n_jobs; i++)
		any |= take_away(&pc->jobs[i], late);
	vhost_late_release(late);
	while (is_inside(pc, late))
		pthread_cond_wait(&pc->leave, &pc->mutex);
	pthread_mutex_unlock(&pc->mutex);
	return any;
}

void vhost_postcopy_unguard(struct vhost_late *late)
{
	if (quit(late->postcopy, late))
		late->postcopy->attend(late->postcopy->owner);
	vhost_late_unguard(late);
}

void vhost_postcopy_remove(struct vhost_late *late)
{
	struct vhost_postcopy *pc;
	bool any;

	if (!late)
		return;
	pc = late->postcopy;
	any = quit(pc, late);
	vhost_late_free(late);
	if (any)
		pc->attend(pc->owner);
}

/* ---- jobs ---- */

bool vhost_postcopy_want(struct vhost_postcopy *pc, uint32_t ring, struct vhost_late *late,
                         const void *host, uint64_t len, bool urgent)
{
	struct postcopy_job *job = &pc->jobs[ring];
	bool room;

	if (vhost_late_is_here(late, host, len))
		return false;
	pthread_mutex_lock(&pc->mutex);
	room = job->n < VHOST_POSTCOPY_MAX_RANGES;
	if (room) {
		job->open = true;
		job->urgent |= urgent;
		job->ranges[job->n++] = (struct postcopy_range){
			.late = late,
			.next = vhost_late_page(late, host),
			.end = vhost_late_page(late, (const uint8_t *)host + len - 1) + 1};
		pthread_cond_broadcast(&pc->work);
	}
	pthread_mutex_unlock(&pc->mutex);
	return room;
}

static void job_reset(struct postcopy_job *job)
{
	*job = (struct postcopy_job){.serial = job->serial + 1};
}

enum vhost_postcopy_job vhost_postcopy_poll(struct vhost_postcopy *pc, uint32_t ring)
{
	enum vhost_postcopy_job result = VHOST_POSTCOPY_NO_JOB;
	struct postcopy_job *job;

	if (!pc)
		return result;
	job = &pc->jobs[ring];
	pthread_mutex_lock(&pc->mutex);
	if (job_is_over(job)) {
		result = job->failed ? VHOST_POSTCOPY_FAILED : VHOST_POSTCOPY_DONE;
		job_reset(job);
	} else if (job->open) {
		result = VHOST_POSTCOPY_BUSY;
	}
	pthread_mutex_unlock(&pc->mutex);
	return result;
}

void vhost_postcopy_drop(struct vhost_postcopy *pc, uint32_t ring)
{
	if (!pc)
		return;
	pthread_mutex_lock(&pc->mutex);
	job_reset(&pc->jobs[ring]);
	pthread_mutex_unlock(&pc->mutex);
}
