# SPDX-License-Identifier: BSD-2-Clause
"""scripts/bench itself: what it makes of its samples, of a poor machine, and of Ctrl-C.

Here only that it measures and tells the truth about it; how fast anything is, is another test's.
"""
import importlib.machinery
import importlib.util
import json
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from vx import base
from vx.daemon import BPFFS
from vx.net import NETNS
from vx.peers import HUGEPAGES

BENCH = base.REPO / "scripts/bench"


def load():
    loader = importlib.machinery.SourceFileLoader("bench_script", str(BENCH))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench_script", loader))
    loader.exec_module(module)
    return module


bench = load()


# ---- what the figures say -------------------------------------------------------------------

def sample(backend, value, state="near", scenario="g2g-64", **more):
    return {"scenario": scenario, "title": scenario, "group": "g2g", "backend": backend, "rep": 0,
            "value": value, "unit": "Mpps", "lower": False, "state": state, "ok": True, "error": "",
            **more}


def analysed(samples, argv=()):
    known = bench.scenarios.everything(bench.arguments([*argv]))
    return {r["scenario"]: r for r in bench.report.analyse(samples, known)}


def test_state_of_a_sample():
    assert bench.report.state_of(50, 50, 0.0) == "twin"
    assert bench.report.state_of(100, 120, 0.0) == "near"
    assert bench.report.state_of(100, 400, 0.0) == "mixed"
    assert bench.report.state_of(100, 120, 0.5) == "busy"
    assert bench.report.state_of(None, None, 0.5) == "single"


def test_ratios_compare_equal_states_only():
    ours = [sample("vhost-xdpd", v) for v in (40, 50, 60)] + [sample("vhost-xdpd", 20, "far")]
    theirs = [sample("testpmd", 10)] * 3 + [sample("testpmd", 1, "busy"), sample("testpmd", 1, "mixed")]
    head = analysed(ours + theirs)["g2g-64"]["ratios"]["testpmd"]["head"]
    assert (head["ratio"], head["state"], head["n"], head["steady"]) == (5, "near", 3, True)


def test_samples_of_cores_that_others_use_are_told_apart():
    own, shared = [4.7, 4.5], [4.6, 3.1]
    samples = [sample(name, value, "twin", adds_before=before, adds_after=after)
               for name, quick, slow in (("vhost-xdpd", 40, 30), ("testpmd", 8, 5))
               for value, before, after in [(quick, own, own)] * 3 + [(slow, own, shared)] * 4]
    found = analysed(samples)["g2g-64"]
    assert [s["alone"] for s in samples] == 2 * ([True] * 3 + [False] * 4)
    head = found["ratios"]["testpmd"]["head"]
    assert (head["ratio"], head["state"], head["n"]) == (5, "twin, alone", 3)
    assert found["backends"]["vhost-xdpd"]["states"]["twin"]["n"] == 7
    assert found["ratios"]["testpmd"]["twin"]["ratio"] == 6


def test_too_few_samples_of_own_cores_are_no_head():
    reading = {"adds_before": [4.7, 4.5], "adds_after": [4.7, 4.5]}
    samples = [sample(name, 10, "twin", **more) for name in ("vhost-xdpd", "testpmd")
               for more in (reading, {**reading, "adds_after": [3, 3]}, {}, {})]
    assert analysed(samples)["g2g-64"]["ratios"]["testpmd"]["head"]["state"] == "twin"


def test_samples_in_different_states_are_no_base_for_a_judgement():
    samples = [sample("vhost-xdpd", 10, "near"), sample("testpmd", 10, "far")]
    results = analysed(samples)
    assert not results["g2g-64"]["ratios"]["testpmd"]["head"]["steady"]
    o = bench.arguments(["--require", "g2g-64=2"])
    assert bench.judge(o, samples, results.values()) == bench.STATUS_SKIP


def test_a_promise_that_is_not_kept_fails():
    samples = [sample("vhost-xdpd", 10), sample("testpmd", 10)]
    o = bench.arguments(["--require", "g2g-64=2"])
    assert bench.judge(o, samples, analysed(samples).values()) == 1


def test_a_figure_that_is_missing_fails():
    samples = [sample("vhost-xdpd", 0, ok=False, error="refused")]
    assert bench.judge(bench.arguments([]), samples, analysed(samples).values()) == 1


def test_many_destinations_compare_with_testpmd_on_the_way_to_one():
    results = analysed([sample("vhost-xdpd", 30, scenario="fan-64-16"),
                        sample("vhost-xdpd", 40, scenario="fan-64-1"),
                        sample("testpmd", 10, scenario="fan-64-1")])
    assert results["fan-64-16"]["ratios"]["testpmd"]["head"]["ratio"] == 3
    assert results["fan-64-16"]["ratios"]["plain"]["head"]["ratio"] == 0.75


def test_report_says_what_was_missed():
    about = {"date": "", "commit": "", "cpu": "", "cpus": 2, "kernel": "", "dpdk": ""}
    results = analysed([sample("vhost-xdpd", 10), sample("testpmd", 10)])
    assert "**missed**" in "\n".join(bench.markdown.report(about, results.values(), []))


@pytest.mark.parametrize("argv", [["--only", "all"], ["--layouts", "square"], ["--sizes", "1"],
                                  ["--sizes", "x"], ["--require", "g2g-64=fast"]])
def test_bad_options(argv, capsys):
    with pytest.raises(SystemExit) as end:
        bench.arguments(argv)
    assert end.value.code == 2 and argv[0].lstrip("-") in capsys.readouterr().err


# ---- runs -----------------------------------------------------------------------------------

