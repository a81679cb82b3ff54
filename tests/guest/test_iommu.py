# SPDX-License-Identifier: BSD-2-Clause
"""A Linux guest whose virtio device is behind an IOMMU that the guest programs."""
import pytest

from vx import base
from vx.iommu import behind_iommu
from vx.topo import WIRE
from vx.traffic import exercise

PORTS = {"iommu": True}, {}
GUESTS = None, {}
# test_migration.py has such a guest for that build, too.
pytestmark = pytest.mark.skipif(
    bool(base.sanitized()), reason="the sanitizer build repeats a part of the guest layer, to save time")
# The device, and what the guest's kernel calls the domain that its own mappings are in: with a flush
# queue it is lazy.
ROWS = {"strict": ("packed=off", "DMA"), "lazy": ("packed=on", "DMA-FQ")}
REBIND = """
dev=$(readlink /sys/class/net/{nic}/device)
cd /sys/bus/virtio/drivers/virtio_net
echo ${{dev##*/}} >unbind && echo ${{dev##*/}} >bind
ip link set {nic} up && ip addr add {ip} dev {nic}
"""


@pytest.mark.parametrize("name", ROWS)
def test_linux_guest(lab, name):
    device, domain = ROWS[name]
    with lab.guest(0, **behind_iommu(name, device)) as vm:
        vm.start()
        # The guest really uses it, in that way.
        assert vm.run(f"cat /sys/class/net/{vm.nic()}/device/../iommu_group/type").strip() == domain
        # Now and then the guest has all translations forgotten, those of the rings, too: frames that
        # come until they are known again are dropped.
        exercise(lab, vm, lab.other, tries=5)
        port = lab.vhost.ctl("port", "show", "vm0")
        assert "ACCESS_PLATFORM" in port["features"]
        assert ("RING_PACKED" in port["features"]) == (device == "packed=on")
        assert {q["fault"] for q in port["queues"]} == {"none"}
        # Started anew, the device has rings at other addresses, or others at the same ones.
        vm.run(REBIND.format(nic=vm.nic(), ip=vm.ip))
        vm.wait_ping(WIRE)
    assert lab.vhost.process.alive()
