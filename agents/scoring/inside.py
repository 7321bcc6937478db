"""What happened inside events: arrivals, critical windows, resumes.

Memory can be made free at a moment of one's choosing, before somebody needs it: whether that was done
well shows in these moments and in no average over the day. Only the cgroup an event belongs to counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from zswap_gym.agents.scoring.trial import Trial
from zswap_gym.policy.resumes import ResumePromise, Resumes, resumes


@dataclass(frozen=True)
class Inside:
    """All events of one kind in all runs of a trial."""

    events: int
    seconds: float
    """Their length together."""
    stalled_s: float
    """Thread-seconds stalled on memory in that time."""
    resumes: Resumes | None
    """How long those who resumed a sandbox waited; None for other kinds."""

    @property
    def stalled_each_s(self) -> float:
        """Thread-seconds stalled an event."""
        return self.stalled_s / max(self.events, 1)


def kinds_of(trial: Trial) -> list[str]:
    """Kinds of the events that happened."""
    return sorted({event.kind for own in trial.events for event in own})


def inside(trial: Trial, kind: str, promise: ResumePromise | None = None) -> Inside:
    """Sum up the events of a kind; ``promise`` is what a resume must keep, None = the usual."""
    found = [event for own in trial.events for event in own if event.kind == kind]
    latencies = [event.latency_s for event in found if event.latency_s is not None]
    woken = sorted({trial.cgroups.index(event.cgroup) for event in found})
    account = trial.account
    held = account.held_byte_us[:, woken] / account.elapsed_us[:, woken]
    return Inside(
        events=len(found),
        seconds=sum(event.end_s - event.start_s for event in found),
        stalled_s=sum(event.stalled_s for event in found),
        resumes=resumes(latencies, len(woken), float(held.sum(1).mean()), promise) if latencies else None,
    )