# In a mount namespace: programs and hugepages that the run does not find.
HIDE = "for f in /usr/bin/dpdk-testpmd {ovs}; do [ -e $f ] && mount --bind /dev/null $f; done; "
NO_HUGEPAGES = "echo 0 >{fake}; mount --bind {fake} {huge}; "


def argv_of(output, *options):
    return ["/usr/bin/python3", "-B", str(BENCH), "--no-build", "--build", str(base.build_dir()),
            "--output", str(output), "--quick", "--reps", "1", "--retries", "0", "--no-realtime",
            *options]


def run(output, hide, *options, cpus=None):
    """Run scripts/bench where some things are hidden. Returns its output and results."""
    base.need_root()
    shell = hide + ("exec taskset -c " + cpus if cpus else "exec") + ' "$@"'
    done = base.run("unshare", "--mount", "sh", "-c", shell, "sh", *argv_of(output, *options),
                    check=False, timeout=120 * base.patience())
    assert done.returncode == 0, done.stdout
    return done.stdout, json.loads((output / "results.json").read_text())


def hidden(tmp_path):
    return HIDE.format(ovs=bench.OpenVSwitch.DPDK_SWITCH if bench.OpenVSwitch.DPDK_SWITCH.is_file() else "")


def test_bare_wake_up():
    if not {0, 1} <= os.sched_getaffinity(0):
        raise base.Skip("needs CPUs 0 and 1")
    done = base.run(base.build_dir() / "tests/bench/vbench", "wake", "--ms", "1000", "--gap-us", "5000")
    found = json.loads(done.stdout)
    assert found["ok"] and 5 <= found["samples"] <= 400
    assert 0 < found["min_ns"] <= found["p50_ns"] <= found["p99_ns"] <= found["max_ns"]


def test_bare_copies():
    """Short frames are copied faster than long ones, and none in no time."""
    rates = []
    for size in (64, 1518):
        done = base.run(base.build_dir() / "tests/bench/vbench", "copy", "--ms", 50, "--size", size)
        rates.append(json.loads(done.stdout)["mpps"])
    assert 5000 > rates[0] > 2 * rates[1] > 0


def test_builds_side_by_side():
    """compare.py, with one build under two names."""
    base.need_root()
    if not {0, 1} <= os.sched_getaffinity(0):
        raise base.Skip("compare.py needs CPUs 0 and 1")
    program = base.binary("vhost-xdpd")
    done = base.run("/usr/bin/python3", "-B", BENCH.parents[1] / "tests/bench/compare.py",
                    "--no-realtime", "--reps", "2", "--ms", "20",
                    "--vbench", base.build_dir() / "tests/bench/vbench",
                    f"old={program}", f"new={program}", "--", "lat", "pair --size 256",
                    check=False, timeout=60 * base.patience())
    rows = [line.split() for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stdout
    assert {(row[0], name) for row in rows for name in ("old", "new") if name in row} == {
        ("lat", "old"), ("lat", "new"), ("pair", "old"), ("pair", "new")}
    assert all(float(row[-1]) > 0 and float(row[-3]) > 0 for row in rows)
    assert {row[-1] for row in rows if "old" in row} == {"1.000"}


def test_machine_with_one_cpu_and_without_dpdk(tmp_path):
    cpu = str(min(os.sched_getaffinity(0)))
    text, found = run(tmp_path / "out", hidden(tmp_path), "--sizes", "64", "--layouts", "split",
                      "--only", "g2g,cpu", cpus=cpu)
    assert "one CPU only" in text
    assert "dpdk-testpmd is not installed" in text
    assert {s["backend"] for s in found["samples"]} == {"vhost-xdpd"}
    assert {s["state"] for s in found["samples"]} == {"single"}
    for name in ("samples.csv", "summary.txt", "report.md"):
        assert (tmp_path / "out" / name).stat().st_size


def test_machine_without_hugepages(tmp_path):
    base.tool("dpdk-testpmd")
    hide = NO_HUGEPAGES.format(fake=tmp_path / "pages", huge=HUGEPAGES)
    text, found = run(tmp_path / "out", hide, "--ms", "50", "--only", "lat", "--layouts", "split")
    assert re.search(r"note: no 600 hugepages .*: measured without .*testpmd", text)
    assert {s["backend"] for s in found["samples"]} == {"vhost-xdpd"}


def test_every_kind_of_traffic(tmp_path):
    """vbench compares what arrives with what was sent; each layout, variant and number of guests."""
    _, found = run(tmp_path / "out", hidden(tmp_path), "--ms", "50", "--sizes", "64,9000", "--only",
                   "cases,fan,ports,wire")
    raw = [s["raw"] for s in found["samples"] if s["ok"]]
    assert {m["mode"] for m in raw} == {"pair", "fan", "ports", "tx", "rx"}
    assert all(m["checked"] > 0 and m["bad"] == 0 for m in raw if m["mode"] not in ("tx", "rx"))


def left_by(pid):
    """What a run of scripts/bench might leave behind."""
    return [str(path) for folder in (Path(tempfile.gettempdir()), NETNS, BPFFS)
            for path in folder.glob(f"{base.PREFIX}{pid}-*")]


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(tmp_path, sig):
    base.need_root()
    pages = HUGEPAGES.read_text()
    child = subprocess.Popen(argv_of(tmp_path / "out", "--only", "wire", "--no-ovs"),
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             preexec_fn=base.die_with_parent)
    text = ""
    for line in child.stdout:
        text += line
        if re.search(r"\[ *\d+/\d+\]", line):
            break
    child.send_signal(sig)
    text += child.communicate(timeout=60 * base.patience())[0]
    assert child.returncode == 128 + sig, text
    assert not left_by(child.pid)
    assert HUGEPAGES.read_text() == pages
