# SPDX-License-Identifier: BSD-2-Clause
"""What the samples of scripts/bench say: states, medians, ratios, tables, plot.

Virtual machines are moved between cores by their host, and the same program then runs at another
speed. Each sample is therefore tagged with the core-to-core round trip before and after it, and
samples are compared only within one speed state:

    near < 170 ns <= mid < 330 ns <= far
    mixed   the state changed during the sample
    busy    another process had one of the two CPUs for more than 2 % of the time
    single  one CPU only, nothing to tell

Only near, mid and far say something about the back ends; the others are shown for completeness.
"""
import csv
import json
from collections import defaultdict
from statistics import median

LIMITS = ((170, "near"), (330, "mid"), (float("inf"), "far"))
STATES = ("near", "mid", "far", "single", "mixed", "busy")
UNSTEADY = ("mixed", "busy")
BUSY = 0.02
OURS, PEER = "vhost-xdpd", "testpmd"


def state_of(before, after, waited):
    """State of a sample: core-to-core times in ns, and the share of time spent waiting for a CPU."""
    if before is not None and waited > BUSY:
        return "busy"
    if before is None or after is None:
        return "single"
    first, second = (next(name for limit, name in LIMITS if ns < limit) for ns in (before, after))
    return first if first == second else "mixed"


def ratio(ours, peer, lower_is_better):
    """How many times better ours is."""
    if not ours or not peer:
        return None
    return peer / ours if lower_is_better else ours / peer


def analyse(samples):
    """Per scenario: numbers per back end and state, ratios per state and of the best."""
    groups = defaultdict(lambda: defaultdict(list))
    about = {}
    for s in samples:
        about[s["scenario"]] = s
        if s["ok"]:
            groups[s["scenario"]][s["backend"]].append(s)
    return [_scenario(name, about[name], groups[name]) for name in about]


def _scenario(name, about, by_backend):
    lower = about["unit"] == "ns"
    best = min if lower else max
    result = {"scenario": name, "title": about["title"], "unit": about["unit"], "backends": {},
              "ratios": {}}
    for backend, samples in by_backend.items():
        values = [s["value"] for s in samples]
        states = {st: [s["value"] for s in samples if s["state"] == st] for st in STATES}
        result["backends"][backend] = {
            "n": len(values), "median": median(values), "best": best(values),
            "shown": median([s["value"] for s in samples if s["state"] not in UNSTEADY] or values),
            "states": {st: {"n": len(v), "median": median(v), "best": best(v)}
                       for st, v in states.items() if v}}
    _ratios(result, lower)
    return result


def _ratios(result, lower):
    ours, peer = (result["backends"].get(b) for b in (OURS, PEER))
    if not ours or not peer:
        return
    for st in STATES:
        a, b = ours["states"].get(st), peer["states"].get(st)
        if a and b:
            result["ratios"][st] = {"n": min(a["n"], b["n"]),
                                    "ratio": ratio(a["median"], b["median"], lower)}
    result["ratios"]["best"] = {"n": min(ours["n"], peer["n"]),
                                "ratio": ratio(ours["best"], peer["best"], lower)}
    result["headline"] = _headline(result["ratios"])


def _headline(ratios):
    """One number to quote: medians in the steady state with the most samples on both sides. Where
    there is none, best against best: an indication, nothing to judge by."""
    steady = [(r["n"], st) for st, r in ratios.items() if st not in ("best", *UNSTEADY)]
    n, st = max(steady, default=(0, None))
    if n:
        return {"ratio": ratios[st]["ratio"], "of": f"medians, {st}, n={n}", "steady": True}
    return {"ratio": ratios["best"]["ratio"], "of": "best of unsteady samples", "steady": False}


def _value(value, unit):
    if value is None:
        return "-"
    return f"{value:.0f}" if unit == "ns" else f"{value:.2f}"


