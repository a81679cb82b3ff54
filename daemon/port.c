/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/if_ether.h>
#include <linux/virtio_config.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "fdb.h"
#include "flow.h"
#include "lines.h"
#include "log.h"
#include "loop.h"
#include "nic.h"
#include "port.h"
#include "port_state.h"
#include "vhost_wire.h"
#include "why.h"

#define PORT_RETRY_MIN_MS 100
#define PORT_RETRY_MAX_MS 2000
#define PORT_BACKLOG      4
#define PORT_RARP_BURST   16 /* announcements at once (QEMU sends 5), then one more in ... */
#define PORT_RARP_MS      100

struct port_conn {
	struct loop *loop;
	const struct port_ops *ops;
	void *owner;
	int listen_fd; /* listen: true */
	bool bound;    /* the socket file is ours to remove */
	bool only_one; /* the front end came with the daemon; without it there is nothing to do */
	struct loop_source *listen_source;
	struct loop_source *dev_source; /* the attached front end */
	struct loop_source *retry;      /* listen: false */
	uint32_t retry_ms;
	struct port_state *state;     /* NULL: nothing is remembered */
	uint64_t offered;             /* virtio bits, to a front end that was not here before */
	struct port_rxset *rxset;     /* owner of what port->rxset shows */
	struct port_rxset *old_rxset; /* replaced; workers may use it until the next quiesce() */
	bool up;
	bool told_connect_error;
	uint64_t since_ms, n_connects;
	int peer_pid;
	char last_error[192];
	struct log_limit limit; /* of lines that front ends cause by coming and going */
	struct rate rarp;       /* of announcements */
};

static void port_note_error(struct port *port, const char *fmt, ...) printf_like(2, 3);
static void port_note_error(struct port *port, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(port->conn->last_error, sizeof(port->conn->last_error), fmt, ap);
	va_end(ap);
	log_warn("port %s: %s", port->conf->name, port->conn->last_error);
}

/* ---- what the device tells ------------------------------------------------------------------ */

static void port_dev_quiesce(void *arg)
{
	struct port_conn *c = ((struct port *)arg)->conn;

	c->ops->quiesce(c->owner);
	free(c->old_rxset);
	c->old_rxset = NULL;
}

static void port_dev_wake(void *arg)
{
	struct port *port = arg;

	port->conn->ops->wake(port->conn->owner, port);
}

/* Any thread. */
static void port_dev_attend(void *arg)
{
	const struct port *port = arg;

	loop_wake(port->conn->loop);
}

static bool port_ring_usable(struct vhost_vq *vq)
{
	const struct vhost_vq_map *map = atomic_load_explicit(&vq->map, memory_order_relaxed);

	/* Suspended, it keeps its place: it goes on in a moment. */
	return vq->started && (map ? map->enabled : vq->enable_wanted);
}

/* Collect the receive rings that take frames; they have even numbers. */
static struct port_rxset *port_build_rxset(struct port *port)
{
	uint16_t n = vhost_dev_n_vqs(port->dev);
	struct port_rxset *set = calloc(1, sizeof(*set) + n * sizeof(set->vq[0]));

	if (!set)
		return NULL;
	for (uint16_t i = 0; i < n; i += 2) {
		struct vhost_vq *vq = vhost_dev_vq(port->dev, i);

		if (!port_ring_usable(vq))
			continue;
		set->vq[set->n++] = vq;
		set->slot[i / 2] = (uint8_t)set->n;
	}
	return set;
}

static void port_set_up(struct port *port, bool up)
{
	struct port_conn *c = port->conn;

	if (c->up == up)
		return;
	c->up = up;
	c->since_ms = clock_now_ms();
	log_limited(&c->limit, LOG_LEVEL_INFO, "port %s: %s", port->conf->name, up ? "up" : "down");
	c->ops->state_changed(c->owner, port);
}

/* The device waits for the workers after this, once for all that was replaced. */
static void port_dev_rings_changed(void *arg)
{
	struct port *port = arg;
	struct port_conn *c = port->conn;
	struct port_rxset *set = port_build_rxset(port);

	if (!set) {
		log_error("port %s: out of memory; the change of its rings is lost",
		          port->conf->name);
		return;
	}
	assert(!c->old_rxset);
	c->old_rxset = c->rxset;
	c->rxset = set;
	atomic_store_explicit(&port->rxset, set, memory_order_release);
	c->ops->rings_changed(c->owner, port);
	if (c->state && vhost_dev_get_state(port->dev) == VHOST_DEV_RUNNING)
		port_state_note(c->state, c->peer_pid, vhost_dev_features(port->dev));
	port_set_up(port, set->n > 0);
}

