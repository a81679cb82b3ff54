# SPDX-License-Identifier: BSD-2-Clause
"""A guest with four CPUs and four queue pairs."""
import os

import pytest

from vx.base import sanitized, wait_for
from vx.topo import WIRE
from vx.traffic import exercise

pytestmark = pytest.mark.skipif(
    bool(sanitized()), reason="the sanitizer build repeats a part of the guest layer, to save time")

QUEUES = 4


@pytest.fixture(scope="module")
def lab(topology):
    with topology("mq", queues=QUEUES) as topo:
        cpus = [{"cpu": c % os.cpu_count()} for c in range(2)]
        topo.vhost = topo.daemon(2, workers=cpus).start()
        topo.vms = [topo.guest(0, queues=QUEUES).start(wait=False), topo.guest(1).start(wait=False)]
        for vm in topo.vms:
            vm.wait_boot()
            vm.wait_ping(WIRE)
        yield topo


def frames(lab):
    return [q["frames"] for q in lab.vhost.ctl("port", "show", "vm0")["queues"]][:2 * QUEUES]


def set_queues(vm, n):
    vm.run(f"ethtool -L {vm.nic()} combined {n}")


def test_every_queue_carries_frames(lab):
    """Each CPU of the guest sends over its own queue; the wire's flows spread over all."""
    vm = lab.vms[0]
    set_queues(vm, QUEUES)
    before = frames(lab)
    for cpu in range(QUEUES):
        assert "4 packets received" in vm.run(f"taskset -c {cpu} ping -i 0.1 -c 4 -w 15 {WIRE}")
    lab.wire.run("/usr/bin/python3", "-c", f"""
import socket
for port in range(10000, 10256):
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("{vm.address}", port))
""")
    wait_for(lambda: all(now > then for now, then in zip(frames(lab), before)), 5,
             lambda: f"frames on every ring: {frames(lab)}, before {before}")


def test_queues_change_under_traffic(lab):
    """TCP both ways goes on while the guest changes the number of its queue pairs."""
    vm, other = lab.vms
    server = lab.wire.iperf_server(lab.workdir / "iperf.log")
    other.iperf_server()
    try:
        status, output = vm.call(
            f"iperf3 -c {WIRE} -P 4 -t 6 >/tmp/out & iperf3 -c {other.address} -R -t 6 >/tmp/in & "
            "sleep 1; for n in 1 4 2 3 1 2 4 3 4; do "
            "ethtool -L $(cat /tmp/nic) combined $n || exit 1; sleep 0.4; done; "
            "wait; cat /tmp/out /tmp/in", 30)
        assert status == 0 and output.count("receiver") >= 2, output
    finally:
        server.stop()
    exercise(lab, vm, other)
    test_every_queue_carries_frames(lab)
