/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_sigbus.c - survive guest memory that disappears
 *
 * Theory of operation
 * -------------------
 * Each mapping of guest memory has a slot in a registry: its bounds, page size, and a mark. Slots
 * live in chunks that are linked to a list and never freed, so that the handler can walk it
 * without locks, on whatever thread the fault came. Writers are serialised by a mutex.
 *
 * The handler looks the fault address up. If it lies in a registered mapping, it sets the mark and
 * maps anonymous memory over the whole mapping in one call: one call leaves the number of kernel
 * mappings as it is, whereas one page at a time would let a front end split a large region into
 * more of them than the process may have. Should the whole be refused (a machine that does not
 * overcommit), the page around the fault is replaced alone. Then the access is repeated and goes on
 * with zeros, which the ring code treats like anything else a guest may have written. The control
 * thread sees the mark (vhost_dev_report_faults()) and ends the connection.
 *
 * Two threads may fault in the same mapping at a time; the second one replaces zeros by zeros.
 *
 * A slot is filled before any access and emptied after the last one (workers have passed a
 * quiescent point), so the one slot that describes the fault cannot change under the handler.
 * Others can, and half of an old value and half of a new one could seem to match. Hence a sequence
 * number per slot, odd while it changes: the handler passes over a slot that changed while it was
 * read.
 *
 * A SIGBUS elsewhere is a bug or broken hardware: the action that was in force before is put
 * back and the access repeated, which ends the process with a core as it should.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "vhost_sigbus.h"

#define SLOTS_PER_CHUNK 64

struct vhost_sigbus_slot {
	_Atomic uint32_t seq;    /* odd: being changed */
	_Atomic uintptr_t start; /* 0: free */
	_Atomic size_t len;
	_Atomic size_t page;
	_Atomic bool lost;
};

/* A slot as read once. */
struct sigbus_range {
	uintptr_t start;
	size_t len;
	size_t page;
};

struct sigbus_chunk {
	struct sigbus_chunk *next; /* set before the chunk is linked, then constant */
	struct vhost_sigbus_slot slots[SLOTS_PER_CHUNK];
};

static _Atomic(struct sigbus_chunk *) sigbus_chunks;
static _Atomic uint64_t sigbus_events;
static pthread_mutex_t sigbus_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction sigbus_previous;

/* Handler context. False if the slot is free, changing, or does not hold @addr. */
static bool sigbus_match(const struct vhost_sigbus_slot *s, uintptr_t addr,
                         struct sigbus_range *ret_range)
{
	/* R: releases in sigbus_fill(); each load keeps the next one behind it */
	uint32_t seq = atomic_load_explicit(&s->seq, memory_order_acquire);
	struct sigbus_range r = {
		.start = atomic_load_explicit(&s->start, memory_order_acquire),
		.len = atomic_load_explicit(&s->len, memory_order_acquire),
		.page = atomic_load_explicit(&s->page, memory_order_acquire),
	};

	if (seq % 2 || seq != atomic_load_explicit(&s->seq, memory_order_relaxed))
		return false;
	if (!r.start || addr - r.start >= r.len)
		return false;
	*ret_range = r;
	return true;
}

/* Handler context. */
static struct vhost_sigbus_slot *sigbus_find(uintptr_t addr, struct sigbus_range *ret_range)
{
	/* R: release in sigbus_grow() */
	struct sigbus_chunk *c = atomic_load_explicit(&sigbus_chunks, memory_order_acquire);

	for (; c; c = c->next)
		for (uint32_t i = 0; i < SLOTS_PER_CHUNK; i++)
			if (sigbus_match(&c->slots[i], addr, ret_range))
				return &c->slots[i];
	return NULL;
}

/* Handler context. The bare system call: an interposed mmap() may not be async-signal-safe. */
static bool sigbus_map_anonymous(uintptr_t addr, size_t len)
{
	long ret = syscall(SYS_mmap, addr, len, PROT_READ | PROT_WRITE,
	                   MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0L);

	return ret != -1;
}

/* Handler context. */
static bool sigbus_replace(struct vhost_sigbus_slot *s, const struct sigbus_range *r,
                           uintptr_t addr)
{
	atomic_store_explicit(&s->lost, true, memory_order_release);
	atomic_fetch_add_explicit(&sigbus_events, 1, memory_order_release);
	return sigbus_map_anonymous(r->start, r->len) ||
	       sigbus_map_anonymous(addr & ~(uintptr_t)(r->page - 1), r->page);
}

