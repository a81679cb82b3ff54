// SPDX-License-Identifier: BSD-2-Clause
/* ctl_socket.c - the control socket's file: make it, replace a stale one, who may use it */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl_priv.h"

#define CTL_MODE    0660
#define CTL_BACKLOG 16

static int ctl_fail(char **ret_why, const char *path, int err, const char *what)
{
	if (asprintf(ret_why, "control socket %s: %s: %s", path, what, strerror(-err)) < 0)
		*ret_why = NULL;
	return err;
}

static int ctl_peer_pid(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 ? 0 : (int)cred.pid;
}

/* The path is taken: by a living daemon, by something else, or by what a dead one left. */
static int ctl_remove_stale(const char *path, const struct sockaddr_un *addr, char **ret_why)
{
	struct stat st;
	int fd, err;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : ctl_fail(ret_why, path, -errno, "cannot look at it");
	if (!S_ISSOCK(st.st_mode))
		return ctl_fail(ret_why, path, -EEXIST, "it is not a socket, remove it");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return ctl_fail(ret_why, path, -errno, "cannot make a socket");
	err = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;
	if (err == 0 || err == -EAGAIN) {
		int pid = err ? 0 : ctl_peer_pid(fd);
		int n = pid ? asprintf(ret_why,
		                       "control socket %s: another daemon listens on it, pid %d",
		                       path, pid)
		            : asprintf(ret_why, "control socket %s: another daemon listens on it",
		                       path);

		if (n < 0)
			*ret_why = NULL;
		err = -EADDRINUSE;
	} else if (err == -ECONNREFUSED) {
		err = unlink(path) < 0 && errno != ENOENT
		              ? ctl_fail(ret_why, path, -errno, "cannot remove a stale one")
		              : 0;
	} else if (err == -ENOENT) {
		err = 0;
	} else {
		err = ctl_fail(ret_why, path, err, "cannot tell whether it is in use");
	}
	close(fd);
	return err;
}

static int ctl_bind(int fd, const char *path, const struct sockaddr_un *addr, char **ret_why)
{
	/* Twice: the first may meet a stale file. */
	for (int attempt = 0;; attempt++) {
		int err;

		if (bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
			return 0;
		if (errno != EADDRINUSE || attempt)
			return ctl_fail(ret_why, path, -errno, "cannot make it");
		err = ctl_remove_stale(path, addr, ret_why);
		if (err < 0)
			return err;
	}
}

/*
 * The daemon may run with the group that guests' processes have, so that they reach their sockets.
 * They are not to reach this one: it gets the group that the password file gives the daemon's user.
 */
static void ctl_set_group(const char *path)
{
	const struct passwd *pw = getpwuid(geteuid());

	if (pw && pw->pw_gid != getegid())
		(void)!chown(path, (uid_t)-1, pw->pw_gid);
}

int ctl_socket_listen(const char *path, int *ret_fd, struct stat *ret_stat, char **ret_why)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd, err;

	if (strlen(path) >= sizeof(addr.sun_path))
		return ctl_fail(ret_why, path, -ENAMETOOLONG, "cannot make it");
	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return ctl_fail(ret_why, path, -errno, "cannot make a socket");
	/* Before bind(): so the file never has more permissions than these, whatever the umask. */
	fchmod(fd, CTL_MODE);
	err = ctl_bind(fd, path, &addr, ret_why);
	if (err < 0)
		goto fail;
	ctl_set_group(path);
	if (chmod(path, CTL_MODE) < 0 || stat(path, ret_stat) < 0 || listen(fd, CTL_BACKLOG) < 0) {
		err = ctl_fail(ret_why, path, -errno, "cannot prepare it");
		unlink(path);
		goto fail;
	}
	*ret_fd = fd;
	return 0;
fail:
	close(fd);
	return err;
}

static bool ctl_peer_in_group(int fd, const struct ucred *cred, gid_t gid)
{
	gid_t groups[256];
	socklen_t len = sizeof(groups);

	if (cred->gid == gid)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
		return false;
	for (size_t i = 0; i < len / sizeof(groups[0]); i++)
		if (groups[i] == gid)
			return true;
	return false;
}

enum ctl_access ctl_socket_access(int fd, unsigned int gid, int *ret_pid)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	*ret_pid = 0;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return CTL_ACCESS_NONE;
	*ret_pid = (int)cred.pid;
	if (cred.uid == 0 || cred.uid == geteuid())
		return CTL_ACCESS_ALL;
	return ctl_peer_in_group(fd, &cred, (gid_t)gid) ? CTL_ACCESS_READ : CTL_ACCESS_NONE;
}
