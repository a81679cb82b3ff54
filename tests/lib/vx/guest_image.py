# SPDX-License-Identifier: BSD-2-Clause
"""Build the test guest: Debian's cloud kernel and a busybox initramfs.

The kernel package is downloaded with apt and unpacked, never installed. Programs come from the
host's own packages (busybox-static, iperf3, ethtool, tcpdump) with the libraries they need. The
result is cached, keyed by the versions and contents of everything that went in.
"""
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import debs
from .debs import out as _out

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[1] / "guest" / "image"
META = "linux-image-cloud-amd64"
MODULES = ("virtio_pci", "virtio_mmio", "virtio_net", "virtio_console", "virtio_mem",
           "uio_pci_generic")
PROGRAMS = ("iperf3", "ethtool", "tcpdump")
DPDK = Path("/usr/lib/x86_64-linux-gnu/dpdk")
DPDK_DRIVERS = ("mempool_ring", "net_virtio")


ImageError = debs.DebError  # the image cannot be built; the text says why


def kernel_package(series):
    """Name and version of a kernel package: the one that apt would choose ("stable"), or the
    newest of all suites that apt knows ("newest"), for instance of the backports."""
    known = debs.versions(META)
    if not known:
        raise ImageError(f"apt knows no kernel for {META}")
    stable = debs.candidate(META)
    wanted = known[0] if series == "newest" else stable or known[0]
    if series == "newest" and wanted == stable:
        raise ImageError(f"apt knows no kernel newer than {stable}")
    depends = _out("apt-cache", "show", f"{META}={wanted}")
    name = re.search(r"^Depends:.*?(linux-image-\d[^ ,]*)", depends, re.M)
    version = name and debs.candidate(name[1])
    if not version:
        raise ImageError(f"apt does not find what {META}={wanted} depends on")
    return name[1], version


def module_order(tree, release, names):
    """Paths of the named modules below lib/modules/<release>, what is needed first."""
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

    builtin = (base / "modules.builtin").read_text()
    for name in names:
        if name in by_name:
            add(by_name[name])
        elif f"/{name}.ko" not in builtin:
            raise ImageError(f"the kernel package has no module {name}")
    return base, order


def copy_with_libraries(root, path, target):
    """A program or library as `target`, and the libraries it needs in their places."""
    needs = re.findall(r"(/\S+) \(0x", _out("ldd", path))
    for source, name in ((path, target), *((lib, lib) for lib in needs)):
        copy = root / name.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists():
            shutil.copy2(os.path.realpath(source), copy)


def copy_program(root, name):
    path = shutil.which(name, path="/usr/bin:/usr/sbin:/bin:/sbin")
    if not path:
        raise ImageError(f"{name} is not installed (scripts/deps)")
    copy_with_libraries(root, path, f"usr/bin/{name}")


def copy_module(source, folder):
    """A module, uncompressed. Returns its name there."""
    name = re.sub(r"\.(xz|zst|gz)$", "", source.name)
    folder.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".ko":
        shutil.copy(source, folder / name)
    else:
        tool = {".xz": "xz", ".zst": "zstd", ".gz": "gzip"}[source.suffix]
        with open(folder / name, "wb") as out:
            subprocess.run([tool, "-dc", str(source)], stdout=out, check=True)
    return name


def _copy_modules(tree, root, release):
    base, order = module_order(tree, release, MODULES)
    names = [copy_module(base / module, root / "modules") for module in order]
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
        copy_program(root, name)
    _copy_modules(tree, root, release)
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    for name in ("init", "agent"):
        shutil.copy2(SOURCE / name, root / name)


def pack(root, target):
    find = subprocess.run(["find", ".", "-print0"], cwd=root, stdout=subprocess.PIPE, check=True)
    with open(target, "wb") as out:
        subprocess.run(
            ["cpio", "--null", "--create", "--format=newc", "--owner=0:0", "--quiet"],
            cwd=root, input=find.stdout, stdout=out, check=True)


def joined(target, *archives):
    """One file: the kernel unpacks archives that follow one another. Returns its path."""
    with open(target, "wb") as out:
        for archive in archives:
            with open(archive, "rb") as source:
                shutil.copyfileobj(source, out)
    return target


def _key(version):
    h = hashlib.sha256(version.encode())
    for path in (SOURCE / "init", SOURCE / "agent", Path(__file__)):
        h.update(path.read_bytes())
    for name in ("busybox-static", "dpdk", *PROGRAMS):
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", name],
                              text=True, capture_output=True)
        h.update(done.stdout.encode())
    return f"{version.replace('/', '_')}-{h.hexdigest()[:12]}"


def build(cache, series="stable"):
    """Return (kernel, initramfs), built below the folder `cache` unless they are there already."""
    with debs.locked(cache) as cache:
        name, version = kernel_package(series)
        folder = cache / _key(version)
        kernel, initramfs = folder / "vmlinuz", folder / "initramfs.cpio"
        if initramfs.exists():
            return kernel, initramfs
        deb = debs.fetch(cache, name, version)
        with tempfile.TemporaryDirectory(dir=cache) as tmp:
            tree, root = Path(tmp) / "kernel", Path(tmp) / "root"
            _out("dpkg", "-x", str(deb), str(tree))
            release = next((tree / "lib/modules").iterdir()).name
            _make_root(tree, root, release)
            folder.mkdir(exist_ok=True)
            shutil.copy(tree / f"boot/vmlinuz-{release}", kernel)
            pack(root, folder / "part")
            os.replace(folder / "part", initramfs)
        return kernel, initramfs


def with_testpmd(cache, initramfs):
    """The initramfs with DPDK's testpmd and its virtio driver in it (a path)."""
    target = initramfs.with_name("initramfs-dpdk.cpio")
    with debs.locked(cache), tempfile.TemporaryDirectory(dir=cache) as tmp:
        if target.exists():
            return target
        root, part = Path(tmp) / "root", Path(tmp) / "cpio"
        copy_program(root, "dpdk-testpmd")
        for driver in DPDK_DRIVERS:
            found = list(DPDK.glob(f"pmds-*/librte_{driver}.so"))
            if len(found) != 1:
                raise ImageError(f"DPDK's {driver} is not installed (scripts/deps)")
            copy_with_libraries(root, str(found[0]), str(found[0]))
        pack(root, part)
        os.replace(joined(Path(tmp) / "both", initramfs, part), target)
    return target
