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

from zswap_gym.builtin import policy_file
from zswap_gym.controller.config import ControllerConfig
from zswap_gym.host.types import Request, Sample, table
from zswap_gym.policy.actions import PER_CGROUP, decode, from_requests, to_requests
from zswap_gym.policy.contract import Contract
from zswap_gym.policy.features import FeatureExtractor, Observation
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

    What is remembered of a cgroup begins when it is first seen: a restart of the daemon begins it anew, at
    the usual caution.

    Args:
        policy: the loaded bundle.
        name: what the log calls it.
        digest: of the bundle's file.

    Raises:
        UserError: its contract is not this version's.
    """

    def __init__(self, policy: Policy, name: str = "policy", digest: str = "") -> None:
        bound = policy.contract
        mine = Contract(bound.decision_interval_s, bound.action)
        mine.check(policy.contract, name)
        self.name = name
        self._policy = policy
        self._digest = digest
        self._features: dict[int, FeatureExtractor] = {}

    def decide(self, samples: Sequence[Sample], dt_s: float) -> list[Request]:  # noqa: ARG002 - samples tell the time
        """Features, forward pass, requests.

        Raises:
            ValueError: the policy answers with numbers that are not finite.
        """
        if not samples:
            return []
        whole = table(samples)
        rows, host = self._observe(samples, whole)
        action = self._policy.act(np.concatenate([rows.ravel(), host])).reshape(-1, PER_CGROUP)
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
    """The policy in a file, or ``builtin:NAME``. UserError: missing, damaged or of another contract."""
    file = policy_file(path)
    policy = Policy.load(file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return PolicyDecider(policy, str(path), digest)


def from_config(config: ControllerConfig) -> Decider:
    """The policy where the settings name one, else the law."""
    return LawDecider(config.law_spec) if config.policy is None else load_policy(config.policy)
