# SPDX-License-Identifier: BSD-2-Clause
"""Dedicated and internal nics, several nics, queues, workers, queue pairs and ports.

Where many senders run at full speed the receiver has more buffers than they send frames, so that
a lost frame is a bug and never a matter of who got the CPU.
"""
import os
import signal
import socket
import struct

import pytest

from vx.base import run, wait_for
from vx.net import need_veth, veth
from vx.topo import guest_mac

from rawfe import BUFFERS, DESC_WRITE, HDR, RawFrontEnd
from vxnet import (BROADCAST, WIRE_MAC, Station, Vfe, call, frame, from_drops, inside, listen,
                   mac_bytes, nic, on_cpu, port, to_drops)

TWO_WORKERS = ({"cpu": 0}, {"cpu": 1})


# ---- dedicated -------------------------------------------------------------------------------

def dedicated(topo, **keys):
    return topo.daemon(nics=[{"name": "nic0", "mode": "dedicated"}],
                       ports=[{"name": "vm0", "socket": str(topo.socket(0)), "listen": True,
                               "nic": "nic0", **keys}]).start()


def test_dedicated_guest_gets_everything(topo, wire, host):
    """Any address, group or not, any tag; the host's stack sees nothing of it."""
    daemon = dedicated(topo)
    guest = listen(topo, 0, 60)
    for stream, dst, vlan in ((1, guest_mac(0), None), (2, "02:00:00:00:0e:0e", None),
                              (3, BROADCAST, None), (4, "33:33:00:00:00:01", None),
                              (5, guest_mac(0), 100), (6, BROADCAST, 4094)):
        wire.send_all(frame(dst, WIRE_MAC, i, 60 + 100 * i, stream, vlan) for i in range(10))
    result = guest.result(ok=None)  # it takes foreign addresses for a fault
    assert result["good"] == 60 and result["misdirected"] == 10
    assert result["bad"] == result["lost"] == result["duplicates"] == 0
    assert host.receive(timeout=0.2) == []
    assert port(daemon, "vm0")["macs"] == []


def test_dedicated_guest_sends_anything(topo, wire):
    dedicated(topo)
    for options in ({"dst": WIRE_MAC}, {"dst": BROADCAST}, {"dst": WIRE_MAC, "vlan": 7}):
        Vfe(topo, topo.socket(0), "tx", mac="02:00:00:00:0a:0a", count=20, size="64-1514",
            tx_mix=True, **options).result()
    got = wire.receive(60)
    assert len(got) == 60 and all(f.good for f in got)
    assert [f.vlan for f in got] == [None] * 40 + [7] * 20


def test_dedicated_echo_both_ways(topo, wire):
    """Frames of all sizes go in, and come back out, tags and all."""
    dedicated(topo)
    Vfe(topo, topo.socket(0), "echo", mac=guest_mac(0), ring=1024).ready()
    sizes = range(64, 1515, 10)
    wire.send_all(frame(guest_mac(0), WIRE_MAC, i, size, vlan=5 if i % 2 else None)
                  for i, size in enumerate(sizes))
    got = wire.receive(len(sizes))
    assert len(got) == len(sizes) and all(f.good and f.dst == WIRE_MAC for f in got)
    if "VX_NICS" not in os.environ:
        assert [f.seq for f in got] == list(range(len(sizes)))
    # Of frames that a driver hands over together, the kernel gives tagged ones to sockets first.
    for i, vlan in enumerate((None, 5)):
        assert [f.seq for f in got if f.vlan == vlan] == list(range(i, len(sizes), 2))


def test_dedicated_port_in_a_vlan(topo, wire):
    dedicated(topo, vlan=9)
    guest = listen(topo, 0, 10)
    wire.send_all(frame(guest_mac(0), WIRE_MAC, i, 100, vlan=9) for i in range(10))
    assert guest.result()["bytes"] == 960
    Vfe(topo, topo.socket(0), "tx", mac=guest_mac(0), dst=WIRE_MAC, count=10).result()
    got = wire.receive(10)
    assert len(got) == 10 and all(f.good and f.vlan == 9 for f in got)


# ---- internal, and several nics ----------------------------------------------------------------

