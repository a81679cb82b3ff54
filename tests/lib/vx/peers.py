# SPDX-License-Identifier: BSD-2-Clause
"""Other people's programs that the daemon is tested against."""
import os
import re
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from . import base
from .base import Closing, Process, Skip, run, tool, wait_for

HUGEPAGES = Path("/proc/sys/vm/nr_hugepages")


class Hugepages:
    """At least n free 2 MiB pages for the time of a with block; the setting is put back."""

    def __init__(self, n):
        self.n = n

    @staticmethod
    def _free():
        meminfo = Path("/proc/meminfo").read_text()
        return int(re.search(r"HugePages_Free:\s+(\d+)", meminfo)[1])

    def __enter__(self):
        base.need_root()
        self.before = HUGEPAGES.read_text()
        self._entry = base.on_exit(HUGEPAGES.write_text, self.before)
        HUGEPAGES.write_text(str(int(self.before) + max(0, self.n - self._free())))
        if self._free() < self.n:
            self.__exit__()
            raise Skip(f"no {self.n} hugepages of 2 MiB to be had")
        return self

    def __exit__(self, *exc):
        HUGEPAGES.write_text(self.before)
        base.cancel(self._entry)


class Testpmd(Closing):
    """DPDK's testpmd, driven through its prompt.

    vdevs    list of --vdev arguments
    mode     forwarding mode
    options  further arguments of testpmd proper
    eal      further arguments of DPDK
    huge     True: 2 MiB pages; False: a memfd with ordinary pages
    """
    __test__ = False  # not a pytest class
    _serial = 0

    def __init__(self, workdir, vdevs, mode="io", options=(), cpu=1, memory=256, huge=False,
                 ns=None, eal=()):
        Testpmd._serial += 1
        name = f"{base.PREFIX}{os.getpid()}-{Testpmd._serial}"
        # Line buffers, or what a command prints would come long after the next prompt.
        argv = ["stdbuf", "-oL", tool("dpdk-testpmd"), "--lcores", f"0@{cpu},1@{cpu}", "-m", memory, "--no-pci",
                "--file-prefix", name]
        argv += ["--in-memory", "--single-file-segments"] if huge else ["--no-huge"]
        argv += eal
        for vdev in vdevs:
            argv += ["--vdev", vdev]
        argv += ["--", "-i", f"--forward-mode={mode}", "--total-num-mbufs=16384", *options]
        self.log = Path(workdir) / f"testpmd{Testpmd._serial}.log"
        argv = [str(a) for a in argv]
        self.process = Process("testpmd", ns.argv(*argv) if ns else argv, self.log,
                               stdin=subprocess.PIPE)
        self._seen = 0
        self._runtime = Path("/run/dpdk") / name
        self._wait_prompt(40)

    def _wait_prompt(self, timeout):
        def prompt():
            self.process.require_alive()
            return self.log.read_bytes().find(b"testpmd> ", self._seen) >= 0
        wait_for(prompt, timeout, lambda: f"prompt of testpmd:\n{self.process.tail()}")

    def command(self, text, timeout=15):
        """Type a command. Returns what it printed."""
        # The prompt that waits now lies before this point.
        start = self._seen = len(self.log.read_bytes())
        self.process.popen.stdin.write(text.encode() + b"\n")
        self.process.popen.stdin.flush()
        self._wait_prompt(timeout)
        return self.log.read_bytes()[start:].decode(errors="replace")

    def start(self):
        self.command("start")

    def stats(self, port=0):
        """{"rx": packets, "tx": packets, ...} of a port."""
        text = self.command(f"show port stats {port}")
        fields = {"rx": "RX-packets", "tx": "TX-packets", "rx_missed": "RX-missed",
                  "rx_bytes": "RX-bytes", "tx_bytes": "TX-bytes"}
        return {k: int(re.search(rf"{v}:\s*(\d+)", text)[1]) for k, v in fields.items()}

    def close(self):
        with suppress(OSError, TimeoutError, RuntimeError):
            self.process.popen.stdin.write(b"quit\n")
            self.process.popen.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                self.process.popen.wait(10 * base.patience())
        self.process.kill()
        run("rm", "-rf", self._runtime, check=False)


