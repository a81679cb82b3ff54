# SPDX-License-Identifier: BSD-2-Clause
"""Network namespaces, veth pairs, and the traffic tools that run in them.

Names carry the process id. A namespace whose process is gone (a test that was killed) is removed
by the next one that starts.
"""
import json
import os
import re
import subprocess
from contextlib import suppress
from pathlib import Path

from . import base
from .base import PREFIX, Closing, Process, run, wait_for

NETNS = Path("/run/netns")
_serial = 0


def _unique(label):
    global _serial
    _serial += 1
    return f"{PREFIX}{os.getpid()}-{_serial}-{label}"


def sweep():
    """Remove what killed runs of the tests left behind."""
    with suppress(OSError):
        for path in NETNS.iterdir():
            owner = re.match(rf"{PREFIX}(\d+)-", path.name)
            if owner and not Path(f"/proc/{owner[1]}").exists():
                run("ip", "netns", "del", path.name, check=False)


class Namespace(Closing):
    """A network namespace with a name of its own; `close` removes it and all in it."""

    def __init__(self, label):
        base.need_root()
        base.tool("ip")
        self.name = _unique(label)
        done = run("ip", "netns", "add", self.name, check=False)
        if done.returncode:
            raise base.Skip(f"no network namespaces here: {done.stdout.strip()}")
        self._entry = base.on_exit(self._remove)
        self.ip("link", "set", "lo", "up")

    def _remove(self):
        run("ip", "netns", "del", self.name, check=False)

    def close(self):
        base.cancel(self._entry)
        self._remove()

    def argv(self, *argv):
        """The command line that runs argv in here. Only the network is another one, so the
        BPF file system stays where it is."""
        return ["nsenter", f"--net={NETNS / self.name}", "--", *[str(a) for a in argv]]

    def run(self, *argv, **kw):
        return run(*self.argv(*argv), **kw)

    def ip(self, *argv, **kw):
        return self.run("ip", *argv, **kw)

    def spawn(self, name, argv, log, **kw):
        return Process(name, self.argv(*argv), log, **kw)

    def mac(self, dev):
        return json.loads(self.ip("-j", "link", "show", "dev", dev).stdout)[0]["address"]

    def sysctl(self, key, value):
        self.run("sysctl", "-q", "-w", f"{key}={value}")

    def sysfs(self, path, value):
        """Write to a file below /sys/class/net as it is in here. Returns whether that worked."""
        done = run("ip", "netns", "exec", self.name, "sh", "-c",
                   f"echo {value} > /sys/class/net/{path}", check=False)
        return done.returncode == 0

    # ---- traffic ------------------------------------------------------------------------

    def ping(self, address, count=3, interval=0.2, deadline=None, opts=()):
        """Replies received out of `count` echo requests. With a deadline ping sends more of them
        while answers are slow to come: that is no fault, but an answer that comes twice is."""
        deadline = deadline or int(5 * base.patience())
        done = self.run("ping", "-n", "-c", count, "-i", interval, "-w", deadline, *opts, address,
                        check=False, timeout=deadline + 10)
        assert "duplicates" not in done.stdout, done.stdout
        got = re.search(r"(\d+) received", done.stdout)
        return min(int(got[1]), count) if got else 0

    def wait_ping(self, address, timeout=10):
        wait_for(lambda: self.ping(address, count=1, deadline=1), timeout,
                 f"answer from {address} to {self.name}")

    def ping_responders(self, address, seconds=3, opts=()):
        """Everyone who answers a broadcast or multicast ping."""
        done = self.run("ping", "-n", "-i", "0.5", "-w", seconds, *opts, address, check=False)
        return {m[1] for m in re.finditer(r"bytes from ([0-9a-f.:]+[0-9a-f])", done.stdout)}

    def iperf_server(self, log, port=5201):
        base.tool("iperf3")
        server = self.spawn("iperf3 -s", ["iperf3", "-s", "-p", port], log)
        wait_for(lambda: server.require_alive() and
                 f":{port}" in self.run("ss", "-Hltn").stdout, 5, "iperf3 server")
        return server

    def iperf(self, address, seconds=2, port=5201, udp_mbit=None, reverse=False):
        """One iperf3 run as client; the report of its end."""
        argv = ["iperf3", "-J", "-c", address, "-p", port, "-t", seconds]
        argv += ["-u", "-b", f"{udp_mbit}M", "-l", "1200"] if udp_mbit else []
        argv += ["-R"] if reverse else []
        return iperf_report(lambda: self.run(*argv, check=False, timeout=(seconds + 20) *
                                             base.patience()).stdout)


def iperf_report(run):
    """`end` of iperf3's JSON, or an error that quotes what iperf3 said.

    run  one run as client; what it prints. Once more while the server has not noticed yet that the
         one before has ended: it serves one at a time.
    """
    def served():
        text = run()
        return None if "the server is busy" in text else text
    text = wait_for(served, 10, "iperf3 server that is not busy", every=0.2)
    start = text.find("{")
    try:
        report = json.loads(text[start:])
    except ValueError:
        raise RuntimeError(f"iperf3: {text[-500:]}") from None
    if "error" in report:
        raise RuntimeError(f"iperf3: {report['error']}")
    return report["end"]


