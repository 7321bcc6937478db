"""The environment keeps Gymnasium's and SB3's promises."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from stable_baselines3.common.vec_env import DummyVecEnv

from zswap_gym.envs import warmstart
from zswap_gym.envs.privileged import AGE_FEATURES, PrivilegedWritebackEnv
from zswap_gym.envs.registration import ENTRY_POINTS, register
from zswap_gym.envs.writeback import WritebackEnv
from zswap_gym.errors import UserError
from zswap_gym.host.types import COLUMN, NOTHING, Request
from zswap_gym.policy.actions import PER_CGROUP, ActionSpec, encode, from_requests
from zswap_gym.policy.features import FEATURES, HOST_FEATURES, INDEX
from zswap_gym.policy.promise import footprint

ROOT = Path(__file__).parents[2]


def rollout(env, seed: int, steps: int = 25, actions_seed: int = 0):
    """Observations, rewards, truncations of random actions, resets included."""
    rng = np.random.default_rng(actions_seed)
    found = [env.reset(seed=seed)[0]]
    rest = []
    for _ in range(steps):
        obs, reward, terminated, truncated, _ = env.step(
            rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
        )
        found.append(obs)
        rest.append((reward, terminated, truncated))
        if truncated:
            found.append(env.reset()[0])
    return np.stack(found), rest


@pytest.mark.parametrize("env_id", list(ENTRY_POINTS))
@pytest.mark.filterwarnings("error")
def test_checkers_pass_without_a_warning(env_id: str, make_scenario) -> None:
    for render_mode in (None, "ansi", "rgb_array"):
        env = gymnasium.make(env_id, scenario=make_scenario(), render_mode=render_mode)
        check_env(env.unwrapped)
        sb3_check_env(env.unwrapped, warn=True)
        env.close()


def test_ids_are_registered_once_and_make_works_by_name() -> None:
    register()
    register()
    env = gymnasium.make("zswap_gym/Writeback-v0", scenario="demo-train")
    obs, _ = env.reset(seed=0)
    assert obs in env.observation_space


def test_spaces_are_the_contracts(make_env) -> None:
    env = make_env(n_max=5)
    f, h = len(FEATURES), len(HOST_FEATURES)
    assert env.observation_space.shape == (5 * f + h,)
    assert env.action_space.shape == (15,)
    obs, info = env.reset(seed=0)
    assert info["cgroups"] == ("kv", "agent", "web") == env.cgroups
    rows, host = env.rows_and_host(obs)
    assert rows.shape == (5, f)
    assert host.shape == (h,)
    assert rows[:, INDEX["present"]].tolist() == [1, 1, 1, 0, 0]
    assert (rows[3:] == 0).all()
    assert (rows[:3] == env._fleet.rows[0]).all()
    batch_rows, batch_host = env.rows_and_host(np.stack([obs, obs]))
    assert batch_rows.shape == (2, 5, f)
    assert batch_host.shape == (2, h)


def test_absent_rows_change_nothing(make_env) -> None:
    narrow, wide = make_env(), make_env(n_max=6)
    rng = np.random.default_rng(0)
    narrow.reset(seed=3)
    wide.reset(seed=3)
    for _ in range(8):
        action = rng.uniform(-1, 1, 9)
        a = narrow.step(action)
        b = wide.step(np.concatenate([action, rng.uniform(-1, 1, 9)]))
        assert a[1] == b[1]
        assert (narrow.rows_and_host(a[0])[0] == wide.rows_and_host(b[0])[0][:3]).all()


def test_observations_stay_in_bounds_and_episodes_end(make_env) -> None:
    env = make_env(objective="bill")
    rng = np.random.default_rng(4)
    for seed in range(4):
        obs, _ = env.reset(seed=seed)
        for step in range(1, 11):
            assert obs in env.observation_space
            obs, reward, terminated, truncated, _ = env.step(rng.uniform(-1, 1, 9))
            assert isinstance(reward, float)
            assert reward < 0
            assert (terminated, truncated) == (False, step == 10)


# --- determinism -------------------------------------------------------------------------------------

_PRINT_ROLLOUT = """
import hashlib, numpy as np
from zswap_gym.envs.writeback import WritebackEnv
for seed in {seeds}:
    env = WritebackEnv("demo-train", episode_s=40)
    rng = np.random.default_rng(1)
    digest = hashlib.sha256(env.reset(seed=seed)[0].tobytes())
    for _ in range(20):
        obs, reward, _, truncated, _ = env.step(rng.uniform(-1, 1, env.action_space.shape))
        digest.update(obs.tobytes() + np.float64(reward).tobytes())
        if truncated:
            digest.update(env.reset()[0].tobytes())
    print(seed, digest.hexdigest())
