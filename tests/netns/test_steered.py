# SPDX-License-Identifier: BSD-2-Clause
"""One steered nic that the host and its guests share: who gets which frame, byte by byte."""
import pytest

from vx.base import wait_for
from vx.topo import HOST, WIRE, guest_mac

from vxnet import (BROADCAST, WIRE_MAC, Echo, Vfe, call, frame, from_drops, listen, nic, port,
                   to_drops, verdicts, wait_port)

SIZES = range(60, 1515)


def test_wire_to_guest_every_size(topo, wire):
    topo.daemon(2).start()
    guest, other = listen(topo, 0, len(SIZES)), listen(topo, 1, 0)
    wire.send_all(frame(guest_mac(0), WIRE_MAC, i, size) for i, size in enumerate(SIZES))
    result = guest.result()
    assert result["bad"] == result["lost"] == result["foreign"] == 0
    assert result["bytes"] == sum(SIZES)
    assert other.finish()["good"] == 0


@pytest.mark.parametrize("layout", [{}, {"tx_mix": True}, {"tx_indirect": True,
                                                           "tx_hdr_apart": True}],
                         ids=["plain", "mix", "indirect"])
def test_guest_to_wire_every_size(topo, wire, layout):
    daemon = topo.daemon(1).start()
    guest = Vfe(topo, topo.socket(0), "tx", mac=guest_mac(0), dst=WIRE_MAC, size="60-1514",
                count=len(SIZES), rate=20000, **layout)
    got = wire.receive(len(SIZES))
    guest.result()
    assert [f.seq for f in got] == list(range(len(SIZES)))
    assert [len(f.data) for f in got] == list(SIZES)
    assert all(f.good and f.dst == WIRE_MAC and f.src == guest_mac(0) and f.vlan is None
               for f in got)
    wait_for(lambda: nic(daemon)["queues"][0]["tx_frames"] >= len(SIZES), 5, "counted frames")
    queue = nic(daemon)["queues"][0]
    assert queue["kick_lost"] == queue["kick_error"] == 0


def test_short_frames_of_a_guest_are_padded_with_zeros(topo, wire):
    topo.daemon(1).start()
    Vfe(topo, topo.socket(0), "tx", mac=guest_mac(0), dst=WIRE_MAC, size="42-60", count=19)
    got = wire.receive(19)
    assert [len(f.data) for f in got] == [60] * 19
    assert all(f.good and not any(f.data[f.length:]) for f in got)


@pytest.mark.parametrize("shape", [
    {}, {"rx_size": 300}, {"rx_pieces": 3}, {"rx_indirect": True}, {"rx_hdr_first": True},
    {"features": "-mrg_rxbuf"}, {"features": "-event_idx,-indirect_desc"},
    {"regions": 8, "mem": 128, "mmap_offset": 8192, "gpa_gap": 1 << 30}])
def test_wire_to_guest_buffer_shapes(topo, wire, shape):
    topo.daemon(1).start()
    sizes = [60, 61, 127, 128, 300, 1000, 1513, 1514] * 8
    guest = listen(topo, 0, len(sizes), **shape)
    wire.send_all(frame(guest_mac(0), WIRE_MAC, i, size) for i, size in enumerate(sizes))
    result = guest.result()
    assert result["good"] == len(sizes)
    assert result["merged"] == (sum(s + 12 > 300 for s in sizes) if "rx_size" in shape else 0)


def test_guest_to_guest(topo):
    """All sizes and layouts, both ways at once, without loss."""
    topo.daemon(2).start()
    pair = Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
               peer_mac=guest_mac(1), both=True, count=20000, size="42-1514", tx_mix=True,
               timeout_ms=60000)
    result = pair.result(60)
    assert result["good"] == result["peer"]["good"] == 20000


def test_guest_to_guest_stays_off_the_wire(topo, wire):
    topo.daemon(2).start()
    Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
        peer_mac=guest_mac(1), both=True, count=200).result()
    assert wire.receive(timeout=0.3) == []


def test_host_keeps_its_own_traffic(topo):
    """The host pings and is pinged, by names learnt through ARP, while guests are attached."""
    topo.daemon(2).start()
    Echo(topo, topo.socket(0), topo.socket(1), guest_mac(0), guest_mac(1))
    for ns in (topo.host, topo.wire):
        ns.ip("neigh", "flush", "all")
    assert topo.wire.ping(HOST, count=5) == 5
    assert topo.host.ping(WIRE, count=5) == 5


def test_guest_answers_the_wire(topo):
    """ARP and ping between a guest's own little stack and the wire's."""
    topo.daemon(2).start()
    guest = Vfe(topo, topo.socket(0), "host", mac=guest_mac(0), ip="198.18.0.11/24")
    guest.ready()
    topo.wire.ip("neigh", "flush", "all")
    assert topo.wire.ping("198.18.0.11", count=5, opts=("-s", "1400")) == 5
    pinger = Vfe(topo, topo.socket(1), "host", mac=guest_mac(1), ip="198.18.0.12/24", ping=WIRE,
                 count=20)
    assert pinger.result()["replies"] == 20
    result = guest.finish()
    # ping asks once more when an answer is slow, and would have told of one that came twice.
    assert result["arp_answered"] >= 1 and result["echo_answered"] >= 5


