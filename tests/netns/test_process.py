# SPDX-License-Identifier: BSD-2-Clause
"""The daemon as a process: what it may do, and what signals do to it."""
import os
import signal
from pathlib import Path

from vx.base import wait_for

from vxnet import call

# CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK, CAP_BPF; and, since the tests start it as root, what
# reaches sockets of other users: CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER.
ALLOWED = sum(1 << bit for bit in (12, 13, 14, 39, 0, 1, 3))


def status(task):
    lines = (Path(task) / "status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_every_thread_has_few_capabilities(topo):
    """Capabilities belong to threads: those of the workers count as much as the first one's."""
    daemon = topo.daemon(1, workers=[{"cpu": 0}, {"cpu": 1}]).start()
    tasks = list(Path(f"/proc/{daemon.pid}/task").iterdir())
    assert len(tasks) >= 3
    for task in tasks:
        fields = status(task)
        for key in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            assert int(fields[key], 16) & ~ALLOWED == 0, (task, key, fields[key])
        assert fields["NoNewPrivs"].strip() == "1"


def test_hangup_is_survived(topo):
    daemon = topo.daemon(1).start()
    os.kill(daemon.pid, signal.SIGHUP)
    wait_for(lambda: "SIGHUP is ignored" in daemon.tail(), 5, "a line about SIGHUP")
    assert call(daemon, "version")["pid"] == daemon.pid
