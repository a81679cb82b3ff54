/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * translate.c - what is proved of the translation of guests' addresses
 *
 * Read by Frama-C (WP, run-time errors included), never by a compiler. The contracts are below, the
 * invariants of the loops in annotate.py, the code is the daemon's own: vhost_mem.c and
 * vhost_mem.h. No bound on sizes: any table of up to 509 regions, any address, any length.
 */
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define _Atomic
#define _Alignas(n)
#define __builtin_expect(value, likely)   (value)
#define __atomic_load_n(p, order)         (*(p))
#define __atomic_store_n(p, value, order) (void)(*(p) = (value))
#define __atomic_thread_fence(order)      (void)0
#undef atomic_load_explicit
#undef atomic_store_explicit
#define atomic_load_explicit(p, order)         (*(p))
#define atomic_store_explicit(p, value, order) (void)(*(p) = (value))
#define __builtin_ia32_pause()                 (void)0

#define _Static_assert(condition, text) extern int checked_by_compilers
#define le16toh(v) (v)
#define le32toh(v) (v)
#define le64toh(v) (v)
#define htole16(v) (v)
#define htole32(v) (v)
#define htole64(v) (v)

#include "vhost_mem.h"

/*@ // What unsigned arithmetic is in C (6.2.5); the provers' own library only says so in range.
    axiomatic Unsigned {
      axiom below: \forall integer x; -0x10000000000000000 <= x < 0 ==>
        (uint64_t)x == x + 0x10000000000000000;
    }

    // A table as vhost_mem.c builds it: sorted, disjoint, nothing wraps, all of it mapped.
    predicate table(struct vhost_mem *m) =
      \valid_read(&m->n_regions) && m->n_regions <= 509 &&
      \valid_read(&m->regions[0 .. m->n_regions - 1]) &&
      (\forall integer i; 0 <= i < m->n_regions ==>
        0 < m->regions[i].size && m->regions[i].gpa + m->regions[i].size <= UINT64_MAX &&
        \valid(m->regions[i].host + (0 .. m->regions[i].size - 1))) &&
      (\forall integer i, j; 0 <= i < j < m->n_regions ==>
        m->regions[i].gpa + m->regions[i].size <= m->regions[j].gpa);

    predicate holds(struct vhost_mem *m, integer i, integer gpa, integer len) =
      0 <= i < m->n_regions && m->regions[i].gpa <= gpa < m->regions[i].gpa + m->regions[i].size &&
      gpa + len <= m->regions[i].gpa + m->regions[i].size;

    // A hint is empty, or a copy of one region.
    predicate kept(struct vhost_mem *m, struct vhost_mem_hint *h) =
      h->size == 0 || (h->gpa + h->size <= UINT64_MAX && \exists integer i;
        0 <= i < m->n_regions && h->gpa == m->regions[i].gpa && h->size == m->regions[i].size &&
        h->host == m->regions[i].host);

    // @len bytes at @host lie inside one region
    predicate inside(struct vhost_mem *m, uint8_t *host, integer len) =
      \exists integer i, integer off; 0 <= i < m->n_regions && 0 <= off &&
        off + len <= m->regions[i].size && host == m->regions[i].host + off;
*/

#include "vhost_mem.c"

/*@ requires table(mem);
    assigns \result \from mem, gpa, len, mem->n_regions, mem->regions[0 .. mem->n_regions - 1];
    ensures \result != \null ==>
      \exists integer i; \result == &mem->regions[i] && holds(mem, i, gpa, len);
    ensures \result == \null ==> \forall integer i; !holds(mem, i, gpa, len); */
const struct vhost_region *vhost_mem_find(const struct vhost_mem *mem, uint64_t gpa, uint64_t len);

/*@ requires table(mem);
    assigns \result \from mem, uva, len, mem->n_regions, mem->regions[0 .. mem->n_regions - 1];
    ensures \result != \null ==> inside(mem, \result, len); */
uint8_t *vhost_mem_uva(const struct vhost_mem *mem, uint64_t uva, uint64_t len);

/*@ requires table(mem) && \valid(h) && kept(mem, h);
    requires \separated(h, &mem->n_regions);
    requires \separated(h, &mem->regions[0 .. mem->n_regions - 1]);
    assigns *h, \result;
    ensures kept(mem, h);
    ensures \result != \null ==> inside(mem, \result, len);
    ensures \result == \null ==> \forall integer i; !holds(mem, i, gpa, len); */
static inline uint8_t *vhost_mem_gpa(const struct vhost_mem *mem, struct vhost_mem_hint *h,
                                     uint64_t gpa, uint32_t len);
