# SPDX-License-Identifier: BSD-2-Clause
"""Rings and memory that break the rules, seen from the outside: that ring, or that port, is given
up with the reason told, while two other guests exchange frames without loss; and when the front
end has gone, no descriptor and no mapping of its memory is left."""
import ctypes
import fcntl
import os
import random
import struct
import time
from contextlib import suppress

import pytest

from vx.base import wait_for
from vx.topo import guest_mac

import rawfe as r
from rawfe import DESC_INDIRECT, DESC_NEXT, DESC_WRITE, GPA, HDR, RX, TX, UVA
from vxnet import (BROADCAST, WIRE_MAC, Vfe, frame, on_trial, port, queue, send_to_vm0,
                   start_again, to_drops, wait_given_up, wait_port, wait_ring_given_up)

SIZE = 4 << 20


@pytest.fixture
def fe(lab):
    with on_trial(lab, SIZE) as front_end:
        yield front_end
    works(lab)


def works(lab):
    """The port serves the next front end."""
    guest = Vfe(lab, lab.socket(0), "echo", mac=guest_mac(0))
    guest.ready()
    while lab.station.receive(timeout=0.01):
        pass
    lab.station.send_all(frame(guest_mac(0), WIRE_MAC, k) for k in range(5))
    assert len(lab.station.receive(5, settle=0.02)) == 5
    guest.finish()


def chain(fe, ring, *descs):
    """Descriptors 0, 1, ... as given, and the head offered."""
    for i, (gpa, length, flags, nxt) in enumerate(descs):
        fe.desc(ring, i, gpa, length, flags, nxt)
    fe.offer(ring, 0)


def table(fe, slot, *descs):
    """An indirect table in a buffer; its address."""
    return fe.buffer(slot, b"".join(struct.pack("=QIHH", *d) for d in descs))


IN = GPA + r.BUFFERS  # inside memory

BAD_TX = {
    "head out of range": ("out of range", lambda fe: fe.offer(TX, 256)),
    "head far out of range": ("out of range", lambda fe: fe.offer(TX, 65535)),
    "index ran ahead": ("ran ahead", lambda fe: fe.offer(TX, advance=257)),
    "index ran back": ("ran ahead", lambda fe: (fe.transmit(bytes(64)),
                                               fe.offer(TX, advance=-1 & 0xFFFF))),
    "loop of one": ("chain", lambda fe: chain(fe, TX, (IN, 64, DESC_NEXT, 0))),
    "loop of two": ("chain", lambda fe: chain(fe, TX, (IN, 64, DESC_NEXT, 1),
                                             (IN, 64, DESC_NEXT, 0))),
    "next out of range": ("out of range", lambda fe: chain(fe, TX, (IN, 64, DESC_NEXT, 256))),
    "writable": ("direction", lambda fe: chain(fe, TX, (IN, 64, DESC_WRITE, 0))),
    "second part writable": ("direction", lambda fe: chain(fe, TX, (IN, 12, DESC_NEXT, 1),
                                                           (IN, 64, DESC_WRITE, 0))),
    "address 0": ("outside", lambda fe: chain(fe, TX, (0, 64, 0, 0))),
    "address behind the end": ("outside", lambda fe: chain(fe, TX, (GPA + SIZE, 64, 0, 0))),
    "runs over the end": ("outside", lambda fe: chain(fe, TX, (GPA + SIZE - 63, 64, 0, 0))),
    "starts before memory": ("outside", lambda fe: chain(fe, TX, (GPA - 1, 64, 0, 0))),
    "wraps": ("outside", lambda fe: chain(fe, TX, ((1 << 64) - 32, 64, 0, 0))),
    "endless": ("outside", lambda fe: chain(fe, TX, (IN, 0xFFFFFFFF, 0, 0))),
    "indirect size": ("chain", lambda fe: chain(
        fe, TX, (table(fe, 5, (IN, 64, 0, 0)), 17, DESC_INDIRECT, 0))),
    "indirect empty": ("chain", lambda fe: chain(fe, TX, (IN, 0, DESC_INDIRECT, 0))),
    "indirect outside": ("outside", lambda fe: chain(
        fe, TX, (GPA + SIZE - 8, 16, DESC_INDIRECT, 0))),
    "indirect nested": ("chain", lambda fe: chain(
        fe, TX, (table(fe, 5, (IN, 16, DESC_INDIRECT, 0)), 16, DESC_INDIRECT, 0))),
    "indirect and next": ("chain", lambda fe: chain(
        fe, TX, (table(fe, 5, (IN, 64, 0, 0)), 16, DESC_INDIRECT | DESC_NEXT, 1),
        (IN, 64, 0, 0))),
    "indirect next out of range": ("chain", lambda fe: chain(
        fe, TX, (table(fe, 5, (IN, 64, DESC_NEXT, 9)), 16, DESC_INDIRECT, 0))),
    "indirect loop": ("chain", lambda fe: chain(
        fe, TX, (table(fe, 5, (IN, 64, DESC_NEXT, 1), (IN, 64, DESC_NEXT, 0)), 32,
                 DESC_INDIRECT, 0))),
    "indirect table too long": ("chain", lambda fe: chain(
        fe, TX, (GPA, 65536 * 16, DESC_INDIRECT, 0))),
    "indirect writable": ("direction", lambda fe: chain(
        fe, TX, (table(fe, 5, (IN, 64, DESC_WRITE, 0)), 16, DESC_INDIRECT, 0))),
}


