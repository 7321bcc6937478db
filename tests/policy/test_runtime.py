"""The numpy runtime: the network it says it is, row by row, whoever else is there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from zswap_gym.policy.actions import PER_CGROUP
from zswap_gym.policy.contract import Contract
from zswap_gym.policy.features import FEATURES, HOST_FEATURES, HOST_INDEX, INDEX
from zswap_gym.policy.rows import CEILING, FULL, SPENT
from zswap_gym.policy.runtime import Layer, Normaliser, Policy

F, H, A = len(FEATURES), len(HOST_FEATURES), PER_CGROUP
CAUTION, CPU, POOL = INDEX["caution"], INDEX["cpu_spent"], HOST_INDEX["pool_fill"]
WRITE, RELEASE = 1, 2


def normaliser(rng: np.random.Generator, n: int) -> Normaliser:
    return Normaliser(rng.normal(size=n), rng.uniform(0.001, 1.0, n), clip=3.0, epsilon=1e-3)


def make(*hidden: int, norm: bool = True, seed: int = 0) -> Policy:
    """A policy of hidden layers of these sizes, each with tanh and, where asked for, LayerNorm."""
    rng = np.random.default_rng(seed)
    sizes = [3 * F + H, *(hidden or (16, 8)), A]
    layers = []
    for n_in, n_out in pairwise(sizes):
        last = len(layers) == len(sizes) - 2
        scale = (rng.uniform(0.5, 2.0, n_out), rng.normal(0.0, 0.5, n_out))
        layers.append(
            Layer(
                (rng.normal(size=(n_out, n_in)) / math.sqrt(n_in)).astype(np.float32),
                rng.normal(0, 0.3, n_out).astype(np.float32),
                "none" if last else "tanh",
                tuple(part.astype(np.float32) for part in scale) if norm and not last else None,
            )
        )
    return Policy(tuple(layers), normaliser(rng, 3 * F + H), Contract(10.0), {"run": "a test", "steps": 5})


def observations(n: int, *batch: int, absent: tuple[int, ...] = (), seed: int = 1) -> np.ndarray:
    """Of cgroups that are not left alone and have CPU to spare, on hosts whose pool is not full."""
    rng = np.random.default_rng(seed)
    rows = rng.uniform(-1, 1, (*batch, n, F)).astype(np.float32)
    rows[..., 0] = 1.0
    rows[..., list(absent), :] = 0.0
    rows[..., CAUTION] = np.minimum(rows[..., CAUTION], 0.9)
    rows[..., CPU] = np.minimum(rows[..., CPU], SPENT - 0.01)
    host = rng.uniform(-1, 1, (*batch, H)).astype(np.float32)
    host[..., POOL] = np.minimum(host[..., POOL], 0.85)
    return np.concatenate([rows.reshape(*batch, n * F), host], axis=-1)


# The forward pass once more, a number at a time.


def plain_layer(layer: Layer, x: list[float]) -> list[float]:
    functions: dict[str, Callable[[float], float]] = {"none": lambda v: v, "tanh": math.tanh}
    sums = [
        sum(w * v for w, v in zip(row, x, strict=True)) + b
        for row, b in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    ]
    if layer.norm is not None:
        mean = sum(sums) / len(sums)
        deviation = math.sqrt(sum((v - mean) ** 2 for v in sums) / len(sums) + 1e-5)
        scale, shift = layer.norm[0].tolist(), layer.norm[1].tolist()
        sums = [(v - mean) / deviation * w + b for v, w, b in zip(sums, scale, shift, strict=True)]
    return [functions[layer.activation](v) for v in sums]


def plain_normal(norm: Normaliser, x: list[float]) -> list[float]:
    scaled = [
        (v - m) / math.sqrt(s + norm.epsilon)
        for v, m, s in zip(x, norm.mean.tolist(), norm.var.tolist(), strict=True)
    ]
    return [min(max(v, -norm.clip), norm.clip) for v in scaled]


def plain_act(policy: Policy, obs: list[float]) -> list[float]:
    n = (len(obs) - H) // F
    rows, host = [obs[i * F : (i + 1) * F] for i in range(n)], obs[n * F :]
    here = [row for row in rows if row[0] > 0.5]
    columns = list(zip(*here, strict=True))
    pooled = [sum(c) / len(c) for c in columns] + [max(c) for c in columns]
    out: list[float] = []
    for row in rows:
        if row not in here:
            out += [0.0] * A
            continue
        x = plain_normal(policy.scale, [*row, *pooled, *host])
        for layer in policy.layers:
            x = plain_layer(layer, x)
        x = [min(max(v, -1.0), 1.0) for v in x]
        if row[CAUTION] >= np.float32(CEILING):
            x[WRITE] = x[RELEASE] = -1.0
        if row[CPU] >= np.float32(SPENT) or host[POOL] >= np.float32(FULL):
            x[RELEASE] = -1.0
        out += x
    return out


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("hidden", [(12,), (16, 8), (6, 9, 5)])
@pytest.mark.parametrize("absent", [(), (1,), (0, 1, 2)])
def test_forward_is_what_the_loops_say(absent: tuple[int, ...], hidden: tuple[int, ...], norm: bool) -> None:
    policy = make(*hidden, norm=norm)
    obs = observations(3, 4, absent=absent)
    actions = policy.act(obs)
    assert actions.shape == (4, 3 * A)
    assert actions.dtype == np.float32
    expected = [plain_act(policy, row) for row in obs.tolist()]
    np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(policy.act(obs[0]), expected[0], rtol=0, atol=1e-5)


def test_nothing_is_done_where_it_is_not_allowed() -> None:
    """To a cgroup whose caution is at the ceiling nothing; no release without CPU or with a full pool."""
    policy, obs = make(), observations(4, 30)
    free = policy.act(obs).reshape(30, 4, A)
    for i, caution in enumerate((CEILING + 0.01, 1.0)):
        obs[:, i * F + CAUTION] = caution
    obs[:, 2 * F + CPU] = SPENT + 0.01
    obs[::2, 4 * F + POOL] = FULL + 0.01
    action = policy.act(obs).reshape(30, 4, A)
    assert (action[:, :2, WRITE] == -1).all()
    assert (action[:, :2, RELEASE] == -1).all()
    assert (action[::2, :, RELEASE] == -1).all()
    assert (action[:, 2, RELEASE] == -1).all()
    assert (action[:, 2:, WRITE] != -1).any()
    assert (action[1::2, 3, RELEASE] != -1).any()
    assert (free[:, :, 1:] != -1).any(axis=(0, 1)).all()
    np.testing.assert_allclose(
        action.reshape(30, -1), [plain_act(policy, row) for row in obs.tolist()], atol=1e-5
    )


def test_actions_stay_in_the_box_whatever_is_seen() -> None:
    policy = make(norm=False)
    loud = replace(policy, layers=(*policy.layers[:-1], replace(policy.layers[-1], bias=np.full(A, 0.5))))
    loud = replace(loud, scale=replace(loud.scale, clip=1e6))
    for seen in (observations(3) * 1e6, observations(3, seed=2) * -1e6):
        action = loud.act(seen)
        assert (np.abs(action) <= 1).all()
    assert loud.act(observations(3)).any()


@pytest.mark.parametrize("n", [0, 1, 3, 40])
def test_it_drives_any_number_of_cgroups(n: int) -> None:
    policy = make()
    obs = observations(n)
    action = policy.act(obs)
    assert action.shape == (n * A,)
    np.testing.assert_allclose(action, plain_act(policy, obs.tolist()), atol=1e-5)


def test_absent_rows_get_0_and_change_nothing_for_the_others() -> None:
    policy = make()
    without = policy.act(observations(3, 2, absent=(1,))).reshape(2, 3, A)
    assert not without[:, 1].any()
    obs = observations(3, 2, absent=(1,)).copy()
    obs[:, F + 1 : 2 * F] = 9.0  # whatever an absent row holds, caution above the ceiling too
    np.testing.assert_array_equal(policy.act(obs).reshape(2, 3, A), without)
    only = np.delete(obs[:, : 3 * F].reshape(2, 3, F), 1, axis=1).reshape(2, -1)
    fewer = policy.act(np.concatenate([only, obs[:, 3 * F :]], axis=1)).reshape(2, 2, A)
    np.testing.assert_allclose(without[:, [0, 2]], fewer, atol=1e-6)


def test_cgroups_may_change_places() -> None:
    policy = make()
    obs = observations(6, absent=(4,))
    order = np.random.default_rng(2).permutation(6)
    moved = np.concatenate([obs[: 6 * F].reshape(6, F)[order].ravel(), obs[6 * F :]])
    np.testing.assert_allclose(
        policy.act(moved).reshape(6, A), policy.act(obs).reshape(6, A)[order], atol=1e-6
    )


def test_an_observation_of_no_whole_number_of_rows_is_refused() -> None:
    for length in (0, H - 1, H + 1, F + H - 1):
        with pytest.raises(ValueError, match=f"of {length} numbers"):
            make().act(np.zeros(length, np.float32))


def misfit(change: str) -> dict[str, Any]:
    policy = make()
    first, second, last = policy.layers
    scale, one = policy.scale, np.zeros(1)
    wrong: dict[str, dict[str, Any]] = {
        "no layers": {"layers": ()},
        "too few inputs": {"layers": (second, last)},
        "layers that do not meet": {"layers": (first, last)},
        "too few outputs": {"layers": (first, replace(second, activation="none"))},
        "activation": {"layers": (replace(first, activation="gelu"), second, last)},
        "bias": {"layers": (replace(first, bias=first.bias[1:]), second, last)},
        "weight": {"layers": (replace(first, weight=first.weight[0]), second, last)},
        "norm": {"layers": (replace(first, norm=(first.bias, first.bias[1:])), second, last)},
        "mean": {"scale": replace(scale, mean=np.append(scale.mean, one))},
        "var": {"scale": replace(scale, var=scale.var[1:])},
        "var below 0": {"scale": replace(scale, var=scale.var - 1.0)},
        "epsilon": {"scale": replace(scale, epsilon=0.0)},
        "clip": {"scale": replace(scale, clip=0.0)},
    }
    return wrong[change]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("no layers", "0 layers"),
        ("too few inputs", rf"layer 0: .* but {3 * F + H} inputs"),
        ("layers that do not meet", "layer 1: .* but 16 inputs"),
        ("too few outputs", "8 outputs, not 3"),
        ("activation", "layer 0: activation 'gelu'"),
        ("bias", "layer 0: .* bias"),
        ("weight", "layer 0: weight"),
        ("norm", "layer 0: a norm"),
        ("mean", "scale: mean"),
        ("var", "scale: .* var"),
        ("var below 0", r"scale\.var below 0"),
        ("epsilon", "epsilon"),
        ("clip", "clip not above 0"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(make(), **misfit(change))
