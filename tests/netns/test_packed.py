# SPDX-License-Identifier: BSD-2-Clause
"""Packed virtqueues: every kind of traffic that split ones carry, connections that end and come
back, sleeping, and rings that break the rules. The emulated guest judges all that the daemon
writes: flags, identifiers, places, event structures, positions."""
import random
import struct
import time

import pytest

from vx.base import wait_for
from vx.topo import guest_mac

import rawfe as r
from rawfe import (DESC_AVAIL, DESC_INDIRECT, DESC_NEXT, DESC_USED, DESC_WRITE, GPA, HDR, RX, TX,
                   RawFrontEnd)
from vxnet import (BROADCAST, WIRE_MAC, Holdings, Vfe, call, close_guests, frame, on_trial, port,
                   queue, send_to_vm0, start_again, to_drops, untouched, wait_given_up, wait_port,
                   wait_ring_given_up)

SIZE = 4 << 20


@pytest.fixture
def lab(lab):
    """Ports for the test; what it starts on them ends with it, and leaves nothing."""
    holdings = Holdings(lab.vhost)
    try:
        yield lab
    finally:
        close_guests(lab)
    for i in range(4):
        wait_port(lab.vhost, f"vm{i}", state="listening")
    holdings.same()
    while lab.station.receive(timeout=0.01):
        pass


def pair(topo, **options):
    options = {"packed": True, "size": "42-1514", "both": True, "timeout_ms": 30000, **options}
    return Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
               peer_mac=guest_mac(1), **options)


# ---- traffic -----------------------------------------------------------------------------------

