# SPDX-License-Identifier: BSD-2-Clause
"""Restart, kill -9, adoption of what an earlier daemon left, unloading, and rivals."""
import itertools
import os
import signal
import socket
import time

import pytest

from vx.base import patience, run, wait_for
from vx.daemon import BPFFS, PREFIX, Daemon, remove_pins
from vx.topo import guest_mac

import xdp
from rawfe import GET_FEATURES, RawFrontEnd
from vxnet import WIRE_MAC, Vfe, call, frame, listen, nic, port, verdicts, wait_nic


def pins(daemon):
    return daemon.pin_dir / "nic0"


def both_ways(topo, wire, i=0, mac=None):
    """Traffic between the wire and guest i flows."""
    mac = mac or guest_mac(i)
    guest = listen(topo, i, 20, mac)
    wire.send_all(frame(mac, WIRE_MAC, k) for k in range(20))
    guest.result()
    Vfe(topo, topo.socket(i), "tx", mac=mac, dst=WIRE_MAC, count=20).result()
    got = wire.receive(20)
    assert len(got) == 20 and all(f.good and f.src == mac for f in got)


def left_behind(daemon):
    """A dead daemon's log and status are no failure of the test."""
    daemon.process.kill()
    daemon.process = None


# ---- end and new start -------------------------------------------------------------------------

def test_restart(topo, wire):
    """The program stays attached in between; everything works afterwards."""
    daemon = topo.daemon(2).start()
    both_ways(topo, wire)
    for _ in range(3):
        before = (xdp.link_id(pins(daemon)), [xdp.map_id(pins(daemon), m) for m in xdp.MAPS])
        daemon.stop()
        assert xdp.attached(topo.host, "nic0")
        daemon.start()
        assert nic(daemon)["adopted"]
        assert before == (xdp.link_id(pins(daemon)),
                          [xdp.map_id(pins(daemon), m) for m in xdp.MAPS])
        both_ways(topo, wire)
        both_ways(topo, wire, 1)


def test_sigterm_ends_quickly_and_tidily(topo):
    daemon = topo.daemon(4).start()
    guests = [Vfe(topo, topo.socket(i), "rx", mac=guest_mac(i), expect=1, timeout_ms=60000)
              for i in range(3)]
    for guest in guests:
        guest.ready()
    assert topo.socket(0).is_socket() and daemon.control.is_socket()
    for sig in (signal.SIGTERM, signal.SIGINT):
        start = time.monotonic()
        assert daemon.process.stop(sig=sig) == 0
        assert time.monotonic() - start < 3 * patience()
        assert not daemon.control.exists()
        assert not any(topo.socket(i).exists() for i in range(4))
        daemon.start()


@pytest.mark.parametrize("no_daemon", ["drop", "pass"])
@pytest.mark.parametrize("how", ["kill", "stop"])
def test_guests_frames_without_a_daemon(topo, wire, host, how, no_daemon):
    """Dropped or passed to the host as configured, and counted; never given to somebody else."""
    daemon = topo.daemon(2, nics=[{"name": "nic0", "mode": "steered",
                                   "no-daemon": no_daemon}]).start()
    getattr(daemon, how)()
    left_behind(daemon)
    assert xdp.attached(topo.host, "nic0")
    before = xdp.verdict(pins(daemon), xdp.V_NO_DAEMON)
    for i in (0, 1):
        wire.send_all(frame(guest_mac(i), WIRE_MAC, k, stream=i) for k in range(20))
    wire.send_all(frame("02:00:00:00:0e:0e", WIRE_MAC, k, stream=9) for k in range(20))
    got = host.receive(60 if no_daemon == "pass" else 20)
    assert len([f for f in got if f.stream == 9]) == 20
    assert len([f for f in got if f.stream != 9]) == (40 if no_daemon == "pass" else 0)
    assert xdp.verdict(pins(daemon), xdp.V_NO_DAEMON) - before == 40
    daemon.start()
    both_ways(topo, wire)
    both_ways(topo, wire, 1)


