"""All measurements in one run, told as they come, and the figures as one flat object."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

from zswap_gym.agents.bench.against import against_reference
from zswap_gym.agents.bench.commands import command_times, training_rate
from zswap_gym.agents.bench.rates import Rate, env_rate, host_week, machine_rate
from zswap_gym.agents.bench.translation import core_over_c
from zswap_gym.agents.bench.variants import variant
from zswap_gym.agents.bench.whole import ppo_env_share, start_up
from zswap_gym.envs.crew import thread_count

Say = Callable[[str], Any]
Figures = dict[str, float | None]

STANDARD = {"pages": 65_536, "cgroups": 8, "limit": 0.6}


def measure(*, quick: bool, long: bool = False, say: Say) -> Figures:
    """Measure everything, print rows as they come, return the figures; None = not measured.

    ``quick``: fewer sizes and repetitions. ``long``: a host's week and machines of up to 1 TiB too.
    """
    figures: Figures = {}
    repeats = 2 if quick else 5
    for part in (_env_rows, _core_rows, _learner_rows, _command_rows):
        for name, value in part(quick, repeats, say):
            figures[name] = value
    for name, value in _long_rows(long, say):
        figures[name] = value
    say("")
    for name, value in figures.items():
        say(f"{name:44} {'not measured' if value is None else f'{value:.4g}'}")
    return figures


def _env_rows(quick: bool, repeats: int, say: Say) -> Iterator[tuple[str, float | None]]:
    say("environment steps a second, random policy, decisions of 10 s, resets included; counts per step")
    say(
        f"{'pages':>8} {'cgroups':>8} {'limit':>6} {'stage one':>10} {'envs':>5} {'steps/s':>8}"
        f" {'all cores':>10} {'MiB each':>9} {'outside us':>11} {'faults':>7} {'scans':>7} {'written':>8}"
    )
    for changed in _grid(quick):
        sizes = ((1, False), (8, True), (64, True)) if changed == STANDARD else ((1, False), (8, True))
        for n_envs, vector in sizes:
            rate = env_rate(variant(**changed), n_envs, repeats, vector=vector)
            say(_row(changed, n_envs, rate))
            kind = {1: "single", 8: "vector"}.get(n_envs, f"vector_{n_envs}")
            name = f"{kind}_env_steps_per_s_{changed['pages']}_limit_{changed['limit']:g}"
            if changed == STANDARD:
                yield name, rate.steps_per_s
                if n_envs == 1:
                    yield "memory_per_machine_mib", rate.memory_mib
                else:
                    yield from _standard(n_envs, rate)
            else:
                yield (
                    f"{name}_cgroups_{changed['cgroups']}{'_stage_one' * changed.get('stage_one', False)}",
                    (rate.steps_per_s),
                )


def _standard(n_envs: int, rate: Rate) -> Iterator[tuple[str, float | None]]:
    """What the standard machine says of many at once."""
    size = "" if n_envs == 8 else f"_{n_envs}"
    cores = thread_count()
    if n_envs == 8:
        yield "overhead_outside_core_us", rate.outside_us
    yield f"outside_core_us{size}", rate.outside_us
    yield f"scaling_{cores}_cores{size}", rate.scaling
    yield f"scaling_efficiency{size}", None if rate.scaling is None else rate.scaling / cores


def _grid(quick: bool) -> list[dict[str, Any]]:
    """The standard machine first, then one thing changed at a time."""
    rows: list[dict[str, Any]] = [STANDARD, STANDARD | {"stage_one": True}]
    if quick:
        return rows[:1]
    rows += [STANDARD | {"limit": limit} for limit in (0.8, 0.4)]
    rows += [STANDARD | {"pages": pages} for pages in (16_384, 262_144)]
    rows += [STANDARD | {"cgroups": cgroups} for cgroups in (1, 4, 32)]
    return rows


def _row(changed: dict[str, Any], n_envs: int, rate: Rate) -> str:
    stage_one = "2 MiB/s" if changed.get("stage_one") else "off"
    return (
        f"{changed['pages']:8d} {changed['cgroups']:8d} {changed['limit']:6g} {stage_one:>10} {n_envs:5d}"
        f" {rate.steps_per_s:8.0f} {'-' if rate.scaling is None else f'x {rate.scaling:.2f}':>10}"
        f" {rate.memory_mib:9.1f} {rate.outside_us:11.1f} {rate.counts['pgfault']:7.0f}"
        f" {rate.counts['pgscan']:7.0f} {rate.counts['zswpwb']:8.0f}"
    )


def _core_rows(quick: bool, repeats: int, say: Say) -> Iterator[tuple[str, float | None]]:
    for limit in (0.4, 0.8):
        found = against_reference(limit, pairs=repeats, pages=4096 if quick else 16_384)
        agree = ", ".join(f"{name} {value:.3f}" for name, value in found.counters.items())
        say(
            f"against access by access, limit {limit:g}: {found.speed:.1f}x, "
            f"{found.accesses_per_fault:.0f} accesses a fault; counters lazy / reference: {agree}"
        )
        yield f"lazy_over_reference_limit_{limit:g}", found.speed
    ratio, reason = core_over_c()
    say(f"compiled core / C, the aging walk: {reason if ratio is None else f'{ratio:.2f}'}")
    yield "core_over_c", ratio


def _long_rows(long: bool, say: Say) -> Iterator[tuple[str, float | None]]:
    if not long:
        yield from (("host_week_s", None), ("sim_s_per_s_64gib_limit_0.6", None))
        return
    yield "host_week_s", host_week()
    for gib, scale in ((1, 1), (16, 1), (64, 1), (1024, 64)):
        size = machine_rate(gib, scale, 60.0)
        say(
            f"{gib:5d} GiB, page_scale {scale}: {size.pages} simulated pages, "
            f"{size.sim_s_per_s:.1f} simulated s/s, {size.ns_per_page_s:.2f} ns a page and second, "
            f"{size.peak_gib:.1f} GiB at most"
        )
        key = (
            "sim_s_per_s_64gib_limit_0.6"
            if (gib, scale) == (64, 1)
            else f"sim_s_per_s_{gib}gib_scale_{scale}"
        )
        yield key, size.sim_s_per_s


def _learner_rows(quick: bool, repeats: int, say: Say) -> Iterator[tuple[str, float | None]]:
    for batch in (64, 512):
        share = ppo_env_share(batch, steps=2048 if quick else 16_384)
        say(f"PPO, 8 environments, batch {batch}: {share:.0%} of the time in the environments")
        yield f"ppo_env_cpu_share_batch_{batch}", share
        if batch == 512:
            yield "ppo_env_cpu_share", share
    cold, warm = start_up()
    say(f"from import to the first step: {cold:.1f} s the first time ever, {warm:.2f} s afterwards")
    yield from (("cold_start_s", cold), ("warm_start_s", warm))
    cores = thread_count()
    training = (1, "demo", "kv-and-sidecar" if quick else "mixed-host")
    rates = [
        [training_rate(workers, *training) for workers in (1, cores)] for _ in range(1 if quick else repeats)
    ]
    scaling = statistics.median(many / one for one, many in rates)
    all_cores = statistics.median(many for _, many in rates)
    say(
        f"train {training[1]} on {training[2]}, learning included: {all_cores:.0f} decisions/s "
        f"on {cores} cores, "
        f"x {scaling:.2f} of one"
    )
    yield from (("train_env_steps_per_s", all_cores), (f"train_scaling_{cores}_cores", scaling))


def _command_rows(quick: bool, repeats: int, say: Say) -> Iterator[tuple[str, float | None]]:
    del repeats
    for name, seconds in command_times(quick):
        say(f"{name}: {seconds:.1f}")
        yield name, seconds
