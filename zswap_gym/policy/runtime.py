"""Run an exported policy with numpy: one file, no torch.

A bundle is an .npz without pickles: float32 weights, the normaliser, and a JSON text with the
layers, the contract and the provenance. With F row features, H host features and A = 3 actions
per cgroup, an observation is n_max * F row features followed by H host features, and an action
n_max * A numbers. Three architectures:

``mlp``: the whole observation, normalised element by element, through dense layers (``body``).
n_max is fixed.

``shared``: one set of weights for every cgroup, so a policy trained on 4 cgroups drives 40::

    rows (N, F), host (H) = obs split
    present = rows[:, 0] > 0.5                            # the raw feature, before normalising
    rows = normalise_rows(rows) * present                 # statistics per feature, pooled over cgroups
    host = normalise_host(host)
    e = body(rows) * present                              # dense layers, each with its activation
    context = [mean of e over present rows, max of e over present rows (0 if none), host]
    out = head([e, context]) * present                    # dense layers; the last one has A outputs

``rows``: one network for every cgroup, which sees them all pooled (:mod:`zswap_gym.policy.rows`)::

    out = body(normalise_rows(row_inputs(rows, host))) * present   # the last layer has A outputs

A layer may normalise between its matrix and its activation, as torch's LayerNorm does over the last axis.
Normalising observations is clip((x - mean) / sqrt(var + epsilon), -clip, clip), as SB3's VecNormalize does.
``act`` equals ``predict(deterministic=True)`` of Stable-Baselines3 to 1e-5: PPO clips the mean to
the box (``squash: clip``), SAC squashes it with tanh (``squash: tanh``; unscaling to [-1, 1] is
the identity). agents/networks.py has the same network in torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from zswap_gym.errors import UserError
from zswap_gym.policy.actions import PER_CGROUP
from zswap_gym.policy.bundle_file import read_bundle, write_bundle
from zswap_gym.policy.contract import Contract
from zswap_gym.policy.features import PRESENT
from zswap_gym.policy.rows import row_inputs

Array = npt.NDArray[np.float32]

KINDS = ("mlp", "shared", "rows")
SQUASHES = ("clip", "tanh")
NORM_EPSILON = np.float32(1e-5)
"""torch.nn.LayerNorm's."""


class Layer(NamedTuple):
    """What torch.nn.Linear holds, and what follows it."""

    weight: Array
    """(out, in)."""
    bias: Array
    """(out,)."""
    activation: str = "none"
    norm: tuple[Array, Array] | None = None
    """Weight and bias (out,) of a torch.nn.LayerNorm between the two; None = there is none."""


def _relu(x: Array) -> Array:
    return np.maximum(x, np.float32(0))


def _elu(x: Array) -> Array:
    return np.where(x > 0, x, np.expm1(np.minimum(x, np.float32(0))))


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "none": lambda x: x,
    "tanh": np.tanh,
    "relu": _relu,
    "elu": _elu,
}


@dataclass(frozen=True)
class Normaliser:
    """(x - mean) / sqrt(var + epsilon), clipped, in double precision as SB3's VecNormalize does."""

    mean: npt.NDArray[np.floating[Any]]
    var: npt.NDArray[np.floating[Any]]
    clip: float = 10.0
    epsilon: float = 1e-8

    def __call__(self, x: Array) -> Array:
        """Normalise along the last axis."""
        scaled = (x - self.mean) / np.sqrt(self.var + self.epsilon)
        return np.asarray(np.clip(scaled, -self.clip, self.clip), np.float32)


