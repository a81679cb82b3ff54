// SPDX-License-Identifier: BSD-2-Clause
/*
 * steer.c - the steering program of one nic: load, attach, pin, adopt
 *
 * Theory of operation
 * -------------------
 * What lives under <pin-dir>/<nic>/ outlives the daemon: seven maps and a link (two with
 * miss: redirect). A daemon that starts finds one of four situations:
 *
 *   nothing        create maps, attach, pin: maps first, link last
 *   all fits       reuse the maps, load the program anew against them, and swap it into the pinned
 *                  link in one step (BPF_LINK_UPDATE): no frame meets a nic without a program.
 *                  port_stats is made anew if there are more ports now than it has room for
 *   link defunct   the device was deleted and made again: reuse the maps, attach a new link
 *   anything else  another ABI version, another shape, a map missing: detach, remove, start anew
 *
 * An interface index says which device only within one network namespace, and pins are visible in
 * all of them. So a pinned link counts as ours only if the program that the device in our
 * namespace reports is the link's; a link that is attached to something we cannot see belongs to a
 * daemon in another namespace and is left alone (-EBUSY).
 *
 * Only pins and our own descriptors are used. Looking objects up by id needs CAP_SYS_ADMIN, so
 * that serves only to name a foreign program in a message, where it works.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "log.h"
#include "steer_priv.h"
#include "why.h"
#include "steer.skel.h"

#define STEER_FEW_PORTS 64 /* for so many counters there always is room */

static const char *const steer_map_names[STEER_N_MAPS] = {
	[STEER_MAP_FDB] = "fdb",
	[STEER_MAP_PORTS] = "ports",
	[STEER_MAP_QUEUES] = "queues",
	[STEER_MAP_XSKS] = "xsks",
	[STEER_MAP_CONFIG] = "config",
	[STEER_MAP_VERDICTS] = "verdicts",
	[STEER_MAP_PORT_STATS] = "port_stats",
};

static const char *const steer_link_names[STEER_N_LINKS] = {
	[STEER_LINK_NIC] = "link",
	[STEER_LINK_BACK] = "link_back",
};

/* libbpf's explanations (the verifier's log among them) go to the debug log. */
static int __attribute__((format(printf, 2, 0)))
steer_libbpf_print(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	char *text;

	if (level == LIBBPF_DEBUG || log_get_level() < LOG_LEVEL_DEBUG)
		return 0;
	if (vasprintf(&text, fmt, ap) < 0)
		return 0;
	text[strcspn(text, "\n")] = '\0';
	log_debug("libbpf: %s", text);
	free(text);
	return 0;
}

/* ------------------------------------------------------------------ paths and pins */

/* <pin-dir>/<nic>: a BPF file system allows no dot in a name, and a device's name has no colon. */
static char *steer_pin_folder(const char *pin_dir, const char *nic)
{
	char *dir;

	if (asprintf(&dir, "%s/%s", pin_dir, nic) < 0)
		return NULL;
	for (char *c = dir + strlen(pin_dir) + 1; *c; c++) {
		if (*c == '.' || *c == '/')
			*c = ':';
	}
	return dir;
}

