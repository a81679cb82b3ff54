# SPDX-License-Identifier: BSD-2-Clause
"""The dirty log, announcements, and addresses that move to another host, with a front end that
does what QEMU does in a live migration."""
import mmap
import os
import struct
import time

import pytest

from vx.base import wait_for
from vx.topo import guest_mac

import rawfe as r
from rawfe import GPA, RX, TX, RawFrontEnd
from vxnet import Station, Vfe, frame, mac_bytes, port, wait_port

LOG_ALL, RARP = 1 << 26, 2
PROTOCOL = r.P_MQ | r.P_REPLY_ACK | 1 << 1 | 1 << RARP
SEND_RARP = 19
PAGE = 4096
SLOTS = 128


class Log:
    """A dirty log for all of a front end's memory, shared with the daemon."""

    def __init__(self, fe):
        self.fe, self.size = fe, (GPA + fe.size) // PAGE // 8
        self.fd = os.memfd_create("log")
        fe.fds.append(self.fd)
        os.truncate(self.fd, self.size)
        self.bits = mmap.mmap(self.fd, self.size)
        payload = struct.pack("=QQ", self.size, 0)
        fe.send(r.SET_LOG_BASE, payload, [self.fd])
        assert fe.reply() == (r.SET_LOG_BASE, payload)

    def pages(self):
        """Numbers of the dirty pages, from the start of the front end's memory on."""
        first = GPA // PAGE
        dirty = set()
        for i, byte in enumerate(self.bits[:]):
            dirty |= {8 * i + k - first for k in range(8) if byte >> k & 1}
        return dirty

    def fetch(self, replica):
        """What a front end does with a log that nobody writes any more. Returns the pages."""
        dirty = self.pages()
        for page in dirty:
            replica[page * PAGE:(page + 1) * PAGE] = self.fe.mem[page * PAGE:(page + 1) * PAGE]
        return dirty


class Guest(RawFrontEnd):
    """A receiver that gives its buffers back, in the order in which they were used."""

    def begin(self):
        self.start(features=r.F_VERSION_1 | r.F_MRG_RXBUF | r.F_PROTOCOL, protocol=PROTOCOL)
        self.taken = 0
        for i in range(SLOTS):
            self.desc(RX, i, self.buffer(i), 2048, r.DESC_WRITE)
        self.offer(RX, *range(SLOTS))
        return self

    def recycle(self):
        """Returns how many buffers were used since the last time."""
        idx, heads = self.used_idx(RX), []
        while self.taken != idx:
            pos = self.taken % self.num
            heads.append(struct.unpack_from("=I", self.mem, self.at(RX)[2] + 4 + 8 * pos)[0])
            self.taken = (self.taken + 1) & 0xFFFF
        if heads:
            self.offer(RX, *heads)
        return len(heads)

    def receive(self, n, timeout=10):
        """Until n more buffers were used."""
        got = 0

        def enough():
            nonlocal got
            got += self.recycle()
            return got >= n
        wait_for(enough, timeout, lambda: f"{n} buffers; {got} came", every=0.002)

    def set_features(self, bits):
        assert self.ack(r.SET_FEATURES, struct.pack("=Q", self.features | bits)) == 0

    def stop(self):
        for ring in (RX, TX):
            self.stop_ring(ring)