@pytest.mark.parametrize("name", BAD_TX)
def test_transmit_ring(lab, fe, name):
    """The ring is given up; the receive ring of the same guest goes on."""
    why, act = BAD_TX[name]
    fe.start()
    fe.transmit(bytes(64))
    act(fe)
    wait_given_up(lab, TX, why)
    fe.desc(RX, 0, fe.buffer(9), 2048, DESC_WRITE)
    fe.offer(RX, 0)
    lab.station.send(frame(guest_mac(0), WIRE_MAC))
    fe.wait_used(RX, 1)


def test_indirect_without_the_feature(lab, fe):
    fe.start(features=r.F_VERSION_1 | r.F_PROTOCOL)
    chain(fe, TX, (table(fe, 5, (IN, 64, 0, 0)), 16, DESC_INDIRECT, 0))
    wait_given_up(lab, TX, "chain")


BAD_RX = {
    "head out of range": ("out of range", lambda fe: fe.offer(RX, 300)),
    "index ran ahead": ("ran ahead", lambda fe: fe.offer(RX, advance=1000)),
    "loop": ("chain", lambda fe: chain(fe, RX, (IN, 5, DESC_WRITE | DESC_NEXT, 0))),
    "not writable": ("direction", lambda fe: chain(fe, RX, (IN, 2048, 0, 0))),
    "second part not writable": ("direction", lambda fe: chain(
        fe, RX, (IN, 12, DESC_WRITE | DESC_NEXT, 1), (IN, 2048, 0, 0))),
    "outside": ("outside", lambda fe: chain(fe, RX, (GPA + SIZE, 2048, DESC_WRITE, 0))),
    "runs over the end": ("outside", lambda fe: chain(fe, RX, (GPA + SIZE - 100, 2048,
                                                              DESC_WRITE, 0))),
    "too short for the header": ("short", lambda fe: chain(fe, RX, (IN, HDR - 1, DESC_WRITE, 0))),
    "indirect outside": ("outside", lambda fe: chain(fe, RX, (GPA + SIZE, 16, DESC_INDIRECT, 0))),
}


@pytest.mark.parametrize("sender", ["wire", "guest"])
@pytest.mark.parametrize("name", BAD_RX)
def test_receive_ring(lab, fe, name, sender):
    """Whoever has a frame for it finds out; the transmit ring of the same guest goes on."""
    why, act = BAD_RX[name]
    fe.start()
    act(fe)
    send_to_vm0(lab, sender)
    wait_given_up(lab, RX, why)
    fe.transmit(bytes(64))


def test_ring_that_was_given_up_starts_again(lab, fe):
    fe.start()
    fe.offer(TX, 300)
    wait_given_up(lab, TX, "out of range")
    assert fe.stop_ring(TX) == 0
    fe.clear_ring(TX)
    fe.start_ring(TX)
    fe.transmit(bytes(64))
    assert queue(lab, TX)["started"] and queue(lab, TX)["fault"] == "none"


# ---- memory that means other things ------------------------------------------------------------

@pytest.mark.parametrize("where", ["used", "avail", "descriptors", "other ring"])
def test_frames_written_over_the_rings(lab, fe, where):
    """The guest posts its own rings as buffers. It destroys itself, and nobody else."""
    fe.start()
    offset = {"used": fe.at(RX)[2], "avail": fe.at(RX)[1], "descriptors": fe.at(RX)[0],
              "other ring": fe.at(TX)[0]}[where]
    for i in range(64):
        fe.desc(RX, i, GPA + offset, 4096, DESC_WRITE)
    fe.offer(RX, *range(64))
    lab.station.send_all(frame(guest_mac(0), WIRE_MAC, k, 1500) for k in range(64))
    lab.station.send_all(frame(BROADCAST, WIRE_MAC, k, 1500, stream=77) for k in range(64))
    fe.ring_bell(TX)
    assert fe.ask_u64(r.GET_FEATURES)


