"""Start from a rule: what it asks for, told as actions, is what the network is fitted to first.

First on the hosts the rule drives, then on those the network itself has driven meanwhile, where the rule
says what it would have done there (DAgger; Ross, Gordon, Bagnell, AISTATS 2011). A rule's memory is in the
observation (policy/features.py), so most of what it does can be told from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from zswap_gym.agents.learning.network import RowPolicy
from zswap_gym.agents.learning.prices import Prices
from zswap_gym.agents.learning.rows_env import WIDTH, Hosts
from zswap_gym.envs.crew import run_pieces
from zswap_gym.policy.actions import PER_CGROUP, ActionSpec, encode, from_requests
from zswap_gym.policy.features import PRESENT
from zswap_gym.policy.laws import make_law
from zswap_gym.policy.promise import footprint

Floats = npt.NDArray[np.float32]

LEARNING_RATE = 1e-3
BATCH = 1024


@dataclass(frozen=True)
class Lessons:
    """What was seen and what the teacher would do: (M, WIDTH) and (M, 3)."""

    seen: Floats
    done: Floats

    @classmethod
    def join(cls, parts: Sequence[Lessons]) -> Lessons:
        """All of them as one."""
        return cls(np.concatenate([p.seen for p in parts]), np.concatenate([p.done for p in parts]))


def lessons(hosts: Hosts, seeds: Sequence[int], teacher: str, pupil: RowPolicy | None) -> Lessons:
    """One episode on every host, driven by the teacher, or by the pupil while the teacher looks on.

    Args:
        hosts: E hosts of a scenario.
        seeds: of their episodes, E.
        teacher: a law, as :func:`zswap_gym.policy.laws.make_law` takes it.
        pupil: who drives; None = the teacher.
    """
    law, spec = make_law(teacher), ActionSpec()
    hosts.begin(range(hosts.fleet.size), seeds)
    shape = hosts.shape
    law.reset(shape[0] * shape[1])
    seen, done = [], []
    for _ in range(hosts.steps):
        tables = hosts.fleet.tables
        flat = tables.reshape(-1, tables.shape[-1])
        asked = from_requests(law.decide(flat, hosts.interval_s))
        target = encode(*asked, footprint(flat), spec)
        rows = hosts.observe().reshape(-1, WIDTH)
        here = rows[:, PRESENT] > 0
        seen.append(rows[here])
        done.append(target[here].astype(np.float32))
        acted = target if pupil is None else act(pupil, rows)
        run_pieces(hosts.decide(acted.reshape(*shape, PER_CGROUP)), hosts.fleet.threads)
        hosts.settle(Prices())
    return Lessons(np.concatenate(seen), np.concatenate(done))


def act(policy: RowPolicy, rows: Floats) -> npt.NDArray[np.float64]:
    """The policy's action without noise, (M, 3) in [-1, 1]."""
    with torch.no_grad():
        action = policy.mean_action(torch.as_tensor(rows))
    return np.clip(action.numpy().astype(np.float64), -1.0, 1.0)


def fit(policy: RowPolicy, given: Lessons, epochs: int) -> float:
    """Fit the actor to lessons by squared error; returns that of the last pass."""
    seen, done = torch.as_tensor(given.seen), torch.as_tensor(given.done)
    actor = [*policy.actor.parameters(), *policy.action_net.parameters()]
    optimiser = torch.optim.Adam(actor, LEARNING_RATE)
    error = 0.0
    for _ in range(epochs):
        error = 0.0
        for batch in torch.split(torch.randperm(len(seen)), BATCH):
            loss = ((policy.mean_action(seen[batch]) - done[batch]) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            error += loss.item() * len(batch) / len(seen)
    return error
