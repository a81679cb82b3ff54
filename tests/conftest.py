# SPDX-License-Identifier: BSD-2-Clause
"""pytest set-up shared by all Python layers.

A test whose surroundings are missing is skipped with the reason. When a whole run is skipped the
exit status is 77, which ctest shows as "Skipped" instead of "Passed".
"""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

from vx import base  # noqa: E402

_outcomes = {"passed": 0, "failed": 0, "skipped": 0}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Turn base.Skip, wherever it is raised, into pytest's skip; tell fixtures of failures."""
    if call.excinfo and call.excinfo.errisinstance(base.Skip):
        reason = str(call.excinfo.value)
        call.excinfo = pytest.ExceptionInfo.from_exc_info(_skip_info(reason))
    outcome = yield
    report = outcome.get_result()
    if report.when == "call":
        item.vx_failed = report.failed
    if report.failed:
        _outcomes["failed"] += 1
    elif report.skipped and not hasattr(report, "wasxfail"):
        _outcomes["skipped"] += 1
    elif report.when == "call":
        _outcomes["passed"] += 1


def _skip_info(reason):
    try:
        pytest.skip(reason)
    except pytest.skip.Exception:
        return sys.exc_info()


@pytest.fixture(scope="session")
def topology(request):
    """A factory of topologies for with blocks. One during which a test failed keeps its logs, also
    when the block, as that of a fixture, ends as it should."""
    from vx.topo import Topology  # its needs (yaml) are not those of every layer

    class Watched(Topology):
        before = 0

        def close(self):
            self.failed = self.failed or request.session.testsfailed > self.before
            super().close()

    def make(label, **keys):
        topo = Watched(label, **keys)
        topo.before = request.session.testsfailed
        return topo
    return make


def pytest_sessionfinish(session, exitstatus):
    if exitstatus == 0 and not _outcomes["passed"] and _outcomes["skipped"]:
        session.exitstatus = 77
    if exitstatus == 5:  # nothing collected: a mistake in the test set-up
        session.exitstatus = 1
