"""What was found, on disk: a file per search, there whole or not at all.

Under $ZSWAP_GYM_CACHE, $XDG_CACHE_HOME/zswap-gym or ~/.cache/zswap-gym, in ``oracle/``. The name says
scenario and seed and ends in a digest of everything the result depends on, the kernel model's sources and
the workloads' among it: what is of another version is not found. It may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zswap_gym.agents.scoring.suite import workloads_digest
from zswap_gym.atomic import write_atomically
from zswap_gym.envs.warmstart import scenario_digest
from zswap_gym.kernel.jit import model_digest
from zswap_gym.policy.promise import Promise
from zswap_gym.workloads.scenario import Scenario

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Place:
    """Where what one search finds is kept."""

    path: Path

    @classmethod
    def of(cls, kind: str, scenario: Scenario, seed: int, promise: Promise, facts: Any) -> Place:
        """Of a search of that kind.

        Args:
            kind: ``hindsight`` or ``oracle``.
            scenario: with the length of its episodes.
            seed: of the episode.
            promise: what is promised.
            facts: JSON-able, all else that it depends on.
        """
        everything = [
            kind, scenario_digest(scenario), seed, promise.as_dict(), model_digest(), workloads_digest(),
            facts,
        ]  # fmt: skip
        digest = hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:16]
        return cls(folder() / f"{kind}-{scenario.name}-{seed}-{digest}.npz")

    @property
    def part(self) -> Place:
        """Where a search keeps how far it has come."""
        return Place(self.path.with_suffix(".part.npz"))

    def load(self) -> Arrays | None:
        """What is there; None where there is nothing, or nothing that can be read."""
        try:
            with np.load(self.path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def save(self, arrays: Arrays) -> None:
        """Keep arrays. UserError where the folder cannot be written."""
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **arrays)
        write_atomically(self.path, content.getvalue())

    def remove(self) -> None:
        """Whether or not there is anything."""
        self.path.unlink(missing_ok=True)


def folder() -> Path:
    """Where all of them are."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("ZSWAP_GYM_CACHE") or home / "zswap-gym") / "oracle"
