"""Scenarios: a host, its cgroups and what runs in them, from a YAML file.

A `Scenario` is what the file says; `Scenario.realise` draws one instance of it: sizes, phases,
event times, compressed sizes. Same generator state, same instance.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import ValidationError, model_validator

from zswap_gym import lookup
from zswap_gym.errors import UserError, nearest
from zswap_gym.units import PAGE_SIZE
from zswap_gym.workloads.archetypes import MIN_PAGES
from zswap_gym.workloads.coarseness import coarsest
from zswap_gym.workloads.findings import describe
from zswap_gym.workloads.instance import Realised, realise
from zswap_gym.workloads.schema import Cgroup, Episode, Host, Model, Randomise, StageOne
from zswap_gym.workloads.traces import load_trace
from zswap_gym.yaml_file import read_yaml

if TYPE_CHECKING:
    import numpy as np


class Scenario(Model):
    """A validated scenario file. Keys and units are those of the file; see configs/scenarios."""

    name: str
    description: str = ""
    kernel: Literal["6.12", "6.18", "7.3"] = "6.12"
    dialect: Literal["v1", "v2", "v3", "v4", "v5", "stock", "stock-pulse"] = "v1"
    """Which interface for proactive writeback its kernel has."""
    split: Literal["train", "validation", "test", "bench"] = "train"
    """bench: for measuring and looking, in no comparison of policies."""
    trap: bool = False
    """Here is hardly anything to learn: a policy must not lose. A remark, no part of digests."""
    host: Host = Host()
    stage_one: StageOne = StageOne()
    release_after_writeback: bool = True
    cgroups: list[Cgroup]
    episode: Episode = Episode()
    randomise: Randomise = Randomise()

    @model_validator(mode="before")
    @classmethod
    def _auto_scale(cls, data: Any) -> Any:
        """``page_scale: auto``: the coarsest that can tell a kept promise from a broken one."""
        host = data.get("host") if isinstance(data, dict) else None
        if not isinstance(host, dict) or host.get("page_scale") != "auto":
            return data
        fine = data | {"host": host | {"page_scale": 1}}
        if host.get("lru", "mglru") != "mglru":  # of single pages
            return fine
        return fine | {"host": host | {"page_scale": coarsest(cls.model_validate(fine))}}

    @model_validator(mode="after")
    def _tree(self) -> Self:
        names: set[str] = set()
        parents = {cgroup.parent for cgroup in self.cgroups}
        for cgroup in self.cgroups:
            if cgroup.name in names:
                raise ValueError(f"cgroup {cgroup.name!r} appears twice; names are unique")
            if cycle := self._cycle(cgroup):
                raise ValueError(f"the tree is cyclic: {' -> '.join(cycle)}; give one of them another parent")
            if cgroup.parent is not None and cgroup.parent not in names:
                raise ValueError(
                    f"cgroup {cgroup.name!r}: parent {cgroup.parent!r} is not defined above it"
                    f"{nearest(cgroup.parent, names)}"
                )
            names.add(cgroup.name)
            # Documentation/admin-guide/cgroup-v2.rst: no internal processes.
            if (cgroup.workload is not None) == (cgroup.name in parents):
                raise ValueError(
                    f"cgroup {cgroup.name!r}: a cgroup has either a workload or children"
                    f"; {'move the workload to a child' if cgroup.workload else 'give it a workload'}"
                )
            self._check_events_fit(cgroup)
            for event in cgroup.events:
                if event.at > self.episode.length:
                    raise ValueError(
                        f"cgroup {cgroup.name!r}: event at {event.at:g} s is after the episode of "
                        f"{self.episode.length:g} s; lengthen episode.length or move it"
                    )
        if not self.cgroups:
            raise ValueError("a scenario needs at least one cgroup")
        if self.randomise.load and not any(c.workload and c.workload.archetype for c in self.cgroups):
            raise ValueError("randomise.load needs an archetype: recordings have the load they had")
        return self

    def _cycle(self, cgroup: Cgroup) -> list[str]:
        """Names from the cgroup up through its parents, if they lead back to it."""
        parent = {c.name: c.parent for c in self.cgroups}
        path = [cgroup.name]
        above = cgroup.parent
        while above is not None and above in parent and above not in path:
            path.append(above)
            above = parent[above]
        return [*path, cgroup.name] if above == cgroup.name else []

    def _check_events_fit(self, cgroup: Cgroup) -> None:
        """What sleeps until an event is part of the cgroup's own pages; a recording has none to spare."""
        if cgroup.workload is None or cgroup.workload.pages is None or cgroup.workload.trace:
            return
        page = PAGE_SIZE * self.host.page_scale
        most = max((event.bytes for event in cgroup.events if not event.fresh), default=0)
        if most > (room := (cgroup.workload.pages - MIN_PAGES) * page):
            raise ValueError(
                f"cgroup {cgroup.name!r}: an event touches {most} bytes, {cgroup.workload.pages} pages of "
                f"{page} bytes have {room} to spare; lower its bytes, raise workload.pages or set fresh: true"
            )

    @property
    def span_s(self) -> float:
        """Seconds an episode covers, with its warm-up."""
        return self.episode.warmup + self.episode.length

    def age_limit_s(self) -> float | None:
        """The largest age a policy may learn here: half of what is replayed; None without recordings."""
        traced = any(cgroup.workload and cgroup.workload.trace for cgroup in self.cgroups)
        return self.span_s / 2 if traced else None

    def arm(
        self,
        *,
        shrinker_enabled: bool | None = None,
        max_pool_percent: int | None = None,
        stage_one: StageOne | dict[str, Any] | str | None = None,
        release_after_writeback: bool | None = None,
        device: str | dict[str, Any] | None = None,
        dialect: str | None = None,
        compressor: str | None = None,
    ) -> Scenario:
        """This scenario with a setting changed, for a comparison. Raises :class:`UserError`.

        ``stage_one`` may be a kind ("none", "fixed", "senpai") or a whole section. A device or a
        compressor given here is no longer randomised.
        """
        new = self.model_dump(mode="json")
        zswap = {"shrinker_enabled": shrinker_enabled, "max_pool_percent": max_pool_percent}
        new["host"]["zswap"] |= {key: value for key, value in zswap.items() if value is not None}
        if isinstance(stage_one, StageOne):
            new["stage_one"] = stage_one.model_dump(mode="json")
        elif stage_one is not None:
            new["stage_one"] |= {"kind": stage_one} if isinstance(stage_one, str) else stage_one
        if dialect is not None:
            new["dialect"] = dialect
        if release_after_writeback is not None:
            new["release_after_writeback"] = release_after_writeback
        for key, value in (("device", device), ("compressor", compressor)):
            if value is not None:
                new["host"][key] = value
                new["randomise"][key] = []
        return _validated(f"arm of {self.name}", new)

    def realise(self, rng: np.random.Generator) -> Realised:
        """Draw one instance: host, cgroups, access plans, stage one, events. See instance.Realised.

        Raises:
            UserError: sizes as drawn do not work out (an event larger than its cgroup).
        """
        return realise(self, rng)