def own_pages(fe):
    """Pages that the guest itself writes, descriptors and available rings."""
    return {offset // PAGE for ring in (RX, TX) for offset in fe.at(ring)[:2]}


def test_memory_is_copied_under_traffic(topo, wire):
    """As a front end migrates: all of the memory once, then what the log names, again and again,
    with a new log each time; what is written after the rings were stopped is nothing. The copy
    must be the memory."""
    topo.daemon(2).start()
    with Guest(topo.socket(0)) as fe:
        fe.begin()
        sender = Vfe(topo, topo.socket(1), "tx", mac=guest_mac(1), dst=guest_mac(0), rate=20000,
                     count=100_000_000, size="60-1514", timeout_ms=100_000)
        sender.ready()
        fe.receive(200)
        log = Log(fe)
        fe.set_features(LOG_ALL)
        replica = bytearray(fe.mem[:])
        for _ in range(8):
            fe.receive(300)
            old, log = log, Log(fe)
            dirty = old.fetch(replica)
            assert dirty and max(dirty) < fe.size // PAGE
        fe.receive(300)
        fe.stop()
        last = log.fetch(replica)
        assert fe.at(RX)[2] // PAGE in last, "the used ring is dirty"
        # SLOTS buffers on as many half pages, and the rings: the rest was never written.
        assert len(last) <= SLOTS // 2 + 8
        for page in own_pages(fe):
            replica[page * PAGE:(page + 1) * PAGE] = fe.mem[page * PAGE:(page + 1) * PAGE]
        assert replica == fe.mem[:], "pages that differ: " + str(
            [p for p in range(fe.size // PAGE)
             if replica[p * PAGE:(p + 1) * PAGE] != fe.mem[p * PAGE:(p + 1) * PAGE]])
        sender.finish(ok=None)


def test_cancelled(topo, wire):
    """Logging is switched off under traffic: the rings go on, nothing is logged, the log can go."""
    daemon = topo.daemon(2).start()
    with Guest(topo.socket(0)) as fe:
        fe.begin()
        sender = Vfe(topo, topo.socket(1), "tx", mac=guest_mac(1), dst=guest_mac(0), rate=20000,
                     count=100_000_000, timeout_ms=100_000)
        sender.ready()
        for _ in range(3):
            log = Log(fe)
            fe.set_features(LOG_ALL)
            assert "LOG_ALL" in port(daemon, "vm0")["features"]
            fe.receive(200)
            assert log.pages()
            fe.set_features(0)
            log.bits[:] = bytes(log.size)
            fe.receive(200)
            assert not log.pages()
            os.truncate(log.fd, 0)
        fe.receive(200)
        assert port(daemon, "vm0")["state"] == "running"
        sender.finish(ok=None)


def test_log_that_is_cut_off(topo, wire):
    """The front end truncates the log under traffic (SIGBUS): that connection ends, the other
    guest does not notice."""
    daemon = topo.daemon(2).start()
    with Guest(topo.socket(0)) as fe:
        fe.begin()
        log = Log(fe)
        fe.set_features(LOG_ALL)
        sender = Vfe(topo, topo.socket(1), "tx", mac=guest_mac(1), dst=guest_mac(0), rate=10000,
                     count=100_000_000, timeout_ms=100_000)
        sender.ready()
        fe.receive(100)
        os.truncate(log.fd, 0)
        assert fe.hung_up()
        now = wait_port(daemon, "vm0", state="listening")
        assert "dirty log disappeared" in now["last_error"]
        before = port(daemon, "vm1")["from_guest"]["frames"]
        wait_for(lambda: port(daemon, "vm1")["from_guest"]["frames"] > before + 100, 5,
                 "frames of the sender")
        sender.finish(ok=None)


# ---- announcements -------------------------------------------------------------------------------

def rarp(mac):
    mac = mac_bytes(mac)
    return (b"\xff" * 6 + mac + bytes.fromhex("8035 0001 0800 06 04 0003") + mac + bytes(4) + mac
            + bytes(4)).ljust(60, b"\0")


def announce(fe, mac):
    """0, or a failure."""
    return fe.ack(SEND_RARP, mac_bytes(mac) + b"\0\0")


def test_announcement(topo, wire):
    """On the wire and to the other guests; as often as a migration needs, not as a flood."""
    daemon = topo.daemon(3).start()
    with Guest(topo.socket(0)) as fe, Guest(topo.socket(1)) as other:
        fe.begin()
        other.begin()
        assert announce(fe, guest_mac(0)) == 0
        assert [f.data[:60] for f in wire.receive(1, ours=False)] == [rarp(guest_mac(0))]
        other.wait_used(RX, 1)
        buf = r.BUFFERS + r.HDR
        assert other.mem[buf:buf + 60] == rarp(guest_mac(0))
        assert fe.used_idx(RX) == 0, "not to the guest itself"
        # Any address of one station without own-macs-only; the network is not flooded.
        begun = time.monotonic()
        taken = sum(announce(fe, "52:54:00:00:00:77") == 0 for _ in range(100))
        assert 10 <= taken <= 17 + 10 * (time.monotonic() - begun)
        assert len(wire.receive(taken, ours=False)) == taken
        assert "too many announcements" in port(daemon, "vm0")["last_error"]
        for mac in ("00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"):
            assert announce(fe, mac) == 1
        assert wire.receive(timeout=0.1, ours=False) == []


def test_announcement_of_own_addresses_only(topo, wire):
    daemon = topo.daemon(ports=[topo.port(0, **{"own-macs-only": True})]).start()
    with Guest(topo.socket(0)) as fe:
        fe.begin()
        assert announce(fe, guest_mac(1)) == 1
        assert "own-macs-only" in port(daemon, "vm0")["last_error"]
        assert announce(fe, guest_mac(0)) == 0
        assert [f.data[:60] for f in wire.receive(1, ours=False)] == [rarp(guest_mac(0))]


def test_announcement_without_rings(topo, wire):
    """Nobody there to announce: nothing is sent, and nothing breaks."""
    topo.daemon(1).start()
    with RawFrontEnd(topo.socket(0)) as fe:
        fe.negotiate(protocol=PROTOCOL)
        assert announce(fe, guest_mac(0)) == 0
        assert wire.receive(timeout=0.2, ours=False) == []


# ---- from host to host ---------------------------------------------------------------------------

@pytest.mark.topology(far=True)
def test_addresses_move_with_the_guest(topo):
    """vm0 stops here and starts on the far host. vm1, which stays, reaches it here, then there, then
    here again; the bridge between them learns from the announcements."""
    near = topo.daemon(2).start()
    far_socket = topo.workdir / "far-vm0.sock"
    far = topo.daemon(ports=[topo.port(0, socket=str(far_socket))], ns=topo.far).start()
    sender = Vfe(topo, topo.socket(1), "tx", mac=guest_mac(1), dst=guest_mac(0), rate=2000,
                 count=100_000_000, timeout_ms=100_000)
    sender.ready()
    with Station(topo.wire, "wire1") as far_wire:
        for path, here, there in ((topo.socket(0), near, far), (far_socket, far, near),
                                  (topo.socket(0), near, far)):
            with Guest(path) as fe:
                fe.begin()
                assert announce(fe, guest_mac(0)) == 0
                fe.receive(500)
                assert port(here, "vm0")["up"] and not port(there, "vm0")["up"]
                fe.transmit(frame("02:00:00:00:0e:0e", guest_mac(0)), slot=SLOTS)
                if here is far:
                    wait_for(lambda: far_wire.receive(1), 5, "its frame on the wire")
                fe.stop()
                assert not port(here, "vm0")["up"]
            wait_port(here, "vm0", state="listening")
    assert port(near, "vm1")["state"] == "running"
    sender.finish(ok=None)
