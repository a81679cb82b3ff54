# SPDX-License-Identifier: BSD-2-Clause
"""Post-copy migration of a Linux guest between two hosts, each with its daemon, under TCP load: the
guest runs at its target before its memory is there. Another guest of that daemon does not notice."""
import re
import time

import pytest

from vx import migration
from vx.base import patience
from vx.guest import Guest
from vx.topo import WIRE, guest_ip, guest_mac

SLOW = 16 << 20  # bytes a second: post-copy lasts for some seconds


@pytest.fixture(scope="module")
def lab(topology):
    with topology("postcopy", far=True) as topo:
        migration.two_daemons(topo)
        # Lives on the far host all the time.
        topo.neighbour = topo.add(Guest("neighbour", topo.workdir,
                                        topo.workdir / "far-vm1.sock", guest_mac(1),
                                        guest_ip(1))).start()
        topo.neighbour.wait_ping(WIRE)
        yield topo


def switched_on(*qemus):
    for qemu in qemus:
        qemu.qmp("migrate-set-capabilities",
                 capabilities=[{"capability": "postcopy-ram", "state": True}])


def test_several_queue_pairs(lab):
    """QEMU would leave the guest without a network; refused, it stays where it is."""
    vm = lab.guest(0, queues=2).start()
    vm.wait_ping(WIRE)
    target = migration.incoming(lab, vm, far=True, queues=2)
    switched_on(vm, target)
    migration.begin(vm, target)
    migration.wait_status(vm, "failed")
    assert "several queue pairs" in lab.far_vhost.log.read_text()
    assert vm.ping(WIRE) == 3
    target.process.kill()
    vm.stop()


@pytest.mark.parametrize("packed", ["off", "on"])
def test_under_load(lab, packed):
    device = f"packed={packed}"
    vm = lab.guest(0, device=device).start()
    vm.wait_ping(WIRE)
    assert "PAGEFAULT" in lab.near_vhost.ctl("port", "show", "vm0")["protocol_features"]
    target = migration.incoming(lab, vm, far=True, device=device)
    switched_on(vm, target)
    stream = migration.Stream(lab, vm)
    outage = migration.Outage(lab, vm.address)
    beside = migration.Outage(lab, lab.neighbour.address)
    time.sleep(1)
    migration.begin(vm, target, bandwidth=SLOW, **{"max-postcopy-bandwidth": SLOW})
    migration.wait_status(vm, "active")
    vm.qmp("migrate-start-postcopy")
    info = migration.complete(vm, target)
    time.sleep(1)
    lab.wire.wait_ping(target.address, 20)
    longest, neighbours = outage.longest(), beside.longest()
    carried = stream.finish(target)
    log = lab.far_vhost.log.read_text()
    waited = re.findall(r"memory is here, (\d+) pages were waited for", log)[-1]
    migration.tell(f"post-copy, {device}", info, carried, longest)
    print(f"post-copy: {info['ram']['postcopy-requests']} pages were asked for, {waited} by the "
          f"daemon; the other guest on that host: no echo for {neighbours * 1000:.0f} ms at most")
    # Often the guest is first to ask for what the daemon needs, which then waits for none.
    assert info["ram"]["postcopy-requests"] > 0
    assert carried[0] > 1 << 20 and longest < 20 * patience()
    assert neighbours < 5 * patience()
    for daemon, here in ((lab.far_vhost, True), (lab.near_vhost, False)):
        assert daemon.ctl("port", "show", "vm0")["up"] is here
    assert target.ping(WIRE) == 3
    assert lab.neighbour.ping(target.address) == 3
    target.stop()
