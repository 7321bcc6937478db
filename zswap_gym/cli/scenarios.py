"""``zswap-gym scenarios``: which machines and workloads there are, and what one of them says in full."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from zswap_gym.workloads.scenario import Scenario

app = typer.Typer(no_args_is_help=False, help="List scenarios, show one in full, or draw it.")

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


@app.command("plot")
def plot(
    scenario: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="A name from the list, or a YAML file.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The picture (png, svg, pdf); default NAME.png.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which instance: sizes, phases and times are drawn.")] = 0,
) -> None:
    """Draw one scenario: each program's memory over time, how cold it gets, what is going to happen.

    Left, memory by address: black is touched, light grey idle, white not allocated; coloured bands are
    critical windows and arrivals, hatched where nobody announces them. Right, how much of the memory lies
    idle for how long: what an age can gain at most.

    Examples:

        zswap-gym scenarios plot arrival-announced
        zswap-gym scenarios plot mine.yaml --seed 3 -o mine.svg
    """
    from zswap_gym.cli._extras import optional_parts
    from zswap_gym.cli._output import ensure_picture
    from zswap_gym.workloads.scenario import load_scenario

    loaded = load_scenario(scenario)
    target = out or Path(f"{loaded.name}.png")
    ensure_picture(target)
    with optional_parts("drawing"):
        from zswap_gym.agents.scenario_plot import draw

        print(f"wrote {draw(loaded, target, seed=seed)}")


def _summary(scenario: Scenario) -> dict[str, object]:
    return {
        "name": scenario.name,
        "split": scenario.split,
        "cgroups": [cgroup.name for cgroup in scenario.cgroups],
        "description": scenario.description,
    }