static void port_dev_info(void *arg, const char *text)
{
	const struct port *port = arg;

	log_info("port %s: %s", port->conf->name, text);
}

static void port_dev_warn(void *arg, const char *text)
{
	const struct port *port = arg;

	log_warn("port %s: %s", port->conf->name, text);
}

static void port_dev_refused(void *arg, const char *text)
{
	const struct port *port = arg;

	snprintf(port->conn->last_error, sizeof(port->conn->last_error), "%s", text);
}

static const char *port_dev_announce(void *arg, const uint8_t mac[6])
{
	struct port *port = arg;
	struct port_conn *c = port->conn;

	if (port->own_macs_only && !port_owns(port, fdb_mac(mac)))
		return "not an address of this port (own-macs-only)";
	if (!rate_take(&c->rarp, clock_now_ms(), PORT_RARP_BURST, PORT_RARP_MS))
		return "too many announcements";
	if (!c->ops->announce(c->owner, port, fdb_mac(mac)))
		return "no worker takes it now";
	return NULL;
}

static const struct vhost_dev_ops port_dev_ops = {
	.quiesce = port_dev_quiesce,
	.wake = port_dev_wake,
	.attend = port_dev_attend,
	.rings_changed = port_dev_rings_changed,
	.announce = port_dev_announce,
	.info = port_dev_info,
	.warn = port_dev_warn,
	.refused = port_dev_refused,
};

/* ---- connections ---------------------------------------------------------------------------- */

static void port_disconnect(struct port *port, int err)
{
	struct port_conn *c = port->conn;

	if (vhost_dev_fd(port->dev) < 0)
		return;
	loop_remove(c->dev_source);
	c->dev_source = NULL;
	vhost_dev_detach(port->dev);
	port_set_up(port, false);
	c->since_ms = clock_now_ms();
	c->peer_pid = 0;
	if (err == -ECONNRESET)
		log_limited(&c->limit, LOG_LEVEL_INFO, "port %s: front end has disconnected",
		            port->conf->name);
	else if (err)
		log_limited(&c->limit, LOG_LEVEL_WARN, "port %s: connection ended: %s",
		            port->conf->name, strerror(-err));
	if (c->retry)
		loop_set_timer(c->retry, c->retry_ms, 0);
	if (c->only_one)
		loop_quit(c->loop, 0);
}

static void port_on_message(void *arg, uint32_t events)
{
	struct port *port = arg;
	int err = vhost_dev_receive(port->dev);

	(void)events; /* hang-ups show in the read */
	if (err < 0)
		port_disconnect(port, err);
}

/*
 * A guest keeps the features it was given. A front end that comes back and is not offered all of
 * them goes away again, for ever; so it is, whatever the configuration says meanwhile.
 */
static void port_offer(struct port *port, int pid)
{
	struct port_conn *c = port->conn;
	uint64_t had = c->state ? port_state_features(c->state, pid) : 0;
	uint64_t missing = had & ~vhost_dev_default_features();
	char names[192];

	vhost_dev_offer(port->dev, c->offered | (had & ~missing));
	if (!missing)
		return;
	vhost_bits_names(missing, vhost_feature_name, names, sizeof(names));
	log_limited(
		&c->limit, LOG_LEVEL_WARN,
		"port %s: the guest uses %s, which this version of the daemon does not have; its "
		"front end (pid %d) cannot go on until the guest is restarted",
		port->conf->name, names, pid);
}

/* Takes @fd. */
static void port_attach(struct port *port, int fd)
{
	struct port_conn *c = port->conn;
	struct ucred cred = {0};
	socklen_t len = sizeof(cred);
	int err;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		cred.pid = 0;
	port_offer(port, cred.pid);
	err = vhost_dev_attach(port->dev, fd);
	if (err < 0) {
		port_note_error(port, "cannot serve the front end: %s", strerror(-err));
		return;
	}
	err = loop_add_fd(c->loop, fd, EPOLLIN, port_on_message, port, &c->dev_source);
	if (err < 0) {
		port_note_error(port, "cannot watch the front end: %s", strerror(-err));
		vhost_dev_detach(port->dev);
		return;
	}
	c->peer_pid = cred.pid;
	c->n_connects++;
	c->since_ms = clock_now_ms();
	c->retry_ms = PORT_RETRY_MIN_MS;
	c->told_connect_error = false;
	log_limited(&c->limit, LOG_LEVEL_INFO, "port %s: front end connected (pid %d)",
	            port->conf->name, c->peer_pid);
}