# What differs from frame to frame or from guest to guest
SHAPES = {
    "plain": {},
    "any size": {"ring": 243},
    "tiny": {"ring": 2, "window": 1},
    "large": {"ring": 32768, "count": 33000},
    "mixed": {"ring": 199, "tx_mix": True},
    "mixed in order": {"tx_mix": True, "features": "in_order"},
    "no EVENT_IDX": {"ring": 100, "tx_mix": True, "features": "-event_idx"},
    "no INDIRECT_DESC": {"tx_mix": True, "features": "-indirect_desc"},
    "not mergeable": {"features": "-mrg_rxbuf"},
    "merged": {"ring": 1000, "rx_size": 300, "size": "42-9000", "mem": 64, "window": 25},
    "received in chains": {"ring": 255, "rx_pieces": 5, "rx_size": 2100},
    "received through tables": {"rx_pieces": 5, "rx_indirect": True, "rx_hdr_first": True},
    "seven regions": {"regions": 7, "gpa": 0x1000, "gpa_gap": 0x100000, "tx_mix": True},
    "two queue pairs": {"queues": 2, "ring": 300, "tx_mix": True},
    "one of three queue pairs": {"queues": 3, "enabled": 1},
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(lab, name):
    """Both ways between two guests: nothing lost, changed, doubled or overtaken."""
    options = {"count": 6000, "window": 50, **SHAPES[name]}
    result = pair(lab, **options).result(40)
    assert result["good"] == result["peer"]["good"] > 5000


@pytest.mark.parametrize("packed", [0, 1])
def test_split_and_packed_meet(lab, packed):
    """Echoes between guests of either layout, and group frames to both."""
    options = [{"packed": True, "ring": 1000}, {"ring": 1024}]
    echo = Vfe(lab, lab.socket(0), "echo", mac=guest_mac(0), tx_mix=True, **options[packed])
    echo.ready()
    tx = Vfe(lab, lab.socket(1), "tx", mac=guest_mac(1), dst=guest_mac(0), count=900,
             size="60-1514", tx_mix=True, **options[1 - packed])
    tx.result()
    assert queue(lab, RX)["layout"] == ("split" if packed else "packed")
    listener = Vfe(lab, lab.socket(2), "rx", mac=guest_mac(2), expect=50, **options[1 - packed])
    listener.ready()
    lab.station.send_all(frame(BROADCAST, WIRE_MAC, k) for k in range(50))
    assert listener.result()["group"] == 50
    assert echo.finish()["good"] >= 900


def test_wire(lab):
    """Frames of all sizes from the wire, and back; tags are the daemon's business, not the ring's.
    """
    Vfe(lab, lab.socket(0), "echo", mac=guest_mac(0), packed=True, ring=1000).ready()
    sizes = range(64, 1515, 10)
    lab.station.send_all(frame(guest_mac(0), WIRE_MAC, i, size) for i, size in enumerate(sizes))
    got = lab.station.receive(len(sizes))
    assert [f.seq for f in got] == list(range(len(sizes)))
    assert all(f.good and f.dst == WIRE_MAC for f in got)


def test_guest_without_buffers_loses_frames_and_no_more(lab):
    """A receive ring that runs empty, lap after lap. Identifiers are the guest's own affair: any
    comes back."""
    with RawFrontEnd(lab.socket(0), size=SIZE, num=5) as fe:
        start(fe)
        before = to_drops(lab.vhost, "vm0").get("no-buffer", 0)
        positions = [(k % 5, k // 5 % 2 == 0) for k in range(23)]
        for k, (slot, wrap) in enumerate(positions):
            bits = DESC_AVAIL if wrap else DESC_USED
            fe.slot(RX, slot, fe.buffer(9), 2048, DESC_WRITE, id_=k, bits=bits)
            lab.station.send_all(frame(guest_mac(0), WIRE_MAC, i, 100) for i in range(3))
            wait_for(lambda n=k: to_drops(lab.vhost, "vm0").get("no-buffer", 0)
                     == before + 2 * (n + 1), 5, "two frames too many")
            flags = DESC_WRITE | (DESC_AVAIL | DESC_USED if wrap else 0)
            at = fe.at(RX)[0] + 16 * slot
            wait_for(lambda: struct.unpack_from("=QIHH", fe.mem, at)[3] == flags, 5,
                     lambda: f"a used slot: {struct.unpack_from('=QIHH', fe.mem, at)}", every=0.002)
            assert struct.unpack_from("=QIHH", fe.mem, at)[1:3] == (HDR + 100, k)
        assert fe.stop_ring(RX) == 0x80038003


# ---- lives -------------------------------------------------------------------------------------

@pytest.mark.parametrize("churn", ["restart", "reset", "reconnect", "disable"])
def test_churn(lab, churn):
    """Stops and starts between frames: no frame is lost, doubled or reordered, and the daemon's
    positions are those that the ring shows."""
    result = pair(lab, count=3000, churn=churn, churn_every=200, ring=199, tx_mix=True,
                  size="60-1514").result(60)
    assert result["churns"] >= 25
    assert result["lost_at_stop"] == result["peer"]["lost_at_stop"] == 0


@pytest.mark.parametrize("churn", ["restart", "reset", "reconnect", "disable"])
def test_hot_churn(lab, churn):
    """The same in the middle of traffic. What was on the way may be lost, nothing else may
    happen to it."""
    untouched(pair(lab, count=10000, churn=churn, churn_every=300, churn_hot=True, ring=199,
                   allow_loss=True, queues=2, size="60-1514").result(60, ok=None))


@pytest.mark.parametrize("order", ["virtio-user", "cloud-hypervisor"])
def test_other_front_ends(lab, order):
    pair(lab, count=2000, churn="restart", churn_every=500, order=order, ring=77,
         window=50).result(60)


def test_layout_changes_with_the_guest(lab):
    """One connection, the features of another guest at each start."""
    with RawFrontEnd(lab.socket(0), size=SIZE) as fe:
        start(fe)
        for k in range(3):
            for ring in (RX, TX):
                fe.stop_ring(ring)
                fe.clear_ring(ring)
            fe.features ^= r.F_RING_PACKED
            fe.send(r.SET_FEATURES, struct.pack("=Q", fe.features))
            for ring in (RX, TX):
                fe.start_ring(ring)
            fe.ask_u64(r.GET_FEATURES)
            assert queue(lab, TX)["layout"] == ("packed" if k % 2 else "split")
            if k % 2:
                transmit(fe, 0)
            else:
                fe.transmit(bytes(64))


# ---- sleeping ----------------------------------------------------------------------------------

@pytest.mark.parametrize("features", ["event_idx", "-event_idx"])
def test_sleeping_receiver_is_woken_each_time(lab, features):
    """One frame at a time with pauses in which everybody falls asleep: no wake-up is missed, in
    either direction."""
    result = pair(lab, count=300, window=1, rate=300, ring=19, size="64", interrupts=True,
                  features=features).result(30)
    assert result["calls"] > 50 and result["kicks"] > 50


def test_kicks_are_not_wanted_under_load(lab):
    """A ring that has work all the time is kicked now and then, not for each frame."""
    result = pair(lab, count=20000, window=200, size="64").result(40)
    assert result["kicks"] < 10000, result


def test_idle_daemon_uses_no_cpu(lab):
    guests = [RawFrontEnd(lab.socket(i), size=1 << 20) for i in range(4)]
    try:
        for fe in guests:
            start(fe)
            transmit(fe, 0)
        wait_for(lambda: all(w["state"] == "sleeping" for w in call(lab.vhost, "show")["workers"]),
                 5, "sleeping workers")
        wait_for(lambda: lab.vhost.idle_ticks(0.3)[0] == 0, 5, "quiet")
        assert lab.vhost.idle_ticks(2)[1] < 2_000_000
        for fe in guests:
            transmit(fe, 1)
    finally:
        for fe in guests:
            fe.close()


# ---- rings that break the rules ------------------------------------------------------------------

IN = GPA + r.BUFFERS  # inside memory
FEATURES = r.F_VERSION_1 | r.F_MRG_RXBUF | r.F_INDIRECT | r.F_PROTOCOL | r.F_RING_PACKED


def start(fe, features=FEATURES):
    fe.start(features=features)
    return fe


def transmit(fe, slot, id_=7):
    """One frame in a buffer of one slot on the first lap; waits until it was taken."""
    fe.slot(TX, slot, fe.buffer(slot, bytes(HDR + 64)), HDR + 64, id_=id_)
    fe.ring_bell(TX)
    fe.wait_slot(TX, slot, id_)


@pytest.fixture
def fe(lab):
    with on_trial(lab, SIZE) as front_end:
        yield front_end
    pair(lab, count=100, window=10).result()  # the port serves the next guest


def slots(*descs):
    """Slots from 1 on, written from the last to the first."""
    def act(fe, ring):
        for i, (gpa, length, flags) in reversed(list(enumerate(descs, 1))):
            fe.slot(ring, i, gpa, length, flags)
        fe.ring_bell(ring)
    return act


def every_slot(flags):
    def act(fe, ring):
        for i in [*range(fe.num - 1, 1, -1), 0, 1]:  # slot 0 was used already
            fe.slot(ring, i, IN, 64, flags, bits=DESC_AVAIL if i else DESC_USED)
        fe.ring_bell(ring)
    return act


def table(*descs, length=None, flags=0, more=()):
    """One slot with an indirect table in a buffer."""
    def act(fe, ring):
        gpa = fe.buffer(5, b"".join(struct.pack("=QIHH", g, n, 0, f) for g, n, f in descs))
        slots((gpa, 16 * len(descs) if length is None else length, DESC_INDIRECT | flags),
              *more)(fe, ring)
    return act


BAD_TX = {
    "next in every slot": ("chain", every_slot(DESC_NEXT)),
    "writable": ("direction", slots((IN, 64, DESC_WRITE))),
    "second part writable": ("direction", slots((IN, 12, DESC_NEXT), (IN, 64, DESC_WRITE))),
    "empty": ("short", slots((IN, 0, 0))),
    "second part empty": ("short", slots((IN, 64, DESC_NEXT), (IN, 0, 0))),
    "address 0": ("outside", slots((0, 64, 0))),
    "runs over the end": ("outside", slots((GPA + SIZE - 63, 64, 0))),
    "wraps": ("outside", slots(((1 << 64) - 32, 64, 0))),
    "endless": ("outside", slots((IN, 0xFFFFFFFF, 0))),
    "indirect size": ("chain", table((IN, 64, 0), length=17)),
    "indirect empty": ("chain", table(length=0)),
    "indirect outside": ("outside", slots((GPA + SIZE - 8, 16, DESC_INDIRECT))),
    "indirect nested": ("chain", table((IN, 16, DESC_INDIRECT))),
    "indirect and next": ("chain", table((IN, 64, 0), flags=DESC_NEXT, more=((IN, 64, 0),))),
    "indirect table too long": ("chain", table(length=65536 * 16)),
    "indirect, more parts than any frame has": ("chain", table(*[(IN, 1, 0)] * 4000)),
}


@pytest.mark.parametrize("name", BAD_TX)
def test_transmit_ring(lab, fe, name):
    """The ring is given up; the receive ring of the same guest goes on."""
    why, act = BAD_TX[name]
    start(fe)
    transmit(fe, 0)
    act(fe, TX)
    wait_given_up(lab, TX, why)
    fe.slot(RX, 0, fe.buffer(9), 2048, DESC_WRITE, id_=3)
    lab.station.send(frame(guest_mac(0), WIRE_MAC))
    fe.wait_slot(RX, 0, 3)


def test_indirect_without_the_feature(lab, fe):
    start(fe, FEATURES & ~r.F_INDIRECT)
    transmit(fe, 0)
    table((IN, 64, 0))(fe, TX)
    wait_given_up(lab, TX, "chain")


BAD_RX = {
    "next in every slot": ("chain", every_slot(DESC_NEXT | DESC_WRITE)),
    "not writable": ("direction", slots((IN, 2048, 0))),
    "outside": ("outside", slots((GPA + SIZE, 2048, DESC_WRITE))),
    "too short for the header": ("short", slots((IN, HDR - 1, DESC_WRITE))),
}


@pytest.mark.parametrize("sender", ["wire", "guest"])
@pytest.mark.parametrize("name", BAD_RX)
def test_receive_ring(lab, fe, name, sender):
    """Whoever has a frame for it finds out; the transmit ring of the same guest goes on."""
    why, act = BAD_RX[name]
    start(fe)
    fe.slot(RX, 0, fe.buffer(9), 2048, DESC_WRITE, id_=3)
    lab.station.send(frame(guest_mac(0), WIRE_MAC))
    fe.wait_slot(RX, 0, 3)
    act(fe, RX)
    send_to_vm0(lab, sender)
    wait_given_up(lab, RX, why)
    transmit(fe, 0)


def test_ring_that_was_given_up_starts_again(lab, fe):
    start(fe)
    transmit(fe, 0)
    slots((0, 64, 0))(fe, TX)
    wait_given_up(lab, TX, "outside")
    assert fe.stop_ring(TX) == 0x80018001
    fe.slot(TX, 1, 0, 0, bits=0)
    fe.start_ring(TX, start=0x80018001)
    transmit(fe, 1)
    assert queue(lab, TX)["started"] and queue(lab, TX)["fault"] == "none"


@pytest.mark.parametrize("start_at", [256, 0x8100 | 0x80000000, 0xFFFF8000, 0x7FFF0000])
def test_position_behind_the_ring(lab, fe, start_at):
    """Refused with the reason told; the connection goes on, and so does the other ring."""
    start(fe)
    fe.stop_ring(TX)
    fe.start_ring(TX, start=start_at)
    wait_for(lambda: "is no position in a packed ring of 256"
             in (port(lab.vhost, "vm0")["last_error"] or ""), 5,
             lambda: str(port(lab.vhost, "vm0")))
    assert not queue(lab, TX)["started"]


def test_event_structures_full_of_noise(lab, fe):
    """What the guest asks for is its own affair; it gets a call or none."""
    rng = random.Random(1)
    start(fe, FEATURES | r.F_EVENT_IDX)
    for i in range(200):
        fe.write(fe.at(TX)[1], rng.randbytes(4))  # the driver's
        fe.write(fe.at(TX)[2], rng.randbytes(4))  # the device's own
        transmit(fe, i)


def test_slots_that_change_while_they_are_used(lab, fe):
    """A second processor flips slots between valid, not, available and used: what was checked is
    what is used, or the ring is given up."""
    start(fe)
    words = [struct.pack("=QIHH", *d) * 64 for d in (
        (IN, 100, 1, DESC_AVAIL), ((1 << 64) - 50, 0xFFFFFF, 0xFFFF, DESC_AVAIL | DESC_NEXT),
        (IN, 64, 2, DESC_USED), (IN, 64, 3, DESC_USED | DESC_NEXT | DESC_WRITE))]
    given_up = 0
    with r.meanwhile(lambda k: fe.write(fe.at(k >> 2 & 1)[0], words[k & 3])):
        for k in range(20):
            for _ in range(5):
                fe.ring_bell(TX)
                time.sleep(0.0005)
            lab.station.send(frame(guest_mac(0), WIRE_MAC, k))
            given_up += start_again(lab, fe)
        wait_ring_given_up(lab, fe, given_up)
    assert fe.ask_u64(r.GET_FEATURES)


@pytest.mark.parametrize("seed", range(3))
def test_random_rings(lab, fe, seed):
    """Noise in slots and event structures, while the wire sends to the guest."""
    rng, given_up = random.Random(seed), 0
    start(fe)
    for _ in range(40):
        for ring in (RX, TX):
            for i in range(64):
                fe.slot(ring, i, rng.choice([IN, IN + rng.getrandbits(12), GPA, GPA + SIZE - 50,
                                             rng.getrandbits(64)]),
                        rng.choice([0, 1, 12, 64, 1500, 65536, rng.getrandbits(32)]),
                        rng.choice([0, 0, 1, 2, 2, 3, 4, rng.getrandbits(3)]), rng.getrandbits(16),
                        rng.choice([DESC_AVAIL, DESC_AVAIL, DESC_USED, DESC_AVAIL | DESC_USED, 0]))
            fe.write(r.BUFFERS, rng.randbytes(4096))
            fe.ring_bell(ring)
        lab.station.send_all(frame(guest_mac(0), WIRE_MAC, k, 1000) for k in range(4))
        fe.ask_u64(r.GET_FEATURES)
        given_up += start_again(lab, fe)
    wait_ring_given_up(lab, fe, given_up)
