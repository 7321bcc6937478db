"""What lies behind swap."""

from __future__ import annotations

import pytest

from zswap_gym.host.swaps import swaps

HEADER = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
ROTATING = {"sda", "mmcblk0", "dm-0"}


def reader(text: str | None):
    def read(file: str) -> str:
        if file == "/proc/swaps" and text is not None:
            return text
        disk = file.removeprefix("/sys/block/").removesuffix("/queue/rotational")
        if disk in ROTATING | {"nvme0n1", "vda"}:
            return f"{int(disk in ROTATING)}\n"
        raise FileNotFoundError(file)

    return read


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("/dev/zram0 partition 8388604 0 100", "zram"),
        ("/dev/sda2 partition 8388604 0 -2", "rotational"),
        ("/dev/nvme0n1p3 partition 8388604 0 -2", "solid"),
        ("/dev/vda partition 8388604 0 -2", "solid"),
        ("/dev/mmcblk0p1 partition 8388604 0 -2", "rotational"),
        ("/dev/dm-0 partition 8388604 0 -2", "rotational"),
        ("/dev/nbd0 partition 8388604 0 -2", "unknown"),
        ("/swap\\040file file 8388604 0 -2", "file"),
    ],
)
def test_kinds(line: str, kind: str) -> None:
    (swap,) = swaps(reader(f"{HEADER}{line}\n")) or ()
    assert (swap.kind, swap.size_bytes) == (kind, 8388604 << 10)
    assert (swap.path == "/swap file") == (kind == "file")


def test_what_is_used_first_comes_first() -> None:
    text = f"{HEADER}/dev/sda2 partition 10 4 -2\n\n/dev/zram0 partition 20 0 100\n"
    found = swaps(reader(text)) or ()
    assert [swap.path for swap in found] == ["/dev/zram0", "/dev/sda2"]
    assert str(found[1]) == "/dev/sda2 (rotating disk, 10.0 KiB, priority -2)"


def test_none_in_use_is_not_the_same_as_nothing_known() -> None:
    assert swaps(reader(HEADER)) == ()
    assert swaps(reader(None)) is None
    assert swaps(reader(f"{HEADER}/dev/sda2 partition ten 0 -2\n")) is None
