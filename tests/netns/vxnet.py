# SPDX-License-Identifier: BSD-2-Clause
"""What the tests with emulated guests share: vfe as a guest, raw sockets as the wire, the
daemon's counters over its control socket, and an account of what a front end left behind."""
import ctypes
import json
import os
import re
import select
import socket
import struct
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from vx import base
from vx.base import Closing, Process, wait_for
from vx.net import NETNS
from vx.topo import guest_mac

from rawfe import DESC_NEXT, GET_FEATURES, HDR, RX, TX, RawFrontEnd

BROADCAST = "ff:ff:ff:ff:ff:ff"
WIRE_MAC = "02:00:00:00:0f:01"  # of a station behind the wire
_libc = ctypes.CDLL(None, use_errno=True)


# ---- numbered, checksummed frames: the format of tests/frontend/vfe_frame.c -------------------

ETHERTYPE = 0x88B5
_MAGIC = 0x76666531
_M64 = (1 << 64) - 1
_HDR = struct.Struct("=IIQII")


def _mix(x):
    x ^= x >> 33
    x = x * 0xFF51AFD7ED558CCD & _M64
    return x ^ x >> 29


def _checksum(h, data):
    words = len(data) // 8
    for word in struct.unpack_from(f"={words}Q", data):
        h = (h ^ word) * 0x100000001B3 & _M64
        h ^= h >> 32
    for byte in data[words * 8:]:
        h = (h ^ byte) * 0x100000001B3 & _M64
    return (h ^ h >> 32) & 0xFFFFFFFF


def _pattern(n, seed):
    words = []
    for _ in range(n // 8 + 1):
        words.append(seed)
        seed = _mix((seed + 1) & _M64)
    return struct.pack(f"={len(words)}Q", *words)[:n]


def mac_bytes(text):
    return bytes(int(part, 16) for part in text.split(":"))


def frame(dst, src, seq=0, size=64, stream=1, vlan=None, ethertype=ETHERTYPE):
    """A frame of `size` bytes (tag included) that vfe and check() can tell from any other."""
    tag = b"" if vlan is None else struct.pack("!HH", 0x8100, vlan)
    head = mac_bytes(dst) + mac_bytes(src) + tag + struct.pack("!H", ethertype)
    payload = _pattern(size - len(head) - _HDR.size, _mix(seq + 1) ^ stream)
    length = size - len(tag)
    total = _checksum(_mix(seq ^ stream << 32 ^ length), payload)
    return head + _HDR.pack(_MAGIC, stream, seq, length, total) + payload


class Seen:
    """A received test frame."""

    def __init__(self, data):
        self.data = data
        self.dst, self.src = data[:6].hex(":"), data[6:12].hex(":")
        self.vlan = None
        at = 12
        if data[12:14] == b"\x81\x00":
            self.vlan = struct.unpack_from("!H", data, 14)[0] & 0xFFF
            at = 16
        self.ethertype = struct.unpack_from("!H", data, at)[0]
        at += 2
        magic, self.stream, self.seq, self.length, total = _HDR.unpack_from(
            data[at:at + _HDR.size].ljust(_HDR.size, b"\0"))
        self.ours = magic == _MAGIC
        end = self.length + (at - 14)
        self.good = (self.ours and len(data) >= end and (len(data) == end or len(data) <= 64) and
                     total == _checksum(_mix(self.seq ^ self.stream << 32 ^ self.length),
                                        data[at + _HDR.size:end]))


# ---- sockets in a namespace -------------------------------------------------------------------

@contextmanager
def inside(ns):
    """Run the block in a network namespace; sockets made there stay there."""
    clone_newnet = 0x40000000
    with open("/proc/thread-self/ns/net") as old, open(NETNS / ns.name) as new:
        if _libc.setns(new.fileno(), clone_newnet):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            if _libc.setns(old.fileno(), clone_newnet):
                os.abort()  # in the wrong namespace nothing may go on


def silence(topo):
    """No IPv6 in either namespace: its chatter is multicast, which guests get copies of."""
    for ns in (topo.host, topo.wire):
        ns.sysctl("net.ipv6.conf.all.disable_ipv6", 1)


@contextmanager
def on_cpu(cpu):
    """Run the block there; memory that it touches first is on that CPU's node."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Station(Closing):
    """A raw socket on a device: sends any frame, receives all that comes in, tags included."""

    SOL_PACKET, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING, SO_RCVBUFFORCE = 263, 8, 23, 33

    def __init__(self, ns, dev, far=None):
        """far: (namespace, device) at the other end of the cable, for send_all()"""
        self.far = far
        with inside(ns):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self.sock.setsockopt(socket.SOL_SOCKET, self.SO_RCVBUFFORCE, 64 << 20)
            self.sock.setsockopt(self.SOL_PACKET, self.PACKET_AUXDATA, 1)
            self.sock.setsockopt(self.SOL_PACKET, self.PACKET_IGNORE_OUTGOING, 1)
            self.sock.bind((dev, 3))  # ETH_P_ALL

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.send(data)

    def send_all(self, frames, pause=0.004, every=32):
        """Send frames slowly enough that the cable's ring, of 256, does not overflow."""
        base_ = self._arrived()
        for i, data in enumerate(frames, 1):
            self.sock.send(data)
            if i % every == 0:
                self._wait_arrived(base_, i, pause)

    def _wait_arrived(self, base_, n, pause):
        """Until the other end has seen n frames; where that cannot be told, a while."""
        if base_ is None:
            time.sleep(pause)
            return
        end = time.monotonic() + 5
        while (now := self._arrived()) is not None and now - base_ < n and time.monotonic() < end:
            time.sleep(0.0005)

    def _arrived(self):
        if not self.far:
            return None
        with inside(self.far[0]), open("/proc/thread-self/net/dev") as devices:
            for line in devices:
                name, _, counters = line.partition(":")
                if name.strip() == self.far[1]:
                    return int(counters.split()[1])
        return None

    def _one(self):
        data, control, _flags, address = self.sock.recvmsg(70000, 256)
        for level, kind, value in control:
            if level == self.SOL_PACKET and kind == self.PACKET_AUXDATA:
                status, tci, tpid = *struct.unpack_from("=I", value), *struct.unpack_from(
                    "=HH", value, 16)
                if status & 0x10:  # TP_STATUS_VLAN_VALID: the kernel took the tag out
                    data = data[:12] + struct.pack("!HH", tpid or 0x8100, tci) + data[12:]
        return data

    def receive(self, want=None, timeout=5.0, settle=0.1, ours=True):
        """Frames until `want` have come (then for `settle` seconds more: what still comes is too
        much), or until the time is over. want=None: all that come within `timeout`, which is then
        not stretched. Without `ours`, other frames than numbered ones come back as well."""
        got = []
        end = time.monotonic() + timeout * (1 if want is None else base.patience())
        settled = False
        while True:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.sock], [], [], left)[0]:
                return got
            seen = Seen(self._one())
            if seen.ours or not ours:
                got.append(seen)
            if want is not None and len(got) >= want and not settled:
                settled = True
                end = time.monotonic() + settle


