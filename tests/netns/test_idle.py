# SPDX-License-Identifier: BSD-2-Clause
"""What an idle daemon costs: no CPU time, and little memory. And that it wakes up."""
import os
import re
import struct
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from vx import base
from vx.base import wait_for
from vx.topo import guest_mac

import rawfe as r
from rawfe import DESC_WRITE, RawFrontEnd
from vxnet import BROADCAST, WIRE_MAC, Vfe, call, frame, wait_port

TWO_WORKERS = ({"cpu": 0}, {"cpu": 1})


@pytest.mark.parametrize("n", [2, 64])
def test_idle_daemon_uses_no_cpu(topo, wire, n):
    """Ten seconds with n connected guests whose rings run: less than half a clock tick, user and
    system. (The kernel's count of whole ticks depends on what was used before.)
    The first frame afterwards arrives, from the wire and from a guest."""
    if "thread" in base.sanitized():
        raise base.Skip("ThreadSanitizer has a thread of its own that wakes up")
    daemon = topo.daemon(n, workers=TWO_WORKERS).start()
    with ExitStack() as stack:
        guests = [stack.enter_context(RawFrontEnd(topo.socket(i), size=1 << 20)).start()
                  for i in range(n)]
        for guest in guests:
            guest.desc(0, 0, guest.buffer(9), 2048, DESC_WRITE)
            guest.desc(0, 1, guest.buffer(10), 2048, DESC_WRITE)
            guest.offer(0, 0, 1)
        wire.send(frame(BROADCAST, WIRE_MAC))
        for guest in guests:
            guest.wait_used(0, 1)
        wait_for(lambda: all(w["state"] == "sleeping" for w in call(daemon, "show")["workers"]),
                 5, "sleeping workers")
        # What the kernel accounts late for the work before is let pass.
        wait_for(lambda: daemon.idle_ticks(0.3)[0] == 0, 5, "quiet")
        ticks, nanoseconds = daemon.idle_ticks(10)
        print(f"{n} ports: {ticks} ticks, {nanoseconds} ns in 10 s")
        assert nanoseconds < 5_000_000
        for i in (0, n - 1):
            wire.send(frame(guest_mac(i), WIRE_MAC, i))
            guests[i].wait_used(0, 2)
            guests[i].transmit(frame(WIRE_MAC, guest_mac(i), i))
            assert [f.seq for f in wire.receive(1, settle=0.01)] == [i]


def test_sleeping_receiver_is_woken_each_time(topo, wire):
    """One frame at a time with pauses in which everybody falls asleep: no wake-up is missed, in
    either direction, with and without EVENT_IDX."""
    topo.daemon(2).start()
    for features in ("all", "-event_idx"):
        pair = Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
                   peer_mac=guest_mac(1), both=True, count=300, window=1, rate=300,
                   interrupts=True, features=features, timeout_ms=30000)
        result = pair.result(30)
        assert result["calls"] > 50 and result["kicks"] > 50
    guest = Vfe(topo, topo.socket(0), "echo", mac=guest_mac(0), interrupts=True)
    guest.ready()
    for k in range(100):
        wire.send(frame(guest_mac(0), WIRE_MAC, k))
        got = wire.receive(1, settle=0.002)
        assert [f.seq for f in got] == [k]


def test_memory_with_two_ports(topo, wire):
    """Own memory (frame pools, tables, code) stays below 24 MiB, guests' memory not counted."""
    if base.sanitized():
        raise base.Skip("a sanitizer's shadow memory counts, too")
    daemon = topo.daemon(2).start()
    Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
        peer_mac=guest_mac(1), both=True, count=20000, size="60-1514").result(30)
    guest = Vfe(topo, topo.socket(0), "echo", mac=guest_mac(0), ring=1024)
    guest.ready()
    other = Vfe(topo, topo.socket(1), "echo", mac=guest_mac(1), ring=1024)
    other.ready()
    for i in (0, 1):
        wire.send_all(frame(guest_mac(i), WIRE_MAC, k, 1514) for k in range(1000))
    used = daemon.own_memory()
    print(f"{used / (1 << 20):.1f} MiB")
    assert used < 24 << 20


