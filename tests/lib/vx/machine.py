# SPDX-License-Identifier: BSD-2-Clause
"""An emulated host in which the daemon itself runs: QEMU with more CPUs, memory nodes, kernels and
network devices than the machine at hand may have."""
import functools
import re
import shlex
from pathlib import Path

from . import base, machine_image
from .guest import Guest

# What no kernel says whose drivers and system calls are used as they should be.
COMPLAINT = re.compile(r"BUG:|WARNING:|Oops|scheduling while atomic|blocked for more than|"
                       r"general protection fault")
NICS = "eth1,eth0"  # for VX_NICS


@functools.lru_cache(maxsize=None)
def image(series, modules=()):
    try:
        return machine_image.build(base.cache_dir() / "guest", series, modules)
    except machine_image.ImageError as error:
        raise base.Skip(f"no image of a machine: {error}") from None


class Machine(Guest):
    """Four CPUs and two memory nodes, CPUs 0 and 1 on the first; two network devices, connected to
    each other: eth0, and eth1 near the second node.

    device    their type and properties, as QEMU wants them
    modules   kernel modules that they need
    """
    CPUS, NODES, MEMORY = 4, 2, 1536

    def __init__(self, workdir, kernel="stable", device="virtio-net-pci,host_mtu=9000", modules=()):
        workdir = Path(workdir)
        super().__init__(f"machine-{kernel}", workdir, workdir / "none", "",
                         cpus=f"{self.CPUS},sockets={self.NODES}", nodes=self.NODES,
                         memory=self.MEMORY, kernel=kernel, backing="memory-backend-ram")
        self.device, self.modules = device, modules
        self.initramfs = machine_image.with_project(image(kernel, modules), workdir / "initramfs")

    def _cpus_of(self, node):
        n = self.CPUS // self.NODES
        return f",cpus={node * n}-{(node + 1) * n - 1}"

    def _memory_argv(self):
        return [*super()._memory_argv(), "-numa", "dist,src=0,dst=1,val=21"]

    def _net_argv(self, bus):
        # The kernel numbers them in the order of their addresses.
        argv = ["-device", "pxb,id=far,bus_nr=128,numa_node=1"]
        for i, place in enumerate(("pci.0", "far")):
            here, there = (self.workdir / f"cable{n}" for n in (i, 1 - i))
            argv += ["-netdev", f"dgram,id=n{i},local.type=unix,local.path={here},"
                     f"remote.type=unix,remote.path={there}",
                     "-device", f"{self.device},netdev=n{i},bus={place},"
                     f"mac=52:54:00:00:01:0{i},{self.rom}"]
        return argv

    def wait_boot(self, timeout=60):
        """As for a guest; and look whether it is what the tests were written for."""
        super().wait_boot(timeout)
        for name in self.modules:
            self.run(f"modprobe {name}")
        found = self.run("cat /sys/devices/system/node/online /sys/class/net/eth1/device/../numa_node")
        assert found.split() == ["0-1", "1"], f"nodes, and that of eth1: {found}"

    def pytest(self, file, *options, timeout=150, **env):
        """Run a file of the tests in the machine: (exit status of pytest, its output). A complaint
        of the kernel meanwhile is an error."""
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "VX_PATIENCE": 4 * base.patience(),
               "PYTHONUNBUFFERED": 1, **env}
        command = ["exec", "env", *(f"{k}={v}" for k, v in env.items()), "python3", "-B", "-m",
                   "pytest", "-p", "no:cacheprovider", "-q", "-rs", "--tb=short", file, *options]
        status, output = self.call(f"cd {machine_image.SOURCE}/tests && ulimit -n 65536 && "
                                   f"{shlex.join(command)}", timeout)
        complaint = COMPLAINT.search(log := self.run("dmesg -c"))
        if complaint:
            text = log[log.rfind("\n", 0, complaint.start()) + 1:]
            raise AssertionError(f"{self.name}: the kernel complains:\n{text[:6000]}\n{output}")
        return status, output