# ---- emulated guests --------------------------------------------------------------------------

class Vfe:
    """tests/frontend/vfe: `mode` and options as on its command line, underscores for dashes;
    True for an option without a value. prefix: of the command line."""

    _serial = 0

    def __init__(self, topo, sock, mode, prefix=(), **options):
        Vfe._serial += 1
        argv = [*prefix, base.binary("vfe"), "--socket", sock]
        for key, value in options.items():
            argv += [f"--{key.replace('_', '-')}"]
            argv += [] if value is True else [value]
        self.log = topo.workdir / f"vfe{Vfe._serial}-{mode}.log"
        self.process = Process(f"vfe {mode}", [*argv, mode], self.log)
        topo.add(self)

    def _events(self):
        events = []
        with suppress(OSError):
            for line in self.log.read_text(errors="replace").splitlines():
                with suppress(ValueError):
                    events.append(json.loads(line))
        return {e["event"]: e for e in events if isinstance(e, dict)}

    @property
    def pid(self):
        return self.process.pid

    def ready(self, timeout=10):
        """Wait until its device runs. Returns what was negotiated."""
        def there():
            events = self._events()
            if "ready" not in events:
                self.process.require_alive()
            return events.get("ready")
        return wait_for(there, timeout, lambda: f"ready from {self.log.name}", every=0.005)

    def result(self, timeout=20, ok=True):
        """Wait for its end; ok=None takes any outcome."""
        wait_for(lambda: not self.process.alive(), timeout,
                 lambda: f"end of {self.log.name}: {self.process.tail()}", every=0.01)
        self.process.kill()
        events = self._events()
        if "result" not in events:
            raise AssertionError(f"{self.log.name}: no result: {self.process.tail()}")
        result = events["result"]
        if ok is not None and result["ok"] is not ok:
            raise AssertionError(f"{self.log.name}: {json.dumps(result)}")
        return result

    def finish(self, ok=True):
        """Tell it to end, then as result()."""
        with suppress(ProcessLookupError):
            self.process.popen.terminate()
        return self.result(ok=ok)

    def kill(self):
        self.process.kill()

    def close(self):
        self.process.kill()


