"""The rules that came with the promise: their formulas have the right signs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zswap_gym.errors import UserError
from zswap_gym.host.types import COLUMN, NOTHING, Request, Table
from zswap_gym.policy.laws import (
    ArmsBatches,
    DamosQuota,
    KatalystRefault,
    Law,
    PromiseTrackers,
    PromotionRate,
    SenpaiSizes,
    make_law,
)

Make = Callable[..., Table]
MIB = 1 << 20
GIB = float(1 << 30)


def steps(
    law: Law, table: Table, later: Make, n: int, dt_s: float = 60.0, **increases: float
) -> list[Request]:
    """``n`` further decisions of the first cgroup; ``table`` goes on in place."""
    answers = []
    for _ in range(n):
        table[...] = later(table, dt_s, **increases)
        answers.append(law.decide(table, dt_s)[0])
    return answers


@pytest.fixture
def cgroup(make_table: Make) -> Table:
    return make_table(1, memory_current=GIB, anon=GIB, zswapped=GIB / 2, swap_current=GIB / 2, swapcached=0.0)


# --- two trackers ---------------------------------------------------------------------------------


def test_the_trackers_watch_first_then_act(cgroup: Table, later: Make) -> None:
    law = PromiseTrackers(watch_s=300)
    answers = steps(law, cgroup, later, 9)
    assert answers[:5] == [NOTHING] * 5
    assert all(r.max_bytes > 0 and r.release > 0 for r in answers[6:])


def test_a_kept_minute_raises_aggressiveness_and_a_broken_one_lowers_it(cgroup: Table, later: Make) -> None:
    law = PromiseTrackers(watch_s=0)
    steps(law, cgroup, later, 11)
    bold = law._state[0, 0]
    assert bold == pytest.approx(0.5 + 10 * 0.01)
    limit = 0.002 * GIB / 4096
    steps(law, cgroup, later, 1, disk_reads=limit * 1.01)
    assert law._state[0, 0] == pytest.approx(bold - 0.01 * 0.97 / 0.03)
    steps(law, cgroup, later, 1, disk_reads=limit * 0.99)
    assert law._state[0, 0] == pytest.approx(bold - 0.01 * 0.97 / 0.03 + 0.01)


def test_minutes_are_minutes_whatever_the_interval(cgroup: Table, later: Make) -> None:
    found = []
    for dt_s in (10.0, 30.0, 60.0, 300.0):
        law, table = PromiseTrackers(watch_s=0), cgroup.copy()
        law.decide(table, dt_s)
        steps(law, table, later, round(1200 / dt_s), dt_s)
        found.append(law._state[0, 0])
    assert found == pytest.approx([0.7] * 4)


def test_the_age_moves_log_linearly_between_its_bounds(cgroup: Table, later: Make) -> None:
    for bold, age in ((0.0, 7200.0), (0.5, (7200 * 600) ** 0.5), (1.0, 600.0)):
        law = PromiseTrackers(start=bold, up=1e-9, watch_s=0)
        assert steps(law, cgroup.copy(), later, 3)[-1].age_s == pytest.approx(age, rel=1e-6)


@pytest.mark.parametrize(("pages", "grows"), [(0, True), (60_000, False)])
def test_the_release_is_moved_by_cpu_against_its_budget(
    cgroup: Table, later: Make, pages: int, grows: bool
) -> None:
    """0.25 % of a core per GiB of 1.5 GiB are 3750 us a second: 22,500 stores of zstd a minute."""
    law = PromiseTrackers(watch_s=0)
    steps(law, cgroup, later, 10, zswpout=pages)
    assert (law._state[1, 0] > law.release_share) == grows


def test_what_was_spent_before_it_acted_is_not_held_against_it(cgroup: Table, later: Make) -> None:
    busy = {"zswpout": 30_000.0}
    total, added = PromiseTrackers(watch_s=0), PromiseTrackers(watch_s=300)
    for law in (total, added):
        steps(law, cgroup.copy(), later, 15, **busy)
    assert total._state[1, 0] < total.release_share
    assert added._state[1, 0] > added.release_share


def test_a_release_follows_what_was_asked_for_and_not_what_the_kernel_wrote(
    cgroup: Table, later: Make
) -> None:
    full = 1_000_000.0  # pages a minute that a kernel with a full pool writes
    idle = PromiseTrackers(writeback=0, watch_s=0, gain=0)
    quiet = steps(idle, cgroup.copy(), later, 5)[-1]
    assert (
        steps(PromiseTrackers(writeback=0, watch_s=0, gain=0), cgroup.copy(), later, 5, zswpwb=full)[-1]
        == quiet
    )
    asks = PromiseTrackers(watch_s=0, gain=0)
    answer = steps(asks, cgroup.copy(), later, 5, zswpwb=full)[-1]
    assert answer.release == pytest.approx(quiet.release + answer.max_bytes, rel=1e-3)


def test_without_writeback_nothing_is_written(cgroup: Table, later: Make) -> None:
    answers = steps(PromiseTrackers(writeback=0, watch_s=0), cgroup, later, 10)
    assert all(r.max_bytes == 0 and r.age_s is None and r.release > 0 for r in answers[1:])


# --- the others -----------------------------------------------------------------------------------


def test_senpai_grows_while_calm_and_backs_off_when_it_hurts(cgroup: Table, later: Make) -> None:
    law = SenpaiSizes()
    calm = steps(law, cgroup, later, 5)
    assert [r.release for r in calm] == sorted(r.release for r in calm)
    assert {r.age_s for r in calm} == {1.0}
    share = law._state[0, 0]
    for hurt in ({"disk_reads": 20_000.0}, {"psi_some_total_us": 6e6}):
        other, table = make_law("senpai"), cgroup.copy()
        assert isinstance(other, SenpaiSizes)
        steps(other, table, later, 5)
        assert steps(other, table, later, 1, **hurt) == [NOTHING]
        assert other._state[0, 0] < share


def test_promotion_takes_the_youngest_age_that_keeps_the_limit(cgroup: Table, later: Make) -> None:
    quiet, busy = PromotionRate(start_s=0), PromotionRate(start_s=0)
    young = steps(quiet, cgroup.copy(), later, 10)[-1].age_s
    limit = 0.002 * GIB / 4096
    steps(busy, cgroup, later, 10, zswpin=20 * limit, zswpout=20 * limit)
    assert young == pytest.approx(30.0)
    busy_age = busy._state[0, 0]
    assert busy_age > quiet._state[0, 0]


def test_promotion_remembers_by_percentile(cgroup: Table, later: Make) -> None:
    """After a loud minute and nine quiet ones the 98th percentile stays with the loud one."""
    kept, soon = PromotionRate(start_s=0), PromotionRate(start_s=0, percentile=50)
    for law in (kept, soon):
        table = cgroup.copy()
        law.decide(table, 60.0)
        steps(law, table, later, 1, disk_reads=1e6)
        steps(law, table, later, 9)
    assert kept._state[0, 0] > soon._state[0, 0] == 0


def test_damos_chases_its_goal_as_the_kernel_does(cgroup: Table, later: Make) -> None:
    """The signs of damos_test_feed_loop_next_input() in mm/damon/tests/core-kunit.h."""
    law = DamosQuota()
    steps(law, cgroup, later, 4)
    assert law._state[0, 0] == 10_000 * 2**3  # nothing achieved: doubled
    goal = 0.002 * GIB / 4096
    for share, factor in ((0.5, 1.5), (1.0, 1.0), (1.5, 0.5)):
        law._state[0] = 1e6
        steps(law, cgroup, later, 1, disk_reads=share * goal)
        assert law._state[0, 0] == pytest.approx(1e6 * factor, rel=1e-3)
    law._state[0] = 1e6
    steps(law, cgroup, later, 1, disk_reads=3 * goal)
    assert law._state[0, 0] == 10_000


def test_arms_writes_what_may_come_back_and_no_more(cgroup: Table, later: Make) -> None:
    goal = 0.002 * GIB / 4096
    few = steps(ArmsBatches(), cgroup.copy(), later, 10, zswpwb=1000.0, disk_reads=10.0)[-1]
    many = steps(ArmsBatches(), cgroup.copy(), later, 10, zswpwb=1000.0, disk_reads=200.0)[-1]
    none = steps(ArmsBatches(), cgroup.copy(), later, 10, zswpwb=1000.0, disk_reads=600.0)[-1]
    over = steps(ArmsBatches(), cgroup.copy(), later, 10, zswpwb=9000.0, disk_reads=2 * goal)[-1]
    assert few.max_bytes > many.max_bytes > 0
    assert none.max_bytes == over.max_bytes == 0  # dearer than what it frees; nothing left


def test_katalyst_grows_while_accurate_and_shrinks_by_what_came_back(cgroup: Table, later: Make) -> None:
    law = KatalystRefault(efficiency=0)
    steps(law, cgroup, later, 2, 30.0)
    size = law._state[0, 0]
    steps(law, cgroup, later, 1, 30.0, zswpwb=1000.0, disk_reads=5.0)
    assert law._state[0, 0] == pytest.approx(size * 1.05)
    steps(law, cgroup, later, 1, 30.0, zswpwb=1000.0, disk_reads=200.0)
    assert law._state[0, 0] == pytest.approx(size * 1.05 * 0.8)
    cgroup[0, COLUMN["psi_some_avg60"]] = 0.2
    assert steps(law, cgroup, later, 1, 30.0) == [NOTHING]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("promise(writeback=0.5)", "writeback = 0.5; must be 0 or 1"),
        ("promise(age_min_s=3h)", "must be at most age_max_s"),
        ("promise(broken_share=0.9)", "broken_share = 0.9; must be at most 0.5"),
        ("promotion(percentile=101)", "must be at most 100"),
        ("arms(max_share=2)", "must be at most 1"),
    ],
)
def test_bounds_of_parameters(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_law(spec)
