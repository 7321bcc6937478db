"""What a guest is made of: QEMU, a kernel with its modules, a root file system, our own code.

All but the code is kept in the cache under a name that says what it was made from. The root file
system holds Debian's Python and the few packages a host needs (README, "On a host"); the project's
code travels on a disk of its own, so that a change of it rebuilds nothing.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from kernelvm.packages import Release, UnavailableError, cache, unpack

PROJECT = Path(__file__).resolve().parents[3]
INSIDE = Path(__file__).with_name("inside")
"""What runs in the guest."""

TOOLS = ("qemu-system-x86", "e2fsprogs")
ROOT_PACKAGES = ("libpython3.11-stdlib", "python3.11-minimal", "busybox-static", "redis-server")
GUEST_PYTHON = "3.11"
HOST_NEEDS = ("numpy", "typer", "rich", "pyyaml", "pydantic")
MODULES = ("virtio_pci", "virtio_console", "virtio_blk", "ext4", "crc32c_generic", "zsmalloc", "zstd")
"""Loaded by the initramfs with what they depend on; what a kernel has built in is no file of it."""

KERNELS = {
    "6.12": ("bookworm", "linux-image-6.12", r"linux-image-6\.12\.\d+\+deb12-amd64"),
    "6.1": ("bookworm", "linux-image-6.1.0", r"linux-image-6\.1\.0-\d+-amd64"),
    "newest": ("trixie", "linux-image-", r"linux-image-[\d.]+\+deb13-amd64"),
}
"""The kernels Debian has for its stable releases: Debian 12 with and without backports, 13 with them."""

MEMO_S = 7 * 86400
"""So long the archive is not asked whether it has something newer."""

SECTORS = 1 << 20
"""Disks are whole multiples of it."""


@dataclass(frozen=True)
class Parts:
    """Files of a guest."""

    tools: Path
    kernel: Path
    initrd: Path
    root: Path


def tool(tools: Path, name: str, *arguments: str | Path) -> list[str]:
    """The command line of an unpacked program, with the C library it was built for."""
    found = next(
        folder / name
        for folder in (tools / "usr/bin", tools / "sbin", tools / "usr/sbin")
        if (folder / name).exists()
    )
    libraries = ":".join(str(tools / part) for part in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"))
    loader = tools / "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    return [str(loader), "--library-path", libraries, str(found), *map(str, arguments)]


def parts(kernel: str) -> Parts:
    """Everything a guest with that kernel boots from, made where it is not in the cache.

    Raises:
        UnavailableError: packages cannot be had here.
    """
    folder = cache()
    memo = (
        folder
        / f"parts-{kernel}-{_digest([Path(__file__).read_bytes(), (INSIDE / 'init').read_bytes()])}.json"
    )
    if memo.exists() and time.time() - memo.stat().st_mtime < MEMO_S:
        known = Parts(*map(Path, json.loads(memo.read_text(encoding="utf-8"))))
        if all(path.exists() for path in astuple(known)):
            return known
    made = _parts(kernel, folder)
    memo.write_text(json.dumps([str(path) for path in astuple(made)]), encoding="utf-8")
    return made


def _parts(kernel: str, folder: Path) -> Parts:
    bookworm = Release("bookworm")
    archives = bookworm.closure(TOOLS)
    tools = unpack(archives, folder / f"tools-{_digest(path.name for path in archives)}")
    release, prefix, pattern = KERNELS[kernel]
    source = bookworm if release == "bookworm" else Release(release)
    packages = source.names(prefix, pattern)
    if not packages:
        raise UnavailableError(f"{release} has no package {pattern}")
    tree = unpack(source.kernel_archives(packages[-1]), folder / packages[-1])
    root = _root(bookworm, tools, folder)
    return Parts(tools, _vmlinuz(tree), _initrd(bookworm, tree, folder), root)


def _vmlinuz(tree: Path) -> Path:
    found = [*tree.glob("boot/vmlinuz-*"), *tree.glob("usr/lib/modules/*/vmlinuz*")]
    if not found:
        raise UnavailableError(f"{tree.name}: no vmlinuz in the package")
    return found[0]


def _digest(words: Iterable[str | bytes]) -> str:
    digest = hashlib.sha256()
    for word in words:
        digest.update(word.encode() if isinstance(word, str) else word)
        digest.update(b"\0")
    return digest.hexdigest()[:12]


# --- the root file system -------------------------------------------------------------------------


def _root(release: Release, tools: Path, folder: Path) -> Path:
    archives = release.closure(ROOT_PACKAGES)
    constraints = (PROJECT / "constraints.txt").read_text(encoding="utf-8")
    image = folder / f"root-{_digest([*(path.name for path in archives), constraints, *HOST_NEEDS])}.ext4"
    if image.exists():
        return image
    tree = folder / "root.new"
    shutil.rmtree(tree, ignore_errors=True)
    unpack(archives, tree)
    for part in (
        "usr/share/doc",
        "usr/share/man",
        "usr/share/locale",
        "usr/share/perl",
        "usr/lib/x86_64-linux-gnu/perl",
    ):
        shutil.rmtree(tree / part, ignore_errors=True)
    for part in ("proc", "sys", "dev", "run", "tmp", "opt/site", "opt/code", "root", "var/lib/zswap-gym"):
        (tree / part).mkdir(parents=True, exist_ok=True)
    for name in (
        "sh",
        "mount",
        "umount",
        "mkswap",
        "swapon",
        "dd",
        "cat",
        "reboot",
        "insmod",
        "tar",
        "dmesg",
    ):
        link = tree / "bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to("busybox")
    _install_needs(tree / "opt/site")
    half = image.with_suffix(".new")
    half.unlink(missing_ok=True)
    make = tool(tools, "mkfs.ext4", "-q", "-d", tree, "-O", "^has_journal", "-m", "0", half, "700M")
    subprocess.run(make, check=True, capture_output=True)
    half.replace(image)
    shutil.rmtree(tree)
    return image


def _install_needs(site: Path) -> None:
    """What a host needs from PyPI, as wheels for the guest's Python."""
    ran = subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            "--target", site, "--python-version", GUEST_PYTHON, "--only-binary=:all:",
            "-c", PROJECT / "constraints.txt", *HOST_NEEDS,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if ran.returncode:
        raise UnavailableError(f"pip install {' '.join(HOST_NEEDS)}: {' '.join(ran.stderr.split())[:300]}")


