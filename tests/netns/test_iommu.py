# SPDX-License-Identifier: BSD-2-Clause
"""Emulated guests behind an IOMMU: addresses that have to be asked for, and that lose their meaning
at any time."""
import pytest

from vx.base import patience
from vx.topo import guest_mac

from vxnet import WIRE_MAC, Vfe, close_guests, frame, from_drops, port, to_drops, untouched, wait_port

IOMMU = {"iommu": True}
FLUSHED = {"iommu": True, "iommu_flush_ms": 5}


def daemon(topo, both=False):
    return topo.daemon(ports=[topo.port(0, iommu=True), topo.port(1, iommu=both)]).start()


@pytest.mark.parametrize("options", [
    {}, {"tx_mix": True, "regions": 4, "gpa_gap": 1 << 30}, {"packed": True}, {"ring": 1024}])
def test_to_the_wire(topo, wire, options):
    """Nothing is lost on the way out, however often all addresses lose their meaning."""
    d = daemon(topo)
    guest = Vfe(topo, topo.socket(0), "tx", mac=guest_mac(0), dst=WIRE_MAC, size="60-1514",
                count=1455, rate=3000, **FLUSHED, **options)
    got = wire.receive(1455, timeout=20)
    result = guest.result()
    assert [f.seq for f in got] == list(range(1455))
    assert all(f.good for f in got)
    assert result["translations"] > 50 and result["faults"] == 0
    assert not from_drops(d, "vm0")


@pytest.mark.parametrize("options", [{}, {"rx_pieces": 3}, {"packed": True}, {"rx_indirect": True}])
def test_from_the_wire(topo, wire, options):
    """Buffers are asked for before they are due: no frame is lost for want of a meaning. Between one
    frame and the next, guest and daemon both had their turn to ask and to answer."""
    d = daemon(topo)
    guest = Vfe(topo, topo.socket(0), "echo", mac=guest_mac(0), ring=512, **IOMMU, **options)
    guest.ready()
    wait_port(d, "vm0", up=True)
    assert "ACCESS_PLATFORM" in port(d, "vm0")["features"]
    for k in range(500):
        wire.send(frame(guest_mac(0), WIRE_MAC, k, 60 + k))
        assert [f.seq for f in wire.receive(1, settle=0)] == [k]
        assert not to_drops(d, "vm0")
    result = guest.finish()
    assert result["good"] == 500
    assert result["bad"] == result["lost"] == result["foreign"] == 0
    assert not to_drops(d, "vm0")


def test_restarts(topo):
    """Rings that are stopped, started and flushed under traffic on both sides."""
    daemon(topo, both=True)
    link = Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
               peer_mac=guest_mac(1), count=3000, churn="restart", churn_every=500,
               both=True, timeout_ms=int(15000 * patience()), allow_loss=True, iommu=True,
               iommu_flush_ms=20)
    result = link.result(timeout=60)
    untouched(result)


def test_only_where_it_is_configured(topo):
    """A port that was not asked to does not offer it."""
    daemon(topo)
    guest = Vfe(topo, topo.socket(1), "tx", mac=guest_mac(1), dst=WIRE_MAC, **IOMMU)
    assert "does not know of IOMMUs" in guest.result(ok=False)["error"]
    close_guests(topo)
