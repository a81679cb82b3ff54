/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf.h - the configuration file as checked data
 *
 * conf_load() returns either a configuration in which every rule that can be checked without
 * touching the system holds, or the first mistake as one line "file:line:column: what, and what to
 * do". conf_check_system() adds the checks that look at the host (does the netdev exist).
 * docs/vhost-xdpd.yaml.5 documents each key; keep both in step.
 */
#ifndef CONF_H
#define CONF_H

#include "base.h"

#define CONF_MAX_NAME 31 /* fits STEER_NAME_LEN with its zero */

enum conf_nic_mode {
	CONF_NIC_STEERED,
	CONF_NIC_DEDICATED,
	CONF_NIC_INTERNAL,
};

enum conf_miss {
	CONF_MISS_PASS,
	CONF_MISS_DROP,
	CONF_MISS_REDIRECT,
};

enum conf_xdp_mode {
	CONF_XDP_NATIVE,
	CONF_XDP_GENERIC,
};

enum conf_zero_copy {
	CONF_ZC_AUTO, /* where the driver has it */
	CONF_ZC_ON,   /* or refuse the nic */
	CONF_ZC_OFF,
};

enum conf_yield {
	CONF_YIELD_AUTO, /* on veth */
	CONF_YIELD_ON,
	CONF_YIELD_OFF,
};

enum conf_placement {
	CONF_PLACEMENT_AUTO, /* sources move from a full worker to one with room */
	CONF_PLACEMENT_STATIC,
};

struct conf_worker {
	int cpu; /* CPU number to pin to */
};

struct conf_nic {
	char *name; /* network device; for mode internal any name */
	enum conf_nic_mode mode;
	enum conf_miss miss;      /* frames for no guest; default pass */
	char *redirect_to;        /* device for miss: redirect; NULL otherwise */
	enum conf_miss no_daemon; /* guests' frames while no daemon runs: drop (default) or pass */
	enum conf_xdp_mode xdp_mode; /* default native */
	enum conf_zero_copy zero_copy;
	enum conf_yield yield; /* let a thread of the kernel receive what was sent; default auto */
	uint32_t
		napi_busy_poll; /* frames per poll of the driver by the worker; 0 (default): none */
	uint32_t first_queue;   /* default 0 */
	uint32_t queues;        /* 0: all from first_queue on */
	uint32_t ring_size;     /* default 2048; power of two, 64..16384 */
	uint32_t line, column;  /* of the nic's name in the file, for later messages */
};

struct conf_mac {
	uint8_t addr[6]; /* unicast, not zero */
};

struct conf_port {
	char *name;
	char *socket; /* absolute, fits sun_path */
	int fd;       /* inherited socket to use instead, or -1; the port's owner owns it */
	bool listen;
	char *nic;             /* name of a nics entry */
	uint32_t nic_index;    /* its position */
	struct conf_mac *macs; /* at least one, except on a dedicated nic */
	uint32_t n_macs;
	uint16_t vlan;      /* 0..4094 */
	uint16_t queues;    /* largest number of queue pairs, 1..128, default 8 */
	uint16_t mtu;       /* largest MTU that is accepted, 0: what the nic can carry */
	bool own_macs_only; /* drop frames that the guest sends from other addresses; default false
	                     */
	bool device_config; /* offer the device's configuration (GET_CONFIG); default false */
	bool iommu;         /* offer ACCESS_PLATFORM; default false */
	bool ring_reset;    /* offer RING_RESET; default false */
	char *socket_owner; /* user name or NULL; listen: true only */
	char *socket_group; /* group name or NULL */
	uint32_t socket_mode;   /* default 0660 */
	uint64_t features_mask; /* virtio bits that may be offered; default all ones */
	int worker_cpu;         /* CPU of the worker that serves it, -1: any */
	uint32_t line, column;
};

struct conf {
	char *path;
	char *control_socket;  /* default /run/vhost-xdp/control.sock; NULL: none (conf_single) */
	char *pin_dir;         /* default /sys/fs/bpf/vhost-xdp */
	uint32_t busy_poll_us; /* how long an idle worker polls before it sleeps; default 50 */
	uint32_t wakeup_latency_us;    /* limit for workers' CPUs; default CPU_LATENCY_NONE */
	enum conf_placement placement; /* default auto */
	struct conf_worker *workers;   /* at least one */
	uint32_t n_workers;
	struct conf_nic *nics;
	uint32_t n_nics;
	struct conf_port *ports;
	uint32_t n_ports;
};

/**
 * conf_load() - read and check a configuration
 * @path: YAML file
 * @ret_conf: caller owns it, conf_free()
 * @ret_error: on failure one line for the user, without a newline; caller frees it
 * Return: 0, -EINVAL for a mistake in the file, or the error of reading it.
 */
int conf_load(const char *path, struct conf **ret_conf, char **ret_error);

/**
 * conf_check_system() - check what only the host can tell
 *
 * Every netdev named exists (steered, dedicated, redirect-to), every CPU is online, users and
 * groups exist, socket directories exist. Return: 0 or -EINVAL with the line as above.
 */
int conf_check_system(const struct conf *conf, char **ret_error);

/** conf_free() - takes NULL */
void conf_free(struct conf *conf);

#endif
