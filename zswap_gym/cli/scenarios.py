"""``zswap-gym scenarios``: which machines and workloads there are, and what one of them says in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from zswap_gym.workloads.scenario import Scenario

app = typer.Typer(no_args_is_help=False, help="List scenarios, or show one in full.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]


@app.command("list")
def list_scenarios(as_json: Json = False) -> None:
    """List every scenario by name.

    A scenario is a machine (RAM, swap device, compressor), the cgroups on it and what runs in them:
    recorded traces or archetypes fitted to recordings.

    Examples:

        zswap-gym scenarios list
        zswap-gym scenarios list --json
    """
    from zswap_gym.cli._output import console, print_json
    from zswap_gym.workloads.scenario import load_scenario, scenario_names

    scenarios = [load_scenario(name) for name in scenario_names()]
    if as_json:
        print_json([_summary(scenario) for scenario in scenarios])
        return
    from rich import box
    from rich.table import Table

    table = Table("name", "split", "cgroups", "description", box=box.SIMPLE)
    for scenario in scenarios:
        table.add_row(scenario.name, scenario.split, str(len(scenario.cgroups)), scenario.description)
    console().print(table)


@app.command("show")
def show(
    scenario: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="A name from the list, or a YAML file.")
    ],
    as_json: Json = False,
) -> None:
    """Show one scenario with every default filled in.

    What is printed is valid YAML (or JSON): save it, change it, and give the file's name wherever a
    scenario is asked for.

    Examples:

        zswap-gym scenarios show bench-mix
        zswap-gym scenarios show bench-mix > mine.yaml && zswap-gym scenarios show mine.yaml
    """
    from zswap_gym.workloads.scenario import load_scenario

    resolved = load_scenario(scenario).model_dump(mode="json")
    if as_json:
        from zswap_gym.cli._output import print_json

        print_json(resolved)
    else:
        import yaml

        print(yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True), end="")


def _summary(scenario: Scenario) -> dict[str, object]:
    return {
        "name": scenario.name,
        "split": scenario.split,
        "cgroups": [cgroup.name for cgroup in scenario.cgroups],
        "description": scenario.description,
    }
