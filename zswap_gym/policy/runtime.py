"""Run an exported policy with numpy: one file, no torch.

A bundle is an .npz without pickles: float32 weights, the normaliser, and a JSON text with the layers, the
contract and the provenance. An observation is N * F row features followed by H host features, an action N * A
numbers with A = 3. One set of weights serves every cgroup, so a policy trained on 4 drives 40::

    x = row_inputs(rows, host)         # (N, 3F + H): a row, its neighbours pooled, the host (rows.py)
    x = clip((x - mean) / sqrt(var + epsilon), -clip, clip)
    for each layer: x = activation(LayerNorm(weight x + bias))          # LayerNorm where the layer has one
    action = guarded(clip(x, -1, 1)), 0 where a row has no cgroup

``act`` equals the trained network without noise to 1e-5; agents/learning/network.py is the same in torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zswap_gym.errors import UserError
from zswap_gym.policy.actions import PER_CGROUP
from zswap_gym.policy.bundle_file import read_bundle, write_bundle
from zswap_gym.policy.contract import Contract
from zswap_gym.policy.features import PRESENT
from zswap_gym.policy.rows import guarded, row_inputs

Array = npt.NDArray[np.float32]

NORM_EPSILON = np.float32(1e-5)
"""Of LayerNorm, torch's own."""


@dataclass(frozen=True)
class Layer:
    """A dense layer: torch.nn.Linear, torch.nn.LayerNorm where it has one, activation."""

    weight: Array
    """(out, in)."""
    bias: Array
    """(out,)."""
    activation: str = "none"
    norm: tuple[Array, Array] | None = None
    """Weight and bias of the LayerNorm, (out,) each."""

    def __call__(self, x: Array) -> Array:
        """(..., in) becomes (..., out)."""
        x = x @ self.weight.T + self.bias
        if self.norm is not None:
            x = x - x.mean(-1, keepdims=True)
            x = x / np.sqrt((x * x).mean(-1, keepdims=True) + NORM_EPSILON) * self.norm[0] + self.norm[1]
        return ACTIVATIONS[self.activation](x)


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {"none": lambda x: x, "tanh": np.tanh}


@dataclass(frozen=True)
class Normaliser:
    """(x - mean) / sqrt(var + epsilon), clipped."""

    mean: npt.NDArray[np.floating[Any]]
    var: npt.NDArray[np.floating[Any]]
    clip: float
    epsilon: float

    def __call__(self, x: Array) -> Array:
        """Normalise along the last axis."""
        scaled = (x - self.mean) / np.sqrt(self.var + self.epsilon)
        return np.asarray(np.clip(scaled, -self.clip, self.clip), np.float32)


