# SPDX-License-Identifier: BSD-2-Clause
"""Several queue pairs: what belongs to a flow arrives on the pair that the guest sends it on, and
in order; flows that the guest has not sent on spread over its pairs."""
import os
import select
import struct
from contextlib import suppress

import pytest

from vx.base import wait_for
from vx.topo import guest_mac

import rawfe as r
from vxnet import WIRE_MAC, mac_bytes, wait_port

BUFFERS = 192  # receive buffers of each ring; transmit slots come behind all of them
TWO_WORKERS = [{"cpu": 0}, {"cpu": 1}]


def packet(dst, src, sport, dport, seq, v6=False, tag=False):
    """A UDP datagram whose payload is its number."""
    udp = struct.pack("!HHHHI", sport, dport, 12, 0, seq)
    a, b = sorted([src, dst])  # one address for each MAC
    ip4 = {a: b"\x0a\0\0\1", b: b"\x0a\0\0\2"}
    if v6:
        net = struct.pack("!IHBB", 0x60000000, len(udp), 17, 64) + b"\xfd".ljust(12, b"\0") + \
            ip4[src] + b"\xfd".ljust(12, b"\0") + ip4[dst]
    else:
        net = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + ip4[src] + \
            ip4[dst]
    data = mac_bytes(dst) + mac_bytes(src) + (b"\x81\0\0\5" if tag else b"") + \
        (b"\x86\xdd" if v6 else b"\x08\0") + net + udp
    return data.ljust(64, b"\0")


class Guest(r.RawFrontEnd):
    """A guest with several queue pairs, whose receive rings are filled."""

    def __init__(self, path, mac, pairs, **features):
        super().__init__(path)
        self.mac, self.pairs, self.seen = mac, pairs, [0] * pairs
        self.negotiate(**features)
        self.share_memory()
        for ring in range(2 * pairs):
            self.start_ring(ring)
        for pair in range(pairs):
            for i in range(BUFFERS):
                self.desc(2 * pair, i, self.slot(pair * BUFFERS + i), 256, r.DESC_WRITE)
            self.offer(2 * pair, *range(BUFFERS))
        self.ask_u64(r.GET_FEATURES)

    def slot(self, i):
        return r.GPA + r.BUFFERS + 256 * i

    def enable(self, pair, on):
        for ring in (2 * pair, 2 * pair + 1):
            self.send(r.SET_VRING_ENABLE, struct.pack("=II", ring, on))
        self.ask_u64(r.GET_FEATURES)

    def send_on(self, pair, data, split=False):
        """One frame on one pair; `split`: header and frame in two descriptors, the slow path."""
        ring = 2 * pair + 1
        used = self.used_idx(ring)
        at = self.slot(self.pairs * BUFFERS + pair)
        self.write(at - r.GPA, bytes(r.HDR) + data)
        if split:
            self.desc(ring, 0, at, r.HDR, r.DESC_NEXT, 1)
            self.desc(ring, 1, at + r.HDR, len(data))
        else:
            self.desc(ring, 0, at, r.HDR + len(data))
        self.offer(ring, 0)
        self.wait_used(ring, (used + 1) & 0xFFFF)

    def received(self):
        """[(pair, frame)] since the last call, in order on each pair."""
        got = []
        for pair in range(self.pairs):
            ring = 2 * pair
            while self.seen[pair] != self.used_idx(ring):
                pos = self.seen[pair] % self.num
                head, length = struct.unpack_from("=II", self.mem, self.at(ring)[2] + 4 + 8 * pos)
                at = self.slot(pair * BUFFERS + head) - r.GPA
                got.append((pair, bytes(self.mem[at + r.HDR:at + length])))
                self.seen[pair] += 1
                self.offer(ring, head)
        return got

    def wait_received(self, n):
        got = []
        wait_for(lambda: got.extend(self.received()) or len(got) >= n, 10,
                 lambda: f"{n} frames; {len(got)} came", every=0.002)
        return got


def pairs_by_flow(got, key):
    """{flow: set of pairs}; frames of each flow must be in order."""
    pairs, last = {}, {}
    for pair, data in got:
        flow, seq = key(data)
        assert last.get(flow, -1) < seq, f"flow {flow}: {seq} after {last[flow]}"
        last[flow] = seq
        pairs.setdefault(flow, set()).add(pair)
    return pairs


def by_port(v6=False):
    at = 14 + (40 if v6 else 20)
    return lambda data: struct.unpack_from("!HxxxxI", data, at + 2)