def tcp_mbit(end):
    """Megabits a second that arrived."""
    return end["sum_received"]["bits_per_second"] / 1e6


def udp_result(end):
    """(megabits a second sent, lost datagrams in percent)"""
    return end["sum"]["bits_per_second"] / 1e6, end["sum"]["lost_percent"]


def veth(ns_a, dev_a, ns_b, dev_b, queues=1):
    """A veth pair between two namespaces, both ends up, with `queues` queues each way.

    Frames that a local stack sends carry unfinished checksums over veth, which no AF_XDP
    receiver could repair, so transmit offloads are off at both ends.
    """
    ns_a.ip("link", "add", dev_a, "numtxqueues", queues, "numrxqueues", queues, "type", "veth",
            "peer", "name", dev_b, "netns", ns_b.name, "numtxqueues", queues,
            "numrxqueues", queues)
    for ns, dev in ((ns_a, dev_a), (ns_b, dev_b)):
        _bring_up(ns, dev)


def _bring_up(ns, dev):
    ns.run("ethtool", "-K", dev, "tx", "off", "txvlan", "off", "rxvlan", "off", check=False)
    ns.ip("link", "set", dev, "up")


def need_veth(why):
    """Called by a test that cannot do with the devices of VX_NICS."""
    if os.environ.get("VX_NICS"):
        raise base.Skip(f"not with VX_NICS: {why}")


def rename(ns, old, new):
    """Kernels before 6.2 rename a device only while it is down."""
    if ns.ip("link", "set", old, "name", new, check=False).returncode:
        ns.ip("link", "set", old, "down")
        ns.ip("link", "set", old, "name", new)
        ns.ip("link", "set", new, "up")


class Lent(Closing):
    """A device of the machine, named by VX_NICS, under another name in a namespace until close."""

    def __init__(self, real, ns, dev, queues):
        self.real, self.ns, self.dev = real, ns, dev
        self._mac = json.loads(run("ip", "-j", "link", "show", "dev", real).stdout)[0]["address"]
        self._entry = base.on_exit(self._give_back)
        run("ip", "link", "set", real, "down")
        run("ip", "link", "set", real, "mtu", 1500, "netns", ns.name, "name", dev)
        have = re.findall(r"Combined:\s+(\d+)", ns.run("ethtool", "-l", dev, check=False).stdout)
        if int((have or [1])[-1]) != queues:
            done = ns.run("ethtool", "-L", dev, "combined", queues, check=False)
            if done.returncode:
                self.close()
                raise base.Skip(f"{real} cannot have {queues} queues: {done.stdout.strip()}")
        _bring_up(ns, dev)

    def _give_back(self):
        # A test may have renamed it, and failed.
        names = [link["ifname"] for link in json.loads(self.ns.ip("-j", "link").stdout)
                 if link.get("address") == self._mac]
        for dev in names:
            for off in ("xdp", "xdpgeneric"):  # of a program that no pinned link holds
                self.ns.ip("link", "set", dev, off, "off", check=False)
            self.ns.ip("link", "set", dev, "promisc", "off", "mtu", 1500, "down", check=False)
            self.ns.ip("link", "set", dev, "netns", os.getpid(), "name", self.real, check=False)

    def close(self):
        base.cancel(self._entry)
        self._give_back()


def cable(ns_a, dev_a, ns_b, dev_b, queues=1):
    """A veth pair, or the two devices that VX_NICS=a,b names, which are connected to each other.
    Returns what is to be closed before the namespaces are."""
    names = os.environ.get("VX_NICS")
    if not names:
        veth(ns_a, dev_a, ns_b, dev_b, queues)
        return []
    a, b = names.split(",")
    lent = [Lent(a, ns_a, dev_a, queues)]
    try:
        lent.append(Lent(b, ns_b, dev_b, queues))
        # The far end plays all stations of a network.
        ns_b.ip("link", "set", dev_b, "promisc", "on")
    except BaseException:
        for device in lent:
            device.close()
        raise
    return lent


class Capture(Closing):
    """tcpdump on a device; lines() is what it printed so far."""

    def __init__(self, ns, dev, expression, log):
        base.tool("tcpdump")
        self._log = Path(log)
        self._proc = ns.spawn("tcpdump", ["tcpdump", "-l", "-n", "-e", "--immediate-mode",
                                          "-i", dev, *expression.split()], log)
        wait_for(lambda: self._proc.require_alive() and b"listening on" in self._log.read_bytes(),
                 5, "tcpdump")

    def lines(self):
        text = self._log.read_text(errors="replace").splitlines()
        return [line for line in text if re.match(r"\d\d:\d\d:", line)]

    def close(self):
        self._proc.stop(sig=subprocess.signal.SIGINT)
