# SPDX-License-Identifier: BSD-2-Clause
"""Sum up ctest's JUnit reports: what passed, what failed, what was skipped and why."""
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

ANSI = re.compile(r"\x1b\[[0-9;]*m")
PYTEST_COUNT = re.compile(r"^=+ (.*\b(?:passed|failed|skipped|error).*) in [\d.:]+s.* =+$", re.M)


def skips_within(text):
    """(count, reason) of the cases that a pytest run skipped: its "-rs" lines."""
    for line in text.splitlines():
        got = re.match(r"SKIPPED \[(\d+)\] [^:]*(?::\d+)?: (.*)", line)
        if got:
            yield int(got[1]), got[2]


def merged(skips):
    """{reason: cases}"""
    total = {}
    for n, why in skips:
        total[why] = total.get(why, 0) + n
    return total


def reason_of(text):
    """Why a whole test was skipped: pytest's reasons, or the last line that it printed."""
    reasons = [f"{why} ({n} cases)" for why, n in merged(skips_within(text)).items()]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if re.search(r"skip", line, re.I)]
    return "; ".join(reasons) or (told or lines or ["no reason given"])[-1]


def read(path):
    """(status, name, seconds, text) of each test in a report."""
    try:
        root = ET.parse(path).getroot()
    except (OSError, ET.ParseError) as error:
        yield "failed", f"report of {path.stem}", 0.0, str(error)
        return
    for case in root.iter("testcase"):
        status = case.get("status")
        text = ANSI.sub("", case.findtext("system-out") or "")
        if case.find("skipped") is not None or status in ("notrun", "disabled"):
            skipped = (case.find("skipped").get("message") or "") if case.find("skipped") is not None else ""
            # A program that is missing is no skip.
            missing = "SKIP_RETURN_CODE" not in skipped and "SKIP_REGULAR" not in skipped
            status = "failed" if missing and status != "disabled" else "skipped"
        else:
            status = "passed" if status == "run" and case.find("failure") is None else "failed"
        yield status, case.get("name"), float(case.get("time") or 0), text


def main(paths):
    groups = {"passed": [], "failed": [], "skipped": []}
    partial, empty = [], []
    for path in map(Path, paths):
        n = 0
        for status, name, seconds, text in read(path):
            n += 1
            preset = path.stem.split("-")[0]
            title = f"{preset:8} {name}"
            counted = PYTEST_COUNT.findall(text)
            detail = counted[-1] if counted else ""
            if status == "skipped":
                detail = reason_of(text)
            else:
                partial += [f"{title}: {k} case{'s' * (k > 1)}: {why}"
                            for why, k in merged(skips_within(text)).items()]
            groups[status].append((title, seconds, detail))
        if not n:
            empty.append(path.stem.replace("-", " ", 1))
    for status in ("passed", "failed", "skipped"):
        if groups[status]:
            print(f"\n{status}:")
        for title, seconds, detail in groups[status]:
            print(f"  {title:44} {seconds:7.1f} s  {detail}")
    if partial:
        print("\nskipped inside tests that otherwise ran:")
        print("".join(f"  {line}\n" for line in partial), end="")
    if empty:
        print(f"\nlayers without tests in this tree: {', '.join(empty)}")
    print(f"\n{len(groups['passed'])} passed, {len(groups['failed'])} failed, "
          f"{len(groups['skipped'])} skipped"
          f"{f', {len(partial)} skipped in part' if partial else ''}")
    return 1 if groups["failed"] or not groups["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
