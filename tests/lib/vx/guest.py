# SPDX-License-Identifier: BSD-2-Clause
"""QEMU guests: Debian's cloud kernel, a busybox initramfs, and a command channel.

The channel is a virtio-serial port. See tests/guest/image/agent for the lines that pass.
"""
import base64
import functools
import json
import os
import re
import select
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from . import base, debs, guest_image
from .base import Process, Skip, wait_for
from .net import iperf_report

QEMU = "qemu-system-x86_64"


def need_qemu():
    """QEMU 10 or newer; older ones crash with vhost-user under emulation."""
    path = shutil.which(QEMU)
    if not path:
        raise Skip(f"{QEMU} is not installed (scripts/deps)")
    text = subprocess.run([path, "--version"], text=True, capture_output=True).stdout
    version = re.search(r"version (\d+)\.", text)
    if not version or int(version[1]) < 10:
        raise Skip(f"{QEMU} is older than 10: {text.splitlines()[0] if text else 'no version'}")
    return path


@functools.lru_cache(maxsize=None)
def image(series="stable"):
    """(kernel, initramfs); see guest_image.kernel_package() for the series."""
    try:
        return guest_image.build(base.cache_dir() / "guest", series)
    except guest_image.ImageError as error:
        raise Skip(f"no guest image: {error}") from None


@functools.lru_cache(maxsize=None)
def old_qemu():
    """Command line of the QEMU 7.2 that Debian 12 itself brings, unpacked beside the installed
    one. It finds firmware and libraries in the places of the installed packages."""
    try:
        found = [v for v in debs.versions("qemu-system-x86") if v.startswith("1:7.")]
        if not found:
            raise Skip("apt knows no QEMU 7.x")
        cache = base.cache_dir() / "debs"
        path = debs.unpacked(cache, "qemu-system-x86", found[0]) / "usr/bin" / QEMU
        missing = re.findall(r"(\S+) => not found", debs.out("ldd", str(path)))
        # Its modules (TCG is one) are in another package of the same source.
        common = debs.unpacked(cache, "qemu-system-common", found[0])
    except debs.DebError as error:
        raise Skip(f"no QEMU 7.x: {error}") from None
    if missing:
        raise Skip(f"QEMU 7.x needs {' '.join(missing)}")
    return ["env", f"QEMU_MODULE_DIR={common / 'usr/lib/x86_64-linux-gnu/qemu'}", str(path),
            "-L", "/usr/share/qemu", "-L", "/usr/share/seabios"]


# QEMU's emulation of several CPUs: one looks up a section of the memory map that another, placing
# a device's registers during the boot, has just replaced. Seen in 10.0; KVM has no such table.
TCG_RACE = "iotlb_to_section: Assertion"


class CommandError(RuntimeError):
    pass


class Channel:
    """Line protocol with the agent in the guest; survives its reboots."""

    def __init__(self, path):
        self._sock = socket.socket(socket.AF_UNIX)
        try:
            self._sock.connect(str(path))
        except OSError:
            self._sock.close()
            raise
        self._sock.setblocking(False)
        self._buffer = b""
        self._serial = 0
        self.boot = None

    def close(self):
        self._sock.close()

    def _lines(self, end):
        while time.monotonic() < end:
            line, sep, rest = self._buffer.partition(b"\n")
            if sep:
                self._buffer = rest
                yield line.decode(errors="replace")
                continue
            if select.select([self._sock], [], [], 0.1)[0]:
                data = self._sock.recv(65536)
                if not data:
                    raise CommandError("the guest's channel is closed")
                self._buffer += data

    def _answer(self, verb, ident, timeout):
        for line in self._lines(time.monotonic() + timeout):
            words = line.split(" ")
            if words[0] == "HELLO" and len(words) == 2:
                if self.boot and words[1] != self.boot and verb != "HELLO":
                    self.boot = words[1]
                    raise CommandError("the guest rebooted during a command")
                self.boot = words[1]
            if words[0] == verb and (ident is None or words[1:2] == [ident]):
                return words
        return None

    def hello(self, timeout):
        return self._answer("HELLO", None, timeout) is not None

    def send(self, command, seconds):
        """Ask for a command without waiting for it. Returns its id."""
        self._serial += 1
        ident = f"{os.getpid()}.{self._serial}"
        text = base64.b64encode(command.encode()).decode()
        self._sock.setblocking(True)
        self._sock.sendall(f"RUN {ident} {seconds} {text}\n".encode())
        self._sock.setblocking(False)
        return ident

    def result(self, ident, timeout):
        words = self._answer("DONE", ident, timeout)
        if not words:
            raise CommandError(f"no answer from the guest within {timeout:.0f} s")
        output = base64.b64decode(words[3]) if len(words) > 3 else b""
        return int(words[2]), output.decode(errors="replace")


