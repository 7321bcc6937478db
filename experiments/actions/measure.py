"""What do the tuned rules lose when they may only ask for what an action can say? See README.md.

    python experiments/actions/measure.py [--scenario NAME ...] [--rule NAME ...] [--seeds 4] [--workers 2]

Every request is encoded as an action and decoded again (policy/actions.py) before the host sees it. Prints
the table, writes results.csv and actions.svg beside this file.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from zswap_gym.agents.contestants import Asked, Contestant, Driver, contestant
from zswap_gym.agents.evaluate import evaluate
from zswap_gym.agents.parallel import open_workers
from zswap_gym.agents.results import Results
from zswap_gym.agents.statistics import Estimate, bootstrap
from zswap_gym.envs.fleet import Fleet
from zswap_gym.envs.writeback import WritebackEnv
from zswap_gym.law_file import named_files
from zswap_gym.policy.actions import ActionSpec, decode, encode
from zswap_gym.policy.promise import footprint

HERE = Path(__file__).parent
FIRST_SEED = 9000
SCENARIOS = ("mixed-host", "hourly-jobs", "sandbox-resumes", "noisy-neighbour")
MOST_PCT = 2.0
"""What encoding may cost, percent of what the rule saves."""
SPECS = {
    "as it is": ActionSpec(),
    "min_bytes 0": ActionSpec(min_bytes=0),
    "ages 1 s to 1 day": ActionSpec(age_min_s=1.0, age_max_s=86400.0),
    "shares up to 1": ActionSpec(max_write_share=1.0, max_release_share=1.0),
    "no bounds": ActionSpec(1.0, 86400.0, max_write_share=1.0, max_release_share=1.0, min_bytes=0),
}
"""The action space, with one of its bounds moved out of the way, and with all of them."""
COLUMNS = (
    "rule", "saved %", "as actions %", "loss, % of it",
    "broken min %", "as actions", "cgroups kept", "as actions",
    *(f"loss with {name}" for name in SPECS if name != "as it is"),
)  # fmt: skip


@dataclass
class Encoded:
    """A rule of whose requests only that reaches the host which an action can say."""

    inner: Driver
    spec: ActionSpec

    def start(self, env: WritebackEnv, fleet: Fleet, seeds: Sequence[int]) -> None:
        """Forget the last episode."""
        self.inner.start(env, fleet, seeds)

    def decide(self, env: WritebackEnv, fleet: Fleet) -> Asked:
        """Its requests, there and back."""
        asked = self.inner.decide(env, fleet)
        return decode(encode(*asked, footprint(fleet.tables), self.spec), fleet.tables, self.spec)

    def describe(self) -> list[Any]:
        """The rule's, and the spec."""
        return [repr(self.spec), *self.inner.describe()]


def loss_pct(results: Results, rule: str, spec: str) -> Estimate:
    """Memory saved that encoding costs, percent of what the rule saves, all scenarios together."""
    whole, part = (results.saved_pct(name) for name in (rule, f"{rule}, {spec}"))
    saved = max(float(whole.mean()), 1e-9)
    return bootstrap(100.0 * (whole - part) / saved, statistic=lambda x: x.mean(-1))


def cells(results: Results, rule: str) -> list[str]:
    """A rule's row of the table."""
    plain, acted = (results.standing(name) for name in (rule, f"{rule}, as it is"))
    others = [loss_pct(results, rule, name).value for name in SPECS if name != "as it is"]
    return [
        rule, f"{plain.saved_pct.value:.2f}", f"{acted.saved_pct.value:.2f}",
        _span(loss_pct(results, rule, "as it is")),
        f"{plain.broken_pct:.2f}", f"{acted.broken_pct:.2f}",
        f"{plain.keeping} of {plain.cgroups}", f"{acted.keeping} of {acted.cgroups}",
        *(f"{other:.1f}" for other in others),
    ]  # fmt: skip


def _span(e: Estimate) -> str:
    return f"{e.value:.1f} [{e.low:.1f}, {e.high:.1f}]"


def draw(results: Results, rules: Sequence[str]) -> Figure:
    """What encoding costs each rule, with its interval."""
    figure = Figure(figsize=(7, 0.35 * len(rules) + 1.2), layout="constrained")
    ax = figure.subplots()
    for y, rule in enumerate(reversed(rules)):
        for spec, colour, lift in (("as it is", "#2f6db5", 0.13), ("no bounds", "#d08a2e", -0.13)):
            loss = loss_pct(results, rule, spec)
            ax.plot([loss.low, loss.high], [y + lift] * 2, color=colour, linewidth=1.5)
            ax.scatter(loss.value, y + lift, s=24, color=colour, label=None if y else spec)
    ax.axvline(MOST_PCT, color="grey", linestyle=":")
    ax.axvline(0.0, color="grey", linewidth=0.5)
    ax.set_yticks(range(len(rules)), list(reversed(rules)), fontsize=8)
    ax.set_xlabel("memory saved that is lost as actions, % of what the rule saves", fontsize=9)
    ax.legend(fontsize=8)
    return figure


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="What do rules lose as actions?")
    parser.add_argument("--scenario", action="append", help="by name or file; repeat it for several")
    parser.add_argument("--rule", action="append", help="a tuned rule by its name; repeat it for several")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--out", type=Path, default=HERE, help="where table and figure go")
    args = parser.parse_args()
    rules = args.rule or list(named_files())
    policies: dict[str, Contestant] = {rule: contestant(f"tuned:{rule}") for rule in rules}
    policies |= {
        f"{rule}, {name}": Contestant(Encoded(policies[rule].driver, spec))
        for rule in rules
        for name, spec in SPECS.items()
    }
    seeds = range(FIRST_SEED, FIRST_SEED + args.seeds)
    with open_workers(args.workers) as workers:
        results = evaluate(policies, args.scenario or SCENARIOS, seeds, untold=False, workers=workers)
    rows = [cells(results, rule) for rule in rules]
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([COLUMNS, *rows])
    draw(results, rules).savefig(args.out / "actions.svg")


if __name__ == "__main__":
    main()