static bool port_peer_is_gone(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static void port_on_accept(void *arg, uint32_t events)
{
	struct port *port = arg;
	struct port_conn *c = port->conn;
	int fd = loop_accept(c->loop, c->listen_fd);

	(void)events;
	if (fd == -EMFILE || fd == -ENFILE)
		log_limited(&c->limit, LOG_LEVEL_WARN, "port %s: refused a front end: %s",
		            port->conf->name, strerror(-fd));
	if (fd < 0)
		return; /* or gone again */
	/* A front end that reconnects may be here before we have read the end of its last life. */
	if (vhost_dev_fd(port->dev) >= 0 && port_peer_is_gone(vhost_dev_fd(port->dev)))
		port_disconnect(port, -ECONNRESET);
	if (vhost_dev_fd(port->dev) >= 0) {
		log_limited(&c->limit, LOG_LEVEL_WARN,
		            "port %s: refused a second front end; pid %d is connected",
		            port->conf->name, c->peer_pid);
		close(fd);
		return;
	}
	port_attach(port, fd);
}

static struct sockaddr_un port_address(const struct port *port)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	/* conf_load() has checked the length. */
	strncpy(addr.sun_path, port->conf->socket, sizeof(addr.sun_path) - 1);
	return addr;
}

static void port_on_retry(void *arg)
{
	struct port *port = arg;
	struct port_conn *c = port->conn;
	struct sockaddr_un addr = port_address(port);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0) {
		port_attach(port, fd);
		if (vhost_dev_fd(port->dev) >= 0)
			return;
	} else {
		if (!c->told_connect_error)
			port_note_error(port, "cannot connect to %s yet: %s; will keep trying",
			                port->conf->socket, strerror(errno));
		c->told_connect_error = true;
		if (fd >= 0)
			close(fd);
	}
	loop_set_timer(c->retry, c->retry_ms, 0);
	c->retry_ms = min_u32(c->retry_ms * 2, PORT_RETRY_MAX_MS);
}

/* Is the socket file a leftover (removed), or does somebody serve it (an error)? */
static int port_clear_stale(const struct port *port, const struct sockaddr_un *addr, char **ret_why)
{
	struct ucred cred = {0};
	socklen_t len = sizeof(cred);
	struct stat st;
	int fd, err = 0;

	if (lstat(addr->sun_path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode)) {
		return why_set(ret_why, -EEXIST,
		               "port %s: %s exists and is not a socket; remove it",
		               port->conf->name, addr->sun_path);
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN) {
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
			cred.pid = 0;
		err = why_set(ret_why, -EADDRINUSE,
		              "port %s: socket %s is served by pid %d already", port->conf->name,
		              addr->sun_path, cred.pid);
	} else if (unlink(addr->sun_path) < 0 && errno != ENOENT) {
		err = -errno;
	}
	close(fd);
	return err;
}

static int port_set_access(const struct port *port)
{
	const struct conf_port *conf = port->conf;
	const struct passwd *pw = conf->socket_owner ? getpwnam(conf->socket_owner) : NULL;
	const struct group *gr = conf->socket_group ? getgrnam(conf->socket_group) : NULL;

	if ((conf->socket_owner && !pw) || (conf->socket_group && !gr))
		return -ENOENT;
	if ((pw || gr) &&
	    chown(conf->socket, pw ? pw->pw_uid : (uid_t)-1, gr ? gr->gr_gid : (gid_t)-1) < 0)
		return -errno;
	return chmod(conf->socket, conf->socket_mode) < 0 ? -errno : 0;
}

/* The program that started us has made the socket: one that listens, or one with the front end. */
static int port_inherit(struct port *port, char **ret_why)
{
	struct port_conn *c = port->conn;
	int fd = fcntl(port->conf->fd, F_DUPFD_CLOEXEC, 0), listens = 0, err = 0;
	socklen_t len = sizeof(listens);

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0)
		err = -errno;
	close(port->conf->fd); /* or the front end would not see the end of the connection */
	if (!err && !listens) {
		c->only_one = true;
		port_attach(port, fd);
		return vhost_dev_fd(port->dev) >= 0 ? 0 : -ECONNABORTED;
	}
	c->listen_fd = fd;
	if (!err && fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		err = -errno;
	if (!err)
		err = loop_add_fd(c->loop, fd, EPOLLIN, port_on_accept, port, &c->listen_source);
	if (err < 0)
		why_set(ret_why, err, "port %s: cannot use descriptor %d: %s", port->conf->name,
		        port->conf->fd, strerror(-err));
	return err;
}

