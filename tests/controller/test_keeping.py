"""The rail of the promise: what it counts, when it holds back, and that it says why."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zswap_gym.controller.config import ControllerConfig
from zswap_gym.controller.decider import LawDecider
from zswap_gym.controller.keeping import QUIET_S, WINDOW, Keeping, Seen
from zswap_gym.controller.loop import Controller
from zswap_gym.controller.rails import Limits, check
from zswap_gym.controller.replay import replay
from zswap_gym.controller.state import CgroupState
from zswap_gym.errors import UserError
from zswap_gym.host.types import Request, Sample
from zswap_gym.kernel.layout import STAT
from zswap_gym.policy.promise import GIB, MinuteMeter, Promise

PAGES = 1000
SEEN = Seen(0.0, 30.0, 0.0, 0.0, 0.0, 0.0, PAGES * 4096.0, GIB)
"""Half a minute of a cgroup of 1 GiB; 0.2 % of what is resident are 2 pages."""


def halves(keeping: Keeping, now_s: float, *reads: float, **more: float) -> tuple[Keeping, float]:
    """With intervals of half a minute, in which so many pages were read."""
    for count in reads:
        now_s += 30.0
        keeping = keeping.after(replace(SEEN, now_s=now_s, reads=count, **more), Promise())
    return keeping, now_s


def test_a_minute_is_broken_by_what_was_read_in_it() -> None:
    keeping, _ = halves(Keeping(), 0.0, 1, 1, 1, 2, 3, 0, 9)
    assert keeping.minutes == (False, True, True)
    assert (keeping.ended, keeping.broken) == (3, 2)
    assert (keeping.into_s, keeping.reads) == (30.0, 9.0)


def test_it_counts_as_the_meter_does() -> None:
    rng = np.random.default_rng(0)
    meter, keeping, counts, now_s = MinuteMeter(1, Promise()), Keeping(), np.zeros(2), 0.0
    for _ in range(200):
        dt_s, reads = float(rng.uniform(1, 150)), float(rng.integers(0, 5))
        now_s += dt_s
        counts += np.ravel(meter.add(dt_s, np.array([reads]), np.array([SEEN.resident])))
        keeping = keeping.after(replace(SEEN, now_s=now_s, dt_s=dt_s, reads=reads), Promise())
    assert [keeping.ended, keeping.broken] == counts.tolist()
    assert len(keeping.minutes) == WINDOW
    assert 0 < keeping.broken < keeping.ended


def test_three_broken_minutes_of_an_hour_are_within_the_promise_four_are_not() -> None:
    keeping, now_s = halves(Keeping(), 0.0, *[3, 0] * 3)
    assert keeping.reads_over(Promise()) is None
    keeping, now_s = halves(keeping, now_s, 3, 0)
    assert keeping.reads_over(Promise()) == (
        "promise: 4 of the last 4 minutes read more than 0.2 % of the resident set from disk, 3 may"
    )
    assert keeping.reads_over(Promise(minutes=0.9)) is None
    keeping, now_s = halves(keeping, now_s, *[0, 0] * 56)
    assert keeping.reads_over(Promise()) is not None
    keeping, _ = halves(keeping, now_s, 0, 0)  # the first one is older than an hour
    assert keeping.reads_over(Promise()) is None


def test_cpu_counts_beyond_what_it_takes_in_quiet_time() -> None:
    busy = {"stored": 60_000.0}  # 10 us each in 30 s: 2 % of a core
    keeping, now_s = halves(Keeping(), 0.0, *[0] * 240, **busy)
    assert keeping.cpu_over(Promise()) is None  # it does that by itself
    for _ in range(30):
        keeping, now_s = halves(keeping.asked(now_s), now_s, 0, **busy)
    assert keeping.cpu_over(Promise()) is None
    taken = 0
    while keeping.cpu_over(Promise()) is None and taken < 200:
        keeping, now_s = halves(
            keeping.asked(now_s), now_s, 0, stored=75_000.0
        )  # 0.5 % more: twice what may be
        taken += 1
    assert (
        60 < taken < 120
    )  # an hour's allowance of 0.25 % lasts for half an hour at 0.5 %, longer as it fades
    assert "0.25 % of a core per GiB beyond quiet time" in str(keeping.cpu_over(Promise()))
    assert keeping.cpu_over(Promise(cpu_pct_per_gib=0.6)) is None


def test_who_is_held_back_becomes_quiet_and_is_let_go_again() -> None:
    keeping, now_s = Keeping().asked(0.0), 0.0
    keeping, now_s = halves(keeping, now_s, *[0] * int(QUIET_S / 30), stored=75_000.0)
    for _ in range(400):
        keeping, now_s = halves(keeping.asked(now_s), now_s, 0, stored=75_000.0)
    assert keeping.cpu_over(Promise()) is not None
    rounds = 0
    while keeping.cpu_over(Promise()) is not None:
        keeping, now_s = halves(keeping, now_s, 0, stored=75_000.0)  # it was its own doing all along
        rounds += 1
    assert rounds <= QUIET_S / 30 + 2


def state_of(keeping: Keeping) -> CgroupState:
    return CgroupState(now_s=1000.0, keeping=keeping)


def test_the_rail_withholds_what_breaks_the_promise_and_no_more(sample: Callable[..., Sample]) -> None:
    limits = Limits(allow=("*",))
    reads = state_of(Keeping(minutes=(True,) * 4))
    spends = state_of(Keeping(spent_us=1e9, size_gib_us=1e9, gib=1.0))
    tied, both = Request(300.0, 1 << 20), Request(300.0, 1 << 20, 2 << 20)

    def allowed(request: Request, state: CgroupState) -> tuple[int, int, set[str]]:
        got, reasons = check("web", sample(), request, state, limits)
        return got.max_bytes, got.release, {reason.split(":")[0] for reason in reasons}

    assert allowed(tied, reads) == (0, 0, {"promise"})
    assert allowed(both, reads) == (0, 2 << 20, {"promise"})
    assert allowed(both, spends) == (1 << 20, 0, {"promise"})
    assert allowed(both, state_of(Keeping())) == (1 << 20, 2 << 20, set())


def test_a_restart_keeps_the_window_and_begins_the_totals_anew() -> None:
    keeping, _ = halves(Keeping().asked(5.0), 0.0, 3, 0, 0, 0, 9, stored=100.0)
    again = Keeping.recalled(json.loads(json.dumps(asdict(keeping))))
    assert again == replace(keeping, into_s=0.0, reads=0.0, ended=0, broken=0)
    assert Keeping.recalled({}) == Keeping()


@pytest.mark.parametrize(
    ("promise", "words"),
    [
        ({"minutes": 95}, "x.yaml: promise: minutes = 95; give a number above 0, at most 1"),
        ({"minute": 0.9}, "x.yaml: promise: unknown key 'minute' (did you mean 'minutes'?)"),
        (7, "x.yaml: promise: 7; give some of"),
    ],
)
def test_a_bad_promise_is_one_line(promise: Any, words: str) -> None:
    with pytest.raises(UserError) as caught:
        ControllerConfig.from_mapping({"promise": promise}, "x.yaml")
    assert str(caught.value).startswith(words)


def test_broken_minutes_are_logged_as_the_model_counts_them_and_the_log_replays(
    make_host: Callable[..., Any], tmp_path: Path
) -> None:
    host = make_host()
    host.sleep(30)
    settings = {
        "mode": "act", "cgroups": ["*"], "interval": 20, "log": str(tmp_path / "log.jsonl"),
        "law": "fixed_age(age_s=2,max_bytes=2M)", "rails": {"age_floor": 1, "psi_max_percent": 100},
        "promise": {"disk_reads_pct_min": 20.0, "minutes": 0.97},
    }  # fmt: skip
    config = ControllerConfig.from_mapping(settings)
    assert ControllerConfig.from_mapping(config.to_mapping()) == config
    rows, meter, counted = host.rows, MinuteMeter(2, config.promise), np.zeros((2, 2))
    seen: list[np.ndarray] = []

    def listen(records: Sequence[dict[str, Any]]) -> None:
        if any(record["kind"] == "decision" for record in records):  # nothing has been done yet in this round
            seen.append(host.machine.state.stat[rows, STAT.index("pswpin")].astype(float))
            if len(seen) > 1:
                resident = host.machine.state.cgs["mapped"][rows] * 4096.0
                counted[:] += meter.add(20.0, seen[-1] - seen[-2], resident)

    Controller(host, LawDecider(config.law_spec), config, listen=listen).run(ticks=40)
    records = [json.loads(line) for line in Path(config.log or "").read_text().splitlines()]
    last = {r["cgroup"]: (r["minutes"], r["broken_minutes"]) for r in records if r["kind"] == "decision"}
    assert list(last.values()) == [tuple(column) for column in counted.T]
    assert 0 < counted[1].sum() < counted[0].sum()
    assert any(reason.startswith("promise: ") for r in records for reason in r.get("reasons", ()))
    result = replay(config.log or "")
    assert (result.decisions, result.mismatches) == (80, [])
