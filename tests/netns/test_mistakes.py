# SPDX-License-Identifier: BSD-2-Clause
"""Configuration mistakes through the real binary, logs that cannot be written, privileges, and
what bpftool shows of a running daemon."""
import os
import re
import subprocess
import time
from contextlib import contextmanager

import pytest

from vx import base
from vx.base import die_with_parent, run, wait_for
from vx.daemon import Daemon
from vx.net import rename
from vx.topo import guest_mac

import xdp
from vxnet import WIRE_MAC, Vfe, call, frame, nic, verdicts, wait_nic

MINIMAL = """\
control-socket: {dir}/control.sock
pin-dir: /sys/fs/bpf/{pins}
workers:
  - cpu: 0
nics:
  - name: nic0            # the network device's name; for mode internal, any name
    mode: steered         # steered | dedicated | internal
ports:
  - name: vm1
    socket: {dir}/vm1
    listen: true          # true: the daemon listens; false: it connects
    nic: nic0
    macs: ["52:54:00:00:00:0a"]
    vlan: 0               # 0: untagged
"""


def config(topo, *changes):
    text = MINIMAL.format(dir=topo.workdir, pins=f"{base.PREFIX}{os.getpid()}-mistakes")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = topo.workdir / "mistake.yaml"
    path.write_text(text)
    return path


# (what is changed, into what, line, what the message says)
MISTAKES = {
    "unknown key": ("vlan: 0", "vlam: 0", 14, "vlam"),
    "unknown top-level key": ("workers:", "wrokers:", 3, "wrokers"),
    "wrong type": ("cpu: 0", "cpu: first", 4, "cpu"),
    "unknown mode": ("mode: steered ", "mode: stirred ", 7, "stirred"),
    "unknown nic": ("nic: nic0", "nic: nic9", 12, "nic9"),
    "bad MAC": ("00:0a", "00:0g", 13, "00:0g"),
    "multicast MAC": ("52:54:00:00:00:0a", "33:33:00:00:00:01", 13, "33:33:00:00:00:01"),
    "vlan out of range": ("vlan: 0", "vlan: 4095", 14, "vlan"),
    "socket path too long": ("/vm1", "/vm1" + "x" * 120, 10, "socket"),
    "relative socket path": ("    socket: /", "    socket: ", 10, "socket"),
    "socket folder missing": ("/vm1", "/nowhere/vm1", 10, "nowhere"),
    "duplicate MAC": ('["52:54:00:00:00:0a"]', '["52:54:00:00:00:0a", "52:54:00:00:00:0a"]', 13,
                      "52:54:00:00:00:0a"),
    "duplicate port": ("    vlan: 0", "  - {name: vm1, socket: /tmp/x, listen: true, nic: nic0, "
                       "macs: ['52:54:00:00:00:0b']}\n#", 14, "vm1"),
    "missing netdev": ("name: nic0", "name: nic7", 6, "nic7"),
    "missing CPU": ("cpu: 0", "cpu: 4000", 4, "4000"),
    "no YAML": ("workers:", "workers: [", None, ""),
    "tab": ("  - cpu", "\t- cpu", None, ""),
    "miss redirect without a device": ("    mode: steered", "    miss: redirect\n    mode: steered",
                                       None, "redirect-to"),
}


@pytest.fixture(scope="module")
def lab(topology):
    """Namespaces for configurations that never come to anything."""
    with topology("mistakes") as topo:
        yield topo


@pytest.mark.parametrize("check", [True, False], ids=["check", "start"])
@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(lab, name, check):
    """Exit status 1 and one line that begins with file:line:column."""
    old, new, line, says = MISTAKES[name]
    path = config(lab, (old, new))
    if name == "missing netdev":
        path.write_text(path.read_text().replace(" nic: nic0", " nic: nic7"))
    done = lab.host.run(base.binary("vhost-xdpd"), "--config", path,
                         *(["--check-config"] if check else []), check=False)
    assert done.returncode == 1, done.stdout
    lines = done.stdout.splitlines()
    assert len(lines) == 1, done.stdout
    found = re.match(rf"{re.escape(str(path))}:(\d+):(\d+): (.+)", lines[0])
    assert found and says in found[3] and int(found[2]) >= 1, lines
    assert line in (None, int(found[1])), lines
    assert not (lab.workdir / "vm1").exists() and not xdp.attached(lab.host, "nic0")


def test_minimal_example(lab):
    path = config(lab)
    done = lab.host.run(base.binary("vhost-xdpd"), "--config", path, "--check-config")
    assert done.returncode == 0 and done.stdout.strip() == f"{path}: ok"
    assert not (lab.workdir / "vm1").exists()


def test_file_that_cannot_be_read(lab):
    for path in (lab.workdir / "none.yaml", lab.workdir):
        done = lab.host.run(base.binary("vhost-xdpd"), "--config", path, check=False)
        assert done.returncode == 1 and len(done.stdout.splitlines()) == 1
        assert str(path) in done.stdout


