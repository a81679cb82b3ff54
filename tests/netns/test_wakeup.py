# SPDX-License-Identifier: BSD-2-Clause
"""wakeup-latency-us: the idle states of a worker's CPU are limited while it has traffic."""
import os
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest

from vx import base
from vx.base import wait_for
from vx.topo import guest_mac

from rawfe import RawFrontEnd
from vxnet import BROADCAST, call, frame

LIMIT = Path("/sys/devices/system/cpu/cpu0/power/pm_qos_resume_latency_us")


def limit():
    return LIMIT.read_text().strip()


@contextmanager
def set_limit(text):
    before = limit()
    LIMIT.write_text(text)
    try:
        yield
    finally:
        LIMIT.write_text(before)


@pytest.fixture(autouse=True)
def restored():
    """None of these tests leaves the machine changed, whatever becomes of the daemon."""
    if not os.access(LIMIT, os.W_OK):
        raise base.Skip(f"no {LIMIT} to write to: no limits for idle states here")
    if limit() != "0":
        raise base.Skip(f"somebody has limited the idle states of CPU 0 to {limit()} us")
    entry = base.on_exit(LIMIT.write_text, "0")
    with set_limit("0"):
        yield
    base.cancel(entry)


def quiet_daemon(topo, us):
    """Without a wire: nothing comes but what the guest sends."""
    return topo.daemon(1, nics=[{"name": "nic0", "mode": "internal"}], **{"wakeup-latency-us": us})


@contextmanager
def traffic(topo):
    """A function that lets a guest send frames until the limit is what it should be."""
    with RawFrontEnd(topo.socket(0)).start() as guest:
        def send_until(text):
            wait_for(lambda: guest.transmit(frame(BROADCAST, guest_mac(0))) or limit() == text, 10,
                     lambda: f"a limit of {text}, not {limit()}")
        yield send_until


def worker(daemon):
    return call(daemon, "show")["workers"][0]


def wait_released(daemon):
    wait_for(lambda: limit() == "0", 10, lambda: f"no limit, not {limit()}")
    wait_for(lambda: worker(daemon)["wakeup_latency"] == "released", 5, "a released CPU")


@pytest.mark.parametrize("us, text", [(100, "100"), (0, "n/a")])
def test_held_while_there_is_traffic(topo, us, text):
    """Held after the first frame, released when there was none for a second; then nothing happens
    any more. Again with the next frame, and what was there is put back at the end."""
    daemon = quiet_daemon(topo, us).start()
    assert limit() == "0" and worker(daemon)["wakeup_latency"] == "released"
    assert call(daemon, "show")["wakeup_latency_us"] == us
    with traffic(topo) as send_until:
        for _ in range(2):
            send_until(text)
            wait_released(daemon)
        sleeps = worker(daemon)["sleeps"]
        wait_for(lambda: daemon.idle_ticks(0.3)[0] == 0, 5, "quiet")
        assert limit() == "0" and worker(daemon)["sleeps"] == sleeps
        send_until(text)
        daemon.stop()
        assert limit() == "0"


def test_successor_of_a_killed_daemon_puts_it_right(topo):
    daemon = quiet_daemon(topo, 100).start()

    def caught():
        """Stopped while the limit is held."""
        send_until("100")
        os.kill(daemon.pid, signal.SIGSTOP)
        if limit() == "100":
            return True
        os.kill(daemon.pid, signal.SIGCONT)
        return False
    with traffic(topo) as send_until:
        wait_for(caught, 30, "a daemon that holds the limit")
        daemon.kill()
    assert limit() == "100"
    daemon.start()
    wait_released(daemon)


def test_stricter_limit_of_others_is_left_alone(topo):
    with set_limit("50"):
        daemon = quiet_daemon(topo, 100).start()
        with traffic(topo) as send_until:
            send_until("50")
            wait_for(lambda: worker(daemon)["state"] == "sleeping", 5, "a sleeping worker")
            assert limit() == "50" and worker(daemon)["wakeup_latency"] == "stricter"
        daemon.stop()
        assert limit() == "50"


def test_unlimited_by_default(topo):
    daemon = topo.daemon(1).start()
    with traffic(topo) as send_until:
        send_until("0")
        wait_for(lambda: worker(daemon)["state"] == "sleeping", 5, "a sleeping worker")
        assert limit() == "0" and worker(daemon)["wakeup_latency"] == "off"
        assert call(daemon, "show")["wakeup_latency_us"] is None
