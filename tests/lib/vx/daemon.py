# SPDX-License-Identifier: BSD-2-Clause
"""vhost-xdpd under test: its configuration file, its life, what it uses, what it says."""
import json
import os
import re
import shutil
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import yaml

from . import base
from .base import PREFIX, Closing, Process, run, wait_for

BPFFS = Path("/sys/fs/bpf")
AF_XDP = 44
SANITIZER = re.compile(r"ERROR: \w*Sanitizer|runtime error:|SUMMARY: \w*Sanitizer")


def need_bpffs():
    """Mount the BPF file system where it is missing (it is left mounted: systemd does so, too)."""
    if not os.path.ismount(BPFFS):
        done = run("mount", "-t", "bpf", "bpf", BPFFS, check=False)
        if done.returncode:
            raise base.Skip(f"no BPF file system here: {done.stdout.strip()}")


def need_af_xdp():
    try:
        socket.socket(AF_XDP, socket.SOCK_RAW).close()
    except OSError as error:
        raise base.Skip(f"no AF_XDP sockets here: {error.strerror}") from None


def remove_pins(folder):
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def sweep_pins():
    """Remove pins of killed test runs."""
    with suppress(OSError):
        for path in BPFFS.iterdir():
            owner = re.match(rf"{PREFIX}(\d+)-", path.name)
            if owner and not Path(f"/proc/{owner[1]}").exists():
                remove_pins(path)


class Daemon(Closing):
    """vhost-xdpd in a namespace.

    nics, ports    lists of mappings, as in the configuration file
    more           further top-level keys
    pin_dir        folder of the pinned maps, removed in the end; default: one of its own
    The control socket is private to this object, too.
    """

    _serial = 0

    def __init__(self, workdir, ns=None, nics=(), ports=(), workers=({"cpu": 0},),
                 pin_dir=None, **more):
        base.need_root()
        need_bpffs()
        need_af_xdp()
        Daemon._serial += 1
        self.workdir, self.ns = Path(workdir), ns
        self.program = base.binary("vhost-xdpd")
        self.control = self.workdir / f"control{Daemon._serial}.sock"
        self.pin_dir = Path(pin_dir or BPFFS / f"{PREFIX}{os.getpid()}-{Daemon._serial}")
        self.config = {"control-socket": str(self.control), "pin-dir": str(self.pin_dir),
                       "workers": [dict(w) for w in workers], "nics": [dict(n) for n in nics],
                       "ports": [dict(p) for p in ports], **more}
        self.file = self.workdir / f"vhost-xdpd{Daemon._serial}.yaml"
        self.log = self.workdir / f"vhost-xdpd{Daemon._serial}.log"
        self.process = None
        self._notify = self.workdir / f"notify{Daemon._serial}.sock"
        self._pins_entry = base.on_exit(remove_pins, self.pin_dir)

    def write(self):
        self.file.write_text(yaml.safe_dump(self.config, sort_keys=False))

    def _argv(self, *argv):
        return self.ns.argv(*argv) if self.ns else [str(a) for a in argv]

    def check(self):
        """Exit status and output of --check-config."""
        self.write()
        done = run(*self._argv(self.program, "--config", self.file, "--check-config"), check=False)
        return done.returncode, done.stdout

    def start(self, wait=True):
        self.write()
        with suppress(FileNotFoundError):
            self._notify.unlink()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(self._notify))
            ready.setblocking(False)
            env = dict(os.environ, NOTIFY_SOCKET=str(self._notify))
            env.pop("JOURNAL_STREAM", None)
            self.process = Process(
                "vhost-xdpd", self._argv(self.program, "--config", self.file, "--foreground"),
                self.log, env=env)
            if wait:
                wait_for(lambda: self.process.require_alive() and self._is_ready(ready), 15,
                         lambda: f"READY=1 from vhost-xdpd; its log ends with:\n{self.tail()}")
        return self

    @staticmethod
    def _is_ready(ready):
        with suppress(BlockingIOError):
            while True:
                if b"READY=1" in ready.recv(4096).split(b"\n"):
                    return True
        return False

    @property
    def pid(self):
        return self.process.pid

    def stop(self):
        """End it as systemd would; a status other than 0 or a sanitizer's report is an error."""
        status = self.process.stop()
        self._judge(status)
        return status

    def _judge(self, status):
        text = self.log.read_text(errors="replace")
        if SANITIZER.search(text):
            raise AssertionError(f"sanitizer report in {self.log}:\n{text[-6000:]}")
        if status != 0:
            raise AssertionError(f"vhost-xdpd ended with status {status}:\n{self.tail()}")

    def kill(self):
        """kill -9"""
        self.process.popen.send_signal(signal.SIGKILL)
        self.process.kill()

    def restart(self):
        self.stop()
        return self.start()

    def reload(self):
        self.write()
        self.process.popen.send_signal(signal.SIGHUP)

    def close(self):
        try:
            if self.process and self.process.alive():
                self.stop()
            elif self.process:
                self._judge(0)
        finally:
            if self.process:
                self.process.kill()
            base.cancel(self._pins_entry)
            remove_pins(self.pin_dir)

    def tail(self, lines=30):
        return self.process.tail(lines) if self.process else ""

    # ---- what it says -------------------------------------------------------------------

    @property
    def ctl_program(self):
        return base.binary("vhost-xdpctl")

    def ctl(self, *verb):
        """vhost-xdpctl -j: the parsed answer."""
        done = run(self.ctl_program, "-j", "--socket", self.control, *verb)
        return json.loads(done.stdout)

    def ctl_text(self, *verb):
        return run(self.ctl_program, "--socket", self.control, *verb).stdout

    # ---- what it uses -------------------------------------------------------------------

    def cpu_ticks(self):
        """User and system time so far, in clock ticks (10 ms)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def cpu_ns(self):
        """Time on a CPU so far of all threads, in nanoseconds (scheduler's own account)."""
        total = 0
        for path in Path(f"/proc/{self.pid}/task").glob("*/schedstat"):
            with suppress(OSError, IndexError):
                total += int(path.read_text().split()[0])
        return total

    def own_memory(self):
        """Resident bytes of all that the daemon has mapped (heap, stacks, AF_XDP frame memory,
        rings, program, libraries) but the guests' memory, which QEMU names
        "memfd:memory-backend-memfd" and vfe "memfd:vfe-guest"."""
        total, counted = 0, True
        for line in Path(f"/proc/{self.pid}/smaps").read_text().splitlines():
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                counted = "memory-backend-memfd" not in line and "vfe-guest" not in line
            elif counted and line.startswith("Rss:"):
                total += int(line.split()[1]) * 1024
        return total

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def idle_ticks(self, seconds):
        before = self.cpu_ticks(), self.cpu_ns()
        time.sleep(seconds)
        return self.cpu_ticks() - before[0], self.cpu_ns() - before[1]
