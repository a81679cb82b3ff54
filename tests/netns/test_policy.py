# SPDX-License-Identifier: BSD-2-Clause
"""Frames for nobody, VLANs, own-macs-only, and every reason to drop a frame that can be provoked
from outside."""
import pytest

from vx.base import wait_for
from vx.net import veth
from vx.topo import WIRE, guest_mac

from rawfe import (F_MRG_RXBUF, F_PROTOCOL, F_VERSION_1, HDR, SET_VRING_ENABLE, RawFrontEnd)
from vxnet import (BROADCAST, WIRE_MAC, Station, Vfe, frame, from_drops, listen, nic, to_drops,
                   verdicts, wait_nic)

import struct

STRANGER = "02:00:00:00:0e:0e"


def send(topo, i, dst, count=20, **more):
    result = Vfe(topo, topo.socket(i), "tx", mac=guest_mac(i), dst=dst, count=count, **more)
    return result.result()


# ---- frames for nobody -----------------------------------------------------------------------

def test_miss_pass_gives_strangers_to_the_host(topo, wire, host):
    daemon = topo.daemon(1).start()
    wire.send_all(frame(STRANGER, WIRE_MAC, i, 60 + i) for i in range(100))
    got = host.receive(100)
    assert [f.seq for f in got] == list(range(100)) and all(f.good for f in got)
    assert verdicts(daemon)["pass"] >= 100 and verdicts(daemon)["guest"] == 0


def test_miss_drop(topo, wire, host):
    """Strangers are dropped; guests still get their unicast, broadcast and multicast."""
    daemon = topo.daemon(2, nics=[{"name": "nic0", "mode": "steered", "miss": "drop"}]).start()
    guests = [listen(topo, i, 30) for i in range(2)]
    wire.send_all(frame(STRANGER, WIRE_MAC, i) for i in range(50))
    for dst in (guest_mac(0), guest_mac(1)):
        wire.send_all(frame(dst, WIRE_MAC, i, stream=1) for i in range(10))
    wire.send_all(frame(BROADCAST, WIRE_MAC, i, stream=2) for i in range(10))
    wire.send_all(frame("33:33:00:00:00:01", WIRE_MAC, i, stream=3) for i in range(10))
    for guest in guests:
        assert guest.result()["group"] == 20
    assert host.receive(timeout=0.2) == []
    assert verdicts(daemon)["drop"] >= 50 and verdicts(daemon)["group"] >= 20
    assert not topo.wire.ping("198.18.0.1", count=1, deadline=1)


def redirect(topo):
    """A daemon with miss: redirect to `patch0`, and what stands at the other end of that."""
    veth(topo.host, "patch0", topo.wire, "patch1")
    for ns, dev in ((topo.wire, "patch1"), (topo.wire, "wire0")):
        ns.run("ethtool", "-K", dev, "gro", "on")  # a veth takes redirected frames only with NAPI
    daemon = topo.daemon(2, nics=[{"name": "nic0", "mode": "steered", "miss": "redirect",
                                   "redirect-to": "patch0"}]).start()
    return daemon, Station(topo.wire, "patch1")


def test_miss_redirect_to_the_other_device(topo, wire, host):
    daemon, patch = redirect(topo)
    guests = [listen(topo, i, 20) for i in range(2)]
    with patch:
        wire.send_all(frame(STRANGER, WIRE_MAC, i, 60 + i) for i in range(100))
        got = patch.receive(100)
        assert [f.seq for f in got] == list(range(100)) and all(f.good for f in got)
        # Group frames go both ways: to the guests and to the other device.
        wire.send_all(frame(BROADCAST, WIRE_MAC, i, stream=2) for i in range(20))
        assert len(patch.receive(20)) == 20
    for guest in guests:
        assert guest.result()["group"] == 20
    assert host.receive(timeout=0.2) == []
    assert verdicts(daemon)["redirect"] >= 100


def test_miss_redirect_back_to_the_wire(topo, wire):
    daemon, patch = redirect(topo)
    guest = listen(topo, 0, 0)
    with patch:
        patch.send_all(frame(STRANGER, WIRE_MAC, i, 60 + i) for i in range(100))
        patch.send_all(frame(BROADCAST, WIRE_MAC, i, stream=2) for i in range(20))
    got = wire.receive(120)
    assert len(got) == 120 and all(f.good for f in got)
    assert verdicts(daemon)["back"] >= 120
    guest.finish()