static int port_listen(struct port *port, char **ret_why)
{
	struct port_conn *c = port->conn;
	struct sockaddr_un addr = port_address(port);
	mode_t mask;
	int err;

	if (port->conf->fd >= 0)
		return port_inherit(port, ret_why);
	err = port_clear_stale(port, &addr, ret_why);
	if (err < 0)
		goto fail;
	c->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->listen_fd < 0) {
		err = -errno;
		goto fail;
	}
	mask = umask(0177); /* nobody gets in before owner and mode are set */
	err = bind(c->listen_fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
	umask(mask);
	c->bound = !err;
	if (!err)
		err = port_set_access(port);
	if (!err)
		err = listen(c->listen_fd, PORT_BACKLOG) < 0 ? -errno : 0;
	if (!err)
		err = loop_add_fd(c->loop, c->listen_fd, EPOLLIN, port_on_accept, port,
		                  &c->listen_source);
	if (!err)
		return 0;
fail:
	if (!*ret_why)
		why_set(ret_why, err, "port %s: cannot listen on %s: %s", port->conf->name,
		        port->conf->socket, strerror(-err));
	return err;
}

/* ---- life ----------------------------------------------------------------------------------- */

static int port_create_dev(struct port *port, uint16_t mtu)
{
	const struct conf_port *conf = port->conf;
	/*
	 * Some front ends take the first bit without ever telling a translation. QEMU offers the
	 * second to the guest and keeps the resets to itself: the ring would go on where the guest
	 * has other things by then.
	 */
	const uint64_t unasked = (conf->iommu ? 0 : VHOST_BIT(VIRTIO_F_ACCESS_PLATFORM)) |
	                         (conf->ring_reset ? 0 : VHOST_BIT(VHOST_F_RING_RESET));
	struct vhost_dev_config config = {
		.features = vhost_dev_default_features() & conf->features_mask & ~unasked,
		.protocol_features = vhost_dev_default_protocol_features(),
		.max_queue_pairs = conf->queues,
		.max_mtu = mtu,
		.config_mtu = mtu < UINT16_MAX ? mtu : ETH_DATA_LEN, /* else nothing limits it */
	};

	if (conf->n_macs)
		memcpy(config.mac, conf->macs[0].addr, sizeof(config.mac));
	if (!conf->device_config)
		config.protocol_features &= ~VHOST_BIT(VHOST_PROTO_CONFIG);
	if (!conf->device_config || !conf->n_macs)
		config.features &= ~VHOST_BIT(VIRTIO_NET_F_MAC);
	if (port->conn->state)
		config.kept = port_state_rings(port->conn->state);
	port->conn->offered = config.features;
	return vhost_dev_new(&config, &port_dev_ops, port, &port->dev);
}

static int port_copy_macs(struct port *port)
{
	const struct conf_port *conf = port->conf;
	uint64_t *keys = calloc(conf->n_macs + 1, sizeof(*keys));

	if (!keys)
		return -ENOMEM;
	for (uint32_t i = 0; i < conf->n_macs; i++)
		keys[i] = fdb_mac(conf->macs[i].addr);
	port->mac_keys = keys;
	port->n_macs = conf->n_macs;
	return 0;
}

/* Without it the port works, too. */
static void port_open_state(struct port *port, const char *near)
{
	char *why = NULL;

	if (near && port_state_open(near, port->conf->name, &port->conn->state, &why) < 0) {
		log_warn("%s", why ? why : "out of memory");
		free(why);
	}
}

static int port_init(struct port *port, uint16_t mtu, char **ret_why)
{
	struct port_conn *c = port->conn;
	size_t n = 2u * port->conf->queues;
	int err;

	port->queues = lines_alloc(n, sizeof(*port->queues));
	c->rxset = calloc(1, sizeof(*c->rxset));
	if (port->conf->queues > 1)
		port->flows = calloc(1, sizeof(*port->flows));
	if (!port->queues || !c->rxset || (port->conf->queues > 1 && !port->flows))
		return -ENOMEM;
	atomic_store_explicit(&port->rxset, c->rxset, memory_order_relaxed);
	err = port_copy_macs(port);
	if (err < 0)
		return err;
	err = port_create_dev(port, mtu);
	if (err < 0)
		return err;
	if (port->conf->listen)
		return port_listen(port, ret_why);
	err = loop_add_timer(c->loop, port_on_retry, port, &c->retry);
	if (!err)
		loop_set_timer(c->retry, 1, 0);
	return err;
}

