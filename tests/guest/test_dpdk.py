# SPDX-License-Identifier: BSD-2-Clause
"""DPDK's virtio driver in a guest: testpmd polls the device through uio_pci_generic."""
import pytest

from vx import base, guest_image
from vx.base import Skip, wait_for
from vx.topo import guest_mac

ECHO = base.REPO / "tests/lib/vx/echo.py"
START = """
nic=$(cat /tmp/nic)
dev=$(basename $(readlink -f /sys/class/net/$nic/device/..))
echo 64 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
mkdir -p /huge /var/run && mount -t hugetlbfs none /huge
echo $dev >/sys/bus/pci/drivers/virtio-pci/unbind
echo uio_pci_generic >/sys/bus/pci/devices/$dev/driver_override
echo $dev >/sys/bus/pci/drivers/uio_pci_generic/bind || exit 1
sleep 600 | dpdk-testpmd -l 0,1 -m 96 -a $dev --huge-dir /huge \
	--log-level=pmd.net.virtio.*:info -- --forward-mode=macswap --auto-start \
	--total-num-mbufs=4096 >/tmp/testpmd 2>&1 &
"""


@pytest.fixture(scope="module")
def lab(topology):
    with topology("dpdk") as topo:
        topo.vhost = topo.daemon(1).start()
        yield topo


def echo(lab, count, *options):
    """None, or a complaint."""
    done = lab.wire.run("/usr/bin/python3", "-B", ECHO, "wire0", guest_mac(0), count, *options,
                        check=False)
    return done.stdout if done.returncode else None


@pytest.mark.parametrize("device, path", [
    ("", "mergeable buffer Rx path"),
    ("packed=on", "packed ring mergeable buffer Rx path"),
], ids=["split", "packed"])
def test_echo_by_testpmd_in_the_guest(lab, device, path):
    if base.sanitized() and not device:
        pytest.skip("not in the subset for the sanitizer build")
    with lab.guest(0, device=device, memory=512, cpus=2) as vm:
        try:
            vm.initramfs = guest_image.with_testpmd(base.cache_dir() / "guest", vm.initramfs)
        except guest_image.ImageError as error:
            raise Skip(str(error)) from None
        vm.start()
        vm.run(START)
        # testpmd's own messages wait in its buffer.
        wait_for(lambda: not echo(lab, 10, "--patience", 0.5), 30,
                 lambda: f"echo from testpmd:\n{vm.call('tail -n 30 /tmp/testpmd')[1]}")
        assert f"using {path}" in vm.run("cat /tmp/testpmd")
        assert echo(lab, 1000) is None
