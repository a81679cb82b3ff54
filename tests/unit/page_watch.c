/* SPDX-License-Identifier: BSD-2-Clause */
/* page_watch.c - see page_watch.h */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ucontext.h>
#include <unistd.h>
#include "page_watch.h"

#if PAGE_WATCH

#define NEVER    UINT32_MAX
#define TRAP     0x100 /* in EFLAGS */
#define IS_WRITE 2     /* in the error code of a page fault */

struct page_change {
	void *at;
	uint32_t size;
	uint64_t bad;
	uint32_t after; /* loads of the page; 0: before the first */
};

static struct {
	const struct page_change *change;
	uint8_t *page;
	size_t page_size;
	uint32_t loads;
	bool stored; /* the word is of the code under test by now */
	bool is_store, hits;
	sigjmp_buf stray;
} watch;

static void protect(int prot)
{
	if (mprotect(watch.page, watch.page_size, prot) < 0)
		abort();
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	const uint8_t *word = watch.change->at;
	uint8_t *addr = info->si_addr;
	ucontext_t *uc = context;

	(void)sig;
	if ((uintptr_t)addr - (uintptr_t)watch.page >= watch.page_size)
		siglongjmp(watch.stray, 1);
	watch.is_store = uc->uc_mcontext.gregs[REG_ERR] & IS_WRITE;
	/* How wide a store is, nobody says: to rings they are of 8 bytes at most. */
	watch.hits = addr + 8 > word && addr < word + watch.change->size;
	protect(PROT_READ | PROT_WRITE);
	uc->uc_mcontext.gregs[REG_EFL] |= TRAP;
}

static void on_step(int sig, siginfo_t *info, void *context)
{
	const struct page_change *c = watch.change;
	ucontext_t *uc = context;

	(void)sig;
	(void)info;
	uc->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP;
	if (watch.is_store)
		watch.stored |= watch.hits;
	else if (++watch.loads == c->after && !watch.stored)
		memcpy(c->at, &c->bad, c->size);
	protect(PROT_NONE);
}

/* Return: false if the run touched memory that it has no rights to; it was interrupted then. */
static bool watched_run(const struct page_scene *scene, const struct page_change *c)
{
	struct sigaction fault = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
	struct sigaction step = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
	struct sigaction old_fault, old_step;
	bool stray;

	watch.change = c;
	watch.page_size = (size_t)sysconf(_SC_PAGESIZE);
	watch.page = (uint8_t *)c->at - (uintptr_t)c->at % watch.page_size;
	watch.loads = 0;
	watch.stored = false;
	sigaction(SIGSEGV, &fault, &old_fault);
	sigaction(SIGTRAP, &step, &old_step);
	stray = sigsetjmp(watch.stray, 1);
	if (!stray) {
		protect(PROT_NONE);
		scene->run(scene->arg);
	}
	protect(PROT_READ | PROT_WRITE);
	sigaction(SIGSEGV, &old_fault, NULL);
	sigaction(SIGTRAP, &old_step, NULL);
	return !stray;
}

/* One run from the beginning. Return: likewise */
static bool once(const struct page_scene *scene, const struct page_change *c, void *result)
{
	uint64_t good = 0;
	bool ok;

	scene->lay(scene->arg);
	memcpy(&good, c->at, c->size);
	if (!c->after)
		memcpy(c->at, &c->bad, c->size);
	ok = watched_run(scene, c);
	/* What the code under test did not write over is none of its result. */
	if (!memcmp(c->at, &c->bad, c->size))
		memcpy(c->at, &good, c->size);
	memset(result, 0, scene->result_size);
	scene->result(scene->arg, result);
	return ok;
}

static const char *each(const struct page_scene *scene, struct page_change *c, uint8_t *results)
{
	uint8_t *evil = results, *good = evil + scene->result_size;
	uint8_t *now = good + scene->result_size;
	uint32_t n;

	c->after = 0;
	if (!once(scene, c, evil))
		return "access where there are no rights";
	c->after = NEVER;
	if (!once(scene, c, good))
		return "access where there are no rights, and the word is good";
	n = watch.loads;
	if (!n)
		return "the word's page is not looked at";
	for (c->after = 1; c->after <= n; c->after++) {
		if (!once(scene, c, now))
			return "access where there are no rights";
		if (memcmp(now, good, scene->result_size) && memcmp(now, evil, scene->result_size))
			return "neither as if it had been so before, nor as if it had stayed";
	}
	return NULL;
}

const char *page_watch(const struct page_scene *scene, void *at, uint32_t size, uint64_t bad)
{
	struct page_change c = {.at = at, .size = size, .bad = bad};
	uint8_t *results = malloc(3 * scene->result_size);
	static char text[160];
	const char *why;

	if (!results)
		abort();
	why = each(scene, &c, results);
	free(results);
	if (!why)
		return NULL;
	snprintf(text, sizeof(text), "0x%llx after load %u of the page: %s",
	         (unsigned long long)bad, c.after, why);
	return text;
}

#else

const char *page_watch(const struct page_scene *scene, void *at, uint32_t size, uint64_t bad)
{
	(void)scene;
	(void)at;
	(void)size;
	(void)bad;
	return "needs the trap flag of x86-64";
}

#endif
