"""Policy files: whole, or refused in one line that says what to do."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from zswap_gym.errors import UserError
from zswap_gym.policy.actions import ActionSpec
from zswap_gym.policy.bundle_file import BUNDLE_VERSION
from zswap_gym.policy.contract import Contract
from zswap_gym.policy.features import FEATURES, HOST_FEATURES
from zswap_gym.policy.runtime import Layer, Normaliser, Policy

F, H = len(FEATURES), len(HOST_FEATURES)
INPUTS = 3 * F + H
Arrays = dict[str, npt.NDArray[Any]]


def make(seed: int = 3) -> Policy:
    rng = np.random.default_rng(seed)

    def dense(n_out: int, n_in: int) -> npt.NDArray[np.float32]:
        return (rng.normal(size=(n_out, n_in)) / math.sqrt(n_in)).astype(np.float32)

    bias, shift = dense(8, 1)[:, 0], dense(8, 1)[:, 0]
    layers = (
        Layer(dense(8, INPUTS), bias, "tanh", (dense(8, 1)[:, 0], shift)),
        Layer(dense(3, 8), dense(3, 1)[:, 0]),
    )
    scale = Normaliser(rng.normal(size=INPUTS), rng.uniform(0.1, 1, INPUTS), 5.0, 1e-6)
    contract = Contract(10.0, ActionSpec(max_write_share=0.25))
    return Policy(layers, scale, contract, {"run": "runs/1", "seeds": [1, 2], "git": None})


def observations() -> npt.NDArray[np.float32]:
    obs = np.random.default_rng(4).uniform(0, 1, (6, 2 * F + H)).astype(np.float32)
    obs[:, 0] = 1.0
    return obs


def refusal(path: Path) -> str:
    """What load() says, which must be one line that begins with the file."""
    with pytest.raises(UserError) as caught:
        Policy.load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


def rewritten(path: Path, change: Callable[[dict[str, Any], Arrays], None]) -> Path:
    """A saved policy with its description or arrays changed."""
    make().save(path)
    with np.load(path) as data:
        arrays = {name: data[name] for name in data.files}
    meta = json.loads(str(arrays["meta"]))
    change(meta, arrays)
    if "meta" in arrays:
        arrays["meta"] = np.array(json.dumps(meta))
    np.savez(path, **arrays)
    return path


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    policy = make()
    path = policy.save(tmp_path / "deep" / "policy.npz")
    again = Policy.load(str(path))
    assert again.contract == policy.contract
    assert again.provenance == policy.provenance
    assert again.contract.action.max_write_share == 0.25
    obs = observations()
    np.testing.assert_array_equal(again.act(obs), policy.act(obs))
    assert policy.act(obs).std() > 0.1
    assert [p.name for p in path.parent.iterdir()] == ["policy.npz"]


def test_the_name_is_kept_as_given(tmp_path: Path) -> None:
    """numpy would add .npz."""
    path = make().save(tmp_path / "policy.bundle")
    assert path == tmp_path / "policy.bundle"
    Policy.load(path)


def test_saving_again_replaces(tmp_path: Path) -> None:
    for seed in (3, 4):
        make(seed).save(tmp_path / "policy.npz")
    obs = observations()
    np.testing.assert_array_equal(Policy.load(tmp_path / "policy.npz").act(obs), make(4).act(obs))


def test_a_missing_file(tmp_path: Path) -> None:
    assert "no such policy file" in refusal(tmp_path / "none.npz")


def test_a_folder(tmp_path: Path) -> None:
    assert "folder" in refusal(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_file(tmp_path: Path, share: float) -> None:
    path = make().save(tmp_path / "cut.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "damaged" in refusal(path)


def test_flipped_bits(tmp_path: Path) -> None:
    path = make().save(tmp_path / "flipped.npz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    assert "again" in refusal(path)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    text = tmp_path / "policy.txt"
    text.write_text("mode: act\n")
    array = tmp_path / "array.npy"
    np.save(array, np.zeros(3))
    archive = tmp_path / "trace.npz"
    np.savez(archive, touched=np.zeros(3))
    for path in (text, array, archive):
        assert "not an exported policy" in refusal(path)


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "pickled.npz"
    np.savez(path, meta=np.array([{"bundle_version": 1}], dtype=object))
    assert "not an exported policy" in refusal(path)


@pytest.mark.parametrize("version", [1, BUNDLE_VERSION + 1])
def test_another_bundle_version(tmp_path: Path, version: int) -> None:
    text = refusal(rewritten(tmp_path / "p.npz", lambda meta, _: meta.update(bundle_version=version)))
    assert f"bundle version {version}, this program reads {BUNDLE_VERSION}; train it again" in text


def test_a_policy_of_a_whole_host(tmp_path: Path) -> None:
    """What earlier versions wrote: body and head, whose observations and actions were others."""

    def earlier(meta: dict[str, Any], arrays: Arrays) -> None:
        for name in list(arrays):
            if name != "meta":
                del arrays[name]
        arrays |= {"body.0.weight": np.ones((3, INPUTS)), "body.0.bias": np.ones(3)}
        meta.update(bundle_version=1, kind="mlp", squash="clip", layers=[{"name": "body.0"}])
        meta["contract"]["n_max"] = 4

    text = refusal(rewritten(tmp_path / "old.npz", earlier))
    assert "bundle version 1" in text
    assert "train it again" in text


@pytest.mark.parametrize(
    "name", ["0.weight", "1.bias", "0.norm.weight", "0.norm.bias", "scale.mean", "scale.var"]
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite(tmp_path: Path, name: str, value: float) -> None:
    def spoil(_: dict[str, Any], arrays: Arrays) -> None:
        arrays[name].flat[-1] = value

    assert name in refusal(rewritten(tmp_path / "nan.npz", spoil))


@pytest.mark.parametrize(
    "change",
    [
        lambda _, arrays: arrays.pop("1.weight"),
        lambda _, arrays: arrays.update({"1.weight": arrays["1.weight"][:, 1:]}),
        lambda _, arrays: arrays.update({"1.bias": arrays["1.bias"][1:]}),
        lambda _, arrays: arrays.update({"scale.mean": arrays["scale.mean"][1:]}),
        lambda _, arrays: arrays.pop("scale.var"),
        lambda meta, _: meta.pop("contract"),
        lambda meta, _: meta["contract"].pop("features"),
        lambda meta, _: meta.update(contract=None),
        lambda meta, _: meta.update(scale={"clip": 1.0}),
        lambda meta, _: meta.update(layers=["gelu", "none"]),
        lambda meta, _: meta.update(layers=["tanh"]),
        lambda meta, _: meta.update(layers=["tanh", "none", "none"]),
        lambda meta, _: meta.update(layers=[]),
        lambda meta, _: meta.update(layers=None),
        lambda meta, _: meta.update(provenance=3),
        lambda meta, _: meta.pop("bundle_version"),
        lambda _, arrays: arrays.pop("meta"),
    ],
    ids=range(17),
)
def test_an_incomplete_bundle(tmp_path: Path, change: Callable[[dict[str, Any], Arrays], None]) -> None:
    assert "again" in refusal(rewritten(tmp_path / "half.npz", change))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda arrays: arrays.pop("0.norm.bias"), "0.norm.bias"),
        (lambda arrays: arrays["0.norm.weight"].fill(np.nan), "not finite"),
        (lambda arrays: arrays.update({"0.norm.weight": np.ones(7)}), "layer 0: a norm of (7,), but 8"),
    ],
)
def test_the_normalisation_of_a_layer_is_checked(
    tmp_path: Path, change: Callable[[Arrays], None], words: str
) -> None:
    assert words in refusal(rewritten(tmp_path / "bad.npz", lambda _, arrays: change(arrays)))


def test_a_normaliser_that_gives_no_numbers(tmp_path: Path) -> None:
    def negative(_: dict[str, Any], arrays: Arrays) -> None:
        arrays["scale.var"].flat[-1] = -1.0

    def no_epsilon(meta: dict[str, Any], _: Arrays) -> None:
        meta["scale"]["epsilon"] = 0.0

    for change in (negative, no_epsilon):
        assert "scale.var below 0" in refusal(rewritten(tmp_path / "bad.npz", change))


def test_bounds_of_actions_are_checked_when_a_bundle_is_read(tmp_path: Path) -> None:
    def spoil(meta: dict[str, Any], _: Arrays) -> None:
        meta["contract"]["action"]["age_max_s"] = -1

    assert "action.age_max_s = -1" in refusal(rewritten(tmp_path / "bad.npz", spoil))


def test_what_cannot_be_written_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make().save(tmp_path / "policy.npz").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for function in ("replace", "rename"):
        monkeypatch.setattr(Path, function, full)
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(UserError, match=r"policy\.npz: cannot write the policy: No space left"):
        make(4).save(tmp_path / "policy.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["policy.npz"]
    assert (tmp_path / "policy.npz").read_bytes() == old


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the policy") as caught:
        make().save(tmp_path / "file" / "policy.npz")
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_bounds_of_the_contract_survive(tmp_path: Path) -> None:
    policy = replace(make(), contract=Contract(2.5, ActionSpec(1.0, 2.0, 0.1, 0.5, 0.25, 4096)))
    assert Policy.load(policy.save(tmp_path / "p.npz")).contract == policy.contract
