# SPDX-License-Identifier: BSD-2-Clause
"""What the daemon takes from the machine while guests are connected."""
import time

import pytest

from vx import base, net
from vx.base import wait_for
from vx.topo import WIRE


pytestmark = pytest.mark.skipif(
    bool(base.sanitized()), reason="what the daemon costs is measured in the release build")


def test_idle_daemon_takes_no_cpu_time(lab):
    """Ten seconds with two guests connected: not one clock tick. The guests' own chatter
    (address discovery, reports of groups) is let pass first."""
    ticks = nanoseconds = None

    def quiet():
        nonlocal ticks, nanoseconds
        ticks, nanoseconds = lab.vhost.idle_ticks(10)
        print(f"{ticks} ticks, {nanoseconds / 1e6:.3f} ms in 10 s")
        return ticks == 0
    wait_for(quiet, 30, "ten seconds without a clock tick", every=1)
    assert nanoseconds < 10e6


def test_idle_again_after_load(lab):
    server = lab.wire.iperf_server(lab.workdir / "iperf.log")
    assert net.tcp_mbit(lab.vms[0].iperf(WIRE)) > 0
    server.stop()
    wait_for(lambda: lab.vhost.idle_ticks(10)[0] == 0, 30, "ten idle seconds", every=1)


def test_memory_below_24_mib(lab):
    """All resident pages (heap, stacks, AF_XDP frame memory and rings, program, libraries) but
    those of the guests' memory."""
    size = lab.vhost.own_memory()
    print(f"{size / 2**20:.1f} MiB")
    assert size < 24 * 2**20


def test_reconnects_leak_nothing(lab):
    """Descriptors are the same, and memory does not grow, over ten connections."""
    vm = lab.vms[0]

    def cycle():
        vm.run("nic=$(cat /tmp/nic); dev=$(basename $(readlink /sys/class/net/$nic/device)); "
               "echo $dev >/sys/bus/virtio/drivers/virtio_net/unbind; "
               "echo $dev >/sys/bus/virtio/drivers/virtio_net/bind; sleep 0.2; "
               f"ip link set $nic up; ip addr add {vm.ip} dev $nic")
        vm.wait_ping(WIRE)
    cycle()
    time.sleep(0.5)  # what a restart does late
    fds, size = lab.vhost.fds(), lab.vhost.own_memory()
    for _ in range(10):
        cycle()
    vm.process.kill()
    vm.start()
    vm.wait_ping(WIRE)
    wait_for(lambda: lab.vhost.fds() == fds, 5, lambda: f"{fds} descriptors: {lab.vhost.fds()}")
    wait_for(lambda: lab.vhost.own_memory() < size + 2 * 2**20, 5,
             lambda: f"memory as before, {size}: {lab.vhost.own_memory()}")
