/* SPDX-License-Identifier: BSD-2-Clause */
/* test_vhost_mem.c - guest memory tables: what is refused, what translates, what survives */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <linux/memfd.h>
#include "fake_fe.h"
#include "skip.h"
#include "vhost_sigbus.h"

#define PAGE 4096ULL
#define MIB  (1ULL << 20)

struct leak {
	uint32_t fds, maps;
};

static int setup(void **state)
{
	struct leak *l = malloc(sizeof(*l));

	assert_non_null(l);
	*l = (struct leak){count_fds(), count_memfd_mappings()};
	*state = l;
	return 0;
}

static int teardown(void **state)
{
	struct leak *l = *state;
	bool ok = count_fds() == l->fds && count_memfd_mappings() == l->maps;

	if (!ok)
		print_error("leak: descriptors %u -> %u, mappings %u -> %u\n", l->fds, count_fds(),
		            l->maps, count_memfd_mappings());
	free(l);
	return ok ? 0 : -1;
}

static struct vhost_region_desc region(uint64_t gpa, uint64_t size, uint64_t uva, uint64_t off)
{
	return (struct vhost_region_desc){gpa, size, uva, off};
}

/* One region of a 4 MiB file that is to be refused, with these words */
static void expect_refused(struct vhost_region_desc d, const char *word)
{
	int fd = make_memfd(4 * MIB);
	struct vhost_mem *mem = NULL;
	const char *why = NULL;

	assert_int_equal(vhost_mem_new(&d, &fd, 1, &mem, &why), -EINVAL);
	assert_null(mem);
	assert_non_null(why);
	if (!strstr(why, word))
		fail_msg("reason \"%s\" lacks \"%s\"", why, word);
	assert_int_equal(vhost_mem_add(NULL, &d, fd, &mem, NULL), -EINVAL);
	assert_null(mem);
	close(fd);
}

static void refuses_bad_regions(void **state)
{
	(void)state;
	expect_refused(region(0, 0, 0, 0), "size 0");
	expect_refused(region(0, 4 * MIB + 1, 0, 0), "shorter");
	expect_refused(region(0, 4 * MIB, 0, PAGE), "shorter");
	expect_refused(region(0, PAGE, 0, 4 * MIB), "shorter");
	expect_refused(region(0, PAGE, 0, 1), "multiple of the page size");
	expect_refused(region(0, PAGE, 0, 2048), "multiple of the page size");
	expect_refused(region(UINT64_MAX, 1, 0, 0), "wraps");
	expect_refused(region(UINT64_MAX - PAGE + 1, PAGE, 0, 0), "wraps");
	expect_refused(region(0, PAGE, UINT64_MAX - PAGE + 2, 0), "wraps");
	expect_refused(region(PAGE, UINT64_MAX, 0, 0), "wraps");
	expect_refused(region(0, UINT64_MAX, 0, 0), "larger");
	expect_refused(region(0, VHOST_MEM_MAX_BYTES + 1, 0, 0), "larger");
	expect_refused(region(0, PAGE, 0, UINT64_MAX & ~(PAGE - 1)), "larger");
	expect_refused(region(0, PAGE, 0, 1ULL << 63), "larger");
	/* offset + size would wrap to something small (CVE-2020-10722's class) */
	expect_refused(region(0, 2 * PAGE, 0, UINT64_MAX - PAGE + 1), "larger");
}

static void refuses_bad_files(void **state)
{
	struct vhost_region_desc d = region(0, PAGE, 0, 0);
	int event = make_eventfd(), ro, null = open("/dev/zero", O_RDWR | O_CLOEXEC), sealed, sv[2];
	struct vhost_mem *mem = NULL;
	const char *why;
	char path[32];

	(void)state;
	assert_int_equal(vhost_mem_new(&d, &event, 1, &mem, &why), -EINVAL);
	assert_non_null(strstr(why, "not a file"));
	assert_int_equal(vhost_mem_new(&d, &null, 1, &mem, &why), -EINVAL);
	assert_non_null(strstr(why, "not a file"));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(vhost_mem_new(&d, &sv[0], 1, &mem, &why), -EINVAL);

	/* Not writable: the front end may not have us write, and mmap() says so. */
	close(event);
	event = make_memfd(PAGE);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", event);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(vhost_mem_new(&d, &ro, 1, &mem, &why), -EACCES);
	assert_non_null(strstr(why, "mmap"));
	sealed = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(sealed, PAGE), 0);
	assert_int_equal(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE), 0);
	assert_int_equal(vhost_mem_new(&d, &sealed, 1, &mem, &why), -EPERM);
	assert_null(mem);
	close(ro);
	close(event);
	close(null);
	close(sealed);
	close(sv[0]);
	close(sv[1]);
}

