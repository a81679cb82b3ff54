/* SPDX-License-Identifier: BSD-2-Clause */
/* fuzz.c - see fuzz.h. Compiled without the hook on loads that it defines. */
#include <poll.h>
#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "fuzz.h"

#define FUZZ_GUARD     ((size_t)4 << 30)
#define FUZZ_MAX_ROOM  ((size_t)1 << 20)
#define FUZZ_BLOCKS    48
#define FUZZ_SPAN      (FUZZ_BLOCKS * (FUZZ_GUARD + FUZZ_MAX_ROOM) + FUZZ_GUARD)
#define FUZZ_WATCH_FDS 64 /* the lowest; new ones get the lowest that are free */

void fuzz_broken(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: broken promise: %s\n", file, line, what);
	abort();
}

/* ---- guest memory ---- */

static uint8_t *arena;
static uint32_t n_blocks;

void fuzz_block_new(struct fuzz_block *b, uint32_t room)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t bytes = (room + page - 1) & ~(page - 1);

	if (!arena)
		arena = mmap(NULL, FUZZ_SPAN, PROT_NONE,
		             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	fuzz_promise(arena != MAP_FAILED && n_blocks < FUZZ_BLOCKS && bytes <= FUZZ_MAX_ROOM);
	b->end = arena + ++n_blocks * (FUZZ_GUARD + FUZZ_MAX_ROOM);
	b->room = b->end - bytes;
	fuzz_promise(mprotect(b->room, bytes, PROT_READ | PROT_WRITE) == 0);
	fuzz_block_place(b, room, 1);
}

uint8_t *fuzz_block_place(struct fuzz_block *b, uint32_t size, uint32_t align)
{
	uint8_t *at = b->end - size;

	at -= (uintptr_t)at % align;
	fuzz_promise(at >= b->room);
	if (at != b->at || size != b->size) {
		ASAN_POISON_MEMORY_REGION(b->room, (size_t)(b->end - b->room));
		ASAN_UNPOISON_MEMORY_REGION(at, size);
	}
	b->at = at;
	b->size = size;
	return memset(at, 0, size);
}

/* ---- memory that changes while it is read ---- */

static struct fuzz_race races[FUZZ_RACES];
static uint32_t n_races, next_race;
static uint8_t countdown;
static bool racing;
static uint64_t loads;

void fuzz_race_reset(void)
{
	n_races = next_race = 0;
	racing = false;
}

void fuzz_race_plan(struct fuzz_in *in)
{
	struct fuzz_race r;

	r.delay = fuzz_u8(in);
	r.how = fuzz_u8(in);
	r.value = r.how & 0x80 ? fuzz_u64(in) : fuzz_u16(in);
	if (n_races == next_race)
		countdown = r.delay;
	if (n_races < FUZZ_RACES)
		races[n_races++] = r;
}

void fuzz_race_run(bool on)
{
	racing = on;
	if (on)
		loads = 0;
}

uint64_t fuzz_race_loads(void)
{
	return loads;
}

/* Never leaves the 8-byte word that @addr is in, or its neighbour on the same page. */
__attribute__((no_sanitize("address"))) static void race_change(uintptr_t addr,
                                                                const struct fuzz_race *r)
{
	uintptr_t word = addr & ~(uintptr_t)7;
	uint64_t mask = ~0ull >> (64 - (8u << (r->how & 3)));
	uint64_t value = (r->value & mask) << 8 * (addr & 7);

	if (r->how & 8)
		word ^= 8;
	if (r->how & 4)
		*(uint64_t *)word ^= value;
	else
		*(uint64_t *)word = (*(uint64_t *)word & ~(mask << 8 * (addr & 7))) | value;
}

static inline void race_load(const void *p)
{
	uintptr_t addr = (uintptr_t)p;

	if (likely(!racing) || addr - (uintptr_t)arena >= FUZZ_SPAN)
		return;
	loads++;
	if (likely(next_race == n_races) || countdown--)
		return;
	race_change(addr, &races[next_race++]);
	if (next_race < n_races)
		countdown = races[next_race].delay;
}

