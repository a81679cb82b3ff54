# SPDX-License-Identifier: BSD-2-Clause
"""Two real guests, the host and the wire: everybody reaches whom they should, and nobody else."""
import os
import re

import pytest

from vx import base, net
from vx.base import wait_for
from vx.net import Capture
from vx.topo import HOST, WIRE, guest_mac
from vx.traffic import carry_file, ping, tcp

BROADCAST = "198.18.0.255"
# Mbit/s: that TCP works, not how fast. The guests are emulated, and the machine may be busy.
FLOOR = 3


@pytest.fixture(scope="module", params=[1, 2], ids=["1queue", "2queues"])
def lab(request, topology):
    queues = request.param
    if base.sanitized() and queues == 1:
        pytest.skip("the sanitizer build runs the two-queue variant only, to save time")
    with topology(f"traffic{queues}", queues=queues) as topo:
        topo.queues = queues
        topo.vhost = topo.daemon(2, workers=[{"cpu": c % os.cpu_count()} for c in range(queues)])
        topo.vhost.start()
        topo.vms = topo.guests(2, queues=queues)
        topo.wire_server = topo.add(topo.wire.iperf_server(topo.workdir / "iperf-wire.log"))
        for vm in topo.vms:
            vm.wait_ping(WIRE)
            vm.iperf_server()
        yield topo


def test_guest_has_the_queues_asked_for(lab):
    for vm in lab.vms:
        text = vm.run(f"ethtool -l {vm.nic()}")
        current = text.split("Current hardware settings")[1]
        assert re.search(rf"Combined:\s+{lab.queues}\b", current), text
        assert vm.run("cat /tmp/ethtool.err 2>/dev/null || true") == ""


@pytest.mark.parametrize("size", [0, 18, 56, 1472, 4000])
def test_ping_guest_and_wire(lab, size):
    """Payloads from the smallest frame over a full one to fragments."""
    for vm in lab.vms:
        ping(vm, WIRE, size)
        assert lab.wire.ping(vm.address, 3, opts=["-s", size]) == 3


@pytest.mark.parametrize("size", [0, 56, 1472, 4000])
def test_ping_guest_and_guest(lab, size):
    a, b = lab.vms
    ping(a, b.address, size)
    ping(b, a.address, size)


def test_ping_host_and_wire(lab):
    assert lab.host.ping(WIRE, 5) == 5
    assert lab.wire.ping(HOST, 5) == 5


def test_host_answers_arp_for_its_own_address(lab):
    lab.wire.ip("neigh", "flush", "dev", "wire0")
    assert lab.wire.ping(HOST, 1) == 1
    entry = lab.wire.ip("neigh", "show", HOST).stdout
    assert lab.host.mac("nic0") in entry, entry


def test_guests_answer_arp_with_their_own_addresses(lab):
    lab.wire.ip("neigh", "flush", "dev", "wire0")
    for i, vm in enumerate(lab.vms):
        assert lab.wire.ping(vm.address, 1) == 1
        assert guest_mac(i) in lab.wire.ip("neigh", "show", vm.address).stdout


def test_broadcast_from_the_wire_reaches_guests_and_host(lab):
    got = lab.wire.ping_responders(BROADCAST, opts=["-b"])
    assert {HOST, *(vm.address for vm in lab.vms)} <= got, got


def test_multicast_from_the_wire_reaches_guests_and_host(lab):
    got = lab.wire.ping_responders("224.0.0.1", opts=["-I", "wire0"])
    assert {HOST, *(vm.address for vm in lab.vms)} <= got, got


def test_ipv6_all_nodes(lab):
    """Multicast of another shape, and neighbour discovery with it."""
    want = {vm.run(f"ip -6 addr show dev {vm.nic()} | sed -n 's/.*inet6 \\(fe80[^/]*\\).*/\\1/p'").strip()
            for vm in lab.vms}
    assert len(want) == 2 and all(want), want
    wait_for(lambda: want <= lab.wire.ping_responders("ff02::1%wire0", opts=["-6"]), 10,
             f"answers of {want}")
    for address in want:
        assert lab.wire.ping(f"{address}%wire0", 3, opts=["-6"]) == 3


def test_broadcast_from_a_guest_reaches_guest_and_wire(lab):
    a, b = lab.vms
    output = ""

    def both():
        nonlocal output  # ping ends with the third answer, whoever is quick
        output += a.call(f"ping -i 0.3 -c 3 -w 4 {BROADCAST}", 10)[1]
        return f"from {b.address}" in output and f"from {WIRE}" in output
    wait_for(both, 10, lambda: f"answers of both:\n{output}")


class GuestCapture:
    """tcpdump in a guest; the lines it saw when the with block ends."""

    def __init__(self, vm, expression, options=""):
        self.vm, self.expression, self.options = vm, expression, options
        self.lines = None

    def __enter__(self):
        self.vm.run("rm -f /tmp/cap /tmp/cap.err; "
                    f"tcpdump -Z root -l -n -e --immediate-mode {self.options} -i {self.vm.nic()} "
                    f"'{self.expression}' >/tmp/cap 2>/tmp/cap.err & "
                    "echo $! >/tmp/cap.pid")
        wait_for(lambda: not self.vm.call("grep -q 'listening on' /tmp/cap.err")[0], 10,
                 "tcpdump in the guest")
        return self

    def wait(self, n, words=""):
        """Until n lines with these words are there."""
        wait_for(lambda: self.vm.call(f"[ $(grep -c '{words}' /tmp/cap) -ge {n} ]")[0] == 0, 10,
                 lambda: f"{n} lines: {self.vm.run('cat /tmp/cap')}")

    def __exit__(self, *exc):
        self.vm.run("sleep 0.5; kill -INT $(cat /tmp/cap.pid); sleep 0.5")
        text = self.vm.run("cat /tmp/cap")
        self.lines = [line for line in text.splitlines() if line]


