"""Policies and laws behind the face the controller sees, with cgroups that come and go."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from zswap_gym.controller.config import ControllerConfig
from zswap_gym.controller.decider import LawDecider, PolicyDecider, from_config, load_policy
from zswap_gym.errors import UserError
from zswap_gym.host.simulated import SimulatedHost
from zswap_gym.host.types import NOTHING, Request, Sample, table
from zswap_gym.policy import memory
from zswap_gym.policy.actions import decode, from_requests, to_requests
from zswap_gym.policy.contract import Contract
from zswap_gym.policy.features import FEATURES, HOST_FEATURES, FeatureExtractor
from zswap_gym.policy.promise import Promise
from zswap_gym.policy.runtime import Layer, Normaliser, Policy
from zswap_gym.units import PAGE_SIZE

Make = Callable[..., Sample]
F, H = len(FEATURES), len(HOST_FEATURES)


def policy_of(**changes) -> Policy:
    """Random weights, large enough that its answers differ between cgroups."""
    rng = np.random.default_rng(5)

    def layer(n_in: int, n_out: int, activation: str):
        weight = rng.normal(0, 1.5 / np.sqrt(n_in), (n_out, n_in)).astype(np.float32)
        return Layer(weight, rng.normal(0, 0.3, n_out).astype(np.float32), activation)

    inputs = 3 * F + H
    scale = Normaliser(np.zeros(inputs), np.ones(inputs), 10.0, 1e-6)
    layers = (layer(inputs, 16, "tanh"), layer(16, 3, "none"))
    return replace(Policy(layers, scale, Contract(10.0), {"run": "test"}), **changes)


@pytest.fixture
def samples(make_host: Callable[[], SimulatedHost]) -> list[list[Sample]]:
    """What a simulated host said at four ticks."""
    host = make_host()
    host.sleep(30)
    said = []
    for _ in range(4):
        host.sleep(10)
        said.append(host.sample())
    return said


# --- policies -------------------------------------------------------------------------------------


def test_a_policy_decides_as_in_training(samples: list[list[Sample]]) -> None:
    """One batch of features and one forward pass, as the environment does it, gives the same requests."""
    policy = policy_of()
    decider = PolicyDecider(policy)
    features = FeatureExtractor(10.0, (4,))
    answers = set()
    for tick in samples:
        whole = np.full((4, table(tick).shape[1]), np.nan)
        whole[:2] = table(tick)
        obs = np.concatenate([features.update(whole).ravel(), features.host(whole)])
        action = policy.act(obs).reshape(4, 3)
        expected = to_requests(*decode(action, whole, policy.contract.action))[:2]
        decided = decider.decide(tick, 10.0)
        for mine, theirs in zip(decided, expected, strict=True):
            # a product of two rows may round otherwise than one of four: BLAS and CPU decide
            assert (mine.age_s or 0.0) == pytest.approx(theirs.age_s or 0.0, rel=1e-5)
            assert mine.max_bytes == pytest.approx(theirs.max_bytes, abs=PAGE_SIZE)
            assert mine.release == pytest.approx(theirs.release, abs=PAGE_SIZE)
        answers.update(expected)
        # what the rails leave of it is remembered, here half of all writebacks and no release
        left = [Request(theirs.age_s, theirs.max_bytes // 2, 0) for theirs in expected]
        features.asked(*from_requests([*left, NOTHING, NOTHING]))
        for sample, request in zip(tick, left, strict=True):
            decider.asked(sample.inode, request)
    assert len(answers) > 1
    assert sum(request.max_bytes for request in answers) > 0
    assert features._memory.shape == (len(memory.START), 4)
    for i, sample in enumerate(samples[-1]):
        mine = decider._features[sample.inode]
        np.testing.assert_array_equal(mine._memory[:, 0], features._memory[:, i])
        np.testing.assert_array_equal(mine._asked[:, 0], features._asked[:, i])


def test_minutes_are_counted_by_the_policys_promise(samples: list[list[Sample]]) -> None:
    contract = replace(policy_of().contract, promise=Promise(disk_reads_pct_min=0.05))
    decider = PolicyDecider(policy_of(contract=contract))
    decider.decide(samples[0], 10.0)
    assert {float(mine._limits[0]) for mine in decider._features.values()} == {0.05}


def test_a_newcomer_changes_nobodys_features(samples: list[list[Sample]]) -> None:
    alone, joined = PolicyDecider(policy_of()), PolicyDecider(policy_of())
    for i, tick in enumerate(samples):
        alone.decide(tick, 10.0)
        newcomer = [replace(tick[0], cgroup="new", inode=99)] if i in (1, 2) else []
        joined.decide([*newcomer, *tick[::-1]], 10.0)
    for sample in samples[-1]:
        mine, other = alone._features[sample.inode], joined._features[sample.inode]
        assert np.array_equal(mine.age.mass, other.age.mass)
        assert np.array_equal(mine._slow, other._slow)


def test_a_policy_drives_any_number_of_cgroups(sample: Make) -> None:
    decider = PolicyDecider(policy_of())
    many = [sample(cgroup=f"c{i}", inode=i) for i in range(1, 41)]
    assert len(decider.decide(many, 10.0)) == 40
    assert decider.decide([], 10.0) == []


def test_a_replaced_cgroup_starts_without_a_past(samples: list[list[Sample]]) -> None:
    decider = PolicyDecider(policy_of())
    for tick in samples[:3]:
        decider.decide(tick, 10.0)
    old = decider._features[samples[0][0].inode]
    decider.decide([replace(samples[3][0], inode=77), samples[3][1]], 10.0)
    assert decider._features[77] is not old
    assert samples[0][0].inode not in decider._features


def test_an_answer_that_is_not_finite_is_an_error(sample: Make) -> None:
    policy = policy_of()
    first, last = policy.layers
    broken = replace(policy, layers=(first, replace(last, bias=np.full_like(last.bias, np.nan))))
    with pytest.raises(ValueError, match="not finite"):
        PolicyDecider(broken).decide([sample()], 10.0)


def test_a_policy_of_another_contract_is_refused() -> None:
    policy = policy_of()
    other = replace(policy, contract=replace(policy.contract, features_version=99))
    with pytest.raises(UserError, match=r"night\.npz: its contract differs in features_version"):
        PolicyDecider(other, "night.npz")


def test_a_policy_file(tmp_path: Path) -> None:
    path = policy_of().save(tmp_path / "policy.npz")
    decider = from_config(ControllerConfig.from_mapping({"policy": str(path)}))
    said = decider.describe()
    assert (said["kind"], said["name"], said["provenance"]) == ("policy", str(path), {"run": "test"})
    assert said["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(UserError, match="no such policy file"):
        load_policy(tmp_path / "none.npz")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="damaged"):
        load_policy(path)


# --- laws -----------------------------------------------------------------------------------------


def test_laws_by_name_and_parameters(sample: Make) -> None:
    for mapping in (
        {"law": "fixed_age(age_s=30,max_bytes=2M)"},
        {"law": "fixed_age", "law_arguments": {"age_s": 30, "max_bytes": "2M"}},
    ):
        decider = from_config(ControllerConfig.from_mapping(mapping))
        assert decider.decide([sample(), sample(inode=8, zswapped=0.0)], 10.0) == [
            Request(30.0, 2 << 20),
            Request(),
        ]
        assert decider.describe()["kind"] == "law"


def test_each_cgroup_has_its_own_copy_of_a_law(sample: Make) -> None:
    """AIMD keeps an age per cgroup; a neighbour that comes or goes must not reset it."""
    decider = LawDecider("aimd(age_s=100)")
    web, db = sample(), sample(cgroup="db", inode=8)
    ages = []
    for tick, present in enumerate([[web], [web, db], [db, web], [web]]):
        now = [replace(s, time_s=1000.0 + 10 * tick) for s in present]
        requests = dict(zip((s.cgroup for s in now), decider.decide(now, 10.0), strict=True))
        ages.append({name: request.age_s for name, request in requests.items()})
    assert [tick["web"] for tick in ages] == pytest.approx([95.0, 90.25, 85.7375, 81.450625])
    assert [tick["db"] for tick in ages[1:3]] == pytest.approx([95.0, 90.25])
    decider.decide([replace(web, inode=9)], 10.0)
    assert set(decider._copies) == {9}
