# SPDX-License-Identifier: BSD-2-Clause
"""Full rings, floods, and things that happen at the same time: frames may be dropped where there
is no room, but each is accounted for, once, and none is changed."""
import json
import signal
import time

import pytest

from vx.base import patience, run, wait_for
from vx.topo import guest_mac

import xdp
from vxnet import (BROADCAST, WIRE_MAC, Echo, Station, Vfe, frame, from_drops, nic, port,
                   to_drops, untouched, verdicts, wait_nic)

TWO_WORKERS = ({"cpu": 0}, {"cpu": 1})


def rx_packets(ns, dev):
    link, = json.loads(ns.ip("-j", "-s", "link", "show", "dev", dev).stdout)
    return link["stats64"]["rx"]["packets"]


@pytest.mark.parametrize("workers", [({"cpu": 0},), TWO_WORKERS], ids=["one", "two"])
def test_guests_flood_the_wire(topo, workers):
    """As fast as they can: what they sent is what arrived plus what was counted as dropped."""
    daemon = topo.daemon(2, workers=workers).start()
    before = rx_packets(topo.wire, "wire0")
    guests = [Vfe(topo, topo.socket(i), "tx", mac=guest_mac(i), dst=WIRE_MAC, count=50000,
                  size="60-1514", id=i, timeout_ms=60000) for i in (0, 1)]
    for guest in guests:
        assert guest.result(60)["completed"] == 50000

    def account():
        queues = nic(daemon)["queues"]
        return {"sent": sum(q["tx_frames"] for q in queues),
                "lost": sum(q["kick_lost"] for q in queues),
                "dropped": sum(sum(from_drops(daemon, f"vm{i}").values()) for i in (0, 1)),
                "arrived": rx_packets(topo.wire, "wire0") - before}

    def balanced():
        now = account()
        return (now["sent"] + now["dropped"] == 100_000 and
                now["arrived"] + now["lost"] == now["sent"])
    wait_for(balanced, 10, lambda: f"balanced account: {account()}")
    time.sleep(0.1)
    assert balanced(), f"what came later is too much: {account()}"
    assert sum(q["kick_error"] for q in nic(daemon)["queues"]) == 0
    assert set(from_drops(daemon, "vm0")) <= {"nic-full"}


def test_wire_floods_a_guest(topo, wire):
    """More than the guest takes: steered = delivered + counted, and what is delivered is whole."""
    daemon = topo.daemon(1).start()
    guest = Vfe(topo, topo.socket(0), "rx", mac=guest_mac(0), expect=1_000_000, ring=64,
                timeout_ms=100_000)
    guest.ready()
    data = [frame(guest_mac(0), WIRE_MAC, k, 60 + k % 1455) for k in range(2000)]
    for k in range(20000):
        wire.send(data[k % 2000])  # each number several times: the guest sees doubles

    def account():
        queue = nic(daemon)["queues"][0]
        kernel = queue["kernel"]
        return {"steered": verdicts(daemon)["guest"], "taken": queue["rx_frames"],
                "lost": kernel["rx_dropped"] + kernel["rx_ring_full"],
                "delivered": port(daemon, "vm0")["to_guest"]["frames"],
                "dropped": to_drops(daemon, "vm0").get("no-buffer", 0)}

    def balanced():
        now = account()
        return (now["steered"] - 1 <= now["taken"] + now["lost"] and
                now["taken"] <= now["steered"] and
                now["delivered"] + now["dropped"] == now["taken"])
    wait_for(balanced, 10, lambda: f"balanced account: {account()}")
    time.sleep(0.1)
    assert balanced(), f"what came later is too much: {account()}"
    assert set(to_drops(daemon, "vm0")) <= {"no-buffer"}
    result = guest.finish(ok=None)
    assert result["bad"] == 0 and result["misdirected"] == 0
    assert result["frames"] == port(daemon, "vm0")["to_guest"]["frames"]


@pytest.mark.parametrize("size", [64, 16384])
def test_ring_sizes_of_a_nic(topo, wire, size):
    daemon = topo.daemon(1, nics=[{"name": "nic0", "mode": "steered",
                                   "ring-size": size}]).start()
    guest = Vfe(topo, topo.socket(0), "rx", mac=guest_mac(0), expect=500, ring=1024)
    guest.ready()
    before = nic(daemon)["queues"][0]["rx_frames"]
    for k in range(500):
        wire.send(frame(guest_mac(0), WIRE_MAC, k, 60 + k))
        if k % 16 == 15:
            wait_for(lambda: nic(daemon)["queues"][0]["rx_frames"] - before > k, 5, "the worker")
    guest.result()
    Vfe(topo, topo.socket(0), "tx", mac=guest_mac(0), dst=WIRE_MAC, count=2000,
        size="60-1514").result()
    got = wire.receive(2000)
    assert [f.seq for f in got] == list(range(2000)) and all(f.good for f in got)


