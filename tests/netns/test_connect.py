# SPDX-License-Identifier: BSD-2-Clause
"""Front ends that come late, come back, stop, die, come twice or say nothing. Two other guests
exchange frames meanwhile and must not notice; nothing of a front end that has gone remains."""
import signal
import socket
import struct
import time

import pytest

from vx.base import wait_for
from vx.topo import guest_mac

from rawfe import (F_MAC, F_PROTOCOL, F_VERSION_1, GET_CONFIG, GET_FEATURES,
                   GET_PROTOCOL_FEATURES, P_CONFIG, SET_FEATURES, RawFrontEnd)
from vxnet import (WIRE_MAC, Echo, Holdings, Vfe, frame, nic, port, to_drops, untouched,
                   wait_port)


@pytest.fixture
def lab(topo):
    """Ports vm0 and vm1 for the test; vm2 and vm3 exchange frames throughout."""
    topo.vhost = topo.daemon(4).start()
    topo.echo = Echo(topo, topo.socket(2), topo.socket(3), guest_mac(2), guest_mac(3))
    return topo


def pair(topo, **options):
    return Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
               peer_mac=guest_mac(1), both=True, timeout_ms=60000, **options)


# ---- the daemon connects -------------------------------------------------------------------------

def test_front_end_that_listens(topo, wire):
    """listen: false. It may appear late, leave, and return, for ever."""
    daemon = topo.daemon(ports=[topo.port(0, listen=False), topo.port(1)]).start()
    assert wait_port(daemon, "vm0", state="connecting", connects=0)
    wait_for(lambda: "cannot connect" in (port(daemon, "vm0")["last_error"] or ""), 5, "a reason")
    holdings = Holdings(daemon)
    time.sleep(0.7)  # some attempts in vain
    for n in (1, 2, 3):
        guest = Vfe(topo, topo.socket(0), "echo", mac=guest_mac(0), listen=True,
                    connect_timeout_ms=20000)
        guest.ready()
        now = wait_port(daemon, "vm0", state="running", connects=n)
        assert now["peer_pid"] == guest.pid
        wire.send_all(frame(guest_mac(0), WIRE_MAC, k) for k in range(20))
        got = wire.receive(20)
        assert len(got) == 20 and all(f.good for f in got)
        if n == 2:
            guest.kill()
        else:
            guest.finish()
        wait_port(daemon, "vm0", state="connecting", up=False)
        holdings.same()
    log = daemon.log.read_text()
    assert log.count("cannot connect to") <= 4  # told once for each absence


def test_daemon_that_comes_after_the_front_end(topo, wire):
    """The other order: the front end waits for the daemon, and for the next one."""
    daemon = topo.daemon(ports=[topo.port(0, listen=False)])
    for end in ("stop", "kill"):
        guest = Vfe(topo, topo.socket(0), "echo", mac=guest_mac(0), listen=True,
                    connect_timeout_ms=20000)
        wait_for(topo.socket(0).is_socket, 5, "the front end's socket")
        daemon.start()
        guest.ready()
        wire.send_all(frame(guest_mac(0), WIRE_MAC, k) for k in range(20))
        assert len(wire.receive(20)) == 20
        getattr(daemon, end)()
        guest.kill()
        assert topo.socket(0).exists()  # it is the front end's, not ours to remove
        topo.socket(0).unlink()


# ---- what only some front ends want ----------------------------------------------------------------

def test_device_config(topo):
    """device-config: true tells address, MTU and queue pairs to who asks; by default nobody is
    offered that, because QEMU complains."""
    topo.daemon(ports=[topo.port(0, queues=3, mtu=1400, **{"device-config": True}),
                       topo.port(1)]).start()
    with RawFrontEnd(topo.socket(0)) as asks:
        assert asks.ask_u64(GET_FEATURES) & F_MAC
        asks.negotiate(F_PROTOCOL | F_VERSION_1 | F_MAC, P_CONFIG)
        data = asks.ask(GET_CONFIG, struct.pack("=III", 0, 12, 0) + bytes(12))
        mac, status, pairs, mtu = struct.unpack_from("<6sHHH", data, 12)
        assert mac.hex(":") == guest_mac(0) and (status, pairs, mtu) == (1, 3, 1400)
    with RawFrontEnd(topo.socket(1)) as plain:
        assert not plain.ask_u64(GET_FEATURES) & F_MAC
        assert not plain.ask_u64(GET_PROTOCOL_FEATURES) & P_CONFIG


# ---- churn -------------------------------------------------------------------------------------