def test_internal(topo, wire, host):
    """Guests of an internal nic reach each other, and nobody else reaches them."""
    daemon = topo.daemon(nics=[{"name": "inside", "mode": "internal"}],
                         ports=[topo.port(i, nic="inside") for i in range(3)]).start()
    listeners = [listen(topo, i, 20) for i in (1, 2)]
    Vfe(topo, topo.socket(0), "tx", mac=guest_mac(0), dst=BROADCAST, count=20).result()
    for guest in listeners:
        assert guest.result()["group"] == 20
    Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
        peer_mac=guest_mac(1), both=True, count=2000, size="42-9000", mem=64).result()
    topo.host.ip("link", "set", "nic0", "promisc", "on")
    wire.send_all(frame(guest_mac(0), WIRE_MAC, i) for i in range(5))
    assert len(host.receive(5)) == 5
    assert wire.receive(timeout=0.1) == []
    assert nic(daemon, "inside")["state"] == "up"
    assert to_drops(daemon, "vm0").get("no-guest", 0) == 0


def test_nics_are_worlds_of_their_own(topo, wire):
    """Two steered nics: neither unicast nor broadcast crosses from one to the other; the same
    address may live on both."""
    veth(topo.host, "nic1", topo.wire, "wire1")
    nics = [{"name": "nic0", "mode": "steered"}, {"name": "nic1", "mode": "steered"}]
    ports = [topo.port(0), topo.port(1, nic="nic1"), topo.port(2),
             topo.port(3, nic="nic1", macs=[guest_mac(0)])]
    topo.daemon(nics=nics, ports=ports, workers=TWO_WORKERS).start()
    on_nic1, twin = listen(topo, 1, 0), listen(topo, 3, 0, guest_mac(0))
    on_nic0 = listen(topo, 2, 10)
    with Station(topo.wire, "wire1") as wire1:
        for dst in (BROADCAST, guest_mac(1)):
            Vfe(topo, topo.socket(0), "tx", mac=guest_mac(0), dst=dst, count=10).result()
        assert len(wire.receive(20)) == 20
        assert wire1.receive(timeout=0.2) == []
        on_nic0.result()
        on_nic1.finish()
        twin.finish()
        twin = listen(topo, 3, 5, guest_mac(0), settle_ms=300)
        wire.send_all(frame(guest_mac(0), WIRE_MAC, i, stream=1) for i in range(9))
        wire1.send_all(frame(guest_mac(0), WIRE_MAC, i, stream=2) for i in range(5))
        twin.result()


# ---- queues and workers ------------------------------------------------------------------------

def steer_by_cpu(ns, dev, queues):
    """Let each CPU send through a transmit queue of its own."""
    for q in range(queues):
        run("ip", "netns", "exec", ns.name, "sh", "-c",
            f"echo {1 << q:x} > /sys/class/net/{dev}/queues/tx-{q}/xps_cpus")


@pytest.mark.topology(queues=2)
@pytest.mark.parametrize("workers", [({"cpu": 0},), TWO_WORKERS], ids=["one", "two"])
def test_two_nic_queues(topo, wire, workers):
    """Each queue has its socket; frames of both reach the guest, and guests send through both."""
    daemon = topo.daemon(2, workers=workers).start()
    steer_by_cpu(topo.wire, "wire0", 2)
    guest = listen(topo, 0, 400)
    for cpu in (0, 1):
        with on_cpu(cpu), Station(topo.wire, "wire0") as sender:
            sender.send_all(frame(guest_mac(0), WIRE_MAC, i, 60 + i, stream=cpu)
                            for i in range(200))
    assert guest.result()["streams"] == 2
    assert [q["queue"] for q in nic(daemon)["queues"]] == [0, 1]
    wait_for(lambda: all(q["rx_frames"] >= 200 for q in nic(daemon)["queues"]), 5,
             lambda: f"frames of both queues: {nic(daemon)['queues']}")
    while wire.receive(timeout=0.05):
        pass
    for i in (0, 1):  # port i belongs to worker i
        Vfe(topo, topo.socket(i), "tx", mac=guest_mac(i), dst=WIRE_MAC, count=200,
            size="60-1514", id=10 + i, rate=10000).result()
    got = wire.receive(400)
    assert len(got) == 400 and all(f.good for f in got)

    def sent():
        n = [q["tx_frames"] for q in nic(daemon)["queues"]]
        return min(n) >= 200 if len(workers) == 2 else n[0] >= 400
    wait_for(sent, 5, lambda: f"frames through the queues: {nic(daemon)['queues']}")


