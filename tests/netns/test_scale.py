# SPDX-License-Identifier: BSD-2-Clause
"""Many ports, many addresses, many queue pairs: what they cost, and that they work."""
import json
import socket
import time
from contextlib import ExitStack, suppress

import pytest

from vx import base
from vx.base import run, wait_for
from vx.topo import guest_mac

from rawfe import DESC_WRITE, RawFrontEnd
from vxnet import WIRE_MAC, Vfe, call, frame

N_PORTS, N_MACS = 128, 800  # 102400 addresses


def many_mac(p, k):
    return f"52:54:01:{p:02x}:{k >> 8:02x}:{k & 255:02x}"


def to_guest(daemon, name):
    """Frames delivered. The list of all ports would have all addresses, too."""
    return call(daemon, "stats", port=name)["ports"][0]["to_guest"]["frames"]


def write_json(daemon):
    """JSON is YAML, and written a hundred times as fast."""
    daemon.write = lambda: daemon.file.write_text(json.dumps(daemon.config))
    return daemon


def request(daemon, method):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(10 * base.patience())
    sock.connect(str(daemon.control))
    sock.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode() + b"\n")
    return sock


def control_time(daemon):
    """CPU time of the daemon, seconds; while the workers sleep, that is the control thread's. The
    clock of clock_getcpuclockid(3): /proc lags behind by a clock tick while a thread runs."""
    return time.clock_gettime(~daemon.pid << 3 | 2)


def held_up(daemon, method):
    """The result of a long answer, the CPU time of the control thread until others had theirs meanwhile
    (the most it took), and all that it took. The load of the machine does not change these."""
    answer, worst, start = b"", 0, control_time(daemon)
    with request(daemon, method) as sock:
        while not answer.endswith(b"\n"):
            before = control_time(daemon)
            with request(daemon, "version") as other:
                assert other.recv(4096).endswith(b"\n")
            worst = max(worst, control_time(daemon) - before)
            with suppress(BlockingIOError):
                part = sock.recv(1 << 20, socket.MSG_DONTWAIT)
                assert part
                answer += part
    return json.loads(answer)["result"], worst, control_time(daemon) - start


def test_hundred_thousand_addresses(topo, wire):
    """They are loaded in seconds, found at once, and shown: by vhost-xdpctl and by bpftool. A
    restart finds all of them in place."""
    ports = [topo.port(p, macs=[many_mac(p, k) for k in range(N_MACS)]) for p in range(N_PORTS)]
    daemon = write_json(topo.daemon(ports=ports))
    for life in range(2):
        start = time.monotonic()
        daemon.start()
        took = time.monotonic() - start
        print(f"start with {N_PORTS * N_MACS} addresses: {took:.2f} s")
        assert took < 8 * base.patience()
        guests = {p: Vfe(topo, topo.socket(p), "rx", mac=many_mac(p, 0), expect=100_000,
                         timeout_ms=100_000) for p in (0, 77, N_PORTS - 1)}
        before = {}
        for p, guest in guests.items():
            guest.ready()
            before[p] = to_guest(daemon, f"vm{p}")
        for p in guests:
            wire.send_all(frame(many_mac(p, k), WIRE_MAC, k) for k in range(0, N_MACS, 16))
        for p, guest in guests.items():
            wait_for(lambda p=p: to_guest(daemon, f"vm{p}") - before[p] ==
                     N_MACS // 16, 5, lambda p=p: f"frames; {to_guest(daemon, f'vm{p}')}")
            guest.kill()
        # From a guest to another: the daemon's own table.
        a = Vfe(topo, topo.socket(3), "rx", mac=many_mac(3, 0), expect=100_000, timeout_ms=100_000)
        a.ready()
        for k in (1, 399, N_MACS - 1):
            was = to_guest(daemon, "vm3")
            Vfe(topo, topo.socket(4), "tx", mac=many_mac(4, 0), dst=many_mac(3, k),
                count=10).result()
            wait_for(lambda: to_guest(daemon, "vm3") - was == 10, 5,
                     lambda: f"ten frames; {to_guest(daemon, 'vm3') - was}")
        a.kill()
        if not life:
            daemon.stop()
    assert len(daemon.ctl("mac", "list")["macs"]) == N_PORTS * N_MACS
    for method, count in ("mac.list", lambda r: len(r["macs"])), (
            "show", lambda r: sum(len(p["macs"]) for p in r["ports"])):
        result, worst, spent = held_up(daemon, method)
        print(f"{method}: {spent * 1000:.0f} ms, others wait for {worst * 1000:.1f} ms at most")
        assert count(result) == N_PORTS * N_MACS
        assert worst < spent / 3  # a piece, and what fits into a socket, is a tenth
    dump = json.loads(run("bpftool", "-j", "map", "dump", "pinned",
                          daemon.pin_dir / "nic0" / "fdb").stdout)
    assert len(dump) == N_PORTS * N_MACS


def connect(topo, stack, numbers):
    guests = [stack.enter_context(RawFrontEnd(topo.socket(i), size=1 << 20)).start()
              for i in numbers]
    for guest in guests:
        guest.desc(0, 0, guest.buffer(9), 2048, DESC_WRITE)
        guest.offer(0, 0, 1)
    return guests


def test_memory_of_a_port(topo, wire):
    """What each further port costs, connected and with a frame received: less than 200 KiB."""
    if base.sanitized():
        pytest.skip("a sanitizer's shadow memory counts, too")
    sizes = {}
    for n in (2, 66):
        daemon = topo.daemon(n, pin_dir=f"/sys/fs/bpf/{topo.workdir.name}").start()
        with ExitStack() as stack:
            guests = connect(topo, stack, range(n))
            for i, guest in enumerate(guests):
                wire.send(frame(guest_mac(i), WIRE_MAC, i))
                guest.wait_used(0, 1)
                guest.transmit(frame(WIRE_MAC, guest_mac(i), i))
            sizes[n] = daemon.own_memory()
        daemon.stop()
    each = (sizes[66] - sizes[2]) / 64
    print(f"{sizes[2] / 2**20:.2f} MiB with two ports, {each / 1024:.1f} KiB for each further one")
    assert sizes[2] < 24 << 20
    assert each < 200 << 10


def test_hundred_and_twenty_eight_ports(topo):
    """All connected, with eight queue pairs each configured; two of them talk."""
    daemon = topo.daemon(N_PORTS, workers=({"cpu": 0}, {"cpu": 1})).start()
    with ExitStack() as stack:
        connect(topo, stack, range(2, N_PORTS))
        pair = Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
                   peer_mac=guest_mac(1), both=True, count=20_000, queues=8, size="60-1514")
        pair.result(60)
        assert sum(p["up"] for p in call(daemon, "port.list")["ports"]) >= N_PORTS - 2
