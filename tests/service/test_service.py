# SPDX-License-Identifier: BSD-2-Clause
"""The systemd service: installed by `cmake --install`, started by a real systemd as process 1."""
import json
import os
import re
import signal
import socket
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from vx import base
from vx.base import run, tool, wait_for
from vx.container import Container
from vx.topo import HOST, WIRE, guest_mac

UNIT = "vhost-xdpd.service"
CONFIG = {
    "control-socket": "/run/vhost-xdp/control.sock",
    "pin-dir": "/sys/fs/bpf/vhost-xdp",
    "wakeup-latency-us": 100,
    "workers": [{"cpu": 0}],
    "nics": [{"name": "nic0", "mode": "steered"}],
    "ports": [{"name": f"vm{i}", "socket": f"/run/vhost-xdp/vm{i}", "listen": True, "nic": "nic0",
               "macs": [guest_mac(i)]} for i in (0, 1)],
}


@contextmanager
def cpu_limits_stay_ours():
    """The container shares sysfs with this machine: what its unit gives away is taken back."""
    files = list(Path("/sys/devices/system/cpu").glob("cpu*/power/pm_qos_resume_latency_us"))
    owners = [(path, path.stat().st_uid, path.stat().st_gid) for path in files]
    entries = [base.on_exit(os.chown, *owner) for owner in owners]
    try:
        yield
    finally:
        for owner, entry in zip(owners, entries):
            os.chown(*owner)
            base.cancel(entry)


@pytest.fixture(scope="module")
def box(topology):
    """The daemon installed and configured in a booted container; its nic is a veth to a wire."""
    if base.sanitized():
        pytest.skip("the installed service is tested with the release build")
    base.binary("vhost-xdpd")
    with cpu_limits_stay_ours(), topology("service") as topo:
        box = topo.add(Container(topo.workdir, topo.host))
        box.topo = topo
        box.installed = box.install(base.build_dir())
        box.write("/etc/vhost-xdp/vhost-xdpd.yaml", yaml.safe_dump(CONFIG, sort_keys=False))
        box.boot()
        yield box


@pytest.fixture
def started(box):
    box.systemctl("reset-failed", UNIT, check=False)
    box.systemctl("start", UNIT)
    yield box


def main_pid(box):
    return int(box.show(UNIT, "MainPID"))


def host_pid(box):
    """The daemon's pid as the tests see it."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue
        nspid = re.search(r"^NSpid:\s+(.*)$", text, re.M)
        if nspid and nspid[1].split()[-1] == str(main_pid(box)) and "vhost-xdpd" in text:
            if os.readlink(f"/proc/{status.parent.name}/ns/pid") == \
                    os.readlink(f"/proc/{box.leader}/ns/pid"):
                return int(status.parent.name)
    raise LookupError("the daemon's process")


def ctl(box, *verb):
    return json.loads(box.run("vhost-xdpctl", "-j", *verb).stdout)


def test_installed_files(box):
    for path in ("usr/sbin/vhost-xdpd", "usr/bin/vhost-xdpctl"):
        alternatives = [box.root / path, box.root / path.replace("sbin", "bin")]
        assert any(p.exists() for p in alternatives), box.installed
    assert list(box.root.glob(f"usr/lib/systemd/system/{UNIT}")) + \
        list(box.root.glob(f"lib/systemd/system/{UNIT}")), box.installed


def test_unit_verifies(box):
    """systemd-analyze verify has nothing to say about the unit."""
    done = box.run("systemd-analyze", "--man=no", "verify", UNIT, check=False)
    about_us = [line for line in done.stdout.splitlines() if "vhost-xdp" in line]
    assert done.returncode == 0 and not about_us, done.stdout


def test_starts_and_is_ready(started):
    assert started.systemctl("is-active", UNIT) == "active"
    assert started.show(UNIT, "Type").startswith("notify")
    assert started.show(UNIT, "StatusText").startswith("Serving 2 ports")
    assert started.show(UNIT, "NRestarts") == "0", started.journal(UNIT)
    assert {p["name"] for p in find_ports(ctl(started, "port", "list"))} == {"vm0", "vm1"}


def find_ports(answer):
    return answer["ports"] if isinstance(answer, dict) else answer


def test_runs_as_its_own_user_with_few_capabilities(started):
    status = Path(f"/proc/{host_pid(started)}/status").read_text()
    uid = int(re.search(r"^Uid:\s+(\d+)", status, re.M)[1])
    name = started.run("stat", "-c", "%U", f"/proc/{main_pid(started)}").stdout.strip()
    assert uid != 0 and name == "vhost-xdp", status
    effective = int(re.search(r"^CapEff:\s+(\w+)", status, re.M)[1], 16)
    names = {1 << 12: "net_admin", 1 << 13: "net_raw", 1 << 14: "ipc_lock", 1 << 39: "bpf"}
    extra = effective & ~sum(names)
    assert extra == 0, f"capabilities beyond {sorted(names.values())}: {extra:#x}"
    assert re.search(r"^NoNewPrivs:\s+1", status, re.M), status


def test_may_limit_idle_states(started):
    """The unit gives the daemon's user the kernel's files for wakeup-latency-us."""
    path = "/sys/devices/system/cpu/cpu0/power/pm_qos_resume_latency_us"
    if started.run("test", "-w", path, check=False).returncode:
        raise base.Skip(f"no {path} to write to in a container here")
    owner = started.run("stat", "-c", "%U", path).stdout.strip()
    state = ctl(started, "show")["workers"][0]["wakeup_latency"]
    assert owner == "vhost-xdp" and state in ("released", "held"), started.journal(UNIT)


def test_the_host_keeps_its_network(started):
    """Inside the container as on a real host: the NIC is steered and still the host's."""
    topo = started.topo
    assert "xdp" in started.run("ip", "link", "show", "nic0").stdout
    assert topo.wire.ping(HOST, 3) == 3
    assert topo.host.ping(WIRE, 3) == 3


