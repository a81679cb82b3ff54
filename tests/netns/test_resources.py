# SPDX-License-Identifier: BSD-2-Clause
"""The daemon without descriptors, with hostile clients on its control socket, and with many of
everything; and what an operator sees through vhost-xdpctl."""
import os
import re
import resource
import socket
import stat
import time
from contextlib import suppress

import pytest

from vx.base import binary, run, sanitized, wait_for
from vx.topo import guest_mac

from rawfe import RawFrontEnd
from vxnet import (WIRE_MAC, Echo, Holdings, Vfe, call, frame, port, to_drops, verdicts,
                   wait_port)


def set_file_limit(daemon, n):
    old = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (n, old[1]))
    return old


def test_out_of_descriptors(topo):
    """Front ends and clients that come then are kept waiting or refused; nobody spins, running
    guests go on, and all is well when descriptors are free again."""
    daemon = topo.daemon(4).start()
    echo = Echo(topo, topo.socket(2), topo.socket(3), guest_mac(2), guest_mac(3), rate=200)
    holdings = Holdings(daemon)
    highest = max(int(fd) for fd in os.listdir(f"/proc/{daemon.pid}/fd"))
    old = set_file_limit(daemon, highest + 1)
    plugs = []
    try:
        # Clients until nobody is let in any more, also not into the queue of those who wait.
        with pytest.raises(OSError):
            for _ in range(256):
                plugs.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                plugs[-1].settimeout(0.2)
                plugs[-1].connect(str(daemon.control))
        for _ in range(3):
            plugs.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            plugs[-1].connect(str(topo.socket(0)))
        time.sleep(0.2)
        size = daemon.log.stat().st_size
        control = f"/proc/{daemon.pid}/task/{daemon.pid}/stat"

        def ticks():
            with open(control) as text:
                fields = text.read().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])
        before = ticks()
        time.sleep(1)
        assert ticks() - before < 20, "the control thread spins"
        assert daemon.log.stat().st_size - size < 5000
    finally:
        for plug in plugs:
            plug.close()
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, old)
    wait_for(lambda: answers(daemon), 5, "answer on the control socket")
    assert "port vm0: refused a front end: Too many open files" in daemon.log.read_text()
    wait_port(daemon, "vm0", state="listening")
    holdings.same()
    echo.finish()
    Vfe(topo, topo.socket(0), "probe").result()


def answers(daemon):
    """Whether the control socket lets clients in."""
    with suppress(OSError):
        return call(daemon, "version")["pid"] == daemon.pid


@pytest.mark.parametrize("spare", [0, 2, 4, 6, 8, 10, 30])
def test_descriptors_run_out_while_a_guest_connects(topo, spare):
    """At each point of the conversation: that port fails, with a reason, and recovers."""
    daemon = topo.daemon(4).start()
    echo = Echo(topo, topo.socket(2), topo.socket(3), guest_mac(2), guest_mac(3))
    Vfe(topo, topo.socket(0), "probe").result()
    wait_port(daemon, "vm0", state="listening")
    holdings = Holdings(daemon)
    used = sorted(int(fd) for fd in os.listdir(f"/proc/{daemon.pid}/fd"))
    free = [n for n in range(used[-1] + 40) if n not in used][:spare + 1]
    old = set_file_limit(daemon, max(free[-1], 1))
    try:
        guest = Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
                    peer_mac=guest_mac(1), both=True, count=100)
        served = guest.result(ok=None)["ok"]
    finally:
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, old)
    told = re.search("Too many open files|more .* than this process may have",
                     daemon.log.read_text())
    assert served is not bool(told)
    for name in ("vm0", "vm1"):
        wait_port(daemon, name, state="listening")
    holdings.same()
    Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
        peer_mac=guest_mac(1), both=True, count=100).result()
    echo.finish()


# ---- the control socket --------------------------------------------------------------------------

def client(daemon):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(5)
    sock.connect(str(daemon.control))
    return sock


@pytest.mark.parametrize("data", [
    b"\n", b"{}\n", b"nonsense\n", b"[]\n", b"[" * 5000 + b"\n", b"\0\n", b"\xff\xfe\n",
    b'{"jsonrpc":"2.0","id":1,"method":"no.such"}\n', b'{"jsonrpc":"2.0","id":1}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"stats","params":{"port":"nobody"}}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"stats","params":7}\n'])