int port_new(const struct conf *conf, uint32_t index, struct nic *nic, uint16_t mtu,
             struct loop *loop, const struct port_ops *ops, void *owner, struct port **ret_port,
             char **ret_why)
{
	struct port *port = aligned_alloc(CACHE_LINE, sizeof(*port));
	struct port_conn *c = calloc(1, sizeof(*c));
	int err;

	*ret_why = NULL;
	if (!port || !c) {
		free(port);
		free(c);
		return -ENOMEM;
	}
	*port = (struct port){.id = index + 1, .index = index, .nic = nic, .conn = c};
	*c = (struct port_conn){.loop = loop,
	                        .ops = ops,
	                        .owner = owner,
	                        .listen_fd = -1,
	                        .retry_ms = PORT_RETRY_MIN_MS,
	                        .since_ms = clock_now_ms()};
	port->conf = &conf->ports[index];
	port->vlan = port->conf->vlan;
	port->own_macs_only = port->conf->own_macs_only;
	port_open_state(port, conf->control_socket);
	err = port_init(port, mtu, ret_why);
	if (err < 0) {
		if (!*ret_why)
			why_set(ret_why, err, "port %s: %s", port->conf->name, strerror(-err));
		port_free(port);
		return err;
	}
	*ret_port = port;
	return 0;
}

void port_free(struct port *port)
{
	struct port_conn *c;

	if (!port)
		return;
	c = port->conn;
	if (port->dev)
		port_disconnect(port, 0);
	loop_remove(c->listen_source);
	loop_remove(c->retry);
	if (c->listen_fd >= 0)
		close(c->listen_fd);
	if (c->bound)
		unlink(port->conf->socket);
	vhost_dev_free(port->dev);
	port_state_close(c->state);
	free(c->rxset);
	free(c);
	free((void *)(uintptr_t)port->mac_keys);
	free(port->queues);
	free(port->flows);
	free(port);
}

void port_check(struct port *port)
{
	vhost_dev_report_faults(port->dev);
	if (vhost_dev_fd(port->dev) >= 0 && vhost_dev_broken(port->dev))
		port_disconnect(port, -EPROTO);
}

static const char *port_state(const struct port *port)
{
	if (vhost_dev_fd(port->dev) >= 0)
		return vhost_dev_state_name(vhost_dev_get_state(port->dev));
	return port->conf->listen ? "listening" : "connecting";
}

void port_get_info(const struct port *port, struct port_info *ret_info)
{
	const struct port_conn *c = port->conn;

	*ret_info = (struct port_info){
		.state = port_state(port),
		.since_ms = c->since_ms,
		.n_connects = c->n_connects,
		.peer_pid = c->peer_pid,
	};
	memcpy(ret_info->last_error, c->last_error, sizeof(ret_info->last_error));
}

bool port_is_up(const struct port *port)
{
	return port->conn->up;
}

const char *port_from_drop_name(enum port_from_drop reason)
{
	static const char *const names[] = {
		[PORT_FROM_MALFORMED] = "malformed", [PORT_FROM_OFFLOAD] = "offload",
		[PORT_FROM_OVERSIZE] = "oversize",   [PORT_FROM_VLAN] = "vlan",
		[PORT_FROM_SPOOFED] = "spoofed",     [PORT_FROM_NO_ROUTE] = "no-route",
		[PORT_FROM_HAIRPIN] = "hairpin",     [PORT_FROM_DISABLED] = "disabled",
		[PORT_FROM_NIC_DOWN] = "nic-down",   [PORT_FROM_NIC_FULL] = "nic-full",
	};

	static_assert(ARRAY_SIZE(names) == PORT_FROM_N, "a name for each reason");
	return names[reason];
}

const char *port_to_drop_name(enum port_to_drop reason)
{
	static const char *const names[] = {
		[PORT_TO_NO_BUFFER] = "no-buffer",
		[PORT_TO_TOO_BIG] = "too-big",
		[PORT_TO_GUEST_MEMORY] = "guest-memory",
	};

	static_assert(ARRAY_SIZE(names) == PORT_TO_N, "a name for each reason");
	return names[reason];
}
