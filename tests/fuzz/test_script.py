# SPDX-License-Identifier: BSD-2-Clause
"""scripts/fuzz itself: what it says of targets that end in one way or another, and of Ctrl-C."""
import os
import signal
import subprocess

import pytest

from vx import base
from vx.base import wait_for

FUZZ = base.REPO / "scripts/fuzz"


def start(folder, program):
    """scripts/fuzz with a shell script in the place of a target."""
    target = folder / "tests/fuzz/fuzz_control"
    target.parent.mkdir(parents=True)
    target.write_text(f"#!/bin/sh\n{program}\n")
    target.chmod(0o755)
    return subprocess.Popen([FUZZ, "--fresh", "--build-dir", folder, "control"], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            preexec_fn=base.die_with_parent)


@pytest.mark.parametrize("program, status, says", [
    ("exit 0", 0, "no finding"),
    ("exit 77", 1, "FINDING"),  # libFuzzer's status of one
    ("exit 72", 130, "interrupted"),  # and of an interrupt
    ("kill -TERM $$", 130, "interrupted"),
    ("kill -KILL $$", 1, "killed"),
    ("kill -SEGV $$", 1, "FINDING"),
])
def test_ends(tmp_path, program, status, says):
    script = start(tmp_path, program)
    output = script.communicate(timeout=60 * base.patience())[0]
    assert script.returncode == status
    assert says in output and ("FINDING" in output) == (says == "FINDING")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted(tmp_path, number):
    """A signal to the script alone takes the target along, at once."""
    pid = tmp_path / "pid"
    script = start(tmp_path, f"echo $$ >{pid}.new; mv {pid}.new {pid}; exec sleep 1000")
    wait_for(pid.exists, 60, "start of the target")
    script.send_signal(number)
    assert "FINDING" not in script.communicate(timeout=60 * base.patience())[0]
    assert script.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