@pytest.mark.topology(queues=2)
def test_queue_range(topo, wire):
    """A nic may be told to use some of its queues only."""
    daemon = topo.daemon(1, nics=[{"name": "nic0", "mode": "steered", "first-queue": 1,
                                   "queues": 1}]).start()
    steer_by_cpu(topo.wire, "wire0", 2)
    guest = listen(topo, 0, 50, settle_ms=300)
    for cpu in (0, 1):  # what comes in on queue 0 finds no daemon
        with on_cpu(cpu), Station(topo.wire, "wire0") as sender:
            sender.send_all(frame(guest_mac(0), WIRE_MAC, i, stream=cpu) for i in range(50))
    assert guest.result()["streams"] == 1
    assert [q["queue"] for q in nic(daemon)["queues"]] == [1]
    assert nic(daemon)["verdicts"]["guest-no-daemon"]["frames"] == 50


@pytest.mark.topology(queues=2)
def test_more_workers_than_queues_share_an_uplink(topo, wire):
    """Two workers send through one nic queue at the same time: each frame arrives once."""
    daemon = topo.daemon(2, workers=TWO_WORKERS,
                         nics=[{"name": "nic0", "mode": "steered", "queues": 1}]).start()
    senders = [Vfe(topo, topo.socket(i), "tx", mac=guest_mac(i), dst=WIRE_MAC, count=5000,
                   size="60-1514", id=i, rate=10000, timeout_ms=30000) for i in (0, 1)]
    got = wire.receive(10000, timeout=15)
    for sender in senders:
        sender.result()
    assert sorted((f.stream, f.seq) for f in got) == [(s, i) for s in (0, 1) for i in range(5000)]
    assert all(f.good for f in got)
    for stream in (0, 1):
        assert [f.seq for f in got if f.stream == stream] == list(range(5000))
    assert not from_drops(daemon, "vm0") and not from_drops(daemon, "vm1")


def test_two_workers_feed_one_guest(topo, wire):
    """Guests on different workers, and the nic, fill one receive ring at full speed."""
    daemon = topo.daemon(3, workers=TWO_WORKERS).start()
    guest = listen(topo, 2, 32200, ring=32768, timeout_ms=60000)
    senders = [Vfe(topo, topo.socket(i), "tx", mac=guest_mac(i), dst=guest_mac(2), count=16000,
                   size="60-1514", id=10 + i, ring=1024, timeout_ms=60000) for i in (0, 1)]
    wire.send_all(frame(guest_mac(2), WIRE_MAC, i) for i in range(200))
    for sender in senders:
        sender.result(60)
    result = guest.result(60)
    assert result["streams"] == 3
    wait_for(lambda: min(w["frames"] for w in call(daemon, "worker.list")["workers"]) > 100, 5,
             lambda: f"frames of both workers: {call(daemon, 'worker.list')}")
    assert not to_drops(daemon, "vm2")


def test_two_workers_each_feed_the_other(topo):
    """Crossing traffic between guests of two workers: no deadlock, no loss."""
    daemon = topo.daemon(4, workers=TWO_WORKERS).start()
    pairs = [Vfe(topo, topo.socket(a), "pair", peer_socket=topo.socket(b), mac=guest_mac(a),
                 peer_mac=guest_mac(b), both=True, count=20000, size="60-1514", timeout_ms=60000)
             for a, b in ((0, 1), (2, 3))]
    for pair in pairs:
        pair.result(60)
    assert not any(to_drops(daemon, f"vm{i}") or from_drops(daemon, f"vm{i}") for i in range(4))


@pytest.mark.parametrize("workers", [({"cpu": 0},), TWO_WORKERS], ids=["one", "two"])
def test_broadcast_storm_of_all_guests(topo, wire, workers):
    """Each guest floods while it is flooded: destinations are many, and shared by all workers."""
    daemon = topo.daemon(4, workers=workers).start()
    collector = listen(topo, 3, 6000, ring=32768, timeout_ms=60000)
    senders = [Vfe(topo, topo.socket(i), "tx", mac=guest_mac(i), dst=BROADCAST, count=2000,
                   size="60-1514", id=10 + i, rate=5000, timeout_ms=60000) for i in range(3)]
    got = wire.receive(6000, timeout=20)
    for sender in senders:
        sender.result(60)
    assert collector.result(60)["streams"] == 3
    assert len(got) == 6000 and all(f.good for f in got)
    assert not to_drops(daemon, "vm3")


# ---- queue pairs -------------------------------------------------------------------------------