/* Overlap in either address space, by one byte at either end, within, around, and equal */
static void refuses_overlaps(void **state)
{
	static const struct {
		uint64_t at, size;
		bool ok;
	} rows[] = {
		{10 * MIB - PAGE, PAGE, true}, {10 * MIB - PAGE, PAGE + 1, false},
		{11 * MIB, PAGE, true},        {11 * MIB - 1, PAGE, false},
		{10 * MIB, MIB, false},        {10 * MIB + PAGE, PAGE, false},
		{9 * MIB, 3 * MIB, false},
	};
	int fd = make_memfd(4 * MIB);
	struct vhost_region_desc base = region(10 * MIB, MIB, 10 * MIB, 0);
	struct vhost_mem *old, *mem;
	const char *why;

	(void)state;
	assert_int_equal(vhost_mem_new(&base, &fd, 1, &old, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct vhost_region_desc g = region(rows[i].at, rows[i].size, 100 * MIB, 0);
		struct vhost_region_desc u = region(100 * MIB, rows[i].size, rows[i].at, 0);
		int want = rows[i].ok ? 0 : -EINVAL;

		mem = NULL;
		assert_int_equal(vhost_mem_add(old, &g, fd, &mem, &why), want);
		vhost_mem_free(mem);
		if (want)
			assert_non_null(strstr(why, "overlap in guest-physical"));
		mem = NULL;
		assert_int_equal(vhost_mem_add(old, &u, fd, &mem, &why), want);
		vhost_mem_free(mem);
		if (want)
			assert_non_null(strstr(why, "overlap in the front end's"));
	}
	vhost_mem_free(old);
	close(fd);
}

/* The whole table is refused if its last region is, and nothing of it stays mapped. */
static void one_bad_region_unmaps_all(void **state)
{
	struct vhost_region_desc d[8];
	struct vhost_mem *mem = NULL;
	uint32_t before = count_memfd_mappings();
	int fds[8];

	(void)state;
	for (uint32_t i = 0; i < 8; i++) {
		d[i] = region(i * MIB, MIB, i * MIB, 0);
		fds[i] = make_memfd(i == 7 ? MIB - 1 : MIB);
	}
	assert_int_equal(vhost_mem_new(d, fds, 8, &mem, NULL), -EINVAL);
	assert_null(mem);
	assert_int_equal(count_memfd_mappings(), before);
	for (uint32_t i = 0; i < 8; i++)
		close(fds[i]);
}

static void total_size_is_bounded(void **state)
{
	int fd = make_memfd(0);
	struct vhost_region_desc d = region(0, VHOST_MEM_MAX_BYTES - PAGE, 0, 0);
	struct vhost_mem *mem = NULL, *more = NULL;
	const char *why;
	int err;

	(void)state;
	assert_int_equal(ftruncate(fd, (off_t)VHOST_MEM_MAX_BYTES), 0);
	err = vhost_mem_new(&d, &fd, 1, &mem, &why);
	if (err < 0 && SANITIZED) {
		close(fd);
		skip_because("a sanitizer leaves too few addresses");
	}
	assert_int_equal(err, 0);
	d = region(VHOST_MEM_MAX_BYTES, 2 * PAGE, VHOST_MEM_MAX_BYTES, 0);
	assert_int_equal(vhost_mem_add(mem, &d, fd, &more, &why), -EINVAL);
	assert_non_null(strstr(why, "larger in all"));
	d.size = PAGE;
	assert_int_equal(vhost_mem_add(mem, &d, fd, &more, &why), 0);
	vhost_mem_free(more);
	vhost_mem_free(mem);
	close(fd);
}

/* Bytes on both sides of every boundary, with a cold and with a warm hint */
static void translates_boundaries(void **state)
{
	int fd = make_memfd(4 * MIB);
	/* unsorted; adjacent in gpa (0x1000 + 1 MiB), but not in the file */
	struct vhost_region_desc d[] = {
		region(0x1000 + MIB, MIB, 0x700000000000, 3 * MIB),
		region(0x1000, MIB, 0x600000000000, 0),
		region(1ULL << 40, PAGE + 1, 0x500000000000, 2 * MIB),
	};
	int fds[] = {fd, fd, fd};
	uint8_t *file = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	struct vhost_mem_hint hint = {0};
	struct vhost_mem *mem;
	uint8_t *p;

	(void)state;
	assert_int_equal(vhost_mem_new(d, fds, 3, &mem, NULL), 0);
	assert_int_equal(mem->n_regions, 3);
	assert_true(mem->regions[0].gpa < mem->regions[1].gpa);
	assert_true(mem->regions[1].gpa < mem->regions[2].gpa);
	assert_int_equal(vhost_mem_bytes(mem), 2 * MIB + PAGE + 1);

	for (int warm = 0; warm < 2; warm++) {
#define GPA(a, n)                                                                                  \
	(warm ? 0 : (hint = (struct vhost_mem_hint){0}, 0), vhost_mem_gpa(mem, &hint, a, n))
		assert_null(GPA(0, 1));
		assert_null(GPA(0xfff, 1));
		assert_null(GPA(0xfff, 2));
		assert_non_null(GPA(0x1000, 1));
		assert_non_null(GPA(0x1000, MIB));
		assert_null(GPA(0x1000, MIB + 1)); /* the neighbour continues elsewhere */
		assert_non_null(GPA(0x1000 + MIB - 1, 1));
		assert_null(GPA(0x1000 + MIB - 1, 2));
		assert_non_null(GPA(0x1000 + MIB, 1));
		assert_non_null(GPA(0x1000 + 2 * MIB - 1, 1));
		assert_null(GPA(0x1000 + 2 * MIB - 1, 2));
		assert_null(GPA(0x1000 + 2 * MIB, 1));
		assert_null(GPA(0x1000 + 2 * MIB, 0));
		assert_non_null(GPA((1ULL << 40) + PAGE, 1));
		assert_null(GPA((1ULL << 40) + PAGE, 2));
		assert_null(GPA((1ULL << 40) + PAGE + 1, 1));
		assert_null(GPA(UINT64_MAX, 1));
		assert_null(GPA(UINT64_MAX, UINT32_MAX));
		assert_null(GPA(0x1000 + MIB - 1, UINT32_MAX));
		assert_null(GPA(UINT64_MAX - 0xfff, 0x1001)); /* wraps to 1 */
	}

	/* The right bytes of the right place of the file */
	p = vhost_mem_gpa(mem, &hint, 0x1000 + MIB + 5, 1);
	*p = 0xa5;
	assert_int_equal(file[3 * MIB + 5], 0xa5);
	assert_int_equal(hint.gpa, 0x1000 + MIB);
	p = vhost_mem_gpa(mem, &hint, 0x1000 + 7, 1);
	*p = 0x5a;
	assert_int_equal(file[7], 0x5a);
	assert_int_equal(hint.gpa, 0x1000);
	file[2 * MIB + 9] = 0x33;
	p = vhost_mem_uva(mem, 0x500000000009, 1);
	assert_int_equal(*p, 0x33);

	/* Front end's addresses */
	assert_null(vhost_mem_uva(mem, 0x4fffffffffff, 1));
	assert_null(vhost_mem_uva(mem, 0x4fffffffffff, 2));
	assert_non_null(vhost_mem_uva(mem, 0x500000000000, PAGE + 1));
	assert_null(vhost_mem_uva(mem, 0x500000000000, PAGE + 2));
	assert_null(vhost_mem_uva(mem, 0x600000000000 + MIB, 1));
	assert_null(vhost_mem_uva(mem, 0x600000000001, UINT64_MAX));
	assert_null(vhost_mem_uva(mem, UINT64_MAX, 2));
	vhost_mem_free(mem);
	munmap(file, 4 * MIB);
	close(fd);
}

static void empty_table(void **state)
{
	struct vhost_mem_hint hint = {0};
	struct vhost_mem *mem;

	(void)state;
	assert_int_equal(vhost_mem_new(NULL, NULL, 0, &mem, NULL), 0);
	assert_null(vhost_mem_gpa(mem, &hint, 0, 0));
	assert_null(vhost_mem_gpa(mem, &hint, 0, 1));
	assert_null(vhost_mem_find(mem, UINT64_MAX, 1));
	assert_null(vhost_mem_uva(mem, 0, 1));
	assert_false(vhost_mem_lost(mem));
	vhost_mem_free(mem);
	vhost_mem_free(NULL);
}

/* All slots, added in a scattered order, one table a step; then removed in another. */
static void full_table(void **state)
{
	const uint32_t n = VHOST_MEM_MAX_REGIONS;
	int fd = make_memfd(2 * PAGE * n);
	uint32_t before = count_memfd_mappings();
	struct vhost_mem *mem = NULL, *next;
	struct vhost_region_desc extra = region(1ULL << 50, PAGE, 1ULL << 50, 0);
	const char *why;

	(void)state;
	for (uint32_t k = 0; k < n; k++) {
		uint64_t i = k * 211 % n; /* n is prime */
		struct vhost_region_desc d =
			region(i * 3 * PAGE, 2 * PAGE, (n - i) * 3 * PAGE, i * 2 * PAGE);

		assert_int_equal(vhost_mem_add(mem, &d, fd, &next, &why), 0);
		vhost_mem_free(mem);
		mem = next;
	}
	assert_int_equal(mem->n_regions, n);
	assert_int_equal(vhost_mem_add(mem, &extra, fd, &next, &why), -EINVAL);
	assert_non_null(strstr(why, "slots"));
	for (uint64_t i = 0; i < n; i++) {
		const struct vhost_region *r = vhost_mem_find(mem, i * 3 * PAGE + PAGE, PAGE);

		assert_ptr_equal(r, &mem->regions[i]);
		assert_null(vhost_mem_find(mem, i * 3 * PAGE + PAGE, PAGE + 1));
		assert_null(vhost_mem_find(mem, i * 3 * PAGE + 2 * PAGE, 1));
		assert_ptr_equal(vhost_mem_uva(mem, (n - i) * 3 * PAGE, 1), r->host);
	}
	for (uint32_t k = 0; k < n; k++) {
		uint64_t i = k * 307 % n;
		struct vhost_region_desc d =
			region(i * 3 * PAGE, 2 * PAGE, (n - i) * 3 * PAGE, 12345);

		assert_int_equal(vhost_mem_remove(mem, &d, &next), 0);
		vhost_mem_free(mem);
		mem = next;
		assert_null(vhost_mem_find(mem, i * 3 * PAGE, 1));
	}
	assert_int_equal(mem->n_regions, 0);
	vhost_mem_free(mem);
	assert_int_equal(count_memfd_mappings(), before);
	close(fd);
}

static void too_many_at_once(void **state)
{
	struct vhost_region_desc d[VHOST_MEM_MAX_REGIONS + 1];
	int fds[VHOST_MEM_MAX_REGIONS + 1], fd = make_memfd(PAGE);
	struct vhost_mem *mem = NULL;

	(void)state;
	for (uint64_t i = 0; i <= VHOST_MEM_MAX_REGIONS; i++) {
		d[i] = region(i * PAGE, PAGE, i * PAGE, 0);
		fds[i] = fd;
	}
	assert_int_equal(vhost_mem_new(d, fds, VHOST_MEM_MAX_REGIONS + 1, &mem, NULL), -EINVAL);
	assert_null(mem);
	assert_int_equal(vhost_mem_new(d, fds, VHOST_MEM_MAX_REGIONS, &mem, NULL), 0);
	vhost_mem_free(mem);
	close(fd);
}

static void remove_matches_exactly(void **state)
{
	int fd = make_memfd(MIB);
	struct vhost_region_desc d = region(MIB, MIB, 5 * MIB, 0), q;
	struct vhost_mem *mem, *next = NULL;

	(void)state;
	assert_int_equal(vhost_mem_new(&d, &fd, 1, &mem, NULL), 0);
	q = region(MIB + PAGE, MIB, 5 * MIB, 0);
	assert_int_equal(vhost_mem_remove(mem, &q, &next), -ENOENT);
	q = region(MIB, MIB - PAGE, 5 * MIB, 0);
	assert_int_equal(vhost_mem_remove(mem, &q, &next), -ENOENT);
	q = region(MIB, MIB, 0, 0);
	assert_int_equal(vhost_mem_remove(mem, &q, &next), -ENOENT);
	assert_int_equal(vhost_mem_remove(NULL, &d, &next), -ENOENT);
	assert_null(next);
	q = region(MIB, MIB, 5 * MIB, 777);
	assert_int_equal(vhost_mem_remove(mem, &q, &next), 0);
	vhost_mem_free(next);
	vhost_mem_free(mem);
	close(fd);
}

/* A region that two tables hold stays mapped until both are gone, at the same place. */
static void tables_share_mappings(void **state)
{
	int fd = make_memfd(2 * MIB);
	struct vhost_region_desc a = region(0, MIB, 0, 0), b = region(MIB, MIB, MIB, MIB);
	uint32_t before = count_memfd_mappings();
	struct vhost_mem *one, *two, *three;
	uint8_t *host;

	(void)state;
	assert_int_equal(vhost_mem_new(&a, &fd, 1, &one, NULL), 0);
	host = one->regions[0].host;
	host[0] = 1;
	assert_int_equal(vhost_mem_add(one, &b, fd, &two, NULL), 0);
	vhost_mem_free(one);
	assert_ptr_equal(two->regions[0].host, host);
	assert_int_equal(host[0], 1);
	assert_int_equal(vhost_mem_remove(two, &b, &three), 0);
	vhost_mem_free(two);
	assert_int_equal(count_memfd_mappings(), before + 1);
	assert_int_equal(host[0], 1);
	vhost_mem_free(three);
	assert_int_equal(count_memfd_mappings(), before);
	close(fd);
}

/* Nothing of the guest becomes resident by sharing it. */
static void mapping_touches_nothing(void **state)
{
	int fd = make_memfd(64 * MIB);
	struct vhost_region_desc d = region(0, 64 * MIB, 0, 0);
	unsigned char in_core[64];
	struct vhost_mem *mem;

	(void)state;
	assert_int_equal(vhost_mem_new(&d, &fd, 1, &mem, NULL), 0);
	assert_int_equal(mincore(mem->regions[0].host, 64 * PAGE, in_core), 0);
	for (size_t i = 0; i < sizeof(in_core); i++)
		assert_int_equal(in_core[i] & 1, 0);
	vhost_mem_free(mem);
	close(fd);
}

/* Guest memory stays out of core files, and is not counted before it is used. */
static void mapping_flags(void **state)
{
	int fd = make_memfd(MIB);
	struct vhost_region_desc d = region(0, MIB, 0, 0);
	FILE *f = fopen("/proc/self/smaps", "r");
	bool in_guest = false, found = false;
	struct vhost_mem *mem;
	char line[512];

	(void)state;
	assert_non_null(f);
	assert_int_equal(vhost_mem_new(&d, &fd, 1, &mem, NULL), 0);
	while (fgets(line, sizeof(line), f)) {
		if (strchr(line, '-') && strstr(line, " rw-s "))
			in_guest = strstr(line, "memfd:guest") != NULL;
		if (!in_guest || strncmp(line, "VmFlags:", 8) != 0)
			continue;
		found = true;
		assert_non_null(strstr(line, " dd")); /* MADV_DONTDUMP */
		assert_non_null(strstr(line, " nr")); /* MAP_NORESERVE */
		assert_null(strstr(line, " lo"));     /* not locked */
		in_guest = false;
	}
	assert_true(found);
	fclose(f);
	vhost_mem_free(mem);
	close(fd);
}

/*
 * A hugetlbfs file, at an offset within a huge page, as QEMU splits memory around the BIOS. It
 * need not have a page: then the access is SIGBUS, and is survived like a truncation.
 */
static void huge_pages(void **state)
{
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	struct vhost_region_desc d = region(0xc0000, 3 * MIB, 0xc0000, 0xc0000);
	struct vhost_mem *mem;
	const char *why;
	uint8_t *p;

	(void)state;
	if (fd < 0 || ftruncate(fd, 4 * MIB) < 0) {
		if (fd >= 0)
			close(fd);
		skip_because("no files of huge pages");
	}
	assert_int_equal(vhost_mem_new(&d, &fd, 1, &mem, &why), 0);
	assert_int_equal((uintptr_t)mem->regions[0].host % (2 * MIB), 0xc0000);
	for (uint64_t at = 0; at < 3 * MIB; at += MIB) {
		p = mem->regions[0].host + at;
		*p = (uint8_t)(at >> 20);
		assert_int_equal(*p, at >> 20);
	}
	vhost_mem_free(mem);
	d.mmap_offset += 1;
	assert_int_equal(vhost_mem_new(&d, &fd, 1, &mem, &why), -EINVAL);
	close(fd);
}

/* ---- truncation ---- */

static void survives_truncation(void **state)
{
	int fd = make_memfd(4 * MIB), other_fd = make_memfd(MIB);
	struct vhost_region_desc d[] = {region(0, 2 * MIB, 0, 0),
	                                region(2 * MIB, 2 * MIB, 2 * MIB, 2 * MIB)};
	struct vhost_region_desc od = region(0, MIB, 0, 0);
	int fds[] = {fd, fd};
	struct vhost_mem *mem, *other;
	uint64_t events = vhost_sigbus_events();
	uint8_t *p;

	(void)state;
	assert_int_equal(vhost_mem_new(d, fds, 2, &mem, NULL), 0);
	assert_int_equal(vhost_mem_new(&od, &other_fd, 1, &other, NULL), 0);
	memset(mem->regions[0].host, 0x11, 2 * MIB);
	memset(mem->regions[1].host, 0x22, 2 * MIB);
	memset(other->regions[0].host, 0x33, MIB);
	assert_int_equal(ftruncate(fd, 3 * MIB), 0);
	assert_false(vhost_mem_lost(mem));

	/* Within what is left, nothing happens. */
	assert_int_equal(mem->regions[1].host[MIB - 1], 0x22);
	assert_false(vhost_mem_lost(mem));
	/* A read beyond goes on with zeros, a write is kept. */
	p = mem->regions[1].host + 2 * MIB - 1;
	assert_int_equal(*p, 0);
	*p = 0x44;
	assert_int_equal(*p, 0x44);
	assert_true(vhost_mem_lost(mem));
	assert_int_equal(vhost_sigbus_events(), events + 1);
	memset(mem->regions[1].host, 0x55, 2 * MIB); /* no further fault */
	assert_int_equal(vhost_sigbus_events(), events + 1);
	/* Neither the other region nor another device is affected. */
	assert_int_equal(mem->regions[0].host[2 * MIB - 1], 0x11);
	assert_int_equal(other->regions[0].host[MIB - 1], 0x33);
	assert_false(vhost_mem_lost(other));
	vhost_mem_free(mem);
	vhost_mem_free(other);
	close(fd);
	close(other_fd);
}

/* The mark does not stick to whoever gets the slot next. */
static void lost_mark_is_not_inherited(void **state)
{
	struct vhost_region_desc d = region(0, MIB, 0, 0);
	struct vhost_mem *mem;
	int fd = make_memfd(MIB);

	(void)state;
	assert_int_equal(vhost_mem_new(&d, &fd, 1, &mem, NULL), 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	mem->regions[0].host[0] = 1;
	assert_true(vhost_mem_lost(mem));
	vhost_mem_free(mem);
	assert_int_equal(ftruncate(fd, MIB), 0);
	assert_int_equal(vhost_mem_new(&d, &fd, 1, &mem, NULL), 0);
	assert_false(vhost_mem_lost(mem));
	vhost_mem_free(mem);
	close(fd);
}

struct toucher {
	pthread_t thread;
	uint8_t *at;
	_Atomic bool *stop;
	uint64_t rounds;
};

static void *touch(void *arg)
{
	struct toucher *t = arg;

	while (!atomic_load_explicit(t->stop, memory_order_relaxed)) {
		for (size_t i = 0; i < MIB; i += PAGE)
			__atomic_fetch_add(&t->at[i], 1, __ATOMIC_RELAXED);
		t->rounds++;
	}
	return NULL;
}

/* Several threads fault at once while the registry changes under the handler. */
static void truncation_under_threads(void **state)
{
	enum { N = 3, ROUNDS = 40 };
	struct vhost_region_desc d = region(0, MIB, 0, 0);

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		struct toucher t[N];
		struct vhost_mem *mem, *churn;
		_Atomic bool stop = false;
		int fd = make_memfd(MIB), cfd = make_memfd(MIB);

		assert_int_equal(vhost_mem_new(&d, &fd, 1, &mem, NULL), 0);
		for (int i = 0; i < N; i++) {
			t[i] = (struct toucher){.at = mem->regions[0].host, .stop = &stop};
			assert_int_equal(pthread_create(&t[i].thread, NULL, touch, &t[i]), 0);
		}
		for (int k = 0; k < 10; k++) {
			if (k == 5)
				assert_int_equal(ftruncate(fd, 0), 0);
			assert_int_equal(vhost_mem_new(&d, &cfd, 1, &churn, NULL), 0);
			vhost_mem_free(churn);
		}
		while (!vhost_mem_lost(mem))
			sched_yield();
		atomic_store_explicit(&stop, true, memory_order_relaxed);
		for (int i = 0; i < N; i++)
			assert_int_equal(pthread_join(t[i].thread, NULL), 0);
		vhost_mem_free(mem);
		close(fd);
		close(cfd);
	}
}

/* What a child dies of. Its own front end is a mapping that is not guest memory. */
static int child_status(void (*what)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		struct rlimit none = {0, 0};

		setrlimit(RLIMIT_CORE, &none);
		what();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void fault_elsewhere(void)
{
	struct vhost_region_desc d = region(0, MIB, 0, 0);
	int fd = memfd_create("a", 0), own = memfd_create("b", 0);
	struct vhost_mem *mem;
	uint8_t *p;

	/* Default action, whatever a sanitizer has installed */
	signal(SIGBUS, SIG_DFL);
	if (ftruncate(fd, MIB) < 0 || vhost_mem_new(&d, &fd, 1, &mem, NULL) < 0)
		_exit(1);
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, own, 0);
	_exit(__atomic_load_n(p, __ATOMIC_RELAXED) + 2);
}

static void sent_by_kill(void)
{
	struct vhost_region_desc d = region(0, MIB, 0, 0);
	int fd = memfd_create("a", 0);
	struct vhost_mem *mem;

	signal(SIGBUS, SIG_DFL);
	if (ftruncate(fd, MIB) < 0 || vhost_mem_new(&d, &fd, 1, &mem, NULL) < 0)
		_exit(1);
	raise(SIGBUS);
	_exit(2);
}

static void fault_in_unmapped_region(void)
{
	struct vhost_region_desc d = region(0, MIB, 0, 0);
	int fd = memfd_create("a", 0);
	struct vhost_mem *mem;
	uint8_t *host;

	signal(SIGBUS, SIG_DFL);
	if (ftruncate(fd, MIB) < 0 || vhost_mem_new(&d, &fd, 1, &mem, NULL) < 0)
		_exit(1);
	host = mem->regions[0].host;
	vhost_mem_free(mem);
	/* The same place, but nobody's guest memory any more */
	if (mmap(host, MIB, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) != host ||
	    ftruncate(fd, 0) < 0)
		_exit(1);
	_exit(__atomic_load_n(host, __ATOMIC_RELAXED) + 2);
}

static void other_faults_still_kill(void **state)
{
	void (*cases[])(void) = {fault_elsewhere, sent_by_kill, fault_in_unmapped_region};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int status = child_status(cases[i]);

		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGBUS)
			fail_msg("case %zu: wait status 0x%x instead of death by SIGBUS", i,
			         status);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(other_faults_still_kill),
		T(refuses_bad_regions),
		T(refuses_bad_files),
		T(refuses_overlaps),
		T(one_bad_region_unmaps_all),
		T(total_size_is_bounded),
		T(translates_boundaries),
		T(empty_table),
		T(full_table),
		T(too_many_at_once),
		T(remove_matches_exactly),
		T(tables_share_mappings),
		T(mapping_touches_nothing),
		T(mapping_flags),
		T(huge_pages),
		T(survives_truncation),
		T(lost_mark_is_not_inherited),
		T(truncation_under_threads),
	};
	return cmocka_run_group_tests_name("vhost_mem", tests, NULL, NULL);
}