@dataclass(frozen=True)
class Policy:
    """An exported policy. ValueError if its parts do not fit each other.

    Attributes:
        layers: of the network, from 3F + H inputs to 3 outputs.
        scale: normalises the inputs.
        contract: what it was trained on.
        provenance: where it comes from: any JSON values.
    """

    layers: tuple[Layer, ...]
    scale: Normaliser
    contract: Contract
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        inputs = 3 * len(self.contract.features) + len(self.contract.host_features)
        _check_normaliser(self.scale, inputs)
        _check_layers(self.layers, inputs)

    def act(self, obs: npt.ArrayLike) -> Array:
        """Actions (..., N * 3) in [-1, 1] for observations (..., N * F + H); else ValueError."""
        x = np.asarray(obs, np.float32)
        f, h = len(self.contract.features), len(self.contract.host_features)
        n = (x.shape[-1] - h) // f
        if x.shape[-1] != n * f + h or n < 0:
            raise ValueError(f"an observation of {x.shape[-1]} numbers; a policy takes N * {f} + {h}")
        rows = x[..., : n * f].reshape(*x.shape[:-1], n, f)
        host = x[..., n * f :]
        out = self.scale(row_inputs(rows, host))
        for layer in self.layers:
            out = layer(out)
        action = guarded(np.clip(out, np.float32(-1), np.float32(1)), rows, host)
        here = (rows[..., PRESENT, None] > 0.5).astype(np.float32)
        acted: Array = (action * here).astype(np.float32).reshape(*x.shape[:-1], n * PER_CGROUP)
        return acted

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the bundle, all or nothing; returns its path. UserError if it cannot be written."""
        meta = {
            "contract": self.contract.to_dict(),
            "provenance": dict(self.provenance),
            "layers": [layer.activation for layer in self.layers],
            "scale": {"clip": self.scale.clip, "epsilon": self.scale.epsilon},
        }
        arrays: dict[str, npt.NDArray[Any]] = {
            "scale.mean": np.asarray(self.scale.mean, np.float64),
            "scale.var": np.asarray(self.scale.var, np.float64),
        }
        for i, layer in enumerate(self.layers):
            parts = {"weight": layer.weight, "bias": layer.bias}
            if layer.norm is not None:
                parts |= {"norm.weight": layer.norm[0], "norm.bias": layer.norm[1]}
            arrays |= {f"{i}.{name}": np.asarray(part, np.float32) for name, part in parts.items()}
        return write_bundle(Path(path), meta, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Policy:
        """Read a bundle. UserError if it is missing, truncated, not a bundle, or of another version."""
        where = os.fspath(path)
        meta, arrays = read_bundle(where)
        try:
            return cls(
                layers=tuple(_layer(arrays, str(i), act) for i, act in enumerate(meta["layers"])),
                scale=_normaliser(arrays, meta["scale"]),
                contract=Contract.from_dict(meta["contract"], where),
                provenance=dict(meta["provenance"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where}: incomplete policy bundle ({error}); export it again") from error


def _check_layers(layers: Sequence[Layer], inputs: int) -> None:
    """ValueError where layers do not fit each other."""
    for i, layer in enumerate(layers):
        if layer.activation not in ACTIVATIONS:
            raise ValueError(
                f"layer {i}: activation {layer.activation!r}; known are {', '.join(ACTIVATIONS)}"
            )
        weight, bias = layer.weight, layer.bias
        if weight.ndim != 2 or weight.shape[1] != inputs or bias.shape != weight.shape[:1]:
            raise ValueError(f"layer {i}: weight {weight.shape}, bias {bias.shape}, but {inputs} inputs")
        if layer.norm is not None and any(part.shape != bias.shape for part in layer.norm):
            raise ValueError(f"layer {i}: a norm of {layer.norm[0].shape}, but {len(bias)} outputs")
        inputs = weight.shape[0]
    if not layers or inputs != PER_CGROUP:
        raise ValueError(f"{len(layers)} layers and {inputs} outputs, not {PER_CGROUP}")


def _check_normaliser(norm: Normaliser, n: int) -> None:
    if norm.mean.shape != (n,) or norm.var.shape != (n,):
        raise ValueError(f"scale: mean {norm.mean.shape} and var {norm.var.shape}, but {n} inputs")
    if not ((norm.var >= 0).all() and norm.epsilon > 0 and norm.clip > 0):  # else act() gives nan, or nothing
        raise ValueError("scale: scale.var below 0, or epsilon or clip not above 0")


def _layer(arrays: Mapping[str, Any], name: str, activation: str) -> Layer:
    weight, bias = (_finite(arrays, f"{name}.{part}").astype(np.float32) for part in ("weight", "bias"))
    norm = None
    if f"{name}.norm.weight" in arrays:
        scale, shift = (
            _finite(arrays, f"{name}.norm.{part}").astype(np.float32) for part in ("weight", "bias")
        )
        norm = scale, shift
    return Layer(weight, bias, str(activation), norm)


def _normaliser(arrays: Mapping[str, Any], meta: Mapping[str, float]) -> Normaliser:
    mean, var = _finite(arrays, "scale.mean"), _finite(arrays, "scale.var")
    return Normaliser(mean, var, float(meta["clip"]), float(meta["epsilon"]))


def _finite(arrays: Mapping[str, Any], name: str) -> npt.NDArray[np.floating[Any]]:
    array: npt.NDArray[np.floating[Any]] = arrays[name]
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds numbers that are not finite")
    return array