def test_bad_requests(topo, data):
    """Each is answered by an error, and the next request by its answer."""
    daemon = topo.daemon(1).start()
    with client(daemon) as sock:
        sock.sendall(data)
        answer = b""
        if data != b"\n":
            while not answer.endswith(b"\n") and (part := sock.recv(65536)):
                answer += part
            assert b'"error"' in answer
    assert call(daemon, "version")["pid"] == daemon.pid


def test_control_clients_that_misbehave(topo):
    """Endless lines, answers that nobody reads, and more clients than are served."""
    daemon = topo.daemon(4).start()
    echo = Echo(topo, topo.socket(2), topo.socket(3), guest_mac(2), guest_mac(3))
    holdings = Holdings(daemon)
    memory = daemon.own_memory()
    endless = client(daemon)
    with pytest.raises(OSError):
        for _ in range(4096):
            endless.sendall(b"x" * 65536)
    deaf = client(daemon)
    deaf.settimeout(1)
    with pytest.raises(OSError):
        for _ in range(20000):
            deaf.sendall(b'{"jsonrpc":"2.0","id":1,"method":"show"}\n' * 10)
    crowd = [client(daemon) for _ in range(16)]
    for sock in (*crowd, deaf, endless):
        sock.close()
    assert call(daemon, "version")["pid"] == daemon.pid
    assert daemon.own_memory() - memory < 16 << 20
    holdings.same()
    echo.finish()


def test_vhost_xdpctl(topo, wire):
    """The operator's tool against a daemon at work: text, JSON and exit status."""
    daemon = topo.daemon(2).start()
    guest = Vfe(topo, topo.socket(0), "echo", mac=guest_mac(0))
    guest.ready()
    wire.send_all(frame(guest_mac(0), WIRE_MAC, k, 100) for k in range(10))
    assert len(wire.receive(10)) == 10
    show = daemon.ctl("show")
    assert show["pid"] == daemon.pid and show["nics"][0]["state"] == "up"
    vm0 = next(p for p in daemon.ctl("port", "list")["ports"] if p["name"] == "vm0")
    assert vm0["state"] == "running" and vm0["to_guest"]["frames"] >= 10
    assert {m["mac"] for m in daemon.ctl("mac", "list")["macs"]} == {guest_mac(0), guest_mac(1)}
    assert daemon.ctl("stats")["nics"][0]["verdicts"]["guest"]["frames"] == 10
    for verb in (["show"], ["stats"], ["port", "list"], ["mac", "list"], ["nic", "list"]):
        text = daemon.ctl_text(*verb)
        assert text.strip() and "\0" not in text
    assert "vm0" in daemon.ctl_text("port", "list") and "nic0" in daemon.ctl_text("nic", "list")
    topo.wire.ip("link", "set", "wire0", "down")
    wait_for(lambda: "down" in daemon.ctl_text("nic", "list"), 5, "the link's state")
    topo.host.ip("link", "del", "nic0")
    wait_for(lambda: "absent" in daemon.ctl_text("nic", "list"), 5, "the device's absence")
    daemon.stop()
    done = run(daemon.ctl_program, "--socket", daemon.control, "show", check=False)
    assert done.returncode != 0 and str(daemon.control) in done.stdout


# ---- many of everything --------------------------------------------------------------------------

def test_many_addresses(topo, wire):
    """Two ports with 500 addresses each; every one is found."""
    macs = [[f"52:54:00:{p:02x}:{i >> 8:02x}:{i & 255:02x}" for i in range(500)] for p in (1, 2)]
    daemon = topo.daemon(ports=[topo.port(i, macs=macs[i]) for i in (0, 1)]).start()
    guests = [Vfe(topo, topo.socket(i), "rx", mac=macs[i][0], expect=500, ring=1024,
                  settle_ms=200) for i in (0, 1)]
    for guest in guests:
        guest.ready()
    wire.send_all(frame(mac, WIRE_MAC, k, stream=p) for p in (0, 1)
                  for k, mac in enumerate(macs[p]))
    for guest in guests:
        result = guest.result(ok=None)
        assert result["good"] == 500 and result["streams"] == 1
    assert verdicts(daemon)["guest"] == 1000
    assert not to_drops(daemon, "vm0") and len(call(daemon, "mac.list")["macs"]) == 1000