class OpenVSwitch(Closing):
    """A private ovsdb-server and ovs-vswitchd, in a namespace and a folder of their own.

    The namespace takes the devices that ovs-vswitchd makes (ovs-netdev, the bridges) along when
    it is removed.
    dpdk: with Debian's build for DPDK and vhost-user ports; needs hugepages.
    """

    DPDK_SWITCH = Path("/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk")

    def __init__(self, workdir, ns, pmd_cpu=1, dpdk=False):
        base.need_root()
        if dpdk and not self.DPDK_SWITCH.is_file():
            raise Skip("openvswitch-switch-dpdk is not installed (scripts/deps)")
        self.ns, self.dir = ns, Path(workdir) / "ovs"
        self.dir.mkdir()
        self.env = dict(os.environ, OVS_RUNDIR=str(self.dir), OVS_DBDIR=str(self.dir),
                        OVS_LOGDIR=str(self.dir), OVS_SYSCONFDIR=str(self.dir))
        self.sock = self.dir / "db.sock"
        schema = Path("/usr/share/openvswitch/vswitch.ovsschema")
        if not schema.exists():
            raise Skip("openvswitch-switch is not installed (scripts/deps)")
        run(tool("ovsdb-tool"), "create", self.dir / "conf.db", schema, env=self.env)
        self.db = ns.spawn("ovsdb-server", [
            tool("ovsdb-server"), self.dir / "conf.db", f"--remote=punix:{self.sock}",
            f"--unixctl={self.dir}/ovsdb.ctl"], self.dir / "ovsdb-server.log", env=self.env)
        wait_for(lambda: self.db.require_alive() and self.sock.exists(), 10, "ovsdb-server")
        self.vsctl("--no-wait", "init")
        self._configure({"pmd-cpu-mask": f"{1 << pmd_cpu:#x}"})
        if dpdk:
            self._configure({"dpdk-init": "true", "dpdk-lcore-mask": f"{1 << pmd_cpu:#x}",
                             "dpdk-socket-mem": "256", "dpdk-socket-limit": "512",
                             "dpdk-extra": "--no-pci --in-memory --single-file-segments"})
        self.switch = ns.spawn("ovs-vswitchd", [
            self.DPDK_SWITCH if dpdk else tool("ovs-vswitchd"), f"unix:{self.sock}",
            f"--unixctl={self.dir}/vswitchd.ctl",
            "-vconsole:info"], self.dir / "ovs-vswitchd.log", env=self.env)

    def _configure(self, settings):
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".",
                   *(f'other_config:{key}="{value}"' for key, value in settings.items()))

    def vsctl(self, *argv):
        return run(tool("ovs-vsctl"), "--timeout=20", f"--db=unix:{self.sock}", *argv,
                   env=self.env).stdout

    def appctl(self, *argv):
        return run(tool("ovs-appctl"), f"--target={self.dir}/vswitchd.ctl", *argv,
                   env=self.env).stdout

    def bridge(self, name="br0"):
        self.vsctl("add-br", name, "--", "set", "bridge", name, "datapath_type=netdev")

    def add_afxdp(self, bridge, dev):
        self._add_port(bridge, dev, "afxdp")

    def add_vhost(self, bridge, name):
        """A vhost-user port whose socket the switch makes. Returns its path."""
        self._add_port(bridge, name, "dpdkvhostuser")
        return self.dir / name

    def _add_port(self, bridge, dev, kind):
        self.vsctl("add-port", bridge, dev, "--", "set", "interface", dev, f"type={kind}")
        error = self.vsctl("--if-exists", "get", "interface", dev, "error").strip()
        if error not in ("[]", ""):
            raise RuntimeError(f"ovs-vswitchd: {dev}: {error}\n{self.switch.tail()}")

    def close(self):
        with suppress(Exception):
            self.appctl("exit", "--cleanup")
            end = time.monotonic() + 10
            while self.switch.alive() and time.monotonic() < end:
                time.sleep(0.05)
        self.switch.stop()
        self.db.stop()
