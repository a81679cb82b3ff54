# SPDX-License-Identifier: BSD-2-Clause
"""Traffic that tests of several layers send, with the proof that it arrived as it was."""
import hashlib
import os

from . import net
from .base import wait_for
from .topo import WIRE


def _digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _wait_size(vm, size, path="/tmp/got"):
    wait_for(lambda: int(vm.run(f"stat -c %s {path}")) == size, 20, f"the whole file at {vm.name}")


def _receive_file(vm, path="/tmp/got", port=9001):
    # Its input must stay open: nc ends as soon as the other side has nothing to say.
    vm.run(f"rm -f {path}; sleep 60 | nc -l -p {port} >{path} &")
    vm.wait_listener(port, "nc")


def send_file(topo, vm, source, path="/tmp/got", port=9001):
    """A file of the host from the wire to a guest; whether it is the same is not looked at."""
    _receive_file(vm, path, port)
    topo.wire.run("socat", "-u", f"OPEN:{source}", f"TCP:{vm.address}:{port}")
    _wait_size(vm, source.stat().st_size, path)


def carry_file(topo, a, b, size=4 << 20):
    """A file of random bytes from the wire to guest a, on to guest b, and back to the wire."""
    source, back = topo.workdir / "sent", topo.workdir / "back"
    source.write_bytes(os.urandom(size))
    back.unlink(missing_ok=True)
    _receive_file(b, port=9002)
    send_file(topo, a, source)
    assert a.run("sha256sum /tmp/got").split()[0] == _digest(source)
    a.run(f"nc -w 5 {b.address} 9002 </tmp/got", 30)
    _wait_size(b, size)
    assert b.run("sha256sum /tmp/got").split()[0] == _digest(source)
    server = topo.wire.spawn("socat", ["socat", "-u", "TCP-LISTEN:9003,reuseaddr", f"CREATE:{back}"],
                             topo.workdir / "socat.log")
    wait_for(lambda: ":9003" in topo.wire.run("ss", "-Hltn").stdout, 5, "socat")
    b.run(f"nc -w 5 {WIRE} 9003 </tmp/got", 30)
    wait_for(lambda: back.exists() and back.stat().st_size == size, 20, "the whole file back")
    server.stop()
    assert _digest(back) == _digest(source)


def ping(vm, address, size=56, interval=0.2):
    """Three echo requests from a guest with so many bytes of payload: all are answered."""
    status, output = vm.call(f"ping -i {interval} -c 3 -s {size} -w 15 {address}")
    assert status == 0 and "3 packets received" in output, output


def tcp(vm, address, floor, reverse=False):
    """A stream from a guest, or with reverse to it, of more than `floor` Mbit/s."""
    rate = net.tcp_mbit(vm.iperf(address, reverse=reverse))
    print(f"{vm.name} {'<-' if reverse else '->'} {address}: {rate:.0f} Mbit/s")
    assert rate > floor


def _pings(topo, vm, other, payload):
    assert topo.wire.ping(vm.address, 3, interval=0.05, opts=["-s", payload]) == 3
    ping(vm, other.address, payload, 0.05)


def exercise(topo, vm, other, tries=1):
    """Small, full and fragmented frames both ways, then bytes that are compared. The other guest
    and the wire are known to work, so a failure is vm's.

    tries  how often to send echo requests until all of a size are answered, where single frames
           may be lost
    """
    topo.wire.wait_ping(vm.address, 15)
    for payload in (18, 1472, 4000):
        for left in reversed(range(tries)):
            try:
                _pings(topo, vm, other, payload)
                break
            except AssertionError:
                if not left:
                    raise
    carry_file(topo, vm, other, 1 << 20)
    carry_file(topo, other, vm, 1 << 20)
