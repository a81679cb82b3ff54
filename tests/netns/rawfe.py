# SPDX-License-Identifier: BSD-2-Clause
"""A vhost-user front end with nothing between the test and the bytes: for messages and rings that
no honest one would send. Messages by number, descriptors through SCM_RIGHTS, rings in a memfd."""
import array
import itertools
import mmap
import os
import socket
import struct
import threading
import time
from contextlib import contextmanager

from vx import base
from vx.base import Closing

(GET_FEATURES, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE, SET_LOG_BASE, SET_LOG_FD,
 SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL,
 SET_VRING_ERR, GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM,
 SET_VRING_ENABLE) = range(1, 19)
GET_CONFIG = 24
ADD_MEM_REG, REM_MEM_REG, SET_STATUS, GET_STATUS = 37, 38, 39, 40

VERSION, REPLY, NEED_REPLY = 1, 4, 8
F_MRG_RXBUF, F_INDIRECT, F_EVENT_IDX, F_PROTOCOL, F_VERSION_1, F_RING_PACKED = (
    1 << 15, 1 << 28, 1 << 29, 1 << 30, 1 << 32, 1 << 34)
F_MAC = 1 << 5
P_MQ, P_REPLY_ACK, P_CONFIG, P_MEM_SLOTS, P_STATUS = (
    1 << 0, 1 << 3, 1 << 9, 1 << 15, 1 << 16)
DESC_NEXT, DESC_WRITE, DESC_INDIRECT = 1, 2, 4
RX, TX = 0, 1  # rings of the first queue pair
DESC_AVAIL, DESC_USED = 1 << 7, 1 << 15  # packed rings
PACKED_START = 0x80008000  # both positions: slot 0, wrap counter 1
HDR = 12  # virtio-net header with num_buffers

GPA, UVA = 0x1_0000_0000, 0x7F00_0000_0000
RING_AREA = 0x10000  # of each ring; buffers come after those of 8 rings
BUFFERS = 8 * RING_AREA


