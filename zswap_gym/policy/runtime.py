"""Run an exported policy with numpy: one file, no torch.

A bundle is an .npz without pickles: float32 weights, the normaliser, and a JSON text with the
architecture, the contract and the provenance. Two architectures:

* ``mlp``: the whole observation, normalised, through dense layers.
* ``shared``: the observation is split into N rows of F features and H host features. Rows are
  normalised with statistics pooled over cgroups; absent rows (feature ``present`` = 0) become
  zeros. The encoder gives e per row; the context is [mean of e, max of e over present rows,
  host]; the head maps [e, context] to two outputs per row. Absent rows output 0. The weights do
  not depend on N, so a policy trained on 4 cgroups drives 40.

``act`` equals Stable-Baselines3's ``predict(deterministic=True)`` to 1e-5: PPO clips the mean to
the box (``squash: clip``), SAC squashes it with tanh (``squash: tanh``).
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zswap_gym.errors import UserError
from zswap_gym.policy.actions import PER_CGROUP
from zswap_gym.policy.contract import Contract
from zswap_gym.policy.features import FEATURES, HOST_FEATURES

Array = npt.NDArray[np.float32]
Layer = tuple[Array, Array, str]
"""Weight (out, in), bias (out,), activation."""

BUNDLE_VERSION = 1
F, H = len(FEATURES), len(HOST_FEATURES)

_ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "none": lambda x: x,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, np.float32(0)),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))).astype(np.float32),
}


@dataclass(frozen=True)
class Normaliser:
    """(x - mean) / sqrt(var + epsilon), clipped, as SB3's VecNormalize does."""

    mean: Array
    var: Array
    clip: float = 10.0
    epsilon: float = 1e-8

    def __call__(self, x: Array) -> Array:
        """Normalise along the last axis."""
        scaled = (x - self.mean) / np.sqrt(self.var + self.epsilon)
        return np.clip(scaled, -self.clip, self.clip).astype(np.float32)


def _run(layers: Sequence[Layer], x: Array) -> Array:
    for weight, bias, activation in layers:
        x = _ACTIVATIONS[activation](x @ weight.T + bias)
    return x


