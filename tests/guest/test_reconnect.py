# SPDX-License-Identifier: BSD-2-Clause
"""Daemon restarts, daemon crashes, guest reboots, QEMU crashes: traffic comes back, and nobody
else notices. One guest has split rings, the other packed ones."""
import json
import re
import time

import pytest

from vx.base import wait_for
from vx.net import Capture
from vx.topo import HOST, WIRE, guest_mac


GUESTS = {"device": "packed=off"}, {"device": "packed=on"}


def all_reachable(lab):
    a, b = lab.vms
    for vm in lab.vms:
        lab.wire.wait_ping(vm.address, 15)
    assert a.ping(b.address) == 3
    assert b.ping(WIRE) == 3
    assert lab.wire.ping(a.address) == 3
    assert lab.wire.ping(HOST) == 3


def test_before(lab):
    all_reachable(lab)
    for i, packed in ((0, False), (1, True)):
        acked = re.findall(rf"port vm{i}: features (.*)", lab.vhost.log.read_text())
        assert ("RING_PACKED" in acked[-1].split()) is packed


def test_daemon_restart(lab):
    boots = [vm.channel.boot for vm in lab.vms]
    lab.vhost.restart()
    all_reachable(lab)
    assert [vm.channel.boot for vm in lab.vms] == boots


def test_daemon_killed(lab):
    """kill -9 leaves socket files and pins behind; both are taken over."""
    for _ in range(2):
        lab.vhost.kill()
        lab.vhost.start()
        all_reachable(lab)
    assert "vm1: ring 1: goes on at its own position" in lab.vhost.log.read_text()


def carried(lab, direction):
    """Frames of each guest in that direction so far"""
    way = "from_guest" if direction == "out" else "to_guest"
    return [lab.vhost.ctl("port", "show", vm.name)[way]["frames"] for vm in lab.vms]


def longest_gap(intervals):
    """Seconds without a byte in a row"""
    longest = gap = 0
    for interval in intervals:
        gap = gap + interval["sum"]["seconds"] if interval["sum"]["bytes"] == 0 else 0
        longest = max(longest, gap)
    return longest


@pytest.mark.parametrize("direction", ["out", "in"])
def test_daemon_killed_under_load(lab, direction):
    """kill -9 while both guests send, or receive, all that TCP can: the streams go on. What is
    measured is how long nothing moved, from the guests' view."""
    seconds, runs = 6, []
    servers = [lab.wire.iperf_server(lab.workdir / f"iperf-{direction}{i}.log", 5210 + i)
               for i in range(2)]
    before = carried(lab, direction)
    for i, vm in enumerate(lab.vms):
        runs.append(vm.channel.send(f"iperf3 -J -i 0.1 -c {WIRE} -p {5210 + i} -t {seconds}"
                                    f"{' -R' if direction == 'in' else ''}", 60))
    wait_for(lambda: all(now > then + 1000 for now, then in
                         zip(carried(lab, direction), before)), 15, "both streams")
    lab.vhost.kill()
    lab.vhost.start()
    for vm, run, rings in zip(lab.vms, runs, ("split", "packed")):
        status, text = vm.channel.result(run, 90)
        assert status == 0, text[-500:]
        report = json.loads(text)
        gap = longest_gap(report["intervals"])
        print(f"daemon killed, guest with {rings} rings {direction}: {gap:.1f} s without a byte, "
              f"{report['end']['sum_received']['bits_per_second'] / 1e6:.0f} Mb/s on the whole")
        assert gap < seconds - 2, f"{rings}: nothing came back for {gap} s"
        assert any(i["sum"]["bytes"] for i in report["intervals"][-10:])
    for server in servers:
        server.stop()
    all_reachable(lab)


def test_guests_reset_while_no_daemon_runs(lab):
    """Their rings are new ones at the same place, which the next daemon has to see."""
    lab.vhost.kill()
    try:
        for vm in lab.vms:
            vm.reset()
    finally:
        lab.vhost.start()
    all_reachable(lab)


def test_while_no_daemon_runs(lab):
    """The steering stays: the host keeps its traffic and never gets the guests'."""
    a = lab.vms[0]
    lab.wire.ping(a.address, 1)
    lab.vhost.kill()
    try:
        with Capture(lab.host, "nic0", f"ether dst {guest_mac(0)}",
                     lab.workdir / "nodaemon.log") as capture:
            lab.wire.ip("neigh", "replace", a.address, "lladdr", guest_mac(0), "dev", "wire0")
            assert lab.wire.ping(a.address, 3, deadline=3) == 0
            assert lab.wire.ping(HOST, 3) == 3
            time.sleep(0.5)
            assert capture.lines() == [], "the host got frames of a guest"
        link = lab.host.run("ip", "-d", "link", "show", "nic0").stdout
        assert "xdp" in link, link
    finally:
        lab.vhost.start()
    all_reachable(lab)


