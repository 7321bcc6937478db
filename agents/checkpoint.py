"""Checkpoints from which a killed run goes on as if nothing had happened.

A checkpoint is taken between two rollouts and holds everything that the next step depends on:
weights and optimiser, normaliser, replay buffer, the environments in mid-episode, and the state of
every random generator. A run that is killed and resumed ends with the weights, bit for bit, of one
that was not. Folders appear by rename: there is no half-written checkpoint.
"""

from __future__ import annotations

import pickle
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize

from zswap_gym.errors import UserError

KEEP = 2
"""The last one, and one before it in case the disk fails at the wrong moment."""

T = TypeVar("T")
_BUFFER_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


@dataclass(frozen=True)
class Checkpoint:
    """A folder ``checkpoints/STEP``."""

    path: Path

    @property
    def step(self) -> int:
        """Environment steps done."""
        return int(self.path.name)

    @property
    def model_file(self) -> Path:
        """The model as SB3 saves it."""
        return self.path / "model.zip"

    def model(self, kind: type[BaseAlgorithm], **options: Any) -> BaseAlgorithm:
        """The model, which is of that kind; ``options`` are those of SB3's ``load``."""
        with _reading(self.model_file):
            return kind.load(self.model_file, device="cpu", **options)

    def normaliser(self) -> VecNormalize:
        """The normaliser, without environments."""
        return self._load("normaliser.pkl", VecNormalize)

    def state(self) -> dict[str, Any]:
        """Environments, random generators and the rest."""
        return self._load("state.pkl", dict)

    def _load(self, name: str, kind: type[T]) -> T:
        with _reading(self.path / name):
            # A pickle runs code when it is read, so only runs of one's own should be resumed or exported.
            found = pickle.loads((self.path / name).read_bytes())  # noqa: S301
            if not isinstance(found, kind):
                raise TypeError(f"holds {type(found).__name__}, not {kind.__name__}")
            return found


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Around reading a file of a checkpoint: a damaged one says what to do about it."""
    try:
        yield
    except Exception as error:  # a damaged pickle or zip file raises whatever its bytes happen to spell
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{file}: cannot be read ({reason}); remove this checkpoint to go on from the one before"
        ) from error


def checkpoints(run: Path) -> list[Checkpoint]:
    """All checkpoints of a run, oldest first."""
    found = [path for path in (run / "checkpoints").glob("*") if path.name.isdigit() and path.is_dir()]
    return [Checkpoint(path) for path in sorted(found, key=lambda path: int(path.name))]


def save(run: Path, model: BaseAlgorithm, vec: VecNormalize, seconds: float) -> Checkpoint:
    """Write a checkpoint of ``model`` between two rollouts, then drop all but the last two.

    ``seconds`` is what training has taken so far.
    """
    folder = run / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{model.num_timesteps:09d}"
    temporary = Path(tempfile.mkdtemp(dir=folder, prefix=".new-"))
    try:
        model.save(temporary / "model.zip")
        (temporary / "normaliser.pkl").write_bytes(pickle.dumps(vec))
        (temporary / "state.pkl").write_bytes(pickle.dumps(_state(model, vec) | {"seconds": seconds}))
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for old in checkpoints(run)[:-KEEP]:
        shutil.rmtree(old.path)
    return Checkpoint(final)


def sweep(run: Path) -> None:
    """Remove what a killed process had not finished writing."""
    for left in (run / "checkpoints").glob(".new-*"):
        shutil.rmtree(left, ignore_errors=True)


def restore(model: BaseAlgorithm, vec: VecNormalize, state: dict[str, Any]) -> None:
    """Put ``state`` into a model that was just loaded with ``force_reset=False``.

    Loading seeds every generator anew, so they are set last.
    """
    vec.returns = state["returns"]
    if state["buffer"] is not None:
        buffer = model.replay_buffer  # type: ignore[attr-defined]
        for name, rows in state["buffer"]["arrays"].items():
            getattr(buffer, name)[: len(rows)] = rows
        buffer.pos, buffer.full = state["buffer"]["pos"], state["buffer"]["full"]
    model.action_space._np_random = state["action_space"]  # noqa: SLF001 - it has no setter
    random.setstate(state["random"])
    np.random.set_state(state["numpy"])  # noqa: NPY002 - SB3 draws its minibatches from it
    torch.set_rng_state(state["torch"])


def _state(model: BaseAlgorithm, vec: VecNormalize) -> dict[str, Any]:
    return {
        "venv": vec.venv,
        "returns": vec.returns,
        "buffer": _buffer(getattr(model, "replay_buffer", None)),
        "action_space": model.action_space.np_random,
        "random": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002 - as above
        "torch": torch.get_rng_state(),
    }


def _buffer(buffer: ReplayBuffer | None) -> dict[str, Any] | None:
    """The filled part of a replay buffer."""
    if buffer is None:
        return None
    filled = buffer.buffer_size if buffer.full else buffer.pos
    arrays = {name: getattr(buffer, name)[:filled] for name in _BUFFER_ARRAYS}
    return {"arrays": arrays, "pos": buffer.pos, "full": buffer.full}
