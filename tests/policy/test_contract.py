"""The contract: what differs is named, what agrees passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from zswap_gym.errors import UserError
from zswap_gym.policy.actions import ActionSpec
from zswap_gym.policy.contract import CONTRACT_VERSION, Contract
from zswap_gym.policy.features import FEATURES, HOST_FEATURES
from zswap_gym.policy.promise import Promise

MINE = Contract(10.0)


def renamed(contract: Contract) -> Contract:
    rows = list(contract.features)
    rows[3] = ("zswap_share", *rows[3][1:])
    return replace(contract, features=tuple(rows))


def shorter(contract: Contract) -> Contract:
    return replace(contract, features=contract.features[:-1])


def swapped(contract: Contract) -> Contract:
    first, second, *rest = contract.host_features
    return replace(contract, host_features=(second, first, *rest))


def wider(contract: Contract) -> Contract:
    name, unit, low, _ = contract.host_features[2]
    rows = (*contract.host_features[:2], (name, unit, low, 9.0), *contract.host_features[3:])
    return replace(contract, host_features=rows)


def complaint(mine: Contract, theirs: Contract) -> str:
    with pytest.raises(UserError) as caught:
        mine.check(theirs, "p.npz")
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("p.npz: ")
    return text


def test_the_default_is_this_program() -> None:
    assert [row[0] for row in MINE.features] == [f.name for f in FEATURES]
    assert [row[0] for row in MINE.host_features] == [f.name for f in HOST_FEATURES]
    MINE.check(MINE)
    MINE.check(Contract(10.0))


@pytest.mark.parametrize(
    "contract",
    [MINE, Contract(2.5, ActionSpec(1.0, 9.0, 0.0, 0.5, 0.25, 4096), Promise(0.1)), renamed(MINE)],
    ids=repr,
)
def test_json_and_back(contract: Contract) -> None:
    again = Contract.from_dict(json.loads(json.dumps(contract.to_dict())))
    assert again == contract
    assert again.digest() == contract.digest()
    contract.check(again)
    assert isinstance(again.action.min_bytes, int)


def test_the_digest_is_of_everything_and_nothing_else() -> None:
    digest = MINE.digest()
    assert digest == Contract(10.0).digest()
    assert len(digest) == 12
    int(digest, 16)
    changed = [
        renamed(MINE), shorter(MINE), swapped(MINE), wider(MINE), replace(MINE, scenario="one"),
        replace(MINE, decision_interval_s=11.0), replace(MINE, features_version=99),
        replace(MINE, action=ActionSpec(max_write_share=0.25)), replace(MINE, promise=Promise(minutes=0.9)),
    ]  # fmt: skip
    assert len({digest, *(contract.digest() for contract in changed)}) == len(changed) + 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (renamed, ["features[3]", "'zswap_share'", "'zswapped_share'"]),
        (shorter, ["number of features", str(len(FEATURES)), str(len(FEATURES) - 1)]),
        (swapped, ["host_features[0]", "'free_swap'", "'free_memory'"]),
        (wider, ["host_features[2]", "9.0", "'pool_fill'"]),
        (lambda c: replace(c, features_version=99), ["features_version", "99"]),
        (lambda c: replace(c, version=CONTRACT_VERSION + 1), ["version", str(CONTRACT_VERSION + 1)]),
    ],
)
def test_a_difference_is_named_with_both_values(
    change: Callable[[Contract], Contract], named: list[str]
) -> None:
    text = complaint(MINE, change(MINE))
    assert [word for word in named if word not in text] == []


@pytest.mark.parametrize("entry", [f.name for f in fields(ActionSpec)])
def test_every_bound_of_an_action_counts(entry: str) -> None:
    theirs = replace(MINE, action=replace(MINE.action, **{entry: 0.125 + getattr(MINE.action, entry)}))
    assert f"action.{entry}" in complaint(MINE, theirs)


def test_another_decision_interval_is_refused() -> None:
    text = complaint(MINE, replace(MINE, decision_interval_s=2.5))
    assert [word for word in ("decision_interval_s", "2.5 s", "10 s") if word not in text] == []


def test_scenarios_are_compared_where_both_name_one() -> None:
    one, other = replace(MINE, scenario="one"), replace(MINE, scenario="other")
    text = complaint(one, other)
    assert [word for word in ("scenario", "one", "other") if word not in text] == []
    one.check(one)
    MINE.check(other)
    one.check(MINE)


def without(entry: str) -> dict[str, Any]:
    data = MINE.to_dict()
    del data[entry]
    return data


@pytest.mark.parametrize(
    "data",
    [
        {},
        without("features"),
        without("action"),
        without("host_features"),
        without("promise"),
        {**MINE.to_dict(), "promise": {"minutes": 0.9}},
        {**MINE.to_dict(), "features": [["only", "three", 0.0]]},
        {**MINE.to_dict(), "features": 7},
        {**MINE.to_dict(), "features_version": "many"},
        {**MINE.to_dict(), "action": {"age_min_s": 5.0, "colour": 1.0}},
        {**MINE.to_dict(), "action": None},
    ],
)
def test_what_is_no_contract_is_refused_in_one_line(data: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^p\.npz: not a policy contract") as caught:
        Contract.from_dict(data, "p.npz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"age_max_s": -1}, "action.age_max_s = -1"),
        ({"age_min_s": 0}, "action.age_min_s = 0"),
        ({"max_write_share": float("nan")}, "action.max_write_share = nan"),
        ({"max_release_share": 1e9}, "action.max_release_share = 1000000000.0"),
        ({"min_bytes": float("inf")}, "action.min_bytes = inf"),
        ({"age_max_s": 10**400}, "not a policy contract"),
        ({"max_write_share": "0.1"}, "action.max_write_share = '0.1'"),
        ({"max_write_shar": 0.1}, "action.max_write_shar is unknown (did you mean 'max_write_share'?)"),
    ],
    ids=range(8),
)
def test_bounds_of_actions_that_mean_nothing_are_refused(change: dict[str, Any], words: str) -> None:
    data = MINE.to_dict()
    with pytest.raises(UserError) as caught:
        Contract.from_dict(data | {"action": data["action"] | change}, "p.npz")
    assert str(caught.value).startswith("p.npz: not a policy contract")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [0, float("nan"), float("inf")])
def test_no_time_is_refused(value: float) -> None:
    with pytest.raises(UserError, match=r"^p\.npz: not a policy contract"):
        Contract.from_dict(MINE.to_dict() | {"decision_interval_s": value}, "p.npz")


@pytest.mark.parametrize(
    ("promise", "words"),
    [
        ({"minutes": 1.5}, "minutes = 1.5; give a number above 0, at most 1"),
        ({"disk_reads_pct_min": "few"}, "disk_reads_pct_min = 'few'"),
        ({"disk_read": 0.2}, "did you mean"),
    ],
)
def test_a_promise_that_means_nothing_is_refused(promise: dict[str, Any], words: str) -> None:
    data = MINE.to_dict()
    with pytest.raises(UserError) as caught:
        Contract.from_dict(data | {"promise": data["promise"] | promise}, "p.npz")
    assert str(caught.value).startswith("p.npz: promise of its contract: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_promise_passes() -> None:
    """A policy may be judged by any; what its features are counted by is the driver's affair."""
    MINE.check(replace(MINE, promise=Promise(minutes=0.9)))


def test_an_old_policy_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"^p\.npz: contract version 1, this program has 2; export the policy"
    ):
        Contract.from_dict(MINE.to_dict() | {"version": 1}, "p.npz")
