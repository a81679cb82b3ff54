# SPDX-License-Identifier: BSD-2-Clause
"""vbench, and what it tells about the machine."""
import json
import subprocess

from vx import base


def run(program, *argv, seconds=0.0):
    """vbench's JSON. Its own words when it fails."""
    done = subprocess.run([str(a) for a in (program, *argv)], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60 + 2 * seconds,
                          preexec_fn=base.die_with_parent)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"ok": False, "error": (done.stderr or done.stdout).strip()[-200:] or
                f"vbench ended with status {done.returncode}"}


def speed(program, cpus, ms, fifo):
    """(core-to-core round trip in ns, additions at once of each CPU) for the back end's and the
    front end's CPU. (None, None) if they are the same."""
    back, front = cpus
    if back == front:
        return None, None
    found = run(program, "--cpu", front, "--peer-cpu", back, "--ms", ms, *(["--fifo"] if fifo else []),
                "c2c")
    return found.get("ns"), found.get("adds_at_once")
