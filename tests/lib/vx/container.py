# SPDX-License-Identifier: BSD-2-Clause
"""A container with systemd as process 1, in which the daemon is installed as a user would."""
import fcntl
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from . import base
from .base import Closing, Process, Skip, run, tool, wait_for

# What the daemon's package would depend on, and what the tests look around with.
PACKAGES = ("systemd", "systemd-sysv", "dbus", "libbpf1", "libxdp1", "liburcu8", "libcyaml1",
            "libjansson4", "libmnl0", "libcap-ng0", "libsystemd0", "libpcap0.8", "iproute2",
            "procps")
CAPABILITIES = ("CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK",
                "CAP_SYS_RESOURCE", "CAP_SYS_ADMIN", "CAP_SYS_NICE")


def _mirror():
    """(URI, codename) that this system's own apt sources name for its release."""
    release = {}
    for line in Path("/etc/os-release").read_text().splitlines():
        key, _, value = line.partition("=")
        release[key] = value.strip('"')
    codename = release.get("VERSION_CODENAME", "")
    listing = run("apt-get", "indextargets", "Created-By: Packages", "--format",
                  "$(REPO_URI) $(RELEASE) $(COMPONENT)").stdout
    for line in listing.splitlines():
        words = line.split()
        if words[1:] == [codename, "main"]:
            return words[0], codename
    raise Skip(f"apt's sources name no mirror for {codename} main")


def base_root():
    """A minimal Debian root folder, made once (about a minute) and kept below the cache folder."""
    base.need_root()
    cache = base.cache_dir() / "service"
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / "root"
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp, wanted = cache / "root.packages", " ".join(PACKAGES)
        if stamp.exists() and stamp.read_text() == wanted and root.is_dir():
            return root
        shutil.rmtree(root, ignore_errors=True)
        stamp.unlink(missing_ok=True)
        uri, codename = _mirror()
        print(f"debootstrap of {codename} into {root} (once) ...", flush=True)
        done = run(tool("debootstrap"), "--variant=minbase", f"--include={','.join(PACKAGES)}",
                   codename, root, uri, check=False, timeout=900)
        if done.returncode:
            shutil.rmtree(root, ignore_errors=True)
            raise Skip("debootstrap failed (no mirror within reach?): "
                       f"{done.stdout.strip().splitlines()[-1]}")
        shutil.rmtree(root / "var/cache/apt", ignore_errors=True)
        stamp.write_text(wanted)
    return root


class Container(Closing):
    """A private copy of the root folder, booted in a given network namespace."""

    def __init__(self, workdir, ns):
        self.workdir, self.ns = Path(workdir), ns
        self.root = self.workdir / "root"
        run("cp", "-a", "--reflink=auto", base_root(), self.root, timeout=300)
        self.process = self.leader = None
        # A BPF file system of its own: what the daemon pins goes away with the container.
        self.bpffs = self.workdir / "bpffs"
        self.bpffs.mkdir()
        run("mount", "-t", "bpf", "-o", "mode=0700", "bpf", self.bpffs)
        self._entry = base.on_exit(self._unmount)

    def _unmount(self):
        run("umount", self.bpffs, check=False)

    def install(self, build):
        """cmake --install, as a packager would."""
        return run("cmake", "--install", build, "--prefix", "/usr",
                   env=dict(os.environ, DESTDIR=str(self.root))).stdout

    def write(self, path, text):
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def boot(self, *more):
        argv = [tool("systemd-nspawn"), "-D", self.root, "--boot", "--register=no", "--keep-unit",
                "--console=pipe", f"--network-namespace-path=/run/netns/{self.ns.name}",
                f"--capability={','.join(CAPABILITIES)}", "--system-call-filter=bpf",
                f"--bind={self.bpffs}:/sys/fs/bpf", "--hostname=vxservice", *more]
        env = dict(os.environ, SYSTEMD_NSPAWN_API_VFS_WRITABLE="yes")
        self.process = Process("systemd-nspawn", argv, self.workdir / "container.log", env=env)
        wait_for(lambda: self.process.require_alive() and self._find_leader(), 20, "container")
        wait_for(lambda: self.process.require_alive() and self._running(), 60,
                 lambda: f"running systemd in the container:\n{self.process.tail()}\n"
                         f"{self.run('systemctl', '--failed', check=False).stdout}", every=0.3)
        return self

    def _find_leader(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        for pid in children.split():
            with suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                    self.leader = int(pid)
        return self.leader

    def _running(self):
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def run(self, *argv, **kw):
        """Run a command inside, with a clean environment."""
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "SYSTEMD_PAGER": ""}
        return run("nsenter", "-t", self.leader, "-a", *argv, env=env, **kw)

    def systemctl(self, *argv, check=True):
        return self.run("systemctl", "--no-pager", *argv, check=check).stdout.strip()

    def show(self, unit, key):
        return self.systemctl("show", "-P", key, unit)

    def journal(self, unit, lines=40):
        return self.run("journalctl", "--no-pager", "-o", "cat", "-n", lines, "-u", unit,
                        check=False).stdout

    def close(self):
        if self.process:
            if self.process.alive() and self.leader:
                # SIGRTMIN+4 to systemd: power off.
                with suppress(ProcessLookupError):
                    os.kill(self.leader, 38)
                with suppress(subprocess.TimeoutExpired):
                    self.process.popen.wait(20)
            self.process.stop()
        base.cancel(self._entry)
        self._unmount()
        shutil.rmtree(self.root, ignore_errors=True)
