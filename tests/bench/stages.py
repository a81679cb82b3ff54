# SPDX-License-Identifier: BSD-2-Clause
"""Sets of back ends that are started together and measured in turn."""
import json
import os
from contextlib import suppress
from pathlib import Path

from backends import Backend, guest_mac
from scenarios import OURS, OVS, TESTPMD
from vx.base import Closing, Skip, run, wait_for
from vx.daemon import Daemon
from vx.net import Namespace, veth
from vx.peers import OpenVSwitch, Testpmd


def ports_of(sockets, nic):
    return [{"name": s.name, "socket": str(s), "listen": True, "nic": nic, "macs": [guest_mac(i)]}
            for i, s in enumerate(sockets)]


class Stage(Closing):
    """`with` a stage: its back ends run, each one stopped. Closed last first, also after a failure.

    peers     names of those to start besides our own
    say       where notes go
    """

    realtime = False

    def __init__(self, workdir, cpu, peers, say):
        self.workdir, self.cpu, self.peers, self.say = Path(workdir), cpu, peers, say
        self.backends = []
        self._open = []

    def _start(self):
        raise NotImplementedError

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__(BaseException, None, None)
            raise
        return self

    def _add(self, thing):
        self._open.append(thing)
        return thing

    def _join(self, name, sockets, process, realtime):
        backend = Backend(name, sockets, process, realtime)
        self.backends.append(backend)
        backend.pause()
        return backend

    def close(self):
        for backend in self.backends:
            if backend.process.alive():
                backend.resume(realtime=False)
        errors = []
        while self._open:
            try:
                self._open.pop().close()
            except Exception as error:  # the rest must be closed all the same
                errors.append(error)
        if errors:
            raise errors[0]


class Guests(Stage):
    """n guests on one back end: the daemon's internal nic, a testpmd in io mode for each number in
    `pairs`, Open vSwitch with DPDK and the action NORMAL. `more`: keys of the daemon's configuration."""

    def __init__(self, workdir, cpu, peers, say, realtime, n=2, pairs=(2,), switch=2, **more):
        super().__init__(workdir, cpu, peers, say)
        self.realtime, self.n, self.pairs, self.switch = realtime, n, pairs, switch
        self.more = more

    def _sockets(self, label, n):
        folder = self.workdir / f"{label}-{n}"
        folder.mkdir(exist_ok=True)
        return [folder / f"vm{i}" for i in range(n)]

    def _start(self):
        self._daemon()
        if TESTPMD in self.peers:
            for n in self.pairs:
                self._testpmd(n)
        if OVS in self.peers and self.switch:
            try:
                self._ovs(self.switch)
            except (Skip, RuntimeError, TimeoutError) as error:
                self.say(f"note: Open vSwitch with DPDK does not start here and is left out: "
                         f"{str(error).strip().splitlines()[-1]}")

    def _daemon(self):
        sockets = self._sockets("ours", self.n)
        daemon = self._add(Daemon(self.workdir, None, [{"name": "inner", "mode": "internal"}],
                                  ports_of(sockets, "inner"), workers=[{"cpu": self.cpu}],
                                  **self.more))
        daemon.start()
        self._join(OURS, sockets, daemon.process, self.realtime)

    def _testpmd(self, n):
        sockets = self._sockets("pmd", n)
        vdevs = [f"net_vhost{i},iface={s}" for i, s in enumerate(sockets)]
        pmd = self._add(Testpmd(self.workdir, vdevs, cpu=self.cpu, huge=True))
        pmd.start()
        self._join(TESTPMD, sockets, pmd.process, self.realtime)

    def _ovs(self, n):
        ns = self._add(Namespace("ovs"))
        switch = self._add(OpenVSwitch(self.workdir, ns, pmd_cpu=self.cpu, dpdk=True))
        switch.bridge()
        sockets = [switch.add_vhost("br0", f"vm{i}") for i in range(n)]
        # Never with real-time priority: its polling thread would keep its main thread from the CPU.
        self._join(OVS, sockets, switch.switch, realtime=False)


class Wire(Stage):
    """One guest on an AF_XDP socket of a veth device; the other end drops and counts.

    threaded: our device's other end receives in a kernel thread on the back end's CPU. testpmd's
    does not: without a worker that yields it is slower that way.
    mode: of our nic. testpmd takes every frame for its one guest, as a dedicated nic does.
    """

    def __init__(self, workdir, cpu, peers, say, realtime, drop_object, threaded=False,
                 mode="dedicated"):
        super().__init__(workdir, cpu, peers, say)
        self.realtime = realtime
        self.drop_object, self.threaded, self.mode = drop_object, threaded, mode

    def _start(self):
        self.host = self._add(Namespace("host"))
        self.wire = self._add(Namespace("wire"))
        self._daemon()
        if TESTPMD in self.peers:
            self._testpmd()

    def _wire(self, nic, peer):
        veth(self.host, nic, self.wire, peer)
        # No frames of the kernel's own (neighbour discovery) among those that are counted.
        for ns, dev in ((self.host, nic), (self.wire, peer)):
            ns.sysctl(f"net.ipv6.conf.{dev}.disable_ipv6", 1)
        if self.drop_object:
            self.wire.ip("link", "set", "dev", peer, "xdpdrv", "obj", self.drop_object, "sec",
                         "xdp.frags")

    def _join_wire(self, name, socket, process, peer):
        backend = self._join(name, [socket], process, self.realtime)
        backend.counter = lambda: self._received(peer)
        backend.wire_end = self.wire, peer

    def _received(self, dev):
        shown = self.wire.ip("-j", "-s", "link", "show", "dev", dev).stdout
        return json.loads(shown)[0]["stats64"]["rx"]["packets"]

    def _daemon(self):
        self._wire("nicd", "wired")
        if self.threaded:
            self._thread("wired")
        socket = self.workdir / "wire-vm0"
        daemon = self._add(Daemon(self.workdir, self.host, [{"name": "nicd", "mode": self.mode}],
                                  ports_of([socket], "nicd"), workers=[{"cpu": self.cpu}]))
        daemon.start()
        self._join_wire(OURS, socket, daemon.process, "wired")

    def _thread(self, dev):
        """NAPI of a device in a kernel thread, which gets our CPU, and our priority, or a worker that
        yields would be given the CPU back. The setting goes with the device."""
        done = run("ip", "netns", "exec", self.wire.name, "sh", "-c",
                   f"echo 1 >/sys/class/net/{dev}/threaded", check=False)
        if done.returncode:
            raise Skip(f"no threaded NAPI: {done.stdout.strip()}")
        for pid in wait_for(lambda: _kernel_threads(f"napi/{dev}-"), 5, f"NAPI thread of {dev}"):
            os.sched_setaffinity(pid, {self.cpu})
            if self.realtime:
                os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))

    def _testpmd(self):
        self._wire("nict", "wiret")
        socket = self.workdir / "wire-pmd0"
        pmd = self._add(Testpmd(self.workdir, [f"net_vhost0,iface={socket}",
                                               "net_af_xdp0,iface=nict,start_queue=0,queue_count=1"],
                                cpu=self.cpu, huge=True, ns=self.host))
        pmd.start()
        self._join_wire(TESTPMD, socket, pmd.process, "wiret")


def _kernel_threads(prefix):
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):
            if path.read_text().startswith(prefix):
                found.append(int(path.parent.name))
    return found
