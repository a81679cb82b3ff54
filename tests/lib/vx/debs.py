# SPDX-License-Identifier: BSD-2-Clause
"""Debian packages that are downloaded and unpacked for a test, never installed.

By these means two versions of one package can be used side by side. apt-get fetches and verifies
them; what was fetched stays below the cache folder.
"""
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path


class DebError(Exception):
    """A package cannot be had; the text says why."""


def out(*argv, cwd=None):
    """Standard output of a command; a failure is a DebError."""
    done = subprocess.run(argv, cwd=cwd, text=True, capture_output=True)
    if done.returncode:
        raise DebError(f"{' '.join(argv)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def update():
    subprocess.run(["apt-get", "update", "-q"], capture_output=True)


@contextmanager
def locked(cache):
    """The cache folder, for one process at a time."""
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield cache


def versions(package):
    """Versions that apt could fetch, newest first. Looks once more after an update."""
    for attempt in (0, 1):
        lines = out("apt-cache", "madison", package).splitlines()
        found = [line.split("|")[1].strip() for line in lines if "Packages" in line]
        if found:
            return list(dict.fromkeys(found))
        if attempt == 0:
            update()
    return []


def candidate(package):
    """The version that apt would install, or None."""
    found = re.search(r"Candidate: (\S+)", out("apt-cache", "policy", package))
    return found[1] if found and found[1] != "(none)" else None


def fetch(cache, package, version):
    """The .deb file, downloaded unless it is there. The caller holds the cache's lock."""
    deb = Path(cache) / f"{package}_{version.replace(':', '%3a')}.deb"
    if deb.exists():
        return deb
    with tempfile.TemporaryDirectory(dir=cache) as tmp:
        try:
            out("apt-get", "download", "-q", f"{package}={version}", cwd=tmp)
        except DebError:
            # The lists may name a version that the mirror has replaced.
            update()
            out("apt-get", "download", "-q", package, cwd=tmp)
        found = list(Path(tmp).glob("*.deb"))
        if len(found) != 1:
            raise DebError(f"apt-get download {package} brought {len(found)} files")
        os.replace(found[0], deb)
    return deb


def unpacked(cache, package, version):
    """A folder with the package's files, made unless it is there."""
    with locked(cache) as cache:
        tree = cache / f"{package}_{version.replace(':', '%3a')}"
        if not tree.is_dir():
            part = cache / f"{tree.name}.part"
            shutil.rmtree(part, ignore_errors=True)
            out("dpkg", "-x", str(fetch(cache, package, version)), str(part))
            os.replace(part, tree)
        return tree


def files(cache, package):
    """unpacked(), of the version that apt would install."""
    version = candidate(package) or (update(), candidate(package))[1]
    if not version:
        raise DebError(f"apt knows no {package}")
    return unpacked(cache, package, version)