def test_flood_past_a_guest_that_takes_nothing(topo, wire):
    """A full ring in the broadcast domain drops for itself only."""
    daemon = topo.daemon(3).start()
    stuck = Vfe(topo, topo.socket(1), "rx", mac=guest_mac(1), expect=1, ring=64,
                timeout_ms=100_000)
    stuck.ready()
    stuck.process.popen.send_signal(signal.SIGSTOP)
    try:
        listener = Vfe(topo, topo.socket(2), "rx", mac=guest_mac(2), expect=500, ring=1024)
        listener.ready()
        Vfe(topo, topo.socket(0), "tx", mac=guest_mac(0), dst=BROADCAST, count=300,
            rate=5000).result()
        # No more than the tap has room for, whenever the worker gets its CPU.
        wire.send_all(frame(BROADCAST, WIRE_MAC, k, stream=2) for k in range(200))
        listener.result()
        wait_for(lambda: to_drops(daemon, "vm1") == {"no-buffer": 500 - 64}, 5,
                 lambda: f"drops of what the ring has no room for: {to_drops(daemon, 'vm1')}")
        assert not to_drops(daemon, "vm2")
        assert len(wire.receive(300)) == 300
    finally:
        stuck.process.popen.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("churn", ["restart", "reset", "reconnect", "disable"])
def test_churn_under_traffic_from_everywhere(topo, wire, churn):
    """Two guests stop and start while the wire and a third guest, on other workers, send to
    them."""
    ports = [topo.port(i, vlan=9 if i > 2 else 0) for i in range(5)]  # no noise for echo
    topo.daemon(ports=ports, workers=TWO_WORKERS).start()
    echo = Echo(topo, topo.socket(3), topo.socket(4), guest_mac(3), guest_mac(4))
    noise = Vfe(topo, topo.socket(2), "tx", mac=guest_mac(2), dst=BROADCAST, rate=3000,
                count=10_000_000, timeout_ms=100_000, id=50)
    noise.ready()
    pair = Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
               peer_mac=guest_mac(1), both=True, count=4000, size="60-1514", churn=churn,
               churn_every=150, churn_hot=True, allow_loss=True, queues=2, timeout_ms=60000)
    k = 0
    while pair.process.alive():
        for i in (0, 1):
            wire.send(frame(guest_mac(i), WIRE_MAC, k, 60 + k % 1400, stream=60 + i))
        k += 1
        time.sleep(0.0005)
    untouched(pair.result(60, ok=None))
    noise.finish(ok=None)
    echo.finish()


def test_device_deleted_under_traffic_of_two_workers(topo):
    """Both workers are inside the same nic queue when it goes."""
    daemon = topo.daemon(4, workers=TWO_WORKERS).start()
    senders = [Vfe(topo, topo.socket(i), "tx", mac=guest_mac(i), dst=WIRE_MAC, id=i,
                   count=100_000_000, timeout_ms=100_000) for i in (0, 1)]
    echo = Echo(topo, topo.socket(2), topo.socket(3), guest_mac(2), guest_mac(3), rate=1000)
    for _ in range(5):
        topo.host.ip("link", "del", "nic0")
        wait_nic(daemon, "absent")
        topo.host.ip("link", "add", "nic0", "type", "veth", "peer", "name", "wire0", "netns",
                     topo.wire.name)
        for ns, dev in ((topo.host, "nic0"), (topo.wire, "wire0")):
            ns.ip("link", "set", dev, "up")
        wait_nic(daemon, "up")
        with Station(topo.wire, "wire0") as wire:
            got = wire.receive(100, timeout=5, settle=0)
            assert len(got) >= 100 and all(f.good for f in got)
    for sender in senders:
        sender.finish(ok=None)
    echo.finish()


def test_daemon_ends_under_traffic(topo, wire):
    """SIGTERM, in the middle of everything: status 0, quickly, and the next one serves."""
    daemon = topo.daemon(4, workers=TWO_WORKERS).start()
    for _ in range(5):
        guests = [Vfe(topo, topo.socket(a), "pair", peer_socket=topo.socket(b),
                      mac=guest_mac(a), peer_mac=guest_mac(b), both=True, count=100_000_000,
                      timeout_ms=100_000) for a, b in ((0, 1), (2, 3))]
        for guest in guests:
            guest.ready()
        wire.send_all((frame(guest_mac(0), WIRE_MAC, k) for k in range(200)), pause=0)
        start = time.monotonic()
        daemon.stop()
        assert time.monotonic() - start < 5 * patience()
        for guest in guests:
            guest.kill()
        daemon.start()
    assert nic(daemon)["adopted"]


def test_program_detached_by_force(topo, wire):
    """bpftool link detach: the daemon notices and attaches again."""
    daemon = topo.daemon(1).start()
    guest = Vfe(topo, topo.socket(0), "echo", mac=guest_mac(0), ring=1024)
    guest.ready()
    run("bpftool", "link", "detach", "pinned", daemon.pin_dir / "nic0" / "link")
    topo.host.ip("link", "set", "nic0", "promisc", "on")  # any news of the link makes it look
    wait_for(lambda: xdp.attached(topo.host, "nic0"), 10, "a new attachment")
    wait_nic(daemon, "up")
    wire.send_all(frame(guest_mac(0), WIRE_MAC, k) for k in range(20))
    assert len(wire.receive(20)) == 20