def test_rings_laid_over_each_other(lab, fe):
    fe.negotiate()
    fe.share_memory()
    for ring in (RX, TX):
        fe.send(r.SET_VRING_NUM, struct.pack("=II", ring, 256))
        fe.send(r.SET_VRING_ADDR, fe.addr(ring, UVA, UVA, UVA))
        fe.kick[ring] = fe.eventfd()
        fe.send(r.SET_VRING_KICK, struct.pack("=Q", ring), [fe.kick[ring]])
        fe.send(r.SET_VRING_ENABLE, struct.pack("=II", ring, 1))
    fe.ask_u64(r.GET_FEATURES)
    for value in (1, 5, 100, 65535):
        fe.write(2, struct.pack("=H", value))
        for ring in (RX, TX):
            fe.ring_bell(ring)
        lab.station.send_all(frame(guest_mac(0), WIRE_MAC, k) for k in range(8))
    assert fe.ask_u64(r.GET_FEATURES)


def test_descriptors_that_change_while_they_are_used(lab, fe):
    """A second processor flips descriptors between valid and not: what was checked is what is
    used, or the ring is given up."""
    fe.start()
    words = [struct.pack("=QIHH", *d) * 64
             for d in ((IN, 100, 0, 0), ((1 << 64) - 50, 0xFFFFFF, DESC_NEXT, 65535))]
    given_up = 0
    with r.meanwhile(lambda k: fe.write(fe.at(TX)[0], words[k & 1])):
        for _ in range(30):
            for _ in range(20):
                fe.offer(TX, *range(64))
                time.sleep(0.0005)
            given_up += start_again(lab, fe)
        wait_ring_given_up(lab, fe, given_up)
    assert fe.ask_u64(r.GET_FEATURES)


def test_memory_table_replaced_under_traffic(lab, fe):
    """Again and again, while frames go in both directions."""
    fe.start()
    fe.ask_u64(r.GET_FEATURES)
    sender = Vfe(lab, lab.socket(1), "tx", mac=guest_mac(1), dst=guest_mac(0), rate=20000,
                 count=10_000_000, timeout_ms=60000)
    sender.ready()
    for i in range(200):
        fe.desc(RX, i, fe.buffer(i + 1), 2048, DESC_WRITE)  # 0 is for sending
    fe.offer(RX, *range(200))
    for k in range(300):
        assert fe.ack(r.SET_MEM_TABLE, fe.table((GPA, SIZE, UVA, 0)), [fe.memfd]) == 0
        if k % 10 == 0:
            fe.transmit(bytes(64))
        if k % 10 == 0:  # what was used, again
            waiting = (fe.avail_idx[RX] - fe.used_idx(RX)) & 0xFFFF
            fe.offer(RX, *range(200 - waiting))
    assert queue(lab, TX)["started"] and queue(lab, RX)["started"]
    sender.finish(ok=None)


@pytest.mark.parametrize("seed", range(8))
def test_random_rings(lab, fe, seed):
    """Noise in descriptors and indices, while the wire sends to the guest."""
    rng, given_up = random.Random(seed), 0
    fe.start()
    for _ in range(40):
        for ring in (RX, TX):
            for i in range(32):
                fe.desc(ring, i, rng.choice([IN, IN + rng.getrandbits(12), GPA, GPA + SIZE - 50,
                                             rng.getrandbits(64)]),
                        rng.choice([0, 1, 12, 64, 1500, 65536, rng.getrandbits(32)]),
                        rng.choice([0, 0, 1, 2, 2, 3, 4, rng.getrandbits(3)]), rng.getrandbits(5))
            fe.write(r.BUFFERS, rng.randbytes(4096))
            fe.offer(ring, *[rng.getrandbits(5) for _ in range(16)],
                     advance=rng.choice([None, None, None, 300]))
        lab.station.send_all(frame(guest_mac(0), WIRE_MAC, k, 1000) for k in range(4))
        fe.ask_u64(r.GET_FEATURES)
        given_up += start_again(lab, fe)
    wait_ring_given_up(lab, fe, given_up)


# ---- descriptors that block --------------------------------------------------------------------

def test_call_descriptor_that_would_block(lab, fe):
    """A full counter, and a file that the front end has made blocking again."""
    fe.start()
    for fd in (fe.call[RX], fe.call[TX]):
        fill(fd)
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_NONBLOCK)
    for i in range(16):
        fe.desc(RX, i, fe.buffer(i + 20), 2048, DESC_WRITE)
    fe.offer(RX, *range(16))
    for _ in range(3):
        fe.transmit(bytes(64))
    lab.station.send_all(frame(guest_mac(0), WIRE_MAC, k) for k in range(10))
    fe.wait_used(RX, 10)
    fe.transmit(bytes(64))
    assert fe.ack(r.SET_VRING_ENABLE, struct.pack("=II", TX, 1)) == 0