def test_redirect_device_that_is_made_again(topo, wire):
    """The other device may be deleted and return: the nic binds again by itself."""
    daemon, patch = redirect(topo)
    patch.close()
    topo.host.ip("link", "del", "patch0")
    wait_nic(daemon, "failed")
    veth(topo.host, "patch0", topo.wire, "patch1")
    topo.wire.run("ethtool", "-K", "patch1", "gro", "on")
    wait_nic(daemon, "up")
    with Station(topo.wire, "patch1") as again:
        wire.send_all(frame(STRANGER, WIRE_MAC, i) for i in range(10))
        assert len(again.receive(10)) == 10


# ---- VLANs -----------------------------------------------------------------------------------

def vlan_ports(topo):
    """vm0, vm1: VLAN 100; vm2: VLAN 200; vm3: untagged."""
    return [topo.port(i, vlan=vlan) for i, vlan in enumerate((100, 100, 200, 0))]


def test_vlan_port_is_tagged_on_the_wire_and_untagged_in_the_guest(topo, wire):
    topo.daemon(ports=vlan_ports(topo)).start()
    sizes = range(64, 1519)  # tag included
    guest = listen(topo, 0, len(sizes), rx_size=4096)
    wire.send_all(frame(guest_mac(0), WIRE_MAC, i, size, vlan=100)
                  for i, size in enumerate(sizes))
    result = guest.result()
    assert result["bytes"] == sum(sizes) - 4 * len(sizes) and result["bad"] == 0

    send(topo, 0, WIRE_MAC, 1455, size="60-1514", rate=20000, tx_mix=True)
    got = wire.receive(1455)
    assert [f.seq for f in got] == list(range(1455))
    assert all(f.good and f.vlan == 100 for f in got)
    assert [len(f.data) for f in got] == list(sizes)


def test_vlan_isolation_from_the_wire(topo, wire):
    daemon = topo.daemon(ports=vlan_ports(topo)).start()
    outsider = listen(topo, 0, 0)
    guests = [listen(topo, i, 10, settle_ms=500) for i in (1, 2, 3)]
    passed = verdicts(daemon)["pass"]
    # vm0's address, but in no VLAN, in another's, in an unknown one, or within 802.1ad.
    for vlan in (None, 0, 200, 300):
        wire.send_all(frame(guest_mac(0), WIRE_MAC, i, vlan=vlan) for i in range(5))
    wire.send_all(bytearray(f[:12] + b"\x88\xa8" + f[14:]) for f in
                  [frame(guest_mac(0), WIRE_MAC, i, vlan=100) for i in range(5)])
    for i, vlan in ((1, 100), (2, 200), (3, None)):
        wire.send_all(frame(guest_mac(i), WIRE_MAC, k, vlan=vlan) for k in range(10))
    for guest in guests:
        assert guest.result()["misdirected"] == 0
    wait_for(lambda: verdicts(daemon)["pass"] - passed >= 25, 5, "strangers passed to the host")
    outsider.finish()


def test_vlan_groups(topo, wire):
    """A broadcast stays in its VLAN, whether it comes from the wire or from a guest."""
    topo.daemon(ports=vlan_ports(topo)).start()
    guests = [listen(topo, i, expect, settle_ms=500)
              for i, expect in enumerate((10, 10, 20, 35))]
    for stream, vlan, n in ((1, 100, 10), (2, 200, 20), (3, None, 30), (4, 0, 5)):
        wire.send_all(frame(BROADCAST, WIRE_MAC, i, stream=stream, vlan=vlan) for i in range(n))
    for guest in guests:
        result = guest.result()
        assert result["bad"] == 0
    other, *outsiders = [listen(topo, i, expect) for i, expect in ((1, 40), (2, 0), (3, 0))]
    send(topo, 0, BROADCAST, 40)
    other.result()
    got = wire.receive(40)
    assert len(got) == 40 and all(f.good and f.vlan == 100 for f in got)
    for guest in outsiders:
        guest.finish()


def test_vlan_guests_reach_each_other_only_inside(topo, wire):
    topo.daemon(ports=vlan_ports(topo)).start()
    Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
        peer_mac=guest_mac(1), both=True, count=500, size="60-1514").result()
    assert wire.receive(timeout=0.2) == []
    outsider = listen(topo, 2, 0)
    send(topo, 0, guest_mac(2), 20)
    got = wire.receive(20)  # a router may bring them to VLAN 200, we do not
    assert len(got) == 20 and all(f.vlan == 100 for f in got)
    outsider.finish()


