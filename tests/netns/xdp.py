# SPDX-License-Identifier: BSD-2-Clause
"""XDP programs and pinned maps, seen and made without the daemon's help."""
import ctypes
import json
import os
import struct

from vx.base import run, tool

_libc = ctypes.CDLL(None, use_errno=True)
_BPF = 321  # x86-64
_PROG_LOAD, _OBJ_PIN, _PROG_TYPE_XDP = 5, 6, 6


def _bpf(command, attr):
    fd = _libc.syscall(_BPF, command, attr, ctypes.c_uint(len(attr)))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "bpf()")
    return fd


def pin_pass_program(path):
    """Load a program that passes every frame, and pin it."""
    code = struct.pack("=BBhi", 0xB7, 0, 0, 2) + struct.pack("=BBhi", 0x95, 0, 0, 0)
    insns = ctypes.create_string_buffer(code, len(code))
    license_ = ctypes.create_string_buffer(b"BSD")
    attr = struct.pack("=IIQQIIQII16s", _PROG_TYPE_XDP, 2, ctypes.addressof(insns),
                       ctypes.addressof(license_), 0, 0, 0, 0, 0, b"not_ours")
    fd = _bpf(_PROG_LOAD, attr)
    try:
        name = ctypes.create_string_buffer(os.fsencode(path))
        _bpf(_OBJ_PIN, struct.pack("=QII", ctypes.addressof(name), fd, 0))
    finally:
        os.close(fd)


def attached(ns, dev):
    """Id of the XDP program on a device, or None."""
    link = json.loads(ns.ip("-j", "-d", "link", "show", "dev", dev).stdout)[0]
    return link.get("xdp", {}).get("prog", {}).get("id")


def dump(folder, name):
    """A pinned map as bpftool prints it."""
    return json.loads(run(tool("bpftool"), "-j", "map", "dump", "pinned", folder / name).stdout)


def formatted(folder, name):
    """Keys and values of a pinned map by field name (bpftool needs the map's BTF for it)."""
    return [(entry["formatted"]["key"], entry["formatted"].get("value") or
             entry["formatted"]["values"]) for entry in dump(folder, name)]


def fdb(folder):
    """{(mac, vlan): port id} of a pinned forwarding table."""
    return {(":".join(f"{int(b, 0) if isinstance(b, str) else b:02x}" for b in key["mac"]),
             key["vlan"]): value["port"] for key, value in formatted(folder, "fdb")}


def verdict(folder, index):
    """Frames of one verdict, from the pinned per-CPU map."""
    for key, values in formatted(folder, "verdicts"):
        if key == index:
            return sum(v["value"]["frames"] for v in values)
    raise KeyError(index)


def map_id(folder, name):
    return json.loads(run(tool("bpftool"), "-j", "map", "show", "pinned",
                          folder / name).stdout)["id"]


def link_id(folder):
    return json.loads(run(tool("bpftool"), "-j", "link", "show", "pinned",
                          folder / "link").stdout)["id"]


V_GUEST, V_NO_DAEMON, V_GROUP, V_PASS = range(4)
MAPS = ("fdb", "ports", "queues", "xsks", "config", "verdicts", "port_stats")
