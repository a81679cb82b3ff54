# SPDX-License-Identifier: BSD-2-Clause
"""A guest with four queue pairs: flows arrive where the guest sends them, and the number of pairs
changes under traffic."""
import re

import pytest

from vx.base import sanitized, wait_for
from vx.topo import WIRE

pytestmark = pytest.mark.skipif(
    bool(sanitized()), reason="the sanitizer build repeats a part of the guest layer, to save time")

PAIRS = 4


@pytest.fixture(scope="module")
def lab(topology):
    with topology("queues") as topo:
        for ns in (topo.wire, topo.host):  # frames on each pair are counted
            ns.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
        topo.vhost = topo.daemon(1, workers=[{"cpu": 0}, {"cpu": 1}]).start()
        topo.vm = topo.guest(0, queues=PAIRS).start()
        topo.vm.wait_ping(WIRE)
        topo.add(topo.wire.iperf_server(topo.workdir / "iperf.log"))
        yield topo


def rings(lab, kind):
    """{queue pair: frames} as the daemon counts them."""
    queues = lab.vhost.ctl("port", "show", "vm0")["queues"]
    return {q["index"] // 2: q["frames"] for q in queues if q["kind"] == kind}


def grown(lab, kind, before):
    now = rings(lab, kind)
    return {pair: now[pair] - before.get(pair, 0) for pair in now}


def interrupts(vm):
    """{queue pair: interrupts of its receive ring}"""
    text = vm.run("grep -E 'virtio[0-9]+-input' /proc/interrupts")
    return {int(pair): sum(map(int, counts.split())) for counts, pair in re.findall(
        r":((?:\s+\d+)+)\s.*-input\.(\d+)", text)}


@pytest.mark.parametrize("pair", range(PAIRS))
def test_answers_come_back_on_the_pair(lab, pair):
    """Linux sends on the pair of the CPU where the program runs."""
    vm = lab.vm
    rx, tx, irq = rings(lab, "rx"), rings(lab, "tx"), interrupts(vm)
    assert vm.run(f"taskset -c {pair} ping -A -c 40 -w 20 {WIRE} | grep -c ' seq='") != "0"
    wait_for(lambda: grown(lab, "tx", tx)[pair] >= 40 <= grown(lab, "rx", rx)[pair], 5,
             lambda: f"frames on pair {pair}: {grown(lab, 'rx', rx)}, {grown(lab, 'tx', tx)}")
    rx = grown(lab, "rx", rx)
    # A stray ARP, and the first answer if another flow left its mark: not more.
    assert sum(n for p, n in rx.items() if p != pair) <= 4, rx
    now = interrupts(vm)
    assert now[pair] > irq[pair], (irq, now)


def test_tcp_stays_on_its_pair(lab):
    rx = rings(lab, "rx")
    lab.vm.run(f"taskset -c 2 iperf3 -c {WIRE} -t 2", 30)
    rx = grown(lab, "rx", rx)
    assert rx[2] > 100 and rx[2] > 0.9 * sum(rx.values()), rx


def test_number_of_pairs_changes_under_traffic(lab):
    vm, nic = lab.vm, lab.vm.nic()
    vm.run(f"(iperf3 -c {WIRE} -P 4 -t 6 >/tmp/iperf 2>&1; echo $? >/tmp/iperf.status) & sleep 1")
    for n in (1, 3, 2, 4):
        vm.run(f"ethtool -L {nic} combined {n} && sleep 1")
        enabled = {q["index"] // 2 for q in lab.vhost.ctl("port", "show", "vm0")["queues"]
                   if q["enabled"]}
        assert enabled == set(range(n))
    wait_for(lambda: not vm.call("test -s /tmp/iperf.status")[0], 30, "the end of iperf3")
    assert vm.run("cat /tmp/iperf.status").strip() == "0", vm.run("cat /tmp/iperf")
    assert vm.ping(WIRE, 3) == 3


def test_rings_cannot_be_reset_behind_our_back(lab):
    """QEMU offers RING_RESET if the back end does, but does not tell a vhost-user back end of a
    reset: so it must not be offered by default, and ethtool -G must fail."""
    assert "RING_RESET" not in lab.vhost.ctl("port", "show", "vm0")["features"]
    assert lab.vm.call(f"ethtool -G {lab.vm.nic()} rx 128")[0] != 0
    assert lab.vm.ping(WIRE, 3) == 3


def test_log_is_clean(lab):
    log = lab.vhost.log.read_text()
    assert "given up" not in log and "SET_VRING" not in log, log
