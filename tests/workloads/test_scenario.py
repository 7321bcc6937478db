from __future__ import annotations

import copy
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

import zswap_gym
from zswap_gym.errors import UserError
from zswap_gym.kernel.spec import DEVICES
from zswap_gym.workloads.plan import working_set
from zswap_gym.workloads.scenario import Scenario, load_scenario, scenario_names
from zswap_gym.workloads.schema import StageOne

CONFIGS = Path(zswap_gym.__file__).parents[1] / "configs" / "scenarios"
SHIPPED = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
MIB = 1 << 20

BASE = {
    "name": "two",
    "host": {"device": "nvme", "page_scale": 2},
    "stage_one": {"kind": "fixed", "rate": "1M", "interval": "1s"},
    "cgroups": [
        {
            "name": "kv",
            "workload": {"archetype": "kv_zipf", "pages": 2048},
            "memory_max": 0.6,
            "events": [{"kind": "critical", "at": "60s", "duration": "30s", "bytes": "1M", "multiplier": 3}],
        },
        {"name": "agent", "workload": {"trace": "sidecar", "pages": 512}, "memory_high": "64M"},
    ],
    "episode": {"decision_interval": "5s", "length": "2m", "warmup": 30},
}


@pytest.fixture
def write(tmp_path):
    """Write BASE with a key (dotted, digits are list indices) set; None removes it."""

    def _write(changes=None, name="two.yaml"):
        content = copy.deepcopy(BASE)
        for key, value in (changes or {}).items():
            *path, last = [int(part) if part.isdigit() else part for part in key.split(".")]
            place = content
            for part in path:
                place = place[part] if isinstance(part, int) else place.setdefault(part, {})
            place[last] = value
        path = tmp_path / name
        path.write_text(yaml.safe_dump(content))
        return path

    return _write


def rng(seed=0):
    return np.random.default_rng(seed)


def same(a, b):
    assert a.host == b.host
    assert a.cgroups == b.cgroups
    assert a.events == b.events
    for name, plan in a.plans.items():
        for field in ("rate", "clen", "seg_time", "seg_mult", "first_touch", "frees", "trace_time"):
            assert np.array_equal(getattr(plan, field), getattr(b.plans[name], field))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_scenarios_realise(name):
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario.description
    real = scenario.realise(rng())
    leaves = [cgroup for cgroup in scenario.cgroups if cgroup.workload]
    assert list(real.plans) == [cgroup.name for cgroup in leaves]
    assert all(plan.span_us == scenario.span_s * 1e6 for plan in real.plans.values())
    assert real.host.ram_bytes > 0
    assert real.host.boot_us >= 2 * scenario.span_s
    assert sum(plan.n_pages for plan in real.plans.values()) <= 80_000
    same(real, scenario.realise(rng()))


def test_the_asked_scenarios_are_there():
    assert {
        "bench-mix",
        "demo-train",
        "demo-test",
        "kv-and-sidecar",
        "arrival-announced",
        "arrival-unannounced",
        "slow-disk",
        "tight-limit",
        "single-kv",
        "mixed-host",
    } <= set(SHIPPED)
    assert set(SHIPPED) <= set(scenario_names())


def test_the_demo_tests_on_programs_it_did_not_train_on():
    train, test = (load_scenario(name) for name in ("demo-train", "demo-test"))
    programs = [{cgroup.workload.trace for cgroup in scenario.cgroups} for scenario in (train, test)]
    assert all(len(p) == 4 and None not in p for p in programs)
    assert not programs[0] & programs[1]
    assert (train.split, test.split) == ("train", "test")
    assert train.age_limit_s() == train.span_s / 2
    assert load_scenario("single-kv").age_limit_s() is None


def test_bench_mix_is_the_standard_size():
    scenario = load_scenario("bench-mix")
    real = scenario.realise(rng())
    assert sum(plan.n_pages for plan in real.plans.values()) == 65_536
    assert len(real.cgroups) == 8
    assert real.host.shrinker_enabled
    assert real.stage_one.kind == "none"
    assert scenario.episode.decision_interval == 10.0


def test_the_two_arrival_scenarios_differ_in_hints_only():
    a, b = (load_scenario(f"arrival-{word}") for word in ("announced", "unannounced"))
    x, y = a.realise(rng()), b.realise(rng())
    assert [e.announced for e in x.events] == [True] * len(x.events)
    assert [e.announced for e in y.events] == [False] * len(y.events)
    assert [e.start_s for e in x.events] == [e.start_s for e in y.events]
    assert np.array_equal(x.plans["db"].trace_time, y.plans["db"].trace_time)


