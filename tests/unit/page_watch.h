/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * page_watch.h - memory that somebody else writes between any two loads of it
 *
 * No second thread, whose timing nobody could repeat: the page that holds the word in question has
 * no access rights, so each load of it faults. The handler lets that one instruction through (the
 * trap flag brings it back behind it), counts it, and after the chosen one changes the word. What
 * is tested is so the code as compiled, with the loads that the compiler made of it.
 *
 * x86-64 only; PAGE_WATCH says whether it is there. One at a time, on one thread.
 */
#ifndef PAGE_WATCH_H
#define PAGE_WATCH_H

#include "base.h"

#ifdef __x86_64__
#define PAGE_WATCH 1
#else
#define PAGE_WATCH 0
#endif

/* What is tried again and again. The word that changes is none of the result. */
struct page_scene {
	void (*lay)(void *arg);               /* everything is as in the beginning */
	void (*run)(void *arg);               /* the code under test */
	void (*result)(void *arg, void *ret); /* how it ended: @result_size bytes, zeroed before */
	void *arg;
	size_t result_size;
};

/**
 * page_watch() - a word changes before the run, after the first load of its page, the second, ...
 * @at: the word, of @size bytes (1, 2, 4, 8), on a page that lay() makes readable and writable
 * @bad: what it becomes
 *
 * Whatever the moment, the run has to end as if the word had been so from the beginning, or good
 * until the end. A word that is checked in one load and used from another gives a third result, or
 * an access to memory without rights.
 * Return: NULL, or what went wrong; good until the next call.
 */
const char *page_watch(const struct page_scene *scene, void *at, uint32_t size, uint64_t bad);

#endif
