# SPDX-License-Identifier: BSD-2-Clause
"""Who serves what: sources that go from worker to worker, by hand and by load, and the share of
each."""
import itertools
import time

import pytest

from vx import base
from vx.base import wait_for
from vx.topo import guest_mac

from vxnet import WIRE_MAC, Echo, Flood, Vfe, call, frame, nic, port, tx_ring, wait_port

TWO_WORKERS = ({"cpu": 0}, {"cpu": 1})


def worker_of(daemon, name, pair=0):
    return tx_ring(daemon, name, pair)["worker"]


def moves(daemon, seconds, *sources):
    """Move sources, (method, name, queue), from worker to worker; how often."""
    end = time.monotonic() + seconds
    for n in itertools.count():
        method, name, queue = sources[n % len(sources)]
        call(daemon, method, name=name, queue=queue, worker=n // len(sources) % 2)
        if time.monotonic() > end and n > 50:
            return n


@pytest.mark.parametrize("layout", ["split", "packed"])
def test_moving_rings_loses_nothing(topo, layout):
    """Two guests exchange frames as fast as they can while their rings go from worker to worker:
    all arrive, once, in order."""
    daemon = topo.daemon(2, workers=TWO_WORKERS).start()
    packed = {"packed": True} if layout == "packed" else {}
    pair = Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
               peer_mac=guest_mac(1), both=True, count=100_000_000, timeout_ms=600_000,
               size="64-1500", **packed)
    pair.ready()
    n = moves(daemon, 2, ("port.move", "vm0", 0), ("port.move", "vm1", 0))
    result = pair.finish(ok=None)
    print(f"{n} moves, {result['good']} + {result['peer']['good']} frames")
    for side, other in ((result, result["peer"]), (result["peer"], result)):
        assert side["good"] == other["sent"] > 1000, result
        for bad in ("bad", "lost", "duplicates", "reordered", "misdirected", "faults"):
            assert side[bad] == 0, (bad, result)


