# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures of the guest layer."""
import pytest

from vx.topo import WIRE


@pytest.fixture(scope="module")
def lab(request, topology):
    """A daemon and two guests that reach the wire, for all tests of a module, which may say

    GUESTS     what vx.guest.Guest is to be told of each; None: the tests start that one
    PORTS      further keys of the guests' ports
    TOPOLOGY   what vx.topo.Topology is to be told
    """
    def said(name, default):
        return getattr(request.module, name, default)
    with topology(request.module.__name__.removeprefix("test_"), **said("TOPOLOGY", {})) as topo:
        ports = [topo.port(i, **keys) for i, keys in enumerate(said("PORTS", ({}, {})))]
        topo.vhost = topo.daemon(ports=ports).start()
        topo.vms = [topo.guest(i, **keys).start(wait=False)
                    for i, keys in enumerate(said("GUESTS", ({}, {}))) if keys is not None]
        for vm in topo.vms:
            vm.wait_boot()
        for vm in topo.vms:
            vm.wait_ping(WIRE)
        topo.other = topo.vms[-1]
        yield topo
