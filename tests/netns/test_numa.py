# SPDX-License-Identifier: BSD-2-Clause
"""Hosts with several NUMA nodes: who serves what is near its memory."""
import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from vx.base import Skip, wait_for
from vx.net import need_veth
from vx.topo import guest_mac

from rawfe import GET_FEATURES, SET_VRING_ADDR, TX, UVA, RawFrontEnd
from vxnet import Echo, Flood, Vfe, call, nic, on_cpu, port, tx_ring

SYSFS = Path("/sys/devices/system/node")


def cpus_of(node):
    cpus = []
    for part in (SYSFS / f"node{node}/cpulist").read_text().split(","):
        first, _, last = part.strip().partition("-")
        cpus += range(int(first), int(last or first) + 1) if first else []
    return cpus


@pytest.fixture(scope="module")
def cpus():
    """(a CPU on one node, a CPU on another), and their nodes"""
    found = {}
    for path in sorted(SYSFS.glob("node[0-9]*")):
        number = int(path.name[4:])
        have = re.search(r"MemTotal:\s+(\d+)", (path / "meminfo").read_text())
        if cpus_of(number) and int(have[1]):
            found[number] = cpus_of(number)
    if len(found) < 2:
        raise Skip("needs two NUMA nodes with CPUs and memory")
    return dict(list(found.items())[:2])


def workers(cpus, each=1):
    """`each` workers per node, taking turns: the even ones on the first node."""
    return [{"cpu": cpu} for row in zip(*(c[:each] for c in cpus.values())) for cpu in row]


def guest(topo, i, cpu, mode="echo", **options):
    """An emulated guest whose memory is on the node of a CPU: it touches it there first."""
    there = Vfe(topo, topo.socket(i), mode, mac=guest_mac(i), prefix=("taskset", "-c", cpu),
                **options)
    there.ready()
    return there


def stays(daemon, cpus):
    """vm0, whose memory is on the second node, at the worker of the first."""
    found = tx_ring(daemon, "vm0")
    assert (found["node"], found["worker"]) == (list(cpus)[1], 0)


def pages_by_policy(pid):
    """{preferred node: {node: pages}} of the daemon's mappings that have one"""
    found = {}
    for line in Path(f"/proc/{pid}/numa_maps").read_text().splitlines():
        policy = re.match(r"[0-9a-f]+ prefer\S*?:(\d+) ", line)
        if policy:
            size = 512 if "kernelpagesize_kB=2048" in line else 1
            of = found.setdefault(int(policy[1]), {})
            for node, pages in re.findall(r" N(\d+)=(\d+)", line):
                of[int(node)] = of.get(int(node), 0) + int(pages) * size
    return found


def test_workers_tell_their_node(topo, cpus):
    daemon = topo.daemon(1, workers=workers(cpus)).start()
    assert [w["node"] for w in call(daemon, "worker.list")["workers"]] == list(cpus)


@pytest.mark.topology(queues=2)
def test_packet_memory(topo, cpus):
    """Each queue's memory is on the node of its worker, all of it: a veth is on none itself."""
    need_veth("a device may be on a node itself")
    daemon = topo.daemon(1, workers=workers(cpus)).start()
    assert [q["node"] for q in nic(daemon)["queues"]] == list(cpus)
    pages = pages_by_policy(daemon.pid)
    assert set(pages) == set(cpus)
    for node, of in pages.items():
        assert set(of) == {node} and of[node] * 4096 > 4 << 20, pages


def test_guests_are_served_near_their_memory(topo, cpus):
    """Whatever the workers' numbers are; and nothing that passes gets lost."""
    (near0, near1), (node0, node1) = [c[0] for c in cpus.values()], list(cpus)
    daemon = topo.daemon(4, workers=workers(cpus)).start()
    echo = Echo(topo, topo.socket(2), topo.socket(3), guest_mac(2), guest_mac(3), rate=200)
    guest(topo, 0, near1, queues=2)  # by number: worker 0 and 1
    guest(topo, 1, near0)            # by number: worker 1
    assert [(tx_ring(daemon, "vm0", k)["node"], tx_ring(daemon, "vm0", k)["worker"])
            for k in range(2)] == [(node1, 1), (node1, 1)]
    assert (tx_ring(daemon, "vm1")["node"], tx_ring(daemon, "vm1")["worker"]) == (node0, 0)
    assert f"port vm1 q0: its memory is on node {node0}, worker 0 serves it" in daemon.tail()
    echo.finish(least=20)