def test_guest_socket_accepts_a_front_end(started):
    """The protocol's first words over the socket that the service made."""
    path = started.root / "run/vhost-xdp/vm0"
    # The container's /run is a file system of its own; go through its process 1.
    path = Path(f"/proc/{started.leader}/root/run/vhost-xdp/vm0")
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(5)
        s.connect(str(path))
        s.sendall((1).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(4))  # GET_FEATURES
        answer = s.recv(64)
    assert len(answer) == 20 and answer[0] == 1 and answer[4] & 0x7 == 0x5, answer
    features = int.from_bytes(answer[12:20], "little")
    assert features >> 32 & 1, f"VERSION_1 is not offered: {features:#x}"


def test_watchdog_is_fed(started):
    """The service has a watchdog, and tells it again and again that it lives."""
    usec = started.show(UNIT, "WatchdogUSec")
    assert usec not in ("0", "infinity", ""), usec
    before = started.show(UNIT, "WatchdogTimestampMonotonic")
    wait_for(lambda: started.show(UNIT, "WatchdogTimestampMonotonic") != before, 15,
             "watchdog message", every=0.5)
    assert started.systemctl("is-active", UNIT) == "active"


def wait_other_pid(box, old):
    def restarted():
        pid = main_pid(box)
        return pid not in (0, old) and box.systemctl("is-active", UNIT, check=False) == "active"
    wait_for(restarted, 20, lambda: f"restart:\n{box.journal(UNIT)}", every=0.3)


def test_restarts_after_kill(started):
    for _ in range(2):
        old = main_pid(started)
        os.kill(host_pid(started), signal.SIGKILL)
        wait_other_pid(started, old)
    assert len(find_ports(ctl(started, "port", "list"))) == 2
    assert started.topo.wire.ping(HOST, 3) == 3


def test_hung_daemon_is_restarted_by_the_watchdog(started):
    old = main_pid(started)
    os.kill(host_pid(started), signal.SIGSTOP)
    wait_for(lambda: main_pid(started) not in (0, old), 40,
             lambda: f"restart by the watchdog:\n{started.journal(UNIT)}", every=0.5)
    wait_other_pid(started, old)
    assert re.search("watchdog", started.run("journalctl", "--no-pager", "-u", UNIT).stdout, re.I)


def test_stop_and_start(started):
    started.systemctl("stop", UNIT)
    assert started.systemctl("is-active", UNIT, check=False) == "inactive"
    assert started.show(UNIT, "Result") == "success", started.journal(UNIT)
    started.systemctl("start", UNIT)
    assert started.systemctl("is-active", UNIT) == "active"


def test_bad_configuration_is_told(started):
    """A mistake in the file stops the start with its line in the journal; the rest is easy."""
    good = (started.root / "etc/vhost-xdp/vhost-xdpd.yaml").read_text()
    started.systemctl("stop", UNIT)
    try:
        started.write("/etc/vhost-xdp/vhost-xdpd.yaml", good.replace("nic: nic0", "nic: nic7", 1))
        done = started.run("systemctl", "start", UNIT, check=False)
        assert done.returncode != 0
        assert re.search(r"vhost-xdpd\.yaml:\d+:\d+: .*nic7", started.journal(UNIT)), \
            started.journal(UNIT)
    finally:
        started.systemctl("stop", UNIT, check=False)
        started.write("/etc/vhost-xdp/vhost-xdpd.yaml", good)
    started.systemctl("reset-failed", UNIT, check=False)
    started.systemctl("start", UNIT)


def test_unit_verifies_outside(box):
    """The same check with this machine's systemd, on the file in the build's install tree."""
    unit = next(box.root.glob(f"**/systemd/system/{UNIT}"))
    done = run(tool("systemd-analyze"), "--man=no", "verify", f"--root={box.root}", unit.name, check=False)
    if "unrecognized option" in done.stdout:
        pytest.skip("this systemd-analyze has no --root")
    assert not [line for line in done.stdout.splitlines() if "vhost-xdp" in line], done.stdout
