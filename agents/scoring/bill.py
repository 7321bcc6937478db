"""The older objective, a sum of prices: reward beyond doing nothing, and what it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zswap_gym.agents.scoring.trial import Trial
from zswap_gym.agents.statistics import Estimate, bootstrap, paired_difference, share_better
from zswap_gym.envs.reward import TERMS

Floats = npt.NDArray[np.float64]

_LEAST = 1e-12  # nothing is divided by zero


@dataclass(frozen=True, slots=True)
class Bill:
    """One policy on one scenario (or all), over all seeds; differences are paired with doing nothing."""

    policy: str
    scenario: str
    reward: Estimate
    gain: Estimate
    """Reward minus that of doing nothing on the same seed, GiB*h."""
    gain_pct: Estimate
    """The same in percent of the loss of doing nothing."""
    better_share: float
    """Share of seeds on which the policy earned more than doing nothing."""
    dram_saved_pct: Estimate
    """Memory that doing nothing held and this policy did not, percent."""
    disk_reads_min: Estimate
    zswap_loads_min: Estimate
    written_mib_min: Estimate
    psi_some_pct: Estimate
    """Pressure, percent of the time, mean of the cgroups."""
    oom_kills: float
    """Kills over all seeds."""


def bill(trials: Sequence[Trial], nothing: Sequence[Trial], scenario: str | None = None) -> Bill:
    """The bill of one contestant's trials, one for each scenario, beside those of doing nothing."""

    def of(name: str, who: Sequence[Trial] = trials) -> Floats:
        return np.stack([trial.terms[:, TERMS.index(name)] for trial in who])

    minutes = np.array([[60.0 * trial.hours] for trial in trials])
    reward, base = (np.stack([trial.reward for trial in who]) for who in (trials, nothing))
    held, held_before = of("dram_held"), of("dram_held", nothing)
    pressure = [t.account.stalled_us.sum(1) / np.maximum(t.account.elapsed_us.sum(1), 1.0) for t in trials]
    return Bill(
        trials[0].policy,
        scenario or trials[0].scenario,
        reward=bootstrap(reward),
        gain=paired_difference(reward, base),
        gain_pct=difference_pct(reward, base, base),
        better_share=share_better(reward, base),
        dram_saved_pct=bootstrap(100.0 * (held_before - held) / np.maximum(held_before, _LEAST)),
        disk_reads_min=bootstrap(of("disk_refaults") / minutes),
        zswap_loads_min=bootstrap(of("zswap_loads") / minutes),
        written_mib_min=bootstrap(of("bytes_written") / minutes / (1 << 20)),
        psi_some_pct=bootstrap(100.0 * np.stack(pressure)),
        oom_kills=float(of("oom_kills").sum()),
    )


def difference_pct(ours: Floats, theirs: Floats, nothing: Floats) -> Estimate:
    """Rewards (scenarios, S) of two policies, paired, in percent of the loss of doing nothing."""
    return bootstrap(100.0 * (ours - theirs) / np.maximum(np.abs(nothing), _LEAST))