def test_host_reachable_without_a_daemon(topo):
    daemon = topo.daemon(1).start()
    daemon.kill()
    left_behind(daemon)
    topo.wire.ip("neigh", "flush", "all")
    assert topo.wire.ping("198.18.0.1") == 3


def test_kill_leaves_stale_sockets_that_do_not_matter(topo, wire):
    daemon = topo.daemon(2).start()
    both_ways(topo, wire)
    for _ in range(3):
        daemon.kill()
        assert topo.socket(0).is_socket() and daemon.control.is_socket()
        daemon.start()
        assert nic(daemon)["adopted"]
        both_ways(topo, wire)


@pytest.mark.parametrize("rings", [
    {}, {"resume": "avail"}, {"resume": "zero"}, {"packed": True, "resume": "old"},
    {"packed": True, "resume": "old", "ring": 77, "rx_size": 600, "tx_mix": True}])
def test_killed_under_traffic(topo, rings):
    """kill -9 in the middle of bursts, again and again, while two guests exchange all they can; with
    every base that front ends say afterwards. Frames get lost, but none comes twice or out of
    order; no buffer is used twice or kept; and each time all goes on."""
    daemon = topo.daemon(2).start()
    pair = Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
               peer_mac=guest_mac(1), both=True, count=100_000_000, size="60-1514", survive=True,
               connect_timeout_ms=30000, timeout_ms=200_000, **rings)
    pair.ready()

    def frames(i):
        return port(daemon, f"vm{i}")["from_guest"]["frames"]
    for life in range(8):
        wait_for(lambda: min(frames(0), frames(1)) > 2000, 20, "traffic both ways", every=0.01)
        time.sleep(0.003 * life)
        daemon.kill()
        daemon.start()
    wait_for(lambda: min(frames(0), frames(1)) > 5000, 20, "traffic both ways")
    result = pair.finish()
    assert result["churns"] == 16
    for end in (result, result["peer"]):
        assert end["completed"] == end["sent"] and end["lost_at_stop"] == 0, result


def test_features_stay_with_the_guest(topo):
    """A guest cannot give up features. Its front end is offered them whatever the configuration
    has come to say; another one is not."""
    mrg_rxbuf = 1 << 15
    daemon = topo.daemon(1).start()
    with RawFrontEnd(topo.socket(0)).start():  # all that is offered
        pass
    daemon.kill()
    daemon.config["ports"][0]["features-mask"] = 0xffffffffffffffff & ~mrg_rxbuf
    daemon.start()
    with RawFrontEnd(topo.socket(0)) as again:
        assert again.ask_u64(GET_FEATURES) & mrg_rxbuf
        again.start()
    other = Vfe(topo, topo.socket(0), "probe")
    assert not int(other.ready()["offered"], 16) & mrg_rxbuf
    other.result()


def test_swapped_addresses_after_kill(topo, wire):
    """The old table says otherwise than the new configuration, while frames keep coming: each
    guest gets its own address only, from the first frame on."""
    daemon = topo.daemon(2).start()
    both_ways(topo, wire)
    daemon.kill()
    ports = daemon.config["ports"]
    ports[0]["macs"], ports[1]["macs"] = ports[1]["macs"], ports[0]["macs"]
    daemon.start(wait=False)
    deadline, early = time.monotonic() + 20 * patience(), itertools.count()
    while not topo.socket(1).is_socket() or not _accepts(topo.socket(1)):
        k = next(early)  # the last of these may wait in the daemon until the guests are there
        for i in (0, 1):
            wire.send(frame(guest_mac(i), WIRE_MAC, k, stream=7))
        assert time.monotonic() < deadline
    guests = [listen(topo, i, 50, guest_mac(1 - i), settle_ms=500) for i in (0, 1)]
    for k in range(50):
        for i in (0, 1):
            wire.send(frame(guest_mac(i), WIRE_MAC, k, stream=i + 1))
        time.sleep(0.001)
    for i, guest in enumerate(guests):
        result = guest.result(ok=None)
        assert result["misdirected"] == 0 and result["good"] >= 50, result
        assert not result["bad"] and not result["duplicates"]
    assert xdp.fdb(pins(daemon)) == {(guest_mac(1), 0): 1, (guest_mac(0), 0): 2}


