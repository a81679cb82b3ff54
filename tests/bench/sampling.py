# SPDX-License-Identifier: BSD-2-Clause
"""Takes the samples of scripts/bench: one scenario, one back end, tagged with the machine's state."""
import json
import os
import subprocess
import time
from contextlib import nullcontext

import report
import vbench
from backends import GUEST_MAC

FAILURES = 2  # of a sample, before it is given up


class Sampler:
    """Collects samples; each is a mapping, one for each figure that is read from it."""

    def __init__(self, o, cpus, programs, say):
        self.o, self.cpus, self.programs, self.say = o, cpus, programs, say
        self.realtime = self._may_realtime()
        self.samples = []

    def _may_realtime(self):
        """Whether samples can be taken at real-time priority, and two CPUs are there for it."""
        if not self.o.realtime or self.cpus[0] == self.cpus[1]:
            return False
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
            return True
        except OSError as error:
            self.say(f"note: no real-time priority ({error.strerror}): other processes may disturb "
                     "samples")
            return False

    def _fifo(self, realtime):
        return ["--fifo"] if self.realtime and realtime else []

    def _speed(self):
        return vbench.speed(self.programs / "vbench", self.cpus, self.o.c2c_ms, self.realtime)

    def _arguments(self, scenario, backend):
        ms = int(self.o.ms * scenario.length)
        argv = ["--cpu", self.cpus[1], "--peer-cpu", self.cpus[0], "--ms", ms, "--warmup-ms", self.o.warmup_ms,
                "--mac", GUEST_MAC]
        for socket in backend.sockets[:scenario.guests]:
            argv += ["--socket", socket]
        if scenario.mode == "rate":
            argv += ["--watch-pid", backend.process.pid]
        return [*argv, *self._fifo(backend.realtime), *scenario.options,
                scenario.mode]

    def _measure(self, scenario, backend):
        counted = backend.counter and not scenario.from_wire
        before = backend.counter() if counted else 0
        wire = backend.frames_from_wire(self.programs / "xdpgen", scenario.from_wire, self.cpus[1]) \
            if scenario.from_wire else nullcontext()
        with wire:
            found = vbench.run(self.programs / "vbench", *self._arguments(scenario, backend),
                               seconds=self.o.ms * scenario.length / 1000)
        if counted and found.get("ok"):
            time.sleep(0.05)  # what the back end has taken is still on its way
            # What the front end saw consumed, times the share that arrived in the whole run.
            arrived = backend.counter() - before
            found["delivered_mpps"] = found["consumed_mpps"] * min(1, arrived / max(1, found["total"]))
        return found

    def sample(self, scenario, backend, rep):
        before, share_before = self._speed()
        backend.resume()
        schedule = backend.schedule()
        try:
            found = self._measure(scenario, backend)
            waited = backend.waited_since(schedule)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            backend.process.require_alive()
            found, waited = {"ok": False, "error": str(error)}, 0
        finally:
            backend.pause()
        after, share_after = self._speed()
        waited = max(0 if scenario.shared == "back" else waited,
                     0 if scenario.shared == "front" else found.get("waited", 0))
        common = {"group": scenario.group, "backend": backend.name, "rep": rep,
                  "c2c_before_ns": before, "c2c_after_ns": after,
                  "adds_before": share_before, "adds_after": share_after,
                  "waited": round(waited, 4), "state": report.state_of(before, after, waited)}
        taken = [{"scenario": name, "title": title, "unit": metric.unit, "lower": metric.lower,
                  **self._judge(found, metric), **common}
                 for name, title, metric in scenario.records()]
        taken[0]["raw"] = found
        self.samples += taken
        return taken[0]

    @staticmethod
    def _judge(found, metric):
        value = found.get(metric.field)
        ok = bool(found.get("ok")) and value is not None and (value > 0 or metric.lower)
        return {"ok": ok, "value": value * metric.scale if ok else 0,
                "error": "" if ok else found.get("error") or "refused: " + json.dumps(found)}

    def run(self, stage, scenarios):
        """All scenarios with all back ends of a stage, as often as asked for."""
        work = [(s, [b for b in stage.backends if b.serves(s)]) for s in scenarios]
        total, done = self.o.reps * sum(len(backends) for _, backends in work), 0
        for rep in range(self.o.reps):
            for scenario, backends in work:
                # The one that goes first changes from round to round.
                for backend in backends[::-1] if rep % 2 else backends:
                    done += 1
                    self._steady_sample(scenario, backend, rep, f"[{done:3}/{total}]")

    def _disturbed(self, s):
        report.mark_alone(self.samples)  # as far as is known by now
        return s["state"] in report.UNSTEADY or (s["adds_before"] and not s["alone"])

    def _steady_sample(self, scenario, backend, rep, count):
        """A sample; a few more when others disturbed it or it failed. All are kept, each with its
        state."""
        for i in range(1 + max(self.o.retries, FAILURES)):
            s = self.sample(scenario, backend, rep)
            self._progress(count, s)
            if s["ok"] and (i >= self.o.retries or not self._disturbed(s)):
                return

    def _progress(self, count, s):
        c2c = "" if s["c2c_before_ns"] is None else \
            f" c2c {s['c2c_before_ns'] or 0:4.0f} {s['c2c_after_ns'] or 0:4.0f} ns ({s['state']})"
        what = f"{s['value']:9.2f} {s['unit']}" if s["ok"] else f"failed: {s['error']}"
        self.say(f"  {count} {s['title']:34} {s['backend']:10} {what}{c2c}")
