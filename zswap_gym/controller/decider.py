"""Who decides: an exported policy or a rule law, behind one small face.

Policies and laws think in rows of a table that stay in place; on a host cgroups come and go. So
each cgroup has its own features or its own copy of the law, for as long as its inode lives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from zswap_gym.controller.config import ControllerConfig
from zswap_gym.errors import UserError
from zswap_gym.host.types import Request, Sample, table
from zswap_gym.policy.actions import PER_CGROUP, decode, from_requests, to_requests
from zswap_gym.policy.contract import Contract
from zswap_gym.policy.features import FEATURES, FeatureExtractor, Observation
from zswap_gym.policy.laws import Law, make_law
from zswap_gym.policy.runtime import Policy


class Decider(Protocol):
    """Turns what was seen into one request per cgroup."""

    name: str
    """As the decision log calls it."""

    def decide(self, samples: Sequence[Sample], dt_s: float) -> list[Request]:
        """One Request per sample, in order, ``dt_s`` > 0 seconds after the decision before."""

    def asked(self, inode: int, request: Request) -> None:
        """What is really asked for a cgroup now, after the rails; what is not said was nothing."""

    def describe(self) -> dict[str, Any]:
        """Name, kind and digests as JSON values, for the log's start record.

        ``interval_s``, where it is there, is the interval it was trained to decide at.
        """


class LawDecider:
    """A rule law. What it remembers of a cgroup comes and goes with it.

    Args:
        spec: ``fixed_age(age_s=60)``, or a mapping; see :func:`zswap_gym.policy.laws.make_law`.

    Raises:
        UserError: no such law, or it does not take these parameters.
    """

    def __init__(self, spec: str | Mapping[str, Any]) -> None:
        self.name = spec if isinstance(spec, str) else str(spec["law"])
        self._spec = spec
        self._copies: dict[int, Law] = {}
        self._make()

    def _make(self) -> Law:
        law = make_law(self._spec)
        law.reset(1)
        return law

    def decide(self, samples: Sequence[Sample], dt_s: float) -> list[Request]:
        """Ask each cgroup's copy."""
        self._copies = {s.inode: self._copies.get(s.inode) or self._make() for s in samples}
        return [self._copies[s.inode].decide(table([s]), dt_s)[0] for s in samples]

    def asked(self, inode: int, request: Request) -> None:
        """A law keeps to what it asked for itself."""

    def describe(self) -> dict[str, Any]:
        """The law as written."""
        return {"kind": "law", "name": self.name, "spec": self._spec}


class PolicyDecider:
    """An exported policy.

    A shared network takes any number of cgroups. A flat one has ``n_max`` places: a cgroup keeps
    its place, a new one takes the first that is free, and one too many is an error. What is remembered of a
    cgroup begins when it is first seen: a restart of the daemon begins it anew, at the usual caution.

    Args:
        policy: the loaded bundle.
        name: what the log calls it.
        digest: of the bundle's file.

    Raises:
        UserError: its contract is not this version's.
    """

    def __init__(self, policy: Policy, name: str = "policy", digest: str = "") -> None:
        bound = policy.contract
        mine = Contract(bound.n_max, bound.decision_interval_s, bound.action)
        mine.check(policy.contract, name)
        self.name = name
        self._policy = policy
        self._digest = digest
        self._features: dict[int, FeatureExtractor] = {}
        self._places: dict[int, int] = {}

    def decide(self, samples: Sequence[Sample], dt_s: float) -> list[Request]:  # noqa: ARG002 - samples tell the time
        """Features, forward pass, requests.

        Raises:
            UserError: more cgroups than a flat policy has places.
            ValueError: the policy answers with numbers that are not finite.
        """
        if not samples:
            return []
        whole = table(samples)
        rows, host = self._observe(samples, whole)
        places, n_places = self._place(samples)
        observed = np.zeros((n_places, len(FEATURES)), np.float32)
        observed[places] = rows
        action = self._policy.act(np.concatenate([observed.ravel(), host])).reshape(n_places, PER_CGROUP)[
            places
        ]
        if not np.isfinite(action).all():
            raise ValueError("its answer is not finite")
        return to_requests(*decode(action, whole, self._policy.contract.action))

    def _observe(
        self, samples: Sequence[Sample], whole: np.ndarray[Any, Any]
    ) -> tuple[Observation, Observation]:
        """Per-cgroup features (N, F) and host features (H,)."""
        known = self._features
        self._features = {s.inode: known.get(s.inode) or self._stranger() for s in samples}
        rows = [self._features[s.inode].update(whole[i : i + 1]) for i, s in enumerate(samples)]
        # The interval is a host feature; only a cgroup seen before knows how long it was.
        speaker = next((i for i, s in enumerate(samples) if s.inode in known), 0)
        host = self._features[samples[speaker].inode].host(whole[speaker : speaker + 1])
        return np.concatenate(rows), host

    def _stranger(self) -> FeatureExtractor:
        contract = self._policy.contract
        return FeatureExtractor(contract.decision_interval_s, (1,), contract.promise)

    def asked(self, inode: int, request: Request) -> None:
        """Remember it, as in training."""
        if inode in self._features:
            self._features[inode].asked(*from_requests([request]))

    def _place(self, samples: Sequence[Sample]) -> tuple[list[int], int]:
        """Row of the observation for each sample, and how many rows there are."""
        if self._policy.kind != "mlp":
            return list(range(len(samples))), len(samples)
        n_max = self._policy.contract.n_max
        if len(samples) > n_max:
            raise UserError(
                f"a flat policy for {n_max} cgroups cannot drive {len(samples)}; train a shared one"
            )
        kept = {s.inode: self._places[s.inode] for s in samples if s.inode in self._places}
        free = iter(sorted(set(range(n_max)) - set(kept.values())))
        self._places = {s.inode: kept[s.inode] if s.inode in kept else next(free) for s in samples}
        return [self._places[s.inode] for s in samples], n_max

    def describe(self) -> dict[str, Any]:
        """Digests of the file and the contract, and where the policy comes from."""
        return {
            "kind": "policy",
            "name": self.name,
            "sha256": self._digest,
            "contract": self._policy.contract.digest(),
            "interval_s": self._policy.contract.decision_interval_s,
            "provenance": dict(self._policy.provenance),
        }


def load_policy(path: Path | str) -> PolicyDecider:
    """The policy in a file. UserError where it is missing, damaged or of another contract."""
    policy = Policy.load(path)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return PolicyDecider(policy, str(path), digest)


def from_config(config: ControllerConfig) -> Decider:
    """The policy where the settings name one, else the law."""
    return LawDecider(config.law_spec) if config.policy is None else load_policy(config.policy)
