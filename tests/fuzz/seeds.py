#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""seeds.py FOLDER - first inputs for the fuzz targets: FOLDER/<target>/<name>

The formats are those that the targets read (fuzz_rings.c, fuzz_message.c): each helper here writes
what one step there takes. Good behaviour mostly; the fuzzer finds the bad by itself.
"""
import pathlib
import struct
import sys

NEXT, WRITE, INDIRECT = 1, 2, 4


# ---- rings -------------------------------------------------------------------------------------

LOW, MIDDLE, DESC = 0, 1, 2  # regions of a hostile guest's memory
TX, RX, FIRST, SECOND = 0, 0x40, 0, 0x80
MERGEABLE, EVENT_IDX, WITH_INDIRECT, SHORT_HEADER, DISABLED, CALL = 8, 4, 16, 1, 2, 0xE0


def gpa(region, off):
    return struct.pack("<BH", region, off)


def length(n):
    return struct.pack("<B", n) if n < 0xF0 else struct.pack("<BH", 0xF0, n)


def desc(who, i, at, n, flags, skip=0):
    return bytes([who | 0, i]) + at + length(n) + bytes([flags | skip << 3])


def table_entry(who, table, i, at, n, flags):
    return bytes([who | 3]) + table + bytes([i]) + at + length(n) + bytes([flags])


def avail(who, head, n=1):
    return bytes([who | 4, n - 1, head])


def frame(who, at, to):
    return bytes([who | 7]) + at + bytes([to])


def run(who):
    return bytes([who | 12])


def race(delay, how, value):
    return struct.pack("<BBBH", 10, delay, how, value)


def from_nic(to, n, how=0):
    return struct.pack("<BBBH", 9, how, to, n)


def head(flags=MERGEABLE | WITH_INDIRECT, size=159, start=0x8000, more=0):
    return struct.pack("<BBBH", size, flags, more, start) * 4


def post(n=4, size=220):
    """Receive buffers of the second guest."""
    out = b""
    for i in range(n):
        out += desc(SECOND | RX, i, gpa(LOW, 0x100 * i), size, WRITE)
    return out + avail(SECOND | RX, 0, n)


def plain(at=0, n=80, to=1, i=0):
    return frame(FIRST, gpa(LOW, at), to) + desc(FIRST, i, gpa(LOW, at), n, 0) + avail(FIRST, i)


def ring_seeds():
    chain = (frame(FIRST, gpa(LOW, 0), 1) + desc(FIRST, 0, gpa(LOW, 0), 12, NEXT)
             + desc(FIRST, 1, gpa(LOW, 12), 100, NEXT) + desc(FIRST, 2, gpa(MIDDLE, 9), 60, 0)
             + avail(FIRST, 0))
    table = gpa(LOW, 0x800)
    indirect = (frame(FIRST, gpa(LOW, 0), 1) + table_entry(FIRST, table, 0, gpa(LOW, 0), 12, NEXT)
                + table_entry(FIRST, table, 1, gpa(LOW, 12), 90, 0)
                + desc(FIRST, 0, table, 32, INDIRECT) + avail(FIRST, 0))
    crossing = desc(FIRST, 0, gpa(0x60 | LOW, 40), 100, 0) + avail(FIRST, 0)
    yield "plain", head() + post() + plain() + run(FIRST)
    yield "wrap", head(start=0xFFFF) + post() + plain() + plain(0x300, 120, 1, 1) + run(FIRST)
    yield "chain", head() + post() + chain + run(FIRST)
    yield "indirect", head() + post() + indirect + run(FIRST)
    yield "crossing", head() + post() + crossing + run(FIRST)
    yield "mergeable", head() + post(16, 64) + plain(0, 0x1F0) + run(FIRST)
    yield "not-mergeable", head(0) + post(4, 64) + plain(0, 200) + run(FIRST)
    yield "short-header", head(SHORT_HEADER) + post() + plain() + run(FIRST)
    yield "flood", head() + post() + plain(0, 90, 7) + run(FIRST)
    yield "tagged", head() + post() + plain(0, 90, 0x41) + plain(0x200, 90, 0xD1, 1) + run(FIRST)
    yield "wire", head() + plain(0, 600, 5) + plain(0x300, 30, 6, 1) + run(FIRST)
    yield "hairpin", head() + plain(0, 90, 0) + run(FIRST)
    yield "disabled", head(DISABLED) + plain() + run(FIRST)
    yield "event-idx", head(EVENT_IDX | MERGEABLE | CALL) + post() + plain() + run(FIRST)
    yield "small-ring", head(size=0) + post(1) + plain() + run(FIRST) + plain() + run(FIRST)
    yield "nic", head() + post() + from_nic(1, 100) + from_nic(7, 60) + from_nic(0x41, 300)
    yield "nic-meta", head() + post() + from_nic(1, 1500, 0x82) + from_nic(7, 64, 0xC1)
    yield "mixed", head(more=0x80)[:10] + head()[10:] + post() + plain() + run(FIRST)
    yield "lag", head(more=3 | 0x40) + post() + plain() + run(FIRST)
    yield "restart", head() + plain() + run(FIRST) + bytes([11, 0x80]) + plain() + run(FIRST)
    for i in range(6):
        yield f"race-{i}", (head() + post() + (chain if i & 1 else indirect)
                            + race(3 * i, 1 + i, 0x40 << i) + race(2, 5, 0xFFFF) + run(FIRST))


# ---- messages ----------------------------------------------------------------------------------

GOOD = b"\x01\x10"  # wants an acknowledgement; nothing is spoilt
# Set-up: the first byte
PLAIN_DEVICE, IOMMU, POSTCOPY, PACKED, LOGGING, GPA_RINGS, LEGACY, FEW = 0, 4, 7, 8, 0x10, 0x20, 0x40, 0x80
WORK, SLEEP, RECONNECT, ANSWERS = b"\x0e", b"\x0f", b"\x1e", b"\x17\0"
LOG_ALL_BIT = 1


SOON = 0x80  # the device is not asked before the next message


def negotiate():
    return bytes([SOON | 2, 1]) + GOOD * 3


def memory(how=4):
    return bytes([SOON | 3, how]) + GOOD


def ring(i, size=4, base=0, soon=0):
    return (bytes([soon | 4, i, 0, size]) + GOOD + bytes([base]) + GOOD * 2 + GOOD * 3 + GOOD)


def start(rings=4, size=4):
    return negotiate() + memory() + b"".join(ring(i, size, soon=SOON) for i in range(rings - 1)) + ring(rings - 1, size)


def stop(rings=4):
    return b"".join(bytes([6, i]) + GOOD for i in range(rings))


def guest_post(i, n=100, flags=0, idx=0, at=0):
    return struct.pack("<BBBBBHHB", 8, i, idx & 63, flags, at, n, idx, 0x10)


def to_guest(n=64):
    return struct.pack("<BH", 12, n)


def guest_frame(to=1, at=0):
    return bytes([11, to, at])


def traffic(n=0):
    """A frame each way, the nth of its ring."""
    return (guest_frame() + guest_post(1, idx=n) + WORK + guest_post(0, 2000, WRITE, idx=n, at=40)
            + to_guest() + SLEEP)


def flip(bits):
    return bytes([16, bits]) + GOOD


def log(size=2, offset=0):
    return bytes([17, size, offset]) + GOOD


def get_area(queues=4, size=4):
    return bytes([18, queues, size]) + GOOD


def set_area(spoilt=None):
    return b"\x13\x01" + (b"\x10" if spoilt is None else struct.pack("<BBQ", 1, *spoilt))


def area_poke(at, data):
    return struct.pack("<BHB", 20, at, len(data)) + data


def iotlb(what, page=0):
    return bytes([21, what, page]) + GOOD


def again(i, what):
    return bytes([26, i, what]) + GOOD


def postcopy(what):
    return bytes([27, what]) + GOOD


ADVISE, LISTEN, END = (postcopy(what) for what in range(3))
CLOSE_FAULTS, ACK = b"\x1b\3", postcopy(4)
COPY, ZEROES, WAKE = b"\x1c\x01", b"\x1c\x02", b"\x1c\x00"
CHANNEL = b"\x16" + GOOD


def common_seeds():
    yield "negotiate", negotiate()
    yield "rings", start() + WORK + stop()
    yield "slots", negotiate() + memory(0) + memory(1) + ring(1) + memory(2) + memory(3)
    yield "transmit", start() + guest_frame() + guest_post(1) + WORK + stop()
    yield "receive", start() + guest_post(0, 2000, WRITE) + to_guest() + WORK + stop()
    yield "truncate", start() + guest_post(1) + b"\x0d\x00\x00" + WORK + negotiate()
    yield "restart", (start() + stop()) * 2
    yield "replace", start() + memory() + WORK + memory() + WORK
    yield "gone", start() + guest_post(1, 5000) + WORK + WORK
    yield "traffic", start() + traffic() + traffic(1)
    yield "back", start(2) + traffic() + RECONNECT + start(2) + traffic(1)
    yield "goes-on", start() + traffic() + stop() + b"".join(ring(i, base=4) for i in range(4)) + traffic(1)
    yield "enabled", start(2) + again(1, 0) + traffic() + again(1, 2) + traffic(1)
    yield "features", start(2) + flip(2) + traffic() + flip(4) + traffic(1) + flip(0x80)
    for what in range(4):
        yield f"net-{what}", negotiate() + bytes([24, what]) + GOOD + start(2) + bytes([24, what]) + GOOD
        yield f"config-{what}", negotiate() + bytes([25, what, 0, 12]) + GOOD + bytes([25, what, 250, 12]) + GOOD


def log_seeds():
    on = log() + flip(LOG_ALL_BIT)
    yield "log", start(2) + on + traffic() + again(1, 3) + traffic(1) + flip(0) + traffic(2)
    yield "log-first", (negotiate() + flip(LOG_ALL_BIT) + log() + start(2) + traffic() + log(3, 8) + traffic(1)
                        + stop(2))
    yield "log-late", negotiate() + flip(LOG_ALL_BIT) + start(2) + traffic() + log() + traffic(1) + again(0, 1)
    yield "log-gone", start(2) + on + b"\x0d\x01\x00" + traffic() + WORK
    yield "log-small", start(2) + on + memory(1) + traffic() + log(0) + traffic(1)


def area_seeds(entry, n_desc):
    """entry: bytes of one, and of what is in front of the first; n_desc: of a ring"""
    held = b"\1" + bytes(entry - 1)
    ours = struct.pack("<QHH", 0, 1, n_desc)
    mine = negotiate() + get_area() + set_area()
    back = RECONNECT + negotiate() + set_area()
    yield "area", mine + start() + traffic() + back + start() + traffic(1)
    yield "area-held", (negotiate() + get_area() + area_poke(0, ours) + area_poke(entry, held)
                        + area_poke(2 * entry, held) + set_area() + guest_post(0, 100, WRITE)
                        + guest_post(1) + start() + traffic())
    yield "area-poked", mine + start() + traffic() + area_poke(8, b"\xff" * 32) + back + start() + traffic()
    yield "area-other", negotiate() + get_area(4, 5) + set_area() + start() + traffic() + stop() + set_area() + start()
    yield "area-short", negotiate() + get_area() + set_area((16, 0x40000004)) + start() + set_area((0, 64))


def iommu_seeds():
    whole = iotlb(0) + iotlb(1)
    yield "asked", negotiate() + CHANNEL + start(2) + ANSWERS * 3 + traffic() + ANSWERS + traffic(1) + ANSWERS
    yield "told", negotiate() + CHANNEL + start(2) + whole + traffic() + traffic(1)
    yield "invalidated", (start(2) + whole + traffic() + iotlb(8) + traffic(1) + iotlb(0) + traffic(2) + iotlb(9)
                          + WORK + iotlb(1) + traffic(3))
    yield "by-page", (start(2) + b"".join(iotlb(7, i) for i in range(2))
                      + b"".join(iotlb(6, i) for i in range(4, 6)) + traffic())
    yield "read-only", start(2) + iotlb(1) + iotlb(0x10) + traffic() + iotlb(0x20) + traffic(1)
    yield "late-channel", start(2) + CHANNEL + ANSWERS * 2 + traffic() + CHANNEL + ANSWERS + memory() + traffic(1)
    yield "log", start(2) + whole + log() + flip(LOG_ALL_BIT) + traffic() + iotlb(8) + traffic(1)


def postcopy_seeds():
    listening = negotiate() + ADVISE + LISTEN + memory() + ACK
    rings = ring(0) + ring(1)
    serve = COPY + WORK
    yield "served", listening + rings + serve * 6 + traffic() + serve * 3 + END + traffic(1)
    yield "zeroes", (guest_post(1) + guest_post(0, 2000, WRITE) + listening + rings + (ZEROES + WORK) * 6
                     + to_guest() + END)
    yield "never", listening + rings + traffic()
    yield "unread", listening + CLOSE_FAULTS + rings + traffic() + END + traffic(1)
    yield "woken", listening + rings + WAKE * 8
    yield "ended", listening + rings + serve + END + traffic() + ADVISE
    yield "stopped", listening + rings + serve + stop(2) + rings + serve * 4 + memory()
    yield "slots", (negotiate() + ADVISE + LISTEN + memory(0) + ACK + memory(1) + ACK + rings + serve * 4
                    + memory(3) + ACK)
    yield "taken-back", (listening + rings + serve * 4 + b"\x1d\x01" + traffic() + serve + b"\x1d\x00"
                         + traffic(1))
    yield "truncated", listening + rings + serve + b"\x0d\x00\x00" + serve * 2


def message_seeds():
    def each(setups, name, seeds):
        for what, data in seeds:
            for setup in setups:
                yield f"{name}{what}-{setup:02x}", bytes([setup]) + data
    layouts = (PLAIN_DEVICE, PACKED)
    yield from each((0, PACKED, LEGACY, PACKED | FEW, GPA_RINGS, LOGGING, IOMMU), "", common_seeds())
    yield from each((*layouts, FEW, PACKED | GPA_RINGS), "log-", log_seeds())
    yield from each((PLAIN_DEVICE,), "split-", area_seeds(16, 16))
    yield from each((PACKED,), "packed-", area_seeds(32, 5))
    yield from each((IOMMU, IOMMU | PACKED, IOMMU | GPA_RINGS), "iommu-", iommu_seeds())
    yield from each((POSTCOPY, POSTCOPY | PACKED), "postcopy-", postcopy_seeds())
    for request in range(46):
        raw = struct.pack("<BBBBB", 0, request, 0x20, 8, 1) + b"\x02" + bytes(8)
        yield f"raw-{request}", b"\0" + negotiate() + raw
        yield f"empty-{request}", b"\0" + start() + bytes([7, request]) + GOOD


# ---- text --------------------------------------------------------------------------------------

CONFIG = """\
control-socket: /run/vhost-xdp/control.sock
pin-dir: /sys/fs/bpf/vhost-xdp
busy-poll-us: 50
wakeup-latency-us: 10
workers:
  - cpu: 0
