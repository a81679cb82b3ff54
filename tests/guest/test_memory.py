# SPDX-License-Identifier: BSD-2-Clause
"""Memory that comes and goes while a guest has traffic."""
import re
from contextlib import contextmanager

import pytest

from vx.base import sanitized, wait_for
from vx.traffic import exercise

pytestmark = pytest.mark.skipif(
    bool(sanitized()), reason="the sanitizer build repeats a part of the guest layer, to save time")

MIB = 1 << 20
GUESTS = None, {}


@contextmanager
def nothing_lost(topo, vm):
    """A hundred echo requests a second, before, during and after the with block; every one is
    answered. However short the block is: ten answers come before it and ten after it. How long an
    answer takes does not matter: those to requests after the last one answered may be on their way.
    """
    log = topo.workdir / "echo.log"
    log.unlink(missing_ok=True)
    topo.wire.wait_ping(vm.address, 15)
    echo = topo.wire.spawn("ping", ["ping", "-n", "-i", "0.01", vm.address], log)

    def ten_more():
        goal = log.read_text().count(" bytes from ") + 10
        wait_for(lambda: log.read_text().count(" bytes from ") >= goal, 15, "ten echoes")
    try:
        ten_more()
        yield
        ten_more()
    finally:
        echo.stop(sig=2)
    answered = set(map(int, re.findall(r" icmp_seq=(\d+) ttl=", log.read_text())))
    missing = set(range(1, max(answered) + 1)) - answered
    assert not missing, f"no answer to {sorted(missing)}:\n{log.read_text()}"


def regions(topo):
    return topo.vhost.ctl("port", "show", "vm0")["regions"]


def total(vm):
    """MiB of memory that the guest's kernel has."""
    return int(vm.run("awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo"))


def use_up(vm, leave=24):
    """Fill the guest's memory but for some MiB, so that buffers come from what is added next."""
    vm.run("mkdir -p /fill; mount -t tmpfs -o size=100% fill /fill; "
           "n=$(awk '/MemAvailable/ {print int($2 / 1024)}' /proc/meminfo); "
           f"dd if=/dev/zero of=/fill/zero bs=1M count=$((n - {leave})) 2>/dev/null")


def plug(vm, ident, size=128):
    vm.qmp("object-add", **{"qom-type": "memory-backend-memfd", "id": f"{ident}mem",
                            "size": size * MIB, "share": True})
    vm.qmp("device_add", driver="pc-dimm", id=ident, memdev=f"{ident}mem")


def test_buffers_in_a_dimm_that_was_plugged_in(lab):
    with lab.guest(0, max_memory=1024, append="memhp_default_state=online_kernel") as vm:
        vm.start()
        use_up(vm)
        n, had = regions(lab), total(vm)
        with nothing_lost(lab, vm):
            for i in (1, 2):
                plug(vm, f"dimm{i}")
                wait_for(lambda: total(vm) >= had + i * 120, 20, f"memory of DIMM {i}")
        assert regions(lab) == n + 2
        exercise(lab, vm, lab.other)


def test_dimms_come_and_go(lab):
    with lab.guest(0, max_memory=1024, append="memhp_default_state=online_movable") as vm:
        vm.start()
        n, had = regions(lab), total(vm)
        with nothing_lost(lab, vm):
            for i in (1, 2, 3):
                plug(vm, f"dimm{i}")
                wait_for(lambda: total(vm) >= had + 120, 20, "memory of the DIMM")
                assert regions(lab) == n + 1
                vm.qmp("device_del", id=f"dimm{i}")
                wait_for(lambda: regions(lab) == n, 20, "removal of the DIMM")
                vm.qmp("object-del", id=f"dimm{i}mem")
        exercise(lab, vm, lab.other)


def test_virtio_mem_grows_and_shrinks(lab):
    """dynamic-memslots: QEMU adds and removes regions one by one as the device is resized."""
    more = ["-object", "memory-backend-memfd,id=vmem,size=512M,share=on,reserve=off", "-device",
            "virtio-mem-pci,id=vmem0,memdev=vmem,requested-size=0,dynamic-memslots=on"]
    with lab.guest(0, max_memory=1024, more=more,
                   append="memhp_default_state=online_movable") as vm:
        vm.start()
        n, had = regions(lab), total(vm)
        with nothing_lost(lab, vm):
            for size in (256, 512, 0, 128):
                vm.qmp("qom-set", path="/machine/peripheral/vmem0", property="requested-size",
                       value=size * MIB)
                wait_for(lambda: abs(total(vm) - had - size) <= 8, 20, f"{size} MiB more")
            assert regions(lab) > n
        exercise(lab, vm, lab.other)
