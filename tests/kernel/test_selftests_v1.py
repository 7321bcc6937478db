"""Acceptance scenarios A1 to A14 of memory.zswap.proactive_writeback, version 1 (spec/selftests.md)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from zswap_gym.kernel.access import OP_READ
from zswap_gym.kernel.jobs import J_WRITEBACK, SLOT_REQUEST, SLOTS
from zswap_gym.kernel.layout import DISK, F_REFERENCED, RESIDENT, SWAPCACHE, ZSWAP
from zswap_gym.kernel.spec import DEVICES
from zswap_gym.units import PAGE_SIZE, US_PER_S

Make = Callable[..., Any]
BATCH = 128
TIMED = pytest.mark.parametrize("exact", [True, False], ids=["order-only", "timed"])


@pytest.mark.parametrize(
    "text",
    [
        "", "max=10M", "0", "max=4095 10", "max= 10", "max=10MB 10", "10 20", "0x10", "3600s", "max=-1 5",
        "max=10M\t10", "10\tmax=10M",
    ],
)  # fmt: skip
def test_a1_malformed_input_is_einval(make: Make, text: str) -> None:
    b = make({"g": 256})
    b.fill("g")
    b.run(60)
    before = b.machine.snapshot()
    result = b.write("g", text)
    assert (result.errno, result.pages) == (errno.EINVAL, 0)
    assert b.differences(before) == []


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("10", 2000),
        ("max=2M 10", 512),
        ("10 max=2M", 512),
        (" max=1G  max=1M 5 ", 256),
        ("max=0x1000 5", 16),
        ("max=4K max=1M 5", 256),
        ("max=010000 5", 16),
    ],
)
def test_a2_accepted_forms_and_the_last_max_wins(make: Make, text: str, written: int) -> None:
    b = make({"g": 2000})
    b.fill("g")
    b.run(60)
    result = b.write("g", text)
    assert (result.errno, result.pages) == (0, written)
    assert b.count("g", "zswpwb_proactive") == written


@pytest.mark.parametrize("over", [0, 1, 4_000_000])
def test_a3_age_beyond_uptime_succeeds_without_a_walk(make: Make, over: int) -> None:
    b = make({"g": 500}, boot_us=100 * US_PER_S)
    b.fill("g")
    b.machine.advance(200 * US_PER_S)
    before = b.machine.snapshot()
    result = b.write("g", f"max=1M {200 + over}")
    assert (result.errno, result.pages) == (0, 0)
    assert b.differences(before) == []
    assert b.write("g", "max=1M 199").errno == errno.EAGAIN  # one second less is an age like any other


@pytest.mark.parametrize("text", ["max=1M 5", "nonsense", ""])
@pytest.mark.parametrize("off", ["p", "p/g"])
def test_a4_writeback_off_is_einval_before_parsing(make: Make, off: str, text: str) -> None:
    b = make({"p": None, "p/g": 500})
    b.fill("p/g")
    b.run(60)
    assert b.write(off, "0", "memory.zswap.writeback").errno == 0
    assert b.write("p/g", text).errno == errno.EINVAL
    assert b.states("p/g")[ZSWAP] == 500


@pytest.mark.parametrize("off", ["p", "p/g"])
def test_a4_with_zswap_disabled_the_call_proceeds_over_what_is_stored(make: Make, off: str) -> None:
    """mem_cgroup_zswap_writeback_enabled() is true while zswap is disabled (spec/series.md 1.2)."""
    b = make({"p": None, "p/g": 500})
    b.fill("p/g")
    b.run(60)
    b.write(off, "0", "memory.zswap.writeback")
    b.machine.set_zswap(enabled=False)
    assert b.write("p/g", "nonsense").errno == errno.EINVAL  # now the parser's
    result = b.write("p/g", "30")
    assert (result.errno, result.pages) == (0, 500)
    b.machine.set_zswap(enabled=True)
    assert b.write("p/g", "30").errno == errno.EINVAL


def test_a4_a_child_with_writeback_off_is_skipped(make: Make) -> None:
    b = make({"p": None, "p/a": 300, "p/b": 300})
    b.fill("p/a", "p/b")
    b.run(60)
    b.write("p/a", "0", "memory.zswap.writeback")
    assert b.write("p", "30").errno == 0
    assert b.states("p/a")[ZSWAP] == 300
    assert b.states("p/b")[ZSWAP] == 0


def test_a5_the_age_is_inclusive(make: Make) -> None:
    b = make({"g": 400})
    b.fill("g")
    stored = int(b.pages("g")["stamp"].max())
    assert (b.pages("g")["stamp"] == stored).all()
    b.machine.advance(stored + 30 * US_PER_S - 1)
    assert b.write("g", "30").errno == errno.EAGAIN
    b.machine.advance(stored + 30 * US_PER_S)
    assert b.write("g", "31").errno == errno.EAGAIN
    assert (b.write("g", "30").errno, b.states("g")[SWAPCACHE]) == (0, 400)


@pytest.mark.parametrize("n", [300, 2048])
def test_a6_young_entries_rotate_and_keep_their_bits(make: Make, n: int) -> None:
    b = make({"g": n})
    b.fill("g")
    b.pages("g")["flags"][::3] &= ~np.uint16(F_REFERENCED)
    bits, order, counters = b.pages("g")["flags"].copy(), b.lru("g"), b.machine.counters()
    result = b.write("g", "3600")
    assert (result.errno, result.pages) == (errno.EAGAIN, 0)
    assert b.lru("g") == order  # whole passes
    assert np.array_equal(b.pages("g")["flags"], bits)
    assert np.array_equal(b.machine.counters(), counters)


def test_a6_a_scan_cap_inside_the_list_spoils_the_order(make: Make) -> None:
    """16 visits of min(LRU, 16 x 16 pages): FINDINGS 7, spec/series.md 1.8.4."""
    b = make({"g": 16_000})
    b.fill("g", pages=1920)
    old = b.states("g")[ZSWAP]
    b.run(100)
    b.fill("g", pages=16_000 - old)
    order = b.lru("g")
    reach = 16 * 16 * 16
    assert old < reach
    assert b.write("g", "max=64K 3600").errno == errno.EAGAIN
    assert b.lru("g") == order[reach:] + order[:reach]
    at = 16_000 - reach
    for _ in range(3):  # old enough, and out of reach
        assert b.write("g", "max=64K 60").errno == errno.EAGAIN
        at -= 15 * 256  # the cursor still stands on g: the pass that ends at once is the first failure
        assert b.lru("g").index(order[0]) == at
    assert b.write("g", "max=64K 60").errno == 0


def test_a7_no_second_chance(make: Make) -> None:
    b = make({"g": 500})
    b.fill("g")
    b.run(60)
    assert (b.pages("g")["flags"] & F_REFERENCED).all()
    assert b.write("g", "max=64K 30").pages == BATCH
    assert b.lru("g") == list(range(BATCH, 500))  # the oldest, at their first visit; none rotated


@TIMED
@pytest.mark.parametrize(
    ("budget", "written"), [(1, 16), (2, 32), (8, 128), (100, 128), (129, 144), (200, 256)]
)
def test_a8_overshoot_up_to_a_batch(make: Make, exact: bool, budget: int, written: int) -> None:
    b = make({"g": 1000}, exact=exact)
    b.fill("g")
    b.run(60)
    result = b.write("g", f"max={4 * budget}K 30")
    assert (result.errno, result.pages) == (0, written)
    assert b.states("g")[ZSWAP] == 1000 - written


@TIMED
@pytest.mark.parametrize("children", [1, 4, 10])
def test_a9_unlimited_on_a_parent_is_not_unlimited(make: Make, exact: bool, children: int) -> None:
    """The parent's own empty LRU burns one of 16 failures per pass, before the children's turn."""
    names = [f"p/{i}" for i in range(children)]
    b = make({"p": None, **dict.fromkeys(names, 2500)}, exact=exact)
    b.fill(*names)
    b.run(60)
    result = b.write("p", "30")
    assert (result.errno, result.pages) == (0, 15 * BATCH * children)
    assert [b.count(name, "zswpwb_proactive") for name in names] == [15 * BATCH] * children


@TIMED
def test_a10_a_leaf_without_max_writes_all_that_is_eligible(make: Make, exact: bool) -> None:
    b = make({"g": 7000}, exact=exact)
    b.fill("g", pages=4096)
    b.run(60)
    b.fill("g", pages=2048)
    young = b.states("g")[ZSWAP] - 4096
    result = b.write("g", "30")
    assert (result.errno, result.pages) == (0, 4096)
    assert b.states("g")[ZSWAP] == young > 0


@TIMED
def test_a11_the_cursor_outlives_the_call(make: Make, exact: bool) -> None:
    names = [f"p/{i}" for i in range(10)]
    b = make({"p": None, **dict.fromkeys(names, 2500)}, exact=exact)
    b.fill(*names)
    b.run(60)
    for call in range(25):
        assert b.write("p", "max=512K 30").pages == BATCH
        rounds, rest = divmod(call + 1, 10)
        written = [b.count(name, "zswpwb_proactive") // BATCH for name in names]
        assert written == [rounds + 1] * rest + [rounds] * (10 - rest)
    assert b.write("p/3", "max=512K 30").pages == BATCH  # its own cursor, not the parent's
    assert b.write("p", "max=512K 30").pages == BATCH
    assert b.count("p/5", "zswpwb_proactive") == 3 * BATCH


def test_a12_a_swap_in_restarts_the_age(make: Make, make_plan: Make) -> None:
    b = make({"g": make_plan(400, accesses=[(50 * US_PER_S, page, OP_READ) for page in (7, 8, 200)])})
    b.fill("g")
    b.run(60)
    assert b.states("g")[RESIDENT] == 3
    assert b.write("g", "12K", "memory.reclaim").errno == 0
    assert b.states("g")[ZSWAP] == 400
    assert b.write("g", "30").pages == 397
    assert b.lru("g") == [7, 8, 200]
    b.run(30)
    assert b.write("g", "30").pages == 3


@TIMED
def test_a13_a_pending_signal_is_eintr(make: Make, exact: bool) -> None:
    b = make({"g": 1000}, exact=exact)
    b.fill("g")
    b.run(60)
    result = b.write("g", "30", signal=True)
    assert (result.errno, result.pages) == (errno.EINTR, 0)
    assert b.states("g")[ZSWAP] == 1000


@pytest.mark.parametrize("max_pages", [1 << 40, 20_000])
def test_a13_eintr_even_after_progress(make: Make, max_pages: int) -> None:
    b = make({"g": 20_000}, exact=False, device=DEVICES["iops400"])
    b.fill("g")
    b.run(60)
    c = b.machine.index["g"]
    assert b.machine.request(c, 30 * US_PER_S, max_pages, 0)
    b.run(5)  # about 2000 writes at 400 a second
    job = b.machine.state.jobs[c * SLOTS + SLOT_REQUEST : c * SLOTS + SLOT_REQUEST + 1]
    assert job["kind"][0] == J_WRITEBACK
    written = b.count("g", "zswpwb_proactive")
    job["signal"] = 1
    b.run(5)
    (end,) = b.machine.finished()
    assert end.errno == errno.EINTR
    assert written <= end.pages < written + BATCH
    assert end.pages == b.count("g", "zswpwb_proactive") > 1000


def test_a14_what_a_call_does_to_the_counters_and_to_memory(make: Make, make_plan: Make) -> None:
    clen = np.random.default_rng(3).integers(20, 4000, 3000).astype(np.uint16)
    b = make({"g": make_plan(3000, clen=clen)})
    b.fill("g")
    b.run(60)
    names = ("zswpwb_proactive", "zswpwb", "pswpout")
    before = {name: b.count("g", name) for name in names}
    order, zswap, current = b.lru("g"), b.gauge("g", "zswap"), b.gauge("g", "memory_current")
    n = b.write("g", "max=4M 30").pages
    assert n == 1024
    assert [b.count("g", name) - before[name] for name in names] == [n, n, n]
    length = int(clen[order[:n]].sum())
    assert zswap - b.gauge("g", "zswap") == length
    raised = b.gauge("g", "memory_current") - current
    assert abs(raised - (n * PAGE_SIZE - length)) < PAGE_SIZE  # whole pages
    assert b.gauge("g", "swapcached") == n * PAGE_SIZE
    assert b.write("g", "4M", "memory.reclaim").errno == 0  # clean swap cache: freed without a store
    assert b.states("g")[DISK] == n
    assert b.gauge("g", "memory_current") == -(-b.gauge("g", "zswap") // PAGE_SIZE) * PAGE_SIZE
    assert b.count("g", "zswpout") == 3000
