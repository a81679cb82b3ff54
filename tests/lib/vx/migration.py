# SPDX-License-Identifier: BSD-2-Clause
"""Live migration of a guest between two hosts on one wire (`Topology(far=True)`), and what runs
meanwhile: a TCP stream that is summed at both ends, and echo requests that tell the outage."""
import re
import sys
import time

from . import base
from .base import wait_for
from .topo import guest_ip, guest_mac

STREAM_PORT = 9100

# Sends until it is told to end; then prints how much, its sum, and the longest time without progress.
SENDER = """
import hashlib, os, random, signal, socket, sys, time
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 17)
s.connect((sys.argv[1], int(sys.argv[2])))
print("connected", flush=True)
digest, total, longest, last = hashlib.sha256(), 0, 0.0, time.monotonic()
pool = os.urandom(1 << 20)
while not ended:
    at = random.randrange(len(pool) - 16384)
    block = pool[at:at + 16384]
    s.sendall(block)
    now = time.monotonic()
    longest, last = max(longest, now - last), now
    digest.update(block)
    total += len(block)
s.shutdown(socket.SHUT_WR)
print("sent", total, digest.hexdigest(), f"{longest:.3f}", flush=True)
s.recv(1)
"""


class Stream:
    """Random bytes from the wire to a guest over TCP, as fast as they go."""

    def __init__(self, topo, vm):
        self._log = topo.workdir / "stream.log"
        self._log.unlink(missing_ok=True)
        # nc ends with its input, and only then does sha256sum: finish() says when.
        vm.run("rm -f /tmp/sum; (sleep 600 & echo $! >/tmp/sleep; wait) | "
               f"nc -l -p {STREAM_PORT} | sha256sum >/tmp/sum &")
        vm.wait_listener(STREAM_PORT, "nc")
        self._sender = topo.wire.spawn(
            "stream", [sys.executable, "-c", SENDER, vm.address, STREAM_PORT], self._log)
        wait_for(lambda: self._sender.require_alive() and "connected" in self._log.read_text(),
                 15, "the stream's connection")

    def finish(self, vm):
        """End it at `vm`, where the guest is now: (bytes, longest time without progress). The
        bytes that arrived are those that were sent."""
        self._sender.popen.terminate()
        sent = wait_for(lambda: re.search(r"^sent (\d+) (\w+) ([\d.]+)$", self._log.read_text(),
                                          re.M), 30, "the end of the stream")
        taken = (f"grep -q . /tmp/sum || awk '$2 ~ /:{STREAM_PORT:04X}$/ && $4 == \"08\" && "
                 "$5 ~ /:00000000$/ {n++} END {exit !n}' /proc/net/tcp")
        wait_for(lambda: vm.call(taken)[0] == 0, 60, "all bytes in the guest")
        vm.call("kill $(cat /tmp/sleep)")
        wait_for(lambda: vm.call("grep -q . /tmp/sum")[0] == 0, 20, "the guest's sum")
        self._sender.kill()
        assert vm.run("cat /tmp/sum").split()[0] == sent[2], "the guest got other bytes"
        return int(sent[1]), float(sent[3])


class Outage:
    """A hundred echo requests a second; longest() is the longest time between two answers."""

    def __init__(self, topo, address):
        self._log = topo.workdir / f"outage-{address}.log"
        self._log.unlink(missing_ok=True)
        self._ping = topo.wire.spawn("ping", ["ping", "-n", "-D", "-i", "0.01", address], self._log)

    def longest(self):
        self._ping.stop(sig=2)
        at = [float(t) for t in re.findall(r"^\[([\d.]+)\] \d+ bytes from", self._log.read_text(),
                                           re.M)]
        assert len(at) > 10, self._log.read_text()[-500:]
        return max(b - a for a, b in zip(at, at[1:]))


def far_port(topo, i, **keys):
    """Port i of the far host: another socket, the same addresses."""
    return topo.port(i, socket=str(topo.workdir / f"far-vm{i}.sock"), **keys)


def two_daemons(topo, n_ports=2, port=None, **keys):
    """Both hosts serve the same guests. port: further keys of their ports"""
    port = port or {}
    topo.near_vhost = topo.daemon(ports=[topo.port(i, **port) for i in range(n_ports)],
                                  **keys).start()
    topo.far_vhost = topo.daemon(ports=[far_port(topo, i, **port) for i in range(n_ports)],
                                 ns=topo.far, **keys).start()


def incoming(topo, vm, far, **keys):
    """A QEMU that waits for guest 0, on the far host or on the near one."""
    from .guest import Guest
    path = topo.workdir / "far-vm0.sock" if far else topo.socket(0)
    name = f"vm0-{time.monotonic_ns()}"
    target = topo.add(Guest(name, topo.workdir, path, guest_mac(0), guest_ip(0),
                            more=("-incoming", "defer"), **keys))
    target.start(wait=False)
    target.channel.boot = vm.channel.boot
    return target


def begin(source, target, bandwidth=1 << 30, **parameters):
    """Start to migrate. `bandwidth` in bytes a second."""
    uri = f"unix:{target.workdir / target.name}.migrate"
    target.qmp("migrate-incoming", uri=uri)
    source.qmp("migrate-set-parameters", **{"max-bandwidth": bandwidth, **parameters})
    source.qmp("migrate", uri=uri)


def wait_status(source, status, timeout=60):
    """Until the migration has that status. Returns what query-migrate tells."""
    def there():
        info = source.qmp("query-migrate")
        if info["status"] == "failed" and status != "failed":
            raise RuntimeError(f"migration failed: {info.get('error-desc')}")
        return info if info["status"] == status else None
    return wait_for(there, timeout, lambda: f"migration {status}; it is "
                                            f"{source.qmp('query-migrate')['status']}")


def complete(source, target, timeout=90):
    """Wait for the end, and for the guest to run at its target. Returns query-migrate's words."""
    info = wait_status(source, "completed", timeout)
    wait_for(lambda: target.qmp("query-status")["status"] == "running", 20, "the guest at its target")
    source.stop()
    return info


def features(daemon, port="vm0"):
    return daemon.ctl("port", "show", port)["features"]


def tell(what, info, stream, outage):
    """The figures, for the log of the test run."""
    size, gap = stream
    print(f"\n{what}: no echo for {outage * 1000:.0f} ms, no progress of TCP for {gap * 1000:.0f} ms, "
          f"{size >> 20} MiB carried; QEMU: downtime {info.get('downtime')} ms, total "
          f"{info.get('total-time')} ms, {info['ram']['transferred'] >> 20} MiB in "
          f"{info['ram'].get('dirty-sync-count')} rounds (patience {base.patience():g})")