def listen(topo, i, expect, mac=None, **more):
    """Guest i, receiving, with buffers for all that a test sends. One that expects nothing listens
    until it is told to finish()."""
    options = {"ring": 4096, "timeout_ms": 30000, "settle_ms": 50 if expect else 60_000, **more}
    vfe = Vfe(topo, topo.socket(i), "rx", mac=mac or guest_mac(i), expect=expect, **options)
    vfe.ready()
    return vfe


def untouched(result):
    """A pair with two queue pairs whose stations were disturbed in the middle of traffic: frames
    may be lost, nothing else. While not all rings run, frames take others, and may overtake."""
    for side in (result, result["peer"]):
        assert side["good"] > 1000, result
        for bad in ("bad", "duplicates", "misdirected", "faults"):
            assert side[bad] == 0, (bad, result)


def close_guests(topo):
    """End all emulated guests of a topology that outlives a test."""
    for thing in [t for t in topo._open if isinstance(t, Vfe)]:
        thing.close()
        topo._open.remove(thing)


# ---- the daemon's own words -------------------------------------------------------------------

def call(daemon, method, **params):
    """A JSON-RPC request on the control socket; the result."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(10 * base.patience())
        sock.connect(str(daemon.control))
        request = {"jsonrpc": "2.0", "id": 1, "method": method}
        if params:
            request["params"] = params
        sock.sendall(json.dumps(request).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            part = sock.recv(1 << 20)
            if not part:
                raise ConnectionError(f"{method}: no answer")
            answer += part
        # The daemon has closed its end, too, when this returns: nobody counts that descriptor.
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(4096):
            pass
    answer = json.loads(answer)
    if "error" in answer:
        raise RuntimeError(f"{method}: {answer['error']}")
    return answer["result"]


def _named(items, name):
    return next(item for item in items if item["name"] == name)


def port(daemon, name):
    return _named(call(daemon, "port.list")["ports"], name)


def ring_of(daemon, name, ring):
    return next(q for q in port(daemon, name)["queues"] if q["index"] == ring)


def queue(topo, ring, name="vm0"):
    return ring_of(topo.vhost, name, ring)


def tx_ring(daemon, name, pair=0):
    """The ring that the guest sends on."""
    return ring_of(daemon, name, 2 * pair + TX)


def nic(daemon, name="nic0"):
    return _named(call(daemon, "nic.list")["nics"], name)


def from_drops(daemon, name):
    """Frames of a guest that were dropped, by reason, without the zeros."""
    return {k: v for k, v in port(daemon, name)["from_guest"]["drops"].items() if v}


def to_drops(daemon, name):
    """Frames for a guest that were dropped, by reason, without the zeros."""
    return {k: v for k, v in port(daemon, name)["to_guest"]["drops"].items() if v}


def verdicts(daemon, name="nic0"):
    return {k: v["frames"] for k, v in nic(daemon, name)["verdicts"].items()}


def wait_nic(daemon, state, name="nic0", timeout=10):
    return wait_for(lambda: (lambda n: n["state"] == state and n)(nic(daemon, name)), timeout,
                    lambda: f"state {state}; it is {nic(daemon, name)}")


def wait_port(daemon, name, timeout=10, **want):
    """Wait until members of the port have these values."""
    def there():
        now = port(daemon, name)
        return all(now[k] == v for k, v in want.items()) and now
    return wait_for(there, timeout, lambda: f"{want} of {name}; it is {port(daemon, name)}")


def wait_given_up(topo, ring, why):
    """The ring of vm0 has stopped, and the port says so and why."""
    wait_for(lambda: not queue(topo, ring)["started"], 5,
             lambda: f"end of ring {ring}: {port(topo.vhost, 'vm0')}")
    error = port(topo.vhost, "vm0")["last_error"]
    assert f"ring {ring} was given up" in error and why in error, error


def wait_ring_given_up(topo, front_end, given_up):
    """Where a worker was slow to look at rings that break the rules: it finds out, sooner or later.

    given_up  how many start_again() has seen so far
    """
    wait_for(lambda: given_up or start_again(topo, front_end), 5, "a ring that was given up")


def start_again(topo, front_end):
    """The rings of vm0 that were given up, from their beginning. Returns how many there were."""
    given_up = [ring for ring in (RX, TX) if not queue(topo, ring)["started"]]
    for ring in given_up:
        front_end.stop_ring(ring)
        front_end.clear_ring(ring)
        front_end.start_ring(ring)
    return len(given_up)


# ---- what the daemon holds --------------------------------------------------------------------

def guest_maps(daemon):
    """Mappings of guest memory, or what a lost one was replaced by is not counted."""
    text = Path(f"/proc/{daemon.pid}/maps").read_text()
    return len(re.findall(r"memfd:|/dev/shm|hugepages", text))


class Holdings:
    """Descriptors and guest mappings of the daemon now; same() waits until they are back.
    /dev/null is not counted: each worker opens it once, for its first call to a guest."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.before = self.settled()

    def now(self):
        return len([n for n in self.names() if n != "/dev/null"]), guest_maps(self.daemon)

    def settled(self):
        """The daemon may not have closed the test's last control connection yet."""
        last = None
        while last != (last := self.now()):
            time.sleep(0.02)
        return last

    def same(self, timeout=5):
        wait_for(lambda: self.now() == self.before, timeout,
                 lambda: f"return to {self.before} (descriptors, guest mappings); "
                         f"now {self.now()}: {self.names()}")

    def names(self):
        names = []
        for entry in Path(f"/proc/{self.daemon.pid}/fd").iterdir():
            with suppress(OSError):
                names.append(os.readlink(entry))
        return sorted(names)