def test_guest_reboot(lab):
    a, b = lab.vms
    boot = a.channel.boot
    # The other guest goes on meanwhile.
    seconds = 8
    ident = b.channel.send(f"ping -i 0.2 -c {seconds * 5} -w 50 {WIRE}", 60)
    a.reboot()
    assert a.channel.boot != boot
    status, output = b.channel.result(ident, 60)
    assert status == 0 and f"{seconds * 5} packets received" in output, output
    all_reachable(lab)


def test_guest_reset_under_traffic(lab):
    """The reset button in the middle of a flood, twice.

    Not `reboot -f`: kernels that break their virtio devices at shutdown (6.1.192 does) may spin for
    ever in start_xmit() if a frame is just then on its way out, whatever the back end.
    """
    a = lab.vms[0]
    flood = lab.wire.spawn("ping -f", ["ping", "-q", "-f", "-w", 60, a.address],
                           lab.workdir / "flood.log")
    try:
        for _ in range(2):
            a.reset()
    finally:
        flood.stop()
    all_reachable(lab)


def test_qemu_killed(lab):
    """A front end that vanishes; the next one on the same socket is served."""
    b = lab.vms[1]
    b.process.kill()
    assert lab.vms[0].ping(WIRE) == 3
    b.start()
    all_reachable(lab)


@pytest.mark.parametrize("i", [0, 1])
def test_driver_unloaded_and_loaded(lab, i):
    vm = lab.vms[i]
    vm.run("rmmod virtio_net; insmod /modules/virtio_net.ko; sleep 0.5; nic=$(cat /tmp/nic); "
           f"ip link set $nic up; ip addr add {vm.ip} dev $nic")
    all_reachable(lab)


@pytest.mark.parametrize("i", [0, 1])
def test_driver_unbound_and_bound(lab, i):
    """The guest's driver stops the device and starts it anew, twice."""
    a = lab.vms[i]
    for _ in range(2):
        a.run("nic=$(cat /tmp/nic); dev=$(basename $(readlink /sys/class/net/$nic/device)); "
              "echo $dev >/sys/bus/virtio/drivers/virtio_net/unbind; sleep 0.5; "
              "echo $dev >/sys/bus/virtio/drivers/virtio_net/bind; sleep 0.5; "
              f"ip link set $nic up; ip addr add {a.ip} dev $nic")
        all_reachable(lab)


def test_link_down_and_up_in_the_guest(lab):
    a = lab.vms[0]
    a.run("nic=$(cat /tmp/nic); ip link set $nic down; sleep 0.3; ip link set $nic up")
    all_reachable(lab)


def test_wire_carrier_lost_and_back(lab):
    lab.wire.ip("link", "set", "wire0", "down")
    time.sleep(0.5)
    assert lab.vms[0].ping(lab.vms[1].address) == 3, "guests need no wire between them"
    lab.wire.ip("link", "set", "wire0", "up")
    all_reachable(lab)


def test_log_is_clean(lab):
    text = lab.vhost.log.read_text()
    assert not re.search(r"sanitizer|assert", text, re.I), text


@pytest.mark.parametrize("device", ["packed=off", "packed=on"])
def test_daemon_connects_to_qemu(topology, device):
    """listen: false. The daemon is there first and keeps trying; QEMU restarts, it comes back."""
    with topology("client") as topo:
        port = topo.port(0, listen=False)
        daemon = topo.daemon(ports=[port]).start()
        time.sleep(0.5)
        vm = topo.guest(0, server=True, device=device).start()
        topo.wire.wait_ping(vm.address, 15)
        vm.process.kill()
        vm.start()
        topo.wire.wait_ping(vm.address, 15)
        assert vm.ping(WIRE) == 3
        daemon.restart()
        topo.wire.wait_ping(vm.address, 15)
        assert vm.ping(WIRE) == 3
        daemon.kill()
        daemon.start()
        topo.wire.wait_ping(vm.address, 15)


def test_device_deleted_and_made_again(topology):
    """The NIC goes away under the daemon; the guest's uplink comes back with it."""
    from vx.net import veth
    with topology("nicgone") as topo:
        topo.daemon(2).start()
        vms = topo.guests(2)
        topo.wire.wait_ping(vms[0].address)
        topo.host.ip("link", "del", "nic0")
        wait_for(lambda: vms[0].ping(vms[1].address, 1, 1) == 1, 10, "guest to guest without nic")
        veth(topo.host, "nic0", topo.wire, "wire0")
        topo.host.ip("addr", "add", f"{HOST}/24", "dev", "nic0")
        topo.wire.ip("addr", "add", f"{WIRE}/24", "dev", "wire0")
        topo.wire.wait_ping(vms[0].address, 20)
        assert vms[1].ping(WIRE) == 3
        assert topo.wire.ping(HOST) == 3
