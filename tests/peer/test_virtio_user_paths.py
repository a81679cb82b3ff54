# SPDX-License-Identifier: BSD-2-Clause
"""Every ring path of DPDK's virtio driver: one testpmd has two ports, vm0 and vm1.

A frame from the wire goes in through vm0 and comes back out of vm1, and must be the same; then
frames circle between the two ports as fast as they can, and none may get lost.
"""
import os
import time

import pytest

from vx import base
from vx.base import wait_for
from vx.peers import Testpmd
from vx.topo import guest_mac

QUEUES = 4  # of the NIC
FE_CPU = (os.cpu_count() or 1) - 1
ECHO = base.REPO / "tests/lib/vx/echo.py"
CIRCLING = 64  # frames each way: two bursts


class Path:
    """Options of net_virtio_user, and what testpmd must say about the path that it took."""

    def __init__(self, options, says=(), queues=1, size=256, server=False, everywhere=False):
        self.options, self.says, self.queues, self.size = options, says, queues, size
        self.server, self.everywhere = server, everywhere


MRG, PLAIN = "mrg_rxbuf=1,in_order=0", "mrg_rxbuf=0,in_order=0"
MRG_ORDER, PLAIN_ORDER = "mrg_rxbuf=1,in_order=1", "mrg_rxbuf=0,in_order=1"
PACKED = "packed_vq=1"
PATHS = {
    "split-mrg": Path(MRG, ["using mergeable buffer Rx path"]),
    "split": Path(PLAIN, ["using standard Rx path"], everywhere=True),
    "split-order-mrg": Path(MRG_ORDER, ["using inorder Rx path", "using inorder Tx path"]),
    "split-order": Path(PLAIN_ORDER, ["using inorder Rx path", "using inorder Tx path"]),
    "split-vector": Path(f"{PLAIN},vectorized=1", ["using vectorized Rx path"], everywhere=True),
    "split-1024": Path(MRG, size=1024),
    "split-4-queues": Path(MRG, queues=4, everywhere=True),
    "split-server": Path(MRG, server=True),
    "packed-mrg": Path(f"{PACKED},{MRG}", ["using packed ring mergeable buffer Rx path"],
                       everywhere=True),
    "packed": Path(f"{PACKED},{PLAIN}", ["using packed ring standard Rx path"]),
    "packed-order-mrg": Path(f"{PACKED},{MRG_ORDER}", ["using packed ring standard Tx path"]),
    "packed-order": Path(f"{PACKED},{PLAIN_ORDER}"),
    "packed-vector": Path(f"{PACKED},{PLAIN_ORDER},vectorized=1",
                          ["using packed ring vectorized Rx path"], everywhere=True),
    "packed-255": Path(f"{PACKED},{MRG}", size=255),
    "packed-1024": Path(f"{PACKED},{MRG_ORDER}", size=1024),
    "packed-4-queues": Path(f"{PACKED},{MRG}", queues=4),
    "packed-server": Path(f"{PACKED},{MRG}", server=True),
}


def has_avx512():
    return "avx512f" in open("/proc/cpuinfo").read()


def vdevs(lab, path):
    return [f"net_virtio_user{i},path={lab.socket(i)},mac={guest_mac(i)},queue_size={path.size},"
            f"queues={path.queues},{path.options}{',server=1' if path.server else ''}"
            for i in (0, 1)]


def front_end(lab, path):
    wire = lab.wire.mac("wire0")
    return lab.add(Testpmd(
        lab.workdir, vdevs(lab, path), "mac",
        [f"--eth-peer=0,{wire}", f"--eth-peer=1,{wire}", f"--rxq={path.queues}",
         f"--txq={path.queues}", f"--rxd={path.size}", f"--txd={path.size}"],
        cpu=FE_CPU, eal=["--log-level=pmd.net.virtio.*:info", "--force-max-simd-bitwidth=512"]))


def echo(lab, count, path):
    done = lab.wire.run("/usr/bin/python3", "-B", ECHO, "wire0", guest_mac(0), count,
                        "--flows", 16 if path.queues > 1 else 1, check=False)
    assert done.returncode == 0, done.stdout


def circle(lab, fe):
    """Frames go round through both ports for a second, or longer if they are few. How many were sent
    and not received."""
    fe.command("stop")
    fe.command("set fwd io")
    for i in (0, 1):
        fe.command(f"set eth-peer {i} {guest_mac(1 - i)}")
    fe.command("clear port stats all")
    fe.command(f"start tx_first {CIRCLING // 32}")
    time.sleep(1)

    def total(key):
        return sum(fe.stats(i)[key] for i in (0, 1))
    wait_for(lambda: total("rx") > 20 * CIRCLING, 10, "frames that go round")
    fe.command("stop")
    sent, got = total("tx"), total("rx")
    print(f"circled: {sent} sent, {got} received")
    return sent - got


def check_rings(daemon, path):
    """The rings are what the options ask for."""
    for i in (0, 1):
        port = daemon.ctl("port", "show", f"vm{i}")
        for option, feature in (("packed_vq", "RING_PACKED"), ("mrg_rxbuf", "MRG_RXBUF"),
                                ("in_order", "IN_ORDER")):
            assert (f"{option}=1" in path.options) == (feature in port["features"]), port
        started = [q for q in port["queues"] if q["started"]]
        assert len(started) == 2 * path.queues and {q["size"] for q in started} == {path.size}


def drops(daemon):
    return [daemon.ctl("port", "show", f"vm{i}")[way]["drops"]
            for i in (0, 1) for way in ("to_guest", "from_guest")]


@pytest.mark.parametrize("name", PATHS)
def test_path(vuser_lab, name):
    lab, path = vuser_lab, PATHS[name]
    if base.sanitized() and not path.everywhere:
        pytest.skip("not in the subset for the sanitizer build")
    if "packed_vq=1" in path.options and "vectorized=1" in path.options and not has_avx512():
        pytest.skip("the vectorised packed path needs AVX-512")
    daemon = lab.daemon(ports=[lab.port(i, listen=not path.server) for i in (0, 1)]).start()
    fe = front_end(lab, path)
    text = fe.log.read_text()
    for words in path.says:
        assert words in text, text
    fe.start()
    check_rings(daemon, path)
    echo(lab, 1000, path)
    before = drops(daemon)
    # Sent and not received: what is in the rings when testpmd stops, which is all that circles.
    assert circle(lab, fe) == 2 * CIRCLING * path.queues
    assert drops(daemon) == before


@pytest.mark.parametrize("name", ["split-mrg", "split-vector", "split-server", "packed-mrg",
                                  "packed-255", "packed-server"])
def test_port_restarted_ten_times(vuser_lab, name):
    """testpmd stops its ports (GET_VRING_BASE) and starts them anew."""
    lab, path = vuser_lab, PATHS[name]
    if base.sanitized() and not path.everywhere:
        pytest.skip("not in the subset for the sanitizer build")
    lab.daemon(ports=[lab.port(i, listen=not path.server) for i in (0, 1)]).start()
    fe = front_end(lab, path)
    fe.start()
    echo(lab, 300, path)
    for _ in range(10):
        for command in ("stop", "port stop all", "port start all", "start"):
            fe.command(command)
        echo(lab, 300, path)
