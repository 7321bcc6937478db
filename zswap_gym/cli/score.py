"""``zswap-gym score``: a policy on a fixed suite, as a table and one line that two people can compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zswap_gym.cli._options import ClusterAddress, WorkerCount
from zswap_gym.cli.evaluate import check_policies, episode_bar

if TYPE_CHECKING:
    from zswap_gym.agents.scoring.score import Scores
    from zswap_gym.agents.scoring.suite import Suite


def score(
    policy: Annotated[
        str,
        typer.Argument(
            metavar="POLICY",
            help="An exported file, a training run's folder, a law with or without parameters, or its file.",
        ),
    ],
    suite: Annotated[
        str, typer.Option(metavar="NAME|DIR", help="A suite's name, or a folder of scenario files.")
    ] = "v1",
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many seeds. Default: the suite's; others do not compare.")
    ] = None,
    promise: Annotated[
        str | None,
        typer.Option(
            metavar="KEY=VALUE,...", help="Another promise than the suite's; such scores do not compare."
        ),
    ] = None,
    rules: Annotated[
        bool, typer.Option("--rules", help="Score every tuned rule and the kernel's own arms too.")
    ] = False,
    workers: WorkerCount = None,
    cluster: ClusterAddress = None,
    as_json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all rows to this file.")
    ] = None,
) -> None:
    """Score a policy: memory saved, and whether every cgroup's promise is kept, on scenarios all meet.

    The last line printed is JSON with the digests of policy, suite and model: two scores compare where
    suite and model are the same, and the same policy gives the same line anywhere.

    Examples:

        zswap-gym score policy.npz
        zswap-gym score "aimd(target=0.0005,age_min_s=300)" --rules
        zswap-gym score promise --suite my-scenarios --seeds 8 --json scores.json
    """
    from dataclasses import replace

    from zswap_gym.cli._extras import optional_parts
    from zswap_gym.cli._output import console, ensure_writable, write_json
    from zswap_gym.policy.promise import Promise

    promised = Promise.of(promise, "--promise") if promise is not None else None
    with optional_parts("scoring"):
        from zswap_gym.agents.contestants import contestant
        from zswap_gym.agents.contestants import rules as known_rules
        from zswap_gym.agents.parallel import open_workers
        from zswap_gym.agents.scoring.score import score as run
        from zswap_gym.agents.scoring.suite import load_suite

        if policy.endswith(".npz"):
            check_policies([policy])
        contestant(policy)
    met = load_suite(suite)
    met = met.with_seeds(seeds) if seeds is not None else met
    met = replace(met, promise=promised) if promised is not None else met
    if as_json is not None:
        ensure_writable(as_json)
    policies = {policy: policy} | (known_rules(untuned=False) if rules else {})
    with open_workers(workers, cluster) as work, episode_bar(_episodes(met, policies), quiet=False) as tick:
        scores = run(policies, met, workers=work, on_episodes=tick)
    if as_json is not None:
        write_json(as_json, scores.document())
    console().print(*_tables(scores, policy, rules), sep="\n")
    for note in scores.notes(policy):
        print(note)
    print(scores.line(policy))


def _episodes(suite: Suite, policies: dict[str, str]) -> int:
    return len(suite.scenarios) * len(suite.seeds) * (len(policies) + ("never" not in policies))


def _tables(scores: Scores, policy: str, rules: bool) -> list[object]:
    """The policy on every scenario, and with ``rules`` everybody over all of them."""
    from zswap_gym.agents.report import table
    from zswap_gym.agents.results import OVERALL
    from zswap_gym.agents.scoring.columns import sheet, sheet_of

    results = scores.results
    tables = [
        sheet_of(results, policy, f"{policy} on suite {scores.suite.label}, {len(results.seeds)} seeds")
    ]
    if rules:
        tables.append(sheet(results, OVERALL))
    return [table(each, ()) for each in tables]
