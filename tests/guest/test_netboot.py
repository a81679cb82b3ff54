# SPDX-License-Identifier: BSD-2-Clause
"""Drivers that are not Linux's: firmware that boots over the port.

Kernel and initramfs of the test guest come through the driver under test; that they boot is the
proof that every byte arrived. Linux then takes the same device over.
"""
import os
import shutil

import pytest

from vx import base, debs
from vx.base import Skip, wait_for
from vx.guest import Guest
from vx.topo import WIRE, guest_ip, guest_mac

SERVER = base.REPO / "tests/lib/vx/boot_server.py"
SCRIPT = """#!ipxe
echo the script runs, chip ${{net0/chip}}, address ${{net0/ip}}
kernel http://{server}/vmlinuz initrd=initramfs.cpio {cmdline}
initrd http://{server}/initramfs.cpio
boot
"""


def package(name):
    """Files of a Debian package that is not installed (ipxe would change the boot menu)."""
    try:
        return debs.files(base.cache_dir() / "debs", name)
    except debs.DebError as error:
        raise Skip(str(error)) from None


class IpxeGuest(Guest):
    """iPXE's own driver: the option ROM of QEMU's device, run by SeaBIOS."""
    rom = "bootindex=1"
    bootfile = "boot.ipxe"

    def prepare(self, folder):
        """Put what the firmware needs into the folder of the boot server."""

    def boot_argv(self):
        return []


class Edk2Guest(IpxeGuest):
    """EDK2's own driver. It fetches an iPXE without drivers, which goes on through EDK2's."""
    rom = "bootindex=1,romfile="
    bootfile = "snponly.efi"

    def prepare(self, folder):
        shutil.copy(package("ipxe") / "usr/lib/ipxe/snponly.efi", folder)
        self.code = package("ovmf") / "usr/share/OVMF/OVMF_CODE_4M.fd"
        self.variables = self.workdir / "OVMF_VARS.fd"
        shutil.copy(self.code.with_name("OVMF_VARS_4M.fd"), self.variables)

    def boot_argv(self):
        return ["-drive", f"if=pflash,format=raw,readonly=on,file={self.code}",
                "-drive", f"if=pflash,format=raw,file={self.variables}"]


def serve(topo, vm):
    """Start the boot server. Returns its log, a file."""
    folder, log = topo.workdir / "boot", topo.workdir / "boot.log"
    folder.mkdir()
    for source in (vm.kernel, vm.initramfs):
        os.symlink(source.resolve(), folder / source.name)
    (folder / "boot.ipxe").write_text(SCRIPT.format(server=WIRE, cmdline=vm.cmdline()))
    vm.prepare(folder)
    server = topo.add(topo.wire.spawn("boot server", [
        "/usr/bin/python3", "-B", SERVER, "wire0", WIRE, vm.address, folder, vm.bootfile,
        "boot.ipxe"], log))
    wait_for(lambda: server.require_alive() and "ready" in log.read_text(), 5, "boot server")
    return log


@pytest.mark.parametrize("kind", [IpxeGuest, Edk2Guest], ids=["ipxe", "edk2"])
def test_firmware_boots_over_the_port(topology, kind):
    if base.sanitized() and kind is not IpxeGuest:
        pytest.skip("not in the subset for the sanitizer build")
    with topology("netboot") as topo:
        topo.daemon(1).start()
        # Without a display SeaBIOS shows on the serial port what firmware prints.
        vm = topo.add(kind("vm0", topo.workdir, topo.socket(0), guest_mac(0), guest_ip(0),
                           memory=512, machine="pc,graphics=off"))
        log = serve(topo, vm)
        vm.start(wait=False)
        try:
            vm.wait_boot(120)
        finally:
            print(log.read_text(), vm.console_tail(), sep="\n")
        done = [line.split() for line in log.read_text().splitlines()]
        assert ["tftp", vm.bootfile, str((topo.workdir / "boot" / vm.bootfile).stat().st_size)] in done
        for source in (vm.kernel, vm.initramfs):
            assert ["http", source.name, str(source.stat().st_size)] in done
        assert topo.wire.ping(vm.address) == 3
