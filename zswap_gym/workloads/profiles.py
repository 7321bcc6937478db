"""The archetypes: what each generator is told. Fitted to the recordings of the same programs.

``mu`` and ``sigma`` are the mean and standard deviation of ln(rate in Hz); ``never``, ``always`` and
all other shares are of the cgroup's pages; times are seconds at time_scale 1, the pace of the
recordings. Rates of growth are relative to the cgroup's size, so an archetype of any size behaves alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Busy:
    """The whole cgroup works ``multiplier`` times as hard for about on_s after about off_s of quiet."""

    on_s: float
    off_s: float
    multiplier: float
    exponential: bool = False
    """Quiet times are exponential: requests arrive at random."""
    idle: float = 1.0
    """What the quiet time counts; 0 = nothing is touched."""


@dataclass(frozen=True)
class Scan:
    """A sweep over ``share`` of the pages that are ever touched, every ``every_s``, taking active_s."""

    every_s: float
    active_s: float
    share: float
    part: float = 1.0
    """Share of the blocks that take part each time."""
    shuffled_block: int = 0


@dataclass(frozen=True)
class Churn:
    """``share`` of the pages live for about alive_s, are freed, and come back after about gap_s."""

    share: float
    alive_s: float
    gap_s: float
    groups: int = 4
    """How many groups of pages come and go on their own."""


@dataclass(frozen=True)
class Growth:
    """``share`` of the pages is allocated over the first ``over_s`` only."""

    share: float
    over_s: float


@dataclass(frozen=True)
class Front:
    """A job: grows along ``curve``, works mostly on its newest pages, frees all at exit, starts again."""

    life_s: float
    idle_s: float
    curve: tuple[tuple[float, float], ...]
    """(share of the life, share of the pages allocated by then)."""
    young_s: float
    young: float
    """Pages younger than young_s are touched ``young`` times as often."""
    pass_every_s: float
    pass_share: float
    """Now and then a pass goes over this share of what the job has allocated."""
    begun: float | None = None
    """Share of the first job's life that is over at the start; None = random."""


@dataclass(frozen=True)
class Ring:
    """A window: append, overwrite the oldest, read the newest, now and then query the newer part."""

    period_s: float
    """Time to append one whole window."""
    recent_s: float
    recent_hz: float
    query_every_s: float
    query_share: float
    fill: float = 1.0
    """Share of the window that is filled at the start."""


@dataclass(frozen=True)
class Profile:
    """One archetype. ``run_pages``: neighbours in runs of about this many share one rate."""

    fitted_to: str
    mu: float
    sigma: float
    never: float
    always: float
    run_pages: float
    write_share: float
    kind: Literal["steady", "front", "ring"] = "steady"
    busy: Busy | None = None
    scan: Scan | None = None
    churn: Churn | None = None
    growth: Growth | None = None
    front: Front | None = None
    ring: Ring | None = None


ALWAYS_HZ = 5.0
"""Rate of the always class: touched in every interval a recorder or a reclaimer looks at."""