def test_a_pool_of_instances_is_quick():
    scenario = load_scenario("bench-mix")
    best = np.inf
    for seed in range(4):
        start = time.perf_counter()
        scenario.realise(rng(seed))
        best = min(best, time.perf_counter() - start)
    assert best < 0.2  # about 0.02 s on an idle core


def test_limits_are_fractions_of_the_working_set_or_bytes(write):
    real = load_scenario(write()).realise(rng())
    kv, agent = real.cgroups
    ws = working_set(real.plans["kv"]) * 2 * 4096
    assert kv.memory_max % 4096 == 0
    assert kv.memory_max == pytest.approx(0.6 * (ws + kv.base_bytes), abs=4096)
    assert kv.base_bytes == (105 + 4096 // 512) * 4096
    assert agent.memory_max is None
    assert agent.memory_high == 64 * MIB
    total = ws + kv.base_bytes + working_set(real.plans["agent"]) * 2 * 4096 + agent.base_bytes
    assert real.host.ram_bytes == pytest.approx(1.25 * total, abs=4096)
    assert real.host.swap_bytes == pytest.approx(2 * total, abs=4096)


def test_a_parents_fraction_is_of_its_children(write):
    path = write({
        "cgroups": [
            {"name": "pod", "memory_max": 0.5},
            {"name": "a", "parent": "pod", "workload": {"archetype": "kv_zipf", "pages": 1024}},
            {"name": "b", "parent": "pod", "workload": {"archetype": "py_service", "pages": 512}},
        ]
    })  # fmt: skip
    real = load_scenario(path).realise(rng())
    pages = 1536 * 2 + 2 * 105 + 4 + 2
    assert real.cgroups[0].memory_max == pytest.approx(0.5 * pages * 4096, abs=4096)
    assert real.cgroups[0].base_bytes == 0
    assert not real.cgroups[0].stage_one
    assert [c.parent for c in real.cgroups] == [None, "pod", "pod"]


def test_events_take_their_pages_from_the_cgroup(write):
    real = load_scenario(write()).realise(rng())
    plan = real.plans["kv"]
    assert plan.n_pages == 2048
    assert plan.regions["traced"].tolist() == [0, 1]
    assert plan.regions["n_pages"][1] == MIB // 8192
    (event,) = real.events
    assert (event.start_s, event.end_s, event.bytes, event.multiplier) == (90.0, 120.0, MIB, 3.0)
    assert plan.seg_mult.tolist()[:3] == [1, 3, 1]


def test_arms_change_one_thing_and_stay_paired(write):
    scenario = load_scenario(write({"randomise": {"device": ["sata", "hdd"], "sizes": [0.5, 2]}}))
    arm = scenario.arm(
        shrinker_enabled=True,
        max_pool_percent=35,
        stage_one="senpai",
        device="iops400",
        compressor="lz4",
        release_after_writeback=False,
    )
    a, b = scenario.realise(rng(4)), arm.realise(rng(4))
    assert b.host.shrinker_enabled
    assert b.host.max_pool_percent == 35
    assert b.host.device == DEVICES["iops400"]
    assert not b.host.release_after_writeback
    assert b.stage_one.kind == "senpai"
    assert b.stage_one.interval_us == 1_000_000
    assert a.events == b.events
    for name in a.plans:
        assert np.array_equal(a.plans[name].rate, b.plans[name].rate)
        assert np.array_equal(a.plans[name].trace_time, b.plans[name].trace_time)
    assert a.cgroups == b.cgroups
    assert scenario.arm() == scenario
    assert scenario.arm(stage_one=StageOne(kind="none")).stage_one.kind == "none"
    assert scenario.host.zswap.shrinker_enabled is False
    with pytest.raises(UserError, match=r"arm of two: key host.device: value 'nvm'"):
        scenario.arm(device="nvm")


def test_every_shipped_scenario_survives_its_own_dump():
    for name in SHIPPED:
        scenario = load_scenario(name)
        assert scenario.arm() == scenario


def test_randomised_instances_differ(write):
    scenario = load_scenario(
        write({
            "randomise": {
                "sizes": [0.5, 2],
                "load": [0.5, 2],
                "device": ["nvme", "hdd"],
                "compressor": ["zstd", "lzo"],
            }
        })
    )  # fmt: skip
    reals = [scenario.realise(rng(seed)) for seed in range(12)]
    assert len({real.plans["kv"].n_pages for real in reals}) == 12
    assert all(1024 <= real.plans["kv"].n_pages <= 4096 for real in reals)
    assert all(256 <= real.plans["agent"].n_pages <= 1024 for real in reals)
    assert len({real.host.device for real in reals}) == 2
    assert len({real.host.compressor for real in reals}) == 2
    median = [float(np.median(real.plans["kv"].rate)) for real in reals]
    assert max(median) / min(median) > 1.5


def test_a_random_start_stays_inside_the_recording(write):
    scenario = load_scenario(write({"cgroups.1.workload.start": "random"}))
    plans = [scenario.realise(rng(seed)).plans["agent"] for seed in range(6)]
    assert all(plan.span_us == 150_000_000 for plan in plans)
    assert len({len(plan.trace_time) for plan in plans}) > 1


def test_names_are_found_here_before_in_the_checkout(write, tmp_path, monkeypatch):
    folder = tmp_path / "configs" / "scenarios"
    folder.mkdir(parents=True)
    write().rename(folder / "bench-mix.yaml")
    monkeypatch.chdir(tmp_path)
    assert load_scenario("bench-mix").name == "two"
    assert load_scenario(folder / "bench-mix.yaml").name == "two"
    assert load_scenario("single-kv").name == "single-kv"
    assert "bench-mix" in scenario_names()


def test_a_recording_may_lie_beside_the_scenario(write, arrays, save):
    save({**arrays, "times": arrays["times"] * 10}, "mine.npz")
    path = write({"cgroups.1.workload": {"trace": "mine.npz"}})
    assert load_scenario(path).realise(rng()).plans["agent"].n_pages == 300


def refused(path, *words):
    with pytest.raises(UserError) as caught:
        load_scenario(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(path), *words):
        assert word in message, message


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("hots", 1, ["unknown key 'hots'", "did you mean 'host'"]),
        ("host.devise", 1, ["key host: unknown key 'devise'", "did you mean 'device'"]),
        ("host.zswap", {"shrinker": True}, ["key host.zswap:", "did you mean 'shrinker_enabled'"]),
        ("cgroups.0.workload.archtype", 1, ["key cgroups.0.workload:", "did you mean 'archetype'"]),
        ("cgroups.0.events.0.anounced", True, ["key cgroups.0.events.0:", "did you mean 'announced'"]),
        ("cgroups.0.workload.parameters", {"muu": 1}, ["workload.parameters:", "did you mean 'mu'"]),
        ("host.device", {"raed_us": 5}, ["key host.device:", "did you mean 'read_us'"]),
        ("host.ram", "12Q", ["key host.ram:", "'12Q'", "not a size"]),
        ("host.page_scale", 3, ["key host.page_scale:", "value 3", "power of two"]),
        ("host.device", "nvmee", ["key host.device:", "did you mean 'nvme'"]),
        ("host.compressor", "zst", ["key host.compressor:", "did you mean 'zstd'"]),
        ("host.zswap", {"max_pool_percent": 120}, ["max_pool_percent:", "120", "100"]),
        ("stage_one.rate", "fast", ["key stage_one.rate:", "not a size"]),
        ("stage_one.kind", "tmo", ["key stage_one.kind:", "'senpai'"]),
        ("cgroups.0.memory_max", 1, ["key cgroups.0.memory_max:", "1.0"]),
        ("cgroups.0.memory_max", -0.5, ["key cgroups.0.memory_max:", "-0.5", "64M"]),
        ("cgroups.0.memory_max", True, ["key cgroups.0.memory_max:", "True"]),
        ("cgroups.0.workload.pages", 3, ["key cgroups.0.workload.pages:", "value 3", "64"]),
        ("cgroups.0.workload.pages", "many", ["key cgroups.0.workload.pages:", "'many'"]),
        ("cgroups.0.workload.pages", True, ["key cgroups.0.workload.pages:"]),
        ("cgroups.0.workload.archetype", "kv_zip", ["'kv_zip'", "did you mean 'kv_zipf'"]),
        ("cgroups.0.workload.trace", "sidecar", ["either archetype or trace"]),
        ("cgroups.0.workload.start", "5s", ["start does not apply to an archetype"]),
        ("cgroups.1.workload.load", 2.0, ["load does not apply to a recording"]),
        ("cgroups.1.workload.trace", "sidecart", ["cgroups.1.workload.trace", "did you mean 'sidecar'"]),
        ("cgroups.1.workload.start", "100s", ["cgroups.1.workload.start", "105 s", "150 s"]),
        ("cgroups.1.workload.pages", 100_000, ["cgroups.1.workload.pages", "87033"]),
        ("cgroups.1.events", [{"kind": "critical", "at": 1, "duration": 5, "multiplier": 2}], ["sped up"]),
        ("cgroups.0.events.0.at", "1h", ["3600 s", "120 s"]),
        ("cgroups.0.events.0.bytes", "64M", ["'kv'", "67108864", "fresh"]),
        ("cgroups.0.events.0.multiplier", float("nan"), ["multiplier", "finite"]),
        ("cgroups.0.name", "a/b", ["cgroups.0.name", "'a/b'"]),
        ("cgroups.1.name", "kv", ["'kv' appears twice"]),
        ("cgroups.1.parent", "kb", ["'kb'", "did you mean 'kv'"]),
        ("cgroups.1.parent", "kv", ["'kv'", "either a workload or children"]),
        ("cgroups.1.workload", None, ["'agent'", "either a workload or children"]),
        ("cgroups", [], ["at least one cgroup"]),
        ("cgroups", "kv", ["key cgroups:", "list"]),
        ("episode.length", "2 hours", ["key episode.length:", "not a duration"]),
        ("episode.length", "4s", ["decision_interval"]),
        ("episode.warmup", -1, ["key episode.warmup:", "-1"]),
        ("randomise.sizes", [2, 1], ["key randomise.sizes:", "lowest"]),
        ("randomise.sizes", [0, 1], ["key randomise.sizes:", "above 0"]),
        ("randomise.device", ["nvme", "floppy"], ["key randomise.device.1:", "'floppy'"]),
        ("randomise.sizes", [1, "a"], ["key randomise.sizes.1:", "value 'a'"]),
        ("randomise.never", "all", ["key randomise.never:", "value 'all'"]),
        ("randomise.compressor", [{"zstd": 1}], ["key randomise.compressor.0:"]),
        ("host.0x10", 1, ["key host: unknown key '0x10'"]),
        ("episode.%s", 1, ["key episode: unknown key '%s'"]),
        ("host.device", "zramm", ["key host.device:", "did you mean 'zram'"]),
        ("split", "exam", ["key split:", "'exam'", "'test'"]),
        ("kernel", 6.11, ["key kernel:", "6.11", "'6.12'"]),
        ("name", 5, ["key name:", "string"]),
    ],
)
def test_a_mistake_is_one_line_that_says_where_and_what(write, key, value, words):
    refused(write({key: value}), *words)


