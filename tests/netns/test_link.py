# SPDX-License-Identifier: BSD-2-Clause
"""What happens to the nic while guests are attached: link, deletion, renaming, MTU, queues. Each
time the daemon recovers without a restart, and guests reach each other as if nothing were."""
import pytest

from vx.base import wait_for
from vx.daemon import BPFFS, PREFIX, remove_pins
from vx.net import Namespace, need_veth, rename, veth
from vx.topo import HOST, WIRE, guest_mac

import os
import time

import xdp
from vxnet import (BROADCAST, WIRE_MAC, Echo, Holdings, Station, Vfe, call, frame, from_drops,
                   nic, port, silence, wait_nic)


@pytest.fixture
def lab(topo):
    """A daemon with two guests that exchange frames throughout, and two more ports."""
    topo.vhost = topo.daemon(4).start()
    topo.echo = Echo(topo, topo.socket(2), topo.socket(3), guest_mac(2), guest_mac(3))
    topo.guest = Vfe(topo, topo.socket(0), "echo", mac=guest_mac(0), ring=1024,
                     size=4000)  # room to send back the largest frames of the MTU test
    topo.guest.ready()
    return topo


def answers(lab, n=20, size=100, dev="wire0", ns=None):
    """The guest that has been attached all the time sends back what the wire sends."""
    with Station(ns or lab.wire, dev) as wire:
        wire.send_all(frame(guest_mac(0), WIRE_MAC, k, size) for k in range(n))
        got = wire.receive(n, timeout=3)
        return len(got) == n and all(f.good and f.dst == WIRE_MAC for f in got)


def finish(lab):
    """The guests never noticed."""
    lab.echo.finish()
    assert lab.guest.finish()["bad"] == 0
    assert port(lab.vhost, "vm0")["connects"] == 1


def far_end_down(topo):
    topo.wire.ip("link", "set", "wire0", "down")
    time.sleep(1 if os.environ.get("VX_NICS") else 0)
    if topo.host.ip("-j", "link", "show", "dev", "nic0").stdout.count("LOWER_UP"):
        need_veth("nic0 does not see that the other end is down")


@pytest.mark.parametrize("side", ["host", "wire"])
def test_link_down_and_up(lab, side):
    ns, dev = (lab.host, "nic0") if side == "host" else (lab.wire, "wire0")
    assert answers(lab)
    holdings = Holdings(lab.vhost)
    for _ in range(3):
        if side == "wire":
            far_end_down(lab)
        else:
            ns.ip("link", "set", dev, "down")
        down = wait_nic(lab.vhost, "down")
        assert down["error"] is None
        sender = Vfe(lab, lab.socket(1), "tx", mac=guest_mac(1), dst=WIRE_MAC, count=10)
        sender.result()
        assert from_drops(lab.vhost, "vm1")["nic-down"] >= 10
        ns.ip("link", "set", dev, "up")
        wait_nic(lab.vhost, "up")
        assert answers(lab)
    holdings.same()
    finish(lab)


def test_starts_while_the_link_is_down(topo):
    far_end_down(topo)
    daemon = topo.daemon(2).start()
    wait_nic(daemon, "down")
    guest = Vfe(topo, topo.socket(0), "echo", mac=guest_mac(0), ring=1024)
    guest.ready()
    topo.wire.ip("link", "set", "wire0", "up")
    wait_nic(daemon, "up")
    assert answers(topo)


def test_starts_with_the_device_administratively_down(topo):
    topo.host.ip("link", "set", "nic0", "down")
    daemon = topo.daemon(1).start()
    wait_nic(daemon, "down")
    Vfe(topo, topo.socket(0), "echo", mac=guest_mac(0), ring=1024).ready()
    topo.host.ip("link", "set", "nic0", "up")
    wait_nic(daemon, "up")
    assert answers(topo)


ONLY_VETH = "only a veth can be deleted"


def replug(lab):
    veth(lab.host, "nic0", lab.wire, "wire0")
    lab.host.ip("addr", "add", f"{HOST}/24", "dev", "nic0")
    lab.wire.ip("addr", "add", f"{WIRE}/24", "dev", "wire0")
    silence(lab)


