# SPDX-License-Identifier: BSD-2-Clause
"""Plots of the samples of scripts/bench: a picture for each group."""
import re
from collections import defaultdict

from report import SAMPLED
from scenarios import GROUPS, OURS, OVS, TESTPMD

BACKENDS = {OURS: "#2a6f97", TESTPMD: "#c9a227", OVS: "#8d6a9f"}
DOTS = {"twin": "#2166ac", "near": "#1b7837", "mid": "#f1a340", "far": "#b2182b", "single": "#333333", "mixed": "#999999",
        "busy": "#dddddd"}


def draw(folder, machine, samples, results):
    """Writes GROUP.png files into the folder. Returns their paths. ImportError: no matplotlib."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    made = []
    for group in GROUPS:
        rows = [r for r in results if r["group"] == group]
        if not rows:
            continue
        lines = {"cpu": _cpu, "ports": _ports}.get(group)
        figure, axis = plt.subplots(figsize=(6 if lines else max(6.0, 1.2 + 0.62 * len(rows)), 4.6))
        (lines or _bars)(axis, rows, samples)
        axis.set_title(f"{GROUPS[group]}\n{machine['cpu']}, kernel {machine['kernel']}, "
                       f"{machine['date']}", fontsize=8)
        axis.grid(axis="y", alpha=0.3)
        axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=None if lines else (1, 1))
        figure.tight_layout()
        made.append(folder / f"{group}.png")
        figure.savefig(made[-1], dpi=110)
        plt.close(figure)
    return made


def _values(samples):
    """{(figure, back end, state): values}"""
    found = defaultdict(list)
    for s in samples:
        if s["ok"]:
            found[s["scenario"], s["backend"], s["state"]].append(s["value"])
    return found


def _bars(axis, rows, samples):
    """Samples as points, medians as bars (of steady samples where there are any)."""
    backends = [b for b in BACKENDS if any(b in r["backends"] for r in rows)]
    width, used, values = 0.8 / len(backends), set(), _values(samples)
    for k, backend in enumerate(backends):
        label = backend
        for i, r in enumerate(rows):
            at = i + (k - (len(backends) - 1) / 2) * width
            if backend not in r["backends"]:
                continue
            axis.bar(at, r["backends"][backend]["shown"], width, color=BACKENDS[backend], alpha=0.55,
                     label=label)
            label = None
            for st in SAMPLED:
                dots = values[r["scenario"], backend, st]
                axis.scatter([at] * len(dots), dots, s=9, color=DOTS[st], zorder=3,
                             label=None if st in used or not dots else f"sample, {st}")
                used |= {st} if dots else set()
    titles = [re.sub(r", | (?=destinations|from|to |after|in buffers)", "\n", r["title"]) for r in rows]
    axis.set_xticks(range(len(rows)), titles, fontsize=6)
    lower = rows[0]["lower"]
    axis.set_ylabel(f"{rows[0]['unit']}, {'lower' if lower else 'higher'} is better")
    highest = max(b["shown"] for r in rows for b in r["backends"].values())
    if lower and highest > 50 * min(b["shown"] or highest for r in rows for b in r["backends"].values()):
        axis.set_yscale("log")
    else:
        axis.set_ylim(bottom=0)


def _cpu(axis, rows, _samples):
    rates = [float(n) * {"k": 1e3, "M": 1e6}[unit] for n, unit in
             (re.match(r"cpu-(\d+)([kM])", r["scenario"]).groups() for r in rows)]
    for backend, colour in BACKENDS.items():
        points = [(rate, r["backends"][backend]["shown"]) for rate, r in zip(rates, rows)
                  if backend in r["backends"]]
        if points:
            axis.plot(*zip(*points), "o-", color=colour, label=backend)
    axis.set_xscale("log")
    axis.set_ylim(bottom=0)
    axis.set_xlabel("frames a second, 64 B")
    axis.set_ylabel("% of a CPU, lower is better")


def _ports(axis, rows, _samples):
    for backend, colour in BACKENDS.items():
        for kind, style, label in (("", "o-", "all active"), ("-idle", "s--", "2 active")):
            points = [(int(n), 1000 / r["backends"][backend]["shown"])
                      for n, its, r in ((*re.match(r"ports-(\d+)(.*)", r["scenario"]).groups(), r)
                                        for r in rows)
                      if backend in r["backends"] and (its == kind or (n == "2" and not its))]
            if len(points) > 1:
                axis.plot(*zip(*points), style, color=colour, label=f"{backend}, {label}")
    numbers = sorted({int(re.match(r"ports-(\d+)", r["scenario"])[1]) for r in rows})
    axis.set_xscale("log")
    axis.set_xticks(numbers, map(str, numbers))
    axis.minorticks_off()
    axis.set_ylim(bottom=0)
    axis.set_xlabel("guests connected")
    axis.set_ylabel("ns a frame, lower is better")
