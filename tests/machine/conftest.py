# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures of the machine layer."""
import os
import tempfile

import pytest

from vx import base, summary
from vx.machine import Machine


@pytest.fixture(scope="module")
def machine(request):
    """A running host; the parameter is a mapping, what vx.machine.Machine is to be told."""
    prefix = f"{base.PREFIX}{os.getpid()}-machine-"
    with tempfile.TemporaryDirectory(prefix=prefix) as folder, \
            Machine(folder, **request.param) as host:
        host.start()
        host.initramfs.unlink()  # QEMU has read it
        yield host


@pytest.fixture
def passes(machine, capfd):
    """A function that runs a file of tests in the machine, and fails as it fails."""
    def run(file, *options, **env):
        status, output = machine.pytest(file, *options, **env)
        if status == 77:
            raise base.Skip(summary.reason_of(output))
        logs = "" if status == 0 else machine.call("tail -n 40 /tmp/vxt*/vhost-xdpd*.log")[1]
        assert status == 0, f"{file} in {machine.name}: status {status}\n{output}\n{logs}"
        with capfd.disabled():  # what was skipped in there belongs to the summary of all tests
            print("", *[line for line in output.splitlines() if line.startswith("SKIPPED")],
                  f"{file}: {output.splitlines()[-1]}", sep="\n")
    return run
