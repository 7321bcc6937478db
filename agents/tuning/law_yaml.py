"""The file a tuned law is: law and parameters for programs, and how it came about for people."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from zswap_gym.agents.provenance import provenance
from zswap_gym.agents.scoring.standing import Standing
from zswap_gym.agents.tuning.objective import Bench
from zswap_gym.agents.tuning.study import Plan, Tuned
from zswap_gym.atomic import write_atomically
from zswap_gym.envs.warmstart import scenario_digest
from zswap_gym.kernel.jit import model_digest

_DIGITS = 4


def write_law(path: Path, plan: Plan, bench: Bench, tuned: Tuned) -> Path:
    """Write the law with its parameters, scores and history, whole or not at all."""
    facts = provenance()
    content: dict[str, Any] = {
        "law": plan.space.law,
        "parameters": {**plan.space.given, **tuned.parameters},
        "tuned": {
            "command": _command(),
            "when": facts["when"],
            "versions": {"zswap_gym": facts["zswap_gym"], "commit": facts["commit"], "model": model_digest()},
            "promise": bench.promise.as_dict(),
            "scenarios": {s.name: scenario_digest(s) for s in bench.scenarios},
            "search": {
                "sampler": plan.sampler,
                "trials": tuned.trials,
                "seeds": _span([*plan.stage(0), *plan.stage(1)]),
                "given": dict(plan.space.given),
            },
            "scores": {
                "seeds": _span(plan.stage(2)),
                "tuned": _scores(tuned.standings),
                "untuned": _scores(tuned.untuned),
            },
        },
    }
    title = f"# {plan.space.law}, tuned to a promise by the command below. Takes the place of a law's name.\n"
    return write_atomically(path, title + yaml.safe_dump(content, sort_keys=False, width=110))


def _command() -> str:
    """The command line, without where the program lies."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _span(seeds: Sequence[int]) -> str:
    return f"{seeds[0]} to {seeds[-1]}"


def _scores(standings: Sequence[Standing]) -> dict[str, dict[str, Any]]:
    return {
        s.scenario: {
            "saved_pct": round(s.saved_pct.value, _DIGITS),
            "broken_pct": round(s.broken_pct, _DIGITS),
            "psi_added_pct": round(s.psi_added_pct, _DIGITS),
            "cpu_added_pct_gib": round(s.cpu_added_pct_gib, _DIGITS),
            "keeping": f"{s.keeping} of {s.cgroups} cgroups",
        }
        for s in standings
    }
