"""A log shows that every decision in it follows from what was seen."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from zswap_gym.controller.config import ControllerConfig
from zswap_gym.controller.decider import LawDecider
from zswap_gym.controller.loop import Controller
from zswap_gym.controller.replay import replay
from zswap_gym.host.types import COLUMN, Request, Sample

MIB = 1 << 20


class Counting:
    """Remembers: asks for a little more at every tick, less where pressure is up."""

    name = "counting"

    def __init__(self, _config: ControllerConfig | None = None) -> None:
        self.count = 0

    def decide(self, samples: Sequence[Sample], dt_s: float) -> list[Request]:  # noqa: ARG002
        self.count += 1
        return [Request(1.0 + sample.psi_some_avg10, self.count * MIB) for sample in samples]

    def asked(self, inode: int, request: Request) -> None:
        """It does not remember."""

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}


@pytest.fixture
def config(tmp_path: Path) -> ControllerConfig:
    return ControllerConfig.from_mapping(
        {
            "mode": "act",
            "cgroups": ["*"],
            "interval": 10,
            "log": str(tmp_path / "log.jsonl"),
            "state": str(tmp_path / "state.json"),
            "rails": {
                "age_floor": 2,
                "bytes_per_minute": "6M",
                "bytes_per_day": "50M",
                "psi_max_percent": 90,
                "breaker": {"window": 30, "freeze": 30},
            },
        }
    )


def test_the_same_loop_drives_a_simulated_host_and_its_log_replays(
    make_host: Callable[..., Any], config: ControllerConfig
) -> None:
    host = make_host()
    host.sleep(30)
    said: list[str] = []
    for ticks in (12, 8):  # stopped and started again: budgets are carried over
        Controller(host, Counting(), config, complain=said.append).run(ticks=ticks)
        host.sleep(7)
    assert host.table()[:, COLUMN["zswpwb_proactive"]].sum() > 1000
    lines = [json.loads(line) for line in Path(config.log or "").read_text().splitlines()]
    reasons = {r.split(":")[0] for line in lines if line["kind"] == "decision" for r in line["reasons"]}
    assert {"age-floor", "bytes-per-minute", "breaker"} <= reasons
    result = replay(config.log or "", Counting)
    assert (result.decisions, result.skipped, result.mismatches) == (40, 0, [])


def test_a_log_that_does_not_follow_is_found_out(
    make_host: Callable[..., Any], config: ControllerConfig
) -> None:
    host = make_host()
    host.sleep(30)
    Controller(host, Counting(), config, complain=lambda _: None).run(ticks=3)
    path = Path(config.log or "")
    lines = path.read_text().splitlines()
    index = next(i for i, line in enumerate(lines) if '"decision"' in line and '"tick":2' in line)
    record = json.loads(lines[index])
    record["allowed"]["max_bytes"] += 4096
    lines[index] = json.dumps(record)
    path.write_text("\n".join(lines) + "\n")
    (mismatch,) = replay(path, Counting).mismatches
    assert (mismatch.tick, mismatch.cgroup, mismatch.what) == (2, record["cgroup"], "allowed")


def test_a_log_without_its_start_is_skipped(make_host: Callable[..., Any], config: ControllerConfig) -> None:
    host = make_host()
    Controller(host, Counting(), config, complain=lambda _: None).run(ticks=2)
    path = Path(config.log or "")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    result = replay(path, Counting)
    assert (result.decisions, result.skipped) == (0, 4)


def test_another_law_in_the_same_place(make_host: Callable[..., Any], config: ControllerConfig) -> None:
    """What would never have done? It would have asked for nothing wherever counting asked."""
    host = make_host()
    host.sleep(30)
    Controller(host, Counting(), config, complain=lambda _: None).run(ticks=3)
    result = replay(config.log or "", lambda _: LawDecider("never"))
    assert {m.what for m in result.mismatches} >= {"by", "proposed", "allowed"}
