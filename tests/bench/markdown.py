# SPDX-License-Identifier: BSD-2-Clause
"""The results of scripts/bench as Markdown tables, for docs/performance.md."""
from report import value_text
from scenarios import GROUPS, OURS, OVS, TESTPMD

OVS_MUST, OVS_AIM = 6, 10
VARIANT = 0.7  # a variant of the plain case must keep so much of its speed
PLAIN = {"cases": "times plain", "fan": "times 1 destination", "ports": "times 2 connected"}


def report(machine, results, instructions):
    """Lines of the report: targets first, then everything by group."""
    lines = [f"Measured {machine['date']} at commit {machine['commit']}: {machine['cpu']}, "
             f"{machine['cpus']} CPUs, kernel {machine['kernel']}, DPDK {machine['dpdk'] or '(none)'}.",
             ""]
    lines += _targets(results)
    for group, title in GROUPS.items():
        rows = [r for r in results if r["group"] == group]
        if rows:
            lines += ["", f"### {title[0].upper()}{title[1:]}", "", *_group(group, rows)]
    if instructions:
        lines += ["", "### Instructions per frame", "", *_instructions(instructions)]
    return lines


def _head(r, other):
    return r["ratios"].get(other, {}).get("head")


def _cells(*cells):
    return "| " + " | ".join(str(c) for c in cells) + " |"


def _header(*names):
    return [_cells(*names), "|" + "---|" * len(names)]


def _verdict(value, must, aim):
    if value >= aim:
        return "aim"
    return "must" if value >= must else "**missed**"


def _target(r, other, must, aim):
    head = _head(r, other)
    if not head or not head["ratio"]:
        return []
    title = r["title"] if r["group"] in r["title"] else f"{GROUPS[r['group']]}: {r['title']}"
    return [_cells(title, value_text(head["ours"], r["unit"]), value_text(head["other"], r["unit"]),
                   r["unit"], f"**{head['ratio']:.2f}**", f"{must:.2f} / {aim:.2f}",
                   _verdict(head["ratio"], must, aim) if head["steady"] else "(unsteady)",
                   head["n"], f"{100 * head['spread']:.0f} %", head["state"])]


def _targets(results):
    head = _header("path", "ours", "theirs", "unit", "times better", "must / aim", "reached", "n",
                   "spread", "state")
    rows = [line for r in results if r.get("must")
            for line in _target(r, TESTPMD, r["must"], r["aim"])]
    lines = ["Against testpmd:", "", *head, *rows] if rows else []
    rows = [line for r in results if r["group"] == "g2g"
            for line in _target(r, OVS, OVS_MUST, OVS_AIM)]
    return lines + (["", "Against Open vSwitch with DPDK, action NORMAL:", "", *head, *rows]
                    if rows else [])


def _of_state(r, backend, state):
    """Median, and n with spread, of a back end: in a state, or else of what there is."""
    b = r["backends"].get(backend)
    if not b:
        return "", ""
    numbers = b["states"].get(state) or b
    return value_text(numbers["median"], r["unit"]), f"{numbers['n']}, {100 * numbers['spread']:.0f} %"


def _group(group, rows):
    peers = [p for p in (TESTPMD, OVS) if any(p in r["backends"] for r in rows)]
    plain = any("plain" in r["ratios"] for r in rows)
    cost = group == "ports"
    names = [f"{OURS}", "n, spread"]
    for peer in peers:
        names += [peer, "times better"]
    names += [PLAIN[group]] if plain else []
    names += ["ns a frame"] if cost else []
    lines = _header("", "unit", *names, "state")
    for r in rows:
        heads = [_head(r, p) for p in (*peers, "plain")]
        state = next((h["state"] for h in heads if h), None) or _main_state(r)
        cells = [r["title"], r["unit"], *_of_state(r, OURS, state)]
        for peer in peers:
            head = _head(r, peer)
            cells += [_of_state(r, peer, state)[0] or (value_text(head["other"], r["unit"]) if head else ""),
                      f"{head['ratio']:.2f}" if head and head["ratio"] else ""]
        if plain:
            cells.append(_of_plain(r, group))
        if cost:
            cells.append(_ns_per_frame(r, state))
        lines.append(_cells(*cells, state))
    return lines


def _main_state(r):
    states = r["backends"].get(OURS, {}).get("states", {})
    return max(states, key=lambda st: states[st]["n"], default="")


def _of_plain(r, group):
    head = _head(r, "plain")
    if not head or not head["ratio"]:
        return ""
    low = group == "cases" and head["ratio"] < VARIANT and head["steady"]
    return f"**{head['ratio']:.2f}**" if low else f"{head['ratio']:.2f}"


def _ns_per_frame(r, state):
    b = r["backends"].get(OURS)
    return f"{1000 / (b['states'].get(state) or b)['median']:.1f}" if b else ""


def _instructions(rows):
    return _header("case", "instructions", "ceiling of the test") + \
        [_cells(r["case"], r["instructions_per_frame"], r["ceiling"]) for r in rows]
