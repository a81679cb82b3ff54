# SPDX-License-Identifier: BSD-2-Clause
"""Build the test guest: Debian's cloud kernel and a busybox initramfs.

The kernel package is downloaded with apt and unpacked, never installed. Programs come from the
host's own packages (busybox-static, iperf3, ethtool, tcpdump) with the libraries they need. The
result is cached, keyed by the versions and contents of everything that went in.
"""
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[1] / "guest" / "image"
META = "linux-image-cloud-amd64"
MODULES = ("virtio_pci", "virtio_net", "virtio_console")
PROGRAMS = ("iperf3", "ethtool", "tcpdump")


class ImageError(Exception):
    """The image cannot be built; the text says why."""


def _out(*argv, cwd=None):
    done = subprocess.run(argv, cwd=cwd, text=True, capture_output=True)
    if done.returncode:
        raise ImageError(f"{' '.join(argv)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def kernel_package():
    """Name and version of the kernel package that apt would choose."""
    for attempt in (0, 1):
        names = re.findall(r"Depends: (linux-image-\d\S+)", _out("apt-cache", "depends", META))
        if names:
            policy = _out("apt-cache", "policy", names[0])
            version = re.search(r"Candidate: (\S+)", policy)
            if version and version[1] != "(none)":
                return names[0], version[1]
        if attempt == 0:
            subprocess.run(["apt-get", "update", "-q"], capture_output=True)
    raise ImageError(f"apt knows no kernel for {META}")


def _fetch_kernel(cache, name, version):
    deb = cache / f"{name}_{version.replace(':', '%3a')}_amd64.deb"
    if deb.exists():
        return deb
    with tempfile.TemporaryDirectory(dir=cache) as tmp:
        try:
            _out("apt-get", "download", "-q", f"{name}={version}", cwd=tmp)
        except ImageError:
            # The lists may name a version that the mirror has replaced.
            subprocess.run(["apt-get", "update", "-q"], capture_output=True)
            _out("apt-get", "download", "-q", name, cwd=tmp)
        found = list(Path(tmp).glob("*.deb"))
        if len(found) != 1:
            raise ImageError(f"apt-get download {name} brought {len(found)} files")
        os.replace(found[0], deb)
    return deb


def _module_order(tree, release):
    """Paths of the wanted modules below lib/modules/<release>, what is needed first."""
    _out("depmod", "-b", str(tree), release)
    base = tree / "lib/modules" / release
    needs = {}
    for line in (base / "modules.dep").read_text().splitlines():
        module, _, deps = line.partition(":")
        needs[module] = deps.split()
    by_name = {re.sub(r"\.ko.*", "", os.path.basename(m)).replace("-", "_"): m for m in needs}
    order = []

    def add(module):
        for dep in needs[module]:
            add(dep)
        if module not in order:
            order.append(module)

    for name in MODULES:
        if name not in by_name:
            raise ImageError(f"the kernel package has no module {name}")
        add(by_name[name])
    return base, order


def _copy_program(root, name):
    path = shutil.which(name, path="/usr/bin:/usr/sbin:/bin:/sbin")
    if not path:
        raise ImageError(f"{name} is not installed (scripts/deps)")
    shutil.copy2(os.path.realpath(path), root / "usr/bin" / name)
    for lib in re.findall(r"(/\S+) \(0x", _out("ldd", path)):
        target = root / lib.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copy2(os.path.realpath(lib), target)


def _copy_modules(tree, root, release):
    base, order = _module_order(tree, release)
    (root / "modules").mkdir()
    names = []
    for module in order:
        name = re.sub(r"\.(xz|zst|gz)$", "", os.path.basename(module))
        source = base / module
        target = root / "modules" / name
        if source.suffix == ".ko":
            shutil.copy(source, target)
        else:
            tool = {".xz": "xz", ".zst": "zstd", ".gz": "gzip"}[source.suffix]
            with open(target, "wb") as out:
                subprocess.run([tool, "-dc", str(source)], stdout=out, check=True)
        names.append(name)
    (root / "modules/order").write_text("".join(n + "\n" for n in names))


def _make_root(tree, root, release):
    for d in ("bin", "sbin", "usr/bin", "usr/sbin", "proc", "sys", "dev", "etc", "tmp", "run"):
        (root / d).mkdir(parents=True)
    shutil.copy2("/bin/busybox", root / "bin/busybox")
    skip = set(PROGRAMS) | {"busybox"}
    for applet in _out("/bin/busybox", "--list").split():
        if applet not in skip:
            (root / "bin" / applet).symlink_to("busybox")
    for name in PROGRAMS:
        _copy_program(root, name)
    _copy_modules(tree, root, release)
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    for name in ("init", "agent"):
        shutil.copy2(SOURCE / name, root / name)


def _pack(root, target):
    find = subprocess.run(["find", ".", "-print0"], cwd=root, stdout=subprocess.PIPE, check=True)
    with open(target, "wb") as out:
        subprocess.run(
            ["cpio", "--null", "--create", "--format=newc", "--owner=0:0", "--quiet"],
            cwd=root, input=find.stdout, stdout=out, check=True)


def _key(version):
    h = hashlib.sha256(version.encode())
    for path in (SOURCE / "init", SOURCE / "agent", Path(__file__)):
        h.update(path.read_bytes())
    for name in ("busybox-static", *PROGRAMS):
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", name],
                              text=True, capture_output=True)
        h.update(done.stdout.encode())
    return f"{version.replace('/', '_')}-{h.hexdigest()[:12]}"


def build(cache):
    """Return (kernel, initramfs), built below the folder `cache` unless they are there already."""
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        name, version = kernel_package()
        folder = cache / _key(version)
        kernel, initramfs = folder / "vmlinuz", folder / "initramfs.cpio"
        if initramfs.exists():
            return kernel, initramfs
        deb = _fetch_kernel(cache, name, version)
        with tempfile.TemporaryDirectory(dir=cache) as tmp:
            tree, root = Path(tmp) / "kernel", Path(tmp) / "root"
            _out("dpkg", "-x", str(deb), str(tree))
            release = next((tree / "lib/modules").iterdir()).name
            _make_root(tree, root, release)
            folder.mkdir(exist_ok=True)
            shutil.copy(tree / f"boot/vmlinuz-{release}", kernel)
            _pack(root, folder / "part")
            os.replace(folder / "part", initramfs)
        return kernel, initramfs


if __name__ == "__main__":
    try:
        for result in build(sys.argv[1] if len(sys.argv) > 1 else "build/guest"):
            print(result)
    except ImageError as error:
        sys.exit(f"guest image: {error}")