def fill(fd):
    """Bring an eventfd's counter to its limit."""
    try:
        os.read(fd, 8)
    except BlockingIOError:
        pass
    os.write(fd, struct.pack("=Q", 0xFFFFFFFFFFFFFFFE))


def test_kick_descriptor_that_is_always_readable(lab, fe):
    """It wakes its worker once, and does not keep it awake."""
    fe.start()
    before, _ = lab.vhost.idle_ticks(1)  # what the two that talk cost
    fill(fe.kick[TX])
    fe.ask_u64(r.GET_FEATURES)
    # What is always readable would keep it awake for ever: 100 ticks each second.
    wait_for(lambda: lab.vhost.idle_ticks(1)[0] < before + 30, 5, "a worker that sleeps again")


# ---- memory that disappears --------------------------------------------------------------------

def post(fe, n=200):
    for i in range(n):
        fe.desc(RX, i, fe.buffer(i), 2048, DESC_WRITE)
    fe.offer(RX, *range(n))


@pytest.mark.parametrize("what", ["receive", "transmit", "idle", "flood"])
def test_truncated_memory(lab, fe, what):
    """The front end cuts its memory file off under traffic (SIGBUS): it loses its connection, with
    the reason told; whoever sent to it goes on."""
    fe.start()
    post(fe)
    if what == "transmit":
        for i in range(128):
            fe.desc(TX, i, fe.buffer(200 + i, bytes(100)), 100)
    # The two that talk get broadcasts, too, and must have room for all until they get their CPU.
    flood = {"dst": BROADCAST, "rate": 200}
    sender = Vfe(lab, lab.socket(1), "tx", mac=guest_mac(1), count=10_000_000, timeout_ms=60000,
                 id=77, **(flood if what == "flood" else {"dst": guest_mac(0), "rate": 10000}))
    sender.ready()
    if what == "idle":
        sender.finish(ok=None)
    time.sleep(0.05)
    # From here on this process must not touch fe.mem, or it dies of the same signal.
    os.ftruncate(fe.memfd, 0)
    fe.ring_bell(TX)
    fe.ring_bell(RX)
    lab.station.send_all(frame(guest_mac(0), WIRE_MAC, k) for k in range(20))
    assert fe.hung_up()
    assert "memory disappeared" in wait_port(lab.vhost, "vm0", state="listening")["last_error"]
    if what != "idle":
        before = port(lab.vhost, "vm1")["from_guest"]["frames"]
        wait_for(lambda: port(lab.vhost, "vm1")["from_guest"]["frames"] > before + 100, 5,
                 "frames of the sender")
        lab.station.send_all(frame(guest_mac(0), WIRE_MAC, k) for k in range(20))
        wait_for(lambda: to_drops(lab.vhost, "vm0").get("no-guest", 0) > 0, 5, "counted drops")
        sender.finish(ok=None)


def test_memory_truncated_before_the_rings_start(lab, fe):
    """The control thread meets the missing page."""
    fe.negotiate()
    fe.share_memory()
    fe.ask_u64(r.GET_FEATURES)
    os.ftruncate(fe.memfd, 0)
    with suppress(OSError):
        fe.start_ring(TX)
        fe.start_ring(RX)
    assert fe.hung_up()
    assert "memory disappeared" in wait_port(lab.vhost, "vm0", state="listening")["last_error"]


def test_memory_truncated_and_grown_again(lab, fe):
    """There is no page for a moment only: lost is lost."""
    fe.start()
    post(fe)
    for _ in range(20):
        lab.station.send_all(frame(guest_mac(0), WIRE_MAC, k) for k in range(8))
        os.ftruncate(fe.memfd, 0)
        os.ftruncate(fe.memfd, SIZE)
    lab.station.send_all(frame(guest_mac(0), WIRE_MAC, k) for k in range(8))


def punch(fd, offset, length):
    """fallocate(): give the pages back, keep the size."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.fallocate(fd, 1 | 2, ctypes.c_long(offset), ctypes.c_long(length)) == 0


def test_hole_in_memory(lab, fe):
    """A punched hole is no loss: it reads as zeros, and the next frame goes where it should."""
    fe.start()
    for k in range(5):
        fe.transmit(bytes(64), slot=k)
        punch(fe.memfd, r.BUFFERS, SIZE - r.BUFFERS)
    post(fe, 8)
    lab.station.send(frame(guest_mac(0), WIRE_MAC, 1))
    fe.wait_used(RX, 1)
    assert queue(lab, TX)["started"]
