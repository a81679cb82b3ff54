# SPDX-License-Identifier: BSD-2-Clause
"""DPDK's virtio-user driver (testpmd) as front end of the daemon."""
import json
import os
import time

import pytest

from vx.base import run, wait_for
from vx.peers import Hugepages, Testpmd
from vx.topo import guest_mac

FE_CPU = (os.cpu_count() or 1) - 1
# A ring has 256 entries, and a spinning testpmd may not get the CPU for a while: what is sent at
# once must fit, if nothing is to be lost.
BURST, ROUNDS = 200, 8
# More than all rings between two front ends hold, so that entries were used again and again.
SOME = 1024


def vdev(topo, i, options=""):
    return (f"net_virtio_user{i},path={topo.socket(i)},mac={guest_mac(i)},queue_size=256"
            f"{',' + options if options else ''}")


def front_end(topo, vdevs, mode, *options, **keys):
    """A testpmd that is told to send to addresses nobody has, so that nobody answers."""
    if mode == "txonly":
        options += ("--tx-ip=198.19.0.1,198.19.0.2",)
    return topo.add(Testpmd(topo.workdir, vdevs, mode, options, cpu=FE_CPU, **keys))


def send_from_wire(topo, dst, count, size=60):
    """Exactly `count` numbered UDP-like frames from the wire to a MAC."""
    script = f"""
import socket, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("wire0", 0))
head = bytes.fromhex("{dst.replace(':', '')}") + s.getsockname()[4] + b"\\x88\\xb5"
for i in range({count}):
    s.send(head + i.to_bytes(4, "big") + bytes({size} - 18))
    if i % 32 == 31:
        time.sleep(0.001)
"""
    topo.wire.run("/usr/bin/python3", "-c", script)


@pytest.fixture
def lab(vuser_lab):
    return vuser_lab


@pytest.fixture(params=[False, True], ids=["memfd", "hugepages"])
def huge(request):
    if not request.param:
        yield False
        return
    with Hugepages(300):
        yield True


def test_receive_from_the_wire(lab, huge):
    """Every frame that the wire sends to the port's address arrives, and no other."""
    lab.daemon(1).start()
    fe = front_end(lab, [vdev(lab, 0)], "rxonly", huge=huge)
    fe.start()
    time.sleep(0.5)
    fe.command("clear port stats all")
    send_from_wire(lab, guest_mac(5), 100)  # nobody's
    for i in range(1, ROUNDS + 1):
        send_from_wire(lab, guest_mac(0), BURST)
        wait_for(lambda: fe.stats()["rx"] >= i * BURST, 5, lambda: f"all frames: {fe.stats()}")
    time.sleep(0.3)
    stats = fe.stats()
    assert stats["rx"] == ROUNDS * BURST and stats["rx_missed"] == 0, stats
    assert stats["rx_bytes"] == ROUNDS * BURST * 60, stats


def test_transmit_to_the_wire(lab, huge):
    """What the front end sends leaves on the wire. txonly is faster than any veth, so the count at
    the wire is what was forwarded, never more than was sent."""
    lab.daemon(1).start()
    before = wire_rx(lab)
    fe = front_end(lab, [vdev(lab, 0)], "txonly", f"--eth-peer=0,{lab.wire.mac('wire0')}",
                 huge=huge)
    fe.start()
    wait_for(lambda: wire_rx(lab) - before > SOME, 10, "frames on the wire")
    time.sleep(1)
    fe.command("stop")
    sent = fe.stats()["tx"]
    time.sleep(0.5)
    got = wire_rx(lab) - before
    print(f"sent {sent}, wire got {got}")
    assert SOME < got <= sent


def settled(fe):
    """Wait until nothing arrives any more: a receiver that did not get the CPU has a full ring."""
    last = -1
    while (now := fe.stats()["rx"]) != last:
        last = now
        time.sleep(0.5)


def wire_rx(topo):
    link = json.loads(topo.wire.ip("-s", "-j", "link", "show", "dev", "wire0").stdout)[0]
    stats = link.get("stats64") or link["stats"]
    return stats["rx"]["packets"]


@pytest.mark.parametrize("ring", ["in_order=0", "in_order=1", "packed_vq=1,in_order=0",
                                  "packed_vq=1,in_order=1"],
                         ids=["split", "split-order", "packed", "packed-order"])