def test_a_missing_key_is_named(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("name: x\n")
    refused(path, "key cgroups:", "required")


def test_load_cannot_be_randomised_for_recordings_alone(write):
    only = [{"name": "agent", "workload": {"trace": "sidecar"}}]
    refused(write({"cgroups": only, "randomise.load": [0.5, 2]}), "needs an archetype")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: [1", "line 1"),
        ("name: x\nname: y\n", "line 2: key 'name' is given twice"),
        ("- 1\n", "list"),
        ("", "nothing"),
        ("1: 2\n", "mapping"),
        ("a: \x00", "correct the YAML"),
    ],
)
def test_files_that_are_no_mapping_are_refused(tmp_path, text, word):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    refused(path, word)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UserError, match="did you mean 'bench-mix'"):
        load_scenario("bench-mxi")


def test_page_cache_and_protection() -> None:
    """Pages of files beside an archetype's memory, and the limits that reach the kernel's spec."""
    cgroup = {
        "name": "g",
        "memory_min": "4M",
        "memory_low": 0.5,
        "swap_high": "8M",
        "oom_group": True,
        "workload": {"archetype": "kv_zipf", "pages": 512, "cache_pages": 300},
    }
    scenario = Scenario.model_validate({"name": "x", "dialect": "v5", "kernel": "7.3", "cgroups": [cgroup]})
    made = scenario.realise(np.random.default_rng(1))
    plan, spec = made.plans["g"], made.cgroups[0]
    assert (plan.regions["file"][plan.region] == 1).sum() == 300
    assert (spec.memory_min, spec.swap_high, spec.oom_group) == (4 << 20, 8 << 20, True)
    assert spec.memory_low is not None
    assert 512 * 4096 // 2 < spec.memory_low < 2 * 812 * 4096
    assert (made.host.interface, made.host.kernel) == ("v5", "7.3")
