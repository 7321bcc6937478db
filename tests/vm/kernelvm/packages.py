"""Debian packages, fetched by apt into a cache of our own and unpacked there; nothing is installed.

An apt with its own lists, its own archive and an empty status file does not touch the machine's
packages and needs no root. With nothing installed it names every dependency down to libc, so what is
unpacked runs by itself.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRROR = "http://deb.debian.org"
SUITES = {
    "bookworm": ("debian bookworm", "debian bookworm-updates", "debian-security bookworm-security"),
    "trixie": ("debian trixie", "debian trixie-backports", "debian-security trixie-security"),
}
"""Where packages come from, by the name of the release."""

NEEDED = ("apt-get", "apt-cache", "dpkg-deb")


class UnavailableError(Exception):
    """Packages cannot be had here; the message says why."""


def cache() -> Path:
    """``$XDG_CACHE_HOME/zswap-gym/vm``, made where it is missing."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base, "zswap-gym", "vm")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Release:
    """One Debian release as a source of packages.

    Raises:
        UnavailableError: no apt here, no key of Debian's archive, or no answer from it.
    """

    def __init__(self, name: str) -> None:
        missing = [tool for tool in NEEDED if shutil.which(tool) is None]
        if missing:
            raise UnavailableError(f"{', '.join(missing)} not found: packages are fetched with Debian's apt")
        if not KEYRING.exists():
            raise UnavailableError(f"{KEYRING} is missing: install debian-archive-keyring")
        self.name = name
        self.folder = cache() / "apt" / name
        for part in ("state/lists/partial", "cache/archives/partial"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        sources = self.folder / "sources.list"
        lines = [f"deb [signed-by={KEYRING} arch=amd64] {MIRROR}/{suite} main" for suite in SUITES[name]]
        sources.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        self._options = [
            f"-oDir::State={self.folder}/state",
            f"-oDir::Cache={self.folder}/cache",
            f"-oDir::Etc::SourceList={sources}",
            "-oDir::Etc::SourceParts=-",
            "-oDir::State::status=/dev/null",
            "-oAPT::Architecture=amd64",
            "-oAPT::Architectures=amd64",
            "-oAPT::Install-Recommends=false",
            "-oAPT::Sandbox::User=",
            "-oAcquire::Languages=none",
            "-oDebug::NoLocking=true",
        ]
        self._apt("apt-get", "update", "-qq")

    def _apt(self, tool: str, *arguments: str) -> str:
        ran = subprocess.run(
            [tool, *self._options, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder / "cache" / "archives",
        )
        if ran.returncode or (arguments[0] == "update" and "W:" in ran.stderr):
            words = " ".join((ran.stderr or ran.stdout).split())[:300]
            raise UnavailableError(f"{tool} {arguments[0]} ({self.name}): {words}")
        return ran.stdout

    def names(self, prefix: str, pattern: str) -> list[str]:
        """Names of packages that match a whole regular expression, as the versions in them rise."""
        found = [
            name for name in self._apt("apt-cache", "pkgnames", prefix).split() if re.fullmatch(pattern, name)
        ]
        return sorted(found, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])

    def closure(self, packages: Sequence[str]) -> list[Path]:
        """The archives of packages and of all they depend on, fetched where they are not there yet."""
        plan = self._apt("apt-get", "install", "-s", *packages)  # Inst NAME (VERSION ORIGIN [ARCH])
        wanted = re.findall(r"^Inst (\S+) \((\S+)", plan, re.MULTILINE)
        self._apt("apt-get", "install", "-y", "-qq", "--download-only", *packages)
        return [self._archived(name, version) for name, version in wanted]

    def _archived(self, name: str, version: str = "*") -> Path:
        folder = self.folder / "cache" / "archives"
        found = sorted(folder.glob(f"{name}_{version.replace(':', '%3a')}_*.deb"))
        if not found:
            raise UnavailableError(f"{name} {version}: apt fetched no such archive into {folder}")
        return found[-1]

    def archive(self, package: str) -> Path:
        """One package's archive without its dependencies, fetched where it is not there yet."""
        try:
            return self._archived(package)
        except UnavailableError:
            self._apt("apt-get", "download", "-qq", package)
        return self._archived(package)

    def kernel_archives(self, image: str) -> list[Path]:
        """A kernel's own packages: since 2026 Debian puts vmlinuz and modules into two beside the image."""
        depends = self._apt("apt-cache", "depends", "--important", image)
        return [self.archive(name) for name in (image, *re.findall(r"linux-(?:binary|modules)-\S+", depends))]


def unpack(archives: Sequence[Path], folder: Path) -> Path:
    """Unpack archives one over the other; the folder is there whole or not at all."""
    if not folder.exists():
        half = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        for archive in archives:
            subprocess.run(["dpkg-deb", "-x", archive, half], check=True)
        half.replace(folder)
    return folder
