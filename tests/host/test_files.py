"""Parsers and formatters of kernel files."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zswap_gym.errors import UserError
from zswap_gym.host import files
from zswap_gym.host.files import (
    EVENT_KEYS,
    STAT_KEYS,
    FormatError,
    Pressure,
    format_flag,
    format_keyed,
    format_meminfo,
    format_number,
    format_pressure,
    format_uptime,
    keys_of,
    parse_flag,
    parse_keyed,
    parse_limit,
    parse_meminfo,
    parse_number,
    parse_pressure,
    parse_switch,
    parse_uptime,
    psi_percent,
)

# As a 6.18 kernel printed them.
REAL_PRESSURE = """\
some avg10=1.53 avg60=12.00 avg300=0.07 total=483123
full avg10=0.00 avg60=0.00 avg300=0.00 total=120001
"""
REAL_MEMINFO = """\
MemTotal:       24683656 kB
MemFree:        23981372 kB
SwapTotal:             0 kB
Zswap:              5124 kB
VmallocTotal:   34359738367 kB
HugePages_Total:       0
Hugepagesize:       2048 kB
"""

counts = st.integers(0, 2**63)


def test_whole_keys_are_matched() -> None:
    found = parse_keyed("zswpwb_proactive 7\nzswpwb 12\nzswpwb_proactive_b 28672\n", "memory.stat")
    assert found["zswpwb"] == 12
    assert found["zswpwb_proactive"] == 7


@given(st.dictionaries(st.sampled_from(STAT_KEYS), counts))
def test_memory_stat_goes_round(values: dict[str, int]) -> None:
    text = format_keyed(values, STAT_KEYS)
    assert parse_keyed(text, "memory.stat") == {key: values.get(key, 0) for key in STAT_KEYS}
    assert tuple(line.split(" ")[0] for line in text.splitlines()) == STAT_KEYS


def test_memory_events_is_printed_as_the_kernel_does() -> None:
    text = format_keyed({"max": 1095, "oom_kill": 1}, EVENT_KEYS)
    assert text == "low 0\nhigh 0\nmax 1095\noom 0\noom_kill 1\noom_group_kill 0\n"


def test_limits() -> None:
    assert parse_limit("max\n", "memory.max") == inf
    assert parse_limit("67108864\n", "memory.max") == 67108864
    assert format_number(inf) == "max\n"
    assert format_number(67108864.0) == "67108864\n"


def test_flags() -> None:
    assert [parse_flag(format_flag(on), "enabled") for on in (True, False)] == [True, False]


def test_pressure_goes_round() -> None:
    some, full = parse_pressure(REAL_PRESSURE, "memory.pressure")
    assert some == Pressure(1.53, 12.0, 0.0, 483123)  # avg300 is nobody's concern
    assert full.total_us == 120001
    assert format_pressure(replace(some, avg300=0.07), full) == REAL_PRESSURE


@given(st.integers(0, 100 * files.PSI_FIXED))
def test_pressure_averages_are_cut_as_the_kernel_cuts_them(average: int) -> None:
    whole, rest = average >> 11, average & 2047  # LOAD_INT(), LOAD_FRAC()
    printed = f"{whole}.{(rest * 100) >> 11:02d}"
    assert psi_percent(average) == float(printed)
    assert f"{psi_percent(average):.2f}" == printed


def test_meminfo() -> None:
    names = [line.partition(":")[0] for line in REAL_MEMINFO.splitlines() if "kB" in line]
    found = parse_meminfo(REAL_MEMINFO, names)
    assert found["Zswap"] == 5124 * 1024
    assert found["VmallocTotal"] == 34359738367 * 1024
    printed = [line for line in REAL_MEMINFO.splitlines(keepends=True) if "kB" in line]
    assert format_meminfo(found) == "".join(printed)
    assert parse_meminfo(REAL_MEMINFO, ("Zswap", "Zswapped")) == {"Zswap": 5124 * 1024}


@given(st.integers(0, 10**15), st.integers(0, 10**15))
def test_uptime_is_cut_to_hundredths(boot_us: int, idle_us: int) -> None:
    assert parse_uptime(format_uptime(boot_us, idle_us)) == boot_us // 10_000 / 100


def test_uptime() -> None:
    assert format_uptime(3902_907_654, 7002_890_000) == "3902.90 7002.89\n"


def _events(text: str, file: str) -> dict[str, int]:
    return parse_keyed(text, file, ("anon", "zswap"))


def _meminfo(text: str, file: str) -> dict[str, int]:
    return parse_meminfo(text, ("MemTotal", "MemFree"), file)


FULL = "full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n"


@pytest.mark.parametrize(
    ("parse", "text", "line"),
    [
        (parse_keyed, "anon 1\nzswap twelve\n", 2),
        (parse_keyed, "anon 1\n\nfile 2\n", 2),
        (_events, "anon 1 2\n", 1),
        (_events, "anon -1\n", 1),
        (_events, "anon nan\n", 1),
        (_events, "anon 07\n", 1),
        (parse_pressure, f"some avg10=04.12 avg60=0.00 avg300=0.00 total=5\n{FULL}", 1),
        (_events, "anon\n", 1),
        (_events, "anon 1_000\n", 1),
        (_events, "anon \u0661\n", 1),
        (_events, "file 5\nanon 1\nanon 2\n", 3),
        (_events, "anon 1\nzswap 12", 2),
        (_events, "anon 18446744073709551616\n", 1),
        (_events, "anon 1\nzswap " + "9" * 5000 + "\n", 2),
        (parse_number, "9" * 400 + "\n", 1),
        (parse_number, "4026", 1),
        (parse_number, "1\n2\n", 1),
        (parse_limit, "9" * 5000 + "\n", 1),
        (parse_limit, "unlimited\n", 1),
        (parse_limit, "", 1),
        (parse_limit, "max", 1),
        (parse_number, "max\n", 1),
        (parse_switch, "2\n", 1),
        (parse_switch, "", 1),
        (parse_flag, "1\n", 1),
        (parse_pressure, f"some avg10={'9' * 400}.00 avg60=0.00 avg300=0.00 total=0\n{FULL}", 1),
        (parse_pressure, f"some avg10=0.00 avg300=0.00 total=5\n{FULL}", 1),
        (parse_pressure, f"some avg10=0.0x avg60=0.00 avg300=0.00 total=5\n{FULL}", 1),
        (parse_pressure, f"some avg10=0 avg60=0.00 avg300=0.00 total=5\n{FULL}", 1),
        (parse_pressure, f"some avg10=nan avg60=0.00 avg300=0.00 total=5\n{FULL}", 1),
        (parse_pressure, f"some avg10=0.00 avg60=0.00 avg300=0.00 total=\n{FULL}", 1),
        (parse_pressure, f"some avg10=0.00 avg10=9.00 avg60=0.00 avg300=0.00 total=5\n{FULL}", 1),
        (parse_pressure, f"some avg10=100.01 avg60=0.00 avg300=0.00 total=5\n{FULL}", 1),
        (parse_pressure, f"{FULL}some avg10=0.00 avg60=0.00 avg300=0.00 total=48", 2),
        (_meminfo, "MemTotal: 5 kB\nMemFree: five kB\n", 2),
        (_meminfo, "MemTotal: 5 MB\n", 1),
        (_meminfo, "MemTotal: 5\n", 1),
        (_meminfo, "MemTotal: -5 kB\n", 1),
        (_meminfo, "MemTotal: 5 6 kB\n", 1),
        (parse_uptime, "soon\n", 1),
        (parse_uptime, "17 4\n", 1),
        (parse_uptime, "17.25 4.00\n18.25 4.00\n", 1),
        (parse_uptime, "9" * 400 + ".00 0.00\n", 1),
        (parse_uptime, "\n", 1),
        (parse_uptime, ".25 4.00\n", 1),
    ],
    ids=range(45),
)
def test_what_is_needed_and_wrong_is_named_by_file_and_line(parse, text: str, line: int) -> None:
    with pytest.raises(FormatError, match=rf"^web/the\.file, line {line}: ") as caught:
        parse(text, "web/the.file")
    assert isinstance(caught.value, UserError)
    assert "\n" not in str(caught.value)


def test_what_nobody_needs_may_be_anything() -> None:
    text = "\nanon 1\n\tzswap \t2  \nfile -1\nslab\nnode 0 1 2\n\0\u0661\nanon 1\nhalf a li"
    assert _events(text, "memory.stat") == {"anon": 1, "zswap": 2}
    columns = "        total:    used:    free:\nMem:  1055760384 1041887232 13873152\n"  # 2.4
    assert _meminfo(f"{columns}\nMemTotal: 5 kB\nMemFree:\t 7 kB\r\n", "meminfo") == {
        "MemTotal": 5 << 10,
        "MemFree": 7 << 10,
    }
    some, _ = parse_pressure(f"\nsome avg10=1.00 avg60=2.00 avg300=x avg900 total=5\n{FULL}io 5\n", "p")
    assert some == Pressure(1.0, 2.0, 0.0, 5)
    assert parse_uptime("\n17.25 x\n") == 17.25
    assert (parse_switch("0", "w"), parse_switch(" 1\n", "w")) == (0.0, 1.0)


@pytest.mark.parametrize("kind", ["some", "full"])
def test_a_pressure_file_without_one_of_its_lines_is_not_the_kernels(kind: str) -> None:
    text = "".join(line for line in REAL_PRESSURE.splitlines(keepends=True) if not line.startswith(kind))
    with pytest.raises(FormatError, match=f"^web/memory.pressure: no {kind}, though"):
        parse_pressure(text, "web/memory.pressure")


def test_keys_of() -> None:
    assert keys_of("anon 1\n\nzswap\n") == {"anon", "zswap"}
