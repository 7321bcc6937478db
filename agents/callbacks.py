"""What happens beside learning: checkpoints, a line per episode, a progress bar."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize

from zswap_gym.agents import checkpoint
from zswap_gym.atomic import write_atomically
from zswap_gym.errors import UserError

FIELDS = ("step", "env", "return", "length")
_LOST = "put it back as it was, or remove it to go on without the episodes so far"


class Saver(BaseCallback):
    """Writes a checkpoint every ``every`` steps, at the next moment between two rollouts.

    ``clock`` says how many seconds training has taken so far.
    """

    def __init__(self, run: Path, vec: VecNormalize, every: int, clock: Callable[[], float]) -> None:
        super().__init__()
        self.run, self.vec, self.every, self.clock = run, vec, every, clock

    def _on_training_start(self) -> None:
        self.last = self.model.num_timesteps

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps - self.last >= self.every:
            checkpoint.save(self.run, self.model, self.vec, self.clock())
            self.last = self.model.num_timesteps


class EpisodeLog(BaseCallback):
    """Appends each finished training episode to a CSV file.

    Lines past step ``after`` belong to a session that was killed after its last checkpoint; they
    will be lived again and are dropped. ``some``: the checkpoint knows of episodes before it, so a
    file without any was damaged.

    Raises:
        UserError: the file is damaged.
    """

    def __init__(self, path: Path, after: int, *, some: bool = False) -> None:
        super().__init__()
        self.path = path
        kept = [row for row in _rows(path) if int(row["step"]) <= after]
        if some and not kept and path.exists():
            raise UserError(f"{path}: has none of the episodes up to step {after}; {_LOST}")
        text = io.StringIO()
        writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
        write_atomically(path, text.getvalue())

    def _on_step(self) -> bool:
        ended = [(i, info["episode"]) for i, info in enumerate(self.locals["infos"]) if "episode" in info]
        if ended:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerows([self.num_timesteps, i, e["r"], e["l"]] for i, e in ended)
        return True


def read_episodes(path: Path) -> list[tuple[int, float]]:
    """(step, return) of every episode in the order in which they ended."""
    return [(int(row["step"]), float(row["return"])) for row in _rows(path)]


def returns_by_env(path: Path) -> dict[int, list[float]]:
    """Returns of the episodes of each environment, in order."""
    found: dict[int, list[float]] = {}
    for row in _rows(path):
        found.setdefault(int(row["env"]), []).append(float(row["return"]))
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    """The complete lines; the last may have been cut by a kill."""
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if all(row.get(name) for name in FIELDS)]
        for row in rows:
            int(row["step"]), int(row["env"]), float(row["return"])
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}); {_LOST}") from error
    return rows


class Bar(BaseCallback):
    """A progress bar on stderr: steps, time left, mean return of late. A context manager, so that it
    stops drawing however training ends.
    """

    def __init__(self, total: int, title: str, *, quiet: bool) -> None:
        super().__init__()
        self.total = total
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("return {task.fields[late]}"),
            console=Console(stderr=True),
            disable=quiet,
        )
        self._task = self._progress.add_task(title, total=total, late="-")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _on_step(self) -> bool:
        recent = self.model.ep_info_buffer
        late = f"{sum(e['r'] for e in recent) / len(recent):.4f}" if recent else "-"
        self._progress.update(self._task, completed=min(self.num_timesteps, self.total), late=late)
        return True
