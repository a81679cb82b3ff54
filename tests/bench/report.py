# SPDX-License-Identifier: BSD-2-Clause
"""What the samples of scripts/bench say: states, medians, ratios, tables.

Virtual machines are moved between cores by their host, and the same program then runs at another
speed. Each sample is therefore tagged with the core-to-core round trip before and after it, and
samples are compared only within one speed state:

    twin < 75 ns <= near < 170 ns <= mid < 330 ns <= far
    mixed   the state changed during the sample
    busy    another process had one of the two CPUs for more than 2 % of the time
    single  one CPU only, nothing to tell

Only the first four say something about the back ends; the others are shown for completeness. In
state "twin" the two CPUs seem to be cores that share a cache: payload that the guests touch costs
next to nothing there.

Samples of the first four are told apart once more: "twin, alone" are those of "twin" in which both
CPUs had their cores to themselves, before and after. What runs on the other thread of a core, other
virtual machines for instance, takes a third of its speed (core_share.c). What a core does at its
best is what was seen at best in the whole run.
"""
import csv
import json
from collections import defaultdict
from statistics import median

from scenarios import OURS, PEERS

LIMITS = ((75, "twin"), (170, "near"), (330, "mid"), (float("inf"), "far"))
ALONE = ", alone"
STEADY = tuple(name + more for _, name in LIMITS for more in (ALONE, ""))  # the fastest one first
UNSTEADY = ("mixed", "busy")
STATES = (*STEADY, "single", *UNSTEADY)
SAMPLED = tuple(st for st in STATES if not st.endswith(ALONE))  # what state_of() says
OWN_CORE = 0.9  # of what a core does at its best
BUSY = 0.02
ENOUGH = 3  # samples of a back end in one state


def state_of(before, after, waited):
    """State of a sample: core-to-core times in ns, and the share of time spent waiting for a CPU."""
    if before is not None and waited > BUSY:
        return "busy"
    if before is None or after is None:
        return "single"
    first, second = (next(name for limit, name in LIMITS if ns < limit) for ns in (before, after))
    return first if first == second else "mixed"


def mark_alone(samples):
    """Set `alone` of each sample: had both CPUs their cores to themselves?"""
    def readings(s):
        return [s.get(key) for key in ("adds_before", "adds_after") if s.get(key)]

    best = [max(cpu) for cpu in zip(*(r for s in samples for r in readings(s)))]
    for s in samples:
        found = readings(s)
        s["alone"] = len(found) == 2 and all(value > OWN_CORE * most for r in found
                                             for value, most in zip(r, best))


def states_of(s):
    """The states for which a sample counts."""
    alone = s["state"] + ALONE
    return (s["state"], alone) if s.get("alone") and alone in STEADY else (s["state"],)


def ratio(ours, other, lower_is_better):
    """How many times better ours is."""
    if not ours or not other:
        return None
    return other / ours if lower_is_better else ours / other


def _numbers(values, lower):
    middle = median(values)
    return {"n": len(values), "median": middle, "best": min(values) if lower else max(values),
            "spread": (max(values) - min(values)) / middle if middle else 0}


def analyse(samples, scenarios=()):
    """Per figure: numbers per back end and state, ratios to each peer and to our own plain case."""
    mark_alone(samples)
    groups, about = defaultdict(lambda: defaultdict(list)), {}
    for s in samples:
        about[s["scenario"]] = s
        if s["ok"]:
            groups[s["scenario"]][s["backend"]].append(s)
    known = {name: (scenario, metric) for scenario in scenarios
             for name, _, metric in scenario.records()}
    results = {name: _figure(name, about[name], groups[name]) for name in about}
    for name, r in results.items():
        scenario, metric = known.get(name, (None, None))
        against = scenario and scenario.against and results.get(scenario.against + metric.suffix)
        plain = scenario and scenario.plain and results.get(scenario.plain + metric.suffix)
        _compare(r, against or None, plain or None)
        if scenario and metric == scenario.metrics[0]:
            r["must"], r["aim"] = scenario.must, scenario.aim
    return list(results.values())


