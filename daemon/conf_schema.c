// SPDX-License-Identifier: BSD-2-Clause
/* conf_schema.c - the keys of the configuration, as libcyaml wants them told */
#include "conf_priv.h"

#define OPT     CYAML_FLAG_OPTIONAL
#define PTR     CYAML_FLAG_POINTER
#define OPT_PTR (CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER)
#define STRICT  CYAML_FLAG_STRICT

static const cyaml_strval_t conf_nic_modes[] = {
	{"steered", CONF_NIC_STEERED},
	{"dedicated", CONF_NIC_DEDICATED},
	{"internal", CONF_NIC_INTERNAL},
};

static const cyaml_strval_t conf_misses[] = {
	{"pass", CONF_MISS_PASS},
	{"drop", CONF_MISS_DROP},
	{"redirect", CONF_MISS_REDIRECT},
};

static const cyaml_strval_t conf_no_daemons[] = {
	{"drop", CONF_MISS_DROP},
	{"pass", CONF_MISS_PASS},
};

static const cyaml_strval_t conf_xdp_modes[] = {
	{"native", CONF_XDP_NATIVE},
	{"generic", CONF_XDP_GENERIC},
};

static const cyaml_strval_t conf_zero_copies[] = {
	{"auto", CONF_ZC_AUTO},
	{"on", CONF_ZC_ON},
	{"off", CONF_ZC_OFF},
};

static const cyaml_strval_t conf_yields[] = {
	{"auto", CONF_YIELD_AUTO},
	{"on", CONF_YIELD_ON},
	{"off", CONF_YIELD_OFF},
};

static const cyaml_strval_t conf_placements[] = {
	{"auto", CONF_PLACEMENT_AUTO},
	{"static", CONF_PLACEMENT_STATIC},
};

#define STRING(key, flags, type, member)                                                           \
	CYAML_FIELD_STRING_PTR(key, (flags) | PTR, type, member, 1, CYAML_UNLIMITED)
#define ENUM(key, flags, type, member, table)                                                      \
	CYAML_FIELD_ENUM(key, (flags) | STRICT, type, member, table, ARRAY_SIZE(table))

static const cyaml_schema_field_t conf_worker_fields[] = {
	CYAML_FIELD_UINT("cpu", CYAML_FLAG_DEFAULT, struct conf_raw_worker, cpu),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t conf_nic_fields[] = {
	STRING("name", 0, struct conf_raw_nic, name),
	ENUM("mode", 0, struct conf_raw_nic, mode, conf_nic_modes),
	ENUM("miss", OPT, struct conf_raw_nic, miss, conf_misses),
	STRING("redirect-to", OPT, struct conf_raw_nic, redirect_to),
	CYAML_FIELD_ENUM_PTR("no-daemon", OPT_PTR | STRICT, struct conf_raw_nic, no_daemon,
                             conf_no_daemons, ARRAY_SIZE(conf_no_daemons)),
	ENUM("xdp-mode", OPT, struct conf_raw_nic, xdp_mode, conf_xdp_modes),
	ENUM("zero-copy", OPT, struct conf_raw_nic, zero_copy, conf_zero_copies),
	ENUM("yield", OPT, struct conf_raw_nic, yield, conf_yields),
	CYAML_FIELD_UINT("napi-busy-poll", OPT, struct conf_raw_nic, napi_busy_poll),
	CYAML_FIELD_UINT("first-queue", OPT, struct conf_raw_nic, first_queue),
	CYAML_FIELD_UINT_PTR("queues", OPT_PTR, struct conf_raw_nic, queues),
	CYAML_FIELD_UINT_PTR("ring-size", OPT_PTR, struct conf_raw_nic, ring_size),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t conf_mac_value = {
	CYAML_VALUE_STRING(PTR, char, 0, CYAML_UNLIMITED),
};

static const cyaml_schema_field_t conf_port_fields[] = {
	STRING("name", 0, struct conf_raw_port, name),
	STRING("socket", 0, struct conf_raw_port, socket),
	CYAML_FIELD_BOOL_PTR("listen", OPT_PTR, struct conf_raw_port, listen),
	STRING("nic", 0, struct conf_raw_port, nic),
	CYAML_FIELD_SEQUENCE("macs", OPT_PTR, struct conf_raw_port, macs, &conf_mac_value, 1,
                             CONF_MAX_PORT_MACS),
	CYAML_FIELD_UINT("vlan", OPT, struct conf_raw_port, vlan),
	CYAML_FIELD_UINT_PTR("queues", OPT_PTR, struct conf_raw_port, queues),
	CYAML_FIELD_UINT("mtu", OPT, struct conf_raw_port, mtu),
	CYAML_FIELD_BOOL("own-macs-only", OPT, struct conf_raw_port, own_macs_only),
	CYAML_FIELD_BOOL("device-config", OPT, struct conf_raw_port, device_config),
	CYAML_FIELD_BOOL("iommu", OPT, struct conf_raw_port, iommu),
	CYAML_FIELD_BOOL("ring-reset", OPT, struct conf_raw_port, ring_reset),
	STRING("socket-owner", OPT, struct conf_raw_port, socket_owner),
	STRING("socket-group", OPT, struct conf_raw_port, socket_group),
	STRING("socket-mode", OPT, struct conf_raw_port, socket_mode),
	CYAML_FIELD_UINT_PTR("features-mask", OPT_PTR, struct conf_raw_port, features_mask),
	CYAML_FIELD_UINT_PTR("worker", OPT_PTR, struct conf_raw_port, worker),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t conf_worker_value = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct conf_raw_worker, conf_worker_fields),
};
static const cyaml_schema_value_t conf_nic_value = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct conf_raw_nic, conf_nic_fields),
};
static const cyaml_schema_value_t conf_port_value = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct conf_raw_port, conf_port_fields),
};

/* The lists may stand in any file, so no single file must have them; conf_build() looks. */
#define CONF_LISTS                                                                                 \
	CYAML_FIELD_SEQUENCE("workers", OPT_PTR, struct conf_raw, workers, &conf_worker_value, 1,  \
	                     CONF_MAX_WORKERS),                                                    \
		CYAML_FIELD_SEQUENCE("nics", OPT_PTR, struct conf_raw, nics, &conf_nic_value, 1,   \
	                             CONF_MAX_NICS),                                               \
		CYAML_FIELD_SEQUENCE("ports", OPT_PTR, struct conf_raw, ports, &conf_port_value,   \
	                             1, CONF_MAX_PORTS)

static const cyaml_schema_field_t conf_main_fields[] = {
	STRING("control-socket", OPT, struct conf_raw, control_socket),
	STRING("pin-dir", OPT, struct conf_raw, pin_dir),
	CYAML_FIELD_UINT_PTR("busy-poll-us", OPT_PTR, struct conf_raw, busy_poll_us),
	CYAML_FIELD_UINT_PTR("wakeup-latency-us", OPT_PTR, struct conf_raw, wakeup_latency_us),
	ENUM("placement", OPT, struct conf_raw, placement, conf_placements),
	CONF_LISTS,
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t conf_part_fields[] = {
	CONF_LISTS,
	CYAML_FIELD_END,
};

const cyaml_schema_value_t conf_schema_main = {
	CYAML_VALUE_MAPPING(PTR, struct conf_raw, conf_main_fields),
};

const cyaml_schema_value_t conf_schema_part = {
	CYAML_VALUE_MAPPING(PTR, struct conf_raw, conf_part_fields),
};