def test_device_deleted_and_recreated(lab):
    """The program goes with the device; maps and pins are kept and filled again."""
    need_veth(ONLY_VETH)
    holdings = Holdings(lab.vhost)
    for _ in range(3):
        old = nic(lab.vhost)
        lab.host.ip("link", "del", "nic0")
        gone = wait_nic(lab.vhost, "absent")
        assert "no such device" in gone["error"] and gone["queues"] == []
        Vfe(lab, lab.socket(1), "tx", mac=guest_mac(1), dst=WIRE_MAC, count=10).result()
        assert from_drops(lab.vhost, "vm1")["nic-down"] >= 10
        replug(lab)
        back = wait_nic(lab.vhost, "up")
        assert back["ifindex"] != old["ifindex"] and back["error"] is None
        assert xdp.attached(lab.host, "nic0") == back["prog_id"]
        assert answers(lab)
        assert lab.wire.ping(HOST) == 3
    assert len(xdp.fdb(lab.vhost.pin_dir / "nic0")) == 4
    holdings.same()
    finish(lab)


def test_device_deleted_under_traffic(lab):
    """In both directions, at the moment of the deletion."""
    need_veth(ONLY_VETH)
    sender = Vfe(lab, lab.socket(1), "tx", mac=guest_mac(1), dst=WIRE_MAC, count=1_000_000,
                 rate=20000, timeout_ms=100000)
    sender.ready()
    for _ in range(3):
        with Station(lab.wire, "wire0") as wire:
            for k in range(300):
                wire.send(frame(guest_mac(0), WIRE_MAC, k, 1000))
        lab.host.ip("link", "del", "nic0")
        wait_nic(lab.vhost, "absent")
        replug(lab)
        wait_nic(lab.vhost, "up")
        with Station(lab.wire, "wire0") as wire:
            got = wire.receive(50, timeout=5)
            assert len(got) >= 50 and all(f.good for f in got)
    sender.finish(ok=None)
    with Station(lab.wire, "wire0") as wire:
        wire.receive(timeout=0.3)  # what was on its way when the sender was told to end
    assert answers(lab)
    finish(lab)


def test_device_renamed(lab):
    """A device of another name is not the configured one: it is let go, program and all. It is
    taken again when the name returns."""
    holdings = Holdings(lab.vhost)
    rename(lab.host, "nic0", "other0")
    wait_nic(lab.vhost, "absent")
    assert not xdp.attached(lab.host, "other0")
    rename(lab.host, "other0", "nic0")
    wait_nic(lab.vhost, "up")
    assert answers(lab)
    holdings.same()
    finish(lab)


def test_another_device_of_the_name(lab):
    need_veth("a second device of that name is a veth")
    holdings = Holdings(lab.vhost)
    rename(lab.host, "nic0", "other0")
    wait_nic(lab.vhost, "absent")
    veth(lab.host, "nic0", lab.wire, "wire1")
    wait_nic(lab.vhost, "up")
    assert answers(lab, dev="wire1")
    holdings.same()
    finish(lab)


def test_device_moved_to_another_namespace(lab):
    with Namespace("elsewhere") as elsewhere:
        lab.host.ip("link", "set", "nic0", "netns", elsewhere.name)
        wait_nic(lab.vhost, "absent")
        assert not xdp.attached(elsewhere, "nic0")
        elsewhere.ip("link", "set", "nic0", "netns", lab.host.name)
        lab.host.ip("link", "set", "nic0", "up")
        wait_nic(lab.vhost, "up")
        assert answers(lab)
    finish(lab)


def test_mtu(lab):
    """Larger, smaller, too large to be served, and back."""
    def set_mtu(mtu, state="up"):
        for ns, dev in ((lab.host, "nic0"), (lab.wire, "wire0")):
            ns.ip("link", "set", dev, "mtu", mtu)
        now = wait_for(lambda: (lambda n: n["mtu"] == mtu and n["state"] == state and n)
                       (nic(lab.vhost)), 10, lambda: f"MTU {mtu}: {nic(lab.vhost)}")
        return now
    holdings = Holdings(lab.vhost)
    assert answers(lab, size=1514)
    # A veth makes parts of frames above some 3500 bytes, which kernels before 6.6 do not redirect.
    old = tuple(map(int, os.uname().release.split(".")[:2])) < (6, 6)
    if old:
        set_mtu(3800)
        wait_for(lambda: "MTU 3800: before Linux 6.6 the kernel drops" in lab.vhost.tail(), 5,
                 "warning")
        assert answers(lab, size=3400 + 14)
    for mtu in (1400, 3000, 3400 if old else 3800, 1500):
        set_mtu(mtu)
        assert answers(lab, size=mtu + 14)
        before = from_drops(lab.vhost, "vm1").get("oversize", 0)
        Vfe(lab, lab.socket(1), "tx", mac=guest_mac(1), dst=WIRE_MAC, count=5,
            size=mtu + 19).result()
        assert from_drops(lab.vhost, "vm1")["oversize"] - before == 5
    holdings.same()
    finish(lab)