@dataclass(frozen=True)
class Policy:
    """An exported policy.

    Attributes:
        kind: ``mlp`` or ``shared``.
        squash: ``clip`` or ``tanh``.
        body: layers of the mlp, or of the shared encoder.
        head: layers after the context (shared) or none.
        rows, host: normalisers of the F row features and H host features (shared), or of the
            whole observation (mlp: ``rows``; ``host`` is unused); None = no normalisation.
    """

    kind: str
    squash: str
    body: tuple[Layer, ...]
    head: tuple[Layer, ...]
    rows: Normaliser | None
    host: Normaliser | None
    contract: Contract
    provenance: Mapping[str, Any]

    def act(self, obs: npt.ArrayLike) -> Array:
        """Actions (..., N * 2) in [-1, 1] for observations (..., N * F + H)."""
        x = np.asarray(obs, np.float32)
        out = self._mlp(x) if self.kind == "mlp" else self._shared(x)
        return np.tanh(out) if self.squash == "tanh" else np.clip(out, -1.0, 1.0).astype(np.float32)

    def _mlp(self, x: Array) -> Array:
        return _run(self.body, self.rows(x) if self.rows else x)

    def _shared(self, x: Array) -> Array:
        n = (x.shape[-1] - H) // F
        rows = x[..., : n * F].reshape(*x.shape[:-1], n, F)
        host = x[..., n * F :]
        present = (rows[..., :1] > 0.5).astype(np.float32)
        rows = (self.rows(rows) if self.rows else rows) * present
        host = self.host(host) if self.host else host
        e = _run(self.body, rows) * present
        count = np.maximum(present.sum(-2), 1.0)
        highest = np.where(present > 0, e, -np.inf).max(-2)
        highest = np.where(np.isfinite(highest), highest, 0.0).astype(np.float32)
        context = np.concatenate([e.sum(-2) / count, highest, host], axis=-1)
        spread = np.broadcast_to(context[..., None, :], (*e.shape[:-1], context.shape[-1]))
        out = _run(self.head, np.concatenate([e, spread], axis=-1)) * present
        return out.reshape(*x.shape[:-1], n * PER_CGROUP)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the bundle atomically; returns its path. UserError if the folder cannot be written."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        meta: dict[str, Any] = {
            "bundle_version": BUNDLE_VERSION,
            "kind": self.kind,
            "squash": self.squash,
            "contract": self.contract.to_dict(),
            "provenance": dict(self.provenance),
        }
        for part in ("body", "head"):
            meta[part] = [layer[2] for layer in getattr(self, part)]
            for i, (weight, bias, _) in enumerate(getattr(self, part)):
                arrays[f"{part}.{i}.weight"] = weight.astype(np.float32)
                arrays[f"{part}.{i}.bias"] = bias.astype(np.float32)
        for part in ("rows", "host"):
            norm = getattr(self, part)
            meta[f"norm_{part}"] = None if norm is None else {"clip": norm.clip, "epsilon": norm.epsilon}
            if norm is not None:
                arrays[f"{part}.mean"] = norm.mean.astype(np.float64)
                arrays[f"{part}.var"] = norm.var.astype(np.float64)
        arrays["meta"] = np.array(json.dumps(meta))
        return _write_npz(Path(path), arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Policy:
        """Read a bundle. UserError if it is missing, truncated, not a bundle, or of another version."""
        where = os.fspath(path)
        try:
            with np.load(where, allow_pickle=False) as data:
                arrays = {name: data[name] for name in data.files}
            meta = json.loads(str(arrays["meta"]))
            version = meta["bundle_version"]
        except FileNotFoundError as error:
            raise UserError(f"{where}: no such policy file; export one with 'zswap-gym export'") from error
        except (OSError, KeyError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise UserError(f"{where}: not an exported policy, or damaged ({error}); export it again") from error
        if version != BUNDLE_VERSION:
            raise UserError(f"{where}: bundle version {version}, this program reads {BUNDLE_VERSION}; export it again")
        try:
            return cls(
                kind=str(meta["kind"]),
                squash=str(meta["squash"]),
                body=_layers(arrays, "body", meta["body"]),
                head=_layers(arrays, "head", meta["head"]),
                rows=_normaliser(arrays, "rows", meta["norm_rows"]),
                host=_normaliser(arrays, "host", meta["norm_host"]),
                contract=Contract.from_dict(meta["contract"], where),
                provenance=meta["provenance"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where}: incomplete policy bundle ({error}); export it again") from error


def _layers(arrays: Mapping[str, Any], part: str, activations: Sequence[str]) -> tuple[Layer, ...]:
    layers = []
    for i, activation in enumerate(activations):
        weight, bias = arrays[f"{part}.{i}.weight"], arrays[f"{part}.{i}.bias"]
        if activation not in _ACTIVATIONS or weight.ndim != 2 or bias.shape != weight.shape[:1]:
            raise ValueError(f"layer {part}.{i}")
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ValueError(f"layer {part}.{i} holds numbers that are not finite")
        layers.append((weight.astype(np.float32), bias.astype(np.float32), activation))
    return tuple(layers)


def _normaliser(arrays: Mapping[str, Any], part: str, meta: Mapping[str, float] | None) -> Normaliser | None:
    if meta is None:
        return None
    return Normaliser(arrays[f"{part}.mean"], arrays[f"{part}.var"], float(meta["clip"]), float(meta["epsilon"]))


def _write_npz(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> Path:
    """All or nothing: a temporary file in the same folder, then a rename."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, suffix=".tmp", delete=False) as handle:
            handle.write(buffer.getvalue())
        os.replace(handle.name, path)
    except OSError as error:
        raise UserError(f"{path}: cannot write the policy: {error.strerror}; choose another folder") from error
    return path