def test_transmit_to_another_port(lab, ring):
    """Port to port within the daemon, at full speed, in one part and in three."""
    lab.daemon(2).start()
    # Both spin on one CPU once they are started, which makes starting another a slow affair.
    rx = front_end(lab, [vdev(lab, 1, ring)], "rxonly")
    tx = front_end(lab, [vdev(lab, 0, ring)], "txonly", f"--eth-peer=0,{guest_mac(1)}")
    rx.start()
    for sizes in ("64", "64,100,1200"):
        tx.command(f"set txpkts {sizes}")
        settled(rx)
        for side in (tx, rx):
            side.command("clear port stats all")
        tx.start()
        wait_for(lambda: rx.stats()["rx"] > SOME, 10, "frames for the receiver")
        time.sleep(0.5)
        tx.command("stop")
        settled(rx)
        sent, got = tx.stats()["tx"], rx.stats()
        size = sum(map(int, sizes.split(",")))
        print(f"{sizes}: sent {sent}, received {got['rx']}")
        # Frames that the sender left in its ring are forwarded after its count was read.
        assert SOME < got["rx"] <= sent + 256
        assert got["rx_bytes"] == got["rx"] * size


def test_ping_pong_between_two_ports(lab):
    """Two processes throw a burst of frames back and forth; not one is lost or doubled."""
    lab.daemon(2).start()
    a = front_end(lab, [vdev(lab, 0)], "mac", f"--eth-peer=0,{guest_mac(1)}", memory=128)
    b = front_end(lab, [vdev(lab, 1)], "mac", f"--eth-peer=0,{guest_mac(0)}", memory=128)
    b.start()
    a.command("start tx_first 1")
    for side in (a, b):
        wait_for(lambda s=side: s.stats()["rx"] > 4 * 32, 10, "frames back and forth")
    time.sleep(1)
    a.command("stop")
    b.command("stop")
    print(a.stats(), b.stats())
    # 32 frames circle; each hop is counted once on both sides.
    assert abs(a.stats()["tx"] - b.stats()["rx"]) <= 32
    assert abs(b.stats()["tx"] - a.stats()["rx"]) <= 32


def test_two_queue_pairs(lab):
    lab.daemon(2, workers=[{"cpu": 0}, {"cpu": FE_CPU}]).start()
    rx = front_end(lab, [vdev(lab, 1, "queues=2")], "rxonly", "--rxq=2", "--txq=2")
    # One flow would go to one ring.
    tx = front_end(lab, [vdev(lab, 0, "queues=2")], "txonly", "--rxq=2", "--txq=2",
                   "--txonly-multi-flow", f"--eth-peer=0,{guest_mac(1)}")
    rx.start()
    tx.start()
    wait_for(lambda: rx.stats()["rx"] > SOME, 10, "frames for the receiver")
    time.sleep(0.5)
    tx.command("stop")
    settled(rx)
    text = rx.command("stop")
    # testpmd tells its streams apart when there are several queues.
    assert "Queue= 0" in text and "Queue= 1" in text, text


def test_front_end_killed_in_full_flight(lab):
    """kill -9 in the middle of a burst; port and daemon serve the next one."""
    daemon = lab.daemon(2).start()
    rx = front_end(lab, [vdev(lab, 1)], "rxonly")
    for _ in range(3):
        tx = front_end(lab, [vdev(lab, 0)], "txonly", f"--eth-peer=0,{guest_mac(1)}")
        rx.command("clear port stats all")
        rx.start()
        tx.start()
        wait_for(lambda: rx.stats()["rx"] > SOME, 5, "frames for the receiver")
        tx.process.kill()
        run("rm", "-rf", f"/run/dpdk/{tx._runtime.name}")
        rx.command("stop")
    assert daemon.process.alive()


def test_receiver_killed_in_full_flight(lab):
    daemon = lab.daemon(2).start()
    tx = front_end(lab, [vdev(lab, 0)], "txonly", f"--eth-peer=0,{guest_mac(1)}")
    for _ in range(3):
        rx = front_end(lab, [vdev(lab, 1)], "rxonly")
        rx.start()
        tx.start()
        wait_for(lambda: rx.stats()["rx"] > SOME, 5, "frames for the receiver")
        rx.process.kill()
        tx.command("stop")
        run("rm", "-rf", f"/run/dpdk/{rx._runtime.name}")
    assert daemon.process.alive()


def test_daemon_connects_and_comes_back(lab):
    """virtio-user as server: it survives the daemon's restart and kill -9."""
    ports = [lab.port(0, listen=False)]
    daemon = lab.daemon(ports=ports).start()
    fe = front_end(lab, [vdev(lab, 0, "server=1")], "rxonly")
    fe.start()

    def flows():
        before = fe.stats()["rx"]
        send_from_wire(lab, guest_mac(0), 50)
        return fe.stats()["rx"] > before
    wait_for(flows, 10, "frames from the wire")
    daemon.restart()
    wait_for(flows, 10, "frames after a restart")
    daemon.kill()
    daemon.start()
    wait_for(flows, 10, "frames after kill -9")
