# SPDX-License-Identifier: BSD-2-Clause
"""The daemon on other kernels than this machine's, with more CPUs and memory nodes: tests of the
netns layer, inside an emulated host. What is chosen depends on the kernel: AF_XDP, the attachment
of programs, netlink, memory nodes. VX_MACHINE=all: all files, on each kernel."""
import os
from pathlib import Path

import pytest

# Files, and which of their tests (-k).
FILES = {
    "stable": {"single": "", "steered": "", "link": "", "process": "", "numa": ""},
    "newest": {"single": "", "flows": "", "modes": "dedicated or generic or jumbo or zero_copy",
               "process": "", "numa": ""},
}
ALL = sorted(path.stem.removeprefix("test_")
             for path in Path(__file__).parents[1].glob("netns/test_*.py"))


def cases():
    """pytest keeps a machine for cases that name the same mapping, not only an equal one."""
    chosen = FILES
    if os.environ.get("VX_MACHINE") == "all":
        chosen = {kernel: dict.fromkeys(ALL, "") for kernel in FILES}
    machines = {kernel: {"kernel": kernel} for kernel in chosen}
    return [pytest.param(machines[kernel], name, only, id=f"{kernel}-{name}")
            for kernel, names in chosen.items() for name, only in names.items()]


@pytest.mark.parametrize("machine, name, only", cases(), indirect=["machine"], scope="module")
def test_kernel(passes, name, only):
    passes(f"netns/test_{name}.py", "-k", only)
