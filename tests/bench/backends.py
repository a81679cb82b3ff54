# SPDX-License-Identifier: BSD-2-Clause
"""The back ends that scripts/bench compares, each behind the same few calls.

A back end that is not being measured is stopped (SIGSTOP), so that its polling takes nothing from
the one that is. All of them work on one CPU, the front end on another.
"""
import os
import signal
from contextlib import suppress
from pathlib import Path

from vx.base import wait_for
from vx.daemon import Daemon
from vx.net import Namespace, veth
from vx.peers import Testpmd

MAC_A, MAC_B = "02:00:00:00:00:01", "02:00:00:00:00:02"
NOBODY = "02:00:00:00:00:fe"


class Backend:
    """name, sockets (one per guest), and the process behind them.

    realtime: while it is measured, its threads run with real-time priority, so that what else
    goes on on this machine cannot take their CPU away.
    """

    def __init__(self, name, sockets, process, realtime):
        self.name, self.sockets, self.process = name, sockets, process
        self.realtime = realtime
        self.counter = None  # frames that have arrived at the peer, for the AF_XDP tests
        wait_for(lambda: process.require_alive() and all(s.exists() for s in sockets), 15,
                 f"sockets of {name}")

    def _signal(self, sig):
        self.process.require_alive()
        os.kill(self.process.pid, sig)

    def _schedule(self, policy, priority):
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setscheduler(int(task.name), policy, os.sched_param(priority))

    def pause(self):
        if self.realtime:
            self._schedule(os.SCHED_OTHER, 0)
        self._signal(signal.SIGSTOP)
        wait_for(self._stopped, 2, f"stop of {self.name}", every=0.005)

    def _stopped(self):
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return all("T" == (t / "stat").read_text().rpartition(")")[2].split()[0] for t in tasks)

    def schedule(self):
        """Per thread: nanoseconds on a CPU, and waiting for one, so far."""
        found = {}
        for path in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"):
            with suppress(OSError, IndexError):
                ran, waited = path.read_text().split()[:2]
                found[path.parent.name] = int(ran), int(waited)
        return found

    def waited_since(self, before):
        """Share of its active time in which the busiest thread, the worker, had to wait for a
        CPU, since schedule() gave `before`."""
        deltas = [(ran - before.get(task, (0, 0))[0], waited - before.get(task, (0, 0))[1])
                  for task, (ran, waited) in self.schedule().items()]
        ran, waited = max(deltas, default=(0, 0))
        return waited / (ran + waited) if ran + waited else 0

    def resume(self):
        if self.realtime:
            self._schedule(os.SCHED_FIFO, 1)
        self._signal(signal.SIGCONT)


def _port(name, socket, mac, nic):
    return {"name": name, "socket": str(socket), "listen": True, "nic": nic, "macs": [mac]}


class Stage:
    """A set of back ends that are measured in turn. Closed last first, also after a failure."""

    realtime = False

    def __init__(self, workdir):
        self.workdir = Path(workdir)
        self.backends = []
        self._open = []

    def _add(self, thing):
        self._open.append(thing)
        return thing

    def _join(self, name, sockets, process):
        backend = Backend(name, sockets, process, self.realtime)
        self.backends.append(backend)
        backend.pause()
        return backend

    def close(self):
        for backend in self.backends:
            if backend.process.alive():
                backend.resume()
        errors = []
        while self._open:
            try:
                self._open.pop().close()
            except Exception as error:  # the rest must be closed all the same
                errors.append(error)
        if errors:
            raise errors[0]

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            self.close()
        except Exception:
            if kind is None:
                raise


class GuestToGuest(Stage):
    """Two guests on one back end: the daemon's internal nic, testpmd in io mode."""

    def __init__(self, workdir, cpu, with_testpmd, realtime):
        super().__init__(workdir)
        self.realtime = realtime
        try:
            self._daemon(cpu)
            if with_testpmd:
                self._testpmd(cpu)
        except BaseException:
            super().__exit__(BaseException, None, None)
            raise

    def _daemon(self, cpu):
        sockets = [self.workdir / "g2g-vm1", self.workdir / "g2g-vm2"]
        ports = [_port("vm1", sockets[0], MAC_A, "inner"), _port("vm2", sockets[1], MAC_B, "inner")]
        daemon = self._add(Daemon(self.workdir, None, [{"name": "inner", "mode": "internal"}], ports,
                                  workers=[{"cpu": cpu}]))
        daemon.start()
        self._join("vhost-xdpd", sockets, daemon.process)

    def _testpmd(self, cpu):
        sockets = [self.workdir / "g2g-pmd1", self.workdir / "g2g-pmd2"]
        vdevs = [f"net_vhost{i},iface={s}" for i, s in enumerate(sockets)]
        pmd = self._add(Testpmd(self.workdir, vdevs, cpu=cpu, huge=True))
        pmd.start()
        self._join("testpmd", sockets, pmd.process)


class GuestToWire(Stage):
    """One guest on an AF_XDP socket of a veth device; the other end drops and counts.

    Never with real-time priority: the kernel's own threads have a part in moving these frames.
    """

    def __init__(self, workdir, cpu, with_testpmd, drop_object):
        super().__init__(workdir)
        self.drop_object = drop_object
        try:
            self.host = self._add(Namespace("host"))
            self.wire = self._add(Namespace("wire"))
            self._daemon(cpu)
            if with_testpmd:
                self._testpmd(cpu)
        except BaseException:
            super().__exit__(BaseException, None, None)
            raise

    def _wire(self, nic, peer):
        veth(self.host, nic, self.wire, peer)
        # No frames of the kernel's own (neighbour discovery) among those that are counted.
        for ns, dev in ((self.host, nic), (self.wire, peer)):
            ns.sysctl(f"net.ipv6.conf.{dev}.disable_ipv6", 1)
        if self.drop_object:
            self.wire.ip("link", "set", "dev", peer, "xdpdrv", "obj", self.drop_object, "sec",
                         "xdp.frags")
        return lambda: self._received(peer)

    def _received(self, dev):
        for line in self.wire.run("cat", "/proc/net/dev").stdout.splitlines():
            name, colon, fields = line.strip().partition(":")
            if colon and name == dev:
                return int(fields.split()[1])
        raise RuntimeError(f"no device {dev}")

    def _daemon(self, cpu):
        counter = self._wire("nicd", "wired")
        socket = self.workdir / "wire-vm1"
        daemon = self._add(Daemon(self.workdir, self.host, [{"name": "nicd", "mode": "dedicated"}],
                                  [_port("vm1", socket, MAC_A, "nicd")], workers=[{"cpu": cpu}]))
        daemon.start()
        self._join("vhost-xdpd", [socket], daemon.process).counter = counter

    def _testpmd(self, cpu):
        counter = self._wire("nict", "wiret")
        socket = self.workdir / "wire-pmd1"
        pmd = self._add(Testpmd(self.workdir, [f"net_vhost0,iface={socket}",
                                               "net_af_xdp0,iface=nict,start_queue=0,queue_count=1"],
                                cpu=cpu, huge=True, ns=self.host))
        pmd.start()
        self._join("testpmd", [socket], pmd.process).counter = counter
