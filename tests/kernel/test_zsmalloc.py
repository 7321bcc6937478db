"""Size classes of zsmalloc: every row of spec/zswap-model.md 8, and pool pages by occupancy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from zswap_gym.kernel.layout import ZSWAP
from zswap_gym.kernel.zsmalloc import size_classes
from zswap_gym.units import PAGE_SIZE

# size:pages/objects/waste per zspage
TABLE = """
  32:1/128/0  48:3/256/0  64:1/64/0  80:5/256/0  96:3/128/0  112:7/256/0  128:1/32/0  144:7/199/16
  160:5/128/0  176:4/93/16  192:3/64/0  208:3/59/16  224:7/128/0  240:1/17/16  256:1/16/0  272:1/15/16
  288:5/71/32  304:7/94/96  320:5/64/0  336:6/73/48  352:8/93/32  368:8/89/16  384:3/32/0  400:5/51/80
  416:6/59/32  432:7/66/160  448:7/64/0  464:5/44/64  480:2/17/32  496:4/33/16  512:1/8/0  528:4/31/16
  544:2/15/32  560:7/51/112  576:1/7/64  592:8/55/208  608:7/47/96  624:2/13/80  640:5/32/0  656:5/31/144
  672:1/6/64  688:8/47/432  704:5/29/64  720:3/17/48  736:2/11/96  752:7/38/96  768:3/16/0  784:5/26/96
  816:1/5/16  832:8/39/320  848:5/24/128  864:7/33/160  880:8/37/208  896:7/32/0  912:7/31/400  928:5/22/64
  944:3/13/16  960:4/17/64  976:6/25/176  992:8/33/32  1024:1/4/0  1056:8/31/32  1072:5/19/112  1088:4/15/64
  1104:3/11/144  1120:8/29/288  1136:5/18/32  1168:2/7/16  1184:7/24/256  1200:5/17/80  1216:3/10/128
  1232:7/23/336  1248:4/13/160  1280:5/16/0  1296:7/22/160  1360:1/3/16  1424:8/23/16  1440:6/17/96
  1456:5/14/96  1488:4/11/16  1504:7/19/96  1536:3/8/0  1552:8/21/176  1568:5/13/96  1584:7/18/160
  1632:2/5/32  1680:7/17/112  1696:5/12/128  1712:8/19/240  1744:3/7/80  1792:7/16/0  1808:4/9/112
  1856:5/11/64  1888:6/13/32  1904:7/15/112  1920:8/17/128  2048:1/2/0  2176:8/15/128  2192:7/13/176
  2224:6/11/112  2272:5/9/32  2336:4/7/32  2384:7/12/64  2448:3/5/48  2512:8/13/112  2560:5/8/0
  2592:7/11/160  2720:2/3/32  2864:7/10/32  2912:5/7/96  2976:8/11/32  3072:3/4/0  3184:7/9/16  3264:4/5/64
  3408:5/6/32  3504:6/7/48  3584:7/8/0  3632:8/9/80  4096:1/1/0
"""
ROWS = {int(row.split(":")[0]): tuple(map(int, row.split(":")[1].split("/"))) for row in TABLE.split()}
CLASSES, CLASS_OF, SIZES = size_classes()


def shape(size: int) -> tuple[int, int]:
    """(pages, objects) of a zspage of the class of that size."""
    row = CLASSES[SIZES.index(size)]
    return int(row["zspage_pages"]), int(row["per_zspage"])


def test_119_classes() -> None:
    assert len(CLASSES) == len(SIZES) == len(ROWS) == 119
    assert sorted(ROWS, reverse=True) == SIZES


@pytest.mark.parametrize("size", sorted(ROWS))
def test_shape_of_a_class(size: int) -> None:
    pages, objects, waste = ROWS[size]
    assert shape(size) == (pages, objects)
    assert pages * PAGE_SIZE - objects * size == waste


@pytest.mark.parametrize(
    ("length", "size"),
    [
        (1, 32), (24, 32), (25, 48), (40, 48), (41, 64), (1000, 1024), (2048, 2176), (1365, 1424), (792, 816),
        (3624, 3632), (3625, 4096), (4096, 4096),
    ],
)  # fmt: skip
def test_class_of_a_length(length: int, size: int) -> None:
    """With eight bytes for the handle; merged classes round up further."""
    assert SIZES[CLASS_OF[length]] == size


def test_every_length_takes_the_smallest_class_it_fits() -> None:
    sizes = np.array(SIZES)
    for length in range(1, 4097):
        fitting = sizes[sizes >= min(length + 8, 4096)]
        assert SIZES[CLASS_OF[length]] == fitting.min()


def zspages(objects: int, size: int) -> int:
    """Pool pages of so many objects of one class."""
    pages, per_zspage = shape(size)
    return -(-objects // per_zspage) * pages


@pytest.mark.parametrize("scale", [1, 4, 64])
@pytest.mark.parametrize(
    ("length", "size"), [(20, 32), (450, 464), (1000, 1024), (2139, 2176), (3000, 3072), (3700, 4096)]
)
def test_pool_pages_follow_from_occupancy(
    make: Callable[..., Any], make_plan: Callable[..., Any], length: int, size: int, scale: int
) -> None:
    """While entries come and while they go, one batch at a time; bytes are charged exactly."""
    b = make({"g": make_plan(512, clen=length)}, page_scale=scale)
    b.run(1)
    for _ in range(8):
        assert b.write("g", str(64 * scale * PAGE_SIZE), "memory.reclaim").errno == 0
        stored = b.states("g")[ZSWAP] * scale
        assert stored > 0
        assert b.machine.pool_bytes == zspages(stored, size) * PAGE_SIZE
        assert b.gauge("g", "zswap") == stored * length
    b.run(2)
    while b.states("g")[ZSWAP]:
        assert b.write("g", "max=256K 1").errno == 0
        stored = b.states("g")[ZSWAP] * scale
        assert b.machine.pool_bytes == zspages(stored, size) * PAGE_SIZE
        assert b.gauge("g", "zswap") == stored * length
