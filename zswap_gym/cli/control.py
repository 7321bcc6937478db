"""``zswap-gym control``: run a policy or a rule over the cgroups of a host, real or simulated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zswap_gym.cli import pulse_demo
from zswap_gym.errors import UserError, nearest

if TYPE_CHECKING:
    from zswap_gym.controller.config import ControllerConfig
    from zswap_gym.controller.survey import SurveyedHost
    from zswap_gym.host.own import OwnCgroup

HOST_KEYS = ("kind", "scenario", "seed")
KINDS = ("linux", "simulated")


class Mode(StrEnum):
    """What the controller may do."""

    observe = "observe"
    act = "act"


def control(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A controller YAML, or a name in configs/controller.")
    ],
    mode: Annotated[
        Mode | None,
        typer.Option(help="observe decides and logs; act also writes. Default: the config's, else observe."),
    ] = None,
    decisions: Annotated[
        int | None,
        typer.Option(min=1, help="Stop after so many rounds of decisions. Default: go on until told."),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option("--log", help="File to append decisions to, as JSON lines. Default: the config's."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Print what this host offers and what it lacks, and do nothing else."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the closing summary, or the check, as JSON.")
    ] = False,
) -> None:
    """Let a policy, or a rule, decide for the cgroups of a host.

    At every interval it reads the files of each cgroup, decides what to write back and to release,
    lets the rails take away what must not be, and logs all of it with the reasons. It does nothing
    else unless the mode is act. Ctrl-C and SIGTERM end it after the round it is in.

    --check prints one table of what the host offers, what it lacks, what follows from each gap and what
    to do. It ends with 0 where the config's mode could run, and with 2 and one line where mode act would
    be refused because a rail would be blind. The same gaps are said at the start of a run, and logged.

    In the config, "host: {kind: simulated, scenario: NAME, seed: 1}" puts a simulated machine in the
    place of this one: the same loop, through the same files, in simulated time.

    "pulse-demo" in the place of CONFIG shows, on a stock kernel from 6.8 on and as root, memory freed in a
    test cgroup by dialect stock-pulse: it makes the cgroup, writes 32 MiB to swap and removes it again.

    Examples:

        zswap-gym control observe --check
        zswap-gym control pulse-demo
        zswap-gym control observe
        zswap-gym control simulated --mode act --decisions 10
        zswap-gym control mine.yaml --decisions 100 --log decisions.jsonl --json
    """
    from zswap_gym.cli._output import ensure_writable, print_json

    if str(config) == pulse_demo.NAME and not config.exists():
        pulse_demo.pulse_demo()
        return
    host_keys, settings = read_config(config)
    options = {"mode": mode.value if mode else None, "log": str(log) if log else None}
    settings = settings.changed(str(config), **{key: value for key, value in options.items() if value})
    if check:
        _check(settings, host_keys, str(config), as_json=as_json)
        return
    for path in (settings.log, settings.state):
        if path is not None:
            ensure_writable(Path(path))

    summary = run_controller(settings, host_keys, str(config), decisions, announce=not as_json)
    if as_json:
        print_json(summary)
    else:
        print_summary(summary)


def _check(settings: ControllerConfig, host: Mapping[str, Any], source: str, *, as_json: bool) -> None:
    """Print the survey. Raises :class:`UserError` afterwards where mode act would be refused."""
    from zswap_gym.cli._output import print_json
    from zswap_gym.cli._survey import print_survey, survey_json
    from zswap_gym.controller.decider import from_config
    from zswap_gym.controller.gaps import findings, refuse_blind_rails
    from zswap_gym.controller.survey import take_survey

    from_config(settings)  # a policy or a law that would not do is told here too
    settings, machine, own = _on_host(settings, host, source)
    survey = take_survey(machine, settings, own)
    found = findings(survey, settings)
    if as_json:
        print_json(survey_json(survey, found, settings))
    else:
        print_survey(survey, found)
    refuse_blind_rails(found, settings)


def read_config(path: Path) -> tuple[dict[str, Any], ControllerConfig]:
    """The ``host`` section and the checked settings of a controller YAML.

    Raises :class:`UserError`: no such file, not YAML, an unknown key, a bad value.
    """
    from zswap_gym import lookup
    from zswap_gym.controller.config import ControllerConfig
    from zswap_gym.yaml_file import read_yaml

    path = lookup.find(str(path), "controller") or path
    data = read_yaml(path)
    host = _checked_host(data.pop("host", {"kind": "linux"}), path)
    _read_law_file(data)
    return host, ControllerConfig.from_mapping(data, str(path))


def _read_law_file(data: dict[str, Any]) -> None:
    """Put the law of a file (``law: tuned:aimd``, or its path) in the place of its name.

    ``law_arguments`` given beside it replace the file's.
    """
    from zswap_gym.law_file import law_file, read_spec

    if not isinstance(data.get("law"), str) or (file := law_file(data["law"])) is None:
        return
    spec = read_spec(file)
    data["law"] = spec.pop("law")
    given = data.get("law_arguments")
    if given is None or isinstance(given, Mapping):
        data["law_arguments"] = {**spec, **(given or {})}


def _checked_host(section: Any, path: Path) -> dict[str, Any]:
    if not isinstance(section, Mapping):
        raise UserError(f"{path}: host: must be a mapping such as {{kind: linux}}, not {section!r}")
    for key in section:
        if key not in HOST_KEYS:
            hint = nearest(str(key), HOST_KEYS)
            raise UserError(f"{path}: host.{key}: unknown key{hint}; known are {', '.join(HOST_KEYS)}")
    kind = section.get("kind", "linux")
    if kind not in KINDS:
        raise UserError(
            f"{path}: host.kind: must be linux or simulated, not {kind!r}{nearest(str(kind), KINDS)}"
        )
    if kind == "linux" and len(section) > 1:
        raise UserError(
            f"{path}: host: scenario and seed belong to kind simulated; leave them out for kind linux"
        )
    if kind == "simulated" and not isinstance(section.get("scenario"), str):
        raise UserError(
            f"{path}: host.scenario: name the scenario to simulate; 'zswap-gym scenarios list' has them"
        )
    seed = section.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UserError(f"{path}: host.seed: must be a whole number from 0, not {seed!r}")
    return {"kind": kind, "scenario": section.get("scenario"), "seed": seed}


def run_controller(
    settings: ControllerConfig,
    host: Mapping[str, Any],
    source: str,
    ticks: int | None,
    *,
    announce: bool = False,
) -> dict[str, Any]:
    """Run the loop and return a summary of what it decided; see :class:`zswap_gym.cli._decisions.Summary`."""
    from zswap_gym.cli._decisions import Summary
    from zswap_gym.controller.decider import from_config
    from zswap_gym.controller.loop import Controller
    from zswap_gym.controller.survey import take_survey

    decider = from_config(settings)  # first of all: a wrong policy or law should cost no compile
    settings, machine, own = _on_host(settings, host, source)
    survey = take_survey(machine, settings, own)
    summary = Summary()

    def listen(records: Sequence[Mapping[str, Any]]) -> None:
        if announce and any(record["kind"] == "start" for record in records):  # nothing refused it
            _announce(settings, len(machine.cgroups()))
        summary.take(records)

    controller = Controller(machine, decider, settings, own=own.name or None, survey=survey, listen=listen)
    for path in (settings.log, settings.state):
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
    controller.run(ticks)
    return summary.told(settings, controller.ticks)


def _announce(settings: ControllerConfig, cgroups: int) -> None:
    from zswap_gym.cli._output import console, shown

    verb = "acting on" if settings.mode == "act" else "observing"
    where = f"; decisions go to {shown(settings.log, console().encoding)}" if settings.log else ""
    print(f"{verb} {cgroups} cgroups every {settings.interval_s:g} s{where}", flush=True)


def _on_host(
    settings: ControllerConfig, host: Mapping[str, Any], source: str
) -> tuple[ControllerConfig, SurveyedHost, OwnCgroup]:
    """The host, the settings as it understands them, and where on it this process lives."""
    from zswap_gym.controller.preconditions import on_this_host, own_cgroup
    from zswap_gym.host.own import OwnCgroup

    if host["kind"] == "simulated":
        return settings, _host(settings, host, source), OwnCgroup("", "a simulated host is another machine")
    settings = on_this_host(settings, source)
    return settings, _host(settings, host, source), own_cgroup(settings)


def _host(settings: ControllerConfig, host: Mapping[str, Any], source: str) -> SurveyedHost:
    if host["kind"] == "linux":
        from zswap_gym.host.dialects import STOCK_PULSE
        from zswap_gym.host.linux import LinuxHost

        return LinuxHost(
            settings.cgroup_root,
            patterns=settings.cgroups or ("*",),
            levels=settings.levels,
            page_size=settings.page_size,
            proc_root=settings.proc_root,
            sys_root=settings.sys_root,
            hints=settings.hints,
            dialect=STOCK_PULSE if settings.dialect == STOCK_PULSE.name else None,
            state=settings.state,
            pulse_psi_max=settings.rails.psi_max_percent,
            deadline_s=settings.deadline_s,
            workers=settings.workers,
        )
    _of_real_hosts(settings, source)
    from zswap_gym.cli._rendered import RenderedHost
    from zswap_gym.host.simulated import SimulatedHost
    from zswap_gym.workloads.scenario import load_scenario

    scenario = load_scenario(host["scenario"])
    machine = RenderedHost(SimulatedHost(scenario, host["seed"]))
    machine.sleep(scenario.episode.warmup)  # until there is something in zswap to decide about
    return machine


def _of_real_hosts(settings: ControllerConfig, source: str) -> None:
    """UserError where a setting says what a simulated host takes from its scenario."""
    said = {
        "hints": (settings.hints is not None, "takes its hints from the scenario"),
        "levels": (settings.levels != "leaves", "decides for the cgroups that have a workload"),
        "page_size": (settings.page_size is not None, "has pages of 4 KiB"),
    }
    for key, (is_said, words) in said.items():
        if is_said:
            raise UserError(f"{source}: {key}: a simulated host {words}; leave this out")


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} x{count}" for reason, count in reasons.items()) or "-"


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print what the controller did as a table for people."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from zswap_gym.cli._output import console, shown
    from zswap_gym.units import format_size

    by = ", ".join(summary["by"]) or "nobody"
    out = console()
    title = Text(shown(f"{summary['rounds']} rounds, mode {summary['mode']}, decided by {by}", out.encoding))
    table = Table(
        "cgroup", "asked", "allowed", "written back", "release asked", "released", "minutes broken",
        "held back by", "nothing done because", title=title, box=box.SIMPLE, title_justify="left",
    )  # fmt: skip
    for column in table.columns[1:7]:
        column.justify = "right"
    for name, row in summary["cgroups"].items():
        table.add_row(
            Text(shown(name, out.encoding)), str(row["proposed"]), str(row["allowed"]),
            format_size(row["written_bytes"]), format_size(row["release_bytes"]),
            format_size(row["released_bytes"]), f"{row['broken_minutes']} of {row['minutes']}",
            _counts(row["held_back_by"]), _counts(row["nothing_because"]),
        )  # fmt: skip
    out.print(table)
    for errno, count in summary["errnos"].items():
        meaning = ": less than asked could be done" if errno == "EAGAIN" else ""
        print(f"{count} writes returned {errno}{meaning}")
    if summary["log"]:
        print(f"every decision and its reasons: {shown(summary['log'], out.encoding)}")