@pytest.mark.parametrize("argv", [["--nonsense"], ["extra"], ["--config"]])
def test_command_line(argv):
    done = run(base.binary("vhost-xdpd"), *argv, check=False)
    assert done.returncode == 1 and "Usage" in done.stdout


def test_print_capabilities():
    done = run(base.binary("vhost-xdpd"), "--print-capabilities")
    assert done.stdout.strip() == '{"type": "net"}'


# ---- logs --------------------------------------------------------------------------------------

@contextmanager
def logging_to(topo, stderr, ports=2):
    """A daemon whose log goes to `stderr` and which must serve a guest all the same."""
    daemon = topo.daemon(ports)
    daemon.write()
    child = subprocess.Popen(daemon._argv(daemon.program, "--config", daemon.file),
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
                             preexec_fn=die_with_parent)
    try:
        wait_for(daemon.control.is_socket, 10, "control socket")
        yield daemon, child
        for _ in range(30):  # lines enough to fill any buffer
            Vfe(topo, topo.socket(0), "probe").result()
        Vfe(topo, topo.socket(0), "pair", peer_socket=topo.socket(1), mac=guest_mac(0),
            peer_mac=guest_mac(1), both=True, count=500).result()
        assert child.poll() is None
        assert call(daemon, "version")["pid"] == child.pid
        start = time.monotonic()
        child.terminate()
        assert child.wait(10 * base.patience()) == 0
        assert time.monotonic() - start < 3 * base.patience()
    finally:
        child.kill()
        child.wait()


def test_log_to_a_full_disk(topo):
    with open("/dev/full", "wb") as full, logging_to(topo, full):
        pass


def test_log_to_a_pipe_that_nobody_reads(topo):
    """Full after some lines; a writer that waits would wait for ever."""
    ends = os.pipe()
    try:
        os.set_blocking(ends[1], False)
        while True:
            try:
                os.write(ends[1], bytes(4096))
            except BlockingIOError:
                break
        os.set_blocking(ends[1], True)
        with logging_to(topo, ends[1]):
            pass
    finally:
        os.close(ends[0])
        os.close(ends[1])


def test_log_to_a_pipe_whose_reader_has_gone(topo):
    ends = os.pipe()
    try:
        with logging_to(topo, ends[1]):
            os.close(ends[0])
    finally:
        os.close(ends[1])


def test_log_goes_on_when_there_is_room_again(topo):
    """A file system that is full for a while: the lines in between are lost, and counted."""
    folder = topo.workdir / "small"
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder)
    try:
        with open(folder / "log", "ab") as log, logging_to(topo, log, 10):
            filler = folder / "filler"
            with open(filler, "wb", buffering=0) as data, pytest.raises(OSError):
                while True:
                    data.write(bytes(4096))
            for i in range(9):  # more lines than the last page has room for
                for _ in range(3):
                    Vfe(topo, topo.socket(i), "probe").result()
            filler.unlink()
            Vfe(topo, topo.socket(9), "probe").result()
        text = (folder / "log").read_text(errors="replace")
        assert re.search(r"\d+ lines before this one were lost", text), text
    finally:
        run("umount", "-l", folder)


# ---- what bpftool shows ------------------------------------------------------------------------

def test_pinned_maps_read_like_tables(topo, wire):
    """Field names, MACs, names of actions: what an operator sees with bpftool alone."""
    ports = [topo.port(0), topo.port(1, vlan=100, macs=[guest_mac(1), "52:54:00:00:0a:01"])]
    daemon = topo.daemon(ports=ports, nics=[{"name": "nic0", "mode": "steered", "miss": "drop",
                                             "no-daemon": "pass"}]).start()
    folder = daemon.pin_dir / "nic0"
    guest = Vfe(topo, topo.socket(0), "rx", mac=guest_mac(0), expect=10, ring=256,
                settle_ms=1000)
    guest.ready()
    assert xdp.fdb(folder) == {(guest_mac(0), 0): 1, (guest_mac(1), 100): 2,
                               ("52:54:00:00:0a:01", 100): 2}
    by_id = dict(xdp.formatted(folder, "ports"))
    assert by_id[1]["name"] == "vm0" and by_id[2]["name"] == "vm1"
    assert (by_id[1]["vlan"], by_id[2]["vlan"], by_id[2]["n_macs"]) == (0, 100, 2)
    assert "UP" in str(by_id[1]["state"]) and "DOWN" in str(by_id[2]["state"])
    (_, conf), = xdp.formatted(folder, "config")
    assert conf["abi"] == 1 and conf["ifindex"] == nic(daemon)["ifindex"]
    assert [str(conf[k]) for k in ("mode", "miss", "no_daemon")] == [
        "STEER_MODE_STEERED", "STEER_DROP", "STEER_PASS"]
    queues = dict(xdp.formatted(folder, "queues"))
    assert queues[0]["pid"] == daemon.pid and "COPY" in str(queues[0]["mode"])
    assert queues[1]["pid"] == 0 and "NONE" in str(queues[1]["mode"])
    wire.send_all(frame(guest_mac(0), WIRE_MAC, k, 100) for k in range(10))
    guest.result()
    assert xdp.verdict(folder, xdp.V_GUEST) == verdicts(daemon)["guest"] == 10
    stats = dict(xdp.formatted(folder, "port_stats"))
    assert sum(v["value"]["frames"] for v in stats[1]) == 10
    assert sum(v["value"]["bytes"] for v in stats[1]) == 1000
    daemon.stop()
    queues = dict(xdp.formatted(folder, "queues"))
    assert queues[0]["pid"] == 0
    assert all("DOWN" in str(p["state"]) for _, p in xdp.formatted(folder, "ports"))


