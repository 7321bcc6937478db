"""The measurements measure what they say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from zswap_gym.agents.bench import table
from zswap_gym.agents.bench.against import against_reference
from zswap_gym.agents.bench.commands import training_rate
from zswap_gym.agents.bench.rates import COUNTED, Rate, env_rate, machine_rate
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
        assert 0.1 < rate.memory_mib < 10
    assert one.scaling is None
    assert many.scaling is not None
    assert many.scaling > 0


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


@pytest.mark.slow
def test_a_training_is_timed_on_a_scenario_of_ones_choice() -> None:
    assert training_rate(1, 1, "demo", "demo-train") > 0


def test_the_figures_that_are_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """One flat object: none is missing and none hides in another."""
    rate = Rate(100.0, 12.0, dict.fromkeys(COUNTED, 1.0), 65_536, 4.0, 1.9)
    monkeypatch.setattr(table, "env_rate", lambda *_args, **_kwargs: rate)
    monkeypatch.setattr(table, "against_reference", lambda *_args, **_kwargs: Comparison)
    monkeypatch.setattr(table, "core_over_c", lambda: (1.1, ""))
    monkeypatch.setattr(table, "ppo_env_share", lambda *_args, **_kwargs: 0.5)
    monkeypatch.setattr(table, "start_up", lambda: (10.0, 0.5))
    monkeypatch.setattr(table, "training_rate", lambda threads, *_: 1000.0 * threads)
    monkeypatch.setattr(table, "command_times", lambda _quick: [("advise_s_sidecar", 3.0)])
    monkeypatch.setattr(table, "thread_count", lambda: 2)
    figures = table.measure(quick=True, say=lambda _line: None)
    wanted = {
        "scaling_2_cores": 1.9, "scaling_2_cores_64": 1.9, "train_scaling_2_cores": 2.0,
        "outside_core_us": 12.0, "outside_core_us_64": 12.0, "cold_start_s": 10.0, "warm_start_s": 0.5,
        "train_env_steps_per_s": 2000.0, "ppo_env_cpu_share": 0.5, "overhead_outside_core_us": 12.0,
        "core_over_c": 1.1, "host_week_s": None,
        "sim_s_per_s_64gib_limit_0.6": None, "memory_per_machine_mib": 4.0, "scaling_efficiency": 0.95,
        "single_env_steps_per_s_65536_limit_0.6": 100.0, "vector_env_steps_per_s_65536_limit_0.6": 100.0,
    }  # fmt: skip
    assert wanted.items() <= figures.items()


class Comparison:
    """What a comparison with the reference says."""

    speed, accesses_per_fault, counters = 50.0, 100.0, {"pswpin": 1.0}
