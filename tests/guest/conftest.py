# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures of the guest layer."""
import pytest

from vx.topo import WIRE, Topology


@pytest.fixture(scope="session")
def topology(request):
    """A factory of topologies; a failed test keeps the logs of the one it used."""
    def make(label, **keys):
        topo = Topology(label, **keys)
        before = request.session.testsfailed

        def close():
            topo.failed = request.session.testsfailed > before
            topo.close()
        topo.finish = close
        return topo
    return make


@pytest.fixture(scope="module")
def lab(request, topology):
    """A daemon and two guests that reach the wire, for all tests of a module. GUESTS in the module:
    what vx.guest.Guest is to be told of each."""
    topo = topology(request.module.__name__.removeprefix("test_"))
    try:
        topo.vhost = topo.daemon(2).start()
        topo.vms = [topo.guest(i, **keys).start(wait=False)
                    for i, keys in enumerate(getattr(request.module, "GUESTS", ({}, {})))]
        for vm in topo.vms:
            vm.wait_boot()
        for vm in topo.vms:
            vm.wait_ping(WIRE)
        yield topo
    finally:
        topo.finish()
