"""Every law keeps the contract of a law; each one's formula has the right signs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zswap_gym.errors import UserError
from zswap_gym.host.types import NOTHING, Request, Table
from zswap_gym.policy.laws import LAWS, AimdRefault, FixedAge, Never, ReleaseOnly, Tmo, make_law

Make = Callable[..., Table]
MIB = 1 << 20
SPECS = [
    *LAWS,
    "fixed_age(age_s=5m,max_bytes=512K,release_share=0)",
    "release_only(release_bytes=2M)",
    "aimd(age_s=10,window_s=5)",
    "tmo(age_s=0)",
]


# --- laws without feedback ------------------------------------------------------------------------


def test_never(make_table: Make) -> None:
    assert Never().decide(make_table(3), 10.0) == [NOTHING] * 3


def test_release_only_releases_a_share_and_writes_nothing(make_table: Make) -> None:
    table = make_table(3, memory_current=[100 * MIB, 1000 * MIB, 4096.0])
    expected = [Request(None, 0, MIB), Request(None, 0, 4 * MIB), NOTHING]
    assert ReleaseOnly(share=0.01, max_bytes=4 * MIB).decide(table, 10.0) == expected
    assert ReleaseOnly(release_bytes=2 * MIB).decide(table, 10.0) == [Request(None, 0, 2 * MIB)] * 3


def test_fixed_age_is_always_the_same_where_there_is_something(make_table: Make) -> None:
    table = make_table(3, zswapped=[30 * MIB, 4096.0, 0.0])
    request = Request(60.0, 8 * MIB)
    assert FixedAge().decide(table, 10.0) == [request, request, NOTHING]
    assert request.release == 8 * MIB
    alone = FixedAge(age_s=30, release_share=0).decide(table, 10.0)[0]
    assert (alone.age_s, alone.max_bytes, alone.release) == (30.0, 8 * MIB, 0)


# --- AIMD -----------------------------------------------------------------------------------------


def run_aimd(
    law: AimdRefault, table: Table, later: Make, steps: int, **increases: float
) -> tuple[Table, list[Request]]:
    """``steps`` decisions of 10 s each; the table after them and the answers for the first cgroup."""
    answers = []
    for _ in range(steps):
        table = later(table, 10.0, **increases)
        answers.append(law.decide(table, 10.0)[0])
    return table, answers


def test_aimd_grows_bolder_while_pages_stay_away(make_table: Make, later: Make) -> None:
    law = AimdRefault(age_s=300)
    _, answers = run_aimd(law, make_table(1), later, 200)
    ages = [r.age_s or 0.0 for r in answers]
    sizes = [r.max_bytes for r in answers]
    assert ages[0] == pytest.approx(300 * 0.95)
    assert ages == sorted(ages, reverse=True)
    assert ages[-1] == law.age_min_s
    assert sizes == sorted(sizes)
    assert sizes[0] == MIB + (256 << 10)
    assert sizes[-1] == law.max_bytes


def test_aimd_backs_off_above_the_target(make_table: Make, later: Make) -> None:
    law = AimdRefault(age_s=300, start_bytes=8 * MIB)
    calm, _ = run_aimd(law, make_table(1), later, 12)
    age, budget = law._state[:2, 0]
    loud, answers = run_aimd(law, calm, later, 2, disk_reads=2000)
    assert answers == [NOTHING] * 2
    assert law._state[0, 0] == pytest.approx(2 * age)
    assert law._state[1, 0] == pytest.approx(budget / 2)
    # one step back a window: it takes that long to see what a step did
    _, answers = run_aimd(law, loud, later, 5, disk_reads=2000)
    assert law._state[0, 0] == pytest.approx(4 * age)
    assert answers == [NOTHING] * 5


def test_aimd_minds_reads_from_disk_only(make_table: Make, later: Make) -> None:
    """Loads from zswap are major faults too, and own writebacks count as refaults of their kind."""
    law = AimdRefault()
    _, answers = run_aimd(
        law, make_table(1), later, 5, pgmajfault=2000, zswpin=2000, zswpout=2000, workingset_refault_anon=9000
    )
    assert all(r.max_bytes > 0 for r in answers)


@pytest.mark.parametrize(("faults", "backs_off"), [(100, False), (700, True)])
def test_aimds_target_is_a_share_of_memory_per_minute(
    make_table: Make, later: Make, faults: int, backs_off: bool
) -> None:
    """60 MiB are 15360 pages; 0.002 of them a minute are 31, 5 in 10 s. Times 100 here."""
    law = AimdRefault(target=0.2)
    _, answers = run_aimd(law, make_table(1), later, 30, disk_reads=faults)
    assert (answers[-1] == NOTHING) == backs_off


def test_aimd_recovers(make_table: Make, later: Make) -> None:
    law = AimdRefault()
    loud, _ = run_aimd(law, make_table(1), later, 2, disk_reads=20000)
    high = law._state[0, 0]
    _, answers = run_aimd(law, loud, later, 60)
    assert [r.max_bytes > 0 for r in answers[:8]] == [False] * 4 + [True] * 4  # the burst is over in a minute
    assert answers[-1].age_s == pytest.approx(high * 0.95**56)


def test_aimd_does_not_ask_for_an_age_nobody_meets(make_table: Make, later: Make) -> None:
    """All of zswap is replaced within each minute: nothing can be 300 s old."""
    law = AimdRefault(age_s=300, shrink=1.0)
    _, answers = run_aimd(law, make_table(1), later, 30, zswpout=4000, zswpwb=4000)
    assert answers[0].max_bytes > 0  # what was there at first may be old
    assert answers[-1] == NOTHING


def test_aimd_does_not_depend_on_how_often_it_is_asked(make_table: Make, later: Make) -> None:
    often, seldom = AimdRefault(), AimdRefault()
    table = make_table(1)
    often.decide(table, 1e-9)
    seldom.decide(table, 1e-9)
    for _ in range(6):
        table = later(table, 10.0)
        often.decide(table, 10.0)
    seldom.decide(table, 60.0)
    assert often._state[:2, 0] == pytest.approx(seldom._state[:2, 0], rel=1e-6)


# --- TMO ------------------------------------------------------------------------------------------


def tmo_release(law: Tmo, table: Table, later: Make, dt_s: float, psi: float) -> int:
    """Release in the second of two decisions between which ``psi`` percent of the time was stalled."""
    law.reset(1)
    law.decide(table, dt_s)
    return law.decide(later(table, dt_s, psi_some_total_us=psi * 1e4 * dt_s), dt_s)[0].release


def test_tmos_formula(make_table: Make, later: Make) -> None:
    """current x 0.0005 x (1 - psi / 0.1 %) per 6 s."""
    law, table = Tmo(), make_table(1, memory_current=float(1 << 30))
    for psi in (0.0, 0.025, 0.05, 0.099):
        expected = (1 << 30) * 0.0005 * (1 - psi / 0.1)
        assert tmo_release(law, table, later, 6.0, psi) == pytest.approx(expected, abs=4096)
        assert tmo_release(law, table, later, 60.0, psi) == pytest.approx(10 * expected, abs=4096)


@pytest.mark.parametrize("psi", [0.1, 0.11, 5.0, 100.0])
def test_tmo_does_nothing_at_the_threshold_and_above(make_table: Make, later: Make, psi: float) -> None:
    law, table = Tmo(), make_table(1, memory_current=float(1 << 30), zswapped=float(1 << 29))
    for _ in range(50):  # writebacks saved up while calm are not made under pressure
        table = later(table, 6.0)
        law.decide(table, 6.0)
    for _ in range(5):
        table = later(table, 6.0, psi_some_total_us=psi * 1e4 * 6.0)
        assert law.decide(table, 6.0) == [NOTHING]


def test_tmo_takes_at_most_a_share(make_table: Make, later: Make) -> None:
    table = make_table(1, memory_current=float(1 << 30))
    assert tmo_release(Tmo(ratio=1.0), table, later, 6.0, 0.0) == pytest.approx(0.01 * (1 << 30), abs=4096)


def test_tmo_starts_from_the_average_pressure(make_table: Make) -> None:
    loud = make_table(2, psi_some_avg10=[0.0, 0.2], memory_current=float(1 << 30))
    calm, pressed = Tmo().decide(loud, 6.0)
    assert calm.release > 0
    assert pressed == NOTHING


def test_tmo_writes_what_it_releases_in_batches(make_table: Make, later: Make) -> None:
    law, table = Tmo(), make_table(1, memory_current=256.0 * MIB, zswapped=100.0 * MIB)
    written = released = 0
    for _ in range(100):
        request = law.decide(table, 6.0)[0]
        table = later(table, 6.0)
        released += request.release
        written += request.max_bytes
        assert request.max_bytes == 0 or request.max_bytes >= 512 * 1024
        assert (request.age_s is None) == (request.max_bytes == 0)
    assert released == pytest.approx(100 * 256 * MIB * 0.0005, rel=0.05)
    assert written == pytest.approx(released, rel=0.05)


def test_tmo_spares_the_disk(make_table: Make, later: Make) -> None:
    law, table = (
        Tmo(write_bytes_per_s=MIB),
        make_table(1, memory_current=64.0 * (1 << 30), zswapped=8.0 * (1 << 30)),
    )
    request = law.decide(table, 6.0)[0]
    assert request.max_bytes == 6 * MIB
    assert request.release > 30 * MIB
    assert tmo_release(Tmo(age_s=0), table, later, 6.0, 0.0) == request.release
    assert Tmo(age_s=0).decide(table, 6.0)[0].max_bytes == 0


# --- names and parameters; more in test_make_law.py ------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("aimd(age_s=5)", r"law aimd: age_s = 5; must be from age_min_s \(10\) to age_max_s \(7200\)"),
        ("aimd(shrink=2)", "shrink must be at most 1"),
        ("fixed_age(age_s=0)", "law fixed_age: age_s = 0; must be more than 0"),
        ("tmo(ratio=-1)", "law tmo: ratio = '-1'; write a number, not below 0"),
    ],
)
def test_bounds_of_parameters(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_law(spec)
