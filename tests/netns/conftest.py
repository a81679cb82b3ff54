# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures of the netns layer: a fresh pair of namespaces for each test."""
import pytest

from vx.topo import Topology

from vxnet import Station, silence


def pytest_configure(config):
    config.addinivalue_line("markers", "topology(**keys): arguments of vx.topo.Topology")


@pytest.fixture
def topo(request):
    marker = request.node.get_closest_marker("topology")
    topology = Topology("netns", **(marker.kwargs if marker else {}))
    silence(topology)
    yield topology
    topology.failed = getattr(request.node, "vx_failed", True)
    topology.close()


@pytest.fixture
def wire(topo):
    """A raw socket at the far end of the nic's cable."""
    with Station(topo.wire, "wire0") as station:
        yield station


@pytest.fixture
def host(topo):
    """A raw socket that sees what the host's stack gets from the nic."""
    with Station(topo.host, "nic0") as station:
        yield station
