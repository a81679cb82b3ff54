/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz.h - what the fuzz targets share
 *
 * A target reads its input as a little program: bytes say what the hostile side does next. Input
 * that ends early reads as zeros, so every byte string is a program and small ones do much.
 *
 * Guest memory lies in *blocks*: each ends exactly at a guard of 4 GiB without access rights, and
 * the bytes in front of it are poisoned for AddressSanitizer. So an access that leaves its region
 * by one byte, or by as much as a 32-bit length can say, ends the run.
 *
 * What changes memory while it is read is not a second thread, whose timing nobody could repeat,
 * but the code itself: the data path is compiled with a hook on each load (fuzz_race()).
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <string.h>
#include "base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A promise that holds whatever the input is; the process ends when it does not. */
#define fuzz_promise(cond)                                                                         \
	do {                                                                                       \
		if (unlikely(!(cond)))                                                             \
			fuzz_broken(__FILE__, __LINE__, #cond);                                    \
	} while (0)
_Noreturn void fuzz_broken(const char *file, int line, const char *what);

/* ---- input ---- */

struct fuzz_in {
	const uint8_t *at, *end;
};

static inline uint32_t fuzz_left(const struct fuzz_in *in)
{
	return (uint32_t)(in->end - in->at);
}

/** fuzz_bytes() - @n bytes of the input, zeros behind its end */
static inline void fuzz_bytes(struct fuzz_in *in, void *to, uint32_t n)
{
	uint32_t have = min_u32(n, fuzz_left(in));

	memset(to, 0, n);
	memcpy(to, in->at, have);
	in->at += have;
}

static inline uint8_t fuzz_u8(struct fuzz_in *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

static inline uint16_t fuzz_u16(struct fuzz_in *in)
{
	uint16_t v = 0;

	fuzz_bytes(in, &v, sizeof(v));
	return v;
}

static inline uint32_t fuzz_u32(struct fuzz_in *in)
{
	uint32_t v = 0;

	fuzz_bytes(in, &v, sizeof(v));
	return v;
}

static inline uint64_t fuzz_u64(struct fuzz_in *in)
{
	uint64_t v = 0;

	fuzz_bytes(in, &v, sizeof(v));
	return v;
}

/* ---- guest memory ---- */

struct fuzz_block {
	uint8_t *room, *end; /* pages that may be accessed */
	uint8_t *at;         /* the block as placed, up to the end */
	uint32_t size;
};

/** fuzz_block_new() - room for up to @room bytes, in front of a guard; lives as long as the process
 */
void fuzz_block_new(struct fuzz_block *b, uint32_t room);

/**
 * fuzz_block_place() - make the block @size bytes long, zeroed
 * @align: of its first byte; what that leaves at the end is poisoned
 */
uint8_t *fuzz_block_place(struct fuzz_block *b, uint32_t size, uint32_t align);

/* ---- memory that changes while it is read ---- */

#define FUZZ_RACES 8

/* After @delay more loads from blocks, the word that is being loaded changes behind the reader. */
struct fuzz_race {
	uint8_t delay;
	uint8_t how; /* low bits: width, xor or set, and how far from the word */
	uint64_t value;
};

/** fuzz_race_reset() - forget what is planned */
void fuzz_race_reset(void);
/** fuzz_race_plan() - one more change, from the input; no more than FUZZ_RACES */
void fuzz_race_plan(struct fuzz_in *in);
/** fuzz_race_run() - changes happen between on and off; counts loads from then on */
void fuzz_race_run(bool on);
/** fuzz_race_loads() - loads from blocks since the last fuzz_race_run(true) */
uint64_t fuzz_race_loads(void);

/* ---- what must not be left behind ---- */

/** fuzz_fds_mark() - descriptors open now are ours; at the start of each run */
void fuzz_fds_mark(void);
/** fuzz_fds_check() - promise that there are no others */
void fuzz_fds_check(void);
/** fuzz_mappings() - mappings of files that the code under test has and did not give back */
uint32_t fuzz_mappings(void);

#endif