@pytest.mark.topology(queues=2)
def test_moving_keeps_order_on_the_wire(topo, wire):
    """Each worker has a queue of the nic for itself: frames on the old one leave before those on
    the new one. And a queue of the nic goes from worker to worker with frames for the guest."""
    daemon = topo.daemon(2, workers=TWO_WORKERS, placement="static").start()
    assert len(nic(daemon)["queues"]) == 2
    sender = Vfe(topo, topo.socket(0), "tx", mac=guest_mac(0), dst=WIRE_MAC, count=10_000,
                 rate=8000, size="60-1514", timeout_ms=60_000)
    receiver = Vfe(topo, topo.socket(1), "rx", mac=guest_mac(1), expect=2000, ring=4096,
                   timeout_ms=60_000)
    receiver.ready()
    sender.ready()
    moves(daemon, 0.5, ("port.move", "vm0", 0))
    batches = [[frame(guest_mac(1), WIRE_MAC, k + i) for i in range(20)]
               for k in range(0, 2000, 20)]
    for k, batch in enumerate(batches):
        wire.send_all(batch, every=20)
        call(daemon, "nic.move", name="nic0", queue=k % 2, worker=k // 2 % 2)
        call(daemon, "port.move", name="vm0", queue=0, worker=k % 2)
    assert sender.result(60)["completed"] == 10_000
    got = wire.receive(10_000)
    assert [f.seq for f in got] == list(range(10_000)) and all(f.good for f in got)
    result = receiver.result(60)
    for bad in ("bad", "lost", "duplicates", "reordered"):
        assert result[bad] == 0, (bad, result)


def test_moves_that_are_refused(topo):
    daemon = topo.daemon(1, workers=TWO_WORKERS).start()
    for method, params, why in (
            ("port.move", {"name": "vm0", "queue": 0, "worker": 2}, "there is no worker 2"),
            ("port.move", {"name": "vm7", "queue": 0, "worker": 1}, "there is no port 'vm7'"),
            ("port.move", {"name": "vm0", "queue": 8, "worker": 1}, "no queue pair 8"),
            ("nic.move", {"name": "nic1", "queue": 0, "worker": 1}, "there is no nic 'nic1'"),
            ("nic.move", {"name": "nic0", "queue": 1, "worker": 1}, "no queue 1 now"),
            ("nic.move", {"name": "nic0", "queue": -1, "worker": 1}, "params are"),
            ("port.move", {"name": "vm0"}, "params are")):
        with pytest.raises(RuntimeError, match=why):
            call(daemon, method, **params)
    # A ring that does not run yet keeps the place it is given.
    call(daemon, "port.move", name="vm0", queue=0, worker=1)
    guest = Vfe(topo, topo.socket(0), "echo", mac=guest_mac(0))
    guest.ready()
    assert worker_of(daemon, "vm0") == 1
    assert "port vm0 q0" in call(daemon, "worker.list")["workers"][1]["queues"]
    assert "port vm0 q0" in daemon.ctl_text("worker", "show", "1")
    assert "served by worker 0" in daemon.ctl_text("port", "move", "vm0", "0", "0")
    assert worker_of(daemon, "vm0") == 0


def test_pinned_ports(topo):
    """`worker` names the CPU of the worker; the others begin by number."""
    ports = [topo.port(0, worker=1), topo.port(1, worker=0), topo.port(2)]
    daemon = topo.daemon(ports=ports, workers=TWO_WORKERS).start()
    for i in range(3):
        Vfe(topo, topo.socket(i), "echo", mac=guest_mac(i), queues=2).ready()
    assert [worker_of(daemon, f"vm{i}", pair) for i in range(3) for pair in range(2)] == \
        [1, 1, 0, 0, 0, 1]


def test_port_moves_from_an_overloaded_worker(topo):
    """Two guests of worker 0 send as fast as it can take it. One of them goes to the other worker,
    once, and each frame of theirs is taken once. A quiet pair of the same worker loses none, and
    has them in order."""
    quiet, loud = (4, 6), ("vm0", "vm2")
    ports = [topo.port(i, queues=1) for i in range(7)]
    daemon = topo.daemon(ports=ports, nics=[{"name": "nic0", "mode": "internal"}],
                         workers=TWO_WORKERS).start()
    echo = Echo(topo, *(topo.socket(i) for i in quiet), *(guest_mac(i) for i in quiet), rate=500)
    with Flood(topo.socket(0), size=4 << 20) as a, Flood(topo.socket(2), size=4 << 20) as b:
        floods = [guest.start() for guest in (a, b)]

        def places():
            for flood in floods:
                flood.refill()
            return {worker_of(daemon, name) for name in loud}
        wait_for(lambda: places() == {0, 1}, 30,
                 lambda: f"a move; workers: {call(daemon, 'worker.list')}", every=0.02)
        assert "moves to worker 1" in daemon.log.read_text()
        for _ in range(100):  # nothing goes back and forth
            assert places() == {0, 1}
            time.sleep(0.02)
        for flood, name in zip(floods, loud):
            base_ = flood.avail_idx[1]
            wait_for(lambda f=flood, end=base_: f.used_idx(1) == end, 30, "end of the flood")
            taken = flood.taken + ((flood.used_idx(1) - flood.taken) & 0xFFFF)
            print(f"{name}: {taken} frames")
            wait_for(lambda n=name: port(daemon, n)["from_guest"]["frames"] >= taken, 5,
                     "counted frames")
            done = port(daemon, name)["from_guest"]
            assert done["frames"] == done["drops"]["no-route"] == taken
    echo.finish()
    text = daemon.log.read_text()
    assert text.count("moves to worker") == 1, text


def test_flood_leaves_others_their_share(topo, wire):
    """One guest floods the wire, another one sends at a modest rate there, a third one to a fourth:
    all of their frames arrive, soon."""
    daemon = topo.daemon(4).start()
    flood = Vfe(topo, topo.socket(0), "tx", mac=guest_mac(0), dst=WIRE_MAC, id=1,
                count=100_000_000, timeout_ms=100_000)
    flood.ready()
    echo = Echo(topo, topo.socket(2), topo.socket(3), guest_mac(2), guest_mac(3), rate=500)
    start = time.monotonic()
    modest = Vfe(topo, topo.socket(1), "tx", mac=guest_mac(1), dst=WIRE_MAC, id=7, count=1000,
                 rate=1000, timeout_ms=60_000)
    assert modest.result(60)["completed"] == 1000
    took = time.monotonic() - start
    flood.finish(ok=None)
    echo.finish(least=100)
    counts = {name: wait_port(daemon, name, state="listening")["from_guest"]
              for name in ("vm0", "vm1")}
    print(f"{took:.2f} s; {counts}")
    assert counts["vm1"]["frames"] == 1000 and not any(counts["vm1"]["drops"].values())
    assert counts["vm0"]["frames"] > 5000
    assert took < 5 * base.patience()