@pytest.mark.parametrize("workers", [({"cpu": 0},), TWO_WORKERS], ids=["one", "two"])
def test_two_queue_pairs(topo, wire, workers):
    daemon = topo.daemon(2, workers=workers).start()
    for options in ({"queues": 2}, {"queues": 4, "enabled": 2}):
        Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
            peer_mac=guest_mac(1), both=True, count=5000, size="60-1514", timeout_ms=30000,
            **options).result(30)
    guest = listen(topo, 0, 100, queues=2)
    assert port(daemon, "vm0")["queue_pairs"] == 2
    wire.send_all(frame(guest_mac(0), WIRE_MAC, i) for i in range(100))
    guest.result()
    Vfe(topo, topo.socket(0), "tx", mac=guest_mac(0), dst=WIRE_MAC, queues=2, count=100,
        rate=5000).result()
    got = wire.receive(100)
    assert len(got) == 100 and len({f.stream for f in got}) == 2


def test_more_queue_pairs_than_allowed(topo):
    """GET_QUEUE_NUM tells twice the limit: QEMU counts pairs, rust-vmm counts rings."""
    topo.daemon(ports=[topo.port(0, queues=2), topo.port(1, queues=1)]).start()
    for i, limit in ((0, 2), (1, 1)):
        vfe = Vfe(topo, topo.socket(i), "probe", queues=limit)
        assert vfe.ready()["queue_num"] in (2 * limit, 0)
        vfe.result()


# ---- many --------------------------------------------------------------------------------------

def test_sixteen_ports(topo, wire):
    n = 16
    daemon = topo.daemon(n, workers=TWO_WORKERS).start()
    guests = [listen(topo, i, 80, ring=256) for i in range(n)]
    wire.send_all((frame(guest_mac(i), WIRE_MAC, k, stream=1) for k in range(30)
                   for i in range(n)), pause=0.01)
    wire.send_all((frame(BROADCAST, WIRE_MAC, k, stream=2) for k in range(50)), every=16,
                  pause=0.02)
    for guest in guests:
        result = guest.result()
        assert result["group"] == 50
    pairs = [Vfe(topo, topo.socket(i), "pair", peer_socket=topo.socket(n - 1 - i),
                 mac=guest_mac(i), peer_mac=guest_mac(n - 1 - i), both=True, count=1000,
                 size="60-1514", timeout_ms=60000) for i in range(n // 2)]
    for pair in pairs:
        pair.result(60)
    assert len(call(daemon, "port.list")["ports"]) == n


def test_flows_of_real_packets(topo, wire):
    """What is not numbered by us goes through as well: UDP packets of many flows. The guest is
    stopped meanwhile, and told to end before it has looked: what had arrived counts."""
    daemon = topo.daemon(1).start()
    guest = listen(topo, 0, 0)
    guest.process.popen.send_signal(signal.SIGSTOP)
    for i in range(100):
        udp = struct.pack("!HHHH", 1000 + i, 53, 8 + 50, 0) + bytes(50)
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), i, 0, 64, 17, 0,
                         bytes((198, 18, 0, 2)), bytes((198, 18, 0, 11)))
        wire.send(mac_bytes(guest_mac(0)) + mac_bytes(WIRE_MAC) + b"\x08\x00" + ip + udp)
    wait_for(lambda: port(daemon, "vm0")["to_guest"]["frames"] == 100, 5, "all packets")
    guest.process.popen.terminate()
    guest.process.popen.send_signal(signal.SIGCONT)
    result = guest.result()
    assert result["foreign"] == 100 and result["bytes"] == 100 * (14 + 20 + 8 + 50)


# ---- other ways to attach ------------------------------------------------------------------------

def test_generic_xdp(topo, wire):
    """Where a driver has no native mode: the same frames, the same bytes."""
    daemon = topo.daemon(2, nics=[{"name": "nic0", "mode": "steered",
                                   "xdp-mode": "generic"}]).start()
    assert nic(daemon)["xdp_mode"] == "generic"
    sizes = range(60, 1515, 5)
    guest = listen(topo, 0, len(sizes))
    wire.send_all(frame(guest_mac(0), WIRE_MAC, i, size) for i, size in enumerate(sizes))
    assert guest.result()["bytes"] == sum(sizes)
    Vfe(topo, topo.socket(0), "tx", mac=guest_mac(0), dst=WIRE_MAC, count=len(sizes),
        size="60-1514", rate=10000).result()
    got = wire.receive(len(sizes))
    assert len(got) == len(sizes) and all(f.good for f in got)
    assert topo.wire.ping("198.18.0.1") == 3


def test_generic_xdp_miss_drop(topo, wire):
    topo.daemon(2, nics=[{"name": "nic0", "mode": "steered", "xdp-mode": "generic",
                          "miss": "drop"}]).start()
    guests = [listen(topo, i, 20) for i in (0, 1)]
    wire.send_all(frame(BROADCAST, WIRE_MAC, i) for i in range(20))
    for guest in guests:
        assert guest.result()["group"] == 20