nics:
  - name: nic0
    mode: {mode}
{nic}ports:
  - name: vm1
    socket: /run/vhost-xdp/vm1
    listen: true
    nic: nic0
    macs: ["52:54:00:00:00:0a"]
    vlan: 0
{port}"""


def config_seeds():
    yield "steered", CONFIG.format(mode="steered", nic="    miss: redirect\n    redirect-to: eth1\n", port="")
    yield "dedicated", CONFIG.format(mode="dedicated", nic="    queues: 2\n    ring-size: 64\n", port="")
    yield "internal", CONFIG.format(mode="internal", nic="", port="    queues: 4\n    mtu: 1500\n")
    yield "options", CONFIG.format(mode="steered", nic="    zero-copy: off\n    xdp-mode: generic\n",
                                   port="    own-macs-only: true\n    socket-mode: 0600\n"
                                        "    socket-owner: root\n    features-mask: 0xffffffffff\n")
    yield "flow", "{workers: [{cpu: 1}], nics: [{name: a, mode: internal}], ports: []}\n"
    yield "anchor", "workers: &a\n  - cpu: 0\nnics: *a\n"
    yield "tags", "!!map {workers: !!seq [], ? [a]: b}\n--- again\n"
    yield "blocks", "pin-dir: |\n  /a\n\n  b\ncontrol-socket: >-\n  /x\n  y\n# end\n...\n"


def control_seeds():
    def call(method, **rest):
        import json
        return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, **rest})
    for method in ("version", "show", "stats", "port.list", "nic.list", "worker.list", "mac.list",
                   "rpc.methods", "none"):
        yield method, "\1" + call(method)
    yield "params", "\0" + call("stats", params={"port": "vm1"})
    yield "list", "\1" + call("show", params=[1, 2])
    yield "batch", "\1[" + call("show") + "]"
    yield "notify", '\1{"jsonrpc": "2.0", "method": "show"}'
    yield "types", '\1{"jsonrpc": "2.0", "id": null, "method": "stats", "params": {"port": {"a": [1.5e3, -0, "\\u00e9\\ud83d\\ude00"]}}}'
    yield "deep", "\1" + "[" * 100 + "]" * 100
    yield "twice", '\1{"id": 1, "id": 2}'


def main(folder):
    for target, seeds in (("split", ring_seeds()), ("packed", ring_seeds()), ("message", message_seeds()),
                          ("config", config_seeds()), ("control", control_seeds())):
        (folder / target).mkdir(parents=True, exist_ok=True)
        for name, data in seeds:
            (folder / target / name).write_bytes(data.encode() if isinstance(data, str) else data)


main(pathlib.Path(sys.argv[1]))