class RawFrontEnd(Closing):
    """One connection, one region of `size` bytes at GPA/UVA, rings of `num` descriptors."""

    def __init__(self, path, size=4 << 20, num=256):
        self.size, self.num = size, num
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(5 * base.patience())
        self.sock.connect(str(path))
        self.memfd = os.memfd_create("raw-guest")
        os.truncate(self.memfd, size)
        self.mem = mmap.mmap(self.memfd, size)
        self.fds = [self.memfd]
        self.kick, self.call, self.avail_idx = {}, {}, {}

    def close(self):
        self.sock.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def eventfd(self):
        fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.fds.append(fd)
        return fd

    # ---- messages ----

    def send(self, request, payload=b"", fds=(), flags=VERSION, size=None):
        """A message; `size` is what its header claims. OSError when the other side hung up."""
        data = struct.pack("=III", request, flags, len(payload) if size is None else size)
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.sock.sendmsg([data + payload], control)

    def reply(self):
        """(request, payload); ConnectionError when the other side hung up."""
        head = self._read(12)
        request, flags, size = struct.unpack("=III", head)
        assert flags & REPLY and flags & 3 == VERSION
        return request, self._read(size)

    def _read(self, n):
        data = b""
        while len(data) < n:
            part = self.sock.recv(n - len(data))
            if not part:
                raise ConnectionResetError("hung up")
            data += part
        return data

    def ask(self, request, payload=b""):
        """A request with an answer of its own."""
        self.send(request, payload)
        answer, data = self.reply()
        assert answer == request
        return data

    def ask_u64(self, request):
        return struct.unpack("=Q", self.ask(request))[0]

    def ack(self, request, payload=b"", fds=()):
        """A request with NEED_REPLY: 0 or the failure."""
        self.send(request, payload, fds, VERSION | NEED_REPLY)
        answer, data = self.reply()
        assert answer == request
        return struct.unpack("=Q", data)[0]

    def hung_up(self, timeout=5):
        """Whether the other side ends the connection in time; what it still says is skipped."""
        self.sock.settimeout(timeout * base.patience())
        try:
            while self.sock.recv(4096):
                pass
            return True
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    # ---- from connection to running rings ----

    def negotiate(self, features=F_VERSION_1 | F_MRG_RXBUF | F_INDIRECT | F_PROTOCOL,
                  protocol=P_MQ | P_REPLY_ACK | P_STATUS):
        self.features = features
        offered = self.ask_u64(GET_FEATURES)
        assert features & ~offered == 0
        if features & F_PROTOCOL:
            assert protocol & ~self.ask_u64(GET_PROTOCOL_FEATURES) == 0
            self.send(SET_PROTOCOL_FEATURES, struct.pack("=Q", protocol))
        self.send(SET_OWNER)
        self.send(SET_FEATURES, struct.pack("=Q", features))

    def table(self, *regions):
        """Payload of SET_MEM_TABLE from (gpa, size, uva, offset)."""
        return struct.pack("=II", len(regions), 0) + b"".join(
            struct.pack("=QQQQ", *region) for region in regions)

    def share_memory(self):
        self.send(SET_MEM_TABLE, self.table((GPA, self.size, UVA, 0)), [self.memfd])

    def at(self, ring):
        """Offsets of descriptors, avail and used ring."""
        base_ = ring * RING_AREA
        return base_, base_ + 0x4000, base_ + 0x8000

    def addr(self, ring, desc=None, avail=None, used=None):
        """Payload of SET_VRING_ADDR."""
        d, a, u = (UVA + offset for offset in self.at(ring))
        return struct.pack("=IIQQQQ", ring, 0, desc if desc is not None else d,
                           used if used is not None else u, avail if avail is not None else a, 0)

    def start_ring(self, ring, enable=True, call=True, start=None):
        if start is None:
            start = PACKED_START if self.features & F_RING_PACKED else 0
        self.send(SET_VRING_NUM, struct.pack("=II", ring, self.num))
        self.send(SET_VRING_BASE, struct.pack("=II", ring, start))
        self.send(SET_VRING_ADDR, self.addr(ring))
        self.kick[ring] = self.eventfd()
        if call:
            self.call[ring] = self.eventfd()
            self.send(SET_VRING_CALL, struct.pack("=Q", ring), [self.call[ring]])
        self.send(SET_VRING_KICK, struct.pack("=Q", ring), [self.kick[ring]])
        if enable and self.features & F_PROTOCOL:
            self.send(SET_VRING_ENABLE, struct.pack("=II", ring, 1))
        self.avail_idx[ring] = 0

    def stop_ring(self, ring):
        """Where it stopped."""
        index, base_ = struct.unpack("=II", self.ask(GET_VRING_BASE, struct.pack("=II", ring, 0)))
        assert index == ring
        return base_

    def clear_ring(self, ring):
        """As a driver does before it starts one anew."""
        self.write(self.at(ring)[0], bytes(RING_AREA))

    def start(self, **keys):
        """The whole way with one queue pair; the last answer tells that all was carried out."""
        self.negotiate(**keys)
        self.share_memory()
        self.start_ring(RX)
        self.start_ring(TX)
        self.ask_u64(GET_FEATURES)
        return self

    # ---- rings ----

    def write(self, offset, data):
        self.mem[offset:offset + len(data)] = data

    def desc(self, ring, i, gpa, length, flags=0, nxt=0):
        self.write(self.at(ring)[0] + 16 * i, struct.pack("=QIHH", gpa, length, flags, nxt))

    def slot(self, ring, i, gpa, length, flags=0, id_=0, bits=DESC_AVAIL):
        """A packed ring's slot; `bits` make it available on the first lap."""
        self.write(self.at(ring)[0] + 16 * i,
                   struct.pack("=QIHH", gpa, length, id_, flags | bits))

    def slot_used(self, ring, i):
        """The identifier in a slot that was used on the first lap, or None."""
        _, _, id_, flags = struct.unpack_from("=QIHH", self.mem, self.at(ring)[0] + 16 * i)
        return id_ if flags & DESC_AVAIL and flags & DESC_USED else None

    def wait_slot(self, ring, i, id_, timeout=5):
        base.wait_for(lambda: self.slot_used(ring, i) == id_, timeout,
                      lambda: f"buffer {id_} in slot {i}; it is {self.slot_used(ring, i)}",
                      every=0.002)

    def buffer(self, i, data=b"", size=2048):
        """Guest-physical address of buffer i, with data in it."""
        self.write(BUFFERS + i * size, data)
        return GPA + BUFFERS + i * size

    def offer(self, ring, *heads, advance=None):
        """Make heads available and kick. `advance`: how far to move the index instead."""
        idx = self.avail_idx[ring]
        avail = self.at(ring)[1]
        for k, head in enumerate(heads):
            self.write(avail + 4 + 2 * ((idx + k) % self.num), struct.pack("=H", head))
        idx = (idx + (len(heads) if advance is None else advance)) & 0xFFFF
        self.write(avail + 2, struct.pack("=H", idx))
        self.avail_idx[ring] = idx
        self.ring_bell(ring)

    def ring_bell(self, ring):
        os.write(self.kick[ring], struct.pack("=Q", 1))

    def used_idx(self, ring):
        return struct.unpack_from("=H", self.mem, self.at(ring)[2] + 2)[0]

    def used_len(self, ring, pos):
        return struct.unpack_from("=I", self.mem, self.at(ring)[2] + 4 + 8 * pos + 4)[0]

    def wait_used(self, ring, idx, timeout=5):
        base.wait_for(lambda: self.used_idx(ring) == idx, timeout,
                      lambda: f"used index {idx}; it is {self.used_idx(ring)}", every=0.002)

    def transmit(self, data, header=bytes(HDR), slot=0):
        """One frame in one buffer; waits until it was taken."""
        used = self.used_idx(TX)
        self.desc(TX, slot, self.buffer(slot, header + data), len(header) + len(data))
        self.offer(TX, slot)
        self.wait_used(TX, (used + 1) & 0xFFFF)


@contextmanager
def meanwhile(act):
    """act(0), act(1), ... during the with block, as another processor of the guest."""
    stop, failed = threading.Event(), []

    def run():
        try:
            for k in itertools.count():
                if stop.is_set():
                    break
                act(k)
                time.sleep(0)  # lets the test have its turn, not after Python's 5 ms
        except Exception as error:
            failed.append(error)
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failed:
        raise failed[0]