# ---- privileges --------------------------------------------------------------------------------

CAPS = ("net_raw", "net_admin", "bpf", "ipc_lock")


class UnprivilegedDaemon(Daemon):
    """As user nobody, with exactly the capabilities of the documentation."""

    caps = CAPS

    def _argv(self, *argv):
        sets = ",".join(["-all", *[f"+{c}" for c in self.caps]])
        return super()._argv(base.tool("setpriv"), "--reuid=65534", "--regid=65534",
                             "--clear-groups", f"--inh-caps={sets}", f"--ambient-caps={sets}",
                             f"--bounding-set={sets}", "--no-new-privs", "--", *argv)

    def start(self, wait=True):
        old = os.umask(0)  # for the socket on which it says that it is ready
        try:
            return super().start(wait)
        finally:
            os.umask(old)


def unprivileged(topo, n=2, **more):
    daemon = topo.add(UnprivilegedDaemon(topo.workdir, topo.host,
                                         [{"name": "nic0", "mode": "steered"}],
                                         [topo.port(i) for i in range(n)], **more))
    daemon.pin_dir.mkdir()
    for folder in (daemon.pin_dir, topo.workdir):
        os.chown(folder, 65534, 65534)
    binary_folder = daemon.program
    if run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "test", "-x",
           binary_folder, check=False).returncode:
        raise base.Skip(f"user nobody cannot run {binary_folder}")
    return daemon


def status_line(daemon, key):
    with open(f"/proc/{daemon.pid}/status") as text:
        return re.search(rf"^{key}:\s+(.*)$", text.read(), re.M)[1]


def test_least_privileges(topo, wire):
    """CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF and CAP_IPC_LOCK are enough for everything, a device
    that returns and an adopted program included."""
    daemon = unprivileged(topo).start()
    assert status_line(daemon, "Uid").split() == ["65534"] * 4
    assert int(status_line(daemon, "CapEff"), 16) == sum(
        1 << bit for bit in (13, 12, 39, 14))
    for _ in range(2):
        guest = Vfe(topo, topo.socket(0), "echo", mac=guest_mac(0), ring=1024)
        guest.ready()
        wire.send_all(frame(guest_mac(0), WIRE_MAC, k) for k in range(20))
        assert len(wire.receive(20)) == 20
        topo.host.ip("link", "set", "nic0", "mtu", 3000)
        wait_for(lambda: nic(daemon)["mtu"] == 3000 and nic(daemon)["state"] == "up", 10,
                 lambda: f"bound again: {nic(daemon)}")
        wire.send_all(frame(guest_mac(0), WIRE_MAC, k) for k in range(20))
        assert len(wire.receive(20)) == 20
        topo.host.ip("link", "set", "nic0", "mtu", 1500)
        rename(topo.host, "nic0", "other0")
        wait_nic(daemon, "absent")
        rename(topo.host, "other0", "nic0")
        wait_nic(daemon, "up")
        wire.send_all(frame(guest_mac(0), WIRE_MAC, k) for k in range(20))
        assert len(wire.receive(20)) == 20
        guest.finish()
        daemon.kill()
        daemon.start()


@pytest.mark.parametrize("missing, says", [("bpf", "CAP_BPF|not permitted"),
                                           ("net_admin", "CAP_NET_ADMIN|not permitted"),
                                           ("net_raw", "not permitted|CAP_NET_RAW")])
def test_missing_privilege_is_named(topo, missing, says):
    daemon = unprivileged(topo, 1)
    daemon.caps = tuple(c for c in CAPS if c != missing)
    daemon.start(wait=False)
    text = wait_for(lambda: (lambda t: re.search(says, t) and t)(daemon.tail()), 10,
                    lambda: f"a reason in: {daemon.tail()}")
    assert "nic0" in text
    daemon.kill()
    daemon.process = None
