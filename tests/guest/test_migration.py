# SPDX-License-Identifier: BSD-2-Clause
"""Live migration of a Linux guest between two hosts, each with its daemon, under TCP load."""
import time

import pytest

from vx import base, migration
from vx.base import wait_for
from vx.iommu import behind_iommu
from vx.topo import WIRE


@pytest.fixture
def lab(topology):
    with topology("migration", far=True) as topo:
        migration.two_daemons(topo)
        yield topo


def is_up(daemon):
    return daemon.ctl("port", "show", "vm0")["up"]


def there(lab, source, far, device, **keys):
    """Migrate to the other host while the stream runs. Returns the QEMU that has the guest.
    device, keys: as in vx.guest.Guest"""
    target = migration.incoming(lab, source, far, device=device, **keys)
    stream = migration.Stream(lab, source)
    outage = migration.Outage(lab, source.address)
    time.sleep(1)
    migration.begin(source, target)
    info = migration.complete(source, target)
    time.sleep(1)
    lab.wire.wait_ping(target.address, 20)
    longest = outage.longest()
    carried = stream.finish(target)
    migration.tell(f"{device}, to {'far' if far else 'near'}", info, carried, longest)
    assert carried[0] > 1 << 18
    assert longest < 10 * base.patience() and info["ram"]["dirty-sync-count"] > 1
    # The addresses went with the guest.
    new, old = ((lab.far_vhost, lab.near_vhost) if far else (lab.near_vhost, lab.far_vhost))
    assert is_up(new) and not is_up(old)
    assert "LOG_ALL" not in migration.features(new)
    assert target.ping(WIRE) == 3
    return target


def test_cancelled_then_there_and_back(lab):
    vm = lab.guest(0).start()
    vm.wait_ping(WIRE)
    # At a snail's pace, so that it is under way for long; then cancelled.
    target = migration.incoming(lab, vm, far=True)
    stream = migration.Stream(lab, vm)
    migration.begin(vm, target, bandwidth=1 << 20)
    migration.wait_status(vm, "active")
    wait_for(lambda: "LOG_ALL" in migration.features(lab.near_vhost), 20, "a dirty log")
    assert lab.wire.ping(vm.address) == 3
    vm.qmp("migrate_cancel")
    migration.wait_status(vm, "cancelled")
    wait_for(lambda: "LOG_ALL" not in migration.features(lab.near_vhost), 20, "no dirty log")
    target.process.kill()
    assert lab.wire.ping(vm.address) == 3
    stream.finish(vm)
    assert is_up(lab.near_vhost) and not is_up(lab.far_vhost)
    vm = there(lab, vm, True, "packed=off")
    there(lab, vm, False, "packed=off")


def test_packed_rings(lab):
    """There and back: what the near daemon knew of the rings when the guest left is worth nothing
    when it returns."""
    vm = lab.guest(0, device="packed=on").start()
    vm.wait_ping(WIRE)
    vm = there(lab, vm, True, "packed=on")
    there(lab, vm, False, "packed=on")


@pytest.mark.parametrize("mode, packed", [("strict", "packed=off"), ("lazy", "packed=on")])
def test_behind_an_iommu(topology, mode, packed):
    """The dirty log goes by guest-physical addresses, whatever the guest's IOMMU makes of them; and
    the target has to ask for every translation anew."""
    if base.sanitized() and mode != "strict":
        pytest.skip("not in the subset for the sanitizer build")
    keys = behind_iommu(mode, packed)
    with topology("iommu-migration", far=True) as topo:
        migration.two_daemons(topo, 1, port={"iommu": True})
        vm = topo.guest(0, **keys).start()
        vm.wait_ping(WIRE)
        vm = there(topo, vm, True, **keys)
        assert "ACCESS_PLATFORM" in migration.features(topo.far_vhost)
        if mode == "strict":
            there(topo, vm, False, **keys)
