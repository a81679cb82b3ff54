#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Instructions per frame of the forwarding loop, counted by callgrind.

Runs the program `insns` under callgrind for each case, with counting switched on inside fwd_from_guest()
only, and prints instructions per frame. With --check a case that needs more than its ceiling fails: a change
that makes the hot path dearer shows on any machine, however loaded. Ceilings are some 8 % above what gcc 12
produces at -O2; to raise one is a decision to be explained in the commit that does it.
"""
import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BURSTS, BURST = 60, 100  # frames: BURSTS * BURST; BURST as in insns.c
CEILINGS = {
    "split-64": 184,
    "split-1518": 361,
    "split-64-alternating": 222,
    "split-64-lone": 591,
    "split-64-own-macs": 213,
    "split-64-chained": 225,
    "split-64-indirect": 258,
    "split-1518-mergeable": 676,
    "packed-64": 224,
    "packed-1518": 399,
    "packed-64-lone": 656,
    "packed-64-chained": 277,
    "packed-64-indirect": 290,
    "packed-1518-mergeable": 673,
}


def count(program, case, bursts):
    with tempfile.TemporaryDirectory() as tmp:
        out = subprocess.run(
            ["valgrind", "--tool=callgrind", "--toggle-collect=fwd_from_guest", "--collect-atstart=no",
             f"--callgrind-out-file={tmp}/out", str(program), case, str(bursts)],
            capture_output=True, text=True, timeout=300)
    found = re.search(r"Collected : (\d+)", out.stderr)
    # None at all would be below every ceiling: the function has another name, or is inlined.
    if out.returncode or not found or not int(found.group(1)):
        sys.exit(f"insns: {case}: {out.stdout}{out.stderr}")
    return int(found.group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=Path, required=True, help="the built insns")
    parser.add_argument("--check", action="store_true", help="fail if a case is above its ceiling")
    args = parser.parse_args()
    if not shutil.which("valgrind"):
        print("skipped: valgrind is not installed")
        return 77
    bad = []
    for case, ceiling in CEILINGS.items():
        # The difference of two runs: what the first burst pays alone does not count.
        total = count(args.program, case, BURSTS + 1) - count(args.program, case, 1)
        per_frame = total / (BURSTS * BURST)
        print(json.dumps({"case": case, "instructions_per_frame": round(per_frame, 1), "ceiling": ceiling}),
              flush=True)
        if per_frame > ceiling:
            bad.append(f"{case}: {per_frame:.1f} instructions per frame, at most {ceiling} are allowed")
    if args.check and bad:
        print("\n".join(bad), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