def test_sixteen_queue_pairs_and_sixty_four_regions(topo):
    topo.daemon(ports=[topo.port(i, queues=16) for i in (0, 1)],
                workers=({"cpu": 0}, {"cpu": 1})).start()
    Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
        peer_mac=guest_mac(1), both=True, count=5000, size="60-1514", queues=16, regions=64,
        mem=128, tx_mix=True, timeout_ms=30000).result(40)


def test_hundred_and_twenty_eight_queue_pairs(topo):
    """The most there can be: all of them run, and cost the daemon little memory."""
    daemon = topo.daemon(ports=[topo.port(i, queues=128) for i in (0, 1)],
                         workers=({"cpu": 0}, {"cpu": 1})).start()
    before, fds = daemon.own_memory(), daemon.fds()
    pair = Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
               peer_mac=guest_mac(1), both=True, count=20000, size="60-1514", queues=128, ring=64,
               window=32, timeout_ms=60000)
    pair.ready(30)
    used, held = daemon.own_memory() - before, daemon.fds() - fds
    print(f"{used >> 10} KiB and {held} descriptors for 2 x 128 queue pairs")
    pair.result(60)
    assert sanitized() or used < 8 << 20
    for name in ("vm0", "vm1"):
        wait_port(daemon, name, state="listening")
    assert daemon.fds() <= fds + 2


def test_largest_ring(topo):
    topo.daemon(2).start()
    Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
        peer_mac=guest_mac(1), both=True, count=80000, size="60-200", ring=32768, window=20000,
        timeout_ms=60000).result(60)


@pytest.mark.parametrize("ring", [1, 2, 4])
def test_smallest_rings(topo, ring):
    topo.daemon(2).start()
    Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
        peer_mac=guest_mac(1), both=True, count=500, window=ring, ring=ring,
        timeout_ms=60000).result(60)


# ---- what a port may be told ---------------------------------------------------------------------

def test_features_mask(topo):
    """What is masked is not offered, now and after a restart."""
    mrg_rxbuf, event_idx = 1 << 15, 1 << 29
    mask = (1 << 64) - 1 & ~mrg_rxbuf & ~event_idx
    daemon = topo.daemon(ports=[topo.port(0, **{"features-mask": mask}), topo.port(1)]).start()
    for _ in range(2):
        offered = []
        for i in (0, 1):
            vfe = Vfe(topo, topo.socket(i), "probe")
            offered.append(int(vfe.ready()["offered"], 0))
            vfe.result()
        assert offered[1] & ~offered[0] == mrg_rxbuf | event_idx
        assert offered[0] & ~offered[1] == 0
        daemon.restart()


def test_socket_mode_and_owner(topo):
    daemon = topo.daemon(ports=[
        topo.port(0), topo.port(1, **{"socket-mode": "0600"}),
        topo.port(2, **{"socket-mode": "0666", "socket-owner": "nobody",
                        "socket-group": "nogroup"})]).start()
    found = []
    for i in range(3):
        st = os.stat(topo.socket(i))
        found.append((stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid))
    assert found == [(0o660, 0, 0), (0o600, 0, 0), (0o666, 65534, 65534)]
    assert stat.S_IMODE(os.stat(daemon.control).st_mode) & 0o007 == 0


def test_mtu_of_a_port(topo):
    """NET_SET_MTU beyond what the port or its nic carries is refused."""
    topo.daemon(ports=[topo.port(0, mtu=1400), topo.port(1)]).start()
    for i, mtu, ok in ((0, 1400, True), (0, 1401, False), (1, 1500, True), (1, 67, False)):
        Vfe(topo, topo.socket(i), "probe", mtu=mtu).result(ok=ok)


def test_version_and_pid(topo):
    daemon = topo.daemon(1).start()
    answer = call(daemon, "version")
    text = run(binary("vhost-xdpd"), "--version").stdout.split()
    assert text == ["vhost-xdpd", answer["version"]] and answer["pid"] == daemon.pid
    with RawFrontEnd(topo.socket(0)) as fe:
        fe.negotiate()
        assert port(daemon, "vm0")["peer_pid"] == os.getpid()