static void sigbus_handler(int sig, siginfo_t *info, void *context)
{
	int saved_errno = errno;
	uintptr_t addr = (uintptr_t)info->si_addr;
	bool fault = info->si_code > 0; /* else sent by kill(), and si_addr means nothing */
	struct sigbus_range range;
	struct vhost_sigbus_slot *s = fault ? sigbus_find(addr, &range) : NULL;

	(void)context;
	if (!s || !sigbus_replace(s, &range, addr)) {
		sigaction(SIGBUS, &sigbus_previous, NULL);
		if (!fault)
			raise(sig); /* delivered when this handler returns */
	}
	errno = saved_errno;
}

/* With the mutex held. Asks each time, since a library may have put a handler of its own in front.
 */
static int sigbus_install(void)
{
	struct sigaction sa = {.sa_sigaction = sigbus_handler, .sa_flags = SA_SIGINFO | SA_RESTART};
	struct sigaction current;

	if (sigaction(SIGBUS, NULL, &current) < 0)
		return -errno;
	if ((current.sa_flags & SA_SIGINFO) && current.sa_sigaction == sigbus_handler)
		return 0;
	sigbus_previous = current;
	sigemptyset(&sa.sa_mask);
	return sigaction(SIGBUS, &sa, NULL) < 0 ? -errno : 0;
}

/* W: acquires in sigbus_match(); each store stays behind the one before */
static void sigbus_fill(struct vhost_sigbus_slot *s, const struct sigbus_range *r)
{
	uint32_t seq = atomic_load_explicit(&s->seq, memory_order_relaxed);

	atomic_store_explicit(&s->seq, seq + 1, memory_order_relaxed);
	atomic_store_explicit(&s->lost, false, memory_order_release);
	atomic_store_explicit(&s->start, r->start, memory_order_release);
	atomic_store_explicit(&s->len, r->len, memory_order_release);
	atomic_store_explicit(&s->page, r->page, memory_order_release);
	atomic_store_explicit(&s->seq, seq + 2, memory_order_release);
}

static struct vhost_sigbus_slot *sigbus_free_slot(void)
{
	struct sigbus_chunk *c = atomic_load_explicit(&sigbus_chunks, memory_order_relaxed);

	for (; c; c = c->next)
		for (uint32_t i = 0; i < SLOTS_PER_CHUNK; i++)
			if (!atomic_load_explicit(&c->slots[i].start, memory_order_relaxed))
				return &c->slots[i];
	return NULL;
}

static struct vhost_sigbus_slot *sigbus_grow(void)
{
	struct sigbus_chunk *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->next = atomic_load_explicit(&sigbus_chunks, memory_order_relaxed);
	/* W: acquire in sigbus_find() */
	atomic_store_explicit(&sigbus_chunks, c, memory_order_release);
	return &c->slots[0];
}

int vhost_sigbus_add(void *start, size_t len, size_t page, struct vhost_sigbus_slot **ret_slot)
{
	struct vhost_sigbus_slot *s;
	int err;

	pthread_mutex_lock(&sigbus_mutex);
	err = sigbus_install();
	if (err < 0)
		goto out;
	s = sigbus_free_slot();
	if (!s)
		s = sigbus_grow();
	if (!s) {
		err = -ENOMEM;
		goto out;
	}
	sigbus_fill(s, &(struct sigbus_range){(uintptr_t)start, len, page});
	*ret_slot = s;
out:
	pthread_mutex_unlock(&sigbus_mutex);
	return err;
}

void vhost_sigbus_remove(struct vhost_sigbus_slot *slot)
{
	if (!slot)
		return;
	pthread_mutex_lock(&sigbus_mutex);
	sigbus_fill(slot, &(struct sigbus_range){0});
	pthread_mutex_unlock(&sigbus_mutex);
}

bool vhost_sigbus_lost(const struct vhost_sigbus_slot *slot)
{
	return atomic_load_explicit(&slot->lost, memory_order_acquire);
}

uint64_t vhost_sigbus_events(void)
{
	return atomic_load_explicit(&sigbus_events, memory_order_acquire);
}
