# SPDX-License-Identifier: BSD-2-Clause
"""Guests that replace their kernel by another one without a reset of the machine: the new kernel's
driver takes over a device that the old one has left, or has not.

One guest has split rings, the other packed ones.
"""
import re

import pytest

from vx import base
from vx.base import wait_for
from vx.topo import WIRE
from vx.traffic import exercise, send_file

pytestmark = pytest.mark.skipif(
    bool(base.sanitized()), reason="not in the subset for the sanitizer build")

# The kernel that takes over after a crash lives in memory that the first one never touches.
GUESTS = [{"device": device, "memory": 512, "append": "crashkernel=224M"}
          for device in ("packed=off", "packed=on")]


def load(lab, vm, *options):
    """Into the guest's kernel: what it was booted with, once more. It comes over the port."""
    for path in (base.binary("kexec"), vm.kernel, vm.initramfs):
        send_file(lab, vm, path, f"/tmp/{path.name}")
    vm.run(f"chmod +x /tmp/kexec; /tmp/kexec {' '.join(options)} /tmp/{vm.kernel.name} "
           f"/tmp/{vm.initramfs.name} '{vm.cmdline()}'", 60)


def replaced(lab, command):
    """Have the kernels of all guests replaced by a command in the guest; they work afterwards."""
    boots = [vm.channel.boot for vm in lab.vms]
    for vm in lab.vms:
        vm.channel.send(command, 10)
    for vm, boot in zip(lab.vms, boots):
        wait_for(lambda: vm.process.require_alive() and vm.channel.hello(1) and
                 vm.channel.boot != boot, 90, lambda: f"{vm.name} after kexec:\n{vm.console_tail()}")
    exercise(lab, *lab.vms)
    for i, vm in enumerate(lab.vms):
        port = lab.vhost.ctl("port", "show", vm.name)
        assert ("RING_PACKED" in port["features"]) is bool(i)
        assert {q["fault"] for q in port["queues"]} == {"none"}


def test_kexec(lab):
    """The old kernel shuts its devices down."""
    for vm in lab.vms:
        load(lab, vm)
    replaced(lab, "sleep 0.2; /tmp/kexec -e")


def test_crash_kernel(lab):
    """The old kernel just ends, under traffic. Its rings run until the new driver finds the device,
    and the daemon goes on filling buffers that nobody will look at."""
    for vm in lab.vms:
        load(lab, vm, "-p")
    floods = [lab.wire.spawn(f"ping {vm.name}", ["ping", "-q", "-i", "0.002", vm.address],
                             lab.workdir / f"flood-{vm.name}.log") for vm in lab.vms]
    try:
        replaced(lab, "sleep 0.2; echo c >/proc/sysrq-trigger")
    finally:
        for flood in floods:
            flood.stop(sig=2)
    for vm in lab.vms:
        # It is the one that was kept for this.
        memory = int(re.search(r"MemTotal: *(\d+) kB", vm.run("cat /proc/meminfo"))[1])
        assert memory < 224 << 10
        assert vm.ping(WIRE) == 3
