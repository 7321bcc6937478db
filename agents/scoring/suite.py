"""A suite: scenarios, seeds and a promise that are the same for everybody, so that scores compare.

    description: what it is for
    seeds: {first: 9000, count: 24}
    promise: {disk_reads_pct_min: 0.2, minutes: 0.95, psi_added_pct: 0.1, cpu_pct_per_gib: 0.25}
    scenarios:
      mixed-test: 0123456789abcdef      # name or file beside the suite's, and the digest it must have

A folder of scenario files is a suite too, with the usual promise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from zswap_gym import lookup, workloads
from zswap_gym.errors import UserError, nearest
from zswap_gym.policy.promise import Promise
from zswap_gym.workloads.scenario import Scenario, load_scenario
from zswap_gym.yaml_file import read_yaml

FIRST_SEED, SEEDS = 9000, 16
"""Of a folder; trainings use small seeds and evaluations those from 5000 on."""
KEYS = ("description", "seeds", "promise", "scenarios")


@dataclass(frozen=True)
class Suite:
    """What everybody meets."""

    name: str
    scenarios: tuple[Scenario, ...]
    seeds: tuple[int, ...]
    promise: Promise

    @property
    def digest(self) -> str:
        """16 hex digits over scenarios, the workloads they are made of, seeds and promise."""
        facts = [[s.name, digest_of(s)] for s in self.scenarios], self.seeds, self.promise.as_dict()
        return hashlib.sha256(json.dumps([workloads_digest(), *facts]).encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """Name and digest: two scores with the same one are of the same suite."""
        return f"{self.name} {self.digest}"

    def with_seeds(self, count: int) -> Suite:
        """The suite on so many seeds, from its first one on."""
        return replace(self, seeds=tuple(range(self.seeds[0], self.seeds[0] + count)))


def digest_of(scenario: Scenario) -> str:
    """16 hex digits over what a scenario says, and not what it leaves out: keys to come change nothing."""
    return hashlib.sha256(
        scenario.model_dump_json(exclude_defaults=True, exclude={"trap"}).encode()
    ).hexdigest()[:16]


@cache
def workloads_digest() -> str:
    """Hex digest of what turns a scenario into accesses: the sources, and all that was recorded."""
    digest = hashlib.sha256()
    place = Path(workloads.__file__).parent
    for path in sorted((*place.glob("*.py"), *place.glob("data/*"))):
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def load_suite(name: str | Path) -> Suite:
    """The suite in that folder or file, or of that name under configs/suites.

    Raises:
        UserError: not found, a scenario that does not load or is not the one the suite was made with, a
            promise or seeds that mean nothing; names file and key.
    """
    if Path(name).is_dir():
        return _of_folder(Path(name))
    path = lookup.find(str(name), "suites")
    if path is None:
        known = lookup.names("suites")
        raise UserError(
            f"suite {str(name)!r}: no such folder, file or name{nearest(str(name), known)}; "
            f"known are {', '.join(known) or 'none here'}"
        )
    return _of_file(path)


def _of_folder(folder: Path) -> Suite:
    files = sorted((*folder.glob("*.yaml"), *folder.glob("*.yml")))
    if not files:
        raise UserError(f"{folder}: holds no scenario (*.yaml); put the suite's scenarios there")
    scenarios = tuple(load_scenario(file) for file in files)
    by_name: dict[str, Path] = {}
    for file, scenario in zip(files, scenarios, strict=True):
        if scenario.name in by_name:
            raise UserError(
                f"{file}: name {scenario.name!r} is that of {by_name[scenario.name]} too; rename one"
            )
        by_name[scenario.name] = file
    return Suite(folder.resolve().name, scenarios, tuple(range(FIRST_SEED, FIRST_SEED + SEEDS)), Promise())


def _of_file(path: Path) -> Suite:
    content = read_yaml(path)
    for key in content:
        if key not in KEYS:
            raise UserError(f"{path}: unknown key {key!r}{nearest(str(key), KEYS)}; it has {', '.join(KEYS)}")
    named = content.get("scenarios")
    if not isinstance(named, Mapping) or not named:
        raise UserError(f"{path}: scenarios = {named!r}; give NAME: DIGEST for each")
    scenarios = tuple(_scenario(path, str(name), digest) for name, digest in named.items())
    return Suite(path.stem, scenarios, _seeds(path, content.get("seeds")),
                 Promise.of(content.get("promise"), f"{path}: promise"))  # fmt: skip


def _scenario(path: Path, name: str, digest: Any) -> Scenario:
    beside = path.parent / f"{name}.yaml"
    scenario = load_scenario(beside if beside.is_file() else name)
    found = digest_of(scenario)
    if str(digest) != found:
        raise UserError(
            f"{path}: scenarios.{name}: the scenario has digest {found}, the suite was made with {digest}; "
            "scores would not compare: use the version it was made with, or make a suite of another name"
        )
    return scenario


def _seeds(path: Path, value: Any) -> tuple[int, ...]:
    wanted = {"first": FIRST_SEED, "count": SEEDS}
    if not isinstance(value, Mapping) or set(value) - set(wanted):
        raise UserError(f"{path}: seeds = {value!r}; write seeds: {{first: {FIRST_SEED}, count: {SEEDS}}}")
    numbers = wanted | dict(value)
    for key, least in (("first", 0), ("count", 1)):
        number = numbers[key]
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise UserError(f"{path}: seeds.{key} = {number!r}; give a whole number of at least {least}")
    return tuple(range(numbers["first"], numbers["first"] + numbers["count"]))
