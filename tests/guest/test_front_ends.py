# SPDX-License-Identifier: BSD-2-Clause
"""One guest after the other, each with another QEMU, kernel, memory or device configuration,
beside a plain one that stays."""
import re
from contextlib import ExitStack

import pytest

from vx import base
from vx.guest import old_qemu
from vx.peers import Hugepages
from vx.traffic import exercise

MEMORY = 192  # MiB
TOPOLOGY = {"queues": 2}
GUESTS = None, {}


class Row:
    """Keys of Guest, features that must be negotiated then, and features that must not.

    everywhere   part of the subset that the sanitizer build repeats
    """

    def __init__(self, has=(), lacks=(), everywhere=False, hugepages=False, **guest):
        self.has, self.lacks, self.guest = set(has), set(lacks), guest
        self.everywhere, self.hugepages = everywhere, hugepages


ROWS = {
    # QEMU 7.2 follows a null pointer where vhost-user meets MSI-X without KVM's irqfd, which
    # emulation lacks: vectors=0 leaves it INTx.
    "qemu7.2": Row(qemu=old_qemu, device="vectors=0", everywhere=True),
    "q35-rings-of-1024": Row(machine="q35", device="rx_queue_size=1024,tx_queue_size=1024"),
    "newest-kernel": Row(kernel="newest", queues=2, everywhere=True),
    "memory-file-rings-of-512": Row(backing="memory-backend-file,share=on,mem-path={workdir}/ram",
                                    device="rx_queue_size=512,tx_queue_size=512"),
    "memory-hugetlb": Row(backing="memory-backend-memfd,share=on,hugetlb=on,hugetlbsize=2M",
                          hugepages=True),
    "memory-on-3-nodes": Row(nodes=3, everywhere=True),
    # One file behind two regions, the second with an offset.
    "memory-above-4g": Row(memory=4096),
    "mtu-1400": Row(device="host_mtu=1400", has=["MTU"]),
    "no-mergeable": Row(device="mrg_rxbuf=off", lacks=["MRG_RXBUF"]),
    "no-indirect": Row(device="indirect_desc=off", lacks=["INDIRECT_DESC"]),
    "no-event-idx": Row(device="event_idx=off", lacks=["EVENT_IDX"]),
    "bare-rings": Row(device="mrg_rxbuf=off,indirect_desc=off,event_idx=off,rx_queue_size=256,"
                      "tx_queue_size=256",
                      lacks=["MRG_RXBUF", "INDIRECT_DESC", "EVENT_IDX"], everywhere=True),
    "packed": Row(device="packed=on", has=["RING_PACKED"], everywhere=True),
    "packed-bare-1024": Row(device="packed=on,mrg_rxbuf=off,indirect_desc=off,event_idx=off,"
                            "rx_queue_size=1024,tx_queue_size=1024",
                            has=["RING_PACKED"], lacks=["MRG_RXBUF", "INDIRECT_DESC", "EVENT_IDX"]),
    "packed-newest-kernel": Row(device="packed=on,in_order=on", kernel="newest", queues=2,
                                has=["RING_PACKED"]),
    "packed-qemu7.2": Row(qemu=old_qemu, device="vectors=0,packed=on", has=["RING_PACKED"]),
    "legacy-pci": Row(device="disable-modern=on", lacks=["VERSION_1"]),
    # Its virtio-mmio devices are legacy by default.
    "microvm": Row(machine="microvm", lacks=["VERSION_1"]),
}


@pytest.mark.parametrize("name", ROWS)
def test_front_end(lab, name):
    row = ROWS[name]
    if base.sanitized() and not row.everywhere:
        pytest.skip("not in the subset for the sanitizer build")
    keys = dict({"memory": MEMORY}, **row.guest)
    if "qemu" in keys:
        keys["qemu"] = keys["qemu"]()
    if "backing" in keys:
        keys["backing"] = keys["backing"].format(workdir=lab.workdir)
    with ExitStack() as stack:
        if row.hugepages:
            stack.enter_context(Hugepages(MEMORY // 2))
        vm = stack.enter_context(lab.guest(0, **keys))
        start(vm)
        exercise(lab, vm, lab.other)
        port = lab.vhost.ctl("port", "show", "vm0")
        features = set(port["features"])
        assert row.has <= features and not row.lacks & features, features
        check_device(vm, port, row)
    assert lab.vhost.process.alive()


def start(vm):
    """An emulated microvm now and then never gets to its kernel: not a line on the console. Then,
    and only then, once more."""
    vm.start(wait=False)
    try:
        vm.wait_boot(20 if vm.machine == "microvm" else 60)
    except TimeoutError:
        if vm.machine != "microvm":
            raise
        if not vm.console_tail():
            vm.stop()
            vm.start(wait=False)
        vm.wait_boot()


def check_device(vm, port, row):
    """What the row asks for is what guest and daemon see."""
    assert (vm.qmp("query-version")["qemu"]["major"] < 8) == ("qemu" in row.guest)
    size = re.search(r"tx_queue_size=(\d+)", row.guest.get("device", ""))
    if size:
        assert {q["size"] for q in port["queues"] if q["started"]} == {int(size[1])}
    mtu = re.search(r"host_mtu=(\d+)", row.guest.get("device", ""))
    if mtu:
        assert vm.run(f"cat /sys/class/net/{vm.nic()}/mtu").strip() == mtu[1]
        assert port["mtu"] == int(mtu[1])
    if "nodes" in row.guest:
        assert port["regions"] >= row.guest["nodes"]
    if row.guest.get("memory", 0) > 3584:
        assert port["regions"] >= 2
    if row.guest.get("kernel") == "newest":
        assert not vm.run("uname -r").startswith("6.1.")