static char *steer_pin_path(const char *dir, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

/* Open a pin. Return: descriptor or -errno. */
static int steer_pin_get(const char *dir, const char *name)
{
	char *path = steer_pin_path(dir, name);
	int fd;

	if (!path)
		return -ENOMEM;
	fd = bpf_obj_get(path);
	if (fd < 0)
		fd = -errno;
	free(path);
	return fd;
}

/* Pin @fd in the place of whatever has the name. */
static int steer_pin_put(const char *dir, const char *name, int fd)
{
	char *path = steer_pin_path(dir, name);
	int err = 0;

	if (!path)
		return -ENOMEM;
	(void)unlink(path);
	if (bpf_obj_pin(fd, path) < 0)
		err = -errno;
	free(path);
	return err;
}

static void steer_pin_remove(const char *dir, const char *name)
{
	char *path = steer_pin_path(dir, name);

	if (path)
		(void)unlink(path);
	free(path);
}

/* Detach a link now: without this the kernel does it some time after the last reference is gone. */
static void steer_link_drop(const char *dir, enum steer_link_id id, int *fd)
{
	if (*fd >= 0) {
		(void)bpf_link_detach(*fd);
		close(*fd);
		*fd = -1;
	}
	steer_pin_remove(dir, steer_link_names[id]);
}

static int steer_mkdir(const char *path)
{
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

/* Make @dir with its parents. Every existing or made part must lie on a BPF file system in the end.
 */
static int steer_make_folder(const char *pin_dir, const char *dir, char **ret_why)
{
	char *part = strdup(dir);
	struct statfs fs = {0};
	int err = 0;

	if (!part)
		return -ENOMEM;
	/* The deepest folder that is there says which file system it is. */
	while (statfs(part, &fs) < 0 && strrchr(part + 1, '/'))
		*strrchr(part, '/') = '\0';
	if ((unsigned long)fs.f_type != BPF_FS_MAGIC) {
		free(part);
		return why_set(ret_why, -ENOTDIR,
		               "pin-dir %s is not on a BPF file system: mount -t bpf bpf "
		               "/sys/fs/bpf",
		               pin_dir);
	}
	/* Put one part after the other back. */
	while (!err && strlen(part) < strlen(dir)) {
		part[strlen(part)] = '/';
		err = steer_mkdir(part);
	}
	free(part);
	if (err < 0)
		return why_set(ret_why, err, "cannot make the folder %s: %s", dir, strerror(-err));
	return 0;
}

/* ------------------------------------------------------------------ what is there already */

static void steer_close_maps(struct steer *steer)
{
	for (int i = 0; i < STEER_N_MAPS; i++) {
		if (steer->maps[i] >= 0)
			close(steer->maps[i]);
		steer->maps[i] = -1;
	}
}

/* Remove everything that is pinned. */
static void steer_wipe(struct steer *steer)
{
	for (int i = 0; i < STEER_N_LINKS; i++)
		steer_link_drop(steer->dir, i, &steer->links[i]);
	for (int i = 0; i < STEER_N_MAPS; i++)
		steer_pin_remove(steer->dir, steer_map_names[i]);
	steer_close_maps(steer);
}

static bool steer_map_fits(int fd, const struct bpf_map *map, bool larger_will_do)
{
	const uint32_t flags = BPF_F_NO_PREALLOC;
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);

	return !bpf_obj_get_info_by_fd(fd, &info, &len) && info.type == bpf_map__type(map) &&
	       info.key_size == bpf_map__key_size(map) &&
	       info.value_size == bpf_map__value_size(map) &&
	       (info.max_entries == bpf_map__max_entries(map) ||
	        (larger_will_do && info.max_entries > bpf_map__max_entries(map))) &&
	       (info.map_flags & flags) == (bpf_map__map_flags(map) & flags);
}

/*
 * Open the pinned maps. Return: whether all are there and have this program's shape; but for
 * port_stats, which holds nothing that frames depend on.
 */
static bool steer_adopt_maps(struct steer *steer, struct bpf_object *obj)
{
	struct steer_config config;
	uint32_t zero = 0;

	for (int i = 0; i < STEER_N_MAPS; i++) {
		const struct bpf_map *map = bpf_object__find_map_by_name(obj, steer_map_names[i]);
		bool stats = i == STEER_MAP_PORT_STATS;

		steer->maps[i] = steer_pin_get(steer->dir, steer_map_names[i]);
		if (steer->maps[i] >= 0 && map && steer_map_fits(steer->maps[i], map, stats))
			continue;
		if (!stats)
			return false;
		if (steer->maps[i] >= 0)
			close(steer->maps[i]);
		steer->maps[i] = -1;
	}
	return !bpf_map_lookup_elem(steer->maps[STEER_MAP_CONFIG], &zero, &config) &&
	       config.abi == STEER_ABI_VERSION;
}

static bool steer_any_pin(const struct steer *steer)
{
	for (int i = 0; i < STEER_N_MAPS; i++) {
		char *path = steer_pin_path(steer->dir, steer_map_names[i]);
		bool there = path && !access(path, F_OK);

		free(path);
		if (there)
			return true;
	}
	return false;
}

/* The program that a device of our namespace reports, 0: none. */
static int steer_query(uint32_t ifindex, struct bpf_xdp_query_opts *ret_opts)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);
	int err = bpf_xdp_query((int)ifindex, 0, &opts);

	if (err < 0)
		return err;
	if (opts.attach_mode == XDP_ATTACHED_MULTI)
		opts.prog_id = opts.drv_prog_id ? opts.drv_prog_id : opts.skb_prog_id;
	*ret_opts = opts;
	return 0;
}

static int steer_link_info(int fd, struct bpf_link_info *ret_info)
{
	uint32_t len = sizeof(*ret_info);

	memset(ret_info, 0, sizeof(*ret_info));
	if (bpf_obj_get_info_by_fd(fd, ret_info, &len) < 0)
		return -errno;
	return ret_info->type == BPF_LINK_TYPE_XDP ? 0 : -EINVAL;
}

