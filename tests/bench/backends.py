# SPDX-License-Identifier: BSD-2-Clause
"""One back end that scripts/bench compares, and what it does to it between samples.

A back end that is not being measured is stopped (SIGSTOP), so that its polling takes nothing from
the one that is. All of them work on one CPU, the front end on another.
"""
import os
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from vx import base
from vx.base import wait_for

GUEST_MAC = "02:00:00:00:00:01"  # of the first guest; the others count on, as vbench does


def guest_mac(i):
    return f"02:00:00:00:{(i + 1) >> 8:02x}:{(i + 1) & 255:02x}"


class Backend:
    """name, sockets (one per guest), and the process behind them.

    realtime  its threads may run with real-time priority while it is measured, so that what else
              goes on on this machine cannot take their CPU away
    counter   frames that have arrived at the other end of the wire; None: there is none
    wire_end  (namespace, device) where frames from the wire are made; None
    """

    def __init__(self, name, sockets, process, realtime):
        self.name, self.sockets, self.process = name, sockets, process
        self.realtime = realtime
        self.counter, self.wire_end = None, None
        wait_for(lambda: process.require_alive() and all(s.exists() for s in sockets), 15,
                 f"sockets of {name}")

    def serves(self, scenario):
        """testpmd joins its ports two by two and polls all of them: their number must be right."""
        if self.name not in scenario.backends:
            return False
        n = len(self.sockets)
        return n == scenario.guests if self.name == "testpmd" else n >= scenario.guests

    def _signal(self, sig):
        self.process.require_alive()
        os.kill(self.process.pid, sig)

    def _tasks(self):
        return list(Path(f"/proc/{self.process.pid}/task").iterdir())

    def _schedule(self, policy, priority):
        for task in self._tasks():
            with suppress(ProcessLookupError):
                os.sched_setscheduler(int(task.name), policy, os.sched_param(priority))

    def pause(self):
        if self.realtime:
            self._schedule(os.SCHED_OTHER, 0)
        self._signal(signal.SIGSTOP)
        wait_for(self._stopped, 2, f"stop of {self.name}", every=0.005)

    def _stopped(self):
        return all("T" == (t / "stat").read_text().rpartition(")")[2].split()[0]
                   for t in self._tasks())

    def resume(self, realtime=True):
        if self.realtime and realtime:
            self._schedule(os.SCHED_FIFO, 1)
        self._signal(signal.SIGCONT)

    def schedule(self):
        """Now, and per thread: nanoseconds on a CPU, and waiting for one, so far."""
        found = {}
        for task in self._tasks():
            with suppress(OSError, IndexError):
                ran, waited = (task / "schedstat").read_text().split()[:2]
                found[task.name] = int(ran), int(waited)
        return time.monotonic_ns(), found

    def waited_since(self, before):
        """Share of the time since schedule() gave `before` in which the busiest thread, the worker,
        waited for a CPU."""
        start, old = before
        now, new = self.schedule()
        deltas = [(ran - old.get(task, (0, 0))[0], waited - old.get(task, (0, 0))[1])
                  for task, (ran, waited) in new.items()]
        return max(deltas, default=(0, 0))[1] / max(1, now - start)

    @contextmanager
    def frames_from_wire(self, generator, size, cpu):
        """Fill the wire with frames of `size` bytes for the first guest, from CPU `cpu`."""
        ns, dev = self.wire_end
        argv = ["taskset", "-c", cpu, generator, dev, GUEST_MAC, size]
        child = subprocess.Popen(ns.argv(*argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True,
                                 preexec_fn=base.die_with_parent)
        try:
            yield
            if child.poll() is not None:
                raise RuntimeError(child.stdout.read().strip() or "the generator ended")
        finally:
            child.terminate()
            child.communicate(timeout=10)