def test_mtu_that_cannot_be_served(topo):
    daemon = topo.daemon(1, nics=[{"name": "nic0", "mode": "steered",
                                   "xdp-mode": "generic"}]).start()
    guest = Vfe(topo, topo.socket(0), "echo", mac=guest_mac(0), ring=1024)
    guest.ready()
    topo.host.ip("link", "set", "nic0", "mtu", 9000)
    failed = wait_nic(daemon, "failed")
    assert "MTU 9000" in failed["error"]
    topo.host.ip("link", "set", "nic0", "mtu", 1500)
    wait_nic(daemon, "up")
    assert answers(topo)


@pytest.mark.topology(queues=2)
def test_more_queues(topo):
    """The kernel lets nobody take a queue from under a socket; more of them are picked up."""
    for ns, dev in ((topo.wire, "wire0"), (topo.host, "nic0")):
        ns.run("ethtool", "-L", dev, "rx", 1, "tx", 1)
    daemon = topo.daemon(1).start()
    assert [q["queue"] for q in nic(daemon)["queues"]] == [0]
    Vfe(topo, topo.socket(0), "echo", mac=guest_mac(0), ring=1024).ready()
    assert answers(topo)
    for ns, dev in ((topo.host, "nic0"), (topo.wire, "wire0")):
        ns.run("ethtool", "-L", dev, "rx", 2, "tx", 2)
    wait_for(lambda: [q["queue"] for q in nic(daemon)["queues"]] == [0, 1], 10,
             lambda: f"two queues: {nic(daemon)}")
    wait_nic(daemon, "up")
    assert answers(topo)


def test_group_copies_survive_a_new_device(lab):
    need_veth(ONLY_VETH)
    lab.host.ip("link", "del", "nic0")
    wait_nic(lab.vhost, "absent")
    replug(lab)
    wait_nic(lab.vhost, "up")
    listener = Vfe(lab, lab.socket(1), "rx", mac=guest_mac(1), expect=20)
    listener.ready()
    with Station(lab.wire, "wire0") as wire:
        wire.send_all(frame(BROADCAST, WIRE_MAC, k, stream=77) for k in range(20))
    assert listener.result()["group"] == 20
    finish(lab)


def test_device_that_somebody_else_took_meanwhile(lab):
    """The name returns with a foreign XDP program on it: reported, left alone, and taken as soon
    as it is free."""
    need_veth(ONLY_VETH)
    pin_dir = BPFFS / f"{PREFIX}{os.getpid()}-taken"
    pin_dir.mkdir()
    try:
        xdp.pin_pass_program(pin_dir / "prog")
        lab.host.ip("link", "del", "nic0")
        wait_nic(lab.vhost, "absent")
        lab.host.ip("link", "add", "tmp0", "type", "veth", "peer", "name", "wire0", "netns",
                    lab.wire.name)
        lab.host.ip("link", "set", "dev", "tmp0", "xdp", "pinned", pin_dir / "prog")
        foreign = xdp.attached(lab.host, "tmp0")
        lab.host.ip("link", "set", "tmp0", "name", "nic0")
        failed = wait_nic(lab.vhost, "failed")
        assert f"id {foreign}" in failed["error"]
        assert xdp.attached(lab.host, "nic0") == foreign
        lab.host.ip("link", "set", "dev", "nic0", "xdp", "off")
        for ns, dev in ((lab.host, "nic0"), (lab.wire, "wire0")):
            ns.ip("link", "set", dev, "up")
        wait_nic(lab.vhost, "up", timeout=15)
        assert answers(lab)
    finally:
        remove_pins(pin_dir)
    finish(lab)


def test_absent_nic_costs_nothing(lab):
    """Waiting for a device is not polling for it."""
    need_veth(ONLY_VETH)
    lab.host.ip("link", "del", "nic0")
    wait_nic(lab.vhost, "absent")
    lab.echo.finish()
    lab.guest.finish()
    calls = call(lab.vhost, "version")
    assert calls["pid"] == lab.vhost.pid
    wait_for(lambda: lab.vhost.idle_ticks(1)[0] == 0, 10, "a second without a tick")
