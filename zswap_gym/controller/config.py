"""What the controller is told, as a frozen dataclass, and the small validator that builds it.

The validator needs the standard library only, so that a bundle's JSON or an already parsed YAML
can be checked on a host that has nothing else. Unknown keys are refused with the nearest name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import isfinite
from typing import Any, Literal, cast

from zswap_gym.controller.rails import Limits
from zswap_gym.controller.state import BreakerLimits
from zswap_gym.errors import UserError, nearest
from zswap_gym.host.dialects import STOCK_PULSE
from zswap_gym.policy.laws import make_law
from zswap_gym.policy.promise import Promise
from zswap_gym.units import PAGE_SIZE, parse_duration, parse_size

MODES = ("observe", "act")
LEVELS = ("leaves", "listed")
PSI_RULES = ("needed", "ignore")
DIALECTS = ("probe", STOCK_PULSE.name)
MAX_PAGE_SIZE = 1 << 20
"""Of any kernel (Hexagon's)."""


def _key(name: str, parse: Callable[[Any], Any], default: Any) -> Any:
    """Declare a field with its key in the mapping and the function that reads its value."""
    made = {"default_factory": default} if callable(default) else {"default": default}
    return field(**made, metadata={"key": name, "parse": parse})


# --- values: each parser raises UserError without the key, which the caller adds ------------------


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise UserError(f"must be text, not {value!r}")
    return value


def _optional_text(value: Any) -> str | None:
    return None if value is None else _text(value)


def _texts(value: Any) -> tuple[str, ...]:
    if (
        isinstance(value, str)
        or not isinstance(value, Sequence)
        or not all(isinstance(v, str) for v in value)
    ):
        raise UserError(f"must be a list of texts, not {value!r}")
    return tuple(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value) or value < 0:
        raise UserError(f"must be a number from 0, not {value!r}")
    return float(value)


def _share(value: Any) -> float:
    if _number(value) > 1:
        raise UserError(f"must be from 0 to 1, not {value!r}")
    return float(value)


def _whole(value: Any) -> int:
    if _number(value) != int(value) or value < 1:
        raise UserError(f"must be a whole number from 1, not {value!r}")
    return int(value)


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise UserError(f"must be a duration such as 30s, not {value!r}")
    return _number(parse_duration(value))


def _some_seconds(value: Any) -> float:
    if not _seconds(value) > 0:
        raise UserError(f"must be more than no time, not {value!r}")
    return _seconds(value)


def _bytes(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise UserError(f"must be a size such as 32M, not {value!r}")
    return int(_number(parse_size(value)))


def _one_of(*choices: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value not in choices:
            raise UserError(
                f"must be one of {', '.join(choices)}, not {value!r}{nearest(str(value), choices)}"
            )
        return str(value)

    return parse


def _page_size(value: Any) -> int | None:
    if value is None:
        return None
    size = _bytes(value)
    if size & (size - 1) or not PAGE_SIZE <= size <= MAX_PAGE_SIZE:
        raise UserError(
            f"must be a power of two from 4K to 1M, not {value!r}; leave it out to ask the machine"
        )
    return size


def _arguments(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise UserError(f"must be a mapping of parameter names to values, not {value!r}")
    for item in value.values():
        if isinstance(item, int):
            float(item)  # what fits no float is refused here, where the key can be named
    return dict(value)


def _promise(value: Any) -> Promise:
    try:
        return Promise.of(value)
    except UserError as error:
        raise UserError(str(error).removeprefix("promise: ")) from None


_RAIL_PARSERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "age_floor_s": ("age_floor", _seconds),
    "bytes_per_write": ("bytes_per_write", _bytes),
    "bytes_per_minute": ("bytes_per_minute", _bytes),
    "bytes_per_day": ("bytes_per_day", _bytes),
    "host_bytes_per_day": ("host_bytes_per_day", _bytes),
    "psi_max_percent": ("psi_max_percent", _number),
    "swap_free_min": ("swap_free_min", _share),
    "sample_age_max_s": ("sample_age_max", _seconds),
    "backoff_max_s": ("backoff_max", _seconds),
}
_BREAKER_PARSERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "share": ("share", _number),
    "window_s": ("window", _some_seconds),
    "freeze_s": ("freeze", _some_seconds),
    "max_freeze_s": ("max_freeze", _some_seconds),
    "probe_bytes": ("probe_bytes", _bytes),
}


def _breaker(value: Any) -> BreakerLimits:
    return BreakerLimits(**_named(value, _BREAKER_PARSERS))


def _rails(value: Any) -> Limits:
    return Limits(**_named(value, _RAIL_PARSERS | {"breaker": ("breaker", _breaker)}))


def _named(value: Any, parsers: Mapping[str, tuple[str, Callable[[Any], Any]]]) -> dict[str, Any]:
    """Check a mapping against ``{argument: (key, parser)}``; UserError names the key."""
    if not isinstance(value, Mapping):
        raise UserError(f"must be a mapping, not {value!r}")
    by_key = {key: (name, parse) for name, (key, parse) in parsers.items()}
    found = {}
    for key, item in value.items():
        if key not in by_key:
            raise UserError(f"{key}: unknown key{nearest(str(key), by_key)}; known are {', '.join(by_key)}")
        name, parse = by_key[key]
        try:
            found[name] = parse(item)
        except UserError as error:
            raise UserError(f"{key}: {error}") from None
        except (OverflowError, ValueError):  # a number that fits no float, or too long to be printed
            raise UserError(f"{key}: a number of hundreds of digits; write a smaller one") from None
    return found


@dataclass(frozen=True)
class ControllerConfig:
    """All settings of the controller. Keys in a file drop the unit from the field's name."""

    mode: Literal["observe", "act"] = _key("mode", _one_of(*MODES), "observe")
    """observe: decide and log. act: also write."""
    interval_s: float = _key("interval", _some_seconds, 30.0)
    """Between decisions; a policy does best at the interval it was trained for."""
    cgroups: tuple[str, ...] = _key("cgroups", _texts, ())
    """Shell patterns of the cgroups to look at, and the only ones that may be acted on.

    They count from cgroup_root; one that begins with a slash counts from the mount, as in
    /proc/PID/cgroup, or is a whole path.
    """
    levels: Literal["leaves", "listed"] = _key("levels", _one_of(*LEVELS), "leaves")
    """leaves: decide for those that match and hold no other that does. listed: for all that match."""
    own_cgroup: str | None = _key("own_cgroup", _optional_text, None)
    """The controller's own cgroup, written as a pattern is; "/" = it lives outside of cgroup_root.
    None: it is looked for, and mode act refuses to start where it is not found."""
    dialect: Literal["probe", "stock-pulse"] = _key("dialect", _one_of(*DIALECTS), "probe")
    """probe: use the interface for writeback that the kernel has. stock-pulse: on a kernel that has none,
    write back by pulses of the shrinker (host/pulse.py); needs ``state``."""
    psi: Literal["needed", "ignore"] = _key("psi", _one_of(*PSI_RULES), "needed")
    """needed: where the kernel tells no memory pressure nothing is done, and mode act refuses to start.
    ignore: go on without."""
    page_size: int | None = _key("page_size", _page_size, None)
    """What the kernel counts pages in; None: as this machine says. For trees copied from another one."""
    policy: str | None = _key("policy", _optional_text, None)
    """An exported policy's file, or ``builtin:generalist``; None: the law decides."""
    law: str = _key("law", _text, "never")
    """The rule that decides where there is no policy, and whenever the policy fails."""
    law_arguments: Mapping[str, Any] = _key("law_arguments", _arguments, dict)
    """Its parameters, where they are not written with it: ``fixed_age(age_s=60)``."""
    hints: str | None = _key("hints", _optional_text, None)
    """The operator's hints file (host/hints.py)."""
    log: str | None = _key("log", _optional_text, "decisions.jsonl")
    """Where decisions are appended, JSON lines; None: nowhere, which act refuses.

    Who acts locks it, and ``state``, with an empty file beside it; see controller/lock.py.
    """
    state: str | None = _key("state", _optional_text, None)
    """Where budgets survive a restart; None: they start at zero."""
    cgroup_root: str = _key("cgroup_root", _text, "/sys/fs/cgroup")
    proc_root: str = _key("proc_root", _text, "/proc")
    sys_root: str = _key("sys_root", _text, "/sys")
    deadline_s: float = _key("deadline", _some_seconds, 30.0)
    """A write that takes longer is reported; the loop never waits for one."""
    workers: int = _key("workers", _whole, 4)
    """Writes that may block at once."""
    rails: Limits = _key("rails", _rails, Limits)  # noqa: RUF009 - a factory, see _key
    """What no decision can pass."""
    promise: Promise = _key("promise", _promise, Promise)  # noqa: RUF009 - a factory, see _key
    """What is promised to each cgroup, as mapping or text; see policy/promise.py and the rail ``promise``."""

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], source: str = "controller config") -> ControllerConfig:
        """Check a mapping, as parsed from YAML or JSON. ``source`` names it in messages.

        Raises:
            UserError: an unknown key (with the nearest known one), a bad value, or settings that
                contradict each other.
        """
        try:
            values = _named(mapping, {f.name: (f.metadata["key"], f.metadata["parse"]) for f in fields(cls)})
        except UserError as error:
            raise UserError(f"{source}: {error}") from None
        return cls(**values).changed(source)

    def changed(self, source: str, **changes: Any) -> ControllerConfig:
        """With some fields changed, as options of a command do; checked as a file with them would be.

        Raises:
            UserError: the changed settings contradict each other; the message begins with ``source``.
        """
        config = replace(self, **changes)
        try:
            _agree(config)
        except UserError as error:
            raise UserError(f"{source}: {error}") from None
        return config

    @property
    def law_spec(self) -> str | dict[str, Any]:
        """The law as :func:`zswap_gym.policy.laws.make_law` takes it."""
        return {"law": self.law, **self.law_arguments} if self.law_arguments else self.law

    def limits(self, own_cgroup: str | None) -> Limits:
        """The rails' settings with the allow-list and the controller's own cgroup filled in."""
        return replace(
            self.rails,
            allow=self.cgroups,
            own_cgroup=own_cgroup,
            psi=self.psi,
            page_size=self.page_size or PAGE_SIZE,
            promise=self.promise,
            acts=self.mode == "act",
        )

    def to_mapping(self) -> dict[str, Any]:
        """The resolved settings as plain values, such that ``from_mapping`` gives them back."""
        return cast("dict[str, Any]", _plain(self))


def _agree(config: ControllerConfig) -> None:
    make_law(config.law_spec)  # says what is wrong with it
    if config.mode == "act" and not config.cgroups:
        raise UserError("cgroups: mode act needs at least one pattern; list the cgroups it may touch")
    if config.dialect == STOCK_PULSE.name and config.state is None:
        raise UserError("state: dialect stock-pulse needs one; beside it lies what to put back")
    if config.mode == "act" and config.log is None:
        raise UserError("log: mode act needs a decision log; name a file")


def _plain(value: Any) -> Any:
    if isinstance(value, ControllerConfig):
        return {f.metadata["key"]: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Limits):
        plain = {key: getattr(value, name) for name, (key, _) in _RAIL_PARSERS.items()}
        return plain | {"breaker": _plain(value.breaker)}
    if isinstance(value, Promise):
        return value.as_dict()
    if isinstance(value, BreakerLimits):
        return {key: getattr(value, name) for name, (key, _) in _BREAKER_PARSERS.items()}
    return list(value) if isinstance(value, tuple) else value