@dataclass(frozen=True)
class Policy:
    """An exported policy. ValueError if its parts do not fit each other.

    Attributes:
        kind: ``mlp``, ``shared`` or ``rows``.
        squash: ``clip`` or ``tanh``.
        body: layers of the mlp, of the shared encoder, or of the network of rows.
        head: layers after the context (shared) or none.
        rows, host: normalisers of the F row features and the H host features (shared), or of all that
            goes into the network (``rows``; ``host`` is None). None = no normalisation.
        contract: what it was trained on.
        provenance: where it comes from: any JSON values.
    """

    kind: str
    squash: str
    body: tuple[Layer, ...]
    head: tuple[Layer, ...]
    rows: Normaliser | None
    host: Normaliser | None
    contract: Contract
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.squash not in SQUASHES:
            raise ValueError(
                f"kind {self.kind!r} and squash {self.squash!r}; known are {KINDS} and {SQUASHES}"
            )
        f, h, n = len(self.contract.features), len(self.contract.host_features), self.contract.n_max
        if self.kind != "shared":
            seen, said = (n * f + h, n * PER_CGROUP) if self.kind == "mlp" else (3 * f + h, PER_CGROUP)
            _check_layers("body", self.body, seen, said)
            _check_normaliser("rows", self.rows, seen)
            if self.head or self.host is not None:
                raise ValueError(f"a {self.kind} policy has a body and a normaliser rows, nothing else")
        else:
            code = _check_layers("body", self.body, f, None)
            _check_layers("head", self.head, 3 * code + h, PER_CGROUP)
            _check_normaliser("rows", self.rows, f)
            _check_normaliser("host", self.host, h)

    def act(self, obs: npt.ArrayLike) -> Array:
        """Actions (..., N * 3) in [-1, 1] for observations (..., N * F + H).

        N is n_max for an mlp and any number for the others. ValueError for another length.
        """
        x = np.asarray(obs, np.float32)
        f, h = len(self.contract.features), len(self.contract.host_features)
        n = (x.shape[-1] - h) // f
        if x.shape[-1] != n * f + h or n < 0 or (self.kind == "mlp" and n != self.contract.n_max):
            raise ValueError(f"an observation of {x.shape[-1]} numbers; {self.kind} takes N * {f} + {h}")
        if self.kind == "mlp":
            out = self._network(x)
        else:
            rows, host = x[..., : n * f].reshape(*x.shape[:-1], n, f), x[..., n * f :]
            each = self._shared(rows, host) if self.kind == "shared" else self._rows(rows, host)
            out = each.reshape(*x.shape[:-1], n * PER_CGROUP)
        return np.tanh(out) if self.squash == "tanh" else np.clip(out, np.float32(-1), np.float32(1))

    def _network(self, x: Array) -> Array:
        return _run(self.body, x if self.rows is None else self.rows(x))

    def _rows(self, rows: Array, host: Array) -> Array:
        return self._network(row_inputs(rows, host)) * _present(rows)

    def _shared(self, rows: Array, host: Array) -> Array:
        present = _present(rows)
        rows = (rows if self.rows is None else self.rows(rows)) * present
        host = host if self.host is None else self.host(host)
        e = _run(self.body, rows) * present
        mean = e.sum(-2) / np.maximum(present.sum(-2), np.float32(1))
        highest = np.where(present > 0, e, np.float32(-np.inf)).max(-2, initial=-np.inf)
        highest = np.where(np.isfinite(highest), highest, np.float32(0))
        context = np.concatenate([mean, highest, host], axis=-1)
        spread = np.broadcast_to(context[..., None, :], (*e.shape[:-1], context.shape[-1]))
        return _run(self.head, np.concatenate([e, spread], axis=-1)) * present

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the bundle, all or nothing; returns its path. UserError if it cannot be written."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        meta: dict[str, Any] = {
            "kind": self.kind,
            "squash": self.squash,
            "contract": self.contract.to_dict(),
            "provenance": dict(self.provenance),
            "layers": [],
        }
        for part, layers in (("body", self.body), ("head", self.head)):
            for i, layer in enumerate(layers):
                name = f"{part}.{i}"
                arrays[f"{name}.weight"] = np.asarray(layer.weight, np.float32)
                arrays[f"{name}.bias"] = np.asarray(layer.bias, np.float32)
                if layer.norm is not None:
                    arrays[f"{name}.norm.weight"], arrays[f"{name}.norm.bias"] = layer.norm
                norm = None if layer.norm is None else "layer"
                meta["layers"].append(
                    {"part": part, "name": name, "norm": norm, "activation": layer.activation}
                )
        for part, scale in (("rows", self.rows), ("host", self.host)):
            meta[f"norm_{part}"] = None if scale is None else {"clip": scale.clip, "epsilon": scale.epsilon}
            if scale is not None:
                arrays[f"{part}.mean"] = np.asarray(scale.mean, np.float64)
                arrays[f"{part}.var"] = np.asarray(scale.var, np.float64)
        return write_bundle(Path(path), meta, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Policy:
        """Read a bundle. UserError if it is missing, truncated, not a bundle, or of another version."""
        where = os.fspath(path)
        meta, arrays = read_bundle(where)
        try:
            return cls(
                kind=str(meta["kind"]),
                squash=str(meta["squash"]),
                body=_layers(arrays, "body", meta["layers"]),
                head=_layers(arrays, "head", meta["layers"]),
                rows=_normaliser(arrays, "rows", meta["norm_rows"]),
                host=_normaliser(arrays, "host", meta["norm_host"]),
                contract=Contract.from_dict(meta["contract"], where),
                provenance=dict(meta["provenance"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where}: incomplete policy bundle ({error}); export it again") from error


def _present(rows: Array) -> Array:
    """1 where a row (..., N, F) has a cgroup, else 0: (..., N, 1)."""
    return (rows[..., PRESENT : PRESENT + 1] > 0.5).astype(np.float32)


def _run(layers: Sequence[Layer], x: Array) -> Array:
    for weight, bias, activation, norm in layers:
        x = x @ weight.T + bias
        if norm is not None:
            x = x - x.mean(-1, keepdims=True)
            x = x / np.sqrt((x * x).mean(-1, keepdims=True) + NORM_EPSILON) * norm[0] + norm[1]
        x = ACTIVATIONS[activation](x)
    return x


def _check_layers(part: str, layers: Sequence[Layer], n_in: int, n_out: int | None) -> int:
    """Outputs of the last layer; ValueError where layers do not fit or hold no numbers."""
    for i, (weight, bias, activation, norm) in enumerate(layers):
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"layer {part}.{i}: activation {activation!r}; known are {', '.join(ACTIVATIONS)}"
            )
        if weight.ndim != 2 or weight.shape[1] != n_in or bias.shape != weight.shape[:1]:
            raise ValueError(f"layer {part}.{i}: weight {weight.shape}, bias {bias.shape}, but {n_in} inputs")
        if norm is not None and not norm[0].shape == norm[1].shape == bias.shape:
            raise ValueError(
                f"layer {part}.{i}: norm {norm[0].shape} and {norm[1].shape}, but {len(bias)} outputs"
            )
        n_in = weight.shape[0]
    if not layers or (n_out is not None and n_in != n_out):
        raise ValueError(f"{part} has {len(layers)} layers and {n_in} outputs, not {n_out or 'any'}")
    return n_in


def _check_normaliser(part: str, norm: Normaliser | None, n: int) -> None:
    if norm is None:
        return
    if norm.mean.shape != (n,) or norm.var.shape != (n,):
        raise ValueError(f"normaliser {part}: {norm.mean.shape} and {norm.var.shape}, but {n} features")
    if not ((norm.var >= 0).all() and norm.epsilon > 0 and norm.clip > 0):  # else act() gives nan, or nothing
        raise ValueError(f"normaliser {part}: {part}.var below 0, or epsilon or clip not above 0")


def _layers(
    arrays: Mapping[str, Any], part: str, described: Sequence[Mapping[str, Any]]
) -> tuple[Layer, ...]:
    layers = []
    for layer in described:
        if layer["part"] == part:
            name = layer["name"]
            weight, bias = _single(arrays, f"{name}.weight"), _single(arrays, f"{name}.bias")
            norm = None
            if layer["norm"] not in (None, "layer"):
                raise ValueError(f"{name}: norm {layer['norm']!r}; known are None and 'layer'")
            if layer["norm"] is not None:
                norm = _single(arrays, f"{name}.norm.weight"), _single(arrays, f"{name}.norm.bias")
            layers.append(Layer(weight, bias, str(layer["activation"]), norm))
    return tuple(layers)


def _single(arrays: Mapping[str, Any], name: str) -> Array:
    return _finite(arrays, name).astype(np.float32)


def _normaliser(arrays: Mapping[str, Any], part: str, meta: Mapping[str, float] | None) -> Normaliser | None:
    if meta is None:
        return None
    mean, var = _finite(arrays, f"{part}.mean"), _finite(arrays, f"{part}.var")
    return Normaliser(mean, var, float(meta["clip"]), float(meta["epsilon"]))


def _finite(arrays: Mapping[str, Any], name: str) -> npt.NDArray[np.floating[Any]]:
    array: npt.NDArray[np.floating[Any]] = arrays[name]
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds numbers that are not finite")
    return array
