# SPDX-License-Identifier: BSD-2-Clause
"""Packed virtqueues: every kind of traffic that split ones carry, connections that end and come
back, sleeping, and rings that break the rules. The emulated guest judges all that the daemon
writes: flags, identifiers, places, event structures, positions."""
import pytest

from vx.topo import Topology, guest_mac

from vxnet import Vfe, close_guests, silence

TWO_WORKERS = ({"cpu": 0}, {"cpu": 1})

# What differs from frame to frame or from guest to guest
SHAPES = {
    "plain": {},
    "any size": {"ring": 243},
    "tiny": {"ring": 2, "window": 1},
    "large": {"ring": 32768, "count": 40000},
    "mixed": {"ring": 199, "tx_mix": True},
    "mixed in order": {"tx_mix": True, "features": "in_order"},
    "no EVENT_IDX": {"ring": 100, "tx_mix": True, "features": "-event_idx"},
    "no INDIRECT_DESC": {"tx_mix": True, "features": "-indirect_desc"},
    "not mergeable": {"features": "-mrg_rxbuf"},
    "merged": {"ring": 1000, "rx_size": 300, "size": "42-9000", "mem": 64, "window": 25},
    "received in chains": {"ring": 255, "rx_pieces": 5, "rx_size": 2100},
    "received through tables": {"rx_pieces": 5, "rx_indirect": True, "rx_hdr_first": True},
    "two regions": {"regions": 7, "gpa": 0x1000, "gpa_gap": 0x100000, "tx_mix": True},
}


@pytest.fixture(scope="module")
def lab():
    topo = Topology("packed")
    try:
        silence(topo)
        topo.vhost = topo.daemon(2, workers=TWO_WORKERS).start()
        yield topo
    finally:
        topo.close()


def pair(topo, **options):
    options = {"packed": True, "count": 6000, "size": "42-1514", "both": True, "window": 50,
               "timeout_ms": 30000, **options}
    return Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
               peer_mac=guest_mac(1), **options)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(lab, name):
    """Both ways between two guests: nothing lost, changed, doubled or overtaken."""
    try:
        result = pair(lab, **SHAPES[name]).result(40)
    finally:
        close_guests(lab)
    assert result["good"] == result["peer"]["good"] > 5000