@pytest.mark.topology(mtu=3500)
def test_jumbo_frames(topo, wire):
    """Chunks of 4096 bytes: every size up to the MTU, both ways."""
    topo.daemon(2).start()
    sizes = [*range(1500, 3515, 7), 2034, 2035, 2036, 2037, 2048, 3514]
    guest = listen(topo, 0, len(sizes), ring=1024)
    wire.send_all(frame(guest_mac(0), WIRE_MAC, i, size) for i, size in enumerate(sizes))
    assert guest.result()["bytes"] == sum(sizes)
    Vfe(topo, topo.socket(0), "tx", mac=guest_mac(0), dst=WIRE_MAC, count=2015, size="1500-3514",
        rate=10000).result()
    got = wire.receive(2015)
    assert len(got) == 2015 and all(f.good for f in got)


def test_receiver_with_a_thread_of_its_own(topo, wire):
    """Threaded NAPI at the other end: every frame arrives, and the worker lets the thread run."""
    need_veth("only there the other end runs where the frames are sent")
    topo.wire.run("ethtool", "-K", "wire0", "gro", "on")
    if not topo.wire.sysfs("wire0/threaded", 1):
        pytest.skip("this kernel has no threaded NAPI")
    daemon = topo.daemon(1, nics=[{"name": "nic0", "mode": "steered", "napi-busy-poll": 64}]).start()
    Vfe(topo, topo.socket(0), "tx", mac=guest_mac(0), dst=WIRE_MAC, count=5000,
        size="60-1514").result()
    got = wire.receive(5000)
    assert len(got) == 5000 and all(f.good for f in got)
    seen = nic(daemon)
    assert seen["yield"] == "auto" and seen["napi_busy_poll"] == 64
    assert seen["queues"][0]["yields"] > 0 and seen["queues"][0]["kick_lost"] == 0


def test_zero_copy_that_the_driver_has_not(topo):
    """Forced and refused, never silently something else."""
    daemon = topo.daemon(1, nics=[{"name": "nic0", "mode": "steered", "zero-copy": "on"}])
    daemon.start(wait=False)
    text = wait_for(lambda: (lambda t: "zero" in t and t)(daemon.tail()), 10,
                    lambda: f"a reason: {daemon.tail()}")
    assert "nic0" in text
    daemon.kill()
    daemon.process = None


def test_device_name_with_a_dot(topo):
    """A BPF file system has no dots; the folder has a colon instead."""
    veth(topo.host, "nic.100", topo.wire, "wire.100")
    daemon = topo.daemon(nics=[{"name": "nic.100", "mode": "steered"}],
                         ports=[topo.port(0, nic="nic.100")]).start()
    assert (daemon.pin_dir / "nic:100" / "fdb").exists()
    guest = listen(topo, 0, 10)
    with Station(topo.wire, "wire.100") as wire:
        wire.send_all(frame(guest_mac(0), WIRE_MAC, i) for i in range(10))
        guest.result()
    daemon.restart()
    assert nic(daemon, "nic.100")["adopted"]


def test_unfinished_checksums_of_group_frames_are_finished(topo, wire):
    """A broadcast from a stack that leaves checksums to its device: the copy for the guest has
    a complete one (RFC 768)."""
    need_veth("devices finish checksums before they send")
    topo.daemon(1).start()
    topo.wire.run("ethtool", "-K", "wire0", "tx", "on")
    with RawFrontEnd(topo.socket(0)).start() as guest:
        for i in range(4):
            guest.desc(0, i, guest.buffer(i), 2048, DESC_WRITE)
        guest.offer(0, *range(4))
        with inside(topo.wire), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.sendto(b"unfinished business", ("198.18.0.255", 7777))
        guest.wait_used(0, 1)
        data = bytes(guest.mem[BUFFERS + HDR:BUFFERS + HDR + guest.used_len(0, 0) - HDR])
    assert data[:6] == b"\xff" * 6 and data[12:14] == b"\x08\x00" and data[23] == 17
    length = struct.unpack_from("!H", data, 38)[0]
    pseudo = data[26:34] + struct.pack("!HH", 17, length) + data[34:34 + length]
    total = sum(struct.unpack(f"!{(len(pseudo) + 1) // 2}H", pseudo + b"\0" * (len(pseudo) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF and b"unfinished business" in data
