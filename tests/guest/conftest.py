# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures of the guest layer."""
import pytest

from vx.topo import Topology


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
