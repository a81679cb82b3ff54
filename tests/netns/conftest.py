# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures of the netns layer: a fresh pair of namespaces for each test."""
import pytest

from vx.topo import Topology

from vxnet import Station, silence


def pytest_configure(config):
    config.addinivalue_line("markers", "topology(**keys): arguments of vx.topo.Topology")


def pytest_make_parametrize_id(val):
    """Names of test cases that can be read, and typed after -k."""
    if isinstance(val, bytes):
        return val[:16].hex() + ("..." if len(val) > 16 else "")
    if isinstance(val, dict):
        return "+".join(f"{k}={v:#x}" if isinstance(v, int) else f"{k}={v}"
                        for k, v in val.items()) or "plain"
    return None


@pytest.fixture
def topo(request):
    marker = request.node.get_closest_marker("topology")
    topology = Topology("netns", **(marker.kwargs if marker else {}))
    silence(topology)
    yield topology
    topology.failed = getattr(request.node, "vx_failed", True)
    topology.close()


@pytest.fixture(scope="module")
def lab(request, topology):
    """One daemon with four ports and two workers for all tests of a file: what one leaves behind,
    the next would see."""
    with topology(request.module.__name__.removeprefix("test_")) as topo:
        silence(topo)
        topo.vhost = topo.daemon(4, workers=({"cpu": 0}, {"cpu": 1})).start()
        topo.station = topo.add(Station(topo.wire, "wire0", far=(topo.host, "nic0")))
        yield topo


@pytest.fixture
def wire(topo):
    """A raw socket at the far end of the nic's cable."""
    with Station(topo.wire, "wire0", far=(topo.host, "nic0")) as station:
        yield station


@pytest.fixture
def host(topo):
    """A raw socket that sees what the host's stack gets from the nic."""
    with Station(topo.host, "nic0") as station:
        yield station