"""


def test_the_same_seed_gives_bit_equal_rollouts_in_two_processes_whatever_they_did_before() -> None:
    def run(seeds: list[int]) -> dict[str, str]:
        script = _PRINT_ROLLOUT.format(seeds=seeds)
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
        )
        return dict(line.split() for line in done.stdout.splitlines())

    first, second = run([7, 11, 3]), run([3, 7])
    assert first["7"] == second["7"]
    assert first["3"] == second["3"]
    assert len(set(first.values())) == 3


def test_seeds_matter_and_only_seeds(make_env) -> None:
    env = make_env()
    one = rollout(env, 5)
    other = rollout(env, 6)
    again = rollout(make_env(), 5)
    assert (one[0] == again[0]).all()
    assert one[1] == again[1]
    assert not (one[0][:5] == other[0][:5]).all()


def test_episodes_of_one_draw_share_the_start_and_not_the_stream(make_env) -> None:
    env = make_env()  # three snapshots: seeds 1 and 4 are the same draw
    one, four, two = (env.reset(seed=seed)[0] for seed in (1, 4, 2))
    assert (one == four).all()
    assert not (one == two).all()
    after = []
    for seed in (1, 4):
        env.reset(seed=seed)
        after.append(env.step_requests([NOTHING] * 3)[4]["terms"])
    assert after[0] != after[1]


def test_evaluation_draws_its_own_start_for_every_seed(make_env) -> None:
    env = make_env(snapshots=0)
    starts = [env.reset(seed=seed)[0] for seed in (1, 4, 7)]
    assert not (starts[0] == starts[1]).all()
    assert not (starts[1] == starts[2]).all()


def test_the_pool_is_bounded_and_forgetting_is_harmless(make_env, monkeypatch: pytest.MonkeyPatch) -> None:
    env = make_env(snapshots=0)
    before = [env.reset(seed=seed)[0] for seed in (21, 22, 23)]
    monkeypatch.setattr(warmstart, "POOL_BYTES", 1)
    after = [env.reset(seed=seed)[0] for seed in (21, 24, 22, 23, 21)]
    assert len(warmstart._pool) == 1
    assert (after[0] == before[0]).all()
    assert (after[2] == before[1]).all()
    assert (after[4] == before[0]).all()


def test_arms_of_a_scenario_meet_the_same_draw(make_env, make_scenario) -> None:
    plain = make_env(snapshots=0)
    arm = make_env(scenario=make_scenario().arm(shrinker_enabled=True), snapshots=0)
    plain.reset(seed=9)
    arm.reset(seed=9)
    a, b = plain.host.machine, arm.host.machine
    assert a.state.pages["rate"].tolist() == b.state.pages["rate"].tolist()
    assert a.host.device == b.host.device
    assert (a.host.shrinker_enabled, b.host.shrinker_enabled) == (False, True)


# --- vectors, copies, pickles --------------------------------------------------------------------------


def test_a_sync_vector_equals_single_environments(make_env) -> None:
    seeds = [3, 8, 10]
    vector = SyncVectorEnv([make_env] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    singles = [make_env() for _ in seeds]
    obs, _ = vector.reset(seed=seeds)
    assert (obs == np.stack([env.reset(seed=s)[0] for env, s in zip(singles, seeds, strict=True)])).all()
    rng = np.random.default_rng(0)
    for _ in range(15):
        actions = rng.uniform(-1, 1, vector.action_space.shape).astype(np.float32)
        obs, rewards, _, truncations, _ = vector.step(actions)
        for i, env in enumerate(singles):
            one, reward, _, truncated, _ = env.step(actions[i])
            assert (rewards[i], truncations[i]) == (reward, truncated)
            assert (obs[i] == (env.reset()[0] if truncated else one)).all()
    vector.close()


def test_an_sb3_vector_equals_single_environments(make_env) -> None:
    vector = DummyVecEnv([make_env] * 2)
    vector.seed(40)
    singles = [make_env(), make_env()]
    assert (vector.reset() == np.stack([env.reset(seed=40 + i)[0] for i, env in enumerate(singles)])).all()
    rng = np.random.default_rng(0)
    for _ in range(15):
        actions = rng.uniform(-1, 1, (2, 9)).astype(np.float32)
        obs, rewards, dones, infos = vector.step(actions)
        for i, env in enumerate(singles):
            one, reward, _, truncated, info = env.step(actions[i])
            assert rewards[i] == np.float32(reward)
            assert dones[i] == truncated
            assert infos[i]["terms"] == info["terms"]
            assert infos[i]["TimeLimit.truncated"] == truncated
            assert (obs[i] == (env.reset()[0] if truncated else one)).all()


@pytest.mark.parametrize(
    "twin_of", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy], ids=["pickle", "deepcopy"]
)
def test_a_copy_in_mid_episode_goes_on_identically(make_env, twin_of) -> None:
    env = make_env(render_mode="ansi")
    assert twin_of(env).reset(seed=1)[0] in env.observation_space  # before the first reset, too
    env.reset(seed=6)
    rng = np.random.default_rng(2)
    for _ in range(4):
        env.step(rng.uniform(-1, 1, 9))
    twin = twin_of(env)
    for _ in range(20):
        action = rng.uniform(-1, 1, 9)
        a, b = env.step(action), twin.step(action)
        assert (a[0] == b[0]).all()
        assert a[1:4] == b[1:4]
        assert data_equivalence(a[4], b[4])
        assert env.render() == twin.render()
        if a[3]:
            assert (env.reset()[0] == twin.reset()[0]).all()


def test_what_is_handed_out_is_not_reused(make_env) -> None:
    env = make_env()
    obs, _ = env.reset(seed=0)
    kept = obs.copy()
    first = env.step(np.zeros(9))
    terms = dict(first[4]["terms"])
    env.step(np.ones(9))
    assert (obs == kept).all()
    assert first[4]["terms"] == terms


# --- acting --------------------------------------------------------------------------------------------


def test_actions_and_requests_are_the_same_thing(make_env) -> None:
    by_action, by_request = make_env(), make_env()
    by_action.reset(seed=0)
    by_request.reset(seed=0)
    spec = by_action.contract.action
    assert by_action.table[0, COLUMN["zswapped"]] > spec.min_bytes
    requests = [Request(20.5, spec.min_bytes, 8192), Request(None, 0, 1 << 18), NOTHING]
    action = encode(*from_requests(requests), footprint(by_action.table), spec)
    a = by_action.step(action.astype(np.float32).ravel())
    b = by_request.step_requests(requests)
    assert a[1] == b[1]
    np.testing.assert_allclose(a[0], b[0], rtol=0, atol=1e-6)  # but for the age, which a float32 rounds
    assert a[4]["outcomes"]["ended"].tolist()[:2] != [False, False]


def test_writeback_without_release_frees_nothing(make_env, make_scenario) -> None:
    """The ablation: the same writebacks, but memory.reclaim does not follow (FINDINGS).

    Nobody else takes what was written back: the reclaimer is slow, the pool's limit out of the way.
    """
    scenario = make_scenario(
        host={"page_scale": 8, "zswap": {"max_pool_percent": 50}},
        stage_one={"kind": "fixed", "rate": "128K", "interval": "1s"},
    )

    def held(release: bool) -> float:
        env = make_env(scenario=scenario, release=release)
        env.reset(seed=1)
        return sum(env.step_requests([Request(5.0, 2 << 20)] * 3)[4]["terms"]["dram_held"] for _ in range(10))

    assert held(release=True) < 0.9 * held(release=False)


def test_writing_back_to_zram_frees_less_than_writing_back_to_a_disk(make_env, make_scenario) -> None:
    def terms(device: str) -> dict[str, float]:
        env = make_env(scenario=make_scenario(host={"page_scale": 8, "device": device}, randomise={}))
        env.reset(seed=1)
        steps = [env.step_requests([Request(5.0, 2 << 20)] * 3)[4]["terms"] for _ in range(10)]
        assert env.host.machine.state.host["zram_bytes"][0] >= (1 << 18 if device == "zram" else 0)
        return {name: sum(step[name] for step in steps) for name in steps[0]}

    disk, zram = terms("nvme"), terms("zram")
    assert zram["bytes_written"] > 1 << 20
    assert zram["dram_held"] > disk["dram_held"]


def test_a_request_to_a_busy_cgroup_is_counted(make_env, make_scenario) -> None:
    env = make_env(scenario=make_scenario(host={"page_scale": 8, "device": "hdd"}, randomise={}))
    env.reset(seed=1)
    busy = [env.step_requests([Request(1.0, 64 << 20)] * 3)[4]["busy"] for _ in range(6)]
    assert max(busy) >= 1


def test_the_wrong_number_of_requests_is_refused(make_env) -> None:
    env = make_env()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="2 requests for 3 cgroups"):
        env.step_requests([NOTHING] * 2)


def test_nothing_works_before_reset(make_env) -> None:
    env = make_env(render_mode="ansi")
    for use in (lambda: env.step(np.zeros(9)), lambda: env.table, env.render):
        with pytest.raises(gymnasium.error.ResetNeeded):
            use()


def test_bounds_of_actions_can_be_changed_and_are_in_the_contract(make_env) -> None:
    env = make_env(action={"age_max_s": 80, "max_write_share": 0.5}, render_mode="ansi")
    assert env.contract.action == ActionSpec(age_max_s=80, max_write_share=0.5)
    env.reset(seed=0)
    env.step([1.0, 1.0, 1.0] * 3)
    assert "80 s" in env.render()
    with pytest.raises(UserError, match=r"contract differs in action\.age_max_s"):
        make_env().contract.check(env.contract)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"action": {"age_max": 80}}, "action: unknown key 'age_max' (did you mean 'age_max_s'?)"),
        ({"n_max": 2}, "n_max = 2: scenario small has 3 cgroups; give at least 3"),
        ({"episode_s": 1.0}, "episode_s = 1: shorter than one decision of 10 s"),
        ({"render_mode": "human"}, "render_mode = 'human'; use one of ansi, rgb_array"),
        ({"scenario": "demo-trian"}, "did you mean 'demo-train'"),
        (
            {"scenario": "demo-train", "episode_s": 3600},
            "replays recordings for 140 s and they are never looped",
        ),
        ({"reward": {"stal_s": -1}}, "did you mean 'stall_s'"),
    ],
)
def test_mistakes_are_one_line(make_env, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        make_env(**arguments)


def test_episode_length_can_be_changed(make_env) -> None:
    env = make_env(episode_s=30)
    env.reset(seed=0)
    assert [env.step_requests([NOTHING] * 3)[3] for _ in range(3)] == [False, False, True]
    assert make_env(episode_s=300).steps_per_episode == 30


# --- rendering and the manual page -------------------------------------------------------------------------


def test_text_shows_what_was_asked_and_what_happened(make_env) -> None:
    env = make_env(render_mode="ansi")
    env.reset(seed=0)
    assert "kv" in env.render()
    env.step_requests([Request(5.0, 1 << 20), Request(None, 0, 1 << 20), NOTHING])
    lines = env.render().splitlines()
    assert lines[0] == "small  step 1  10 s"
    assert re.match(r"kv .* 5 s +1\.0 MiB", lines[2])
    assert re.match(r"agent .* - +0 B", lines[3])


def test_pictures_show_the_episode_grow(make_env) -> None:
    env = make_env(render_mode="rgb_array")
    env.reset(seed=0)
    frames = [env.render()]
    for _ in range(3):
        env.step_requests([Request(2.0, 4 << 20)] * 3)
        frames.append(env.render())
    assert all(frame.shape == frames[0].shape and frame.dtype == np.uint8 for frame in frames)

    def coloured(frame: np.ndarray) -> int:
        blue = (frame == (66, 120, 190)).all(axis=2)
        orange = (frame == (232, 146, 48)).all(axis=2)
        return int(blue.sum()), int(orange.sum())

    counts = [coloured(frame) for frame in frames]
    assert counts[0] == (0, 0)
    assert counts[1][0] < counts[2][0] < counts[3][0]
    assert counts[3][1] > 0


def test_rendering_without_a_mode_warns(make_env) -> None:
    env = make_env()
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode"):
        assert env.render() is None


def test_the_docstring_is_a_manual_page_that_is_true() -> None:
    text = WritebackEnv.__doc__
    sections = """Description, Action Space, Observation Space, Rewards, Starting State, Episode End,
                  Arguments, Vectorized environment, Version History"""
    found = re.findall(r"^ *## (.+)$", text, re.MULTILINE)
    assert found == [name.strip() for name in sections.split(",")]
    rows = [
        tuple(cell.strip() for cell in line.strip(" |").split("|"))
        for line in text.splitlines()
        if line.strip().startswith("|")
    ]
    table = {row[1]: row[2:] for row in rows if len(row) == 6}
    arguments = {row[0] for row in rows if len(row) == 3}
    assert set(inspect.signature(WritebackEnv.__init__).parameters) - {"self"} <= arguments
    for feature in (*FEATURES, *HOST_FEATURES):
        unit, low, high, origin = table[feature.name]
        assert (unit, float(low), float(high), origin) == (
            feature.unit,
            feature.low,
            feature.high,
            feature.origin,
        )
    spec = ActionSpec()
    assert (spec.age_min_s, spec.age_max_s) == (10.0, 4 * 3600.0)
    assert "10 s at -1 to 4 h at 1" in text
    assert (spec.nothing_below, spec.max_write_share, spec.max_release_share) == (-0.6, 0.16, 0.16)
    assert text.count("nothing up to -0.6; then growing with the square to 0.16 at 1") == 2
    assert spec.min_bytes == 512 << 10
    assert "at least 512 KiB" in text
    assert f"F = {len(FEATURES)} features" in text
    assert f"H = {len(HOST_FEATURES)}" in text
    assert f"(n_max * {PER_CGROUP},)" in text


# --- the privileged id ---------------------------------------------------------------------------------


def test_privileged_rows_hold_the_true_ages(make_env) -> None:
    env = make_env(cls=PrivilegedWritebackEnv)
    plain = make_env()
    obs, _ = env.reset(seed=2)
    base, _ = plain.reset(seed=2)
    rows, host = env.rows_and_host(obs)
    base_rows, base_host = plain.rows_and_host(base)
    assert (rows[:, : len(FEATURES)] == base_rows).all()
    assert (host == base_host).all()
    ages = rows[:, len(FEATURES) :]
    assert ages.shape == (3, len(AGE_FEATURES))
    assert np.allclose(ages.sum(axis=1), 1.0)
    assert ages[:, -1].sum() == 0  # nothing is an hour old after a warm-up of a minute
    with pytest.raises(UserError, match="contract differs in number of features"):
        plain.contract.check(env.contract)


def test_nothing_warns_while_running(make_env) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rollout(make_env(render_mode="rgb_array"), 1)


def test_after_the_end_of_an_episode_a_step_is_refused(make_env) -> None:
    env = make_env(episode_s=20.0)
    env.reset(seed=1)
    action = np.zeros(env.action_space.shape)
    assert [env.step(action)[3] for _ in range(2)] == [False, True]
    with pytest.raises(gymnasium.error.ResetNeeded, match="over"):
        env.step(action)
    env.reset()
    env.step(action)


@pytest.mark.parametrize("shape", [(3, 3), (8,), (1, 9)])
def test_an_action_of_another_shape_is_refused(make_env, shape: tuple[int, ...]) -> None:
    env = make_env()
    env.reset(seed=1)
    with pytest.raises(ValueError, match=re.escape(f"shape {shape}; give (9,)")):
        env.step(np.zeros(shape))


def test_requests_without_a_bound_ask_for_all(make_env) -> None:
    tables = []
    for size in (1 << 40, math.inf, 1e300):
        env = make_env()
        env.reset(seed=1)
        env.step_requests([Request(1.0, size)] * 3)
        tables.append(env.table.copy())
    assert tables[0][:, COLUMN["zswpwb"]].sum() > 100
    assert np.array_equal(tables[0], tables[1], equal_nan=True)
    assert np.array_equal(tables[0], tables[2], equal_nan=True)
    with pytest.raises(ValueError, match=r"give a zswap_gym\.host\.types\.Request"):
        env.step_requests([(1.0, 5)] * 3)
