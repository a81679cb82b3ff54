// SPDX-License-Identifier: BSD-2-Clause
/*
 * nic_hold.c - one daemon per device, and promiscuous mode
 *
 * The lock is a listening socket with the abstract name "vhost-xdp/nic/<ifindex>". Abstract names
 * belong to a network namespace, as devices do; they vanish with the process, even after kill -9;
 * and whoever finds the name taken connects and learns from the kernel who has it (SO_PEERCRED).
 *
 * A physical NIC drops unicast for addresses that it does not know. The guests' addresses could be
 * added to its filter one by one (bridge fdb add ... self), but the filter is small, some drivers
 * ignore it, and entries stay when the daemon dies. Promiscuous mode through a packet socket's
 * membership has none of that: the kernel counts memberships and takes ours back with the
 * descriptor. The program passes what is for no guest to the host's stack, which drops frames for
 * other addresses (PACKET_OTHERHOST), as it does under any packet capture.
 */
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "nic_priv.h"

static socklen_t nic_hold_name(uint32_t ifindex, struct sockaddr_un *addr)
{
	int len;

	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	len = snprintf(addr->sun_path + 1, sizeof(addr->sun_path) - 1, "vhost-xdp/nic/%u", ifindex);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
}

/* Name the holder. Its name is whatever it calls itself, so it is only shown. */
static int nic_name_holder(const struct sockaddr_un *addr, socklen_t len, const char *name,
                           char **ret_why)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct ucred cred = {0};
	socklen_t cred_len = sizeof(cred);
	char path[64], comm[32] = "";

	if (fd >= 0 && !connect(fd, (const struct sockaddr *)addr, len))
		(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_len);
	if (fd >= 0)
		close(fd);
	if (!cred.pid)
		return why_set(ret_why, -EBUSY, "%s is already served by another daemon", name);
	(void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)cred.pid);
	FILE *f = fopen(path, "re");

	if (f) {
		if (!fgets(comm, sizeof(comm), f))
			comm[0] = '\0';
		comm[strcspn(comm, "\n")] = '\0';
		(void)fclose(f);
	}
	return why_set(ret_why, -EBUSY, "%s is already served by pid %d (%s)", name, (int)cred.pid,
	               comm[0] ? comm : "unknown");
}

int nic_hold(uint32_t ifindex, const char *name, int *ret_fd, char **ret_why)
{
	struct sockaddr_un addr;
	socklen_t len = nic_hold_name(ifindex, &addr);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int err = 0;

	if (fd < 0)
		return why_set(ret_why, -errno, "cannot make a socket: %s", strerror(errno));
	if (bind(fd, (const struct sockaddr *)&addr, len) < 0 || listen(fd, 8) < 0)
		err = -errno;
	if (!err) {
		*ret_fd = fd;
		return 0;
	}
	close(fd);
	if (err == -EADDRINUSE)
		return nic_name_holder(&addr, len, name, ret_why);
	return why_set(ret_why, err, "cannot take the lock of %s: %s", name, strerror(-err));
}

int nic_unload(const char *pin_dir, const char *name, char **ret_why)
{
	uint32_t ifindex = if_nametoindex(name);
	int lock_fd = -1;
	int err = 0;

	/* A program that is in use is not one that was left behind. */
	if (ifindex)
		err = nic_hold(ifindex, name, &lock_fd, ret_why);
	if (err < 0)
		return err;
	err = steer_unload(pin_dir, name);
	if (lock_fd >= 0)
		close(lock_fd);
	return err < 0 ? why_set(ret_why, err, "%s", strerror(-err)) : 0;
}

int nic_promisc(uint32_t ifindex, int *ret_fd)
{
	const struct packet_mreq mreq = {
		.mr_ifindex = (int)ifindex,
		.mr_type = PACKET_MR_PROMISC,
	};
	/* Protocol 0: the socket receives nothing. */
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &mreq, sizeof(mreq)) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	*ret_fd = fd;
	return 0;
}
