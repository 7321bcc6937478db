"""Who takes part in an evaluation: laws, exported policies, training runs, each under an arm if asked for.

    never                              a law
    fixed_age(age_s=60,max_bytes=8M)   a law with parameters
    policy.npz                         an exported policy
    runs/mine                          a training run: its last checkpoint
    policy.npz+rails                   what the controller's rails let through of it
    never@shrinker                     a law on the scenario with the shrinker on
    never@max_pool_percent=10          ... with another pool limit

Scenario.arm lists the settings an arm can change.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from zswap_gym.envs.writeback import WritebackEnv
from zswap_gym.errors import UserError, nearest
from zswap_gym.host.types import Request
from zswap_gym.policy.actions import PER_CGROUP, decode, to_requests
from zswap_gym.policy.laws import LAWS, Law, make_law
from zswap_gym.policy.runtime import Policy
from zswap_gym.workloads.scenario import Scenario

SHORT_ARMS: Mapping[str, dict[str, Any]] = {
    "shrinker": {"shrinker_enabled": True},
    "no_shrinker": {"shrinker_enabled": False},
    "writeback_alone": {"release_after_writeback": False},
}
"""Arms with a name of their own."""
RAILED = "+rails"


class Driver(Protocol):
    """Drives one episode of an environment."""

    def start(self, env: WritebackEnv, obs: npt.NDArray[np.float32]) -> None:
        """An episode has just been reset."""

    def decide(self, env: WritebackEnv, obs: npt.NDArray[np.float32]) -> Any:
        """The decision; this call is what is timed."""

    def requests(self, env: WritebackEnv, decision: Any) -> list[Request]:
        """What it asks for, one Request per cgroup."""


@dataclass
class LawDriver:
    """A rule: reads the sample table, answers with requests."""

    law: Law

    def start(self, env: WritebackEnv, obs: npt.NDArray[np.float32]) -> None:  # noqa: ARG002 - a law sees samples
        """Forget the last episode."""
        self.law.reset(len(env.cgroups))

    def decide(self, env: WritebackEnv, obs: npt.NDArray[np.float32]) -> Any:  # noqa: ARG002
        """Requests."""
        return self.law.decide(env.table, env.interval_s)

    def requests(self, env: WritebackEnv, decision: Any) -> list[Request]:  # noqa: ARG002
        """As they are."""
        return list(decision)


@dataclass
class PolicyDriver:
    """A learned policy: reads the observation, answers with an action."""

    policy: Policy
    where: str

    def start(self, env: WritebackEnv, obs: npt.NDArray[np.float32]) -> None:  # noqa: ARG002
        """Refuse an environment whose contract is not the policy's."""
        mine = replace(env.contract, action=self.policy.contract.action)  # its actions are decoded by its own
        mine.check(self.policy.contract, self.where, any_n=self.policy.kind == "shared")

    def decide(self, env: WritebackEnv, obs: npt.NDArray[np.float32]) -> Any:  # noqa: ARG002
        """An action."""
        return self.policy.act(obs)

    def requests(self, env: WritebackEnv, decision: Any) -> list[Request]:
        """The action means what the policy's contract says."""
        acted = np.asarray(decision, np.float64).reshape(-1, PER_CGROUP)[: len(env.cgroups)]
        return to_requests(*decode(acted, env.table, self.policy.contract.action))


@dataclass(frozen=True)
class Contestant:
    """One who takes part: what drives, on which arm, and whether the controller's rails are in between."""

    driver: Driver
    arm: Mapping[str, Any] = field(default_factory=dict)
    railed: bool = False

    @property
    def learned(self) -> bool:
        """True for a trained policy."""
        return isinstance(self.driver, PolicyDriver)

    @property
    def weights(self) -> Mapping[str, float] | None:
        """Reward weights a trained policy was trained with, where it says."""
        known = (
            self.driver.policy.provenance.get("weights") if isinstance(self.driver, PolicyDriver) else None
        )
        return dict(known) if known else None

    @property
    def n_max(self) -> int | None:
        """Rows the environment must have: a flat network's own number, else as many as there are cgroups."""
        if isinstance(self.driver, PolicyDriver) and self.driver.policy.kind == "mlp":
            return self.driver.policy.contract.n_max
        return None

    def scenario(self, scenario: Scenario) -> Scenario:
        """The scenario on this contestant's arm."""
        return scenario.arm(**self.arm) if self.arm else scenario


def contestant(spec: str | Path | Policy | Law) -> Contestant:
    """Whom ``spec`` names; see the module's text. UserError says what was not understood."""
    if isinstance(spec, Policy):
        return Contestant(PolicyDriver(spec, "policy"))
    if not isinstance(spec, (str, Path)):
        return Contestant(LawDriver(spec))
    text = str(spec)
    if Path(text).exists():
        return Contestant(_learned(Path(text)))
    who, at, arm = text.rpartition("@") if "@" in text else (text, "", "")
    name = who.removesuffix(RAILED)
    return Contestant(_driver(name), parse_arm(arm, text) if at else {}, name != who)


def _driver(text: str) -> Driver:
    if Path(text).exists():
        return _learned(Path(text))
    if text.endswith(".npz") or "/" in text:
        raise UserError(f"{text}: no such policy; give an exported file, a training run's folder or a law")
    name = text.partition("(")[0].strip()
    if name not in LAWS:
        raise UserError(
            f"{text!r}: neither a law{nearest(name, LAWS)} nor a file; laws are {', '.join(LAWS)}, "
            "policies are exported files or folders of runs"
        )
    return LawDriver(make_law(text))


def _learned(path: Path) -> PolicyDriver:
    if path.is_file():
        return PolicyDriver(Policy.load(path), str(path))
    from zswap_gym.agents.export import load_run, to_policy
    from zswap_gym.policy.contract import Contract

    model, vec, facts = load_run(path)
    contract = Contract.from_dict(facts["contract"], str(path))
    return PolicyDriver(to_policy(model, vec, contract, {"weights": facts["weights"]}), str(path))


def parse_arm(text: str, where: str) -> dict[str, Any]:
    """Keyword arguments of Scenario.arm from ``"shrinker"`` or ``"max_pool_percent=10,device=sata"``."""
    known = [name for name in inspect.signature(Scenario.arm).parameters if name != "self"]
    arm: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals and key in SHORT_ARMS:
            arm |= SHORT_ARMS[key]
        elif equals and key in known:
            arm[key] = _value(value)
        else:
            names = [*SHORT_ARMS, *known]
            raise UserError(
                f"{where}: unknown arm {key!r}{nearest(key, names)}; "
                f"write {', '.join(SHORT_ARMS)} or SETTING=VALUE with one of {', '.join(known)}"
            )
    return arm


def _value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.isdigit() else text