# --- initramfs ------------------------------------------------------------------------------------


def _initrd(release: Release, tree: Path, folder: Path) -> Path:
    init = (INSIDE / "init").read_bytes()
    busybox = unpack([release.archive("busybox-static")], folder / "busybox") / "bin/busybox"
    target = folder / f"initrd-{tree.name}-{_digest([init, *MODULES])}.gz"
    if target.exists():
        return target
    files = [("init", 0o755, init), ("bin/busybox", 0o755, busybox.read_bytes())]
    order = []
    for name, data in _modules(tree):
        order.append(name)
        files.append((f"modules/{name}.ko", 0o644, data))
    files.append(("modules/order", 0o644, "".join(f"{name}\n" for name in order).encode()))
    half = target.with_suffix(".new")
    half.write_bytes(gzip.compress(_cpio(("bin", "modules", "proc", "sys", "dev", "new"), files), 1))
    half.replace(target)
    return target


def _modules(tree: Path) -> list[tuple[str, bytes]]:
    """Modules with what they depend on, in the order to load them. Debian makes modules.dep at
    installation; what depmod reads is in the modules' own .modinfo: ``depends=a,b``.
    """
    found = [*tree.glob("lib/modules/*/kernel/**/*.ko*"), *tree.glob("usr/lib/modules/*/kernel/**/*.ko*")]
    files = {path.name.split(".ko")[0].replace("-", "_"): path for path in found}
    loaded: dict[str, bytes] = {}

    def load(name: str) -> None:
        if name in loaded or name not in files:
            return
        raw = files[name].read_bytes()
        data = lzma.decompress(raw) if files[name].suffix == ".xz" else raw
        depends = re.search(rb"\0depends=([^\0]*)\0", data)
        for other in depends.group(1).decode().split(",") if depends else ():
            load(other.replace("-", "_"))
        loaded[name] = data

    for name in MODULES:
        load(name)
    return list(loaded.items())


def _cpio(folders: Sequence[str], files: Sequence[tuple[str, int, bytes]]) -> bytes:
    """A newc archive (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    entries = [(name, 0o40755, b"") for name in folders]
    entries += [(name, 0o100000 | mode, data) for name, mode, data in files]
    out = bytearray()
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        path = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + path
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


# --- our code -------------------------------------------------------------------------------------


def code_disk(target: Path) -> Path:
    """A tar of the package and of what runs in the guest, as a raw disk. No caches, no tests."""

    def ours(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if "__pycache__" in entry.name else entry

    with tarfile.open(target, "w", dereference=True) as tar:
        tar.add(PROJECT / "zswap_gym", "zswap_gym", filter=ours)
        tar.add(PROJECT / "configs", "configs", filter=ours)
        tar.add(INSIDE, "inside", filter=ours)
    with target.open("ab") as file:
        file.truncate(-(-file.tell() // SECTORS) * SECTORS)
    return target
