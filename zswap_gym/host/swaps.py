r"""What lies behind swap: the devices in /proc/swaps, and what /sys/block says of them.

    Filename                                Type            Size            Used            Priority
    /dev/zram0                              partition       8388604         0               100
    /swap\040file                          file            4194300         128             -2

(mm/swapfile.c:swap_show(); sizes are kB.) The kernel fills the device of the highest priority first.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from zswap_gym.host.effective import Read
from zswap_gym.units import format_size

Kind = Literal["zram", "rotational", "solid", "file", "unknown"]

FILE = "/proc/swaps"


class Swap(NamedTuple):
    """One swap device.

    ``kind``: zram, compressed RAM; rotational or solid, a disk as the kernel sees it; file, on a disk that
    /proc/swaps does not name; unknown, where /sys/block says nothing.
    """

    path: str
    kind: Kind
    size_bytes: int
    used_bytes: int
    priority: int

    def __str__(self) -> str:
        kind = {"rotational": "rotating disk", "solid": "disk or SSD that does not rotate"}.get(
            self.kind, self.kind
        )
        return f"{self.path} ({kind}, {format_size(self.size_bytes)}, priority {self.priority})"


def swaps(read: Read) -> tuple[Swap, ...] | None:
    """The swap devices in use, those used first in front; None where the kernel does not tell.

    ``read`` gives the text of a machine's file. No decision rests on this, so that a line that is not
    the kernel's only means that nothing is known.
    """
    try:
        text = read(FILE)
    except OSError:
        return None
    found = [_swap(read, line.split()) for line in text.split("\n")[1:] if line.strip()]
    known = [swap for swap in found if swap is not None]
    return tuple(sorted(known, key=lambda swap: -swap.priority)) if len(known) == len(found) else None


def _swap(read: Read, words: list[str]) -> Swap | None:
    if len(words) != 5 or not all(re.fullmatch(r"-?\d{1,20}", word, re.ASCII) for word in words[2:]):
        return None
    path = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), words[0])
    size, used, priority = (int(word) for word in words[2:])
    return Swap(path, _kind(read, path, words[1]), size * 1024, used * 1024, priority)


def _kind(read: Read, path: str, listed_as: str) -> Kind:
    name = path.rpartition("/")[2]
    if re.fullmatch(r"zram\d+", name):
        return "zram"
    if listed_as == "file":
        return "file"
    # A partition has no queue of its own: sda2 is of sda, nvme0n1p2 of nvme0n1.
    for disk in (name, re.sub(r"(?<=\d)p\d+$", "", name), re.sub(r"\d+$", "", name)):
        try:
            return "rotational" if read(f"/sys/block/{disk}/queue/rotational").strip() == "1" else "solid"
        except OSError:
            continue
    return "unknown"