def test_group_frames_arrive_exactly_once(lab):
    """One copy each for both guests and the host, none back to where they came from."""
    a, b = lab.vms
    only = "icmp[icmptype] = icmp-echo and dst host 224.0.0.1"
    with GuestCapture(a, only, "-Q in") as at_a, GuestCapture(b, only, "-Q in") as at_b, \
            Capture(lab.host, "nic0", only, lab.workdir / "once.log") as at_host:
        done = lab.wire.run("ping", "-n", "-c", 5, "-i", "0.3", "-w", 4, "-I", "wire0", "224.0.0.1",
                            check=False)
        # More than five if an answer was slow
        sent = int(re.search(r"(\d+) packets transmitted", done.stdout)[1])
        wait_for(lambda: len(at_host.lines()) >= sent, 5, "frames at the host")
        for at in (at_a, at_b):
            at.wait(sent)
        host_lines = at_host.lines()
    assert [len(lines) for lines in (host_lines, at_a.lines, at_b.lines)] == [sent] * 3, (
        host_lines, at_a.lines, at_b.lines)

    with GuestCapture(a, only, "-Q in") as at_a, GuestCapture(b, only, "-Q in") as at_b:
        a.call(f"ping -I {a.nic()} -i 0.3 -c 4 -w 5 224.0.0.1", 10)
        at_b.wait(4)
    assert at_a.lines == [], "a guest got its own multicast back"
    assert len(at_b.lines) >= 4 and len(set(at_b.lines)) == len(at_b.lines), at_b.lines


def test_unicast_is_seen_by_its_owner_only(lab):
    a, b = lab.vms
    only = f"icmp and src host {WIRE}"
    with GuestCapture(a, only) as at_a, \
            Capture(lab.host, "nic0", only, lab.workdir / "owner.log") as at_host:
        assert lab.wire.ping(b.address, 5) == 5
        # What comes behind these frames is seen: so would they have been.
        assert lab.wire.ping(a.address, 1) == 1 and lab.wire.ping(HOST, 1) == 1
        seen = wait_for(lambda: [line for line in at_host.lines() if f"> {HOST}:" in line] and
                        at_host.lines(), 5, "the ping to the host")
        at_a.wait(1, f"> {a.address}:")
    assert [line for line in at_a.lines if f"> {a.address}:" in line], at_a.lines
    assert b.address not in "".join(at_a.lines), "vm0 saw frames of vm1"
    assert b.address not in "".join(seen), "the host's stack saw frames of a guest"


@pytest.mark.parametrize("reverse", [False, True], ids=["out", "in"])
def test_tcp_guest_and_wire(lab, reverse):
    for vm in lab.vms:
        tcp(vm, WIRE, FLOOR, reverse)


def test_tcp_wire_is_client(lab):
    for vm in lab.vms:
        assert net.tcp_mbit(lab.wire.iperf(vm.address)) > FLOOR


@pytest.mark.parametrize("reverse", [False, True], ids=["out", "in"])
def test_tcp_guest_and_guest(lab, reverse):
    a, b = lab.vms
    tcp(a, b.address, FLOOR, reverse)


def test_tcp_many_flows(lab):
    """Enough flows that every queue pair carries some."""
    a, b = lab.vms
    status, output = a.call(f"iperf3 -c {b.address} -P 8 -t 2", 30)
    assert status == 0, output
    assert lab.wire.run("iperf3", "-c", a.address, "-P", 8, "-t", 2, timeout=60)
    for vm in lab.vms:
        text = vm.run("grep -E 'virtio[0-9]+-input' /proc/interrupts")
        counts = [sum(map(int, re.findall(r"\s(\d+)(?=\s)", line.split(":")[1])))
                  for line in text.splitlines()]
        assert len(counts) >= lab.queues and all(n > 0 for n in counts[:lab.queues]), text


def test_udp(lab):
    a, b = lab.vms
    # So little that a receiver which gets no CPU for a while has room for it.
    for client, address in ((a, WIRE), (lab.wire, a.address), (a, b.address), (b, a.address)):
        sent, lost = net.udp_result(client.iperf(address, udp_mbit=1))
        print(f"{client.name} -> {address}: {sent:.1f} Mbit/s sent, {lost:.2f} % lost")
        assert sent > 0.3 and lost < 5  # how much an emulated guest can send depends on the machine


def test_host_tcp_beside_the_guests(lab):
    assert net.tcp_mbit(lab.host.iperf(WIRE, 1)) > FLOOR


def test_bytes_arrive_unchanged(lab):
    carry_file(lab, *lab.vms)


def test_nothing_went_wrong_in_the_daemon(lab):
    assert lab.vhost.process.alive()
    text = lab.vhost.log.read_text()
    assert not re.search(r"\berror\b", text, re.I), text
