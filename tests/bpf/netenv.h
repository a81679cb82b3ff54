/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netenv.h - namespaces, devices and frames for tests against the kernel
 *
 * netenv_enter() moves the test program into new network and mount namespaces with a BPF file
 * system of their own. All of it disappears with the process, however that ends.
 */
#ifndef NETENV_H
#define NETENV_H

#include <stdint.h>
#include "base.h"

#define NETENV_PIN_DIR "/sys/fs/bpf/vx-test"

/** netenv_enter() - exit with 77 and the reason if this machine cannot run the tests */
void netenv_enter(void);

/** netenv_new_netns() - move this process into one more network namespace; Return: fd of the old */
int netenv_new_netns(void);

/** netenv_back() - return to the namespace of @fd and close it */
void netenv_back(int fd);

/** netenv_run() - a command through the shell; fails the test if its status is not 0 */
void netenv_run(const char *fmt, ...) printf_like(1, 2);

/** netenv_veth() - a pair of devices that are up, with @n_queues each and no IPv6 noise */
void netenv_veth(const char *a, const char *b, unsigned int n_queues, unsigned int mtu);

/** netenv_packet_socket() - raw packet socket on a device that receives its frames, non-blocking */
int netenv_packet_socket(const char *ifname);

/** netenv_packet_recv() - wait up to @timeout_ms. Return: length, 0: nothing came */
uint32_t netenv_packet_recv(int fd, uint8_t *buf, uint32_t size, int timeout_ms);

/** netenv_frame() - Ethernet frame with that destination and @len, payload is derived from @seed */
void netenv_frame(uint8_t *buf, uint32_t len, const uint8_t dst[6], uint8_t seed);

/** netenv_attached() - id of the XDP program that a device reports, 0: none; @ret_generic optional
 */
uint32_t netenv_attached(const char *ifname, bool *ret_generic);

/**
 * netenv_wait_detached() - until a device is without the program of a link that nobody holds any
 * more
 *
 * The kernel takes it off from a work queue. What is pinned at @link, if anything, stays.
 */
void netenv_wait_detached(const char *ifname, const char *link);

/** netenv_foreign_link() - attach a program that is not ours. Return: descriptor of its link */
int netenv_foreign_link(const char *ifname);

uint64_t netenv_now_ms(void);

#endif