/*
 * Open a pinned link and keep it if its program sits on @ifindex in the mode we want. One that is
 * defunct, of another device or of another mode is removed; one of another network namespace is
 * an error.
 */
static int steer_adopt_link(struct steer *steer, enum steer_link_id id, uint32_t ifindex,
                            char **ret_why)
{
	struct bpf_xdp_query_opts query = {0};
	struct bpf_link_info info;
	int fd = steer_pin_get(steer->dir, steer_link_names[id]);

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return why_set(ret_why, fd, "cannot open %s/%s: %s", steer->dir,
		               steer_link_names[id], strerror(-fd));
	steer->links[id] = fd;
	if (steer_link_info(fd, &info) < 0 || !info.xdp.ifindex) {
		log_info("nic %s: the device of %s is gone, attaching again", steer->nic,
		         steer_link_names[id]);
		steer_link_drop(steer->dir, id, &steer->links[id]);
		return 0;
	}
	if (steer_query(info.xdp.ifindex, &query) < 0 || query.prog_id != info.prog_id) {
		close(fd);
		steer->links[id] = -1;
		return why_set(ret_why, -EBUSY,
		               "%s/%s is attached in another network namespace: give this "
		               "daemon a pin-dir of its own",
		               steer->dir, steer_link_names[id]);
	}
	if (info.xdp.ifindex != ifindex || steer->generic != !!query.skb_prog_id) {
		log_info("nic %s: %s is attached to another device or in another mode, attaching "
		         "again",
		         steer->nic, steer_link_names[id]);
		steer_link_drop(steer->dir, id, &steer->links[id]);
	}
	return 0;
}

/* Refuse a device whose XDP hook somebody else has. */
static int steer_check_hook(const struct steer *steer, enum steer_link_id id, uint32_t ifindex,
                            char **ret_why)
{
	struct bpf_xdp_query_opts query = {0};
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);
	int fd, err;

	if (steer->links[id] >= 0)
		return 0;
	err = steer_query(ifindex, &query);
	if (err < 0)
		return why_set(ret_why, err, "cannot ask for the XDP program of device %u: %s",
		               ifindex, strerror(-err));
	if (!query.prog_id)
		return 0;
	fd = bpf_prog_get_fd_by_id(query.prog_id);
	if (fd >= 0) {
		(void)bpf_obj_get_info_by_fd(fd, &info, &len);
		close(fd);
	}
	return why_set(ret_why, -EBUSY,
	               "another XDP program (id %u%s%s) is attached to %s: stop the program that "
	               "owns it, or remove it with `ip link set dev DEVICE xdp off`",
	               query.prog_id, info.name[0] ? ", name " : "", info.name,
	               id == STEER_LINK_NIC ? "the device" : "the redirect device");
}

/* ------------------------------------------------------------------ load and attach */

static int steer_reuse_maps(struct steer *steer, struct bpf_object *obj)
{
	for (int i = 0; i < STEER_N_MAPS; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(obj, steer_map_names[i]);
		int err = steer->maps[i] < 0 ? 0 : bpf_map__reuse_fd(map, steer->maps[i]);

		if (err < 0)
			return err;
	}
	return 0;
}

static int steer_dup(int fd, int *ret_fd)
{
	*ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return *ret_fd < 0 ? -errno : 0;
}

static_assert(sizeof(*((struct steer_bpf *)0)->bss) == sizeof(uint32_t),
              "fdb_epoch is not the program's only variable: steer_raise_epoch() writes all");

/* Keep descriptors of our own: the object, with its copy of the ELF file and BTF, is freed. */
static int steer_take_fds(struct steer *steer, struct steer_bpf *skel)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);
	int err = 0;

	for (int i = 0; i < STEER_N_MAPS && !err; i++) {
		steer->fresh[i] = steer->maps[i] < 0;
		if (steer->fresh[i])
			err = steer_dup(
				bpf_object__find_map_fd_by_name(skel->obj, steer_map_names[i]),
				&steer->maps[i]);
	}
	if (!err)
		err = steer_dup(bpf_map__fd(skel->maps.bss), &steer->vars);
	if (!err)
		err = steer_dup(bpf_program__fd(skel->progs.steer), &steer->progs[STEER_LINK_NIC]);
	if (!err)
		err = steer_dup(bpf_program__fd(skel->progs.steer_back),
		                &steer->progs[STEER_LINK_BACK]);
	if (!err && !bpf_obj_get_info_by_fd(steer->progs[STEER_LINK_NIC], &info, &len))
		steer->prog_id = info.id;
	return err;
}

