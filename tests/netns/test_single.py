# SPDX-License-Identifier: BSD-2-Clause
"""One port without a configuration file, as programs that start a back end for each device want
it: --socket-path, --fd, --print-capabilities (vhost-user, "Backend program conventions")."""
import json
import os
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from vx import base
from vx.base import Process, run, wait_for
from vx.daemon import BPFFS, need_af_xdp, need_bpffs, remove_pins
from vx.topo import HOST, guest_mac

from vxnet import WIRE_MAC, Vfe, frame

DAEMON = "vhost-xdpd"
SOCKET = f"/tmp/{base.PREFIX}{os.getpid()}-nobody"


@contextmanager
def single(topo, *options, pass_fds=()):
    """The daemon with these options, in the nic's namespace."""
    need_bpffs()
    need_af_xdp()
    pins = BPFFS / f"{base.PREFIX}{os.getpid()}-single"
    argv = topo.host.argv(base.binary(DAEMON), "--pin-dir", pins, *options)
    log = topo.workdir / "single.log"
    entry = base.on_exit(remove_pins, pins)
    process = Process(DAEMON, argv, log, pass_fds=pass_fds)
    try:
        wait_for(lambda: process.require_alive() and "is ready" in log.read_text(), 15,
                 lambda: f"a daemon that is ready: {process.tail()}")
        yield process
        if process.alive():
            assert process.stop() == 0, process.tail()
    finally:
        process.kill()
        base.cancel(entry)
        remove_pins(pins)


def exchange(topo, wire, **options):
    """20 frames each way between a guest on the port and the wire."""
    guest = Vfe(topo, topo.socket(0), "echo", mac=guest_mac(0), **options)
    guest.ready()
    wire.send_all(frame(guest_mac(0), WIRE_MAC, k) for k in range(20))
    got = wire.receive(20)
    assert len(got) == 20 and all(f.good for f in got)
    return guest


def test_socket_path_and_steered_nic(topo, wire, host):
    """With --mac the device is shared: the host goes on using it."""
    control = topo.workdir / "control.sock"
    with single(topo, "--socket-path", topo.socket(0), "--nic", "nic0", "--mac", guest_mac(0),
                "--control-socket", control, "--queues", 2, "--mtu", 1400) as daemon:
        exchange(topo, wire).finish()
        exchange(topo, wire).finish()  # the next front end is served, too
        assert topo.wire.ping(HOST, 2) == 2
        shown = json.loads(run(base.binary("vhost-xdpctl"), "-j", "--socket", control,
                               "show").stdout)
        assert "port0" in json.dumps(shown)
        assert daemon.stop() == 0
    assert not topo.socket(0).exists() and not control.exists()


def test_socket_path_and_nic_of_its_own(topo, wire):
    """Without --mac every frame of the device is the guest's."""
    with single(topo, "--socket-path", topo.socket(0), "--nic", "nic0"):
        exchange(topo, wire).finish()


def test_relative_path_and_no_nic(topo):
    """A guest that reaches nobody is served, with a warning."""
    before = os.getcwd()
    os.chdir(topo.workdir)
    try:
        with single(topo, "--socket-path", "vm0.sock") as daemon:
            Vfe(topo, topo.socket(0), "probe").result()
            assert "reaches nobody" in daemon.tail()
    finally:
        os.chdir(before)


def test_fd_that_listens(topo, wire):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(topo.socket(0)))
        listener.listen()
        with single(topo, "--fd", listener.fileno(), "--nic", "nic0",
                    pass_fds=[listener.fileno()]):
            exchange(topo, wire).finish()
            exchange(topo, wire).finish()
    assert topo.socket(0).exists()  # it is not the daemon's to remove


def test_fd_that_is_connected(topo, wire):
    """The daemon serves that front end, and ends when it has gone."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(topo.socket(0)))
        listener.listen()
        guest = Vfe(topo, topo.socket(0), "echo", mac=guest_mac(0))
        connected, _ = listener.accept()
    with connected:
        with single(topo, "--fd", connected.fileno(), "--nic", "nic0",
                    pass_fds=[connected.fileno()]) as daemon:
            connected.close()
            guest.ready()
            wire.send_all(frame(guest_mac(0), WIRE_MAC, k) for k in range(20))
            assert len(wire.receive(20)) == 20
            guest.finish()
            assert wait_for(lambda: not daemon.alive(), 10, "the daemon's end")
            assert daemon.popen.returncode == 0, daemon.tail()


@pytest.mark.parametrize("argv, says", [
    (["--socket-path", SOCKET, "--fd", "7"], "exclude each other"),
    (["--nic", "eth0"], "need --socket-path or --fd"),
    (["--socket-path", SOCKET, "--config", "/tmp/b"], "need no --config"),
    (["--socket-path", SOCKET, "--mac", "52:54:00:00:00:0a"], "need --nic"),
    (["--socket-path", ""], "command line: socket: "),
    (["--socket-path", "/no/such/folder/a"], "command line: socket: folder '/no/such/folder'"),
    (["--socket-path", "/tmp/" + "a" * 200], "command line: socket: the path has"),
    (["--socket-path", SOCKET, "--nic", "no-such-dev"],
     "command line: name: there is no network device 'no-such-dev'"),
    (["--socket-path", SOCKET, "--nic", "a\"b\n- {"], "command line: name: "),
    (["--socket-path", SOCKET, "--nic", "lo", "--mac", "52:54"],
     "command line: macs: '52:54' is not a MAC address"),
    (["--socket-path", SOCKET, "--nic", "lo", "--mac", "52:54:00:00:00:0a", "--mac",
      "52:54:00:00:00:0A"], "is there twice"),
    (["--socket-path", SOCKET, "--queues", "129"], "queues: 129 is not between 1 and 128"),
    (["--socket-path", SOCKET, "--queues", "many"], "queues: expected a whole number"),
    (["--socket-path", SOCKET, "--cpu", "4000"], "command line: cpu: "),
    (["--fd", "x"], "--fd: 'x' is no descriptor's number"),
    (["--fd", "789"], "--fd 789: Bad file descriptor"),
    (["--fd", "0"], "--fd 0"),
])
def test_mistakes(argv, says):
    """Status 1 and a sentence; the socket is not made."""
    done = run(base.binary(DAEMON), *argv, check=False)
    assert done.returncode == 1 and says in done.stdout, done.stdout
    assert not Path(SOCKET).exists()


def test_capabilities_and_descriptor(tmp_path):
    """What discovers back ends finds this one: the descriptor of the package, and the answer to
    --print-capabilities, other options or not."""
    for more in ([], ["--socket-path", SOCKET]):
        done = run(base.binary(DAEMON), *more, "--print-capabilities")
        assert json.loads(done.stdout)["type"] == "net"
    cmake = base.tool("cmake")
    installed = subprocess.run([cmake, "--install", base.build_dir(), "--prefix", tmp_path],
                               env=dict(os.environ, DESTDIR=str(tmp_path / "root")),
                               capture_output=True, text=True, check=False)
    assert installed.returncode == 0, installed.stderr
    files = list((tmp_path / "root").rglob("qemu/vhost-user/50-vhost-xdp.json"))
    assert len(files) == 1
    found = json.loads(files[0].read_text())
    assert found["type"] == "net" and found["description"]
    binary = tmp_path / "root" / found["binary"].lstrip("/")
    assert binary.name == DAEMON and os.access(binary, os.X_OK)
