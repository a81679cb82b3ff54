#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-2-Clause
"""compare.py [options] NAME=VHOST-XDPD... [testpmd] -- MODE...: builds of the daemon, side by side

To try a change of the hot path: samples of each build in turn, guest to guest, quantiles for each,
and the median of the ratios to the first one's sample of the same round; for each speed state
(report.py) that the machine was in before and after a round.
A MODE is what vbench is asked for, one argument each:

    tests/bench/compare.py old=/tmp/old/vhost-xdpd new=build/release/daemon/vhost-xdpd testpmd \\
        -- lat 'pair --size 1518 --touch'
"""
import argparse
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / "tests/lib"), str(REPO / "tests/bench")]

import report  # noqa: E402
import vbench  # noqa: E402
from backends import GUEST_MAC  # noqa: E402
from stages import Stage, ports_of  # noqa: E402
from vx.daemon import Daemon  # noqa: E402
from vx.peers import Hugepages, Testpmd  # noqa: E402

HUGEPAGES = 600  # of 2 MiB, for testpmd
C2C_MS = 20


class Builds(Stage):
    """The same guests on each back end, all on one CPU."""

    def __init__(self, folder, o):
        super().__init__(folder, o.cpus[0], o.back_ends, print)
        self.realtime, self.guests = o.realtime, o.guests

    def _start(self):
        for name, program in self.peers:
            folder = self.workdir / name
            folder.mkdir()
            sockets = [folder / f"vm{i}" for i in range(self.guests)]
            if program:
                back_end = Daemon(folder, None, [{"name": "inner", "mode": "internal"}],
                                  ports_of(sockets, "inner"), workers=[{"cpu": self.cpu}])
                back_end.program = program
            else:
                vdevs = [f"net_vhost{i},iface={s}" for i, s in enumerate(sockets)]
                back_end = Testpmd(folder, vdevs, cpu=self.cpu, huge=True)
            self._add(back_end).start()
            self._join(name, sockets, back_end.process, self.realtime)


def speed(o):
    return vbench.speed(o.vbench, o.cpus, C2C_MS, o.realtime)


def sample(o, backend, mode):
    sockets = [a for s in backend.sockets for a in ("--socket", s)]
    backend.resume()
    try:
        found = vbench.run(o.vbench, "--cpu", o.cpus[1], *(["--fifo"] if o.realtime else []),
                           "--ms", o.ms, "--warmup-ms", 50, "--mac", GUEST_MAC, *sockets,
                           *mode.split())
    finally:
        backend.pause()
    if "error" in found:
        raise SystemExit(f"compare: {backend.name}, {mode}: {found['error']}")
    return found.get("p50_ns") or found.get("delivered_mpps")


def quantiles(values):
    values = sorted(v for v in values if v)
    if not values:
        return "no sample"
    return "  ".join(f"{q:.0%} {values[int(q * (len(values) - 1))]:8.1f}"
                     for q in (0, 0.25, 0.5, 0.75, 1))


def ratio(values, others):
    """Median over the rounds: what the machine does to one round it does to both."""
    pairs = sorted(v / o for v, o in zip(values, others, strict=True) if v and o)
    return f"x {pairs[len(pairs) // 2]:.3f}" if pairs else ""


def back_end(text):
    name, equals, program = text.partition("=")
    if not equals and name != "testpmd":
        raise argparse.ArgumentTypeError(f"{text}: neither NAME=PROGRAM nor testpmd")
    return name, Path(program).resolve() if equals else None


def arguments():
    if "--" not in sys.argv:
        sys.argv.append("--")
    at = sys.argv.index("--")
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--reps", type=int, default=15, help="samples of each (15)")
    p.add_argument("--ms", type=int, default=60, help="length of a sample (60)")
    p.add_argument("--cpus", default="0,1", help="CPUs of back ends and front end (0,1)")
    p.add_argument("--vbench", type=Path, default=REPO / "build/release/tests/bench/vbench")
    p.add_argument("--guests", type=int, default=2, help="guests of each (2)")
    p.add_argument("--no-realtime", dest="realtime", action="store_false",
                   help="ordinary scheduling, where others are to get their share")
    p.add_argument("back_ends", nargs="+", type=back_end, metavar="NAME=PROGRAM")
    o = p.parse_args(sys.argv[1:at])
    o.modes = sys.argv[at + 1:] or ["pair"]
    o.cpus = [int(c) for c in o.cpus.split(",")]
    return o


def main():
    o = arguments()
    rounds, found = [], {}
    with tempfile.TemporaryDirectory(prefix="vxcmp") as folder, \
            Hugepages(HUGEPAGES if ("testpmd", None) in o.back_ends else 0), \
            Builds(folder, o) as stage:
        for _ in range(o.reps):
            for mode in o.modes:
                before, adds_before = speed(o)
                values = [sample(o, backend, mode) for backend in stage.backends]
                after, adds_after = speed(o)
                rounds.append({"mode": mode, "values": values,
                               "state": report.state_of(before, after, 0),
                               "adds_before": adds_before, "adds_after": adds_after})
    report.mark_alone(rounds)
    names = [name for name, _ in o.back_ends]
    for r in rounds:
        for state in report.states_of(r):
            for name, value in zip(names, r["values"], strict=True):
                found.setdefault((r["mode"], state, name), []).append(value)
    for (mode, state, name), values in sorted(found.items(), key=lambda item: item[0][:2]):
        print(f"{mode:28}  {state:11} {len(values):3}  {name:12}  {quantiles(values)}  "
              f"{ratio(values, found[mode, state, names[0]])}")


main()
