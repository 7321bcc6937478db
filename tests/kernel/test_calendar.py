"""The calendar queue against a sorted list: order, laps of the wheel, cancelling, the current bucket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from zswap_gym.kernel import jit
from zswap_gym.kernel.access import NEVER
from zswap_gym.kernel.calendar_queue import cancel, peek, pop, schedule
from zswap_gym.kernel.layout import BUCKET_SHIFT, WHEEL
from zswap_gym.kernel.stateref import state_ref

PAGES = 40
SCHEDULE, CANCEL, DRAIN = 0, 1, 2
BUCKET = 1 << BUCKET_SHIFT
FINE = BUCKET * WHEEL
"""Us of the fine wheel, a coarse bucket."""
LAP = FINE * WHEEL
"""Us of the coarse wheel."""

Operation = tuple[int, int, int]


@jit.entry
def drive(block, operations, out):
    """Do the operations on cgroup 1; (index of the DRAIN, page, time) of each event popped into ``out``."""
    st = state_ref(block)
    n = 0
    for i in range(len(operations)):
        kind, page, when = operations[i, 0], operations[i, 1], operations[i, 2]
        if kind == SCHEDULE:
            cancel(st, 1, page)
            schedule(st, 1, page, when)
        elif kind == CANCEL:
            cancel(st, 1, page)
        else:
            while peek(st, 1, when) <= when:
                p = pop(st, 1)
                out[n, 0] = i
                out[n, 1] = p
                out[n, 2] = st.pages[p].when
                n += 1
    return n


def by_calendar(b: Any, operations: list[Operation]) -> list[Operation]:
    out: npt.NDArray[np.int64] = np.zeros((len(operations) * PAGES + 1, 3), np.int64)
    n = drive(b.machine.block, np.array(operations, np.int64).reshape(-1, 3), out)
    return [tuple(row) for row in out[:n].tolist()]


def by_sorting(operations: list[Operation]) -> list[Operation]:
    queued: dict[int, int] = {}
    popped = []
    for i, (kind, page, when) in enumerate(operations):
        queued.pop(page, None) if kind != DRAIN else None
        if kind == SCHEDULE and when < NEVER:
            queued[page] = when
        elif kind == DRAIN:
            for due, p in sorted((due, p) for p, due in queued.items() if due <= when):
                popped.append((i, p, due))
                del queued[p]
    return popped


@pytest.fixture
def empty(make: Callable[..., Any], make_plan: Callable[..., Any]) -> Callable[[], Any]:
    """A machine with PAGES pages and nothing in its calendar."""

    def build() -> Any:
        plan = make_plan(PAGES, accesses=[])
        plan.first_touch[:] = NEVER
        return make({"g": plan})

    return build


DELAYS = some.one_of(
    some.integers(0, 3),
    some.integers(0, 2 * BUCKET),
    some.integers(0, 3 * FINE),
    some.integers(0, 4 * LAP),
    some.sampled_from([BUCKET, FINE, LAP]).flatmap(lambda size: some.integers(-2, 2).map(lambda d: size + d)),
)


@some.composite
def programs(draw: Callable[..., Any]) -> list[Operation]:
    """Operations in which time goes on, as it does for a cgroup; some accesses are overdue."""
    now, operations = 0, []
    for kind in draw(some.lists(some.sampled_from([0, 0, 0, 0, 1, 2]), min_size=1, max_size=60)):
        page, delay = draw(some.integers(0, PAGES - 1)), draw(DELAYS)
        if kind == DRAIN:
            now += delay
            operations.append((DRAIN, 0, now))
        else:
            when = int(NEVER) if delay == 3 else max(0, now + delay - draw(some.sampled_from([0, 0, BUCKET])))
            operations.append((kind, page, when))
    return [*operations, (DRAIN, 0, now + 5 * LAP)]


@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
@given(operations=programs())
def test_any_program(empty: Callable[[], Any], operations: list[Operation]) -> None:
    b = empty()
    assert by_calendar(b, operations) == by_sorting(operations)
    assert b.record("g")["queued"] == 0


def test_events_of_one_bucket_and_of_one_moment_come_in_order(empty: Callable[[], Any]) -> None:
    """By time, then by page number, whatever order they were entered in."""
    times = [7, 3, 3, 900, 5, 3, 16383, 0, 12, 900]
    pages = [30, 21, 4, 17, 9, 13, 1, 39, 2, 8]
    operations = [(SCHEDULE, page, when) for page, when in zip(pages, times, strict=True)]
    b = empty()
    got = by_calendar(b, [*operations, (DRAIN, 0, BUCKET)])
    assert [(when, page) for _, page, when in got] == sorted(zip(times, pages, strict=True))


def test_a_limit_inside_a_bucket_holds(empty: Callable[[], Any]) -> None:
    operations = [(SCHEDULE, page, 100 * page) for page in range(PAGES)]
    b = empty()
    assert len(by_calendar(b, [*operations, (DRAIN, 0, 1250)])) == 13
    assert b.record("g")["queued"] == PAGES - 13
    assert len(by_calendar(b, [(DRAIN, 0, 1299), (DRAIN, 0, 1300)])) == 1


@pytest.mark.parametrize("laps", [1, 2, 5])
def test_far_events_share_a_slot_with_near_ones(empty: Callable[[], Any], laps: int) -> None:
    """An event whole laps of the coarse wheel away lies in the same slot and must wait its turn."""
    near = 3 * FINE + 5
    far = near + laps * LAP
    times = [far, near, far + 1, near - FINE, near + 3 * BUCKET, near + 2 * FINE, near + LAP - BUCKET]
    operations = [(SCHEDULE, page, when) for page, when in enumerate(times)]
    drains = [(DRAIN, 0, when) for when in (near, near + FINE, near + 3 * FINE, far - 1, far + 1)]
    got = by_calendar(empty(), operations + drains)
    assert got == by_sorting(operations + drains)
    assert [page for _, page, _ in got] == [3, 1, 4, 5, 6, 0, 2]


@pytest.mark.parametrize("when", [5, BUCKET + 5, FINE + 5, LAP + 5])
@pytest.mark.parametrize("victim", [0, 1, 2])
def test_cancelled_from_either_end_and_from_the_middle(
    empty: Callable[[], Any], when: int, victim: int
) -> None:
    b = empty()
    got = by_calendar(
        b,
        [
            *[(SCHEDULE, page, when + page) for page in range(3)],
            (CANCEL, victim, 0),
            (CANCEL, victim, 0),
            (DRAIN, 0, 2 * LAP),
        ],
    )
    assert [page for _, page, _ in got] == [page for page in range(3) if page != victim]
    assert b.record("g")["queued"] == 0


def test_never_is_only_remembered(empty: Callable[[], Any]) -> None:
    b = empty()
    assert by_calendar(b, [(SCHEDULE, 3, int(NEVER)), (DRAIN, 0, 5 * LAP)]) == []
    assert b.record("g")["queued"] == 0
    assert b.pages("g")["when"][3] == NEVER