class Echo:
    """Two guests that exchange frames without a pause while something else happens; none may get
    lost, changed or doubled. However short that is: each sends some frames."""

    LEAST = 20

    def __init__(self, topo, a, b, mac_a, mac_b, rate=4000):
        self.vfe = Vfe(topo, a, "pair", peer_socket=b, mac=mac_a, peer_mac=mac_b, both=True,
                       count=10_000_000, rate=rate, timeout_ms=600_000, size="64-1500",
                       least=self.LEAST)
        self.vfe.ready()

    def finish(self, least=LEAST):
        """Stop. A pair that is interrupted has frames on the way, which it drains first. Frames to
        groups may come from elsewhere, in streams of other numbers."""
        result = self.vfe.finish(ok=None)
        for side, other in ((result, result["peer"]), (result["peer"], result)):
            assert side["good"] - side["group"] == other["sent"], (side, other)
            assert side["good"] >= least, result
            for bad in ("bad", "lost", "duplicates", "reordered", "misdirected", "faults"):
                assert side[bad] == 0, (bad, result)
        return result


class Flood(RawFrontEnd):
    """A guest that offers the same frame over and over: 16384 at a time, each of a thousand
    descriptors. It costs its owner nothing, and a worker all of its time."""

    SIZE, PARTS = 16384, 1000
    DESC, AVAIL, USED = 0x100000, 0x200000, 0x280000
    UNKNOWN = "02:00:00:00:0e:0e"

    def start(self, **keys):
        self.num, self.taken = self.SIZE, 0
        self.negotiate(**keys)
        self.share_memory()
        data = bytes(HDR) + frame(self.UNKNOWN, WIRE_MAC, 0, self.PARTS - HDR)
        self.buffer(0, data)
        for i in range(self.PARTS):
            self.desc(1, i, self.buffer(0) + i, 1, DESC_NEXT if i + 1 < self.PARTS else 0, i + 1)
        self.start_ring(1)
        self.ask_u64(GET_FEATURES)
        return self

    def at(self, ring):
        return self.DESC, self.AVAIL, self.USED

    def refill(self):
        done = (self.used_idx(1) - self.taken) & 0xFFFF
        self.taken += done
        free = self.SIZE - ((self.avail_idx[1] - self.taken) & 0xFFFF)
        self.offer(1, advance=free)


@contextmanager
def on_trial(topo, size):
    """A raw front end on vm0, whose memory has `size` bytes, while vm2 and vm3 talk. When it has
    gone, nothing of it or of vm1 is left, and the two have lost nothing."""
    echo = Echo(topo, topo.socket(2), topo.socket(3), guest_mac(2), guest_mac(3))
    holdings = Holdings(topo.vhost)
    front_end = RawFrontEnd(topo.socket(0), size=size)
    try:
        yield front_end
        front_end.close()
        wait_port(topo.vhost, "vm0", state="listening")
        wait_port(topo.vhost, "vm1", state="listening")
        holdings.same()
        echo.finish()
    finally:
        front_end.close()
        close_guests(topo)


def send_to_vm0(topo, sender, n=3):
    """Frames for vm0 from the wire, or from another guest, vm1"""
    if sender == "wire":
        topo.station.send_all(frame(guest_mac(0), WIRE_MAC, k, 1000) for k in range(n))
    else:
        Vfe(topo, topo.socket(1), "tx", mac=guest_mac(1), dst=guest_mac(0), count=n,
            size=1000).result()