/* Places for the counters of ports: not all that could be, as each costs 16 bytes for each CPU */
static uint32_t steer_port_places(uint32_t max_port)
{
	uint32_t n = STEER_FEW_PORTS;

	while (n <= max_port && n < STEER_MAX_PORTS)
		n *= 2;
	return n;
}

/* Load the programs, against the pinned maps if they fit and against new ones if not. */
static int steer_load(struct steer *steer, uint32_t max_port, char **ret_why)
{
	struct steer_bpf *skel = steer_bpf__open();
	int err;

	if (!skel)
		return why_set(ret_why, -ENOMEM, "cannot read the steering program: %s",
		               strerror(errno));
	(void)bpf_map__set_max_entries(skel->maps.port_stats, steer_port_places(max_port));
	if (steer_adopt_maps(steer, skel->obj)) {
		steer->adopted = true;
		err = steer_reuse_maps(steer, skel->obj);
	} else {
		if (steer_any_pin(steer))
			log_info("nic %s: what is pinned in %s is of another version, replacing "
			         "it",
			         steer->nic, steer->dir);
		steer_wipe(steer);
		err = 0;
	}
	if (!err)
		err = steer_bpf__load(skel);
	if (!err)
		err = steer_take_fds(steer, skel);
	steer_bpf__destroy(skel);
	if (err == -EPERM)
		return why_set(ret_why, err,
		               "loading the steering program needs CAP_BPF and CAP_NET_ADMIN");
	if (err < 0)
		return why_set(ret_why, err,
		               "the kernel refuses the steering program: %s (the debug log has "
		               "its reasons)",
		               strerror(-err));
	return 0;
}

static int steer_pin_maps(struct steer *steer, char **ret_why)
{
	for (int i = 0; i < STEER_N_MAPS; i++) {
		int err = steer->fresh[i]
		                  ? steer_pin_put(steer->dir, steer_map_names[i], steer->maps[i])
		                  : 0;

		if (err < 0)
			return why_set(ret_why, err, "cannot pin %s/%s: %s", steer->dir,
			               steer_map_names[i], strerror(-err));
	}
	return 0;
}

static int steer_attach_failed(const struct steer *steer, enum steer_link_id id, int err,
                               char **ret_why)
{
	const char *device = id == STEER_LINK_NIC ? "the device" : "the redirect device";

	switch (err) {
	case -EOPNOTSUPP:
		return why_set(ret_why, err, "%s has no %s XDP%s", device,
		               steer->generic ? "generic" : "native",
		               steer->generic ? "" : ": set xdp-mode: generic");
	case -EBUSY:
	case -EEXIST:
		return why_set(ret_why, -EBUSY, "another XDP program was attached to %s", device);
	case -EPERM:
		return why_set(ret_why, err, "attaching to %s needs CAP_NET_ADMIN", device);
	case -ENOSPC:
		return why_set(ret_why, err,
		               "%s has too few receive queues for XDP: give it as many as "
		               "its peer has transmit queues (ethtool -L)",
		               device);
	default:
		return why_set(ret_why, err,
		               "cannot attach the steering program to %s in %s "
		               "mode: %s",
		               device, steer->generic ? "generic" : "native", strerror(-err));
	}
}

/* Put the program on @ifindex: swap it into the adopted link, or make a new link and pin it. */
static int steer_attach(struct steer *steer, enum steer_link_id id, uint32_t ifindex,
                        char **ret_why)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts,
	            .flags = steer->generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE);
	int err;

	if (steer->links[id] >= 0) {
		if (!bpf_link_update(steer->links[id], steer->progs[id], NULL))
			return 0;
		log_info("nic %s: cannot swap the program of %s (%s), attaching again", steer->nic,
		         steer_link_names[id], strerror(errno));
		steer_link_drop(steer->dir, id, &steer->links[id]);
	}
	steer->links[id] = bpf_link_create(steer->progs[id], (int)ifindex, BPF_XDP, &opts);
	if (steer->links[id] < 0) {
		err = -errno;
		steer->links[id] = -1;
		return steer_attach_failed(steer, id, err, ret_why);
	}
	err = steer_pin_put(steer->dir, steer_link_names[id], steer->links[id]);
	if (err < 0) {
		steer_link_drop(steer->dir, id, &steer->links[id]);
		return why_set(ret_why, err, "cannot pin %s/%s: %s", steer->dir,
		               steer_link_names[id], strerror(-err));
	}
	return 0;
}

