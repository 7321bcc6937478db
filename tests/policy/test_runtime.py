"""The numpy runtime: the network it says it is, and a file that is whole or refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from zswap_gym.policy.actions import PER_CGROUP
from zswap_gym.policy.contract import Contract
from zswap_gym.policy.features import FEATURES, HOST_FEATURES
from zswap_gym.policy.runtime import Layer, Normaliser, Policy

F, H, A = len(FEATURES), len(HOST_FEATURES), PER_CGROUP
CONTRACT = Contract(3, 10.0)


def layers(rng: np.random.Generator, activations: list[str], *sizes: int) -> tuple[Layer, ...]:
    return tuple(
        Layer(
            (rng.normal(size=(n_out, n_in)) / math.sqrt(n_in)).astype(np.float32),
            rng.normal(0, 0.3, n_out).astype(np.float32),
            activation,
        )
        for n_in, n_out, activation in zip(sizes[:-1], sizes[1:], activations, strict=True)
    )


def normaliser(rng: np.random.Generator, n: int) -> Normaliser:
    return Normaliser(rng.normal(size=n), rng.uniform(0.001, 1.0, n), clip=3.0, epsilon=1e-3)


def make(kind: str, squash: str = "clip", *, normalised: bool = True, seed: int = 0) -> Policy:
    rng = np.random.default_rng(seed)
    rows = host = None
    if kind == "mlp":
        body = layers(rng, ["tanh", "relu", "none"], 3 * F + H, 16, 8, 3 * A)
        head: tuple[Layer, ...] = ()
        rows = normaliser(rng, 3 * F + H) if normalised else None
    elif kind == "rows":
        first, *others = layers(rng, ["relu", "tanh", "none"], 3 * F + H, 16, 8, A)
        norm = rng.uniform(0.5, 2.0, 16).astype(np.float32), rng.normal(size=16).astype(np.float32)
        body, head = (first._replace(norm=norm), *others), ()
        rows = normaliser(rng, 3 * F + H) if normalised else None
    else:
        body = layers(rng, ["elu", "tanh"], F, 12, 6)
        head = layers(rng, ["relu", "none"], 3 * 6 + H, 10, A)
        if normalised:
            rows, host = normaliser(rng, F), normaliser(rng, H)
    return Policy(kind, squash, body, head, rows, host, CONTRACT, {"run": "a test", "steps": 5})


def observations(n: int, *batch: int, absent: tuple[int, ...] = (), seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.uniform(-1, 1, (*batch, n, F)).astype(np.float32)
    rows[..., 0] = 1.0
    rows[..., list(absent), :] = 0.0
    host = rng.uniform(-1, 1, (*batch, H)).astype(np.float32)
    return np.concatenate([rows.reshape(*batch, n * F), host], axis=-1)


# The forward pass once more, a number at a time.


def plain_layers(layers: tuple[Layer, ...], x: list[float]) -> list[float]:
    functions: dict[str, Callable[[float], float]] = {
        "none": lambda v: v,
        "tanh": math.tanh,
        "relu": lambda v: max(v, 0.0),
        "elu": lambda v: v if v > 0 else math.exp(v) - 1.0,
    }
    for weight, bias, activation, norm in layers:
        sums = [
            sum(w * v for w, v in zip(row, x, strict=True)) + b
            for row, b in zip(weight.tolist(), bias.tolist(), strict=True)
        ]
        if norm is not None:
            mean = sum(sums) / len(sums)
            deviation = math.sqrt(sum((v - mean) ** 2 for v in sums) / len(sums) + 1e-5)
            scale, shift = norm[0].tolist(), norm[1].tolist()
            sums = [(v - mean) / deviation * w + b for v, w, b in zip(sums, scale, shift, strict=True)]
        x = [functions[activation](v) for v in sums]
    return x


def plain_normal(norm: Normaliser | None, x: list[float]) -> list[float]:
    if norm is None:
        return x
    scaled = [
        (v - m) / math.sqrt(s + norm.epsilon)
        for v, m, s in zip(x, norm.mean.tolist(), norm.var.tolist(), strict=True)
    ]
    return [min(max(v, -norm.clip), norm.clip) for v in scaled]


def plain_rows(policy: Policy, rows: list[list[float]], host: list[float]) -> list[float]:
    here = [row for row in rows if row[0] > 0.5]
    columns = list(zip(*here, strict=True))
    pooled = [sum(c) / len(c) for c in columns] + [max(c) for c in columns]
    out: list[float] = []
    for row in rows:
        seen = plain_normal(policy.rows, [*row, *pooled, *host]) if row in here else []
        out += plain_layers(policy.body, seen) if seen else [0.0] * A
    return [min(max(v, -1.0), 1.0) if policy.squash == "clip" else math.tanh(v) for v in out]


def plain_act(policy: Policy, obs: list[float]) -> list[float]:
    if policy.kind == "mlp":
        out = plain_layers(policy.body, plain_normal(policy.rows, obs))
    else:
        n = (len(obs) - H) // F
        rows = [obs[i * F : (i + 1) * F] for i in range(n)]
        if policy.kind == "rows":
            return plain_rows(policy, rows, obs[n * F :])
        codes = {
            i: plain_layers(policy.body, plain_normal(policy.rows, row))
            for i, row in enumerate(rows)
            if row[0] > 0.5
        }
        width = len(policy.body[-1][1])
        columns = list(zip(*codes.values(), strict=True)) or [(0.0,)] * width
        context = [sum(c) / len(c) for c in columns] + [max(c) for c in columns]
        context += plain_normal(policy.host, obs[n * F :])
        out = []
        for i in range(n):
            out += plain_layers(policy.head, codes[i] + context) if i in codes else [0.0] * A
    if policy.squash == "tanh":
        return [math.tanh(v) for v in out]
    return [min(max(v, -1.0), 1.0) for v in out]


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("squash", ["clip", "tanh"])
@pytest.mark.parametrize(
    ("kind", "absent"),
    [("mlp", ()), *((kind, absent) for kind in ("shared", "rows") for absent in ((), (1,), (0, 1, 2)))],
)
def test_forward_is_what_the_loops_say(
    kind: str, absent: tuple[int, ...], squash: str, normalised: bool
) -> None:
    policy = make(kind, squash, normalised=normalised)
    obs = observations(3, 4, absent=absent)
    actions = policy.act(obs)
    assert actions.shape == (4, 3 * A)
    assert actions.dtype == np.float32
    expected = [plain_act(policy, row) for row in obs.tolist()]
    np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(policy.act(obs[0]), expected[0], rtol=0, atol=1e-5)


def test_actions_stay_in_the_box_whatever_is_seen() -> None:
    for kind in ("mlp", "shared", "rows"):
        for squash in ("clip", "tanh"):
            action = make(kind, squash, normalised=False).act(observations(3) * 1e6)
            assert (np.abs(action) <= 1).all()
            assert action.any()


@pytest.mark.parametrize("kind", ["shared", "rows"])
@pytest.mark.parametrize("n", [0, 1, 3, 40])
def test_a_policy_of_each_cgroup_drives_any_number(kind: str, n: int) -> None:
    policy = make(kind)
    obs = observations(n)
    action = policy.act(obs)
    assert action.shape == (n * A,)
    np.testing.assert_allclose(action, plain_act(policy, obs.tolist()), atol=1e-5)


@pytest.mark.parametrize("kind", ["shared", "rows"])
def test_absent_rows_get_0_and_change_nothing_for_the_others(kind: str) -> None:
    policy = make(kind)
    without = policy.act(observations(3, 2, absent=(1,))).reshape(2, 3, A)
    assert not without[:, 1].any()
    obs = observations(3, 2, absent=(1,)).copy()
    obs[:, F + 1 : 2 * F] = 9.0  # whatever an absent row holds
    np.testing.assert_array_equal(policy.act(obs).reshape(2, 3, A), without)
    only = np.delete(obs[:, : 3 * F].reshape(2, 3, F), 1, axis=1).reshape(2, -1)
    fewer = policy.act(np.concatenate([only, obs[:, 3 * F :]], axis=1)).reshape(2, 2, A)
    np.testing.assert_allclose(without[:, [0, 2]], fewer, atol=1e-6)


@pytest.mark.parametrize("kind", ["shared", "rows"])
def test_cgroups_may_change_places(kind: str) -> None:
    policy = make(kind)
    obs = observations(6, absent=(4,))
    order = np.random.default_rng(2).permutation(6)
    moved = np.concatenate([obs[: 6 * F].reshape(6, F)[order].ravel(), obs[6 * F :]])
    np.testing.assert_allclose(
        policy.act(moved).reshape(6, A), policy.act(obs).reshape(6, A)[order], atol=1e-6
    )


@pytest.mark.parametrize(("kind", "n"), [("mlp", 2), ("mlp", 4)])
def test_a_flat_policy_takes_its_own_number_only(kind: str, n: int) -> None:
    with pytest.raises(ValueError, match=f"{n * F + H} numbers"):
        make(kind).act(observations(n))


def test_an_observation_of_no_whole_number_of_rows_is_refused() -> None:
    for length in (0, H - 1, H + 1, F + H - 1):
        with pytest.raises(ValueError, match="numbers"):
            make("shared").act(np.zeros(length, np.float32))


def misfit(change: str) -> dict[str, Any]:
    policy = make("shared")
    parts = {name: getattr(policy, name) for name in policy.__dataclass_fields__}
    first = policy.body[0]
    wrong: dict[str, dict[str, Any]] = {
        "kind": {"kind": "recurrent"},
        "squash": {"squash": "sigmoid"},
        "no body": {"body": ()},
        "body width": {"body": policy.body[1:]},
        "head width": {"head": policy.head[1:]},
        "outputs": {"head": policy.head[:1]},
        "activation": {"body": (first._replace(activation="gelu"), policy.body[1])},
        "bias": {"body": (first._replace(bias=first.bias[1:]), policy.body[1])},
        "norm": {"body": (first._replace(norm=(first.bias, first.bias[1:])), policy.body[1])},
        "rows": {"rows": normaliser(np.random.default_rng(0), F + 1)},
        "host": {"host": normaliser(np.random.default_rng(0), H + 1)},
    }
    return {**parts, **wrong[change]}


@pytest.mark.parametrize(
    "change",
    [
        "kind",
        "squash",
        "no body",
        "body width",
        "head width",
        "outputs",
        "activation",
        "bias",
        "norm",
        "rows",
        "host",
    ],
)
def test_parts_that_do_not_fit_are_refused(change: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Policy(**misfit(change))


@pytest.mark.parametrize("part", ["head", "host"])
def test_a_policy_of_rows_has_one_network_and_one_normaliser(part: str) -> None:
    policy, other = make("rows"), make("shared")
    with pytest.raises(ValueError, match="nothing else"):
        replace(policy, **{part: getattr(other, part)})