def test_a_guest_comes_back_elsewhere(topo, cpus):
    """Its memory is looked at anew with each start; but who was moved by hand stays."""
    near0, near1 = [c[0] for c in cpus.values()]
    daemon = topo.daemon(1, workers=workers(cpus)).start()
    for cpu, worker in ((near1, 1), (near0, 0), (near1, 1)):
        there = guest(topo, 0, cpu)
        found = tx_ring(daemon, "vm0")
        assert (found["node"], found["worker"]) == (list(cpus)[worker], worker)
        there.finish(ok=None)
        wait_for(lambda: port(daemon, "vm0")["state"] == "listening", 5, "end of the connection")
    call(daemon, "port.move", name="vm0", queue=0, worker=0)
    guest(topo, 0, near1)
    stays(daemon, cpus)


def test_those_who_stay(topo, cpus):
    """A port that names its worker; and all of them with `placement: static`."""
    near1 = list(cpus.values())[1][0]
    first = workers(cpus)[0]["cpu"]
    daemon = topo.daemon(ports=[topo.port(0, worker=first)], workers=workers(cpus)).start()
    there = guest(topo, 0, near1)
    stays(daemon, cpus)
    there.finish(ok=None)
    del daemon.config["ports"][0]["worker"]
    daemon.config["placement"] = "static"
    daemon.restart()
    guest(topo, 0, near1)
    stays(daemon, cpus)


def test_queues_near_their_device(topo, cpus):
    """A device that is on a node has its memory and its workers there."""
    device = Path("/sys/class/net/nic0/device")
    where = topo.host.run("ip", "netns", "exec", topo.host.name, "sh", "-c",
                          f"cat {device}/../numa_node {device}/numa_node 2>/dev/null",
                          check=False).stdout.split()
    node = max([int(n) for n in where], default=-1)
    if node not in cpus:
        raise Skip("needs a device on one of the nodes")
    order = workers(cpus)
    daemon = topo.daemon(1, workers=order)
    for some in (order, order[::-1]):
        daemon.config["workers"] = some
        daemon.start()
        queue = nic(daemon)["queues"][0]
        assert queue["node"] == node
        assert some[queue["worker"]]["cpu"] in cpus[node]
        assert set(pages_by_policy(daemon.pid)[node]) == {node}
        guest(topo, 0, cpus[node][0]).finish(ok=None)
        daemon.stop()


def test_floods_part_within_the_node(topo, cpus):
    """Two guests on one worker of a node, more than it can do: one goes to the node's other worker,
    though those of the other node have nothing to do either."""
    if min(len(c) for c in cpus.values()) < 2:
        raise Skip("needs two CPUs on each node")
    daemon = topo.daemon(2, workers=workers(cpus, 2),
                         nics=[{"name": "nic0", "mode": "internal"}]).start()
    with ExitStack() as stack:
        floods = []
        with on_cpu(list(cpus.values())[1][1]):
            for i in range(2):
                floods.append(stack.enter_context(Flood(topo.socket(i), size=4 << 20)).start())
        assert [tx_ring(daemon, f"vm{i}")["worker"] for i in range(2)] == [1, 3]
        call(daemon, "port.move", name="vm1", queue=0, worker=1)

        def parted():
            for flood in floods:
                flood.refill()
            return {tx_ring(daemon, f"vm{i}")["worker"] for i in range(2)} != {1}
        wait_for(parted, 30, lambda: f"a move; workers: {call(daemon, 'worker.list')}", every=0.02)
        assert {tx_ring(daemon, f"vm{i}")["worker"] for i in range(2)} == {1, 3}, daemon.tail()


def test_memory_that_jumps(topo, cpus):
    """A front end that says again and again that a running ring is elsewhere, on another node: it
    stays where it is served, and the log is silent."""
    daemon = topo.daemon(1, workers=workers(cpus)).start()
    with RawFrontEnd(topo.socket(0), size=4 << 20) as fe:
        places = [fe.addr(TX), fe.addr(TX, *(UVA + (2 << 20) + at for at in fe.at(TX)))]
        for (cpu, *_), at in zip(cpus.values(), (0, 2 << 20)):
            with on_cpu(cpu):
                fe.write(at, bytes(2 << 20))
        fe.start()
        first, lines = tx_ring(daemon, "vm0"), len(daemon.log.read_text().splitlines())
        seen = set()
        for k in range(200):
            fe.send(SET_VRING_ADDR, places[(k + 1) % 2])
            fe.ask_u64(GET_FEATURES)
            seen.add(tx_ring(daemon, "vm0")["worker"])
        assert seen == {first["worker"]}
        assert len(daemon.log.read_text().splitlines()) - lines < 5
