"""Who takes part in an evaluation: laws, exported policies, training runs, each under an arm if asked for.

    never                              a law
    fixed_age(age_s=60,max_bytes=8M)   a law with parameters
    configs/laws/aimd.yaml             a law with its parameters in a file, as tuning leaves it
    tuned:aimd                         the same file by its name
    policy.npz                         an exported policy
    builtin:generalist                 the one that comes with the program
    runs/mine                          a training run: its champion
    policy.npz+rails                   what the controller's rails let through of it
    hindsight                          the best fixed setting for each cgroup, known when the episode is over
    oracle                             a search on cloned machines, which knows the future
    never@shrinker                     a law on the scenario with the shrinker on
    never@max_pool_percent=10          ... with another pool limit

Scenario.arm lists the settings an arm can change.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from zswap_gym import builtin
from zswap_gym.envs.fleet import Fleet
from zswap_gym.envs.writeback import WritebackEnv
from zswap_gym.errors import UserError, nearest
from zswap_gym.law_file import SUFFIXES, is_law_file, law_file, named_files, read_law
from zswap_gym.policy.actions import PER_CGROUP, decode, from_requests
from zswap_gym.policy.laws import LAWS, Law, make_law
from zswap_gym.policy.laws.parameters import parameters_of
from zswap_gym.policy.runtime import Policy
from zswap_gym.workloads.scenario import Scenario

SHORT_ARMS: Mapping[str, dict[str, Any]] = {
    "shrinker": {"shrinker_enabled": True},
    "no_shrinker": {"shrinker_enabled": False},
    "writeback_alone": {"release_after_writeback": False},
}
"""Arms with a name of their own."""
KERNEL_ARMS = ("never@shrinker", "never@max_pool_percent=10")
"""What a kernel does by itself: its own shrinker, half the usual limit of the pool."""
FORESEEING = ("hindsight", "oracle")
"""Those that know the future: what there is to gain at most."""
RAILED = "+rails"

Array = npt.NDArray[np.float64]
Asked = tuple[Array, Array, Array]
"""age_s, max_bytes and release_bytes, (E, N) each; an age of NaN = no writeback."""


class Driver(Protocol):
    """Drives E hosts of one scenario side by side, N cgroups each, from reset to the end of the episode."""

    def start(self, env: WritebackEnv, fleet: Fleet, seeds: Sequence[int]) -> None:
        """An episode has just begun on every host, each of its own seed; ``env``, never stepped, is what they
        all are like.
        """

    def decide(self, env: WritebackEnv, fleet: Fleet) -> Asked:
        """What to ask for now, as :func:`zswap_gym.policy.actions.decode` gives it; this call is timed."""

    def describe(self) -> list[Any]:
        """JSON-able; two that differ in what they decide differ here."""


@dataclass
class LawDriver:
    """A rule: reads the sample tables, of all hosts at once as if they were one with E * N cgroups."""

    law: Law

    def start(self, env: WritebackEnv, fleet: Fleet, seeds: Sequence[int]) -> None:  # noqa: ARG002 - a law sees samples
        """Forget the last episode."""
        hosts, n, _ = fleet.tables.shape
        self.law.reset(hosts * n)

    def decide(self, env: WritebackEnv, fleet: Fleet) -> Asked:
        """Its requests."""
        hosts, n, columns = fleet.tables.shape
        requests = self.law.decide(fleet.tables.reshape(hosts * n, columns), env.interval_s)
        age, size, release = (part.reshape(hosts, n) for part in from_requests(requests))
        return age, size, release

    def describe(self) -> list[Any]:
        """Its name and every parameter."""
        kind: Any = type(self.law)
        return [kind.name, {key: getattr(self.law, key) for key in parameters_of(kind)}]


@dataclass
class PolicyDriver:
    """A learned policy: reads the observation, answers with an action."""

    policy: Policy
    where: str
    any_interval: bool = False
    """Whether it may be asked at another interval than it was trained for, which it sees in a feature."""

    def start(self, env: WritebackEnv, fleet: Fleet, seeds: Sequence[int]) -> None:  # noqa: ARG002 - a policy remembers nothing
        """Refuse an environment whose contract is not the policy's."""
        trained = self.policy.contract
        mine = replace(env.contract, action=trained.action)  # its actions are decoded by its own
        if self.any_interval:
            mine = replace(mine, decision_interval_s=trained.decision_interval_s)
        mine.check(trained, self.where)  # not the promise: its features count by the one it is judged by

    def decide(self, env: WritebackEnv, fleet: Fleet) -> Asked:
        """Its action, which means what the policy's contract says.

        Host by host: a matrix product of many rows may round otherwise than that of one, and what a
        seed gives is not to depend on its neighbours.
        """
        actions = np.stack([self.policy.act(seen) for seen in env.observe(fleet)])
        acted = actions.astype(np.float64).reshape(len(actions), -1, PER_CGROUP)
        return decode(acted, fleet.tables, self.policy.contract.action)

    def describe(self) -> list[Any]:
        """Its contract and a hash of its numbers."""
        own = self.policy
        numbers = hashlib.sha256()
        for layer in own.layers:
            parts = (layer.weight, layer.bias, *(layer.norm or ()))
            numbers.update(b"".join(part.tobytes() for part in parts) + layer.activation.encode())
        numbers.update(own.scale.mean.tobytes() + own.scale.var.tobytes() + repr(own.scale.clip).encode())
        return [own.contract.digest(), numbers.hexdigest()]


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
    def foresees(self) -> bool:
        """True for one that knows the future: no rule, and nothing that could be reached."""
        return not isinstance(self.driver, (LawDriver, PolicyDriver))

    @property
    def interval_s(self) -> float | None:
        """Seconds between decisions that a trained policy was trained for; None for a rule."""
        return (
            self.driver.policy.contract.decision_interval_s if isinstance(self.driver, PolicyDriver) else None
        )

    def at_any_interval(self) -> Contestant:
        """The same, which may be asked at another interval than it was trained for."""
        if not isinstance(self.driver, PolicyDriver):
            return self
        return replace(self, driver=replace(self.driver, any_interval=True))

    def digest(self) -> str:
        """16 hex digits over all that decides: law and parameters or network, arm, rails."""
        text = json.dumps([self.driver.describe(), dict(self.arm), self.railed], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def scenario(self, scenario: Scenario) -> Scenario:
        """The scenario on this contestant's arm."""
        return scenario.arm(**self.arm) if self.arm else scenario


def contestant(spec: str | Path | Policy | Law | Contestant) -> Contestant:
    """Whom ``spec`` names; see the module's text. UserError says what was not understood."""
    if isinstance(spec, Contestant):
        return spec
    if isinstance(spec, Policy):
        return Contestant(PolicyDriver(spec, "policy"))
    if not isinstance(spec, (str, Path)):
        return Contestant(LawDriver(spec))
    text = str(spec)
    if Path(text).exists():
        return Contestant(_from_file(Path(text)))
    who, at, arm = text.rpartition("@") if "@" in text else (text, "", "")
    name = who.removesuffix(RAILED)
    if name in FORESEEING and text != name:
        raise UserError(
            f"{text!r}: {name} is judged against nothing done on the same machine, by requests that nobody "
            f"changes; write {name} alone, and put a setting of the machine into the scenario"
        )
    return Contestant(_driver(name), parse_arm(arm, text) if at else {}, name != who)


def rules(*, untuned: bool = True) -> dict[str, str]:
    """Who a policy is compared with unless told otherwise: every law, every tuned one, the kernel's own arms.

    By name in tables. Without ``untuned`` a law that has a tuned file takes part as that alone; a law may
    have several, such as ``promise`` and ``promise-release``, the same without writeback.
    """
    tuned = named_files()
    found = {name: name for name in LAWS if untuned or name not in tuned}
    found |= {f"{name} tuned": str(path) for name, path in tuned.items()}
    return found | {arm: arm for arm in KERNEL_ARMS}


def _driver(text: str) -> Driver:
    if (file := law_file(text)) is not None:
        return LawDriver(read_law(file))
    if text.startswith(builtin.PREFIX):
        return PolicyDriver(Policy.load(builtin.policy_file(text)), text)
    if Path(text).exists():
        return _from_file(Path(text))
    if text.endswith((".npz", *SUFFIXES)) or "/" in text:
        raise UserError(f"{text}: no such policy; give an exported file, a training run's folder or a law")
    if text in FORESEEING:
        from zswap_gym.agents.oracle.driver import Foreseeing

        return Foreseeing(text)
    name = text.partition("(")[0].strip()
    if name not in LAWS:
        raise UserError(
            f"{text!r}: neither a law{nearest(name, [*LAWS, *FORESEEING])} nor a file; laws are "
            f"{', '.join(LAWS)}, policies are exported files or folders of runs, "
            f"{' and '.join(FORESEEING)} know the future"
        )
    return LawDriver(make_law(text))


def _from_file(path: Path) -> Driver:
    return LawDriver(read_law(path)) if is_law_file(path) else _learned(path)


def _learned(path: Path) -> Driver:
    """The policy in a file; of a training run its champion, which may be a rule."""
    if path.is_dir():
        from zswap_gym.agents.learning.champion import champion_file

        return _from_file(champion_file(path))
    return PolicyDriver(Policy.load(path), str(path))


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
