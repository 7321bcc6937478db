"""What advice is given on: a scenario, or a recording put on a machine with room to spare."""

from __future__ import annotations

import math
from pathlib import Path

from zswap_gym.errors import UserError
from zswap_gym.units import PAGE_SIZE
from zswap_gym.workloads.scenario import Scenario, load_scenario, scenario_names
from zswap_gym.workloads.traces import Trace, load_trace, trace_names

MAX_PAGE_SECONDS = 9_000_000
"""A recording is simulated with so many pages times seconds; beyond, one page stands for two, four, ... A
coarse machine is noisier: the disk reads of gcc_cc1 at 67 s scatter by 38 % with pages of 8, by 28 % with
pages of 2, by 13 % with pages of 1."""
STAGE_ONE_SHARE = 0.01
"""Of its memory, a second: what the stage-one reclaimer asks of a bare recording."""
RAM_FACTOR = 4.0
"""RAM of the machine in working sets: the pool limit (20 % of RAM) must not decide over the advice."""
MIN_SCANS = 8


def subject(name_or_path: str) -> Scenario:
    """The scenario of that name or file, or one made of the recording of that name or file.

    Raises:
        UserError: neither, damaged, or too short to say anything.
    """
    path = Path(name_or_path)
    if path.suffix == ".npz" or (name_or_path in trace_names() and name_or_path not in scenario_names()):
        return scenario_of(load_trace(name_or_path), name_or_path)
    if path.suffix in (".yaml", ".yml") or name_or_path in scenario_names():
        return load_scenario(name_or_path)
    known = ", ".join((*trace_names(), *scenario_names()))
    raise UserError(
        f"{name_or_path!r}: neither a recording (.npz) nor a scenario (.yaml), nor a PID; known are {known}"
    )


def scenario_of(trace: Trace, reference: str, *, interval_s: float | None = None) -> Scenario:
    """A recording alone on a machine, replayed once from its start to its end.

    The machine has RAM enough that only stage one reclaims: ``STAGE_ONE_SHARE`` of the recorded memory a
    second by memory.reclaim. There is no warm-up: at the start all memory is resident, nothing is in zswap or
    on disk, so every disk read is one that the setting under trial has caused.

    Args:
        trace: the recording.
        reference: its name or path, as a scenario file spells it.
        interval_s: seconds between decisions; None = 5, or the recorder's own interval where that is longer.
    """
    if trace.n_scans < MIN_SCANS:
        raise UserError(
            f"{reference}: {trace.n_scans} scans over {trace.span_s:.0f} s are too few to advise on; "
            f"record at least {MIN_SCANS}"
        )
    scale = 1
    while trace.n_pages * trace.span_s / scale > MAX_PAGE_SECONDS and scale < 64:
        scale *= 2
    step = max(5.0, math.ceil(trace.span_s / (trace.n_scans - 1))) if interval_s is None else interval_s
    length = math.floor(trace.span_s / step) * step
    if length < 4 * step:
        raise UserError(
            f"{reference}: {trace.span_s:.0f} s hold fewer than four decisions of {step:g} s; record longer"
        )
    memory = trace.n_pages * PAGE_SIZE
    return Scenario.model_validate(
        {
            "name": f"advise-{trace.name}",
            "description": f"the recording {trace.name} alone on a machine",
            "host": {"page_scale": scale, "ram": int(RAM_FACTOR * memory), "swap": int(RAM_FACTOR * memory)},
            "stage_one": {
                "kind": "fixed",
                "rate": max(int(STAGE_ONE_SHARE * memory), PAGE_SIZE),
                "interval": 1,
            },
            "cgroups": [
                {
                    "name": "app",
                    "workload": {"trace": reference, "pages": max(64, trace.n_pages // scale)},
                }
            ],
            "episode": {"decision_interval": step, "length": float(length), "warmup": 0.0},
        }
    )


def age_limit_s(scenario: Scenario) -> float:
    """The largest age that can be judged: half of what is replayed or generated."""
    return scenario.span_s / 2


def working_set_bytes(scenario: Scenario) -> int:
    """Bytes of the smallest cgroup's memory, the scale of budgets."""
    sizes = []
    for cgroup in scenario.cgroups:
        work = cgroup.workload
        if work is not None and work.regions:
            sizes.append(sum(region.size for region in work.regions))
        elif work is not None:
            pages = work.pages or load_trace(work.trace or "").n_pages
            sizes.append(pages * scenario.host.page_scale * PAGE_SIZE)
    return min(sizes)
