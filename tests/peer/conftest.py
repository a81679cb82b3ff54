# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures of the peer layer."""
import pytest

from vx.topo import Topology


@pytest.fixture
def vuser_lab(request):
    """A topology without chatter; a module may say with QUEUES how many its NIC has."""
    before = request.session.testsfailed
    topo = Topology("vuser", queues=getattr(request.module, "QUEUES", 1))
    try:
        topo.wire.sysctl("net.ipv6.conf.wire0.disable_ipv6", 1)
        topo.host.sysctl("net.ipv6.conf.nic0.disable_ipv6", 1)
        yield topo
    finally:
        topo.failed = request.session.testsfailed > before
        topo.close()