def _figure(name, about, by_backend):
    lower = about["lower"]
    result = {"scenario": name, "group": about["group"], "title": about["title"],
              "unit": about["unit"], "lower": lower, "backends": {}, "ratios": {}}
    for backend, samples in by_backend.items():
        states = {st: [s["value"] for s in samples if st in states_of(s)] for st in STATES}
        values = [s["value"] for s in samples]
        steady = [s["value"] for s in samples if s["state"] not in UNSTEADY]
        result["backends"][backend] = {
            **_numbers(values, lower), "shown": median(steady or values),
            "states": {st: _numbers(v, lower) for st, v in states.items() if v}}
    return result


def _compare(r, against, plain):
    ours = r["backends"].get(OURS)
    others = {peer: r["backends"].get(peer) or (against and against["backends"].get(peer))
              for peer in PEERS}
    others["plain"] = plain and plain["backends"].get(OURS)
    for other, numbers in others.items():
        if ours and numbers:
            r["ratios"][other] = _ratios(ours, numbers, r["lower"])


def _ratios(ours, other, lower):
    """Ratios by state, of the best, and `head`: the one to quote. That is the one of medians in the
    fastest steady state with three samples on both sides, or the most; where there is none, best
    against best: an indication, nothing to judge by."""
    found = {}
    for st in STATES:
        a, b = ours["states"].get(st), other["states"].get(st)
        if a and b:
            found[st] = {"n": min(a["n"], b["n"]), "ratio": ratio(a["median"], b["median"], lower),
                         "ours": a["median"], "other": b["median"],
                         "spread": max(a["spread"], b["spread"])}
    best = ratio(ours["best"], other["best"], lower)
    steady = [st for st in found if st not in UNSTEADY]
    st = max(steady, key=lambda st: min(found[st]["n"], ENOUGH), default=None)
    if st:
        n = found[st]["n"]
        found["head"] = {**found[st], "state": st, "steady": True,
                         "of": f"medians, {st}, n={n}"}
    else:
        found["head"] = {"n": min(ours["n"], other["n"]), "ratio": best, "ours": ours["best"],
                         "other": other["best"], "spread": max(ours["spread"], other["spread"]),
                         "state": "unsteady", "steady": False, "of": "best of unsteady samples"}
    found["best"] = best
    return found


# ---- text -----------------------------------------------------------------------------------

def value_text(value, unit):
    if value is None:
        return "-"
    if unit == "ns":
        return f"{value:.0f}"
    return f"{value:.2f}" if value < 100 else f"{value:.1f}"


def table(results):
    """Lines of text: one per figure and state."""
    peers = [p for p in PEERS if any(p in r["backends"] for r in results)]
    columns = [OURS, *peers]
    lines = [f"{'':44} " + " ".join(f"{c:>22}" for c in columns),
             f"{'figure':36} {'state':11} " + f"{'median':>9} {'best':>8} {'n':>3} " * len(columns) +
             "  ratio"]
    for r in results:
        rows = [st for st in STATES if any(st in b["states"] for b in r["backends"].values())]
        for i, st in enumerate(rows):
            lines.append(_row(r, st, r["title"] if i == 0 else "", columns))
        for other, found in r["ratios"].items():
            head = found["head"]
            if head["ratio"] is not None:
                lines.append(f"{'':36} => {head['ratio']:.2f} to {other} ({head['of']}; best: "
                             f"{found['best'] or 0:.2f})")
    return lines


def _row(r, st, title, columns):
    text = f"{title:36} {st:11} "
    for backend in columns:
        b = r["backends"].get(backend, {}).get("states", {}).get(st, {})
        text += (f"{value_text(b.get('median'), r['unit']):>9} "
                 f"{value_text(b.get('best'), r['unit']):>8} {b.get('n', 0):>3} ")
    found = [r["ratios"].get(peer, {}).get(st) for peer in columns[1:]]
    return text + "  " + "  ".join(f"{f['ratio']:.2f}" for f in found if f and f["ratio"])


# ---- raw data -------------------------------------------------------------------------------

def write_csv(path, samples):
    keys = ["group", "scenario", "title", "backend", "rep", "value", "unit", "state",
            "c2c_before_ns", "c2c_after_ns", "adds_before", "adds_after", "alone", "waited", "ok",
            "error"]
    with open(path, "w", newline="") as out:
        writer = csv.DictWriter(out, keys, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(samples)


def write_json(path, machine, samples, results):
    with open(path, "w") as out:
        json.dump({"machine": machine, "results": results, "samples": samples}, out, indent=1)
        out.write("\n")
