# SPDX-License-Identifier: BSD-2-Clause
"""A guest with packed rings and two queue pairs beside one with split rings: traffic between them,
queue pairs that come and go, reboots, a driver that lets go of the device. (What other guests make
of packed rings: test_front_ends.py.)"""
import pytest

from vx import net
from vx.base import wait_for
from vx.topo import WIRE
from vx.traffic import exercise

FLOOR = 3  # Mbit/s: that TCP works, not how fast
TOPOLOGY = {"queues": 2}
GUESTS = {"queues": 2, "device": "packed=on"}, {"queues": 2, "device": "packed=off"}


def started(lab, i):
    """(layout, pair) of the rings that run."""
    queues = lab.vhost.ctl("port", "show", f"vm{i}")["queues"]
    return {(q["layout"], q["index"] // 2) for q in queues if q["started"] and q["enabled"]}


def pairs(lab, n):
    vm = lab.vms[0]
    vm.run(f"ethtool -L {vm.nic()} combined {n}")
    wait_for(lambda: started(lab, 0) == {("packed", k) for k in range(n)}, 10,
             lambda: f"{n} pairs; running: {started(lab, 0)}")


def test_traffic_and_layouts(lab):
    a, b = lab.vms
    b.iperf_server()
    exercise(lab, a, b)
    assert net.tcp_mbit(a.iperf(b.address, seconds=1)) > FLOOR
    # So little that a receiver which gets no CPU for a while has room for it.
    sent, lost = net.udp_result(a.iperf(b.address, seconds=1, udp_mbit=1))
    assert sent > 0.3 and lost < 5
    assert {layout for layout, _ in started(lab, 0)} == {"packed"}
    assert {layout for layout, _ in started(lab, 1)} == {"split"}


def test_queue_pairs_come_and_go(lab):
    a, b = lab.vms
    for n in (1, 2, 1, 2):
        pairs(lab, n)
        assert a.ping(b.address) == 3 and lab.wire.ping(a.address) == 3


@pytest.mark.parametrize("how", ["reboot", "reset"])
def test_guest_boots_again(lab, how):
    """The ring starts anew; the guest with split rings goes on meanwhile."""
    a, b = lab.vms
    ident = b.channel.send(f"ping -i 0.2 -c 30 -w 50 {WIRE}", 60)
    getattr(a, how)()
    status, output = b.channel.result(ident, 60)
    assert status == 0 and "30 packets received" in output, output
    lab.wire.wait_ping(a.address, 15)
    assert a.ping(b.address) == 3 and a.ping(WIRE) == 3


def test_driver_unbound_and_bound(lab):
    a, b = lab.vms
    a.run("nic=$(cat /tmp/nic); dev=$(basename $(readlink /sys/class/net/$nic/device)); "
          "echo $dev >/sys/bus/virtio/drivers/virtio_net/unbind; sleep 0.5; "
          "echo $dev >/sys/bus/virtio/drivers/virtio_net/bind; sleep 0.5; "
          f"ip link set $nic up; ip addr add {a.ip} dev $nic")
    lab.wire.wait_ping(a.address, 15)
    assert a.ping(b.address) == 3


def test_daemon_restart(lab):
    """The guests notice nothing but a pause."""
    boots = [vm.channel.boot for vm in lab.vms]
    lab.vhost.restart()
    exercise(lab, *lab.vms)
    assert [vm.channel.boot for vm in lab.vms] == boots
