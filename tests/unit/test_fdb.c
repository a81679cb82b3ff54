/* SPDX-License-Identifier: BSD-2-Clause */
/* The forwarding table: who owns an address, with a few of them and with a hundred thousand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fdb.h"
#include "nic.h"
#include "port.h"

#define N_PORTS 128
#define N_MACS  800

static struct conf_nic nic_conf = {.mode = CONF_NIC_STEERED};
static struct nic nic = {.conf = &nic_conf}, other_nic = {.conf = &nic_conf};
static uint64_t keys[N_PORTS][N_MACS];
static struct port *ports[N_PORTS];

/* @scattered: addresses at random, else one behind the other as tools hand them out */
static struct fdb *build(bool scattered)
{
	uint64_t seed = 88172645463325252ull;
	struct fdb *fdb;

	for (uint32_t p = 0; p < N_PORTS; p++) {
		for (uint32_t k = 0; k < N_MACS; k++) {
			uint32_t n = p * N_MACS + k;
			const uint8_t mac[6] = {0x52,          0x54,         0,
			                        n >> 16 & 255, n >> 8 & 255, n & 255};

			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			keys[p][k] =
				scattered ? seed & FDB_MAC_MASK & ~FDB_GROUP_BIT : fdb_mac(mac);
		}
		ports[p] = aligned_alloc(alignof(struct port), sizeof(*ports[p]));
		assert_non_null(ports[p]);
		*ports[p] = (struct port){.id = p + 1,
		                          .nic = p == 5 ? &other_nic : &nic,
		                          .vlan = (uint16_t)(p % 3),
		                          .n_macs = N_MACS,
		                          .mac_keys = keys[p]};
	}
	assert_int_equal(fdb_build(&nic, ports, N_PORTS, &fdb), 0);
	return fdb;
}

static void release(struct fdb *fdb)
{
	fdb_free(fdb);
	for (uint32_t p = 0; p < N_PORTS; p++)
		free(ports[p]);
}

/* Slots looked at before the right one, on average over all addresses: of 1000 */
static uint64_t mean_detour(const struct fdb *fdb)
{
	uint64_t sum = 0, n = 0;

	for (uint32_t i = 0; i <= fdb->mask; i++) {
		uint64_t key = fdb->slots[i].key;

		if (!key)
			continue;
		sum += (i - (uint32_t)((key * 0x9e3779b97f4a7c15ull) >> fdb->shift)) & fdb->mask;
		n++;
	}
	assert_int_equal(n, (N_PORTS - 1) * N_MACS);
	return sum * 1000 / n;
}

/* Whatever the place says, the answer is that of fdb_lookup(), and the same again. */
static void check_again(const struct fdb *fdb, uint64_t key, uint32_t place)
{
	struct port *port = fdb_lookup(fdb, key);

	assert_ptr_equal(fdb_lookup_again(fdb, key, &place), port);
	assert_ptr_equal(fdb_lookup_again(fdb, key, &place), port);
	if (port)
		assert_int_equal(fdb->slots[place & fdb->mask].key, key);
}

static void check(bool scattered)
{
	struct fdb *fdb = build(scattered);
	uint32_t place = 0;

	for (uint32_t p = 0; p < N_PORTS; p++) {
		for (uint32_t k = 0; k < N_MACS; k++) {
			uint64_t key = fdb_key(keys[p][k], ports[p]->vlan);

			assert_ptr_equal(fdb_lookup(fdb, key), p == 5 ? NULL : ports[p]);
			assert_null(fdb_lookup(fdb, key | 7ull << 48));
			assert_ptr_equal(fdb_lookup_again(fdb, key, &place), fdb_lookup(fdb, key));
			check_again(fdb, key, k * 7919);
			check_again(fdb, key | 7ull << 48, UINT32_MAX - k);
		}
		assert_ptr_equal(fdb_by_id(fdb, p + 1), p == 5 ? NULL : ports[p]);
	}
	assert_null(fdb_lookup(fdb, fdb_key(0x1122334455f0ull, 0)));
	assert_null(fdb_by_id(fdb, N_PORTS + 1));
	assert_null(fdb_find_group(fdb, 3));
	assert_int_equal(fdb_find_group(fdb, 1)->n, (N_PORTS + 1) / 3);
	assert_in_range(mean_detour(fdb), 0, 1000);
	release(fdb);
}

static void test_addresses_in_a_row(void **state)
{
	(void)state;
	check(false);
}

static void test_scattered_addresses(void **state)
{
	(void)state;
	check(true);
}

static void test_no_port(void **state)
{
	struct fdb *fdb;

	(void)state;
	assert_int_equal(fdb_build(&nic, ports, 0, &fdb), 0);
	assert_null(fdb_lookup(fdb, 0x525400000001ull));
	check_again(fdb, 0x525400000001ull, 12345);
	check_again(fdb, 0, 0); /* as the key of empty slots */
	assert_null(fdb_by_id(fdb, 0));
	fdb_free(fdb);
	fdb_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses_in_a_row),
		cmocka_unit_test(test_scattered_addresses),
		cmocka_unit_test(test_no_port),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
