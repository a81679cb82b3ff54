# SPDX-License-Identifier: BSD-2-Clause
"""The network that most tests use: a host with a veth "NIC", and a wire.

     namespace "host"                      namespace "wire"
    ┌───────────────────────────┐         ┌──────────────────┐
    │ vhost-xdpd   nic0 ────────┼─ veth ──┼── wire0          │
    │              198.18.0.1   │         │   198.18.0.2     │
    └────┬──────────────────────┘         └──────────────────┘
         └ vhost-user sockets: guests 198.18.0.11, 198.18.0.12 ...

With far=True there is another host, "far", with a nic0 of its own; a bridge in the wire joins them.
"""
import os
import re
import shutil
import tempfile
from pathlib import Path

from . import base
from .daemon import Daemon, sweep_pins
from .guest import Guest
from .net import Namespace, cable, sweep, veth

HOST, WIRE = "198.18.0.1", "198.18.0.2"


def guest_mac(i):
    return f"52:54:00:00:00:{10 + i:02x}"


def guest_ip(i):
    return f"198.18.0.{11 + i}/24"


def sweep_mounts():
    """Undo the mounts in work folders of killed test runs."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        where = line.split()[1]
        owner = re.match(rf"{tempfile.gettempdir()}/{base.PREFIX}(\d+)-", where)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            base.run("umount", "-l", where, check=False)


class Topology(base.Closing):
    """Both namespaces, and a work folder that is kept when a test fails (VX_KEEP=1: always)."""

    def __init__(self, label, queues=1, mtu=None, far=False):
        base.need_root()
        sweep()
        sweep_pins()
        sweep_mounts()
        self.workdir = Path(tempfile.mkdtemp(prefix=f"{base.PREFIX}{os.getpid()}-{label}-"))
        self.host, self.wire = Namespace("host"), Namespace("wire")
        self._open = cable(self.host, "nic0", self.wire, "wire0", queues)
        if mtu:
            self.host.ip("link", "set", "nic0", "mtu", mtu)
            self.wire.ip("link", "set", "wire0", "mtu", mtu)
        self.host.ip("addr", "add", f"{HOST}/24", "dev", "nic0")
        self.far = Namespace("far") if far else None
        if far:
            self._join_far()
        self.wire.ip("addr", "add", f"{WIRE}/24", "dev", "br0" if far else "wire0")
        for ns in (self.host, self.wire):
            ns.sysctl("net.ipv4.icmp_echo_ignore_broadcasts", 0)
        self.failed = False

    def _join_far(self):
        veth(self.far, "nic0", self.wire, "wire1")
        self.wire.ip("link", "add", "br0", "type", "bridge", "forward_delay", 0)
        for dev in ("wire0", "wire1"):
            self.wire.ip("link", "set", dev, "master", "br0")
        self.wire.ip("link", "set", "br0", "up")

    def add(self, thing):
        """Have it closed or stopped with the topology, last first."""
        self._open.append(thing)
        return thing

    def socket(self, i):
        return self.workdir / f"vm{i}.sock"

    def port(self, i, **keys):
        return {"name": f"vm{i}", "socket": str(self.socket(i)), "listen": True, "nic": "nic0",
                "macs": [guest_mac(i)], **keys}

    def daemon(self, n_ports=2, nics=None, ports=None, ns=None, **more):
        nics = nics or [{"name": "nic0", "mode": "steered"}]
        ports = ports if ports is not None else [self.port(i) for i in range(n_ports)]
        return self.add(Daemon(self.workdir, ns or self.host, nics, ports, **more))

    def guest(self, i, **keys):
        return self.add(Guest(f"vm{i}", self.workdir, self.socket(i), guest_mac(i), guest_ip(i),
                              **keys))

    def guests(self, n=2, **keys):
        """n guests that boot side by side."""
        guests = [self.guest(i, **keys).start(wait=False) for i in range(n)]
        for g in guests:
            g.wait_boot()
        return guests

    def close(self):
        with base.undisturbed():
            self._close()

    def _close(self):
        errors = []
        while self._open:
            thing = self._open.pop()
            try:
                (getattr(thing, "close", None) or thing.stop)()
            except Exception as error:
                errors.append(error)
        for ns in (self.wire, self.host, self.far):
            if ns:
                ns.close()
        if errors or self.failed or os.environ.get("VX_KEEP"):
            print(f"logs are kept in {self.workdir}")
        else:
            shutil.rmtree(self.workdir, ignore_errors=True)
        if errors:
            raise errors[0]

    def __exit__(self, kind, value, trace):
        # An interrupted run leaves nothing behind, a failed one its logs.
        self.failed = self.failed or (kind is not None and issubclass(kind, Exception))
        super().__exit__(kind, value, trace)