def test_guest_must_not_choose_its_vlan(topo, wire):
    daemon = topo.daemon(ports=vlan_ports(topo)).start()
    peer = listen(topo, 1, 0)
    for i in (0, 3):
        send(topo, i, WIRE_MAC, 10, vlan=200)
        send(topo, i, guest_mac(1), 5, vlan=100)
        send(topo, i, BROADCAST, 5, vlan=100)
        assert from_drops(daemon, f"vm{i}") == {"vlan": 20}
    assert wire.receive(timeout=0.2) == []
    peer.finish()


def test_priority_tag_of_a_guest(topo, wire):
    """A tag with id 0 only carries a priority: such a frame counts as untagged. A port with a
    VLAN gets one tag on the wire, not two; its priority is kept."""
    topo.daemon(ports=vlan_ports(topo)).start()
    peer = listen(topo, 1, 1, settle_ms=300)
    data = frame(WIRE_MAC, guest_mac(0), 1, 100, vlan=5 << 13)
    to_peer = frame(guest_mac(1), guest_mac(0), 2, 100, vlan=5 << 13)
    with RawFrontEnd(topo.socket(0)).start() as guest:
        guest.transmit(data)
        guest.transmit(to_peer)
    peer.result()
    got = wire.receive(1)
    assert len(got) == 1 and got[0].good
    assert got[0].data[12:16] == struct.pack("!HH", 0x8100, 5 << 13 | 100)
    assert len(got[0].data) == 100


# ---- addresses -------------------------------------------------------------------------------

def test_own_macs_only(topo, wire):
    daemon = topo.daemon(ports=[topo.port(0, **{"own-macs-only": True}), topo.port(1)]).start()
    peer = listen(topo, 1, 10, settle_ms=500)
    for dst in (WIRE_MAC, guest_mac(1), BROADCAST):
        for mix in ({}, {"tx_mix": True}):
            Vfe(topo, topo.socket(0), "tx", mac=STRANGER, dst=dst, count=10, **mix).result()
    assert from_drops(daemon, "vm0") == {"spoofed": 60}
    assert wire.receive(timeout=0.2) == []
    send(topo, 0, guest_mac(1), 10)
    peer.result()
    assert from_drops(daemon, "vm0") == {"spoofed": 60}


def test_several_addresses_of_a_port(topo, wire):
    macs = [guest_mac(0), "52:54:00:00:0a:01", "52:54:00:00:0a:02"]
    topo.daemon(ports=[topo.port(0, macs=macs, **{"own-macs-only": True}), topo.port(1)]).start()
    guest = listen(topo, 0, 40, macs[2], settle_ms=300)
    wire.send_all(frame(mac, WIRE_MAC, i, stream=k) for k, mac in enumerate(macs)
                  for i in range(10))
    send(topo, 1, macs[1], 10, id=9)
    assert guest.result(ok=None)["good"] == 40
    for mac in macs:
        Vfe(topo, topo.socket(0), "tx", mac=mac, dst=WIRE_MAC, count=5).result()
    assert len(wire.receive(15)) == 15


# ---- reasons ---------------------------------------------------------------------------------

def test_reason_hairpin(topo, wire):
    daemon = topo.daemon(1).start()
    send(topo, 0, guest_mac(0), 10)
    assert from_drops(daemon, "vm0") == {"hairpin": 10}
    assert wire.receive(timeout=0.2) == []


def test_reason_oversize(topo, wire):
    """Longer than nic0 can carry; between guests there is no such limit."""
    daemon = topo.daemon(2).start()
    send(topo, 0, WIRE_MAC, 10, size=1519, mem=16)
    assert from_drops(daemon, "vm0") == {"oversize": 10}
    assert wire.receive(timeout=0.2) == []
    peer = listen(topo, 1, 10, mem=16, ring=1024)
    send(topo, 0, guest_mac(1), 10, size=9000, mem=16)
    assert peer.result()["merged"] == 10


def test_reason_too_big(topo, wire):
    daemon = topo.daemon(1).start()
    guest = listen(topo, 0, 5, features="-mrg_rxbuf", rx_size=300, settle_ms=300)
    wire.send_all(frame(guest_mac(0), WIRE_MAC, i, 1000, stream=1) for i in range(10))
    wire.send_all(frame(guest_mac(0), WIRE_MAC, i, 288, stream=2) for i in range(5))
    guest.result()
    assert to_drops(daemon, "vm0") == {"too-big": 10}


