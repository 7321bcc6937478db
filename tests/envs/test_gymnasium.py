"""What Gymnasium's own vector classes take and give, the native one takes and gives too."""

from __future__ import annotations

import re

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import RecordEpisodeStatistics, TimeLimit
from gymnasium.wrappers.vector import DictInfoToList
from gymnasium.wrappers.vector import RecordEpisodeStatistics as VectorStatistics

import zswap_gym.envs  # noqa: F401 - registers the ids
from tests.envs.conftest import MakeEnv, MakeScenario
from zswap_gym.envs.vector import WritebackVectorEnv
from zswap_gym.errors import UserError

ID = "zswap_gym/Writeback-v0"


def same(ours, theirs):
    """Infos of a vector environment, where their masks say there is something."""
    assert {key for key in theirs if "outcomes" not in key} == set(ours)
    for key, here in theirs.items():
        if key.startswith("_") or "outcomes" in key:
            continue
        mask = theirs[f"_{key}"]
        assert (ours[f"_{key}"] == mask).all(), key
        if isinstance(here, dict):
            same(ours[key], here)
        else:
            for a, b in zip(np.asarray(ours[key])[mask], np.asarray(here)[mask], strict=True):
                assert np.all(a == b), key


def test_reset_masks_and_infos_are_those_of_sync_vector_env(make_scenario: MakeScenario, make_env: MakeEnv):
    n = 4
    ours = WritebackVectorEnv(n, make_scenario(), max_episode_steps=7)
    theirs = SyncVectorEnv([lambda: TimeLimit(make_env(), 7)] * n, autoreset_mode=AutoresetMode.SAME_STEP)
    rng = np.random.default_rng(3)
    a, b = ours.reset(seed=5), theirs.reset(seed=5)
    resets = {
        3: (None, [True, False, False, True]),
        5: ([8, 9, 10, 11], [False, True, False, False]),
        10: (70, [True, True, True, False]),
        16: (None, [True] * 4),
    }
    for step in range(25):
        assert (a[0] == b[0]).all()
        same(a[-1], b[-1])
        if step in resets:
            seed, mask = resets[step]
            options = [{"reset_mask": np.array(mask)} for _ in range(2)]
            a, b = ours.reset(seed=seed, options=options[0]), theirs.reset(seed=seed, options=options[1])
            assert "reset_mask" in options[0]  # the caller's own is left alone
            continue
        actions = rng.uniform(-1, 1, ours.action_space.shape).astype(np.float32)
        a, b = ours.step(actions), theirs.step(actions)
        for x, y in zip(a[1:4], b[1:4], strict=True):
            assert (x == y).all()
    assert a[3].dtype == b[3].dtype


@pytest.mark.parametrize(
    ("mask", "error", "words"),
    [
        ([True, False], TypeError, "give a numpy array of bool"),
        (np.array([1, 0]), TypeError, "give a numpy array of bool"),
        (np.array([True]), ValueError, "give 2 values, one of them true"),
        (np.array([False, False]), ValueError, "give 2 values, one of them true"),
    ],
)
def test_wrong_masks_are_refused(make_scenario: MakeScenario, mask, error, words):
    vector = WritebackVectorEnv(2, make_scenario())
    vector.reset(seed=1)
    with pytest.raises(error, match=words):
        vector.reset(options={"reset_mask": mask})
    sync = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * 2)
    sync.reset(seed=1)
    with pytest.raises(error):  # as there
        sync.reset(options={"reset_mask": mask})


def test_a_mask_before_the_first_reset(make_scenario: MakeScenario):
    vector = WritebackVectorEnv(2, make_scenario())
    with pytest.raises(gymnasium.error.ResetNeeded):
        vector.reset(seed=1, options={"reset_mask": np.array([True, False])})
    obs, _ = vector.reset(seed=1, options={"reset_mask": np.array([True, True])})
    assert (obs == WritebackVectorEnv(2, make_scenario()).reset(seed=1)[0]).all()


def test_unknown_options_are_refused_by_name(make_scenario: MakeScenario, make_env: MakeEnv):
    vector, env = WritebackVectorEnv(2, make_scenario()), make_env()
    with pytest.raises(
        UserError, match=r"'reset_masc' \(did you mean 'reset_mask'\?\); there is only reset_mask"
    ):
        vector.reset(options={"reset_masc": np.array([True, False])})
    with pytest.raises(UserError, match="unknown option 'reset_mask'; a single environment has none"):
        env.reset(options={"reset_mask": np.array([True])})
    with pytest.raises(UserError, match="options = 3; give a mapping, or None"):
        env.reset(options=3)
    for each in (vector, env):
        each.reset(seed=1, options={})