def test_wire_broadcast_reaches_guests_and_host(topo, wire, host):
    topo.daemon(2).start()
    guests = [listen(topo, i, 100) for i in range(2)]
    wire.send_all(frame(BROADCAST, WIRE_MAC, i, 60 + i) for i in range(100))
    for guest in guests:
        assert guest.result()["group"] == 100
    got = host.receive(100)
    assert [f.seq for f in got] == list(range(100)) and all(f.good for f in got)


def test_wire_multicast_reaches_guests_and_host(topo, wire, host):
    topo.daemon(2).start()
    guests = [listen(topo, i, 50) for i in range(2)]
    wire.send_all(frame("33:33:00:00:00:01", WIRE_MAC, i, 80) for i in range(50))
    for guest in guests:
        assert guest.result()["group"] == 50
    assert len(host.receive(50)) == 50


def test_guest_broadcast_reaches_other_guests_and_wire(topo, wire, host):
    topo.daemon(3).start()
    guests = [listen(topo, i, 100) for i in (1, 2)]
    sender = Vfe(topo, topo.socket(0), "tx", mac=guest_mac(0), dst=BROADCAST, size="60-1514",
                 count=100, rate=5000)
    for guest in guests:
        assert guest.result()["group"] == 100
    got = wire.receive(100)
    assert sender.result()["good"] == 0
    assert [f.seq for f in got] == list(range(100)) and all(f.good for f in got)
    assert host.receive(timeout=0.2) == []


def test_ipv6_neighbours(topo):
    """Neighbour discovery lives on multicast: host and wire find each other while the daemon
    copies every group frame."""
    daemon = topo.daemon(1).start()
    listen(topo, 0, 1_000_000)
    for ns in (topo.host, topo.wire):
        ns.sysctl("net.ipv6.conf.all.disable_ipv6", 0)
    for ns, dev, address in ((topo.host, "nic0", "2001:2::1"), (topo.wire, "wire0", "2001:2::2")):
        ns.ip("addr", "add", f"{address}/64", "dev", dev, "nodad")
    assert topo.wire.ping("2001:2::1") == 3
    assert topo.host.ping("2001:2::2") == 3
    assert nic(daemon)["group_copies"]["frames"] > 0
    assert nic(daemon)["drops"]["group-copy-lost"] == 0


def test_counters_tell_what_happened(topo, wire):
    daemon = topo.daemon(1).start()
    guest = listen(topo, 0, 100)
    before = verdicts(daemon)
    wire.send_all(frame(guest_mac(0), WIRE_MAC, i, 100) for i in range(100))
    wire.send_all(frame("02:00:00:00:0e:0e", WIRE_MAC, i, 100) for i in range(50))
    guest.result()
    after = wait_for(lambda: (lambda v: v["pass"] - before["pass"] >= 50 and v)(verdicts(daemon)),
                     5, "50 passed frames")
    assert after["guest"] - before["guest"] == 100
    now = wait_port(daemon, "vm0", state="listening")
    assert now["steered"] == {"frames": 100, "bytes": 10000}
    assert not from_drops(daemon, "vm0")


def test_frames_for_an_absent_guest_are_counted(topo, wire, host):
    daemon = topo.daemon(1).start()
    wire.send_all(frame(guest_mac(0), WIRE_MAC, i) for i in range(10))
    wait_for(lambda: to_drops(daemon, "vm0").get("no-guest", 0) >= 10, 5, "ten counted drops")
    assert host.receive(timeout=0.2) == []


def test_frames_for_a_guest_without_buffers_are_counted(topo, wire):
    daemon = topo.daemon(1).start()
    guest = Vfe(topo, topo.socket(0), "probe", mac=guest_mac(0))
    guest.result()
    stopped = Vfe(topo, topo.socket(0), "rx", mac=guest_mac(0), expect=1, ring=64,
                  timeout_ms=60000)
    stopped.ready()
    stopped.process.popen.send_signal(19)  # SIGSTOP: it takes nothing any more
    try:
        wire.send_all(frame(guest_mac(0), WIRE_MAC, i) for i in range(200))
        wait_for(lambda: to_drops(daemon, "vm0").get("no-buffer", 0) >= 136, 5, "counted drops")
        assert to_drops(daemon, "vm0") == {"no-buffer": 136}
    finally:
        stopped.process.popen.send_signal(18)


def test_show_lists_everything(topo):
    daemon = topo.daemon(2).start()
    Vfe(topo, topo.socket(0), "rx", mac=guest_mac(0), expect=1).ready()
    show = call(daemon, "show")
    assert show["pid"] == daemon.pid and len(show["ports"]) == 2
    up = port(daemon, "vm0")
    assert up["up"] and up["state"] == "running" and up["queue_pairs"] == 1
    assert not port(daemon, "vm1")["up"]
    macs = {(m["mac"], m["port"], m["state"]) for m in call(daemon, "mac.list")["macs"]}
    assert macs == {(guest_mac(0), "vm0", "up"), (guest_mac(1), "vm1", "down")}