def test_reason_nic_down(topo):
    daemon = topo.daemon(2).start()
    topo.wire.ip("link", "set", "wire0", "down")
    wait_nic(daemon, "down")
    send(topo, 0, WIRE_MAC, 10)
    assert from_drops(daemon, "vm0") == {"nic-down": 10}
    # Guests still reach each other.
    Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
        peer_mac=guest_mac(1), both=True, count=100).result()


def test_reason_no_route(topo):
    daemon = topo.daemon(nics=[{"name": "inside", "mode": "internal"}],
                         ports=[topo.port(i, nic="inside") for i in range(2)]).start()
    send(topo, 0, STRANGER, 10)
    send(topo, 0, BROADCAST, 10)  # nobody there, but that is no fault
    assert from_drops(daemon, "vm0") == {"no-route": 10}


def test_reasons_malformed_offload_disabled(topo, wire):
    daemon = topo.daemon(1).start()
    with RawFrontEnd(topo.socket(0)).start() as guest:
        data = frame(WIRE_MAC, guest_mac(0), 0, 100)
        guest.transmit(data[:13])
        guest.transmit(b"")
        assert from_drops(daemon, "vm0") == {"malformed": 2}
        guest.transmit(data, header=b"\x01" + bytes(HDR - 1))  # NEEDS_CSUM
        guest.transmit(data, header=b"\x00\x01" + bytes(HDR - 2))  # GSO_TCPV4
        assert from_drops(daemon, "vm0") == {"malformed": 2, "offload": 2}
        guest.ack(SET_VRING_ENABLE, struct.pack("=II", 1, 0))
        guest.transmit(data)
        assert from_drops(daemon, "vm0") == {"malformed": 2, "offload": 2, "disabled": 1}
        guest.ack(SET_VRING_ENABLE, struct.pack("=II", 1, 1))
        assert wire.receive(timeout=0.2) == []
        guest.transmit(data)
        assert [f.good for f in wire.receive(1)] == [True]


@pytest.mark.parametrize("features, header", [
    (F_VERSION_1 | F_PROTOCOL, 12), (F_PROTOCOL, 10), (F_MRG_RXBUF | F_PROTOCOL, 12), (0, 10)],
    ids=["modern", "legacy", "legacy-mrg", "legacy-no-protocol"])
def test_header_lengths(topo, wire, features, header):
    """Virtio 1.3, 5.1.6.1: only legacy guests without mergeable buffers have the short header."""
    topo.daemon(1).start()
    data = frame(WIRE_MAC, guest_mac(0), 7, 100)
    with RawFrontEnd(topo.socket(0)).start(features=features) as guest:
        guest.transmit(data, header=bytes(header))
        assert [f.data for f in wire.receive(1)] == [data]
        guest.desc(0, 0, guest.buffer(9), 2048, 2)
        guest.offer(0, 0)
        back = frame(guest_mac(0), WIRE_MAC, 8, 100)
        wire.send(back)
        guest.wait_used(0, 1)
        assert guest.used_len(0, 0) == header + 100
        at = guest.buffer(9) - 0x1_0000_0000
        assert guest.mem[at + header:at + header + 100] == back
        assert guest.mem[at:at + header] == bytes(10) + (b"\x01\x00" if header == 12 else b"")


def test_legacy_guest_frames_on_a_dedicated_vlan_port(topo, wire):
    """nic drop reason `vlan`: a dedicated nic whose port is in a VLAN takes only that VLAN."""
    daemon = topo.daemon(nics=[{"name": "nic0", "mode": "dedicated"}],
                         ports=[{"name": "vm0", "socket": str(topo.socket(0)), "listen": True,
                                 "nic": "nic0", "vlan": 100}]).start()
    guest = listen(topo, 0, 10, settle_ms=300)
    wire.send_all(frame(guest_mac(0), WIRE_MAC, i, vlan=200) for i in range(5))
    wire.send_all(frame(guest_mac(0), WIRE_MAC, i) for i in range(5))
    wire.send_all(frame(guest_mac(0), WIRE_MAC, i, vlan=100) for i in range(10))
    assert guest.result()["bad"] == 0
    assert nic(daemon)["drops"]["vlan"] == 10
    assert not topo.wire.ping(WIRE.replace(".2", ".1"), count=1, deadline=1)
