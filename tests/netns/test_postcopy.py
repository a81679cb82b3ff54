# SPDX-License-Identifier: BSD-2-Clause
"""Post-copy migration with a front end that provides pages when it likes: what waits is one guest's
own traffic. The other guests of the same worker go on meanwhile, measured by echoes."""
import fcntl
import mmap
import os
import select
import socket
import struct
import threading
import time
from contextlib import suppress

import pytest

from vx.base import patience, wait_for
from vx.peers import Hugepages
from vx.topo import guest_mac

import rawfe as r
from rawfe import BUFFERS, DESC_WRITE, GPA, HDR, RX, TX, RawFrontEnd
from vxnet import (WIRE_MAC, Holdings, Station, Vfe, frame, port, silence, to_drops, wait_port)

ADVISE, LISTEN, END = 28, 29, 30
P_PAGEFAULT = 1 << 8
UFFDIO_WAKE = 0x8010AA02
SLOTS = 64
BUFFER = 4096  # bytes apart


class LateGuest(RawFrontEnd):
    """A guest that has just been switched over: its memory is `image`, at the source. A thread
    answers faults on ring pages at once, and on others when `generous` is set."""

    def __init__(self, path, page=4096):
        super().__init__(path, size=max(4 << 20, 4 * page))
        self.page, self.buffers = page, max(BUFFERS, page)
        if page > 4096:
            os.close(self.fds.pop())
            self.memfd = os.memfd_create("raw-guest", os.MFD_HUGETLB)
            self.fds.append(self.memfd)
            os.truncate(self.memfd, self.size)
            self.mem = mmap.mmap(self.memfd, self.size)

    def arrive(self):
        self.real = self.mem
        self.image = self.mem = bytearray(self.size)
        self.negotiate(features=r.F_VERSION_1 | r.F_MRG_RXBUF | r.F_PROTOCOL,
                       protocol=r.P_MQ | r.P_REPLY_ACK | P_PAGEFAULT)
        self.generous, self.held, self.delivered = False, [], 0
        self.send(ADVISE)
        head, fds, _flags, _address = socket.recv_fds(self.sock, 12, 1)
        assert struct.unpack("=III", head)[0::2] == (ADVISE, 0)
        self.uffd = fds[0]
        self.fds.append(self.uffd)
        assert self.ack(LISTEN) == 0
        self.share_memory()
        request, data = self.reply()
        assert request == r.SET_MEM_TABLE and len(data) == 40
        self.base = struct.unpack_from("=Q", data, 8 + 16)[0]
        self.send(r.SET_MEM_TABLE, struct.pack("=Q", 0))
        # What the guest left behind: receive buffers, and a frame to be sent, on a page each.
        for i in range(SLOTS):
            self.desc(RX, i, GPA + self.buffers + i * BUFFER, 2048, DESC_WRITE)
        self.kick[RX] = self.kick[TX] = self.eventfd()
        self.avail_idx = {RX: 0, TX: 0}
        self.offer(RX, *range(SLOTS))
        for i in range(SLOTS):
            data = bytes(HDR) + frame(WIRE_MAC, guest_mac(0), i)
            at = self.buffers + (SLOTS + i) * BUFFER
            self.write(at, data)
            self.desc(TX, i, GPA + at, len(data))
        self.offer(TX, *range(SLOTS))
        self.stopping = False
        self.server = threading.Thread(target=self._serve)
        self.server.start()
        for ring in (RX, TX):
            # Before it starts, as QEMU does it: what is in a disabled ring is thrown away.
            self.send(r.SET_VRING_ENABLE, struct.pack("=II", ring, 1))
            self.start_ring(ring, enable=False)
        return self

    def _serve(self):
        while not self.stopping:
            if not select.select([self.uffd], [], [], 0.02)[0]:
                continue
            with suppress(BlockingIOError):
                event, address = struct.unpack_from("=B15xQ", os.read(self.uffd, 32))
                assert event == 0x12
                page = (address - self.base) // self.page
                if page < self.buffers // self.page or self.generous:
                    self.deliver(page)
                else:
                    self.held.append(page)

    def deliver(self, page):
        at, end = page * self.page, (page + 1) * self.page
        self.real[at:end] = self.image[at:end]
        fcntl.ioctl(self.uffd, UFFDIO_WAKE, struct.pack("=QQ", self.base + at, self.page))
        self.delivered += 1

    def is_filled(self, page):
        try:
            return os.lseek(self.memfd, page * self.page, os.SEEK_DATA) == page * self.page
        except OSError:  # no data from there on
            return False

    def deliver_all(self):
        self.generous = True
        while self.held:
            self.deliver(self.held.pop())  # last come, first served

    def close(self):
        self.stopping = True
        if hasattr(self, "server"):
            self.server.join()
        super().close()


