# SPDX-License-Identifier: BSD-2-Clause
"""Build the emulated host: the guest's image, and with it what the tests of the netns layer need.

Two more archives follow the guest's initramfs. The first has programs, Python with pytest and
kernel modules; it is cached beside the guest's. The second has our programs and the tests, below
/vx as in the source tree; it is packed anew for each machine.
"""
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from . import base, debs, guest_image
from .guest_image import ImageError, copy_program, copy_with_libraries, joined, pack

PROGRAMS = ("bpftool", "ethtool", "ip", "nsenter", "ping", "setpriv", "ss", "sysctl",
            "taskset")
PYTHON = ("pytest", "_pytest", "attr", "iniconfig", "packaging", "pluggy", "py", "yaml")
UNUSED = "config-*", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter"
# Loaded when they are asked for, as on any machine.
MODULES = ("veth", "bridge", "8021q", "tcp_diag", "unix_diag", "af_packet_diag")
OURS = ("vhost-xdpd", "vhost-xdpctl", "vfe")
SOURCE = Path("/vx")  # in the machine


def _libraries_of(root, folder):
    for module in folder.rglob("*.so"):
        copy_with_libraries(root, str(module), str(module))


def _copy_python(root):
    """The interpreter that runs this, with the packages that the tests import."""
    program, library = Path(os.path.realpath(sys.executable)), sysconfig.get_path("stdlib")
    copy_with_libraries(root, str(program), str(program))
    (root / "usr/bin/python3").symlink_to(program)
    shutil.copytree(library, root / library.lstrip("/"), symlinks=True,
                    ignore=shutil.ignore_patterns(*UNUSED))
    _libraries_of(root, Path(library, "lib-dynload"))
    for name in PYTHON:
        spec = importlib.util.find_spec(name)
        if not spec:
            raise ImageError(f"Python has no {name} (scripts/deps)")
        source = Path(spec.origin)
        source = source.parent if source.name == "__init__.py" else source
        target = root / str(source).lstrip("/")
        if source.is_dir():
            shutil.copytree(source, target)
            _libraries_of(root, source)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def _copy_modules(root, tree, release, more):
    """As the kernel wants them: where modprobe finds them, with their aliases."""
    modules, order = guest_image.module_order(tree, release, (*MODULES, *more))
    target = root / "lib/modules" / release
    for module in order:
        guest_image.copy_module(modules / module, (target / module).parent)
    for name in ("modules.builtin", "modules.order"):
        shutil.copy(modules / name, target)
    debs.out("depmod", "-b", str(root), release)


def _make_root(root, tree, release, more):
    for folder in ("sbin", "run/netns", "var/run", "etc"):
        (root / folder).mkdir(parents=True)
    for name in PROGRAMS:
        copy_program(root, name)
    _copy_python(root)
    _copy_modules(root, tree, release, more)
    (root / "sbin/modprobe").symlink_to("/bin/busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n"
                                     "nobody:x:65534:65534:nobody:/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")


def _key(more):
    h = hashlib.sha256(repr((sys.version, more)).encode())
    h.update(Path(__file__).read_bytes())
    for name in PROGRAMS:
        h.update(Path(base.tool(name)).read_bytes())
    for name in PYTHON:
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", f"python3-{name}"],
                              text=True, capture_output=True)
        h.update(done.stdout.encode())
    return h.hexdigest()[:12]


def build(cache, series="stable", more=()):
    """The initramfs of a host with this kernel (a path), built unless it is there already.

    more   names of further kernel modules
    """
    _, guest = guest_image.build(cache, series)
    with debs.locked(cache) as cache:
        target = guest.with_name(f"machine-{_key(more)}.cpio")
        if target.exists():
            return target
        name, version = guest_image.kernel_package(series)
        deb = debs.fetch(cache, name, version)
        with tempfile.TemporaryDirectory(dir=cache) as tmp:
            tree, root, part = (Path(tmp) / n for n in ("kernel", "root", "part"))
            debs.out("dpkg", "-x", str(deb), str(tree))
            release = next((tree / "lib/modules").iterdir()).name
            _make_root(root, tree, release, more)
            pack(root, part)
            os.replace(joined(Path(tmp) / "both", guest, part), target)
        return target


def with_project(image, target):
    """The image, our programs and the tests, as file `target`."""
    built = base.build_dir()
    with tempfile.TemporaryDirectory(dir=target.parent) as tmp:
        root, part = Path(tmp) / "root", Path(tmp) / "part"
        inside = root / str(SOURCE).lstrip("/")
        for name in OURS:
            path = base.binary(name)
            copy_with_libraries(root, str(path),
                                str(SOURCE / "build/release" / path.relative_to(built)))
        shutil.copy(built / "CMakeCache.txt", inside / "build/release")
        shutil.copytree(base.REPO / "tests", inside / "tests",
                        ignore=shutil.ignore_patterns("__pycache__"))
        pack(root, part)
        return joined(target, image, part)
