"""What an environment is made with, checked before anything is built: each error names the argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from zswap_gym.errors import UserError, nearest
from zswap_gym.policy.actions import ActionSpec
from zswap_gym.units import is_finite
from zswap_gym.workloads.scenario import Scenario, check_recordings, load_scenario


def action_spec(action: ActionSpec | Mapping[str, float] | None, where: str = "action") -> ActionSpec:
    """An ActionSpec from some of its fields, the others as they are.

    Raises:
        UserError: an unknown field, or a value that means nothing; names it.
    """
    if not isinstance(action, ActionSpec):
        known = [f.name for f in fields(ActionSpec)]
        for name in action or {}:
            if name not in known:
                raise UserError(
                    f"{where}: unknown key {name!r}{nearest(name, known)}; it has {', '.join(known)}"
                )
        action = ActionSpec(**dict(action or {}))  # type: ignore[arg-type]
    if problem := action.problem():
        raise UserError(f"{where}: {problem}")
    return action


def whole(name: str, value: object, least: int) -> int:
    """The whole number. UserError where it is none, or below ``least``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise UserError(f"{name} = {value!r}; give a whole number of at least {least}")
    return int(value)


def reset_options(options: Mapping[str, Any] | None, known: tuple[str, ...]) -> Mapping[str, Any]:
    """The options of a reset. UserError where they are no mapping, or one of them is not ``known``."""
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise UserError(f"reset: options = {options!r}; give a mapping, or None")
    for name in options:
        if name not in known:
            there = f"there is only {', '.join(known)}" if known else "a single environment has none"
            raise UserError(f"reset: unknown option {name!r}{nearest(str(name), known)}; {there}")
    return options


def loaded(scenario: str | Path | Scenario) -> Scenario:
    """The scenario by its name, its file or itself. UserError where it cannot be played."""
    if not isinstance(scenario, Scenario):
        return load_scenario(scenario)
    check_recordings(f"scenario {scenario.name!r}", scenario)  # nobody has, where it was built in Python
    return scenario


def with_options(scenario: Scenario, release: bool | None, episode_s: float | None) -> Scenario:
    """The scenario with the environment's arguments put into it. UserError where they do not fit it."""
    if release is not None and not isinstance(release, bool):
        raise UserError(f"release = {release!r}; give True or False")
    if release is not None and release != scenario.release_after_writeback:
        scenario = scenario.arm(release_after_writeback=release)
    if episode_s is not None:
        interval = scenario.episode.decision_interval
        if not is_finite(episode_s):
            raise UserError(f"episode_s = {episode_s!r}; give seconds")
        if episode_s < interval:
            raise UserError(f"episode_s = {episode_s:g}: shorter than one decision of {interval:g} s")
        if episode_s > scenario.episode.length and scenario.age_limit_s() is not None:
            raise UserError(
                f"episode_s = {episode_s:g}: scenario {scenario.name} replays recordings for "
                f"{scenario.episode.length:g} s and they are never looped; give at most that"
            )
        # Events after a shortened episode's end are dropped when it is realised.
        episode = scenario.episode.model_copy(update={"length": float(episode_s)})
        scenario = scenario.model_copy(update={"episode": episode})
    return scenario