def test_make_vec_takes_what_it_takes_for_cartpole(make_scenario: MakeScenario):
    vector = gymnasium.make_vec(ID, num_envs=2, render_mode=None, scenario=make_scenario())
    assert vector.render_mode is None
    assert vector.spec is not None
    with pytest.warns(UserWarning, match="render"):
        assert vector.render() is None
    short = gymnasium.make_vec(ID, num_envs=2, max_episode_steps=3, scenario=make_scenario())
    short.reset(seed=1)
    ends = [bool(short.step(np.zeros((2, 9), np.float32))[3].all()) for _ in range(7)]
    assert ends == [False, False, True] * 2 + [False]
    longer = gymnasium.make_vec(ID, num_envs=2, max_episode_steps=1000, scenario=make_scenario())
    longer.reset(seed=1)
    assert [bool(longer.step(np.zeros((2, 9)))[3].all()) for _ in range(10)] == [False] * 9 + [True]
    for wrong in (0, -1, 2.5, True):
        with pytest.raises(UserError, match=re.escape(f"max_episode_steps = {wrong!r}; give a whole number")):
            WritebackVectorEnv(2, make_scenario(), max_episode_steps=wrong)
    with pytest.raises(UserError, match="render_mode = 'human'; use one of ansi, rgb_array"):
        WritebackVectorEnv(2, make_scenario(), render_mode="human")


@pytest.mark.parametrize("mode", ["rgb_array", "ansi"])
def test_it_renders_what_single_ones_render(make_scenario: MakeScenario, make_env: MakeEnv, mode):
    vector = gymnasium.make_vec(ID, num_envs=3, render_mode=mode, scenario=make_scenario())
    with pytest.raises(gymnasium.error.ResetNeeded):
        vector.render()
    singles = [make_env(render_mode=mode) for _ in range(3)]
    vector.reset(seed=4)
    for i, env in enumerate(singles):
        env.reset(seed=4 + i)
    rng = np.random.default_rng(0)
    for step in range(13):
        actions = rng.uniform(-1, 1, (3, 9)).astype(np.float32)
        vector.step(actions)
        for env, action in zip(singles, actions, strict=True):
            if env.step(action)[3]:
                env.reset()
        if step == 4:
            vector.reset(seed=90, options={"reset_mask": np.array([False, True, False])})
            singles[1].reset(seed=91)
        frames = vector.render()
        assert len(frames) == 3
        for frame, env in zip(frames, singles, strict=True):
            assert np.array_equal(frame, env.render())


def test_infos_have_the_same_keys_at_reset_and_at_step(make_scenario: MakeScenario, make_env: MakeEnv):
    """Collectors such as Minari's stack them."""

    def shape(info):
        return {key: shape(value) if isinstance(value, dict) else type(value) for key, value in info.items()}

    env = make_env()
    first = env.reset(seed=1)[1]
    assert first["seed"] == 1
    for _ in range(10):
        info = env.step(env.action_space.sample())[-1]
        assert shape(info) == shape(first)
        assert (info["seed"], info["cgroups"]) == (1, first["cgroups"])
    vector = WritebackVectorEnv(2, make_scenario())
    first = vector.reset(seed=1)[1]
    for _ in range(9):
        assert shape(vector.step(np.zeros((2, 9)))[-1]) == shape(first)


def test_gymnasiums_wrappers_go_around_it(make_scenario: MakeScenario, make_env: MakeEnv):
    vector = DictInfoToList(VectorStatistics(WritebackVectorEnv(2, make_scenario())))
    single = RecordEpisodeStatistics(make_env())
    _, infos = vector.reset(seed=6)
    single.reset(seed=6)
    assert [info["seed"] for info in infos] == [6, 7]
    action = np.full(9, 0.3, np.float32)
    for _ in range(10):
        *_, infos = vector.step(np.stack([action] * 2))
        *_, info = single.step(action)
    assert infos[0]["episode"]["r"] == pytest.approx(info["episode"]["r"])
    assert infos[0]["episode"]["l"] == info["episode"]["l"] == 10