def test_memory_does_not_grow(topo):
    """Hundreds of guests that come and go leave nothing behind."""
    if base.sanitized():
        raise base.Skip("a sanitizer keeps freed memory for a while; it looks for leaks itself")
    daemon = topo.daemon(2).start()

    def lives(n):
        for k in range(n):
            with RawFrontEnd(topo.socket(k % 2), size=1 << 20) as guest:
                guest.start()
                guest.transmit(bytes(64))
                guest.send(r.SET_MEM_TABLE, guest.table((r.GPA, 1 << 20, r.UVA, 0)),
                           [guest.memfd])
                guest.ask_u64(r.GET_FEATURES)
            wait_port(daemon, f"vm{k % 2}", state="listening")
    lives(50)
    before = daemon.own_memory()
    lives(300)
    grown = daemon.own_memory() - before
    print(f"{grown >> 10} KiB after 300 lives")
    assert grown < 512 << 10


def waits_for(pid):
    """What the daemon's only worker would be woken by: the links of the descriptors in its epoll
    set. The control thread's set has timers in it."""
    proc = Path(f"/proc/{pid}")
    for path in (proc / "fdinfo").iterdir():
        with suppress(FileNotFoundError):
            fds = re.findall(r"^tfd:\s+(\d+)", path.read_text(), re.MULTILINE)
            links = sorted(os.readlink(proc / "fd" / fd) for fd in fds)
            if links and not any("timerfd" in link for link in links):
                return links
    raise AssertionError("no epoll set of a worker")


def test_busy_worker_does_not_listen(topo, wire):
    """Under load the nic's socket is in no epoll set; before the worker sleeps it is back."""
    daemon = topo.daemon(1, **{"busy-poll-us": 500000}).start()

    def worker():
        return call(daemon, "show")["workers"][0]

    def sleeping():
        return wait_for(lambda: worker()["state"] == "sleeping", 10, "a sleeping worker")

    def set_after_load(guest):
        """None if the worker has slept meanwhile, as it may on a slow machine."""
        before = worker()["sleeps"]
        for i in range(100):
            guest.transmit(frame(WIRE_MAC, guest_mac(0), i))
        found = waits_for(daemon.pid)
        return found if worker()["sleeps"] == before else None

    with RawFrontEnd(topo.socket(0)).start() as guest:
        guest.desc(0, 0, guest.buffer(9), 2048, DESC_WRITE)
        guest.offer(0, 0)
        guest.transmit(frame(WIRE_MAC, guest_mac(0)))
        sleeping()
        asleep = waits_for(daemon.pid)
        busy = wait_for(lambda: set_after_load(guest), 30, "a worker that does not sleep")
        gone = [link for link in asleep if link not in busy]
        assert len(gone) == 1 and gone[0].startswith("socket:")
        sleeping()
        assert waits_for(daemon.pid) == asleep
        wire.send(frame(guest_mac(0), WIRE_MAC))
        guest.wait_used(0, 1)


@pytest.mark.parametrize("features", [0, r.F_RING_PACKED], ids=["split", "packed"])
def test_guests_kick_sleepers_only(topo, features):
    """A guest without event index is asked for kicks before the worker sleeps, and told to save them
    once its frames come, though SET_VRING_ENABLE gives the ring another map in between, while the
    worker is awake for another guest."""
    daemon = topo.daemon(2, **{"busy-poll-us": 1_000_000}).start()

    def told():
        """0: kick; 1: do not. Flags of the used ring, or of the device event structure."""
        at = fe.at(r.TX)[2] + (2 if features else 0)
        return struct.unpack_from("=H", fe.mem, at)[0]

    def send(slot):
        data = bytes(r.HDR) + frame(WIRE_MAC, guest_mac(0), slot)
        if not features:
            fe.transmit(data[r.HDR:])
            return
        fe.slot(r.TX, slot, fe.buffer(slot, data), len(data), id_=slot)
        fe.ring_bell(r.TX)
        fe.wait_slot(r.TX, slot, slot)

    def state():
        return call(daemon, "worker.list")["workers"][0]["state"]
    usual = r.F_VERSION_1 | r.F_MRG_RXBUF | r.F_PROTOCOL
    with RawFrontEnd(topo.socket(0)).start(features=usual | features) as fe, \
            RawFrontEnd(topo.socket(1)).start() as other:
        for slot in range(2):
            wait_for(lambda: state() == "sleeping" and told() == 0, 5,
                     "sleeping worker that wants kicks")
            other.transmit(frame(WIRE_MAC, guest_mac(1)))
            for on in (0, 1):
                assert fe.ack(r.SET_VRING_ENABLE, struct.pack("=II", r.TX, on)) == 0
            time.sleep(0.02)  # it looks at the ring, and finds the other map
            send(slot)
            wait_for(lambda: told() == 1, 0.3, "word that kicks are not wanted", every=0.001)
