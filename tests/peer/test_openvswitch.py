# SPDX-License-Identifier: BSD-2-Clause
"""Guests behind a real Open vSwitch: `dedicated` veths whose other ends are afxdp ports.

     vm0 ── vhost-xdpd ── vhx0 ═veth═ ovs0 ┐
     vm1 ── vhost-xdpd ── vhx1 ═veth═ ovs1 ┤ br0 (netdev datapath)
                 wire ── wire0 ═veth═ ovsw ┘
"""
import os

import pytest

from vx.base import wait_for
from vx.net import veth
from vx.peers import OpenVSwitch
from vx.topo import WIRE
from vx.traffic import ping, tcp

# That TCP works, not how fast: emulated guests, and a polling switch on one of few CPUs.
FLOOR = 1


@pytest.fixture(scope="module")
def lab(topology):
    with topology("ovs") as topo:
        for i in (0, 1):
            veth(topo.host, f"vhx{i}", topo.host, f"ovs{i}")
        # The wire hangs on the bridge, not on nic0, in this test.
        topo.host.ip("link", "del", "nic0")
        veth(topo.host, "ovsw", topo.wire, "wire0")
        topo.wire.ip("addr", "add", f"{WIRE}/24", "dev", "wire0")
        topo.ovs = topo.add(OpenVSwitch(topo.workdir, topo.host, pmd_cpu=(os.cpu_count() or 1) - 1))
        topo.ovs.bridge()
        for dev in ("ovs0", "ovs1", "ovsw"):
            topo.ovs.add_afxdp("br0", dev)
        nics = [{"name": f"vhx{i}", "mode": "dedicated"} for i in (0, 1)]
        ports = [topo.port(i, nic=f"vhx{i}") for i in (0, 1)]
        topo.vhost = topo.daemon(nics=nics, ports=ports).start()
        topo.vms = topo.guests(2)
        topo.server = topo.add(topo.wire.iperf_server(topo.workdir / "iperf.log"))
        for vm in topo.vms:
            vm.wait_ping(WIRE, 20)
            vm.iperf_server()
        yield topo


@pytest.mark.parametrize("size", [18, 56, 1472])
def test_ping_guest_and_guest(lab, size):
    a, b = lab.vms
    ping(a, b.address, size)
    ping(b, a.address, size)


@pytest.mark.parametrize("size", [18, 56, 1472])
def test_ping_guest_and_wire(lab, size):
    for vm in lab.vms:
        assert lab.wire.ping(vm.address, 3, opts=["-s", size]) == 3
        ping(vm, WIRE, size)


def test_the_bridge_learned_the_guests(lab):
    """The frames really went through Open vSwitch: each guest's address is at its port."""
    a, b = lab.vms
    a.ping(b.address)
    table = lab.ovs.appctl("fdb/show", "br0")
    ports = {vm.mac: lab.ovs.vsctl("get", "interface", f"ovs{i}", "ofport").strip()
             for i, vm in enumerate(lab.vms)}
    learned = {words[2]: words[0] for words in map(str.split, table.splitlines()[1:])}
    for mac, port in ports.items():
        assert learned.get(mac) == port, table


@pytest.mark.parametrize("reverse", [False, True], ids=["out", "in"])
def test_tcp_guest_and_wire(lab, reverse):
    for vm in lab.vms:
        tcp(vm, WIRE, FLOOR, reverse)


def test_tcp_guest_and_guest(lab):
    a, b = lab.vms
    tcp(a, b.address, FLOOR)
    tcp(b, a.address, FLOOR)


def test_daemon_restart_beside_the_switch(lab):
    lab.vhost.restart()
    for vm in lab.vms:
        lab.wire.wait_ping(vm.address, 20)
    lab.vhost.kill()
    lab.vhost.start()
    for vm in lab.vms:
        lab.wire.wait_ping(vm.address, 20)
    assert lab.vms[0].ping(lab.vms[1].address) == 3


def test_rules_of_the_switch_hold(lab):
    """A drop rule in Open vSwitch cuts a guest off: there is no way around the bridge."""
    a, b = lab.vms
    rule = f"in_port=ovs0,ip,nw_dst={b.address}"
    target = f"unix:{lab.ovs.dir}/br0.mgmt"
    lab.host.run("ovs-ofctl", "add-flow", target, f"priority=100,{rule},actions=drop")
    try:
        # What the switch has cached of the way there may live on for a moment.
        wait_for(lambda: a.ping(b.address, 1, 1) == 0, 10, "a rule that holds")
        assert a.ping(b.address, 2, 3) == 0
        a.wait_ping(WIRE)
    finally:
        lab.host.run("ovs-ofctl", "del-flows", target, rule)
    a.wait_ping(b.address)