/* ------------------------------------------------------------------ open, close, unload */

static int steer_alloc(const struct steer_params *params, struct steer **ret_steer)
{
	struct steer *steer = calloc(1, sizeof(*steer));
	int n_cpus = libbpf_num_possible_cpus();

	if (!steer)
		return -ENOMEM;
	for (int i = 0; i < STEER_N_MAPS; i++)
		steer->maps[i] = -1;
	for (int i = 0; i < STEER_N_LINKS; i++)
		steer->links[i] = steer->progs[i] = -1;
	steer->vars = -1;
	steer->ifindex = params->ifindex;
	steer->generic = params->generic;
	steer->n_cpus = n_cpus > 0 ? (uint32_t)n_cpus : 1;
	steer->nic = strdup(params->nic);
	steer->dir = steer_pin_folder(params->pin_dir, params->nic);
	if (!steer->nic || !steer->dir) {
		steer_close(steer);
		return -ENOMEM;
	}
	*ret_steer = steer;
	return 0;
}

static int steer_adopt_links(struct steer *steer, const struct steer_params *params, char **ret_why)
{
	uint32_t back = params->config.redirect_ifindex;
	int err = steer_adopt_link(steer, STEER_LINK_NIC, params->ifindex, ret_why);

	if (!err)
		err = steer_check_hook(steer, STEER_LINK_NIC, params->ifindex, ret_why);
	if (!err)
		err = steer_adopt_link(steer, STEER_LINK_BACK, back, ret_why);
	if (!err && back)
		err = steer_check_hook(steer, STEER_LINK_BACK, back, ret_why);
	return err;
}

static int steer_bring_up(struct steer *steer, const struct steer_params *params, char **ret_why)
{
	int err = steer_make_folder(params->pin_dir, steer->dir, ret_why);

	if (!err)
		err = steer_adopt_links(steer, params, ret_why);
	if (!err)
		err = steer_load(steer, params->max_port, ret_why);
	if (err < 0)
		return err;
	err = steer_set_config(steer, &params->config);
	if (!err)
		err = steer_reset_queues(steer);
	if (err < 0)
		return why_set(ret_why, err, "cannot fill the steering maps: %s", strerror(-err));
	err = steer_pin_maps(steer, ret_why);
	if (!err)
		err = steer_attach(steer, STEER_LINK_NIC, params->ifindex, ret_why);
	if (!err && params->config.redirect_ifindex)
		err = steer_attach(steer, STEER_LINK_BACK, params->config.redirect_ifindex,
		                   ret_why);
	return err;
}

int steer_open(const struct steer_params *params, struct steer **ret_steer, char **ret_why)
{
	struct steer *steer = NULL;
	char *why = NULL;
	int err;

	libbpf_set_print(steer_libbpf_print);
	err = steer_alloc(params, &steer);
	if (!err)
		err = steer_bring_up(steer, params, &why);
	if (err < 0) {
		if (!why)
			(void)why_set(&why, err, "%s", strerror(-err));
		steer_close(steer);
		if (ret_why)
			*ret_why = why;
		else
			free(why);
		return err;
	}
	*ret_steer = steer;
	return 0;
}

void steer_close(struct steer *steer)
{
	if (!steer)
		return;
	steer_close_maps(steer);
	if (steer->vars >= 0)
		close(steer->vars);
	for (int i = 0; i < STEER_N_LINKS; i++) {
		if (steer->links[i] >= 0)
			close(steer->links[i]);
		if (steer->progs[i] >= 0)
			close(steer->progs[i]);
	}
	free(steer->dir);
	free(steer->nic);
	free(steer);
}

int steer_unload(const char *pin_dir, const char *nic)
{
	const struct steer_params params = {.pin_dir = pin_dir, .nic = nic};
	struct steer *steer;
	int err = steer_alloc(&params, &steer);

	if (err < 0)
		return err;
	for (int i = 0; i < STEER_N_LINKS; i++)
		steer->links[i] = steer_pin_get(steer->dir, steer_link_names[i]);
	steer_wipe(steer);
	if (rmdir(steer->dir) < 0)
		err = -errno;
	steer_close(steer);
	return err;
}

bool steer_is_attached(const struct steer *steer)
{
	struct bpf_link_info info;

	return !steer_link_info(steer->links[STEER_LINK_NIC], &info) && info.xdp.ifindex;
}

uint32_t steer_prog_id(const struct steer *steer)
{
	return steer->prog_id;
}

bool steer_is_adopted(const struct steer *steer)
{
	return steer->adopted;
}