/*
 * Clang calls these in front of each load (-fsanitize-coverage=trace-loads). So a change made here
 * is what this load sees: the word differs from what an earlier load of it saw.
 */
void __sanitizer_cov_load1(const uint8_t *p);
void __sanitizer_cov_load2(const uint16_t *p);
void __sanitizer_cov_load4(const uint32_t *p);
void __sanitizer_cov_load8(const uint64_t *p);
void __sanitizer_cov_load16(const void *p);

void __sanitizer_cov_load1(const uint8_t *p)
{
	race_load(p);
}

void __sanitizer_cov_load2(const uint16_t *p)
{
	race_load(p);
}

void __sanitizer_cov_load4(const uint32_t *p)
{
	race_load(p);
}

void __sanitizer_cov_load8(const uint64_t *p)
{
	race_load(p);
}

void __sanitizer_cov_load16(const void *p)
{
	race_load(p);
}

/* ---- what must not be left behind ---- */

static bool fd_was_open[FUZZ_WATCH_FDS];

/* One system call for all: a closed one is reported as POLLNVAL at once. */
static void look_at_fds(bool ret_open[FUZZ_WATCH_FDS])
{
	struct pollfd p[FUZZ_WATCH_FDS];

	for (int i = 0; i < FUZZ_WATCH_FDS; i++)
		p[i] = (struct pollfd){.fd = i};
	fuzz_promise(poll(p, FUZZ_WATCH_FDS, 0) >= 0);
	for (int i = 0; i < FUZZ_WATCH_FDS; i++)
		ret_open[i] = !(p[i].revents & POLLNVAL);
}

void fuzz_fds_mark(void)
{
	look_at_fds(fd_was_open);
}

void fuzz_fds_check(void)
{
	bool open[FUZZ_WATCH_FDS];

	look_at_fds(open);
	for (int i = 0; i < FUZZ_WATCH_FDS; i++)
		fuzz_promise(open[i] == fd_was_open[i]);
}

/*
 * The linker sends the calls of the code under test here (--wrap). A mapping of guest memory gets a
 * guard on each side; when the input is over none may be left. Control thread only.
 */
void *__real_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off);
int __real_munmap(void *addr, size_t len);
void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off);
int __wrap_munmap(void *addr, size_t len);

#define FUZZ_FENCE        ((size_t)2 << 20) /* keeps the alignment that large pages want */
#define FUZZ_MAX_MAPPINGS 1024

static void *mappings[FUZZ_MAX_MAPPINGS]; /* those with a fence */
static uint32_t n_mappings;

uint32_t fuzz_mappings(void)
{
	return n_mappings;
}

void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	size_t whole = len + 2 * FUZZ_FENCE;
	uint8_t *fence;

	if (!(flags & MAP_SHARED) || fd < 0 || addr || whole < len)
		return __real_mmap(addr, len, prot, flags, fd, off);
	fence = __real_mmap(NULL, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
	                    0);
	if (fence == MAP_FAILED)
		return MAP_FAILED;
	if (__real_mmap(fence + FUZZ_FENCE, len, prot, flags | MAP_FIXED, fd, off) == MAP_FAILED) {
		__real_munmap(fence, whole);
		return MAP_FAILED;
	}
	fuzz_promise(n_mappings < FUZZ_MAX_MAPPINGS);
	mappings[n_mappings++] = fence + FUZZ_FENCE;
	return fence + FUZZ_FENCE;
}

int __wrap_munmap(void *addr, size_t len)
{
	for (uint32_t i = n_mappings; i-- > 0;) {
		if (mappings[i] != addr)
			continue;
		mappings[i] = mappings[--n_mappings];
		return __real_munmap((uint8_t *)addr - FUZZ_FENCE, len + 2 * FUZZ_FENCE);
	}
	return __real_munmap(addr, len);
}