@pytest.fixture
def lab(topology):
    with topology("postcopy") as topo:
        silence(topo)
        topo.vhost = topo.daemon(2).start()  # one worker for both guests
        topo.station = topo.add(Station(topo.wire, "wire0"))
        topo.vfe = Vfe(topo, topo.socket(1), "echo", mac=guest_mac(1))
        topo.vfe.ready()
        yield topo


def worst_echo(lab, n=200):
    """The longest of n round trips between the wire and the other guest, in seconds."""
    worst = 0.0
    for i in range(n):
        start = time.monotonic()
        lab.station.send(frame(guest_mac(1), WIRE_MAC, i, stream=7))
        while not any(seen.stream == 7 for seen in lab.station.receive(1, 5, settle=0)):
            assert time.monotonic() - start < 5 * patience(), "the other guest is held up"
        worst = max(worst, time.monotonic() - start)
    return worst


def both_run(lab):
    queues = port(lab.vhost, "vm0")["queues"]
    return all(queues[i]["started"] for i in (RX, TX))


@pytest.fixture(params=["pages", "huge pages"])
def page(request):
    if request.param == "pages":
        yield 4096
        return
    with Hugepages(4):
        yield 2 << 20


def test_other_guests_do_not_wait(lab, page):
    before = worst_echo(lab)
    with LateGuest(lab.socket(0), page).arrive() as late:
        wait_for(lambda: both_run(lab), 10, "rings whose own pages are here")
        wait_for(lambda: late.held, 10, "a fault on a buffer")
        lab.station.send_all(frame(guest_mac(0), WIRE_MAC, i) for i in range(SLOTS))
        wait_for(lambda: to_drops(lab.vhost, "vm0") == {"guest-memory": SLOTS}, 10,
                 lambda: f"frames dropped for want of memory: {to_drops(lab.vhost, 'vm0')}")
        meanwhile = worst_echo(lab)
        print(f"\nworst of 200 echoes of another guest: {before * 1e3:.2f} ms before, "
              f"{meanwhile * 1e3:.2f} ms while a guest waits for {len(late.held)} pages")
        assert meanwhile < 0.5 * patience()
        assert both_run(lab) and late.ask_u64(r.GET_FEATURES)
        # The pages come: so do the frames, each once and in order.
        late.deliver_all()
        sent = [seen for seen in lab.station.receive(SLOTS, 10) if seen.stream != 7]
        assert [seen.seq for seen in sent] == list(range(SLOTS))
        late.mem = late.real
        late.wait_used(TX, SLOTS)
        sent = 0

        def accounted():
            lost = to_drops(lab.vhost, "vm0")["guest-memory"] - SLOTS
            return late.used_idx(RX) + lost == sent
        while (got := late.used_idx(RX)) < 16:
            lab.station.send(frame(guest_mac(0), WIRE_MAC, got))
            sent += 1
            wait_for(accounted, 5, lambda: f"{sent} frames, used or lost: {late.used_idx(RX)}, "
                                           f"{to_drops(lab.vhost, 'vm0')}", every=0.002)
        assert late.ack(END) == 0
        lab.station.send_all(frame(guest_mac(0), WIRE_MAC, i) for i in range(16, 24))
        late.wait_used(RX, 24)
        data = late.real[late.buffers + 23 * BUFFER + HDR:][:1000]
        assert data.startswith(frame(guest_mac(0), WIRE_MAC, 23)[:60])
    text = lab.vhost.log.read_text()
    assert "the guest's memory comes as it is needed" in text
    assert "all of the guest's memory is here" in text
    lab.vfe.finish()


def test_rings_start_whenever_their_pages_come(lab):
    """The last page may come between the daemon's look at it and its request for it."""
    for _ in range(12):
        with LateGuest(lab.socket(0)).arrive():
            wait_for(lambda: both_run(lab), 10, "rings whose own pages are here")
        wait_port(lab.vhost, "vm0", state="listening")
    lab.vfe.finish()


def test_pages_that_never_come(lab):
    """The front end goes, or the daemon is told to end, with helpers asleep on pages."""
    holdings = Holdings(lab.vhost)
    late = LateGuest(lab.socket(0)).arrive()
    try:
        wait_for(lambda: both_run(lab) and late.held, 10, "a fault on a buffer")
        # The ring can be stopped all the same.
        assert late.stop_ring(TX) == 0
        assert late.held
        late.sock.close()
        wait_port(lab.vhost, "vm0", state="listening")
        assert not any(map(late.is_filled, late.held)), "a page was made up"
    finally:
        late.close()
    holdings.same()
    assert worst_echo(lab, 50) < 0.5 * patience()
    late = LateGuest(lab.socket(0)).arrive()
    try:
        wait_for(lambda: both_run(lab) and late.held, 10, "a fault on a buffer")
        lab.vfe.finish()
        start = time.monotonic()
        lab.vhost.stop()
        assert time.monotonic() - start < 5 * patience()
    finally:
        late.close()
