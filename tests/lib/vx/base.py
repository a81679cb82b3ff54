# SPDX-License-Identifier: BSD-2-Clause
"""Skips, clean-up that also happens on signals, child processes, waiting."""
import atexit
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

REPO = Path(__file__).resolve().parents[3]
PREFIX = "vxt"
_libc = ctypes.CDLL(None, use_errno=True)
_cleanups = []


class Skip(Exception):
    """Something that the test needs is not on this machine; the text says what."""


def build_dir():
    return Path(os.environ.get("VX_BUILD_DIR") or REPO / "build/release").resolve()


def cache_dir():
    return Path(os.environ.get("VX_CACHE_DIR") or REPO / "build")


def binary(name):
    """Path of a program of ours in the build folder."""
    for folder in ("daemon", "", "tests/frontend", "tests/guest"):
        path = build_dir() / folder / name
        if path.is_file() and os.access(path, os.X_OK):
            return path
    raise Skip(f"{name} is not built in {build_dir()}")


def tool(name):
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if not path:
        raise Skip(f"{name} is not installed (scripts/deps)")
    return path


def need_root():
    if os.geteuid() != 0:
        raise Skip("needs root")


def sanitized():
    """Whether the binaries under test carry a sanitizer (slower, and larger)."""
    cache = build_dir() / "CMakeCache.txt"
    with suppress(OSError):
        for line in cache.read_text().splitlines():
            if line.startswith("VHOST_XDP_SANITIZE:"):
                return line.partition("=")[2]
    return ""


def patience():
    """Factor for time limits: emulated guests on a busy machine are slow."""
    return float(os.environ.get("VX_PATIENCE", "3" if sanitized() else "2"))


# ---- clean-up -----------------------------------------------------------------------------

def on_exit(func, *args):
    """Have func(*args) called when the process ends, last first. Returns a handle to cancel."""
    entry = (func, args)
    _cleanups.append(entry)
    return entry


def cancel(entry):
    with suppress(ValueError):
        _cleanups.remove(entry)


class Closing:
    """What has close(), for use in a with block. A failure to close does not hide one of the block."""

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            self.close()
        except Exception:
            if kind is None:
                raise


@contextmanager
def undisturbed():
    """A second Ctrl-C does not interrupt the clean-up after the first."""
    old = {}
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with suppress(ValueError):
            old[sig] = signal.signal(sig, signal.SIG_IGN)
    try:
        yield
    finally:
        for sig, handler in old.items():
            signal.signal(sig, handler)


def run_cleanups():
    with undisturbed():
        _run_cleanups()


def _run_cleanups():
    while _cleanups:
        func, args = _cleanups.pop()
        try:
            func(*args)
        except Exception as error:  # the rest must be cleaned up all the same
            print(f"clean-up: {error}", file=sys.stderr)


def _terminated(signum, _frame):
    raise SystemExit(128 + signum)


atexit.register(run_cleanups)
for _sig in (signal.SIGTERM, signal.SIGHUP):
    with suppress(ValueError):  # not the main thread
        signal.signal(_sig, _terminated)


# ---- processes ----------------------------------------------------------------------------

def die_with_parent():
    """preexec_fn: a killed test (ctest's time limit) takes its children along."""
    _libc.prctl(1, signal.SIGKILL)


def run(*argv, check=True, timeout=60, **kw):
    """Run a command; its output is text. Raises with the output when it fails."""
    argv = [str(a) for a in argv]
    done = subprocess.run(argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, timeout=timeout,
                          preexec_fn=die_with_parent, **kw)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: status {done.returncode}\n{done.stdout}")
    return done


def wait_for(condition, timeout, what, every=0.05):
    """Call condition() until it returns something true; return that. Time limit in seconds."""
    end = time.monotonic() + timeout * patience()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"no {what() if callable(what) else what} "
                               f"within {timeout * patience():.0f} s")
        time.sleep(every)


class Process:
    """A child with its output in a log file; ends with its owner whatever happens."""

    def __init__(self, name, argv, log, **kw):
        self.name, self.log = name, Path(log)
        self._out = open(self.log, "ab")
        self.popen = subprocess.Popen(
            [str(a) for a in argv], stdin=kw.pop("stdin", subprocess.DEVNULL), stdout=self._out,
            stderr=subprocess.STDOUT, preexec_fn=die_with_parent,
            start_new_session=True,  # Ctrl-C is for us; we end our children in order
            **kw)
        self._entry = on_exit(self.kill)

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def require_alive(self):
        if not self.alive():
            raise RuntimeError(f"{self.name} ended with status {self.popen.returncode}:\n"
                               f"{self.tail()}")
        return True

    def tail(self, lines=40):
        with suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def _reaped(self):
        cancel(self._entry)
        self._out.close()
        return self.popen.returncode

    def stop(self, timeout=10, sig=signal.SIGTERM):
        """Ask it to end, insist after the time limit. Returns the exit status."""
        if self.alive():
            self.popen.send_signal(sig)
            try:
                self.popen.wait(timeout * patience())
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        return self._reaped()

    def kill(self):
        if self.alive():
            self.popen.kill()
        self.popen.wait()
        return self._reaped()