@pytest.mark.parametrize("order", ["qemu", "virtio-user", "cloud-hypervisor"])
@pytest.mark.parametrize("churn", ["restart", "reset", "reconnect", "disable"])
def test_churn(lab, churn, order):
    """Stops and starts between frames: no frame is lost, doubled or reordered."""
    holdings = Holdings(lab.vhost)
    result = pair(lab, count=3000, size="60-1514", churn=churn, churn_every=200, order=order,
                  tx_mix=True).result(60)
    assert result["churns"] >= 25
    wait_port(lab.vhost, "vm0", state="listening")
    holdings.same()
    lab.echo.finish()


@pytest.mark.parametrize("rings", [{}, {"packed": True, "resume": "old"}])
@pytest.mark.parametrize("churn", ["restart", "reset", "reconnect", "disable"])
def test_hot_churn(lab, churn, rings):
    """The same in the middle of traffic. What was on the way may be lost, nothing else may
    happen to it. With packed rings the front end only knows where they were last started."""
    holdings = Holdings(lab.vhost)
    result = pair(lab, count=10000, size="60-1514", churn=churn, churn_every=300, churn_hot=True,
                  allow_loss=True, queues=2, **rings).result(60, ok=None)
    untouched(result)
    holdings.same()
    lab.echo.finish()


def test_many_short_lives(lab):
    """Two hundred connections, each hung up at another point of the conversation."""
    holdings = Holdings(lab.vhost)
    for k in range(200):
        fe = RawFrontEnd(lab.socket(0), size=1 << 20)
        try:
            if k % 5 > 0:
                fe.negotiate()
            if k % 5 > 1:
                fe.share_memory()
            if k % 5 > 2:
                fe.start_ring(0)
            if k % 5 > 3:
                fe.start_ring(1)
                fe.ask_u64(GET_FEATURES)
        finally:
            fe.close()
    wait_port(lab.vhost, "vm0", state="listening")
    holdings.same()
    assert port(lab.vhost, "vm0")["connects"] == 200
    lab.echo.finish()


# ---- sudden ends -------------------------------------------------------------------------------

def test_front_end_killed_under_traffic(lab, wire):
    """SIGKILL to a guest that sends and receives at full speed, again and again."""
    holdings = Holdings(lab.vhost)
    for _ in range(8):
        victim = pair(lab, count=100_000_000, size="60-1514", tx_mix=True)
        victim.ready()
        wait_for(lambda: port(lab.vhost, "vm0")["from_guest"]["frames"] > 1000, 10, "traffic")
        victim.kill()
        wait_port(lab.vhost, "vm0", state="listening", up=False)
    holdings.same()
    lab.echo.finish()


def test_receiver_killed_under_traffic(lab, wire):
    """The receiving guest dies, its peer and the wire go on sending: the peer's frames look for it
    on the wire, those from the wire are dropped and counted, and the next front end of that port
    gets frames again."""
    sender = Vfe(lab, lab.socket(1), "tx", mac=guest_mac(1), dst=guest_mac(0), rate=20000,
                 count=100_000_000, timeout_ms=100_000)
    sender.ready()
    for _ in range(5):
        victim = Vfe(lab, lab.socket(0), "rx", mac=guest_mac(0), expect=1_000_000,
                     timeout_ms=100_000)
        victim.ready()
        wire.send_all(frame(guest_mac(0), WIRE_MAC, k) for k in range(50))
        victim.kill()
        wait_port(lab.vhost, "vm0", state="listening")
        before = to_drops(lab.vhost, "vm0").get("no-guest", 0)
        sent = sum(q["tx_frames"] for q in nic(lab.vhost)["queues"])
        wire.send_all(frame(guest_mac(0), WIRE_MAC, k) for k in range(50))
        wait_for(lambda: to_drops(lab.vhost, "vm0").get("no-guest", 0) >= before + 50, 10,
                 "counted drops")
        wait_for(lambda: sum(q["tx_frames"] for q in nic(lab.vhost)["queues"]) > sent + 100, 10,
                 "frames that look for it")
    last = Vfe(lab, lab.socket(0), "rx", mac=guest_mac(0), expect=500, ring=4096)
    assert last.result(ok=None)["good"] >= 500
    sender.finish(ok=None)
    lab.echo.finish()


def test_front_end_stopped_under_traffic(lab):
    """SIGSTOP: its rings run full; nobody else has to wait for it."""
    sender = Vfe(lab, lab.socket(1), "tx", mac=guest_mac(1), dst=guest_mac(0), rate=20000,
                 count=100_000_000, timeout_ms=100_000)
    sender.ready()
    victim = Vfe(lab, lab.socket(0), "rx", mac=guest_mac(0), expect=1_000_000,
                 timeout_ms=100_000, ring=256)
    victim.ready()
    victim.process.popen.send_signal(signal.SIGSTOP)
    try:
        wait_for(lambda: to_drops(lab.vhost, "vm0").get("no-buffer", 0) > 1000, 10, "full rings")
        lab.echo.finish()
    finally:
        victim.process.popen.send_signal(signal.SIGCONT)
    sender.finish(ok=None)


