# SPDX-License-Identifier: BSD-2-Clause
"""The daemon on network devices with a driver of their own instead of a veth: tests of the netns
layer, inside an emulated host."""
import pytest

from vx.machine import NICS

# Files, and which of their tests (-k).
FILES = {"single": "", "flows": "", "numa": "",
         "steered": "every_size or short_frames or answers or host_keeps or reaches or counters"}


@pytest.mark.parametrize("machine", [pytest.param({"kernel": "newest"}, id="virtio")],
                         indirect=True, scope="module")
@pytest.mark.parametrize("name, only", FILES.items(), ids=FILES)
def test_nic(passes, name, only):
    passes(f"netns/test_{name}.py", "-k", only, VX_NICS=NICS)
