"""Programs of regions and phases: what the words mean."""

from __future__ import annotations

import numpy as np
import pytest

from zswap_gym.errors import UserError
from zswap_gym.workloads.coldness import bitmaps
from zswap_gym.workloads.plan import assemble
from zswap_gym.workloads.programs import program_parts, rates
from zswap_gym.workloads.scenario import Scenario
from zswap_gym.workloads.schema import Workload

S = 1_000_000
WORK = {
    "regions": [
        {"name": "hot", "size": "1M", "popularity": "uniform:1"},
        {"name": "swept", "size": "2M"},
        {"name": "scratch", "size": "1M", "popularity": "uniform:0.5", "transient": True},
    ],
    "phases": [
        {"name": "quiet", "duration": "100s", "rates": {"hot": 0}},
        {"name": "busy", "duration": "60s", "rates": {"hot": 2, "scratch": 1}},
        {"name": "backup", "duration": "40s", "sweep": ["swept"]},
    ],
    "jitter": 0.0,
}


def plan_of(work, span_s=1000, seed=0, **options):
    rng = np.random.default_rng(seed)
    parts, clen = program_parts(
        Workload.model_validate(work), 1, span_s * S, rng, compressor="zstd", **options
    )
    return assemble(parts, clen, span_s * S, rng)


def test_regions_do_what_their_phases_say():
    plan = plan_of(WORK)
    times = np.arange(1, 1000) * S
    touched, there = bitmaps(plan, times, np.random.default_rng(0))
    hot, swept, scratch = touched[5:, :256], touched[5:, 256:768], there[5:, 768:]
    # Per round of 200 s: 100 s nothing, 60 s at 2 Hz, 40 s at 1 Hz.
    share = hot.mean(axis=1)
    assert (share < 0.02).mean() == pytest.approx(0.5, abs=0.03)
    assert (share > 0.8).mean() == pytest.approx(0.3, abs=0.03)
    assert swept.sum(axis=0) == pytest.approx(5, abs=1)  # once a round, a thousand seconds
    assert (swept.any(axis=1)).mean() == pytest.approx(0.2, abs=0.03)
    assert scratch.mean() == pytest.approx(0.3, abs=0.03)
    assert set(np.unique(scratch.mean(axis=1)).round()) == {0.0, 1.0}


def test_no_two_draws_share_a_rhythm():
    a, b = (plan_of(WORK | {"jitter": 0.3}, seed=seed) for seed in (1, 2))
    assert a.regions["sweep_period"].max() != b.regions["sweep_period"].max()
    same = plan_of(WORK | {"jitter": 0.3}, seed=1)
    assert np.array_equal(a.seg_time, same.seg_time)
    assert np.array_equal(a.clen, same.clen)


def test_time_and_load_and_size_scale():
    plan = plan_of(WORK, load=3.0, time_scale=2.0, size_factor=2.0)
    assert plan.n_pages == 2 * 1024
    assert plan.rate.max() == pytest.approx(3.0)
    assert plan.regions["sweep_period"].max() == 400 * S


@pytest.mark.parametrize("law", ["idle", "uniform:0.5", "zipf:0.99:0.5", "lognormal:-2:0.5"])
def test_popularity_laws(law):
    rate = rates(law, 4000, 4.0, np.random.default_rng(0))
    assert (rate[::4] == rate[1::4]).all()
    if law == "idle":
        assert not rate.any()
    elif law.startswith("lognormal"):
        assert np.log(rate).mean() == pytest.approx(-2, abs=0.1)
        assert np.log(rate).std() == pytest.approx(0.5, abs=0.05)
    else:
        assert rate.mean() == pytest.approx(0.5)
    if law.startswith("zipf"):
        assert rate.max() / np.median(rate) == pytest.approx(500**0.99, rel=0.05)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"phases": []}, "regions need phases"),
        ({"trace": "sidecar"}, "either archetype or trace, or regions"),
        ({"pages": 4096}, "pages does not apply to a program of phases"),
        ({"regions": [WORK["regions"][0]] * 2}, "the same name"),
        ({"regions": [{"name": "hot", "size": "1M", "popularity": "zipf"}]}, "write idle, uniform:HZ"),
        ({"regions": [{"name": "hot", "size": "-1M"}]}, "is not a size"),
        ({"phases": [{"name": "a", "duration": "1s", "rates": {"hott": 1}}]}, "did you mean 'hot'"),
        ({"phases": [{"name": "a", "duration": 0}]}, "duration"),
        ({"phases": [{"name": "a", "duration": "5s"}]}, "transient, and no phase names it"),
    ],
)
def test_what_cannot_be(tmp_path, change, words):
    from zswap_gym.workloads.scenario import load_scenario

    import yaml  # isort: skip

    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({"name": "x", "cgroups": [{"name": "a", "workload": WORK | change}]}))
    with pytest.raises(UserError, match=words) as caught:
        load_scenario(path)
    assert "x.yaml" in str(caught.value)


def test_one_of_several_archetypes_is_drawn():
    names = ["kv_zipf", "sidecar_agent"]
    scenario = Scenario.model_validate(
        {"name": "x", "cgroups": [{"name": "a", "workload": {"archetype": names, "pages": 512}}]}
    )
    never = {
        round(float((scenario.realise(np.random.default_rng(s)).plans["a"].rate == 0).mean()), 1)
        for s in range(20)
    }
    assert never == {0.0, 1.0}


def test_over_provisioned_memory_is_drawn_per_cgroup():
    scenario = Scenario.model_validate(
        {
            "name": "x",
            "cgroups": [{"name": n, "workload": {"archetype": "kv_zipf", "pages": 4096}} for n in "ab"],
            "randomise": {"never": [0.2, 0.6]},
        }
    )
    plans = scenario.realise(np.random.default_rng(1)).plans
    idle = [float((plan.rate == 0).mean()) for plan in plans.values()]
    assert all(0.18 < share < 0.62 for share in idle)
    assert abs(idle[0] - idle[1]) > 0.01


def test_a_scenario_names_the_kernels_dialect_and_lru():
    base = {"name": "x", "cgroups": [{"name": "a", "workload": {"archetype": "kv_zipf", "pages": 512}}]}
    real = Scenario.model_validate(base | {"dialect": "v5", "host": {"lru": "classic"}}).realise(
        np.random.default_rng(0)
    )
    assert (real.host.interface, real.host.lru) == ("v5", "classic")
    with pytest.raises(ValueError, match="dialect"):
        Scenario.model_validate(base | {"dialect": "v9"})