class Guest:
    """One QEMU process with one virtio-net device on a vhost-user socket.

    path       of the vhost-user socket
    server     True: QEMU listens there (the back end connects)
    mac, ip    of the device in the guest, ip with its prefix length
    queues     queue pairs
    cpus       of the guest; default: one per queue pair
    memory     MiB, behind back ends of the kind `backing`, on `nodes` NUMA nodes
    max_memory MiB up to which memory can be added (slots for DIMMs), if any
    machine    with its properties; microvm has virtio-mmio devices, the others virtio-pci
    device     further properties of the virtio-net device
    kernel     series of the guest's kernel
    qemu       command line of another QEMU than the installed one
    first      arguments for QEMU in front of all devices
    more       further arguments for QEMU
    """
    rom = "romfile="  # no boot from the network: the device is there earlier without

    def __init__(self, name, workdir, path, mac, ip=None, queues=1, server=False, mtu=None,
                 memory=192, device="", append="", netdev=None, cpus=None, max_memory=None,
                 backing="memory-backend-memfd,share=on", nodes=1, machine="pc", kernel="stable",
                 qemu=None, first=(), more=()):
        self.name, self.workdir = name, Path(workdir)
        self.socket, self.mac, self.ip, self.queues = Path(path), mac, ip, queues
        self.server, self.mtu, self.memory = server, mtu, memory
        self.device, self.append, self.netdev = device, append, netdev
        self.cpus, self.max_memory = cpus or queues, max_memory
        self.backing, self.nodes, self.machine = backing, nodes, machine
        self.first, self.more = first, more
        self.process = self.channel = None
        self._restarted = False
        self._agent = self.workdir / f"{name}.agent"
        self._monitor = self.workdir / f"{name}.qmp"
        self.console = self.workdir / f"{name}.console"
        self.old = qemu is not None
        self.qemu = qemu or [need_qemu()]
        self.kernel, self.initramfs = image(kernel)

    @property
    def address(self):
        return self.ip.split("/")[0]

    def cmdline(self):
        """Of the guest's kernel."""
        words = [f"vx.name={self.name}", f"vx.queues={self.queues}"]
        words += [f"vx.ip={self.ip}"] if self.ip else []
        words += [f"vx.mtu={self.mtu}"] if self.mtu else []
        return f"console=ttyS0 quiet panic=-1 tsc=reliable {' '.join(words)} {self.append}"

    def boot_argv(self):
        """Arguments that choose what boots."""
        return ["-kernel", str(self.kernel), "-initrd", str(self.initramfs),
                "-append", self.cmdline()]

    def _cpus_of(self, _node):
        """Property of a NUMA node that says which CPUs it has, or none."""
        return ""

    def _memory_argv(self):
        size = f"{self.memory}M"
        if self.max_memory:
            size += f",slots=4,maxmem={self.max_memory}M"
        if self.nodes == 1:
            return ["-machine", f"{self.machine},memory-backend=m", "-m", size,
                    "-object", f"{self.backing},id=m,size={self.memory}M"]
        argv = ["-machine", self.machine, "-m", size]
        for i in range(self.nodes):
            argv += ["-object", f"{self.backing},id=m{i},size={self.memory // self.nodes}M",
                     "-numa", f"node,memdev=m{i}{self._cpus_of(i)}"]
        return argv

    def _net_argv(self, bus):
        argv = []
        if not self.netdev:
            chardev = f"socket,id=c0,path={self.socket}"
            chardev += (",server=on,wait=off" if self.server else
                        ",reconnect=1" if self.old else ",reconnect-ms=200")
            argv += ["-chardev", chardev]
        device = f"virtio-net-{bus},netdev=n0,mac={self.mac}"
        device += f",{self.rom}" if bus == "pci" else ""
        device += ",mq=on" if self.queues > 1 else ""
        device += f",vectors={2 * self.queues + 2}" if self.queues > 1 and bus == "pci" else ""
        device += f",{self.device}" if self.device else ""
        return argv + ["-netdev", self.netdev or f"vhost-user,id=n0,chardev=c0,queues={self.queues}",
                       "-device", device]

    def argv(self):
        bus = "device" if self.machine.startswith("microvm") else "pci"
        return [
            *self.qemu, "-name", self.name, "-nodefaults", "-no-user-config",
            "-display", "none", "-accel", "tcg,thread=multi", "-cpu", "max",
            "-smp", str(self.cpus), *self._memory_argv(), *self.boot_argv(), *self.first,
            "-serial", f"file:{self.console}",
            "-qmp", f"unix:{self._monitor},server=on,wait=off",
            "-device", f"virtio-serial-{bus}",
            "-chardev", f"socket,id=agent,path={self._agent},server=on,wait=off",
            "-device", "virtserialport,chardev=agent,name=vx.agent",
            *self._net_argv(bus), *self.more,
        ]

    def start(self, wait=True):
        with suppress(FileNotFoundError):
            self._agent.unlink()
        self.process = Process(self.name, self.argv(), self.workdir / f"{self.name}.qemu")
        wait_for(lambda: self.process.require_alive() and self._open_channel(), 10,
                 f"channel of {self.name}")
        if wait:
            self.wait_boot()
        return self

    def _open_channel(self):
        # The file may be there before QEMU listens.
        with suppress(FileNotFoundError, ConnectionRefusedError):
            self.channel = Channel(self._agent)
            return True
        return False

    def wait_boot(self, timeout=60):
        """Until the agent in the guest says hello."""
        end = time.monotonic() + timeout * base.patience()
        while not self._hello():
            if time.monotonic() > end:
                raise TimeoutError(f"{self.name} did not boot; its console ends with:\n"
                                   f"{self.console_tail()}")

    def _hello(self):
        try:
            return self.channel.hello(1)
        except (CommandError, ConnectionResetError):
            self._restart_after_tcg_race()
            return False

    def _restart_after_tcg_race(self):
        """QEMU has ended during the boot: once, and only by its own fault, begin again."""
        with suppress(subprocess.TimeoutExpired):
            self.process.popen.wait(5)
        if self._restarted or TCG_RACE not in self.process.tail():
            self.process.require_alive()
            raise CommandError(f"{self.name}: the channel is closed, but QEMU goes on")
        print(f"{self.name}: QEMU ended by its own assertion ({TCG_RACE}); starting it again")
        self._restarted = True
        self.channel.close()
        self.process.kill()
        self.start(wait=False)

    def console_tail(self, lines=15):
        with suppress(OSError):
            return "\n".join(self.console.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def call(self, command, timeout=20):
        """Run a shell command in the guest: (exit status, output)."""
        seconds = int(timeout * base.patience())
        ident = self.channel.send(command, seconds)
        try:
            return self.channel.result(ident, seconds + 10)
        except CommandError as error:
            self.process.require_alive()
            raise CommandError(f"{self.name}: {command!r}: {error}\n"
                               f"{self.console_tail()}") from None

    def run(self, command, timeout=20):
        """As call(), but a failing command is an error. Returns the output."""
        status, output = self.call(command, timeout)
        if status:
            raise CommandError(f"{self.name}: {command!r}: status {status}\n{output}")
        return output

    def reboot(self):
        """Hard reboot from inside, as an operator's `reboot -f`."""
        old = self.channel.boot
        self.channel.send("sleep 0.2; reboot -f", 10)
        wait_for(lambda: self.process.require_alive() and self.channel.hello(1) and
                 self.channel.boot != old, 60, f"reboot of {self.name}")

    def qmp(self, command, **arguments):
        """One command to QEMU's monitor; its `return`."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(str(self._monitor))
            lines = s.makefile("rw")
            lines.readline()  # greeting
            for request in ({"execute": "qmp_capabilities"},
                            {"execute": command, "arguments": arguments}):
                lines.write(json.dumps(request) + "\n")
                lines.flush()
                while True:
                    answer = json.loads(lines.readline())
                    if "error" in answer:
                        raise CommandError(f"{self.name}: {command}: {answer['error']['desc']}")
                    if "return" in answer:
                        break
            return answer["return"]

    def reset(self):
        """The reset button: the guest's kernel is not asked, its rings stay as they are."""
        old = self.channel.boot
        self.qmp("system_reset")
        wait_for(lambda: self.process.require_alive() and self.channel.hello(1) and
                 self.channel.boot != old, 60, f"{self.name} after a reset")

    def stop(self):
        if self.channel:
            self.channel.close()
        if self.process:
            self.process.stop()
        self.channel = self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    # ---- traffic ------------------------------------------------------------------------

    def nic(self):
        return self.run("cat /tmp/nic").strip()

    def ping(self, address, count=3, timeout=None):
        """Replies received out of `count` echo requests."""
        wait = timeout or count + 3
        _, output = self.call(f"ping -i 0.2 -c {count} -w {wait} {address}", wait + 5)
        got = re.search(r"(\d+) packets received", output)
        return int(got[1]) if got else 0

    def wait_ping(self, address, timeout=10):
        wait_for(lambda: self.ping(address, 1, 1), timeout, f"answer from {address} to {self.name}")

    def wait_listener(self, port, what):
        """Until a program in the guest takes TCP connections on a port."""
        wait_for(lambda: not self.call(f"netstat -ltn | grep -q ':{port} '")[0], 10,
                 f"{what} in {self.name}")

    def iperf_server(self, port=5201):
        self.run(f"iperf3 -s -D -p {port}")
        self.wait_listener(port, "iperf3 server")

    def iperf(self, address, seconds=2, port=5201, udp_mbit=None, reverse=False):
        """One iperf3 run as client; the report of its end."""
        command = f"iperf3 -J -c {address} -p {port} -t {seconds}"
        command += f" -u -b {udp_mbit}M -l 1200" if udp_mbit else ""
        command += " -R" if reverse else ""
        return iperf_report(lambda: self.call(command, seconds + 20)[1])