@pytest.mark.parametrize("v6", [False, True], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("split", [False, True], ids=["plain", "split"])
def test_wire_to_the_pair_that_the_guest_sends_on(topo, wire, v6, split):
    topo.daemon(1, workers=TWO_WORKERS).start()
    mac, flows = guest_mac(0), range(40)
    with Guest(topo.socket(0), mac, 4) as guest:
        wire.send_all(packet(mac, WIRE_MAC, 7, 1000 + f, seq, v6) for seq in range(3)
                      for f in flows)
        unknown = pairs_by_flow(guest.wait_received(120), by_port(v6))
        assert all(len(pairs) == 1 for pairs in unknown.values())
        assert set().union(*unknown.values()) == {0, 1, 2, 3}
        where = {1000 + f: (7 * f + 2) % 4 for f in flows}
        for port, pair in where.items():
            guest.send_on(pair, packet(WIRE_MAC, mac, port, 7, 0, v6), split)
        wire.send_all(packet(mac, WIRE_MAC, 7, 1000 + f, seq, v6) for seq in range(3)
                      for f in flows)
        known = pairs_by_flow(guest.wait_received(120), by_port(v6))
        assert known == {port: {pair} for port, pair in where.items()}


def test_pairs_come_and_go(topo, wire):
    """As ethtool -L does it: flows of a pair that is disabled go to the others, nothing is lost."""
    daemon = topo.daemon(1).start()
    mac, flows = guest_mac(0), range(40)
    with Guest(topo.socket(0), mac, 4) as guest:
        for f in flows:
            guest.send_on(f % 4, packet(WIRE_MAC, mac, 1000 + f, 7, 0))
        for on in (0, 1):
            guest.enable(3, on)
            wire.send_all(packet(mac, WIRE_MAC, 7, 1000 + f, 0) for f in flows)
            pairs = pairs_by_flow(guest.wait_received(40), by_port())
            for f in flows:
                if f % 4 < 3 or on:
                    assert pairs[1000 + f] == {f % 4}
                else:
                    assert pairs[1000 + f] < {0, 1, 2}
        # One pair is left: everything goes there.
        for pair in (1, 2, 3):
            guest.enable(pair, 0)
        wire.send_all(packet(mac, WIRE_MAC, 7, 1000 + f, 0) for f in flows)
        assert {pair for pair, _ in guest.wait_received(40)} == {0}
    wait_port(daemon, "vm0", state="listening")


def test_guest_to_guest(topo):
    """Both ends learn; the one with a single pair costs the other nothing."""
    topo.daemon(3, workers=TWO_WORKERS).start()
    mac0, mac1, mac2 = (guest_mac(i) for i in range(3))
    with Guest(topo.socket(0), mac0, 4) as one, Guest(topo.socket(1), mac1, 2) as two, \
            Guest(topo.socket(2), mac2, 1) as single:
        for f in range(16):
            one.send_on(f % 4, packet(mac1, mac0, 1000 + f, 7, 0), split=f % 3 == 0)
        two.wait_received(16)
        for f in range(16):
            two.send_on(f // 4 % 2, packet(mac0, mac1, 7, 1000 + f, 1), split=f % 5 == 0)
        assert pairs_by_flow(one.wait_received(16), by_port()) == \
            {1000 + f: {f % 4} for f in range(16)}
        for f in range(16):
            one.send_on(f % 4, packet(mac1, mac0, 1000 + f, 7, 2))
        source = lambda data: struct.unpack_from("!HxxxxxxI", data, 34)  # noqa: E731
        assert pairs_by_flow(two.wait_received(16), source) == \
            {1000 + f: {f // 4 % 2} for f in range(16)}
        for f in range(16):
            single.send_on(0, packet(mac0, mac2, 7, 1000 + f, 3))
        assert len(one.wait_received(16)) == 16
        for f in range(16):
            one.send_on(3 - f % 4, packet(mac2, mac0, 1000 + f, 7, 4))
        assert {pair for pair, _ in single.wait_received(16)} == {0}
        for f in range(16):
            single.send_on(0, packet(mac0, mac2, 7, 1000 + f, 5))
        assert pairs_by_flow(one.wait_received(16), by_port()) == \
            {1000 + f: {3 - f % 4} for f in range(16)}


def test_vlan_port(topo, wire):
    """A tag that the daemon takes off or puts on makes no other flow of it."""
    topo.daemon(ports=[topo.port(0, vlan=5)]).start()
    mac = guest_mac(0)
    with Guest(topo.socket(0), mac, 4) as guest:
        for f in range(20):
            guest.send_on(f % 4, packet(WIRE_MAC, mac, 1000 + f, 7, 0))
        wire.send_all(packet(mac, WIRE_MAC, 7, 1000 + f, 0, tag=True) for f in range(20))
        assert pairs_by_flow(guest.wait_received(20), by_port()) == \
            {1000 + f: {f % 4} for f in range(20)}


def reset_ring(guest, ring):
    """As a front end that passes RING_RESET on: stopped, emptied by the driver, started with the
    call descriptor that it has."""
    position = guest.stop_ring(ring)
    guest.clear_ring(ring)
    guest.start_ring(ring, enable=False, call=False)
    guest.ask_u64(r.GET_FEATURES)
    return position


def test_one_ring_is_reset(topo, wire):
    """RING_RESET: one ring starts anew, the others go on, and interrupts come as before."""
    topo.daemon(ports=[topo.port(0, **{"ring-reset": True}), topo.port(1)]).start()
    mac, ring_reset = guest_mac(0), 1 << 40
    features = r.F_VERSION_1 | r.F_MRG_RXBUF | r.F_PROTOCOL | ring_reset
    with Guest(topo.socket(0), mac, 2, features=features) as guest, \
            r.RawFrontEnd(topo.socket(1)) as plain:
        assert not plain.ask_u64(r.GET_FEATURES) & ring_reset
        for f in range(20):
            guest.send_on(f % 2, packet(WIRE_MAC, mac, 1000 + f, 7, 0))
        for round_ in range(3):
            assert reset_ring(guest, 3) == 10
            for f in range(20):
                guest.send_on(f % 2, packet(WIRE_MAC, mac, 1000 + f, 7, 0))
        sent = len(wire.receive(80, ours=False, timeout=2))
        assert sent == 80
        assert guest.used_idx(1) == 40 and guest.used_idx(3) == 10
        # A receive ring, and its interrupt.
        guest.num = 128
        assert reset_ring(guest, 2) == 0
        guest.seen[1] = 0
        for i in range(100):
            guest.desc(2, i, guest.slot(BUFFERS + i), 256, r.DESC_WRITE)
        guest.offer(2, *range(100))
        with suppress(BlockingIOError):
            os.read(guest.call[2], 8)
        wire.send_all(packet(mac, WIRE_MAC, 7, 1001 + 2 * f, 0) for f in range(10))
        assert {pair for pair, _ in guest.wait_received(10)} == {1}
        wait_for(lambda: select.select([guest.call[2]], [], [], 0)[0], 5, "an interrupt")