def table(results):
    """Lines of text: one per scenario and state."""
    lines = [f"{'':34} {'vhost-xdpd':>22} {'testpmd':>22}", f"{'scenario':26} {'state':7} "
             f"{'median':>9} {'best':>8} {'n':>3} {'median':>9} {'best':>8} {'n':>3}   ratio"]
    for r in results:
        rows = [st for st in STATES if any(st in b["states"] for b in r["backends"].values())]
        for i, st in enumerate(rows):
            lines.append(_row(r, st, r["title"] if i == 0 else ""))
        head = r.get("headline")
        if head:
            lines.append(f"{'':26} {'=> ratio ' + format(head['ratio'], '.2f')} ({head['of']}; best: "
                         f"{r['ratios']['best']['ratio']:.2f})")
    return lines


def _row(r, st, title):
    text = f"{title:26} {st:7} "
    for backend in (OURS, PEER):
        b = r["backends"].get(backend, {}).get("states", {}).get(st, {})
        text += (f"{_value(b.get('median'), r['unit']):>9} {_value(b.get('best'), r['unit']):>8} "
                 f"{b.get('n', 0):>3} ")
    one = r["ratios"].get(st)
    return text + (f"  {one['ratio']:.2f}" if one else "")


def write_csv(path, samples):
    keys = ["scenario", "title", "backend", "rep", "value", "unit", "state", "c2c_before_ns",
            "c2c_after_ns", "waited", "ok", "error"]
    with open(path, "w", newline="") as out:
        writer = csv.DictWriter(out, keys, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(samples)


def write_json(path, machine, samples, results):
    with open(path, "w") as out:
        json.dump({"machine": machine, "results": results, "samples": samples}, out, indent=1)
        out.write("\n")


def plot(path, machine, samples, results):
    """Samples as points, medians as bars (of steady samples where there are any); one panel per
    unit and group."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = defaultdict(list)
    for r in results:
        panels[r["scenario"].split("-")[0], r["unit"]].append(r)
    figure, axes = plt.subplots(1, len(panels), figsize=(1.5 + 5 * len(panels), 5), squeeze=False,
                                width_ratios=[max(2, len(p)) for p in panels.values()])
    for axis, ((group, unit), rows) in zip(axes[0], panels.items()):
        _panel(axis, group, unit, rows, samples)
    figure.suptitle(f"{machine['cpu']}, kernel {machine['kernel']}, {machine['date']}; bars: medians of "
                    "steady samples, or of all", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


GROUPS = {"g2g": "guest to guest", "lat": "guest to guest and back", "wire": "guest to AF_XDP on veth"}
BARS = {OURS: "#2a6f97", PEER: "#c9a227"}
DOTS = {"near": "#1b7837", "mid": "#f1a340", "far": "#b2182b", "single": "#333333", "mixed": "#999999",
        "busy": "#dddddd"}


def _panel(axis, group, unit, rows, samples):
    width, used = 0.38, set()
    for k, backend in enumerate((OURS, PEER)):
        for i, r in enumerate(rows):
            at = i + (k - 0.5) * width
            numbers = r["backends"].get(backend)
            if not numbers:
                continue
            axis.bar(at, numbers["shown"], width, color=BARS[backend], alpha=0.55,
                     label=backend if i == 0 else None)
            for st in STATES:
                dots = [s["value"] for s in samples if s["ok"] and s["backend"] == backend
                        and s["scenario"] == r["scenario"] and s["state"] == st]
                axis.scatter([at] * len(dots), dots, s=14, color=DOTS[st], zorder=3,
                             label=None if st in used or not dots else f"sample, {st}")
                used |= {st} if dots else set()
    axis.set_xticks(range(len(rows)), [r["title"].replace(", ", "\n") for r in rows], fontsize=7)
    axis.set_ylabel("ns, lower is better" if unit == "ns" else f"{unit}, higher is better")
    axis.set_title(GROUPS.get(group, group), fontsize=9)
    axis.set_ylim(bottom=0)
    axis.grid(axis="y", alpha=0.3)
    axis.legend(fontsize=7)