def scenario_names() -> list[str]:
    """Names `load_scenario` knows, sorted."""
    return lookup.names("scenarios")


def load_scenario(name_or_path: str | Path) -> Scenario:
    """The scenario in that file, or of that name: see :mod:`zswap_gym.lookup`.

    Raises:
        UserError: not found, not YAML, an unknown key, a value out of range, an episode longer than
            a recording it replays.
    """
    text = str(name_or_path)
    path = lookup.find(text, "scenarios")
    if path is None:
        raise UserError(
            f"scenario {text!r}: no such file or name{nearest(text, scenario_names())}; "
            f"known are {', '.join(scenario_names()) or 'none here'}"
        )
    scenario = _validated(str(path), _beside(path, read_yaml(path)))
    check_recordings(str(path), scenario)
    return scenario


def _validated(source: str, content: dict[str, Any]) -> Scenario:
    try:
        return Scenario.model_validate(content)
    except ValidationError as error:
        raise describe(source, Scenario, error) from None


def _beside(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Recordings named relative to the scenario file, where there is such a file."""
    for cgroup in content["cgroups"] if isinstance(content.get("cgroups"), list) else []:
        work = cgroup.get("workload") if isinstance(cgroup, dict) else None
        if isinstance(work, dict) and isinstance(work.get("trace"), str):
            beside = path.parent / work["trace"]
            if beside.is_file():
                work["trace"] = str(beside)
    return content


def check_recordings(source: str, scenario: Scenario) -> None:
    """Recordings exist, are long enough and have enough pages.

    Raises:
        UserError: not so; names ``source`` and the key.
    """
    for i, cgroup in enumerate(scenario.cgroups):
        work = cgroup.workload
        if work is None or work.trace is None:
            continue
        key = f"{source}: key cgroups.{i}.workload"
        try:
            trace = load_trace(work.trace)
        except UserError as error:
            raise UserError(f"{key}.trace: {error}") from None
        left = trace.span_s - (work.start if isinstance(work.start, float) else 0.0)
        if left < scenario.span_s:
            raise UserError(
                f"{key}.start: value {work.start!r}: {left:g} s of recording {trace.name!r} are left for "
                f"warmup + length = {scenario.span_s:g} s; shorten the episode or start earlier"
            )
        if work.pages is not None and work.pages > trace.n_pages:
            raise UserError(
                f"{key}.pages: value {work.pages}: recording {trace.name!r} has {trace.n_pages} pages; "
                "ask for fewer, recordings are not stretched"
            )