def _accepts(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(str(path))
            return True
        except OSError:
            return False


def test_reordered_and_removed_ports_after_restart(topo, wire):
    """Port ids follow the configuration; what is no longer in it leaves the table."""
    daemon = topo.daemon(3).start()
    daemon.stop()
    daemon.config["ports"] = [daemon.config["ports"][2], daemon.config["ports"][0]]
    daemon.start()
    assert xdp.fdb(pins(daemon)) == {(guest_mac(2), 0): 1, (guest_mac(0), 0): 2}
    names = {key: value["name"] for key, value in xdp.formatted(pins(daemon), "ports")}
    assert names == {1: "vm2", 2: "vm0"}
    both_ways(topo, wire, 2)
    both_ways(topo, wire, 0)
    passed = verdicts(daemon)["pass"]
    wire.send_all(frame(guest_mac(1), WIRE_MAC, k) for k in range(10))
    wait_for(lambda: verdicts(daemon)["pass"] - passed >= 10, 5, "frames passed to the host")


def test_changed_mode_and_miss_after_restart(topo, wire, host):
    """Pins of another policy are brought in line."""
    daemon = topo.daemon(1).start()
    for keys in ({"miss": "drop"}, {"mode": "dedicated"}, {"no-daemon": "pass"}):
        daemon.stop()
        daemon.config["nics"] = [{"name": "nic0", "mode": "steered", **keys}]
        if keys.get("mode") == "dedicated":
            daemon.config["ports"][0].pop("macs")
        else:
            daemon.config["ports"][0]["macs"] = [guest_mac(0)]
        daemon.start()
        (_, config), = xdp.formatted(pins(daemon), "config")
        assert ("DROP" in str(config["miss"])) == ("no-daemon" not in keys)
        assert ("DEDICATED" in str(config["mode"])) == ("mode" in keys)
        assert ("PASS" in str(config["no_daemon"])) == ("no-daemon" in keys)
        both_ways(topo, wire)


def test_damaged_pins_are_replaced(topo, wire):
    """A table that somebody edited is repaired; a map that is missing makes all new."""
    daemon = topo.daemon(2).start()
    daemon.stop()
    run("bpftool", "map", "delete", "pinned", pins(daemon) / "fdb", "key", "hex",
        *guest_mac(0).split(":"), "00", "00")
    assert xdp.fdb(pins(daemon)) == {(guest_mac(1), 0): 2}
    daemon.start()
    assert len(xdp.fdb(pins(daemon))) == 2
    both_ways(topo, wire)
    daemon.stop()
    (pins(daemon) / "ports").unlink()
    daemon.start()
    assert not nic(daemon)["adopted"]
    both_ways(topo, wire)


# ---- unloading ---------------------------------------------------------------------------------

def unload(topo, daemon):
    return topo.host.run(daemon.program, "--config", daemon.file, "--unload", check=False)


def test_unload(topo, wire, host):
    daemon = topo.daemon(1).start()
    both_ways(topo, wire)
    daemon.stop()
    done = unload(topo, daemon)
    assert done.returncode == 0 and "nic0" in done.stdout and len(done.stdout.splitlines()) == 1
    assert not xdp.attached(topo.host, "nic0") and not pins(daemon).exists()
    wire.send_all(frame(guest_mac(0), WIRE_MAC, k) for k in range(5))
    assert len(host.receive(5)) == 5
    again = unload(topo, daemon)
    assert again.returncode == 0 and "nothing" in again.stdout
    daemon.start()
    both_ways(topo, wire)


def test_unload_under_a_running_daemon_is_refused(topo, wire):
    daemon = topo.daemon(1).start()
    done = unload(topo, daemon)
    assert done.returncode == 1 and f"pid {daemon.pid}" in done.stdout
    assert xdp.attached(topo.host, "nic0")
    both_ways(topo, wire)


# ---- rivals ------------------------------------------------------------------------------------

def start_and_fail(daemon):
    """Start a daemon that must not come up; its output."""
    daemon.start(wait=False)
    wait_for(lambda: not daemon.process.alive(), 10, "end of a daemon that cannot start")
    status, text = daemon.process.popen.returncode, daemon.tail()
    left_behind(daemon)
    assert status == 1, text
    return text


def test_second_daemon_on_one_nic_is_refused(topo, wire):
    """With the holder named; nothing of the first one is touched."""
    first = topo.daemon(1).start()
    link = xdp.link_id(pins(first))
    second = topo.daemon(ports=[topo.port(5)])
    text = start_and_fail(second)
    assert f"pid {first.pid}" in text and "nic0" in text
    assert not pins(second).exists() and not topo.socket(5).exists()
    # The same with the same pins.
    third = topo.add(Daemon(topo.workdir, topo.host, [{"name": "nic0", "mode": "steered"}],
                            [topo.port(6)], pin_dir=first.pin_dir))
    assert f"pid {first.pid}" in start_and_fail(third)
    third.pin_dir = BPFFS / f"{PREFIX}{os.getpid()}-none"
    assert link == xdp.link_id(pins(first))
    both_ways(topo, wire)


def test_second_daemon_on_one_socket_is_refused(topo, wire):
    """The control socket, or a port's socket, of a living daemon."""
    first = topo.daemon(1).start()
    inside = [{"name": "inside", "mode": "internal"}]
    second = topo.daemon(nics=inside, ports=[topo.port(5, nic="inside")])
    second.config["control-socket"] = str(first.control)
    text = start_and_fail(second)
    assert str(first.control) in text and f"pid {first.pid}" in text
    third = topo.daemon(nics=inside, ports=[topo.port(0, nic="inside")])
    text = start_and_fail(third)
    assert str(topo.socket(0)) in text and f"pid {first.pid}" in text
    assert call(first, "version")["pid"] == first.pid
    both_ways(topo, wire)


def test_two_daemons_on_two_nics(topo, wire):
    """Fine, with pins, sockets and nics of their own; and one's end is not the other's."""
    topo.host.ip("link", "add", "nic1", "type", "veth", "peer", "name", "wire1", "netns",
                 topo.wire.name)
    first = topo.daemon(1).start()
    second = topo.daemon(nics=[{"name": "nic1", "mode": "steered"}],
                         ports=[topo.port(1, nic="nic1")]).start()
    second.stop()
    both_ways(topo, wire)
    assert port(first, "vm0")["connects"] == 2


def test_foreign_xdp_program_is_left_alone(topo):
    pin_dir = BPFFS / f"{PREFIX}{os.getpid()}-foreign"
    pin_dir.mkdir()
    try:
        xdp.pin_pass_program(pin_dir / "prog")
        topo.host.ip("link", "set", "dev", "nic0", "xdp", "pinned", pin_dir / "prog")
        foreign = xdp.attached(topo.host, "nic0")
        daemon = topo.daemon(1)
        text = start_and_fail(daemon)
        assert "nic0" in text and f"id {foreign}" in text and "xdp off" in text
        assert xdp.attached(topo.host, "nic0") == foreign
        topo.host.ip("link", "set", "dev", "nic0", "xdp", "off")
        daemon.start()
        wait_nic(daemon, "up")
    finally:
        remove_pins(pin_dir)


def test_pin_dir_that_is_no_bpf_file_system(topo):
    daemon = topo.daemon(1)
    daemon.config["pin-dir"] = str(topo.workdir)
    text = start_and_fail(daemon)
    assert str(topo.workdir) in text and "BPF file system" in text