# ---- unwanted and silent front ends --------------------------------------------------------------

def test_second_front_end_is_refused(lab):
    """It is hung up on at once; the first one does not notice, and the log names both."""
    first = pair(lab, count=100_000_000, rate=5000)
    first.ready()
    holdings = Holdings(lab.vhost)
    for _ in range(20):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as second:
            second.settimeout(5)
            second.connect(str(lab.socket(0)))
            assert second.recv(1) == b""
    late = Vfe(lab, lab.socket(0), "probe")
    late.result(ok=False)
    holdings.same()
    now = port(lab.vhost, "vm0")
    assert now["connects"] == 1 and now["peer_pid"] == first.pid
    assert f"pid {first.pid} is connected" in lab.vhost.log.read_text()
    wait_for(lambda: port(lab.vhost, "vm0")["from_guest"]["frames"] >
             now["from_guest"]["frames"] + 100, 5, "frames of the first one after all this")
    assert first.finish(ok=None)["peer"]["good"] > 100
    lab.echo.finish()


def test_silent_front_end(lab):
    """Connects and says nothing: it holds one descriptor, no CPU, and goes without a trace."""
    holdings = Holdings(lab.vhost)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.connect(str(lab.socket(0)))
        wait_port(lab.vhost, "vm0", state="negotiating", up=False)
        assert holdings.settled() == (holdings.before[0] + 1, holdings.before[1])
    wait_port(lab.vhost, "vm0", state="listening")
    holdings.same()
    lab.echo.finish()


def test_half_a_message(lab):
    """The rest may come late, or never."""
    holdings = Holdings(lab.vhost)
    with RawFrontEnd(lab.socket(0)) as fe:
        whole = b"\x01\0\0\0\x01\0\0\0\0\0\0\0"
        for byte in whole:
            fe.sock.sendall(bytes([byte]))
            time.sleep(0.01)
        assert fe.reply()[0] == GET_FEATURES
        fe.sock.sendall(whole[:7])
        time.sleep(0.05)
    wait_port(lab.vhost, "vm0", state="listening")
    holdings.same()
    lab.echo.finish()


def test_flood_of_messages(lab):
    """A front end that asks without a pause, and reads the answers: the others go on."""
    holdings = Holdings(lab.vhost)
    with RawFrontEnd(lab.socket(0)).start() as fe:
        request = b"\x01\0\0\0\x01\0\0\0\0\0\0\0" * 100
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            fe.sock.sendall(request)
            got = 0
            while got < 100 * 20:
                got += len(fe.sock.recv(65536))
            assert port(lab.vhost, "vm3")["up"]
    holdings.same()
    lab.echo.finish()


def test_answers_that_nobody_reads(lab):
    """The daemon does not wait for a full socket: it ends the connection and says why."""
    holdings = Holdings(lab.vhost)
    with RawFrontEnd(lab.socket(0)) as fe:
        try:
            for _ in range(100_000):
                fe.send(GET_FEATURES)
        except OSError:
            pass
        assert fe.hung_up()
    assert "does not read" in wait_port(lab.vhost, "vm0", state="listening")["last_error"]
    holdings.same()
    lab.echo.finish()


def test_flood_of_refused_requests_is_not_a_flood_of_log_lines(lab):
    size = lab.vhost.log.stat().st_size
    with RawFrontEnd(lab.socket(0)) as fe:
        fe.negotiate(features=F_VERSION_1 | F_PROTOCOL)
        for _ in range(3000):
            assert fe.ack(SET_FEATURES, b"\xff" * 8) != 0
    assert lab.vhost.log.stat().st_size - size < 20_000
    lab.echo.finish()


def test_flood_of_kicks(lab):
    """Kicks for nothing keep a worker awake, but do not keep it from its other guests."""
    with RawFrontEnd(lab.socket(0)).start() as fe:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            for _ in range(200):
                fe.ring_bell(1)
                fe.ring_bell(0)
        lab.echo.finish()


def test_flood_of_connections(lab):
    """Connections that come faster than they are refused, on a busy and on an idle port."""
    holdings = Holdings(lab.vhost)
    busy = pair(lab, count=100_000_000, rate=1000)
    busy.ready()
    during = Holdings(lab.vhost)
    end = time.monotonic() + 1
    while time.monotonic() < end:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(str(lab.socket(0)))
    during.same()
    busy.finish(ok=None)
    end = time.monotonic() + 1
    while time.monotonic() < end:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(str(lab.socket(0)))
    wait_port(lab.vhost, "vm0", state="listening")
    holdings.same()
    size = lab.vhost.log.stat().st_size
    assert size < 2_000_000, f"a log of {size} bytes"
    lab.echo.finish()
