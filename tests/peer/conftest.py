# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures of the peer layer."""
import pytest


@pytest.fixture
def vuser_lab(request, topology):
    """A topology without chatter; a module may say with QUEUES how many its NIC has."""
    with topology("vuser", queues=getattr(request.module, "QUEUES", 1)) as topo:
        topo.wire.sysctl("net.ipv6.conf.wire0.disable_ipv6", 1)
        topo.host.sysctl("net.ipv6.conf.nic0.disable_ipv6", 1)
        yield topo
