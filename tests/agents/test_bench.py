"""The measurements measure what they say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from zswap_gym.agents.bench.against import against_reference
from zswap_gym.agents.bench.rates import env_rate, machine_rate
from zswap_gym.agents.bench.translation import SOURCE, core_over_c
from zswap_gym.agents.bench.variants import variant
from zswap_gym.cli.main import main


def test_variants_have_the_size_they_are_asked_for() -> None:
    for pages, cgroups in ((16_384, 1), (65_536, 8), (65_536, 32)):
        scenario = variant(pages=pages, cgroups=cgroups, limit=0.4, stage_one=True)
        assert len({c.name for c in scenario.cgroups}) == cgroups
        total = sum(c.workload.pages for c in scenario.cgroups if c.workload is not None)
        assert total == pytest.approx(pages, rel=0.01)
        assert scenario.stage_one.kind == "fixed"


def test_single_and_vector_rates_count_the_same_work() -> None:
    small = variant(pages=2048, cgroups=4, episode={"length": "60s", "warmup": "30s", "snapshots": 1})
    one, many = (env_rate(small, n, 3, vector=n > 1) for n in (1, 2))
    for rate in (one, many):
        assert rate.steps_per_s > 0
        assert 0 < rate.outside_us < 1.5e6 / rate.steps_per_s  # medians each: not of the same episode
        assert rate.counts["pgfault"] > 0
        assert rate.pages == 2048


@pytest.mark.skipif(shutil.which("cc") is None or not SOURCE.exists(), reason="no C compiler or no checkout")
def test_the_c_translation_leaves_the_same_state() -> None:
    ratio, reason = core_over_c()  # raises where it does not
    assert ratio is not None, reason
    assert 0.2 < ratio < 5


def test_a_machine_without_a_policy_is_timed() -> None:
    size = machine_rate(1, 64, 5.0)
    assert size.pages == pytest.approx(4096, rel=0.01)
    assert size.sim_s_per_s > 0


def test_the_reference_does_the_same_work_more_slowly() -> None:
    found = against_reference(0.8, pairs=1, pages=4096, window_s=60)
    assert found.speed > 1
    assert found.counters["pgmajfault"] == pytest.approx(1.0, abs=0.3)


def test_a_folder_in_the_way_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--json", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_writes_every_promised_key(tmp_path: Path) -> None:
    out = tmp_path / "speed.json"
    assert main(["bench", "--quick", "--json", str(out)]) == 0
    assert set(json.loads(out.read_text())) >= {
        "lazy_over_reference_limit_0.4",
        "lazy_over_reference_limit_0.8",
        "ppo_env_cpu_share_batch_64",
        "ppo_env_cpu_share_batch_512",
        "vector_env_steps_per_s_65536_limit_0.6",
        "overhead_outside_core_us",
        "host_week_s",
        "sim_s_per_s_64gib_limit_0.6",
        "core_over_c",
        "warm_start_s",
        "cold_start_s",
    }