PROFILES: dict[str, Profile] = {
    "compile_job": Profile(
        fitted_to="gcc_cc1",
        mu=-4.2, sigma=0.7, never=0.001, always=0.079, run_pages=3.0, write_share=0.5,
        kind="front",
        front=Front(
            life_s=135.0,
            idle_s=6.0,
            curve=((0, 0.16), (0.04, 0.46), (0.08, 0.58), (0.22, 0.83), (0.35, 0.93), (0.8, 0.96), (1, 1)),
            young_s=11.0,
            young=12.0,
            pass_every_s=34.0,
            pass_share=0.26,
        ),
    ),
    "jvm_heap": Profile(
        fitted_to="jvm_cache",
        mu=-3.33, sigma=1.33, never=0.019, always=0.30, run_pages=7.2, write_share=0.3,
        busy=Busy(on_s=20.0, off_s=60.0, multiplier=6.8),
        scan=Scan(every_s=10.0, active_s=3.0, share=0.21),
        growth=Growth(share=0.39, over_s=80.0),
    ),
    "llm_weights": Profile(
        fitted_to="llm_infer",
        mu=0.18, sigma=0.36, never=0.045, always=0.0, run_pages=552.0, write_share=0.0,
        busy=Busy(on_s=30.0, off_s=16.5, multiplier=1.0, exponential=True, idle=0.0),
    ),
    "stream_window": Profile(
        fitted_to="logagg",
        mu=0.0, sigma=0.0, never=0.085, always=0.011, run_pages=65.0, write_share=0.05,
        kind="ring",
        ring=Ring(period_s=124.0, recent_s=8.1, recent_hz=1.9, query_every_s=15.9, query_share=0.75),
    ),
    "ml_epoch_sweep": Profile(
        fitted_to="ml_sgd",
        mu=-4.4, sigma=0.47, never=0.042, always=0.007, run_pages=38.0, write_share=0.02,
        scan=Scan(every_s=26.9, active_s=25.9, share=0.986, part=0.853, shuffled_block=64),
    ),
    "node_service": Profile(
        fitted_to="node_svc",
        mu=-1.83, sigma=1.2, never=0.032, always=0.02, run_pages=3.0, write_share=0.4,
        busy=Busy(on_s=15.0, off_s=55.0, multiplier=6.8),
        scan=Scan(every_s=76.0, active_s=1.0, share=0.84),
        churn=Churn(share=0.17, alive_s=160.0, gap_s=20.0),
    ),
    "py_service": Profile(
        fitted_to="pysvc",
        mu=-4.07, sigma=0.92, never=0.158, always=0.045, run_pages=3.2, write_share=0.85,
        busy=Busy(on_s=20.0, off_s=70.0, multiplier=6.3),
        scan=Scan(every_s=56.0, active_s=2.0, share=0.48),
    ),
    "kv_zipf": Profile(
        fitted_to="redis_zipf",
        mu=-4.27, sigma=0.98, never=0.017, always=0.061, run_pages=1.4, write_share=0.15,
    ),
    "sidecar_agent": Profile(
        fitted_to="sidecar",
        mu=-4.17, sigma=0.8, never=0.986, always=0.0042, run_pages=2.8, write_share=0.85,
    ),
    "oltp_db": Profile(
        fitted_to="sqlite_oltp",
        mu=-3.28, sigma=0.59, never=0.408, always=0.022, run_pages=2.5, write_share=0.3,
        scan=Scan(every_s=60.0, active_s=8.0, share=0.68),
        churn=Churn(share=0.02, alive_s=4.4, gap_s=8.0, groups=1),
    ),
    "agent_browser": Profile(
        fitted_to="agent_browser",
        mu=-4.18, sigma=1.2, never=0.468, always=0.01, run_pages=3.8, write_share=0.4,
        busy=Busy(on_s=5.1, off_s=67.3, multiplier=1.0, idle=0.16),
    ),
    "agent_python": Profile(
        fitted_to="agent_python",
        mu=-4.82, sigma=0.92, never=0.176, always=0.0024, run_pages=4.5, write_share=0.4,
        busy=Busy(on_s=0.91, off_s=15.1, multiplier=1.0, idle=0.0),
    ),
    "agent_node": Profile(
        fitted_to="agent_node",
        mu=-3.95, sigma=1.63, never=0.344, always=0.0065, run_pages=5.8, write_share=0.4,
        busy=Busy(on_s=8.6, off_s=28.6, multiplier=1.0, idle=0.0),
    ),
}  # fmt: skip
"""mu, sigma, always and the structure terms were searched at random against four cold shares (10, 30,
60 and 120 s) and the share touched per interval; tests/workloads/test_archetypes.py holds the bounds.
The curve, growth, churn and runs were read off the recordings. write_share is assumed: the recorder does not
tell reads from writes. In archetypes.json mu and sigma are of the *measured* rates, which contain the
touches of scans and are censored by the length of the recording; here they are of the rates alone."""
